"""Folders as the original code writes them, small and untrained, and what it answers for them."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

OPTIONS: dict[str, Any] = {
    "model": "APMGSRN",
    "data": "wind.nc",
    "n_dims": 3,
    "n_outputs": 1,
    "n_features": 2,
    "n_grids": 3,
    "feature_grid_shape": "3,4,5",
    "n_layers": 2,
    "nodes_per_layer": 16,
    "full_shape": [6, 7, 8],
    "data_min": -2.0,
    "data_max": 6.0,
    "ensemble": False,
    "extents": None,
    "iterations": 100,
}


def adaptive_tensors(options: dict[str, Any], seed: int = 0) -> dict[str, torch.Tensor]:
    """Return random tensors of an APMGSRN."""
    random = torch.Generator().manual_seed(seed)
    grids, features = options["n_grids"], options["n_features"]
    shape = [int(n) for n in options["feature_grid_shape"].split(",")]
    maps = torch.eye(4).repeat(grids, 1, 1)
    maps[:, :3] += 0.05 * torch.randn(grids, 3, 4, generator=random)
    return {
        "encoder.transformation_matrices": maps,
        "encoder.feature_grids": torch.randn(grids, features, *shape, generator=random),
        **decoder_tensors(options, grids * features, seed),
    }


def successor_tensors(options: dict[str, Any], seed: int = 0) -> dict[str, torch.Tensor]:
    """Return random tensors of an AMGSRN++, its grids turned about z."""
    tensors = adaptive_tensors(options, seed)
    maps = tensors.pop("encoder.transformation_matrices")
    angles = 0.2 * torch.arange(len(maps)) + 0.1 * seed
    zeros = torch.zeros(len(maps))
    return {
        "_scales": torch.log(maps.diagonal(dim1=1, dim2=2)[:, :3]),
        "_rotations": torch.stack([zeros, zeros, torch.sin(angles / 2), torch.cos(angles / 2)], 1),
        "translations": maps[:, :3, 3].clone(),
        "feature_grids": tensors.pop("encoder.feature_grids"),
        **tensors,
    }


def decoder_tensors(options: dict[str, Any], inputs: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return random layers of a decoder."""
    random = torch.Generator().manual_seed(seed + 1)
    width, layers = options["nodes_per_layer"], options["n_layers"]
    sizes = [inputs, *[width] * layers, options["n_outputs"]]
    names = [f"decoder.{i}.linear.weight" for i in range(layers)] + [f"decoder.{layers}.weight"]
    return {
        name: 0.3 * torch.randn(after, before, generator=random)
        for name, before, after in zip(names, sizes, sizes[1:])
    }


def write_original(
    folder: Path, tensors: dict[str, torch.Tensor], checkpoint: str = "model.ckpt.tar", **options
) -> Path:
    """Write a folder of `SavedModels` as the original does; `options` change OPTIONS."""
    folder.mkdir(parents=True, exist_ok=True)
    write_options(folder, **options)
    torch.save({"state_dict": tensors}, folder / checkpoint, pickle_protocol=4)
    return folder


def write_options(folder: Path, **options: Any) -> None:
    """Write `options.json`; an option that is `...` is left out."""
    folder.mkdir(parents=True, exist_ok=True)
    values = {k: v for k, v in {**OPTIONS, **options}.items() if v is not ...}
    (folder / "options.json").write_text(json.dumps(values, sort_keys=True, indent=4))


def write_ensemble(
    folder: Path,
    extents: list[tuple[int, ...]],
    shape: tuple[int, int, int],
    tensors: Callable[[dict[str, Any], int], dict[str, torch.Tensor]] = adaptive_tensors,
) -> Path:
    """Write an ensemble with a brick for each of the extents z0, z1, y0, y1, x0, x1."""
    starts = [sorted({bounds[axis] for bounds in extents}) for axis in (0, 2, 4)]
    grid = ",".join(str(len(axis)) for axis in starts)
    write_options(
        folder,
        ensemble=True,
        ensemble_grid=grid,
        full_shape=list(shape),
        data_min=...,
        data_max=...,
        extents=None,
    )
    for seed, bounds in enumerate(extents):
        text = ",".join(map(str, bounds))
        sides = np.subtract(bounds[1::2], bounds[::2]).tolist()
        place = [axis.index(start) for axis, start in zip(starts, bounds[::2])]
        write_original(
            folder / text,
            tensors(OPTIONS, seed),
            extents=text,
            full_shape=sides,
            grid_index=",".join(map(str, place)),
            data_max=6.0 + seed,
        )
    return folder


