// The matrix product that serves the decoder forwards and backwards, blocked for the registers.
#pragma once

#include "vector.h"

namespace {

// Widths of all matrices are padded to this, which every vector width divides.
constexpr int64_t kPadding = 16;

AMGSRN_INLINE int64_t padded(int64_t width) { return (width + kPadding - 1) / kPadding * kPadding; }

// A matrix whose elements are read one by one: element (row, k) is data[row * rows + k * depths].
struct Strided {
  const float* data;
  int64_t rows, depths;
};

// finish(row, column, sum over k of a(row, k) * b[k][column ...]) for a block of the result.
template <int Rows, int Vectors, class Finish>
AMGSRN_INLINE void product_block(Strided a, const float* b, int64_t b_width, int64_t depth,
                                 int64_t row, int64_t column, Finish& finish) {
  Vector sums[Rows][Vectors] = {};
  const float* left = a.data + row * a.rows;
  const float* right = b + column;
  for (int64_t k = 0; k < depth; ++k) {
    Vector across[Vectors];
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) across[v] = load(right + v * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      const float factor = left[r * a.rows];
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) sums[r][v] += factor * across[v];
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

template <int Rows, int Vectors, class Finish>
AMGSRN_INLINE void product_panel(Strided a, const float* b, int64_t b_width, int64_t depth,
                                 int64_t rows, int64_t column, Finish& finish) {
  int64_t row = 0;
  for (; row + Rows <= rows; row += Rows)
    product_block<Rows, Vectors>(a, b, b_width, depth, row, column, finish);
  if (Rows % 4 != 0) {
    for (; row + 4 <= rows; row += 4)
      product_block<4, Vectors>(a, b, b_width, depth, row, column, finish);
    for (; row + 2 <= rows; row += 2)
      product_block<2, Vectors>(a, b, b_width, depth, row, column, finish);
  }
}

// The product a [rows, depth] times b [depth, b_width]: rows and b_width are multiples of 16.
template <class Finish>
AMGSRN_INLINE void product(Strided a, const float* b, int64_t b_width, int64_t depth, int64_t rows,
                           Finish finish) {
  int64_t column = 0;
#if AMGSRN_LANES == 16
  for (; column + 64 <= b_width; column += 64)
    product_panel<4, 4>(a, b, b_width, depth, rows, column, finish);
  for (; column + 32 <= b_width; column += 32)
    product_panel<8, 2>(a, b, b_width, depth, rows, column, finish);
  for (; column < b_width; column += 16)
    product_panel<8, 1>(a, b, b_width, depth, rows, column, finish);
#elif defined(__aarch64__)
  for (; column < b_width; column += 4 * kLanes)
    product_panel<4, 4>(a, b, b_width, depth, rows, column, finish);
#else
  for (; column < b_width; column += 2 * kLanes)
    product_panel<6, 2>(a, b, b_width, depth, rows, column, finish);
#endif
}

}  // namespace
