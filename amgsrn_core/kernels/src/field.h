// A field of several networks: where a point lies in them, and what they make of it.
#pragma once

#include "abi.h"
#include "vector.h"

namespace {

constexpr int kSamples = 1024;   // of a batch
// Where bricks overlap a sample has several parts.
constexpr int kParts = 2 * kSamples;

// As far outside, in cells, a point still is on the volume's face: coordinates arrive rounded.
constexpr double kFaceTolerance = 1e-3;

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

class Field {
 protected:
  explicit Field(const AmgsrnVolume& volume) : volume_(volume) {}

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

  static void half_voxels(const double* index, int64_t* half) {
    for (int a = 0; a < 3; ++a) half[a] = static_cast<int64_t>(2.0 * index[a]);
  }

  // Finds the bricks at a point inside the volume: none where it has no value, unless masks do not
  // matter.
  int parts_at(const double* index, const int64_t* half, Part* parts, bool masked = true) const {
    const AmgsrnAxis* axes = volume_.axes;
    const int64_t block =
        (axes[2].blocks[half[2]] * axes[1].block_count + axes[1].blocks[half[1]]) *
            axes[0].block_count + axes[0].blocks[half[0]];
    const int64_t first = volume_.starts[block], last = volume_.starts[block + 1];
    if (last - first == 1) {
      parts[0] = {volume_.members[first], {}, 1.0f, {}};
      return place(index, half, parts[0], masked);
    }
    int count = 0;
    float total = 0.0f, sums[3] = {};
    for (int64_t m = first; m < last; ++m) {
      Part& part = parts[count];
      part.brick = volume_.members[m];
      fade(volume_.bricks[part.brick], index, part);
      if (!(part.weight > 0.0f)) continue;
      if (!place(index, half, part, masked)) return 0;
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
  int place(const double* index, const int64_t* half, Part& part, bool masked) const {
    const AmgsrnBrick& brick = volume_.bricks[part.brick];
    if (brick.valid && masked) {
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

  // Evaluates a batch, brick by brick.
  template <class Network>
  void evaluate(Batch& batch, Network network, void* memory) const {
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
              batch.gradients + 3 * first * volume_.components, memory);
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

  // Change of the index per unit of an axis coordinate.
  static double slope(const AmgsrnAxis& axis, double index) {
    if (!axis.coordinates) return axis.scale;
    const int64_t last = axis.size - 2;
    int64_t cell = static_cast<int64_t>(index);
    cell = cell < 0 ? 0 : cell > last ? last : cell;
    return 1.0 / (axis.coordinates[cell + 1] - axis.coordinates[cell]);
  }

  // Turns a gradient by the volume's index into the unit vector along it in the world; false where
  // there is none.
  bool to_normal(double* by_index, const double* index, double* normal) const {
    for (int a = 0; a < 3; ++a) by_index[a] *= slope(volume_.axes[a], index[a]);
    double squares = 0.0;
    for (int a = 0; a < 3; ++a) {
      normal[a] = by_index[0] * volume_.to_world[0][a] + by_index[1] * volume_.to_world[1][a] +
                  by_index[2] * volume_.to_world[2][a];
      squares += normal[a] * normal[a];
    }
    if (!(squares > 0.0)) return false;
    for (int a = 0; a < 3; ++a) normal[a] /= __builtin_sqrt(squares);
    return true;
  }

  const AmgsrnVolume& volume_;
};

}  // namespace
