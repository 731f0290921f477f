"""Pictures of neural models for ParaView's render view.

The plugin `NeuralVolume` (C++) calls :func:`render` for the mapper of each representation, as often
as its picture needs refinement, and :func:`release` when the mapper is gone.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import time
import traceback
from typing import TYPE_CHECKING, Any

import numpy as np

from amgsrn_core.errors import AmgsrnError, ArchiveNotFoundError, ConfigurationError
from amgsrn_core.system.devices import give_back_memory
from amgsrn_paraview.explanation import explain
from amgsrn_paraview.ranks import ranks_here, share

if TYPE_CHECKING:
    from collections.abc import Iterator

    from amgsrn_core.field.brick import FieldBrick
    from amgsrn_core.field.neural_volume import NeuralVolume
    from amgsrn_core.model import ModelIndex
    from amgsrn_core.rendering import CallCost, Camera, RenderSettings, TransferFunction
    from amgsrn_core.rendering.painting import Decoded

Request = dict[str, Any]
"""What a picture depends on; but for the texts and the depth all are tuples of floats.

==================== ============================================================================
depth                bytes: float32, window depth 0 to 1 of what is opaque, the bottom row first;
                     empty where nothing is
size                 width and height of the picture in pixels
world_to_clip        4 x 4 matrix, row by row: from the volume to OpenGL's clip space
scale                factors by which x, y, z are stretched in the world; missing where none are
bounds               x0, x1, y0, y1, z0, z1 of the piece of the data set that is here
index_to_world       of image data: 4 x 4 matrix, row by row, from indices to the volume
extent               of image data: first and last index along x, y, z of the piece
cropping             x0, x1, y0, y1, z0, z1 of the box that is shown; missing where all is
planes               a, b, c, d of any number of planes; where a x + b y + c z + d >= 0 is shown
range, logarithmic   the values that the table covers, evenly or evenly in the logarithm
table                red, green, blue, opacity of each entry
component            number of the component that is shown, or -1 for the magnitude
blend_mode           VTK's number of the blend mode
isovalues            any number of them
shade, jitter        0 or 1
lights               of each light x, y, z, red, green, blue; missing, or none, for a lamp at the
                     camera
ambient, diffuse, specular, specular_power, samples_per_voxel, unit_distance
                     see RenderSettings
image_reduction      while interacting: least pixels per ray, along each axis
path, checksum, step text: the model; empty or the number of a series' time step
array                text: name of the array that is shown
sampling             text: "exact" or "cached", see RenderSettings; missing for "exact"
interpolation        text: "linear" or "cubic", see RenderSettings; missing for "linear"
backend, device      text: see make_marcher and NeuralVolume.open; "opengl" is shader_volume's, in
                     the place of which "auto" is used here
==================== ============================================================================
"""

# A rough picture has half the samples along its rays, and at most so many pixels per ray and axis.
_ROUGH_DENSITY, _MOST_PIXELS = 0.5, 32

# The first picture after a change has to be there sooner than the next steps of refinement.
_ROUGH_SHARE = 0.7

# More than any lattice has. Of its time, what a rough picture of blocks may take for the next one
# to be of finer ones.
_ALL_LEVELS, _SPARE = 99, 0.25

_log = logging.getLogger(__name__)

_painters: dict[int, _Painter] = {}


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
        Another picture will follow soon, so a rough one does.
    budget : float or None
        Seconds that this may take; None for as long as it needs.
    request : dict
        See :data:`Request`.

    Returns
    -------
    fraction : float
        How much of the sharp picture is done, 0 to 1.
    width, height : int
        Size of what there is to be seen, smaller than requested as long as that is rough.
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
        return painter(token).paint(generation, interactive, budget, request)
    except ImportError:
        raise
    except Exception as error:
        # The frames of what failed hold its arrays on a GPU as long as the error lives.
        traceback.clear_frames(error.__traceback__)
        release(token)
        raise AmgsrnError(explain(error, "Neural Volume", "choose a smaller window")) from error


def shared_status(token: int) -> str:
    """Return what a caller's picture is, on the first rank for all of them; every rank calls it."""
    own = _painters.get(token)
    heard = share(None if own is None else own.told)
    return "" if own is None or own.told is None else own.told.together(heard)


