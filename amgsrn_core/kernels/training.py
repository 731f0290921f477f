"""The kernels' part of a training iteration: draw points, compute gradients, update features."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence

import numpy as np

from amgsrn_core.kernels.arguments import floats, network_argument, pointer, pointers
from amgsrn_core.kernels.loader import Adam, Blocks, Data, Draws, Gradients, KernelLibrary, Network
from amgsrn_core.kernels.nodes import inside, node_count
from amgsrn_core.kernels.threads import thread_count


def draw(
    library: KernelLibrary,
    values: np.ndarray,
    cells: np.ndarray | None,
    uniform: np.ndarray,
    *,
    cubic: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a batch of training points; see `training.sampling.PointSampler` and its targets.

    Parameters
    ----------
    values : ndarray [C, D, H, W]
    cells : ndarray [M] of int32 or int64, or None
        Flat numbers of the cells to draw from; None stands for all.
    uniform : ndarray [N, 4]
        Random numbers in [0, 1): the place in a cell (x, y, z) and the cell in its stratum.
    cubic : bool
        Interpolate with Catmull-Rom splines instead of trilinearly.

    Returns
    -------
    points : ndarray [N, 3]
    targets : ndarray [N, C]
    """
    data = _data(values, cells, cubic)
    count = len(uniform)
    address = floats(uniform, "uniform", (count, 4))
    points = np.empty((count, 3), dtype=np.float32)
    targets = np.empty((count, data.components), dtype=np.float32)
    library.call(
        "amgsrn_draw",
        ctypes.byref(data),
        address,
        count,
        points.ctypes.data,
        targets.ctypes.data,
        thread_count(),
    )
    return points, targets


