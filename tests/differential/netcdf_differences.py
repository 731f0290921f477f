"""What the reader makes of a file, against what the file means and against xarray."""

from __future__ import annotations

import logging
import re
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import xarray
from netcdf_conventions import AxisMeaning, Meaning, Step, meaning_of
from netcdf_files import SECOND, write
from netcdf_recipes import Recipe

import amgsrn_core.volume.volume
from amgsrn_core.errors import AmgsrnError
from amgsrn_core.volume import Volume, open_series, open_volume


@dataclass
class Difference:
    """One thing that is not as it should be: its kind, for counting, and the particulars."""

    kind: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}"


def tolerance(values: np.ndarray, dtype: np.dtype) -> float:
    """Return how far numbers of a type may be from float64 values; the one place that says so."""
    size = float(np.abs(values).max(initial=0.0))
    # Half a unit of the last place, and what float64 itself rounds.
    return size * (float(np.finfo(dtype).eps) / 2 + float(np.finfo(np.float64).eps))


def differences(recipe: Recipe) -> list[Difference]:
    """Write the file of a recipe, read it, and return all that differs."""
    meaning = meaning_of(recipe)
    with tempfile.TemporaryDirectory() as folder:
        path = write(recipe, Path(folder) / "file.nc")
        found = list(_xarray_differs(recipe, meaning, path))
        variables = [recipe.name] if recipe.second is None else [recipe.name, SECOND]
        names = [f"{recipe.group}/{variable}".strip("/") for variable in variables]
        with _told() as told:
            try:
                found += _reader_differs(recipe, meaning, path, names, told)
            except Exception as error:
                named = type(error).__name__
                words = re.sub(r"\([^)]*\)|'[^']*'|\d[\d.e+-]*", "_", str(error))
                found.append(Difference(f"{named}, {words}", str(error)))
    return found


def report(recipe: Recipe, found: list[Difference]) -> str:
    """Return what differs, and the recipe that makes the file again."""
    return "\n".join(
        [*map(str, found), "The file is written by netcdf_files.write of", repr(recipe)]
    )


# --- the reader


def _reader_differs(
    recipe: Recipe, meaning: Meaning, path: Path, names: list[str], told: list[str]
) -> Iterator[Difference]:
    if not meaning.is_volume:
        reasons = ("dimensions", "fewer than 2 samples")
        yield from _must_refuse("open", lambda: open_volume(path, names), *reasons)
        return
    step = recipe.step if meaning.times is not None else None
    volume = open_volume(path, names, step)
    yield from _axes_differ(meaning, volume, told)
    yield from _times_differ(meaning, volume, step)
    types = [field.reads_as for field in meaning.fields]
    if volume.source_dtype.newbyteorder("=") != np.result_type(*types):
        yield Difference("type", f"{volume.source_dtype}, not {types}")
    yield from _values_differ(meaning, volume, step or 0, recipe.cuts)
    if meaning.times is not None:
        yield from _series_differs(meaning, path, names)
    if len(names) > 1:
        yield from _must_refuse("two variables, no name", lambda: open_volume(path), "name the var")
    elif open_volume(path).dims != volume.dims:
        yield Difference("without a name", "another volume")


def _values_differ(
    meaning: Meaning, volume: Volume, step: int, cuts: tuple[tuple[int, int], ...]
) -> Iterator[Difference]:
    steps = [component[step] for component in meaning.components]
    if any(_is_infinite(each, volume).any() for each in steps):
        yield from _must_refuse("infinite values", volume.read, "infinite")
        return
    block = volume.read()
    shape = (len(steps), *steps[0].values.shape)
    if block.values.shape != shape:
        yield Difference("shape", f"{block.values.shape}, not {shape}")
        return
    valid = np.ones(shape[1:], bool) if block.valid is None else block.valid
    yield from _block_differs(meaning, steps, block.values, valid)
    _, ny, nx = shape[1:]
    whole = (slice(None), slice(None), slice(None))
    for extent in (tuple(slice(*cut) for cut in cuts), whole):
        # As small as the volume is, it is read in several pieces.
        with mock.patch.object(amgsrn_core.volume.volume, "_PIECE_BYTES", 4 * ny * nx):
            part = volume.read(extent)
        inside = np.ones(part.values.shape[1:], bool) if part.valid is None else part.valid
        if not np.array_equal(part.values, block.values[(slice(None), *extent)]):
            yield Difference("extent", f"values of {extent}")
        if not np.array_equal(inside, valid[extent]):
            yield Difference("extent", f"mask of {extent}")
    yield from _check_differs(volume, steps)


