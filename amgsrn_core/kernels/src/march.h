// Ray marching: the samples of many rays are gathered into full tiles for the networks, and each
// ray is composited in order. amgsrn_core/rendering/reference.py is the reference.
#pragma once

#include <atomic>

#include "abi.h"
#include "vector.h"

namespace {

constexpr int kRays = 256;       // in flight together
// Samples of a ray that are evaluated before its opacity there is known, and when few rays are left.
constexpr int kAhead = 4, kMostAhead = 16;
constexpr int kSamples = kRays * kAhead;
constexpr int64_t kStretch = 64;  // rays that a part takes at a time

// As far outside, in cells, a point still is on the volume's face: coordinates arrive rounded.
constexpr double kFaceTolerance = 1e-3;

constexpr float kInfinity = __builtin_inff();

enum Blend { kComposite = 0, kMaximum = 1, kIsosurface = 2 };

struct Place {
  int32_t brick;  // -1: nowhere
  float local[3];
};

// Points that wait for their networks, and the results in the same order.
struct Batch {
  int count;
  Place* places;     // [kSamples]
  int32_t* rank;     // [kSamples] where a place's results are
  float* points;     // [kSamples][3] by brick
  float* values;     // [kSamples][components]
  float* gradients;  // [kSamples][components][3]
};

struct Ray {
  int64_t number;
  double origin[3], direction[3], inverse[3];  // in axis coordinates
  double offset;
  int64_t next, end;       // k of the next sample, and of the one behind the last
  int samples;             // of this round
  float transmittance;
  float best;              // maximum so far
  float before;            // value of sample `before_k`, for isosurfaces
  int64_t before_k;
  Quad colour;             // weighted with the opacity; the opacity
};

// Something seen by a ray, before it is lit.
struct Visible {
  int32_t ray;
  float weight;
  Quad colour;
};

struct MarchScratch {
  Ray* rays;         // [kRays]
  int64_t* steps;    // [kSamples] k of the samples
  Batch samples, shaded;
  Visible* visible;  // [kSamples], beside `shaded`
  void* networks;    // what the networks need
};

template <class Evaluate, class Gradient>
class March {
 public:
  March(const AmgsrnVolume& volume, const AmgsrnLook& look, const AmgsrnRays& rays, float* rgba,
        MarchScratch& scratch, Evaluate evaluate, Gradient gradient)
      : volume_(volume),
        look_(look),
        input_(rays),
        rgba_(rgba),
        s_(scratch),
        evaluate_(evaluate),
        gradient_(gradient),
        per_step_(1.0 / look.step),
        position_scale_(static_cast<double>(look.entries - 1) / (look.high - look.low)) {}

  // Marches stretches of rays until `next`, which the parts share, is behind the last.
  void run(std::atomic<int64_t>& next) {
    int64_t from = 0, to = 0;
    for (;;) {
      while (active_ < kRays) {
        if (from == to) {
          from = next.fetch_add(kStretch, std::memory_order_relaxed);
          if (from >= input_.count) from = to = input_.count;
          if (from == input_.count) break;
          to = from + kStretch < input_.count ? from + kStretch : input_.count;
        }
        start(from++);
      }
      if (!active_) return;
      gather();
      evaluate(s_.samples, evaluate_);
      for (int r = 0, sample = 0; r < active_; ++r) sample = blend(r, sample);
      shade();
      retire();
    }
  }

 private:
  // Takes a ray in, unless nothing may be seen along it.
  void start(int64_t number) {
    Ray& ray = s_.rays[active_];
    ray.number = number;
    for (int a = 0; a < 3; ++a) {
      ray.origin[a] = input_.origins[3 * number + a];
      ray.direction[a] = input_.directions[3 * number + a];
      ray.inverse[a] = 1.0 / ray.direction[a];
    }
    ray.offset = input_.offset[number];
    ray.next = input_.first[number];
    ray.end = ray.next + input_.samples[number];
    ray.transmittance = 1.0f;
    ray.best = -kInfinity;
    ray.before = __builtin_nanf("");
    ray.before_k = INT64_MIN;
    ray.colour = Quad{};
    Place place = {};
    if (!next_sample(ray, place)) {
      finish(ray);
      return;
    }
    --ray.next;
    ++active_;
  }

  double distance(const Ray& ray, double k) const { return (k + ray.offset) * look_.step; }

  // Index of a coordinate along an axis.
  static double axis_index(const AmgsrnAxis& axis, double at) {
    if (!axis.coordinates) return (at - axis.origin) * axis.scale;
    const int64_t cell = axis_cell(axis, at);
    const double low = axis.coordinates[cell], high = axis.coordinates[cell + 1];
    return static_cast<double>(cell) + (at - low) / (high - low);
  }

