// The decoder on one tile of points, forwards and backwards; rows are points, columns neurons.
#pragma once

#include "abi.h"
#include "encoder.h"
#include "product.h"

namespace {

#if defined(AMGSRN_PAIRS)
constexpr bool kHasPairs = true;
#else
constexpr bool kHasPairs = false;
#endif

// The decoder's matrices, padded with zeros to the kernels' widths.
struct Decoder {
  int64_t layers, outputs;
  int64_t inputs, width;  // padded
  int64_t true_inputs, true_width;
  bool fast;              // hidden layers hold pairs of bfloat16 numbers, in half of their memory
  const float* forward;   // hidden layers [in][out], one after the other; pairs [in / 2][out]
  const float* backward;  // the same [out][in]; pairs [out / 2][in]
  const float* last;      // [outputs][width]

  explicit Decoder(const AmgsrnNetwork& n)
      : layers(n.hidden_layers),
        outputs(n.outputs),
        inputs(padded(n.grids * n.features)),
        width(padded(n.hidden_width)),
        true_inputs(n.grids * n.features),
        true_width(n.hidden_width),
        fast(kHasPairs && n.fast) {}

  int64_t hidden_size() const { return (inputs + (layers - 1) * width) * width; }
  int64_t size() const { return 2 * hidden_size() + outputs * width; }
  int64_t layer_inputs(int64_t layer) const { return layer ? width : inputs; }
  int64_t true_layer_inputs(int64_t layer) const { return layer ? true_width : true_inputs; }
  // Floats that hold two rounded copies of a tile's neurons.
  int64_t rounded_size() const { return fast ? kTile * (inputs > width ? inputs : width) : 0; }
  // Where a layer's matrix begins.
  int64_t offset(int64_t layer) const {
    return layer ? (inputs + (layer - 1) * width) * width : 0;
  }

  // Fills `storage`, size() zeros, from matrices [out][in] without padding.
  void pack(const float* const* weights, float* storage) {
    float* to = storage + hidden_size();
    for (int64_t layer = 0; layer < layers; ++layer) {
      const int64_t in = true_layer_inputs(layer), in_padded = layer_inputs(layer);
      for (int64_t o = 0; o < true_width; ++o)
        for (int64_t i = 0; i < in; ++i) {
          const float weight = weights[layer][o * in + i];
          storage[offset(layer) + i * width + o] = weight;
          to[offset(layer) + o * in_padded + i] = weight;
        }
    }
    float* outputs_to = storage + 2 * hidden_size();
    for (int64_t o = 0; o < outputs; ++o)
      std::memcpy(outputs_to + o * width, weights[layers] + o * true_width,
                  sizeof(float) * static_cast<size_t>(true_width));
#if defined(AMGSRN_PAIRS)
    for (int64_t layer = 0; fast && layer < layers; ++layer) {
      float *in_out = storage + offset(layer), *out_in = to + offset(layer);
      const int64_t in = layer_inputs(layer);
      pair_rows(in_out, in, width, reinterpret_cast<Pair*>(in_out));
      pair_rows(out_in, width, in, reinterpret_cast<Pair*>(out_in));
    }
#endif
    forward = storage;
    backward = to;
    last = outputs_to;
  }
};

#if defined(AMGSRN_PAIRS)
// A tile's neurons [kTile][width], rounded to pairs of neighbours along the width.
AMGSRN_APART const Pair* round_tile(const float* neurons, int64_t width, float* rounded) {
  Pair* pairs = reinterpret_cast<Pair*>(rounded);
  round_row(neurons, kTile * width, pairs);
  return pairs;
}
#endif

// The product of a tile's neurons [kTile][depth] with a packed matrix.
template <class Finish>
AMGSRN_INLINE void tile_product(const Decoder& decoder, const float* neurons, int64_t depth,
                                const float* matrix, int64_t columns, float* rounded,
                                Finish finish) {
#if defined(AMGSRN_PAIRS)
  if (decoder.fast)
    return product<Pairs>({round_tile(neurons, depth, rounded), depth / 2, 1},
                          reinterpret_cast<const Pair*>(matrix), columns, depth / 2, kTile,
                          finish);
#endif
  (void)decoder, (void)rounded;
  product<Floats>({neurons, depth, 1}, matrix, columns, depth, kTile, finish);
}

// One hidden layer: out [kTile][width] of in [kTile][layer inputs].
AMGSRN_APART void hidden_layer(const Decoder& decoder, int64_t layer, const float* in, float* out,
                                float* rounded) {
  const int64_t width = decoder.width;
  tile_product(decoder, in, decoder.layer_inputs(layer), decoder.forward + decoder.offset(layer),
               width, rounded,
               [=](int64_t p, int64_t o, Vector x) { store(out + p * width + o, rectify(x)); });
}

// The output layer: out [kTile][outputs].
AMGSRN_APART void output_layer(const Decoder& decoder, const float* in, float* out) {
  const int64_t width = decoder.width;
  for (int64_t o = 0; o < decoder.outputs; ++o) {
    const float* weights = decoder.last + o * width;
    for (int p = 0; p < kTile; p += 4) {
      const float* rows = in + p * width;
      Vector a = {}, b = {}, c = {}, d = {};
      for (int64_t i = 0; i < width; i += kLanes) {
        const Vector weight = load(weights + i);
        a += weight * load(rows + i);
        b += weight * load(rows + width + i);
        c += weight * load(rows + 2 * width + i);
        d += weight * load(rows + 3 * width + i);
      }
      float* to = out + p * decoder.outputs + o;
      to[0] = sum(a);
      to[decoder.outputs] = sum(b);
      to[2 * decoder.outputs] = sum(c);
      to[3 * decoder.outputs] = sum(d);
    }
  }
}

// What output_layer_back does, for `Vectors` vectors of neurons from `i` on, whose sums do not wait for each other.
template <int Vectors>
AMGSRN_INLINE void output_columns_back(const Decoder& decoder, const float* gradient, int64_t i,
                                       float* hidden, float* weight_gradient) {
  const int64_t width = decoder.width, outputs = decoder.outputs;
  const Vector zero = {};
  for (int64_t o = 0; o < outputs; ++o) {
    Vector totals[Vectors];
    float* to = weight_gradient + o * width + i;
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) totals[v] = load(to + v * kLanes);
    for (int p = 0; p < kTile; ++p) {
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v)
        totals[v] += gradient[p * outputs + o] * load(hidden + p * width + i + v * kLanes);
    }
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) store(to + v * kLanes, totals[v]);
  }
  for (int p = 0; p < kTile; ++p) {
    Vector back[Vectors] = {};
    for (int64_t o = 0; o < outputs; ++o) {
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v)
        back[v] += gradient[p * outputs + o] * load(decoder.last + o * width + i + v * kLanes);
    }
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      float* at = hidden + p * width + i + v * kLanes;
      store(at, load(at) > zero ? back[v] : zero);
    }
  }
}

