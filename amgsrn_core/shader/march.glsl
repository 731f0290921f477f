// Marches rays through a model's networks: the twin of kernels/src/march.h on a graphics processor.
//
// source.py puts the version, PLACE (the pixel in clip space), RESULT and the definitions of the
// model and of the look in front. It repeats lines with @ for each quarter of the decoder's width,
// lines with $ for each component that is seen, and writes the decoder. Points along a ray are
// counted in samples; "even" coordinates are an axis' coordinates in mean voxels, and "index" ones
// bend with uneven axes. GLSL 1.50 and GLSL ES 3.00.

uniform sampler2D numbers;     // rows of 1024: bricks, maps, decoders, then tables; see packing.py
uniform usampler3D distances;  // of macro-cells: 0 visible, else how many cells to a visible one
uniform sampler2D colours;     // rows of 256: the table, with opacities of one mean step
#ifdef HASH
uniform sampler2D features;    // rows of 2048
#else
uniform sampler3D features;    // the feature grids, each in a margin of zeros
uniform bool filtered;         // look features up by the texture unit, which rounds more
#endif
#ifdef MASK
uniform usampler3D mask;       // 1 where a voxel has a value
#endif
#ifdef MAXIMUM
uniform sampler3D maxima;      // upper bounds of macro-cells
#endif

// The view: a point in front of the eye is reference + d.x * acrossX + d.y * acrossY where d is its
// place in clip space from `centre`; see view.py.
uniform vec3 centre;           // with its depth in clip space
uniform vec3 reference, acrossX, acrossY, fromEye;
uniform float eyeDistance, phase;
uniform vec2 phaseSlope;
uniform vec3 depthRow;
uniform bool isParallel, hasDepth;
uniform float samplesPerVoxel;
uniform mat3 toWorld, normalToWorld;  // in mean voxels, and of any length
uniform vec2 pixelOrigin;
uniform int pixelColumns, seed;

uniform vec3 lastIndex;        // of voxels along x, y, z
uniform vec3 cells;            // macro-cells along x, y, z
uniform float cellEdge;        // voxels
uniform vec2 tableRange;       // of values, logarithms if LOGARITHMIC
uniform int tableEntries;
uniform float least;           // transmittance at which a ray ends
uniform int component;
uniform vec2 slice;            // of a ray's samples, those that this pass draws
#ifdef KEPT
uniform bool isKept;           // show what was drawn before
uniform sampler2D kept;
#endif
#if PLANES > 0
uniform float planes[4 * PLANES];  // in even coordinates; seen is what is on the positive side
#endif
#ifdef ISOSURFACE
uniform float isovalues[ISOSURFACE];
#endif
#ifdef SHADE
uniform vec4 shading;          // ambient, diffuse, specular, its power
#if LIGHTS > 0
uniform float lights[6 * LIGHTS];
#endif
#endif

#define W(n) texelFetch(numbers, ivec2((n) & 1023, (n) >> 10), 0)

float number(int n)
{
  return W(TABLES + (n >> 2))[n & 3];
}

int base;       // where the numbers of the brick begin that is looked at
vec3 gridSize;  // nodes of its grids, without the margin

void useNumbers(int at)
{
  base = at;
  gridSize = W(base + 6).xyz;
}

// Where a point of the brick lies among a grid's nodes.
struct Place { ivec3 node; vec3 part; bool inside; };

#ifdef HASH
#define GRID_TEXELS 2
#define T(dx, dy, dz) hashed(g, l.node + ivec3(dx, dy, dz))

vec4 hashed(int g, ivec3 node)
{
  vec4 level = W(base + GRIDS_AT + 2 * g), strides = W(base + GRIDS_AT + 2 * g + 1);
  uvec3 n = uvec3(node);
  uint entry = strides.w > 0.0
    ? n.x * uint(strides.x) + n.y * uint(strides.y) + n.z * uint(strides.z)
    : n.x ^ (n.y * 2654435761u) ^ (n.z * 805459861u);
  int at = int(level.z) + int(entry % uint(level.w));
  return texelFetch(features, ivec2(at & 2047, at >> 11), 0);
}

