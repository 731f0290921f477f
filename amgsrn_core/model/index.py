"""The index of a model file: everything about a model except its tensors, as typed records."""

from __future__ import annotations

import dataclasses
import functools
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from amgsrn_core import config
from amgsrn_core.config import NetworkConfig, StorageConfig
from amgsrn_core.errors import (
    ArchiveError,
    ArchiveVersionError,
    ConfigurationError,
    VolumeError,
)
from amgsrn_core.model.json_fields import Fields, number_to_json
from amgsrn_core.model.shapes import parameter_shapes
from amgsrn_core.volume.geometry import Extent, GridGeometry
from amgsrn_core.volume.precision import is_moderate, is_span, type_of_ranges
from amgsrn_core.volume.volume import MissingValues, TimeAxis

if TYPE_CHECKING:
    from collections.abc import Sequence

    from amgsrn_core.volume.volume import Volume

FORMAT_NAME = "amgsrn"
FORMAT_VERSION = (1, 3)

BRICK_STATES = ("network", "constant", "empty", "missing")
"""A brick is a network; or needs none, because it has one value, or none at all; or was not
trained, and is a hole in the field."""

Domain = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]

# A volume with more samples along one axis is not plausible; an index that claims so is damaged.
_LONGEST_AXIS = 10_000_000


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


@dataclass(frozen=True)
class TrainingRecord:
    """How a model came to be: the configuration, versions of software, seconds, iterations."""

    config: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    iterations_done: int = 0


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
        fields = Fields(values) if not isinstance(values, Fields) else values
        names = fields.names()
        record = cls(
            extent=_extent_from_json(fields, "extent", dims),
            ghosted=_extent_from_json(fields, "ghosted", dims),
            sha256=fields.text("sha256"),
            psnr=fields.optional_number("psnr"),
            max_error=fields.optional_number("max_error"),
            masked=bool(fields.get("masked")),
            state=fields.text("state") if "state" in names else "network",
            value_minimum=fields.numbers("value_minimum") if "value_minimum" in names else (),
            value_maximum=fields.numbers("value_maximum") if "value_minimum" in names else (),
            network=_network(fields, FORMAT_VERSION) if "network" in names else None,
            domain=_domain(fields, dims) if "domain" in names else None,
        )
        if record.state not in BRICK_STATES:
            raise ArchiveError(f"a brick has the unknown state {record.state!r}")
        for core, ghosted in zip(record.extent, record.ghosted):
            if not ghosted.start <= core.start < core.stop <= ghosted.stop:
                raise ArchiveError("a brick's 'extent' is not inside its 'ghosted' extent")
        if min(record.ghosted_dims) < 2:
            raise ArchiveError("a brick is thinner than two voxels")
        return record


