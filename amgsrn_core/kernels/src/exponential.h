// exp and log of vectors to about float32's accuracy.
#pragma once

#include "vector.h"

namespace {

constexpr int32_t kOneExponent = 1 << 23;  // the lowest bit of a float's exponent

AMGSRN_INLINE Integers bits_of(Vector x) {
  Integers bits;
  std::memcpy(&bits, &x, sizeof(bits));
  return bits;
}

AMGSRN_INLINE Vector of_bits(Integers bits) {
  Vector x;
  std::memcpy(&x, &bits, sizeof(x));
  return x;
}

// exp(x) = 2^n exp(r) with |r| <= log(2) / 2, by its Taylor series; 0 where it is no normal number,
// exp(88) above 88. NaN stays.
AMGSRN_INLINE Vector exponential(Vector x) {
  const Vector zero = {};
  const Vector limited = clamp(x, -88.0f, 88.0f);
  // Adding and taking away 1.5 * 2^23 rounds to the nearest whole number.
  const Vector n = (limited * 1.44269504f + 12582912.0f) - 12582912.0f;
  // log(2) in two pieces, the first of few bits: its product with n is exact.
  const Vector r = (limited - n * 0.693359375f) + n * 2.12194440e-4f;
  Vector series = 1.0f / 5040.0f - zero;
  series = series * r + 1.0f / 720.0f;
  series = series * r + 1.0f / 120.0f;
  series = series * r + 1.0f / 24.0f;
  series = series * r + 1.0f / 6.0f;
  series = series * r + 0.5f;
  series = series * r + 1.0f;
  series = series * r + 1.0f;
  const Vector power = of_bits((__builtin_convertvector(n, Integers) + 127) * kOneExponent);
  return x > -87.3f ? series * power : (x == x ? zero : x);
}

// log(x) of normal numbers: x = 2^n m with m around 1, and log(m) = 2 artanh((m - 1) / (m + 1)).
// NaN where there is none.
AMGSRN_INLINE Vector logarithm(Vector x) {
  const Vector zero = {};
  const Vector one = 1.0f - zero;
  const Integers bits = bits_of(x > zero ? x : one);
  // The bits of sqrt(1/2): m lies between that and sqrt(2).
  const Integers n = (bits - 0x3f3504f3) >> 23;
  const Vector m = of_bits(bits - n * kOneExponent);
  const Vector f = (m - 1.0f) / (m + 1.0f), f2 = f * f;
  Vector series = f2 * (2.0f / 9.0f) + 2.0f / 7.0f;
  series = series * f2 + 2.0f / 5.0f;
  series = series * f2 + 2.0f / 3.0f;
  series = series * f2 + 2.0f;
  const Vector result = __builtin_convertvector(n, Vector) * 0.693147181f + series * f;
  return x > zero ? result : __builtin_nanf("") - zero;
}

}  // namespace