def prepare(token: int, budget: float) -> float:
    """Decode ahead what a caller's finished picture needs of the next time step.

    Parameters
    ----------
    token : int
        Identity of the caller.
    budget : float
        Seconds that this may take.

    Returns
    -------
    float
        How much is prepared, 0 to 1; 1 where nothing can be.
    """
    own = _painters.get(token)
    try:
        return 1.0 if own is None else own.prepare(budget)
    except Exception:  # the step itself will tell
        _log.debug("The next time step cannot be prepared.", exc_info=True)
        return 1.0


def painter(token: int) -> _Painter:
    """Return what is known of a caller."""
    return _painters.setdefault(token, _Painter())


def release(token: int) -> None:
    """Forget everything about a caller, and give back the memory that it took on a GPU."""
    if _painters.pop(token, None) is not None:
        give_back_memory()


class _Painter:
    """What one mapper shows: a rough picture at once, a sharp one when there is time.

    Attributes
    ----------
    shader : object or None
        What shader_volume draws.
    remark : str
        Why it does not draw, or "".
    told : Told or None
        What was drawn last.
    """

    def __init__(self) -> None:
        self.told: Told | None = None
        self._generation = -1
        self._rough: Picture | None = None
        self._sharp: Picture | None = None
        self._shown: tuple[Any, ...] = ()
        self._margin = 0.0
        self._step, self._direction = 0, 1
        self._request: Request = {}
        # The next time step: its bricks, and what decodes its blocks.
        self._next: NeuralVolume | None = None
        self._unread: Iterator[FieldBrick] = iter(())
        self._next_picture: Picture | None = None
        self._volume: NeuralVolume | None = None
        # What the last rough picture took for each ray, and beside the rays.
        self._pixel_seconds = self._fixed_seconds = 0.0
        self.shader: Any = None
        self.remark = ""
        # Levels by which decoded blocks are coarser in rough pictures than they should be.
        self._coarser = _ALL_LEVELS

    def paint(
        self, generation: int, interactive: bool, budget: float | None, request: Request
    ) -> tuple[float, int, int, np.ndarray, str]:
        from amgsrn_core.vtk.scene import is_seen

        if request["backend"] not in ("auto", "opengl"):
            self.shader, self.remark = None, ""
        width, height = _size(request)
        self.told = None
        if not is_seen(matrix_of(request)):  # nothing is seen, by ParaView's own renderers either
            empty = np.zeros((height, width, 4), dtype=np.float32)
            return 1.0, width, height, empty, "the camera sees nothing"
        if generation != self._generation:
            self._rough = self._sharp = None
            self._generation, self._request = generation, request
            self._next_picture = None
            self.open(request)
        seen = self._sharp or self._rough
        if budget is not None and (interactive or seen is None):
            share = 1.0 if interactive else _ROUGH_SHARE
            shown = self._rough = self._rough or self._sketch(share * budget, request)
        else:
            shown = self._sharp = self._sharp or self._begin(request)
            shown.advance(budget)
            if self._rough is not None and shown.image.has_gaps:
                shown = self._rough
        fraction = self._sharp.image.fraction if self._sharp else 0.0
        remarks = (*shown.remarks, self.remark)
        self.told = Told(shown.describe(), shown.decoded, fraction, tuple(filter(None, remarks)))
        height, width = shown.image.rgba.shape[:2]
        rgba = np.ascontiguousarray(shown.image.rgba)
        return fraction, width, height, rgba, self.told.together([])

    def _begin(self, request: Request) -> Picture:
        """Return a sharp picture without any ray, which expects what the rough one's took."""
        from amgsrn_core.rendering import CallCost

        if self._rough is None:
            return self._picture(request)
        known, rgba = self._rough.image.cost, self._rough.image.rgba
        cost = CallCost(known.per_ray / _ROUGH_DENSITY, known.fixed)
        is_whole = self._rough.is_decoding and rgba.shape[1::-1] == _size(request)
        return self._picture(request, cost=cost, sketch=rgba if is_whole else None)

    def _sketch(self, budget: float, request: Request) -> Picture:
        """Return a picture with as many rays as there is time for, or of as fine blocks."""
        width, height = _size(request)
        is_cached = request.get("sampling") == "cached"
        pixels = 1.0 if is_cached else _MOST_PIXELS / 2.0
        if self._pixel_seconds:
            left = max(budget - self._fixed_seconds, 0.1 * budget)
            pixels = math.sqrt(self._pixel_seconds * width * height / left)
        # Where samples cost little, a drag may show every pixel.
        least = 1.0 if is_cached else request["image_reduction"][0]
        pixels = max(least, min(pixels, _MOST_PIXELS))
        picture = self._picture(
            request, pixels=pixels, density=_ROUGH_DENSITY, coarser=self._coarser
        )
        picture.advance(None if picture.is_decoding else 2 * budget)
        # A finer level costs eight times as much where it is not decoded yet.
        slower = picture.seconds > budget
        faster = picture.seconds < _SPARE * budget and picture.coarser > 0
        self._coarser = picture.coarser + slower - faster
        done = picture.image.fraction * picture.image.rgba[..., 0].size
        self._fixed_seconds = picture.image.calls * picture.image.cost.fixed
        self._pixel_seconds = (picture.seconds - self._fixed_seconds) / max(1.0, done)
        return picture

    def _picture(self, request: Request, **quality: Any) -> Picture:
        assert self._volume is not None
        return Picture(self._volume, request, **quality)

    def prepare(self, budget: float) -> float:
        """Decode ahead what the next time step's picture needs; see the function."""
        sharp = self._sharp
        if sharp is None or sharp.image.fraction < 1.0 or not sharp.is_decoding:
            return 1.0
        end = time.perf_counter() + budget
        if self._next_picture is None:
            following = self._following()
            if following is None:
                return 1.0
            for brick in self._unread:  # as many as there is time for
                if brick.cells is None:  # to find out what is empty takes as long as decoding all
                    return 1.0
                if time.perf_counter() > end:
                    return 0.0
            request = {**self._request, "step": str(following.step)}
            self._next_picture = Picture(following, request)
        return sharp.image.prepare(self._next_picture.marcher, end - time.perf_counter())

    def _following(self) -> NeuralVolume | None:
        """Return the time step that is next in the direction of the last one."""
        volume, number = self._volume, self._step + self._direction
        if volume is None or not 0 <= number < volume.series.steps:
            return None
        if self._next is None or self._next.step != number:
            self._next = volume.at(number).near(self._request["bounds"], self._margin)
            self._unread = self._next.bricks()
        return self._next

    def open(self, request: Request) -> NeuralVolume:
        """Return the model's bricks that this process shows; all who show them share them."""
        from amgsrn_core.field.open_models import open_model

        path, checksum, device = request["path"], request["checksum"], request["device"]
        step = int(request.get("step") or 0)
        # A marcher that is no kernel has no decoded blocks.
        has_blocks = request["backend"] in ("auto", "native")
        sampling = request.get("sampling", "exact") if has_blocks else "exact"
        shown = path, checksum, step, f"{device} {sampling}", tuple(request["bounds"])
        if self._volume is not None and shown == self._shown:
            if self._margin_of(self._volume, request) > self._margin:
                return self._show(self._volume.at(step), request)
            return self._volume
        known = self._next
        if known is not None and shown != (*self._shown[:2], known.step, *self._shown[3:]):
            known = None
        if step != self._step:
            self._direction = 1 if step > self._step else -1
        self._step, self._next, self._unread = step, None, iter(())
        self._volume = None  # may be closed before another is opened
        model = open_model(path, device, sampling=sampling)
        if model.checksum != checksum:
            raise ArchiveNotFoundError(
                f"The model file {path} was replaced by another model; update its source."
            )
        self._shown = shown
        if known is None or known.content is not model.content:
            return self._show(model.at(step), request)
        if self._margin_of(known, request) <= self._margin:
            self._volume = known  # with its blocks
            return known
        return self._show(model.at(step), request)

    def _show(self, volume: NeuralVolume, request: Request) -> NeuralVolume:
        """Take the bricks that a request needs of a time step."""
        self._margin = self._margin_of(volume, request)
        self._volume = volume.near(request["bounds"], self._margin)
        return self._volume

    def _margin_of(self, volume: NeuralVolume, request: Request) -> float:
        from amgsrn_core.rendering import RenderSettings
        from amgsrn_core.rendering.marcher import decoded_margin

        return decoded_margin(volume.geometry, RenderSettings(**_interpolated(request)))