  static int64_t axis_cell(const AmgsrnAxis& axis, double at) {
    int64_t low = 0, high = axis.size - 1;
    while (high - low > 1) {
      const int64_t middle = (low + high) / 2;
      if (at < axis.coordinates[middle]) {
        high = middle;
      } else {
        low = middle;
      }
    }
    return low;
  }

  // Index of the point at t, clamped to the volume; false when it is outside.
  bool index_at(const Ray& ray, double t, double* index) const {
    bool inside = true;
    for (int a = 0; a < 3; ++a) {
      const AmgsrnAxis& axis = volume_.axes[a];
      const double last = static_cast<double>(axis.size - 1);
      const double i = axis_index(axis, ray.origin[a] + t * ray.direction[a]);
      inside &= i >= -kFaceTolerance && i <= last + kFaceTolerance;
      index[a] = i < 0.0 ? 0.0 : i > last ? last : i;
    }
    return inside;
  }

  // The network that answers for a point inside the volume.
  Place place_at(const double* index, const int64_t* half) const {
    const AmgsrnAxis* axes = volume_.axes;
    const int64_t x = half[0] >> 1, y = half[1] >> 1, z = half[2] >> 1;
    const int64_t block = (axes[2].blocks[z] * axes[1].block_count + axes[1].blocks[y]) *
                              axes[0].block_count + axes[0].blocks[x];
    Place place = {volume_.owners[block], {}};
    if (place.brick < 0) return place;
    const AmgsrnBrick& brick = volume_.bricks[place.brick];
    if (brick.valid) {
      const int64_t* size = brick.valid_size;
      const int64_t i = x - static_cast<int64_t>(brick.first[0]);
      const int64_t j = y - static_cast<int64_t>(brick.first[1]);
      const int64_t k = z - static_cast<int64_t>(brick.first[2]);
      if (!brick.valid[(k * size[1] + j) * size[0] + i]) {
        place.brick = -1;
        return place;
      }
    }
    for (int a = 0; a < 3; ++a)
      place.local[a] = static_cast<float>((index[a] - brick.first[a]) * brick.scale[a] - 1.0);
    return place;
  }

  static void half_voxels(const double* index, int64_t* half) {
    for (int a = 0; a < 3; ++a) half[a] = static_cast<int64_t>(2.0 * index[a] + 1.0);
  }

  // Steps behind the next sample where something may be seen; false when there is none.
  bool next_sample(Ray& ray, Place& place) const {
    while (ray.next < ray.end) {
      double index[3];
      int64_t half[3], cell[3];
      if (!index_at(ray, distance(ray, static_cast<double>(ray.next)), index)) {
        ++ray.next;
        continue;
      }
      half_voxels(index, half);
      const AmgsrnAxis* axes = volume_.axes;
      for (int a = 0; a < 3; ++a) cell[a] = axes[a].cells[half[a]];
      const int64_t at =
          (cell[2] * axes[1].cell_count + cell[1]) * axes[0].cell_count + cell[0];
      int64_t empty = look_.empty[at];
      if (look_.maxima && look_.maxima[at] <= ray.best && !empty) empty = 1;
      if (empty) {
        ray.next = behind_cells(ray, cell, empty);
        continue;
      }
      place = place_at(index, half);
      ++ray.next;
      if (place.brick >= 0) return true;
    }
    return false;
  }

  // k of the first sample behind the cells that are less than `reach` cells away.
  int64_t behind_cells(const Ray& ray, const int64_t* cell, int64_t reach) const {
    double exit = __builtin_inf();
    for (int a = 0; a < 3; ++a) {
      const AmgsrnAxis& axis = volume_.axes[a];
      int64_t border = ray.direction[a] > 0.0 ? cell[a] + reach : cell[a] + 1 - reach;
      border = border < 0 ? 0 : border > axis.cell_count ? axis.cell_count : border;
      const double t = (axis.borders[border] - ray.origin[a]) * ray.inverse[a];
      exit = t < exit ? t : exit;
    }
    // What rounding puts on the wrong side of the border is looked at once more.
    const double k = exit * per_step_ - ray.offset - 1e-6;
    if (!(k < static_cast<double>(ray.end))) return ray.end;
    if (!(k > static_cast<double>(ray.next))) return ray.next + 1;
    const int64_t whole = static_cast<int64_t>(k);
    const int64_t up = whole + (k > static_cast<double>(whole));
    return up > ray.next ? up : ray.next + 1;
  }

