// The adaptive feature grids on one tile of points: locate cells, interpolate, and back again.
#pragma once

#include "abi.h"
#include "vector.h"

namespace {

constexpr int kTile = 64;  // points that pass through the whole network together

struct Points {
  alignas(64) float x[kTile], y[kTile], z[kTile];
};

// Where each point lies in one grid: its cell's first node (of the grid with its layer of zeros)
// and the position inside the cell.
struct Cells {
  alignas(64) int32_t node[kTile];
  alignas(64) float x[kTile], y[kTile], z[kTile];
  // One point's cells in all grids are read together: without this odd line they would compete
  // for a few places of the cache.
  alignas(64) float apart[16];
};

// Change of the loss with a point's voxel coordinates in one grid; before the backward pass,
// whether the point is inside the layer of zeros (1) or its value does not change there (0).
struct Slopes {
  alignas(64) float x[kTile], y[kTile], z[kTile];
};

// The nodes of all grids, with the layer of zeros.
struct Layout {
  int64_t grids, features;
  int64_t depth, height, width;     // without the layer of zeros
  int64_t row, slab, grid;          // floats from one y, z, grid to the next
  explicit Layout(const AmgsrnNetwork& n)
      : grids(n.grids),
        features(n.features),
        depth(n.depth),
        height(n.height),
        width(n.width),
        row((n.width + 2) * n.features),
        slab((n.height + 2) * row),
        grid((n.depth + 2) * slab) {}
};

struct Axis {
  Vector inside;    // position inside the cell
  Integers cell;
};

// Voxel coordinate of a local coordinate, counted from the layer of zeros and clamped to it.
template <bool Moving>
AMGSRN_INLINE Axis locate_axis(Vector local, int64_t size, float* moves) {
  const float half = 0.5f * static_cast<float>(size - 1);
  const float last = static_cast<float>(size + 1);
  const Vector free = local * half + (half + 1.0f);
  const Vector voxel = clamp(free, 0.0f, last);
  Integers cell = __builtin_convertvector(voxel, Integers);
  const Integers most = static_cast<int32_t>(size) - Integers{};
  cell = cell < most ? cell : most;
  if (Moving) {
    const Vector zero = {}, one = 1.0f - zero;
    // At the far end the reference counts a node to the cell outside.
    store(moves, (free == voxel) & (free < last) ? one : zero);
  }
  return {voxel - __builtin_convertvector(cell, Vector), cell};
}

template <bool Moving>
AMGSRN_APART void locate(const Layout& layout, const float* transforms, const Points& points,
                          Cells* cells, Slopes* slopes) {
  const int32_t row = static_cast<int32_t>(layout.width + 2);
  const int32_t slab = static_cast<int32_t>(layout.height + 2) * row;
  for (int64_t grid = 0; grid < layout.grids; ++grid) {
    const float* m = transforms + 12 * grid;
    Cells& out = cells[grid];
    for (int p = 0; p < kTile; p += kLanes) {
      const Vector x = load(points.x + p), y = load(points.y + p), z = load(points.z + p);
      const Vector u = m[0] * x + (m[1] * y + (m[2] * z + m[3]));
      const Vector v = m[4] * x + (m[5] * y + (m[6] * z + m[7]));
      const Vector w = m[8] * x + (m[9] * y + (m[10] * z + m[11]));
      const Axis i = locate_axis<Moving>(u, layout.width, Moving ? slopes[grid].x + p : nullptr);
      const Axis j = locate_axis<Moving>(v, layout.height, Moving ? slopes[grid].y + p : nullptr);
      const Axis k = locate_axis<Moving>(w, layout.depth, Moving ? slopes[grid].z + p : nullptr);
      store(out.node + p, k.cell * slab + j.cell * row + i.cell);
      store(out.x + p, i.inside);
      store(out.y + p, j.inside);
      store(out.z + p, k.inside);
    }
  }
}

// The four rows of a cell, each with two nodes along x.
template <class Pointer>
struct Rows {
  Pointer y0z0, y1z0, y0z1, y1z1;
  AMGSRN_INLINE Rows(Pointer first, const Layout& layout)
      : y0z0(first),
        y1z0(first + layout.row),
        y0z1(first + layout.slab),
        y1z1(first + layout.slab + layout.row) {}
};

struct Position {
  float x, y, z;
};

// Changes of a sum over features of gradient * value along x, y, z.
struct Change {
  float x, y, z;
};

// A cell of 1 or 2 features: both nodes of a row lie in one quad.
template <int Features>
struct PairedCell {
  static constexpr int kFeatures = Features;