@dataclasses.dataclass(frozen=True)
class Told:
    """What is drawn and how.

    Attributes
    ----------
    what : str
    decoded : Decoded or None
    fraction : float
        How much of the sharp picture is done.
    remarks : tuple of str
        Sentences on what it is not that was asked for.
    """

    what: str
    decoded: Decoded | None
    fraction: float
    remarks: tuple[str, ...]

    def together(self, parts: list[Told | None]) -> str:
        """Return this for people, with what other ranks have drawn."""
        told = [part for part in parts if part is not None] or [self]
        blocks = [part.decoded for part in told if part.decoded is not None]
        what = f"{self.what}, {type(blocks[0]).together(blocks)}" if blocks else self.what
        what += f" on {len(blocks)} ranks" if len(blocks) > 1 else ""
        fraction = min(part.fraction for part in told)
        remarks = dict.fromkeys(remark for part in told for remark in part.remarks)
        text = f"{what}, {fraction:.0%} refined"
        for remark in remarks:
            text = f"{text.rstrip('.')}. {remark}"
        return text


class Picture:
    """A picture in progress: sharp, or with larger pixels, longer steps and coarser blocks."""

    def __init__(
        self,
        volume: NeuralVolume,
        request: Request,
        pixels: float = 1.0,
        density: float = 1.0,
        *,
        coarser: int = 0,
        cost: CallCost | None = None,
        sketch: np.ndarray | None = None,
    ) -> None:
        from amgsrn_core.rendering import ProgressiveImage, make_marcher
        from amgsrn_core.rendering.image import displayed
        from amgsrn_core.rendering.painting import Decoding
        from amgsrn_core.vtk.scene import blend_of

        start = time.perf_counter()
        self._volume = volume
        settings, transfer = look_of(request, volume.index, density)
        camera = camera_of(request, pixels)
        shown, camera, self._settings = displayed(volume, camera, settings)
        backend = "auto" if request["backend"] == "opengl" else request["backend"]
        self._remarks = [blend_of(int(request["blend_mode"][0]))[1]]
        self.marcher = make_marcher(shown, transfer, self._settings, backend)
        depth = _depth(request, camera.width, camera.height)
        self.is_decoding = isinstance(self.marcher, Decoding)
        self.coarser = self.marcher.coarsen(coarser) if isinstance(self.marcher, Decoding) else 0
        self.image = ProgressiveImage(self.marcher, camera, depth, cost, sketch)
        self.seconds = time.perf_counter() - start

    def advance(self, budget: float | None) -> None:
        """Draw for so many seconds, or all that is left."""
        start = time.perf_counter()
        self.image.advance(budget)
        self.seconds += time.perf_counter() - start

    @property
    def remarks(self) -> tuple[str, ...]:
        """What it is not that was asked for, as further sentences; some may be ""."""
        return (*self._remarks, self.marcher.remark)

    @property
    def decoded(self) -> Decoded | None:
        """What blocks its marcher has decoded, where it does."""
        return getattr(self.marcher, "decoded", None)

    def describe(self) -> str:
        """Return what is drawn and how, for people."""
        height, width = self.image.rgba.shape[:2]
        surfaces = ", ".join(f"{value:g}" for value in self._settings.isovalues)
        what = f"surface at {surfaces}, " if self._settings.blend == "isosurface" else ""
        return (
            f"{what}{self.marcher.backend} on {self._volume.device}, {width} x {height} rays, "
            f"{self._settings.samples_per_voxel:g} samples per voxel, {self.seconds:.2f} s"
        )


