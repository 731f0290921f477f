"""An OpenGL context of our own without a window, by EGL: for `amgsrn doctor` and for tests."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

import numpy as np

from amgsrn_core.errors import AmgsrnError
from amgsrn_core.shader.source import VERTEX
from amgsrn_core.shader.view import Uniform

_DEVICE_PLATFORM, _SURFACELESS = 0x313F, 0x31DD
_CONFIG = (0x3040, 0x0008, 0x3033, 0x0001, 0x3038)  # OpenGL, pixel buffers
_VERSION = (0x3098, 3, 0x30FB, 2, 0x30FD, 1, 0x3038)  # 3.2, core
_OPENGL_API = 0x30A2

_TEXTURE_2D, _TEXTURE_3D, _TEXTURE0 = 0x0DE1, 0x806F, 0x84C0
_FORMATS = {1: 0x1903, 2: 0x8227, 4: 0x1908}  # R, RG, RGBA
_FLOATS = {1: 0x822E, 2: 0x8230, 4: 0x8814}  # the same in 32 bits
_FLOAT, _BYTE = 0x1406, 0x1401
_R8UI, _RED_INTEGER = 0x8232, 0x8D94
_NEAREST, _LINEAR, _EDGE = 0x2600, 0x2601, 0x812F
_FILTERS, _WRAPS = (0x2801, 0x2800), (0x2802, 0x2803, 0x8072)
_OBJECTS = ("Framebuffer", "Texture", "VertexArray", "Buffer")  # that a picture needs


class ContextError(AmgsrnError, RuntimeError):
    """There is no OpenGL here, or it refuses something; the message says which."""


class OffscreenContext:
    """An OpenGL 3.2 context and one program at a time, current in this thread while open.

    Raises
    ------
    ContextError
        There is no OpenGL 3.2 without a window here.
    """

    def __init__(self) -> None:
        try:
            self._egl = ctypes.CDLL("libEGL.so.1")
        except OSError:
            raise ContextError(
                "There is no libEGL.so.1; Debian and Ubuntu have it in libegl1 and libegl-mesa0."
            ) from None
        self._egl.eglGetProcAddress.restype = ctypes.c_void_p
        self._display, self._context = self._open()
        self._program = 0
        self._textures: dict[str, tuple[int, int]] = {}
        self.renderer = self._string(0x1F01)
        self.version = self._string(0x1F02)

    def close(self) -> None:
        """Free everything."""
        self._egl.eglMakeCurrent(self._display, None, None, None)
        self._egl.eglDestroyContext(self._display, self._context)

    def __enter__(self) -> OffscreenContext:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> tuple[ctypes.c_void_p, ctypes.c_void_p]:
        egl = self._egl
        for name in ("eglGetPlatformDisplay", "eglCreatePbufferSurface", "eglCreateContext"):
            getattr(egl, name).restype = ctypes.c_void_p
        for display in self._displays():
            major, minor = ctypes.c_int(), ctypes.c_int()
            if not egl.eglInitialize(display, ctypes.byref(major), ctypes.byref(minor)):
                continue
            config, count = ctypes.c_void_p(), ctypes.c_int()
            wanted = (ctypes.c_int * len(_CONFIG))(*_CONFIG)
            found = ctypes.byref(config), 1, ctypes.byref(count)
            egl.eglBindAPI(_OPENGL_API)
            if not egl.eglChooseConfig(display, wanted, *found) or not count.value:
                continue
            version = (ctypes.c_int * len(_VERSION))(*_VERSION)
            context = ctypes.c_void_p(egl.eglCreateContext(display, config, None, version))
            if context and egl.eglMakeCurrent(display, None, None, context):
                return display, context
        raise ContextError("No OpenGL 3.2 can be had without a window here.")

    def _displays(self) -> list[ctypes.c_void_p]:
        """Return the displays to try: graphics processors first, Mesa without any last."""
        egl, kinds = self._egl, []
        address = egl.eglGetProcAddress(b"eglQueryDevicesEXT")
        if address:
            devices, count = (ctypes.c_void_p * 16)(), ctypes.c_int()
            query = ctypes.CFUNCTYPE(
                ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int)
            )(address)
            if query(16, devices, ctypes.byref(count)):
                kinds = [(_DEVICE_PLATFORM, device) for device in devices[: count.value]]
        kinds.append((_SURFACELESS, None))
        found = [
            ctypes.c_void_p(egl.eglGetPlatformDisplay(kind, ctypes.c_void_p(device), None))
            for kind, device in kinds
        ]
        return [display for display in found if display]

    def _gl(self, name: str, *arguments: Any, result: Any = None) -> Any:
        address = self._egl.eglGetProcAddress(name.encode())
        kinds = [type(argument) for argument in arguments]
        return ctypes.CFUNCTYPE(result, *kinds)(address)(*arguments)

    def _string(self, name: int) -> str:
        text = self._gl("glGetString", ctypes.c_uint(name), result=ctypes.c_char_p)
        return text.decode() if text else ""

    def error(self) -> int:
        """Return glGetError."""
        return int(self._gl("glGetError", result=ctypes.c_uint))

    def use(self, fragment: str) -> None:
        """Compile and use a fragment shader in the dialect "core".

        Raises
        ------
        ContextError
            It does not compile; the message has the compiler's.
        """
        program = self._gl("glCreateProgram", result=ctypes.c_uint)
        handle = ctypes.c_uint(program)
        for kind, text in ((0x8B31, "#version 150\n" + VERTEX), (0x8B30, fragment)):
            shader = self._gl("glCreateShader", ctypes.c_uint(kind), result=ctypes.c_uint)
            source = ctypes.c_char_p(text.encode())
            one = ctypes.c_int(1), _address(source), ctypes.c_void_p(None)
            self._gl("glShaderSource", ctypes.c_uint(shader), *one)
            self._gl("glCompileShader", ctypes.c_uint(shader))
            self._gl("glAttachShader", handle, ctypes.c_uint(shader))
            self._check("Shader", ctypes.c_uint(shader), 0x8B81)
            self._gl("glDeleteShader", ctypes.c_uint(shader))
        self._gl("glLinkProgram", handle)
        self._check("Program", handle, 0x8B82)
        if self._program:
            self._gl("glDeleteProgram", ctypes.c_uint(self._program))
        self._gl("glUseProgram", handle)
        self._program = program

    def _check(self, kind: str, handle: ctypes.c_uint, what: int) -> None:
        status = ctypes.c_int()
        self._gl(f"glGet{kind}iv", handle, ctypes.c_uint(what), _address(status))
        if not status.value:
            log = ctypes.create_string_buffer(4000)
            size = ctypes.c_int(4000), ctypes.c_void_p(None)
            self._gl(f"glGet{kind}InfoLog", handle, *size, _address(log))
            raise ContextError(f"The shader does not compile here: {log.value.decode()}")

    def load(self, textures: Mapping[str, np.ndarray], *, linear: bool = False) -> None:
        """Make textures; one of the same name is freed."""
        for name, array in textures.items():
            *shape, count = array.shape
            target = _TEXTURE_3D if len(shape) == 3 else _TEXTURE_2D
            if name in self._textures:
                old = ctypes.c_uint(self._textures.pop(name)[1])
                self._gl("glDeleteTextures", ctypes.c_int(1), _address(old))
            handle = ctypes.c_uint()
            self._gl("glGenTextures", ctypes.c_int(1), _address(handle))
            self._gl("glActiveTexture", ctypes.c_uint(_TEXTURE0))
            self._gl("glBindTexture", ctypes.c_uint(target), handle)
            is_linear = linear and name == "features"
            values = [(f, _LINEAR if is_linear else _NEAREST) for f in _FILTERS]
            for what, value in values + [(wrap, _EDGE) for wrap in _WRAPS]:
                self._gl(
                    "glTexParameteri", *map(ctypes.c_uint, (target, what)), ctypes.c_int(value)
                )
            whole = array.dtype == np.uint8
            inner = _R8UI if whole else _FLOATS[count]
            outer = (_RED_INTEGER, _BYTE) if whole else (_FORMATS[count], _FLOAT)
            self._gl("glPixelStorei", ctypes.c_uint(0x0CF5), ctypes.c_int(1))
            data = np.ascontiguousarray(array if whole else array.astype(np.float32))
            sizes = (target, 0, inner, *shape[::-1], 0, *outer)
            numbers = [ctypes.c_int(number) for number in sizes]
            self._gl(f"glTexImage{len(shape)}D", *numbers, ctypes.c_void_p(data.ctypes.data))
            self._textures[name] = target, int(handle.value)

    def set(self, uniforms: Mapping[str, Uniform]) -> None:
        """Set uniforms that the program has; others are passed over."""
        for name, value in uniforms.items():
            place = self._place(name)
            if place < 0:
                continue
            if isinstance(value, int):
                self._gl("glUniform1i", ctypes.c_int(place), ctypes.c_int(value))
                continue
            array = np.array(value, dtype=np.float32)
            if array.ndim == 2:
                text, array = f"Matrix{len(array)}fv", array.T.copy()
                more = [ctypes.c_int(1), ctypes.c_ubyte(0)]
            else:
                size = len(value) if isinstance(value, tuple) else 1
                text, more = f"{size}fv", [ctypes.c_int(max(array.size // size, 1))]
            data = ctypes.c_void_p(array.ctypes.data)
            self._gl(f"glUniform{text}", ctypes.c_int(place), *more, data)

    def _place(self, name: str) -> int:
        handle, text = ctypes.c_uint(self._program), ctypes.c_char_p(name.encode())
        return int(self._gl("glGetUniformLocation", handle, text, result=ctypes.c_int))

    def draw(
        self, width: int, height: int, slices: list[tuple[float, float]] | None = None
    ) -> np.ndarray:
        """Return a picture, float32 [height, width, 4], bottom row first.

        Parameters
        ----------
        width, height : int
        slices : list of pairs, optional
            Of each ray's samples those that a pass draws; they are laid on each other, last first.
        """
        names = {
            name: ctypes.c_uint() for name in ("Framebuffer", "Texture", "VertexArray", "Buffer")
        }
        for name, handle in names.items():
            plural = "glGenVertexArrays" if name == "VertexArray" else f"glGen{name}s"
            self._gl(plural, ctypes.c_int(1), _address(handle))
        self._target(names["Framebuffer"], names["Texture"], width, height)
        self._triangle(names["VertexArray"], names["Buffer"])
        for unit, (name, (target, number)) in enumerate(self._textures.items()):
            self._gl("glActiveTexture", ctypes.c_uint(_TEXTURE0 + unit))
            self._gl("glBindTexture", ctypes.c_uint(target), ctypes.c_uint(number))
            self.set({name: unit})
        if "depth" not in self._textures:  # samplers of different kinds must not share a unit
            self.set({"depth": len(self._textures)})
        self._gl("glEnable", ctypes.c_uint(0x0BE2))
        self._gl("glBlendFunc", ctypes.c_uint(1), ctypes.c_uint(0x0303))
        for part in reversed(slices or [(0.0, 1e9)]):
            self.set({"slice": part})
            self._gl("glDrawArrays", ctypes.c_uint(4), ctypes.c_int(0), ctypes.c_int(3))
        picture = np.empty((height, width, 4), dtype=np.float32)
        numbers = map(ctypes.c_int, (0, 0, width, height, _FORMATS[4], _FLOAT))
        self._gl("glReadPixels", *numbers, ctypes.c_void_p(picture.ctypes.data))
        for name, handle in names.items():
            self._gl(f"glDelete{name}s", ctypes.c_int(1), _address(handle))
        if code := self.error():
            raise ContextError(f"OpenGL reports the error {code:#x}.")
        return picture

    def _target(
        self, buffer: ctypes.c_uint, texture: ctypes.c_uint, width: int, height: int
    ) -> None:
        self._gl("glActiveTexture", ctypes.c_uint(_TEXTURE0 + 15))
        self._gl("glBindTexture", ctypes.c_uint(_TEXTURE_2D), texture)
        numbers = (_TEXTURE_2D, 0, _FLOATS[4], width, height, 0, _FORMATS[4], _FLOAT)
        self._gl("glTexImage2D", *map(ctypes.c_int, numbers), ctypes.c_void_p(None))
        self._gl("glBindFramebuffer", ctypes.c_uint(0x8D40), buffer)
        kinds = map(ctypes.c_uint, (0x8D40, 0x8CE0, _TEXTURE_2D))
        self._gl("glFramebufferTexture2D", *kinds, texture, ctypes.c_int(0))
        self._gl("glViewport", *map(ctypes.c_int, (0, 0, width, height)))
        self._gl("glClearColor", *map(ctypes.c_float, (0, 0, 0, 0)))
        self._gl("glClear", ctypes.c_uint(0x4000))

    def _triangle(self, array: ctypes.c_uint, buffer: ctypes.c_uint) -> None:
        corners = np.array([-1, -1, 3, -1, -1, 3], dtype=np.float32)
        self._gl("glBindVertexArray", array)
        self._gl("glBindBuffer", ctypes.c_uint(0x8892), buffer)
        size, data = ctypes.c_ssize_t(corners.nbytes), ctypes.c_void_p(corners.ctypes.data)
        self._gl("glBufferData", ctypes.c_uint(0x8892), size, data, ctypes.c_uint(0x88E4))
        handle, name = ctypes.c_uint(self._program), ctypes.c_char_p(b"corner")
        place = self._gl("glGetAttribLocation", handle, name, result=ctypes.c_int)
        kind = ctypes.c_int(2), ctypes.c_uint(_FLOAT), ctypes.c_ubyte(0), ctypes.c_int(0)
        self._gl("glVertexAttribPointer", ctypes.c_uint(place), *kind, ctypes.c_void_p(None))
        self._gl("glEnableVertexAttribArray", ctypes.c_uint(place))


def _address(thing: Any) -> ctypes.c_void_p:
    return ctypes.c_void_p(ctypes.addressof(thing))
