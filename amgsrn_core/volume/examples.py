"""Volumes to try things on, made by formulas: an ocean, a scan, a turbulent flow.

Each has what makes real files of its kind awkward, and takes a second to make and some hundred
kilobytes to a few megabytes. Equal arguments give equal files.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from amgsrn_core.system.output import replacing
from amgsrn_core.volume.geometry import GridGeometry
from amgsrn_core.volume.netcdf.library import import_netcdf4
from amgsrn_core.volume.replacement import MARK
from amgsrn_core.volume.writer import write_volume

_FILL = np.float32(9.96921e36)
# The shallower the water, the closer the levels.
_DEPTHS = np.round(5 + 3995 * np.linspace(0, 1, 30) ** 2, 1)


def write_example(kind: str, path: str | os.PathLike[str]) -> Path:
    """Write an example.

    Parameters
    ----------
    kind : {"ocean", "scan", "turbulence"}
        ``ocean``: NetCDF by the CF conventions, `temperature` in degrees Celsius and `salinity` of
        120 x 60 x 30 samples on a global grid of 3 degrees, with land that has no values, depths
        that are uneven and count downwards, and four months. ``scan``: `intensity`, a head of 96 x
        112 x 88 voxels of 2 mm. ``turbulence``: `speed`, 64 x 64 x 64 samples of a field whose
        spectrum falls as in turbulence.
    path : path
        The ocean is NetCDF; the others may be ``.nc``, ``.vti`` or ``.vtr``.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    target = Path(path)
    _WRITERS[kind](target)
    return target


def _ocean(target: Path) -> None:
    longitude, latitude = np.arange(1.5, 360, 3), np.arange(-88.5, 90, 3)
    months = np.array([15.5, 105.0, 196.5, 288.5])
    z, y, x = np.meshgrid(_DEPTHS, np.radians(latitude), np.radians(longitude), indexing="ij")
    # Continents and the sea floor: long waves round the globe.
    land = np.sin(2 * x + 1) * np.cos(y) + 0.5 * np.cos(3 * x - 2 * y) + 0.4 * np.sin(5 * y + x)
    floor = 4200 * np.clip(1 - land, 0, 1)
    is_dry = (land > 0.85) | (z > floor)
    surface = 28 * np.cos(y) ** 2 + 1.5 * np.sin(3 * x + 4 * y) - 1.5
    below = np.exp(-z / (150 + 500 * np.cos(y) ** 2))
    with replacing(target) as temporary, import_netcdf4().Dataset(temporary, "w") as file:
        file.setncatts({"Conventions": "CF-1.8", MARK: "example"})
        file.title = "An ocean that does not exist, for trying things"
        _axis(file, "time", months, "days since 2001-01-01", "time", calendar="standard")
        _axis(file, "depth", _DEPTHS, "m", "depth", positive="down")
        _axis(file, "latitude", latitude, "degrees_north", "latitude")
        _axis(file, "longitude", longitude, "degrees_east", "longitude")
        for name, units, standard in (
            ("temperature", "degree_Celsius", "sea_water_temperature"),
            ("salinity", "1e-3", "sea_water_practical_salinity"),
        ):
            dimensions = ("time", "depth", "latitude", "longitude")
            made = file.createVariable(name, "f4", dimensions, zlib=True, fill_value=_FILL)
            made.units, made.standard_name = units, standard
            for number, day in enumerate(months):
                season = 4 * np.sin(2 * np.pi * (day - 105) / 365.25) * np.sin(y) * np.exp(-z / 80)
                values = np.maximum(2 + (surface + season) * below, -1.9)
                if name == "salinity":
                    values = 34.7 + (1.5 * np.cos(2 * y) ** 2 - 0.02 * season) * below
                made[number] = np.where(is_dry, _FILL, values)


def _axis(
    file: object, name: str, values: np.ndarray, units: str, standard: str, **more: str
) -> None:
    file.createDimension(name, len(values))  # type: ignore[attr-defined]
    made = file.createVariable(name, "f8", (name,))  # type: ignore[attr-defined]
    made.setncatts({"units": units, "standard_name": standard, **more})
    made[:] = values


def _scan(target: Path) -> None:
    shape, spacing = (88, 112, 96), 2.0
    geometry = GridGeometry.uniform(
        shape,
        origin=(-95.0, -111.0, -87.0),
        spacing=(spacing, spacing, spacing),
    )
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")

    def inside(centre: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
        """Return a smooth ellipsoid: 1 inside, 0 outside."""
        places = (x - centre[0], y - centre[1], z - centre[2])
        distance = np.sqrt(sum((p / r) ** 2 for p, r in zip(places, radii)))
        return np.asarray(1 / (1 + np.exp(np.clip(40 * (distance - 1) * min(radii), -50, 50))))

    skull, brain = inside((0, 0, 0), (0.82, 0.9, 0.86)), inside((0, 0, 0), (0.7, 0.78, 0.74))
    folds = np.sin(14 * x + 5 * np.sin(7 * y)) * np.sin(12 * y + 4 * z) * np.sin(13 * z + 3 * x)
    values = 60 * skull + 80 * brain + 25 * brain * folds
    for side in (-1, 1):
        values -= 90 * inside((0.2 * side, 0.0, 0.1), (0.1, 0.35, 0.2))  # the ventricles
    values += 4 * np.random.default_rng(1).standard_normal(shape) * skull
    whole = np.clip(np.rint(values), 0, 255).astype(np.float32)
    write_volume(target, whole, geometry, name="intensity", made_by="example", force=True)


def _turbulence(target: Path) -> None:
    n = 64
    noise = np.fft.rfftn(np.random.default_rng(2).standard_normal((3, n, n, n)), axes=(1, 2, 3))
    k = np.sqrt(sum(f**2 for f in np.meshgrid(*_frequencies(n), indexing="ij")))
    # Energy falls like k^(-5/3); it is spread over a shell of k^2, and the amplitude is its root.
    k[0, 0, 0] = np.inf
    amplitude = np.where(k < n / 3, k ** (-11 / 6), 0) * np.exp(-((k / (n / 4)) ** 2))
    velocity = np.fft.irfftn(noise * amplitude, s=(n, n, n), axes=(1, 2, 3))
    speed = np.sqrt((velocity**2).sum(axis=0))
    values = (speed / speed.mean()).astype(np.float32)
    geometry = GridGeometry.uniform((n, n, n), spacing=(1 / n, 1 / n, 1 / n))
    write_volume(
        target, values, geometry, name="speed", made_by="example", units="m s-1", force=True
    )


def _frequencies(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    whole = np.fft.fftfreq(n, 1 / n)
    return whole, whole, np.fft.rfftfreq(n, 1 / n)


_WRITERS: dict[str, Callable[[Path], None]] = {
    "ocean": _ocean,
    "scan": _scan,
    "turbulence": _turbulence,
}
EXAMPLES = tuple(_WRITERS)
"""What :func:`write_example` makes."""