def draw_blocks(
    library: KernelLibrary,
    values: np.ndarray,
    cells: np.ndarray | None,
    start: int,
    count: int,
    *,
    side: int,
    starts: np.ndarray,
    ticks: np.ndarray,
    weights: np.ndarray,
    cubic: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Draw a batch of `count` training points; see `training.importance.ImportanceSampler`.

    Parameters
    ----------
    values : ndarray [C, D, H, W]
    cells : ndarray [M] of int32 or int64, or None
        Flat numbers of the cells to draw from, block by block; None stands for all.
    start : int
        Where the batch's random numbers start, see `training.draws`.
    side : int
        Cells along an axis of a block.
    starts, ticks : ndarray [B + 1] of int64
        Cells and ticks of the blocks before each.
    weights : ndarray [B]
        Of the points of each block.
    cubic : bool
        Interpolate with Catmull-Rom splines instead of trilinearly.

    Returns
    -------
    points : ndarray [N, 3]
    targets : ndarray [N, C]
    weights : ndarray [N]
    blocks : ndarray [N] of int64
    """
    data = _data(values, cells, cubic)
    number = len(weights)
    arguments = Blocks(
        side=side,
        count=number,
        cells=pointer(starts, "starts", (number + 1,), np.int64),
        ticks=pointer(ticks, "ticks", (number + 1,), np.int64),
        weights=floats(weights, "weights", (number,)),
    )
    points = np.empty((count, 3), dtype=np.float32)
    targets = np.empty((count, data.components), dtype=np.float32)
    drawn, blocks = np.empty(count, dtype=np.float32), np.empty(count, dtype=np.int64)
    result = Draws(
        start=start,
        count=count,
        points=points.ctypes.data,
        targets=targets.ctypes.data,
        weights=drawn.ctypes.data,
        blocks=blocks.ctypes.data,
    )
    library.call(
        "amgsrn_draw_blocks",
        ctypes.byref(data),
        ctypes.byref(arguments),
        ctypes.byref(result),
        thread_count(),
    )
    return points, targets, drawn, blocks


def _data(values: np.ndarray, cells: np.ndarray | None, cubic: bool) -> Data:
    """Describe data to the kernels; the arrays must outlive the result."""
    if values.ndim != 4 or min(values.shape[1:]) < 2:
        raise ValueError(f"values must have the shape [C, D, H, W], not {list(values.shape)}.")
    components, depth, height, width = values.shape
    narrow = cells is not None and cells.dtype == np.int32
    kind = np.int32 if narrow else np.int64
    return Data(
        components=components,
        depth=depth,
        height=height,
        width=width,
        values=floats(values, "values", values.shape),
        cells=None if cells is None else pointer(cells, "cells", (len(cells),), kind),
        cell_count=(depth - 1) * (height - 1) * (width - 1) if cells is None else len(cells),
        cell_bytes=4 if narrow else 8,
        cubic=cubic,
    )


class GradientKernel:
    """Gradients of the mean squared error, and Adam on the features with them.

    Parameters
    ----------
    library : KernelLibrary
    shape : sequence of int
        Shape of the feature grids, G, F, D, H, W.
    parts : int
        Into how many parts a batch is divided, each with node gradients of its own; results
        depend on it, and as many threads work.
    fast : bool
        Whether to round what the decoder's hidden layers multiply to bfloat16, forwards and
        backwards; sums stay float32. Without effect where the library has no such products.
    """

    def __init__(
        self, library: KernelLibrary, shape: Sequence[int], parts: int, *, fast: bool = False
    ) -> None:
        grids, features, *sides = shape
        self._library, self._shape, self._parts, self._fast = library, tuple(shape), parts, fast
        self._count = node_count(grids, features, tuple(sides))
        self._gradients = np.zeros((parts, self._count), dtype=np.float32)

    def gradients(
        self,
        nodes: np.ndarray,
        transforms: np.ndarray,
        weights: Sequence[np.ndarray],
        points: np.ndarray,
        targets: np.ndarray,
        *,
        moving: bool,
        counts: np.ndarray | None = None,
    ) -> tuple[float, np.ndarray, list[np.ndarray], np.ndarray | None]:
        """Compute the loss at a batch and its gradients; the nodes' are kept for :meth:`update`.

        Parameters
        ----------
        nodes : ndarray
            Of :func:`amgsrn_core.kernels.nodes.nodes_from_grids`.
        transforms : ndarray [G, 3, 4]
        weights : sequence of ndarray [out, in]
        points : ndarray [N, 3]
        targets : ndarray [N, C]
        moving : bool
            Whether the gradient of the maps is wanted too.
        counts : ndarray [N], optional
            What each point counts, 1 on average; default: all count 1.

        Returns
        -------
        loss : float
            Mean squared error, by what the points count.
        errors : ndarray [N]
            Mean over the components of each point's squared errors.
        weight_gradients : list of ndarray [out, in]
        transform_gradient : ndarray [G, 3, 4] or None
        """
        network = network_argument(nodes, self._shape, transforms, weights)
        network.fast = self._fast
        count = len(points)
        if not count:
            raise ValueError("A batch must have at least one point.")
        errors = np.empty(count, dtype=np.float32)
        weight_gradients = [np.empty(weight.shape, dtype=np.float32) for weight in weights]
        transform_gradient = np.empty(transforms.shape, np.float32) if moving else None
        result = Gradients(
            nodes=self._gradients.ctypes.data,
            part_stride=self._count,
            weights=pointers(weight_gradients, [w.shape for w in weights], "gradients"),
            transforms=None if transform_gradient is None else transform_gradient.ctypes.data,
            errors=errors.ctypes.data,
            weights_of_points=None if counts is None else floats(counts, "counts", (count,)),
        )
        self._library.call(
            "amgsrn_train",
            ctypes.byref(network),
            floats(points, "points", (count, 3)),
            floats(targets, "targets", (count, network.outputs)),
            count,
            ctypes.byref(result),
            self._parts,
        )
        return result.loss, errors, weight_gradients, transform_gradient

    def density_gradient(
        self, transforms: np.ndarray, points: np.ndarray, errors: np.ndarray, loss: float
    ) -> np.ndarray:
        """Return the density loss's gradient by the maps; see `training.motion.density_loss`.

        Parameters
        ----------
        transforms : ndarray [G, 3, 4]
        points : ndarray [N, 3]
        errors : ndarray [N]
            Squared errors at the points.
        loss : float
            Their mean.

        Returns
        -------
        np.ndarray [G, 3, 4]
        """
        count, grids = len(points), self._shape[0]
        network = self._sizes()
        network.transforms = floats(transforms, "transforms", (grids, 3, 4))
        gradient = np.empty((grids, 3, 4), dtype=np.float32)
        self._library.call(
            "amgsrn_density",
            ctypes.byref(network),
            floats(points, "points", (count, 3)),
            floats(errors, "errors", (count,)),
            count,
            loss,
            gradient.ctypes.data,
            self._parts,
        )
        return gradient

    def node_gradients(self) -> np.ndarray:
        """Return the nodes' gradients since the last update, laid out like the nodes."""
        return self._gradients.sum(axis=0)

    def gradient_view(self) -> np.ndarray:
        """Return a view [G, F, D, H, W] of node gradients: what is added there counts as well."""
        return inside(self._gradients[0], self._shape)

    def taken_gradients(self) -> np.ndarray:
        """Return the nodes' gradients since the last update, and forget them."""
        total = self.node_gradients()
        self._gradients.fill(0.0)
        return total

    def update(
        self,
        nodes: np.ndarray,
        mean: np.ndarray,
        square: np.ndarray,
        *,
        rate: float,
        betas: tuple[float, float],
        epsilon: float,
        step: int,
    ) -> None:
        """Apply a step of Adam to the nodes, and forget their gradients.

        Parameters
        ----------
        nodes : ndarray
        mean, square : ndarray [G, D, H, W, F]
            Running averages of the gradients and of their squares.
        rate : float
            Learning rate.
        betas : (float, float)
        epsilon : float
        step : int
            Number of this step; the first is 1.
        """
        grids, features, depth, height, width = self._shape
        inner = (grids, depth, height, width, features)
        network = self._sizes()
        arguments = Adam(
            nodes=floats(nodes, "nodes", (self._count,)),
            gradients=self._gradients.ctypes.data,
            part_stride=self._count,
            mean=floats(mean, "mean", inner),
            square=floats(square, "square", inner),
            step_size=rate / (1.0 - betas[0] ** step),
            beta1=betas[0],
            beta2=betas[1],
            square_scale=1.0 / math.sqrt(1.0 - betas[1] ** step),
            epsilon=epsilon,
        )
        self._library.call(
            "amgsrn_adam", ctypes.byref(network), ctypes.byref(arguments), self._parts
        )

    def _sizes(self) -> Network:
        """Describe only what the update reads: how large the grids are."""
        grids, features, depth, height, width = self._shape
        return Network(grids=grids, features=features, depth=depth, height=height, width=width)
