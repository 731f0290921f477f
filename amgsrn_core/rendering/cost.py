"""What marching some rays takes: learned from the calls so far, for those to come."""

from __future__ import annotations

from collections import deque

import numpy as np

# Share of the greatest expense per ray that is still expected after each call.
_MEMORY = 0.995
_CALLS = 512

# Share of the fastest call that may be its fixed part; all of it would leave nothing for the rays.
_FIXED_SHARE = 0.9


class CallCost:
    """Expects of a call a fixed time, and one for each ray.

    On a GPU a call takes milliseconds whatever it does, and the rays little; on a CPU the rays take
    it all. The fixed part is the intercept of a straight line through the calls, which differ in
    their numbers of rays; it is none as long as they do not. What a ray takes is the most that
    one took beside that, because what is behind an empty region may be as expensive as what was
    before it. A few rays say little, because other programs delay them; so expenses are forgotten,
    but slowly.

    Parameters
    ----------
    per_ray : float, default: 0.0
        Seconds to expect of a ray, if that is known.
    fixed : float, default: 0.0
        Seconds to expect of a call without any ray.
    """

    def __init__(self, per_ray: float = 0.0, fixed: float = 0.0) -> None:
        self.fixed = fixed
        self.per_ray = per_ray
        self._known = per_ray
        self._calls: deque[tuple[int, float]] = deque(maxlen=_CALLS)

    def note(self, rays: int, seconds: float) -> None:
        """Learn from a call that marched one ray or more."""
        self._calls.append((rays, seconds))
        self._known *= _MEMORY
        counts, times = np.array(self._calls, dtype=np.float64).T
        age = np.arange(len(times) - 1, -1, -1)
        self.fixed = min(_intercept(counts, times), _FIXED_SHARE * float(times.min()))
        each = (times - self.fixed) / counts * _MEMORY**age
        self.per_ray = max(self._known, float(each.max()))

    def rays_within(self, seconds: float) -> float:
        """Return how many rays one call can march in a time; below 0 where there is none."""
        return (seconds - self.fixed) / max(self.per_ray, 1e-12)


def _intercept(counts: np.ndarray, times: np.ndarray) -> float:
    """Return where a line through the calls meets 0 rays, by least squares; at least 0.

    Calls are weighted alike in relation to their times, because delays grow with these.
    """
    weights = 1.0 / np.maximum(times, 1e-9) ** 2
    mean = np.average(counts, weights=weights)
    spread = np.average((counts - mean) ** 2, weights=weights)
    if spread < (0.1 * mean) ** 2:  # too much alike to tell
        return 0.0
    middle = np.average(times, weights=weights)
    slope = np.average((counts - mean) * (times - middle), weights=weights) / spread
    return max(0.0, float(middle - max(0.0, slope) * mean))
