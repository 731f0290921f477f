"""Numbers that stand for no value: found in one pass, told, and missing where asked for."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.brick_runs import NETWORK
from support.sample_volumes import coordinate, write_netcdf

from amgsrn_core import NeuralVolume, open_volume, volume_from_array
from amgsrn_core.cli import main
from amgsrn_core.config import BrickConfig, DataConfig, DispatchConfig, TrainingConfig
from amgsrn_core.errors import ConfigurationError
from amgsrn_core.model import read_index
from amgsrn_core.runs import train, train_series
from amgsrn_core.volume import export_volume
from amgsrn_core.volume.block import Block, FieldSummary
from amgsrn_core.volume.fill_values import _WRITTEN, KNOWN, USUAL, FillSearch, matches, written
from amgsrn_core.volume.masking import masked
from amgsrn_core.volume.source import open_source

QUICK = TrainingConfig(iterations=40, batch=1024, device="cpu")
SHAPE = (8, 9, 10)
NETCDF_FLOAT, CMIP = (float(np.float32(value)) for value in (9.969209968386869e36, 1e20))


def warm() -> np.ndarray:
    """Return a smooth field [z, y, x] from 271 to 300."""
    z, y, x = np.meshgrid(*[np.linspace(0, 1, n) for n in SHAPE], indexing="ij")
    return (271 + 20 * z + 9 * np.sin(3 * x * y)).astype("f4")


def holed(fill: float, values: np.ndarray | None = None) -> np.ndarray:
    """Return the field with a number in place of a corner."""
    values = warm() if values is None else values.copy()
    values[:3, :4, :5] = fill
    return values


def told(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Return what was said of values: of the size of a model of so little data there is more."""
    return [record for record in caplog.records if record.name != "amgsrn_core.runs.space"]


def found(*arrays: np.ndarray) -> list[tuple[float, int, bool]]:
    """Return value, count and certainty of what is found in the blocks of a scalar field."""
    summary = FieldSummary.of_nothing(1)
    for values in arrays:
        summary = summary.merged(Block(values[None].astype("f4")).summary())
    return [(f.value, f.count, f.is_certain) for f in summary.fills.findings(["q"])]


@pytest.mark.parametrize("fill", KNOWN)
def test_a_known_fill_value_far_off_is_certain(fill: float) -> None:
    assert found(holed(fill)) == [(fill, 60, True)]
    assert found(holed(fill), warm()) == [(fill, 60, True)]


@pytest.mark.parametrize("fill", [*_WRITTEN, *KNOWN])
def test_a_known_fill_value_of_double_precision_is_certain(fill: float) -> None:
    values = holed(fill, warm().astype("f8"))
    summary = Block(values[None]).summary()
    (finding,) = summary.fills.findings(["q"])
    assert (finding.count, finding.is_certain) == (60, True)
    assert matches(values, summary.fills.certain()).sum() == 60


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("fill", [1e39, -1.7976931348623157e308, -9999.9, 1e15, 123456.789012])
def test_what_is_told_of_double_precision_finds_the_same(fill: float) -> None:
    values = holed(fill, warm().astype("f8"))
    summary = Block(values[None]).summary()
    (finding,) = summary.fills.findings(["q"])
    assert (finding.value, finding.count, finding.is_certain) == (fill, 60, False)
    assert matches(values, [float(written(finding.value))]).sum() == 60


def test_a_fill_value_takes_no_neighbours_that_float32_does_not_tell_from_it() -> None:
    values = np.array([1e9, 1e9 + 1, 1e9 + 3, -999.9, float(np.float32(-999.9))])
    assert matches(values, [1e9]).tolist() == [True, False, False, False, False]
    assert matches(values, [1e9 + 3]).tolist() == [False, False, True, False, False]
    assert matches(values, [-999.9]).tolist() == [False, False, False, True, True]


