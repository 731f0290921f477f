"""When a training ends: after its iterations, or when what it is for is reached."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from amgsrn_core.networks import SceneNetwork
from amgsrn_core.training.aim import Aim
from amgsrn_core.training.voxel_sample import VoxelSample

# Measurements come whenever the run has grown by a twelfth, of a run of known length every twelfth.
_PARTS, _FEWEST = 12, 20
# More does not pay where doubling a run brings so few decibels, twice in a row.
_LITTLE = 0.3
# Decibels that a doubling of a run that holds its rate brings at most, in its second half; a size
# with which twice the planned run will not reach the target is given up.
DOUBLING, _LONGEST = 1.2, 2.0


class Ending:
    """Decides when a training ends, and measures on voxels how far it is.

    Parameters
    ----------
    iterations : int
        Planned.
    sample : VoxelSample
    aim : Aim, optional

    Attributes
    ----------
    total : int
        Iterations that the learning rates are planned for, as it is known now.
    measured : list of (int, float)
        After so many iterations, the PSNR in dB.
    is_met : bool
        Whether the PSNR that was aimed at is reached.
    gives_up : bool
        Whether that will not be, and a larger network is to be tried.
    """

    def __init__(self, iterations: int, sample: VoxelSample, aim: Aim | None = None) -> None:
        self._sample, self._aim = sample, aim or Aim()
        self.total = iterations
        self.measured: list[tuple[int, float]] = []
        self.is_met = False
        self._optimism = 0.0  # of the sample, in dB
        self._little = 0
        self.gives_up = False

    @property
    def psnr(self) -> float:
        """What was measured last; NaN before."""
        return self.measured[-1][1] if self.measured else math.nan

    @property
    def aims_at_psnr(self) -> bool:
        """Whether a PSNR ends the training."""
        return self._aim.psnr > 0.0

    def is_over(self, iteration: int, seconds: float) -> bool:
        """Return whether the training ends after so many iterations and seconds."""
        aim = self._aim
        if self.is_met or self.gives_up or (aim.seconds and seconds >= aim.seconds):
            return True
        if aim.seconds and not aim.most:
            return False
        return iteration >= (aim.most or self.total)

    def is_due(self, iteration: int) -> bool:
        """Return whether the end depends on a measurement after so many iterations."""
        if not (self._aim.psnr or self._aim.pays):
            return False
        last = self.measured[-1][0] if self.measured else 0
        return iteration >= last + max(_FEWEST, last // _PARTS)

    def may_show(self, iteration: int) -> bool:
        """Return whether it is time to measure for those who watch.

        Not where measurements decide: these come at the same iterations whoever looks.
        """
        if self._aim.psnr or self._aim.pays:
            return False
        last = self.measured[-1][0] if self.measured else 0
        return iteration - last >= max(1, self.total // _PARTS)

    def measure(self, iteration: int, network: SceneNetwork) -> None:
        """Measure a network, and decide."""
        psnr, aim = self._sample.psnr(network), self._aim
        self.measured.append((iteration, psnr))
        if aim.psnr and psnr >= aim.psnr + aim.spare + self._optimism:
            exact = self._sample.exact(network)
            self.is_met = exact >= aim.psnr + aim.spare
            self._optimism = psnr - exact
        if aim.grows and 2 * iteration >= self.total:
            left = max(0.0, math.log2(_LONGEST * self.total / iteration))
            self.gives_up = not self.is_met and psnr + DOUBLING * left < aim.psnr
        if aim.pays and iteration <= self.total // 2:
            self._little = self._little + 1 if self._gain(iteration, psnr) < _LITTLE else 0
            if self._little > 1:
                self.total = 2 * iteration

    def keep_time(self, iteration: int, seconds: float, each: float) -> None:
        """Plan for the seconds that there are, at `each` for one iteration."""
        if self._aim.seconds and not self._aim.psnr:
            left = max(0.0, self._aim.seconds - seconds)
            self.total = iteration + max(1, round(left / each))
            if self._aim.most:
                self.total = min(self.total, self._aim.most)

    def state(self) -> dict[str, Any]:
        """Return plain JSON types that continue this."""
        return {
            "total": self.total,
            "measured": self.measured,
            "is_met": self.is_met,
            "gives_up": self.gives_up,
            "optimism": self._optimism,
            "little": self._little,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state`'s result."""
        self.total, self.is_met = int(state["total"]), bool(state["is_met"])
        self.gives_up = bool(state["gives_up"])
        self.measured = [(int(iteration), float(psnr)) for iteration, psnr in state["measured"]]
        self._optimism, self._little = float(state["optimism"]), int(state["little"])

    def _gain(self, iteration: int, psnr: float) -> float:
        """Return what the last half of the run so far brought; much where it is not known."""
        before = [known for at, known in self.measured if 2 * at <= iteration]
        return psnr - before[-1] if before else math.inf
