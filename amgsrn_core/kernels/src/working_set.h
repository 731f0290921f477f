// Marching through decoded blocks: a block is decoded by whoever first needs it, kept as 16-bit
// numbers, and interpolated linearly. amgsrn_core/rendering/lattice.py is the reference.
#pragma once

#include <atomic>
#include <thread>

#include "abi.h"
#include "field.h"
#include "kernels.h"
#include "look.h"
#include "rays.h"
#include "vector.h"

namespace {

using amgsrn::BlockPixels;

constexpr int kBits = 3, kEdge = 1 << kBits, kSide = kEdge + 1;  // cells and points of a block
constexpr int kBlock = kSide * kSide * kSide;
constexpr float kMostCode = 65535.0f;

// Lanes whose first samples are farther apart than this go by themselves.
constexpr double kFarApart = 1 << 20;

// Rounding may put a border behind a sample by this part of a step: it is looked at once more.
constexpr float kBorderTolerance = 4e-3f;

// The frame of a slot while its block is replaced.
constexpr int64_t kReplaced = INT64_MAX;

struct BlockScratch {
  RayTable* made;
  Batch batch;
  Part* parts;       // [most members] of one point
  float* lattice;    // [components][kBlock] values of a block
  void* networks;
};

template <class Evaluate>
class BlockMarch : Field, Look {
 public:
  BlockMarch(const AmgsrnVolume& volume, const AmgsrnAppearance& appearance,
             const BlockPixels& pixels, BlockScratch& scratch, Evaluate evaluate)
      : Field(volume),
        Look(appearance),
        pixels_(pixels),
        set_(pixels.set),
        s_(scratch),
        evaluate_(evaluate),
        low_entry_(first_seen(1)),
        high_entry_(first_seen(-1)) {
    for (int64_t b = 0; b < volume.brick_count; ++b) has_masks_ |= volume.bricks[b].valid != nullptr;
    for (int a = 0; a < 3; ++a) {
      const AmgsrnAxis& axis = volume.axes[a];
      top_[a] = static_cast<float>(axis.size - 1);
      is_uneven_ |= axis.coordinates != nullptr;
    }
  }

  // Marches stretches of rays until `next`, which the parts share, is behind the last.
  amgsrn::Outcome run(std::atomic<int64_t>& next) {
    for (;;) {
      const int64_t base = next.fetch_add(kStretch, std::memory_order_relaxed);
      if (base >= pixels_.count || is_full()) break;
      const int64_t left = pixels_.count - base;
      const int count = left < kStretch ? static_cast<int>(left) : kStretch;
      if (!make_rays(pixels_.view, pixels_.numbers + base, count, *s_.made))
        return amgsrn::kTooManySamples;
      for (int i = 0; i < count; i += kLanes)
        march_together(base, i, count - i < kLanes ? count : i + kLanes);
    }
    pixels_.samples.fetch_add(samples_, std::memory_order_relaxed);
    return is_full() ? amgsrn::kFull : amgsrn::kDone;
  }

 private:
  // Rays in lockstep: all take sample k at once. Distances count from each one's first sample.
  struct Packet {
    int64_t base;      // k of the first sample of all
    int count;
    int64_t number[kLanes];
    double towards[kLanes][3];
    alignas(64) float start[3][kLanes], move[3][kLanes], near[kLanes], far[kLanes];
    alignas(64) float exponent[kLanes], left[kLanes], best[kLanes], before[kLanes];
    alignas(64) int32_t lead[kLanes], end[kLanes];
    int32_t before_k[kLanes];
    Quad colour[kLanes];
    // The blocks of the last sample, and where they are.
    alignas(64) int32_t block[kLanes], place[kLanes];
  };

  // A level's numbers for the packet in hand.
  struct Scale {
    const AmgsrnLevel* level;
    int32_t number;
    float per_voxel;
  };

