// The rays through a picture's pixels, and where samples lie on them.
// amgsrn_core/rendering/camera.py and samples.py are the reference.
#pragma once

#include "abi.h"
#include "kernels.h"
#include "vector.h"

namespace {

using amgsrn::kStretch;
using amgsrn::Stretch;
constexpr int kCoverTile = AMGSRN_COVER_TILE;

// Along the longest axis that a volume may have that is more than one a voxel.
constexpr double kMostSamples = 1 << 24;

// Rays origin + t * direction. t counts their own steps: samples lie at t = k + offset.
struct RayTable {
  Stretch pixels;
  double origin[3][kStretch], direction[3][kStretch];  // in axis coordinates
  double towards[3][kStretch];   // unit vector in the world
  double near[kStretch], far[kStretch], offset[kStretch];
  double first[kStretch], end[kStretch];  // whole: the first k, and the one behind the last
  double exponent[kStretch];     // steps of the table's opacities in one of the ray's
};

// A random number in [0, 1) for a pixel: SplitMix64's finaliser; see samples.py.
AMGSRN_INLINE double random_offset(uint64_t seed, uint64_t pixel) {
  uint64_t state = (pixel + (seed << 32) + 1) * 0x9E3779B97F4A7C15u;
  state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9u;
  state = (state ^ (state >> 27)) * 0x94D049BB133111EBu;
  state ^= state >> 31;
  return static_cast<double>(state >> 11) * 0x1p-53;
}

// 1 / slopes; 0 where these are 0.
AMGSRN_INLINE void invert(const double* slope, double* inverse) {
  for (int i = 0; i < kStretch; ++i) inverse[i] = slope[i] != 0.0 ? 1.0 / slope[i] : 0.0;
}

// Cuts ranges of t to low <= start + t / inverse < high.
AMGSRN_INLINE void cut(const double* start, const double* inverse, double low, double high,
                       double* near, double* far) {
  const double infinity = __builtin_inf();
  for (int i = 0; i < kStretch; ++i) {
    const double one = (low - start[i]) * inverse[i], other = (high - start[i]) * inverse[i];
    const bool outside = !(start[i] >= low && start[i] < high);
    double enter = one < other ? one : other, leave = one < other ? other : one;
    enter = inverse[i] != 0.0 ? enter : outside ? infinity : -infinity;
    leave = inverse[i] != 0.0 ? leave : outside ? -infinity : infinity;
    near[i] = enter > near[i] ? enter : near[i];
    far[i] = leave < far[i] ? leave : far[i];
  }
}

// Rows of a matrix times points, w = 1 or what there is; divided by the last row.
AMGSRN_INLINE void unproject(const double (*matrix)[4], const double* x, const double* y,
                             const double* z, double (*world)[kStretch]) {
  for (int i = 0; i < kStretch; ++i) {
    const double w = 1.0 / (matrix[3][0] * x[i] + matrix[3][1] * y[i] + matrix[3][2] * z[i] + matrix[3][3]);
    for (int a = 0; a < 3; ++a)
      world[a][i] =
          (matrix[a][0] * x[i] + matrix[a][1] * y[i] + matrix[a][2] * z[i] + matrix[a][3]) * w;
  }
}

// Turns vectors into axis coordinates, which are the world's unless the grid is turned.
AMGSRN_INLINE void to_axes(const AmgsrnView& v, const double (*world)[kStretch],
                           const double* origin, double (*to)[kStretch]) {
  for (int a = 0; a < 3; ++a)
    for (int i = 0; i < kStretch; ++i)
      to[a][i] = v.is_turned ? origin[a] + v.to_axes[a][0] * (world[0][i] - origin[0]) +
                                   v.to_axes[a][1] * (world[1][i] - origin[1]) +
                                   v.to_axes[a][2] * (world[2][i] - origin[2])
                             : world[a][i];
}

// Where something may be seen in the picture's tile that a pixel is in: distances from where samples
// are counted; null where that is not known.
AMGSRN_INLINE const float* covered(const AmgsrnView& v, int64_t pixel) {
  if (!v.cover) return nullptr;
  const int64_t row = pixel / v.width, column = pixel - row * v.width;
  const int64_t across = (v.width + kCoverTile - 1) / kCoverTile;
  return v.cover + 2 * (row / kCoverTile * across + column / kCoverTile);
}

// Whether something may be seen in one of these pixels.
AMGSRN_INLINE bool any_covered(const AmgsrnView& v, const Stretch& s) {
  for (int i = 0; i < s.count; ++i) {
    const float* range = covered(v, s.numbers[i]);
    if (!range || range[0] <= range[1]) return true;
  }
  return false;
}

// Leaves samples out at which nothing is seen. A step is cut by at most half of its length.
AMGSRN_INLINE void keep_covered(const AmgsrnView& v, const int64_t* numbers, const double* per_step,
                                RayTable& r) {
  for (int i = 0; i < kStretch; ++i) {
    const float* range = covered(v, numbers[i]);
    const double low = static_cast<double>(range[0]) * per_step[i] - r.offset[i];
    const double high = static_cast<double>(range[1]) * per_step[i] - r.offset[i];
    const double first = __builtin_floor(low - 1.0), end = __builtin_ceil(high + 2.0);
    r.first[i] = first > r.first[i] ? first : r.first[i];
    r.end[i] = end < r.end[i] ? end : r.end[i];
    r.end[i] = range[0] <= range[1] && r.first[i] < r.end[i] ? r.end[i] : r.first[i];
  }
}

// Makes the rays of the table's pixels; false if one has too many samples.
AMGSRN_APART bool make_rays(const AmgsrnView& v, RayTable& r) {
  double x[kStretch], y[kStretch], z[kStretch], length[kStretch], begin[3][kStretch];
  double ends[3][kStretch], eye[3][kStretch], along[kStretch], inverse[3][kStretch];
  double other[kStretch];
  int64_t numbers[kStretch];
  const double per_width = 1.0 / static_cast<double>(v.width);
  const double per_height = 1.0 / static_cast<double>(v.height);
  for (int i = 0; i < kStretch; ++i) {
    numbers[i] = r.pixels.numbers[i < r.pixels.count ? i : 0];
    // Exact: pixels have numbers below 2^53, and columns + 0.5 are no whole number of rows.
    const double row = __builtin_floor((static_cast<double>(numbers[i]) + 0.5) * per_width);
    const double column = static_cast<double>(numbers[i]) - row * static_cast<double>(v.width);
    x[i] = (column + 0.5) * (2.0 * per_width) - 1.0;
    y[i] = (row + 0.5) * (2.0 * per_height) - 1.0;
    z[i] = -1.0;
  }
  unproject(v.clip_to_world, x, y, z, begin);
  for (double& depth : z) depth = 1.0;
  unproject(v.clip_to_world, x, y, z, ends);
  for (int i = 0; i < kStretch; ++i) {
    double squares = 0.0;
    for (int a = 0; a < 3; ++a) {
      r.towards[a][i] = ends[a][i] - begin[a][i];
      squares += r.towards[a][i] * r.towards[a][i];
    }
    length[i] = 1.0 / __builtin_sqrt(squares);
  }
  for (int a = 0; a < 3; ++a)
    for (int i = 0; i < kStretch; ++i) r.towards[a][i] *= length[i];
  for (int i = 0; i < kStretch; ++i)
    along[i] = v.is_parallel ? begin[0][i] * r.towards[0][i] + begin[1][i] * r.towards[1][i] +
                                   begin[2][i] * r.towards[2][i]
                             : 0.0;
  for (int a = 0; a < 3; ++a)
    for (int i = 0; i < kStretch; ++i)
      eye[a][i] = v.is_parallel ? begin[a][i] - along[i] * r.towards[a][i] : v.eye[a];
  if (v.depth) {
    for (int i = 0; i < kStretch; ++i)
      z[i] = 2.0 * static_cast<double>(v.depth[numbers[i]]) - 1.0;
    unproject(v.clip_to_world, x, y, z, ends);
  }
  for (int i = 0; i < kStretch; ++i) {
    r.near[i] = r.far[i] = 0.0;
    for (int a = 0; a < 3; ++a) {
      r.near[i] += (begin[a][i] - eye[a][i]) * r.towards[a][i];
      r.far[i] += (ends[a][i] - eye[a][i]) * r.towards[a][i];
    }
  }
  const double zero[3] = {};
  to_axes(v, eye, v.axes_origin, r.origin);
  to_axes(v, r.towards, zero, r.direction);
  for (int a = 0; a < 3; ++a) {
    const bool is_cropped = v.crop[a][0] > -__builtin_inf() || v.crop[a][1] < __builtin_inf();
    invert(r.direction[a], inverse[a]);
    cut(r.origin[a], inverse[a], v.box[a][0], v.box[a][1], r.near, r.far);
    if (!is_cropped) continue;
    if (v.is_turned) invert(r.towards[a], inverse[a]);
    cut(eye[a], inverse[a], v.crop[a][0], v.crop[a][1], r.near, r.far);
  }
  for (int64_t p = 0; p < v.plane_count; ++p) {
    const double* plane = v.planes + 4 * p;
    for (int i = 0; i < kStretch; ++i) {
      x[i] = eye[0][i] * plane[0] + eye[1][i] * plane[1] + eye[2][i] * plane[2];
      y[i] = r.towards[0][i] * plane[0] + r.towards[1][i] * plane[1] + r.towards[2][i] * plane[2];
    }
    invert(y, other);
    cut(x, other, -plane[3], __builtin_inf(), r.near, r.far);
  }
  const double per_mean = 1.0 / v.mean_step;
  double per_spacing[3];
  for (int a = 0; a < 3; ++a) per_spacing[a] = v.samples_per_voxel / v.spacing[a];
  bool fits = true;
  for (int i = 0; i < kStretch; ++i) {
    double squares = 0.0;
    for (int a = 0; a < 3; ++a) {
      const double samples = r.direction[a][i] * per_spacing[a];
      squares += samples * samples;
    }
    const double per_step = __builtin_sqrt(squares), step = 1.0 / per_step;
    const double ratio = step * per_mean;
    r.exponent[i] = __builtin_fabs(ratio - 1.0) < 1e-6 ? 1.0 : ratio;
    const bool is_seen = r.near[i] < r.far[i];
    for (int a = 0; a < 3; ++a) r.direction[a][i] *= step;
    r.near[i] *= per_step, r.far[i] *= per_step;
    r.offset[i] = 0.5;
    if (v.jitter)
      r.offset[i] = random_offset(static_cast<uint64_t>(v.seed), static_cast<uint64_t>(numbers[i]));
    const double first = __builtin_ceil(r.near[i] - r.offset[i] - v.reach);
    const double end = __builtin_ceil(r.far[i] - r.offset[i] + v.reach);
    r.first[i] = is_seen ? first : 0.0;
    r.end[i] = is_seen ? end : 0.0;
    fits &= r.end[i] - r.first[i] <= kMostSamples;
    length[i] = per_step;
  }
  if (v.cover) keep_covered(v, numbers, length, r);
  return fits;
}

}  // namespace