def _block_differs(
    meaning: Meaning, steps: list[Step], values: np.ndarray, valid: np.ndarray
) -> Iterator[Difference]:
    """Compare values [C, z, y, x] and the mask [z, y, x] of a step."""
    for step in steps:
        step.missing = np.where(step.either, ~valid, step.missing)
    missing = np.any([step.missing for step in steps], axis=0)
    cut, kept = ~valid & ~missing, valid & missing
    if cut.any() or kept.any():
        first = tuple(np.argwhere(cut if cut.any() else kept)[0].tolist())
        yield Difference(
            "values cut" if cut.any() else "missing values kept",
            f"{int(cut.sum())} values are masked and {int(kept.sum())} missing ones are not, of "
            f"{missing.size}; the first at {first}: {[step.values[first] for step in steps]}",
        )
        return
    if (values[:, missing] != 0).any():
        yield Difference("missing voxels", "are not 0")
    # Beside a component that needs double precision, another may come in single.
    dtype = values.dtype if len(steps) == 1 else np.dtype("f4")
    for field, step, got in zip(meaning.fields, steps, values):
        if missing.all():
            continue
        wanted, got = step.values[~missing], got[~missing]
        error = np.abs(got.astype(np.float64) - wanted).max()
        if error > (0.0 if field.fits_float32 else tolerance(wanted, dtype)):
            yield Difference("values", f"differ by up to {error:g}; {got[:4]}, not {wanted[:4]}")


def _check_differs(volume: Volume, steps: list[Step]) -> Iterator[Difference]:
    """Compare what a pass over all values says."""
    missing = np.any([step.missing for step in steps], axis=0)
    kept = np.stack([step.values[~missing].astype(_type_of(volume)) for step in steps])
    if missing.all():
        yield from _must_refuse("no value", volume.check, "no valid value")
    elif (kept.min(axis=1) == kept.max(axis=1)).all():
        yield from _must_refuse("constant", volume.check, "constant")
    else:
        summary = volume.check()
        if (summary.valid_count, summary.n_points) != (kept.shape[1], missing.size):
            yield Difference("summary", f"{summary.valid_count} of {summary.n_points}")


def _is_infinite(step: Step, volume: Volume) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.isinf(step.values.astype(_type_of(volume))) & ~step.missing


def _type_of(volume: Volume) -> np.dtype:
    """Return the type of the values that a volume gives."""
    return getattr(volume, "dtype", np.dtype("f4"))


def _axes_differ(meaning: Meaning, volume: Volume, told: list[str]) -> Iterator[Difference]:
    for axis, wanted in zip(volume.geometry.axes, meaning.axes):
        if axis.name != wanted.name or axis.size != wanted.size:
            yield Difference(
                "order of axes", f"{axis.name} {axis.size}, not {wanted.name} {wanted.size}"
            )
            return
        yield from _axis_differs(axis, wanted)
        is_told = any(f"'{wanted.name}'" in line for line in told)
        if wanted.odd and not is_told:
            yield Difference("axis: silence", f"that '{wanted.name}' is counted is not told")
    for name in meaning.unknown_names:
        if not any(name in line for line in told):
            yield Difference("coordinates: silence", f"that '{name}' is not found is not told")
    told = [line for line in told if "coordinate" in line]
    if told and not meaning.unknown_names and not any(a.odd or a.sloppy for a in meaning.axes):
        yield Difference("false alarm", told[0])


def _axis_differs(axis: Any, wanted: AxisMeaning) -> Iterator[Difference]:
    got = axis.coordinates
    if wanted.coordinates is None:
        if not np.array_equal(got, np.arange(wanted.size)):
            yield Difference("axis: foreign coordinates", f"{wanted.name} {got}, not counted")
        return
    offset = got - wanted.coordinates
    if wanted.around:
        offset = offset - 360.0 * np.round(offset[0] / 360.0)
    if np.abs(offset).max() > 1e-12 * np.abs(wanted.coordinates).max():
        yield Difference("axis: coordinates", f"{wanted.name} {got}, not {wanted.coordinates}")
    elif (axis.units, axis.standard_name) != (wanted.units, wanted.standard_name):
        yield Difference("axis: units", f"{wanted.name} {axis.units!r} {axis.standard_name!r}")


