// The kernels of one instruction set. This file is compiled once for each, with other flags; all
// but the table at its end is internal, so that the linker can never mix the builds.
#include "kernels.h"

#include "decoder.h"
#include "density.h"
#include "encoder.h"
#include "gradient.h"
#include "march.h"
#include "order.h"
#include "peak.h"
#include "sampling.h"
#include "vector.h"
#include "working_set.h"

namespace {

using amgsrn::DensityPart;
using amgsrn::TrainingPart;
static_assert(kTile == amgsrn::kTilePoints, "the library divides the work by tiles");

// Node arrays above this size leave the cache between two tiles: their cells are asked for early.
constexpr int64_t kCachedBytes = 1 << 20;

// Fewer points than this are not worth ordering.
constexpr int64_t kLeastOrdered = 1024;

AMGSRN_INLINE int64_t aligned(int64_t bytes) { return (bytes + 63) / 64 * 64; }

// The memory of one part, carved from one block.
struct Scratch {
  Points points[2];
  Cells cells[2];
  float* maps;      // [12][stride]
  float* features;  // [kTile][inputs]
  float* changes;   // [kTile][3][inputs]
  float* hidden;    // [layers][kTile][width]
  float* values;    // [kTile][outputs]
  float* gradient;  // the same
  float* rounded;   // the decoder's rounded copies
  int32_t* order;   // order_size of the points that are ordered together
};

// Hands out pieces of a block of memory; without one it only counts.
class Carver {
 public:
  explicit Carver(void* memory) : memory_(static_cast<char*>(memory)) {}
  template <class T>
  T* take(int64_t count) {
    char* here = memory_ ? memory_ + size_ : nullptr;
    size_ += aligned(count * static_cast<int64_t>(sizeof(T)));
    return reinterpret_cast<T*>(here);
  }
  int64_t size() const { return size_; }

 private:
  char* memory_;
  int64_t size_ = 0;
};

// `points` is how many the part has.
int64_t carve(const AmgsrnNetwork& n, const Decoder& d, int64_t points, void* memory, Scratch& s) {
  Carver carver(memory);
  const int64_t stride = Cells::stride_of(n.grids), located = kTile * stride;
  for (Cells& cells : s.cells) {
    cells.stride = stride;
    cells.node = carver.take<int32_t>(located);
    cells.x = carver.take<float>(located);
    cells.y = carver.take<float>(located);
    cells.z = carver.take<float>(located);
    for (float*& free : cells.free) free = carver.take<float>(located);
  }
  s.maps = carver.take<float>(12 * stride);
  // Whole vectors are read beyond the last grid's features.
  s.features = carver.take<float>(kTile * d.inputs + 2 * kLanes);
  s.changes = carver.take<float>(3 * kTile * d.inputs + 2 * kLanes);
  s.hidden = carver.take<float>(kTile * d.layers * d.width);
  s.values = carver.take<float>(kTile * padded(d.outputs));
  s.gradient = carver.take<float>(kTile * padded(d.outputs));
  s.rounded = carver.take<float>(d.rounded_size());
  s.order = carver.take<int32_t>(order_size(points < kMostOrdered ? points : kMostOrdered));
  return carver.size();
}

Scratch prepare(const AmgsrnNetwork& n, const Decoder& d, int64_t points, void* memory) {
  Scratch s;
  carve(n, d, points, memory, s);
  // What pads whole vectors takes part in the computation.
  std::memset(s.maps, 0, sizeof(float) * static_cast<size_t>(12 * s.cells[0].stride));
  std::memset(s.features, 0, sizeof(float) * static_cast<size_t>(kTile * d.inputs + 2 * kLanes));
  pack_maps(n.transforms, n.grids, s.cells[0].stride, s.maps);
  return s;
}

Decoder packed_decoder(const AmgsrnNetwork& n, const float* packed) {
  Decoder decoder(n);
  decoder.forward = packed;
  decoder.backward = packed + decoder.hidden_size();
  decoder.last = packed + 2 * decoder.hidden_size();
  return decoder;
}

AMGSRN_INLINE int tile_points(int64_t tile, int64_t count) {
  const int64_t left = count - tile * kTile;
  return left < kTile ? static_cast<int>(left) : kTile;
}

// Points [first, first + count) of a batch, in the order in which they are computed.
struct Chosen {
  int64_t first, count;
  const int32_t* order;  // numbers counted from `first`; null: as they are

