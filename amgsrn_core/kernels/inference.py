"""Evaluate a network with the kernels: the twin of :mod:`amgsrn_core.networks.reference`."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np

from amgsrn_core.kernels.arguments import floats, network_argument, pointer
from amgsrn_core.kernels.loader import KernelLibrary, Network
from amgsrn_core.kernels.nodes import inside, nodes_from_grids
from amgsrn_core.kernels.threads import thread_count


class KernelNetwork:
    """A network as the kernels evaluate it, with a copy of its feature grids in their order.

    Parameters
    ----------
    library : KernelLibrary
    feature_grids : float32 array [G, F, D, H, W]
        Copied, unless `nodes` are given: later changes go unnoticed.
    transforms : float32 array [G, 3, 4]
        Contiguous, like all the others.
    weights : sequence of float32 array [out, in]
    nodes : float32 array, optional
        Of :func:`amgsrn_core.kernels.nodes.nodes_from_grids`.

    Attributes
    ----------
    argument : Network
        What the C functions take; valid while this object is.
    nodes : float32 array
    """

    def __init__(
        self,
        library: KernelLibrary,
        feature_grids: np.ndarray,
        transforms: np.ndarray,
        weights: Sequence[np.ndarray],
        nodes: np.ndarray | None = None,
    ) -> None:
        if feature_grids.ndim != 5:
            shape = list(feature_grids.shape)
            raise ValueError(f"feature_grids must have the shape [G, F, D, H, W], not {shape}.")
        floats(feature_grids, "feature_grids", feature_grids.shape)
        self.nodes = nodes_from_grids(feature_grids) if nodes is None else nodes
        self.transforms, self.weights = transforms, list(weights)
        self.argument = network_argument(self.nodes, feature_grids.shape, transforms, weights)
        self._library, self._shape = library, feature_grids.shape

    @property
    def feature_grids(self) -> np.ndarray:
        """The feature grids as a view, float32 [G, F, D, H, W]."""
        return inside(self.nodes, self._shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all parameters."""
        return sum(array.nbytes for array in (self.nodes, self.transforms, *self.weights))

    def normalised(self, points: np.ndarray) -> np.ndarray:
        """Return the decoder's values, float32 [N, C]: what `decode(encode(...))` returns.

        Parameters
        ----------
        points : float32 array [N, 3]
            Local to the network, x, y, z.
        """
        address = floats(points, "points", (len(points), 3))
        values = np.empty((len(points), self.argument.outputs), dtype=np.float32)
        self._library.call(
            "amgsrn_evaluate",
            ctypes.byref(self.argument),
            address,
            len(points),
            values.ctypes.data,
            thread_count(),
        )
        return values

    def with_gradient(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return values [N, C] and their gradients [N, C, 3] by the points [N, 3], float32.

        The twin of :func:`amgsrn_core.networks.reference.values_and_gradients`.
        """
        address = floats(points, "points", (len(points), 3))
        values = np.empty((len(points), self.argument.outputs), dtype=np.float32)
        gradients = np.empty((*values.shape, 3), dtype=np.float32)
        self._library.call(
            "amgsrn_evaluate_gradient",
            ctypes.byref(self.argument),
            address,
            len(points),
            values.ctypes.data,
            gradients.ctypes.data,
            thread_count(),
        )
        return values, gradients


def evaluate_many(
    library: KernelLibrary, networks: Sequence[Network], starts: np.ndarray, points: np.ndarray
) -> np.ndarray:
    """Return the normalised values [N, C] of several networks, each at points of its own.

    Parameters
    ----------
    library : KernelLibrary
    networks : sequence of Network
        The arguments of :class:`KernelNetwork`; as many outputs each.
    starts : int64 array [networks + 1]
        Where each network's points begin, from 0 to N.
    points : float32 array [N, 3]
        Local to each network; contiguous.
    """
    outputs = networks[0].outputs
    if any(network.outputs != outputs for network in networks):
        raise ValueError("The networks must have the same number of outputs.")
    bounds = starts.tolist()
    if bounds[0] != 0 or bounds[-1] != len(points) or bounds != sorted(bounds):
        raise ValueError(f"starts must ascend from 0 to the {len(points)} points.")
    values = np.empty((len(points), outputs), dtype=np.float32)
    library.call(
        "amgsrn_evaluate_many",
        (Network * len(networks))(*networks),
        pointer(starts, "starts", (len(networks) + 1,), np.int64),
        len(networks),
        floats(points, "points", (len(points), 3)),
        values.ctypes.data,
        thread_count(),
    )
    return values
