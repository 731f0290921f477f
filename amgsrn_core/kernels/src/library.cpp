// The C interface: divides the work among threads and picks the instruction set at run time.
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#if defined(AMGSRN_HAVE_BF16)
#include <cpuid.h>
#endif

#include "abi.h"
#include "cover.h"
#include "kernels.h"
#include "layout.h"
#include "pool.h"

#define AMGSRN_API __attribute__((visibility("default")))

namespace amgsrn {

#if defined(__x86_64__) && !defined(AMGSRN_GENERIC)
#define AMGSRN_X86 1
extern const Kernels kernels_avx512bf16, kernels_avx512, kernels_avx2, kernels_sse2;
#else
extern const Kernels kernels_generic;
#endif

namespace {

constexpr int kMostIsas = 4;

#if defined(AMGSRN_X86) && defined(AMGSRN_HAVE_BF16)
// Whether the processor has AVX512_BF16; that the system saves the registers follows from AVX-512.
bool has_bf16() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & (1u << 5));
}
#endif

// The builds that this processor runs, fastest first, then null.
const Kernels* const* available() {
  static const Kernels* found[kMostIsas + 1] = {};
  static const bool once = [] {
    int count = 0;
#if defined(AMGSRN_X86)
    __builtin_cpu_init();
    const bool avx512 =
        __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("bmi2");
#if defined(AMGSRN_HAVE_BF16)
    if (avx512 && has_bf16()) found[count++] = &kernels_avx512bf16;
#endif
    if (avx512) found[count++] = &kernels_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("bmi2"))
      found[count++] = &kernels_avx2;
    found[count++] = &kernels_sse2;
#else
    found[count++] = &kernels_generic;
#endif
    return true;
  }();
  (void)once;
  return found;
}

std::atomic<const Kernels*> chosen{nullptr};

const Kernels& kernels() {
  const Kernels* k = chosen.load(std::memory_order_relaxed);
  return k ? *k : *available()[0];
}

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};
using Memory = std::unique_ptr<void, Free>;

size_t round_up(size_t bytes) { return (bytes + 63) / 64 * 64; }

// Memory on a cache line's boundary; null when there is none.
Memory allocate(size_t bytes) { return Memory(std::aligned_alloc(64, round_up(bytes))); }

Memory zeros(size_t bytes) {
  Memory memory = allocate(bytes);
  if (memory) std::memset(memory.get(), 0, bytes);
  return memory;
}

int64_t share(int64_t total, int part, int parts) { return total * part / parts; }

// The largest of these shares.
int64_t most_shared(int64_t total, int parts) { return (total + parts - 1) / parts; }

int64_t tiles(int64_t points) { return (points + kTilePoints - 1) / kTilePoints; }

// No more parts than there are pieces of work worth waking a thread for.
int useful_parts(int threads, int64_t pieces) {
  const int64_t most = pieces < 1 ? 1 : pieces;
  return static_cast<int>(threads < 1 ? 1 : threads < most ? threads : most);
}

constexpr int kOutOfMemory = 1;  // others: Outcome

// Calls march(next, scratch) in as many parts as are worth it; returns the worst outcome.
template <class March>
int in_stretches(int64_t stretches, int threads, size_t bytes, March march) {
  const int parts = useful_parts(threads, stretches);
  const size_t scratch_size = round_up(bytes);
  Memory scratch = allocate(scratch_size * static_cast<size_t>(parts));
  if (!scratch) return kOutOfMemory;
  std::atomic<int64_t> next{0};
  std::atomic<int> worst{kDone};
  auto run = [&](int part) {
    const Outcome outcome =
        march(next, static_cast<char*>(scratch.get()) + static_cast<size_t>(part) * scratch_size);
    if (outcome != kDone) worst = outcome;
  };
  for_parts(parts, run);
  return worst;
}

// Lists the slots whose blocks this frame has not seen, the longest unseen first.
void find_victims(AmgsrnWorkingSet& set) {
  set.next_victim = set.victim_count = 0;
  for (int64_t slot = 0; slot < set.filled; ++slot)
    if (set.frames[slot] < set.frame) set.victims[set.victim_count++] = static_cast<int32_t>(slot);
  std::sort(set.victims, set.victims + set.victim_count, [&](int32_t a, int32_t b) {
    return set.frames[a] != set.frames[b] ? set.frames[a] < set.frames[b] : a < b;
  });
}

}  // namespace
}  // namespace amgsrn

