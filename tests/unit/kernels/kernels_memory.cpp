// Runs every kernel on small arrays that end exactly where the interface says, for sanitizers and
// valgrind: they then see each access beyond an array. Given a name, it writes the results of each
// instruction set to NAME.ISA, to be compared with those of another compiler or processor. Built by
// test_kernels_memory.py and test_kernels_platforms.py.
#include <cmath>
#include <cstdint>
#include <cstdio>
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
int amgsrn_march(const AmgsrnVolume*, const AmgsrnAppearance*, const AmgsrnRays*, float*, int);
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
  auto numbers3 = numbers(3 * count);
  std::vector<double> origins, directions, zeros(static_cast<size_t>(count), 0.0),
      far(static_cast<size_t>(count), 100.0);
  for (int64_t i = 0; i < count; ++i)
    for (int a = 0; a < 3; ++a) {
      origins.push_back(a ? 2.5 + 2.4 * numbers3[3 * i + a] : -2);
      directions.push_back(a ? 0.1 * numbers3[3 * i + a] : 1);
    }
  directions[1] = NAN;
  const std::vector<int64_t> first(static_cast<size_t>(count), -3),
      samples(static_cast<size_t>(count), 40);
  std::vector<float> exponents(static_cast<size_t>(count), 1.0f);
  exponents.back() = 0.5f;
  const AmgsrnRays rays = {count,       origins.data(), directions.data(), directions.data(),
                           zeros.data(), far.data(),    zeros.data(),      exponents.data(),
                           first.data(), samples.data()};
  const std::vector<uint8_t> empty = {0, 0}, half = {1, 0};
  const std::vector<float> table(4 * 5, 0.3f), isovalues = {0.0f, 0.1f, -0.2f};
  const std::vector<float> maxima = {1e30f, 1e30f};
  for (const int blend : {0, 1, 2})
    for (const int shade : {0, 1}) {
      volume.axes[0].coordinates = shade ? coordinates.data() : nullptr;
      const std::vector<float> light = {0.0f, 0.6f, 0.8f, 1.0f, 0.9f, 0.8f};
      const AmgsrnAppearance appearance = {shade ? half.data() : empty.data(),
                               blend == 1 ? maxima.data() : nullptr,
                               0.25, table.data(), 5, -1.0, 1.0, 0, blend, shade - 1, shade,
                               isovalues.data(), 3, 0.1f, 0.5f, 0.3f, 10.0f, 0.01f,
                               light.data(), blend == 2 ? 1 : 0};
      auto image = numbers(4 * count);
      amgsrn_march(&volume, &appearance, &rays, image.get(), 3);
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
