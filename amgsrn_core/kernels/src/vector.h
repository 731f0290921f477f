// Vectors of the target's width, by the vector extensions of GCC and Clang.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

#define AMGSRN_INLINE inline __attribute__((always_inline))
// A function of its own, whose loops then have all registers to themselves.
#define AMGSRN_APART __attribute__((noinline))

#if defined(AMGSRN_LANES)
// Set by a test build: any width compiles for any target.
#elif defined(__AVX512F__)
#define AMGSRN_LANES 16
#elif defined(__AVX__)
#define AMGSRN_LANES 8
#else
#define AMGSRN_LANES 4
#endif

namespace {

constexpr int kLanes = AMGSRN_LANES;

typedef float Vector __attribute__((vector_size(4 * kLanes)));
typedef int32_t Integers __attribute__((vector_size(4 * kLanes)));
typedef float Quad __attribute__((vector_size(16)));

// Types of unaligned memory.
typedef float VectorInMemory __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
typedef int32_t IntegersInMemory __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
typedef float QuadInMemory __attribute__((vector_size(16), aligned(4), may_alias));

template <class V>
struct InMemory;
template <>
struct InMemory<Vector> {
  using Type = VectorInMemory;
};
template <>
struct InMemory<float> {
  using Type = float;
};
#if AMGSRN_LANES != 4
template <>
struct InMemory<Quad> {
  using Type = QuadInMemory;
};
#endif

template <class V = Vector>
AMGSRN_INLINE V load(const float* from) {
  return *reinterpret_cast<const typename InMemory<V>::Type*>(from);
}

template <class V>
AMGSRN_INLINE void store(float* to, V value) {
  *reinterpret_cast<typename InMemory<V>::Type*>(to) = value;
}

AMGSRN_INLINE void store(int32_t* to, Integers value) {
  *reinterpret_cast<IntegersInMemory*>(to) = value;
}

AMGSRN_INLINE Integers load_integers(const int32_t* from) {
  return *reinterpret_cast<const IntegersInMemory*>(from);
}

// A bit for each lane of a comparison that is true.
AMGSRN_INLINE int lane_bits(Integers mask) {
#if AMGSRN_LANES == 8 && defined(__AVX2__)
  return _mm256_movemask_ps(reinterpret_cast<__m256>(mask));
#elif AMGSRN_LANES == 16 && defined(__AVX512DQ__)
  return static_cast<int>(_mm512_movepi32_mask(reinterpret_cast<__m512i>(mask)));
#else
  int bits = 0;
  for (int lane = 0; lane < kLanes; ++lane) bits |= (mask[lane] & 1) << lane;
  return bits;
#endif
}

// Two neighbours of an array for each lane, the first one in the lower half.
AMGSRN_INLINE Integers gather_pairs(const uint16_t* from, Integers at) {
#if AMGSRN_LANES == 8 && defined(__AVX2__)
  const __m256i none = _mm256_setzero_si256();
  return reinterpret_cast<Integers>(
      _mm256_mask_i32gather_epi32(none, reinterpret_cast<const int*>(from),
                                  reinterpret_cast<__m256i>(at), _mm256_cmpeq_epi32(none, none), 2));
#elif AMGSRN_LANES == 16 && defined(__AVX512F__)
  return reinterpret_cast<Integers>(_mm512_mask_i32gather_epi32(
      _mm512_setzero_si512(), 0xffff, reinterpret_cast<__m512i>(at), from, 2));
#else
  Integers pairs = {};
  for (int lane = 0; lane < kLanes; ++lane) {
    const uint16_t* pair = from + at[lane];
    pairs[lane] = static_cast<int32_t>(pair[0] | static_cast<uint32_t>(pair[1]) << 16);
  }
  return pairs;
#endif
}

// An array's numbers for each lane.
AMGSRN_INLINE Integers gather_integers(const int32_t* from, Integers at) {
#if AMGSRN_LANES == 8 && defined(__AVX2__)
  const __m256i none = _mm256_setzero_si256();
  return reinterpret_cast<Integers>(_mm256_mask_i32gather_epi32(
      none, from, reinterpret_cast<__m256i>(at), _mm256_cmpeq_epi32(none, none), 4));
#elif AMGSRN_LANES == 16 && defined(__AVX512F__)
  return reinterpret_cast<Integers>(_mm512_mask_i32gather_epi32(
      _mm512_setzero_si512(), 0xffff, reinterpret_cast<__m512i>(at), from, 4));
#else
  Integers numbers = {};
  for (int lane = 0; lane < kLanes; ++lane) numbers[lane] = from[at[lane]];
  return numbers;
#endif
}

// The same of bytes, behind which three more can be read.
AMGSRN_INLINE Integers gather_bytes(const uint8_t* from, Integers at) {
#if AMGSRN_LANES == 8 && defined(__AVX2__)
  const __m256i none = _mm256_setzero_si256();
  return reinterpret_cast<Integers>(_mm256_mask_i32gather_epi32(
             none, reinterpret_cast<const int*>(from), reinterpret_cast<__m256i>(at),
             _mm256_cmpeq_epi32(none, none), 1)) & 0xff;
#elif AMGSRN_LANES == 16 && defined(__AVX512F__)
  return reinterpret_cast<Integers>(_mm512_mask_i32gather_epi32(
             _mm512_setzero_si512(), 0xffff, reinterpret_cast<__m512i>(at), from, 1)) & 0xff;
#else
  Integers numbers = {};
  for (int lane = 0; lane < kLanes; ++lane) numbers[lane] = from[at[lane]];
  return numbers;
#endif
}

AMGSRN_INLINE float smallest(Vector x) {
  alignas(64) float least[kLanes];
  std::memcpy(least, &x, sizeof x);
  for (int half = kLanes / 2; half; half /= 2)
    for (int i = 0; i < half; ++i) least[i] = least[i + half] < least[i] ? least[i + half] : least[i];
  return least[0];
}

// NaN becomes `low`.
AMGSRN_INLINE Vector clamp(Vector x, float low, float high) {
  const Vector zero = {};
  x = x > low ? x : low - zero;
  return x < high ? x : high - zero;
}

// NaN stays, so that a diverging training is noticed.
AMGSRN_INLINE Vector rectify(Vector x) {
  const Vector zero = {};
  return x < zero ? zero : x;
}

AMGSRN_INLINE float sum(Vector x) {
  float total = 0.0f;
  for (int lane = 0; lane < kLanes; ++lane) total += x[lane];
  return total;
}

AMGSRN_INLINE float sum4(Quad x) { return (x[0] + x[2]) + (x[1] + x[3]); }

#if AMGSRN_LANES == 16
#define AMGSRN_EVENS 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define AMGSRN_ODDS 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#elif AMGSRN_LANES == 8
#define AMGSRN_EVENS 0, 2, 4, 6, 8, 10, 12, 14
#define AMGSRN_ODDS 1, 3, 5, 7, 9, 11, 13, 15
#else
#define AMGSRN_EVENS 0, 2, 4, 6
#define AMGSRN_ODDS 1, 3, 5, 7
#endif
#if defined(__clang__) || __GNUC__ >= 12
#define AMGSRN_SHUFFLE(V, x, y, ...) __builtin_shufflevector(x, y, __VA_ARGS__)
#else
template <class V>
struct Mask;
template <>
struct Mask<Quad> {
  typedef int32_t Type __attribute__((vector_size(16)));
};
#if AMGSRN_LANES != 4
template <>
struct Mask<Vector> {
  using Type = Integers;
};
#endif
#define AMGSRN_SHUFFLE(V, x, y, ...) __builtin_shuffle(x, y, Mask<V>::Type{__VA_ARGS__})
#endif

// The first and the last two numbers of both.
AMGSRN_INLINE Quad lower_halves(Quad x, Quad y) { return AMGSRN_SHUFFLE(Quad, x, y, 0, 1, 4, 5); }
AMGSRN_INLINE Quad upper_halves(Quad x, Quad y) { return AMGSRN_SHUFFLE(Quad, x, y, 2, 3, 6, 7); }

#if AMGSRN_LANES >= 8 && defined(__AVX2__)
// Two quads of two neighbours, such as grids, side by side.
#define AMGSRN_OCTETS 1
typedef float Octet __attribute__((vector_size(32)));

AMGSRN_INLINE Octet load_quads(const float* first, const float* second) {
  return reinterpret_cast<Octet>(_mm256_insertf128_ps(
      _mm256_castps128_ps256(_mm_loadu_ps(first)), _mm_loadu_ps(second), 1));
}

AMGSRN_INLINE Quad lower_quad(Octet x) {
  return reinterpret_cast<Quad>(_mm256_castps256_ps128(reinterpret_cast<__m256>(x)));
}

// The first of two numbers in the first quad, the second in the other.
AMGSRN_INLINE Octet spread(const float* numbers) {
  double both;
  std::memcpy(&both, numbers, sizeof both);
  const __m256 all = _mm256_castpd_ps(_mm256_set1_pd(both));
  return reinterpret_cast<Octet>(
      _mm256_permutevar_ps(all, _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1)));
}

