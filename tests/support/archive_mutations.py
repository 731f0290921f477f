"""Model files of every kind, small, and endless damaged ones made of them.

A mutation is found again by its kind of model, seed and number: :func:`mutation` is a function.
Checksums are mostly made right again, so that damage gets past them.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import dataclasses
import functools
import io
import json
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from amgsrn_core.config import NetworkConfig, StorageConfig
from amgsrn_core.errors import AmgsrnError
from amgsrn_core.evaluation.error_cells import ErrorCells
from amgsrn_core.field.macro_cells import macro_cells
from amgsrn_core.model import BrickRecord, parameter_shapes, write_archive
from amgsrn_core.model.codec import Quantised, pack, pack_differences, rounded
from amgsrn_core.model.codec import _quantise as quantised
from amgsrn_core.model.correction_codes import pack_corrections
from amgsrn_core.model.store import checksum_of, sha256_of_text
from amgsrn_core.volume.volume import TimeAxis
from support.sample_models import (
    small_brick,
    small_index,
    write_small_model,
    write_two_bricks,
)

_NUMPY = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "U8": "|u1"}
_NAMES = {"<f8": "F64", "<f4": "F32", "<f2": "F16", "|u1": "U8"}
_DENSE = NetworkConfig(encoder="dense", grid_shape=(3, 4, 5), width=8, positional_terms=2)
_HASH = NetworkConfig(
    encoder="hash",
    grids=3,
    hash_log2_size=6,
    hash_base_resolution=3,
    hash_max_resolution=9,
    width=8,
)


_IMPORTED = dataclasses.replace(_HASH, hash_scheme="original", biases=True)


# --- Intact files --------------------------------------------------------------------------------


def intact_models(folder: Path) -> dict[str, bytes]:
    """Return a small model file of each kind."""
    files = {}
    for name, write in _KINDS.items():
        path = folder / f"{name}.amgsrn"
        write(path)
        files[name] = path.read_bytes()
    return files


def _with_cells(path: Path) -> None:
    """Write a model with macro-cells and a mask."""
    index = small_index()
    brick = small_brick(index, mask=True)
    random = np.random.default_rng(0)
    brick["macro_cells"] = macro_cells(
        lambda points: random.random((len(points), 1)), index.bricks[0], index.dims, brick["mask"]
    )
    write_archive(path, index, [brick])


def _bounded(path: Path) -> None:
    """Write a model with corrections and with the errors of its cells."""
    index = small_index()
    index = index.replace(storage=StorageConfig(max_error=0.5))
    brick, random = small_brick(index), np.random.default_rng(0)
    numbers = random.integers(-3, 300, (1, *index.dims))
    figures = np.array([0.9]), np.array([0.5]), np.array([0.05])
    region = index.bricks[0].extent
    brick["corrections"] = pack_corrections(numbers, region, *figures)
    cells = ErrorCells(region, 1)
    cells.add(region, random.random((1, *index.dims)), None)
    brick["error_cells"] = cells.packed(np.array([10.0]), np.array([0.0]), 10_000)
    write_archive(path, index, [brick])


def _states(path: Path) -> None:
    """Write bricks of all states along x, one with a network and a range of its own."""
    index = small_index(dims=(6, 7, 16))
    z, y, _ = index.bricks[0].extent
    states = ("network", "constant", "empty", "missing", "network")
    starts = (0, 3, 6, 9, 12, 16)
    other = NetworkConfig(grids=2, features=2, grid_shape=(2, 2, 3), layers=2, width=8)
    bricks = []
    for state, start, stop in zip(states, starts, starts[1:]):
        x = slice(max(start - 1, 0), min(stop + 1, 16))
        one = (4.0,) if state == "constant" else ()
        bricks.append(
            BrickRecord((z, y, slice(start, stop)), (z, y, x), state=state)
            if state != "constant"
            else BrickRecord(
                (z, y, slice(start, stop)), (z, y, x), state=state, value_minimum=one,
                value_maximum=one,
            )
        )  # fmt: skip
    bricks[4] = BrickRecord(
        bricks[4].extent, bricks[4].ghosted, network=other, value_minimum=(1.0,),
        value_maximum=(2.0,),
    )  # fmt: skip
    index = index.replace(bricks=tuple(bricks))
    small = small_brick(index.replace(network=other), 1)
    write_archive(path, index, [small_brick(index), {}, {}, {}, small])


def _domains(path: Path) -> None:
    """Write an ensemble that jumps from brick to brick, as the original's do."""
    index = small_index()
    z, y, _ = index.bricks[0].extent
    full, tall = (0.0, 5.0), (0.0, 6.0)
    records = (
        BrickRecord((z, y, slice(0, 4)), (z, y, slice(0, 5)), domain=(full, tall, (0.0, 3.5))),
        BrickRecord((z, y, slice(4, 8)), (z, y, slice(3, 8)), domain=(full, tall, (3.5, 7.0))),
    )
    index = index.replace(bricks=records)
    write_archive(path, index, [small_brick(index, seed) for seed in (0, 1)])