// From the gradient of the outputs [kTile][outputs] to that of the last hidden layer before its
// ReLU, which replaces the layer's values; adds to the output matrix's gradient.
AMGSRN_APART void output_layer_back(const Decoder& decoder, const float* gradient, float* hidden,
                                     float* weight_gradient) {
  int64_t i = 0;
  for (; i + 4 * kLanes <= decoder.width; i += 4 * kLanes)
    output_columns_back<4>(decoder, gradient, i, hidden, weight_gradient);
  for (; i < decoder.width; i += kLanes)
    output_columns_back<1>(decoder, gradient, i, hidden, weight_gradient);
}

// Adds to a hidden layer's matrix gradient [out][in].
AMGSRN_APART void hidden_weights_back(const Decoder& decoder, int64_t layer,
                                       const float* gradient, const float* in,
                                       float* weight_gradient, float* rounded) {
  const int64_t inputs = decoder.layer_inputs(layer), width = decoder.width;
  auto finish = [=](int64_t o, int64_t i, Vector x) {
    float* at = weight_gradient + o * inputs + i;
    store(at, load(at) + x);
  };
#if defined(AMGSRN_PAIRS)
  if (decoder.fast) {
    Pair* gradients = reinterpret_cast<Pair*>(rounded);
    Pair* neurons = gradients + kTile / 2 * width;
    pair_rows(gradient, kTile, width, gradients);
    pair_rows(in, kTile, inputs, neurons);
    return product<Pairs>({gradients, 1, width}, neurons, inputs, kTile / 2, width, finish);
  }
#endif
  (void)rounded;
  product<Floats>({gradient, 1, width}, in, inputs, kTile, width, finish);
}

// Replaces a layer's inputs by their gradient, through the ReLU that made them unless they are
// the features.
AMGSRN_APART void hidden_inputs_back(const Decoder& decoder, int64_t layer, const float* gradient,
                                      float* in, float* rounded) {
  const int64_t inputs = decoder.layer_inputs(layer), width = decoder.width;
  const float* weights = decoder.backward + decoder.offset(layer);
  if (layer == 0) {
    tile_product(decoder, gradient, width, weights, inputs, rounded,
                 [=](int64_t p, int64_t i, Vector x) { store(in + p * inputs + i, x); });
  } else {
    tile_product(decoder, gradient, width, weights, inputs, rounded,
                 [=](int64_t p, int64_t i, Vector x) {
                   float* at = in + p * inputs + i;
                   const Vector zero = {};
                   store(at, load(at) > zero ? x : zero);
                 });
  }
}

}  // namespace
