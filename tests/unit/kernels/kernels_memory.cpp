// Runs every kernel on small arrays that end exactly where the interface says, for sanitizers and
// valgrind: they then see each access beyond an array. Given a name, it writes the results of each
// instruction set to NAME.ISA, to be compared with those of another compiler or processor. Built by
// test_kernels_memory.py and test_kernels_platforms.py.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "abi.h"

extern "C" {
const char* amgsrn_isa(int number);
int amgsrn_use_isa(const char* name);
int amgsrn_evaluate(const AmgsrnNetwork*, const float*, int64_t, float*, int);
int amgsrn_evaluate_gradient(const AmgsrnNetwork*, const float*, int64_t, float*, float*, int);
int64_t amgsrn_decoder_size(const AmgsrnNetwork*);
int amgsrn_pack_decoder(const AmgsrnNetwork*, float*);
int amgsrn_march(const AmgsrnVolume*, const AmgsrnAppearance*, const AmgsrnView*, const int64_t*,
                 int64_t, float*, int, int64_t*, int);
int amgsrn_cover(const AmgsrnView*, const AmgsrnBoxes*, float*);
int amgsrn_march_blocks(const AmgsrnVolume*, const AmgsrnAppearance*, const AmgsrnView*,
                        AmgsrnWorkingSet*, const int64_t*, int64_t, float*, int, int);
int amgsrn_draw(const AmgsrnData*, const float*, int64_t, float*, float*, int);
int amgsrn_draw_blocks(const AmgsrnData*, const AmgsrnBlocks*, const AmgsrnDraws*, int);
int amgsrn_train(const AmgsrnNetwork*, const float*, const float*, int64_t, AmgsrnGradients*, int);
int amgsrn_density(const AmgsrnNetwork*, const float*, const float*, int64_t, double, float*, int);
int amgsrn_adam(const AmgsrnNetwork*, const AmgsrnAdam*, int);
}

