"""Find the compiled kernels and load them: one library for every Python, chosen once."""

from __future__ import annotations

import ctypes
import functools
import itertools
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from amgsrn_core.errors import ConfigurationError

_log = logging.getLogger(__name__)

ABI = 10
"""Version of the C interface that this module speaks; :func:`layout` tells of its structs."""

LIBRARY_VARIABLE = "AMGSRN_KERNELS"
"""Environment variable: the library's path; empty to do without it."""

ISA_VARIABLE = "AMGSRN_ISA"
"""Environment variable: instruction set to use instead of the fastest that works here."""

_SUFFIXES = {"darwin": ".dylib", "win32": ".dll"}
_NAME = "libamgsrn_kernels" + _SUFFIXES.get(sys.platform, ".so")
_OUT_OF_MEMORY, _TOO_MANY_SAMPLES, _FULL = 1, 2, 3

_floats = ctypes.c_void_p
_count = ctypes.c_int64


class FullError(Exception):
    """A working set has no room for all that one picture needs."""


class Struct(ctypes.Structure):
    """A struct of src/abi.h, which is filled by its fields' names; what is not named is 0."""

    def __init__(self, **values: Any) -> None:
        names = {field[0] for field in self._fields_}
        if not values.keys() <= names:
            unknown = ", ".join(sorted(values.keys() - names))
            raise TypeError(f"{type(self).__name__} has no field {unknown}.")
        super().__init__(**values)


class Network(Struct):
    """AmgsrnNetwork of src/abi.h."""

    _fields_ = [
        *[(name, _count) for name in ("grids", "features", "depth", "height", "width")],
        *[(name, _count) for name in ("hidden_layers", "hidden_width", "outputs")],
        ("nodes", _floats),
        ("transforms", _floats),
        ("weights", ctypes.POINTER(_floats)),
        ("fast", _count),
    ]


class Data(Struct):
    """AmgsrnData of src/abi.h."""

    _fields_ = [
        *[(name, _count) for name in ("components", "depth", "height", "width")],
        ("values", _floats),
        ("cells", ctypes.c_void_p),
        ("cell_count", _count),
        ("cell_bytes", ctypes.c_int32),
        ("cubic", ctypes.c_int32),
    ]


class Blocks(Struct):
    """AmgsrnBlocks of src/abi.h."""

    _fields_ = [
        *[(name, _count) for name in ("side", "count")],
        *[(name, ctypes.c_void_p) for name in ("cells", "ticks")],
        ("weights", _floats),
    ]


class Draws(Struct):
    """AmgsrnDraws of src/abi.h."""

    _fields_ = [
        ("start", ctypes.c_uint64),
        ("count", _count),
        *[(name, _floats) for name in ("points", "targets", "weights")],
        ("blocks", ctypes.c_void_p),
    ]


class Gradients(Struct):
    """AmgsrnGradients of src/abi.h."""

    _fields_ = [
        ("nodes", _floats),
        ("part_stride", _count),
        ("weights", ctypes.POINTER(_floats)),
        ("transforms", _floats),
        ("errors", _floats),
        ("weights_of_points", _floats),
        ("loss", ctypes.c_double),
    ]


class Adam(Struct):
    """AmgsrnAdam of src/abi.h."""

    _fields_ = [
        ("nodes", _floats),
        ("gradients", _floats),
        ("part_stride", _count),
        ("mean", _floats),
        ("square", _floats),
        *[(name, ctypes.c_double) for name in ("step_size", "beta1", "beta2")],
        *[(name, ctypes.c_double) for name in ("square_scale", "epsilon")],
    ]


class Brick(Struct):
    """AmgsrnBrick of src/abi.h."""

    _fields_ = [
        ("network", ctypes.POINTER(Network)),
        *[(name, _floats) for name in ("decoder", "minimum", "range")],
        ("first", ctypes.c_double * 3),
        ("scale", ctypes.c_double * 3),
        ("size", _count * 3),
        ("valid", ctypes.c_void_p),
        ("ends", ctypes.c_double * 6),
        ("slopes", ctypes.c_double * 6),
    ]


