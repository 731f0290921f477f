"""Many random NetCDF files: counts the kinds of differences, with the shortest recipe of each."""

from __future__ import annotations

import sys
import time

from hypothesis import HealthCheck, Phase, given, seed, settings
from netcdf_differences import Difference, differences, report
from netcdf_recipes import Recipe, recipes


def survey(count: int, first: int) -> int:
    """Read `count` files and print what differs; returns how many kinds."""
    seen: dict[str, tuple[int, Recipe, Difference]] = {}
    files = 0

    @seed(first)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(recipe=recipes())
    def read_one(recipe: Recipe) -> None:
        nonlocal files
        files += 1
        for difference in differences(recipe):
            times, shortest, detail = seen.get(difference.kind, (0, recipe, difference))
            if len(repr(recipe)) < len(repr(shortest)):
                shortest, detail = recipe, difference
            seen[difference.kind] = times + 1, shortest, detail

    start = time.monotonic()
    read_one()
    for times, recipe, difference in sorted(seen.values(), key=lambda item: -item[0]):
        print(f"\n{times} of {files}:", report(recipe, [difference]))
    print(f"\n{files} files, {len(seen)} kinds of differences, {time.monotonic() - start:.0f} s")
    return len(seen)


if __name__ == "__main__":
    arguments = [int(word) for word in sys.argv[1:]]
    sys.exit(min(1, survey(*(arguments + [20000, 0][len(arguments) :]))))
