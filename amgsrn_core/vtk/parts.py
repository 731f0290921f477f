"""A picture in parts, none of which keeps a graphics processor busy for long.

Drivers end a program that does not answer for seconds (Windows after two), and a window stands
still for as long as a picture takes. Where one takes long, its parts are drawn one after the other
into a texture, as many in a frame as there is time for, and each frame shows that texture.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from vtkmodules.vtkCommonCore import VTK_FLOAT, vtkFloatArray
from vtkmodules.vtkRenderingOpenGL2 import vtkOpenGLFramebufferObject, vtkTextureObject

# What the parts of a frame take together, and one of them, as far as the one before tells. Where no
# other frame follows, nobody waits for the window, and larger parts cost less.
FRAME_SECONDS, _PART_SECONDS, _LARGE_PART_SECONDS = 0.1, 0.05, 0.15

# A picture that is expected to take less is drawn at once.
_WHOLE_SECONDS = 0.1

# Pixels of the first part, when nothing is known, and of the smallest one.
_FIRST_PIXELS, _FEWEST_PIXELS = 4096, 64
_ROWS = 32  # of parts that are not as wide as the picture

# What a look may cost when all that is known is what the one before did.
_MORE_BY_LOOK = 10.0

_DRAW_FRAMEBUFFER, _SCISSOR_TEST, _COLOUR_BUFFER = 0x8CA9, 0x0C11, 0x4000

Rectangle = tuple[int, int, int, int]
"""First column and row, columns and rows, in pixels; the bottom row is 0."""


class Parts:
    """The parts of a rectangle, from its bottom row up, each as large as wanted."""

    def __init__(self, rectangle: Rectangle) -> None:
        self._left, self._row, self._columns, rows = rectangle
        self._column, self._end, self._height = 0, self._row + rows, 0
        self.pixels = self._columns * rows

    @property
    def left(self) -> int:
        """Pixels that are in no part yet."""
        rows = max(self._end - self._row, 0)
        return rows * self._columns - min(self._height, rows) * self._column

    def take(self, pixels: float) -> Rectangle:
        """Return the next part, of about so many pixels, while there are any left."""
        if not self._column:
            rows = max(int(pixels) // self._columns, min(_ROWS, self.pixels // self._columns))
            self._height = min(max(rows, 1), self._end - self._row)
        columns = min(max(int(pixels) // self._height, 1), self._columns - self._column)
        part = self._left + self._column, self._row, columns, self._height
        self._column += columns
        if self._column >= self._columns:
            self._column, self._row = 0, self._row + self._height
        return part


class KeptPicture:
    """The picture of a volume in one renderer's window, drawn in parts and kept.

    Attributes
    ----------
    progress : float
        How much of it is drawn, 0 to 1.
    pixel_seconds : float
        What a pixel of a still picture took; 0 where that is unknown.
    """

    def __init__(self) -> None:
        self._target: Any = None
        self._texture: Any = None
        self._key: tuple[Any, ...] = ()
        self._depth = b""
        self._parts = Parts((0, 0, 1, 1))
        self._is_held = False
        self.progress, self.pixel_seconds = 1.0, 0.0

    def is_wanted(self, pixels: int) -> bool:
        """Return whether so many pixels would take too long at once, or nobody knows."""
        return not self.pixel_seconds or self.pixel_seconds * pixels > _WHOLE_SECONDS

    def expect_another_look(self) -> None:
        """Take into account that a pixel may now take longer than any before."""
        self.pixel_seconds *= _MORE_BY_LOOK

    def advance(
        self,
        renderer: Any,
        draw: Callable[[float], None],
        key: tuple[Any, ...],
        rectangle: Rectangle,
        budget: float | None,
        coarse: float,
    ) -> None:
        """Draw a coarse picture at first, if there is a budget, then parts, at least one.

        Parameters
        ----------
        renderer : vtkRenderer
            It is drawing: everything opaque is there.
        draw : callable
            Draws the volume into whatever is bound, with one ray for so many pixels along an edge.
        key : tuple
            What the picture depends on, beside the depths of what is opaque.
        rectangle : Rectangle
            Where the volume may be seen.
        budget : float or None
            Seconds, more than 0, that parts may take together; None for all of them.
        coarse : float
            What is shown in the place of parts to come: pixels along an edge for one ray.
        """
        window = renderer.GetRenderWindow()
        size = self._fit(window, viewport(renderer))
        state = window.GetState()
        state.Push()
        try:
            depth = _depths(renderer)  # switches the scissor test off
            self._target.Bind(_DRAW_FRAMEBUFFER)
            self._target.ActivateDrawBuffer(0)
            if (*key, size) != self._key or depth != self._depth:
                self._key, self._depth = (*key, size), depth
                self._parts = Parts(rectangle)
                _clear(state, (0, 0, *size))
                if budget is not None:
                    draw(coarse)
                    budget = 0.0
            window.WaitForCompletion()
            self._draw_parts(window, draw, budget)
        finally:
            state.Pop()
        self.progress = 1.0 - self._parts.left / max(self._parts.pixels, 1)

    def _draw_parts(self, window: Any, draw: Callable[[float], None], budget: float | None) -> None:
        parts, state = self._parts, window.GetState()
        known, most = self.pixel_seconds, _LARGE_PART_SECONDS if budget is None else _PART_SECONDS
        pixels = most / known if known else float(_FIRST_PIXELS)
        start = now = time.perf_counter()
        drawn = 0
        while parts.left:
            is_over = budget is not None and now - start + pixels * known > budget
            if is_over and (drawn or not budget):
                break
            part = parts.take(max(pixels, _FEWEST_PIXELS))
            _clear(state, part)
            draw(1.0)
            window.WaitForCompletion()
            size = part[2] * part[3]
            before, now = now, time.perf_counter()
            known = (now - before) / size
            # The first one may have had to be compiled.
            pixels = min(max(most / known, size / 4), 4.0 * size)
            drawn += size
        if drawn:
            self.pixel_seconds = (now - start) / drawn

    def show(self, uniforms: Any) -> None:
        """Let the shader show the picture, until the end of the frame."""
        self._texture.Activate()
        self._is_held = True
        uniforms.SetUniformi("kept", self._texture.GetTextureUnit())
        uniforms.SetUniformi("isKept", 1)

    def end(self) -> None:
        """Give the texture unit back."""
        if self._is_held:
            self._texture.Deactivate()
            self._is_held = False

    def forget(self) -> None:
        """Begin afresh next time."""
        self._key, self.progress = (), 1.0

    def release(self, window: Any) -> None:
        """Free the texture."""
        if self._target is not None:
            self.end()
            self._target.ReleaseGraphicsResources(window)
            self._texture.ReleaseGraphicsResources(window)
        self._target = self._texture = None
        self.forget()

    def _fit(self, window: Any, view: Rectangle) -> tuple[int, int]:
        """Make a texture that reaches to the viewport's end, if there is none; return its size."""
        x, y, columns, rows = view
        size = x + columns, y + rows
        texture = self._texture
        if texture and texture.GetHandle() and size == (texture.GetWidth(), texture.GetHeight()):
            return size
        self.release(window)
        self._texture, self._target = vtkTextureObject(), vtkOpenGLFramebufferObject()
        self._texture.SetContext(window)
        self._texture.Allocate2D(*size, 4, VTK_FLOAT)
        self._target.SetContext(window)
        window.GetState().PushFramebufferBindings()
        self._target.Bind()
        self._target.AddColorAttachment(0, self._texture)
        window.GetState().PopFramebufferBindings()
        return size