  bool is_full() const { return __atomic_load_n(&set_.is_full, __ATOMIC_RELAXED); }

  // The table's first entry, from one end, next to which something may be seen; beyond the table if
  // values held at this end are.
  float first_seen(int direction) const {
    const float far = 1e30f;
    const int64_t last = appearance_.entries - 1;
    int64_t entry = direction > 0 ? 0 : last;
    while (entry >= 0 && entry <= last && !(appearance_.table[4 * entry + 3] > 0.0f))
      entry += direction;
    if (direction > 0) return entry == 0 ? -far : static_cast<float>(entry - 1);
    return entry == last ? far : static_cast<float>(entry + 1);
  }

  void march_together(int64_t base, int from, int to) {
    const RayTable& made = *s_.made;
    double first = __builtin_inf(), last = -first;
    for (int i = from; i < to; ++i) {
      if (made.end[i] <= made.first[i]) continue;
      first = made.first[i] < first ? made.first[i] : first;
      last = made.first[i] > last ? made.first[i] : last;
    }
    if (last - first < kFarApart) {
      march(base, from, to);
    } else {
      for (int i = from; i < to; ++i) march(base, i, i + 1);
    }
  }

  // Takes rays [from, to) of the table in; false where none has a sample.
  bool load_packet(int64_t base, int from, int to, Packet& p) const {
    const RayTable& made = *s_.made;
    p.count = to - from;
    double first = __builtin_inf();
    for (int i = from; i < to; ++i)
      if (made.end[i] > made.first[i] && made.first[i] < first) first = made.first[i];
    const bool any = first < __builtin_inf();
    p.base = any ? static_cast<int64_t>(first) : 0;
    for (int lane = 0; lane < kLanes; ++lane) {
      const int i = from + (lane < p.count ? lane : 0);
      const bool used = lane < p.count && made.end[i] > made.first[i];
      const double begin = made.first[i] + made.offset[i];
      p.number[lane] = base + i;
      for (int a = 0; a < 3; ++a) {
        const AmgsrnAxis& axis = volume_.axes[a];
        p.towards[lane][a] = made.towards[a][i];
        p.start[a][lane] = static_cast<float>(
            (made.origin[a][i] + begin * made.direction[a][i] - axis.origin) * axis.scale);
        const float move = static_cast<float>(made.direction[a][i] * axis.scale);
        p.move[a][lane] = __builtin_fabsf(move) < 1e-9f ? 1e-9f : move;
      }
      p.near[lane] = static_cast<float>(made.near[i] - begin);
      p.far[lane] = static_cast<float>(made.far[i] - begin);
      p.exponent[lane] = static_cast<float>(made.exponent[i]);
      p.lead[lane] = used ? static_cast<int32_t>(made.first[i] - first) : 0;
      p.end[lane] = used ? p.lead[lane] + static_cast<int32_t>(made.end[i] - made.first[i]) : 0;
      p.left[lane] = 1.0f;
      p.best[lane] = -kInfinity;
      p.before[lane] = __builtin_nanf("");
      p.before_k[lane] = INT32_MIN;
      p.colour[lane] = Quad{};
      p.block[lane] = -1, p.place[lane] = 0;
    }
    return any;
  }

  void finish(const Packet& p) const {
    for (int lane = 0; lane < p.count; ++lane) {
      Quad colour =
          appearance_.blend == kMaximum ? maximum_colour(p.best[lane]) : p.colour[lane];
      for (int c = 0; c < 3; ++c) colour[c] = colour[c] < 1.0f ? colour[c] : 1.0f;
      store<Quad>(pixels_.colour(p.number[lane]), colour);
    }
  }

