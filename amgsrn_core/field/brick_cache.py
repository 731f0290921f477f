"""Bricks that are loaded when they are needed, and let go of when they take too much memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class BrickCache(Generic[T]):
    """The bricks of one model by their numbers; safe to use from several threads.

    Iterating goes through all of them in turn, loading what is not in memory.

    Parameters
    ----------
    count : int
        How many bricks there are.
    load : callable
        Returns a brick from its number; only one call at a time is made.
    size : callable
        Returns the bytes that a brick takes.
    limit : int
        Bytes that the bricks in memory may take together; the least recently used go first. The
        last one that was asked for stays, however large it is.
    """

    def __init__(
        self, count: int, load: Callable[[int], T], size: Callable[[T], int], limit: int
    ) -> None:
        self._count, self._load, self._size, self._limit = count, load, size, limit
        self._held: OrderedDict[int, tuple[T, int]] = OrderedDict()
        self._lock = threading.RLock()
        self.bytes = 0

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> T:
        if not 0 <= number < self._count:
            raise IndexError(number)
        with self._lock:
            if number in self._held:
                self._held.move_to_end(number)
                return self._held[number][0]
            brick = self._load(number)
            size = self._size(brick)
            self._held[number] = brick, size
            self.bytes += size
            while self.bytes > self._limit and len(self._held) > 1:
                self.bytes -= self._held.popitem(last=False)[1][1]
            return brick

    def __iter__(self) -> Iterator[T]:
        return (self[number] for number in range(self._count))

    def part(self, numbers: range) -> CachePart[T]:
        """Return consecutive bricks as a cache of their own that shares this one's memory."""
        return CachePart(self, numbers)

    @property
    def held(self) -> tuple[int, ...]:
        """Numbers of the bricks in memory, the least recently used first."""
        with self._lock:
            return tuple(self._held)


class CachePart(Generic[T]):
    """Consecutive bricks of a cache, counted from 0; see :meth:`BrickCache.part`."""

    def __init__(self, cache: BrickCache[T], numbers: range) -> None:
        self._cache, self._numbers = cache, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, number: int) -> T:
        return self._cache[self._numbers[number]]

    def __iter__(self) -> Iterator[T]:
        return (self._cache[number] for number in self._numbers)
