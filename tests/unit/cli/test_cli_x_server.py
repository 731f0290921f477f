"""Virtual X servers: numbers that are taken, displays that let somebody in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from amgsrn_core.cli import x_server
from amgsrn_core.cli.x_server import is_reachable, virtual_display

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("Xvfb") is None, reason="Xvfb is missing"
)


@pytest.fixture
def drawn(monkeypatch):
    """Numbers that are drawn one after the other, and two that are free."""
    free = [x_server._FIRST + x_server.secrets.randbelow(9000) for _ in range(2)]
    numbers = []
    monkeypatch.setattr(
        x_server.secrets, "randbelow", lambda limit: numbers.pop(0) - x_server._FIRST
    )
    return numbers, free


def display_of(variables):
    return int(variables["DISPLAY"][1:])


def test_a_display_is_for_those_who_have_its_cookie(tmp_path, monkeypatch):
    with virtual_display(tmp_path) as variables:
        monkeypatch.setenv("XAUTHORITY", variables["XAUTHORITY"])
        assert is_reachable(variables["DISPLAY"])
        assert Path(f"/tmp/.X{display_of(variables)}-lock").exists()
        monkeypatch.setenv("XAUTHORITY", os.devnull)
        assert not is_reachable(variables["DISPLAY"])
    monkeypatch.setenv("XAUTHORITY", variables["XAUTHORITY"])
    assert not is_reachable(variables["DISPLAY"])


def test_a_number_that_a_server_has_locked_is_not_taken(tmp_path, drawn):
    numbers, (first, second) = drawn
    (tmp_path / "other").mkdir()
    numbers += [first, first, second]
    with virtual_display(tmp_path) as one, virtual_display(tmp_path / "other") as other:
        assert [display_of(one), display_of(other)] == [first, second]


def test_a_number_that_a_server_has_without_a_lock_is_given_up(tmp_path, drawn):
    numbers, (first, second) = drawn
    numbers += [first, second]
    reader, writer = os.pipe()
    with os.fdopen(reader) as pipe:
        server = subprocess.Popen(
            ["Xvfb", f":{first}", "-displayfd", str(writer), "-nolisten", "tcp"],
            pass_fds=[writer],
            stderr=subprocess.DEVNULL,
        )
        os.close(writer)
        try:
            assert pipe.readline()
            with virtual_display(tmp_path) as variables:
                assert display_of(variables) == second
        finally:
            server.terminate()
            server.wait(20)


def test_a_server_that_ends_at_once_is_replaced(tmp_path, monkeypatch):
    real, fake = shutil.which("Xvfb"), tmp_path / "path" / "Xvfb"
    fake.parent.mkdir()
    fake.write_text(
        f"#!/bin/sh\necho >>{tmp_path}/starts\n"
        f'[ "$(wc -l <{tmp_path}/starts)" -lt 3 ] && exit 1\nexec {real} "$@"\n'
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    with virtual_display(tmp_path) as variables:
        assert variables is not None
    assert len((tmp_path / "starts").read_text()) == 3


def test_a_display_goes_with_the_block(tmp_path):
    with virtual_display(tmp_path) as variables:
        lock = Path(f"/tmp/.X{display_of(variables)}-lock")
        assert lock.exists()
    end = time.monotonic() + 10
    while lock.exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not lock.exists()