namespace {

constexpr int64_t kTail = 16;  // as in amgsrn_core/kernels/nodes.py

std::FILE* results = nullptr;
uint32_t state = 1;

void keep(const float* values, int64_t count) {
  if (results) std::fwrite(values, sizeof(float), static_cast<size_t>(count), results);
}

// Heap memory of exactly this size, with numbers in [-1, 1).
std::unique_ptr<float[]> numbers(int64_t count) {
  std::unique_ptr<float[]> made(new float[static_cast<size_t>(count)]);
  for (int64_t i = 0; i < count; ++i) {
    state = state * 1664525u + 1013904223u;
    made[static_cast<size_t>(i)] = static_cast<float>(state >> 8) * 0x1p-23f - 1.0f;
  }
  return made;
}

// Marches through decoded blocks of two levels, with room for one block less than there are, and then
// for all of them.
void march_blocks(const AmgsrnVolume& volume, const AmgsrnAppearance& appearance,
                  const AmgsrnView& view, const std::vector<int64_t>& pixels) {
  std::vector<int32_t> fine(8, 0), coarse(1, 0), victims(9, 0);
  const AmgsrnLevel levels[2] = {{{10, 10, 10}, {2, 2, 2}, 0.5, fine.data()},
                                 {{2, 2, 2}, {1, 1, 1}, 4.0, coarse.data()}};
  const std::vector<double> begins = {-INFINITY, 12.0};
  const auto outputs = static_cast<size_t>(volume.components);
  const std::vector<float> low(outputs, -1.5f), unit(outputs, 1e-4f);
  std::vector<int64_t> owners(9, 0), frames(9, 0);
  const auto count = static_cast<int64_t>(pixels.size());
  AmgsrnWorkingSet set = {};
  set.levels = levels, set.level_count = 2, set.begins = begins.data();
  const std::vector<float> tolerances = {0.0f, 1e-3f, INFINITY, 1e-3f, 1e-2f, 0.0f};
  set.tolerances = tolerances.data();
  set.low = low.data(), set.unit = unit.data();
  set.owners = owners.data(), set.frames = frames.data(), set.victims = victims.data();
  set.cell_edge = 4;
  for (auto& range : set.whole) range[0] = -INFINITY, range[1] = INFINITY;
  for (const int64_t slots : {2, 9}) {
    std::vector<uint16_t> codes(static_cast<size_t>(slots) * outputs * 729);
    fine.assign(8, 0), coarse.assign(1, 0), frames.assign(9, 0);
    std::vector<uint16_t> bounds(static_cast<size_t>(slots) * outputs * 32);
    set.bounds = bounds.data();
    set.codes = codes.data(), set.slots = slots, set.filled = 0;
    AmgsrnAppearance looks = appearance;
    for (int frame = 0; frame < 2; ++frame) {
      looks.cubic = frame;
      ++set.frame;
      set.is_full = 0, set.victim_count = set.next_victim = 0;
      auto image = numbers(4 * count);
      amgsrn_march_blocks(&volume, &looks, &view, &set, pixels.data(), count, image.get(), 1,
                          3);
    }
  }
}

// Marches through two bricks of this network along x that overlap, the first of them masked, over a
// border of macro-cells inside the second, with and without even axes.
void march(const AmgsrnNetwork& network, int64_t count) {
  constexpr int64_t kSize = 6, kCut = 4;
  std::vector<float> decoder(static_cast<size_t>(amgsrn_decoder_size(&network)));
  amgsrn_pack_decoder(&network, decoder.data());
  const std::vector<uint8_t> valid(kSize * kSize * (kCut + 1), 1);
  const auto outputs = static_cast<size_t>(network.outputs);
  const std::vector<float> minimum(outputs, -1), range(outputs, 2);
  const double scale = 2.0 / (kSize - 1);
  const AmgsrnBrick bricks[2] = {
      {&network, decoder.data(), minimum.data(), range.data(), {0, 0, 0},
       {2.0 / kCut, scale, scale}, {kCut + 1, kSize, kSize}, valid.data(),
       {{-INFINITY, -INFINITY, -INFINITY}, {3, INFINITY, INFINITY}}, {{}, {0.5, 0, 0}}},
      {&network, decoder.data(), minimum.data(), range.data(), {2, 0, 0}, {0.6, scale, scale},
       {4, kSize, kSize}, nullptr,
       {{3, -INFINITY, -INFINITY}, {INFINITY, INFINITY, INFINITY}}, {{0.5, 0, 0}, {}}}};
  const std::vector<double> coordinates = {0, 0.5, 2, 3, 4, 5};
  const std::vector<int32_t> blocks = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2}, members = {0, 0, 1, 1};
  const std::vector<int64_t> starts = {0, 1, 3, 4};
  const std::vector<int32_t> cells = {0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1}, one(2 * kSize - 1, 0);
  const std::vector<double> borders = {0, 3.5, 5}, whole = {0, 5};
  const AmgsrnAxis side = {kSize, 0, 1, nullptr, one.data(), one.data(), whole.data(), 1, 1};
  AmgsrnVolume volume = {{{kSize, 0, 1, nullptr, blocks.data(), cells.data(), borders.data(), 3, 2},
                          side, side},
                         bricks, 2, starts.data(), members.data(), 2, network.outputs,
                         {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}};
  // Looks along x; one pixel's depth is no number.
  AmgsrnView view = {};
  view.width = count, view.height = 1;
  const double to_world[4][4] = {{0, 0, 6, 2.5}, {2.4, 0, 0, 2.5}, {0, 2.4, 0, 2.5}, {0, 0, 0, 1}};
  std::memcpy(view.clip_to_world, to_world, sizeof to_world);
  view.is_parallel = 1;
  std::vector<float> depth(static_cast<size_t>(count), 0.9f);
  depth[0] = NAN;
  view.depth = depth.data();
  for (int a = 0; a < 3; ++a) {
    view.to_axes[a][a] = view.spacing[a] = 1;
    view.box[a][1] = kSize - 1;
    view.crop[a][0] = -INFINITY, view.crop[a][1] = INFINITY;
  }
  const std::vector<double> planes = {0, 0, 1, 0.5, 0, 1, 0, 1};
  view.planes = planes.data(), view.plane_count = 2;
  view.samples_per_voxel = 4, view.mean_step = 0.25, view.reach = 1;
  std::vector<int64_t> pixels;
  for (int64_t i = 0; i < count; ++i) pixels.push_back(count - 1 - i);
  const std::vector<double> corners = {0, 0, 0, 5, 0, 0, 0, 5, 0, 5, 5, 0,
                                       0, 0, 5, 5, 0, 5, 0, 5, 5, 5, 5, 5};
  std::vector<float> tiles(static_cast<size_t>(2 * (count / 16 + 1)));
  const std::vector<uint8_t> box = {1};
  const AmgsrnBoxes boxes = {{1, 1, 1}, box.data(), corners.data(),
                             {{0, 1 / 2.4, 0, -2.5 / 2.4}, {0, 0, 1 / 2.4, -2.5 / 2.4},
                              {1 / 6.0, 0, 0, -2.5 / 6}, {0, 0, 0, 1}}};
  const std::vector<uint8_t> empty(5, 0), half = {1, 0, 0, 0, 0};
  const std::vector<int32_t> shown = {0, 1, 2, 3, 4, 5};
  const std::vector<float> table(4 * 5, 0.3f), isovalues = {0.0f, 0.1f, -0.2f};
  const std::vector<float> maxima = {1e30f, 1e30f};
  for (const int blend : {0, 1, 2})
    for (const int shade : {0, 1}) {
      volume.axes[0].coordinates = shade ? coordinates.data() : nullptr;
      const std::vector<float> light = {0.0f, 0.6f, 0.8f, 1.0f, 0.9f, 0.8f};
      view.jitter = shade, view.is_turned = shade;
      AmgsrnAppearance appearance = {};
      appearance.empty = shade ? half.data() : empty.data();
      appearance.maxima = blend == 1 ? maxima.data() : nullptr;
      appearance.table = table.data(), appearance.entries = 5, appearance.shown = shown.data();
      appearance.low = -1.0, appearance.high = 1.0;
      appearance.blend = blend, appearance.component = shade - 1, appearance.shade = shade;
      appearance.isovalues = isovalues.data(), appearance.isovalue_count = 3;
      appearance.ambient = 0.1f, appearance.diffuse = 0.5f;
      appearance.specular = 0.3f, appearance.specular_power = 10.0f;
      appearance.transmittance_limit = 0.01f;
      appearance.lights = light.data(), appearance.light_count = blend == 2 ? 1 : 0;
      auto image = numbers(4 * count);
      int64_t taken = 0;
      amgsrn_march(&volume, &appearance, &view, pixels.data(), count, image.get(), blend == 1,
                   &taken, 3);
      // The same as whole rows, of which a cover tells where to look.
      amgsrn_cover(&view, &boxes, tiles.data());
      view.cover = tiles.data(), view.rows[1] = 1;
      amgsrn_march(&volume, &appearance, &view, nullptr, count, image.get(), 1, &taken, 3);
      march_blocks(volume, appearance, view, pixels);
      view.cover = nullptr;
    }
}