  // The level of sample k: finest first, each from its own k on.
  Scale scale_at(int64_t k, int64_t* until) const {
    int64_t number = 0;
    while (number + 1 < set_.level_count && static_cast<double>(k) >= set_.begins[number + 1])
      ++number;
    *until = INT64_MAX;
    if (number + 1 < set_.level_count && set_.begins[number + 1] < 0x1p62)
      *until = static_cast<int64_t>(__builtin_ceil(set_.begins[number + 1]));
    const AmgsrnLevel& level = set_.levels[number];
    return {&level, static_cast<int32_t>(number), static_cast<float>(1.0 / level.spacing)};
  }

  void march(int64_t base, int from, int to) {
    Packet p;
    if (load_packet(base, from, to, p)) {
      int32_t end = 0;
      for (int lane = 0; lane < kLanes; ++lane) end = p.end[lane] > end ? p.end[lane] : end;
      int64_t until = INT64_MIN;
      Scale scale = {};
      for (int32_t k = 0; k < end && !stopped_;) {
        if (p.base + k >= until) {
          scale = scale_at(p.base + k, &until);
          for (int32_t& block : p.block) block = -1;
        }
        k = sample(p, scale, k, end);
      }
    }
    finish(p);
  }

  // Takes the packet's sample k; returns the next k at which something may be seen.
  int32_t sample(Packet& p, const Scale& scale, int32_t k, int32_t end) {
    const Vector zero = {};
    const Integers lead = load_integers(p.lead), step = k - Integers{};
    const Vector t = __builtin_convertvector(step - lead, Vector);
    const Integers alive = load(p.left) > appearance_.transmittance_limit - zero;
    Integers active = alive & (step >= lead) & (step < load_integers(p.end));
    Vector low = t - 0.5f, high = t + 0.5f;
    if (appearance_.blend != kIsosurface) {
      const Vector near = load(p.near), far = load(p.far);
      low = low > near ? low : near;
      high = high < far ? high : far;
      active &= high > low;
    }
    const Vector at = 0.5f * (low + high);
    Vector index[3];
    Integers cell[3];
    active &= find_index(p, at, index);
    if (!lane_bits(active)) return lane_bits(alive) ? k + 1 : end;
    for (int a = 0; a < 3; ++a) {
      const Integers last = static_cast<int32_t>(volume_.axes[a].cell_count - 1) - Integers{};
      cell[a] = __builtin_convertvector(index[a] * pixels_.per_cell, Integers);
      cell[a] = cell[a] < last ? cell[a] : last;
    }
    const Integers reach = find_empty(p, cell, active);
    Integers seen = active & (reach == 0);
    if (!lane_bits(seen)) return behind_cells(p, cell, reach, active, alive, k, end);
    if (has_masks_) seen &= find_valid(index, seen);
    if (!lane_bits(seen)) return k + 1;
    Integers where;
    Vector part[3];
    if (!locate(p, scale, index, seen, &where, part)) return end;
    samples_ += __builtin_popcount(static_cast<unsigned>(lane_bits(seen)));
    const Vector value = seen_value(where, part);
    if (appearance_.blend == kMaximum) {
      const Vector best = load(p.best);
      store(p.best, seen & (value > best) ? value : best);
    } else if (appearance_.blend == kIsosurface) {
      cross(p, scale, k, value, seen);
    } else {
      composite(p, value, index, where, part, (high - low) * load(p.exponent), seen);
    }
    return k + 1;
  }

  // Indices at distances from the first samples, clamped to the volume; which are in it.
  Integers find_index(const Packet& p, Vector at, Vector* index) const {
    Integers inside = ~Integers{};
    const float slack = static_cast<float>(kFaceTolerance);
    for (int a = 0; a < 3; ++a) {
      index[a] = load(p.start[a]) + at * load(p.move[a]);
      const AmgsrnAxis& axis = volume_.axes[a];
      if (axis.coordinates)
        for (int lane = 0; lane < kLanes; ++lane)
          index[a][lane] = static_cast<float>(
              axis_index(axis, axis.origin + static_cast<double>(index[a][lane]) / axis.scale));
      inside &= (index[a] >= -slack - Vector{}) & (index[a] <= top_[a] + slack - Vector{});
      index[a] = clamp(index[a], 0.0f, top_[a]);
    }
    return inside;
  }

