"""One network of the original as a configuration and parameters of ours."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from amgsrn_core.config import NetworkConfig
from amgsrn_core.errors import ArchiveError, ConfigurationError
from amgsrn_core.model import parameter_shapes
from amgsrn_core.original.decoder import (
    biased_layer_names,
    layer_names,
    list_size,
    matrices_from_layers,
    matrices_from_list,
    table_names,
)
from amgsrn_core.original.options import Options

Tensors = Mapping[str, np.ndarray]
Network = tuple[NetworkConfig, dict[str, np.ndarray]]

_IDENTITY = np.eye(3, 4, dtype=np.float32)[None]
_HASH_OPTIONS = ("hash_log2_size", "hash_base_resolution", "hash_max_resolution")


def network_from_tensors(options: Options, tensors: Tensors) -> Network:
    """Return a network's configuration and its parameters, named as in an archive.

    Parameters
    ----------
    options : Options
    tensors : mapping of str to array
        The checkpoint's `state_dict`. Its names tell which model it is.

    Raises
    ------
    ArchiveError
        The model is of an unknown kind, or its tensors contradict the options.
    """
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise ArchiveError(f"its tensor '{name}' holds numbers that are not finite")
    tensors = {name: np.asarray(tensor, dtype=np.float32) for name, tensor in tensors.items()}
    if "encoder.feature_grids" in tensors or "feature_grids" in tensors:
        config, state, used = _adaptive(options, tensors)
    elif "feature_grid" in tensors:
        config, state, used = _dense(options, tensors)
    elif "model.params" in tensors:
        config, state, used = _hash(options, tensors)
    elif any(name.startswith("hash_grid.") for name in tensors):
        config, state, used = _own_hash(options, tensors)
    else:
        raise ArchiveError(
            f"it is a {options.values.get('model', 'model')} with the tensors "
            f"{', '.join(map(repr, sorted(tensors)))}, which is not supported"
        )
    if unknown := sorted(set(tensors) - used):
        raise ArchiveError(
            f"there is no counterpart of its tensor(s) {', '.join(map(repr, unknown))}"
        )
    for name, shape in parameter_shapes(config, options.fields.integer("n_outputs")).items():
        if state[name].shape != shape:
            raise ArchiveError(
                f"its options ask for '{name}' with the shape {list(shape)}, but the checkpoint "
                f"has {list(state[name].shape)}"
            )
    return config, {name: np.ascontiguousarray(value) for name, value in state.items()}


def _adaptive(options: Options, tensors: Tensors) -> tuple[NetworkConfig, Any, set[str]]:
    config = _config(
        options,
        grids=options.fields.integer("n_grids"),
        grid_shape=options.shape("feature_grid_shape"),
    )
    grids, features = config.grids, config.features
    transforms, used = _transforms(tensors)
    prefix = "encoder." if "encoder.feature_grids" in tensors else ""
    nodes = tensors[f"{prefix}feature_grids"]
    first, *rest = _matrices(options, tensors, grids * features)
    bias = first[:, grids * features :].sum(1)
    if first.shape[1] > grids * features:
        # Inputs that are always 1: a grid of ones whose map sends every point into its middle.
        config = _config(options, grids=grids + 1, grid_shape=config.grid_shape)
        one = np.zeros((1, *nodes.shape[1:]), dtype=np.float32)
        one[:, 0] = 1.0
        nodes = np.concatenate([nodes, one])
        transforms = np.concatenate([transforms, np.zeros((1, 3, 4), dtype=np.float32)])
        columns = np.zeros((len(first), features), dtype=np.float32)
        columns[:, 0] = bias
        first = np.concatenate([first[:, : grids * features], columns], axis=1)
    state = {"feature_grids": nodes, "transforms": transforms, **_decoder([first, *rest])}
    return config, state, used | {f"{prefix}feature_grids"} | _decoder_names(config, tensors)


def _dense(options: Options, tensors: Tensors) -> tuple[NetworkConfig, Any, set[str]]:
    """Return an fV-SRN: one grid on the whole brick, and positional terms before its features."""
    config = _config(
        options,
        encoder="dense",
        grids=1,
        grid_shape=options.shape("feature_grid_shape"),
        positional_terms=options.fields.integer("num_positional_encoding_terms"),
    )
    nodes, inputs = tensors["feature_grid"], config.inputs
    first, *rest = _matrices(options, tensors, inputs)
    if first.shape[1] > inputs:
        # Inputs that are always 1: one more feature, which is 1 everywhere.
        config = dataclasses.replace(config, features=config.features + 1)
        nodes = np.concatenate([nodes, np.ones_like(nodes[:, :1])], axis=1)
        bias = first[:, inputs:].sum(1, keepdims=True)
        first = np.concatenate([first[:, :inputs], bias], axis=1)
    state = {"feature_grids": nodes, "transforms": _IDENTITY, **_decoder([first, *rest])}
    return config, state, {"feature_grid"} | _decoder_names(config, tensors)


def _hash(options: Options, tensors: Tensors) -> tuple[NetworkConfig, Any, set[str]]:
    """Return an NGP: the decoder's weights and then the tables, in one list."""
    config = _config(
        options,
        encoder="hash",
        grids=options.fields.integer("n_grids"),
        **{name: options.fields.integer(name) for name in _HASH_OPTIONS},
    )
    outputs = options.fields.integer("n_outputs")
    shapes = parameter_shapes(config, outputs)
    sizes = (config.inputs, config.width, config.layers, outputs)
    weights, start = tensors["model.params"].ravel(), list_size(*sizes)
    if len(weights) - start != math.prod(shapes["feature_grids"]):
        raise ArchiveError(
            f"its options ask for {start} weights and {math.prod(shapes['feature_grids'])} numbers "
            f"of hash tables, but 'model.params' has {len(weights)}"
        )
    first, *rest = matrices_from_list(weights, *sizes)
    # Inputs of padding are 0 behind a hash grid.
    matrices = [first[:, : config.inputs], *rest]
    state = {
        "feature_grids": weights[start:].reshape(shapes["feature_grids"]),
        "transforms": _IDENTITY,
        **_decoder(matrices),
    }
    return config, state, {"model.params"}


