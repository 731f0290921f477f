// The kernels of one instruction set. This file is compiled once for each, with other flags; all
// but the table at its end is internal, so that the linker can never mix the builds.
#include "kernels.h"

#include "decoder.h"
#include "encoder.h"
#include "sampling.h"
#include "vector.h"

namespace {

using amgsrn::TrainingPart;
static_assert(kTile == amgsrn::kTilePoints, "the library divides the work by tiles");

// Node arrays above this size leave the cache between two tiles: their cells are asked for early.
constexpr int64_t kCachedBytes = 16 << 20;

AMGSRN_INLINE int64_t aligned(int64_t bytes) { return (bytes + 63) / 64 * 64; }

// The memory of one part, carved from one block.
struct Scratch {
  Points points[2];
  Cells* cells[2];
  Slopes* slopes[2];
  float* features;  // [kTile][inputs]
  float* hidden;    // [layers][kTile][width]
  float* values;    // [kTile][outputs]
  float* gradient;  // the same
};

int64_t scratch_bytes(const AmgsrnNetwork& n, const Decoder& d) {
  const int64_t per_grid = 2 * aligned(sizeof(Cells)) + 2 * aligned(sizeof(Slopes));
  const int64_t floats = kTile * (d.inputs + d.layers * d.width + 2 * padded(d.outputs));
  return aligned(sizeof(Scratch)) + n.grids * per_grid + 4 * floats;
}

Scratch& carve(const AmgsrnNetwork& n, const Decoder& d, void* memory) {
  char* at = static_cast<char*>(memory);
  auto take = [&at](int64_t bytes) {
    char* here = at;
    at += aligned(bytes);
    return here;
  };
  auto take_floats = [&take](int64_t count) { return reinterpret_cast<float*>(take(4 * count)); };
  Scratch& s = *reinterpret_cast<Scratch*>(take(sizeof(Scratch)));
  for (int i = 0; i < 2; ++i) {
    s.cells[i] = reinterpret_cast<Cells*>(take(n.grids * static_cast<int64_t>(sizeof(Cells))));
    s.slopes[i] = reinterpret_cast<Slopes*>(take(n.grids * static_cast<int64_t>(sizeof(Slopes))));
  }
  s.features = take_floats(kTile * d.inputs);
  s.hidden = take_floats(kTile * d.layers * d.width);
  s.values = take_floats(kTile * padded(d.outputs));
  s.gradient = take_floats(kTile * padded(d.outputs));
  // Columns that pad the features to the product's width stay zero.
  std::memset(s.features, 0, static_cast<size_t>(4 * kTile * d.inputs));
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

// Points beyond the last lie at 0; their results are dropped.
AMGSRN_INLINE void load_points(const float* from, int64_t tile, int64_t count, Points& to) {
  const int points = tile_points(tile, count);
  from += 3 * kTile * tile;
  for (int p = 0; p < points; ++p) {
    to.x[p] = from[3 * p];
    to.y[p] = from[3 * p + 1];
    to.z[p] = from[3 * p + 2];
  }
  for (int p = points; p < kTile; ++p) to.x[p] = to.y[p] = to.z[p] = 0.0f;
}

AMGSRN_INLINE void forward(const Decoder& decoder, Scratch& s) {
  const float* in = s.features;
  for (int64_t layer = 0; layer < decoder.layers; ++layer) {
    float* out = s.hidden + layer * kTile * decoder.width;
    hidden_layer(decoder, layer, in, out);
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
    hidden_weights_back(decoder, layer, gradient, in, weight_gradients + decoder.offset(layer));
    hidden_inputs_back(decoder, layer, gradient, in);
  }
}

int64_t node_bytes(const Layout& layout) { return 4 * layout.grids * layout.grid; }

template <class Cell>
void evaluate_tiles(const AmgsrnNetwork& n, const Decoder& decoder, const float* points,
                    int64_t count, int64_t first, int64_t last, float* values, Scratch& s,
                    Cell cell) {
  const Layout layout(n);
  const bool early = node_bytes(layout) > kCachedBytes;
  auto prepare = [&](int64_t tile) {
    const int64_t side = early ? tile & 1 : 0;
    load_points(points, tile, count, s.points[side]);
    locate<false>(layout, n.transforms, s.points[side], s.cells[side], nullptr);
    if (early) prefetch<false>(layout, n.nodes, s.cells[side]);
  };
  if (early && first < last) prepare(first);
  for (int64_t tile = first; tile < last; ++tile) {
    if (!early) prepare(tile);
    gather(layout, n.nodes, s.cells[early ? tile & 1 : 0], cell, s.features, decoder.inputs);
    if (early && tile + 1 < last) prepare(tile + 1);
    forward(decoder, s);
    std::memcpy(values + tile * kTile * n.outputs, s.values,
                sizeof(float) * static_cast<size_t>(tile_points(tile, count) * n.outputs));
  }
}

void evaluate(const AmgsrnNetwork& n, const float* packed, const float* points, int64_t count,
              int64_t first, int64_t last, float* values, void* scratch) {
  const Decoder decoder = packed_decoder(n, packed);
  Scratch& s = carve(n, decoder, scratch);
  with_cell(n.features, [&](auto cell) {
    evaluate_tiles(n, decoder, points, count, first, last, values, s, cell);
  });
}

// Errors of a tile's points, and the loss's gradient by the outputs; returns the errors' sum.
AMGSRN_INLINE double compare(const TrainingPart& part, int64_t tile, int64_t outputs, Scratch& s) {
  const int points = tile_points(tile, part.count);
  const float* targets = part.targets + tile * kTile * outputs;
  float* errors = part.errors + tile * kTile;
  const float share = 1.0f / static_cast<float>(outputs);
  const float factor =
      static_cast<float>(2.0 / (static_cast<double>(part.count) * static_cast<double>(outputs)));
  double total = 0.0;
  for (int p = 0; p < points; ++p) {
    float squares = 0.0f;
    for (int64_t o = 0; o < outputs; ++o) {
      const float error = s.values[p * outputs + o] - targets[p * outputs + o];
      squares += error * error;
      s.gradient[p * outputs + o] = factor * error;
    }
    errors[p] = squares * share;
    total += static_cast<double>(errors[p]);
  }
  for (int64_t i = points * outputs; i < kTile * outputs; ++i) s.gradient[i] = 0.0f;
  return total;
}

template <bool Moving, class Cell>
void train_tiles(const AmgsrnNetwork& n, const Decoder& decoder, TrainingPart& part, Scratch& s,
                 Cell cell) {
  const Layout layout(n);
  const bool early = node_bytes(layout) > kCachedBytes;
  auto prepare = [&](int64_t tile) {
    const int64_t side = early ? tile & 1 : 0;
    load_points(part.points, tile, part.count, s.points[side]);
    locate<Moving>(layout, n.transforms, s.points[side], s.cells[side], s.slopes[side]);
    if (early) prefetch<false>(layout, n.nodes, s.cells[side]);
  };
  part.loss = 0.0;
  if (early && part.first < part.last) prepare(part.first);
  for (int64_t tile = part.first; tile < part.last; ++tile) {
    const int64_t side = early ? tile & 1 : 0;
    const Cells* cells = s.cells[side];
    if (!early) prepare(tile);
    gather(layout, n.nodes, cells, cell, s.features, decoder.inputs);
    if (early) prefetch<true>(layout, part.nodes, cells);
    if (early && tile + 1 < part.last) prepare(tile + 1);
    forward(decoder, s);
    part.loss += compare(part, tile, n.outputs, s);
    backward(decoder, s, part.weights);
    if (Moving) {
      differentiate(layout, n.nodes, cells, cell, s.features, decoder.inputs, s.slopes[side]);
      add_map_gradients(layout, s.points[side], s.slopes[side], part.transforms);
    }
    scatter(layout, part.nodes, cells, cell, s.features, decoder.inputs,
            tile_points(tile, part.count));
  }
}

void train(const AmgsrnNetwork& n, const float* packed, TrainingPart& part, void* scratch) {
  const Decoder decoder = packed_decoder(n, packed);
  Scratch& s = carve(n, decoder, scratch);
  with_cell(n.features, [&](auto cell) {
    if (part.transforms) {
      train_tiles<true>(n, decoder, part, s, cell);
    } else {
      train_tiles<false>(n, decoder, part, s, cell);
    }
  });
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

size_t scratch_size(const AmgsrnNetwork& n) {
  return static_cast<size_t>(scratch_bytes(n, Decoder(n)));
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

}  // namespace

namespace amgsrn {

#define AMGSRN_JOIN(a, b) a##b
#define AMGSRN_TABLE(isa) AMGSRN_JOIN(kernels_, isa)
#define AMGSRN_QUOTE(text) #text
#define AMGSRN_NAME(isa) AMGSRN_QUOTE(isa)

extern const Kernels AMGSRN_TABLE(AMGSRN_ISA);
const Kernels AMGSRN_TABLE(AMGSRN_ISA) = {
    AMGSRN_NAME(AMGSRN_ISA), decoder_size, pack_decoder, gradient_size, unpack_gradient,
    scratch_size,            evaluate,     train,        draw,          adam,
};

}  // namespace amgsrn
