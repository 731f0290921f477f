"""The shader's text is what the standards ask for, which software renderers do not check."""

from __future__ import annotations

import itertools
import shutil
import subprocess

import pytest
from support.kernel_cases import needs_kernels
from support.rendering_cases import models, transfer_for
from support.sample_models import small_brick, small_index

from amgsrn_core import NeuralVolume
from amgsrn_core.config import NetworkConfig
from amgsrn_core.rendering import RenderSettings, TransferFunction
from amgsrn_core.shader import PackedLook, PackedModel, fragment_source

VALIDATOR = shutil.which("glslangValidator")

LOOKS = {
    "plain": {},
    "lit": {"shade": True, "lights": ((1, 2, 3, 1, 1, 1),)},
    "maximum": {"blend": "maximum"},
    "surfaces": {"blend": "isosurface", "isovalues": (1.0, 2.0), "shade": True},
    "magnitude": {"component": "magnitude", "shade": True, "jitter": True},
    "cut": {"crop": (0, 5, 0, 5, 0, 5), "clip_planes": ((1, 0, 0, 0),)},
}

NETWORKS = [
    NetworkConfig(grids=3, features=features, grid_shape=(3, 4, 5), layers=layers, width=width)
    for features, layers, width in ((1, 1, 8), (2, 2, 64), (4, 3, 6), (8, 4, 16))
]
NETWORKS += [
    NetworkConfig(encoder="dense", positional_terms=3, features=4, grid_shape=(3, 4, 5), width=8),
    NetworkConfig(encoder="hash", grids=3, hash_log2_size=6, hash_max_resolution=9, width=8),
    NetworkConfig(
        encoder="hash",
        grids=3,
        hash_log2_size=6,
        hash_max_resolution=9,
        width=8,
        hash_scheme="original",
        biases=True,
    ),
]


def sources(volume: NeuralVolume, logarithmic: bool) -> list[str]:
    transfer = transfer_for(volume)
    if logarithmic:
        transfer = TransferFunction(0.1, 10.0, transfer.table, logarithmic=True)
    model = PackedModel.of(volume).defines
    looks = [
        PackedLook.of(volume, transfer, RenderSettings(**look)).defines for look in LOOKS.values()
    ]
    return [
        fragment_source({**model, **look}, dialect)
        for look, dialect in itertools.product(looks, ("core", "es"))
    ]


@pytest.mark.skipif(VALIDATOR is None, reason="glslangValidator is not installed")
@needs_kernels
def test_every_variant_is_valid(tmp_path):
    volumes = list(models(tmp_path).values())
    for network in NETWORKS:
        index = small_index((9, 8, 10), ("u", "v"), network)
        volumes.append(NeuralVolume(index, [small_brick(index)]))
    paths = []
    for number, volume in enumerate(volumes):
        for text in sources(volume, logarithmic=number % 2 == 1):
            paths.append(tmp_path / f"{len(paths)}.frag")
            paths[-1].write_text(text)
    done = subprocess.run([VALIDATOR, *paths], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    assert len(paths) == 2 * len(LOOKS) * len(volumes)


def test_lines_are_written_once_for_each_quarter_and_component(tmp_path):
    defines = {"WIDTH4": 3, "SEEN": 2, "LAYERS": 2}
    text = fragment_source(defines)
    assert "h0[2] = max(h0[2], 0.0);" in text and "h0[3]" not in text
    assert "y[1] = RANGE(1).z;" in text and "y[2]" not in text
    assert not any(line.lstrip()[:1] in ("@", "$") for line in text.splitlines())
