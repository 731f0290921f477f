// Pairs of bfloat16 numbers as operands of products that are summed in float32: two neighbours of
// a row, or of a column, in one 32-bit element. Only builds that have the instructions use them;
// a test build defines AMGSRN_BF16_EMULATED and rounds likewise by other means.
#pragma once

#include "vector.h"

#if defined(__AVX512BF16__) || defined(AMGSRN_BF16_EMULATED)
#define AMGSRN_PAIRS 1
#endif

#if defined(AMGSRN_PAIRS)
#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

namespace {

typedef int32_t Pair __attribute__((may_alias));  // the first number in the lower half

AMGSRN_INLINE Integers load_pairs(const Pair* from) {
  return *reinterpret_cast<const IntegersInMemory*>(from);
}

#if defined(__AVX512BF16__)

// sum[i] + left.first * right[i].first + left.second * right[i].second
AMGSRN_INLINE Vector dot(Vector sum, int32_t left, Integers right) {
  return (Vector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32(left),
                                  (__m512bh)right);
}

AMGSRN_INLINE Integers pairs_of(Vector first, Vector second) {
  const __m512i order = (__m512i)(Integers{} + 0x00100000 + 0x00010001 *
      Integers{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15});
  const __m512i halves = (__m512i)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
  return (Integers)_mm512_permutexvar_epi16(order, halves);
}

// Rounds `count` numbers, a multiple of 16, to `count` / 2 pairs of neighbours.
AMGSRN_INLINE void round_row(const float* from, int64_t count, Pair* to) {
  for (int64_t i = 0; i < count; i += 16)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i / 2),
                        (__m256i)_mm512_cvtneps_pbh((__m512)load(from + i)));
}

#else

typedef uint32_t Words __attribute__((vector_size(4 * kLanes)));

constexpr uint32_t kUpperHalf = 0xffff0000u;

AMGSRN_INLINE Vector as_floats(Words bits) {
  Vector x;
  std::memcpy(&x, &bits, sizeof(x));
  return x;
}

// The nearest bfloat16 numbers, ties to even, as the upper halves of float32 numbers.
AMGSRN_INLINE Words rounded(Vector x) {
  Words bits;
  std::memcpy(&bits, &x, sizeof(bits));
  const Words nearest = bits + 0x7fff + ((bits >> 16) & 1);
  return (x == x ? nearest : bits | 0x00400000) & kUpperHalf;
}

AMGSRN_INLINE Vector dot(Vector sum, int32_t left, Integers right) {
  const Words a = static_cast<uint32_t>(left) - Words{}, b = (Words)right;
  sum += as_floats(a & kUpperHalf) * as_floats(b & kUpperHalf);
  return sum + as_floats(a << 16) * as_floats(b << 16);
}

AMGSRN_INLINE Integers pairs_of(Vector first, Vector second) {
  return (Integers)(rounded(second) | (rounded(first) >> 16));
}

AMGSRN_INLINE void round_row(const float* from, int64_t count, Pair* to) {
  for (int64_t i = 0; i < count; i += kLanes) {
    const Words bits = rounded(load(from + i));
    for (int lane = 0; lane < kLanes; lane += 2)
      to[(i + lane) / 2] = static_cast<int32_t>(bits[lane + 1] | (bits[lane] >> 16));
  }
}

#endif

// Rounds a matrix [rows][columns] to pairs [rows / 2][columns] of numbers one above the other; they
// may take the matrix's place.
AMGSRN_APART void pair_rows(const float* from, int64_t rows, int64_t columns, Pair* to) {
  for (int64_t row = 0; row < rows; row += 2, from += 2 * columns, to += columns)
    for (int64_t i = 0; i < columns; i += kLanes)
      *reinterpret_cast<IntegersInMemory*>(to + i) =
          pairs_of(load(from + i), load(from + columns + i));
}

}  // namespace
#endif