class Axis(Struct):
    """AmgsrnAxis of src/abi.h."""

    _fields_ = [
        ("size", _count),
        *[(name, ctypes.c_double) for name in ("origin", "scale")],
        *[(name, ctypes.c_void_p) for name in ("coordinates", "blocks", "cells", "borders")],
        *[(name, _count) for name in ("block_count", "cell_count")],
    ]


class Volume(Struct):
    """AmgsrnVolume of src/abi.h."""

    _fields_ = [
        ("axes", Axis * 3),
        ("bricks", ctypes.POINTER(Brick)),
        ("brick_count", _count),
        *[(name, ctypes.c_void_p) for name in ("starts", "members")],
        *[(name, _count) for name in ("most_members", "components")],
        ("to_world", ctypes.c_double * 9),
    ]


class Appearance(Struct):
    """AmgsrnAppearance of src/abi.h."""

    _fields_ = [
        *[(name, ctypes.c_void_p) for name in ("empty", "maxima")],
        ("table", _floats),
        ("shown", ctypes.c_void_p),
        ("entries", _count),
        *[(name, ctypes.c_double) for name in ("low", "high")],
        *[(n, ctypes.c_int32) for n in ("logarithmic", "blend", "component", "shade", "cubic")],
        ("isovalues", _floats),
        ("isovalue_count", _count),
        *[(n, ctypes.c_float) for n in ("ambient", "diffuse", "specular", "specular_power")],
        ("transmittance_limit", ctypes.c_float),
        ("lights", _floats),
        ("light_count", _count),
    ]


class View(Struct):
    """AmgsrnView of src/abi.h."""

    _fields_ = [
        *[(name, _count) for name in ("width", "height")],
        ("clip_to_world", ctypes.c_double * 16),
        *[(name, ctypes.c_int32) for name in ("is_parallel", "is_turned", "jitter", "seed")],
        ("eye", ctypes.c_double * 3),
        ("depth", _floats),
        ("to_axes", ctypes.c_double * 9),
        ("axes_origin", ctypes.c_double * 3),
        *[(name, ctypes.c_double * 6) for name in ("box", "crop")],
        ("planes", ctypes.c_void_p),
        ("plane_count", _count),
        ("spacing", ctypes.c_double * 3),
        *[(name, ctypes.c_double) for name in ("samples_per_voxel", "mean_step", "reach")],
        ("rows", _count * 2),
        ("cover", _floats),
    ]


class Boxes(Struct):
    """AmgsrnBoxes of src/abi.h."""

    _fields_ = [
        ("count", _count * 3),
        *[(name, ctypes.c_void_p) for name in ("occupied", "corners")],
        ("world_to_clip", ctypes.c_double * 16),
    ]


class Level(Struct):
    """AmgsrnLevel of src/abi.h."""

    _fields_ = [
        *[(name, _count * 3) for name in ("cells", "blocks")],
        ("spacing", ctypes.c_double),
        ("pages", ctypes.c_void_p),
    ]


class WorkingSet(Struct):
    """AmgsrnWorkingSet of src/abi.h."""

    _fields_ = [
        ("levels", ctypes.POINTER(Level)),
        ("level_count", _count),
        *[(name, ctypes.c_void_p) for name in ("begins", "codes", "bounds")],
        *[(name, _floats) for name in ("low", "unit", "tolerances")],
        ("slots", _count),
        *[(name, ctypes.c_void_p) for name in ("owners", "frames", "victims")],
        *[(name, _count) for name in ("filled", "frame", "victim_count", "next_victim")],
        *[(name, _count) for name in ("decoded", "replaced", "evaluated", "broken", "samples")],
        ("whole", ctypes.c_double * 6),
        *[(name, ctypes.c_int32) for name in ("cell_edge", "lock", "is_full")],
    ]


_STRUCTS = (
    *(Network, Data, Blocks, Draws, Gradients, Adam, Brick, Axis, Volume, Appearance, View),
    *(Boxes, Level, WorkingSet),
)