  // Takes the next samples of all rays: more of each when only few rays are left.
  void gather() {
    const int share = kSamples / active_;
    const int most = share < kMostAhead ? share : kMostAhead;
    int count = 0;
    for (int r = 0; r < active_; ++r) {
      Ray& ray = s_.rays[r];
      ray.samples = 0;
      while (ray.samples < most && next_sample(ray, s_.samples.places[count])) {
        s_.steps[count++] = ray.next - 1;
        ++ray.samples;
      }
    }
    s_.samples.count = count;
  }

  // Evaluates a batch, brick by brick.
  template <class Network>
  void evaluate(Batch& batch, Network network) {
    const int32_t nowhere = -1;
    int placed = 0;
    for (int i = 0; i < batch.count; ++i) batch.rank[i] = nowhere;
    for (int i = 0; i < batch.count; ++i) {
      const int32_t number = batch.places[i].brick;
      if (number < 0 || batch.rank[i] != nowhere) continue;
      const int first = placed;
      for (int j = i; j < batch.count; ++j) {
        if (batch.places[j].brick != number) continue;
        std::memcpy(batch.points + 3 * placed, batch.places[j].local, 3 * sizeof(float));
        batch.rank[j] = placed++;
      }
      const AmgsrnBrick& brick = volume_.bricks[number];
      network(brick, batch.points + 3 * first, placed - first,
              batch.values + first * volume_.components,
              batch.gradients + 3 * first * volume_.components, s_.networks);
    }
  }

  // What is seen of the values at a point.
  float seen(const float* values) const {
    if (look_.component >= 0) return value(values, look_.component);
    float squares = 0.0f;
    for (int64_t c = 0; c < volume_.components; ++c) {
      const float v = value(values, c);
      squares += v * v;
    }
    return __builtin_sqrtf(squares);
  }

  float value(const float* values, int64_t c) const {
    return values[c] * volume_.range[c] + volume_.minimum[c];
  }

  Quad looked_up(float value) const {
    if (value != value) return Quad{};
    double v = static_cast<double>(value);
    if (look_.logarithmic) v = v > 0.0 ? __builtin_log10(v) : look_.low;
    v = v < look_.low ? look_.low : v > look_.high ? look_.high : v;
    const double position = (v - look_.low) * position_scale_;
    int64_t entry = static_cast<int64_t>(position);
    entry = entry > look_.entries - 2 ? look_.entries - 2 : entry;
    const float* row = look_.table + 4 * entry;
    return lerp(load<Quad>(row), load<Quad>(row + 4),
                static_cast<float>(position - static_cast<double>(entry)));
  }

  // Blends a ray's samples of this round, which begin with `sample`; returns the next ray's first.
  int blend(int r, int sample) {
    Ray& ray = s_.rays[r];
    const int end = sample + ray.samples;
    for (int i = sample; i < end && ray.transmittance > look_.transmittance_limit; ++i) {
      const float v = seen(s_.samples.values + s_.samples.rank[i] * volume_.components);
      if (look_.blend == kComposite) {
        composite(r, looked_up(v), s_.samples.places[i]);
      } else if (look_.blend == kMaximum) {
        ray.best = v > ray.best ? v : ray.best;
      } else {
        cross(r, s_.steps[i], v);
      }
    }
    if (ray.transmittance <= look_.transmittance_limit) ray.next = ray.end;
    return end;
  }

  // Adds something to what a ray sees, at once or when it is lit.
  void composite(int r, Quad colour, const Place& place) {
    Ray& ray = s_.rays[r];
    if (!(colour[3] > 0.0f)) return;
    const float weight = colour[3] * ray.transmittance;
    ray.transmittance *= 1.0f - colour[3];
    colour[3] = 1.0f;
    if (!look_.shade) {
      ray.colour += weight * colour;
      return;
    }
    Batch& shaded = s_.shaded;
    if (shaded.count == kSamples) shade();
    shaded.places[shaded.count] = place;
    s_.visible[shaded.count++] = {r, weight, colour};
  }

  // Composites the isosurfaces between the sample before and this one, in their order.
  void cross(int r, int64_t k, float v) {
    Ray& ray = s_.rays[r];
    const bool adjacent = ray.before_k == k - 1;
    const float before = ray.before;
    ray.before = v;
    ray.before_k = k;
    if (!adjacent) return;
    float done = -1.0f;
    int64_t done_surface = 0;
    for (;;) {
      // The nearest one behind those that are done.
      float part = 2.0f;
      int64_t surface = 0;
      for (int64_t i = 0; i < look_.isovalue_count; ++i) {
        const float a = before - look_.isovalues[i], b = v - look_.isovalues[i];
        if ((a < 0.0f) == (b < 0.0f) || !(__builtin_fabsf(a - b) < kInfinity)) continue;
        const float at = a / (a - b);
        const bool waits = at > done || (at == done && i > done_surface);
        if (waits && at < part) part = at, surface = i;
      }
      if (part > 1.0f || ray.transmittance <= look_.transmittance_limit) return;
      done = part, done_surface = surface;
      const double t = distance(ray, static_cast<double>(k - 1) + static_cast<double>(part));
      if (!(t >= input_.near[ray.number] && t < input_.far[ray.number])) continue;
      Place place = {-1, {}};
      double index[3];
      int64_t half[3];
      if (look_.shade && index_at(ray, t, index)) {
        half_voxels(index, half);
        place = place_at(index, half);
      }
      composite(r, looked_up(look_.isovalues[surface]), place);
    }
  }

