"""What renders here, for `amgsrn doctor`: devices, nerfacc, and a picture by each marcher."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from amgsrn_core.cli.doctor.findings import NOTE, OK, Finding, install
from amgsrn_core.cli.report import figure, size
from amgsrn_core.config import NetworkConfig
from amgsrn_core.errors import AmgsrnError, first_sentence
from amgsrn_core.networks.devices import has_code_for, select_device
from amgsrn_core.system.local_rank import local_rank

if TYPE_CHECKING:
    from amgsrn_core.field.neural_volume import NeuralVolume
    from amgsrn_core.rendering import Marcher, Rays

SPACINGS = (1e-6, 1.0, 1e6)
"""Metres, millimetres, degrees: pictures must not depend on the unit of length."""

TOLERANCE = 0.01
"""Of colours from 0 to 1. Where an opaque ray ends may hang on the last bit."""

_GPU_HELP = "Look at the driver, see docs/gpu.md: nvidia-smi"
_DIMS, _SIDE = (33, 35, 37), 96
_NODES = 24


@dataclass(frozen=True)
class Picture:
    """A picture by one marcher, compared with that of the dense reference on the CPU.

    Attributes
    ----------
    marcher, device : str
    spacing : float
        Of the volume's samples.
    difference : float or None
        The largest of all colours, 0 to 1; None where there is no picture.
    seconds : float or None
        Of the second time that it is made.
    failure : str
        Why there is no picture, or "".
    """

    marcher: str
    device: str
    spacing: float
    difference: float | None
    seconds: float | None
    failure: str = ""

    @property
    def is_right(self) -> bool:
        """Whether it is the reference's picture."""
        return self.difference is not None and self.difference <= TOLERANCE


def check_devices() -> Iterator[Finding]:
    """Compute something on each CUDA device, and say which one this process takes and why."""
    for number in range(torch.cuda.device_count()):
        yield _check_device(number)
    device, rank = select_device("auto"), local_rank()
    why = "not started by MPI or Slurm" if rank is None else f"number {rank} on this computer"
    if device.type == "cuda":
        yield Finding(
            "device auto", OK, f"{device}: the first from this process's own that works ({why})"
        )
    else:
        yield Finding("device auto", NOTE, f"{device}: no CUDA device works", _GPU_HELP)


def _check_device(number: int) -> Finding:
    name = f"cuda:{number}"
    about = torch.cuda.get_device_properties(number)
    capability = about.major, about.minor
    what = f"{about.name}, capability {about.major}.{about.minor}, {size(about.total_memory)}"
    if not has_code_for(capability, torch.cuda.get_arch_list()):
        detail = f"{what}: PyTorch {torch.__version__} has no code for it"
        return Finding(name, NOTE, detail, f"Another may have it. {install('torch')}")
    try:
        select_device(name)
        free, _ = torch.cuda.mem_get_info(number)
    except (AmgsrnError, RuntimeError) as error:
        return Finding(name, NOTE, f"{what}: {first_sentence(error)}", _GPU_HELP)
    return Finding(name, OK, f"{what} ({size(free)} free): computes")


def check_nerfacc() -> Finding:
    """Say whether nerfacc's operators are there, and what keeps them from being used."""
    from amgsrn_core.rendering import nerfacc_operators

    failure = nerfacc_operators.failure()
    if not failure:
        return Finding("nerfacc", OK, "its operators are built; pictures use them")
    remedy = "Pictures do without them; to build them: amgsrn doctor --build"
    return Finding("nerfacc", NOTE, failure, remedy)


def pictures(
    devices: Sequence[str] | None = None, spacings: Sequence[float] = SPACINGS
) -> Iterator[Picture]:
    """Yield a picture by each marcher on each device at each spacing; see :func:`rows`.

    Parameters
    ----------
    devices : sequence of str, optional
        Default: the CPU and every CUDA device.
    spacings : sequence of float
    """
    if devices is None:
        devices = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    for spacing in spacings:
        expected = _rendered("torch", "cpu", spacing)[0]
        for device in devices:
            for marcher in _marchers(device):
                yield _compared(marcher, device, spacing, expected)