def viewport(renderer: Any) -> Rectangle:
    """Return the pixels of a vtkRenderer in what is drawn at once: in large screenshots a tile."""
    window = renderer.GetRenderWindow()
    tile, own = (
        np.reshape(window.GetTileViewport(), (2, 2)),
        np.reshape(renderer.GetViewport(), (2, 2)),
    )
    corners = np.clip(own, tile[0], tile[1]) - tile[0]
    (x, y), (right, top) = np.rint(corners * window.GetSize()).astype(int).tolist()
    return x, y, right - x, top - y


def covered(to_clip: np.ndarray, bounds: tuple[float, ...], view: Rectangle) -> Rectangle:
    """Return the part of a viewport in which a box may be seen.

    Parameters
    ----------
    to_clip : float64 array [4, 4]
        From the box's coordinates.
    bounds : six floats
        x0, x1, y0, y1, z0, z1.
    view : Rectangle
    """
    corners = np.stack(np.meshgrid(*np.reshape(bounds, (3, 2)), [1.0]), axis=-1).reshape(-1, 4)
    clip = corners @ to_clip.T
    if not (clip[:, 3] > 1e-9 * np.abs(clip).max()).all():
        return view  # the eye is inside, or beside it
    origin, size = np.array(view[:2]), np.array(view[2:])
    places = (clip[:, :2] / clip[:, 3:] + 1.0) / 2.0 * size
    low = np.clip(np.floor(places.min(axis=0)) - 1, 0, size).astype(int)
    high = np.clip(np.ceil(places.max(axis=0)) + 1, low, size).astype(int)
    x, y = (origin + low).tolist()
    columns, rows = (high - low).tolist()
    return x, y, columns, rows


def _clear(state: Any, part: Rectangle) -> None:
    """Empty a part, and draw nowhere else from now on."""
    state.vtkglEnable(_SCISSOR_TEST)
    state.vtkglScissor(*part)
    state.vtkglClearColor(0.0, 0.0, 0.0, 0.0)
    state.vtkglClear(_COLOUR_BUFFER)


def _depths(renderer: Any) -> bytes:
    x, y, columns, rows = viewport(renderer)
    values = vtkFloatArray()
    window = renderer.GetRenderWindow()
    window.GetZbufferData(x, y, x + columns - 1, y + rows - 1, values)
    return bytes(memoryview(values))
