// The original's rule of motion on one tile of points: how dense the grids lie, and the gradient of
// the density loss by their maps. amgsrn_core/training/motion.py is the reference.
#pragma once

#include "encoder.h"
#include "exponential.h"

namespace {

constexpr float kDensityClamp = 8.0f;      // DENSITY_CLAMP of networks/reference.py
constexpr float kTinyDensity = 1e-16f;     // keeps logarithms and quotients finite
constexpr float kNormal = 0.0634936359f;   // (2 pi)^-1.5

// Determinant and cofactors of a map's linear part.
struct Volume {
  float determinant, cofactors[3][3];
  explicit Volume(const float* m) {
    for (int i = 0; i < 3; ++i)
      for (int j = 0; j < 3; ++j) {
        const float *a = m + 4 * ((i + 1) % 3), *b = m + 4 * ((i + 2) % 3);
        cofactors[i][j] = a[(j + 1) % 3] * b[(j + 2) % 3] - a[(j + 2) % 3] * b[(j + 1) % 3];
      }
    determinant = m[0] * cofactors[0][0] + m[1] * cofactors[0][1] + m[2] * cofactors[0][2];
  }
};

// A soft box's coordinate along one axis: t^20, and t^19 where the clamp lets a gradient through.
struct BoxAxis {
  Vector power, slope;
  AMGSRN_INLINE BoxAxis(const float* m, Vector x, Vector y, Vector z) {
    const Vector free = m[0] * x + (m[1] * y + (m[2] * z + m[3])), zero = {};
    const Vector t = clamp(free, -kDensityClamp, kDensityClamp);
    const Vector t2 = t * t, t4 = t2 * t2, t8 = t4 * t4, t16 = t8 * t8;
    power = t16 * t4;
    slope = free == t ? t16 * t2 * t : zero;
  }
};

// density[p], the sum over the grids, of a tile; points beyond `count` get 0. Returns their sum.
AMGSRN_APART double tile_density(int64_t grids, const float* transforms, const Points& points,
                                 int count, float* density) {
  alignas(64) float total[kTile] = {};
  for (int64_t grid = 0; grid < grids; ++grid) {
    const float* m = transforms + 12 * grid;
    const float scale = Volume(m).determinant * kNormal;
    for (int p = 0; p < kTile; p += kLanes) {
      const Vector x = load(points.x + p), y = load(points.y + p), z = load(points.z + p);
      const BoxAxis i(m, x, y, z), j(m + 4, x, y, z), k(m + 8, x, y, z);
      const Vector box = exponential(-0.5f * (i.power + j.power + k.power));
      store(total + p, load(total + p) + scale * box);
    }
  }
  double sum = 0.0;
  for (int p = 0; p < count; ++p) {
    density[p] = total[p];
    sum += static_cast<double>(total[p]);
  }
  return sum;
}

// From the density of a tile's points to its target before normalisation, density^(mean / error),
// with `total` the sum of all densities. Returns the targets' sum.
AMGSRN_APART double tile_target(const float* density, const float* errors, int count, float total,
                                float mean_error, float* target) {
  alignas(64) float densities[kTile] = {}, all_errors[kTile] = {}, targets[kTile];
  const size_t bytes = sizeof(float) * static_cast<size_t>(count);
  std::memcpy(densities, density, bytes);
  std::memcpy(all_errors, errors, bytes);
  for (int p = 0; p < kTile; p += kLanes) {
    const Vector log_density = logarithm(load(densities + p) / total + kTinyDensity);
    const Vector power = mean_error / (load(all_errors + p) + kTinyDensity);
    store(targets + p, exponential(log_density * power));
  }
  std::memcpy(target, targets, bytes);
  double sum = 0.0;
  for (int p = 0; p < count; ++p) sum += static_cast<double>(targets[p]);
  return sum;
}

// Adds a tile's part of the loss's gradient by the maps [grids][3][4]; `pull` is the gradient by
// each point's density, and 0 beyond the last point.
AMGSRN_APART void tile_density_back(int64_t grids, const float* transforms, const Points& points,
                                    const float* pull, double* gradients) {
  for (int64_t grid = 0; grid < grids; ++grid) {
    const float* m = transforms + 12 * grid;
    Vector slopes[3][4] = {}, boxes = {};
    for (int p = 0; p < kTile; p += kLanes) {
      const Vector x = load(points.x + p), y = load(points.y + p), z = load(points.z + p);
      const BoxAxis axes[3] = {{m, x, y, z}, {m + 4, x, y, z}, {m + 8, x, y, z}};
      const Vector power = axes[0].power + axes[1].power + axes[2].power;
      const Vector box = load(pull + p) * exponential(-0.5f * power);
      boxes += box;
#pragma GCC unroll 3
      for (int axis = 0; axis < 3; ++axis) {
        const Vector slope = box * axes[axis].slope;
        slopes[axis][0] += slope * x;
        slopes[axis][1] += slope * y;
        slopes[axis][2] += slope * z;
        slopes[axis][3] += slope;
      }
    }
    const Volume volume(m);
    // The box's exponent falls by 1/2 * 20 t^19.
    const float steepness = -10.0f * kNormal * volume.determinant, all = kNormal * sum(boxes);
    for (int axis = 0; axis < 3; ++axis, gradients += 4) {
      for (int i = 0; i < 4; ++i)
        gradients[i] += static_cast<double>(steepness * sum(slopes[axis][i]));
      for (int i = 0; i < 3; ++i)
        gradients[i] += static_cast<double>(all * volume.cofactors[axis][i]);
    }
  }
}

}  // namespace