def grid_extents(
    shape: tuple[int, int, int], grid: tuple[int, int, int], ghost: int
) -> list[tuple[int, ...]]:
    """Return the extents that the original trains for an `ensemble_grid`."""
    ranges = [
        [(max(0, k * n // g - ghost), min(n, (k + 1) * n // g + ghost)) for k in range(g)]
        for n, g in zip(shape, grid)
    ]
    return [(*z, *y, *x) for z, y, x in itertools.product(*ranges)]


def answer(
    tensors: dict[str, torch.Tensor], options: dict[str, Any], points: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Evaluate an APMGSRN as its paper says: values [N, 1] and feature density [N].

    Points [N, 3] are in [-1, 1]^3, columns x, y, z. Everything is computed in float64.
    """
    tensors = {name: tensor.double() for name, tensor in tensors.items()}
    maps = _maps(tensors)
    local = torch.einsum("gij,nj->gni", maps[:, :, :3], points) + maps[:, None, :, 3]
    grids = tensors.get("encoder.feature_grids", tensors.get("feature_grids"))
    features = torch.nn.functional.grid_sample(grids, local[:, None, None], align_corners=True)
    hidden = features.flatten(0, 3).T
    layers = [value for name, value in tensors.items() if name.startswith("decoder")]
    for layer in layers[:-1]:
        hidden = torch.relu(hidden @ layer.T)
    low, high = options["data_min"], options["data_max"]
    boxes = torch.exp(-0.5 * (local**20).sum(-1))
    density = torch.linalg.det(maps[:, :, :3]) / (2 * math.pi) ** 1.5 @ boxes
    return hidden @ layers[-1].T * (high - low) + low, density


def _maps(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the maps [G, 3, 4]; those of a successor only if they turn about z."""
    if "_scales" not in tensors:
        return tensors["encoder.transformation_matrices"][:, :3]
    x, y, z, w = tensors["_rotations"].T
    assert not x.any() and not y.any()
    angles = 2 * torch.atan2(z, w)
    turns = torch.eye(3, dtype=torch.float64).repeat(len(angles), 1, 1)
    turns[:, 0, 0] = turns[:, 1, 1] = torch.cos(angles)
    turns[:, 1, 0], turns[:, 0, 1] = torch.sin(angles), -torch.sin(angles)
    linear = turns * torch.exp(tensors["_scales"])[:, None]
    return torch.cat([linear, tensors["translations"][:, :, None]], dim=2)


def ensemble_answer(folder: Path, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Evaluate an ensemble by the published lookup, otherwise like :func:`answer`."""
    about = json.loads((folder / "options.json").read_text())
    grid = torch.tensor([int(n) for n in about["ensemble_grid"].split(",")])
    last = torch.tensor(about["full_shape"]).double() - 1
    # Columns are x, y, z; everything that the files list is z, y, x.
    places = (((points.detach() + 1) / 2).clamp(0, 0.99).flip(1) * grid).floor().long()
    values, density = torch.zeros(len(points), 1).double(), torch.zeros(len(points)).double()
    answered = torch.zeros(len(points), dtype=torch.long)
    for brick in sorted(path for path in folder.iterdir() if path.is_dir()):
        options = json.loads((brick / "options.json").read_text())
        place = torch.tensor([int(n) for n in options["grid_index"].split(",")])
        bounds = torch.tensor([float(n) for n in options["extents"].split(",")]).double()
        low, high = ((2 * ends / last - 1).flip(0) for ends in (bounds[::2], bounds[1::2] - 1))
        (mine,) = (places == place).all(1).nonzero(as_tuple=True)
        (checkpoint,) = brick.glob("model.ckpt*")
        tensors = torch.load(checkpoint, weights_only=False)["state_dict"]
        some = answer(tensors, options, -1 + 2 * (points[mine] - low) / (high - low))
        values, density = values.index_add(0, mine, some[0]), density.index_add(0, mine, some[1])
        answered[mine] += 1
    assert (answered == 1).all()
    return values, density