  // How many macro-cells away something may be seen; 0 where it may here.
  Integers find_empty(const Packet& p, const Integers* cell, Integers active) const {
    const AmgsrnAxis* axes = volume_.axes;
    const Integers number =
        active & ((cell[2] * static_cast<int32_t>(axes[1].cell_count) + cell[1]) *
                      static_cast<int32_t>(axes[0].cell_count) + cell[0]);
    Integers reach = {};
    for (int lane = 0; lane < kLanes; ++lane) {
      const int32_t at = number[lane];
      reach[lane] = appearance_.empty[at];
      if (appearance_.maxima && appearance_.maxima[at] <= p.best[lane] && !reach[lane])
        reach[lane] = 1;
    }
    return reach;
  }

  // k of the first sample of any ray behind the cells that are less than `reach` cells away.
  int32_t behind_cells(const Packet& p, const Integers* cell, Integers reach, Integers active,
                       Integers alive, int32_t k, int32_t end) const {
    const Vector zero = {};
    Vector leave = 1e9f - zero;
    for (int a = 0; a < 3; ++a) {
      const AmgsrnAxis& axis = volume_.axes[a];
      const Vector move = load(p.move[a]);
      Integers border = move > zero ? cell[a] + reach : cell[a] + 1 - reach;
      Vector to = {};
      if (is_uneven_) {
        for (int lane = 0; lane < kLanes; ++lane) {
          const int64_t b = border[lane] < 0 ? 0 : border[lane];
          const int64_t most = b < axis.cell_count ? b : axis.cell_count;
          to[lane] = static_cast<float>((axis.borders[most] - axis.origin) * axis.scale);
        }
      } else {
        to = clamp(__builtin_convertvector(border, Vector) * pixels_.cell_edge, 0.0f, top_[a]);
      }
      const Vector t = (to - load(p.start[a])) / move;
      leave = t < leave ? t : leave;
    }
    int32_t next = end;
    for (int lane = 0; lane < kLanes; ++lane) {
      int32_t at = end;
      if (active[lane]) {
        const float up = __builtin_ceilf(leave[lane] - kBorderTolerance);
        if (up < static_cast<float>(end - p.lead[lane])) at = p.lead[lane] + static_cast<int32_t>(up);
      } else if (alive[lane] && k < p.end[lane]) {
        at = p.lead[lane];  // it may begin later
      }
      at = at > k ? at : k + 1;
      next = at < next ? at : next;
    }
    return next;
  }

  // Which lanes have a value: their nearest voxels have.
  Integers find_valid(const Vector* index, Integers seen) const {
    Integers valid = {};
    for (int lane = 0; lane < kLanes; ++lane) {
      if (!seen[lane]) continue;
      double at[3];
      int64_t half[3];
      for (int a = 0; a < 3; ++a) at[a] = static_cast<double>(index[a][lane]);
      half_voxels(at, half);
      valid[lane] = parts_at(at, half, s_.parts) ? -1 : 0;
    }
    return valid;
  }

  // Finds the cells of lattice points, and decodes their blocks where they are missing; false where
  // there is no room for one.
  bool locate(Packet& p, const Scale& scale, const Vector* index, Integers seen, Integers* where,
              Vector* part) {
    const AmgsrnLevel& level = *scale.level;
    Integers inner[3], block = {};
    for (int a = 2; a >= 0; --a) {
      const Vector at = index[a] * scale.per_voxel;
      const Integers last = static_cast<int32_t>(level.cells[a] - 1) - Integers{};
      Integers cell = __builtin_convertvector(at, Integers);
      cell = cell < last ? cell : last;
      part[a] = at - __builtin_convertvector(cell, Vector);
      inner[a] = cell & (kEdge - 1);
      block = block * static_cast<int32_t>(level.blocks[a]) + (cell >> kBits);
    }
    const int moved = lane_bits(seen & (block != load_integers(p.block)));
    for (int left = moved; left; left &= left - 1) {
      const int lane = __builtin_ctz(static_cast<unsigned>(left));
      const int64_t slot = acquire(scale, block[lane]);
      if (slot < 0) return false;
      p.block[lane] = block[lane];
      p.place[lane] = static_cast<int32_t>(slot * volume_.components * kBlock);
    }
    *where = seen & (load_integers(p.place) + (inner[2] * kSide + inner[1]) * kSide + inner[0]);
    return true;
  }

