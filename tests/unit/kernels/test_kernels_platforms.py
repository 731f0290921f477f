"""Every instruction set, compiler and processor computes the same: what one can be checked here."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from support.kernel_cases import needs_kernels
from support.paths import ROOT

from amgsrn_core.kernels import load

SOURCES = ROOT / "amgsrn_core" / "kernels"
PROGRAM = Path(__file__).with_name("kernels_memory.cpp")

pytestmark = [
    needs_kernels,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ here"),
    pytest.mark.skipif(shutil.which("cmake") is None, reason="no cmake here"),
]


def built(compiler: str, folder: Path, *options: str) -> Path:
    """Build the library without warnings, and the program that calls every kernel with it."""
    command = ["cmake", "-S", str(SOURCES.parents[1]), "-B", str(folder), *options]
    command += [f"-DCMAKE_CXX_COMPILER={compiler}", "-DAMGSRN_KERNELS_WERROR=ON"]
    command += ["-DCMAKE_BUILD_TYPE=Release", "-DAMGSRN_BUILD_plugins_NeuralVolume=OFF"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cmake", "--build", str(folder)], check=True, stdout=subprocess.DEVNULL)
    return linked(compiler, folder / "amgsrn_core" / "kernels", folder / "program")


def linked(compiler: str, library: Path, target: Path) -> Path:
    """Return the program that calls every kernel, linked with a library in a folder."""
    command = [compiler, "-std=gnu++17", "-O1", f"-I{SOURCES / 'src'}", str(PROGRAM)]
    command += [f"-L{library}", "-lamgsrn_kernels", f"-Wl,-rpath,{library}", "-o", str(target)]
    subprocess.run(command, check=True)
    return target


def results(folder: Path, *command: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Run the program and return its numbers for each instruction set."""
    done = subprocess.run(
        [*command, folder / "results"], check=True, capture_output=True, text=True, timeout=300
    )
    return {
        isa: np.fromfile(folder / f"results.{isa}", dtype=np.float32) for isa in done.stdout.split()
    }


def same(values: np.ndarray, expected: np.ndarray) -> None:
    assert values.shape == expected.shape and values.size > 100_000
    # One point is no number: it makes the maps' gradients none either.
    finite = np.isfinite(expected)
    assert finite.mean() > 0.99 and (np.isfinite(values) == finite).all()
    values, expected = values[finite], expected[finite]
    # A neuron on the edge may be on in one of them and off in the other.
    scale = np.maximum(np.abs(expected), 1e-2)
    assert np.mean(np.abs(values - expected) <= 1e-3 * scale) > 0.999


def rounded(values: np.ndarray, expected: np.ndarray) -> None:
    """Compare results of products of bfloat16, with 8 digits, and of what is made of them."""
    finite = np.isfinite(expected)
    assert (np.isfinite(values) == finite).all()
    error = np.abs(values - expected)[finite]
    scale = np.maximum(np.abs(expected[finite]), 1e-2)
    assert np.mean(error <= 2.0**-6 * scale) > 0.95


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """The numbers of the library in use, which other tests compare with PyTorch."""
    folder = tmp_path_factory.mktemp("native")
    return results(folder, linked("g++", load().path.parent, folder / "program"))


def test_every_instruction_set_agrees(expected):
    slowest = expected[load().isas[-1]]
    for isa, values in expected.items():
        if not isa.endswith("bf16"):
            same(values, slowest)
            continue
        # The second half is of networks in the fast mode, which only this one rounds to bfloat16.
        half = len(values) // 2
        same(values[:half], slowest[:half])
        rounded(values[half:], slowest[half:])


@pytest.fixture(scope="module")
def assembly(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the compiler makes of the peak's loop and of asking for memory, for AVX2."""
    folder = tmp_path_factory.mktemp("assembly")
    source, target = folder / "source.cpp", folder / "source.s"
    source.write_text(
        '#include "encoder.h"\n#include "peak.h"\n'
        "double peak(int64_t rounds) { return multiply_add(rounds, false); }\n"
        "void ask(const AmgsrnNetwork& n, int32_t* node, int step) {\n"
        "  Cells cells = {};\n"
        "  cells.node = node;\n"
        "  prefetch<false>(Layout(n), n.nodes, cells, step);\n"
        "}\n"
    )
    command = ["g++", "-S", "-std=gnu++17", "-O3", "-mavx2", "-mfma", "-ffp-contract=fast", "-w"]
    subprocess.run([*command, f"-I{SOURCES / 'src'}", source, "-o", target], check=True)
    return target.read_text()


X86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="no x86-64 processor")


@X86
def test_the_peak_is_of_sums_that_do_not_wait_for_each_other(assembly):
    assert assembly.count("\tvfmadd") >= 12


@X86
def test_memory_that_is_asked_for_early_is_asked_for(assembly):
    assert assembly.count("\tprefetcht0") >= 4


@pytest.mark.skipif(shutil.which("clang++") is None, reason="no clang here")
def test_clang_agrees(expected, tmp_path):
    found = results(tmp_path, built("clang++", tmp_path / "build"))
    assert set(found) == set(expected)
    for isa, values in found.items():
        same(values, expected[isa])


@pytest.mark.skipif(platform.machine() == "aarch64", reason="this is an Arm processor")
@pytest.mark.skipif(shutil.which("aarch64-linux-gnu-g++") is None, reason="no compiler for Arm")
@pytest.mark.skipif(shutil.which("qemu-aarch64") is None, reason="no emulator of Arm")
def test_an_arm_processor_agrees(expected, tmp_path):
    options = ["-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64"]
    program = built("aarch64-linux-gnu-g++", tmp_path / "build", *options)
    found = results(tmp_path, "qemu-aarch64", "-L", "/usr/aarch64-linux-gnu", program)
    assert set(found) == {"generic"}
    same(found["generic"], expected[load().isas[-1]])
