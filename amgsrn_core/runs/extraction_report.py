"""What became of each time step of a running simulation, as a table beside the series."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import get_type_hints

from amgsrn_core.system.files import replace_text


@dataclass(frozen=True)
class StepReport:
    """One row of the table.

    Attributes
    ----------
    step : int
        The simulation's number of the step.
    time : float
    state : str
        "trained"; "dropped", where nothing of it is in the series; "partly", where bricks of some
        ranks are missing.
    added_seconds : float
        That the simulation has spent on handing it over, of the rank that took longest.
    waited_seconds : float
        How much of that was waiting for room in the window.
    training_seconds : float
        From when its training began until its brick was done, of the rank that took longest.
    bytes : int
        Of its model; the series, when it is one file in the end, has one index for all.
    raw_bytes : int
        Of the data.
    psnr : float
        In dB, over all voxels; NaN where it is not known.
    max_error : float
        In units of the data; NaN where it is not known.
    kept : str
        Folders of data that were kept, with blanks between them.
    note : str
        Why anything is missing.
    """

    step: int
    time: float
    state: str
    added_seconds: float = 0.0
    waited_seconds: float = 0.0
    training_seconds: float = 0.0
    bytes: int = 0
    raw_bytes: int = 0
    psnr: float = float("nan")
    max_error: float = float("nan")
    kept: str = ""
    note: str = ""


def report_path(output: str | os.PathLike[str]) -> Path:
    """Return the path of the table of a series: ``NAME.steps.csv``."""
    return Path(output).with_suffix(".steps.csv")


def read_report(output: str | os.PathLike[str]) -> list[StepReport]:
    """Return the rows of a series' table, in the order of the steps; none where there is no table.

    Parameters
    ----------
    output : path
        The series, ``NAME.amgsrn``.
    """
    kinds = get_type_hints(StepReport)
    try:
        with open(report_path(output), newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        return []
    return [StepReport(**{name: kind(row[name]) for name, kind in kinds.items()}) for row in rows]


def add_to_report(output: Path, row: StepReport) -> None:
    """Put a row into the table, in place of an older one of the same step."""
    rows = {(each.time, each.step): each for each in read_report(output)}
    rows[row.time, row.step] = row
    text = io.StringIO()
    names = [field.name for field in dataclasses.fields(StepReport)]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(dataclasses.asdict(rows[key]) for key in sorted(rows))
    replace_text(report_path(output), text.getvalue())
