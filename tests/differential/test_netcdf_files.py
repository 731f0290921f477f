"""Random NetCDF files: the reader against the text of the conventions, and against xarray.

500 files by default, the same ones each time; ``AMGSRN_EXAMPLES=20000`` for others and more.
``scripts/test-differential`` goes on behind the first difference and counts the kinds of them.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings
from netcdf_differences import differences, report
from netcdf_recipes import Recipe, recipes

EXAMPLES = os.environ.get("AMGSRN_EXAMPLES", "")


@pytest.mark.differential
@pytest.mark.timeout(0 if EXAMPLES else 600)
@settings(
    max_examples=int(EXAMPLES or 500),
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(recipe=recipes())
def test_files_are_read_as_the_conventions_say(recipe: Recipe) -> None:
    found = differences(recipe)
    assert not found, report(recipe, found)
