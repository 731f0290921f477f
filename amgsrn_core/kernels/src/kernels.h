// What each instruction set's build of kernels.cpp offers to the rest of the library.
#pragma once

#include <atomic>
#include <cstddef>

#include "abi.h"

namespace amgsrn {

constexpr int64_t kTilePoints = 64;

// One part's share of a training step.
struct TrainingPart {
  const float* points;    // [points][3]
  const float* targets;   // [points][outputs]
  int64_t count;          // points of the whole batch
  int64_t first, last;    // tiles of this part
  float* nodes;           // gradients of the nodes, added to
  float* weights;         // gradients of the packed matrices [out][in], added to
  double* transforms;     // gradients of the maps, added to; null while the grids rest
  float* errors;          // [points]
  double loss;            // sum of the errors, set
};

struct Kernels {
  const char* name;
  // Floats of the packed decoder, its matrices, and its gradient of one part.
  int64_t (*decoder_size)(const AmgsrnNetwork&);
  void (*pack_decoder)(const AmgsrnNetwork&, float* zeros);
  int64_t (*gradient_size)(const AmgsrnNetwork&);
  // Adds the padded gradients of one part to matrices [out][in].
  void (*unpack_gradient)(const AmgsrnNetwork&, const float* gradient, float* const* weights);
  // Bytes that a part of so many tiles needs to itself.
  size_t (*scratch_size)(const AmgsrnNetwork&, int64_t tiles);
  // Values [points][outputs] of tiles [first, last) of the points [points][3].
  void (*evaluate)(const AmgsrnNetwork&, const float* decoder, const float* points, int64_t count,
                   int64_t first, int64_t last, float* values, void* scratch);
  void (*train)(const AmgsrnNetwork&, const float* decoder, TrainingPart&, void* scratch);
  void (*draw)(const AmgsrnData&, const float* uniform, int64_t batch, int64_t first, int64_t last,
               float* points, float* targets);
  // Rows [first, last) of all grids' rows of nodes along x.
  void (*adam)(const AmgsrnNetwork&, const AmgsrnAdam&, int parts, int64_t first, int64_t last);
  // The same for values and their gradients [points][outputs][3] by the points.
  size_t (*gradient_scratch_size)(const AmgsrnNetwork&, int64_t tiles);
  void (*evaluate_gradient)(const AmgsrnNetwork&, const float* decoder, const float* points,
                            int64_t count, int64_t first, int64_t last, float* values,
                            float* gradients, void* scratch);
  // Colours [rays][4], multiplied with the opacity, of stretches of rays, as long as there are any.
  size_t (*march_scratch_size)(const AmgsrnVolume&);
  void (*march)(const AmgsrnVolume&, const AmgsrnLook&, const AmgsrnRays&,
                std::atomic<int64_t>& next, float* rgba, void* scratch);
};

}  // namespace amgsrn
