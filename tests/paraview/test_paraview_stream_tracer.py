"""AMGSRN Stream Tracer: the lines of ParaView's own filter on a fine grid, without the grid."""

from __future__ import annotations

import numpy as np
import pytest
from support.sample_models import small_brick, small_index, write_small_model, write_two_bricks

from amgsrn_core.model import write_archive
from amgsrn_core.volume import GridGeometry

EVEN = GridGeometry.uniform((6, 7, 8), origin=(1.0, 2.0, 3.0), spacing=(0.5, 1.0, 2.0))
OUT_OF_DOMAIN, OUT_OF_LENGTH = 1, 4


@pytest.fixture
def models(tmp_path):
    wind, scalar, parts = (tmp_path / f"{name}.amgsrn" for name in ("wind", "scalar", "parts"))
    write_two_bricks(wind, geometry=EVEN, components=("u", "v", "w"))
    write_small_model(scalar, geometry=EVEN)
    index = small_index(components=("u", "v", "w"), geometry=EVEN).replace(name="u_v_w")
    write_archive(parts, index, [small_brick(index)])
    return wind, scalar, parts


def results(paraview, models, program, ranks):
    several = {"ranks": ranks} if ranks > 1 else {}
    run = paraview.run(program, "stream_tracer.py", *models, ranks, **several)
    (saved,) = paraview.folder.glob("stream_tracer-*.json.npz")
    with np.load(saved) as file:
        return run, dict(file)


def lines(arrays, name):
    """Return points and times of each line by its seed and its direction."""
    offsets, found = arrays[f"{name}/offsets"], {}
    for number, seed in enumerate(arrays[f"{name}/SeedIds"]):
        own = arrays[f"{name}/connectivity"][offsets[number] : offsets[number + 1]]
        times = arrays[f"{name}/IntegrationTime"][own]
        found[int(seed), bool(times[-1] > 0)] = arrays[f"{name}/points"][own], times
    return found


def distances(points, others):
    """Return how far each point is from the nearest of others."""
    return np.linalg.norm(points[:, None] - others, axis=2).min(axis=1)


def test_lines_are_those_on_a_fine_grid(paraview, models):
    run, arrays = results(paraview, models, "pvpython", 1)
    own, grid = lines(arrays, "own"), lines(arrays, "grid")
    assert run.results["message"] == ""
    assert own.keys() == grid.keys()
    assert len(own) == 24
    cell = np.sqrt(0.5**2 + 1.0**2 + 2.0**2)
    gaps = []
    for key, (points, times) in own.items():
        expected, other = grid[key]
        dense = np.linspace(0, len(expected) - 1, 20 * len(expected))
        dense = [np.interp(dense, np.arange(len(expected)), column) for column in expected.T]
        gaps.append(distances(points, np.stack(dense, axis=1)).max() / cell)
        # Where both are slow, near the end, a small way takes long.
        assert times[len(times) // 2] == pytest.approx(
            other[distances(expected, points[len(times) // 2 :][:1]).argmin()], rel=0.2, abs=0.1
        )
    assert max(gaps) < 0.05
    assert set(arrays["own/ReasonForTermination"]) == {OUT_OF_DOMAIN}
    speed = np.linalg.norm(arrays["own/density"], axis=1)
    assert (speed > 0).all()
    assert set(arrays["short/ReasonForTermination"]) <= {OUT_OF_DOMAIN, OUT_OF_LENGTH}
    for points, _ in lines(arrays, "short").values():
        length = np.linalg.norm(np.diff(points, axis=0), axis=1).sum()
        assert length <= 1.0 + 0.1 * cell
    found = run.results
    assert found["outside"].endswith("it has no value or no velocity there.")
    assert "The model has no array of three components to follow" in found["scalar"]
    assert found["parts"].startswith("u, v, w are taken for the velocity along x, y, z.")
    assert "no 'u' of three components" in found["unknown"]
    assert "ascend from the shortest" in found["steps"]
    assert "The input carries no model" in found["nothing"]


@pytest.mark.mpi
def test_ranks_share_the_seeds(paraview, models):
    run, _ = results(paraview, models, "pvbatch", 2)
    assert run.results["by_rank"] == [12, 12]
