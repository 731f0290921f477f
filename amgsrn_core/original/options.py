"""The original's `options.json`: what the import needs of it, with the original's defaults."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amgsrn_core.errors import ArchiveError, ArchiveNotFoundError
from amgsrn_core.system.json_fields import Fields
from amgsrn_core.system.output import reason

# What an option means where a file lacks it: files of older versions have fewer.
_DEFAULTS: dict[str, Any] = {
    "model": "AMGSRN",
    "data": "",
    "n_dims": 3,
    "n_outputs": 1,
    "n_features": 2,
    "n_grids": 64,
    "feature_grid_shape": "8,8,8",
    "n_layers": 2,
    "nodes_per_layer": 64,
    "num_positional_encoding_terms": 6,
    "hash_log2_size": 19,
    "hash_base_resolution": 16,
    "hash_max_resolution": 2048,
    "ensemble": False,
    "extents": None,
}

# Options that change what a network computes, and the only value with a counterpart here.
_SUPPORTED: dict[str, Any] = {
    "n_dims": 3,
    "use_bias": False,
    "use_global_position": False,
    "align_corners": True,
    "interpolate": True,
    "n_timesteps": 1,
    "error_volume": False,
}

# More samples along an axis are not plausible, and would take memory before anything is found out.
_LONGEST_AXIS = 10_000_000


@dataclass(frozen=True)
class Options:
    """The options of one folder.

    Attributes
    ----------
    folder : Path
    values : dict
        As the file has them.
    """

    folder: Path
    values: dict[str, Any]

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> Options:
        """Read a folder's `options.json`.

        Raises
        ------
        ArchiveNotFoundError
            There is no such file.
        ArchiveError
            It is not a JSON object, or an option asks for what is not supported.
        """
        path = Path(folder) / "options.json"
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise ArchiveNotFoundError(
                f"There is no {path}; name the folder of a model, as in SavedModels."
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            raise ArchiveError(f"{path} cannot be read: {reason(error)}.") from error
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ArchiveError(f"{path} is not JSON ({error}).") from error
        if not isinstance(values, dict):
            raise ArchiveError(f"{path} is not a JSON object.")
        for name, supported in _SUPPORTED.items():
            if name == "use_bias" and values.get("model") == "NGP":
                continue  # which does not look at it: its layers have biases or have not
            if values.get(name, supported) != supported:
                raise ArchiveError(
                    f"{path} has {name} = {json.dumps(values[name])}; only models with "
                    f"{json.dumps(supported)} can be imported."
                )
        return cls(Path(folder), values)

    @property
    def fields(self) -> Fields:
        """The options with defaults, whose getters name what is wrong."""
        return Fields({**_DEFAULTS, **self.values})

    @property
    def is_ensemble(self) -> bool:
        """Whether the folder holds bricks in folders of their own."""
        return self.fields.get("ensemble") is True

    def shape(self, key: str) -> tuple[int, int, int]:
        """Return a shape (z, y, x), which is a list or a text such as "16,16,16"."""
        value = self.fields.get(key)
        items = value.split(",") if isinstance(value, str) else value
        try:
            z, y, x = (int(item) for item in items)
        except (TypeError, ValueError):
            raise ArchiveError(f"'{key}' is not three whole numbers") from None
        if not 2 <= min(z, y, x) <= max(z, y, x) <= _LONGEST_AXIS:
            raise ArchiveError(f"'{key}' {[z, y, x]} is not a possible shape")
        return z, y, x

    def extents(self) -> tuple[int, ...] | None:
        """Return the brick's voxels z0, z1, y0, y1, x0, x1 (half-open); None for a whole volume."""
        return parse_extents(self.fields.get("extents"))

    def value_range(self, outputs: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the lowest and highest value of each output."""
        low, high = (self._range_end(key, outputs) for key in ("data_min", "data_max"))
        if not all(-math.inf < a <= b < math.inf for a, b in zip(low, high)):
            raise ArchiveError("'data_min' and 'data_max' are not a finite range")
        return low, high

    def _range_end(self, key: str, outputs: int) -> tuple[float, ...]:
        fields = self.fields
        if isinstance(fields.get(key), list):
            values = fields.numbers(key)
            if len(values) != outputs:
                raise ArchiveError(f"'{key}' does not have one number for each output")
            return values
        return (fields.number(key),) * outputs


def parse_extents(value: Any) -> tuple[int, ...] | None:
    """Read the original's extents, for example "0,35,29,64,0,64"."""
    if value is None:
        return None
    try:
        bounds = tuple(int(item) for item in str(value).split(","))
    except ValueError:
        bounds = ()
    if len(bounds) != 6 or not all(0 <= a < b for a, b in zip(bounds[::2], bounds[1::2])):
        raise ArchiveError(f"'extents' {value!r} are not six ascending whole numbers")
    return bounds
