// Training points and the data's values there; amgsrn_core/training/sampling.py is the reference.
#pragma once

#include <algorithm>

#include "abi.h"
#include "vector.h"

namespace {

AMGSRN_INLINE int64_t clamp_index(int64_t i, int64_t size) {
  return i < 0 ? 0 : i >= size ? size - 1 : i;
}

struct CubicAxis {
  int64_t neighbours[4];
  Quad weights;
};

// Catmull-Rom weights; a neighbour beyond a face is continued linearly from the two inside.
AMGSRN_INLINE CubicAxis cubic_axis(float position, int64_t size) {
  const int64_t base = clamp_index(static_cast<int64_t>(position), size - 1);
  const float t = position - static_cast<float>(base);
  const Quad c0 = {0.0f, 1.0f, 0.0f, 0.0f}, c1 = {-0.5f, 0.0f, 0.5f, 0.0f};
  const Quad c2 = {1.0f, -2.5f, 2.0f, -0.5f}, c3 = {-0.5f, 1.5f, -1.5f, 0.5f};
  CubicAxis axis;
  axis.weights = c0 + t * (c1 + t * (c2 + t * c3));
  Quad& w = axis.weights;
  const bool at_start = base == 0, at_end = base == size - 2;
  const float before = at_start ? w[0] : 0.0f, after = at_end ? w[3] : 0.0f;
  w += before * Quad{-1.0f, 2.0f, -1.0f, 0.0f} + after * Quad{0.0f, -1.0f, 2.0f, -1.0f};
  for (int k = 0; k < 4; ++k) axis.neighbours[k] = clamp_index(base + k - 1, size);
  return axis;
}

// Moves the weights along x so that the four samples read lie side by side; returns the first.
AMGSRN_INLINE int64_t side_by_side(CubicAxis& axis, int64_t size) {
  const int64_t wanted = axis.neighbours[1] - 1;
  const Quad w = axis.weights;
  if (wanted < 0) {
    axis.weights = Quad{w[1], w[2], w[3], 0.0f};
    return 0;
  }
  if (wanted + 4 > size) {
    axis.weights = Quad{0.0f, w[0], w[1], w[2]};
    return size - 4;
  }
  return wanted;
}

AMGSRN_INLINE void cubic_target(const AmgsrnData& data, const float* index, float* out) {
  CubicAxis x = cubic_axis(index[0], data.width);
  const CubicAxis y = cubic_axis(index[1], data.height), z = cubic_axis(index[2], data.depth);
  const bool wide = data.width >= 4;
  const int64_t first = wide ? side_by_side(x, data.width) : 0;
  for (int64_t c = 0; c < data.components; ++c) {
    const float* values = data.values + c * data.depth * data.height * data.width;
    Quad total = {};
    for (int k = 0; k < 4; ++k) {
      Quad plane = {};
      for (int j = 0; j < 4; ++j) {
        const float* row =
            values + (z.neighbours[k] * data.height + y.neighbours[j]) * data.width;
        const Quad four = wide ? load<Quad>(row + first)
                               : Quad{row[x.neighbours[0]], row[x.neighbours[1]],
                                      row[x.neighbours[2]], row[x.neighbours[3]]};
        plane += y.weights[j] * four;
      }
      total += z.weights[k] * plane;
    }
    out[c] = sum4(total * x.weights);
  }
}

AMGSRN_INLINE void linear_target(const AmgsrnData& data, const float* index, float* out) {
  const int64_t i = clamp_index(static_cast<int64_t>(index[0]), data.width - 1);
  const int64_t j = clamp_index(static_cast<int64_t>(index[1]), data.height - 1);
  const int64_t k = clamp_index(static_cast<int64_t>(index[2]), data.depth - 1);
  const float x = index[0] - static_cast<float>(i), y = index[1] - static_cast<float>(j);
  const float z = index[2] - static_cast<float>(k);
  const int64_t row = data.width, slab = data.height * data.width;
  for (int64_t c = 0; c < data.components; ++c) {
    const float* v = data.values + (c * data.depth + k) * slab + j * row + i;
    const float y0 = lerp(lerp(v[0], v[1], x), lerp(v[slab], v[slab + 1], x), z);
    v += row;
    const float y1 = lerp(lerp(v[0], v[1], x), lerp(v[slab], v[slab + 1], x), z);
    out[c] = lerp(y0, y1, y);
  }
}

AMGSRN_INLINE void target_at(const AmgsrnData& data, const float* index, float* out) {
  if (data.cubic) {
    cubic_target(data, index, out);
  } else {
    linear_target(data, index, out);
  }
}

// Draws points [first, last) of a batch: one random cell of each stratum, one place in the cell.
void draw(const AmgsrnData& data, const float* uniform, int64_t batch, int64_t first, int64_t last,
          float* local, float* targets) {
  const int64_t nx = data.width - 1, ny = data.height - 1, nz = data.depth - 1;
  const float scale[3] = {2.0f / static_cast<float>(nx), 2.0f / static_cast<float>(ny),
                          2.0f / static_cast<float>(nz)};
  int64_t edge = first * data.cell_count / batch;
  for (int64_t p = first; p < last; ++p) {
    const float* random = uniform + 4 * p;
    const int64_t next = (p + 1) * data.cell_count / batch;
    const int64_t length = next > edge ? next - edge : 1;
    const int64_t inside = static_cast<int64_t>(random[3] * static_cast<float>(length));
    int64_t cell = edge + clamp_index(inside, length);
    edge = next;
    if (data.cells)
      cell = data.cell_bytes == 4 ? static_cast<const int32_t*>(data.cells)[cell]
                                  : static_cast<const int64_t*>(data.cells)[cell];
    const int64_t row = cell / nx, slab = row / ny;
    const int64_t corner[3] = {cell - row * nx, row - slab * ny, slab};
    float index[3];
    for (int axis = 0; axis < 3; ++axis) {
      index[axis] = static_cast<float>(corner[axis]) + random[axis];
      local[3 * p + axis] = index[axis] * scale[axis] - 1.0f;
    }
    target_at(data, index, targets + p * data.components);
  }
}

// SplitMix64, as amgsrn_core/training/draws.py has it.
constexpr uint64_t kGolden = 0x9E3779B97F4A7C15u;

AMGSRN_INLINE uint64_t hashed(uint64_t value) {
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9u;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBu;
  return value ^ (value >> 31);
}

// Draws points [first, last) of a batch: each at a random one of its own ticks, which says in which
// block it lies, and in which of its cells. Nothing here may be contracted to a multiplication with
// an addition: all instruction sets draw the same points.
void draw_blocks(const AmgsrnData& data, const AmgsrnBlocks& blocks, const AmgsrnDraws& to,
                 int64_t first, int64_t last) {
  constexpr int kBits = 24;
  constexpr uint64_t kMask = (1u << kBits) - 1;
  const int64_t sizes[3] = {data.width - 1, data.height - 1, data.depth - 1};
  const int64_t across = (sizes[0] + blocks.side - 1) / blocks.side;
  const int64_t down = (sizes[1] + blocks.side - 1) / blocks.side;
  const int64_t* after =
      std::upper_bound(blocks.ticks + 1, blocks.ticks + blocks.count, first << kBits);
  for (int64_t p = first; p < last; ++p) {
    const uint64_t place = to.start + static_cast<uint64_t>(2 * p + 1) * kGolden;
    const uint64_t one = hashed(place), other = hashed(place + kGolden);
    const int64_t tick = (p << kBits) + static_cast<int64_t>(other >> 8 & kMask);
    while (after < blocks.ticks + blocks.count && tick >= *after) ++after;
    const int64_t block = after - blocks.ticks - 1;
    const int64_t count = blocks.cells[block + 1] - blocks.cells[block];
    const double dense = static_cast<double>(count) / static_cast<double>(*after - after[-1]);
    const int64_t inside =
        clamp_index(static_cast<int64_t>(static_cast<double>(tick - after[-1]) * dense), count);
    int64_t corner[3];
    if (data.cells) {
      const int64_t at = blocks.cells[block] + inside;
      const int64_t cell = data.cell_bytes == 4 ? static_cast<const int32_t*>(data.cells)[at]
                                                : static_cast<const int64_t*>(data.cells)[at];
      const int64_t row = cell / sizes[0], slab = row / sizes[1];
      corner[0] = cell - row * sizes[0], corner[1] = row - slab * sizes[1], corner[2] = slab;
    } else {
      const int64_t row = block / across, slab = row / down;
      const int64_t x = (block - row * across) * blocks.side, y = (row - slab * down) * blocks.side;
      const int64_t wide = std::min(blocks.side, sizes[0] - x);
      const int64_t high = std::min(blocks.side, sizes[1] - y);
      const int64_t line = inside / wide, plane = line / high;
      corner[0] = x + inside - line * wide, corner[1] = y + line - plane * high;
      corner[2] = slab * blocks.side + plane;
    }
    const uint64_t random[3] = {one >> (64 - kBits), one >> 8 & kMask, other >> (64 - kBits)};
    float index[3];
    for (int axis = 0; axis < 3; ++axis) {
      const float part = static_cast<float>(random[axis]) / static_cast<float>(1 << kBits);
      const float half = 0.5f * static_cast<float>(sizes[axis]);
      index[axis] = static_cast<float>(corner[axis]) + part;
      to.points[3 * p + axis] = (index[axis] - half) / half;
    }
    to.weights[p] = blocks.weights[block];
    to.blocks[p] = block;
    target_at(data, index, to.targets + p * data.components);
  }
}

}  // namespace
