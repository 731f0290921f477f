"""Evaluate a network with the kernels: the twin of :mod:`amgsrn_core.networks.reference`."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from amgsrn_core.kernels.arguments import floats, network_argument, pointer
from amgsrn_core.kernels.loader import KernelLibrary, Network
from amgsrn_core.kernels.nodes import nodes_from_grids


class Evaluator:
    """Evaluates one network, and keeps the copy of its feature grids that the kernels read.

    The copy is made anew when the grids have changed, which torch counts; a change behind torch's
    back (through a numpy array that shares their memory) goes unnoticed.

    Parameters
    ----------
    library : KernelLibrary
    """

    def __init__(self, library: KernelLibrary) -> None:
        self._library = library
        self._copied: tuple[int, int, torch.Size] | None = None
        self._nodes: Tensor | None = None

    def normalised(
        self,
        points: Tensor,
        feature_grids: Tensor,
        transforms: Tensor,
        weights: Sequence[Tensor],
    ) -> Tensor:
        """Return the decoder's values [N, C]: what `decode(encode(...), weights)` returns.

        Parameters
        ----------
        points : Tensor [N, 3]
            Contiguous float32 on the CPU, like all the others.
        feature_grids : Tensor [G, F, D, H, W]
        transforms : Tensor [G, 3, 4]
        weights : sequence of Tensor [out, in]
        """
        network = self.argument(feature_grids, transforms, weights)
        address = floats(points, "points", (len(points), 3))
        values = torch.empty(len(points), network.outputs)
        self._library.call(
            "amgsrn_evaluate",
            ctypes.byref(network),
            address,
            len(points),
            values.data_ptr(),
            torch.get_num_threads(),
        )
        return values

    def with_gradient(
        self,
        points: Tensor,
        feature_grids: Tensor,
        transforms: Tensor,
        weights: Sequence[Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Return values [N, C] and their gradients [N, C, 3] by the points.

        The twin of :func:`amgsrn_core.networks.reference.values_and_gradients`; parameters as
        for :meth:`normalised`.
        """
        network = self.argument(feature_grids, transforms, weights)
        address = floats(points, "points", (len(points), 3))
        values = torch.empty(len(points), network.outputs)
        gradients = torch.empty(len(points), network.outputs, 3)
        self._library.call(
            "amgsrn_evaluate_gradient",
            ctypes.byref(network),
            address,
            len(points),
            values.data_ptr(),
            gradients.data_ptr(),
            torch.get_num_threads(),
        )
        return values, gradients

    def argument(
        self, feature_grids: Tensor, transforms: Tensor, weights: Sequence[Tensor]
    ) -> Network:
        """Return what the kernels take; valid while this object and the tensors are."""
        nodes = self.nodes(feature_grids)
        return network_argument(nodes, feature_grids.shape, transforms, weights)

    def nodes(self, feature_grids: Tensor) -> Tensor:
        """Return the copy of the feature grids [G, F, D, H, W], made anew if they changed."""
        if feature_grids.dim() != 5:
            shape = list(feature_grids.shape)
            raise ValueError(f"feature_grids must have the shape [G, F, D, H, W], not {shape}.")
        floats(feature_grids, "feature_grids", feature_grids.shape)
        # torch counts no changes of tensors made in inference mode: they are copied each time.
        version = -1 if feature_grids.is_inference() else feature_grids._version
        state = (feature_grids.data_ptr(), version, feature_grids.shape)
        nodes = self._nodes
        if nodes is None or self._copied != state or version < 0:
            # A new tensor, because another thread may be reading the old one.
            nodes = nodes_from_grids(feature_grids)
            self._copied, self._nodes = state, nodes
        return nodes


def evaluate_many(
    library: KernelLibrary, networks: Sequence[Network], starts: Tensor, points: Tensor
) -> Tensor:
    """Return the normalised values [N, C] of several networks, each at points of its own.

    Parameters
    ----------
    library : KernelLibrary
    networks : sequence of Network
        Of :meth:`Evaluator.argument`; as many outputs each.
    starts : Tensor of int64 [networks + 1]
        Where each network's points begin, from 0 to N.
    points : Tensor [N, 3]
        Local to each network; contiguous float32 on the CPU.
    """
    outputs = networks[0].outputs
    if any(network.outputs != outputs for network in networks):
        raise ValueError("The networks must have the same number of outputs.")
    bounds = starts.tolist()
    if bounds[0] != 0 or bounds[-1] != len(points) or bounds != sorted(bounds):
        raise ValueError(f"starts must ascend from 0 to the {len(points)} points.")
    values = torch.empty(len(points), outputs)
    library.call(
        "amgsrn_evaluate_many",
        (Network * len(networks))(*networks),
        pointer(starts, "starts", (len(networks) + 1,), torch.int64),
        len(networks),
        floats(points, "points", (len(points), 3)),
        values.data_ptr(),
        torch.get_num_threads(),
    )
    return values