def _times_differ(meaning: Meaning, volume: Volume, step: Any) -> Iterator[Difference]:
    if meaning.times is None:
        # A dimension of one sample may be taken for time, as it is one of the reference.
        if volume.time is not None and len(volume.time.values) > 1:
            yield Difference("time", f"{volume.time}, but there is none")
        return
    if volume.time is None:
        yield Difference("time", "is not found")
    elif len(volume.time.values) != len(meaning.times):
        yield Difference("time", f"{len(volume.time.values)} steps, not {len(meaning.times)}")
    elif len(meaning.times) > 1:
        if not np.array_equal(volume.time.values, meaning.times, equal_nan=True):
            yield Difference("time", f"{volume.time.values}, not {meaning.times}")
        if (volume.time.name, volume.time.index) != (meaning.time_name, step):
            yield Difference("time", f"{volume.time.name} {volume.time.index}")


def _series_differs(meaning: Meaning, path: Path, names: list[str]) -> Iterator[Difference]:
    assert meaning.times is not None
    times = np.array(meaning.times)
    if len(set(meaning.times)) < len(meaning.times) or np.isnan(times).any():
        # CF 4.4: times of a dimension differ. Either it is told at once or whoever trains is.
        try:
            open_series(path, names)
        except AmgsrnError as error:
            yield from _is_a_sentence(error)
        return
    series = open_series(path, names)
    if len(times) == 1:
        return
    for step, time in enumerate(times.tolist()):
        found = open_volume(path, names, f"t={time!r}").time
        if found is None or found.index != step:
            yield Difference("time by its value", f"{time} is step {found}, not {step}")
    order = np.argsort(times).tolist()
    indices = [volume.time and volume.time.index for volume in series]
    if indices != order:
        yield Difference("series", f"{indices}, not {order}")
        return
    for volume, step in zip(series, order):
        steps = [component[step] for component in meaning.components]
        if any(_is_infinite(each, volume).any() for each in steps):
            continue
        block = volume.read()
        valid = np.ones(volume.dims, bool) if block.valid is None else block.valid
        yield from _block_differs(meaning, steps, block.values, valid)


def _must_refuse(what: str, action: Any, *reasons: str) -> Iterator[Difference]:
    try:
        action()
    except AmgsrnError as error:
        yield from _is_a_sentence(error)
        if not any(reason in str(error) for reason in reasons):
            yield Difference("untrue reason", f"{what}: {error}")
    else:
        yield Difference("not refused", what)


def _is_a_sentence(error: AmgsrnError) -> Iterator[Difference]:
    text = str(error)
    if "\n" in text or not text.endswith(".") or len(text) < 10:
        yield Difference("no sentence", text)


@contextmanager
def _told() -> Iterator[list[str]]:
    """Collect what the library tells."""
    told: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record.getMessage())

    handler = Handler(logging.WARNING)
    logger = logging.getLogger("amgsrn_core")
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield told
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate


# --- xarray


def _xarray_differs(recipe: Recipe, meaning: Meaning, path: Path) -> Iterator[Difference]:
    """Compare the two oracles, where xarray follows the conventions.

    It knows no valid ranges (so neither bytes that they make unsigned) and no default fill value.
    It gives the sign of `_Unsigned` to fill values, but not to missing values nor in big-endian
    variables. It looks for missing values after large integers have become floats.
    """
    numbers = recipe.numbers
    types = {name: dtype for name, dtype, _ in numbers.attributes}
    if types.keys() & {"valid_range", "valid_min", "valid_max"}:
        return
    if numbers.dtype != numbers.reads_as and (
        types.get("missing_value") == numbers.dtype or recipe.storage.endian == "big"
    ):
        return
    if numbers.dtype in ("i8", "u8") or (
        meaning.fields[0].packed and numbers.dtype in ("i4", "u4")
    ):
        return
    with warnings.catch_warnings():
        # Of several fill values, and of a sign that nothing needs.
        warnings.simplefilter("ignore")
        with xarray.open_dataset(
            path,
            engine="netcdf4",
            group=recipe.group or None,
            decode_times=False,
            decode_coords=False,
        ) as dataset:
            values = dataset[recipe.name].values
    field = meaning.fields[0]
    missing = field.missing & ~field.by_default
    if not np.array_equal(
        np.isnan(values) if values.dtype.kind == "f" else missing & False, missing
    ):
        yield Difference("oracles: mask", f"xarray {values.ravel()[:8]}")
        return
    wanted, got = field.values[~missing], values[~missing].astype(np.float64)
    with np.errstate(invalid="ignore"):
        error = np.abs(got - wanted)[np.isfinite(wanted)].max(initial=0.0)
    if error > 4 * tolerance(wanted[np.isfinite(wanted)], np.dtype("f4")):
        yield Difference("oracles: values", f"xarray {got[:4]}, not {wanted[:4]}")
