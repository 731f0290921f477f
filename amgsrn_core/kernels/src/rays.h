// The rays through a picture's pixels, and where samples lie on them.
// amgsrn_core/rendering/camera.py and samples.py are the reference.
#pragma once

#include "abi.h"
#include "vector.h"

namespace {

constexpr int kStretch = 64;  // rays that are made together

// Along the longest axis that a volume may have that is more than one a voxel.
constexpr double kMostSamples = 1 << 24;

// Rays origin + t * direction. t counts their own steps: samples lie at t = k + offset.
struct RayTable {
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

// Cuts ranges of t to low <= start + t * slope < high.
AMGSRN_INLINE void cut(const double* start, const double* slope, double low, double high,
                       double* near, double* far) {
  const double infinity = __builtin_inf();
  for (int i = 0; i < kStretch; ++i) {
    const double one = (low - start[i]) / slope[i], other = (high - start[i]) / slope[i];
    const bool outside = !(start[i] >= low && start[i] < high);
    double enter = one < other ? one : other, leave = one < other ? other : one;
    enter = slope[i] != 0.0 ? enter : outside ? infinity : -infinity;
    leave = slope[i] != 0.0 ? leave : outside ? -infinity : infinity;
    near[i] = enter > near[i] ? enter : near[i];
    far[i] = leave < far[i] ? leave : far[i];
  }
}

// Rows of a matrix times points, w = 1 or what there is; divided by the last row.
AMGSRN_INLINE void unproject(const double (*matrix)[4], const double* x, const double* y,
                             const double* z, double (*world)[kStretch]) {
  for (int i = 0; i < kStretch; ++i) {
    const double w = matrix[3][0] * x[i] + matrix[3][1] * y[i] + matrix[3][2] * z[i] + matrix[3][3];
    for (int a = 0; a < 3; ++a)
      world[a][i] =
          (matrix[a][0] * x[i] + matrix[a][1] * y[i] + matrix[a][2] * z[i] + matrix[a][3]) / w;
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

// Makes the rays of up to kStretch pixels; false if one has too many samples.
AMGSRN_APART bool make_rays(const AmgsrnView& v, const int64_t* pixels, int count, RayTable& r) {
  double x[kStretch], y[kStretch], z[kStretch], length[kStretch], begin[3][kStretch];
  double ends[3][kStretch], eye[3][kStretch], along[kStretch];
  int64_t numbers[kStretch];
  for (int i = 0; i < kStretch; ++i) {
    numbers[i] = pixels[i < count ? i : 0];
    const int64_t row = numbers[i] / v.width;
    x[i] = (static_cast<double>(numbers[i] - row * v.width) + 0.5) *
               (2.0 / static_cast<double>(v.width)) - 1.0;
    y[i] = (static_cast<double>(row) + 0.5) * (2.0 / static_cast<double>(v.height)) - 1.0;
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
    length[i] = __builtin_sqrt(squares);
  }
  for (int a = 0; a < 3; ++a)
    for (int i = 0; i < kStretch; ++i) r.towards[a][i] /= length[i];
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
    cut(r.origin[a], r.direction[a], v.box[a][0], v.box[a][1], r.near, r.far);
    cut(eye[a], r.towards[a], v.crop[a][0], v.crop[a][1], r.near, r.far);
  }
  for (int64_t p = 0; p < v.plane_count; ++p) {
    const double* plane = v.planes + 4 * p;
    for (int i = 0; i < kStretch; ++i) {
      x[i] = eye[0][i] * plane[0] + eye[1][i] * plane[1] + eye[2][i] * plane[2];
      y[i] = r.towards[0][i] * plane[0] + r.towards[1][i] * plane[1] + r.towards[2][i] * plane[2];
    }
    cut(x, y, -plane[3], __builtin_inf(), r.near, r.far);
  }
  bool fits = true;
  for (int i = 0; i < kStretch; ++i) {
    double squares = 0.0;
    for (int a = 0; a < 3; ++a) {
      const double cells = r.direction[a][i] / v.spacing[a];
      squares += cells * cells;
    }
    const double step = 1.0 / (v.samples_per_voxel * __builtin_sqrt(squares));
    const double ratio = step / v.mean_step;
    r.exponent[i] = __builtin_fabs(ratio - 1.0) < 1e-6 ? 1.0 : ratio;
    const bool is_seen = r.near[i] < r.far[i];
    for (int a = 0; a < 3; ++a) r.direction[a][i] *= step;
    r.near[i] /= step, r.far[i] /= step;
    r.offset[i] = 0.5;
    if (v.jitter)
      r.offset[i] = random_offset(static_cast<uint64_t>(v.seed), static_cast<uint64_t>(numbers[i]));
    const double first = __builtin_ceil(r.near[i] - r.offset[i] - v.reach);
    const double end = __builtin_ceil(r.far[i] - r.offset[i] + v.reach);
    r.first[i] = is_seen ? first : 0.0;
    r.end[i] = is_seen ? end : 0.0;
    fits &= r.end[i] - r.first[i] <= kMostSamples;
  }
  return fits;
}

}  // namespace
