"""Train a model in bricks on workers that dask-jobqueue submits to Slurm as they are needed.

    python scripts/slurm/train_jobqueue.py plume.nc -o plume.amgsrn --brick-voxels 134217728 \\
        --queue gpu --gpus 8

Needs dask-jobqueue beside this package's extra `cluster`. Every worker is a Slurm job with one GPU
(or with --gpus 0, with cores only); lost ones are replaced. Run it on a login node inside tmux, or
as a small job of its own. Interrupted, the same command goes on.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from dask_jobqueue import SLURMCluster


def main() -> int:
    """Start the workers, train, and let them go."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queue", help="Slurm partition")
    parser.add_argument("--account")
    parser.add_argument("--gpus", type=int, default=4, help="workers with a GPU each")
    parser.add_argument("--workers", type=int, default=16, help="workers when there are no GPUs")
    parser.add_argument("--cores", type=int, default=4, help="of each worker")
    parser.add_argument("--memory", default="16GB", help="of each worker")
    parser.add_argument("--time", default="02:00:00", help="of each worker's job")
    own, training = parser.parse_known_args()
    cluster = SLURMCluster(
        queue=own.queue,
        account=own.account,
        cores=1,  # of Dask: one brick at a time
        processes=1,
        memory=own.memory,
        walltime=own.time,
        job_cpu=own.cores,
        job_extra_directives=["--gres=gpu:1"] if own.gpus else [],
        job_script_prologue=[f"export OMP_NUM_THREADS={own.cores} OMP_WAIT_POLICY=PASSIVE"],
    )
    with cluster:
        cluster.scale(own.gpus or own.workers)
        command = [sys.executable, "-m", "amgsrn_core.cli", "train", *training]
        return subprocess.run([*command, "--scheduler", cluster.scheduler_address]).returncode


if __name__ == "__main__":
    sys.exit(main())