  int64_t tiles() const { return (count + kTile - 1) / kTile; }
  int64_t number(int64_t i) const { return first + (order ? order[i] : i); }
  // Ordered points share most of their cells with their neighbours.
  int prefetch_step() const { return order ? 2 : 1; }
};

// Points beyond the last lie at 0; their results are dropped.
AMGSRN_INLINE void load_points(const float* from, const Chosen& chosen, int64_t tile, Points& to) {
  const int points = tile_points(tile, chosen.count);
  for (int p = 0; p < points; ++p) {
    const float* point = from + 3 * chosen.number(kTile * tile + p);
    to.x[p] = point[0];
    to.y[p] = point[1];
    to.z[p] = point[2];
  }
  for (int p = points; p < kTile; ++p) to.x[p] = to.y[p] = to.z[p] = 0.0f;
}

// Asks for what belongs to a tile's points, `size` floats each: where they were put into another order,
// it lies anywhere.
template <bool Write>
AMGSRN_INLINE void prefetch_points(const float* from, int64_t size, const Chosen& chosen,
                                   int64_t tile) {
  if (!chosen.order) return;
  const int points = tile_points(tile, chosen.count);
  for (int p = 0; p < points; ++p)
    __builtin_prefetch(from + size * chosen.number(kTile * tile + p), Write);
}

// Calls visit(chosen points) for the tiles [first, last) of a batch. Where the nodes do not fit into
// a core's own cache and neighbours in the batch lie apart, the points are ordered first.
template <class Visit>
AMGSRN_INLINE void for_ordered(const AmgsrnNetwork& n, const float* points, int64_t count,
                               int64_t first, int64_t last, int32_t* memory, Visit visit) {
  const int64_t end = last * kTile < count ? last * kTile : count;
  const int64_t side = n.width > n.height ? n.width : n.height;
  const float far = 6.0f / static_cast<float>(side > n.depth ? side : n.depth);
  for (int64_t at = first * kTile; at < end; at += kMostOrdered) {
    Chosen chosen = {at, end - at < kMostOrdered ? end - at : kMostOrdered, nullptr};
    const float* from = points + 3 * at;
    if (chosen.count >= kLeastOrdered && is_scattered(from, chosen.count, far))
      chosen.order = order_points(from, chosen.count, memory);
    visit(chosen);
  }
}

AMGSRN_INLINE void forward(const Decoder& decoder, Scratch& s) {
  const float* in = s.features;
  for (int64_t layer = 0; layer < decoder.layers; ++layer) {
    float* out = s.hidden + layer * kTile * decoder.width;
    hidden_layer(decoder, layer, in, out, s.rounded);
    in = out;
  }
  output_layer(decoder, in, s.values);
}

AMGSRN_INLINE void backward(const Decoder& decoder, Scratch& s, float* weight_gradients) {
  const int64_t layer_size = kTile * decoder.width;
  output_layer_back(decoder, s.gradient, s.hidden + (decoder.layers - 1) * layer_size,
                    weight_gradients + decoder.hidden_size());
  for (int64_t layer = decoder.layers - 1; layer >= 0; --layer) {
    const float* gradient = s.hidden + layer * layer_size;
    float* in = layer ? s.hidden + (layer - 1) * layer_size : s.features;
    hidden_weights_back(decoder, layer, gradient, in, weight_gradients + decoder.offset(layer),
                        s.rounded);
    hidden_inputs_back(decoder, layer, gradient, in, s.rounded);
  }
}

int64_t node_bytes(const Layout& layout) { return 4 * layout.grids * layout.grid; }

// Calls finish(tile, side of the scratch memory) for every tile, after its cells were located and
// its features gathered.
template <bool Moving, class Cell, class Finish>
AMGSRN_INLINE void for_tiles(const AmgsrnNetwork& n, const Decoder& decoder, const float* points,
                             const Chosen& chosen, Scratch& s, Cell cell, Finish finish) {
  const Layout layout(n);
  const bool early = node_bytes(layout) > kCachedBytes;
  auto prepare = [&](int64_t tile) {
    const int64_t side = early ? tile & 1 : 0;
    load_points(points, chosen, tile, s.points[side]);
    locate<Moving>(layout, s.maps, s.points[side], s.cells[side]);
    if (early) prefetch<false>(layout, n.nodes, s.cells[side], chosen.prefetch_step());
    prefetch_points<false>(points, 3, chosen, tile + 1);
  };
  const int64_t tiles = chosen.tiles();
  if (early) prepare(0);
  for (int64_t tile = 0; tile < tiles; ++tile) {
    const int64_t side = early ? tile & 1 : 0;
    if (!early) prepare(tile);
    gather<Moving>(layout, n.nodes, s.cells[side], cell, s.features, decoder.inputs, s.changes);
    if (early && tile + 1 < tiles) prepare(tile + 1);
    finish(tile, side);
  }
}

// A tile's values go to their points' places in values [count][outputs].
AMGSRN_INLINE void store_values(int64_t outputs, const Scratch& s, const Chosen& chosen,
                                int64_t tile, float* values) {
  const int points = tile_points(tile, chosen.count);
  for (int p = 0; p < points; ++p) {
    float* to = values + outputs * chosen.number(kTile * tile + p);
    for (int64_t o = 0; o < outputs; ++o) to[o] = s.values[outputs * p + o];
  }
}

void evaluate(const AmgsrnNetwork& n, const float* packed, const float* points, int64_t count,
              int64_t first, int64_t last, float* values, void* scratch) {
  const Decoder decoder = packed_decoder(n, packed);
  Scratch s = prepare(n, decoder, kTile * (last - first), scratch);
  for_ordered(n, points, count, first, last, s.order, [&](const Chosen& chosen) {
    with_cell(n.features, [&](auto cell) {
      for_tiles<false>(n, decoder, points, chosen, s, cell, [&](int64_t tile, int64_t) {
        prefetch_points<true>(values, n.outputs, chosen, tile);
        forward(decoder, s);
        store_values(n.outputs, s, chosen, tile, values);
      });
    });
  });
}

// What a part needs for gradients by the points, beside the rest.
struct GradientScratch {
  float *layer, *other;  // [kTile][inputs or width]
  float* slopes;         // [3][stride]
};

int64_t carve_gradient(const AmgsrnNetwork& n, const Decoder& d, int64_t points, void* memory,
                       Scratch& s, GradientScratch& g) {
  Carver carver(memory);
  carver.take<char>(carve(n, d, points, memory, s));
  // Whole vectors are read beyond the last grid's features.
  const int64_t layer = kTile * (d.inputs > d.width ? d.inputs : d.width) + 2 * kLanes;
  g.layer = carver.take<float>(layer);
  g.other = carver.take<float>(layer);
  g.slopes = carver.take<float>(3 * s.cells[0].stride);
  return carver.size();
}

size_t gradient_scratch_size(const AmgsrnNetwork& n, int64_t tiles) {
  Scratch s;
  GradientScratch g;
  return static_cast<size_t>(carve_gradient(n, Decoder(n), kTile * tiles, nullptr, s, g));
}

void evaluate_gradient(const AmgsrnNetwork& n, const float* packed, const float* points,
                       int64_t count, int64_t first, int64_t last, float* values,
                       float* gradients, void* scratch) {
  const Decoder decoder = packed_decoder(n, packed);
  const Layout layout(n);
  const int64_t most = kTile * (last - first);
  Scratch s = prepare(n, decoder, most, scratch);
  GradientScratch g;
  carve_gradient(n, decoder, most, scratch, s, g);
  for_ordered(n, points, count, first, last, s.order, [&](const Chosen& chosen) {
    with_cell(n.features, [&](auto cell) {
      for_tiles<true>(n, decoder, points, chosen, s, cell, [&](int64_t tile, int64_t side) {
        forward(decoder, s);
        store_values(n.outputs, s, chosen, tile, values);
        const int in_tile = tile_points(tile, chosen.count);
        for (int64_t o = 0; o < n.outputs; ++o) {
          const float* by_features = feature_gradient(decoder, o, s.hidden, g.layer, g.other);
          for (int p = 0; p < in_tile; ++p)
            point_gradient(layout, s.maps, s.cells[side], cell, p, by_features, decoder.inputs,
                           s.changes, g.slopes,
                           gradients + 3 * (n.outputs * chosen.number(kTile * tile + p) + o));
        }
      });
    });
  });
}

constexpr int64_t kMarchTiles = kParts / kTile;

void carve_batch(int64_t components, Carver& carver, Batch& batch) {
  batch.count = 0;
  batch.starts = carver.take<int32_t>(kSamples + 1);
  batch.parts = carver.take<Part>(kParts);
  batch.rank = carver.take<int32_t>(kParts);
  batch.points = carver.take<float>(3 * kParts);
  batch.values = carver.take<float>(components * kParts);
  batch.gradients = carver.take<float>(3 * components * kParts);
}

int64_t carve_march(const AmgsrnVolume& volume, void* memory, MarchScratch& s) {
  Carver carver(memory);
  s.made = carver.take<RayTable>(1);
  s.rays = carver.take<Ray>(kRays);
  s.steps = carver.take<int64_t>(kSamples);
  s.shares = carver.take<float>(kSamples);
  s.visible = carver.take<Visible>(kSamples);
  s.crossing = carver.take<Part>(volume.most_members);
  carve_batch(volume.components, carver, s.samples);
  carve_batch(volume.components, carver, s.shaded);
  size_t networks = 0;
  for (int64_t b = 0; b < volume.brick_count; ++b) {
    const size_t size = gradient_scratch_size(*volume.bricks[b].network, kMarchTiles);
    networks = size > networks ? size : networks;
  }
  s.networks = carver.take<char>(static_cast<int64_t>(networks));
  return carver.size();
}

size_t march_scratch_size(const AmgsrnVolume& volume) {
  MarchScratch s;
  return static_cast<size_t>(carve_march(volume, nullptr, s));
}

amgsrn::Outcome march(const AmgsrnVolume& volume, const AmgsrnAppearance& appearance, const Pixels& pixels,
           std::atomic<int64_t>& next, void* scratch) {
  MarchScratch s;
  carve_march(volume, scratch, s);
  s.samples.starts[0] = s.shaded.starts[0] = 0;
  auto values = [](const AmgsrnBrick& brick, const float* points, int64_t count, float* to, float*,
                   void* memory) {
    const int64_t tiles = (count + kTile - 1) / kTile;
    evaluate(*brick.network, brick.decoder, points, count, 0, tiles, to, memory);
  };
  auto gradients = [](const AmgsrnBrick& brick, const float* points, int64_t count, float* to,
                      float* gradients_to, void* memory) {
    const int64_t tiles = (count + kTile - 1) / kTile;
    evaluate_gradient(*brick.network, brick.decoder, points, count, 0, tiles, to, gradients_to,
                      memory);
  };
  return March<decltype(values), decltype(gradients)>(volume, appearance, pixels, s, values,
                                                      gradients)
      .run(next);
}

size_t scratch_size(const AmgsrnNetwork& n, int64_t tiles);

int64_t carve_blocks(const AmgsrnVolume& volume, void* memory, BlockScratch& s) {
  Carver carver(memory);
  s.made = carver.take<RayTable>(1);
  s.known = carver.take<KnownBlocks>(1);
  s.parts = carver.take<Part>(volume.most_members);
  s.lattice = carver.take<float>(volume.components * kBlock);
  carve_batch(volume.components, carver, s.batch);
  size_t networks = 0;
  for (int64_t b = 0; b < volume.brick_count; ++b) {
    const size_t size = scratch_size(*volume.bricks[b].network, kMarchTiles);
    networks = size > networks ? size : networks;
  }
  s.networks = carver.take<char>(static_cast<int64_t>(networks));
  return carver.size();
}

size_t block_scratch_size(const AmgsrnVolume& volume) {
  BlockScratch s;
  return static_cast<size_t>(carve_blocks(volume, nullptr, s));
}

amgsrn::Outcome march_blocks(const AmgsrnVolume& volume, const AmgsrnAppearance& appearance,
                             const BlockPixels& pixels, std::atomic<int64_t>& next,
                             void* scratch) {
  BlockScratch s;
  carve_blocks(volume, scratch, s);
  s.batch.starts[0] = 0;
  auto values = [](const AmgsrnBrick& brick, const float* points, int64_t count, float* to, float*,
                   void* memory) {
    const int64_t tiles = (count + kTile - 1) / kTile;
    evaluate(*brick.network, brick.decoder, points, count, 0, tiles, to, memory);
  };
  return BlockMarch<decltype(values)>(volume, appearance, pixels, s, values).run(next);
}

// Errors of a tile's points, and the loss's gradient by the outputs; returns the errors' sum.
AMGSRN_INLINE double compare(const TrainingPart& part, const Chosen& chosen, int64_t tile,
                             int64_t outputs, Scratch& s) {
  const int points = tile_points(tile, chosen.count);
  const float share = 1.0f / static_cast<float>(outputs);
  const float factor =
      static_cast<float>(2.0 / (static_cast<double>(part.count) * static_cast<double>(outputs)));
  double total = 0.0;
  for (int p = 0; p < points; ++p) {
    const int64_t number = chosen.number(kTile * tile + p);
    const float* targets = part.targets + number * outputs;
    const float counts = part.counts ? part.counts[number] : 1.0f;
    const float pull = factor * counts;
    float squares = 0.0f;
    for (int64_t o = 0; o < outputs; ++o) {
      const float error = s.values[p * outputs + o] - targets[o];
      squares += error * error;
      s.gradient[p * outputs + o] = pull * error;
    }
    part.errors[number] = squares * share;
    total += static_cast<double>(squares * share) * static_cast<double>(counts);
  }
  for (int64_t i = points * outputs; i < kTile * outputs; ++i) s.gradient[i] = 0.0f;
  return total;
}

template <bool Moving>
void train_part(const AmgsrnNetwork& n, const Decoder& decoder, TrainingPart& part, Scratch& s) {
  const Layout layout(n);
  const bool early = node_bytes(layout) > kCachedBytes;
  part.loss = 0.0;
  for_ordered(n, part.points, part.count, part.first, part.last, s.order, [&](const Chosen& chosen) {
    with_cell(n.features, [&](auto cell) {
      for_tiles<Moving>(n, decoder, part.points, chosen, s, cell, [&](int64_t tile, int64_t side) {
        const Cells& cells = s.cells[side];
        if (early) prefetch<true>(layout, part.nodes, cells, chosen.prefetch_step());
        prefetch_points<false>(part.targets, n.outputs, chosen, tile);
        prefetch_points<true>(part.errors, 1, chosen, tile);
        forward(decoder, s);
        part.loss += compare(part, chosen, tile, n.outputs, s);
        backward(decoder, s, part.weights);
        if (Moving) {
          differentiate(layout, cells, cell, s.features, decoder.inputs, s.changes);
          add_map_gradients(layout, s.points[side], cells, part.transforms);
        }
        scatter(layout, part.nodes, cells, cell, s.features, decoder.inputs,
                tile_points(tile, chosen.count));
      });
    });
  });
}

void train(const AmgsrnNetwork& n, const float* packed, TrainingPart& part, void* scratch) {
  const Decoder decoder = packed_decoder(n, packed);
  Scratch s = prepare(n, decoder, kTile * (part.last - part.first), scratch);
  if (part.transforms) {
    train_part<true>(n, decoder, part, s);
  } else {
    train_part<false>(n, decoder, part, s);
  }
}

int64_t decoder_size(const AmgsrnNetwork& n) { return Decoder(n).size(); }

int64_t gradient_size(const AmgsrnNetwork& n) {
  const Decoder decoder(n);
  return decoder.hidden_size() + decoder.outputs * decoder.width;
}

void pack_decoder(const AmgsrnNetwork& n, float* zeros) { Decoder(n).pack(n.weights, zeros); }

void unpack_gradient(const AmgsrnNetwork& n, const float* gradient, float* const* weights) {
  const Decoder d(n);
  for (int64_t layer = 0; layer <= d.layers; ++layer) {
    const bool last = layer == d.layers;
    const int64_t rows = last ? d.outputs : d.true_width;
    const int64_t from_width = d.layer_inputs(layer), width = d.true_layer_inputs(layer);
    const float* from = gradient + (last ? d.hidden_size() : d.offset(layer));
    for (int64_t o = 0; o < rows; ++o)
      for (int64_t i = 0; i < width; ++i)
        weights[layer][o * width + i] += from[o * from_width + i];
  }
}

size_t scratch_size(const AmgsrnNetwork& n, int64_t tiles) {
  Scratch s;
  return static_cast<size_t>(carve(n, Decoder(n), kTile * tiles, nullptr, s));
}

// Adds the other parts' gradients to the first part's and clears theirs.
void gather_gradients(float* __restrict first, float* __restrict other, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    first[i] += other[i];
    other[i] = 0.0f;
  }
}