def look_of(
    request: Request, index: ModelIndex, density: float = 1.0
) -> tuple[RenderSettings, TransferFunction]:
    """Return what a request says of a model's look, with `density` times as many samples.

    Raises
    ------
    ConfigurationError
        It has no such array, or a surface's value is outside the range.
    """
    return _surfaces(_settings(request, index, density), _transfer(request), index)


def camera_of(request: Request, pixels: float = 1.0) -> Camera:
    """Return the camera, with one ray for so many pixels along each edge."""
    from amgsrn_core.rendering import Camera

    width, height = (math.ceil(size / pixels) for size in _size(request))
    return Camera(width, height, matrix_of(request), _scale(request))


def _transfer(request: Request) -> TransferFunction:
    from amgsrn_core.rendering import TransferFunction

    low, high = request["range"]
    if not low < high:  # a colour map of one value: everything below is its first colour
        high = low + 1e-6 * max(abs(low), 1.0)
    table = np.clip(np.array(request["table"], dtype=np.float32).reshape(-1, 4), 0.0, 1.0)
    return TransferFunction(low, high, table, bool(request["logarithmic"][0]))


def _settings(request: Request, index: ModelIndex, density: float) -> RenderSettings:
    """Return the settings with `density` times as many samples as requested."""
    from amgsrn_core.rendering import RenderSettings
    from amgsrn_core.vtk.scene import blend_of

    numbers = {
        name: request[name][0]
        for name in ("ambient", "diffuse", "specular", "specular_power", "unit_distance")
    }
    crop, planes = piece_of(request)
    return RenderSettings(
        samples_per_voxel=density * request["samples_per_voxel"][0],
        blend=blend_of(int(request["blend_mode"][0]))[0],
        shade=bool(request["shade"][0]),
        jitter=bool(request["jitter"][0]),
        isovalues=request["isovalues"],
        **_interpolated(request),
        sharers=ranks_here(),
        component=component_of(request["array"], int(request["component"][0]), index),
        crop=crop,
        clip_planes=(*planes, *_rows(request["planes"], 4)),
        lights=tuple(_rows(request.get("lights", ()), 6)),
        **numbers,
    )