Place placed(int g, vec3 p)
{
  vec4 level = W(base + GRIDS_AT + 2 * g);
  bool inside = true;
#ifdef HASH_BOUNDED
  inside = all(lessThanEqual(abs(p), vec3(1.00001)));
  p = clamp(p, -1.0, 1.0);
#endif
  vec3 x = (p + 1.0) * 0.5 * level.x + level.y;
  vec3 low = floor(x);
  return Place(ivec3(low), x - low, inside);
}

vec3 slopes(int g, vec3 slope)
{
  return slope * (0.5 * W(base + GRIDS_AT + 2 * g).x);
}
#else
#define GRID_TEXELS 4
#define T(dx, dy, dz) texelFetch(features, l.node + ivec3(dx, dy, dz), 0)

vec3 mapped(int g, vec3 p)
{
  vec4 p1 = vec4(p, 1.0);
  int n = base + GRIDS_AT + 4 * g;
  return vec3(dot(W(n), p1), dot(W(n + 1), p1), dot(W(n + 2), p1));
}

Place placed(int g, vec3 p)
{
  vec3 x = mapped(g, p);
  bool inside = all(greaterThanEqual(x, vec3(0.0))) && all(lessThanEqual(x, gridSize + 1.0));
  x = clamp(x, vec3(0.0), gridSize + 1.0);
  vec3 low = min(floor(x), gridSize);
  return Place(ivec3(W(base + GRIDS_AT + 4 * g + 3).xyz + low), x - low, inside);
}

vec3 slopes(int g, vec3 slope)
{
  int n = base + GRIDS_AT + 4 * g;
  return slope.x * W(n).xyz + slope.y * W(n + 1).xyz + slope.z * W(n + 2).xyz;
}
#endif

vec4 feature(int g, vec3 p)
{
#ifndef HASH
  if (filtered)
  {
    vec3 x = clamp(mapped(g, p), vec3(0.0), gridSize + 1.0);
    vec3 corner = W(base + GRIDS_AT + 4 * g + 3).xyz;
    return textureLod(features, (corner + x + 0.5) / vec3(textureSize(features, 0)), 0.0);
  }
#endif
  Place l = placed(g, p);
  vec3 f = l.part;
  vec4 v = mix(mix(mix(T(0, 0, 0), T(1, 0, 0), f.x), mix(T(0, 1, 0), T(1, 1, 0), f.x), f.y),
    mix(mix(T(0, 0, 1), T(1, 0, 1), f.x), mix(T(0, 1, 1), T(1, 1, 1), f.x), f.y), f.z);
#ifdef HASH_BOUNDED
  v *= float(l.inside);
#endif
  return v;
}

// How a grid's features, weighted by f, change with the brick's coordinates.
vec3 featureSlope(int g, vec3 p, vec4 f)
{
  Place l = placed(g, p);
  if (!l.inside)
  {
    return vec3(0.0);
  }
  vec3 t = l.part;
  float v000 = dot(T(0, 0, 0), f), v100 = dot(T(1, 0, 0), f), v010 = dot(T(0, 1, 0), f);
  float v110 = dot(T(1, 1, 0), f), v001 = dot(T(0, 0, 1), f), v101 = dot(T(1, 0, 1), f);
  float v011 = dot(T(0, 1, 1), f), v111 = dot(T(1, 1, 1), f);
  return slopes(g, vec3(
    mix(mix(v100 - v000, v110 - v010, t.y), mix(v101 - v001, v111 - v011, t.y), t.z),
    mix(mix(v010 - v000, v110 - v100, t.x), mix(v011 - v001, v111 - v101, t.x), t.z),
    mix(mix(v001 - v000, v101 - v100, t.x), mix(v011 - v010, v111 - v110, t.x), t.y)));
}

float y[SEEN];       // outputs of the network for the components that are seen
float factor[SEEN];  // what each counts in a gradient

// A component's range: its minimum, its length, the output's bias.
#define RANGE(c) W(base + RANGES_AT + component + (c))
#define LAST(c) (LAST_AT + (component + (c)) * WIDTH4)
#ifdef BIASES
#define BIAS(layer, at) W(base + BIASES_AT + (layer) * WIDTH4 + (at))
#else
#define BIAS(layer, at) vec4(0.0)
#endif

%decoder%

float values[SEEN];  // of the field
#ifdef BRICKS
float total;
#endif

vec3 local(vec3 index)
{
  return (index - W(base).xyz) * W(base + 1).xyz - 1.0;
}

