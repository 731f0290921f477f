"""How large a classic NetCDF file has to be, by its header.

The NetCDF library reads zeros behind the end of a truncated classic file. The layout of the
header is given in the NetCDF file format specification ("The Classic Format Specification",
https://docs.unidata.ucar.edu/netcdf-c/current/file_format_specifications.html).
"""

from __future__ import annotations

import math
import struct
from typing import BinaryIO

_ITEM_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8, 7: 1, 8: 2, 9: 4, 10: 8, 11: 8}


def required_size(file: BinaryIO) -> int | None:
    """Return the least size in bytes of a complete file.

    None where the file is not in the classic format, or still grows (its number of records is
    unknown).

    Raises
    ------
    ValueError, struct.error
        The header itself is damaged or truncated.
    """
    magic = file.read(4)
    if magic[:3] != b"CDF" or magic[3] not in (1, 2, 5):
        return None
    header = _Header(file, magic[3])
    records = header.count()
    sizes = []
    for _ in header.items():
        header.skip_name()
        sizes.append(header.count())
    header.skip_attributes()
    ends = [0]
    steps = []
    for _ in header.items():
        header.skip_name()
        shape = [sizes[header.count()] for _ in range(header.count())]
        header.skip_attributes()
        item_bytes = _ITEM_BYTES[header.kind()]
        header.count()  # a padded size that overflows for large variables: not to be relied on
        begin = header.offset()
        is_record = bool(shape) and shape[0] == 0
        n_bytes = item_bytes * math.prod(shape[1:] if is_record else shape)
        if is_record:
            steps.append((begin, n_bytes))
        else:
            ends.append(begin + n_bytes)
    if records == header.unknown_count:
        return None
    # Records are padded to four bytes each, unless there is only one variable of them.
    step = steps[0][1] if len(steps) == 1 else sum(-(-size // 4) * 4 for _, size in steps)
    if records > 0:
        ends += [begin + (records - 1) * step + size for begin, size in steps]
    return max(ends)


class _Header:
    """Reads the header's elements one after the other."""

    def __init__(self, file: BinaryIO, version: int) -> None:
        self._file = file
        self._count = ">Q" if version == 5 else ">I"
        self._offset = ">I" if version == 1 else ">Q"
        self.unknown_count = (1 << 64) - 1 if version == 5 else (1 << 32) - 1

    def count(self) -> int:
        return self._unpack(self._count)

    def offset(self) -> int:
        return self._unpack(self._offset)

    def kind(self) -> int:
        kind = self._unpack(">I")
        if kind not in _ITEM_BYTES:
            raise ValueError(f"unknown type {kind}")
        return kind

    def items(self) -> range:
        """Return a range over the items of a list, which may be absent (tag 0, count 0)."""
        self._unpack(">I")
        return range(self.count())

    def skip_name(self) -> None:
        self._skip(self.count())

    def skip_attributes(self) -> None:
        for _ in self.items():
            self.skip_name()
            item_bytes = _ITEM_BYTES[self.kind()]
            self._skip(item_bytes * self.count())

    def _skip(self, n_bytes: int) -> None:
        self._file.seek(-(-n_bytes // 4) * 4, 1)

    def _unpack(self, form: str) -> int:
        (value,) = struct.unpack(form, self._file.read(struct.calcsize(form)))
        return int(value)