  // The corners of cells, x fastest.
  AMGSRN_INLINE void corners(Integers where, int64_t component, Vector* v) const {
    const uint16_t* codes = set_.codes + component * kBlock;
    const int32_t offsets[4] = {0, kSide, kSide * kSide, kSide * kSide + kSide};
    for (int i = 0; i < 4; ++i) {
      const Integers both = gather_pairs(codes + offsets[i], where);
      v[2 * i] = __builtin_convertvector(both & 0xffff, Vector);
      v[2 * i + 1] = __builtin_convertvector((both >> 16) & 0xffff, Vector);
    }
  }

  AMGSRN_INLINE Vector component_value(Integers where, const Vector* part, int64_t c) const {
    Vector v[8];
    corners(where, c, v);
    const Vector y0 = mix(mix(v[0], v[1], part[0]), mix(v[2], v[3], part[0]), part[1]);
    const Vector y1 = mix(mix(v[4], v[5], part[0]), mix(v[6], v[7], part[0]), part[1]);
    return set_.low[c] + set_.unit[c] * mix(y0, y1, part[2]);
  }

  // What is seen of the values in cells.
  Vector seen_value(Integers where, const Vector* part) const {
    if (appearance_.component >= 0) return component_value(where, part, appearance_.component);
    Vector squares = {};
    for (int64_t c = 0; c < volume_.components; ++c) {
      const Vector v = component_value(where, part, c);
      squares += v * v;
    }
    for (int lane = 0; lane < kLanes; ++lane) squares[lane] = __builtin_sqrtf(squares[lane]);
    return squares;
  }

  // Its gradient by the volume's index, but for a factor: that of the cell's own function.
  void seen_gradient(Integers where, const Vector* part, Vector* gradient) const {
    for (int a = 0; a < 3; ++a) gradient[a] = Vector{};
    for (int64_t c = 0; c < volume_.components; ++c) {
      if (appearance_.component >= 0 && c != appearance_.component) continue;
      Vector v[8];
      corners(where, c, v);
      const Vector x0 = mix(v[0], v[1], part[0]), x1 = mix(v[2], v[3], part[0]);
      const Vector x2 = mix(v[4], v[5], part[0]), x3 = mix(v[6], v[7], part[0]);
      const Vector y0 = mix(x0, x1, part[1]), y1 = mix(x2, x3, part[1]);
      Vector factor = set_.unit[c] - Vector{};
      if (appearance_.component < 0) factor *= set_.low[c] + set_.unit[c] * mix(y0, y1, part[2]);
      gradient[0] += factor * mix(mix(v[1] - v[0], v[3] - v[2], part[1]),
                                  mix(v[5] - v[4], v[7] - v[6], part[1]), part[2]);
      gradient[1] += factor * mix(x1 - x0, x3 - x2, part[2]);
      gradient[2] += factor * (y1 - y0);
    }
  }

  static AMGSRN_INLINE Vector mix(Vector a, Vector b, Vector t) { return a + t * (b - a); }

