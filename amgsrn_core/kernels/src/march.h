// Ray marching: the samples of many rays are gathered into full tiles for the networks, and each
// ray is composited in order. amgsrn_core/rendering/reference.py is the reference.
#pragma once

#include <atomic>

#include "abi.h"
#include "field.h"
#include "kernels.h"
#include "look.h"
#include "rays.h"
#include "vector.h"

namespace {

using amgsrn::Pixels;

constexpr int kRays = 256;       // in flight together
// Samples of a ray that are evaluated before its opacity there is known, and when few rays are left.
constexpr int kAhead = 4, kMostAhead = 16;
static_assert(kRays * kAhead <= kSamples, "they fit into a batch");

struct Ray {
  int64_t place;           // where its colour goes
  double origin[3], direction[3], inverse[3];  // in axis coordinates
  double towards[3];       // in the world, a unit vector
  double near, far, offset;
  int64_t next, end;       // k of the next sample, and of the one behind the last
  int samples;             // of this round
  float transmittance;
  float exponent;          // steps of the table's opacities in one of its own
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
  RayTable* made;    // the rays that come next
  Ray* rays;         // [kRays]
  int64_t* steps;    // [kSamples] k of the samples
  float* shares;     // [kSamples] how many of the table's steps of theirs are visible
  Batch samples, shaded;
  Visible* visible;  // [kSamples], beside `shaded`
  Part* crossing;    // [most members] parts of a point on an isosurface
  void* networks;    // what the networks need
};

template <class Evaluate, class Gradient>
class March : Field, Look {
 public:
  March(const AmgsrnVolume& volume, const AmgsrnAppearance& appearance, const Pixels& pixels,
        MarchScratch& scratch, Evaluate evaluate, Gradient gradient)
      : Field(volume),
        Look(appearance),
        pixels_(pixels),
        s_(scratch),
        evaluate_(evaluate),
        gradient_(gradient) {}

  // Marches stretches of rays until `next`, which the parts share, is behind the last.
  amgsrn::Outcome run(std::atomic<int64_t>& next) {
    const int64_t stretches = pixels_.stretches();
    int64_t samples = 0;
    int from = 0, to = 0;
    for (;;) {
      while (active_ < kRays) {
        if (from == to) {
          const int64_t stretch = next.fetch_add(1, std::memory_order_relaxed);
          if (stretch >= stretches) break;
          pixels_.fill(stretch, s_.made->pixels);
          if (!any_covered(pixels_.view, s_.made->pixels)) continue;
          if (!make_rays(pixels_.view, *s_.made)) return amgsrn::kTooManySamples;
          from = 0, to = s_.made->pixels.count;
        }
        start(from++);
      }
      if (!active_) break;
      gather();
      samples += s_.samples.count;
      evaluate(s_.samples, evaluate_, s_.networks);
      for (int r = 0, sample = 0; r < active_; ++r) sample = blend(r, sample);
      shade();
      retire();
    }
    pixels_.samples.fetch_add(samples, std::memory_order_relaxed);
    return amgsrn::kDone;
  }

 private:
  // Takes a ray in, unless nothing may be seen along it.
  void start(int i) {
    const RayTable& made = *s_.made;
    if (made.end[i] <= made.first[i]) return;
    Ray& ray = s_.rays[active_];
    ray.place = made.pixels.places[i];
    for (int a = 0; a < 3; ++a) {
      ray.origin[a] = made.origin[a][i];
      ray.direction[a] = made.direction[a][i];
      ray.inverse[a] = 1.0 / ray.direction[a];
      ray.towards[a] = made.towards[a][i];
    }
    ray.near = made.near[i];
    ray.far = made.far[i];
    ray.offset = made.offset[i];
    ray.exponent = static_cast<float>(made.exponent[i]);
    ray.next = static_cast<int64_t>(made.first[i]);
    ray.end = static_cast<int64_t>(made.end[i]);
    ray.transmittance = 1.0f;
    ray.best = -kInfinity;
    ray.before = __builtin_nanf("");
    ray.before_k = INT64_MIN;
    ray.colour = Quad{};
    if (!next_sample(ray, s_.samples.parts, s_.shares)) {
      finish(ray);
      return;
    }
    --ray.next;
    ++active_;
  }

