// An order of points in which neighbours follow each other, so that a tile's cells share memory.
#pragma once

#include <cstdint>
#include <cstring>

#include "vector.h"

namespace {

constexpr int64_t kMostOrdered = int64_t{1} << 20;  // points that are ordered together

// Places up to 8 bits at every third: 0b111 becomes 0b1001001.
AMGSRN_INLINE Integers spread_bits(Integers bits) {
  bits = (bits | bits << 8) & 0x0300f00f;
  bits = (bits | bits << 4) & 0x030c30c3;
  return (bits | bits << 2) & 0x09249249;
}

// Bits along each axis of the cells that points are sorted by: about eight points a cell.
AMGSRN_INLINE int order_bits(int64_t count) {
  int bits = 2;
  while (bits < 6 && (int64_t{8} << 3 * (bits + 1)) <= count) ++bits;
  return bits;
}

// Floats that ordering a number of points takes in memory, its result included.
AMGSRN_INLINE int64_t order_size(int64_t count) {
  return 2 * count + (int64_t{1} << 3 * order_bits(count)) + 1;
}

// Number of a local point's cell along the Morton curve, for the points [first, first + kLanes).
AMGSRN_INLINE Integers order_keys(Vector x, Vector y, Vector z, int bits) {
  const float half = static_cast<float>(1 << (bits - 1)), last = 2.0f * half - 1.0f;
  auto cell = [&](Vector local) {
    return spread_bits(__builtin_convertvector(clamp((local + 1.0f) * half, 0.0f, last), Integers));
  };
  return cell(x) | cell(y) << 1 | cell(z) << 2;
}

// Whether consecutive points lie apart by more than a few nodes of the grids.
AMGSRN_INLINE bool is_scattered(const float* points, int64_t count, float far) {
  int64_t looked = 0, jumps = 0;
  for (int64_t p = 1; p < count; p += 17) {
    const float* here = points + 3 * p;
    float distance = 0.0f;
    for (int axis = 0; axis < 3; ++axis) distance += __builtin_fabsf(here[axis] - here[axis - 3]);
    // Not the opposite comparison: the place of NaN does not matter.
    jumps += distance > far;
    ++looked;
  }
  return 4 * jumps > looked;
}

// Sorts the numbers of points [count][3] by cells along the Morton curve: a counting sort, stable,
// so that the result depends on nothing else. `memory` holds order_size(count) integers.
AMGSRN_APART const int32_t* order_points(const float* points, int64_t count, int32_t* memory) {
  const int bits = order_bits(count);
  int32_t *order = memory, *keys = memory + count, *starts = keys + count;
  const int64_t cells = int64_t{1} << 3 * bits;
  std::memset(starts, 0, sizeof(int32_t) * static_cast<size_t>(cells + 1));
  for (int64_t first = 0; first < count; first += kLanes) {
    const int64_t left = count - first, lanes = left < kLanes ? left : kLanes;
    float x[kLanes] = {}, y[kLanes] = {}, z[kLanes] = {};
    for (int64_t lane = 0; lane < lanes; ++lane) {
      const float* point = points + 3 * (first + lane);
      x[lane] = point[0];
      y[lane] = point[1];
      z[lane] = point[2];
    }
    const Integers key = order_keys(load(x), load(y), load(z), bits);
    for (int64_t lane = 0; lane < lanes; ++lane) {
      keys[first + lane] = key[lane];
      ++starts[key[lane] + 1];
    }
  }
  for (int64_t cell = 1; cell < cells; ++cell) starts[cell] += starts[cell - 1];
  for (int64_t p = 0; p < count; ++p) order[starts[keys[p]]++] = static_cast<int32_t>(p);
  return order;
}

}  // namespace
