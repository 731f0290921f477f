"""Workers of one computer that were started alike take different GPUs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from amgsrn_core.errors import DeviceError
from amgsrn_core.execution import own_device as module

# A worker as a cluster starts it: it is told all GPUs, and nothing about the other workers. It says
# which one it takes, and keeps it until its input ends. GPUs are stood in for by names.
WORKER = """
import sys, torch
from amgsrn_core.execution import own_device as module
from amgsrn_core.errors import DeviceError
def select_device(name, training):
    if name == sys.argv[2]:
        raise DeviceError(f"There is no device {name}.")
    return torch.device(name)
module.select_device = select_device
print(module.own_device(sys.argv[1]), flush=True)
sys.stdin.read()
"""


def start(folder: Path, names: str, broken: str = "") -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, names, broken],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"TMPDIR": str(folder), "OMP_NUM_THREADS": "1"},
    )
    return process


def taken(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_each_worker_takes_a_gpu_of_its_own_until_it_ends(tmp_path):
    names = "cuda:0,cuda:1,cuda:2"
    workers = [start(tmp_path, names) for _ in range(3)]
    found = [taken(worker) for worker in workers]
    try:
        assert sorted(found) == ["cuda:0", "cuda:1", "cuda:2"]
        # With one more than GPUs, one GPU has two.
        more = start(tmp_path, names)
        assert taken(more) in found
        more.communicate("")
        workers[1].kill()
        workers[1].wait()
        successor = start(tmp_path, names)
        assert taken(successor) == found[1]
        successor.communicate("")
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


def test_a_broken_gpu_is_passed_over(tmp_path):
    worker = start(tmp_path, "cuda:0,cuda:1", broken="cuda:0")
    assert taken(worker) == "cuda:1"
    worker.communicate("")


def test_one_device_needs_no_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(module.tempfile, "gettempdir", lambda: str(tmp_path))
    module.own_device.cache_clear()
    assert module.own_device("cpu") == torch.device("cpu")
    assert not list(tmp_path.iterdir())


def test_no_device_at_all_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(module.tempfile, "gettempdir", lambda: str(tmp_path))
    module.own_device.cache_clear()
    if torch.cuda.is_available():
        pytest.skip("there are GPUs here")
    with pytest.raises(DeviceError, match=r"None of the devices 'cuda:0,cuda:1'"):
        module.own_device("cuda:0,cuda:1")