def layout() -> str:
    """Return where fields lie as ctypes has them, in the words of the library's `amgsrn_layout`.

    A line for each struct, "Name bytes", and for each of its fields, "Name.field offset bytes kind"
    with the kind p (pointer), f (floating), i (whole number), or s (struct) of its elements.
    """
    lines = []
    for struct in _STRUCTS:
        name = f"Amgsrn{struct.__name__}"
        lines.append(f"{name} {ctypes.sizeof(struct)}")
        for field, kind, *_ in struct._fields_:
            place = getattr(struct, field)
            lines.append(f"{name}.{field} {place.offset} {place.size} {_kind(kind)}")
    return "\n".join(lines) + "\n"


def _kind(field: Any) -> str:
    if issubclass(field, ctypes.Array):
        return _kind(field._type_)
    if issubclass(field, ctypes.Structure):
        return "s"
    if field in (ctypes.c_double, ctypes.c_float):
        return "f"
    return "i" if field in (ctypes.c_int32, ctypes.c_int64, ctypes.c_uint64) else "p"


_FUNCTIONS = {
    "amgsrn_evaluate": (ctypes.POINTER(Network), _floats, _count, _floats, ctypes.c_int),
    "amgsrn_evaluate_gradient": (
        ctypes.POINTER(Network),
        _floats,
        _count,
        _floats,
        _floats,
        ctypes.c_int,
    ),
    "amgsrn_evaluate_many": (
        ctypes.POINTER(Network),
        _floats,
        _count,
        _floats,
        _floats,
        ctypes.c_int,
    ),
    "amgsrn_pack_decoder": (ctypes.POINTER(Network), _floats),
    "amgsrn_march": (
        ctypes.POINTER(Volume),
        ctypes.POINTER(Appearance),
        ctypes.POINTER(View),
        ctypes.c_void_p,
        _count,
        _floats,
        ctypes.c_int,
        ctypes.POINTER(_count),
        ctypes.c_int,
    ),
    "amgsrn_cover": (ctypes.POINTER(View), ctypes.POINTER(Boxes), _floats),
    "amgsrn_march_blocks": (
        ctypes.POINTER(Volume),
        ctypes.POINTER(Appearance),
        ctypes.POINTER(View),
        ctypes.POINTER(WorkingSet),
        ctypes.c_void_p,
        _count,
        _floats,
        ctypes.c_int,
        ctypes.c_int,
    ),
    "amgsrn_draw": (ctypes.POINTER(Data), _floats, _count, _floats, _floats, ctypes.c_int),
    "amgsrn_draw_blocks": (
        ctypes.POINTER(Data),
        ctypes.POINTER(Blocks),
        ctypes.POINTER(Draws),
        ctypes.c_int,
    ),
    "amgsrn_train": (
        ctypes.POINTER(Network),
        _floats,
        _floats,
        _count,
        ctypes.POINTER(Gradients),
        ctypes.c_int,
    ),
    "amgsrn_density": (
        ctypes.POINTER(Network),
        _floats,
        _floats,
        _count,
        ctypes.c_double,
        _floats,
        ctypes.c_int,
    ),
    "amgsrn_multiply_add": (
        _count,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.POINTER(ctypes.c_double),
    ),
    "amgsrn_adam": (ctypes.POINTER(Network), ctypes.POINTER(Adam), ctypes.c_int),
}


