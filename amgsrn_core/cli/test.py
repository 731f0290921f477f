"""``amgsrn test``: measure a model against the volume that it stands for."""

from __future__ import annotations

import argparse
import functools
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from amgsrn_core.cli.options import model_dates, model_step, names, variables
from amgsrn_core.cli.progress import Remaining, display
from amgsrn_core.cli.reference import reference_volume
from amgsrn_core.cli.report import (
    decibels,
    duration,
    figure,
    prepare_report,
    size,
    write_report,
)
from amgsrn_core.errors import (
    BoundError,
    ConfigurationError,
    NoRoomError,
    OutputError,
    did_you_mean,
)
from amgsrn_core.evaluation.measures import DEFAULT_TESTS, TESTS, Measures, output_files
from amgsrn_core.evaluation.metrics import Metrics
from amgsrn_core.field.open_models import open_model
from amgsrn_core.model import ModelIndex, archive_bytes, open_archive, read_index
from amgsrn_core.model.replacement import guard, mark_of
from amgsrn_core.system.json_fields import number_to_json
from amgsrn_core.system.output import ensure_writable, reason
from amgsrn_core.volume import Volume

# Tests that leave files.
_WRITING = {"error", "histogram", "feature-density", "feature-locations"}


def run(arguments: argparse.Namespace) -> int:
    """Carry out the chosen tests and report them."""
    tests = _chosen(arguments.tests)
    prepare_report(arguments.json)
    archive = open_archive(arguments.model)
    series = archive.index
    every = arguments.time == "all"
    steps = range(series.steps) if every else [model_step(series, arguments.time)]
    time = None if every or series.steps > 1 else arguments.time
    chosen = variables(arguments.variable, arguments.against)
    folder = _folder(arguments) if _WRITING & set(tests) else None
    todo = []
    for step in steps:
        volume = reference_volume(arguments.against, chosen, series.at(step), time)
        own = folder / f"step-{step:04d}" if folder and every else folder
        if own is not None:
            own.mkdir(exist_ok=True)
            _refuse_files(own, tests, volume, arguments)
        todo.append((step, volume, own))

    model = open_model(archive, arguments.device, backend=arguments.backend, verify=True)
    measured = []
    with display("testing") as shown:
        remaining = Remaining()

        def report(number: int, done: float) -> None:
            share = (number + done) / len(todo)
            shown.update(share, [remaining.text(share)])

        for number, (step, volume, own) in enumerate(todo):
            measures = Measures(
                model.at(step),
                volume,
                tests,
                own,
                report=functools.partial(report, number),
                made_by=mark_of("test", arguments.model),
                force=arguments.force,
            )
            metrics = measures.compare(arguments.anyway)
            extra, failure = _extra(measures)
            results = _results(arguments, series.at(step), metrics, extra)
            results["bound"] = _bounds(series.at(step), metrics, volume)
            measured.append((results, metrics, volume, failure))
    if arguments.store:
        _store(arguments, chosen)
    if every:
        _report_steps(arguments, series, [each[:2] for each in measured])
    else:
        ((results, metrics, volume, _),) = measured
        write_report(results, _rows(results, metrics, volume), arguments.json)
    for results, metrics, _, failure in measured:
        if failure is not None:
            raise failure  # after what was measured, which is not lost with a table
        if results["bound"] is not None:
            _refuse_broken(results["bound"], metrics)
    return 0


def _results(
    arguments: argparse.Namespace, index: ModelIndex, metrics: Metrics, extra: dict[str, Any]
) -> dict[str, Any]:
    compressed = archive_bytes(arguments.model)
    return {
        "model": os.fspath(arguments.model),
        "against": os.fspath(arguments.against),
        "variable": index.name,
        "time": number_to_json(index.times[0]) if index.times else None,
        "date": next(iter(model_dates(index)), None),
        **metrics.to_json(),
        "compressed_bytes": compressed,
        "ratio": index.source.bytes / compressed,
        **extra,
    }


def _report_steps(
    arguments: argparse.Namespace,
    series: ModelIndex,
    steps: list[tuple[dict[str, Any], Metrics]],
) -> None:
    """Write a table with a row for each time step, and their mean PSNR."""
    known = [metrics.psnr for _, metrics in steps if math.isfinite(metrics.psnr)]
    mean = sum(known) / len(known) if known else math.nan
    results = {
        "model": os.fspath(arguments.model),
        "against": os.fspath(arguments.against),
        "variable": series.name,
        "psnr": mean if known else None,
        "steps": [each for each, _ in steps],
    }
    rows = [("variable", series.name), ("step", _columns("PSNR", "RMSE", "max error", "time"))]
    for number, (each, metrics) in enumerate(steps):
        when = each["date"] or ("" if each["time"] is None else figure(float(each["time"])))
        step = series.time.steps[number] if series.time and series.time.steps else number
        shown = decibels(metrics.psnr), figure(metrics.rmse), figure(metrics.max_error), when
        rows.append((str(step), _columns(*shown)))
    rows.append(("mean PSNR", decibels(mean)))
    write_report(results, rows, arguments.json)


def _columns(*texts: str) -> str:
    return "  ".join(f"{text:<11}" for text in texts).rstrip()