void check(int64_t features, int64_t width, int64_t outputs, int64_t side, int64_t count,
           bool fast) {
  constexpr int kParts = 3;
  AmgsrnNetwork n = {};
  n.fast = fast;
  n.grids = 3, n.features = features, n.depth = side, n.height = side + 1, n.width = side + 2;
  n.hidden_layers = 2, n.hidden_width = width, n.outputs = outputs;
  const int64_t inner = n.grids * n.depth * n.height * n.width * features;
  const int64_t padded =
      n.grids * (n.depth + 2) * (n.height + 2) * (n.width + 2) * features + kTail;
  const int64_t sizes[3] = {width * n.grids * features, width * width, outputs * width};
  auto nodes = numbers(padded), transforms = numbers(12 * n.grids), points = numbers(3 * count);
  // In the last grid, far points reach the last cell of all.
  for (int i = 0; i < 12; ++i) transforms[24 + i] = i % 5 == 0 ? 1.0f : 0.0f;
  auto scatter = [&] {
    points[0] = count > 1 ? NAN : 1e30f;
    for (int64_t i = 3 * count - 3; i < 3 * count; ++i) points[i] = 1e30f;
  };
  scatter();
  std::unique_ptr<float[]> weights[3], slopes[3];
  const float* weight_pointers[3];
  float* slope_pointers[3];
  for (int i = 0; i < 3; ++i) {
    weights[i] = numbers(sizes[i]), slopes[i] = numbers(sizes[i]);
    weight_pointers[i] = weights[i].get(), slope_pointers[i] = slopes[i].get();
  }
  n.nodes = nodes.get(), n.transforms = transforms.get(), n.weights = weight_pointers;
  auto values = numbers(outputs * count);
  amgsrn_evaluate(&n, points.get(), count, values.get(), kParts);
  keep(values.get(), outputs * count);

  auto gradients = numbers(3 * outputs * count);
  amgsrn_evaluate_gradient(&n, points.get(), count, values.get(), gradients.get(), kParts);

  if (side == 3) march(n, count);

  AmgsrnData data = {};
  data.components = outputs, data.depth = side, data.height = side, data.width = side;
  auto voxels = numbers(outputs * side * side * side), uniform = numbers(4 * count);
  for (int64_t i = 0; i < 4 * count; ++i) uniform[i] = std::fabs(uniform[i]) * 0.9999f;
  data.values = voxels.get(), data.cell_count = (side - 1) * (side - 1) * (side - 1);
  for (int cubic = 0; cubic < 2; ++cubic) {
    data.cubic = cubic;
    // The second time, from a list of cells.
    const int32_t cells[2] = {0, static_cast<int32_t>(data.cell_count - 1)};
    if (cubic) data.cells = cells, data.cell_bytes = 4, data.cell_count = 2;
    amgsrn_draw(&data, uniform.get(), count, points.get(), values.get(), kParts);
    keep(points.get(), 3 * count), keep(values.get(), outputs * count);
    // Each cell is a block; the first has no ticks.
    std::vector<int64_t> starts, ticks, drawn(static_cast<size_t>(count));
    for (int64_t i = 0; i <= data.cell_count; ++i) {
      starts.push_back(i);
      ticks.push_back(i < 2 ? 0 : (count << 24) * (i - 1) / data.cell_count);
    }
    ticks.back() = count << 24;
    const auto weights = numbers(data.cell_count), weights_of_points = numbers(count);
    const AmgsrnBlocks blocks = {1, data.cell_count, starts.data(), ticks.data(), weights.get()};
    const AmgsrnDraws draws = {7,           count, points.get(), values.get(), weights_of_points.get(),
                               drawn.data()};
    amgsrn_draw_blocks(&data, &blocks, &draws, kParts);
    keep(points.get(), 3 * count), keep(values.get(), outputs * count);
    keep(weights_of_points.get(), count);
  }

  scatter();
  auto node_slopes = numbers(kParts * padded), map_slopes = numbers(12 * n.grids);
  auto errors = numbers(count), mean = numbers(inner), square = numbers(inner);
  AmgsrnGradients g = {node_slopes.get(), padded,       slope_pointers,
                       map_slopes.get(),  errors.get(), nullptr, 0.0};
  amgsrn_train(&n, points.get(), values.get(), count, &g, kParts);
  keep(map_slopes.get(), 12 * n.grids), keep(errors.get(), count);
  g.transforms = nullptr;
  const auto weights_of_points = numbers(count);
  g.weights_of_points = weights_of_points.get();
  amgsrn_train(&n, points.get(), values.get(), count, &g, kParts);
  for (int i = 0; i < 3; ++i) keep(slopes[i].get(), sizes[i]);
  amgsrn_density(&n, points.get(), errors.get(), count, 1.0, map_slopes.get(), kParts);
  keep(map_slopes.get(), 12 * n.grids);
  for (int64_t i = 0; i < inner; ++i) square[i] = std::fabs(square[i]);
  const AmgsrnAdam adam = {nodes.get(), node_slopes.get(), padded, mean.get(), square.get(),
                           1e-3,        0.9,               0.95,   1.0,        1e-14};
  amgsrn_adam(&n, &adam, kParts);
  keep(nodes.get(), padded);
}

}  // namespace

int main(int count, char** names) {
  for (int isa = 0; amgsrn_isa(isa); ++isa) {
    amgsrn_use_isa(amgsrn_isa(isa));
    state = 1;
    const std::string name = std::string(count > 1 ? names[1] : "") + "." + amgsrn_isa(isa);
    if (count > 1) results = std::fopen(name.c_str(), "wb");
    for (const bool fast : {false, true})
      for (const int64_t features : {1, 2, 3, 4, 6, 8})
        for (const int64_t side : {2, 3, 5}) {
          check(features, 16 + features, 1 + features / 2, side, 130, fast);
          check(features, 64, 1, side, 1, fast);
        }
    if (results) std::fclose(results);
    std::printf("%s\n", amgsrn_isa(isa));
  }
}
