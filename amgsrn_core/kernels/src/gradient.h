// The network's derivative by the point: the decoder backwards from one output at a time, then the
// slopes of all feature grids. Unlike in training, the layers' values stay as they are.
#pragma once

#include "decoder.h"
#include "encoder.h"

namespace {

// Gradient of one output by the last hidden layer before its ReLU: out [kTile][width].
AMGSRN_APART void output_gradient(const Decoder& decoder, int64_t output, const float* hidden,
                                  float* out) {
  const float* weights = decoder.last + output * decoder.width;
  const Vector zero = {};
  for (int64_t i = 0; i < decoder.width; i += kLanes) {
    const Vector weight = load(weights + i);
    for (int p = 0; p < kTile; ++p) {
      const int64_t at = p * decoder.width + i;
      store(out + at, load(hidden + at) > zero ? weight : zero);
    }
  }
}

// From the gradient by a hidden layer [kTile][width] to that by its inputs; `values` are those of
// the layer before, whose ReLU the gradient passes, or null for the features.
AMGSRN_APART void layer_gradient(const Decoder& decoder, int64_t layer, const float* gradient,
                                 const float* values, float* out) {
  const int64_t inputs = decoder.layer_inputs(layer), width = decoder.width;
  const float* weights = decoder.backward + decoder.offset(layer);
  if (values) {
    product<Floats>({gradient, width, 1}, weights, inputs, width, kTile,
            [=](int64_t p, int64_t i, Vector x) {
              const Vector zero = {};
              store(out + p * inputs + i, load(values + p * inputs + i) > zero ? x : zero);
            });
  } else {
    product<Floats>({gradient, width, 1}, weights, inputs, width, kTile,
            [=](int64_t p, int64_t i, Vector x) { store(out + p * inputs + i, x); });
  }
}

// Gradient of one output by the features, [kTile][inputs], in one of the two buffers.
AMGSRN_INLINE const float* feature_gradient(const Decoder& decoder, int64_t output,
                                            const float* hidden, float* one, float* other) {
  const int64_t layer_size = kTile * decoder.width;
  output_gradient(decoder, output, hidden + (decoder.layers - 1) * layer_size, one);
  for (int64_t layer = decoder.layers - 1; layer >= 0; --layer) {
    layer_gradient(decoder, layer, one, layer ? hidden + (layer - 1) * layer_size : nullptr, other);
    float* swap = one;
    one = other, other = swap;
  }
  return one;
}

// Gradient of a value by one point, from that by the point's features; `slopes` is for scratch.
template <class Cell>
AMGSRN_INLINE void point_gradient(const Layout& layout, const float* maps, const Cells& cells, Cell,
                                  int p, const float* by_features, int64_t width,
                                  const float* changes, float* slopes, float* out) {
  const int64_t count = Cell::kFeatures ? Cell::kFeatures : layout.features;
  const int64_t stride = cells.stride;
  // A local coordinate spans half of the nodes' distances.
  const float half[3] = {0.5f * static_cast<float>(layout.width - 1),
                         0.5f * static_cast<float>(layout.height - 1),
                         0.5f * static_cast<float>(layout.depth - 1)};
  Vector sums[3] = {};
  for (int axis = 0; axis < 3; ++axis) {
    std::memcpy(slopes, cells.free[axis] + p * stride, sizeof(float) * static_cast<size_t>(stride));
    Cell::differentiate(changes + (3 * p + axis) * width, by_features + p * width, layout.grids,
                        count, slopes);
    for (int64_t grid = layout.grids; grid < stride; ++grid) slopes[grid] = 0.0f;
    for (int64_t grid = 0; grid < stride; grid += kLanes) {
      const Vector slope = half[axis] * load(slopes + grid);
      for (int64_t i = 0; i < 3; ++i)
        sums[i] += slope * load(maps + (4 * axis + i) * stride + grid);
    }
  }
  for (int i = 0; i < 3; ++i) out[i] = sum(sums[i]);
}

}  // namespace
