// Where in a picture something may be seen, and how far away: boxes on tiles of pixels.
#pragma once

#include <algorithm>
#include <cmath>

#include "abi.h"

namespace amgsrn {

// As far beside a box, in pixels, a pixel's centre may lie by rounding.
constexpr double kCoverSlack = 0.01;

// Distances of a box's points from where samples are counted, and the pixels' columns and rows
// between which it is seen.
struct Seen {
  double near, far, low[2], high[2];
};

struct Cover {
  const AmgsrnView& view;
  const AmgsrnBoxes& boxes;
  float* tiles;  // [down][across][2]
  double towards[3] = {};
  int64_t across, down;

  Cover(const AmgsrnView& v, const AmgsrnBoxes& b, float* to) : view(v), boxes(b), tiles(to) {
    across = (v.width + AMGSRN_COVER_TILE - 1) / AMGSRN_COVER_TILE;
    down = (v.height + AMGSRN_COVER_TILE - 1) / AMGSRN_COVER_TILE;
    double length = 0.0;
    for (int a = 0; a < 3; ++a) {  // of parallel rays: from the near plane to the far one
      const double* row = v.clip_to_world[a];
      const double* last = v.clip_to_world[3];
      towards[a] = (row[3] + row[2]) / (last[3] + last[2]) - (row[3] - row[2]) / (last[3] - last[2]);
      length += towards[a] * towards[a];
    }
    for (double& part : towards) part /= std::sqrt(length);
  }

  void fill() {
    for (int64_t i = 0; i < across * down; ++i) tiles[2 * i] = INFINITY, tiles[2 * i + 1] = -INFINITY;
    const int64_t* n = boxes.count;
    for (int64_t z = 0; z < n[2]; ++z)
      for (int64_t y = 0; y < n[1]; ++y)
        for (int64_t x = 0; x < n[0]; ++x)
          if (boxes.occupied[(z * n[1] + y) * n[0] + x]) add(seen(x, y, z));
  }

  Seen seen(int64_t x, int64_t y, int64_t z) const {
    const double size[2] = {static_cast<double>(view.width), static_cast<double>(view.height)};
    const double* at[8];
    double centre[3] = {}, radius = 0.0, away = 0.0;
    Seen s = {0.0, 0.0, {INFINITY, INFINITY}, {-INFINITY, -INFINITY}};
    for (int i = 0; i < 8; ++i) {
      const int64_t corner =
          ((z + (i >> 2)) * (boxes.count[1] + 1) + y + (i >> 1 & 1)) * (boxes.count[0] + 1) + x + (i & 1);
      at[i] = boxes.corners + 3 * corner;
      for (int a = 0; a < 3; ++a) centre[a] += 0.125 * at[i][a];
      double clip[4];
      for (int r = 0; r < 4; ++r) {
        const double* row = boxes.world_to_clip[r];
        clip[r] = row[0] * at[i][0] + row[1] * at[i][1] + row[2] * at[i][2] + row[3];
      }
      // Beside or behind the eye a box may be seen anywhere.
      const bool is_before = clip[3] > 1e-6 * (std::fabs(clip[0]) + std::fabs(clip[1]));
      for (int a = 0; a < 2; ++a) {
        const double pixel = 0.5 * (clip[a] / clip[3] + 1.0) * size[a];
        s.low[a] = is_before ? std::min(s.low[a], pixel) : -INFINITY;
        s.high[a] = is_before ? std::max(s.high[a], pixel) : INFINITY;
      }
    }
    for (const double* corner : at) radius = std::max(radius, distance(corner, centre));
    if (view.is_parallel) {
      for (int a = 0; a < 3; ++a) away += centre[a] * towards[a];
    } else {
      away = distance(view.eye, centre);
    }
    // More than what float32 rounds off.
    const double slack = 1e-6 * (std::fabs(away) + radius);
    s.near = away - radius - slack, s.far = away + radius + slack;
    return s;
  }

  void add(const Seen& s) {
    int64_t first[2], last[2];
    const int64_t most[2] = {across - 1, down - 1};
    for (int a = 0; a < 2; ++a) {
      const double low = std::floor((s.low[a] - kCoverSlack) / AMGSRN_COVER_TILE);
      const double high = std::floor((s.high[a] + kCoverSlack) / AMGSRN_COVER_TILE);
      first[a] = low > 0.0 ? static_cast<int64_t>(std::min(low, 1e9)) : 0;
      last[a] = high < static_cast<double>(most[a]) ? static_cast<int64_t>(std::max(high, -1.0)) : most[a];
    }
    for (int64_t row = first[1]; row <= last[1]; ++row)
      for (int64_t column = first[0]; column <= last[0]; ++column) {
        float* range = tiles + 2 * (row * across + column);
        range[0] = std::min(range[0], static_cast<float>(s.near));
        range[1] = std::max(range[1], static_cast<float>(s.far));
      }
  }

  static double distance(const double* a, const double* b) {
    const double x = a[0] - b[0], y = a[1] - b[1], z = a[2] - b[2];
    return std::sqrt(x * x + y * y + z * z);
  }
};

}  // namespace amgsrn
