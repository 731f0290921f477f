"""Files beside a series that grows: each holds the tensors of some of its time steps.

The series' own file has the whole index then, and no tensor. Its metadata name the files
(`amgsrn_steps`), in the order of the steps.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from amgsrn_core.errors import ArchiveError

STEPS_KEY = "amgsrn_steps"
STEPS_SUFFIX = ".steps"

# A folder beside the series, and a file in it: a damaged name leads nowhere else.
_NAME = re.compile(r"[^/\\]+\.steps/[^/\\]+\.amgsrn")


@dataclass(frozen=True)
class StepFile:
    """A model file of some steps of a series.

    Attributes
    ----------
    name : str
        Relative to the folder of the series.
    steps : int
        How many it has.
    """

    name: str
    steps: int


def steps_folder(path: Path) -> Path:
    """Return the folder of the files beside a series."""
    return path.with_name(path.name + STEPS_SUFFIX)


def steps_to_text(files: Iterable[StepFile]) -> str:
    """Return the metadata that name files."""
    return json.dumps([[file.name, file.steps] for file in files])


def steps_from(metadata: Mapping[str, str], steps: int) -> tuple[StepFile, ...]:
    """Return the files that the metadata of a series of so many steps name; none as a rule.

    Raises
    ------
    ArchiveError
        They are damaged.
    """
    if STEPS_KEY not in metadata:
        return ()
    try:
        files = tuple(StepFile(str(name), count) for name, count in json.loads(metadata[STEPS_KEY]))
    except (ValueError, TypeError, RecursionError) as error:
        raise ArchiveError("its list of files is damaged") from error
    counts = [file.steps for file in files]
    if not all(type(count) is int and count > 0 for count in counts) or sum(counts) != steps:
        raise ArchiveError("its list of files does not have its time steps")
    if not all(_NAME.fullmatch(file.name) and ".." not in file.name for file in files):
        raise ArchiveError("its list of files has names that are none")
    return files