void adam(const AmgsrnNetwork& n, const AmgsrnAdam& a, int parts, int64_t first, int64_t last) {
  const Layout layout(n);
  const int64_t count = n.width * n.features;
  const float beta1 = static_cast<float>(a.beta1), rest1 = static_cast<float>(1.0 - a.beta1);
  const float beta2 = static_cast<float>(a.beta2), rest2 = static_cast<float>(1.0 - a.beta2);
  const float step = static_cast<float>(a.step_size), scale = static_cast<float>(a.square_scale);
  const float epsilon = static_cast<float>(a.epsilon);
  for (int64_t row = first; row < last; ++row) {
    const int64_t slab = row / n.height, y = row - slab * n.height;
    const int64_t grid = slab / n.depth, z = slab - grid * n.depth;
    const int64_t at =
        grid * layout.grid + (z + 1) * layout.slab + (y + 1) * layout.row + n.features;
    float* gradients = a.gradients + at;
    for (int part = 1; part < parts; ++part)
      gather_gradients(gradients, gradients + part * a.part_stride, count);
    float* __restrict node = a.nodes + at;
    float* __restrict gradient = gradients;
    float* __restrict mean = a.mean + row * count;
    float* __restrict square = a.square + row * count;
    for (int64_t i = 0; i < count; ++i) {
      const float g = gradient[i];
      gradient[i] = 0.0f;
      mean[i] = beta1 * mean[i] + rest1 * g;
      square[i] = beta2 * square[i] + rest2 * (g * g);
      node[i] -= step * mean[i] / (__builtin_sqrtf(square[i]) * scale + epsilon);
    }
  }
}