def _own_hash(options: Options, tensors: Tensors) -> tuple[NetworkConfig, Any, set[str]]:
    """Return an NGP of the original's own, in PyTorch: a table a level, layers with biases."""
    config = _config(
        options,
        encoder="hash",
        grids=options.fields.integer("n_grids"),
        hash_scheme="original",
        biases=True,
        **{name: options.fields.integer(name) for name in _HASH_OPTIONS},
    )
    names = table_names(config.grids)
    layers = biased_layer_names(config.layers)
    used = {*names, *(name for pair in layers for name in pair)}
    if missing := sorted(used - set(tensors)):
        raise ArchiveError(f"it lacks the tensor '{missing[0]}', which its options ask for")
    shape = (1 << config.hash_log2_size, config.features)
    for name in names:
        if tensors[name].shape != shape:
            raise ArchiveError(
                f"its options ask for '{name}' with the shape {list(shape)}, but the checkpoint "
                f"has {list(tensors[name].shape)}"
            )
    state = {
        "feature_grids": np.concatenate([tensors[name] for name in names]),
        "transforms": _IDENTITY,
    }
    for number, (weight, bias) in enumerate(layers):
        state[f"decoder.{number}.weight"] = tensors[weight]
        state[f"decoder.{number}.bias"] = tensors[bias]
    return config, state, used


def _transforms(tensors: Tensors) -> tuple[np.ndarray, set[str]]:
    """Return the maps [G, 3, 4], which the successor keeps as rotation, scale and translation."""
    parts = ("_scales", "_rotations", "translations")
    if all(name in tensors for name in parts):
        scales, rotations, shifts = (tensors[name] for name in parts)
        if scales.shape[1:] != (3,) or rotations.shape[1:] != (4,) or shifts.shape[1:] != (3,):
            raise ArchiveError("its scales, rotations and translations have impossible shapes")
        linear = _rotation_matrices(rotations) * np.exp(scales.astype(np.float64))[:, None, :]
        return np.concatenate([linear, shifts[:, :, None]], axis=2).astype(np.float32), set(parts)
    for name in ("encoder.transformation_matrices", "transformation_matrices"):
        if name in tensors:
            matrices = tensors[name]
            if matrices.shape[1:] != (4, 4):
                raise ArchiveError(f"its tensor '{name}' is not a list of 4 x 4 matrices")
            return matrices[:, :3], {name}
    raise ArchiveError("it lacks the feature grids' 'transformation_matrices'")


def _rotation_matrices(quaternions: np.ndarray) -> np.ndarray:
    """Return rotation matrices [G, 3, 3] of quaternions [G, 4], x y z w, of any length but 0."""
    q = quaternions.astype(np.float64)
    length = np.linalg.norm(q, axis=1, keepdims=True)
    x, y, z, w = (q / np.maximum(length, 1e-12)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def _config(options: Options, **fields: Any) -> NetworkConfig:
    read = options.fields
    values = {
        "features": read.integer("n_features"),
        "layers": read.integer("n_layers"),
        "width": read.integer("nodes_per_layer"),
        **fields,
    }
    try:
        return NetworkConfig(**values)
    except ConfigurationError as error:
        raise ArchiveError(f"it is larger than networks here can be: {error}".rstrip(".")) from None


def _matrices(options: Options, tensors: Tensors, inputs: int) -> list[np.ndarray]:
    read = options.fields
    layers, width = read.integer("n_layers"), read.integer("nodes_per_layer")
    if "decoder.params" in tensors:
        weights = tensors["decoder.params"].ravel()
        return matrices_from_list(weights, inputs, width, layers, read.integer("n_outputs"))
    matrices = matrices_from_layers(tensors, layers)
    if matrices[0].ndim != 2 or matrices[0].shape[1] < inputs:
        raise ArchiveError(
            f"its decoder has the shape {list(matrices[0].shape)}, but its options ask for "
            f"{inputs} inputs"
        )
    return matrices


def _decoder(matrices: list[np.ndarray]) -> dict[str, np.ndarray]:
    return {f"decoder.{i}.weight": matrix for i, matrix in enumerate(matrices)}


def _decoder_names(config: NetworkConfig, tensors: Tensors) -> set[str]:
    return {"decoder.params"} if "decoder.params" in tensors else set(layer_names(config.layers))
