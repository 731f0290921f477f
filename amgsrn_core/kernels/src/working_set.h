// Marching through decoded blocks: a block is decoded by whoever first needs it, kept as 16-bit
// numbers, and interpolated linearly or by cubics. amgsrn_core/rendering/lattice.py is the reference.
#pragma once

#include <atomic>
#include <cstdlib>
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
// A block's eighths, of kPart cells along each axis, which are empty or not. Each is as large as a
// block of the next finer level: its child.
constexpr int kPartBits = 2, kPart = 1 << kPartBits, kEighths = 8;
constexpr int kBounds = 4;  // numbers that say what is in an eighth
constexpr float kMostCode = 65535.0f;

// Lanes whose first samples are farther apart than this go by themselves.
constexpr double kFarApart = 1 << 20;

// A cubic's weights along an axis have a sum of 1 and, without their signs, of 1.25 at most: this is
// (1.25^3 - 1) / 2.
constexpr float kOvershoot = 0.4766f;

// Rounding may put a border behind a sample by this part of a step: it is looked at once more.
constexpr float kBorderTolerance = 4e-3f;

// The frame of a slot while its block is replaced.
constexpr int64_t kReplaced = INT64_MAX;

// What a thread knows of blocks in the picture in hand, of each level by the last bits of their
// numbers: the other bits with one for each eighth in which something may be seen, and where its
// codes are, kUnknown if nobody asked yet. Below that are the codes of its parent, which will do:
// kUnknown - 1 - their place.
constexpr int kMostLevels = 32;
constexpr int32_t kLive = (1 << kEighths) - 1, kKnown = kLive + 1, kUnknown = -1;

// Linear interpolation may err by so many times what second differences tell: 95 % of blocks by less.
constexpr float kErrorFactor = 2.0f;
struct KnownBlocks {
  alignas(64) int32_t words[kMostLevels][kKnown], places[kMostLevels][kKnown];
};

