"""Folders as the original code writes them, small and untrained."""

from __future__ import annotations

import json
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
    folder: Path, extents: list[tuple[int, ...]], shape: tuple[int, int, int]
) -> Path:
    """Write an ensemble with a brick for each of the extents z0, z1, y0, y1, x0, x1."""
    write_options(
        folder, ensemble=True, full_shape=list(shape), data_min=..., data_max=..., extents=None
    )
    for seed, bounds in enumerate(extents):
        text = ",".join(map(str, bounds))
        sides = np.subtract(bounds[1::2], bounds[::2]).tolist()
        write_original(
            folder / text,
            adaptive_tensors(OPTIONS, seed),
            extents=text,
            full_shape=sides,
            data_max=6.0 + seed,
        )
    return folder