def _interpolated(request: Request) -> dict[str, str]:
    """Return the settings of decoded blocks; those that are not used keep their defaults."""
    names = ("sampling", "interpolation") if request.get("sampling") == "cached" else ("sampling",)
    return {name: request[name] for name in names if name in request}


def _surfaces(
    settings: RenderSettings, transfer: TransferFunction, index: ModelIndex
) -> tuple[RenderSettings, TransferFunction]:
    """Return settings and transfer function with surfaces that can be seen, where they are wanted.

    Without a value there is one, in the middle of the range; where the opacities leave nothing of
    all surfaces, they are opaque.

    Raises
    ------
    ConfigurationError
        A value is outside the range.
    """
    from amgsrn_core.rendering.looks import value_range
    from amgsrn_core.rendering.settings import chosen_isovalues

    if settings.blend != "isosurface":
        return settings, transfer
    low, high = value_range(index, settings.component)
    isovalues = chosen_isovalues(settings.isovalues, low, high, index.name)
    if not transfer(np.array(isovalues))[:, 3].any():
        transfer = transfer.opaque()
    return dataclasses.replace(settings, isovalues=isovalues), transfer


def matrix_of(request: Request) -> np.ndarray:
    """Return the map from the volume to OpenGL's clip space, float64 [4, 4]."""
    return np.array(request["world_to_clip"]).reshape(4, 4)


def _scale(request: Request) -> tuple[float, float, float]:
    """Return the factors along x, y, z, rounded: they come out of a product of matrices."""
    x, y, z = (float(f"{factor:.9g}") for factor in request.get("scale", (1.0, 1.0, 1.0)))
    return x, y, z


def component_of(array: str, component: int, index: ModelIndex) -> int | str:
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


def piece_of(request: Request) -> tuple[tuple[float, ...], list[tuple[float, ...]]]:
    """Return the box and the planes that bound what this process shows, of a request.

    That is its piece of the data set, so that ranks do not draw each other's parts, and of it what
    is in the cropping box.
    """
    box = np.array(request["bounds"]).reshape(3, 2)
    if "cropping" in request:
        limits = np.array(request["cropping"]).reshape(3, 2)
        box = np.stack(
            [np.maximum(box[:, 0], limits[:, 0]), np.minimum(box[:, 1], limits[:, 1])], axis=1
        )
    planes: list[tuple[float, ...]] = []
    matrix = np.array(request.get("index_to_world", np.eye(4))).reshape(4, 4)
    axes = matrix[:3, :3]
    if not np.array_equal(axes, np.diag(np.diag(axes))):
        x0, x1, y0, y1, z0, z1 = request["extent"]
        low, high = (matrix @ [x0, y0, z0, 1.0])[:3], (matrix @ [x1, y1, z1, 1.0])[:3]
        # Rows of the inverse are normal to the layers of samples.
        for normal in np.linalg.inv(axes):
            planes.append((*normal.tolist(), float(-normal @ low)))
            planes.append((*(-normal).tolist(), float(normal @ high)))
    return tuple(box.ravel().tolist()), planes


def _rows(numbers: tuple[float, ...], length: int) -> list[tuple[float, ...]]:
    return [numbers[i : i + length] for i in range(0, len(numbers), length)]


def _size(request: Request) -> tuple[int, int]:
    width, height = request["size"]
    return int(width), int(height)


def _depth(request: Request, width: int, height: int) -> np.ndarray | None:
    """Return the depth at the centres of the pixels of a picture of this size, flat."""
    if not request["depth"]:
        return None
    columns, rows = _size(request)
    depth = np.frombuffer(request["depth"], dtype=np.float32).reshape(rows, columns)
    if (columns, rows) != (width, height):
        row = ((np.arange(height) + 0.5) * rows / height).astype(int)
        column = ((np.arange(width) + 0.5) * columns / width).astype(int)
        depth = depth[row[:, None], column]
    return depth.ravel()
