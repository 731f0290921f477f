"""Measure ensembles: seams, quality against one network, memory, routing, overhead, scheduling.

    python tests/benchmarks/ensembles.py WHAT... [--volume FILE] [--folder DIR] [--iterations N]

WHAT is any of seam, sizes, quality, memory, start, routing, overhead, scheduling. Results are JSON
lines. Times are processor time where several programs share a machine, unless the name says
otherwise.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from amgsrn_core import NeuralVolume, open_volume, train
from amgsrn_core.config import BrickConfig, DispatchConfig, NetworkConfig, TrainingConfig
from amgsrn_core.execution.local import LocalExecutor, WorkerSlot
from amgsrn_core.execution.runner import Policy, Runner
from amgsrn_core.model import BrickRecord, ModelIndex, SourceRecord, parameter_shapes
from amgsrn_core.training import Command
from amgsrn_core.volume import GridGeometry
from amgsrn_core.volume.netcdf.library import import_netcdf4
from amgsrn_core.volume.partition import partition

SIDE = 1024
TINY = NetworkConfig(grids=4, features=2, grid_shape=(8, 8, 8), layers=2, width=16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="+", choices=sorted(BENCHMARKS))
    parser.add_argument("--volume", help="file for seam and quality")
    parser.add_argument("--folder", default=tempfile.gettempdir(), help="for what is written")
    parser.add_argument("--iterations", type=int, default=2000)
    parser.add_argument("--ghosts", default="0,1,2,4", help="for seam")
    parser.add_argument("--seed", type=int, default=0, help="for seam")
    arguments = parser.parse_args()
    for what in arguments.what:
        result = BENCHMARKS[what](arguments)
        print(json.dumps({"benchmark": what, **result}), flush=True)


def quality(arguments: argparse.Namespace) -> dict[str, Any]:
    """One network against 8 bricks with as many parameters, iterations and points together."""
    volume = open_volume(arguments.volume)
    training = TrainingConfig(iterations=arguments.iterations, batch=32768, device="cpu")
    small = NetworkConfig(grids=16, grid_shape=(8, 8, 8), width=64)
    large = NetworkConfig(grids=16, grid_shape=(16, 16, 16), width=64)
    folder = Path(arguments.folder)
    results = {}
    for name, network, bricks, batch in (
        ("one", large, (1, 1, 1), training.batch),
        ("eight", small, (2, 2, 2), training.batch // 8),
        ("eight, full batches", small, (2, 2, 2), training.batch),
    ):
        path = folder / f"quality-{name.replace(', ', '-').replace(' ', '-')}.amgsrn"
        config = TrainingConfig(iterations=training.iterations, batch=batch, device="cpu")
        outcome = train(volume, path, network, config, None, BrickConfig(bricks), restart=True)
        model = NeuralVolume.open(path, device="cpu")
        psnr, _ = against(model, volume.read().values)
        results[name] = {
            "psnr": psnr,
            "parameters": model.n_parameters,
            "bytes": path.stat().st_size,
            "wall_seconds": outcome.seconds,
        }
    return results


def sizes(arguments: argparse.Namespace) -> dict[str, Any]:
    """Equal networks against networks that follow their bricks' complexity, on given volumes.

    The field `plume` is a plume in still air: it is empty in most places.
    """
    volumes = {"plume": plume()}
    if arguments.volume:
        volumes[Path(arguments.volume).stem] = open_volume(arguments.volume)
    network = NetworkConfig(grids=8, grid_shape=(8, 8, 8), width=32)
    results: dict[str, Any] = {}
    for name, volume in volumes.items():
        for kind in ("equal", "complexity"):
            for seed in (0, 1):
                training = TrainingConfig(
                    iterations=arguments.iterations, batch=4096, device="cpu", seed=seed
                )
                path = Path(arguments.folder) / f"sizes-{name}-{kind}.amgsrn"
                bricks = BrickConfig((3, 3, 3), ghost=1, sizes=kind)
                outcome = train(volume, path, network, training, None, bricks, restart=True)
                found = results.setdefault(f"{name}, {kind}", {"psnr": []})
                found["psnr"].append(round(outcome.psnr, 2))
                found["bytes"] = path.stat().st_size
                found["parameters"] = NeuralVolume.open(path, device="cpu").n_parameters
    return results


def plume(side: int = 96) -> Any:
    """Return a turbulent plume that rises from the middle of the ground, 0 elsewhere."""
    from amgsrn_core import volume_from_array

    z, y, x = np.meshgrid(*[np.linspace(-1, 1, side)] * 3, indexing="ij")
    height = (z + 1) / 2
    radius = np.hypot(x - 0.15 * np.sin(4 * z), y - 0.1 * np.cos(5 * z))
    puffs = 0.6 + 0.4 * np.sin(23 * x + 9 * z) * np.sin(19 * y - 7 * z) * np.cos(17 * z)
    values = puffs * np.exp(-((radius / (0.08 + 0.22 * height)) ** 4)) * (1 - height) ** 0.5
    values[values < 1e-3] = 0.0
    return volume_from_array(values.astype(np.float32), name="plume")


def seam(arguments: argparse.Namespace) -> dict[str, Any]:
    """The largest jump of the field across brick faces, and the mean absolute error inside."""
    volume = open_volume(arguments.volume)
    values = volume.read().values
    network = NetworkConfig(grids=16, grid_shape=(8, 8, 8), width=64)
    training = TrainingConfig(
        iterations=arguments.iterations, batch=4096, device="cpu", seed=arguments.seed
    )
    results = {}
    for ghost in map(int, arguments.ghosts.split(",")):
        path = Path(arguments.folder) / f"seam-{ghost}.amgsrn"
        bricks = BrickConfig((2, 2, 2), ghost=ghost)
        train(volume, path, network, training, None, bricks, restart=True)
        model = NeuralVolume.open(path, device="cpu")
        psnr, mean_error = against(model, values)
        jumps = face_jumps(model, 1e-4)
        kinks = face_kinks(model)
        results[f"ghost {ghost}"] = {
            "psnr": psnr,
            "mean_error": mean_error,
            "largest_jump": jumps,
            "jump_ratio": jumps / mean_error,
            "slope_change_at_faces": kinks[0],
            "slope_change_elsewhere": kinks[1],
        }
    return results


def against(model: NeuralVolume, values: np.ndarray) -> tuple[float, float]:
    """Return PSNR and mean absolute error at the voxels."""
    decoded = model.reconstruct_block().values
    error = np.abs(decoded.astype(np.float64) - values)
    return -20 * math.log10(math.sqrt((error**2).mean()) / np.ptp(values)), float(error.mean())


def cuts_of(model: NeuralVolume) -> list[tuple[int, float]]:
    """Return where bricks meet: the axis (x 0, y 1, z 2) and the index coordinate."""
    found = {
        (2 - axis, brick.extent[axis].start - 0.5)
        for brick in model.index.bricks
        for axis in range(3)
        if brick.extent[axis].start
    }
    return sorted(found)


def face_jumps(model: NeuralVolume, step: float) -> float:
    """Return the largest difference over `step` voxels across the brick faces."""
    random = np.random.default_rng(0)
    last = np.array(model.geometry.dims[::-1]) - 1.0
    largest = 0.0
    for axis, cut in cuts_of(model):
        points = random.random((100_000, 3)) * last
        move = np.zeros(3)
        move[axis] = step / 2
        points[:, axis] = cut
        difference = model.sample_index(points + move) - model.sample_index(points - move)
        largest = max(largest, float(np.abs(difference).max()))
    return largest


def face_kinks(model: NeuralVolume) -> tuple[float, float]:
    """Return the root mean square change of slope over a voxel, at faces and elsewhere."""
    random = np.random.default_rng(1)
    last = np.array(model.geometry.dims[::-1]) - 1.0

    def change(axis: int, at: np.ndarray | float) -> np.ndarray:
        points = 2 + random.random((50_000, 3)) * (last - 4)
        points[:, axis] = at
        move = np.zeros(3)
        move[axis] = 1.0
        left, middle, right = (model.sample_index(points + k * move) for k in (-1, 0, 1))
        return left - 2 * middle + right

    cuts = cuts_of(model)
    here = np.concatenate([change(axis, cut) for axis, cut in cuts])
    places = [(axis, 2 + random.random(50_000) * (last[axis] - 4)) for axis, _ in cuts]
    there = np.concatenate([change(axis, at) for axis, at in places])
    return float(np.sqrt((here**2).mean())), float(np.sqrt((there**2).mean()))


def routing(arguments: argparse.Namespace) -> dict[str, Any]:
    """2^20 random points in 4,096 bricks, against the same in one of them."""
    random = np.random.default_rng(0)
    places = random.random((1 << 20, 3))
    one = untrained((16, 16, 16), (1, 1, 1), 1)
    seconds = {"one": best(lambda: one.sample(places * 15))}
    for ghost in (1, 2):
        many = untrained((256, 256, 256), (16, 16, 16), ghost)
        many.sample(places[:200_000] * 255)
        seconds[f"ghost {ghost}"] = best(lambda many=many: many.sample(places * 255))
    ratios = {f"ratio {k}": v / seconds["one"] for k, v in seconds.items() if k != "one"}
    return {**seconds, **ratios}


def untrained(dims: tuple[int, int, int], counts: tuple[int, int, int], ghost: int) -> NeuralVolume:
    """Return a model of tiny random networks."""
    records = [BrickRecord(b.extent, b.ghosted) for b in partition(dims, counts, ghost)]
    random = np.random.default_rng(0)
    state = {
        name: random.normal(0, 0.3, shape).astype(np.float32)
        for name, shape in parameter_shapes(TINY, 1).items()
    }
    state["transforms"] = np.tile(np.eye(3, 4, dtype=np.float32), (TINY.grids, 1, 1))
    index = ModelIndex(
        name="x",
        components=("x",),
        units=("",),
        geometry=GridGeometry.uniform(dims),
        value_minimum=(0.0,),
        value_maximum=(1.0,),
        network=TINY,
        bricks=tuple(records),
        source=SourceRecord("x", "float32", 4 * math.prod(dims)),
    )
    return NeuralVolume(index, [state] * len(records), device="cpu", memory_limit=8 << 30)


def best(work: Callable[[], Any], repetitions: int = 3) -> float:
    """Return the least processor time of some repetitions."""
    seconds = []
    for _ in range(repetitions + 1):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return min(seconds[1:])


def memory(arguments: argparse.Namespace) -> dict[str, Any]:
    """A file of 4.3 GB in 64 bricks: each worker's memory, and the wait for the first iteration.

    The run is stopped when each worker has done two bricks: the others are alike.
    """
    output, command = large_run(arguments)
    torch_alone = int(
        subprocess.run(
            [sys.executable, "-c", "import torch, resource; "
             "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"],
            capture_output=True, text=True, check=True,
        ).stdout
    )  # fmt: skip
    shutil.rmtree(f"{output}.parts", ignore_errors=True)
    Path(f"{output}.jsonl").unlink(missing_ok=True)
    start, began = time.monotonic(), time.time()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    first, peak = math.nan, {}
    while process.poll() is None:
        for file in Path(f"{output}.parts").glob("brick-*/status.json"):
            try:
                status = json.loads(file.read_text())
                lines = Path(f"/proc/{status['pid']}/status").read_text().splitlines()
            except (OSError, ValueError, KeyError):
                continue
            high = next((line for line in lines if line.startswith("VmHWM")), "0 0")
            peak[status["pid"]] = max(peak.get(status["pid"], 0), int(high.split()[1]))
            if first != first and (status["iteration"] or status["phase"] == "training"):
                first = time.monotonic() - start
        if len(list(Path(f"{output}.parts").glob("brick-*/brick.amgsrn"))) >= 4:
            process.terminate()
            process.wait()
        time.sleep(0.02)
    events = [json.loads(line) for line in Path(f"{output}.jsonl").read_text().splitlines()]
    (opened,) = (event["time"] - began for event in events if event["event"] == "started")
    phases = next(event["phases"] for event in events if event["event"] == "brick")
    return {
        "status": process.returncode,
        "wall_seconds_to_first_iteration": first,
        "wall_seconds_to_first_task": opened,
        "wall_seconds_to_phases_of_first_brick": {k: v - began for k, v in phases.items()},
        "wall_seconds": time.monotonic() - start,
        "worker_peak_mb": [round(kb / 1024) for kb in peak.values()],
        "torch_alone_mb": round(torch_alone / 1024),
        "parent_peak_mb": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024),
    }


def start(arguments: argparse.Namespace) -> dict[str, Any]:
    """The same file: wall seconds from the command to the first iteration, phase by phase."""
    output, command = large_run(arguments)
    shutil.rmtree(f"{output}.parts", ignore_errors=True)
    began = time.time()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    phases: dict[str, float] = {}
    seconds = math.nan
    while "training" not in phases and process.poll() is None:
        time.sleep(0.02)
        for file in Path(f"{output}.parts").glob("brick-*/status.json"):
            try:
                status = json.loads(file.read_text())
                phases = max(phases, status["phases"], key=len)
                seconds = processor_seconds(process.pid) + processor_seconds(status["pid"])
            except (OSError, ValueError, KeyError):
                continue
    process.terminate()
    process.wait()
    return {
        **{f"wall_seconds_to_{phase}": at - began for phase, at in phases.items()},
        "seconds_of_command_and_one_worker": seconds,
    }


def processor_seconds(pid: int) -> float:
    """Return the processor time that a process has taken so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def large_run(arguments: argparse.Namespace) -> tuple[Path, list[str]]:
    """Return the model and the command of a run over 64 bricks of a file of 4.3 GB."""
    path = Path(arguments.folder) / "synthetic-1024.nc"
    if not path.exists():
        write_synthetic(path)
    output = Path(arguments.folder) / "synthetic-1024.amgsrn"
    command = [
        *(sys.executable, "-m", "amgsrn_core.cli", "train", str(path), "-o", str(output)),
        *("--bricks", "4,4,4", "--grid-shape", "8,8,8", "--devices", "cpu"),
        *("--iterations", "20", "--batch", "16384"),
        *("--restart", "--log", str(output) + ".jsonl"),
    ]
    return output, command