using namespace amgsrn;

extern "C" {

// Raised whenever a struct or a function below changes its meaning.
AMGSRN_API int amgsrn_abi() { return 10; }

// Where the fields of the structs lie; see layout.h. The text stays.
AMGSRN_API const char* amgsrn_layout() {
  static const std::string text = layout();
  return text.c_str();
}

// Name of the number-th instruction set that works here, fastest first; null beyond the last.
AMGSRN_API const char* amgsrn_isa(int number) {
  if (number < 0 || number >= kMostIsas) return nullptr;
  const Kernels* k = available()[number];
  return k ? k->name : nullptr;
}

AMGSRN_API const char* amgsrn_current_isa() { return kernels().name; }

// Whether networks may be `fast` with the instruction set in use.
AMGSRN_API int amgsrn_has_fast() { return kernels().has_fast; }

// Uses an instruction set from now on; null returns to the fastest. 0 unless it does not work here.
AMGSRN_API int amgsrn_use_isa(const char* name) {
  if (!name) {
    chosen.store(nullptr);
    return 0;
  }
  for (const Kernels* const* k = available(); *k; ++k) {
    if (std::strcmp((*k)->name, name) == 0) {
      chosen.store(*k);
      return 0;
    }
  }
  return 1;
}

// Normalised values [count][outputs] at local points [count][3].
AMGSRN_API int amgsrn_evaluate(const AmgsrnNetwork* network, const float* points, int64_t count,
                               float* values, int threads) {
  const Kernels& k = kernels();
  const int64_t work = tiles(count);
  const int parts = useful_parts(threads, work / 2);
  const size_t scratch_size = round_up(k.scratch_size(*network, most_shared(work, parts)));
  Memory decoder = zeros(sizeof(float) * static_cast<size_t>(k.decoder_size(*network)));
  Memory scratch = allocate(scratch_size * static_cast<size_t>(parts));
  if (!decoder || !scratch) return kOutOfMemory;
  float* packed = static_cast<float*>(decoder.get());
  k.pack_decoder(*network, packed);
  auto run = [&](int part) {
    k.evaluate(*network, packed, points, count, share(work, part, parts),
               share(work, part + 1, parts), values,
               static_cast<char*>(scratch.get()) + static_cast<size_t>(part) * scratch_size);
  };
  for_parts(parts, run);
  return 0;
}

// The same, and the values' gradients [count][outputs][3] by the local points.
AMGSRN_API int amgsrn_evaluate_gradient(const AmgsrnNetwork* network, const float* points,
                                        int64_t count, float* values, float* gradients,
                                        int threads) {
  const Kernels& k = kernels();
  const int64_t work = tiles(count);
  const int parts = useful_parts(threads, work / 2);
  const size_t scratch_size =
      round_up(k.gradient_scratch_size(*network, most_shared(work, parts)));
  Memory decoder = zeros(sizeof(float) * static_cast<size_t>(k.decoder_size(*network)));
  Memory scratch = allocate(scratch_size * static_cast<size_t>(parts));
  if (!decoder || !scratch) return kOutOfMemory;
  float* packed = static_cast<float*>(decoder.get());
  k.pack_decoder(*network, packed);
  auto run = [&](int part) {
    k.evaluate_gradient(*network, packed, points, count, share(work, part, parts),
                        share(work, part + 1, parts), values, gradients,
                        static_cast<char*>(scratch.get()) + static_cast<size_t>(part) * scratch_size);
  };
  for_parts(parts, run);
  return 0;
}

// Floats of a network's decoder as marching needs it.
AMGSRN_API int64_t amgsrn_decoder_size(const AmgsrnNetwork* network) {
  return kernels().decoder_size(*network);
}

// Fills them; they must be zeros.
AMGSRN_API int amgsrn_pack_decoder(const AmgsrnNetwork* network, float* zeros) {
  kernels().pack_decoder(*network, zeros);
  return 0;
}

// Between which distances [tiles down][tiles across][2] something may be seen in the tiles of a view;
// the near one is the larger where nothing is.
AMGSRN_API int amgsrn_cover(const AmgsrnView* view, const AmgsrnBoxes* boxes, float* tiles) {
  Cover(*view, *boxes, tiles).fill();
  return 0;
}

// Colours of a view's pixels, multiplied with the opacity; returns an Outcome. Without a list of
// pixels they are those of the view's rows, `count` of them. They are written to zeros: rgba
// [count][4], or, with is_picture, to their places in rgba [height * width][4]. Each
// pixel's result depends on nothing but its ray. Where bricks overlap, each has the weight
// r / (sum of all r): r is the product over the six sides of s(clamp(distance * slope + 1/2, 0, 1)),
// with the distance from the side's end, inwards, in index space, and s(t) = t^2 (3 - 2 t). The
// samples that were evaluated are added to `samples`.
AMGSRN_API int amgsrn_march(const AmgsrnVolume* volume, const AmgsrnAppearance* appearance,
                            const AmgsrnView* view, const int64_t* pixels, int64_t count,
                            float* rgba, int is_picture, int64_t* samples, int threads) {
  const Kernels& k = kernels();
  std::atomic<int64_t> taken{0};
  const Pixels wanted = {*view, pixels, count, rgba, is_picture != 0, taken};
  const int outcome = in_stretches(wanted.stretches(), threads, k.march_scratch_size(*volume), [&](auto&&... a) {
    return k.march(*volume, *appearance, wanted, a...);
  });
  *samples += taken;
  return outcome;
}

// The same through decoded blocks; returns kFull where the frame needs more than there is room for.
AMGSRN_API int amgsrn_march_blocks(const AmgsrnVolume* volume, const AmgsrnAppearance* appearance,
                                   const AmgsrnView* view, AmgsrnWorkingSet* set,
                                   const int64_t* pixels, int64_t count, float* rgba,
                                   int is_picture, int threads) {
  const Kernels& k = kernels();
  std::atomic<int64_t> taken{0};
  const float edge = static_cast<float>(set->cell_edge);
  const BlockPixels wanted = {{*view, pixels, count, rgba, is_picture != 0, taken}, *set, edge, 1.0f / edge,
                              find_victims};
  const int outcome = in_stretches(wanted.stretches(), threads, k.block_scratch_size(*volume), [&](auto&&... a) {
    return k.march_blocks(*volume, *appearance, wanted, a...);
  });
  set->samples += taken;
  return outcome;
}

// Normalised values of several networks of as many outputs each, whose points lie one after the other:
// those of network i begin at starts[i] and end at starts[i + 1].
AMGSRN_API int amgsrn_evaluate_many(const AmgsrnNetwork* networks, const int64_t* starts,
                                    int64_t count, const float* points, float* values,
                                    int threads) {
  const Kernels& k = kernels();
  const int parts = useful_parts(threads, (starts[count] - starts[0]) / (4 * kTilePoints));
  size_t decoder_size = 0, scratch_size = 0;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t work = tiles(starts[i + 1] - starts[i]);
    const size_t bytes = sizeof(float) * static_cast<size_t>(k.decoder_size(networks[i]));
    decoder_size = std::max(decoder_size, round_up(bytes));
    scratch_size = std::max(scratch_size, round_up(k.scratch_size(networks[i], work)));
  }
  const size_t size = decoder_size + scratch_size;
  Memory memory = allocate(size * static_cast<size_t>(parts));
  if (!memory) return kOutOfMemory;
  auto run = [&](int part) {
    char* mine = static_cast<char*>(memory.get()) + static_cast<size_t>(part) * size;
    float* packed = reinterpret_cast<float*>(mine);
    // Each network is one part's: the one that its first point falls to.
    const int64_t total = starts[count] - starts[0];
    const int64_t low = starts[0] + share(total, part, parts);
    const int64_t high = starts[0] + share(total, part + 1, parts);
    const int64_t* i = std::lower_bound(starts, starts + count, low);
    for (; i < starts + count && *i < high; ++i) {
      const int64_t points_of = i[1] - i[0];
      if (points_of == 0) continue;
      const AmgsrnNetwork& network = networks[i - starts];
      std::memset(packed, 0, sizeof(float) * static_cast<size_t>(k.decoder_size(network)));
      k.pack_decoder(network, packed);
      k.evaluate(network, packed, points + 3 * i[0], points_of, 0, tiles(points_of),
                 values + network.outputs * i[0], mine + decoder_size);
    }
  };
  for_parts(parts, run);
  return 0;
}

