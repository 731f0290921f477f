// The structs of the C interface; amgsrn_core/kernels/loader.py declares the same ones.
#pragma once

#include <cstdint>

// Edge of the tiles of a picture's cover, in pixels.
#define AMGSRN_COVER_TILE 16

extern "C" {

// A network. Nodes are stored channel-last with one layer of zeros around each grid, so that a
// clamped cell gives the reference's zero padding without masks.
struct AmgsrnNetwork {
  int64_t grids, features;
  int64_t depth, height, width;  // nodes of a grid along z, y, x, without the layer of zeros
  int64_t hidden_layers, hidden_width, outputs;
  const float* nodes;           // [grids][depth + 2][height + 2][width + 2][features]
  const float* transforms;      // [grids][3][4]
  const float* const* weights;  // hidden_layers + 1 matrices [out][in]
  int64_t fast;                 // round what hidden layers multiply to bfloat16 where possible
};

// The data that a network is fitted to, and how points are drawn from them.
struct AmgsrnData {
  int64_t components, depth, height, width;
  const float* values;    // [components][depth][height][width]
  const void* cells;      // flat numbers of the cells to draw from; null: all
  int64_t cell_count;     // how many these are
  int32_t cell_bytes;     // of one number: 4 or 8, signed
  int32_t cubic;          // Catmull-Rom instead of trilinear targets
};

// Blocks of cells, each with a share of the points of a batch: amgsrn_core/training/importance.py.
// A batch has 2^24 ticks for each of its points, which are divided among the blocks.
struct AmgsrnBlocks {
  int64_t side;            // cells along each axis; fewer in the last blocks
  int64_t count;           // blocks, x fastest
  const int64_t* cells;    // [count + 1] cells of the blocks before; data.cells are in this order
  const int64_t* ticks;    // [count + 1] ticks of the blocks before
  const float* weights;    // [count] of a point there: 1 / its probability, over uniform ones'
};

// A batch that is drawn from blocks: which one, and what is drawn.
struct AmgsrnDraws {
  uint64_t start;          // of its random numbers, see amgsrn_core/training/draws.py
  int64_t count;           // points
  float *points, *targets; // [count][3] and [count][components]
  float* weights;          // [count]
  int64_t* blocks;         // [count] in which block each lies; ascending
};

// What a training step leaves behind. Node gradients are added per part; the rest is overwritten.
struct AmgsrnGradients {
  float* nodes;            // [parts][part_stride], each laid out like the nodes
  int64_t part_stride;
  float* const* weights;   // like the network's
  float* transforms;       // [grids][3][4]; null while the grids rest
  float* errors;           // [points], mean over the outputs of the squared errors
  const float* weights_of_points;  // [points] what each counts, 1 on average; null: all count 1
  double loss;             // the errors' mean, by these weights
};

// One step of Adam (Kingma and Ba, ICLR 2015) on the nodes.
struct AmgsrnAdam {
  float* nodes;
  float* gradients;  // as above; cleared on the way
  int64_t part_stride;
  float *mean, *square;  // moments [grids][depth][height][width][features]
  double step_size;      // learning rate / (1 - beta1^t)
  double beta1, beta2;
  double square_scale;   // 1 / sqrt(1 - beta2^t)
  double epsilon;
};

// One network of a volume, and where it lies. Threes run along x, y, z.
struct AmgsrnBrick {
  const AmgsrnNetwork* network;
  const float* decoder;   // of amgsrn_pack_decoder
  const float *minimum, *range;  // [components] value = minimum + output * range
  double first[3];        // its first sample in the volume's index space
  double scale[3];        // local coordinate = (index - first) * scale - 1
  int64_t size[3];        // samples
  const uint8_t* valid;   // [z][y][x] whether a sample has a value; null: all have
  // Where it has half its weight, below and above, and how fast it fades there: 1 / the length of
  // the fade, or 0 for a step. See amgsrn_march.
  double ends[2][3], slopes[2][3];
};

// One axis of a volume's samples. The half voxel of a point is floor(2 * index).
struct AmgsrnAxis {
  int64_t size;                // samples, at least 2
  double origin, scale;        // even: index = (coordinate - origin) * scale
  const double* coordinates;   // uneven: [size], ascending; null: even
  const int32_t* blocks;       // [2 * size - 1] in which block a half voxel is
  const int32_t* cells;        // [2 * size - 1] in which macro-cell it is
  const double* borders;       // [cell_count + 1] coordinates where the macro-cells begin and end
  int64_t block_count, cell_count;
};

// A field of several networks.
struct AmgsrnVolume {
  AmgsrnAxis axes[3];          // x, y, z
  const AmgsrnBrick* bricks;
  int64_t brick_count;
  const int64_t* starts;       // [blocks z * y * x + 1] where a block's bricks are in `members`
  const int32_t* members;      // numbers of the bricks that reach into each block
  int64_t most_members;        // of one block
  int64_t components;
  double to_world[3][3];  // gradient in the world = gradient by axis coordinates * to_world
};

// What a volume looks like.
struct AmgsrnAppearance {
  // [z][y][x] macro-cells: 0 where something may be seen; n: not in this cell, nor in any that is
  // less than n cells away. Three bytes more can be read.
  const uint8_t* empty;
  const float* maxima;         // [z][y][x] macro-cells: upper bounds; null unless blending maxima
  const float* table;          // [entries][4] red, green, blue, opacity of one sample
  const int32_t* shown;        // [entries + 1] how many of the entries before have an opacity
  int64_t entries;
  double low, high;            // values of the first and the last entry; logarithms if logarithmic
  int32_t logarithmic;
  int32_t blend;               // 0 composite, 1 maximum, 2 isosurfaces
  int32_t component;           // what is seen; -1: the magnitude
  int32_t shade;
  int32_t cubic;               // interpolate between lattice points by cubics
  const float* isovalues;
  int64_t isovalue_count;
  float ambient, diffuse, specular, specular_power;
  float transmittance_limit;   // a ray ends at this or less
  const float* lights;         // [light_count][6] unit vector to a light in the world, its colour;
  int64_t light_count;         // none: a white lamp at the camera
};

// A picture's pixels as rays through a volume, and which parts of these are seen.
struct AmgsrnView {
  int64_t width, height;
  double clip_to_world[4][4];    // OpenGL's clip space
  int32_t is_parallel, is_turned, jitter;  // turned: axis coordinates are not the world's
  int32_t seed;                  // of the random offsets
  double eye[3];                 // in the world, unless parallel
  const float* depth;            // [height][width] window depth of what is opaque; null: nothing
  double to_axes[3][3], axes_origin[3];  // axis = origin + to_axes * (world - origin)
  double box[3][2];              // of the volume in axis coordinates
  double crop[3][2];             // in the world; infinite where nothing is cropped
  const double* planes;          // [plane_count][4] a x + b y + c z + d >= 0 is seen
  int64_t plane_count;
  double spacing[3];             // mean voxel
  double samples_per_voxel;
  double mean_step;              // which the table's opacities are for
  double reach;                  // steps beyond what is seen that have a sample: 0.5, or 1
  int64_t rows[2];               // from, to: the pixels that are made, unless they are named
  const float* cover;            // of amgsrn_cover; null: something may be seen anywhere
};

// Boxes side by side that hold all that may be seen.
struct AmgsrnBoxes {
  int64_t count[3];              // x, y, z
  const uint8_t* occupied;       // [z][y][x]
  const double* corners;         // [z + 1][y + 1][x + 1][3] in the world
  double world_to_clip[4][4];
};

// A level of a working set: a lattice over the whole volume, in blocks of 8^3 cells.
struct AmgsrnLevel {
  int64_t cells[3], blocks[3];   // along x, y, z; at least 1
  double spacing;                // voxels from a lattice point to the next
  int32_t* pages;                // [blocks z][y][x] 0: not there; -1: on its way; n: in slot n - 1
};

// Decoded blocks that are kept from picture to picture, and where to look for others.
struct AmgsrnWorkingSet {
  const AmgsrnLevel* levels;     // the finest first; at most 32
  int64_t level_count;
  const double* begins;          // [level_count] from which sample k on a level is used
  uint16_t* codes;               // [slots][components][9][9][9]
  // [slots][components][8][4] of each eighth the least and the largest code, and, but on the finest
  // level, the largest second and first differences, summed over the axes
  uint16_t* bounds;
  const float *low, *unit;       // [components] value = low + code * unit
  // [entries + 1] by how much values below the table's first entry, between the first two, and so on,
  // may be off without being seen to be; negative where all is to be seen that there is
  const float* tolerances;
  int64_t slots;
  int64_t* owners;               // [slots] level << 40 | block
  int64_t* frames;               // [slots] the last frame that saw a block
  int32_t* victims;              // [slots] those to be replaced next, from next_victim to victim_count
  int64_t filled;                // slots that were ever used
  int64_t frame;                 // what it has seen is not replaced
  int64_t victim_count, next_victim;
  int64_t decoded, replaced;     // blocks so far
  int64_t evaluated;             // lattice points so far
  int64_t broken;                // lattice values so far that the codes do not reach
  int64_t samples;               // so far
  double whole[3][2];            // x, y, z: from and to which index no brick is missing
  int32_t cell_edge;             // voxels of a macro-cell
  int32_t lock, is_full;         // full: the frame needs more slots than there are
};
}