def write_synthetic(path: Path) -> None:
    """Write a smooth field of SIDE^3 voxels, contiguous, slab by slab."""
    netcdf4 = import_netcdf4()
    axis = np.linspace(-1, 1, SIDE, dtype=np.float32)
    plane = np.sin(9 * axis)[:, None] * np.cos(7 * axis)[None, :]
    with netcdf4.Dataset(str(path), "w") as dataset:
        for name in "zyx":
            dataset.createDimension(name, SIDE)
        variable = dataset.createVariable("wave", "f4", ("z", "y", "x"), contiguous=True)
        for i in range(0, SIDE, 16):
            variable[i : i + 16] = plane + np.sin(11 * axis[i : i + 16])[:, None, None]


def overhead(arguments: argparse.Namespace) -> dict[str, Any]:
    """Wall seconds per brick beyond its training, two workers, after the first ones."""
    dims, count = (32, 32, 32 * 24), 24
    from amgsrn_core import volume_from_array
    from amgsrn_core.volume import write_volume

    path = Path(arguments.folder) / "overhead.nc"
    values = np.random.default_rng(0).random(dims, dtype=np.float32)
    volume = volume_from_array(values, name="noise")
    whole = volume.geometry.resolve()
    write_volume(path, [(whole, volume.read())], volume.geometry, name="noise")
    log = path.with_suffix(".jsonl")
    log.unlink(missing_ok=True)
    train(
        open_volume(path),
        path.with_suffix(".amgsrn"),
        TINY,
        TrainingConfig(iterations=1, batch=64, device="cpu"),
        None,
        BrickConfig((1, 1, count)),
        DispatchConfig(workers=2, log=str(log)),
        restart=True,
        observer=lambda progress: Command.CONTINUE,
    )
    events = [json.loads(line) for line in log.read_text().splitlines()]
    times = [event["time"] for event in events if event["event"] == "brick"]
    training = sum(event["seconds"] for event in events if event["event"] == "brick")
    each = (times[-1] - times[2]) / (len(times) - 3)
    return {"wall_seconds_per_brick": each, "of_these_training": training / count / 2}


def scheduling(arguments: argparse.Namespace) -> dict[str, Any]:
    """10,000 tasks that do nothing through the local executor."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.monotonic()
    policy: Policy[Any] = Policy(
        sign=lambda task: None, progress=lambda task: 0.0, again=lambda task, error: task
    )
    with LocalExecutor([WorkerSlot("cpu", 1)] * 2) as executor:
        runner = Runner(executor, str, ["done"] * 10_000, policy, lambda: 3)
        runner.run(lambda: True)
    assert len(runner.done) == 10_000
    return {
        "wall_seconds": time.monotonic() - start,
        "memory_growth_mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
    }


BENCHMARKS = {
    function.__name__: function
    for function in (memory, overhead, quality, routing, scheduling, seam, sizes, start)
}

if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    main()
