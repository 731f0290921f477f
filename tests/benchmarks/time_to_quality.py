"""How much sooner the kernels reach the quality of the original's recipe in PyTorch.

    python tests/benchmarks/time_to_quality.py neghip.nc

Trains the volume with PyTorch and the original's recipe and budget (2,000 iterations of 16,384
points), and then with the kernels and all defaults for more and more iterations until the PSNR is
at least the same (or --psnr). Seconds are those of the iterations; reading the volume and measuring
the PSNR are left out. The C library is told to keep freed memory, as in `amgsrn bench`.
"""

from __future__ import annotations

import argparse

from ablation import ORIGINAL, Options, measure

from amgsrn_core.cli.bench.setting import keep_freed_memory
from amgsrn_core.cli.doctor.machine import machine

_FIRST_ITERATIONS, _GROWTH = 40, 1.25


def main() -> None:
    """Run both, and print a line for each run and the ratio."""
    parser = argparse.ArgumentParser(description="Time until the original's PSNR.")
    parser.add_argument("volume", help="FILE.nc[:VARIABLE]")
    parser.add_argument("--iterations", type=int, default=2000, help="of the original's recipe")
    parser.add_argument("--batch", type=int, default=16384)
    parser.add_argument("--resolution", type=int, default=16, help="of each feature grid")
    parser.add_argument("--psnr", type=float, help="goal instead of the PSNR that PyTorch reaches")
    parser.add_argument("--seed", type=int, default=0)
    budget = parser.parse_args()
    budget.device = "cpu"
    keep_freed_memory()
    found = machine()
    print(f"{found['processor']}, {found['cores']} cores, torch {found['torch']}", flush=True)
    reference = _run("torch, original's recipe", budget, {**ORIGINAL, "backend": "torch"})
    goal = reference["psnr"] if budget.psnr is None else budget.psnr
    most, budget.iterations = budget.iterations, _FIRST_ITERATIONS
    while True:
        native = _run("native, default recipe", budget, {"backend": "native", "batch": 0})
        if native["psnr"] >= goal:
            break
        if budget.iterations > most:
            raise SystemExit(f"{goal:.2f} dB were not reached.")
        budget.iterations = round(budget.iterations * _GROWTH)
    ratio = reference["seconds"] / native["seconds"]
    print(f"{goal:.2f} dB: native needs {ratio:.0f} times less wall time")


def _run(name: str, budget: argparse.Namespace, options: Options) -> Options:
    figures = measure(budget.volume, options, budget, budget.seed)
    words = f"{budget.iterations} iterations, {figures['seconds']:.2f} s, {figures['psnr']:.2f} dB"
    print(f"{name}: {words}", flush=True)
    return figures


if __name__ == "__main__":
    main()
