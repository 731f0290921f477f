"""The number of a process on its computer, as the launchers of parallel programs tell it."""

from __future__ import annotations

import pytest

from amgsrn_core.system.local_rank import local_rank, local_size

# Variables as these launchers set them for the third of four ranks on the second computer.
LAUNCHERS = {
    "Open MPI": {
        "OMPI_COMM_WORLD_RANK": "6",
        "OMPI_COMM_WORLD_LOCAL_RANK": "2",
        "OMPI_COMM_WORLD_LOCAL_SIZE": "4",
    },
    "MPICH": {"PMI_RANK": "6", "MPI_LOCALRANKID": "2", "MPI_LOCALNRANKS": "4"},
    "MVAPICH2": {"MV2_COMM_WORLD_LOCAL_RANK": "2", "MV2_COMM_WORLD_LOCAL_SIZE": "4"},
    "PALS": {"PALS_RANKID": "6", "PALS_LOCAL_RANKID": "2", "PALS_LOCAL_SIZE": "4"},
    "srun": {
        "SLURM_PROCID": "6",
        "SLURM_LOCALID": "2",
        "SLURM_NODEID": "1",
        "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
        "SLURM_TASKS_PER_NODE": "8(x2)",
    },
}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_each_launcher_is_understood(launcher):
    assert (local_rank(LAUNCHERS[launcher]), local_size(LAUNCHERS[launcher])) == (2, 4)


def test_ranks_of_mpiexec_in_a_job_of_slurm_are_those_of_mpiexec():
    job = {"SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_TASKS_PER_NODE": "64"}
    assert local_rank({**job, **LAUNCHERS["Open MPI"]}) == 2
    assert local_size({**job, **LAUNCHERS["Open MPI"]}) == 4
    # Who tells the rank but not the number of them is not completed by the job's own number.
    assert local_size({**job, "FLUX_TASK_LOCAL_ID": "1"}) is None


def test_cyclic_tasks_on_uneven_nodes():
    nodes = {"SLURM_LOCALID": "1", "SLURM_TASKS_PER_NODE": "4(x2),3"}
    assert [local_size({**nodes, "SLURM_NODEID": str(n)}) for n in range(4)] == [4, 4, 3, None]


@pytest.mark.parametrize("text", ["", "many", "4(x", "-3"])
def test_what_is_no_number_counts_as_not_told(text):
    environment = {"SLURM_LOCALID": text, "SLURM_TASKS_PER_NODE": text, "MPI_LOCALNRANKS": text}
    assert (local_rank(environment), local_size(environment)) == (None, None)
