"""Pictures of neural models for ParaView's render view.

The plugin `NeuralVolume` (C++) calls :func:`render` for the mapper of each representation, as often
as its picture needs refinement, and :func:`release` when the mapper is gone.
"""

from __future__ import annotations

import math
import time
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from amgsrn_core.errors import AmgsrnError, ArchiveNotFoundError, ConfigurationError
from amgsrn_paraview.explanation import explain

if TYPE_CHECKING:
    from amgsrn_core.archive import ModelIndex
    from amgsrn_core.ensemble import NeuralVolume
    from amgsrn_core.rendering import Marcher, ProgressiveImage, RenderSettings, TransferFunction

Request = dict[str, Any]
"""What a picture depends on; but for the texts and the depth all are tuples of floats.

==================== ============================================================================
depth                bytes: float32, window depth 0 to 1 of what is opaque, the bottom row first
size                 width and height of the picture in pixels
world_to_clip        4 x 4 matrix, row by row: from the volume to OpenGL's clip space
index_to_world       4 x 4 matrix, row by row: from the preview's indices to the volume
extent               first and last index along x, y, z of the piece of the preview that is here
cropping             x0, x1, y0, y1, z0, z1 of the box that is shown; missing where all is
planes               a, b, c, d of any number of planes; where a x + b y + c z + d >= 0 is shown
range, logarithmic   the values that the table covers, evenly or evenly in the logarithm
table                red, green, blue, opacity of each entry
component            number of the component that is shown, or -1 for the magnitude
blend_mode           VTK's number of the blend mode
isovalues            any number of them
shade                0 or 1
ambient, diffuse, specular, specular_power, samples_per_voxel, unit_distance
                     see RenderSettings
image_reduction      while interacting: least pixels per ray, along each axis
path, checksum       text: the model
array                text: name of the array that is shown
backend, device      text: see make_marcher and NeuralVolume.open
==================== ============================================================================
"""

# While interacting steps are so much longer, and there are at most so many pixels per ray and axis.
_LONGER_STEPS, _MOST_PIXELS = 2.0, 16

# VTK's numbers.
_BLEND_MODES = {0: "composite", 1: "maximum", 5: "isosurface"}

_painters: dict[int, _Painter] = {}
_volumes: weakref.WeakValueDictionary[tuple[str, str, str], NeuralVolume] = (
    weakref.WeakValueDictionary()
)


def render(
    token: int, generation: int, interactive: bool, budget: float | None, request: Request
) -> tuple[float, int, int, np.ndarray, str]:
    """Work on a picture.

    Parameters
    ----------
    token : int
        Identity of the caller.
    generation : int
        Which of the caller's requests this is; with the same number the same picture goes on.
    interactive : bool
        Make a rough picture, because another one will follow soon.
    budget : float or None
        Seconds that this may take; None for as long as it needs.
    request : dict
        See :data:`Request`.

    Returns
    -------
    fraction : float
        How much of the picture is done, 0 to 1.
    width, height : int
        Size of the picture, smaller than requested if it is a rough one.
    rgba : float32 array [height, width, 4]
        Colours multiplied with the opacity, and the opacity, 0 to 1; the bottom row first.
    status : str
        What was done and how, for people.

    Raises
    ------
    AmgsrnError
        There is no picture; the sentence says why.
    ImportError
        A package that rendering needs is missing.
    """
    try:
        painter = _painters.setdefault(token, _Painter())
        return painter.paint(generation, interactive, budget, request)
    except ImportError:
        raise
    except Exception as error:
        release(token)
        raise AmgsrnError(explain(error, "Neural Volume", "choose a smaller window")) from error


def release(token: int) -> None:
    """Forget everything about a caller."""
    _painters.pop(token, None)


class _Painter:
    """What one mapper shows: its model and the picture in progress."""

    def __init__(self) -> None:
        self._current: tuple[int, bool] | None = None
        self._volume: NeuralVolume
        self._settings: RenderSettings
        self._marcher: Marcher
        self._image: ProgressiveImage
        self._seconds = 0.0  # that the picture has taken
        self._seconds_per_ray = 0.0  # as measured last

    def paint(
        self, generation: int, interactive: bool, budget: float | None, request: Request
    ) -> tuple[float, int, int, np.ndarray, str]:
        start = time.perf_counter()
        if self._current != (generation, interactive):
            self._current = None
            self._begin(interactive, budget, request)
            self._current = generation, interactive
        before = self._image.fraction
        if budget is not None:
            budget = max(0.0, budget - (time.perf_counter() - start))
        fraction = self._image.advance(budget)
        seconds = time.perf_counter() - start
        self._seconds += seconds
        height, width = self._image.rgba.shape[:2]
        if fraction > before:
            self._seconds_per_ray = seconds / ((fraction - before) * width * height)
        return fraction, width, height, np.ascontiguousarray(self._image.rgba), self._status()

    def _begin(self, interactive: bool, budget: float | None, request: Request) -> None:
        from amgsrn_core.rendering import Camera, ProgressiveImage, make_marcher

        self._seconds = 0.0
        self._volume = _open(request["path"], request["checksum"], request["device"])
        self._settings = _settings(request, self._volume.index, interactive)
        self._marcher = make_marcher(
            self._volume, _transfer(request), self._settings, request["backend"]
        )
        width, height = (int(number) for number in request["size"])
        depth = np.frombuffer(request["depth"], dtype=np.float32).reshape(height, width)
        if interactive:
            pixels = self._pixels_per_ray(width * height, budget, request)
            width, height = math.ceil(width / pixels), math.ceil(height / pixels)
            depth = _reduced(depth, width, height)
        matrix = np.array(request["world_to_clip"]).reshape(4, 4)
        self._image = ProgressiveImage(self._marcher, Camera(width, height, matrix), depth.ravel())

    def _pixels_per_ray(self, pixels: int, budget: float | None, request: Request) -> float:
        """Return how many pixels a ray may stand for, along each axis, so that time suffices."""
        least = request["image_reduction"][0]
        if not budget:
            return least
        needed = math.sqrt(self._seconds_per_ray * pixels / budget)
        return min(max(least, needed), max(least, _MOST_PIXELS))

    def _status(self) -> str:
        height, width = self._image.rgba.shape[:2]
        return (
            f"{self._marcher.backend} on {self._volume.device}, {width} x {height} rays, "
            f"{self._settings.samples_per_voxel:g} samples per voxel, "
            f"{self._image.fraction:.0%} in {self._seconds:.2f} s"
        )