struct BlockScratch {
  RayTable* made;
  KnownBlocks* known;
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
    double largest = 0.0, by_axis[3][3];
    for (int a = 0; a < 3; ++a)
      for (int b = 0; b < 3; ++b) {
        by_axis[a][b] = volume.axes[a].scale * volume.to_world[a][b];
        const double size = __builtin_fabs(by_axis[a][b]);
        largest = size > largest ? size : largest;
      }
    for (int a = 0; a < 3; ++a)
      for (int b = 0; b < 3; ++b) to_normal_[a][b] = static_cast<float>(by_axis[a][b] / largest);
    const float power = appearance.specular_power;
    if (power <= 64.0f && power == __builtin_floorf(power)) whole_power_ = static_cast<int>(power);
    for (int64_t level = 0; level < set_.level_count; ++level)
      for (int32_t& word : scratch.known->words[level]) word = ~kLive;  // of no block
  }

  // Marches stretches of rays until `next`, which the parts share, is behind the last.
  amgsrn::Outcome run(std::atomic<int64_t>& next) {
    const int64_t stretches = pixels_.stretches();
    for (;;) {
      const int64_t stretch = next.fetch_add(1, std::memory_order_relaxed);
      if (stretch >= stretches || is_full()) break;
      pixels_.fill(stretch, s_.made->pixels);
      if (!any_covered(pixels_.view, s_.made->pixels)) continue;
      if (!make_rays(pixels_.view, *s_.made)) return amgsrn::kTooManySamples;
      const int count = s_.made->pixels.count;
      for (int i = 0; i < count; i += kLanes)
        march_together(i, count - i < kLanes ? count : i + kLanes);
    }
    pixels_.samples.fetch_add(samples_, std::memory_order_relaxed);
    return is_full() ? amgsrn::kFull : amgsrn::kDone;
  }

 private:
  // Rays in lockstep: all take sample k at once. Distances count from each one's first sample.
  struct Packet {
    int64_t base;          // k of the first sample of all
    int ray, count;        // of the first one in the table
    alignas(64) float start[3][kLanes], move[3][kLanes], inverse[3][kLanes];
    alignas(64) float near[kLanes], far[kLanes], exponent[kLanes];
    alignas(64) float towards[3][kLanes];  // in the world
    alignas(64) float left[kLanes], best[kLanes], before[kLanes];
    alignas(64) int32_t lead[kLanes], end[kLanes], before_k[kLanes];
    Quad colour[kLanes];
    int32_t last;          // the largest end
    bool is_even;          // all exponents are 1
  };

  // Cells of lattice points, and where in them these are.
  struct Place {
    Integers inner[3], block_at[3], block, live, where;
    Integers last[3];  // point of the block; for cubics
    Vector part[3];
    bool is_known;  // all active lanes' blocks were
  };

  // A level's numbers for the packet in hand.
  struct Scale {
    const AmgsrnLevel* level;
    int32_t number;
    float per_voxel;
  };

  // What is in an eighth of a block: between which values, how much linear interpolation may be off,
  // and how far values rise from a lattice point to the next.
  struct Contents {
    float least, most, error, rise;
  };

  // A block's lattice points: where they are, how many along each axis, and which are to be computed.
  struct Points {
    int64_t block[3];
    int size[3], count;
    bool goes_on;  // beyond the volume's last voxel
    double at[3][kSide];
    int16_t wanted[kBlock];
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

  void march_together(int from, int to) {
    const RayTable& made = *s_.made;
    double first = __builtin_inf(), last = -first;
    for (int i = from; i < to; ++i) {
      if (made.end[i] <= made.first[i]) continue;
      first = made.first[i] < first ? made.first[i] : first;
      last = made.first[i] > last ? made.first[i] : last;
    }
    if (last - first < kFarApart) {
      march(from, 0, to - from, first);
    } else if (first < last) {
      for (int i = from; i < to; ++i) march(from, i - from, i - from + 1, made.first[i]);
    }
  }

  // Takes rays [from, to) of the table in, of which lanes [low, high) are used.
  void load_packet(int from, int low, int high, double first, Packet& p) const {
    const RayTable& made = *s_.made;
    p.base = static_cast<int64_t>(first), p.ray = from, p.count = high;
    double begin[kLanes];
    for (int lane = 0; lane < kLanes; ++lane)
      begin[lane] = made.first[from + lane] + made.offset[from + lane];
    for (int a = 0; a < 3; ++a) {
      const AmgsrnAxis& axis = volume_.axes[a];
      const double *origin = made.origin[a] + from, *direction = made.direction[a] + from;
      for (int lane = 0; lane < kLanes; ++lane) {
        const double at = origin[lane] + begin[lane] * direction[lane];
        const float move = static_cast<float>(direction[lane] * axis.scale);
        p.start[a][lane] = static_cast<float>((at - axis.origin) * axis.scale);
        p.move[a][lane] = __builtin_fabsf(move) < 1e-9f ? 1e-9f : move;
        p.inverse[a][lane] = 1.0f / p.move[a][lane];
        p.towards[a][lane] = static_cast<float>(made.towards[a][from + lane]);
      }
    }
    p.last = 0, p.is_even = true;
    for (int lane = 0; lane < kLanes; ++lane) {
      const int i = from + lane;
      const bool used = lane >= low && lane < high && made.end[i] > made.first[i];
      p.near[lane] = static_cast<float>(made.near[i] - begin[lane]);
      p.far[lane] = static_cast<float>(made.far[i] - begin[lane]);
      p.exponent[lane] = static_cast<float>(made.exponent[i]);
      const double lead = used ? made.first[i] - first : 0.0;
      p.lead[lane] = static_cast<int32_t>(lead);
      p.end[lane] = static_cast<int32_t>(used ? lead + made.end[i] - made.first[i] : 0.0);
      p.last = p.end[lane] > p.last ? p.end[lane] : p.last;
      p.is_even &= p.exponent[lane] == 1.0f;
    }
    const Vector zero = {};
    const Integers none = {};
    store(p.left, zero + 1.0f), store(p.best, zero - kInfinity);
    store(p.before, zero + __builtin_nanf("")), store(p.before_k, none + INT32_MIN);
    for (Quad& colour : p.colour) colour = Quad{};
  }

  void finish(const Packet& p, int low) const {
    for (int lane = low; lane < p.count; ++lane) {
      Quad colour =
          appearance_.blend == kMaximum ? maximum_colour(p.best[lane]) : p.colour[lane];
      for (int c = 0; c < 3; ++c) colour[c] = colour[c] < 1.0f ? colour[c] : 1.0f;
      store<Quad>(pixels_.colour(s_.made->pixels.places[p.ray + lane]), colour);
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

  void march(int from, int low, int high, double first) {
    Packet p;
    load_packet(from, low, high, first, p);
    int64_t until = INT64_MIN;
    Scale scale = {};
    for (int32_t k = 0; k < p.last && !stopped_;) {
      if (p.base + k >= until) scale = scale_at(p.base + k, &until);
      k = sample(p, scale, k);
    }
    finish(p, low);
  }

  // Takes the packet's sample k; returns the next k at which something may be seen.
  int32_t sample(Packet& p, const Scale& scale, int32_t k) {
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
    Vector index[3];
    active &= find_index(p, 0.5f * (low + high), index);
    if (!lane_bits(active)) return lane_bits(alive) ? k + 1 : p.last;
    Place place;
    find_cells(scale, index, place);
    Integers seen = active & find_live(p, scale, index, active, place);
    if (!lane_bits(seen)) return behind_cells(p, scale, index, active, alive, place, k);
    if (has_masks_) {
      seen &= find_valid(index, seen);
      if (!lane_bits(seen)) return k + 1;
    }
    if (!find_codes(scale, index, &seen, place)) return p.last;
    if (!lane_bits(seen)) return k + 1;
    samples_ += __builtin_popcount(static_cast<unsigned>(lane_bits(seen)));
    const Vector value = seen_value(place);
    if (appearance_.blend == kMaximum) {
      const Vector best = load(p.best);
      store(p.best, seen & (value > best) ? value : best);
    } else if (appearance_.blend == kIsosurface) {
      cross(p, scale, k, value, seen);
    } else {
      composite(p, value, index, place, (high - low) * load(p.exponent), seen);
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
  Integers find_empty(const Packet& p, const Vector* index, Integers active, Integers* cell) const {
    const AmgsrnAxis* axes = volume_.axes;
    for (int a = 0; a < 3; ++a) {
      const Integers last = static_cast<int32_t>(axes[a].cell_count - 1) - Integers{};
      cell[a] = __builtin_convertvector(index[a] * pixels_.per_cell, Integers);
      cell[a] = cell[a] < last ? cell[a] : last;
    }
    const Integers number =
        active & ((cell[2] * static_cast<int32_t>(axes[1].cell_count) + cell[1]) *
                      static_cast<int32_t>(axes[0].cell_count) + cell[0]);
    Integers reach = gather_bytes(appearance_.empty, number);
    if (appearance_.maxima)
      for (int lane = 0; lane < kLanes; ++lane)
        if (appearance_.maxima[number[lane]] <= p.best[lane] && !reach[lane]) reach[lane] = 1;
    return reach;
  }

  // Where a macro-cell begins, and where an index is, on the straight scale of `start` and `move`.
  static float border(const AmgsrnAxis& axis, int64_t number) {
    number = number < 0 ? 0 : number < axis.cell_count ? number : axis.cell_count;
    return static_cast<float>((axis.borders[number] - axis.origin) * axis.scale);
  }

  static float straight(const AmgsrnAxis& axis, float index) {
    if (!axis.coordinates) return index;
    const int64_t last = axis.size - 1;
    const int64_t cell = index < static_cast<float>(last) ? static_cast<int64_t>(index) : last - 1;
    const double part = static_cast<double>(index) - static_cast<double>(cell);
    const double low = axis.coordinates[cell], high = axis.coordinates[cell + 1];
    return static_cast<float>((low + (part < 1.0 ? part : 1.0) * (high - low) - axis.origin) * axis.scale);
  }

  // t behind which rays are out of boxes between low and high, in voxels.
  static AMGSRN_INLINE Vector exit_of(const Packet& p, int axis, Vector low, Vector high) {
    const Vector move = load(p.move[axis]), zero = {};
    return ((move > zero ? high : low) - load(p.start[axis])) * load(p.inverse[axis]);
  }

  // k of the first sample of any ray behind what is empty round it: the eighth of a block, or the
  // macro-cells that are nearer than anything that may be seen.
  int32_t behind_cells(const Packet& p, const Scale& scale, const Vector* index, Integers active,
                       Integers alive, const Place& place, int32_t k) const {
    const Vector zero = {};
    const float size = static_cast<float>(kPart) / scale.per_voxel;
    Integers cell[3];
    const Integers reach = find_empty(p, index, active, cell);
    Vector leave = zero + 1e9f, leave_part = leave;
    for (int a = 0; a < 3; ++a) {
      const AmgsrnAxis& axis = volume_.axes[a];
      const Integers first = cell[a] + 1 - reach, last = cell[a] + reach;
      const Integers corner = (place.block_at[a] << kBits | place.inner[a]) >> kPartBits;
      Vector from = __builtin_convertvector(corner, Vector) * size;
      Vector exit;
      if (is_uneven_) {
        // Rays are straight by coordinates, which `start` and `move` are in.
        Vector low = {}, high = {}, part_low = {}, part_high = {};
        for (int lane = 0; lane < kLanes; ++lane) {
          low[lane] = border(axis, first[lane]), high[lane] = border(axis, last[lane]);
          part_low[lane] = straight(axis, from[lane]);
          part_high[lane] = straight(axis, from[lane] + size);
        }
        exit = exit_of(p, a, low, high);
        from = exit_of(p, a, part_low, part_high);
      } else {
        const Vector low = __builtin_convertvector(first, Vector) * pixels_.cell_edge;
        const Vector high = __builtin_convertvector(last, Vector) * pixels_.cell_edge;
        exit = exit_of(p, a, clamp(low, 0.0f, top_[a]), clamp(high, 0.0f, top_[a]));
        from = exit_of(p, a, from, from + size);
      }
      leave = exit < leave ? exit : leave;
      leave_part = from < leave_part ? from : leave_part;
    }
    leave = (leave > leave_part) | live_bits(place) ? leave : leave_part;
    // Who begins later is not jumped over.
    const Integers end = load_integers(p.end), lead = load_integers(p.lead);
    const Integers later = alive & ~active & (k < end);
    const Vector most = __builtin_convertvector(end, Vector) + 1.0f;
    Vector next = leave - kBorderTolerance + __builtin_convertvector(lead, Vector);
    next = next < most ? next : most;
    next = active ? next : later ? __builtin_convertvector(lead, Vector) : zero + kInfinity;
    const float nearest = smallest(next);
    if (!(nearest < static_cast<float>(p.last))) return p.last;
    const int32_t up = static_cast<int32_t>(__builtin_ceilf(nearest));
    return up > k ? up : k + 1;
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

  // Finds the cells of lattice points.
  AMGSRN_INLINE void find_cells(const Scale& scale, const Vector* index, Place& place) const {
    const AmgsrnLevel& level = *scale.level;
    place.block = Integers{};
    for (int a = 2; a >= 0; --a) {
      const Vector at = index[a] * scale.per_voxel;
      const Integers last = static_cast<int32_t>(level.cells[a] - 1) - Integers{};
      Integers cell = __builtin_convertvector(at, Integers);
      cell = cell < last ? cell : last;
      place.part[a] = at - __builtin_convertvector(cell, Vector);
      place.inner[a] = cell & (kEdge - 1);
      place.block_at[a] = cell >> kBits;
      if (appearance_.cubic) place.last[a] = last_points(level, a, place.block_at[a]);
      place.block = place.block * static_cast<int32_t>(level.blocks[a]) + place.block_at[a];
    }
  }

  // The last lattice points along an axis that blocks have.
  static AMGSRN_INLINE Integers last_points(const AmgsrnLevel& level, int axis, Integers block_at) {
    const Integers left = static_cast<int32_t>(level.cells[axis]) - (block_at << kBits);
    return left < kEdge ? left : kEdge - Integers{};
  }

  // Which lanes are in eighths of their blocks in which something may be seen.
  Integers find_live(const Packet& p, const Scale& scale, const Vector* index, Integers active,
                     Place& place) const {
    const int32_t* words = s_.known->words[scale.number];
    place.live = gather_integers(words, place.block & kLive);
    const int missing = lane_bits(active & (((place.live ^ place.block) & ~kLive) != 0));
    for (int left = missing; left; left &= left - 1) {
      const int lane = __builtin_ctz(static_cast<unsigned>(left));
      place.live[lane] = known_word(scale, place.block[lane]);
    }
    place.is_known = !missing;
    if (!appearance_.maxima) return live_bits(place);
    Integers cell[3];
    return live_bits(place) & (find_empty(p, index, active, cell) == 0);
  }

  static AMGSRN_INLINE Integers live_bits(const Place& place) {
    const Integers eighth = (place.inner[2] >> kPartBits) * 4 + (place.inner[1] >> kPartBits) * 2 +
                            (place.inner[0] >> kPartBits);
    return -((place.live >> eighth) & 1);
  }

  int32_t known_word(const Scale& scale, int32_t block) const {
    int32_t& word = s_.known->words[scale.number][block & kLive];
    if (((word ^ block) & ~kLive) != 0) {
      word = (block & ~kLive) | live_cells(scale, block);
      s_.known->places[scale.number][block & kLive] = kUnknown;
    }
    return word;
  }

  // Finds where the codes of these cells are, and decodes what is missing; those lanes are left out
  // in which nothing is seen after all. False where there is no room for a block.
  bool find_codes(const Scale& scale, const Vector* index, Integers* seen, Place& place) {
    Integers first = gather_integers(s_.known->places[scale.number], place.block & kLive);
    const int missing = lane_bits(place.is_known ? *seen & (first == kUnknown) : *seen);
    for (int left = missing; left; left &= left - 1) {
      const int lane = __builtin_ctz(static_cast<unsigned>(left));
      first[lane] = acquired(scale, place.block[lane]);
      if (first[lane] == kUnknown) return false;
      place.live[lane] = known_word(scale, place.block[lane]);
    }
    if (missing) *seen &= live_bits(place);
    find_inner(scale, index, *seen, first, place);
    return true;
  }

  // Finds lanes' codes from the places of their blocks', or of the parents' that will do.
  AMGSRN_INLINE void find_inner(const Scale& scale, const Vector* index, Integers seen,
                                Integers first, Place& place) const {
    const Integers coarse = seen & (first < kUnknown);
    if (lane_bits(coarse)) {
      for (int a = 0; a < 3; ++a) {
        const Vector at = index[a] * (0.5f * scale.per_voxel);
        const Integers last = static_cast<int32_t>(scale.level[1].cells[a] - 1) - Integers{};
        Integers cell = __builtin_convertvector(at, Integers);
        cell = cell < last ? cell : last;
        place.part[a] = coarse ? at - __builtin_convertvector(cell, Vector) : place.part[a];
        place.inner[a] = coarse ? cell & (kEdge - 1) : place.inner[a];
        if (appearance_.cubic)
          place.last[a] =
              coarse ? last_points(scale.level[1], a, cell >> kBits) : place.last[a];
      }
      first = coarse ? kUnknown - 1 - first : first;
    }
    const Integers inner = (place.inner[2] * kSide + place.inner[1]) * kSide + place.inner[0];
    place.where = seen & (first + inner);
  }

  // The eighths of a block that macro-cells do not tell to be empty. Lattice values between the
  // points of an empty one are between values that are not seen, and so are not seen either.
  int32_t live_cells(const Scale& scale, int32_t block) const {
    const AmgsrnLevel& level = *scale.level;
    int64_t at[3], first[3][2], end[3][2];
    find_block(level, block, at);
    for (int a = 0; a < 3; ++a)
      for (int side = 0; side < 2; ++side) {
        const int64_t most = volume_.axes[a].cell_count;
        const double from = static_cast<double>(kEdge * at[a] + kPart * side) * level.spacing;
        const double per_cell = 1.0 / static_cast<double>(set_.cell_edge);
        const int64_t low = static_cast<int64_t>(from * per_cell);
        const int64_t high =
            static_cast<int64_t>(__builtin_ceil((from + kPart * level.spacing) * per_cell));
        first[a][side] = low < most ? low : most - 1;
        end[a][side] = high < most ? high : most;
      }
    int32_t live = 0;
    for (int e = 0; e < kEighths; ++e) {
      const int x = e & 1, y = e >> 1 & 1, z = e >> 2;
      if (any_occupied(first[0][x], end[0][x], first[1][y], end[1][y], first[2][z], end[2][z]))
        live |= 1 << e;
    }
    return live;
  }

  bool any_occupied(int64_t x0, int64_t x1, int64_t y0, int64_t y1, int64_t z0, int64_t z1) const {
    const AmgsrnAxis* axes = volume_.axes;
    for (int64_t z = z0; z < z1; ++z)
      for (int64_t y = y0; y < y1; ++y) {
        const uint8_t* row = appearance_.empty + (z * axes[1].cell_count + y) * axes[0].cell_count;
        for (int64_t x = x0; x < x1;) {
          if (!row[x]) return true;
          x += row[x];
        }
      }
    return false;
  }

  // The eighths of a decoded block in which something may be seen, by the codes there.
  int32_t live_values(int64_t slot) const {
    if (appearance_.blend != kComposite) return kLive;
    int32_t live = 0;
    for (int e = 0; e < kEighths; ++e) {
      const Contents all = contents(slot, e);
      if (shows(all.least, all.most)) live |= 1 << e;
    }
    return live;
  }

  // What of a decoded block's eighth is seen, if only it were.
  Contents contents(int64_t slot, int eighth) const {
    const int64_t components = volume_.components;
    Contents all = {};
    for (int64_t c = 0; c < components; ++c) {
      if (appearance_.component >= 0 && c != appearance_.component) continue;
      const uint16_t* bounds = set_.bounds + (slot * components + c) * kEighths * kBounds;
      float codes[2];
      find_range(bounds, eighth, codes);
      const float low = set_.low[c] + set_.unit[c] * codes[0];
      const float high = set_.low[c] + set_.unit[c] * codes[1];
      bounds += eighth * kBounds;
      // A cell's linear function errs by an eighth of its second differences; cubics err by less.
      const float bend = bounds[2] == UINT16_MAX ? kInfinity : static_cast<float>(bounds[2]);
      const float error = kErrorFactor * 0.125f * set_.unit[c] * bend;
      const float rise = set_.unit[c] * static_cast<float>(bounds[3]);
      if (appearance_.component >= 0) return {low, high, error, rise};
      const float near = low > 0.0f ? low : high < 0.0f ? high : 0.0f;
      const float far = -low > high ? low : high;
      all.least += near * near, all.most += far * far;
      all.error += error * error, all.rise += rise * rise;
    }
    return {__builtin_sqrtf(all.least), __builtin_sqrtf(all.most), __builtin_sqrtf(all.error),
            __builtin_sqrtf(all.rise)};
  }

  // Between which codes a component of a block is in one of its eighths.
  void find_range(const uint16_t* bounds, int eighth, float* codes) const {
    const uint16_t* own = bounds + eighth * kBounds;
    uint16_t least = own[0], most = own[1];
    for (int e = 0; appearance_.cubic && e < kEighths; ++e, bounds += kBounds) {
      least = bounds[0] < least ? bounds[0] : least;
      most = bounds[1] > most ? bounds[1] : most;
    }
    // Cubics leave the range of their points by no more than this part of it to each side.
    const float more = appearance_.cubic ? kOvershoot * static_cast<float>(most - least) : 0.0f;
    // Interpolation rounds.
    codes[0] = static_cast<float>(least) - more - 2.0f;
    codes[1] = static_cast<float>(most) + more + 2.0f;
  }

  // Whether an eighth of a decoded block shows something that its child would show otherwise. This
  // depends on the networks and on the looks alone.
  bool is_rough(const Scale& coarse, int64_t slot, int eighth) const {
    const Contents all = contents(slot, eighth);
    if (!(all.error < kInfinity)) return true;
    if (appearance_.blend == kIsosurface) {
      // A surface may lie between a sample here and the next one, which is outside.
      const float step = coarse.per_voxel / static_cast<float>(pixels_.view.samples_per_voxel);
      const float far = all.error + all.rise * (step > 1.0f ? step : 1.0f);
      for (int64_t i = 0; i < appearance_.isovalue_count; ++i) {
        const float isovalue = appearance_.isovalues[i];
        if (isovalue >= all.least - far && isovalue <= all.most + far) return true;
      }
      return false;
    }
    const double from = position_of(all.least - all.error), to = position_of(all.most + all.error);
    int64_t entry = from > 0.0 ? static_cast<int64_t>(from) + 1 : 0;
    for (const int64_t last = static_cast<int64_t>(to) + 1; entry <= last; ++entry)
      if (all.error > set_.tolerances[entry]) return true;
    return false;
  }

  // Whether some value between two may be seen.
  bool shows(float least, float most) const {
    const int64_t last = appearance_.entries - 1;
    int64_t first = static_cast<int64_t>(__builtin_floor(position_of(least)));
    int64_t end = static_cast<int64_t>(__builtin_floor(position_of(most))) + 2;
    first = first < last ? first : last;
    end = end < last + 1 ? end : last + 1;
    return appearance_.shown[end] > appearance_.shown[first];
  }

  // Where the codes of a block are, which is decoded unless it is there, or those of its parent, see
  // KnownBlocks; kUnknown without room for it.
  int32_t acquired(const Scale& scale, int32_t block) {
    int32_t& word = s_.known->words[scale.number][block & kLive];
    known_word(scale, block);
    int32_t& place = s_.known->places[scale.number][block & kLive];
    if (place != kUnknown) return place;
    if (scale.number + 1 < set_.level_count) {
      const Scale coarse = {scale.level + 1, scale.number + 1, 0.5f * scale.per_voxel};
      int64_t at[3];
      find_block(*scale.level, block, at);
      const int64_t* blocks = coarse.level->blocks;
      const int64_t parent = ((at[2] >> 1) * blocks[1] + (at[1] >> 1)) * blocks[0] + (at[0] >> 1);
      const int eighth = static_cast<int>((at[2] & 1) * 4 + (at[1] & 1) * 2 + (at[0] & 1));
      const int64_t slot = acquire(coarse, static_cast<int32_t>(parent));
      if (slot < 0) return kUnknown;
      if (!is_rough(coarse, slot, eighth)) {
        place = kUnknown - 1 - static_cast<int32_t>(slot * volume_.components * kBlock);
        const bool is_live = appearance_.blend == kMaximum || (live_values(slot) >> eighth & 1);
        if (appearance_.blend == kIsosurface || !is_live) word &= ~kLive;
        return place;
      }
    }
    const int64_t slot = acquire(scale, block);
    if (slot < 0) return kUnknown;
    place = static_cast<int32_t>(slot * volume_.components * kBlock);
    word &= ~kLive | live_values(slot);
    return place;
  }

  static void find_block(const AmgsrnLevel& level, int64_t number, int64_t* block) {
    const int64_t row = number / level.blocks[0], slab = row / level.blocks[1];
    block[0] = number - row * level.blocks[0], block[1] = row - slab * level.blocks[1];
    block[2] = slab;
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

  // The lattice points in a row along an axis on which a cubic depends: weights of the points, and of
  // their change along the axis, by Catmull-Rom splines (Catmull and Rom, 1974) inside a block. In a
  // block's outer cells the point that would be in another block goes on as a parabola: both blocks
  // give the same values at the face between them.
  struct Row {
    Vector weight[4], slope[4];
  };

  // Finds the rows of cells, and the first points of these.
  AMGSRN_INLINE Integers find_rows(const Place& place, Row* rows) const {
    const int32_t strides[3] = {1, kSide, kSide * kSide};
    const Vector zero = {};
    Integers first = place.where;
    for (int a = 0; a < 3; ++a) {
      const Vector t = place.part[a];
      Vector w[4] = {t * (-0.5f + t * (1.0f - 0.5f * t)), 1.0f + t * t * (1.5f * t - 2.5f),
                     t * (0.5f + t * (2.0f - 1.5f * t)), t * t * (0.5f * t - 0.5f)};
      Vector s[4] = {-0.5f + t * (2.0f - 1.5f * t), t * (4.5f * t - 5.0f),
                     0.5f + t * (4.0f - 4.5f * t), t * (1.5f * t - 1.0f)};
      const Integers inner = place.inner[a];
      const Integers has_low = inner > 0, has_high = inner + 2 <= place.last[a];
      const Integers is_linear = ~(has_low | has_high), middle = has_low & has_high;
      const Integers low = ~has_low & has_high, high = has_low & ~has_high;
      // Which of the four the cell's first point is: the four stay in the block.
      const Integers at_end = inner > kSide - 4 + 1;
      const Integers before = inner - 1 > 0 ? inner - 1 : Integers{};
      const Integers begin = before < kSide - 4 ? before : kSide - 4 - Integers{};
      first += (begin - inner) * strides[a];
      for (Vector* x : {w, s}) {
        const bool is_slope = x == s;
        const Vector g0 = low ? x[0] : zero, g3 = high ? x[3] : zero;
        Vector p[4] = {middle | high ? x[0] + g3 : zero, x[1] + 3.0f * (g0 - g3),
                       x[2] + 3.0f * (g3 - g0), middle | low ? x[3] + g0 : zero};
        p[1] = is_linear ? (is_slope ? zero - 1.0f : 1.0f - t) : p[1];
        p[2] = is_linear ? (is_slope ? zero + 1.0f : t) : p[2];
        Vector* to = is_slope ? rows[a].slope : rows[a].weight;
        for (int i = 0; i < 4; ++i) {
          const Vector ahead = i < 3 ? p[i + 1] : zero, behind = i ? p[i - 1] : zero;
          to[i] = inner == 0 ? ahead : at_end ? behind : p[i];
        }
      }
    }
    // Lanes in which nothing is seen have no place.
    return first > 0 ? first : Integers{};
  }

  // Sums of a component's codes: by the weights, and by the slopes along each axis. What they have in
  // common is left out until the end, so that where codes are equal all slopes are 0.
  template <bool kSlopes>
  AMGSRN_INLINE void cubic_sums(Integers first, const Row* rows, int64_t c, Vector* sums) const {
    const uint16_t* codes = set_.codes + c * kBlock;
    for (int i = 0; i < (kSlopes ? 4 : 1); ++i) sums[i] = Vector{};
    const Integers common = gather_pairs(codes, first) & 0xffff;
    for (int z = 0; z < 4; ++z) {
      Vector plain = {}, along_x = {}, along_y = {};
      for (int y = 0; y < 4; ++y) {
        const uint16_t* row = codes + (z * kSide + y) * kSide;
        const Integers near = gather_pairs(row, first), far = gather_pairs(row + 2, first);
        const Vector v[4] = {__builtin_convertvector((near & 0xffff) - common, Vector),
                             __builtin_convertvector(((near >> 16) & 0xffff) - common, Vector),
                             __builtin_convertvector((far & 0xffff) - common, Vector),
                             __builtin_convertvector(((far >> 16) & 0xffff) - common, Vector)};
        Vector value = {}, slope = {};
        for (int x = 0; x < 4; ++x) {
          value += rows[0].weight[x] * v[x];
          if (kSlopes) slope += rows[0].slope[x] * v[x];
        }
        plain += rows[1].weight[y] * value;
        if (kSlopes) along_x += rows[1].weight[y] * slope, along_y += rows[1].slope[y] * value;
      }
      sums[0] += rows[2].weight[z] * plain;
      if (kSlopes) {
        sums[1] += rows[2].weight[z] * along_x;
        sums[2] += rows[2].weight[z] * along_y;
        sums[3] += rows[2].slope[z] * plain;
      }
    }
    sums[0] += __builtin_convertvector(common, Vector);
  }

  // The same of component c, in its own units, for linear and cubic blocks.
  AMGSRN_INLINE Vector component_value(const Place& place, const Row* rows, Integers first,
                                       int64_t c) const {
    if (!appearance_.cubic) return component_value(place.where, place.part, c);
    Vector sum;
    cubic_sums<false>(first, rows, c, &sum);
    return set_.low[c] + set_.unit[c] * sum;
  }

  // What is seen of the values in cells.
  Vector seen_value(const Place& place) const {
    Row rows[3];
    const Integers first = appearance_.cubic ? find_rows(place, rows) : Integers{};
    if (appearance_.component >= 0)
      return component_value(place, rows, first, appearance_.component);
    Vector squares = {};
    for (int64_t c = 0; c < volume_.components; ++c) {
      const Vector v = component_value(place, rows, first, c);
      squares += v * v;
    }
    for (int lane = 0; lane < kLanes; ++lane) squares[lane] = __builtin_sqrtf(squares[lane]);
    return squares;
  }

  // Its gradient by the volume's index, but for a factor: that of the cell's own function.
  void seen_gradient(const Place& place, Vector* gradient) const {
    for (int a = 0; a < 3; ++a) gradient[a] = Vector{};
    if (appearance_.cubic) {
      add_cubic_gradient(place, gradient);
      return;
    }
    const Integers where = place.where;
    const Vector* part = place.part;
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

  void add_cubic_gradient(const Place& place, Vector* gradient) const {
    Row rows[3];
    const Integers first = find_rows(place, rows);
    for (int64_t c = 0; c < volume_.components; ++c) {
      if (appearance_.component >= 0 && c != appearance_.component) continue;
      Vector sums[4];
      cubic_sums<true>(first, rows, c, sums);
      Vector factor = set_.unit[c] - Vector{};
      if (appearance_.component < 0) factor *= set_.low[c] + set_.unit[c] * sums[0];
      // Where a cell's corners are equal the networks are even: what is round it bends the cubic only
      // a little, but light would take that for a slope.
      Vector v[8];
      corners(place.where, c, v);
      Integers is_even = v[1] == v[0];
      for (int i = 2; i < 8; ++i) is_even &= v[i] == v[0];
      for (int a = 0; a < 3; ++a) gradient[a] += is_even ? Vector{} : factor * sums[1 + a];
    }
  }

  static AMGSRN_INLINE Vector mix(Vector a, Vector b, Vector t) { return a + t * (b - a); }

  // The table's entry of a value, and what is left of it.
  double position_of(float value) const {
    const double low = appearance_.low, top = static_cast<double>(appearance_.entries - 1);
    double v = static_cast<double>(value);
    if (appearance_.logarithmic) v = v > 0.0 ? __builtin_log10(v) : low;
    const double position = (v - low) * position_scale_;
    return position > 0.0 ? position < top ? position : top : 0.0;
  }

  // Adds the samples of lanes to what their rays see.
  void composite(Packet& p, Vector value, const Vector* index, const Place& place, Vector share,
                 Integers seen) {
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
    alignas(64) float parts[kLanes], shares[kLanes];
    alignas(64) int32_t entries[kLanes];
    store(parts, fraction), store(shares, share), store(entries, entry);
    const bool is_cut = lane_bits(seen & (share != 1.0f - Vector{}));
    if (!appearance_.shade && !is_cut) {
      for (int left = visible; left; left &= left - 1) {
        const int lane = __builtin_ctz(static_cast<unsigned>(left));
        blend(p, lane, table_colour(entries[lane], parts[lane]), nullptr);
      }
      return;
    }
    Vector gradient[3];
    if (appearance_.shade) seen_gradient(place, gradient);
    const bool has_lamp = appearance_.shade && !appearance_.light_count && !is_uneven_;
    alignas(64) float bright[kLanes], gloss[kLanes];
    if (has_lamp) light(p, gradient, bright, gloss);
    for (int left = visible; left; left &= left - 1) {
      const int lane = __builtin_ctz(static_cast<unsigned>(left));
      Quad colour = table_colour(entries[lane], parts[lane]);
      if (shares[lane] != 1.0f) colour[3] = 1.0f - __builtin_powf(1.0f - colour[3], shares[lane]);
      if (!(colour[3] > 0.0f)) continue;
      if (has_lamp) {
        const float weight = colour[3] * p.left[lane];
        p.left[lane] *= 1.0f - colour[3];
        colour = colour * bright[lane] + gloss[lane];
        colour[3] = 1.0f;
        p.colour[lane] += weight * colour;
        continue;
      }
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

  // What a lamp at the camera makes of colours where a field has these gradients by even axes: a
  // factor, and what is added. See Look::lit.
  void light(const Packet& p, const Vector* gradient, float* bright, float* gloss) const {
    const Vector zero = {};
    Vector most = zero;
    for (int a = 0; a < 3; ++a) {
      const Vector size = gradient[a] < zero ? -gradient[a] : gradient[a];
      most = size > most ? size : most;
    }
    Vector squares = zero, along = zero;
    for (int a = 0; a < 3; ++a) {
      Vector normal = zero;  // of any length: as long as its squares are numbers
      for (int b = 0; b < 3; ++b) normal += gradient[b] / most * to_normal_[b][a];
      squares += normal * normal;
      along += normal * load(p.towards[a]);
    }
    alignas(64) float length[kLanes];
    store(length, squares);
    for (int lane = 0; lane < kLanes; ++lane) length[lane] = __builtin_sqrtf(length[lane]);
    Vector facing = along / load(length);
    facing = facing < zero ? -facing : facing;
    facing = squares > zero ? facing : zero;  // without a gradient there is ambient light alone
    facing = facing < 1.0f - zero ? facing : 1.0f - zero;
    store(bright, appearance_.ambient + appearance_.diffuse * facing);
    Vector power = zero + 1.0f;
    if (whole_power_ >= 0) {
      Vector factor = facing;
      for (int left = whole_power_; left; left >>= 1, factor *= factor)
        if (left & 1) power *= factor;
    } else {
      for (int lane = 0; lane < kLanes; ++lane)
        power[lane] = __builtin_powf(facing[lane], appearance_.specular_power);
    }
    store(gloss, facing > zero ? appearance_.specular * power : zero);
  }

  AMGSRN_INLINE Quad table_colour(int32_t entry, float part) const {
    const float* row = appearance_.table + 4 * static_cast<int64_t>(entry);
    return lerp(load<Quad>(row), load<Quad>(row + 4), part);
  }

  AMGSRN_INLINE void blend(Packet& p, int lane, Quad colour, const double* normal) const {
    const float weight = colour[3] * p.left[lane];
    p.left[lane] *= 1.0f - colour[3];
    if (appearance_.shade) {
      const RayTable& made = *s_.made;
      const int i = p.ray + lane;
      const double towards[3] = {made.towards[0][i], made.towards[1][i], made.towards[2][i]};
      colour = lit(colour, normal, towards);
    }
    colour[3] = 1.0f;
    p.colour[lane] += weight * colour;
  }

  // Composites the isosurfaces between the sample before and this one.
  void cross(Packet& p, const Scale& scale, int32_t k, Vector value, Integers seen) {
    const Vector before = load(p.before), zero = {};
    const Integers adjacent = seen & (load_integers(p.before_k) == k - 1);
    Integers crossed = {};
    for (int64_t i = 0; i < appearance_.isovalue_count; ++i) {
      const Vector isovalue = appearance_.isovalues[i] - zero;
      crossed |= (before < isovalue) ^ (value < isovalue);
    }
    store(p.before, seen ? value : before);
    store(p.before_k, seen ? k - Integers{} : load_integers(p.before_k));
    for (int left = lane_bits(adjacent & crossed); left && !stopped_; left &= left - 1) {
      const int lane = __builtin_ctz(static_cast<unsigned>(left));
      for_crossings(before[lane], value[lane], [&](float way, float isovalue) {
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
    Vector index[3], gradient[3];
    Integers only = {};
    only[lane] = -1;
    find_index(p, t - Vector{}, index);
    if (has_masks_ && !lane_bits(find_valid(index, only))) return false;
    Place place;
    find_cells(scale, index, place);
    const int32_t first = acquired(scale, place.block[lane]);
    if (first == kUnknown) return false;
    find_inner(scale, index, only, first - Integers{}, place);
    seen_gradient(place, gradient);
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
          decode(scale, block, slot);
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

  // Computes a block's lattice points, but for those that other blocks have. Beyond the volume's last
  // voxel the values go on as they went, so that they are right at its face.
  void decode(const Scale& scale, int64_t number, int64_t slot) {
    Points points;
    find_points(*scale.level, number, points);
    uint8_t there[kBlock] = {};
    uint16_t* codes = set_.codes + slot * volume_.components * kBlock;
    for (int a = 0; a < 3; ++a)
      if (points.size[a] < kSide)
        std::memset(codes, 0, sizeof(uint16_t) * static_cast<size_t>(volume_.components * kBlock));
    // What goes on is worked out from numbers that are not rounded to codes.
    if (!points.goes_on) copy_points(scale, points, codes, there);
    points.count = 0;
    for (int z = 0; z < points.size[2]; ++z)
      for (int y = 0; y < points.size[1]; ++y)
        for (int x = 0; x < points.size[0]; ++x) {
          const int point = (z * kSide + y) * kSide + x;
          if (!there[point]) points.wanted[points.count++] = static_cast<int16_t>(point);
        }
    __atomic_fetch_add(&set_.evaluated, points.count, __ATOMIC_RELAXED);
    compute(points);
    if (points.goes_on)
      for (int a = 0; a < 3; ++a)
        extrapolate(*scale.level, a, kEdge * points.block[a] + points.size[a] - 1, points.size);
    encode(points, codes);
    uint16_t* bounds = set_.bounds + slot * volume_.components * kEighths * kBounds;
    for (int64_t c = 0; c < volume_.components; ++c)
      for (int e = 0; e < kEighths; ++e, bounds += kBounds) {
        bound(codes + c * kBlock, points.size, e, bounds);
        if (scale.number) find_bends(codes + c * kBlock, points.size, e, bounds);
      }
  }

  // Whether all bricks at a point are in this process; elsewhere nothing is seen.
  bool is_whole(const double* index) const {
    bool inside = true;
    for (int a = 0; a < 3; ++a)
      inside &= index[a] >= set_.whole[a][0] - kFaceTolerance &&
                index[a] <= set_.whole[a][1] + kFaceTolerance;
    return inside;
  }

  void find_points(const AmgsrnLevel& level, int64_t number, Points& points) const {
    find_block(level, number, points.block);
    points.goes_on = false;
    for (int a = 0; a < 3; ++a) {
      const int64_t first = kEdge * points.block[a], left = level.cells[a] + 1 - first;
      const double last = static_cast<double>(volume_.axes[a].size - 1);
      points.size[a] = left < kSide ? static_cast<int>(left) : kSide;
      for (int i = 0; i < kSide; ++i) {
        const double at = static_cast<double>(first + i) * level.spacing;
        points.at[a][i] = at < last ? at : last;
        points.goes_on |= i < points.size[a] && at > last;
      }
    }
  }

  // Copies the codes of points that the blocks round this one have, and its parent. Only those that
  // this frame has seen: they stay where they are. It changes no code: the networks give the same
  // number for a point wherever it is asked for.
  void copy_points(const Scale& scale, const Points& points, uint16_t* codes, uint8_t* there) const {
    Overlap same[3];
    for (int z = -1; z <= 1; ++z)
      for (int y = -1; y <= 1; ++y)
        for (int x = -1; x <= 1; ++x) {
          const int away[3] = {x, y, z};
          int64_t other[3];
          for (int a = 0; a < 3; ++a) {
            other[a] = points.block[a] + away[a];
            same[a] = away[a] < 0   ? Overlap{0, kEdge, 1, 1}
                      : away[a] > 0 ? Overlap{kEdge, 0, 1, 1}
                                    : Overlap{0, 0, 1, points.size[a]};
          }
          if (x || y || z) copy(present(*scale.level, other), same, codes, there);
        }
    if (scale.number + 1 == set_.level_count) return;
    int64_t parent[3];
    for (int a = 0; a < 3; ++a) {
      parent[a] = points.block[a] >> 1;
      same[a] = {0, static_cast<int>(points.block[a] & 1) * kPart, 2, (points.size[a] + 1) / 2};
    }
    copy(present(scale.level[1], parent), same, codes, there);
  }

  // Points of two blocks that are the same: `count` from `own` on, `step` apart, and from `other` on.
  struct Overlap {
    int own, other, step, count;
  };

  // The codes of a block that this frame has seen; null if it has not.
  const uint16_t* present(const AmgsrnLevel& level, const int64_t* block) const {
    for (int a = 0; a < 3; ++a)
      if (block[a] < 0 || block[a] >= level.blocks[a]) return nullptr;
    const int32_t* page =
        level.pages + (block[2] * level.blocks[1] + block[1]) * level.blocks[0] + block[0];
    const int32_t found = __atomic_load_n(page, __ATOMIC_ACQUIRE);
    if (found <= 0) return nullptr;
    const int64_t slot = found - 1;
    // The slot may have been another block's when it was looked up.
    if (__atomic_load_n(set_.frames + slot, __ATOMIC_ACQUIRE) != set_.frame ||
        __atomic_load_n(page, __ATOMIC_ACQUIRE) != found)
      return nullptr;
    return set_.codes + slot * volume_.components * kBlock;
  }

  void copy(const uint16_t* from, const Overlap* same, uint16_t* codes, uint8_t* there) const {
    if (!from) return;
    const Overlap &i = same[0], &j = same[1], &k = same[2];
    for (int z = 0; z < k.count; ++z)
      for (int y = 0; y < j.count; ++y)
        for (int x = 0; x < i.count; ++x) {
          const int to = ((k.own + z * k.step) * kSide + j.own + y * j.step) * kSide + i.own + x * i.step;
          const int at = ((k.other + z) * kSide + j.other + y) * kSide + i.other + x;
          there[to] = 1;
          for (int64_t c = 0; c < volume_.components; ++c) codes[c * kBlock + to] = from[c * kBlock + at];
        }
  }

  // Evaluates the points that are wanted.
  void compute(const Points& points) {
    Batch& batch = s_.batch;
    batch.count = 0;
    const int64_t brick = only_brick(points);
    int done = 0;
    for (int i = 0; i < points.count; ++i) {
      const int point = points.wanted[i];
      const double index[3] = {points.at[0][point % kSide], points.at[1][point / kSide % kSide],
                               points.at[2][point / (kSide * kSide)]};
      int64_t half[3] = {};
      const int first = batch.part_count();
      int parts = 1;
      if (brick >= 0) {
        batch.parts[first] = {static_cast<int32_t>(brick), {}, 1.0f, {}};
        place(index, half, batch.parts[first], false);
      } else {
        half_voxels(index, half);
        parts = is_whole(index) ? parts_at(index, half, batch.parts + first, false) : 0;
      }
      batch.starts[++batch.count] = first + parts;
      if (i + 1 == points.count ||
          first + parts + volume_.most_members > static_cast<int64_t>(kParts)) {
        keep(points.wanted + done);
        done = i + 1;
      }
    }
  }

  // The brick in which alone all points lie; -1 where there are several, or none, or not all are here.
  int64_t only_brick(const Points& points) const {
    double low[3], high[3];
    for (int a = 0; a < 3; ++a) {
      low[a] = points.at[a][0];
      high[a] = points.at[a][points.size[a] - 1];
    }
    if (!is_whole(low) || !is_whole(high)) return -1;
    int64_t block = 0;
    for (int a = 2; a >= 0; --a) {
      const AmgsrnAxis& axis = volume_.axes[a];
      const int32_t from = axis.blocks[static_cast<int64_t>(2.0 * points.at[a][0])];
      const double last = points.at[a][points.size[a] - 1];
      if (from != axis.blocks[static_cast<int64_t>(2.0 * last)]) return -1;
      block = block * axis.block_count + from;
    }
    const int64_t first = volume_.starts[block];
    return volume_.starts[block + 1] - first == 1 ? volume_.members[first] : -1;
  }

  // Evaluates the batch, which consists of these points of a block.
  void keep(const int16_t* wanted) {
    Batch& batch = s_.batch;
    evaluate(batch, evaluate_, s_.networks);
    int64_t broken = 0;
    for (int64_t c = 0; c < volume_.components; ++c) {
      const float low = set_.low[c], high = low + kMostCode * set_.unit[c];
      for (int i = 0; i < batch.count; ++i) {
        const bool known = batch.starts[i] < batch.starts[i + 1];
        const float v = known ? value(batch, i, c) : low;
        broken += !(v >= low && v <= high);
        s_.lattice[c * kBlock + wanted[i]] = v;
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

  void encode(const Points& points, uint16_t* codes) const {
    for (int64_t c = 0; c < volume_.components; ++c) {
      const float* from = s_.lattice + c * kBlock;
      const float per_unit = 1.0f / set_.unit[c], low = set_.low[c];
      for (int i = 0; i < points.count; ++i) {
        float code = (from[points.wanted[i]] - low) * per_unit + 0.5f;
        code = code > 0.0f ? code : 0.0f;  // NaN becomes 0
        codes[c * kBlock + points.wanted[i]] = static_cast<uint16_t>(code < kMostCode ? code : kMostCode);
      }
    }
  }

  // The points of a block's eighth along an axis, which may be none.
  static int first_point(int eighth, int axis) { return kPart * (eighth >> axis & 1); }
  static int last_point(const int* size, int eighth, int axis) {
    const int last = first_point(eighth, axis) + kPart;
    return last < size[axis] ? last : size[axis] - 1;
  }

  // The least and the largest code of an eighth's points.
  static void bound(const uint16_t* codes, const int* size, int eighth, uint16_t* bounds) {
    uint16_t least = UINT16_MAX, most = 0;
    for (int z = first_point(eighth, 2); z <= last_point(size, eighth, 2); ++z)
      for (int y = first_point(eighth, 1); y <= last_point(size, eighth, 1); ++y)
        for (int x = first_point(eighth, 0); x <= last_point(size, eighth, 0); ++x) {
          const uint16_t code = codes[(z * kSide + y) * kSide + x];
          least = code < least ? code : least;
          most = code > most ? code : most;
        }
    bounds[0] = least, bounds[1] = most;
  }

  // The largest second and first differences of an eighth's points, summed over the axes; as many as
  // there can be where there are too few points for any.
  static void find_bends(const uint16_t* codes, const int* size, int eighth, uint16_t* bounds) {
    const int strides[3] = {1, kSide, kSide * kSide};
    int bend = 0, rise = 0;
    for (int a = 0; a < 3; ++a) {
      if (size[a] < 3) bend = UINT16_MAX;
      const int b = (a + 1) % 3, c = (a + 2) % 3;
      int bent = 0, risen = 0;
      for (int k = first_point(eighth, c); k <= last_point(size, eighth, c); ++k)
        for (int j = first_point(eighth, b); j <= last_point(size, eighth, b); ++j) {
          const uint16_t* line = codes + k * strides[c] + j * strides[b];
          for (int i = first_point(eighth, a); i <= last_point(size, eighth, a); ++i) {
            if (i + 1 >= size[a]) continue;
            const int here = line[i * strides[a]], next = line[(i + 1) * strides[a]];
            risen = std::abs(next - here) > risen ? std::abs(next - here) : risen;
            if (i == 0) continue;
            const int bends = std::abs(next + line[(i - 1) * strides[a]] - 2 * here);
            bent = bends > bent ? bends : bent;
          }
        }
      bend += bent, rise += risen;
    }
    bounds[2] = static_cast<uint16_t>(bend < UINT16_MAX ? bend : UINT16_MAX);
    bounds[3] = static_cast<uint16_t>(rise < UINT16_MAX ? rise : UINT16_MAX);
  }

  const BlockPixels& pixels_;
  AmgsrnWorkingSet& set_;
  BlockScratch& s_;
  Evaluate evaluate_;
  const float low_entry_, high_entry_;  // between these something is seen
  float top_[3];                        // last voxels
  float to_normal_[3][3];  // of gradients by even axes, but for a factor
  int whole_power_ = -1;   // the specular power, where it is a small whole number
  bool has_masks_ = false, is_uneven_ = false, stopped_ = false;
  int64_t samples_ = 0;
};

}  // namespace