#ifdef BRICKS
// Weight of a brick before the weights are made to sum to 1, and its change with the index.
float fade(vec3 index, out vec3 slope)
{
  vec3 along = vec3(1.0), by = vec3(0.0);
  for (int side = 0; side < 2; ++side)
  {
    vec3 steep = W(base + 4 + side).xyz;
    vec3 distance_ = index - W(base + 2 + side).xyz;
    vec3 t = vec3(side == 0 ? greaterThanEqual(distance_, vec3(0.0)) : lessThan(distance_, vec3(0.0)));
    float sign_ = side == 0 ? 1.0 : -1.0;
    vec3 faded = clamp(sign_ * distance_ * steep + 0.5, 0.0, 1.0);
    t = mix(t, faded, greaterThan(steep, vec3(0.0)));
    vec3 smooth_ = t * t * (3.0 - 2.0 * t);
    by = by * smooth_ + along * sign_ * steep * 6.0 * t * (1.0 - t);
    along *= smooth_;
  }
  slope = vec3(by.x * along.y * along.z, along.x * by.y * along.z, along.x * along.y * by.z);
  return along.x * along.y * along.z;
}

// First and last member of the block that a point is in.
ivec2 members(vec3 index)
{
  ivec3 half_ = ivec3(2.0 * index);
  int x = int(number(BLOCKS_X + half_.x)), y_ = int(number(BLOCKS_Y + half_.y));
  int block = (int(number(BLOCKS_Z + half_.z)) * BLOCK_ROWS + y_) * BLOCK_COLUMNS + x;
  return ivec2(number(STARTS + block), number(STARTS + block + 1));
}

void useBrick(int member)
{
  useNumbers(int(number(MEMBERS + member)) * BRICK_TEXELS);
}
#endif

// Whether a point has values, and these.
bool evaluate(vec3 index)
{
#ifdef MASK
  if (texelFetch(mask, ivec3(floor(index + 0.5)), 0).r == 0u)
  {
    return false;
  }
#endif
#ifdef BRICKS
  ivec2 range = members(index);
  $ values[$] = 0.0;
  total = 0.0;
  for (int m = range.x; m < range.y; ++m)
  {
    useBrick(m);
    vec3 slope;
    float weight = range.y - range.x == 1 ? 1.0 : fade(index, slope);
    if (weight > 0.0)
    {
      network(local(index));
      total += weight;
      $ values[$] += weight * (RANGE($).x + y[$] * RANGE($).y);
    }
  }
  if (total == 0.0)
  {
    return false;
  }
  $ values[$] /= total;
#else
  useNumbers(0);
  network(local(index));
  $ values[$] = RANGE($).x + y[$] * RANGE($).y;
#endif
  return true;
}

float seen()
{
#ifdef MAGNITUDE
  float sum = 0.0;
  $ sum += values[$] * values[$];
  return sqrt(sum);
#else
  return values[0];
#endif
}

#ifdef SHADE
// The gradient by the index, up to a factor, where `values` are those of the point.
vec3 gradient(vec3 index, bool isEvaluated)
{
#ifdef BRICKS
  ivec2 range = members(index);
  vec3 sum = vec3(0.0), change = vec3(0.0);
  float blended = 0.0;
#ifdef MAGNITUDE
  $ blended += values[$] * values[$];
#else
  blended = values[0];
#endif
  for (int m = range.x; m < range.y; ++m)
  {
    useBrick(m);
    vec3 slope = vec3(0.0);
    float weight = range.y - range.x == 1 ? 1.0 : fade(index, slope);
    if (weight > 0.0)
    {
      network(local(index));
      float own = 0.0;
#ifdef MAGNITUDE
      $ own += values[$] * (RANGE($).x + y[$] * RANGE($).y);
      $ factor[$] = values[$] * RANGE($).y;
#else
      own = RANGE(0).x + y[0] * RANGE(0).y;
      factor[0] = RANGE(0).y;
#endif
      sum += weight * networkSlope(local(index)) * W(base + 1).xyz + (own - blended) * slope;
    }
  }
  return sum;
#else
  if (!isEvaluated)
  {
    network(local(index));
  }
#ifdef MAGNITUDE
  $ factor[$] = values[$] * RANGE($).y;
#else
  factor[0] = RANGE(0).y;
#endif
  return networkSlope(local(index)) * W(1).xyz;
#endif
}

float shine(float facing)
{
  return facing > 0.0 ? shading.z * pow(facing, shading.w) : 0.0;
}

