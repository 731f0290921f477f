"""Streamlines through a velocity field that can be asked anywhere, all seeds at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from amgsrn_core.errors import ConfigurationError
from amgsrn_core.volume.geometry import GridGeometry

Field = Callable[[np.ndarray], np.ndarray]
"""Velocities [N, 3] at world points [N, 3]; NaN where there are none."""

# Why a line ends, as vtkStreamTracer counts them.
OUT_OF_DOMAIN, OUT_OF_LENGTH, OUT_OF_STEPS, STAGNATION = 1, 4, 5, 6

DIRECTIONS = ("forward", "backward", "both")

# J. R. Dormand and P. J. Prince: A family of embedded Runge-Kutta formulae. Journal of
# Computational and Applied Mathematics 6(1), 1980. The last stage is the next step's first.
_STAGES = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)

# How much a step may become shorter or longer at once, and what is kept in reserve.
_SHRINK, _GROW, _SAFETY = 0.2, 5.0, 0.9


@dataclass(frozen=True)
class Steps:
    """How lines are followed.

    Attributes
    ----------
    initial, shortest, longest : float
        Lengths of steps, in cells: of the diagonal of the voxel that a line is in.
    error : float
        Largest error of a step, in cells, unless the shortest step has more.
    max_length : float
        World length after which a line ends; 0 for no end.
    max_steps : int
        Steps after which a line ends.
    terminal_speed : float
        A slower line ends.
    """

    initial: float = 0.2
    shortest: float = 0.01
    longest: float = 0.5
    error: float = 1e-4
    max_length: float = 0.0
    max_steps: int = 2000
    terminal_speed: float = 1e-12

    def __post_init__(self) -> None:
        if not 0.0 < self.shortest <= self.initial <= self.longest:
            raise ConfigurationError(
                f"Steps are to be positive and to ascend from the shortest over the initial to the "
                f"longest, not {self.shortest:g}, {self.initial:g}, {self.longest:g}."
            )
        if not self.error > 0.0:
            raise ConfigurationError(f"The error of a step must be positive, not {self.error:g}.")
        if self.max_length < 0.0 or self.max_steps < 1:
            raise ConfigurationError("Give a length from 0 and a number of steps from 1 on.")


@dataclass(frozen=True)
class Streamlines:
    """Lines of at least two points, in the order of their seeds.

    Attributes
    ----------
    points : float64 array [N, 3]
        Of all lines, one line after another.
    times : float64 array [N]
        Since the seed, negative against the velocity.
    offsets : int array [L + 1]
        Where the points of each line begin, and where those of the last one end.
    seeds : int array [L]
        Number of each line's seed.
    reasons : int array [L]
        Why each line ends.
    """

    points: np.ndarray
    times: np.ndarray
    offsets: np.ndarray
    seeds: np.ndarray
    reasons: np.ndarray


def streamlines(
    velocity: Field,
    geometry: GridGeometry,
    seeds: np.ndarray,
    *,
    direction: str = "both",
    steps: Steps | None = None,
    progress: Callable[[float], bool] = lambda done: True,
) -> Streamlines:
    """Follow a velocity field from seeds, by Runge-Kutta 5(4) with steps that adapt.

    Parameters
    ----------
    velocity : callable
        For example ``model.sample`` of a model of three components, per unit of time in the
        world's units of length.
    geometry : GridGeometry
        Tells the size of cells.
    seeds : array [N, 3]
        World points; one without a velocity has no line.
    direction : {"both", "forward", "backward"}
        With both, a seed has two lines.
    steps : Steps, optional
    progress : callable
        Is told which share of the lines has ended, and returns whether to go on.

    Returns
    -------
    Streamlines
        Lines that `progress` has cut short have the reason 0.
    """
    if direction not in DIRECTIONS:
        listed = ", ".join(DIRECTIONS)
        raise ConfigurationError(f"The direction is one of {listed}, not {direction!r}.")
    seeds = np.asarray(seeds, dtype=np.float64).reshape(-1, 3)
    signs = {"forward": (1.0,), "backward": (-1.0,), "both": (1.0, -1.0)}[direction]
    numbers = np.repeat(np.arange(len(seeds)), len(signs))
    lines = _Lines(velocity, geometry, steps or Steps(), seeds[numbers], np.tile(signs, len(seeds)))
    while len(lines.active) and progress(1.0 - len(lines.active) / len(numbers)):
        lines.advance()
    return lines.result(numbers)


class _Lines:
    """Lines on their way, of which each step takes all that have not ended."""

    def __init__(
        self,
        velocity: Field,
        geometry: GridGeometry,
        steps: Steps,
        starts: np.ndarray,
        signs: np.ndarray,
    ) -> None:
        self._velocity, self._geometry, self._steps = velocity, geometry, steps
        self._signs = signs
        self._points = starts.copy()
        self._velocities = self._at(starts)
        self._times, self._lengths = np.zeros(len(starts)), np.zeros(len(starts))
        self._counts = np.zeros(len(starts), dtype=np.int64)
        self._next = steps.initial * _cells(geometry, starts)
        self._reasons = np.zeros(len(starts), dtype=np.int64)
        # Which lines got a point, and the points with their times.
        known = np.flatnonzero(np.isfinite(self._velocities).all(axis=1))
        self._kept = [(known, starts[known], self._times[known])]
        self.active = known
        self._end_some(known)

    def _at(self, points: np.ndarray) -> np.ndarray:
        return np.asarray(self._velocity(points), dtype=np.float64)

    def advance(self) -> None:
        """Take a step of each line; one that is too long for its error is tried again shorter."""
        own, steps = self.active, self._steps
        points, cells = self._points[own], _cells(self._geometry, self._points[own])
        speeds = np.linalg.norm(self._velocities[own], axis=1)
        lengths = self._next[own]
        if steps.max_length:
            lengths = np.minimum(lengths, steps.max_length - self._lengths[own])
        spans = self._signs[own] * lengths / speeds
        found = [self._velocities[own]]
        for weights in _STAGES:
            ends = points + spans[:, None] * sum(w * k for w, k in zip(weights, found) if w)
            found.append(self._at(ends))
        errors = spans * np.linalg.norm(sum(w * k for w, k in zip(_ERROR, found) if w), axis=1)
        inside = np.isfinite(errors) & np.isfinite(found[-1]).all(axis=1)
        allowed, shortest = steps.error * cells, steps.shortest * cells
        with np.errstate(divide="ignore", invalid="ignore"):
            factors = np.clip(_SAFETY * (allowed / np.abs(errors)) ** 0.2, _SHRINK, _GROW)
        factors[~inside] = 0.5
        is_shortest = lengths <= shortest * (1.0 + 1e-9)
        taken = inside & ((np.abs(errors) <= allowed) | is_shortest)
        self._next[own] = np.clip(lengths * factors, shortest, steps.longest * cells)
        some = own[taken]
        # The chord would be too short where a long step bends.
        mean = 0.5 * (speeds[taken] + np.linalg.norm(found[-1][taken], axis=1))
        self._lengths[some] += np.abs(spans[taken]) * mean
        self._points[some], self._velocities[some] = ends[taken], found[-1][taken]
        self._times[some] += spans[taken]
        self._counts[some] += 1
        self._kept.append((some, ends[taken], self._times[some]))
        self._reasons[own[~inside & is_shortest]] = OUT_OF_DOMAIN
        self._end_some(some)

    def _end_some(self, lines: np.ndarray) -> None:
        """Note which lines have come to their end, and go on with the others."""
        steps = self._steps
        if steps.max_length:
            far = self._lengths[lines] >= steps.max_length * (1.0 - 1e-12)
            self._reasons[lines[far]] = OUT_OF_LENGTH
        self._reasons[lines[self._counts[lines] >= steps.max_steps]] = OUT_OF_STEPS
        speeds = np.linalg.norm(self._velocities[lines], axis=1)
        self._reasons[lines[(speeds < steps.terminal_speed) | (speeds == 0.0)]] = STAGNATION
        self.active = self.active[self._reasons[self.active] == 0]

    def result(self, seeds: np.ndarray) -> Streamlines:
        """Return the lines that have more than their seed."""
        lines, points, times = (np.concatenate(parts) for parts in zip(*self._kept))
        order = np.argsort(lines, kind="stable")
        counts = np.bincount(lines, minlength=len(seeds))
        order = order[counts[lines[order]] > 1]
        has_line = counts > 1
        return Streamlines(
            points[order],
            times[order],
            np.concatenate([[0], np.cumsum(counts[has_line])]),
            seeds[has_line],
            self._reasons[has_line],
        )


def _cells(geometry: GridGeometry, points: np.ndarray) -> np.ndarray:
    """Return the diagonals [N] of the voxels that points [N, 3] are in, or the nearest ones."""
    index = np.nan_to_num(geometry.world_to_index(points))
    squares = np.zeros(len(points))
    for place, axis in zip(index.T, reversed(geometry.axes)):
        widths = np.abs(np.diff(axis.coordinates))
        squares += widths[np.clip(place.astype(np.int64), 0, len(widths) - 1)] ** 2
    return np.asarray(np.sqrt(squares))
