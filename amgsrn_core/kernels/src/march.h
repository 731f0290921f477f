// Ray marching: the samples of many rays are gathered into full tiles for the networks, and each
// ray is composited in order. amgsrn_core/rendering/reference.py is the reference.
#pragma once

#include <atomic>

#include "abi.h"
#include "kernels.h"
#include "rays.h"
#include "vector.h"

namespace {

constexpr int kRays = 256;       // in flight together
// Samples of a ray that are evaluated before its opacity there is known, and when few rays are left.
constexpr int kAhead = 4, kMostAhead = 16;
constexpr int kSamples = kRays * kAhead;
// Where bricks overlap a sample has several parts.
constexpr int kParts = 2 * kSamples;
// As far outside, in cells, a point still is on the volume's face: coordinates arrive rounded.
constexpr double kFaceTolerance = 1e-3;

constexpr float kInfinity = __builtin_inff();

using amgsrn::Pixels;

enum Blend { kComposite = 0, kMaximum = 1, kIsosurface = 2 };

// A brick's share in a point.
struct Part {
  int32_t brick;
  float local[3];
  float weight, slopes[3];  // and its change with the volume's index
};

// Points that wait for their networks, and the results.
struct Batch {
  int count;         // of points
  int32_t* starts;   // [kSamples + 1] where a point's parts are
  Part* parts;       // [kParts]
  int32_t* rank;     // [kParts] where a part's results are
  float* points;     // [kParts][3] by brick
  float* values;     // [kParts][components]
  float* gradients;  // [kParts][components][3]

  int part_count() const { return starts[count]; }
};

struct Ray {
  int64_t number;
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
class March {
 public:
  March(const AmgsrnVolume& volume, const AmgsrnAppearance& appearance, const Pixels& pixels,
        MarchScratch& scratch, Evaluate evaluate, Gradient gradient)
      : volume_(volume),
        appearance_(appearance),
        pixels_(pixels),
        s_(scratch),
        evaluate_(evaluate),
        gradient_(gradient),
        position_scale_(static_cast<double>(appearance.entries - 1) / (appearance.high - appearance.low)) {}

  // Marches stretches of rays until `next`, which the parts share, is behind the last; false if one
  // has too many samples.
  bool run(std::atomic<int64_t>& next) {
    int64_t base = 0;
    int from = 0, to = 0;
    for (;;) {
      while (active_ < kRays) {
        if (from == to) {
          base = next.fetch_add(kStretch, std::memory_order_relaxed);
          if (base >= pixels_.count) break;
          const int64_t left = pixels_.count - base;
          from = 0, to = left < kStretch ? static_cast<int>(left) : kStretch;
          if (!make_rays(pixels_.view, pixels_.numbers + base, to, *s_.made)) return false;
        }
        start(base + from, from);
        ++from;
      }
      if (!active_) return true;
      gather();
      evaluate(s_.samples, evaluate_);
      for (int r = 0, sample = 0; r < active_; ++r) sample = blend(r, sample);
      shade();
      retire();
    }
  }

