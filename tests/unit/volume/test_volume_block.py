"""One pass over values finds what several would, and what earlier versions have found."""

from __future__ import annotations

import math
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amgsrn_core.config import NetworkConfig, TrainingConfig
from amgsrn_core.runs import train
from amgsrn_core.volume import Volume, export_volume, open_volume, volume_from_array
from amgsrn_core.volume.block import Block, FieldSummary, Scan, cache_slabs
from amgsrn_core.volume.checksum import joined
from amgsrn_core.volume.source import identity_of

SHAPE = (12, 150, 160)
FILL, LOW = 1.0000000200408773e20, -9999.0


def ramp(count: int, dtype: str) -> np.ndarray:
    """Return numbers from -300 to 699, [C, z, y, x]."""
    numbers = np.arange(count * math.prod(SHAPE), dtype=np.int64)
    return ((numbers * 7919) % 1000 - 300).astype(dtype).reshape(count, *SHAPE)


def volumes() -> dict[str, Volume]:
    hole = np.ones(SHAPE, bool)
    hole[7:9, 20:90, 5:100] = False
    fills = ramp(2, "f4")
    fills[0, 3, :20], fills[1, 8:, 40:], fills[0, 11] = FILL, LOW, np.nan
    return {
        "float32": volume_from_array(ramp(1, "f4")),
        "float64, three": volume_from_array(ramp(3, "f8") / 1024),
        "int16, hole": volume_from_array(ramp(1, "i2"), valid=hole),
        "float32, three, hole": volume_from_array(ramp(3, "f4"), valid=hole),
        "fills": volume_from_array(fills),
        "fills masked": volume_from_array(fills).masking([FILL]),
        "nothing": volume_from_array(np.full(SHAPE, np.nan, "f4")),
    }


# Checksum, checksum after 77, range, valid voxels and certain fill values, as they were when each
# was a pass of its own: fingerprints of runs that were begun then hold the checksums.
EARLIER = {
    "float32": (1253128750, 2093871640, [-300.0], [699.0], 288000, ()),
    "float64, three": (
        1589098383,
        3729775348,
        [-0.29296875, -0.29296875, -0.29296875],
        [0.6826171875, 0.6826171875, 0.6826171875],
        288000,
        (),
    ),
    "int16, hole": (2919754072, 1478751281, [-300.0], [699.0], 274700, ()),
    "float32, three, hole": (
        3403656820,
        2849016363,
        [-300.0, -300.0, -300.0],
        [699.0, 699.0, 699.0],
        274700,
        (),
    ),
    "fills": (
        765145466,
        4147956646,
        [-300.0, -9999.0],
        [1.0000000200408773e20, 699.0],
        264000,
        (1.0000000200408773e20,),
    ),
    "fills masked": (2196727643, 1481153927, [-300.0, -9999.0], [699.0, 699.0], 260800, ()),
    "nothing": (3958745284, 500282797, [math.inf], [-math.inf], 0, ()),
}


@pytest.mark.parametrize("piece_bytes", [1, 1 << 20, 1 << 30])
@pytest.mark.parametrize("name", EARLIER)
def test_one_pass_finds_what_earlier_versions_did(
    name: str, piece_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amgsrn_core.volume.volume._PIECE_BYTES", piece_bytes)
    volume = volumes()[name]
    crc, chained, low, high, count, fills = EARLIER[name]
    for block in (volume.read(), volume.scanned(), volume.scanned(checksum=True)):
        assert (block.checksum(), block.checksum(77)) == (crc, chained)
        summary = block.summary()
        assert (summary.minimum.tolist(), summary.maximum.tolist()) == (low, high)
        assert (summary.valid_count, summary.n_points) == (count, math.prod(SHAPE))
        assert summary.fills.certain() == fills
    assert identity_of(volume)[1] == crc  # one slab
    far = summary.fills.findings(volume.components)
    assert [(f.value, f.count) for f in far] == {
        "fills": [(FILL, 3200), (LOW, 52800)],
        "fills masked": [(LOW, 52800)],
    }.get(name, [])


def test_the_values_are_not_looked_at_again() -> None:
    block = volumes()["float32, three, hole"].scanned(checksum=True)
    expected = block.checksum(), block.summary().maximum.tolist()
    block.values[:] = np.nan
    assert (block.checksum(), block.summary().maximum.tolist()) == expected
    block.replace_values(np.ones_like(block.values))
    assert block.summary().maximum.tolist() == [1, 1, 1]


def test_a_slab_is_looked_at_while_it_is_in_the_cache() -> None:
    values = np.repeat(ramp(1, "f4"), 40, axis=1)
    parts = list(cache_slabs(values))
    assert [part.start for part in parts[1:]] == [part.stop for part in parts[:-1]]
    assert parts[0].start == 0 and parts[-1].stop == values.shape[1]
    assert max(values[0, part].nbytes for part in parts) <= 1 << 20


@given(st.binary(max_size=70), st.binary(max_size=70))
def test_checksums_join_like_their_data(first: bytes, second: bytes) -> None:
    whole = joined(zlib.crc32(first), zlib.crc32(second), len(second))
    assert whole == zlib.crc32(first + second)


def test_what_varies_too_little_is_not_learned() -> None:
    assert FieldSummary.of_nothing(2).learned_range()[0].tolist() == [0, 0]
    assert Scan(2).summary().valid_count == 0
    block = Block(np.array([1.0, 1.5, 1e10, 2e10]).reshape(2, 1, 1, 2) * 1e-145)
    low, high = block.summary().learned_range()
    assert low[0] == high[0] and low[1] < high[1]


class Walks:
    """Counts passes over values that were read before, and how often each layer is loaded."""

    def __init__(self, volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loaded = np.zeros(volume.dims[0], int)
        self.again = 0
        load, of = volume._load, Scan.of

        def counted_load(extent):
            self.loaded[extent[0]] += 1
            return load(extent)

        def counted_of(*arguments, **options):
            self.again += 1
            return of(*arguments, **options)

        monkeypatch.setattr(volume, "_load", counted_load)
        monkeypatch.setattr(Scan, "of", counted_of)


def test_a_voxel_is_walked_once_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = volume_from_array(ramp(1, "f4")[:, :, :12, :14])
    walks = Walks(volume, monkeypatch)
    config = TrainingConfig(iterations=2, batch=64, device="cpu")
    train(volume, tmp_path / "m.amgsrn", NetworkConfig(grids=2, grid_shape=(4, 4, 4)), config)
    assert (walks.loaded == 1).all()
    assert walks.again == 0


def test_a_voxel_is_walked_once_when_it_is_exported_surveyed_or_identified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = volumes()["fills"]
    crc = volume.read().checksum()
    walks = Walks(volume, monkeypatch)
    seen: list[tuple[int, FieldSummary]] = []
    export_volume(volume, tmp_path / "v", lambda b: seen.append((b.checksum(), b.summary())))
    assert (walks.loaded == 1).all()
    assert identity_of(volume)[1] == seen[0][0] == crc
    volume.survey()
    assert (walks.loaded == 3).all()
    assert walks.again == 0
    assert open_volume(tmp_path / "v").read().checksum() == crc
