"""No kernel touches memory that is not its own, says the address sanitizer."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest
from support.paths import ROOT


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ here")
def test_the_address_sanitizer_finds_nothing(tmp_path):
    folder = ROOT / "amgsrn_core" / "kernels" / "src"
    common = ["g++", "-std=gnu++17", "-O1", "-g", "-fsanitize=address,undefined", "-Wno-psabi"]
    common += ["-fno-sanitize-recover=all", f"-I{folder}", "-c"]
    isas = {"generic": []}
    if platform.machine() == "x86_64":
        wide = ["-mavx2", "-mfma", "-mbmi2"]
        more = [f"-mavx512{part}" for part in ("f", "bw", "cd", "dq", "vl")]
        # Products of bfloat16 numbers are emulated in one of them.
        isas = {"sse2": ["-DAMGSRN_BF16_EMULATED"], "avx2": wide, "avx512": wide + more}
    builds = [
        [*flags, f"-DAMGSRN_ISA={isa}", str(folder / "kernels.cpp")] for isa, flags in isas.items()
    ]
    builds += [[str(path)] for path in (folder / "library.cpp", folder / "pool.cpp")]
    builds += [[str(Path(__file__).with_name("kernels_memory.cpp"))]]
    objects = [str(tmp_path / f"{number}.o") for number in range(len(builds))]
    for options, target in zip(builds, objects):
        subprocess.run([*common, *options, "-o", target], check=True)
    program = str(tmp_path / "check")
    subprocess.run(
        ["g++", "-fsanitize=address,undefined", *objects, "-lpthread", "-o", program], check=True
    )
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
    result = subprocess.run(
        [program], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr[-4000:]
    assert result.stdout.split()