 private:
  // Takes a ray in, unless nothing may be seen along it.
  void start(int64_t number, int i) {
    const RayTable& made = *s_.made;
    Ray& ray = s_.rays[active_];
    ray.number = number;
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

  static void half_voxels(const double* index, int64_t* half) {
    for (int a = 0; a < 3; ++a) half[a] = static_cast<int64_t>(2.0 * index[a]);
  }

  // Finds the bricks at a point inside the volume: none where it has no value.
  int parts_at(const double* index, const int64_t* half, Part* parts) const {
    const AmgsrnAxis* axes = volume_.axes;
    const int64_t block =
        (axes[2].blocks[half[2]] * axes[1].block_count + axes[1].blocks[half[1]]) *
            axes[0].block_count + axes[0].blocks[half[0]];
    const int64_t first = volume_.starts[block], last = volume_.starts[block + 1];
    if (last - first == 1) {
      parts[0] = {volume_.members[first], {}, 1.0f, {}};
      return place(index, half, parts[0]);
    }
    int count = 0;
    float total = 0.0f, sums[3] = {};
    for (int64_t m = first; m < last; ++m) {
      Part& part = parts[count];
      part.brick = volume_.members[m];
      fade(volume_.bricks[part.brick], index, part);
      if (!(part.weight > 0.0f)) continue;
      if (!place(index, half, part)) return 0;
      total += part.weight;
      for (int a = 0; a < 3; ++a) sums[a] += part.slopes[a];
      ++count;
    }
    for (int i = 0; i < count; ++i) {
      parts[i].weight /= total;
      for (int a = 0; a < 3; ++a)
        parts[i].slopes[a] = (parts[i].slopes[a] - parts[i].weight * sums[a]) / total;
    }
    return count;
  }

  // Weight of a brick before the weights are made to sum to 1: a product of smoothsteps.
  static void fade(const AmgsrnBrick& brick, const double* index, Part& part) {
    double along[3], slope[3];
    for (int a = 0; a < 3; ++a) {
      along[a] = 1.0;
      slope[a] = 0.0;
      for (int side = 0; side < 2; ++side) {
        const double sign = side ? -1.0 : 1.0, steep = brick.slopes[side][a];
        const double distance = sign * (index[a] - brick.ends[side][a]);
        // A step is closed below, as the region of the nearest voxel is.
        double t = side ? distance > 0.0 : distance >= 0.0;
        if (steep > 0.0) {
          t = distance * steep + 0.5;
          t = t < 0.0 ? 0.0 : t > 1.0 ? 1.0 : t;
        }
        const double smooth = t * t * (3.0 - 2.0 * t);
        slope[a] = slope[a] * smooth + along[a] * sign * steep * 6.0 * t * (1.0 - t);
        along[a] *= smooth;
      }
    }
    part.weight = static_cast<float>(along[0] * along[1] * along[2]);
    part.slopes[0] = static_cast<float>(slope[0] * along[1] * along[2]);
    part.slopes[1] = static_cast<float>(along[0] * slope[1] * along[2]);
    part.slopes[2] = static_cast<float>(along[0] * along[1] * slope[2]);
  }

  // Fills in where a point lies in the part's brick; 0 where its nearest voxel has no value, or 1.
  int place(const double* index, const int64_t* half, Part& part) const {
    const AmgsrnBrick& brick = volume_.bricks[part.brick];
    if (brick.valid) {
      int64_t voxel[3];
      for (int a = 0; a < 3; ++a) {
        voxel[a] = ((half[a] + 1) >> 1) - static_cast<int64_t>(brick.first[a]);
        voxel[a] = voxel[a] < 0 ? 0 : voxel[a] < brick.size[a] ? voxel[a] : brick.size[a] - 1;
      }
      if (!brick.valid[(voxel[2] * brick.size[1] + voxel[1]) * brick.size[0] + voxel[0]]) return 0;
    }
    for (int a = 0; a < 3; ++a)
      part.local[a] = static_cast<float>((index[a] - brick.first[a]) * brick.scale[a] - 1.0);
    return 1;
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

  // Evaluates a batch, brick by brick.
  template <class Network>
  void evaluate(Batch& batch, Network network) {
    const int count = batch.part_count();
    int placed = 0;
    for (int i = 0; i < count; ++i) batch.rank[i] = -1;
    for (int i = 0; i < count; ++i) {
      if (batch.rank[i] >= 0) continue;
      const int32_t number = batch.parts[i].brick;
      const int first = placed;
      for (int j = i; j < count; ++j) {
        if (batch.parts[j].brick != number) continue;
        std::memcpy(batch.points + 3 * placed, batch.parts[j].local, 3 * sizeof(float));
        batch.rank[j] = placed++;
      }
      const AmgsrnBrick& brick = volume_.bricks[number];
      network(brick, batch.points + 3 * first, placed - first,
              batch.values + first * volume_.components,
              batch.gradients + 3 * first * volume_.components, s_.networks);
    }
  }

  // A component's value at a point.
  float value(const Batch& batch, int point, int64_t c) const {
    float total = 0.0f;
    for (int i = batch.starts[point]; i < batch.starts[point + 1]; ++i)
      total += batch.parts[i].weight * part_value(batch, i, c);
    return total;
  }

  float part_value(const Batch& batch, int i, int64_t c) const {
    const AmgsrnBrick& brick = volume_.bricks[batch.parts[i].brick];
    return batch.values[batch.rank[i] * volume_.components + c] * brick.range[c] + brick.minimum[c];
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

  Quad looked_up(float value) const {
    if (value != value) return Quad{};
    double v = static_cast<double>(value);
    if (appearance_.logarithmic) v = v > 0.0 ? __builtin_log10(v) : appearance_.low;
    v = v < appearance_.low ? appearance_.low : v > appearance_.high ? appearance_.high : v;
    const double position = (v - appearance_.low) * position_scale_;
    int64_t entry = static_cast<int64_t>(position);
    entry = entry > appearance_.entries - 2 ? appearance_.entries - 2 : entry;
    const float* row = appearance_.table + 4 * entry;
    return lerp(load<Quad>(row), load<Quad>(row + 4),
                static_cast<float>(position - static_cast<double>(entry)));
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
    float done = -1.0f;
    int64_t done_surface = 0;
    for (;;) {
      // The nearest one behind those that are done.
      float part = 2.0f;
      int64_t surface = 0;
      for (int64_t i = 0; i < appearance_.isovalue_count; ++i) {
        const float a = before - appearance_.isovalues[i], b = v - appearance_.isovalues[i];
        if ((a < 0.0f) == (b < 0.0f) || !(__builtin_fabsf(a - b) < kInfinity)) continue;
        const float at = a / (a - b);
        const bool waits = at > done || (at == done && i > done_surface);
        if (waits && at < part) part = at, surface = i;
      }
      if (part > 1.0f || ray.transmittance <= appearance_.transmittance_limit) return;
      done = part, done_surface = surface;
      const double t = distance(ray, static_cast<double>(k - 1) + static_cast<double>(part));
      if (!(t >= ray.near && t < ray.far)) continue;
      double index[3];
      int64_t half[3];
      int parts = 0;
      if (appearance_.shade && index_at(ray, t, index)) {
        half_voxels(index, half);
        parts = parts_at(index, half, s_.crossing);
      }
      composite(r, looked_up(appearance_.isovalues[surface]), s_.crossing, parts);
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
      Quad colour = lit(visible.colour, batch, i, ray.towards);
      colour[3] = 1.0f;
      ray.colour += visible.weight * colour;
    }
    batch.count = 0;
  }

  // A point's colour under the lights, seen along a direction.
  Quad lit(Quad colour, const Batch& batch, int point, const double* seen_along) const {
    double normal[3];
    if (!find_normal(batch, point, normal)) return colour * appearance_.ambient;
    const auto cosine = [&](const double* direction) {
      const double c = normal[0] * direction[0] + normal[1] * direction[1] +
                       normal[2] * direction[2];
      return __builtin_fabsf(static_cast<float>(c < -1.0 ? -1.0 : c > 1.0 ? 1.0 : c));
    };
    const auto shine = [&](float facing) {
      return facing > 0.0f ? appearance_.specular * __builtin_powf(facing, appearance_.specular_power) : 0.0f;
    };
    if (!appearance_.light_count) {
      const float facing = cosine(seen_along);
      return colour * (appearance_.ambient + appearance_.diffuse * facing) + shine(facing);
    }
    Quad reflected = Quad{} + appearance_.ambient, highlight = {};
    for (int64_t i = 0; i < appearance_.light_count; ++i) {
      const float* light = appearance_.lights + 6 * i;
      const Quad tint = {light[3], light[4], light[5], 0.0f};
      double towards[3], halfway[3], squares = 0.0;
      for (int a = 0; a < 3; ++a) {
        towards[a] = static_cast<double>(light[a]);
        halfway[a] = towards[a] - seen_along[a];
        squares += halfway[a] * halfway[a];
      }
      reflected += tint * (appearance_.diffuse * cosine(towards));
      if (!(squares > 1e-12)) continue;  // opposite to the camera
      for (double& part : halfway) part /= __builtin_sqrt(squares);
      highlight += tint * shine(cosine(halfway));
    }
    return colour * reflected + highlight;
  }

  // Unit vector along a point's gradient in the world; false where there is none.
  bool find_normal(const Batch& batch, int point, double* normal) const {
    const int first = batch.starts[point], last = batch.starts[point + 1];
    if (first == last) return false;
    const int64_t components = volume_.components;
    double by_axes[3] = {};
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
          by_axes[a] += factor * (weight * static_cast<double>(local[a]) * brick.scale[a] +
                                  fading * static_cast<double>(part.slopes[a]));
      }
    }
    const Part& part = batch.parts[first];
    const AmgsrnBrick& brick = volume_.bricks[part.brick];
    for (int a = 0; a < 3; ++a) {
      const double index =
          brick.first[a] + (static_cast<double>(part.local[a]) + 1.0) / brick.scale[a];
      by_axes[a] *= slope(volume_.axes[a], index);
    }
    double squares = 0.0;
    for (int a = 0; a < 3; ++a) {
      normal[a] = by_axes[0] * volume_.to_world[0][a] + by_axes[1] * volume_.to_world[1][a] +
                  by_axes[2] * volume_.to_world[2][a];
      squares += normal[a] * normal[a];
    }
    if (!(squares > 0.0)) return false;
    for (int a = 0; a < 3; ++a) normal[a] /= __builtin_sqrt(squares);
    return true;
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
    if (appearance_.blend == kMaximum && ray.best > -kInfinity) {
      colour = looked_up(ray.best);
      const float alpha = colour[3];
      colour *= alpha;
      colour[3] = alpha;
    }
    for (int c = 0; c < 3; ++c) colour[c] = colour[c] < 1.0f ? colour[c] : 1.0f;
    store<Quad>(pixels_.rgba + 4 * ray.number, colour);
  }

  const AmgsrnVolume& volume_;
  const AmgsrnAppearance& appearance_;
  const Pixels& pixels_;
  MarchScratch& s_;
  Evaluate evaluate_;
  Gradient gradient_;
  double position_scale_;
  int active_ = 0;
};

}  // namespace
