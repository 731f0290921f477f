"""Random numbers that are a hash of seed, number and place: the same on every device.

PyTorch's generators differ from device to device and are seeded by the host, which a CUDA graph
cannot repeat. This is SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
Generators", OOPSLA 2014) in whole numbers of 64 bits, which wrap around. A seed is where its
sequence of 2^64 starts; each batch has 2^33 of them for itself.
"""

from __future__ import annotations

import torch
from torch import Tensor

_GOLDEN, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_BATCH = 1 << 33
# A float32 has so many bits: half a number of 64 bits makes one of [0, 1).
FLOAT_BITS = 24


class HashedNumbers:
    """Draws batches of random numbers on a device; the host says nothing but which batch.

    Parameters
    ----------
    seed : int
    count : int
        Points of a batch; there are four numbers for each.
    device : torch.device
    """

    def __init__(self, seed: int, count: int, device: torch.device) -> None:
        self._start = _scrambled(torch.tensor(seed, device=device) * _signed(_GOLDEN))
        self._batch = _signed(_BATCH * _GOLDEN % (1 << 64))
        places = torch.arange(1, 2 * count + 1, device=device)
        self._steps = (places * _signed(_GOLDEN)).view(count, 2)

    def start_of(self, number: int) -> int:
        """Return where the sequence of a batch starts, as a number without a sign."""
        return (number * self._batch + int(self._start)) % (1 << 64)

    def batch(self, number: Tensor) -> Tensor:
        """Return float32 [count, 4] in [0, 1) for a batch's number, int64 [] on the device."""
        hashed = _scrambled(number * self._batch + self._start + self._steps)
        halves = torch.stack([hashed >> (64 - FLOAT_BITS), hashed >> 8], 2)
        whole = halves & ((1 << FLOAT_BITS) - 1)
        return whole.view(-1, 4).to(torch.float32) * 2.0**-FLOAT_BITS


def _scrambled(value: Tensor) -> Tensor:
    """Return SplitMix64's hash of int64 numbers, whose bits count as those without a sign."""
    value = (value ^ _shifted(value, 30)) * _signed(_FIRST)
    value = (value ^ _shifted(value, 27)) * _signed(_SECOND)
    return value ^ _shifted(value, 31)


def _shifted(value: Tensor, by: int) -> Tensor:
    """Shift to the right and fill with zeros: PyTorch repeats the sign."""
    return value >> by & (1 << 64 - by) - 1


def _signed(value: int) -> int:
    """Return the int64 that has the bits of a number without a sign."""
    return value - (1 << 64) if value >= 1 << 63 else value
