"""One class knows the files of a run by name, and the names stay what they were."""

from __future__ import annotations

import ast

from support.paths import ROOT

from amgsrn_core.system.run_folder import JobFolder, RunFolder, lease_file, live_file


def test_the_names_of_runs_begun_before_stay(tmp_path):
    run, job = RunFolder(tmp_path), JobFolder(tmp_path / "run-1")
    brick = tmp_path / "brick-0012"
    files = {
        run.lock_file: "lock",
        run.run_file: "run.json",
        run.command_file: "command",
        run.stop_file: "stop",
        run.log_file: "workers.log",
        run.step(3): "step-0003/step.amgsrn",
        run.checkpoint(12): "brick-0012/checkpoint.safetensors",
        run.checkpoints(brick)[1]: "brick-0012/checkpoint.safetensors.finetuning",
        run.status_file(12): "brick-0012/status.json",
        run.done(12): "brick-0012/brick.amgsrn",
        job.job_file: "run-1/job.json",
        job.status_file: "run-1/status.json",
        job.control_file: "run-1/control",
        job.log_file: "run-1/worker.log",
        lease_file(tmp_path): "watched",
        live_file(tmp_path, 7): "live-0007.npz",
    }
    assert {str(path.relative_to(tmp_path)): name for path, name in files.items()} == {
        name: name for name in files.values()
    }


def test_new_folders_are_found_by_their_names(tmp_path):
    run = RunFolder(tmp_path)
    assert run.new_volume().name.startswith("volume-") and run.new_volume() != run.new_volume()
    job = run.new_job()
    job.path.mkdir()
    assert [found.path for found in run.jobs()] == [job.path]
    assert list(run.parts()) == [] and not run.has_work()
    for file in (run.checkpoint(1), run.step(2)):
        file.parent.mkdir()
        file.touch()
    assert {path.name for path in run.parts()} == {"brick-0001", "step-0002"} and run.has_work()
    assert run.checkpoint(1) in list(run.saved())


def test_no_other_module_knows_a_file_of_a_run_by_name():
    names = {
        *("run.json", "workers.log", "step.amgsrn", "checkpoint.safetensors", "status.json"),
        *("brick.amgsrn", "job.json", "worker.log", "watched", "brick-*", "step-*", "run-*"),
    }
    owner = ROOT / "amgsrn_core" / "system" / "run_folder.py"
    for folder in ("amgsrn_core", "plugins/amgsrn_paraview"):
        for path in (ROOT / folder).rglob("*.py"):
            words = {
                node.value
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Constant) and isinstance(node.value, str)
            }
            assert path == owner or not words & names, path
