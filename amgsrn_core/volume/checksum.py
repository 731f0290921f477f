"""Checksums of data that are read in parts, as if they had been read as a whole."""

from __future__ import annotations

# CRC-32's polynomial with the coefficient of x^0 in the highest bit, as zlib has it.
_POLYNOMIAL = 0xEDB88320
_ONE, _BYTE = 1 << 31, 1 << 23


def joined(first: int, second: int, length: int) -> int:
    """Return zlib's CRC-32 of two parts from their own, the second of so many bytes.

    What follows multiplies the first part's remainder by x^8 for each byte, modulo the polynomial.
    """
    power = _BYTE
    while length:
        if length & 1:
            first = _product(first, power)
        power = _product(power, power)
        length >>= 1
    return first ^ second


def _product(a: int, b: int) -> int:
    """Return the product of two polynomials over GF(2), modulo CRC-32's."""
    result = 0
    bit = _ONE
    while bit:
        if a & bit:
            result ^= b
        b = (b >> 1) ^ (_POLYNOMIAL if b & 1 else 0)
        bit >>= 1
    return result