// Draws a batch: local points [batch][3] and targets [batch][components] from uniform numbers
// [batch][4] in [0, 1).
AMGSRN_API int amgsrn_draw(const AmgsrnData* data, const float* uniform, int64_t batch,
                           float* points, float* targets, int threads) {
  const Kernels& k = kernels();
  const int parts = useful_parts(threads, batch / 1024);
  auto run = [&](int part) {
    k.draw(*data, uniform, batch, share(batch, part, parts), share(batch, part + 1, parts), points,
           targets);
  };
  for_parts(parts, run);
  return 0;
}

// Draws a batch from blocks of cells.
AMGSRN_API int amgsrn_draw_blocks(const AmgsrnData* data, const AmgsrnBlocks* blocks,
                                  const AmgsrnDraws* draws, int threads) {
  const Kernels& k = kernels();
  const int parts = useful_parts(threads, draws->count / 1024);
  auto run = [&](int part) {
    k.draw_blocks(*data, *blocks, *draws, share(draws->count, part, parts),
                  share(draws->count, part + 1, parts));
  };
  for_parts(parts, run);
  return 0;
}

// Gradients of the mean squared error over a batch. The result depends on `parts`, not on how
// many threads there are.
AMGSRN_API int amgsrn_train(const AmgsrnNetwork* network, const float* points,
                            const float* targets, int64_t count, AmgsrnGradients* gradients,
                            int parts) {
  const Kernels& k = kernels();
  const int64_t work = tiles(count);
  const size_t scratch_size = round_up(k.scratch_size(*network, most_shared(work, parts)));
  const size_t gradient_size = round_up(sizeof(float) * static_cast<size_t>(k.gradient_size(*network)));
  const size_t maps = static_cast<size_t>(12 * network->grids);
  const size_t map_size = round_up(sizeof(double) * maps);
  const size_t count_parts = static_cast<size_t>(parts);
  Memory decoder = zeros(sizeof(float) * static_cast<size_t>(k.decoder_size(*network)));
  Memory scratch = allocate(count_parts * (scratch_size + gradient_size + map_size));
  std::unique_ptr<TrainingPart[]> all(new (std::nothrow) TrainingPart[count_parts]);
  if (!decoder || !scratch || !all) return kOutOfMemory;
  float* packed = static_cast<float*>(decoder.get());
  k.pack_decoder(*network, packed);
  char* memory = static_cast<char*>(scratch.get());
  auto run = [&](int number) {
    char* mine = memory + static_cast<size_t>(number) * (scratch_size + gradient_size + map_size);
    std::memset(mine + scratch_size, 0, gradient_size + map_size);
    TrainingPart& part = all[static_cast<size_t>(number)];
    part.points = points;
    part.targets = targets;
    part.count = count;
    part.first = share(work, number, parts);
    part.last = share(work, number + 1, parts);
    part.nodes = gradients->nodes + number * gradients->part_stride;
    part.weights = reinterpret_cast<float*>(mine + scratch_size);
    part.transforms = gradients->transforms
                          ? reinterpret_cast<double*>(mine + scratch_size + gradient_size)
                          : nullptr;
    part.errors = gradients->errors;
    part.counts = gradients->weights_of_points;
    k.train(*network, packed, part, mine);
  };
  for_parts(parts, run);

  double loss = 0.0;
  for (int64_t layer = 0; layer <= network->hidden_layers; ++layer) {
    const int64_t inputs = layer ? network->hidden_width : network->grids * network->features;
    const int64_t rows =
        layer < network->hidden_layers ? network->hidden_width : network->outputs;
    std::memset(gradients->weights[layer], 0, sizeof(float) * static_cast<size_t>(rows * inputs));
  }
  for (size_t number = 0; number < count_parts; ++number) {
    loss += all[number].loss;
    k.unpack_gradient(*network, all[number].weights, gradients->weights);
  }
  gradients->loss = loss / static_cast<double>(count);
  if (gradients->transforms) {
    // A local coordinate spans half of the nodes' distances.
    const int64_t sizes[3] = {network->width, network->height, network->depth};
    for (size_t i = 0; i < maps; ++i) {
      double total = 0.0;
      for (size_t number = 0; number < count_parts; ++number)
        total += all[number].transforms[i];
      const double half = 0.5 * static_cast<double>(sizes[i / 4 % 3] - 1);
      gradients->transforms[i] = static_cast<float>(total * half);
    }
  }
  return 0;
}

