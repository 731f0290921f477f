"""A bar of colours with the values that they stand for, drawn into a picture."""

from __future__ import annotations

import unicodedata

import numpy as np

from amgsrn_core.rendering.transfer import TransferFunction

# The characters from blank to tilde, five columns of eight pixels each, the top one lowest.
_FONT = bytes.fromhex(
    "000000000000005f00000007000700147f147f14242a7f2a12231308646236495620500008070300001c224100"
    "0041221c002a1c7f1c2a08083e080800807030000808080808000060600020100804023e5149453e00427f4000"
    "72494949462141494d331814127f1027454545393c4a49493141211109073649494936464949291e0000140000"
    "004034000000081422411414141414004122140802015909063e415d594e7c1211127c7f494949363e41414122"
    "7f4141413e7f494949417f090909013e414151737f0808087f00417f41002040413f017f081422417f40404040"
    "7f021c027f7f0408107f3e4141413e7f090909063e4151215e7f09192946264949493203017f01033f4040403f"
    "1f2040201f3f4038403f631408146303047804036159494d43007f4141410204081020004141417f0402010204"
    "4040404040000307080020545478407f284444383844444428384444287f385454541800087e090218a4a49c78"
    "7f0804047800447d40002040403d007f1028440000417f40007c047804787c080404783844444438fc18242418"
    "18242418fc7c08040408485454542404043f44243c4040207c1c2040201c3c4030403c44281028444c9090907c"
    "4464544c440008364100000077000000413608000201020402"
)
_FIRST, _COLUMNS, _ROWS = 32, 5, 8

# One pixel of a letter's dots for so many of the picture's width; no bar in smaller pictures.
_PIXELS_PER_DOT = 260
_SMALLEST = 160

# In dots: the gaps around the bar and between its parts.
_GAP = 3

# A bar that is shorter than this part of the width is not worth the room of its title.
_SHORTEST = 0.25


def bar_height(width: int, height: int) -> int:
    """Return how many rows of a picture the bar takes; 0 where there is no room for one."""
    if min(width, height) < _SMALLEST:
        return 0
    return _dots(width) * (_ROWS + 2 * _GAP)


def draw_bar(picture: np.ndarray, rows: int, transfer: TransferFunction, title: str) -> None:
    """Draw a bar of a transfer function's colours into the lowest rows of a picture.

    Parameters
    ----------
    picture : uint8 array [height, width, 3 or 4]
        Top row first; changed in place.
    rows : int
        What :func:`bar_height` returned.
    transfer : TransferFunction
    title : str
        The quantity and its unit.
    """
    height, width = picture.shape[:2]
    # Ink as dark as the background is light.
    ground = picture[-1, 0]
    is_dark = ground[:3].mean() < 110 and (len(ground) == 3 or ground[3] > 0)
    ink = np.array([255 if is_dark else 30] * 3 + [255], dtype=np.uint8)[: len(ground)]
    dots = _dots(width)
    low, high = (f"{value:.4g}" for value in (transfer.low, transfer.high))
    room = width - 2 * _GAP * dots
    while dots > 1 and room - _width([title, low, high], dots) < _SHORTEST * width:
        dots -= 1
    while len(title) > 1 and room - _width([title, low, high], dots) < _SHORTEST * width:
        title = title[:-1]
    length = room - _width([title, low, high], dots)
    top, left = height - rows + _GAP * dots, _GAP * dots
    for text in (title, low):
        left += _write(picture, text, (left, top), dots, ink) + 2 * _GAP * dots
    entries = np.linspace(0, len(transfer.table) - 1, max(length, 1)).round().astype(int)
    colours = np.rint(255 * transfer.table[entries, :3]).astype(np.uint8)
    bar = picture[top : top + _ROWS * dots, left : left + len(entries)]
    bar[..., :3], bar[..., 3:] = colours, 255
    _write(picture, high, (left + length + 2 * _GAP * dots, top), dots, ink)


def quantity(name: str, units: str) -> str:
    """Return the title of a bar: a name, with its unit where that says anything."""
    return name if units in ("", "1") else f"{name} ({units})"


def _dots(width: int) -> int:
    """Return the pixels along the edge of one dot of a letter."""
    return max(1, round(width / _PIXELS_PER_DOT))


def _width(texts: list[str], dots: int) -> int:
    """Return the pixels that texts take beside each other, with a gap behind each."""
    letters = sum(map(len, texts))
    return dots * (letters * (_COLUMNS + 1) + 2 * _GAP * len(texts))


def _write(
    picture: np.ndarray, text: str, corner: tuple[int, int], dots: int, ink: np.ndarray
) -> int:
    """Write a line of text at a left and a top edge, cut at the picture's; return its width."""
    height, width = picture.shape[:2]
    left, top = corner
    plain = unicodedata.normalize("NFKD", text.replace("°", "deg")).encode("ascii", "replace")
    columns = np.zeros((_COLUMNS + 1) * len(plain), dtype=np.uint8)
    for place, letter in enumerate(plain):
        start = _COLUMNS * (letter - _FIRST) if letter - _FIRST < len(_FONT) // _COLUMNS else 0
        glyph = np.frombuffer(_FONT[start : start + _COLUMNS], dtype=np.uint8)
        columns[(_COLUMNS + 1) * place : (_COLUMNS + 1) * place + _COLUMNS] = glyph
    bits = np.unpackbits(columns[None], axis=0, bitorder="little").astype(bool)
    row, column = np.nonzero(np.kron(bits, np.ones((dots, dots), dtype=bool)))
    inside = (row + top < height) & (column + left < width)
    picture[row[inside] + top, column[inside] + left] = ink
    return dots * len(columns)