// A point's colour under the lights, seen along a direction of length 1.
vec3 lit(vec3 colour, vec3 slope, vec3 along)
{
  vec3 normal = normalToWorld * slope;
  // Its square may leave what a float holds.
  float largest = max(max(abs(normal.x), abs(normal.y)), abs(normal.z));
  if (!(largest > 0.0))
  {
    return colour * shading.x;
  }
  normal = normalize(normal / largest);
#if LIGHTS > 0
  vec3 reflected = vec3(shading.x), highlight = vec3(0.0);
  for (int i = 0; i < LIGHTS; ++i)
  {
    vec3 towards = vec3(lights[6 * i], lights[6 * i + 1], lights[6 * i + 2]);
    vec3 tint = vec3(lights[6 * i + 3], lights[6 * i + 4], lights[6 * i + 5]);
    reflected += tint * (shading.y * min(abs(dot(normal, towards)), 1.0));
    vec3 halfway = towards - along;
    if (dot(halfway, halfway) > 1e-12)  // else opposite to the camera
    {
      highlight += tint * shine(min(abs(dot(normal, normalize(halfway))), 1.0));
    }
  }
  return colour * reflected + highlight;
#else
  float facing = min(abs(dot(normal, along)), 1.0);
  return colour * (shading.x + shading.y * facing) + shine(facing);
#endif
}
#endif

// The even coordinate of an index along an axis, and the index and its slope of an even coordinate.
#ifdef BENT
float evenAt(int axis, float index)
{
  int begin = axis == 0 ? AXIS_X : axis == 1 ? AXIS_Y : AXIS_Z;
  return begin < 0 ? index : number(begin + int(index));
}

vec2 bent(int axis, float even, float last)
{
  int begin = axis == 0 ? AXIS_X : axis == 1 ? AXIS_Y : AXIS_Z;
  if (begin < 0)
  {
    return vec2(even, 1.0);
  }
  int low = 0, high = int(last);
  while (high - low > 1)
  {
    int middle = (low + high) / 2;
    if (even < number(begin + middle))
    {
      high = middle;
    }
    else
    {
      low = middle;
    }
  }
  float from = number(begin + low), slope = 1.0 / (number(begin + low + 1) - from);
  return vec2(float(low) + (even - from) * slope, slope);
}

vec3 indexAt(vec3 even, out vec3 slope)
{
  vec2 a = bent(0, even.x, lastIndex.x), b = bent(1, even.y, lastIndex.y), c = bent(2, even.z, lastIndex.z);
  slope = vec3(a.y, b.y, c.y);
  return vec3(a.x, b.x, c.x);
}

vec3 evenOf(vec3 index)
{
  return vec3(evenAt(0, index.x), evenAt(1, index.y), evenAt(2, index.z));
}
#else
#define evenOf(index) (index)

vec3 indexAt(vec3 even, out vec3 slope)
{
  slope = vec3(1.0);
  return even;
}
#endif

vec4 look(float value)
{
#ifdef LOGARITHMIC
  float at = value > 0.0 ? log2(value) : tableRange.x;
#else
  float at = value;
#endif
  float x = clamp((at - tableRange.x) / (tableRange.y - tableRange.x), 0.0, 1.0) * float(tableEntries - 1);
  int entry = min(int(x), tableEntries - 2), next = entry + 1;
  return mix(texelFetch(colours, ivec2(entry & 255, entry >> 8), 0),
    texelFetch(colours, ivec2(next & 255, next >> 8), 0), x - float(entry));
}

#ifdef JITTER
// The high and the low half of a product of numbers of 64 bits, modulo 2^64.
uvec2 times(uvec2 a, uvec2 b)
{
  uint al = a.y & 65535u, ah = a.y >> 16, bl = b.y & 65535u, bh = b.y >> 16;
  uint middle = al * bh, other = ah * bl, low = al * bl;
  uint carried = (low >> 16) + (middle & 65535u) + (other & 65535u);
  uint high = ah * bh + (middle >> 16) + (other >> 16) + (carried >> 16);
  return uvec2(high + a.x * b.y + a.y * b.x, a.y * b.y);
}

uvec2 shifted(uvec2 a, int by)
{
  return a ^ uvec2(a.x >> by, (a.y >> by) | (a.x << (32 - by)));
}

