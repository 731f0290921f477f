"""Who is behind an OpenGL context: GL_RENDERER tells a graphics processor from a program."""

from __future__ import annotations

_SOFTWARE = ("llvmpipe", "softpipe", "swr", "swiftshader", "software", "gdi generic", "lavapipe")


def is_software(renderer: str) -> bool:
    """Return whether GL_RENDERER names a program on the CPU: there the kernels are faster."""
    return any(name in renderer.lower() for name in _SOFTWARE)
