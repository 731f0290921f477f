// The adaptive feature grids on one tile of points: locate cells, interpolate, and back again.
#pragma once

#include "abi.h"
#include "vector.h"

namespace {

constexpr int kTile = 64;  // points that pass through the whole network together

struct Points {
  alignas(64) float x[kTile], y[kTile], z[kTile];
};

// Where a tile's points lie in all grids. Grids follow each other, because one point's grids are
// read together; `stride` is their number rounded up to whole vectors.
struct Cells {
  int64_t stride;
  int32_t* node;        // [kTile][stride] the cell's first node, of the grid with its layer of zeros
  float *x, *y, *z;     // [kTile][stride] position inside the cell
  float* free[3];       // [kTile][stride] 1 where the value changes along x, y, z, 0 where the point
                        // is outside the layer of zeros; null while the grids rest

  static int64_t stride_of(int64_t grids) { return (grids + kLanes - 1) / kLanes * kLanes; }
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
AMGSRN_INLINE Axis locate_axis(Vector local, int64_t size, float* free) {
  const float half = 0.5f * static_cast<float>(size - 1);
  const float last = static_cast<float>(size + 1);
  const Vector anywhere = local * half + (half + 1.0f);
  const Vector voxel = clamp(anywhere, 0.0f, last);
  Integers cell = __builtin_convertvector(voxel, Integers);
  const Integers most = static_cast<int32_t>(size) - Integers{};
  cell = cell < most ? cell : most;
  if (Moving) {
    const Vector zero = {}, one = 1.0f - zero;
    // At the far end the reference counts a node to the cell outside.
    store(free, ((anywhere == voxel) & (anywhere < last)) ? one : zero);
  }
  return {voxel - __builtin_convertvector(cell, Vector), cell};
}

// Maps [grids][3][4] as [12][stride].
AMGSRN_INLINE void pack_maps(const float* transforms, int64_t grids, int64_t stride, float* to) {
  for (int64_t i = 0; i < 12 * grids; ++i) to[i % 12 * stride + i / 12] = transforms[i];
}

template <bool Moving>
AMGSRN_APART void locate(Layout layout, const float* maps, const Points& points, Cells cells) {
  const int32_t row = static_cast<int32_t>(layout.width + 2);
  const int32_t slab = static_cast<int32_t>(layout.height + 2) * row;
  const int64_t stride = cells.stride;
  for (int p = 0; p < kTile; ++p) {
    const float x = points.x[p], y = points.y[p], z = points.z[p];
    for (int64_t grid = 0; grid < stride; grid += kLanes) {
      const float* m = maps + grid;
      auto coordinate = [=](int64_t from) {
        const float* at = m + from * stride;
        return load(at) * x +
               (load(at + stride) * y + (load(at + 2 * stride) * z + load(at + 3 * stride)));
      };
      const int64_t to = p * stride + grid;
      auto axis = [&](int number, int64_t size) {
        return locate_axis<Moving>(coordinate(4 * number), size,
                                   Moving ? cells.free[number] + to : nullptr);
      };
      const Axis i = axis(0, layout.width), j = axis(1, layout.height), k = axis(2, layout.depth);
      store(cells.node + to, k.cell * slab + j.cell * row + i.cell);
      store(cells.x + to, i.inside);
      store(cells.y + to, j.inside);
      store(cells.z + to, k.inside);
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

template <class T>
struct PositionOf {
  T x, y, z;
};
using Position = PositionOf<float>;

// Where the changes of a grid's features along voxel coordinates go; null to leave them out.
struct Changes {
  float *x, *y, *z;
};

// Nodes interpolated along y and z, and how the result changes along these.
template <class V>
struct Face {
  V value, y, z;
  template <class T>
  AMGSRN_INLINE Face(V y0z0, V y1z0, V y0z1, V y1z1, PositionOf<T> t) {
    const V z0 = y0z1 - y0z0, z1 = y1z1 - y1z0;
    const V y0 = y0z0 + t.z * z0;
    y = y1z0 + t.z * z1 - y0;
    value = y0 + t.y * y;
    z = z0 + t.y * (z1 - z0);
  }
};

// A cell of 1 or 2 features: both nodes of a row lie in one quad.
template <int Features>
struct PairedCell {
  static constexpr int kFeatures = Features;

  static AMGSRN_INLINE Quad weights(float x) {
    const float w = 1.0f - x;
    (void)w;
    return Features == 1 ? Quad{w, x, 0.0f, 0.0f} : x * Quad{-1.0f, -1.0f, 1.0f, 1.0f} + Quad{1.0f, 1.0f, 0.0f, 0.0f};
  }

  static AMGSRN_INLINE Quad both(const float* g) {
    if (Features == 1) return Quad{g[0], g[0], 0.0f, 0.0f};
    typedef double Halves __attribute__((vector_size(16)));
    double two; std::memcpy(&two, g, sizeof two);
    return reinterpret_cast<Quad>(Halves{two, two});
  }

  template <bool WithChanges>
  static AMGSRN_INLINE void interpolate(Rows<const float*> at, Position t, int64_t, float* out,
                                        Changes to) {
    const Face<Quad> rows(load<Quad>(at.y0z0), load<Quad>(at.y1z0), load<Quad>(at.y0z1),
                          load<Quad>(at.y1z1), t);
    if (Features == 1) {
      const float x = rows.value[1] - rows.value[0];
      out[0] = rows.value[0] + t.x * x;
      if (WithChanges) {
        to.x[0] = x;
        to.y[0] = rows.y[0] + t.x * (rows.y[1] - rows.y[0]);
        to.z[0] = rows.z[0] + t.x * (rows.z[1] - rows.z[0]);
      }
    } else {
      const Quad x = upper_halves(rows.value, rows.value) - rows.value;
      const Quad value = rows.value + t.x * x;
      std::memcpy(out, &value, 2 * sizeof(float));
      if (WithChanges) {
        const Quad yz = lerp(lower_halves(rows.y, rows.z), upper_halves(rows.y, rows.z), t.x);
        const Quad z = upper_halves(yz, yz);
        std::memcpy(to.x, &x, 2 * sizeof(float));
        std::memcpy(to.y, &yz, 2 * sizeof(float));
        std::memcpy(to.z, &z, 2 * sizeof(float));
      }
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

#if defined(AMGSRN_OCTETS)
  // The same for two grids of 2 features.
  template <bool WithChanges>
  static AMGSRN_INLINE void interpolate_two(Rows<const float*> a, Rows<const float*> b,
                                            PositionOf<Octet> t, float* out, Changes to) {
    const Face<Octet> rows(load_quads(a.y0z0, b.y0z0), load_quads(a.y1z0, b.y1z0),
                           load_quads(a.y0z1, b.y0z1), load_quads(a.y1z1, b.y1z1), t);
    const Octet x = upper_halves(rows.value) - rows.value;
    store<Quad>(out, lower_halves(rows.value + t.x * x));
    if (WithChanges) {
      const Octet yz = lerp(lower_halves(rows.y, rows.z), upper_halves(rows.y, rows.z), t.x);
      store<Quad>(to.x, lower_halves(x));
      store<Quad>(to.y, lower_halves(yz));
      store<Quad>(to.z, last_halves(yz));
    }
  }
#endif

  // Multiplies slopes by the products change * gradient summed over the features of each grid; it
  // reads and writes whole vectors.
  static AMGSRN_INLINE void differentiate(const float* change, const float* gradient, int64_t grids,
                                          int64_t, float* slopes) {
    for (int64_t grid = 0; grid < grids; grid += kLanes) {
      const int64_t at = Features * grid;
      const Vector first = load(change + at) * load(gradient + at);
      const Vector total =
          Features == 1 ? first
                        : pair_sums(first, load(change + at + kLanes) * load(gradient + at + kLanes));
      store(slopes + grid, load(slopes + grid) * total);
    }
  }
};

// A cell of any number of features: four at a time, and what is left one by one.
template <int Features>
struct WideCell {
  static constexpr int kFeatures = Features;

  template <class V>
  static AMGSRN_INLINE Face<V> face(Rows<const float*> at, int64_t f, Position t) {
    return Face<V>(load<V>(at.y0z0 + f), load<V>(at.y1z0 + f), load<V>(at.y0z1 + f),
                   load<V>(at.y1z1 + f), t);
  }

  template <bool WithChanges, class V>
  static AMGSRN_INLINE void interpolate_some(Rows<const float*> at, Position t, int64_t next,
                                             int64_t f, float* out, Changes to) {
    const Face<V> x0 = face<V>(at, f, t), x1 = face<V>(at, next + f, t);
    const V x = x1.value - x0.value;
    store<V>(out + f, x0.value + t.x * x);
    if (WithChanges) {
      store<V>(to.x + f, x);
      store<V>(to.y + f, lerp(x0.y, x1.y, t.x));
      store<V>(to.z + f, lerp(x0.z, x1.z, t.x));
    }
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

  template <bool WithChanges>
  static AMGSRN_INLINE void interpolate(Rows<const float*> at, Position t, int64_t features,
                                        float* out, Changes to) {
    const int64_t n = count(features);
    int64_t f = 0;
    for (; f + 4 <= n; f += 4) interpolate_some<WithChanges, Quad>(at, t, n, f, out, to);
    for (; f < n; ++f) interpolate_some<WithChanges, float>(at, t, n, f, out, to);
  }

  static AMGSRN_INLINE void scatter(Rows<float*> at, Position t, int64_t features,
                                    const float* gradient) {
    const int64_t n = count(features);
    int64_t f = 0;
    for (; f + 4 <= n; f += 4) scatter_some<Quad>(at, t, n, f, gradient);
    for (; f < n; ++f) scatter_some<float>(at, t, n, f, gradient);
  }

  static AMGSRN_INLINE void differentiate(const float* change, const float* gradient, int64_t grids,
                                          int64_t features, float* slopes) {
    const int64_t n = count(features);
    for (int64_t grid = 0; grid < grids; ++grid) {
      Quad quads = {};
      int64_t f = 0;
      for (; f + 4 <= n; f += 4) quads += load<Quad>(change + f) * load<Quad>(gradient + f);
      float total = sum4(quads);
      for (; f < n; ++f) total += change[f] * gradient[f];
      slopes[grid] *= total;
      change += n;
      gradient += n;
    }
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

AMGSRN_INLINE Position position(const Cells& cells, int64_t at) {
  return {cells.x[at], cells.y[at], cells.z[at]};
}

#if defined(AMGSRN_OCTETS)
// Of two grids.
AMGSRN_INLINE PositionOf<Octet> positions(const Cells& cells, int64_t at) {
  return {spread(cells.x + at), spread(cells.y + at), spread(cells.z + at)};
}
#endif

// Layouts and cells are taken by value: the compiler then knows that no store changes them.

// Features of the tile's points, [kTile][width]: grid-major, then feature; and, if wanted, how they
// change along x, y, z of each grid's voxel coordinates, [kTile][3][width].
template <bool WithChanges, class Cell>
AMGSRN_APART void gather(Layout layout, const float* nodes, Cells cells, Cell,
                         float* features, int64_t width, float* changes) {
  const int64_t count = Cell::kFeatures ? Cell::kFeatures : layout.features;
  for (int p = 0; p < kTile; ++p) {
    const float* grid_nodes = nodes;
    float* out = features + p * width;
    float* x = WithChanges ? changes + 3 * p * width : nullptr;
    int64_t grid = 0;
#if defined(AMGSRN_OCTETS)
    if (Cell::kFeatures == 2) {
      for (; grid + 2 <= layout.grids; grid += 2) {
        const int64_t at = p * cells.stride + grid;
        const Rows<const float*> a(grid_nodes + cells.node[at] * count, layout);
        const Rows<const float*> b(grid_nodes + layout.grid + cells.node[at + 1] * count, layout);
        Changes to = {};
        if (WithChanges) to = {x, x + width, x + 2 * width};
        PairedCell<2>::interpolate_two<WithChanges>(a, b, positions(cells, at), out, to);
        grid_nodes += 2 * layout.grid;
        out += 2 * count;
        x += WithChanges ? 2 * count : 0;
      }
    }
#endif
    for (; grid < layout.grids; ++grid) {
      const int64_t at = p * cells.stride + grid;
      const Rows<const float*> rows(grid_nodes + cells.node[at] * count, layout);
      Changes to = {};
      if (WithChanges) to = {x, x + width, x + 2 * width};
      Cell::template interpolate<WithChanges>(rows, position(cells, at), count, out, to);
      grid_nodes += layout.grid;
      out += count;
      x += WithChanges ? count : 0;
    }
  }
}

// Adds the tile's feature gradients to those of the nodes. Points outer: between two visits of
// one node lie enough stores that none waits for the other.
template <class Cell>
AMGSRN_APART void scatter(Layout layout, float* gradients, Cells cells, Cell,
                          const float* features, int64_t width, int points) {
  const int64_t count = Cell::kFeatures ? Cell::kFeatures : layout.features;
  for (int p = 0; p < points; ++p) {
    float* grid_nodes = gradients;
    const float* in = features + p * width;
    for (int64_t grid = 0; grid < layout.grids; ++grid) {
      const int64_t at = p * cells.stride + grid;
      const Rows<float*> rows(grid_nodes + cells.node[at] * count, layout);
      Cell::scatter(rows, position(cells, at), count, in);
      grid_nodes += layout.grid;
      in += count;
    }
  }
}

// From the features' changes [kTile][3][width] and their gradients [kTile][width] to the loss's
// change with a point's voxel coordinates in each grid, which replaces cells.free.
template <class Cell>
AMGSRN_APART void differentiate(Layout layout, Cells cells, Cell,
                                const float* features, int64_t width, const float* changes) {
  const int64_t count = Cell::kFeatures ? Cell::kFeatures : layout.features;
  for (int p = 0; p < kTile; ++p)
    for (int axis = 0; axis < 3; ++axis)
      Cell::differentiate(changes + (3 * p + axis) * width, features + p * width, layout.grids,
                          count, cells.free[axis] + p * cells.stride);
}

// Adds the tile's gradient of the maps, before the factor (nodes - 1) / 2 of each row, to
// gradients [grids][3][4].
AMGSRN_APART void add_map_gradients(Layout layout, const Points& points,
                                    Cells cells, double* gradients) {
  for (int axis = 0; axis < 3; ++axis) {
    for (int64_t grid = 0; grid < cells.stride; grid += kLanes) {
      const float* slopes = cells.free[axis] + grid;
      Vector x = {}, y = {}, z = {}, one = {};
      for (int p = 0; p < kTile; ++p) {
        const Vector slope = load(slopes + p * cells.stride);
        x += slope * points.x[p];
        y += slope * points.y[p];
        z += slope * points.z[p];
        one += slope;
      }
      const int64_t left = layout.grids - grid;
      for (int64_t lane = 0; lane < (left < kLanes ? left : kLanes); ++lane) {
        double* row = gradients + 12 * (grid + lane) + 4 * axis;
        row[0] += x[lane];
        row[1] += y[lane];
        row[2] += z[lane];
        row[3] += one[lane];
      }
    }
  }
}

// Asks for the memory of every `step`-th point's cells, which are needed soon; `Write` when it will
// be written to.
template <bool Write>
AMGSRN_APART void prefetch(Layout layout, const float* nodes, Cells cells, int step) {
  asm volatile("");  // or GCC leaves out the calls, which have no result
  for (int p = 0; p < kTile; p += step) {
    for (int64_t grid = 0; grid < layout.grids; ++grid) {
      const float* node = nodes + grid * layout.grid +
                          cells.node[p * cells.stride + grid] * layout.features;
      const Rows<const float*> rows(node, layout);
      __builtin_prefetch(rows.y0z0, Write);
      __builtin_prefetch(rows.y1z0, Write);
      __builtin_prefetch(rows.y0z1, Write);
      __builtin_prefetch(rows.y1z1, Write);
    }
  }
}

}  // namespace
