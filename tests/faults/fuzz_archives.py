"""Reads any number of damaged model files, and keeps those that the library does not cope with.

    .venv/bin/python tests/faults/fuzz_archives.py --count 100000 --processes 2

Each file is opened, described, verified, sampled, reconstructed and rendered in a process with a
limit on its memory. Nothing but the library's own errors may come of it: another exception, a
crash, more than --seconds or more than --memory are failures. Their files are kept with a note
beside them, and the exit status is 1. The same --seed makes the same files.
"""

from __future__ import annotations

import argparse
import os
import resource
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.path.insert(0, str(Path(__file__).parents[1]))

from support.archive_mutations import intact_models, mutation, use

# What a worker tells: the number of the file in its hands, how many were used without complaint,
# and the most memory that one took, in KiB.
_STATE = struct.Struct("<qqq")

# Other programs may share the cores: so many times the CPU time may pass.
_PATIENCE = 30


def main() -> int:
    """Share the numbers among processes, and replace those that die or hang."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--count", type=int, default=1000, help="how many files")
    parser.add_argument("--first", type=int, default=0, help="number of the first")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20.0, help="most CPU time for a file")
    parser.add_argument("--memory", type=int, default=1 << 30, help="most bytes for a file")
    parser.add_argument("--keep", type=Path, default=Path("build/fuzz"), help="folder of failures")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.keep.mkdir(parents=True, exist_ok=True)
    if arguments.worker:
        return _work(arguments)
    before = set(arguments.keep.glob("*.txt"))
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        lanes = [_Lane(arguments, k, Path(folder) / str(k)) for k in range(arguments.processes)]
        try:
            while sum(lane.goes_on() for lane in lanes):  # each has to be looked at
                time.sleep(0.5)
        finally:
            for lane in lanes:
                lane.end()
    used = sum(lane.used for lane in lanes)
    failures = sorted(set(arguments.keep.glob("*.txt")) - before)
    print(
        f"{arguments.count} files in {time.perf_counter() - started:.0f} s: {used} were used, "
        f"{arguments.count - used - len(failures)} refused in part or at all, {len(failures)} "
        f"failures; a file took {max(lane.memory for lane in lanes) / 1024:.0f} MiB at most"
    )
    for path in failures:
        print(f"{path}: {path.read_text().strip().splitlines()[-1]}")
    return 1 if failures else 0


class _Lane:
    """One process after the other that goes through every n-th number."""

    def __init__(self, arguments: argparse.Namespace, number: int, state: Path) -> None:
        self._arguments, self._path = arguments, state
        self._next = arguments.first + number
        self._end = arguments.first + arguments.count
        self._step = arguments.processes
        self.used = self.memory = self._before = 0
        self._start()

    def goes_on(self) -> bool:
        """Look after the process, and return whether there is more to do."""
        if self._next >= self._end:
            return False
        status = self._process.poll()
        current, used, memory = self._read()
        self.memory = max(self.memory, memory)
        self.used = self._before + used
        if status == 0:
            self._next = self._end
            return False
        if status is None and not self._hangs(current):
            return True
        # Also a start that takes too long, or fails, ends here: the number is then the first.
        self.end()
        text = f"the process died with status {status}" if status else "it did not end"
        _keep(self._arguments, current, text)
        self._next, self._before = current + self._step, self.used
        if self._next < self._end:
            self._start()
        return self._next < self._end

    def _start(self) -> None:
        self._path.write_bytes(_STATE.pack(self._next, 0, 0))
        same = ("seed", "seconds", "memory", "keep")
        options = [f"--{name}={getattr(self._arguments, name)}" for name in same]
        # The step travels as the number of processes.
        options += [f"--first={self._next}", f"--processes={self._step}"]
        options += [f"--count={self._end - self._next}", f"--worker={self._path}"]
        self._process = subprocess.Popen([sys.executable, __file__, *options])
        # Imports take a while.
        self._last, self._since, self._cpu = self._next, time.perf_counter(), 60.0

    def _hangs(self, current: int) -> bool:
        """Return whether the process is too long at one file, by its CPU time or by far."""
        cpu = _cpu_seconds(self._process.pid)
        if current != self._last:
            self._last, self._since, self._cpu = current, time.perf_counter(), cpu
        waited = time.perf_counter() - self._since
        return max(cpu - self._cpu, waited / _PATIENCE) > self._arguments.seconds

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()

    def _read(self) -> tuple[int, int, int]:
        return _STATE.unpack(self._path.read_bytes()[: _STATE.size])


def _work(arguments: argparse.Namespace) -> int:
    """Go through the numbers of one process."""
    warnings.simplefilter("ignore")
    used = most = 0
    shared = "/dev/shm" if os.path.isdir("/dev/shm") else None
    made = tempfile.TemporaryDirectory(dir=shared)
    with made as folder, open(arguments.worker, "r+b", 0) as state:
        intact = intact_models(Path(folder))
        path = Path(folder) / "model.amgsrn"
        for data in intact.values():  # everything is loaded now, and its memory not counted
            path.write_bytes(data)
            if complaints := use(path):
                raise complaints[0]
        usual = _memory("VmRSS")
        room = 1024 * _memory("VmSize") + arguments.memory
        resource.setrlimit(resource.RLIMIT_AS, (room, room))
        stop = arguments.first + arguments.count
        for number in range(arguments.first, stop, arguments.processes):
            state.seek(0)
            state.write(_STATE.pack(number, used, most))
            _, data = mutation(intact, arguments.seed, number)
            path.write_bytes(data)
            _forget_peak()
            try:
                used += not use(path)
            except Exception:
                _keep(arguments, number, traceback.format_exc())
            memory = _memory("VmHWM") - usual
            most = max(most, memory)
            if 1024 * memory > arguments.memory:
                _keep(arguments, number, f"it took {memory / 1024:.0f} MiB")
        state.seek(0)
        state.write(_STATE.pack(stop, used, most))
    return 0


def _keep(arguments: argparse.Namespace, number: int, text: str) -> None:
    """Keep a file, and what happened with it."""
    with tempfile.TemporaryDirectory() as folder:
        kind, data = mutation(intact_models(Path(folder)), arguments.seed, number)
    name = arguments.keep / f"{kind}-{arguments.seed}-{number}"
    name.with_suffix(".amgsrn").write_bytes(data)
    name.with_suffix(".txt").write_text(f"{text}\n")


def _memory(name: str) -> int:
    """Return a number of KiB that Linux knows of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise OSError(f"no {name} in /proc/self/status")


def _cpu_seconds(process: int) -> float:
    """Return the CPU time of a process; 0 if it has ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    sys.exit(main())
