"""What a large picture takes in memory beyond its model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.kernel_cases import needs_kernels
from support.paths import ROOT

PEAK = Path("/proc/self/clear_refs")
pytestmark = [
    needs_kernels,
    pytest.mark.skipif(not PEAK.exists(), reason="only Linux tells of the peak so far"),
]

# A program of its own: in this one other tests have left memory that may be used again.
PROGRAM = """
import ctypes, gc, json, sys
sys.path.insert(0, sys.argv[1])
from support.sample_models import write_small_model, write_two_bricks
from amgsrn_core import NeuralVolume
from amgsrn_core.rendering import Camera, RenderSettings, TransferFunction, render

def megabytes(name):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1.024e-3

def grown(write, **settings):
    write(sys.argv[2], dims=(10, 12, 14))
    model = NeuralVolume.open(sys.argv[2], "cpu")
    view = dict(azimuth=30, polar=60, distance=20)
    settings = RenderSettings(samples_per_voxel=0.25, **settings)
    transfer = TransferFunction(-5, 5, [[1, 1, 1, 0.05]] * 2)
    small, large = (
        Camera.orbit(model.geometry.bounds, width=w, height=h, **view)
        for w, h in ((20, 15), (2000, 1500))
    )
    render(model, small, transfer, settings)
    gc.collect()
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)  # what was free already would hide what is taken
    open("/proc/self/clear_refs", "w").write("5")
    before = megabytes("VmRSS")
    image = render(model, large, transfer, settings)
    assert image[..., 3].any()
    return megabytes("VmHWM") - before

surfaces = dict(blend="isosurface", isovalues=(0.0, 5.0), shade=True)
print(json.dumps({
    "translucent": grown(write_small_model),
    "shaded": grown(write_two_bricks, shade=True),
    "surfaces": grown(write_two_bricks, **surfaces),
}))
"""


def test_a_large_picture_takes_little_beyond_the_model(tmp_path):
    tests = ROOT / "tests"
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tests), str(tmp_path / "model.amgsrn")],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # each thread takes some more
    )
    assert run.returncode == 0, run.stderr
    grown = json.loads(run.stdout)
    # Up to 48 MB are the picture, as far as it is touched: 2000 x 1500 pixels of four float32.
    assert all(12 < megabytes < 64 for megabytes in grown.values()), grown
