"""What the gradient of a velocity field tells: vorticity, divergence, Q criterion."""

from __future__ import annotations

import numpy as np


def vorticity(gradients: np.ndarray) -> np.ndarray:
    """Return the curl [N, 3] of a vector field from its gradients.

    Parameters
    ----------
    gradients : float array [N, 3, 3]
        Change of each component (x, y, z) per world unit along x, y, z, as
        :meth:`~amgsrn_core.NeuralVolume.sample_with_gradient` returns it.
    """
    g = gradients
    return np.stack(
        [
            g[:, 2, 1] - g[:, 1, 2],
            g[:, 0, 2] - g[:, 2, 0],
            g[:, 1, 0] - g[:, 0, 1],
        ],
        axis=1,
    )


def divergence(gradients: np.ndarray) -> np.ndarray:
    """Return the divergence [N] of a vector field from its gradients [N, 3, 3]."""
    return np.asarray(np.trace(gradients, axis1=1, axis2=2))


def q_criterion(gradients: np.ndarray) -> np.ndarray:
    """Return Q [N] of a vector field from its gradients [N, 3, 3].

    The second invariant, (trace(G)^2 - trace(G G)) / 2, which is positive where rotation outweighs
    strain (J. C. R. Hunt, A. A. Wray and P. Moin, 1988); for a field without divergence it is half
    of ``|rotation|^2 - |strain|^2``.
    """
    squared = np.einsum("nij,nji->n", gradients, gradients)
    return np.asarray((divergence(gradients) ** 2 - squared) / 2)