class KernelLibrary:
    """The loaded library.

    Parameters
    ----------
    path : Path

    Raises
    ------
    OSError
        It cannot be loaded, or belongs to another version of this package.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._library = ctypes.CDLL(str(path))
        try:
            abi = int(self._library.amgsrn_abi())
        except AttributeError as error:
            raise OSError(f"{path} is not this package's library") from error
        if abi != ABI:
            raise OSError(f"{path} belongs to another version of this package (build it again)")
        self._library.amgsrn_layout.restype = ctypes.c_char_p
        theirs = self._library.amgsrn_layout().decode()
        if theirs != layout():
            raise OSError(f"{path} has other structs ({_difference(theirs)}; build it again)")
        self._library.amgsrn_isa.restype = ctypes.c_char_p
        self._library.amgsrn_current_isa.restype = ctypes.c_char_p
        self._library.amgsrn_use_isa.argtypes = [ctypes.c_char_p]
        self._library.amgsrn_decoder_size.argtypes = [ctypes.POINTER(Network)]
        self._library.amgsrn_decoder_size.restype = _count
        for name, types in _FUNCTIONS.items():
            getattr(self._library, name).argtypes = types

    def __reduce__(self) -> tuple[type[KernelLibrary], tuple[Path]]:
        """A copy is the same library."""
        return KernelLibrary, (self.path,)

    @property
    def isas(self) -> tuple[str, ...]:
        """Instruction sets that work here, fastest first."""
        found: list[str] = []
        while (name := self._library.amgsrn_isa(len(found))) is not None:
            found.append(name.decode())
        return tuple(found)

    @property
    def isa(self) -> str:
        """The instruction set in use."""
        return str(self._library.amgsrn_current_isa().decode())

    @property
    def has_fast(self) -> bool:
        """Whether the instruction set in use multiplies bfloat16 numbers."""
        return bool(self._library.amgsrn_has_fast())

    def multiply_adds(self, rounds: int, threads: int, *, fast: bool = False) -> float:
        """Multiply and add for a while, as fast as the processor can; return how many numbers.

        Parameters
        ----------
        rounds : int
            Of each thread.
        threads : int
            At least 1.
        fast : bool
            Multiply bfloat16 numbers if possible.
        """
        done = ctypes.c_double()
        self.call("amgsrn_multiply_add", rounds, fast, threads, ctypes.byref(done))
        return done.value

    def use_isa(self, name: str | None) -> None:
        """Use an instruction set from now on, in the whole process; None: the fastest.

        Raises
        ------
        ConfigurationError
            It does not work here.
        """
        if self._library.amgsrn_use_isa(None if name is None else name.encode()):
            raise ConfigurationError(
                f"There is no instruction set {name!r} here; {ISA_VARIABLE} may be one of "
                f"{', '.join(self.isas)}."
            )

    def packed_decoder(self, network: Network) -> np.ndarray:
        """Return a network's decoder as marching needs it; arguments are not checked."""
        packed = np.zeros(self._library.amgsrn_decoder_size(ctypes.byref(network)), np.float32)
        self.call("amgsrn_pack_decoder", ctypes.byref(network), packed.ctypes.data)
        return packed

    def call(self, function: str, *arguments: object) -> None:
        """Call a function of the C interface, without the GIL; arguments are not checked."""
        result = getattr(self._library, function)(*arguments)
        if result == _OUT_OF_MEMORY:
            raise MemoryError("The kernels could not allocate their working memory.")
        if result == _TOO_MANY_SAMPLES:
            raise OverflowError("A ray through the volume would have too many samples.")
        if result == _FULL:
            raise FullError("The picture needs more blocks than there is room for.")


def _difference(theirs: str) -> str:
    """Return the first line of a library's layout that is another than here."""
    pairs = itertools.zip_longest(theirs.splitlines(), layout().splitlines(), fillvalue="nothing")
    found, expected = next((a, b) for a, b in pairs if a != b)
    return f"{found} instead of {expected}"


@functools.cache
def load() -> KernelLibrary | None:
    """Return the library, or None, said once in the log, where there is none that works."""
    wanted = os.environ.get(LIBRARY_VARIABLE)
    if wanted == "":
        return None
    reason = "it is not built; see docs/kernels.md"
    for path in [Path(wanted)] if wanted else _places():
        if not path.exists():
            continue
        try:
            library = KernelLibrary(path)
            library.use_isa(os.environ.get(ISA_VARIABLE) or None)
        except OSError as error:
            reason = str(error)
            continue
        return library
    _log.info("The CPU kernels are not used and PyTorch computes instead: %s.", reason)
    return None


def _places() -> Iterator[Path]:
    """Yield where the library may be: beside this file, or in the checkout's build folder."""
    here = Path(__file__).resolve().parent
    yield here / _NAME
    yield here.parents[1] / "build" / "amgsrn_core" / "kernels" / _NAME
