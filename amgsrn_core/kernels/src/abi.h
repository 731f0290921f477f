// The structs of the C interface; amgsrn_core/kernels/loader.py declares the same ones.
#pragma once

#include <cstdint>

extern "C" {

// A network. Nodes are stored channel-last with one layer of zeros around each grid, so that a
// clamped cell gives the reference's zero padding without masks.
struct AmgsrnNetwork {
  int64_t grids, features;
  int64_t depth, height, width;  // nodes of a grid along z, y, x, without the layer of zeros
  int64_t hidden_layers, hidden_width, outputs;
  const float* nodes;           // [grids][depth + 2][height + 2][width + 2][features]
  const float* transforms;      // [grids][3][4]
  const float* const* weights;  // hidden_layers + 1 matrices [out][in]
  int64_t fast;                 // round what hidden layers multiply to bfloat16 where possible
};

// The data that a network is fitted to, and how points are drawn from them.
struct AmgsrnData {
  int64_t components, depth, height, width;
  const float* values;    // [components][depth][height][width]
  const void* cells;      // flat numbers of the cells to draw from; null: all
  int64_t cell_count;     // how many these are
  int32_t cell_bytes;     // of one number: 4 or 8, signed
  int32_t cubic;          // Catmull-Rom instead of trilinear targets
};

// What a training step leaves behind. Node gradients are added per part; the rest is overwritten.
struct AmgsrnGradients {
  float* nodes;            // [parts][part_stride], each laid out like the nodes
  int64_t part_stride;
  float* const* weights;   // like the network's
  float* transforms;       // [grids][3][4]; null while the grids rest
  float* errors;           // [points], mean over the outputs of the squared errors
  double loss;             // their mean
};

// One step of Adam (Kingma and Ba, ICLR 2015) on the nodes.
struct AmgsrnAdam {
  float* nodes;
  float* gradients;  // as above; cleared on the way
  int64_t part_stride;
  float *mean, *square;  // moments [grids][depth][height][width][features]
  double step_size;      // learning rate / (1 - beta1^t)
  double beta1, beta2;
  double square_scale;   // 1 / sqrt(1 - beta2^t)
  double epsilon;
};
}