// The last two numbers of each quad twice.
AMGSRN_INLINE Octet upper_halves(Octet x) {
  return reinterpret_cast<Octet>(_mm256_permute_ps(reinterpret_cast<__m256>(x), 0xee));
}

// The first two numbers of both quads, and the last two.
AMGSRN_INLINE Quad lower_halves(Octet x) {
  return lower_quad(reinterpret_cast<Octet>(
      _mm256_permute4x64_pd(reinterpret_cast<__m256d>(x), 0x08)));
}
AMGSRN_INLINE Quad last_halves(Octet x) {
  return lower_quad(reinterpret_cast<Octet>(
      _mm256_permute4x64_pd(reinterpret_cast<__m256d>(x), 0x0d)));
}

// The first two numbers of each quad of both, and the last two.
AMGSRN_INLINE Octet lower_halves(Octet x, Octet y) {
  return reinterpret_cast<Octet>(
      _mm256_unpacklo_pd(reinterpret_cast<__m256d>(x), reinterpret_cast<__m256d>(y)));
}
AMGSRN_INLINE Octet upper_halves(Octet x, Octet y) {
  return reinterpret_cast<Octet>(
      _mm256_unpackhi_pd(reinterpret_cast<__m256d>(x), reinterpret_cast<__m256d>(y)));
}
#endif

// The sums of neighbours, those of x before those of y.
AMGSRN_INLINE Vector pair_sums(Vector x, Vector y) {
  return AMGSRN_SHUFFLE(Vector, x, y, AMGSRN_EVENS) + AMGSRN_SHUFFLE(Vector, x, y, AMGSRN_ODDS);
}

template <class V, class T>
AMGSRN_INLINE V lerp(V a, V b, T t) {
  return a + t * (b - a);
}

}  // namespace
