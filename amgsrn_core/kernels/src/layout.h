// Where the fields of the C interface's structs lie, as a text that loader.py compares with its own.
#pragma once

#include <cstddef>
#include <string>
#include <type_traits>

#include "abi.h"

namespace amgsrn {

template <class Field>
constexpr char kind_of() {
  using Element = std::remove_all_extents_t<Field>;
  if (std::is_pointer<Element>::value) return 'p';
  if (std::is_floating_point<Element>::value) return 'f';
  return std::is_integral<Element>::value ? 'i' : 's';
}

#define AMGSRN_STRUCT(type) text += #type " " + std::to_string(sizeof(type)) + "\n"
#define AMGSRN_FIELD(type, name)                                                       \
  text += #type "." #name " " + std::to_string(offsetof(type, name)) + " " +           \
          std::to_string(sizeof(type::name)) + " " + kind_of<decltype(type::name)>() + "\n"

// A line for each struct, "AmgsrnNetwork bytes", and for each of its fields "AmgsrnNetwork.grids
// offset bytes kind"; the kind of its elements is p (pointer), f, i, or s (struct).
inline std::string layout() {
  std::string text;
  AMGSRN_STRUCT(AmgsrnNetwork);
  AMGSRN_FIELD(AmgsrnNetwork, grids);
  AMGSRN_FIELD(AmgsrnNetwork, features);
  AMGSRN_FIELD(AmgsrnNetwork, depth);
  AMGSRN_FIELD(AmgsrnNetwork, height);
  AMGSRN_FIELD(AmgsrnNetwork, width);
  AMGSRN_FIELD(AmgsrnNetwork, hidden_layers);
  AMGSRN_FIELD(AmgsrnNetwork, hidden_width);
  AMGSRN_FIELD(AmgsrnNetwork, outputs);
  AMGSRN_FIELD(AmgsrnNetwork, nodes);
  AMGSRN_FIELD(AmgsrnNetwork, transforms);
  AMGSRN_FIELD(AmgsrnNetwork, weights);
  AMGSRN_FIELD(AmgsrnNetwork, fast);

  AMGSRN_STRUCT(AmgsrnData);
  AMGSRN_FIELD(AmgsrnData, components);
  AMGSRN_FIELD(AmgsrnData, depth);
  AMGSRN_FIELD(AmgsrnData, height);
  AMGSRN_FIELD(AmgsrnData, width);
  AMGSRN_FIELD(AmgsrnData, values);
  AMGSRN_FIELD(AmgsrnData, cells);
  AMGSRN_FIELD(AmgsrnData, cell_count);
  AMGSRN_FIELD(AmgsrnData, cell_bytes);
  AMGSRN_FIELD(AmgsrnData, cubic);

  AMGSRN_STRUCT(AmgsrnBlocks);
  AMGSRN_FIELD(AmgsrnBlocks, side);
  AMGSRN_FIELD(AmgsrnBlocks, count);
  AMGSRN_FIELD(AmgsrnBlocks, cells);
  AMGSRN_FIELD(AmgsrnBlocks, ticks);
  AMGSRN_FIELD(AmgsrnBlocks, weights);

  AMGSRN_STRUCT(AmgsrnDraws);
  AMGSRN_FIELD(AmgsrnDraws, start);
  AMGSRN_FIELD(AmgsrnDraws, count);
  AMGSRN_FIELD(AmgsrnDraws, points);
  AMGSRN_FIELD(AmgsrnDraws, targets);
  AMGSRN_FIELD(AmgsrnDraws, weights);
  AMGSRN_FIELD(AmgsrnDraws, blocks);

  AMGSRN_STRUCT(AmgsrnGradients);
  AMGSRN_FIELD(AmgsrnGradients, nodes);
  AMGSRN_FIELD(AmgsrnGradients, part_stride);
  AMGSRN_FIELD(AmgsrnGradients, weights);
  AMGSRN_FIELD(AmgsrnGradients, transforms);
  AMGSRN_FIELD(AmgsrnGradients, errors);
  AMGSRN_FIELD(AmgsrnGradients, weights_of_points);
  AMGSRN_FIELD(AmgsrnGradients, loss);

  AMGSRN_STRUCT(AmgsrnAdam);
  AMGSRN_FIELD(AmgsrnAdam, nodes);
  AMGSRN_FIELD(AmgsrnAdam, gradients);
  AMGSRN_FIELD(AmgsrnAdam, part_stride);
  AMGSRN_FIELD(AmgsrnAdam, mean);
  AMGSRN_FIELD(AmgsrnAdam, square);
  AMGSRN_FIELD(AmgsrnAdam, step_size);
  AMGSRN_FIELD(AmgsrnAdam, beta1);
  AMGSRN_FIELD(AmgsrnAdam, beta2);
  AMGSRN_FIELD(AmgsrnAdam, square_scale);
  AMGSRN_FIELD(AmgsrnAdam, epsilon);

  AMGSRN_STRUCT(AmgsrnBrick);
  AMGSRN_FIELD(AmgsrnBrick, network);
  AMGSRN_FIELD(AmgsrnBrick, decoder);
  AMGSRN_FIELD(AmgsrnBrick, minimum);
  AMGSRN_FIELD(AmgsrnBrick, range);
  AMGSRN_FIELD(AmgsrnBrick, first);
  AMGSRN_FIELD(AmgsrnBrick, scale);
  AMGSRN_FIELD(AmgsrnBrick, size);
  AMGSRN_FIELD(AmgsrnBrick, valid);
  AMGSRN_FIELD(AmgsrnBrick, ends);
  AMGSRN_FIELD(AmgsrnBrick, slopes);

  AMGSRN_STRUCT(AmgsrnAxis);
  AMGSRN_FIELD(AmgsrnAxis, size);
  AMGSRN_FIELD(AmgsrnAxis, origin);
  AMGSRN_FIELD(AmgsrnAxis, scale);
  AMGSRN_FIELD(AmgsrnAxis, coordinates);
  AMGSRN_FIELD(AmgsrnAxis, blocks);
  AMGSRN_FIELD(AmgsrnAxis, cells);
  AMGSRN_FIELD(AmgsrnAxis, borders);
  AMGSRN_FIELD(AmgsrnAxis, block_count);
  AMGSRN_FIELD(AmgsrnAxis, cell_count);

  AMGSRN_STRUCT(AmgsrnVolume);
  AMGSRN_FIELD(AmgsrnVolume, axes);
  AMGSRN_FIELD(AmgsrnVolume, bricks);
  AMGSRN_FIELD(AmgsrnVolume, brick_count);
  AMGSRN_FIELD(AmgsrnVolume, starts);
  AMGSRN_FIELD(AmgsrnVolume, members);
  AMGSRN_FIELD(AmgsrnVolume, most_members);
  AMGSRN_FIELD(AmgsrnVolume, components);
  AMGSRN_FIELD(AmgsrnVolume, to_world);

  AMGSRN_STRUCT(AmgsrnAppearance);
  AMGSRN_FIELD(AmgsrnAppearance, empty);
  AMGSRN_FIELD(AmgsrnAppearance, maxima);
  AMGSRN_FIELD(AmgsrnAppearance, table);
  AMGSRN_FIELD(AmgsrnAppearance, shown);
  AMGSRN_FIELD(AmgsrnAppearance, entries);
  AMGSRN_FIELD(AmgsrnAppearance, low);
  AMGSRN_FIELD(AmgsrnAppearance, high);
  AMGSRN_FIELD(AmgsrnAppearance, logarithmic);
  AMGSRN_FIELD(AmgsrnAppearance, blend);
  AMGSRN_FIELD(AmgsrnAppearance, component);
  AMGSRN_FIELD(AmgsrnAppearance, shade);
  AMGSRN_FIELD(AmgsrnAppearance, cubic);
  AMGSRN_FIELD(AmgsrnAppearance, isovalues);
  AMGSRN_FIELD(AmgsrnAppearance, isovalue_count);
  AMGSRN_FIELD(AmgsrnAppearance, ambient);
  AMGSRN_FIELD(AmgsrnAppearance, diffuse);
  AMGSRN_FIELD(AmgsrnAppearance, specular);
  AMGSRN_FIELD(AmgsrnAppearance, specular_power);
  AMGSRN_FIELD(AmgsrnAppearance, transmittance_limit);
  AMGSRN_FIELD(AmgsrnAppearance, lights);
  AMGSRN_FIELD(AmgsrnAppearance, light_count);

  AMGSRN_STRUCT(AmgsrnView);
  AMGSRN_FIELD(AmgsrnView, width);
  AMGSRN_FIELD(AmgsrnView, height);
  AMGSRN_FIELD(AmgsrnView, clip_to_world);
  AMGSRN_FIELD(AmgsrnView, is_parallel);
  AMGSRN_FIELD(AmgsrnView, is_turned);
  AMGSRN_FIELD(AmgsrnView, jitter);
  AMGSRN_FIELD(AmgsrnView, seed);
  AMGSRN_FIELD(AmgsrnView, eye);
  AMGSRN_FIELD(AmgsrnView, depth);
  AMGSRN_FIELD(AmgsrnView, to_axes);
  AMGSRN_FIELD(AmgsrnView, axes_origin);
  AMGSRN_FIELD(AmgsrnView, box);
  AMGSRN_FIELD(AmgsrnView, crop);
  AMGSRN_FIELD(AmgsrnView, planes);
  AMGSRN_FIELD(AmgsrnView, plane_count);
  AMGSRN_FIELD(AmgsrnView, spacing);
  AMGSRN_FIELD(AmgsrnView, samples_per_voxel);
  AMGSRN_FIELD(AmgsrnView, mean_step);
  AMGSRN_FIELD(AmgsrnView, reach);
  AMGSRN_FIELD(AmgsrnView, rows);
  AMGSRN_FIELD(AmgsrnView, cover);

  AMGSRN_STRUCT(AmgsrnBoxes);
  AMGSRN_FIELD(AmgsrnBoxes, count);
  AMGSRN_FIELD(AmgsrnBoxes, occupied);
  AMGSRN_FIELD(AmgsrnBoxes, corners);
  AMGSRN_FIELD(AmgsrnBoxes, world_to_clip);

  AMGSRN_STRUCT(AmgsrnLevel);
  AMGSRN_FIELD(AmgsrnLevel, cells);
  AMGSRN_FIELD(AmgsrnLevel, blocks);
  AMGSRN_FIELD(AmgsrnLevel, spacing);
  AMGSRN_FIELD(AmgsrnLevel, pages);

  AMGSRN_STRUCT(AmgsrnWorkingSet);
  AMGSRN_FIELD(AmgsrnWorkingSet, levels);
  AMGSRN_FIELD(AmgsrnWorkingSet, level_count);
  AMGSRN_FIELD(AmgsrnWorkingSet, begins);
  AMGSRN_FIELD(AmgsrnWorkingSet, codes);
  AMGSRN_FIELD(AmgsrnWorkingSet, bounds);
  AMGSRN_FIELD(AmgsrnWorkingSet, low);
  AMGSRN_FIELD(AmgsrnWorkingSet, unit);
  AMGSRN_FIELD(AmgsrnWorkingSet, tolerances);
  AMGSRN_FIELD(AmgsrnWorkingSet, slots);
  AMGSRN_FIELD(AmgsrnWorkingSet, owners);
  AMGSRN_FIELD(AmgsrnWorkingSet, frames);
  AMGSRN_FIELD(AmgsrnWorkingSet, victims);
  AMGSRN_FIELD(AmgsrnWorkingSet, filled);
  AMGSRN_FIELD(AmgsrnWorkingSet, frame);
  AMGSRN_FIELD(AmgsrnWorkingSet, victim_count);
  AMGSRN_FIELD(AmgsrnWorkingSet, next_victim);
  AMGSRN_FIELD(AmgsrnWorkingSet, decoded);
  AMGSRN_FIELD(AmgsrnWorkingSet, replaced);
  AMGSRN_FIELD(AmgsrnWorkingSet, evaluated);
  AMGSRN_FIELD(AmgsrnWorkingSet, broken);
  AMGSRN_FIELD(AmgsrnWorkingSet, samples);
  AMGSRN_FIELD(AmgsrnWorkingSet, whole);
  AMGSRN_FIELD(AmgsrnWorkingSet, cell_edge);
  AMGSRN_FIELD(AmgsrnWorkingSet, lock);
  AMGSRN_FIELD(AmgsrnWorkingSet, is_full);

  return text;
}

#undef AMGSRN_FIELD
#undef AMGSRN_STRUCT

}  // namespace amgsrn