def test_where_others_are_as_large_a_known_fill_value_is_not_certain() -> None:
    assert found(holed(1e20, 1e13 * warm())) == [(float(np.float32(1e20)), 60, True)]
    assert found(holed(1e20, 1e16 * warm())) == [(float(np.float32(1e20)), 60, False)]
    assert found(holed(1e20, 1e18 * warm())) == []


@pytest.mark.parametrize("fill", [*USUAL, 0.0, -1.0, 1e6, 4.2e25])
def test_another_number_far_off_is_suspect(fill: float) -> None:
    fill = float(np.float32(fill))
    # What is not usual is told from a gap of ten times the range of the others on.
    values = 10 + warm() / 100 if abs(fill) <= 1 else warm()
    assert found(holed(fill, values)) == [(fill, 60, False)]


@pytest.mark.parametrize(
    "values",
    [
        warm(),
        np.where(warm() > 280, 1.0, 0.0),  # a mask
        np.where(warm() > 280, 1000.0, -1000.0),
        np.full(SHAPE, 1e20),
        np.random.default_rng(0).normal(size=SHAPE),
        np.where(np.arange(720).reshape(SHAPE) == 99, 1e6, warm()),  # a peak of one voxel
        1e20 * np.random.default_rng(0).random(SHAPE).round(1),  # a density with 1e20 among it
        np.random.default_rng(0).integers(-9999, 9999, SHAPE),
        np.random.default_rng(0).integers(-32768, 32767, SHAPE),
        np.exp(np.random.default_rng(0).normal(size=SHAPE)),
        np.maximum(0, np.random.default_rng(0).normal(size=SHAPE)),
    ],
)
def test_ordinary_fields_have_none(values: np.ndarray) -> None:
    assert found(values) == []


def test_two_of_them_at_once() -> None:
    values = holed(1e20)
    values[-1] = -9999
    known = float(np.float32(1e20))
    assert found(values) == [(known, 60, True), (-9999.0, 90, False)]
    summary = Block(values[None]).summary()
    assert (summary.minimum[0], summary.maximum[0]) == (-9999, known)
    assert summary.without([known]).maximum[0] == warm()[:-1].max()
    assert summary.without([]).maximum[0] == known


def test_each_component_has_its_own() -> None:
    values = np.stack([holed(1e20), warm(), holed(-9999)])
    summary = Block(values).summary()
    findings = summary.fills.findings("uvw")
    assert [(f.component, f.count) for f in findings] == [("u", 60), ("w", 60)]
    assert summary.fills.certain() == (float(np.float32(1e20)),)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data())
def test_blocks_in_any_order_find_what_the_whole_does(data: st.DataObject) -> None:
    numbers = st.sampled_from([0.0, 1.0, 2.5, 300.0, -999.0, -9999.0, 1e20, NETCDF_FLOAT, 1e25])
    values = np.array(data.draw(st.lists(numbers, min_size=2, max_size=40)), dtype="f4")
    valid = np.array(data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values))))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(values) - 1), max_size=5)))
    search = FillSearch.of_nothing(1)
    for v, where in zip(np.split(values, cuts), np.split(valid, cuts)):
        here = Block(v.reshape(1, 1, 1, -1), where.reshape(1, 1, -1)).summary().fills
        search = FillSearch.merged([here, search])
    whole = values[valid]
    rest = whole[~np.isin(whole, np.array(KNOWN, dtype="f4"))].astype(float)
    told = {(f.value, f.count) for f in search.findings(["q"])}
    for value, count in told:
        assert count == np.count_nonzero(whole == np.float32(value))
    # What is to be found, by the rules and without their shortcuts.
    expected = set()
    if rest.size:
        low, high = rest.min(), rest.max()
        for value in np.unique(whole).tolist():
            count = int(np.count_nonzero(whole == value))
            if np.float32(value) in np.array(KNOWN, dtype="f4"):
                largest = max(abs(low), abs(high))
                is_far = count > 1 and abs(value) - largest > 10 * (high - low)
                if abs(value) >= 1e3 * largest or is_far:
                    expected.add((value, count))
                continue
            others = rest[rest != value]
            if count < 2 or value not in (low, high) or not others.size or np.ptp(others) == 0:
                continue
            gap = np.abs(others - value).min()
            if gap > (1 if np.float32(value) in np.array(USUAL, dtype="f4") else 10) * np.ptp(
                others
            ):
                expected.add((value, count))
    assert told == expected