def _refuse_broken(kept: dict[str, Any], metrics: Metrics) -> None:
    if kept["kept"]:
        return
    lack = f"; {metrics.missing_voxels:,} voxels lack a value" if metrics.missing_voxels else ""
    raise BoundError(
        f"The model breaks its bound: errors are to be at most {_all(kept['limits'])}, and "
        f"are up to {_all(kept['errors'])}{lack}."
    )


def _store(arguments: argparse.Namespace, chosen: tuple[str, ...] | None) -> None:
    """Add the errors of the model's parts, of all its time steps, to its file."""
    from amgsrn_core.runs.annotation import store_errors

    index = read_index(arguments.model)

    @functools.lru_cache(maxsize=1)
    def reference(step: int) -> Volume:
        time = None if index.steps > 1 else arguments.time
        return reference_volume(arguments.against, chosen, index.at(step), time)

    with display("storing") as shown:
        store_errors(
            arguments.model,
            reference,
            device=arguments.device,
            backend=arguments.backend,
            observer=lambda done: shown.update(done, []),
        )


def _bounds(index: ModelIndex, metrics: Metrics, volume: Volume) -> dict[str, Any] | None:
    """Return what the model promises of each component's errors, and whether that is kept.

    It promises something at the voxels of its own data only.
    """
    storage = index.storage
    if not storage.is_bounded or volume.dims != index.dims or not metrics.voxels:
        return None
    limits = []
    for part in metrics.per_component:
        limit = storage.max_error or math.inf
        if storage.max_relative_error and part.maximum > part.minimum:
            limit = min(limit, storage.max_relative_error * (part.maximum - part.minimum))
        limits.append(limit)
    errors = [part.max_error for part in metrics.per_component]
    kept = not metrics.missing_voxels and all(e <= limit for e, limit in zip(errors, limits))
    return {"limits": [number_to_json(limit) for limit in limits], "errors": errors, "kept": kept}


def _all(values: list[float]) -> str:
    return ", ".join(figure(float(value)) for value in values)


def _extra(measures: Measures) -> tuple[dict[str, Any], NoRoomError | None]:
    try:
        return measures.extra(), None
    except NoRoomError as error:
        return {}, error


def _chosen(values: list[str] | None) -> tuple[str, ...]:
    chosen = names(values) or DEFAULT_TESTS
    unknown = [name for name in chosen if name not in TESTS]
    if unknown:
        raise ConfigurationError(
            f"There is no test {', '.join(unknown)}; --tests takes {', '.join(TESTS)}"
            f"{did_you_mean(unknown[0], TESTS) or '.'}"
        )
    return tuple(dict.fromkeys(chosen))


def _folder(arguments: argparse.Namespace) -> Path:
    folder = Path(arguments.output_dir or f"{Path(arguments.model).stem}-test")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot make the folder {folder}: {reason(error)}.") from error
    ensure_writable(folder / "probe")
    return folder


def _refuse_files(
    folder: Path, tests: tuple[str, ...], volume: Volume, arguments: argparse.Namespace
) -> None:
    """Refuse what the tests would write over files that must not be lost."""
    for path, kind in output_files(folder, tests, volume):
        guard(
            path,
            kind,
            by=arguments.command,
            inputs=[arguments.model, arguments.against],
            force=arguments.force,
        )


def _rows(results: dict[str, Any], metrics: Metrics, volume: Volume) -> Iterator[tuple[str, str]]:
    yield "variable", results["variable"]
    if results["time"] is not None:
        yield "time", results["date"] or figure(float(results["time"]))
    yield "PSNR", decibels(metrics.psnr)
    if results["ssim"] is not None:
        yield "SSIM", figure(metrics.ssim)
    unit = volume.units[0] if volume.n_components == 1 else ""
    yield "RMSE", figure(metrics.rmse, unit)
    yield "max error", figure(metrics.max_error, unit)
    if results["bound"] is not None:
        word = "kept" if results["bound"]["kept"] else "BROKEN"
        yield "error bound", f"{_all(results['bound']['limits'])}: {word}"
    yield "NRMSE", figure(metrics.nrmse)
    yield "value range", figure(metrics.value_range, unit)
    if volume.n_components > 1:
        for part in metrics.per_component:
            yield (
                f"  {part.name}",
                f"PSNR {decibels(part.psnr)}, RMSE {figure(part.rmse, part.units)}, "
                f"max error {figure(part.max_error, part.units)}",
            )
    nothing = "" if metrics.voxels else ": neither the volume nor the model has a value"
    yield "voxels", f"{metrics.voxels:,}{nothing}"
    if metrics.missing_voxels:
        yield "missing", f"{metrics.missing_voxels:,} voxels have a value only in the volume"
    yield "size", f"{size(results['compressed_bytes'])}, {figure(results['ratio'], digits=3)} : 1"
    if "throughput" in results:
        speed = results["throughput"]
        yield (
            "throughput",
            (
                f"{speed['points_per_second'] / 1e6:.3g} M points/s "
                f"({speed['device']}, {speed['threads']} threads, {duration(speed['seconds'])})"
            ),
        )
    for path in results.get("files", ()):
        yield "written", path
