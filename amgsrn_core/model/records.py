"""The records of a model file's index: its bricks, the data it is of, and how it was trained."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

from amgsrn_core import config
from amgsrn_core.config import NetworkConfig
from amgsrn_core.errors import ArchiveError, ConfigurationError
from amgsrn_core.system.json_fields import Fields, number_to_json
from amgsrn_core.volume.geometry import Extent

FORMAT_NAME = "amgsrn"
FORMAT_VERSION = (1, 5)

VALUED_STATES = ("network", "constant")

BRICK_STATES = (*VALUED_STATES, "empty", "missing")
"""A brick is a network; or needs none, because it has one value, or none at all; or was not
trained, and is a hole in the field."""

Domain = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]


@dataclass(frozen=True)
class SourceRecord:
    """The data that a model was trained on.

    `path` is the file's name without its folder, `variables` the names to open it with, `dtype`
    the type of its numbers, and `bytes` their size: voxels * components * itemsize.
    """

    path: str
    dtype: str
    bytes: int
    variables: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, fields: Fields) -> SourceRecord:
        """Read the record's fields and check them."""
        return cls(
            path=fields.text("path"),
            dtype=fields.text("dtype"),
            bytes=fields.integer("bytes"),
            variables=fields.texts("variables"),
        )


@dataclass(frozen=True)
class TrainingRecord:
    """How a model came to be: the configuration, versions of software, seconds, iterations."""

    config: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    iterations_done: int = 0

    @classmethod
    def from_json(cls, fields: Fields) -> TrainingRecord:
        """Read :meth:`to_json`'s result and check it."""
        return cls(
            config=fields.mapping("config"),
            versions=fields.mapping("versions"),
            seconds=fields.number("seconds"),
            iterations_done=fields.integer("iterations_done"),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain JSON types."""
        return {**plain(self), "seconds": number_to_json(self.seconds)}

    def at(self, step: int, steps: int) -> TrainingRecord:
        """Return how one step of a series came to be, as far as that is known."""
        config = dict(self.config)
        each = config.pop("steps", None)
        config.pop("psnr", None)
        about = each[step] if isinstance(each, list) and len(each) == steps else None
        if about is None:
            return dataclasses.replace(self, config=config)
        fields = Fields(about, "training.config.steps")
        config["psnr"] = fields.optional_number("psnr")
        return dataclasses.replace(
            self,
            config=config,
            seconds=fields.number("seconds"),
            iterations_done=fields.integer("iterations_done"),
        )


@dataclass(frozen=True)
class LookRecord:
    """How to show a component of a model, where nobody says how.

    Parameters
    ----------
    low, high : float
        Range of the colours: the component's own, but for outliers.
    opacities : tuple of (value, opacity)
        Control points in ascending order, from `low` to `high`. Opacities from 0 to 1 hold for
        1/256 of the diagonal of the box as it is shown.
    outline : tuple of (x, y, z)
        Points round what can be seen then, as parts 0 to 1 of the volume's axes; empty where
        nothing can.
    """

    low: float
    high: float
    opacities: tuple[tuple[float, float], ...]
    outline: tuple[tuple[float, float, float], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain JSON types."""
        flat, points = (
            [number for point in pairs for number in point]
            for pairs in (self.opacities, self.outline)
        )
        return {"low": self.low, "high": self.high, "opacities": flat, "outline": points}

    @classmethod
    def from_json(cls, fields: Fields) -> LookRecord:
        """Read :meth:`to_json`'s result and check it."""
        low, high, flat = fields.number("low"), fields.number("high"), fields.numbers("opacities")
        values, opacities = flat[::2], flat[1::2]
        if (
            not math.isfinite(high - low)
            or len(values) != len(opacities)
            or len(values) < 2
            or list(values) != sorted(values)
            or (values[0], values[-1]) != (low, high)
            or not all(0 <= opacity <= 1 for opacity in opacities)
        ):
            raise ArchiveError("the opacities of a 'look' are not points of its range")
        points = fields.numbers("outline")
        if len(points) % 3 or not all(0 <= part <= 1 for part in points):
            raise ArchiveError("the outline of a 'look' is not made of points of the volume")
        outline = tuple(zip(points[::3], points[1::3], points[2::3]))
        return cls(low, high, tuple(zip(values, opacities)), outline)


@dataclass(frozen=True)
class BrickRecord:
    """One brick of a model.

    Parameters
    ----------
    extent, ghosted : tuple of three slices
        Voxels z, y, x of the volume that the brick answers for, and those that it was trained on.
    sha256 : str
        Checksum of the brick's tensors; :func:`~amgsrn_core.model.write_archive` fills it in.
    psnr, max_error : float, optional
        Quality over the brick's voxels, in dB and in the volume's units.
    masked : bool
        Whether voxels are missing. :func:`~amgsrn_core.model.write_archive` fills it in.
    state : str
        One of :data:`BRICK_STATES`; only a "network" has parameters.
    value_minimum, value_maximum : tuple of float
        Range of each component that the network's outputs are scaled by, equal in a "constant"
        brick; empty where it is the model's.
    network : NetworkConfig, optional
        The brick's, if it is not the model's: another `grid_shape`.
    domain : tuple of three pairs of float, optional
        Index ranges along z, y, x in which the brick alone answers: from each low end on, up to
        but without the high one. Default: it fades in and out as its ghost cells say.
    """

    extent: Extent
    ghosted: Extent
    sha256: str = ""
    psnr: float | None = None
    max_error: float | None = None
    masked: bool = False
    state: str = "network"
    value_minimum: tuple[float, ...] = ()
    value_maximum: tuple[float, ...] = ()
    network: NetworkConfig | None = None
    domain: Domain | None = None

    @property
    def ghosted_dims(self) -> tuple[int, int, int]:
        """Voxels along z, y, x with the ghost cells."""
        z, y, x = (s.stop - s.start for s in self.ghosted)
        return z, y, x

    @property
    def own_voxels(self) -> int:
        """Voxels without the ghost cells."""
        return math.prod(s.stop - s.start for s in self.extent)

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain JSON types."""
        values: dict[str, Any] = {
            "extent": _extent_to_json(self.extent),
            "ghosted": _extent_to_json(self.ghosted),
            "sha256": self.sha256,
            "psnr": number_to_json(self.psnr),
            "max_error": number_to_json(self.max_error),
            "masked": self.masked,
        }
        if self.state != "network":
            values["state"] = self.state
        if self.value_minimum:
            values["value_minimum"] = list(self.value_minimum)
            values["value_maximum"] = list(self.value_maximum)
        if self.network is not None:
            values["network"] = config.to_json(self.network)
        if self.domain is not None:
            values["domain"] = [bound for pair in self.domain for bound in pair]
        return values

    @classmethod
    def from_json(cls, values: Any, dims: tuple[int, int, int]) -> BrickRecord:
        """Read :meth:`to_json`'s result and check it against the volume's dims (z, y, x)."""
        fields = values if isinstance(values, Fields) else Fields(values)
        has_range = "value_minimum" in fields
        record = cls(
            extent=_extent_from_json(fields, "extent", dims),
            ghosted=_extent_from_json(fields, "ghosted", dims),
            sha256=fields.text("sha256"),
            psnr=fields.optional_number("psnr"),
            max_error=fields.optional_number("max_error"),
            masked=bool(fields.get("masked")),
            state=fields.text("state") if "state" in fields else "network",
            value_minimum=fields.numbers("value_minimum") if has_range else (),
            value_maximum=fields.numbers("value_maximum") if has_range else (),
            network=_network(fields) if "network" in fields else None,
            domain=_domain(fields, dims) if "domain" in fields else None,
        )
        if record.state not in BRICK_STATES:
            raise ArchiveError(f"a brick has the unknown state {record.state!r}")
        for core, ghosted in zip(record.extent, record.ghosted):
            if not ghosted.start <= core.start < core.stop <= ghosted.stop:
                raise ArchiveError("a brick's 'extent' is not inside its 'ghosted' extent")
            if ghosted.stop - ghosted.start < 2:
                raise ArchiveError("a brick is thinner than two voxels")
        return record


def configured(kind: type, key: str, fields: Fields, version: tuple[int, int]) -> Any:
    """Return the configuration that a field of the index holds."""
    try:
        made: Any = config.from_json(kind, fields.mapping(key))
        for option in dataclasses.fields(kind):
            if not _same_kind(getattr(made, option.name), option.default):
                raise ConfigurationError(f"{option.name} has the wrong type")
    except (ConfigurationError, TypeError) as error:
        advice = "; a newer amgsrn may read it" if version > FORMAT_VERSION else ""
        raise ArchiveError(f"'{key}' is damaged: {str(error).rstrip('.')}{advice}") from error
    return made


def _same_kind(value: Any, default: Any) -> bool:
    if isinstance(default, tuple):
        return len(value) == len(default) and all(map(_same_kind, value, default))
    return type(value) is type(default)


def _network(fields: Fields) -> NetworkConfig:
    own: NetworkConfig = configured(NetworkConfig, "network", fields, FORMAT_VERSION)
    return own


def _extent_to_json(extent: Extent) -> list[int]:
    return [int(bound) for s in extent for bound in (s.start, s.stop)]


def _extent_from_json(fields: Fields, key: str, dims: tuple[int, int, int]) -> Extent:
    bounds = fields.integers(key)
    if len(bounds) != 6:
        raise ArchiveError(f"a brick's '{key}' is not six whole numbers")
    z0, z1, y0, y1, x0, x1 = bounds
    if not (z0 < z1 <= dims[0] and y0 < y1 <= dims[1] and x0 < x1 <= dims[2]):
        raise ArchiveError(f"a brick's '{key}' {list(bounds)} is not inside the volume {dims}")
    return slice(z0, z1), slice(y0, y1), slice(x0, x1)


def _domain(fields: Fields, dims: tuple[int, int, int]) -> Domain:
    bounds = fields.numbers("domain")
    if len(bounds) != 6:
        raise ArchiveError("a brick's 'domain' is not six numbers")
    z, y, x = ((bounds[i], bounds[i + 1]) for i in (0, 2, 4))
    for (low, high), n in zip((z, y, x), dims):
        if not 0 <= low < high <= n - 1:
            raise ArchiveError(f"a brick's 'domain' {list(bounds)} is not inside the volume {dims}")
    return z, y, x


def plain(record: Any) -> dict[str, Any]:
    """Return a record with lists for its tuples."""
    return {
        k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(record).items()
    }