// rendering/samples.py: random_offsets.
float randomOffset()
{
  vec2 at = floor(gl_FragCoord.xy - pixelOrigin);
  uvec2 state = uvec2(uint(seed), uint(int(at.y) * pixelColumns + int(at.x)) + 1u);
  state.x += state.y == 0u ? 1u : 0u;
  state = times(state, uvec2(0x9E3779B9u, 0x7F4A7C15u));
  state = times(shifted(state, 30), uvec2(0xBF58476Du, 0x1CE4E5B9u));
  state = times(shifted(state, 27), uvec2(0x94D049BBu, 0x133111EBu));
  state = shifted(state, 31);
  return float(state.x >> 8) / 16777216.0;
}
#endif

// A ray: its point of count c is start + (c - count) * step, in even coordinates.
struct Ray { vec3 start, step, along; float count, near, far, share; };

// Samples from the reference point to a depth in clip space.
float countTo(vec2 d, float z, float length_)
{
  if (isParallel)
  {
    return (z - centre.z) * depthRow.z;
  }
  float mu = dot(depthRow, vec3(d, z - centre.z));
  return mu > -1.0 ? -mu / (1.0 + mu) * length_ * samplesPerVoxel : 1e30;
}

Ray makeRay(vec2 place)
{
  Ray ray;
  vec2 d = place - centre.xy;
  vec3 across = d.x * acrossX + d.y * acrossY;
  ray.start = reference + across;
  vec3 way = isParallel ? fromEye : fromEye + across;
  float length_ = length(way);
  ray.step = way / (length_ * samplesPerVoxel);
  ray.count = phase + dot(phaseSlope, d);
  if (!isParallel)
  {
    ray.count += samplesPerVoxel * dot(across, 2.0 * fromEye + across) / (length_ + eyeDistance);
  }
  vec3 world = toWorld * way;
  ray.along = normalize(world);
  ray.share = length(world) / length_;
  ray.share = abs(ray.share - 1.0) < 1e-6 ? 1.0 : ray.share;

  ray.near = ray.count + countTo(d, -1.0, length_);
  ray.far = ray.count + countTo(d, 1.0, length_);
  if (hasDepth)
  {
    ray.far = ray.count + countTo(d, OPAQUE(place) * 2.0 - 1.0, length_);
  }
  vec3 low = -ray.start / ray.step, high = (lastIndex - ray.start) / ray.step;
  vec3 enter = min(low, high), leave = max(low, high);
  for (int a = 0; a < 3; ++a)
  {
    if (ray.step[a] == 0.0)
    {
      bool inside = ray.start[a] >= 0.0 && ray.start[a] < lastIndex[a];
      enter[a] = inside ? -1e30 : 1e30;
      leave[a] = -enter[a];
    }
  }
  ray.near = max(ray.near, ray.count + max(max(enter.x, enter.y), enter.z));
  ray.far = min(ray.far, ray.count + min(min(leave.x, leave.y), leave.z));
#if PLANES > 0
  for (int i = 0; i < PLANES; ++i)
  {
    vec3 normal = vec3(planes[4 * i], planes[4 * i + 1], planes[4 * i + 2]);
    float height = dot(normal, ray.start) + planes[4 * i + 3], slope = dot(normal, ray.step);
    float crossing = ray.count - height / slope;
    if (slope > 0.0)
    {
      ray.near = max(ray.near, crossing);
    }
    else if (slope < 0.0)
    {
      ray.far = min(ray.far, crossing);
    }
    else if (height < 0.0)
    {
      ray.far = -1e30;
    }
  }
#endif
  return ray;
}

vec3 sum = vec3(0.0);
float through = 1.0;

void composite(vec4 colour, Ray ray, vec3 index, vec3 slope, bool isEvaluated)
{
  if (!(colour.a > 0.0))
  {
    return;
  }
#ifdef SHADE
  colour.rgb = lit(colour.rgb, gradient(index, isEvaluated) * slope, ray.along);
#endif
  sum += through * colour.a * colour.rgb;
  through *= 1.0 - colour.a;
}

