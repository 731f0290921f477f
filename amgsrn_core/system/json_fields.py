"""Reading a JSON object whose content nobody vouches for: typed fields or a named complaint."""

from __future__ import annotations

import math
from typing import Any

from amgsrn_core.errors import ArchiveError

# Non-finite numbers are legal values (a fill value may be NaN) but not legal JSON.
_SPELLED = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}

# Beyond it no array can be addressed; numpy would fail later and less clearly.
_LARGEST = (1 << 62) - 1


class Fields:
    """One JSON object; every getter raises :class:`ArchiveError` that names the bad field."""

    def __init__(self, values: Any, where: str = "") -> None:
        if not isinstance(values, dict):
            raise ArchiveError(f"'{where or 'index'}' is not a JSON object")
        self._values = values
        self._where = where

    def get(self, key: str) -> Any:
        """Return a required field as it is."""
        if key not in self._values:
            raise ArchiveError(f"'{self._name(key)}' is missing")
        return self._values[key]

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def child(self, key: str) -> Fields:
        """Return a nested object."""
        return Fields(self.get(key), self._name(key))

    def optional_child(self, key: str) -> Fields | None:
        """Return a nested object, or None where the field is null or absent."""
        return None if self._values.get(key) is None else self.child(key)

    def children(self, key: str) -> list[Fields]:
        """Return a list of nested objects."""
        return [Fields(item, f"{self._name(key)}[{i}]") for i, item in enumerate(self._list(key))]

    def text(self, key: str) -> str:
        """Return a string."""
        return self._typed(key, self.get(key), str, "a text")

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of strings."""
        return tuple(self._typed(key, item, str, "a list of texts") for item in self._list(key))

    def integer(self, key: str) -> int:
        """Return a whole number that is not negative."""
        return self._whole(key, self.get(key))

    def integers(self, key: str) -> tuple[int, ...]:
        """Return a list of whole numbers that are not negative."""
        items = self._list(key)
        # There are thousands of these; one by one they take several times as long.
        if set(map(type, items)) == {int} and min(items) >= 0 and max(items) <= _LARGEST:
            return tuple(items)
        return tuple(self._whole(key, item) for item in items)

    def number(self, key: str) -> float:
        """Return a number; "nan", "inf" and "-inf" stand for those that JSON lacks."""
        return self._number(key, self.get(key))

    def optional_number(self, key: str) -> float | None:
        """Return a number, or None where the field is null or absent."""
        return None if self._values.get(key) is None else self.number(key)

    def numbers(self, key: str) -> tuple[float, ...]:
        """Return a list of numbers."""
        items = self._list(key)
        if set(map(type, items)) == {float}:
            return tuple(items)
        return tuple(self._number(key, item) for item in items)

    def mapping(self, key: str) -> dict[str, Any]:
        """Return a JSON object as a plain dictionary."""
        return self._typed(key, self.get(key), dict, "a JSON object")

    def _list(self, key: str) -> list[Any]:
        return self._typed(key, self.get(key), list, "a list")

    def _whole(self, key: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST:
            raise ArchiveError(f"'{self._name(key)}' is not a whole number")
        return value

    def _number(self, key: str, value: Any) -> float:
        if isinstance(value, str) and value in _SPELLED:
            return _SPELLED[value]
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ArchiveError(f"'{self._name(key)}' is not a number")
        try:
            return float(value)
        except OverflowError:
            raise ArchiveError(f"'{self._name(key)}' is too large a number") from None

    def _typed(self, key: str, value: Any, kind: type, words: str) -> Any:
        if not isinstance(value, kind):
            raise ArchiveError(f"'{self._name(key)}' is not {words}")
        return value

    def _name(self, key: str) -> str:
        return f"{self._where}.{key}" if self._where else key


def number_to_json(value: float | None) -> float | str | None:
    """Return a number as JSON can hold it, the counterpart of :meth:`Fields.number`."""
    if value is None or math.isfinite(value):
        return None if value is None else float(value)
    return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
