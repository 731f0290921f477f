"""Train with a model of tiny-cuda-nn's arithmetic, at the default batch, beside the reference.

python tests/benchmarks/tcnn_training.py [--iterations 200] [--batch 65536]

Prints the losses' means over the last tenth, and the largest gradient of a weight as it was summed
in half precision, which ends at 65504. Some ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from support import tcnn_on_cpu
from support.tcnn_on_cpu import FIELDS, losses

KINDS = ("reference", "nudged", "float32", "half")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--batch", type=int, default=65536)
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    options = parser.parse_args()
    for name in FIELDS:
        row = [name]
        for kind in options.kinds:
            tcnn_on_cpu.largest_sum = 0.0
            found = losses(name, kind, options.batch, options.iterations)
            last = torch.tensor(found[-max(1, options.iterations // 10) :]).mean()
            row.append(f"{kind} {float(last):.4e} (sum {tcnn_on_cpu.largest_sum:.0f})")
        print("  ".join(row), flush=True)


if __name__ == "__main__":
    main()