  // Adds the samples of lanes to what their rays see.
  void composite(Packet& p, Vector value, const Vector* index, Integers where,
                 const Vector* part, Vector share, Integers seen) {
    const float low = static_cast<float>(appearance_.low);
    const float top = static_cast<float>(appearance_.entries - 1);
    if (appearance_.logarithmic)
      for (int lane = 0; lane < kLanes; ++lane)
        value[lane] = value[lane] > 0.0f ? __builtin_log10f(value[lane]) : low;
    const Vector position = (value - low) * static_cast<float>(position_scale_);
    seen &= (position > low_entry_ - Vector{}) & (position < high_entry_ - Vector{});
    const int visible = lane_bits(seen);
    if (!visible) return;
    const Vector held = clamp(position, 0.0f, top);
    Integers entry = __builtin_convertvector(held, Integers);
    const Integers last = static_cast<int32_t>(appearance_.entries - 2) - Integers{};
    entry = entry < last ? entry : last;
    const Vector fraction = held - __builtin_convertvector(entry, Vector);
    Vector gradient[3];
    if (appearance_.shade) seen_gradient(where, part, gradient);
    for (int left = visible; left; left &= left - 1) {
      const int lane = __builtin_ctz(static_cast<unsigned>(left));
      const float* row = appearance_.table + 4 * entry[lane];
      Quad colour = lerp(load<Quad>(row), load<Quad>(row + 4), fraction[lane]);
      if (share[lane] != 1.0f) colour[3] = 1.0f - __builtin_powf(1.0f - colour[3], share[lane]);
      if (!(colour[3] > 0.0f)) continue;
      double normal[3];
      bool has_normal = false;
      if (appearance_.shade) {
        double by_index[3], at[3];
        for (int a = 0; a < 3; ++a) {
          by_index[a] = static_cast<double>(gradient[a][lane]);
          at[a] = static_cast<double>(index[a][lane]);
        }
        has_normal = to_normal(by_index, at, normal);
      }
      blend(p, lane, colour, has_normal ? normal : nullptr);
    }
  }

  void blend(Packet& p, int lane, Quad colour, const double* normal) const {
    const float weight = colour[3] * p.left[lane];
    p.left[lane] *= 1.0f - colour[3];
    if (appearance_.shade) colour = lit(colour, normal, p.towards[lane]);
    colour[3] = 1.0f;
    p.colour[lane] += weight * colour;
  }

  // Composites the isosurfaces between the sample before and this one.
  void cross(Packet& p, const Scale& scale, int32_t k, Vector value, Integers seen) {
    for (int lane = 0; lane < kLanes; ++lane) {
      if (!seen[lane]) continue;
      const float before = p.before[lane];
      const bool adjacent = p.before_k[lane] == k - 1;
      p.before[lane] = value[lane];
      p.before_k[lane] = k;
      if (!adjacent) continue;
      for_crossings(before, value[lane], [&](float way, float isovalue) {
        if (p.left[lane] <= appearance_.transmittance_limit) return false;
        const float t = static_cast<float>(k - 1 - p.lead[lane]) + way;
        if (!(t >= p.near[lane] && t < p.far[lane])) return true;
        const Quad colour = looked_up(isovalue);
        if (!(colour[3] > 0.0f)) return true;
        double normal[3];
        const bool has_normal = appearance_.shade && find_normal(p, scale, lane, t, normal);
        blend(p, lane, colour, has_normal ? normal : nullptr);
        return !stopped_;
      });
    }
  }

  // Unit vector along the gradient at a distance along a lane's ray; false where there is none.
  bool find_normal(Packet& p, const Scale& scale, int lane, float t, double* normal) {
    Vector index[3], part[3], gradient[3];
    Integers only = {}, where;
    only[lane] = -1;
    find_index(p, t - Vector{}, index);
    if (has_masks_ && !lane_bits(find_valid(index, only))) return false;
    if (!locate(p, scale, index, only, &where, part)) return false;
    seen_gradient(where, part, gradient);
    double by_index[3], at[3];
    for (int a = 0; a < 3; ++a) {
      by_index[a] = static_cast<double>(gradient[a][lane]);
      at[a] = static_cast<double>(index[a][lane]);
    }
    return to_normal(by_index, at, normal);
  }

