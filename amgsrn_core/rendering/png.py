"""Writing images as PNG files (ISO/IEC 15948)."""

from __future__ import annotations

import os
import struct
import zlib

import numpy as np

from amgsrn_core.model.replacement import guard
from amgsrn_core.system.output import replacing
from amgsrn_core.volume.replacement import PICTURE

_RGB, _RGBA = 2, 6


def write_png(path: str | os.PathLike[str], image: np.ndarray, *, force: bool = False) -> None:
    """Write an image, completely or not at all.

    Parameters
    ----------
    path : path
    image : uint8 array [height, width, 3 or 4]
        Red, green, blue and perhaps opacity, with which the others are not multiplied; top row
        first, at least one pixel.
    force : bool, default: False
        Replace even a model or a volume.

    Raises
    ------
    OutputError
        When the file cannot be written, or is a model or a volume.
    """
    guard(path, PICTURE, force=force)
    height, width = image.shape[:2]
    colours = _RGBA if image.shape[2] == 4 else _RGB
    header = struct.pack(">IIBBBBB", width, height, 8, colours, 0, 0, 0)
    # Each row begins with the number of its filter; 0 is none.
    rows = np.pad(image.reshape(height, -1), ((0, 0), (1, 0)))
    with replacing(path) as temporary:
        temporary.write_bytes(
            b"\x89PNG\r\n\x1a\n"
            + _chunk(b"IHDR", header)
            + _chunk(b"IDAT", zlib.compress(rows.astype(np.uint8).tobytes(), 6))
            + _chunk(b"IEND", b"")
        )


def on_background(rgba: np.ndarray, background: tuple[float, float, float] | None) -> np.ndarray:
    """Return a rendered image before a background, as :func:`write_png` takes it.

    Parameters
    ----------
    rgba : float32 array [height, width, 4]
        Premultiplied, bottom row first, as :func:`amgsrn_core.rendering.render` returns it.
    background : three numbers from 0 to 1, or None for none
    """
    if background is None:
        opacity = rgba[::-1, :, 3:]
        colours = rgba[::-1, :, :3] / np.where(opacity > 0, opacity, 1.0)
        both = np.concatenate([colours, opacity], axis=2)
        transparent: np.ndarray = np.rint(255.0 * both.clip(0.0, 1.0)).astype(np.uint8)
        return transparent
    rgb = rgba[::-1, :, :3] + (1.0 - rgba[::-1, :, 3:]) * np.array(background, dtype=np.float32)
    opaque: np.ndarray = np.rint(255.0 * rgb.clip(0.0, 1.0)).astype(np.uint8)
    return opaque


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