// Gradient [grids][3][4] of the density loss by the maps, from a batch's squared errors [count] and
// their mean. The result depends on `parts`, not on how many threads there are.
AMGSRN_API int amgsrn_density(const AmgsrnNetwork* network, const float* points,
                              const float* errors, int64_t count, double mean_error,
                              float* gradient, int parts) {
  const Kernels& k = kernels();
  const int64_t work = tiles(count);
  const size_t maps = static_cast<size_t>(12 * network->grids);
  const size_t count_parts = static_cast<size_t>(parts);
  Memory values = zeros(2 * sizeof(float) * static_cast<size_t>(count));
  Memory sums = zeros(count_parts * sizeof(double) * maps);
  std::unique_ptr<DensityPart[]> all(new (std::nothrow) DensityPart[count_parts]);
  if (!values || !sums || !all) return kOutOfMemory;
  DensityPart whole = {};
  whole.points = points, whole.errors = errors, whole.count = count;
  whole.mean_error = mean_error;
  whole.density = static_cast<float*>(values.get());
  whole.target = whole.density + count;
  double* gradients = static_cast<double*>(sums.get());
  // Runs one pass and returns the parts' sums.
  auto pass = [&](void (*kernel)(const AmgsrnNetwork&, DensityPart&)) {
    auto run = [&](int number) {
      DensityPart& part = all[static_cast<size_t>(number)];
      part = whole;
      part.first = share(work, number, parts);
      part.last = share(work, number + 1, parts);
      part.gradients = gradients + maps * static_cast<size_t>(number);
      kernel(*network, part);
    };
    for_parts(parts, run);
    double total = 0.0;
    for (size_t number = 0; number < count_parts; ++number) total += all[number].sum;
    return total;
  };
  whole.total_density = pass(k.density);
  whole.total_target = pass(k.density_target);
  pass(k.density_back);
  for (size_t i = 0; i < maps; ++i) {
    double total = 0.0;
    for (size_t number = 0; number < count_parts; ++number) total += gradients[number * maps + i];
    gradient[i] = static_cast<float>(total);
  }
  return 0;
}

// As many rounds of multiplications and additions in each thread as asked for; sets how many
// numbers were multiplied and added.
AMGSRN_API int amgsrn_multiply_add(int64_t rounds, int fast, int threads, double* done) {
  const Kernels& k = kernels();
  std::unique_ptr<double[]> each(new (std::nothrow) double[static_cast<size_t>(threads)]);
  if (!each) return kOutOfMemory;
  auto run = [&](int part) { each[static_cast<size_t>(part)] = k.multiply_add(rounds, fast != 0); };
  for_parts(threads, run);
  *done = 0.0;
  for (int part = 0; part < threads; ++part) *done += each[static_cast<size_t>(part)];
  return 0;
}

// One step of Adam on the nodes with the gradients of `parts` parts, which are cleared.
AMGSRN_API int amgsrn_adam(const AmgsrnNetwork* network, const AmgsrnAdam* adam, int parts) {
  const Kernels& k = kernels();
  const int64_t rows = network->grids * network->depth * network->height;
  const int threads = useful_parts(parts, rows / 16);
  auto run = [&](int part) {
    k.adam(*network, *adam, parts, share(rows, part, threads), share(rows, part + 1, threads));
  };
  for_parts(threads, run);
  return 0;
}
}