void density(const AmgsrnNetwork& n, DensityPart& part) {
  Points points;
  part.sum = 0.0;
  for (int64_t tile = part.first; tile < part.last; ++tile) {
    load_points(part.points, {0, part.count, nullptr}, tile, points);
    part.sum += tile_density(n.grids, n.transforms, points, tile_points(tile, part.count),
                             part.density + tile * kTile);
  }
}

void density_target(const AmgsrnNetwork&, DensityPart& part) {
  part.sum = 0.0;
  for (int64_t tile = part.first; tile < part.last; ++tile)
    part.sum += tile_target(part.density + tile * kTile, part.errors + tile * kTile,
                            tile_points(tile, part.count), static_cast<float>(part.total_density),
                            static_cast<float>(part.mean_error), part.target + tile * kTile);
}

void density_back(const AmgsrnNetwork& n, DensityPart& part) {
  Points points;
  // The loss is the mean of target * (log target - log density); only the density moves.
  const double tiny = static_cast<double>(kTinyDensity);
  const float share = static_cast<float>(1.0 / part.total_target);
  const float least = static_cast<float>(tiny * part.total_density);
  const float factor = static_cast<float>(-1.0 / static_cast<double>(part.count));
  for (int64_t tile = part.first; tile < part.last; ++tile) {
    load_points(part.points, {0, part.count, nullptr}, tile, points);
    alignas(64) float pull[kTile] = {};
    const int count = tile_points(tile, part.count);
    for (int p = 0; p < count; ++p) {
      const int64_t at = tile * kTile + p;
      pull[p] = factor * (part.target[at] * share + kTinyDensity) / (part.density[at] + least);
    }
    tile_density_back(n.grids, n.transforms, points, pull, part.gradients);
  }
}

}  // namespace

namespace amgsrn {

#define AMGSRN_JOIN(a, b) a##b
#define AMGSRN_TABLE(isa) AMGSRN_JOIN(kernels_, isa)
#define AMGSRN_QUOTE(text) #text
#define AMGSRN_NAME(isa) AMGSRN_QUOTE(isa)

extern const Kernels AMGSRN_TABLE(AMGSRN_ISA);
const Kernels AMGSRN_TABLE(AMGSRN_ISA) = {
    AMGSRN_NAME(AMGSRN_ISA), kHasPairs, decoder_size, pack_decoder, gradient_size, unpack_gradient,
    scratch_size,            evaluate,     train,        draw,          draw_blocks,
    density, density_target,          density_back, multiply_add, adam,          gradient_scratch_size,
    evaluate_gradient,       march_scratch_size, march,
    block_scratch_size,      march_blocks,
};

}  // namespace amgsrn