@pytest.mark.parametrize("dtype", ["f4", "f8", "i2", "i4", "i8", "u8", "f2"])
def test_masking_compares_numbers_of_any_type(dtype: str) -> None:
    fill = {"f2": 999.0, "u8": 2**64 - 2}.get(dtype, -9999)
    values = np.arange(24).reshape(2, 3, 4).astype(dtype)
    values[0, 1, 2] = fill
    volume = volume_from_array(values)
    assert volume.read().valid is None
    block = volume.masking([float(fill)]).read()
    assert np.argwhere(~block.valid).tolist() == [[0, 1, 2]]
    assert volume.missing.values == ()
    assert volume.masking([]) is volume


def test_floating_point_numbers_are_compared_as_float32() -> None:
    values = np.array(
        [1e20, float(np.float32(1e20)), 9.96921e36, 0.1, np.nan, 1.7976931348623157e308]
    )
    assert matches(values, [1e20, 0.1, 1.7976931348623157e308]).tolist() == [1, 1, 0, 1, 0, 1]
    assert matches(values[:5].astype("f4"), [1e20]).tolist() == [1, 1, 0, 0, 0]


@pytest.mark.parametrize("text", ["", "know", "1,,2", "nan", "1e400", "1 2"])
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="auto, known, none or numbers"):
        DataConfig(text)


def test_numbers_have_commas_between_them() -> None:
    assert DataConfig("-9999, 1e20").fill_numbers == (-9999.0, 1e20)
    assert not DataConfig("-9999").masks_known


def write_warm(path: Path, values: np.ndarray, **attributes: float) -> Path:
    return write_netcdf(path, {"t": (("z", "y", "x"), values, attributes)})


LINE = "--iterations 40 --batch 1024 --devices cpu --grids 2 --grid-shape 5,5,5 --width 16"


def shell(source: Path, output: Path, *more: str) -> int:
    return main(["train", str(source), "-o", str(output), *LINE.split(), *more])


def missing_in(path: Path) -> Any:
    block = NeuralVolume.open(path, "cpu").reconstruct_block()
    return None if block.valid is None else np.argwhere(~block.valid).tolist()


CORNER = np.argwhere(np.isnan(holed(np.nan))).tolist()