def table(found: Sequence[Picture]) -> Iterator[tuple[str, str]]:
    """Yield the pictures as rows for people."""
    yield "", f"pictures of {_SIDE} x {_SIDE} rays, compared with the dense reference on the CPU:"
    for picture in found:
        name = ("  " if picture.is_right else "X ") + f"{picture.marcher} on {picture.device}"
        where = f"spacing {picture.spacing:<6g}"
        if picture.difference is None or picture.seconds is None:
            yield name, f"{where} {picture.failure}"
            continue
        times = f"{1e3 * picture.seconds:.1f} ms"
        yield name, f"{where} difference {figure(picture.difference, digits=2):<8} {times}"


def as_json(found: Sequence[Picture]) -> list[dict[str, Any]]:
    """Return the pictures for programs."""
    return [{**asdict(picture), "is_right": picture.is_right} for picture in found]


def _marchers(device: str) -> tuple[str, ...]:
    from amgsrn_core.kernels import load
    from amgsrn_core.rendering import nerfacc_operators

    if device == "cpu":
        return ("torch", "blocks", "native") if load() is not None else ("torch", "blocks")
    return ("torch", "blocks", "nerfacc") if nerfacc_operators.load() else ("torch", "blocks")


def _compared(marcher: str, device: str, spacing: float, expected: np.ndarray) -> Picture:
    try:
        image, seconds = _rendered(marcher, device, spacing)
    except (AmgsrnError, RuntimeError) as error:
        return Picture(marcher, device, spacing, None, None, first_sentence(error))
    difference = float(np.nan_to_num(np.abs(image - expected), nan=1.0).max())
    return Picture(marcher, device, spacing, difference, seconds)


def _rendered(backend: str, device: str, spacing: float) -> tuple[np.ndarray, float]:
    marcher, rays = _scene(backend, device, spacing)
    marcher.march(rays)  # prepares what the next one does not pay for
    start = time.perf_counter()
    image = marcher.march(rays)
    return image, time.perf_counter() - start


def _scene(backend: str, device: str, spacing: float) -> tuple[Marcher, Rays]:
    from amgsrn_core.rendering import Camera, RenderSettings, TransferFunction, make_marcher

    volume = _blobs(device, spacing)
    colours = np.array([[0, 0, 1, 0], [0, 1, 1, 0], [1, 1, 0, 0.1], [1, 0, 0, 0.5]], np.float32)
    transfer = TransferFunction(0.0, 1.0, colours)
    settings = RenderSettings(samples_per_voxel=2.0, shade=True)
    camera = Camera.orbit(volume.geometry.bounds, width=_SIDE, height=_SIDE)
    return make_marcher(volume, transfer, settings, backend), camera.rays()


def _blobs(device: str, spacing: float) -> NeuralVolume:
    """Return a model of some blobs in empty space that needs no training.

    Its one feature is the value, and its decoder passes that on.
    """
    from amgsrn_core.field.neural_volume import NeuralVolume
    from amgsrn_core.model import BrickRecord, ModelIndex, SourceRecord, parameter_shapes
    from amgsrn_core.volume.geometry import GridGeometry

    nz, ny, nx = _DIMS
    whole = slice(0, nz), slice(0, ny), slice(0, nx)
    network = NetworkConfig(grids=1, features=1, grid_shape=(_NODES,) * 3, layers=1, width=16)
    index = ModelIndex(
        name="blobs",
        components=("blobs",),
        units=("1",),
        geometry=GridGeometry.uniform(_DIMS, (0.0,) * 3, (spacing,) * 3),
        value_minimum=(0.0,),
        value_maximum=(1.0,),
        network=network,
        bricks=(BrickRecord(whole, whole),),
        source=SourceRecord("", "float32", 4 * nz * ny * nx),
    )
    line = np.linspace(-1.0, 1.0, _NODES)
    points = np.stack(np.meshgrid(line, line, line, indexing="ij"), axis=-1)
    places = np.random.default_rng(0).uniform(-0.6, 0.6, (5, 3))
    blobs = sum(np.exp(-((points - place) ** 2).sum(axis=-1) / 0.2**2) for place in places)
    state = {
        name: np.zeros(shape, dtype=np.float32)
        for name, shape in parameter_shapes(network, 1).items()
    }
    state["feature_grids"][:] = np.minimum(blobs, 1.0)
    state["transforms"][:] = np.eye(3, 4)
    for name in state:
        if name.startswith("decoder"):
            state[name][0, 0] = 1.0
    return NeuralVolume(index, [state], device=device)
