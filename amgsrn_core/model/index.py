"""The index of a model file: everything about a model except its tensors, as typed records."""

from __future__ import annotations

import dataclasses
import functools
import math
from dataclasses import dataclass, field
from numbers import Integral
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
from amgsrn_core.model.records import (
    FORMAT_NAME,
    FORMAT_VERSION,
    BrickRecord,
    LookRecord,
    SourceRecord,
    TrainingRecord,
    configured,
    plain,
)
from amgsrn_core.model.shapes import parameter_shapes
from amgsrn_core.system.json_fields import Fields
from amgsrn_core.volume.attributes import Attributes
from amgsrn_core.volume.curvilinear import Coordinates
from amgsrn_core.volume.geometry import GridGeometry
from amgsrn_core.volume.precision import is_moderate, is_span, type_of_ranges
from amgsrn_core.volume.times import Nearest, TimeStep, select_time
from amgsrn_core.volume.volume import MissingValues, TimeAxis

if TYPE_CHECKING:
    from collections.abc import Sequence

    from amgsrn_core.volume.volume import Volume

# A volume with more samples along one axis is not plausible; an index that claims so is damaged.
_LONGEST_AXIS = 10_000_000


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
    attributes : Attributes, optional
        What the data's file says in other attributes; None where that is not known.
    coordinates : Coordinates, optional
        Of a model in the index space of a curvilinear grid: where the grid's samples lie.
    looks : tuple of LookRecord
        How to show each component and, of several, their magnitude; empty where nobody found out.
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
    looks: tuple[LookRecord, ...] = ()
    version: tuple[int, int] = FORMAT_VERSION
    attributes: Attributes | None = None
    coordinates: Coordinates | None = None

    def __post_init__(self) -> None:
        count = len(self.components)
        if not count:
            raise ArchiveError("'components' is empty")
        if self.looks and len(self.looks) != count + (count > 1):
            raise ArchiveError("'looks' does not have one entry for each component")
        for name in ("units", "value_minimum", "value_maximum"):
            if len(getattr(self, name)) != count:
                raise ArchiveError(f"'{name}' does not have one entry for each component")
        if self.attributes is not None and len(self.attributes.components) != count:
            raise ArchiveError("'attributes' do not have one entry for each component")
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
            attributes=volume.attributes,
            coordinates=volume.coordinates,
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
        self.check_step(step)
        if self.time is None or not self.time.steps:
            return self
        return self.replace(
            bricks=tuple(self.bricks[number] for number in self.bricks_of(step)),
            time=dataclasses.replace(self.time, index=self.time.steps[step], steps=()),
            training=self.training.at(step, self.steps),
        )

    def check_step(self, step: int) -> None:
        """Raise :class:`ConfigurationError` unless this is the number of a time step."""
        if not (isinstance(step, Integral) and 0 <= step < self.steps):
            raise ConfigurationError(
                f"The model has the time steps 0 to {self.steps - 1}, but no step {step}."
            )

    def bricks_of(self, step: int) -> range:
        """Return the numbers of a time step's bricks."""
        count = len(self.bricks) // self.steps
        return range(step * count, (step + 1) * count)

    def step_of(self, wanted: TimeStep) -> int:
        """Return the time step that an index of the data, a date or a time in its units names.

        None is the first. Of a model of one step that is its own, whatever is wanted.

        Raises
        ------
        VolumeError
            The series has no such step.
        """
        axis = self.time
        if wanted is None or axis is None or not axis.steps:
            return 0
        known = axis
        if isinstance(wanted, Nearest):  # of those that there are
            own = (at if i in axis.steps else math.nan for i, at in enumerate(axis.values))
            known = dataclasses.replace(axis, values=tuple(own))
        chosen = select_time(self.name, known, wanted)
        assert chosen is not None
        if chosen.index in axis.steps:
            return axis.steps.index(chosen.index)
        if isinstance(wanted, Nearest):
            return self.step_near(axis.values[chosen.index])
        listed = ", ".join(map(str, axis.steps))
        raise VolumeError(f"The model has no time step {wanted}; it has the indices {listed}.")

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
            looks=(),
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
            "source": plain(self.source),
            "missing": self.missing and self.missing.to_json(),
            "time": self.time and self.time.to_json(),
            "training": self.training.to_json(),
            "storage": self.storage.to_json(),
            "history_columns": list(self.history_columns),
            **({} if self.attributes is None else {"attributes": self.attributes.to_json()}),
            **({} if self.coordinates is None else {"coordinates": self.coordinates.to_json()}),
            **({"looks": [look.to_json() for look in self.looks]} if self.looks else {}),
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
        missing, time = fields.optional_child("missing"), fields.optional_child("time")
        attributes, places = (fields.optional_child(k) for k in ("attributes", "coordinates"))
        return cls(
            version=version,
            name=fields.text("name"),
            components=fields.texts("components"),
            units=fields.texts("units"),
            geometry=geometry,
            value_minimum=fields.numbers("value_minimum"),
            value_maximum=fields.numbers("value_maximum"),
            network=configured(NetworkConfig, "network", fields, version),
            bricks=tuple(BrickRecord.from_json(item, geometry.dims) for item in records),
            source=SourceRecord.from_json(fields.child("source")),
            missing=None if missing is None else MissingValues.from_json(missing),
            time=None if time is None else TimeAxis.from_json(time),
            training=TrainingRecord.from_json(fields.child("training")),
            storage=configured(StorageConfig, "storage", fields, version),
            history_columns=fields.texts("history_columns"),
            attributes=None if attributes is None else Attributes.from_json(attributes),
            coordinates=None if places is None else Coordinates.from_json(places, geometry.dims),
            looks=tuple(map(LookRecord.from_json, fields.children("looks")))
            if "looks" in fields
            else (),
        )


def _is_range(lows: Sequence[float], highs: Sequence[float]) -> bool:
    """Return whether each low is at most its high, and a range that errors can be computed of."""
    return all(low <= high and is_span(low, high) for low, high in zip(lows, highs))


def _geometry(fields: Fields) -> GridGeometry:
    values = fields.mapping("geometry")
    for axis in fields.child("geometry").children("axes"):
        # Before the axes are made, because making one allocates as many numbers as it claims.
        if "size" in axis and axis.number("size") > _LONGEST_AXIS:
            raise ArchiveError("'geometry' claims an absurdly long axis")
    try:
        geometry = GridGeometry.from_json(values)
    except VolumeError as error:
        raise ArchiveError(f"'geometry' is damaged: {str(error).rstrip('.')}") from error
    dims = geometry.dims
    if not all(2 <= n <= _LONGEST_AXIS for n in dims):
        raise ArchiveError(f"'geometry' has the impossible dimensions {dims}")
    return geometry


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
