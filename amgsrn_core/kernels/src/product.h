// The matrix product that serves the decoder forwards and backwards, blocked for the registers.
#pragma once

#include "pairs.h"
#include "vector.h"

namespace {

// Widths of all matrices are padded to this, which every vector width divides.
constexpr int64_t kPadding = 16;

AMGSRN_INLINE int64_t padded(int64_t width) { return (width + kPadding - 1) / kPadding * kPadding; }

// What the matrices consist of: float32 numbers,
struct Floats {
  typedef float Element;
  static AMGSRN_INLINE Vector load_columns(const float* from) { return load(from); }
  static AMGSRN_INLINE Vector add(Vector sum, float a, Vector b) { return sum + a * b; }
};

#if defined(AMGSRN_PAIRS)
// or pairs of bfloat16 numbers, neighbours along the depth.
struct Pairs {
  typedef Pair Element;
  static AMGSRN_INLINE Integers load_columns(const Pair* from) { return load_pairs(from); }
  static AMGSRN_INLINE Vector add(Vector sum, int32_t a, Integers b) { return dot(sum, a, b); }
};
#endif

// A matrix whose elements are read one by one: element (row, k) is data[row * rows + k * depths].
template <class Element>
struct Strided {
  const Element* data;
  int64_t rows, depths;
};

// finish(row, column, sum over k of a(row, k) * b[k][column ...]) for a block of the result.
template <class Numbers, int Rows, int Vectors, class Finish>
AMGSRN_INLINE void product_block(Strided<typename Numbers::Element> a,
                                 const typename Numbers::Element* b, int64_t b_width,
                                 int64_t depth, int64_t row, int64_t column, Finish& finish) {
  Vector sums[Rows][Vectors] = {};
  const auto* left = a.data + row * a.rows;
  const auto* right = b + column;
  for (int64_t k = 0; k < depth; ++k) {
    decltype(Numbers::load_columns(right)) across[Vectors];
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) across[v] = Numbers::load_columns(right + v * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      const typename Numbers::Element factor = left[r * a.rows];
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) sums[r][v] = Numbers::add(sums[r][v], factor, across[v]);
    }
    left += a.depths;
    right += b_width;
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) finish(row + r, column + v * kLanes, sums[r][v]);
  }
}

template <class Numbers, int Rows, int Vectors, class Finish>
AMGSRN_INLINE void product_panel(Strided<typename Numbers::Element> a,
                                 const typename Numbers::Element* b, int64_t b_width,
                                 int64_t depth, int64_t rows, int64_t column, Finish& finish) {
  int64_t row = 0;
  for (; row + Rows <= rows; row += Rows)
    product_block<Numbers, Rows, Vectors>(a, b, b_width, depth, row, column, finish);
  if (Rows % 4 != 0) {
    for (; row + 4 <= rows; row += 4)
      product_block<Numbers, 4, Vectors>(a, b, b_width, depth, row, column, finish);
    for (; row + 2 <= rows; row += 2)
      product_block<Numbers, 2, Vectors>(a, b, b_width, depth, row, column, finish);
  }
}

// The product a [rows, depth] times b [depth, b_width]: rows and b_width are multiples of 16.
template <class Numbers, class Finish>
AMGSRN_INLINE void product(Strided<typename Numbers::Element> a,
                           const typename Numbers::Element* b, int64_t b_width, int64_t depth,
                           int64_t rows, Finish finish) {
  int64_t column = 0;
#if AMGSRN_LANES == 16
  for (; column + 64 <= b_width; column += 64)
    product_panel<Numbers, 4, 4>(a, b, b_width, depth, rows, column, finish);
  for (; column + 32 <= b_width; column += 32)
    product_panel<Numbers, 8, 2>(a, b, b_width, depth, rows, column, finish);
  for (; column < b_width; column += 16)
    product_panel<Numbers, 8, 1>(a, b, b_width, depth, rows, column, finish);
#elif defined(__aarch64__)
  for (; column < b_width; column += 4 * kLanes)
    product_panel<Numbers, 4, 4>(a, b, b_width, depth, rows, column, finish);
#else
  for (; column < b_width; column += 2 * kLanes)
    product_panel<Numbers, 6, 2>(a, b, b_width, depth, rows, column, finish);
#endif
}

}  // namespace