#ifdef ISOSURFACE
// Composites the surfaces between a sample and the one before, in their order.
void cross_(Ray ray, float before, float value, float count)
{
  float done = -1.0;
  int doneSurface = 0;
  for (int n = 0; n < ISOSURFACE; ++n)
  {
    float part = 2.0;
    int surface = 0;
    for (int i = 0; i < ISOSURFACE; ++i)
    {
      float a = before - isovalues[i], b = value - isovalues[i];
      if ((a < 0.0) == (b < 0.0))
      {
        continue;
      }
      float at = a / (a - b);
      if ((at > done || (at == done && i > doneSurface)) && at < part)
      {
        part = at;
        surface = i;
      }
    }
    if (part > 1.0 || through <= least)
    {
      return;
    }
    done = part;
    doneSurface = surface;
    float c = count - 1.0 + part;
    if (c >= ray.near && c < ray.far)
    {
      vec4 colour = look(isovalues[surface]);
      vec3 slope = vec3(1.0), index = vec3(0.0);
#ifdef SHADE
      index = clamp(indexAt(ray.start + (c - ray.count) * ray.step, slope), vec3(0.0), lastIndex);
      if (colour.a > 0.0 && !evaluate(index))
      {
        slope = vec3(0.0);
      }
#endif
      composite(colour, ray, index, slope, true);
    }
  }
}
#endif

void main()
{
#ifdef KEPT
  if (isKept)
  {
    RESULT = texelFetch(kept, ivec2(gl_FragCoord.xy), 0);
    return;
  }
#endif
  vec2 place = PLACE;
  Ray ray = makeRay(place);
  sum = vec3(0.0);
  through = 1.0;
#ifdef JITTER
  float offset = randomOffset();
#else
  float offset = 0.5;
#endif
#ifdef ISOSURFACE
  float reach = 1.0, before = 0.0, beforeAt = -1e30;
#else
  float reach = 0.5;
#endif
  float best = -1e38;
  float k = 0.0, end = 0.0;
  if (ray.near < ray.far)
  {
    float first = ceil(ray.near - offset - reach);
    k = first + slice.x;
    end = min(ceil(ray.far - offset + reach), first + slice.y);
  }
  while (k < end && through > least)
  {
    float c = k + offset, share = ray.share, at = c;
    k += 1.0;
#ifndef ISOSURFACE
    float low = at - 0.5, high = at + 0.5;
    if (low < ray.near || high > ray.far)
    {
      low = max(low, ray.near);
      high = min(high, ray.far);
      share *= high - low;
      at = 0.5 * (low + high);
    }
#endif
    vec3 slope;
    vec3 index = indexAt(ray.start + (at - ray.count) * ray.step, slope);
    if (any(lessThan(index, vec3(-1e-3))) || any(greaterThan(index, lastIndex + 1e-3)))
    {
      continue;
    }
    index = clamp(index, vec3(0.0), lastIndex);
    vec3 cell = min(floor(index / cellEdge), cells - 1.0);
    float empty = float(texelFetch(distances, ivec3(cell), 0).r);
#ifdef MAXIMUM
    if (empty == 0.0 && texelFetch(maxima, ivec3(cell), 0).r <= best)
    {
      empty = 1.0;
    }
#endif
    if (empty > 0.0)
    {
      vec3 border = mix(cell + 1.0 - empty, cell + empty, greaterThan(ray.step, vec3(0.0)));
      border = evenOf(min(clamp(border, vec3(0.0), cells) * cellEdge, lastIndex));
      vec3 way = (border - ray.start) / ray.step;
      way = mix(way, vec3(1e30), equal(ray.step, vec3(0.0)));
      float exit_ = ray.count + min(min(way.x, way.y), way.z) - offset - 1e-3;
      k = max(k, ceil(exit_));
      continue;
    }
    if (!evaluate(index))
    {
      continue;
    }
    float value = seen();
#ifdef MAXIMUM
    best = max(best, value);
#elif defined(ISOSURFACE)
    if (beforeAt == c - 1.0)
    {
      cross_(ray, before, value, c);
    }
    before = value;
    beforeAt = c;
#else
    vec4 colour = look(value);
    if (share != 1.0 && colour.a > 0.0)
    {
      colour.a = 1.0 - pow(1.0 - colour.a, share);
    }
    composite(colour, ray, index, slope, true);
#endif
  }
#ifdef MAXIMUM
  vec4 colour = best > -1e38 ? look(best) : vec4(0.0);
  RESULT = vec4(colour.rgb * colour.a, colour.a);
#else
  RESULT = vec4(min(sum, vec3(1.0)), 1.0 - through);
#endif
}