  static double distance(const Ray& ray, double k) { return k + ray.offset; }

  // Where sample k is. One whose step the visible range cuts is in the middle of what is left, and
  // counts for as much as that; isosurfaces are sought between whole samples. Opacities of the
  // table hold for one length, and a ray's steps may have another: its exponent.
  double position(const Ray& ray, int64_t k, float* share) const {
    const double t = distance(ray, static_cast<double>(k));
    double low = t - 0.5, high = t + 0.5;
    *share = ray.exponent;
    if (appearance_.blend == kIsosurface || (low >= ray.near && high <= ray.far)) return t;
    low = low > ray.near ? low : ray.near;
    high = high < ray.far ? high : ray.far;
    *share = ray.exponent * static_cast<float>(high - low);
    return 0.5 * (low + high);
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

  // Steps behind the next sample where something may be seen, and returns how many parts it has; 0
  // when there is none.
  int next_sample(Ray& ray, Part* parts, float* share) const {
    while (ray.next < ray.end) {
      double index[3];
      int64_t half[3], cell[3];
      if (!index_at(ray, position(ray, ray.next, share), index)) {
        ++ray.next;
        continue;
      }
      half_voxels(index, half);
      const AmgsrnAxis* axes = volume_.axes;
      for (int a = 0; a < 3; ++a) cell[a] = axes[a].cells[half[a]];
      const int64_t at =
          (cell[2] * axes[1].cell_count + cell[1]) * axes[0].cell_count + cell[0];
      int64_t empty = appearance_.empty[at];
      if (appearance_.maxima && appearance_.maxima[at] <= ray.best && !empty) empty = 1;
      if (empty) {
        ray.next = behind_cells(ray, cell, empty);
        continue;
      }
      ++ray.next;
      const int count = parts_at(index, half, parts);
      if (count) return count;
    }
    return 0;
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
    const double k = exit - ray.offset - 1e-6;
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
    const int room = kParts - static_cast<int>(volume_.most_members);
    Batch& batch = s_.samples;
    batch.count = 0;
    for (int r = 0; r < active_; ++r) {
      Ray& ray = s_.rays[r];
      ray.samples = 0;
      while (ray.samples < most && batch.part_count() <= room) {
        const int first = batch.part_count();
        const int parts = next_sample(ray, batch.parts + first, s_.shares + batch.count);
        if (!parts) break;
        s_.steps[batch.count] = ray.next - 1;
        batch.starts[++batch.count] = first + parts;
        ++ray.samples;
      }
    }
  }

  // What is seen of the values at a point.
  float seen(const Batch& batch, int point) const {
    if (appearance_.component >= 0) return value(batch, point, appearance_.component);
    float squares = 0.0f;
    for (int64_t c = 0; c < volume_.components; ++c) {
      const float v = value(batch, point, c);
      squares += v * v;
    }
    return __builtin_sqrtf(squares);
  }

  // Blends a ray's samples of this round, which begin with `sample`; returns the next ray's first.
  int blend(int r, int sample) {
    Ray& ray = s_.rays[r];
    const int end = sample + ray.samples;
    for (int i = sample; i < end && ray.transmittance > appearance_.transmittance_limit; ++i) {
      const float v = seen(s_.samples, i);
      if (appearance_.blend == kComposite) {
        const Batch& batch = s_.samples;
        const int first = batch.starts[i];
        Quad colour = looked_up(v);
        if (s_.shares[i] != 1.0f) colour[3] = 1.0f - __builtin_powf(1.0f - colour[3], s_.shares[i]);
        composite(r, colour, batch.parts + first, batch.starts[i + 1] - first);
      } else if (appearance_.blend == kMaximum) {
        ray.best = v > ray.best ? v : ray.best;
      } else {
        cross(r, s_.steps[i], v);
      }
    }
    if (ray.transmittance <= appearance_.transmittance_limit) ray.next = ray.end;
    return end;
  }

  // Adds something to what a ray sees, at once or when it is lit.
  void composite(int r, Quad colour, const Part* parts, int count) {
    Ray& ray = s_.rays[r];
    if (!(colour[3] > 0.0f)) return;
    const float weight = colour[3] * ray.transmittance;
    ray.transmittance *= 1.0f - colour[3];
    colour[3] = 1.0f;
    if (!appearance_.shade) {
      ray.colour += weight * colour;
      return;
    }
    Batch& shaded = s_.shaded;
    if (shaded.count == kSamples || shaded.part_count() + count > kParts) shade();
    const int first = shaded.part_count();
    for (int i = 0; i < count; ++i) shaded.parts[first + i] = parts[i];
    s_.visible[shaded.count] = {r, weight, colour};
    shaded.starts[++shaded.count] = first + count;
  }

  // Composites the isosurfaces between the sample before and this one, in their order.
  void cross(int r, int64_t k, float v) {
    Ray& ray = s_.rays[r];
    const bool adjacent = ray.before_k == k - 1;
    const float before = ray.before;
    ray.before = v;
    ray.before_k = k;
    if (!adjacent) return;
    for_crossings(before, v, [&](float part, float isovalue) {
      if (ray.transmittance <= appearance_.transmittance_limit) return false;
      const double t = distance(ray, static_cast<double>(k - 1) + static_cast<double>(part));
      if (!(t >= ray.near && t < ray.far)) return true;
      double index[3];
      int64_t half[3];
      int parts = 0;
      if (appearance_.shade && index_at(ray, t, index)) {
        half_voxels(index, half);
        parts = parts_at(index, half, s_.crossing);
      }
      composite(r, looked_up(isovalue), s_.crossing, parts);
      return true;
    });
  }

  // Lights what was seen and adds it to the rays.
  void shade() {
    Batch& batch = s_.shaded;
    if (!batch.count) return;
    evaluate(batch, gradient_, s_.networks);
    for (int i = 0; i < batch.count; ++i) {
      const Visible& visible = s_.visible[i];
      Ray& ray = s_.rays[visible.ray];
      double normal[3];
      const bool has_normal = find_normal(batch, i, normal);
      Quad colour = lit(visible.colour, has_normal ? normal : nullptr, ray.towards);
      colour[3] = 1.0f;
      ray.colour += visible.weight * colour;
    }
    batch.count = 0;
  }

  // Unit vector along a point's gradient in the world; false where there is none.
  bool find_normal(const Batch& batch, int point, double* normal) const {
    const int first = batch.starts[point], last = batch.starts[point + 1];
    if (first == last) return false;
    const int64_t components = volume_.components;
    double by_index[3] = {};
    for (int64_t c = 0; c < components; ++c) {
      if (appearance_.component >= 0 && c != appearance_.component) continue;
      // That of the magnitude, but for a factor.
      const double factor =
          appearance_.component >= 0 ? 1.0 : static_cast<double>(value(batch, point, c));
      for (int i = first; i < last; ++i) {
        const Part& part = batch.parts[i];
        const AmgsrnBrick& brick = volume_.bricks[part.brick];
        const float* local = batch.gradients + 3 * (batch.rank[i] * components + c);
        const double weight = static_cast<double>(part.weight * brick.range[c]);
        const double fading = static_cast<double>(part_value(batch, i, c));
        for (int a = 0; a < 3; ++a)
          by_index[a] += factor * (weight * static_cast<double>(local[a]) * brick.scale[a] +
                                  fading * static_cast<double>(part.slopes[a]));
      }
    }
    const Part& part = batch.parts[first];
    const AmgsrnBrick& brick = volume_.bricks[part.brick];
    double index[3];
    for (int a = 0; a < 3; ++a)
      index[a] = brick.first[a] + (static_cast<double>(part.local[a]) + 1.0) / brick.scale[a];
    return to_normal(by_index, index, normal);
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
    Quad colour = appearance_.blend == kMaximum ? maximum_colour(ray.best) : ray.colour;
    for (int c = 0; c < 3; ++c) colour[c] = colour[c] < 1.0f ? colour[c] : 1.0f;
    store<Quad>(pixels_.colour(ray.place), colour);
  }

  const Pixels& pixels_;
  MarchScratch& s_;
  Evaluate evaluate_;
  Gradient gradient_;
  int active_ = 0;
};

}  // namespace
