#!/usr/bin/env bash
# Train a model in bricks on several nodes: a Dask scheduler, one worker per GPU (or per group of
# cores), and `amgsrn train`, all inside one Slurm job. What was done when the job's time is up is
# kept; submit it again to go on.
#
#     sbatch --nodes 4 --gpus-per-node 4 scripts/slurm/train_cluster.sh \
#         /project/plume.nc --variable density -o /project/plume.amgsrn --brick-voxels 134217728
#
#SBATCH --job-name=amgsrn
#SBATCH --time=04:00:00
#SBATCH --signal=B:TERM@180
# The last line: three minutes before the end the batch script is told, and stops cleanly.
set -euo pipefail

amgsrn=${AMGSRN:-amgsrn}              # of the environment to use, for example .venv/bin/amgsrn
python=${AMGSRN_PYTHON:-python3}
folder=${AMGSRN_CLUSTER_FOLDER:-$PWD} # seen by every node
cores=${AMGSRN_WORKER_CORES:-1}       # per worker, where there are no GPUs
file=$folder/scheduler-$SLURM_JOB_ID.json

if [[ -n ${SLURM_GPUS_ON_NODE:-} ]]; then
    tasks=$SLURM_GPUS_ON_NODE
    pin='export CUDA_VISIBLE_DEVICES=$SLURM_LOCALID;' # one GPU for each worker
else
    tasks=$((SLURM_CPUS_ON_NODE / cores))
    pin=
fi

"$python" -m distributed.cli.dask_scheduler --port 0 --no-dashboard --scheduler-file "$file" &
scheduler=$!
trap 'kill "$scheduler" 2>/dev/null || true; rm -f "$file"' EXIT
while [[ ! -e $file ]]; do sleep 1; done

# One thread of Dask each: a brick is one task, and PyTorch has threads of its own.
srun --ntasks-per-node "$tasks" --kill-on-bad-exit=0 bash -c "
    $pin export OMP_NUM_THREADS=$cores OMP_WAIT_POLICY=PASSIVE
    exec '$python' -m distributed.cli.dask_worker --scheduler-file '$file' --nthreads 1 \
        --no-dashboard --local-directory \"\${TMPDIR:-/tmp}\"" &

"$amgsrn" train "$@" --scheduler "$file" --log "$folder/amgsrn-$SLURM_JOB_ID.jsonl" &
training=$!
trap 'kill -TERM "$training"' TERM
status=0
wait "$training" || status=$?
wait "$training" 2>/dev/null || true # the signal interrupts the first wait
exit "$status"
