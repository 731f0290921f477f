"""Images: from coarse to fine within a time budget, or in one go."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from amgsrn_core.rendering.camera import Camera
from amgsrn_core.rendering.cost import CallCost
from amgsrn_core.rendering.marcher import Marcher, make_marcher
from amgsrn_core.rendering.painting import Decoding, NoRoomError, Painter, RestartPicture

if TYPE_CHECKING:
    from amgsrn_core.field.neural_volume import NeuralVolume
    from amgsrn_core.rendering.settings import RenderSettings
    from amgsrn_core.rendering.transfer import TransferFunction

# More than any lattice has.
_ALL_LEVELS = 99

# The image appears at every eighth pixel along both directions, then at every fourth, and so on.
_COARSEST = 8

# Rays that are marched together: at first, when nothing is known about their cost; at most, which
# keeps what they need in memory small; and so few that a call is not worth it.
_FIRST_RAYS, _MOST_RAYS, _FEWEST_RAYS = 1 << 10, 1 << 15, 1 << 7

# A GPU is busy with many only.
_FIRST_RAYS_OF_CUDA, _MOST_RAYS_OF_CUDA = 1 << 14, 1 << 16

# Consecutive rays come from square tiles of the image, because neighbours need the same data.
_TILE = 64


def render(
    volume: NeuralVolume,
    camera: Camera,
    transfer: TransferFunction,
    settings: RenderSettings,
    *,
    depth: np.ndarray | None = None,
    backend: str = "auto",
) -> np.ndarray:
    """Return the image of a model.

    Parameters
    ----------
    volume : NeuralVolume
    camera : Camera
    transfer : TransferFunction
    settings : RenderSettings
    depth : float32 array [height * width], optional
        Window depth of opaque things; see :meth:`Camera.rays`.
    backend : str, default: "auto"
        See :func:`make_marcher`.

    Returns
    -------
    float32 array [height, width, 4]
        Red, green, blue, each multiplied with the opacity, and the opacity; bottom row first.

    Examples
    --------
    >>> volume = NeuralVolume.open("model.amgsrn")  # doctest: +SKIP
    >>> camera = Camera.orbit(volume.geometry.bounds, width=800, height=600)  # doctest: +SKIP
    >>> ramp = np.linspace(0, 1, 256)[:, None] * [1, 1, 1, 0.1]  # doctest: +SKIP
    >>> image = render(
    ...     volume, camera, TransferFunction(0, 255, ramp), RenderSettings()
    ... )  # doctest: +SKIP
    """
    volume, camera, settings = displayed(volume, camera, settings)
    image = ProgressiveImage(make_marcher(volume, transfer, settings, backend), camera, depth)
    image.advance()
    return image.rgba


def displayed(
    volume: NeuralVolume, camera: Camera, settings: RenderSettings
) -> tuple[NeuralVolume, Camera, RenderSettings]:
    """Return model, camera and settings in the world as a camera stretches it.

    Lengths, opacities and light are meant there; the crop box and the clip planes move with it.
    """
    if camera.scale == (1.0, 1.0, 1.0):
        return volume, camera, settings
    return volume.scaled(camera.scale), camera.displayed(), settings.scaled(camera.scale)


class ProgressiveImage:
    """An image that sharpens with every call of :meth:`advance`.

    Every eighth pixel comes first. With a marcher that keeps decoded blocks all pixels come at
    first, through the coarsest ones, and then one tile after the other as it should be. When it is
    done it is the same to the last bit, however the time was cut.

    Parameters
    ----------
    marcher : Marcher
    camera : Camera
    depth : float32 array [height * width], optional
        Window depth of opaque things; see :meth:`Camera.rays`.
    cost : CallCost, optional
        What to expect of a call, if that is known.
    sketch : float32 array [height, width, 4], optional
        What to show where there is nothing better yet, instead of the coarsest blocks.

    Attributes
    ----------
    rgba : float32 array [height, width, 4]
        The image so far, bottom row first; pixels that are still missing repeat a neighbour's
        colour, and are transparent before the first call.
    cost : CallCost
        What the calls took lately, which tells how many rays there is time for.
    calls : int
        How often the marcher was called.
    """

    def __init__(
        self,
        marcher: Marcher,
        camera: Camera,
        depth: np.ndarray | None = None,
        cost: CallCost | None = None,
        sketch: np.ndarray | None = None,
    ) -> None:
        self._marcher = marcher
        self._camera = camera
        self._depth = depth
        on_cuda = marcher.device.startswith("cuda")
        self._first_rays = _FIRST_RAYS_OF_CUDA if on_cuda else _FIRST_RAYS
        self._most_rays = _MOST_RAYS_OF_CUDA if on_cuda else _MOST_RAYS
        self._ahead: ProgressiveImage | None = None
        self._is_sketched = sketch is not None
        self._begin()
        self.cost = cost or CallCost()
        self.calls = 0
        shape = camera.height, camera.width, 4
        self.rgba = np.zeros(shape, np.float32) if sketch is None else sketch.copy()

    def _begin(self) -> None:
        stride = 1 if self._is_sketched else _COARSEST
        self._order = _PixelOrder(self._camera.width, self._camera.height, stride)
        self._done = 0

    @property
    def fraction(self) -> float:
        """How much of the image is there, 0 to 1."""
        total = self._camera.width * self._camera.height
        return self._done / total if total else 1.0

    @property
    def has_gaps(self) -> bool:
        """Whether some pixels have no colour yet, not even a neighbour's."""
        camera = self._camera
        coarsest = -(-camera.width // _COARSEST) * -(-camera.height // _COARSEST)
        return not self._is_sketched and self._done < coarsest

    def advance(
        self,
        budget_seconds: float | None = None,
        report: Callable[[float], None] | None = None,
    ) -> float:
        """March more rays, and return the fraction of the image that is done.

        Parameters
        ----------
        budget_seconds : float, optional
            Stop after about this time; at least some rays are marched. Default: finish.
        report : function, optional
            Called with the fraction now and then while the image is finished.
        """
        if budget_seconds is None:
            if not self._done and isinstance(self._marcher, Painter):
                if self._is_sketched:
                    self.rgba[:] = 0.0
                self._paint_all(self._marcher, report)
            while self.fraction < 1.0:
                self._march(self._most_rays)
                if report is not None:
                    report(self.fraction)
            return self.fraction
        end = time.perf_counter() + budget_seconds
        if not self._done and not self._is_sketched and isinstance(self._marcher, Decoding):
            self._sketch(self._marcher)
        rays = self._first_rays
        if self.cost.per_ray:
            # At least so many that they take as long as the call by itself, if there is time.
            rays = max(rays, int(self.cost.fixed / self.cost.per_ray))
            rays = max(_FEWEST_RAYS, min(rays, int(self.cost.rays_within(budget_seconds))))
        while self.fraction < 1.0:
            self._march(rays)
            affordable = self.cost.rays_within(end - time.perf_counter())
            if affordable < _FEWEST_RAYS:
                break
            # Never more than twice as many as before: costs differ over the image.
            rays = int(min(affordable, 2 * rays, self._most_rays))
        return self.fraction

    def prepare(self, marcher: Marcher, budget_seconds: float | None = None) -> float:
        """Decode ahead what the same view of another field needs, such as of the next time step.

        That takes no memory that this image's blocks are in, and changes no picture: it is a
        finished picture that comes sooner. Keep the other field, with which its blocks go.

        Parameters
        ----------
        marcher : Marcher
            Of the other field; always the same one.
        budget_seconds : float, optional
            Stop after about this time. Default: finish.

        Returns
        -------
        float
            How much of the view is prepared; 1 too where there is no more room, and where this or
            the other marcher keeps nothing.
        """
        if not (isinstance(marcher, Decoding) and isinstance(self._marcher, Decoding)):
            return 1.0
        if self._ahead is None or self._ahead._marcher is not marcher:
            marcher.stay_beside(self._marcher)
            self._ahead = ProgressiveImage(marcher, self._camera, self._depth)
        try:
            # The coarsest blocks, too, which the first sight of it is of.
            if not self._ahead._done and not self._ahead._is_sketched:
                self._ahead._sketch(marcher)
            return self._ahead.advance(budget_seconds)
        except NoRoomError:
            self._ahead._done = self._camera.width * self._camera.height
            return 1.0

    def _sketch(self, marcher: Decoding) -> None:
        """Show all pixels through the coarsest blocks, if these are coarser than they should be."""
        if marcher.coarsen(_ALL_LEVELS):
            for pixels in _strips(self._camera.width, self._camera.height):
                marcher.paint(self._camera.rays(pixels, self._depth), self.rgba)
            marcher.coarsen(0)
            self._is_sketched = True
            self._begin()

    def _paint_all(self, painter: Painter, report: Callable[[float], None] | None) -> None:
        """March all rays where nobody looks before they are there: none of them roughly."""
        camera = self._camera
        try:
            done = 0
            for pixels in _strips(camera.width, camera.height):
                start = time.perf_counter()
                painter.paint(camera.rays(pixels, self._depth), self.rgba)
                self.cost.note(len(pixels), time.perf_counter() - start)
                self.calls += 1
                done += len(pixels)
                if report is not None:
                    report(done / (camera.width * camera.height))
        except RestartPicture:
            self.rgba[:] = 0.0
            self._paint_all(painter, report)
        self._done = camera.width * camera.height

    def _march(self, count: int) -> None:
        stride, pixels = self._order.take(count)
        start = time.perf_counter()
        try:
            colours = self._marcher.march(self._camera.rays(pixels, self._depth))
        except RestartPicture:  # what there is of it is of another kind
            self._begin()
            return
        self.cost.note(len(pixels), time.perf_counter() - start)
        self.calls += 1
        self._paint(stride, pixels, colours)
        self._done += len(pixels)

    def _paint(self, stride: int, pixels: np.ndarray, colours: np.ndarray) -> None:
        """Give each pixel, and those above and to its right that wait for theirs, its colour."""
        height, width = self.rgba.shape[:2]
        rows, columns = pixels // width, pixels % width
        for up in range(stride):
            for right in range(stride):
                inside = (rows + up < height) & (columns + right < width)
                self.rgba[rows[inside] + up, columns[inside] + right] = colours[inside]


class _PixelOrder:
    """Every pixel once: those of the coarsest grid first, tile by tile, then finer and finer."""

    def __init__(self, width: int, height: int, coarsest: int) -> None:
        self._tiles = _tiles(width, height, coarsest)
        self._stride, self._waiting = coarsest, np.empty(0, dtype=np.int64)

    def take(self, count: int) -> tuple[int, np.ndarray]:
        """Return the stride of a grid and up to `count` pixels of it; none when all were taken."""
        taken: list[np.ndarray] = []
        missing = count
        stride = self._stride
        while missing:
            if not len(self._waiting):
                self._stride, self._waiting = next(self._tiles, (0, self._waiting))
                if not taken:
                    stride = self._stride
            if self._stride != stride or not stride:
                break
            taken.append(self._waiting[:missing])
            self._waiting = self._waiting[missing:]
            missing -= len(taken[-1])
        return stride, np.concatenate(taken) if taken else np.empty(0, dtype=np.int64)


def _strips(width: int, height: int) -> Iterator[range]:
    """Yield every pixel once, some rows after the others."""
    for bottom in range(0, height, _TILE):
        yield range(bottom * width, min(bottom + _TILE, height) * width)


def _tiles(width: int, height: int, coarsest: int) -> Iterator[tuple[int, np.ndarray]]:
    stride = coarsest
    while stride:
        for bottom in range(0, height, _TILE):
            for left in range(0, width, _TILE):
                rows = np.arange(bottom, min(bottom + _TILE, height), stride)[:, None]
                columns = np.arange(left, min(left + _TILE, width), stride)
                new = np.ones((len(rows), len(columns)), dtype=bool)
                if stride < coarsest:
                    new[::2, ::2] = False
                pixels = rows * width + columns
                if coarsest == 1 and not (len(rows) % 4 or len(columns) % 4):
                    blocks = pixels.reshape(len(rows) // 4, 4, -1, 4).swapaxes(1, 2)
                    yield stride, blocks.ravel()
                elif new.any():
                    yield stride, pixels[new]
        stride //= 2