  static AMGSRN_INLINE Quad weights(float x) {
    const float w = 1.0f - x;
    return Features == 1 ? Quad{w, x, 0.0f, 0.0f} : Quad{w, w, x, x};
  }

  static AMGSRN_INLINE Quad both(const float* g) {
    return Features == 1 ? Quad{g[0], g[0], 0.0f, 0.0f} : Quad{g[0], g[1], g[0], g[1]};
  }

  static AMGSRN_INLINE void interpolate(Rows<const float*> at, Position t, int64_t, float* out) {
    const Quad y0 = lerp(load<Quad>(at.y0z0), load<Quad>(at.y0z1), t.z);
    const Quad y1 = lerp(load<Quad>(at.y1z0), load<Quad>(at.y1z1), t.z);
    const Quad row = lerp(y0, y1, t.y);
    if (Features == 1) {
      out[0] = row[0] + t.x * (row[1] - row[0]);
    } else {
      const Quad value = lerp(row, upper_half(row), t.x);
      std::memcpy(out, &value, 2 * sizeof(float));
    }
  }

  static AMGSRN_INLINE void scatter(Rows<float*> at, Position t, int64_t, const float* gradient) {
    const Quad all = both(gradient) * weights(t.x);
    const Quad y1 = all * t.y, y0 = all - y1;
    const Quad y1z1 = y1 * t.z, y0z1 = y0 * t.z;
    store<Quad>(at.y0z0, load<Quad>(at.y0z0) + (y0 - y0z1));
    store<Quad>(at.y1z0, load<Quad>(at.y1z0) + (y1 - y1z1));
    store<Quad>(at.y0z1, load<Quad>(at.y0z1) + y0z1);
    store<Quad>(at.y1z1, load<Quad>(at.y1z1) + y1z1);
  }

  static AMGSRN_INLINE Change change(Rows<const float*> at, Position t, int64_t,
                                     const float* gradient) {
    const Quad g = both(gradient), x = weights(t.x);
    const Quad sign = Features == 1 ? Quad{-1.0f, 1.0f, 0.0f, 0.0f} : Quad{-1.0f, -1.0f, 1.0f, 1.0f};
    const Quad z0y0 = g * load<Quad>(at.y0z0), z0y1 = g * load<Quad>(at.y1z0);
    const Quad z1y0 = g * load<Quad>(at.y0z1), z1y1 = g * load<Quad>(at.y1z1);
    const Quad y0 = lerp(z0y0, z1y0, t.z), y1 = lerp(z0y1, z1y1, t.z);
    return {sum4(lerp(y0, y1, t.y) * sign), sum4((y1 - y0) * x),
            sum4(lerp(z1y0 - z0y0, z1y1 - z0y1, t.y) * x)};
  }
};

// A cell of any number of features: four at a time, and what is left one by one.
template <int Features>
struct WideCell {
  static constexpr int kFeatures = Features;

  template <class V>
  static AMGSRN_INLINE void interpolate_some(Rows<const float*> at, Position t, int64_t next,
                                             int64_t f, float* out) {
    const V x0 = lerp(lerp(load<V>(at.y0z0 + f), load<V>(at.y0z1 + f), t.z),
                      lerp(load<V>(at.y1z0 + f), load<V>(at.y1z1 + f), t.z), t.y);
    const int64_t n = next + f;
    const V x1 = lerp(lerp(load<V>(at.y0z0 + n), load<V>(at.y0z1 + n), t.z),
                      lerp(load<V>(at.y1z0 + n), load<V>(at.y1z1 + n), t.z), t.y);
    store<V>(out + f, lerp(x0, x1, t.x));
  }

