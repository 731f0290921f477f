"""What is done about numbers that look like fill values: masked, or told."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Sequence

from amgsrn_core.config import DataConfig
from amgsrn_core.volume.block import FieldSummary
from amgsrn_core.volume.fill_values import Finding
from amgsrn_core.volume.volume import Volume

logger = logging.getLogger(__name__)

OPTION = "--fill-values={}"

ReportedFills = set[tuple[str, float]]
"""Component and value of what was said already."""


def resolved(
    summary: FieldSummary, components: Sequence[str], config: DataConfig, option: str = OPTION
) -> tuple[tuple[float, ...], list[str]]:
    """Return which values are fill values, and sentences on all that look like such.

    Parameters
    ----------
    summary : FieldSummary
        Of the whole volume, or of all steps of a series.
    components : sequence of str
    config : DataConfig
        Numbers that it names are missing in the summary already.
    option : str
        How a user gives the option, with ``{}`` for its value.
    """
    values = summary.fills.certain() if config.masks_known else ()
    found = summary.fills.findings(components)
    sentences = [each.sentence(option, masked=each.value in values) for each in found]
    return values, sentences


def masked(volumes: Sequence[Volume], config: DataConfig) -> list[Volume]:
    """Return volumes, one or the steps of a series, with their fill values missing.

    Known fill values are looked for in a pass over all volumes, and told.

    Raises
    ------
    VolumeError
        The values cannot be read.
    """
    volumes = [volume.masking(config.fill_numbers) for volume in volumes]
    if config.fill_values != "known" or not volumes:
        return volumes
    summary = functools.reduce(FieldSummary.merged, (volume.survey() for volume in volumes))
    values, sentences = resolved(summary, volumes[0].components, config)
    for sentence in sentences:
        logger.warning("%s", sentence)
    return [volume.masking(values) for volume in volumes]


def report_fills(findings: Iterable[Finding], reported: ReportedFills, where: str = "") -> None:
    """Log what looks like a fill value and is learned like a value, each once."""
    for finding in findings:
        key = (finding.component, finding.value)
        if key not in reported:
            reported.add(key)
            logger.warning("%s", finding.sentence(OPTION, where))
