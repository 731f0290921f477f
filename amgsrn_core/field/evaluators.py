"""What evaluates the network of a brick: the CPU kernels over NumPy arrays, or PyTorch.

Both take float32 points [N, 3] (x, y, z) of the brick, which is [-1, 1]^3, and return float32.
"""

from __future__ import annotations

import copy
import functools
from typing import TYPE_CHECKING, Protocol

import numpy as np

from amgsrn_core.config import NetworkConfig
from amgsrn_core.kernels import KernelLibrary
from amgsrn_core.kernels.inference import KernelNetwork
from amgsrn_core.model.feature_grids import box_densities
from amgsrn_core.model.shapes import checked_parameters
from amgsrn_core.system import extras

if TYPE_CHECKING:
    from amgsrn_core.networks import SceneNetwork

CONSTANT = NetworkConfig(grids=1, features=1, grid_shape=(2, 2, 2), layers=1, width=1)
"""The smallest network, which stands for a constant when all its parameters are 0."""

# Of the paper's soft box, as in networks.reference.
_DENSITY_CLAMP = 8.0


class Evaluator(Protocol):
    """Evaluates one network.

    Attributes
    ----------
    minimum, maximum : float32 array [C]
        What the decoder's 0 and 1 stand for.
    """

    minimum: np.ndarray
    maximum: np.ndarray

    @property
    def transforms(self) -> np.ndarray:
        """Maps of the feature grids, float32 [G, 3, 4]."""

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        """The network's parameters, float32 on the host, named as in an archive."""

    @property
    def network(self) -> SceneNetwork:
        """The same network for PyTorch, made where there is none."""

    def values(self, points: np.ndarray) -> np.ndarray:
        """Return the field's values [N, C]."""

    def with_gradient(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return values [N, C] and their gradients [N, C, 3] by the points."""

    def density(self, points: np.ndarray) -> np.ndarray:
        """Return the feature density [N, 1]."""

    def with_range(self, minimum: np.ndarray, maximum: np.ndarray) -> Evaluator:
        """Return what evaluates these parameters with outputs in another range [C], [C]."""

    def kernel_network(self, library: KernelLibrary) -> KernelNetwork:
        """Return the network as the CPU kernels take it."""


class KernelEvaluator:
    """An :class:`Evaluator` by the CPU kernels; parameters as those of :func:`make_evaluator`."""

    def __init__(
        self,
        library: KernelLibrary,
        config: NetworkConfig,
        state: dict[str, np.ndarray],
        minimum: np.ndarray,
        maximum: np.ndarray,
    ) -> None:
        arrays = checked_parameters(config, len(minimum), state)
        weights = [arrays[f"decoder.{layer}.weight"] for layer in range(config.layers + 1)]
        grids, transforms = arrays["feature_grids"], arrays["transforms"]
        self._config = config
        self._kernel = KernelNetwork(library, grids, transforms, weights)
        self.minimum, self.maximum = minimum.astype(np.float32), maximum.astype(np.float32)

    @property
    def transforms(self) -> np.ndarray:
        """Maps of the feature grids, float32 [G, 3, 4]."""
        return self._kernel.transforms

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""
        return self._kernel.nbytes

    def values(self, points: np.ndarray) -> np.ndarray:
        """Return the field's values [N, C]."""
        values = self._kernel.normalised(points)
        values *= self.maximum - self.minimum
        values += self.minimum
        return values

    def with_gradient(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return values [N, C] and their gradients [N, C, 3] by the points."""
        values, gradients = self._kernel.with_gradient(points)
        scale = self.maximum - self.minimum
        return values * scale + self.minimum, gradients * scale[:, None]

    def density(self, points: np.ndarray) -> np.ndarray:
        """Return the feature density [N, 1]."""
        return feature_density(points, self.transforms)[:, None]

    def with_range(self, minimum: np.ndarray, maximum: np.ndarray) -> KernelEvaluator:
        """Return what evaluates these parameters with outputs in another range [C], [C]."""
        twin = copy.copy(self)
        twin.__dict__.pop("network", None)
        twin.minimum, twin.maximum = minimum.astype(np.float32), maximum.astype(np.float32)
        return twin

    def kernel_network(self, library: KernelLibrary) -> KernelNetwork:
        """Return the network as the CPU kernels take it."""
        return self._kernel

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        """The network's parameters, float32, named as in an archive; views."""
        kernel = self._kernel
        state = {"feature_grids": kernel.feature_grids, "transforms": kernel.transforms}
        for layer, weight in enumerate(kernel.weights):
            state[f"decoder.{layer}.weight"] = weight
        return state

    @functools.cached_property
    def network(self) -> SceneNetwork:
        """The same network for PyTorch, on the CPU; a copy."""
        limits = self.minimum, self.maximum
        return _scene_network(self._config, self.parameters, limits, "cpu", "native")


class TorchEvaluator:
    """An :class:`Evaluator` by PyTorch, on the device where the network is."""

    def __init__(self, network: SceneNetwork) -> None:
        self.network = network
        self.minimum, self.maximum = (
            limit.cpu().numpy() for limit in (network.minimum, network.maximum)
        )

    @property
    def transforms(self) -> np.ndarray:
        """Maps of the feature grids, float32 [G, 3, 4]."""
        return self.network.transforms.detach().cpu().numpy()

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""
        return 4 * sum(parameter.numel() for parameter in self.network.parameters())

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        """The network's parameters, float32 on the host, named as in an archive."""
        return self.network.state_arrays()

    def values(self, points: np.ndarray) -> np.ndarray:
        """Return the field's values [N, C]."""
        return self._evaluated("forward", points)

    def with_gradient(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return values [N, C] and their gradients [N, C, 3] by the points."""
        import torch

        on_device = torch.from_numpy(points).to(self.network.minimum.device)
        values, gradients = self.network.with_gradient(on_device)
        return values.cpu().numpy(), gradients.cpu().numpy()

    def density(self, points: np.ndarray) -> np.ndarray:
        """Return the feature density [N, 1]."""
        return self._evaluated("density", points)[:, None]

    def with_range(self, minimum: np.ndarray, maximum: np.ndarray) -> TorchEvaluator:
        """Return what evaluates these parameters with outputs in another range [C], [C]."""
        return TorchEvaluator(self.network.with_range(minimum, maximum))

    def kernel_network(self, library: KernelLibrary) -> KernelNetwork:
        """Return the network as the CPU kernels take it."""
        return self.network.kernel_network(library)

    def _evaluated(self, method: str, points: np.ndarray) -> np.ndarray:
        import torch

        with torch.inference_mode():
            on_device = torch.from_numpy(points).to(self.network.minimum.device)
            return np.asarray(getattr(self.network, method)(on_device).cpu().numpy())


def make_evaluator(
    config: NetworkConfig,
    state: dict[str, np.ndarray],
    limits: tuple[np.ndarray, np.ndarray],
    *,
    device: str,
    backend: str,
    library: KernelLibrary | None,
) -> Evaluator:
    """Return what evaluates a network.

    Parameters
    ----------
    config : NetworkConfig
    state : dict of ndarray
        Its parameters, named as in an archive.
    limits : pair of ndarray [C]
        What the decoder's 0 and 1 stand for.
    device, backend : str
    library : KernelLibrary or None
        The kernels, if they do it.

    Raises
    ------
    ArchiveError
        If a parameter is missing or its shape contradicts the configuration.
    ConfigurationError
        PyTorch has to do it and is not there.
    """
    if library is not None:
        return KernelEvaluator(library, config, state, *limits)
    extras.require("torch", f"A model with this encoder, backend ({backend}) or device ({device})")
    return TorchEvaluator(_scene_network(config, state, limits, device, backend))


def _scene_network(
    config: NetworkConfig,
    state: dict[str, np.ndarray],
    limits: tuple[np.ndarray, np.ndarray],
    device: str,
    backend: str,
) -> SceneNetwork:
    extras.require("torch", "This use of a model")
    import torch

    from amgsrn_core.networks import network_from_state

    low, high = (torch.tensor(limit, dtype=torch.float32) for limit in limits)
    network = network_from_state(config, state, low, high)
    network.eval().requires_grad_(False).to(device)
    network.use_backend(backend)
    return network


def feature_density(points: np.ndarray, transforms: np.ndarray) -> np.ndarray:
    """Return how much grid resolution there is at points [N, 3], float32 [N].

    The twin of :func:`amgsrn_core.networks.reference.feature_density`, in double precision.
    """
    maps = transforms.astype(np.float64)
    total = np.zeros(len(points))
    for linear, shift, scale in zip(maps[:, :, :3], maps[:, :, 3], box_densities(transforms)):
        local = (points @ linear.T + shift).clip(-_DENSITY_CLAMP, _DENSITY_CLAMP)
        fourth = np.square(np.square(local))
        exponent = (np.square(np.square(fourth)) * fourth).sum(axis=1)  # to the power of 20
        total += scale * np.exp(-0.5 * exponent)
    return total.astype(np.float32)