@pytest.mark.parametrize("bricks", ["1,1,1", "1,1,2"])
def test_files_are_taken_at_their_word_and_the_oddity_is_told(
    bricks: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = write_warm(tmp_path / "t.nc", holed(1e20))
    assert shell(source, tmp_path / "m.amgsrn", "--bricks", bricks, "--workers", "1") == 0
    assert missing_in(tmp_path / "m.amgsrn") is None
    (sentence,) = [record.getMessage() for record in caplog.records if "1e+20" in record.message]
    assert "they are learned like values unless --fill-values=known is given" in sentence


@pytest.mark.parametrize("bricks", ["1,1,1", "1,1,2"])
def test_known_fill_values_are_missing_where_asked_for(
    bricks: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = write_warm(tmp_path / "t.nc", holed(1e20))
    output = tmp_path / "m.amgsrn"
    more = ["--fill-values", "known", "--bricks", bricks, "--workers", "1"]
    assert shell(source, output, *more) == 0
    assert missing_in(output) == CORNER
    index = read_index(output)
    assert (index.value_minimum[0], index.value_maximum[0]) == pytest.approx((273, 300), abs=3)
    assert index.missing is not None and index.missing.values == (CMIP,)
    (sentence,) = [record.getMessage() for record in told(caplog)]
    assert "'t' has 60 values of 1e+20" in sentence and "taken for missing" in sentence
    # What the model knows to be missing is missing in the file as well.
    assert main(["test", str(output), "--against", str(source)]) == 0
    # The same again is done; without the option it is another training.
    assert shell(source, output, *more) == 0
    assert shell(source, output, "--bricks", bricks, "--workers", "1") == 1


def test_a_number_is_missing_where_asked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = write_warm(tmp_path / "t.nc", holed(-9999))
    assert shell(source, tmp_path / "a.amgsrn") == 0
    (record,) = told(caplog)
    assert "if they stand for none give --fill-values=-9999." in record.getMessage()
    assert shell(source, tmp_path / "b.amgsrn", "--fill-values=-9999") == 0
    assert missing_in(tmp_path / "b.amgsrn") == CORNER
    assert len(told(caplog)) == 1


def test_what_the_file_marks_is_not_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = write_warm(tmp_path / "t.nc", holed(1e20), _FillValue=np.float32(1e20))
    assert shell(source, tmp_path / "m.amgsrn") == 0
    assert missing_in(tmp_path / "m.amgsrn") == CORNER
    assert not told(caplog)


def test_a_series_has_one_answer_and_one_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    values = np.stack([warm(), holed(1e20), holed(1e20)])
    time = coordinate("time", np.arange(3.0), units="days since 2000-01-01")
    t = (("time", "z", "y", "x"), values, {})
    path = write_netcdf(tmp_path / "t.nc", {"time": time, "t": t})
    steps = [open_volume(path, "t", time=number) for number in range(3)]
    train_series(steps, tmp_path / "a.amgsrn", NETWORK, QUICK)
    assert len([r for r in caplog.records if "1e+20" in r.getMessage()]) == 1
    known = masked(steps, DataConfig("known"))
    train_series(known, tmp_path / "b.amgsrn", NETWORK, QUICK)
    model = NeuralVolume.open(tmp_path / "b.amgsrn", "cpu")
    valid = [model.at(step).reconstruct_block().valid for step in range(3)]
    assert valid[0] is None or valid[0].all()
    assert np.argwhere(~valid[1]).tolist() == np.argwhere(~valid[2]).tolist() == CORNER


def test_a_masked_volume_goes_to_other_processes_as_it_is(tmp_path: Path) -> None:
    volume = volume_from_array(holed(-9999), name="t").masking([-9999.0])
    bricks, dispatch = BrickConfig((1, 1, 2)), DispatchConfig(workers=1)
    train(volume, tmp_path / "m.amgsrn", NETWORK, QUICK, None, bricks, dispatch)
    assert missing_in(tmp_path / "m.amgsrn") == CORNER
    again = open_volume(export_volume(volume, tmp_path / "exported"))
    assert again.missing == volume.missing
    assert np.argwhere(~again.read().valid).tolist() == CORNER


def test_what_paraview_hands_over_is_settled_over_all_steps(tmp_path: Path) -> None:
    handover = pytest.importorskip("amgsrn_paraview.handover", reason="the plugins are not there")
    steps = [volume_from_array(values, name="t") for values in (warm(), holed(1e20))]
    for words, fills in (("auto", (CMIP,)), ("known", (CMIP,)), ("none", ())):
        made = handover.Handover(tmp_path / words)
        made.write(steps, DataConfig(words))
        note, *advice = made.found.notes
        assert ("taken for missing" in note) == bool(fills)
        assert all("NetCDF volume (AMGSRN)" in sentence for sentence in advice)
        assert made.found.summary.maximum[0] == (warm().max() if fills else CMIP)
        valid = [open_source(source).read().valid for source in made.source(True)["steps"]]
        assert valid[0] is None
        assert (valid[1] is not None) == bool(fills)


def test_nothing_is_said_twice(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level(logging.WARNING)
    volume = volume_from_array(holed(1e20), name="t")
    train(volume, tmp_path / "m.amgsrn", NETWORK, QUICK)
    assert len(told(caplog)) == 1
