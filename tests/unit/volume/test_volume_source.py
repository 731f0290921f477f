"""The description by which other processes open a volume."""

from __future__ import annotations

import pytest
from support.brick_runs import waves, write_waves

from amgsrn_core.errors import VolumeError
from amgsrn_core.volume import open_volume
from amgsrn_core.volume.source import open_source, source_of


def test_a_description_leads_to_the_same_volume(tmp_path):
    volume = open_volume(write_waves(tmp_path / "wave.nc"))
    source = source_of(volume)
    assert source is not None
    assert (open_source(source).read().values == waves()).all()


@pytest.mark.parametrize("word", ["variable", "time_step"])
def test_a_word_that_says_nothing_is_refused(tmp_path, word):
    source = {"kind": "file", "path": str(write_waves(tmp_path / "wave.nc")), word: "wave"}
    with pytest.raises(VolumeError, match=f"has no '{word}'; it has dims, fill_values, kind"):
        open_source(source)
