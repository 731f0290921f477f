"""nerfacc's operators are built on request only, one process at a time, and never waited for."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path

import pytest

from amgsrn_core.errors import ConfigurationError
from amgsrn_core.rendering import nerfacc_operators

# A compiler that notes that it was called, works for a moment, and fails.
NVCC = """#!/bin/sh
echo nvcc >> {folder}/calls
[ -e {folder}/slow ] && sleep 600
exit 1
"""


@pytest.fixture
def toolkit(tmp_path: Path, monkeypatch) -> Path:
    """A CUDA toolkit that cannot build anything, and a folder for what PyTorch builds."""
    (tmp_path / "bin").mkdir()
    compiler = tmp_path / "bin" / "nvcc"
    compiler.write_text(NVCC.format(folder=tmp_path))
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "extensions"))
    monkeypatch.setattr(nerfacc_operators.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(nerfacc_operators.torch.version, "cuda", "13.0")
    nerfacc_operators.load.cache_clear()
    yield tmp_path
    nerfacc_operators.load.cache_clear()
    sys.modules.pop("nerfacc.cuda._backend", None)


def test_a_picture_builds_nothing(toolkit):
    assert nerfacc_operators.load() is False
    assert not (toolkit / "calls").exists()


def test_what_cannot_be_loaded_is_told_once_and_done_without(toolkit, caplog):
    nerfacc_operators.library().write_bytes(b"cut off")
    assert nerfacc_operators.load() is False and nerfacc_operators.load() is False
    assert caplog.text.count("cannot be loaded") == 1


def test_a_build_that_was_killed_is_not_waited_for(toolkit):
    nerfacc_operators.library().write_bytes(b"half")
    (nerfacc_operators.library().parent / "lock").touch()
    assert nerfacc_operators.load() is False


def test_operators_that_are_there_are_what_nerfacc_uses(toolkit, monkeypatch):
    built = types.ModuleType("nerfacc_cuda")
    built.ray_aabb_intersect = lambda *arguments: "built"
    monkeypatch.setattr(nerfacc_operators, "_compiled", lambda: built)
    assert nerfacc_operators.load() is True
    from nerfacc import cuda

    assert cuda.ray_aabb_intersect() == "built"
    assert not (toolkit / "calls").exists()


def test_a_build_that_fails_says_why_and_may_be_tried_again(toolkit):
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"cannot be built \(.+\).* do without"):
            nerfacc_operators.build(60)
    assert (toolkit / "calls").exists()


def test_a_left_over_lock_keeps_nobody_waiting(toolkit):
    folder = nerfacc_operators.library().parent
    (folder / "lock").touch()
    (folder / "build.ninja").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be built"):
        nerfacc_operators.build(60)


def test_a_build_that_takes_too_long_is_ended_with_its_compiler(toolkit):
    (toolkit / "slow").touch()
    with pytest.raises(ConfigurationError, match="more than 8 s"):
        nerfacc_operators.build(8)
    found = subprocess.run(["pgrep", "-f", str(toolkit / "bin")], capture_output=True, text=True)
    assert not found.stdout.strip()


def test_one_builds_at_a_time(toolkit):
    folder = nerfacc_operators.library().parent
    program = f"""
import os, sys
from amgsrn_core.system.run_folder import try_lock
handle = os.open({str(folder.with_name("nerfacc_cuda.amgsrn-lock"))!r}, os.O_RDWR | os.O_CREAT)
assert try_lock(handle)
print("locked", flush=True)
sys.stdin.read()
"""
    other = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None and other.stdout.readline() == "locked\n"
    try:
        with pytest.raises(ConfigurationError, match="Another process is building"):
            nerfacc_operators.build(1)
        assert not (toolkit / "calls").exists()
    finally:
        other.communicate("")
    # What the other one has built is taken as it is.
    nerfacc_operators.library().touch()
    nerfacc_operators.build(60)
    assert not (toolkit / "calls").exists()
