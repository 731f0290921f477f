// Multiplications and additions as fast as the processor does them: what the decoder's products
// are measured against.
#pragma once

#include "product.h"

namespace {

// Enough independent sums to hide the latency of one operation, few enough for the registers.
constexpr int kPeakSums = 12;

// Returns how many numbers were multiplied and added to another.
template <class Next>
AMGSRN_INLINE double repeat(int64_t rounds, int64_t numbers, Next next) {
  // The compiler must not know that they are equal, or it computes a single one of them.
  volatile float start = 0.0f;
  Vector sums[kPeakSums];
  for (int i = 0; i < kPeakSums; ++i) sums[i] = start - Vector{};
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < kPeakSums; ++i) sums[i] = next(sums[i]);
  }
  float total = 0.0f;
  for (int i = 0; i < kPeakSums; ++i) total += sum(sums[i]);
  // Its value decides nothing, but the compiler must not know.
  volatile float used = total;
  (void)used;
  return static_cast<double>(rounds) * kPeakSums * static_cast<double>(numbers);
}

double multiply_add(int64_t rounds, bool fast) {
  volatile float unknown = 0.5f;
  const Vector a = unknown - Vector{}, b = unknown - Vector{};
#if defined(AMGSRN_PAIRS)
  if (fast) {
    const Integers pairs = pairs_of(a, b);
    const int32_t pair = pairs[0];
    return repeat(rounds, 2 * kLanes, [=](Vector x) { return dot(x, pair, pairs); });
  }
#endif
  (void)fast;
  return repeat(rounds, kLanes, [=](Vector x) { return x * a + b; });
}

}  // namespace