  // The slot of a block, which is decoded unless it is there; -1 where there is no room for it. A
  // block that was seen in this frame stays where it is.
  int64_t acquire(const Scale& scale, int32_t block) {
    int32_t* page = scale.level->pages + block;
    for (;;) {
      const int32_t found = __atomic_load_n(page, __ATOMIC_ACQUIRE);
      if (found > 0) {
        const int64_t slot = found - 1;
        int64_t last = __atomic_load_n(set_.frames + slot, __ATOMIC_ACQUIRE);
        // Who changes the slot's frame first, has it: this one, or one that replaces the block.
        const bool kept = last == set_.frame ||
                          (last < set_.frame &&
                           __atomic_compare_exchange_n(set_.frames + slot, &last, set_.frame, false,
                                                       __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
        if (kept && __atomic_load_n(page, __ATOMIC_ACQUIRE) == found) return slot;
      } else if (found == 0) {
        lock();
        const bool mine = *page == 0;
        const int64_t slot = mine ? take_slot() : -1;
        if (slot >= 0) __atomic_store_n(page, -1, __ATOMIC_RELEASE);
        unlock();
        if (mine && slot < 0) {
          stopped_ = true;
          return -1;
        }
        if (mine) {
          set_.owners[slot] = (static_cast<int64_t>(scale.number) << 40) | block;
          decode(*scale.level, block, slot);
          __atomic_store_n(page, static_cast<int32_t>(slot + 1), __ATOMIC_RELEASE);
          return slot;
        }
      } else {
        std::this_thread::yield();  // another thread decodes it
      }
    }
  }

  void lock() {
    while (__atomic_exchange_n(&set_.lock, 1, __ATOMIC_ACQUIRE)) std::this_thread::yield();
  }
  void unlock() { __atomic_store_n(&set_.lock, 0, __ATOMIC_RELEASE); }

  // A slot that is free, or whose block has not been seen for the longest time; -1 if all were seen
  // in this frame.
  int64_t take_slot() {
    int64_t slot = -1;
    if (set_.filled < set_.slots) {
      slot = set_.filled++;
    } else {
      if (set_.next_victim == set_.victim_count) pixels_.find_victims(set_);
      while (set_.next_victim < set_.victim_count && slot < 0) {
        const int32_t old = set_.victims[set_.next_victim++];
        int64_t last = __atomic_load_n(set_.frames + old, __ATOMIC_ACQUIRE);
        if (last < set_.frame &&
            __atomic_compare_exchange_n(set_.frames + old, &last, kReplaced, false,
                                        __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
          slot = old;
      }
      if (slot < 0) {
        __atomic_store_n(&set_.is_full, 1, __ATOMIC_RELAXED);
        return -1;
      }
      const int64_t owner = set_.owners[slot], block = owner & ((int64_t{1} << 40) - 1);
      __atomic_store_n(set_.levels[owner >> 40].pages + block, 0, __ATOMIC_RELEASE);
      ++set_.replaced;
    }
    __atomic_store_n(set_.frames + slot, set_.frame, __ATOMIC_RELEASE);
    ++set_.decoded;
    return slot;
  }

  // Computes a block's lattice points. Beyond the volume's last voxel the values go on as they went,
  // so that they are right at its face.
  void decode(const AmgsrnLevel& level, int64_t number, int64_t slot) {
    const int64_t row = number / level.blocks[0], slab = row / level.blocks[1];
    const int64_t block[3] = {number - row * level.blocks[0], row - slab * level.blocks[1], slab};
    double at[3][kSide];
    int size[3];
    for (int a = 0; a < 3; ++a) {
      const int64_t points = level.cells[a] + 1 - kEdge * block[a];
      const double last = static_cast<double>(volume_.axes[a].size - 1);
      size[a] = points < kSide ? static_cast<int>(points) : kSide;
      for (int i = 0; i < kSide; ++i) {
        at[a][i] = static_cast<double>(kEdge * block[a] + i) * level.spacing;
        at[a][i] = at[a][i] < last ? at[a][i] : last;
      }
    }
    Batch& batch = s_.batch;
    batch.count = 0;
    int done = 0;
    for (int point = 0; point < kBlock; ++point) {
      const int z = point / (kSide * kSide), y = point / kSide % kSide, x = point % kSide;
      const double index[3] = {at[0][x], at[1][y], at[2][z]};
      int64_t half[3];
      half_voxels(index, half);
      const int first = batch.part_count();
      const bool is_used = x < size[0] && y < size[1] && z < size[2];
      const int parts = is_used ? parts_at(index, half, batch.parts + first, false) : 0;
      batch.starts[++batch.count] = first + parts;
      if (point + 1 == kBlock ||
          first + parts + volume_.most_members > static_cast<int64_t>(kParts)) {
        keep(done);
        done = point + 1;
      }
    }
    for (int a = 0; a < 3; ++a) extrapolate(level, a, kEdge * block[a] + size[a] - 1, size);
    encode(slot);
  }

  // Evaluates the batch, the points of a block from `first` on.
  void keep(int first) {
    Batch& batch = s_.batch;
    evaluate(batch, evaluate_, s_.networks);
    int64_t broken = 0;
    for (int64_t c = 0; c < volume_.components; ++c) {
      const float low = set_.low[c], high = low + kMostCode * set_.unit[c];
      for (int i = 0; i < batch.count; ++i) {
        const bool known = batch.starts[i] < batch.starts[i + 1];
        const float v = known ? value(batch, i, c) : low;
        broken += !(v >= low && v <= high);
        s_.lattice[c * kBlock + first + i] = v;
      }
    }
    if (broken) __atomic_fetch_add(&set_.broken, broken, __ATOMIC_RELAXED);
    batch.count = 0;
  }

  void extrapolate(const AmgsrnLevel& level, int axis, int64_t point, const int* size) {
    const double last = static_cast<double>(volume_.axes[axis].size - 1);
    const double before = static_cast<double>(point - 1) * level.spacing;
    if (size[axis] < 2 || before + level.spacing <= last) return;
    const float ratio = static_cast<float>(level.spacing / (last - before));
    const int strides[3] = {1, kSide, kSide * kSide}, stride = strides[axis];
    for (int64_t c = 0; c < volume_.components; ++c)
      for (int i = 0; i < kBlock; ++i) {
        if (i / stride % kSide != size[axis] - 1) continue;
        float* v = s_.lattice + c * kBlock + i;
        v[0] = v[-stride] + (v[0] - v[-stride]) * ratio;
      }
  }

  void encode(int64_t slot) {
    for (int64_t c = 0; c < volume_.components; ++c) {
      const float* from = s_.lattice + c * kBlock;
      uint16_t* to = set_.codes + (slot * volume_.components + c) * kBlock;
      const float per_unit = 1.0f / set_.unit[c], low = set_.low[c];
      for (int i = 0; i < kBlock; ++i) {
        float code = (from[i] - low) * per_unit + 0.5f;
        code = code > 0.0f ? code : 0.0f;  // NaN becomes 0
        to[i] = static_cast<uint16_t>(code < kMostCode ? code : kMostCode);
      }
    }
  }

  const BlockPixels& pixels_;
  AmgsrnWorkingSet& set_;
  BlockScratch& s_;
  Evaluate evaluate_;
  const float low_entry_, high_entry_;  // between these something is seen
  float top_[3];                        // last voxels
  bool has_masks_ = false, is_uneven_ = false, stopped_ = false;
  int64_t samples_ = 0;
};

}  // namespace
