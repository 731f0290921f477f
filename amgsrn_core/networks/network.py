"""One network as a torch module: parameters, value range, and how they are first chosen."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from amgsrn_core.config import NetworkConfig
from amgsrn_core.errors import ConfigurationError
from amgsrn_core.kernels import KernelLibrary
from amgsrn_core.kernels.backend import native_library
from amgsrn_core.kernels.inference import KernelNetwork
from amgsrn_core.model.shapes import checked_parameters, levels_of, parameter_shapes
from amgsrn_core.networks import reference
from amgsrn_core.networks.encoders import hash_encode, positional_terms
from amgsrn_core.networks.products import products

# Both from the paper: features start as almost nothing, maps as a slightly perturbed identity.
FEATURE_INIT = 1e-4
TRANSFORM_NOISE = 0.05


class SceneNetwork(nn.Module):
    """A field over one brick: an encoder, a decoder and a value range.

    The encoder has adaptive feature grids and their affine maps. A dense one is a single grid with
    the identity map and positional terms beside it; a hash grid has tables instead of nodes.

    Parameters
    ----------
    config : NetworkConfig
    minimum, maximum : Tensor [C]
        Range of each output; the decoder's 0 and 1 stand for them.

    Attributes
    ----------
    feature_grids : Parameter [G, F, D, H, W], of a hash grid [entries, F]
    transforms : Parameter [G, 3, 4]
        Of other encoders than adaptive: the identity, [1, 3, 4].
    decoder : ModuleList of Linear
        Without biases, unless the configuration has them.
    library : KernelLibrary or None
        The CPU kernels, where these are used.
    decode : callable
        :func:`amgsrn_core.networks.decode`, or its twin by tiny-cuda-nn.
    value_range : two ndarrays of float64 [C]
        `minimum` and `maximum`, or the data's range where these are 0 and 1 in its place because
        float32 does not hold it.
    """

    minimum: Tensor
    maximum: Tensor

    def __init__(self, config: NetworkConfig, minimum: Tensor, maximum: Tensor) -> None:
        super().__init__()
        self.config = config
        shapes = parameter_shapes(config, len(minimum))
        self.feature_grids = nn.Parameter(torch.zeros(shapes["feature_grids"]))
        self.transforms = nn.Parameter(torch.eye(3, 4).repeat(shapes["transforms"][0], 1, 1))
        self._levels = levels_of(config) if config.encoder == "hash" else ()
        sizes = [config.inputs, *[config.width] * config.layers, len(minimum)]
        self.decoder = nn.ModuleList(
            nn.Linear(before, after, bias=config.biases) for before, after in zip(sizes, sizes[1:])
        )
        self.register_buffer("minimum", minimum.to(torch.float32), persistent=False)
        self.register_buffer("maximum", maximum.to(torch.float32), persistent=False)
        self.value_range = minimum.cpu().double().numpy(), maximum.cpu().double().numpy()
        self.library: KernelLibrary | None = None
        self._copied: tuple[tuple[int, int, torch.Size], np.ndarray] | None = None
        self.decode: Callable[[Tensor, Sequence[Tensor]], Tensor] = reference.decode

    @property
    def weights(self) -> list[Tensor]:
        """The decoder's matrices [out, in], first layer first."""
        return [layer.weight for layer in self.decoder]  # type: ignore[misc]

    @property
    def biases(self) -> list[Tensor]:
        """The decoder's biases [out], first layer first; none in most networks."""
        return [layer.bias for layer in self.decoder if layer.bias is not None]  # type: ignore[misc]

    def use_backend(self, backend: str) -> None:
        """Choose what evaluates the network where no gradients are asked for.

        Parameters
        ----------
        backend : {"auto", "torch", "native", "tcnn"}
            See :data:`amgsrn_core.config.BACKENDS`; for the device that the network is on.
        """
        device = str(self.feature_grids.device)
        self.library = native_library(backend, device, self.config.encoder)
        self.decode = reference.decode
        if backend == "tcnn":
            if self.config.biases:
                raise ConfigurationError(
                    "Backend tcnn has no decoder with biases, as this network's; use backend auto."
                )
            from amgsrn_core.networks.fused import FusedDecoder

            self.decode = FusedDecoder(self.config, len(self.minimum), self.minimum.device)

    def with_range(self, minimum: np.ndarray, maximum: np.ndarray) -> SceneNetwork:
        """Return a network with these parameters, and with outputs in another range [C], [C]."""
        twin = copy.copy(self)
        twin.value_range = minimum, maximum
        twin._buffers = {
            name: torch.tensor(value, dtype=torch.float32, device=self.minimum.device)
            for name, value in (("minimum", minimum), ("maximum", maximum))
        }
        return twin

    def normalised(self, points: Tensor) -> Tensor:
        """Return values [N, C] with 0 at each output's minimum and 1 at its maximum."""
        library = self.library
        if library is not None and not torch.is_grad_enabled() and _is_plain(points, self):
            network = self.kernel_network(library)
            return torch.from_numpy(network.normalised(points.contiguous().numpy()))
        with products():
            return self.decoded(self.encode(points, self.transforms))

    def decoded(self, features: Tensor) -> Tensor:
        """Return what :meth:`normalised` does, from the decoder's inputs [N, inputs]."""
        if self.config.biases:
            return reference.decode(features, self.weights, self.biases)
        return self.decode(features, self.weights)

    def encode(self, points: Tensor, transforms: Tensor) -> Tensor:
        """Return the decoder's inputs [N, inputs] at brick-local points [N, 3].

        `transforms` are the network's own, perhaps detached.
        """
        return self.encode_with(points, self.feature_grids, transforms)

    def encode_with(self, points: Tensor, feature_grids: Tensor, transforms: Tensor) -> Tensor:
        """Return what :meth:`encode` would if the feature grids were the given ones."""
        if self._levels:
            return hash_encode(points, feature_grids, self._levels, self.config.hash_scheme)
        features = reference.encode(points, feature_grids, transforms)
        if self.config.encoder == "dense":
            terms = positional_terms(points, self.config.positional_terms)
            return torch.cat([terms, features], dim=1)
        return features

    def with_gradient(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return values [N, C] and their gradients [N, C, 3] by the brick-local points [N, 3]."""
        if self.library is not None and _is_plain(points, self):
            network = self.kernel_network(self.library)
            result = network.with_gradient(points.detach().contiguous().numpy())
            values, gradients = map(torch.from_numpy, result)
        else:
            values, gradients = reference.differentiated(self.normalised, points)
        scale = self.maximum - self.minimum
        return values * scale + self.minimum, gradients * scale[:, None]

    def kernel_network(self, library: KernelLibrary) -> KernelNetwork:
        """Return the network, float32 on the CPU, as the kernels take it.

        It shares the memory of maps and decoder. Its copy of the feature grids is made anew when
        these have changed, which torch counts; a change behind torch's back, through a NumPy array
        that shares their memory, goes unnoticed.
        """
        grids = self.feature_grids
        # torch counts no changes of tensors made in inference mode: they are copied each time.
        version = -1 if grids.is_inference() else grids._version
        state = (grids.data_ptr(), version, grids.shape)
        copied = self._copied
        known = copied[1] if copied is not None and copied[0] == state and version >= 0 else None
        network = KernelNetwork(
            library,
            grids.detach().numpy(),
            self.transforms.detach().numpy(),
            [weight.detach().numpy() for weight in self.weights],
            known,
        )
        self._copied = state, network.nodes
        return network

    def forward(self, points: Tensor) -> Tensor:
        """Return the field's values [N, C] at brick-local points [N, 3] (x, y, z in [-1, 1])."""
        return self.normalised(points) * (self.maximum - self.minimum) + self.minimum

    def density(self, points: Tensor) -> Tensor:
        """Return the feature density [N] at brick-local points [N, 3]."""
        return reference.feature_density(points, self.transforms)

    def state_arrays(self) -> dict[str, np.ndarray]:
        """Return every parameter as a float32 array on the host, named as in an archive."""
        return {
            name: value.detach().to("cpu", torch.float32, copy=True).numpy()
            for name, value in self.state_dict().items()
        }


def _is_plain(points: Tensor, network: SceneNetwork) -> bool:
    """Return whether all numbers are float32 on the CPU, as the kernels need them."""
    tensors = (points, network.feature_grids)
    return all(t.dtype == torch.float32 and t.device.type == "cpu" for t in tensors)


def initial_network(
    config: NetworkConfig, minimum: Tensor, maximum: Tensor, seed: int
) -> SceneNetwork:
    """Return a network with the paper's random start; the same on every device for a seed."""
    network = SceneNetwork(config, minimum, maximum)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        network.feature_grids.uniform_(-FEATURE_INIT, FEATURE_INIT, generator=random)
        noise = torch.randn(network.transforms.shape, generator=random)
        if config.encoder == "adaptive":
            network.transforms.add_(TRANSFORM_NOISE * noise)
        for weight in network.weights:
            nn.init.xavier_normal_(weight, generator=random)
        for bias in network.biases:
            bias.zero_()
    return network


def network_from_state(
    config: NetworkConfig,
    state: Mapping[str, np.ndarray],
    minimum: Tensor,
    maximum: Tensor,
) -> SceneNetwork:
    """Rebuild a network from the arrays of :meth:`SceneNetwork.state_arrays`.

    Raises
    ------
    ArchiveError
        If a parameter is missing or its shape contradicts the configuration.
    """
    arrays = checked_parameters(config, len(minimum), state)
    parameters = {name: nn.Parameter(torch.from_numpy(array)) for name, array in arrays.items()}
    network = _twin(_blank(config, len(minimum)), parameters)
    return network.with_range(*(t.cpu().double().numpy() for t in (minimum, maximum)))


@functools.lru_cache(maxsize=1)
def _blank(config: NetworkConfig, outputs: int) -> SceneNetwork:
    """Return a network without parameters: a model has thousands alike, and making each is slow."""
    network = SceneNetwork(config, torch.zeros(outputs), torch.ones(outputs))
    for module in network.modules():
        module._parameters = dict.fromkeys(module._parameters)
    return network


def _twin(module: Any, parameters: Mapping[str, nn.Parameter], prefix: str = "") -> Any:
    """Return a module like this one with parameters of its own, by their names in the whole."""
    twin = copy.copy(module)
    twin._parameters = {name: parameters.get(prefix + name) for name in module._parameters}
    twin._modules = {
        name: _twin(child, parameters, f"{prefix}{name}.")
        for name, child in module._modules.items()
    }
    return twin


def constant_network(values: Tensor) -> SceneNetwork:
    """Return the smallest network, whose outputs are `values` [C] everywhere."""
    config = NetworkConfig(grids=1, features=1, grid_shape=(2, 2, 2), layers=1, width=1)
    network = SceneNetwork(config, values, values)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    return network