  template <class V>
  static AMGSRN_INLINE void add(float* to, V value) {
    store<V>(to, load<V>(to) + value);
  }

  template <class V>
  static AMGSRN_INLINE void scatter_some(Rows<float*> at, Position t, int64_t next, int64_t f,
                                         const float* gradient) {
    const V all = load<V>(gradient + f);
    const V x1 = all * t.x, x0 = all - x1;
    scatter_side<V>(at, t, f, x0);
    scatter_side<V>(at, t, next + f, x1);
  }

  template <class V>
  static AMGSRN_INLINE void scatter_side(Rows<float*> at, Position t, int64_t f, V part) {
    const V y1 = part * t.y, y0 = part - y1;
    const V y1z1 = y1 * t.z, y0z1 = y0 * t.z;
    add<V>(at.y0z0 + f, y0 - y0z1);
    add<V>(at.y1z0 + f, y1 - y1z1);
    add<V>(at.y0z1 + f, y0z1);
    add<V>(at.y1z1 + f, y1z1);
  }

  static AMGSRN_INLINE int64_t count(int64_t features) { return Features ? Features : features; }

  static AMGSRN_INLINE void interpolate(Rows<const float*> at, Position t, int64_t features,
                                        float* out) {
    const int64_t n = count(features);
    int64_t f = 0;
    for (; f + 4 <= n; f += 4) interpolate_some<Quad>(at, t, n, f, out);
    for (; f < n; ++f) interpolate_some<float>(at, t, n, f, out);
  }

  static AMGSRN_INLINE void scatter(Rows<float*> at, Position t, int64_t features,
                                    const float* gradient) {
    const int64_t n = count(features);
    int64_t f = 0;
    for (; f + 4 <= n; f += 4) scatter_some<Quad>(at, t, n, f, gradient);
    for (; f < n; ++f) scatter_some<float>(at, t, n, f, gradient);
  }

  // A corner's value, dotted with the gradient.
  static AMGSRN_INLINE float dot(const float* node, const float* gradient, int64_t n) {
    Quad quads = {};
    int64_t f = 0;
    for (; f + 4 <= n; f += 4) quads += load<Quad>(node + f) * load<Quad>(gradient + f);
    float total = sum4(quads);
    for (; f < n; ++f) total += node[f] * gradient[f];
    return total;
  }