def _open(path: str, checksum: str, device: str) -> NeuralVolume:
    """Return a model; all who show it share it."""
    from amgsrn_core.ensemble import NeuralVolume

    key = path, checksum, device
    volume = _volumes.get(key)
    if volume is None:
        volume = NeuralVolume.open(path, device)
        if volume.checksum != checksum:
            raise ArchiveNotFoundError(
                f"The model file {path} was replaced by another model; update its source."
            )
        _volumes[key] = volume
    return volume


def _transfer(request: Request) -> TransferFunction:
    from amgsrn_core.rendering import TransferFunction

    low, high = request["range"]
    if not low < high:  # a colour map of one value: everything below is its first colour
        high = low + 1e-6 * max(abs(low), 1.0)
    table = np.clip(np.array(request["table"], dtype=np.float32).reshape(-1, 4), 0.0, 1.0)
    return TransferFunction(low, high, table, bool(request["logarithmic"][0]))


def _settings(request: Request, index: ModelIndex, interactive: bool) -> RenderSettings:
    from amgsrn_core.rendering import RenderSettings

    numbers = {
        name: request[name][0]
        for name in ("ambient", "diffuse", "specular", "specular_power", "unit_distance")
    }
    crop, planes = _piece(request)
    return RenderSettings(
        samples_per_voxel=request["samples_per_voxel"][0] / (_LONGER_STEPS if interactive else 1),
        blend=_BLEND_MODES.get(int(request["blend_mode"][0]), "composite"),
        shade=bool(request["shade"][0]),
        isovalues=request["isovalues"],
        component=_component(request["array"], int(request["component"][0]), index),
        crop=crop,
        clip_planes=(*planes, *_rows(request["planes"])),
        **numbers,
    )


def _component(array: str, component: int, index: ModelIndex) -> int | str:
    """Return which component of the model an array, or a component of it, is."""
    if array in index.components:
        return index.components.index(array)
    if array != index.name:
        raise ConfigurationError(
            f"The model has no array {array}; colour by {' or '.join(_arrays(index))}."
        )
    if len(index.components) == 1:
        return 0
    return "magnitude" if component < 0 else component


def _arrays(index: ModelIndex) -> tuple[str, ...]:
    is_vector = len(index.components) == 1 or index.name != "_".join(index.components)
    return (index.name,) if is_vector else index.components


def _piece(request: Request) -> tuple[tuple[float, ...] | None, list[tuple[float, ...]]]:
    """Return the box and the planes that bound what this process shows.

    That is its piece of the preview, so that ranks do not draw each other's parts, and of it what
    is in the cropping box.
    """
    matrix = np.array(request["index_to_world"]).reshape(4, 4)
    x0, x1, y0, y1, z0, z1 = request["extent"]
    low, high = (matrix @ [x0, y0, z0, 1.0])[:3], (matrix @ [x1, y1, z1, 1.0])[:3]
    axes = matrix[:3, :3]
    planes = []
    crop = np.array([(-math.inf, math.inf)] * 3)
    if np.array_equal(axes, np.diag(np.diag(axes))):
        crop = np.sort(np.stack([low, high], axis=1), axis=1)
    else:
        # Rows of the inverse are normal to the layers of samples.
        for normal in np.linalg.inv(axes):
            planes += [(*normal, -normal @ low), (*-normal, normal @ high)]
    if "cropping" in request:
        box = np.array(request["cropping"]).reshape(3, 2)
        crop = np.stack(
            [np.maximum(crop[:, 0], box[:, 0]), np.minimum(crop[:, 1], box[:, 1])], axis=1
        )
    bounds = tuple(crop.ravel().tolist()) if np.isfinite(crop).all() else None
    return bounds, [tuple(float(number) for number in plane) for plane in planes]


def _rows(numbers: tuple[float, ...]) -> list[tuple[float, ...]]:
    return [numbers[i : i + 4] for i in range(0, len(numbers), 4)]


def _reduced(depth: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return the depth at the centres of larger pixels."""
    rows = ((np.arange(height) + 0.5) * depth.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * depth.shape[1] / width).astype(int)
    return depth[rows[:, None], columns]
