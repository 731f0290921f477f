// What values look like: colours, light, and the surfaces between two values.
#pragma once

#include "abi.h"
#include "vector.h"

namespace {

constexpr float kInfinity = __builtin_inff();

enum Blend { kComposite = 0, kMaximum = 1, kIsosurface = 2 };

class Look {
 protected:
  explicit Look(const AmgsrnAppearance& appearance)
      : appearance_(appearance),
        position_scale_(static_cast<double>(appearance.entries - 1) /
                        (appearance.high - appearance.low)) {}

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

  // A point's colour under the lights, seen along a direction; the normal may be null.
  Quad lit(Quad colour, const double* normal, const double* seen_along) const {
    if (!normal) return colour * appearance_.ambient;
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

  // Calls visit(part of the way, isovalue) for the surfaces between two values, in their order, until
  // it returns false.
  template <class Visit>
  void for_crossings(float before, float after, Visit visit) const {
    float done = -1.0f;
    int64_t done_surface = 0;
    for (;;) {
      // The nearest one behind those that are done.
      float part = 2.0f;
      int64_t surface = 0;
      for (int64_t i = 0; i < appearance_.isovalue_count; ++i) {
        const float a = before - appearance_.isovalues[i], b = after - appearance_.isovalues[i];
        if ((a < 0.0f) == (b < 0.0f) || !(__builtin_fabsf(a - b) < kInfinity)) continue;
        const float at = a / (a - b);
        const bool waits = at > done || (at == done && i > done_surface);
        if (waits && at < part) part = at, surface = i;
      }
      if (part > 1.0f || !visit(part, appearance_.isovalues[surface])) return;
      done = part, done_surface = surface;
    }
  }

  // What is seen in the end of a ray whose largest value is `best`, or minus infinity.
  Quad maximum_colour(float best) const {
    if (!(best > -kInfinity)) return Quad{};
    Quad colour = looked_up(best);
    const float alpha = colour[3];
    colour *= alpha;
    colour[3] = alpha;
    return colour;
  }

  const AmgsrnAppearance& appearance_;
  const double position_scale_;
};

}  // namespace
