"""Models of ours as folders that the original code opens."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from amgsrn_core.config import NetworkConfig
from amgsrn_core.errors import ArchiveError, OutputError
from amgsrn_core.model import Archive, BrickRecord, ModelIndex, parameter_shapes
from amgsrn_core.original.decoder import (
    biased_layer_names,
    layer_names,
    list_from_matrices,
    table_names,
)
from amgsrn_core.system.extras import expect
from amgsrn_core.system.output import reason

_MODELS = {"adaptive": "APMGSRN", "dense": "fVSRN", "hash": "NGP"}


def export_model(
    path: str | os.PathLike[str], folder: str | os.PathLike[str], step: int = 0
) -> None:
    """Write a model as the original keeps it: options and a checkpoint, or an ensemble of those.

    What the original has no place for is lost: where the samples lie in the world, units, masks,
    and the blending of bricks.

    Parameters
    ----------
    path : path
        The model file.
    folder : path
        To be made; nothing may be there yet.
    step : int, default: 0
        Which time step of a series.

    Raises
    ------
    ArchiveError
        The model cannot be read, or has bricks that the original cannot express.
    OutputError
        The folder is there already or cannot be written.
    """
    expect("torch", "Writing a checkpoint")
    target = Path(folder)
    if target.exists():
        raise OutputError(f"Cannot write {folder}: it is there already; name another folder.")
    temporary = target.with_name(f".{target.name[:100]}.{uuid.uuid4().hex[:12]}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with Archive(path) as archive:
            _write_model(archive, temporary, target.name, step)
        os.replace(temporary, target)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"Cannot write {folder}: {reason(error)}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_model(archive: Archive, folder: Path, name: str, step: int) -> None:
    index, numbers = archive.index.at(step), archive.index.bricks_of(step)
    folder.mkdir()
    if len(index.bricks) == 1:
        (brick,) = index.bricks
        alone = {"ensemble": False, "extents": None, "ensemble_grid": "1,1,1", "save_name": name}
        _write_network(archive, numbers[0], folder, alone, brick)
        return
    places, counts = _places(index)
    parent = {**_options(index), "save_name": name, "full_shape": list(index.dims)}
    parent.update(ensemble=True, extents=None, ensemble_grid=_text(counts), grid_index="1,1,1")
    for key in ("data_min", "data_max"):
        parent.pop(key, None)
    _write_options(folder, parent)
    for number, brick in enumerate(index.bricks):
        extents = _text([bound for s in brick.ghosted for bound in (s.start, s.stop)])
        options: dict[str, Any] = {
            "ensemble": False,
            "extents": extents,
            "save_name": f"{name}/{extents}",
            "grid_index": _text(places[number]),
            "ensemble_grid": "1,1,1",
            "ensemble_ghost_cells": 0,
        }
        (folder / extents).mkdir()
        _write_network(archive, numbers[number], folder / extents, options, brick)


def _write_network(
    archive: Archive, number: int, folder: Path, options: dict[str, Any], brick: BrickRecord
) -> None:
    import torch

    index = archive.index
    if brick.state not in ("network", "constant"):
        raise ArchiveError(
            f"Brick {number} of {archive.path} has no values ({brick.state}), which the original "
            "cannot express; train the brick, or export another model."
        )
    low, high = index.value_range(brick)
    state = archive.load_brick(number)
    if brick.state == "constant":
        # The range has no extent, so whatever the network answers becomes the value.
        shapes = parameter_shapes(index.network_of(brick), len(index.components))
        state = {name: np.zeros(shape, dtype=np.float32) for name, shape in shapes.items()}
    tensors = {
        name: torch.from_numpy(np.ascontiguousarray(value))
        for name, value in _tensors(index.network, state).items()
    }
    # The default pickle protocol is older than the original's, and also read by PyTorch's safe
    # loader, which is what it loads with unless told otherwise.
    torch.save({"state_dict": tensors}, folder / "model.ckpt.tar")
    about = {"data_min": _number(low), "data_max": _number(high)}
    shape = {
        "full_shape": list(brick.ghosted_dims),
        "feature_grid_shape": _text(index.network_of(brick).grid_shape),
    }
    _write_options(folder, {**_options(index), **options, **about, **shape})


def _tensors(network: NetworkConfig, state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    matrices = [state[f"decoder.{i}.weight"] for i in range(network.layers + 1)]
    if network.hash_scheme == "original":
        parts = np.split(state["feature_grids"], network.grids)
        found = dict(zip(table_names(network.grids), parts))
        for number, (weight, bias) in enumerate(biased_layer_names(network.layers)):
            found[weight], found[bias] = matrices[number], state[f"decoder.{number}.bias"]
        return found
    if network.encoder == "hash":
        tables = state["feature_grids"].ravel()
        return {"model.params": np.concatenate([list_from_matrices(matrices), tables])}
    decoder = dict(zip(layer_names(network.layers), matrices))
    if network.encoder == "dense":
        return {"feature_grid": state["feature_grids"], **decoder}
    maps = np.zeros((network.grids, 4, 4), dtype=np.float32)
    maps[:, :3], maps[:, 3, 3] = state["transforms"], 1.0
    return {
        "encoder.transformation_matrices": maps,
        "encoder.feature_grids": state["feature_grids"],
        **decoder,
    }


def _options(index: ModelIndex) -> dict[str, Any]:
    """Return the options of all bricks; what an imported model came with is kept."""
    network = index.network
    original = index.training.config.get("original")
    return {
        **(original if isinstance(original, dict) else {"data": index.source.path}),
        "model": _MODELS[network.encoder],
        "n_dims": 3,
        "n_outputs": len(index.components),
        "n_features": network.features,
        "n_grids": network.grids,
        "feature_grid_shape": _text(network.grid_shape),
        "n_layers": network.layers,
        "nodes_per_layer": network.width,
        "num_positional_encoding_terms": network.positional_terms,
        "hash_log2_size": network.hash_log2_size,
        "hash_base_resolution": network.hash_base_resolution,
        "hash_max_resolution": network.hash_max_resolution,
        "requires_padded_feats": False,
        "use_bias": False,
        "align_corners": True,
    }


def _places(index: ModelIndex) -> tuple[list[tuple[int, ...]], tuple[int, ...]]:
    """Return each brick's place in the grid of bricks (z, y, x), and how many there are."""
    starts = [sorted({brick.extent[axis].start for brick in index.bricks}) for axis in range(3)]
    counts = tuple(map(len, starts))
    places = [
        tuple(starts[axis].index(brick.extent[axis].start) for axis in range(3))
        for brick in index.bricks
    ]
    if np.prod(counts) != len(index.bricks) or len(set(places)) != len(places):
        raise ArchiveError(
            "The original knows grids of bricks only, and the model's bricks are no grid; train "
            "with --bricks to export it."
        )
    return places, counts


def _write_options(folder: Path, options: dict[str, Any]) -> None:
    text = json.dumps(options, sort_keys=True, indent=4)
    (folder / "options.json").write_text(text, encoding="utf-8")


def _number(values: tuple[float, ...]) -> float | list[float]:
    return values[0] if len(set(values)) == 1 else list(values)


def _text(numbers: Any) -> str:
    return ",".join(str(int(n)) for n in numbers)
