"""``amgsrn info``: what a model file says about itself."""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from amgsrn_core.cli.options import model_dates, model_step
from amgsrn_core.cli.report import (
    decibels,
    duration,
    figure,
    interval,
    prepare_report,
    size,
    write_report,
)
from amgsrn_core.config import NetworkConfig
from amgsrn_core.errors import ArchiveError
from amgsrn_core.kernels.backend import backend_name
from amgsrn_core.model import Archive, ModelIndex, archive_bytes, read_index, verify_archive
from amgsrn_core.model.correction_codes import CORRECTIONS, read_corrections
from amgsrn_core.model.error_codes import ERRORS, unpack_errors
from amgsrn_core.model.index import BrickRecord
from amgsrn_core.system.json_fields import number_to_json
from amgsrn_core.system.output import ensure_writable, replacing
from amgsrn_core.volume.times import time_dates, time_text
from amgsrn_core.volume.vtk.known import SAMPLING


def run(arguments: argparse.Namespace) -> int:
    """Describe a model file, and with ``--verify`` check its bytes."""
    prepare_report(arguments.json)
    if arguments.history:
        ensure_writable(arguments.history)
    read = verify_archive if arguments.verify else read_index
    index = read(arguments.model)
    if arguments.time is not None:
        index = index.at(model_step(index, arguments.time))
    results = describe(index, arguments.model)
    results["verified"] = True if arguments.verify else None
    results["errors"] = _errors(arguments)
    if arguments.history:
        _write_history(arguments.model, arguments.history)
    write_report(results, _rows(index, results), arguments.json)
    return 0


def _write_history(model: str, path: str) -> None:
    """Write the rows of the training history as comma-separated values."""
    with Archive(model) as archive:
        columns = archive.index.history_columns
        for number in range(len(archive.index.bricks)):
            history = archive.load_brick(number).get("history")
            if history is not None:
                break
        else:
            raise ArchiveError(f"{model} has no training history; only models trained here do.")
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([f"{value:.10g}" for value in row] for row in history)


def _errors(arguments: argparse.Namespace) -> dict[str, Any] | None:
    """Return a summary of the errors of the model's parts, None where the file tells none."""
    with Archive(arguments.model) as archive:
        index = archive.index
        count = len(index.components)
        numbers = range(len(index.bricks))
        if arguments.time is not None:
            numbers = index.bricks_of(model_step(index, arguments.time))
        edges, each, margins = set(), [], np.zeros(count)
        for number in numbers:
            record, state = index.bricks[number], archive.load_brick(number, decode=False)
            limits = np.full(count, np.inf)
            if CORRECTIONS in state:
                read = read_corrections(state[CORRECTIONS], record.ghosted_dims, count)
                margins, limits = np.maximum(margins, read.margins), read.limits
            if ERRORS in state:
                errors = unpack_errors(state[ERRORS], record.extent, count)
                edges.add(errors.edge)
                values = np.moveaxis(errors.values(), 1, 0).reshape(count, 2, -1)
                each.append(np.minimum(values, limits[:, None, None]))
    if not each:
        return None
    storage = index.storage
    largest, rms = np.moveaxis(np.concatenate(each, axis=2), 1, 0)
    quantiles = [50.0, 90.0, 99.0, 100.0]
    return {
        "cells": int(largest.shape[1]),
        "edges": sorted(edges),
        "max_error_percentiles": _percentiles(largest, quantiles),
        "rms_error_percentiles": _percentiles(rms, quantiles),
        "percentiles": quantiles,
        "max_error": storage.max_error or None,
        "max_relative_error": storage.max_relative_error or None,
        "margin": margins.tolist() if storage.is_bounded else None,
    }


def _percentiles(values: np.ndarray, quantiles: list[float]) -> list[list[float | str | None]]:
    """Return percentiles of each component's cells that have a value."""
    rows = [row[~np.isnan(row)] for row in values]
    return [
        [number_to_json(float(v)) for v in np.percentile(row, quantiles)] if len(row) else []
        for row in rows
    ]