  // Lights what was seen and adds it to the rays.
  void shade() {
    Batch& batch = s_.shaded;
    if (!batch.count) return;
    evaluate(batch, gradient_);
    for (int i = 0; i < batch.count; ++i) {
      const Visible& visible = s_.visible[i];
      Ray& ray = s_.rays[visible.ray];
      const float lit = facing(batch, i, input_.towards + 3 * ray.number);
      const float shine =
          lit > 0.0f ? look_.specular * __builtin_powf(lit, look_.specular_power) : 0.0f;
      Quad colour = visible.colour * (look_.ambient + look_.diffuse * lit) + shine;
      colour[3] = 1.0f;
      ray.colour += visible.weight * colour;
    }
    batch.count = 0;
  }

  // Cosine of the angle between a point's gradient and a direction, without its sign.
  float facing(const Batch& batch, int i, const double* towards) const {
    const Place& place = batch.places[i];
    if (place.brick < 0) return 0.0f;
    const int64_t components = volume_.components, at = batch.rank[i] * components;
    float local[3] = {};
    for (int64_t c = 0; c < components; ++c) {
      if (look_.component >= 0 && c != look_.component) continue;
      // That of the magnitude, but for a factor.
      const float weight = look_.component >= 0
                               ? volume_.range[c]
                               : volume_.range[c] * value(batch.values + at, c);
      for (int a = 0; a < 3; ++a) local[a] += weight * batch.gradients[3 * (at + c) + a];
    }
    const AmgsrnBrick& brick = volume_.bricks[place.brick];
    double by_axes[3];
    for (int a = 0; a < 3; ++a)
      by_axes[a] = static_cast<double>(local[a]) * brick.scale[a] *
                   slope(volume_.axes[a], brick.first[a] + (static_cast<double>(place.local[a]) + 1.0) / brick.scale[a]);
    double along = 0.0, squares = 0.0;
    for (int a = 0; a < 3; ++a) {
      const double g = by_axes[0] * volume_.turn[0][a] + by_axes[1] * volume_.turn[1][a] +
                       by_axes[2] * volume_.turn[2][a];
      along += g * towards[a];
      squares += g * g;
    }
    if (!(squares > 0.0)) return 0.0f;
    const double cosine = __builtin_fabs(along) / __builtin_sqrt(squares);
    return static_cast<float>(cosine < 1.0 ? cosine : 1.0);
  }

  // Change of the index per unit of an axis coordinate.
  static double slope(const AmgsrnAxis& axis, double index) {
    if (!axis.coordinates) return axis.scale;
    const int64_t last = axis.size - 2;
    int64_t cell = static_cast<int64_t>(index);
    cell = cell < 0 ? 0 : cell > last ? last : cell;
    return 1.0 / (axis.coordinates[cell + 1] - axis.coordinates[cell]);
  }

  // Removes the rays that have ended; the others keep their order, in which neighbours stay near.
  void retire() {
    int left = 0;
    for (int r = 0; r < active_; ++r) {
      const Ray& ray = s_.rays[r];
      if (ray.next >= ray.end) {
        finish(ray);
      } else {
        if (left != r) s_.rays[left] = ray;
        ++left;
      }
    }
    active_ = left;
  }

  void finish(const Ray& ray) {
    Quad colour = ray.colour;
    if (look_.blend == kMaximum && ray.best > -kInfinity) {
      colour = looked_up(ray.best);
      const float alpha = colour[3];
      colour *= alpha;
      colour[3] = alpha;
    }
    for (int c = 0; c < 3; ++c) colour[c] = colour[c] < 1.0f ? colour[c] : 1.0f;
    store<Quad>(rgba_ + 4 * ray.number, colour);
  }

  const AmgsrnVolume& volume_;
  const AmgsrnLook& look_;
  const AmgsrnRays& input_;
  float* rgba_;
  MarchScratch& s_;
  Evaluate evaluate_;
  Gradient gradient_;
  double per_step_, position_scale_;
  int active_ = 0;
};

}  // namespace