@dataclass(frozen=True, eq=False)
class ModelIndex:
    """What a model stands for, and how it is built and stored.

    Parameters
    ----------
    name : str
        Name of the array.
    components, units : tuple of str
        Name and unit of each component, in the order of the network's outputs.
    geometry : GridGeometry
        The grid of the volume that the model replaces.
    value_minimum, value_maximum : tuple of float
        Range of each component over the valid voxels; the network's outputs are scaled by it.
    network : NetworkConfig
    bricks : tuple of BrickRecord
        Of a series: those of its first time step, then those of the second, and so on.
    missing : MissingValues, optional
        What a missing voxel means; None when the volume has no notion of it.
    time : TimeAxis, optional
        The time steps of the file, and which of them was trained, or which were (`steps`).
    """

    name: str
    components: tuple[str, ...]
    units: tuple[str, ...]
    geometry: GridGeometry
    value_minimum: tuple[float, ...]
    value_maximum: tuple[float, ...]
    network: NetworkConfig
    bricks: tuple[BrickRecord, ...]
    source: SourceRecord
    missing: MissingValues | None = None
    time: TimeAxis | None = None
    training: TrainingRecord = field(default_factory=TrainingRecord)
    storage: StorageConfig = field(default_factory=StorageConfig)
    history_columns: tuple[str, ...] = ()
    version: tuple[int, int] = FORMAT_VERSION

    def __post_init__(self) -> None:
        count = len(self.components)
        if not count:
            raise ArchiveError("'components' is empty")
        for name in ("units", "value_minimum", "value_maximum"):
            if len(getattr(self, name)) != count:
                raise ArchiveError(f"'{name}' does not have one entry for each component")
        if not _is_range(self.value_minimum, self.value_maximum):
            raise ArchiveError("'value_minimum' and 'value_maximum' are not a finite range")
        if not self.bricks:
            raise ArchiveError("'bricks' is empty")
        for brick in self.bricks:
            lows, highs = brick.value_minimum, brick.value_maximum
            if len(lows) != len(highs) or len(lows) not in (0, count):
                raise ArchiveError("a brick's value range does not have one entry per component")
            if not _is_range(lows, highs):
                raise ArchiveError("a brick's value range is not finite")
            if brick.state == "constant" and lows != highs:
                raise ArchiveError("a constant brick has more than one value")
            own = brick.network  # to compare thousands with the model's own takes long
            if own and own != dataclasses.replace(self.network, grid_shape=own.grid_shape):
                raise ArchiveError("a brick's 'network' differs in more than its 'grid_shape'")
        if len(self.bricks) % self.steps:
            raise ArchiveError("'bricks' are not equally many for each of 'time.steps'")

    @classmethod
    def of_volume(
        cls,
        volume: Volume,
        value_minimum: Sequence[float],
        value_maximum: Sequence[float],
        network: NetworkConfig,
        bricks: Sequence[BrickRecord] | None = None,
        **more: Any,
    ) -> ModelIndex:
        """Describe a model of `volume`; without `bricks` it is a single one that fills it.

        Further keywords are fields of this class, for example `training` and `storage`.
        """
        whole = volume.geometry.resolve()
        return cls(
            name=volume.name,
            components=tuple(volume.components),
            units=tuple(volume.units),
            geometry=volume.geometry,
            value_minimum=tuple(float(v) for v in value_minimum),
            value_maximum=tuple(float(v) for v in value_maximum),
            network=network,
            bricks=tuple(bricks) if bricks else (BrickRecord(extent=whole, ghosted=whole),),
            source=SourceRecord(
                path=Path(volume.source).name,
                dtype=str(volume.source_dtype),
                bytes=int(volume.source_nbytes),
                variables=tuple(volume.variables),
            ),
            missing=volume.missing,
            time=volume.time,
            **more,
        )

    @property
    def dims(self) -> tuple[int, int, int]:
        """Voxels along z, y, x."""
        return self.geometry.dims

    @property
    def steps(self) -> int:
        """Number of time steps: 1 unless the model is of a series."""
        return 1 if self.time is None else max(1, len(self.time.steps))

    @property
    def times(self) -> tuple[float, ...]:
        """Time of each step; empty where the data had no time."""
        if self.time is None:
            return ()
        times = tuple(self.time.values[i] for i in self.time.steps or (self.time.index,))
        return () if any(map(math.isnan, times)) else times

    def at(self, step: int) -> ModelIndex:
        """Return the description of one time step as if it were a model of its own.

        Parameters
        ----------
        step : int
            0 to `steps` - 1.

        Raises
        ------
        ConfigurationError
            There is no such step.
        """
        if not 0 <= step < self.steps:
            raise ConfigurationError(
                f"The model has the time steps 0 to {self.steps - 1}, but no step {step}."
            )
        if self.time is None or not self.time.steps:
            return self
        return self.replace(
            bricks=tuple(self.bricks[number] for number in self.bricks_of(step)),
            time=dataclasses.replace(self.time, index=self.time.steps[step], steps=()),
            training=_training_of(self.training, step, self.steps),
        )

    def bricks_of(self, step: int) -> range:
        """Return the numbers of a time step's bricks."""
        count = len(self.bricks) // self.steps
        return range(step * count, (step + 1) * count)

    def step_near(self, time: float) -> int:
        """Return the time step that is nearest to a time."""
        gaps = [abs(value - time) for value in self.times] or [0.0]
        return gaps.index(min(gaps))

    @functools.cached_property
    def holes(self) -> tuple[int, ...]:
        """Numbers of the bricks that were not trained."""
        return tuple(i for i, brick in enumerate(self.bricks) if brick.state == "missing")

    @property
    def psnr(self) -> float | None:
        """PSNR of the whole model in dB, as far as it is known."""
        several = len(self.bricks) > 1
        psnr = self.training.config.get("psnr") if several else self.bricks[0].psnr
        return psnr if isinstance(psnr, float) and math.isfinite(psnr) else None

    def value_range(self, brick: BrickRecord) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the lowest and highest value of each component that a brick is scaled by."""
        if brick.value_minimum:
            return brick.value_minimum, brick.value_maximum
        return self.value_minimum, self.value_maximum

    @functools.cached_property
    def value_dtype(self) -> np.dtype:
        """Type of the field's values: float64 where float32 would lose what the networks know."""
        return type_of_ranges(self._ranges)

    @functools.cached_property
    def is_scaled_in_double(self) -> bool:
        """Whether float32 is for parts of a range only, and values are computed in float64."""
        return not is_moderate(self._ranges)

    @functools.cached_property
    def _ranges(self) -> list[tuple[tuple[float, ...], tuple[float, ...]]]:
        """The ranges of the whole and, of a series, of each time step."""
        ranges = [(self.value_minimum, self.value_maximum)]
        for step in range(self.steps) if self.steps > 1 else ():
            ranges.append(self._range_of([self.bricks[number] for number in self.bricks_of(step)]))
        return ranges

    @functools.cached_property
    def own_range(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Lowest and highest value of each component in the bricks, as far as these tell."""
        return self._range_of(self.bricks)

    def _range_of(
        self, bricks: Sequence[BrickRecord]
    ) -> tuple[tuple[float, ...], tuple[float, ...]]:
        known = [self.value_range(b) for b in bricks if b.state in ("network", "constant")]
        if not known:
            return self.value_minimum, self.value_maximum
        low, high = np.min([low for low, _ in known], axis=0), np.max([h for _, h in known], axis=0)
        return tuple(low.tolist()), tuple(high.tolist())

    def in_units(self, offset: np.ndarray, factor: np.ndarray) -> ModelIndex:
        """Return the index with each value v of a component as (v - offset [C]) / factor [C]."""

        def rescaled(values: tuple[float, ...]) -> tuple[float, ...]:
            return tuple(((np.array(values) - offset) / factor).tolist())

        bricks = [
            dataclasses.replace(
                brick,
                value_minimum=rescaled(brick.value_minimum),
                value_maximum=rescaled(brick.value_maximum),
            )
            if brick.value_minimum
            else brick
            for brick in self.bricks
        ]
        return self.replace(
            value_minimum=rescaled(self.value_minimum),
            value_maximum=rescaled(self.value_maximum),
            bricks=tuple(bricks),
        )

    def network_of(self, brick: BrickRecord) -> NetworkConfig:
        """Return the configuration of a brick's network."""
        return brick.network or self.network

    @property
    def n_parameters(self) -> int:
        """Trained numbers in all bricks."""
        return sum(
            math.prod(shape)
            for brick in self.bricks
            if brick.state == "network"
            for shape in parameter_shapes(self.network_of(brick), len(self.components)).values()
        )

    def replace(self, **changes: Any) -> ModelIndex:
        """Return a copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def to_json(self) -> dict[str, Any]:
        """Return the index as plain JSON types."""
        return {
            "format": FORMAT_NAME,
            "version": list(self.version),
            "name": self.name,
            "components": list(self.components),
            "units": list(self.units),
            "geometry": self.geometry.to_json(),
            "value_minimum": list(self.value_minimum),
            "value_maximum": list(self.value_maximum),
            "network": config.to_json(self.network),
            "bricks": [brick.to_json() for brick in self.bricks],
            "source": _plain(self.source),
            "missing": _missing_to_json(self.missing),
            "time": _time_to_json(self.time),
            "training": {**_plain(self.training), "seconds": number_to_json(self.training.seconds)},
            "storage": self.storage.to_json(),
            "history_columns": list(self.history_columns),
        }

    @classmethod
    def from_json(cls, values: Any) -> ModelIndex:
        """Read :meth:`to_json`'s result and check every field; unknown fields are ignored.

        Raises
        ------
        ArchiveVersionError
            When a newer major version of the format wrote it.
        ArchiveError
            When a field is missing, has the wrong type, or contradicts another.
        """
        fields = Fields(values)
        version = _version(fields)
        geometry = _geometry(fields)
        records = fields.children("bricks")
        return cls(
            version=version,
            name=fields.text("name"),
            components=fields.texts("components"),
            units=fields.texts("units"),
            geometry=geometry,
            value_minimum=fields.numbers("value_minimum"),
            value_maximum=fields.numbers("value_maximum"),
            network=_network(fields, version),
            bricks=tuple(BrickRecord.from_json(item, geometry.dims) for item in records),
            source=_source(fields.child("source")),
            missing=_missing(fields.optional_child("missing")),
            time=_time(fields.optional_child("time")),
            training=_training(fields.child("training")),
            storage=_storage(fields, version),
            history_columns=fields.texts("history_columns"),
        )


def _is_range(lows: Sequence[float], highs: Sequence[float]) -> bool:
    """Return whether each low is at most its high, and a range that errors can be computed of."""
    return all(low <= high and is_span(low, high) for low, high in zip(lows, highs))


def _version(fields: Fields) -> tuple[int, int]:
    if fields.text("format") != FORMAT_NAME:
        raise ArchiveError(f"'format' is not {FORMAT_NAME!r}")
    version = fields.integers("version")
    if len(version) != 2:
        raise ArchiveError("'version' is not a pair of whole numbers")
    major, minor = version
    if major > FORMAT_VERSION[0]:
        raise ArchiveVersionError(
            f"it has format version {major}.{minor}, and this program reads up to version "
            f"{FORMAT_VERSION[0]}; install a newer amgsrn"
        )
    if major < 1:
        raise ArchiveError(f"'version' {major}.{minor} was never published")
    return major, minor


def _geometry(fields: Fields) -> GridGeometry:
    values = fields.mapping("geometry")
    for axis in fields.child("geometry").children("axes"):
        # Before the axes are made, because making one allocates as many numbers as it claims.
        if "size" in axis.names() and axis.number("size") > _LONGEST_AXIS:
            raise ArchiveError("'geometry' claims an absurdly long axis")
    try:
        geometry = GridGeometry.from_json(values)
    except VolumeError as error:
        raise ArchiveError(f"'geometry' is damaged: {str(error).rstrip('.')}") from error
    dims = geometry.dims
    if not all(2 <= n <= _LONGEST_AXIS for n in dims):
        raise ArchiveError(f"'geometry' has the impossible dimensions {dims}")
    return geometry


def _network(fields: Fields, version: tuple[int, int]) -> NetworkConfig:
    return _configured(NetworkConfig, "network", fields, version)


def _storage(fields: Fields, version: tuple[int, int]) -> StorageConfig:
    return _configured(StorageConfig, "storage", fields, version)


def _configured(kind: type, key: str, fields: Fields, version: tuple[int, int]) -> Any:
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


def _source(fields: Fields) -> SourceRecord:
    return SourceRecord(
        path=fields.text("path"),
        dtype=fields.text("dtype"),
        bytes=fields.integer("bytes"),
        variables=fields.texts("variables"),
    )


def _training(fields: Fields) -> TrainingRecord:
    return TrainingRecord(
        config=fields.mapping("config"),
        versions=fields.mapping("versions"),
        seconds=fields.number("seconds"),
        iterations_done=fields.integer("iterations_done"),
    )


def _training_of(record: TrainingRecord, step: int, steps: int) -> TrainingRecord:
    """Return how one step of a series came to be, as far as that is known."""
    config = dict(record.config)
    each = config.pop("steps", None)
    config.pop("psnr", None)
    about = each[step] if isinstance(each, list) and len(each) == steps else None
    if about is None:
        return dataclasses.replace(record, config=config)
    fields = Fields(about, "training.config.steps")
    config["psnr"] = fields.optional_number("psnr")
    return dataclasses.replace(
        record,
        config=config,
        seconds=fields.number("seconds"),
        iterations_done=fields.integer("iterations_done"),
    )


def _missing_to_json(missing: MissingValues | None) -> dict[str, Any] | None:
    if missing is None:
        return None
    more = {"values": list(missing.values)} if missing.values else {}
    return {"meaning": missing.meaning, "fill_value": number_to_json(missing.fill_value), **more}


def _missing(fields: Fields | None) -> MissingValues | None:
    if fields is None:
        return None
    return MissingValues(
        meaning=fields.text("meaning"),
        fill_value=fields.optional_number("fill_value"),
        values=fields.numbers("values") if "values" in fields.names() else (),
    )


def _time_to_json(time: TimeAxis | None) -> dict[str, Any] | None:
    if time is None:
        return None
    # Versions before 1.2 know no series; without an index they refuse it instead of mixing steps.
    which = {"steps": list(time.steps)} if time.steps else {"index": time.index}
    return {
        "values": [number_to_json(value) for value in time.values],
        "units": time.units,
        "calendar": time.calendar,
        "name": time.name,
        **which,
    }


def _time(fields: Fields | None) -> TimeAxis | None:
    if fields is None:
        return None
    steps = fields.integers("steps") if "steps" in fields.names() else ()
    time = TimeAxis(
        values=fields.numbers("values"),
        units=fields.text("units"),
        calendar=fields.text("calendar"),
        index=steps[0] if steps else fields.integer("index"),
        name=fields.text("name"),
        steps=steps,
    )
    if max([time.index, *steps]) >= len(time.values):
        raise ArchiveError("'time.index' is beyond 'time.values'")
    at = [time.values[step] for step in steps]
    if not all(a < b for a, b in zip(at, at[1:])):
        raise ArchiveError("the times of 'time.steps' are not ascending")
    return time


def _extent_to_json(extent: Extent) -> list[int]:
    return [int(bound) for s in extent for bound in (s.start, s.stop)]


def _extent_from_json(fields: Fields, key: str, dims: tuple[int, int, int]) -> Extent:
    bounds = fields.integers(key)
    if len(bounds) != 6:
        raise ArchiveError(f"a brick's '{key}' is not six whole numbers")
    z, y, x = (slice(bounds[i], bounds[i + 1]) for i in (0, 2, 4))
    for s, n in zip((z, y, x), dims):
        if not s.start < s.stop <= n:
            raise ArchiveError(f"a brick's '{key}' {list(bounds)} is not inside the volume {dims}")
    return z, y, x


def _domain(fields: Fields, dims: tuple[int, int, int]) -> Domain:
    bounds = fields.numbers("domain")
    if len(bounds) != 6:
        raise ArchiveError("a brick's 'domain' is not six numbers")
    z, y, x = ((bounds[i], bounds[i + 1]) for i in (0, 2, 4))
    for (low, high), n in zip((z, y, x), dims):
        if not 0 <= low < high <= n - 1:
            raise ArchiveError(f"a brick's 'domain' {list(bounds)} is not inside the volume {dims}")
    return z, y, x


def _plain(record: Any) -> dict[str, Any]:
    return {
        k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(record).items()
    }