def _error_rows(index: ModelIndex, errors: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what there is to say of the errors of the model's parts."""
    if errors["margin"] is not None:
        bounds = [
            figure(value, unit)
            for value, unit in (
                (errors["max_error"], "in the data's units"),
                (errors["max_relative_error"], "of the range"),
            )
            if value
        ]
        taken = ", ".join(figure(value) for value in errors["margin"])
        yield "error bound", f"{' and '.join(bounds)}; {taken} of it for rounding elsewhere"
    edges = ", ".join(map(str, errors["edges"]))
    yield "errors known in", f"{errors['cells']:,} cells of {edges} voxels, rounded upwards"
    for name, units, largest, rms in zip(
        index.components,
        index.units,
        errors["max_error_percentiles"],
        errors["rms_error_percentiles"],
    ):
        if largest:
            half, most = (figure(float(largest[i]), units) for i in (0, 3))
            yield f"largest error of {name}", f"{half} in half of the cells, at most {most}"
            half, most = (figure(float(rms[i]), units) for i in (0, 3))
            yield f"RMS error of {name}", f"{half} in half of the cells, at most {most}"


def describe(index: ModelIndex, path: str) -> dict[str, Any]:
    """Return everything about a model as plain JSON types with stable names."""
    values = index.to_json()
    compressed = archive_bytes(path)
    return {
        "path": os.fspath(path),
        "format_version": values["version"],
        "variable": index.name,
        "components": values["components"],
        "units": values["units"],
        "dims": list(index.dims),
        "origin": list(index.geometry.origin),
        "spacing": list(index.geometry.spacing),
        "bounds": list(index.geometry.bounds),
        "direction": index.geometry.direction.tolist(),
        "uniform": index.geometry.is_uniform,
        "value_minimum": values["value_minimum"],
        "value_maximum": values["value_maximum"],
        "missing": values["missing"],
        "time": values["time"],
        "steps": index.steps,
        "times": [number_to_json(time) for time in index.times],
        "dates": model_dates(index),
        "bricks": len(index.bricks),
        "per_brick": values["bricks"],
        "network": values["network"],
        "holes": list(index.holes),
        "parameters": index.n_parameters,
        "storage": values["storage"],
        "bytes": compressed,
        "float32_bytes": 4 * index.n_parameters,
        "source": values["source"],
        "ratio": index.source.bytes / compressed,
        "psnr": index.psnr,
        "step_psnr": [index.at(step).psnr for step in range(index.steps)],
        "training": values["training"],
        "sampling": index.attributes.file.get(SAMPLING) if index.attributes else None,
        "backend_default": backend_name("cpu"),
    }


def _box(ends: Sequence[float]) -> str:
    return ", ".join(
        f"{axis} {interval(ends[i], ends[i + 1])}" for axis, i in (("x", 0), ("y", 2), ("z", 4))
    )


def _rows(index: ModelIndex, results: dict[str, Any]) -> Iterator[tuple[str, str]]:
    network, source = index.network, index.source
    yield "model", results["path"]
    yield "variable", _variable(index)
    yield "dims (z, y, x)", " x ".join(map(str, index.dims))
    uneven = [axis.name for axis in index.geometry.axes if not axis.is_uniform]
    yield "bounds", _box(index.geometry.bounds)
    if uneven:
        yield "uneven axes", ", ".join(uneven)
    if index.coordinates is not None:
        yield "curvilinear grid", f"in index space; in the world {_box(index.coordinates.bounds)}"
    if results["sampling"]:
        yield "sampling", results["sampling"]
    for name, units, low, high in zip(
        index.components, index.units, index.value_minimum, index.value_maximum
    ):
        yield f"range of {name}", interval(low, high, units)
    if index.missing is not None and any(brick.masked for brick in index.bricks):
        yield "missing voxels", index.missing.meaning
    if index.time is not None and index.steps > 1:
        time, steps = index.time, index.time.steps
        first, last = (time_text(time, steps[end]) for end in (0, -1))
        yield "time steps", f"{index.steps} of {len(time.values)}, {first} to {last}"
    elif index.time is not None:
        step = f"index {index.time.index} of {len(index.time.values)}"
        yield "time step", f"{step}: {time_text(index.time, index.time.index)}"
    yield "bricks" if index.steps == 1 else "bricks of all steps", _bricks(index.bricks)
    yield (
        "network",
        (
            f"{_encoder(network)}, decoder {network.layers} x {network.width}, "
            f"{results['parameters']:,} parameters"
        ),
    )
    ratio = figure(results["ratio"], digits=3)
    yield "size", f"{size(results['bytes'])} ({_storage(index, results)})"
    yield "compression", f"{ratio} : 1 of {size(source.bytes)} ({source.dtype})"
    if results["psnr"] is not None:
        mean = ", mean of the steps" if index.steps > 1 else ""
        yield "PSNR when trained", decibels(results["psnr"]) + mean
    if index.steps > 1:
        yield from _steps(index, results["step_psnr"])
    if results["errors"] is not None:
        yield from _error_rows(index, results["errors"])
    yield "trained on", source.path
    training = index.training
    yield "trained for", f"{training.iterations_done} iterations, {duration(training.seconds)}"
    major, minor = index.version
    yield "format", f"{major}.{minor}"
    if results["verified"]:
        yield "verified", "all checksums agree"


def _steps(index: ModelIndex, psnr: list[float | None]) -> Iterator[tuple[str, str]]:
    """Yield the PSNR of each step of a series."""
    time = index.time
    assert time is not None
    dates = time_dates(time)
    for step, value in zip(time.steps, psnr):
        when = dates[step] if dates else f"{time.values[step]:.10g} {time.units}".rstrip()
        yield f"  step {step}", f"{decibels(value)}, {when}"


def _storage(index: ModelIndex, results: dict[str, Any]) -> str:
    if not index.storage.compress:
        return index.storage.dtype
    ratio = figure(results["float32_bytes"] / results["bytes"], digits=3)
    return f"compressed, {ratio} : 1 of its numbers as float32"


def _encoder(network: NetworkConfig) -> str:
    shape = " x ".join(map(str, network.grid_shape))
    if network.encoder == "dense":
        terms = network.positional_terms
        return f"dense grid of {shape} x {network.features} with {terms} positional octaves"
    if network.encoder == "hash":
        low, high = network.hash_base_resolution, network.hash_max_resolution
        levels = f"hash grid of {network.grids} levels from {low} to {high} x {network.features}"
        return levels if network.hash_scheme == "tiny-cuda-nn" else f"{levels} (the original's)"
    return f"{network.grids} grids of {shape} x {network.features}"


def _bricks(bricks: tuple[BrickRecord, ...]) -> str:
    words = {"constant": "constant", "empty": "without values", "missing": "missing"}
    counts = {word: sum(b.state == state for b in bricks) for state, word in words.items()}
    notes = [f"{count} {word}" for word, count in counts.items() if count]
    if len(bricks) > 1 and any(brick.domain is not None for brick in bricks):
        notes.append("not blended")
    return f"{len(bricks)} ({', '.join(notes)})" if notes else str(len(bricks))


def _variable(index: ModelIndex) -> str:
    if index.components == (index.name,):
        return index.name
    return f"{index.name} ({', '.join(index.components)})"
