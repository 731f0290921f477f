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
  const float* counts;    // [points] what each counts; null: all count 1
  double loss;            // sum of the errors by what they count, set
};

// One part's share of the density loss, whose three passes need sums of the one before.
struct DensityPart {
  const float *points, *errors;  // [points][3] and [points]
  int64_t count;                 // points of the whole batch
  int64_t first, last;           // tiles of this part
  double mean_error;
  double total_density, total_target;  // of the whole batch, from the first and the second pass
  float *density, *target;             // [points]
  double sum;                          // set by the first and the second pass
  double* gradients;                   // [grids][12], added to by the third pass
};

// How marching ended.
enum Outcome { kDone = 0, kTooManySamples = 2, kFull = 3 };

constexpr int kStretch = 64;  // rays that are made together

// Neighbours of a picture.
struct Stretch {
  int count;
  int64_t numbers[kStretch];  // row * width + column
  int64_t places[kStretch];   // where their colours go
};

// What of a picture is made.
struct Pixels {
  const AmgsrnView& view;
  const int64_t* numbers;  // [count] of pixels; null: all of the view's rows
  int64_t count;
  float* rgba;             // [count][4], or of the whole picture, [height * width][4]; zeros
  bool is_picture;
  std::atomic<int64_t>& samples;  // added to: how many were evaluated

  static constexpr int64_t kEdge = 8;  // of a stretch of rows, in pixels
  int64_t across() const { return (view.width + kEdge - 1) / kEdge; }
  int64_t stretches() const {
    if (numbers) return (count + kStretch - 1) / kStretch;
    return across() * ((view.rows[1] - view.rows[0] + kEdge - 1) / kEdge);
  }

  // The number-th stretch: pixels as they are listed, or a square of them, 4 x 4 after 4 x 4.
  void fill(int64_t number, Stretch& s) const {
    s.count = 0;
    if (numbers) {
      const int64_t first = number * kStretch;
      const int64_t left = count - first;
      s.count = left < kStretch ? static_cast<int>(left) : kStretch;
      for (int i = 0; i < s.count; ++i) {
        s.numbers[i] = numbers[first + i];
        s.places[i] = is_picture ? s.numbers[i] : first + i;
      }
      return;
    }
    const int64_t corner[2] = {number % across() * kEdge, view.rows[0] + number / across() * kEdge};
    const int64_t first = is_picture ? 0 : view.rows[0] * view.width;
    for (int i = 0; i < kStretch; ++i) {
      const int64_t column = corner[0] + (i >> 4 & 1) * 4 + (i & 3);
      const int64_t row = corner[1] + (i >> 5) * 4 + (i >> 2 & 3);
      if (column >= view.width || row >= view.rows[1]) continue;
      s.numbers[s.count] = row * view.width + column;
      s.places[s.count] = s.numbers[s.count] - first;
      ++s.count;
    }
  }

  float* colour(int64_t place) const { return rgba + 4 * place; }
};

// The same through a working set.
struct BlockPixels : Pixels {
  AmgsrnWorkingSet& set;
  float cell_edge, per_cell;  // voxels of a macro-cell, and 1 / that
  void (*find_victims)(AmgsrnWorkingSet&);
};

struct Kernels {
  const char* name;
  bool has_fast;  // whether networks may be `fast`
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
  void (*draw_blocks)(const AmgsrnData&, const AmgsrnBlocks&, const AmgsrnDraws&, int64_t first,
                      int64_t last);
  void (*density)(const AmgsrnNetwork&, DensityPart&);
  void (*density_target)(const AmgsrnNetwork&, DensityPart&);
  void (*density_back)(const AmgsrnNetwork&, DensityPart&);
  // As many rounds of multiplications and additions as asked for, with bfloat16 numbers where
  // possible if `fast`; returns how many numbers were multiplied and added.
  double (*multiply_add)(int64_t rounds, bool fast);
  // Rows [first, last) of all grids' rows of nodes along x.
  void (*adam)(const AmgsrnNetwork&, const AmgsrnAdam&, int parts, int64_t first, int64_t last);
  // The same for values and their gradients [points][outputs][3] by the points.
  size_t (*gradient_scratch_size)(const AmgsrnNetwork&, int64_t tiles);
  void (*evaluate_gradient)(const AmgsrnNetwork&, const float* decoder, const float* points,
                            int64_t count, int64_t first, int64_t last, float* values,
                            float* gradients, void* scratch);
  // Colours, multiplied with the opacity, of stretches of pixels, as long as there are any.
  size_t (*march_scratch_size)(const AmgsrnVolume&);
  Outcome (*march)(const AmgsrnVolume&, const AmgsrnAppearance&, const Pixels&,
                   std::atomic<int64_t>& next, void* scratch);
  size_t (*block_scratch_size)(const AmgsrnVolume&);
  Outcome (*march_blocks)(const AmgsrnVolume&, const AmgsrnAppearance&, const BlockPixels&,
                          std::atomic<int64_t>& next, void* scratch);
};

}  // namespace amgsrn