def _steps_of(values: dict[str, np.ndarray], size: float = 0.05) -> dict[str, np.ndarray]:
    return {
        name: np.full(value.shape[:2] if name == "feature_grids" else (1,), size)
        for name, value in values.items()
        if name != "transforms"
    }


def _numbers_of(values: dict[str, np.ndarray]) -> Quantised:
    steps = _steps_of(values)
    whole = {name: quantised(values[name], steps[name]) for name in steps}
    return Quantised({"transforms": values["transforms"]}, steps, whole)


def _compressed(path: Path) -> None:
    index = small_index().replace(storage=StorageConfig(compress=True))
    brick = small_brick(index, mask=True)
    values = {name: brick.pop(name) for name in parameter_shapes(index.network, 1)}
    values["feature_grids"][0, 0, 0, 0, 0] = 90.0  # a number that is escaped
    write_archive(path, index, [{**brick, **pack(values, _steps_of(values))}])


def _series(path: Path, compress: bool) -> None:
    """Write three steps of two bricks; compressed, the later ones as differences."""
    index = small_index()
    z, y, _ = index.bricks[0].extent
    bricks = (
        BrickRecord((z, y, slice(0, 4)), (z, y, slice(0, 6))),
        BrickRecord((z, y, slice(4, 8)), (z, y, slice(2, 8))),
    )
    time = TimeAxis((0.0, 1.0, 2.5, 4.0), "s", "", 0, "t", steps=(0, 1, 3))
    index = index.replace(bricks=bricks * 3, time=time)
    states = [small_brick(index, seed % 2) for seed in range(6)]
    numbers: list[Quantised] = []
    if compress:
        index = index.replace(storage=StorageConfig(compress=True))
        for number, state in enumerate(states):
            values = {name: state.pop(name) for name in parameter_shapes(index.network, 1)}
            values["feature_grids"] = values["feature_grids"] + np.float32(0.1 * (number // 2))
            if number < 2:
                state.update(pack(values, _steps_of(values)))
            else:
                state.update(pack_differences(_numbers_of(values), numbers[number - 2]))
            numbers.append(_numbers_of(rounded(values, _steps_of(values))))
    write_archive(path, index, states)


_KINDS: dict[str, Callable[[Path], Any]] = {
    "plain": write_small_model,
    "float16": lambda path: write_small_model(path, dtype="float16"),
    "masked": lambda path: write_small_model(path, mask=True),
    "vectors": lambda path: write_small_model(path, components=("u", "v", "w"), mask=True),
    "cells": _with_cells,
    "bounded": _bounded,
    "dense": lambda path: write_small_model(path, network=_DENSE),
    "hash": lambda path: write_small_model(path, network=_HASH),
    "imported": lambda path: write_small_model(path, network=_IMPORTED),
    "bricks": lambda path: write_two_bricks(path, mask=True),
    "states": _states,
    "domains": _domains,
    "compressed": _compressed,
    "series": lambda path: _series(path, compress=False),
    "differences": lambda path: _series(path, compress=True),
}


# --- Damage --------------------------------------------------------------------------------------


@dataclass
class _Parts:
    """A model file taken apart."""

    index: Any
    tensors: dict[str, tuple[str, list[int], bytes]]
    offsets: dict[str, list[Any]] = field(default_factory=dict)
    fix_index: bool = True
    fix_bricks: bool = True
    literal: str | None = None  # text of the index, in place of what `index` makes

    @classmethod
    def of(cls, data: bytes) -> _Parts:
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        metadata = header.pop("__metadata__")
        body = data[8 + size :]
        tensors = {
            name: (about["dtype"], about["shape"], body[slice(*about["data_offsets"])])
            for name, about in header.items()
        }
        return cls(json.loads(metadata["amgsrn"]), tensors)

    def bytes(self) -> bytes:
        if self.fix_bricks:
            self._fix_bricks()
        text = self.literal
        if text is None:
            text = json.dumps(self.index, ensure_ascii=False)
        digest = sha256_of_text(text) if self.fix_index else "0" * 64
        header: dict[str, Any] = {"__metadata__": {"amgsrn": text, "amgsrn_sha256": digest}}
        body = b""
        order = sorted(self.tensors, key=lambda n: (-len(_NUMPY.get(self.tensors[n][0], "")), n))
        for name in order:
            kind, shape, content = self.tensors[name]
            offsets = self.offsets.get(name, [len(body), len(body) + len(content)])
            header[name] = {"dtype": kind, "shape": shape, "data_offsets": offsets}
            body += content
        head = json.dumps(header).encode("utf-8", "surrogatepass")
        head += b" " * (-len(head) % 8)
        return len(head).to_bytes(8, "little") + head + body

    def _fix_bricks(self) -> None:
        bricks = self.index.get("bricks") if isinstance(self.index, dict) else None
        for number, record in enumerate(bricks if isinstance(bricks, list) else ()):
            prefix = f"bricks/{number}/"
            stored = {}
            for name, (kind, shape, content) in self.tensors.items():
                if name.startswith(prefix):
                    with contextlib.suppress(ValueError, TypeError, KeyError):
                        array = np.frombuffer(content, _NUMPY[kind]).reshape(shape)
                        stored[name[len(prefix) :]] = array
            if isinstance(record, dict):
                record["sha256"] = checksum_of(stored)


def mutation(intact: dict[str, bytes], seed: int, number: int) -> tuple[str, bytes]:
    """Return the kind of model and the bytes of a damaged file, the same for the same numbers."""
    random = np.random.default_rng([seed, number])
    kind = list(intact)[int(random.integers(len(intact)))]
    data = intact[kind]
    if random.random() < 0.15:
        return kind, _raw(data, random)
    parts = _Parts.of(data)
    parts.fix_index = random.random() < 0.95
    parts.fix_bricks = random.random() < 0.7
    damages = [_index, _index, _index, _tensor, _tensor, _stream, _stream, _header, _numbers]
    for _ in range(int(random.choice([1, 1, 1, 2, 3]))):
        damages[int(random.integers(len(damages)))](parts, random)
    data = parts.bytes()
    return kind, _raw(data, random) if random.random() < 0.03 else data


def _raw(data: bytes, random: np.random.Generator) -> bytes:
    """Damage bytes anywhere, those of the header's length more often than by chance."""
    content = bytearray(data)
    for _ in range(int(random.integers(1, 5))):
        size = len(content)
        if not size:
            break
        place = int(random.integers(8)) if random.random() < 0.2 else int(random.integers(size))
        choice = random.integers(6)
        if choice == 0:
            del content[place:]
        elif choice == 1:
            del content[place : place + int(random.integers(1, 64))]
        elif choice == 2:
            content[place:place] = random.bytes(int(random.integers(1, 64)))
        elif choice == 3:
            junk = random.bytes(int(random.integers(1, 16)))
            content[place : place + len(junk)] = junk
        elif choice == 4:
            other = int(random.integers(size))
            content[place : place + 32] = content[other : other + 32]
        else:
            content[min(place, size - 1)] ^= 1 << int(random.integers(8))
    return bytes(content)


def _index(parts: _Parts, random: np.random.Generator) -> None:
    """Change, remove, repeat or exchange fields of the index."""
    places = list(_places(parts.index))
    if not places:
        return
    if random.random() < 0.02:
        parts.literal = _odd_text(parts.index, random)
        return
    holder, key = places[int(random.integers(len(places)))]
    choice = random.random()
    if choice < 0.7:
        holder[key] = _other(holder[key], random)
    elif choice < 0.8:
        del holder[key]
    elif choice < 0.9:
        other, name = places[int(random.integers(len(places)))]
        holder[key] = copy.deepcopy(other[name])
    elif isinstance(holder, list):
        holder.insert(key, copy.deepcopy(holder[key]))
    else:
        holder[f"{key}2"] = holder[key]


def _places(value: Any) -> Any:
    """Yield the container and the key of everything in a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in list(items):
        yield value, key
        if isinstance(item, (dict, list)):
            yield from _places(item)


_NUMBERS = (
    0, 1, -1, 2, 3, 7, 8, 255, 256, 1000, 65536, 10**6, 9_999_999, 10**7, 2**31 - 1, 2**31, 2**32,
    2**53, 2**62 - 1, 2**63, 2**64, 10**40, 10**400, -(2**31), 0.5, -0.5, 1e-9, 1e-30, 1e-320, 1e9,
    1e30, 1e38, 1e39, 1e300, 1.7e308, -1e308, math.nan, math.inf, -math.inf,
)  # fmt: skip
_OTHERS: tuple[Any, ...] = (
    None, True, False, "", "nan", "inf", "-inf", "x", "0", "network", "constant", "empty",
    "missing", "adaptive", "dense", "hash", "float16", "x" * 100_000, "\0", "\ud800", "\U0001f600",
    [], {}, [0], [[]], [None], {"": 0}, [0] * 6, [0.0] * 6, [1] * 10_000, [1e308] * 3,
)  # fmt: skip


def _other(value: Any, random: np.random.Generator) -> Any:
    """Return something else than a JSON value, mostly of its kind."""
    if random.random() < 0.25:
        return copy.deepcopy(_OTHERS[int(random.integers(len(_OTHERS)))])
    number = _NUMBERS[int(random.integers(len(_NUMBERS)))]
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        near = (value + 1, value - 1, 2 * value, -value, value + 0.5, float(value), 1000 * value)
        return near[int(random.integers(len(near)))] if random.random() < 0.4 else number
    if isinstance(value, str):
        return value[::-1] if random.random() < 0.3 else value + "x"
    if isinstance(value, list) and value:
        choices: list[Any] = [value[:-1], value[::-1], value * 2, value * 500, value[:1], [number]]
        choices.append([number] * len(value))
        return copy.deepcopy(choices[int(random.integers(len(choices)))])
    return number


def _odd_text(index: Any, random: np.random.Generator) -> str:
    text = json.dumps(index)
    choices = (
        "[" * 100_000, '{"a":' * 50_000, "", "null", "[]", "{}", "0", text[:-1], text + text,
        "9" * 100_000, f'{{"format": "amgsrn", "version": [1, {"9" * 10_000}]}}',
        text.replace("1", "1" * 5000), text.replace("[", "[[", 1), " " * 1_000_000 + text,
    )  # fmt: skip
    return choices[int(random.integers(len(choices)))]


def _chosen(parts: _Parts, random: np.random.Generator, packed: bool = False) -> str | None:
    streams = ("mask", "macro_cells", "compressed", "compressed_differences", "corrections")
    streams += ("error_cells",)
    names = [n for n in parts.tensors if not packed or n.rsplit("/", 1)[-1] in streams]
    return names[int(random.integers(len(names)))] if names else None


def _tensor(parts: _Parts, random: np.random.Generator) -> None:
    """Remove, rename, exchange, cut or retype tensors."""
    name = _chosen(parts, random)
    if name is None:
        return
    kind, shape, content = parts.tensors[name]
    other = _chosen(parts, random)
    assert other is not None
    choice = random.integers(9)
    if choice == 0:
        del parts.tensors[name]
    elif choice == 1:
        parts.tensors[name], parts.tensors[other] = parts.tensors[other], parts.tensors[name]
    elif choice == 2:
        parts.tensors[other] = parts.tensors[name]
    elif choice == 3:
        folder, _, last = name.rpartition("/")
        names = (
            f"bricks/{random.integers(4)}/{last}", f"{folder}/compressed",
            f"{folder}/compressed_differences", f"{folder}/mask", f"{folder}/macro_cells",
            f"{folder}/history", "bricks/-1/x", f"{folder}/../x", f"bricks/00/{last}", "x" * 10_000,
        )  # fmt: skip
        parts.tensors[names[int(random.integers(len(names)))]] = parts.tensors.pop(name)
    elif choice == 4 and shape and isinstance(shape[0], int) and 0 <= shape[0] <= len(content):
        unit = len(content) // max(shape[0], 1)
        rows = int(random.integers(0, shape[0] + 1))
        parts.tensors[name] = kind, [rows, *shape[1:]], content[: rows * unit]
    elif choice == 5 and len(shape) > 1:
        parts.tensors[name] = kind, shape[::-1], content
    elif choice == 6:
        parts.tensors[name] = kind, [math.prod(shape)], content
    elif choice == 7:
        kinds = ("F64", "F32", "F16", "U8", "I64", "BOOL", "BF16", "F8_E4M3", "I8", "U64")
        parts.tensors[name] = kinds[int(random.integers(len(kinds)))], shape, content
    else:
        parts.tensors[name] = "U8", [len(content)], content


def _numbers(parts: _Parts, random: np.random.Generator) -> None:
    """Put extreme numbers into a tensor, or into all of it."""
    name = _chosen(parts, random)
    if name is None:
        return
    kind, shape, content = parts.tensors[name]
    number = np.dtype(_NUMPY.get(kind, "|u1"))
    if not content or len(content) % number.itemsize:
        return
    values = np.frombuffer(content, number).copy()
    if values.dtype == np.uint8:
        extreme: Any = random.integers(256)
    else:
        choices = (np.nan, np.inf, -np.inf, 3e38, -3e38, 6e4, 1e-40, 0.0, 1e20, -1.0)
        extreme = choices[int(random.integers(len(choices)))]
    where = slice(None) if random.random() < 0.3 else int(random.integers(len(values)))
    with np.errstate(over="ignore"):
        values[where] = extreme
    parts.tensors[name] = kind, shape, values.tobytes()


def _stream(parts: _Parts, random: np.random.Generator) -> None:
    """Damage a packed tensor: its head, its bits, its length, or pack something else."""
    name = _chosen(parts, random, packed=True) or _chosen(parts, random)
    if name is None:
        return
    _, _, content = parts.tensors[name]
    data = bytearray(content)
    choice = random.integers(8)
    if not data:
        data = bytearray(random.bytes(20))
    elif choice == 0:
        for _ in range(int(random.integers(1, 6))):
            data[int(random.integers(len(data)))] ^= 1 << int(random.integers(8))
    elif choice == 1:
        data = data[: int(random.integers(len(data)))]
    elif choice == 2:
        data += random.bytes(4 * int(random.integers(1, 8)))
    elif choice == 3:
        start = int(random.integers(len(data)))
        data[start:] = random.bytes(len(data) - start)
    elif choice == 4:
        start = int(random.integers(len(data)))
        fill = (0, 255)[int(random.integers(2))]
        data[start:] = bytes([fill]) * (len(data) - start)
    elif choice == 5:  # the lengths before the coded numbers, wherever they lie
        values = (0, 1, 2**16, 2**31, 2**32 - 1, len(data), len(data) // 4)
        place = int(random.integers(max(len(data) // 4, 1))) * 4
        value = values[int(random.integers(len(values)))]
        data[place : place + 4] = value.to_bytes(4, "little")
    elif choice == 6:
        sizes = (0, 1, 42, 1000, 10**6, 3 * 10**7)
        size = sizes[int(random.choice(6, p=[0.2, 0.2, 0.2, 0.2, 0.15, 0.05]))]
        data = bytearray(zlib.compress(bytes(size), 1))
    else:
        data = bytearray(random.bytes(int(random.integers(1, 4000))))
    parts.tensors[name] = "U8", [len(data)], bytes(data)


def _header(parts: _Parts, random: np.random.Generator) -> None:
    """Contradict the layout of the file: offsets, shapes and types."""
    name = _chosen(parts, random)
    if name is None:
        return
    kind, shape, content = parts.tensors[name]
    choice = random.integers(5)
    number = _NUMBERS[int(random.integers(len(_NUMBERS)))]
    if choice == 0:
        first = int(random.integers(4000))
        parts.offsets[name] = [first, first + len(content)]
    elif choice == 1:
        parts.offsets[name] = [0, number]
    elif choice == 2:
        parts.tensors[name] = kind, [number, *shape[1:]], content
    elif choice == 3:
        parts.tensors[name] = kind, [*shape, 1, 0, 2**33][: len(shape) + 1], content
    else:
        parts.tensors[name] = kind, [0, 2**40, *shape], b""


# --- Use -----------------------------------------------------------------------------------------


def use(path: Path) -> list[AmgsrnError]:
    """Do with a file what people do; return the library's own complaints, and let others through.

    The first is the one of opening, if it cannot be opened at all.
    """
    from amgsrn_core import NeuralVolume
    from amgsrn_core.cli.parser import run
    from amgsrn_core.model import verify_archive

    complaints: list[AmgsrnError] = []

    def attempt(act: Callable[[], Any]) -> Any:
        try:
            return act()
        except AmgsrnError as error:
            text = str(error)
            if not text.strip() or "\n" in text:
                raise AssertionError(f"no sentence: {text!r}") from error
            complaints.append(error)
            return None

    with contextlib.redirect_stdout(io.StringIO()):
        if attempt(lambda: run(_info(path))) is None:
            return complaints
    attempt(lambda: verify_archive(path))
    model = attempt(lambda: NeuralVolume.open(path, "cpu"))
    if model is None:
        return complaints
    attempt(lambda: _look(model))
    if model.series.steps > 1:
        attempt(lambda: model.at(model.series.steps - 1).sample_index(np.ones((3, 3))))
    return complaints


def _info(path: Path) -> argparse.Namespace:
    return argparse.Namespace(**{**vars(_parsed_info()), "model": str(path)})


@functools.lru_cache(maxsize=1)  # to make the parser takes longer than all the rest
def _parsed_info() -> argparse.Namespace:
    from amgsrn_core.cli.parser import parse

    return parse(["info", "MODEL"])


def _look(model: Any) -> None:
    """Sample, reconstruct and render."""
    from amgsrn_core.rendering import Camera, RenderSettings, TransferFunction, render

    last = np.array(model.geometry.dims[::-1]) - 1.0
    shares = np.random.default_rng(0).random((40, 3)) * 1.1 - 0.05
    points = model.geometry.index_to_world(shares * last)
    model.sample(points)
    model.sample_with_gradient(points[:5])
    model.reconstruct_block(model.geometry.resampled((3, 4, 5)))
    if model.has_errors:
        model.error_at(points[:5])
    low, high = model.index.value_minimum[0], model.index.value_maximum[0]
    ramp = np.linspace(0, 1, 16)[:, None] * np.array([1.0, 1.0, 1.0, 0.2])
    camera = Camera.orbit(model.geometry.bounds, width=3, height=3)
    # As many samples along a ray whatever the volume claims to be.
    density = min(1.0, max(1e-3, 8.0 / max(model.geometry.dims)))
    settings = RenderSettings(samples_per_voxel=density)
    render(model, camera, TransferFunction(low, high, ramp), settings)
