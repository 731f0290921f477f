"""The shader's textures in the OpenGL context of one of VTK's windows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from vtkmodules.vtkCommonCore import VTK_FLOAT, VTK_UNSIGNED_CHAR
from vtkmodules.vtkRenderingOpenGL2 import vtkTextureObject

from amgsrn_core.errors import ConfigurationError
from amgsrn_core.shader.packing import MOST_HALF
from amgsrn_core.shader.renderers import is_software
from amgsrn_core.shader.view import Uniform

_HALVES = {1: 0x822D, 2: 0x822F, 4: 0x881A}  # R, RG, RGBA of 16 bits
_R8UI, _RED_INTEGER = 0x8232, 0x8D94


class WindowTextures:
    """Textures of one prop in one window, which must be current; nothing here keeps it alive.

    Parameters
    ----------
    window : vtkRenderWindow
    half : bool
        Features in 16 bits, which round to 11 significant ones and take half the memory; not where
        one is too large for them.

    Attributes
    ----------
    renderer : str
        GL_RENDERER.
    is_software : bool
        Whether that is a program on the CPU.
    checked : str
        The shader that has compiled here.
    observer : int
        Of the window's end.
    """

    def __init__(self, window: Any, half: bool) -> None:
        self._half = half
        self.renderer = renderer_name(window)
        self.is_software = is_software(self.renderer)
        self.checked, self.observer = "", 0
        self._known: dict[str, tuple[np.ndarray, Any]] = {}

    def update(self, window: Any, arrays: Mapping[str, np.ndarray]) -> None:
        """Make those textures that are not there yet, and free others.

        Raises
        ------
        ConfigurationError
            One is larger than this graphics processor takes, or cannot be made.
        """
        if not all(texture.GetHandle() for _, texture in self._known.values()):
            self._known, self.checked = {}, ""  # the window has lost its context, and has another
        for name in set(self._known) - set(arrays):
            self._free(window, name)
        for name, array in arrays.items():
            if name not in self._known or self._known[name][0] is not array:
                texture = self._make(window, name, array)
                self._free(window, name)
                self._known[name] = array, texture

    def _make(self, window: Any, name: str, array: np.ndarray) -> Any:
        *shape, count = array.shape
        most = _most_texels(window, len(shape))
        if most > 0 and max(shape) > most:
            raise ConfigurationError(
                f"a texture of {' x '.join(map(str, shape[::-1]))} is more than the {most} along "
                "an edge that this graphics processor takes."
            )
        texture = vtkTextureObject()
        texture.SetContext(window)
        whole = array.dtype == np.uint8
        if whole:
            texture.SetInternalFormat(_R8UI)
            texture.SetFormat(_RED_INTEGER)
        elif self._half and name == "features" and np.abs(array).max(initial=0) <= MOST_HALF:
            texture.SetInternalFormat(_HALVES[count])
        kind = vtkTextureObject.Linear if name == "features" else vtkTextureObject.Nearest
        texture.SetMinificationFilter(kind)
        texture.SetMagnificationFilter(kind)
        for axis in "STR":
            getattr(texture, f"SetWrap{axis}")(vtkTextureObject.ClampToEdge)
        data = np.ascontiguousarray(array).reshape(-1)
        make = texture.Create3DFromRaw if len(shape) == 3 else texture.Create2DFromRaw
        size = *shape[::-1], count, VTK_UNSIGNED_CHAR if whole else VTK_FLOAT, data
        if not make(*size):
            raise ConfigurationError(
                f"this graphics processor has no room for a texture of {array.nbytes} bytes."
            )
        return texture

    def activate(self, uniforms: Any) -> None:
        """Take texture units for a frame, and say which."""
        for name, (_, texture) in self._known.items():
            texture.Activate()
            uniforms.SetUniformi(name, texture.GetTextureUnit())
        # Two kinds of samplers must not share a unit, even where one is not looked at.
        uniforms.SetUniformi("kept", self._known["colours"][1].GetTextureUnit())

    def deactivate(self) -> None:
        """Give the units back."""
        for _, texture in self._known.values():
            texture.Deactivate()

    def release(self, window: Any) -> None:
        """Free all textures."""
        for name in list(self._known):
            self._free(window, name)

    def _free(self, window: Any, name: str) -> None:
        _, texture = self._known.pop(name, (None, None))
        if texture is not None:
            texture.ReleaseGraphicsResources(window)


def _most_texels(window: Any, axes: int) -> int:
    """Return how long the edges of a texture may be, or 0 where that is unknown."""
    sizes = {2: "GetMaximumTextureSize", 3: "GetMaximumTextureSize3D"}
    return int(getattr(vtkTextureObject, sizes[axes])(window))


def set_uniforms(target: Any, uniforms: Mapping[str, Uniform]) -> None:
    """Hand uniforms to a vtkUniforms or a vtkShaderProgram."""
    for name, value in uniforms.items():
        if isinstance(value, int):
            target.SetUniformi(name, value)
        elif isinstance(value, float):
            target.SetUniformf(name, value)
        elif isinstance(value, tuple):
            getattr(target, f"SetUniform{len(value)}f")(name, value)
        elif value.shape == (3, 3):
            target.SetUniformMatrix3x3(name, value.T.ravel().tolist())
        elif value.shape == (4, 4):
            target.SetUniformMatrix4x4v(name, 1, value.T.ravel().tolist())
        else:
            target.SetUniform1fv(name, len(value), value.tolist())


def renderer_name(window: Any) -> str:
    """Return GL_RENDERER of a window; its context must be current."""
    for line in window.ReportCapabilities().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "OpenGL renderer string":
            return str(value.strip())
    return "an unknown renderer"