  static AMGSRN_INLINE Change change(Rows<const float*> at, Position t, int64_t features,
                                     const float* gradient) {
    const int64_t n = count(features);
    const float a = dot(at.y0z0, gradient, n), b = dot(at.y0z0 + n, gradient, n);
    const float c = dot(at.y1z0, gradient, n), d = dot(at.y1z0 + n, gradient, n);
    const float e = dot(at.y0z1, gradient, n), f = dot(at.y0z1 + n, gradient, n);
    const float g = dot(at.y1z1, gradient, n), h = dot(at.y1z1 + n, gradient, n);
    const float z0y0 = lerp(a, b, t.x), z0y1 = lerp(c, d, t.x);
    const float z1y0 = lerp(e, f, t.x), z1y1 = lerp(g, h, t.x);
    return {lerp(lerp(b - a, d - c, t.y), lerp(f - e, h - g, t.y), t.z),
            lerp(z0y1 - z0y0, z1y1 - z1y0, t.z), lerp(z1y0 - z0y0, z1y1 - z0y1, t.y)};
  }
};

// Calls visit(cell of the layout's number of features).
template <class Visit>
AMGSRN_INLINE void with_cell(int64_t features, Visit visit) {
  switch (features) {
    case 1: return visit(PairedCell<1>());
    case 2: return visit(PairedCell<2>());
    case 4: return visit(WideCell<4>());
    case 8: return visit(WideCell<8>());
    default: return visit(WideCell<0>());
  }
}

AMGSRN_INLINE Position position(const Cells& cells, int p) {
  return {cells.x[p], cells.y[p], cells.z[p]};
}

// Features of the tile's points, [kTile][width]: grid-major, then feature.
template <class Cell>
AMGSRN_APART void gather(const Layout& layout, const float* nodes, const Cells* cells, Cell,
                          float* features, int64_t width) {
  const int64_t count = Cell::kFeatures ? Cell::kFeatures : layout.features;
  for (int p = 0; p < kTile; ++p) {
    const float* grid_nodes = nodes;
    float* out = features + p * width;
    for (int64_t grid = 0; grid < layout.grids; ++grid) {
      const Rows<const float*> rows(grid_nodes + cells[grid].node[p] * count, layout);
      Cell::interpolate(rows, position(cells[grid], p), count, out);
      grid_nodes += layout.grid;
      out += count;
    }
  }
}

// Adds the tile's feature gradients to those of the nodes. Points outer: between two visits of
// one node lie enough stores that none waits for the other.
template <class Cell>
AMGSRN_APART void scatter(const Layout& layout, float* gradients, const Cells* cells, Cell,
                           const float* features, int64_t width, int points) {
  const int64_t count = Cell::kFeatures ? Cell::kFeatures : layout.features;
  for (int p = 0; p < points; ++p) {
    float* grid_nodes = gradients;
    const float* in = features + p * width;
    for (int64_t grid = 0; grid < layout.grids; ++grid) {
      const Rows<float*> rows(grid_nodes + cells[grid].node[p] * count, layout);
      Cell::scatter(rows, position(cells[grid], p), count, in);
      grid_nodes += layout.grid;
      in += count;
    }
  }
}

// Multiplies the slopes by what a step along each voxel coordinate changes in the loss.
template <class Cell>
AMGSRN_APART void differentiate(const Layout& layout, const float* nodes, const Cells* cells,
                                 Cell, const float* features, int64_t width, Slopes* slopes) {
  const int64_t count = Cell::kFeatures ? Cell::kFeatures : layout.features;
  for (int p = 0; p < kTile; ++p) {
    const float* grid_nodes = nodes;
    const float* in = features + p * width;
    for (int64_t grid = 0; grid < layout.grids; ++grid) {
      const Rows<const float*> rows(grid_nodes + cells[grid].node[p] * count, layout);
      const Change change = Cell::change(rows, position(cells[grid], p), count, in);
      slopes[grid].x[p] *= change.x;
      slopes[grid].y[p] *= change.y;
      slopes[grid].z[p] *= change.z;
      grid_nodes += layout.grid;
      in += count;
    }
  }
}

// Adds the tile's gradient of the maps, before the factor (nodes - 1) / 2 of each row.
AMGSRN_APART void add_map_gradients(const Layout& layout, const Points& points,
                                     const Slopes* slopes, double* gradients) {
  for (int64_t grid = 0; grid < layout.grids; ++grid) {
    const float* along[3] = {slopes[grid].x, slopes[grid].y, slopes[grid].z};
    for (int axis = 0; axis < 3; ++axis) {
      Vector x = {}, y = {}, z = {}, one = {};
      for (int p = 0; p < kTile; p += kLanes) {
        const Vector slope = load(along[axis] + p);
        x += slope * load(points.x + p);
        y += slope * load(points.y + p);
        z += slope * load(points.z + p);
        one += slope;
      }
      double* row = gradients + 12 * grid + 4 * axis;
      row[0] += sum(x);
      row[1] += sum(y);
      row[2] += sum(z);
      row[3] += sum(one);
    }
  }
}

// Asks for the memory of cells that are needed soon; `Write` when it will be written to.
template <bool Write>
AMGSRN_APART void prefetch(const Layout& layout, const float* nodes, const Cells* cells) {
  for (int64_t grid = 0; grid < layout.grids; ++grid) {
    const float* grid_nodes = nodes + grid * layout.grid;
    for (int p = 0; p < kTile; ++p) {
      const Rows<const float*> rows(grid_nodes + cells[grid].node[p] * layout.features, layout);
      __builtin_prefetch(rows.y0z0, Write);
      __builtin_prefetch(rows.y1z0, Write);
      __builtin_prefetch(rows.y0z1, Write);
      __builtin_prefetch(rows.y1z1, Write);
    }
  }
}

}  // namespace
