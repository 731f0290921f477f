"""The original's job files: lists of trainings and tests, as command lines of ours.

A file holds a JSON list of ``["train.py" | "test.py", {option: value}]``. docs/original.md says
what each option becomes.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amgsrn_core.config import BrickConfig, NetworkConfig, TrainingConfig
from amgsrn_core.config import options as declared
from amgsrn_core.errors import ConfigurationError, did_you_mean
from amgsrn_core.system.output import reason

_ENCODERS = {
    **dict.fromkeys(("APMGSRN", "AMGSRN", "AMRSRN", "AMRSRN_TCNN", "AMGSRN_TCNN"), "adaptive"),
    "fVSRN": "dense",
    **dict.fromkeys(("NGP", "NGP_TCNN"), "hash"),
}

# Options with a counterpart, and what the original takes without them.
_NETWORK = {
    "n_grids": ("grids", 64),
    "n_features": ("features", 2),
    "feature_grid_shape": ("grid_shape", "8,8,8"),
    "n_layers": ("layers", 2),
    "nodes_per_layer": ("width", 64),
    "num_positional_encoding_terms": ("positional_terms", 6),
    "hash_log2_size": ("hash_log2_size", 19),
    "hash_base_resolution": ("hash_base_resolution", 16),
    "hash_max_resolution": ("hash_max_resolution", 2048),
}
_TRAINING = {
    "iterations": ("iterations", 10_000),
    "points_per_iteration": ("batch", 100_000),
    "tv_weight": ("tv", 0.0),
    "l1_regularization": ("l1", 0.0),
    "match_aspect_ratio": ("match_aspect", False),
    "log_features_every": ("log_grids", 0),
}
_OTHERS = {
    "save_name": "name of the model",
    "data": "file of the volume: in the folder Data, beside the job file, or in the working folder",
    "model": "kind of network",
    "lr": "--lr: peak learning rate of the features",
    "variable": "--variable: the variable to use where the file holds several",
    "ensemble": "whether the volume is cut into bricks",
    "ensemble_grid": "--bricks: numbers of bricks along z, y and x",
    "ensemble_ghost_cells": "--ghost, one less: voxels that a brick shares with its neighbours",
}
_OF_TESTS = {
    "load_from": "name of a model, or all",
    "tests": "what to measure, with commas: psnr, error_volume, histogram, throughput, "
    "feature_locations, feature_density, scale_distribution, reconstruction",
    "tests_to_run": "the same",
    "device": "has no meaning here",
    "data_device": "has no meaning here",
}

OBSOLETE = frozenset(
    {
        "align_corners",
        "beta_1",
        "beta_2",
        "compressor_used",
        "data_device",
        "data_max",
        "data_min",
        "device",
        "full_shape",
        "grid_diff_weight",
        "grid_index",
        "grid_initialization",
        "interpolate",
        "iteration_number",
        "iters_since_new_layer",
        "iters_to_train_new_layer",
        "last_timestep_init",
        "log_every",
        "log_image",
        "log_image_every",
        "n_outputs",
        "precondition",
        "profile",
        "requires_padded_feats",
        "rotation_lr",
        "save_every",
        "save_grid_diffs",
        "save_with_compression",
        "save_with_compression_level",
        "scale_lr",
        "transform_lr",
        "translation_lr",
        "use_amp",
        "use_tcnn_if_available",
    }
)
"""Options of train.py that mean nothing here: see docs/original.md."""

# Options that change what is computed, and the only value with a counterpart here.
_SUPPORTED = {
    "n_dims": 3,
    "use_bias": False,
    "bias": False,
    "use_global_position": False,
    "extents": None,
    "error_volume": False,
    "n_timesteps": 1,
}

_TESTS = {
    "psnr": "psnr",
    "error_volume": "error",
    "histogram": "histogram",
    "throughput": "throughput",
    "feature_locations": "feature-locations",
    "feature_density": "feature-density",
    "scale_distribution": "feature-locations",
}


# A training of the example `turbulence` and its test, which take seconds.
EXAMPLE_JOBS: list[tuple[str, dict[str, Any]]] = [
    (
        "train.py",
        {
            "save_name": "turbulence",
            "data": "turbulence.nc",
            "model": "AMGSRN",
            "n_grids": 8,
            "feature_grid_shape": "8,8,8",
            "nodes_per_layer": 32,
            "iterations": 300,
            "points_per_iteration": 4096,
        },
    ),
    ("test.py", {"load_from": "turbulence", "tests": "psnr,error_volume"}),
]


@dataclass(frozen=True)
class Folders:
    """Where data are read, and models and results written; the original's names by default.

    Data are looked for in `data`, beside the job file, and in the working folder.
    """

    data: Path = Path("Data")
    models: Path = Path("SavedModels")
    output: Path = Path("Output")


@dataclass
class Job:
    """One entry of a job file.

    Attributes
    ----------
    name : str
        For example "train wave".
    commands : list of list of str
        Arguments of ``amgsrn``, one after the other, without the device.
    log : Path
        Where their output goes.
    needs : Job or None
        What has to succeed first.
    spread : bool
        Whether it makes use of several devices at a time.
    ignored : list of str
        Options that mean nothing here.
    """

    name: str
    commands: list[list[str]]
    log: Path
    needs: Job | None = None
    spread: bool = False
    ignored: list[str] = field(default_factory=list)


def read_jobs(
    path: str | os.PathLike[str], folders: Folders, data_device: str = "auto"
) -> list[Job]:
    """Read a job file and make sure that its jobs can start.

    Parameters
    ----------
    path : path
    folders : Folders
    data_device : str, default: "auto"
        Of all trainings; see :class:`~amgsrn_core.config.TrainingConfig`.

    Returns
    -------
    list of Job
        Trainings in the order of the file, then tests.

    Raises
    ------
    ConfigurationError
        The file is not a job file, an option is unknown or has an impossible value, or data or
        models are missing.
    """
    entries = _entries(Path(path))
    here = [folders.data, Path(path).parent, Path()]
    trainings: dict[str, tuple[Job, Path]] = {}
    for number, (script, options) in enumerate(entries, 1):
        if script == "train.py":
            with _Complaints(path, number):
                name, job, data = _training(options, folders, here, data_device)
                if name in trainings:
                    raise ConfigurationError(f"'save_name' {name!r} occurs twice")
                trainings[name] = job, data
    jobs = [job for job, _ in trainings.values()]
    for number, (script, options) in enumerate(entries, 1):
        if script == "test.py":
            with _Complaints(path, number):
                jobs += _tests(options, folders, here, trainings)
    return jobs


def job_schema() -> dict[str, Any]:
    """Return the JSON Schema of job files: every option with what it becomes and its default."""
    fields = {f.name: f for kind in (NetworkConfig, TrainingConfig) for f in declared(kind)}
    options: dict[str, Any] = {name: {"description": text} for name, text in _OTHERS.items()}
    for name, (ours, default) in {**_NETWORK, **_TRAINING}.items():
        text = f"--{ours.replace('_', '-')}: {fields[ours].metadata['help']}"
        options[name] = {"description": text, "default": default}
    options["model"]["enum"] = sorted(_ENCODERS)
    options.update({name: {"const": only} for name, only in _SUPPORTED.items()})
    options.update({name: {"description": "has no meaning here"} for name in sorted(OBSOLETE)})
    tests = {name: {"description": text} for name, text in _OF_TESTS.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Job file of the original code: trainings and tests",
        "type": "array",
        "minItems": 1,
        "items": {
            "oneOf": [
                _entry_schema("train", options, ["save_name", "data"]),
                _entry_schema("test", tests, ["load_from"]),
            ]
        },
    }


def _entry_schema(script: str, options: dict[str, Any], required: list[str]) -> dict[str, Any]:
    named = {"type": "object", "properties": options, "required": required}
    return {
        "type": "array",
        "prefixItems": [
            {"type": "string", "pattern": rf"(^|[/\\]){script}\.py$"},
            {**named, "additionalProperties": False},
        ],
        "minItems": 2,
        "maxItems": 2,
    }


def _entries(path: Path) -> list[tuple[str, dict[str, Any]]]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigurationError(f"There is no job file {path}; check the name.") from error
    except OSError as error:
        raise ConfigurationError(f"The job file {path} cannot be read: {reason(error)}.") from error
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"The job file {path} is not JSON ({error}).") from error
    if not isinstance(values, list) or not values:
        raise ConfigurationError(f"The job file {path} is not a list of jobs.")
    entries = []
    for number, entry in enumerate(values, 1):
        with _Complaints(path, number):
            is_pair = isinstance(entry, list) and len(entry) == 2
            if not is_pair or not isinstance(entry[0], str) or not isinstance(entry[1], dict):
                raise ConfigurationError('it is not ["train.py" or "test.py", {options}]')
            script = entry[0].replace("\\", "/").rsplit("/", 1)[-1]
            if script not in ("train.py", "test.py"):
                raise ConfigurationError(f"it runs {script!r}, not train.py or test.py")
            entries.append((script, entry[1]))
    return entries


class _Complaints:
    """Names the file and the entry in a complaint about it."""

    def __init__(self, path: str | os.PathLike[str], number: int) -> None:
        self._where = f"{path}, entry {number}"

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if isinstance(error, ConfigurationError):
            text = str(error).rstrip(".")
            end = "" if text.endswith("?") else "."
            raise ConfigurationError(f"{self._where}: {text}{end}") from error


def _training(
    options: dict[str, Any], folders: Folders, places: list[Path], data_device: str
) -> tuple[str, Job, Path]:
    known = {*_NETWORK, *_TRAINING, *_OTHERS, *OBSOLETE, *_SUPPORTED}
    _refuse_unknown(options, known)
    for name, supported in _SUPPORTED.items():
        if _plain(options.get(name, supported)) != supported:
            raise ConfigurationError(f"there is no counterpart of {name} = {options[name]!r}")
    name = _name(options, "save_name")
    encoder = _ENCODERS.get(str(options.get("model", "AMGSRN")))
    if encoder is None:
        raise ConfigurationError(
            f"'model' {options['model']!r} is not one of {', '.join(sorted(_ENCODERS))}"
            f"{did_you_mean(str(options['model']), _ENCODERS)}"
        )
    data = _find(_name(options, "data"), places)
    sizes = {ours: _value(options, key, default) for key, (ours, default) in _NETWORK.items()}
    if encoder == "dense":
        del sizes["grids"]
    network = NetworkConfig(encoder=encoder, **sizes)
    amounts = {ours: _value(options, key, default) for key, (ours, default) in _TRAINING.items()}
    if "lr" in options:
        amounts["learning_rate"] = _value(options, "lr", 0.01)
    training = TrainingConfig(**amounts, data_device=data_device)
    bricks = BrickConfig()
    if _plain(options.get("ensemble", False)) is True:
        # The original's bricks share one voxel more at each face than their ghost cells.
        ghost = _value(options, "ensemble_ghost_cells", 0)
        grid = _value(options, "ensemble_grid", "1,1,1")
        bricks = BrickConfig(bricks=grid, ghost=ghost + 1 if isinstance(ghost, int) else ghost)
    model = folders.models / f"{name}.amgsrn"
    command = ["train", str(data), "-o", str(model)]
    if "variable" in options:
        command += ["--variable", _name(options, "variable")]
    job = Job(
        f"train {name}",
        [command + _changed(network) + _changed(training) + _changed(bricks)],
        folders.models / f"{name}.train.log",
        spread=bricks.bricks != (1, 1, 1),
        ignored=sorted(OBSOLETE & set(options)),
    )
    return name, job, data


def _tests(
    options: dict[str, Any],
    folders: Folders,
    places: list[Path],
    trainings: dict[str, tuple[Job, Path]],
) -> list[Job]:
    _refuse_unknown(options, set(_OF_TESTS))
    wanted = str(options.get("tests", options.get("tests_to_run", "psnr"))).split(",")
    wanted = list(dict.fromkeys(name.strip() for name in wanted))
    known = sorted([*_TESTS, "reconstruction"])
    if unknown := [name for name in wanted if name not in known]:
        raise ConfigurationError(
            f"there is no test {', '.join(map(repr, unknown))}; there are "
            f"{', '.join(known)}{did_you_mean(unknown[0], known)}"
        )
    name = _name(options, "load_from")
    names = [name]
    if name == "all":
        names = sorted({*trainings, *_stored(folders.models)})
        if not names:
            raise ConfigurationError(f"'load_from' is \"all\", but {folders.models} has no model")
    return [_test(name, wanted, folders, places, trainings.get(name)) for name in names]


def _test(
    name: str,
    wanted: list[str],
    folders: Folders,
    places: list[Path],
    training: tuple[Job, Path] | None,
) -> Job:
    model = folders.models / f"{name}.amgsrn"
    commands = []
    if training is None and not model.exists():
        if not (folders.models / name / "options.json").exists():
            raise ConfigurationError(
                f"'load_from' {name!r} is neither trained here nor in {folders.models}"
            )
        commands.append(["import", str(folders.models / name), "-o", str(model)])
    results = folders.output / name
    tests = list(dict.fromkeys(_TESTS[test] for test in wanted if test in _TESTS))
    if tests:
        data = training[1] if training else _find(_source(folders.models, name), places)
        if commands:
            commands[0] += ["--volume", str(data)]  # without it the model would lie elsewhere
        commands.append(
            [
                *("test", str(model), "--against", str(data), "--tests", ",".join(tests)),
                *("--output-dir", str(results), "--json", str(results / "test.json")),
            ]
        )
    if "reconstruction" in wanted:
        commands.append(["reconstruct", str(model), "-o", str(results / "reconstruction.nc")])
    log = folders.models / f"{name}.test.log"
    return Job(f"test {name}", commands, log, training[0] if training else None)


def _stored(models: Path) -> list[str]:
    """Return the names of the models in a folder, ours and the original's."""
    ours = [path.stem for path in models.glob("*.amgsrn")]
    return ours + [path.parent.name for path in models.glob("*/options.json")]


def _source(models: Path, name: str) -> str:
    """Return the file that a model in a folder was trained on."""
    from amgsrn_core.model import read_index
    from amgsrn_core.original.options import Options

    if (models / f"{name}.amgsrn").exists():
        return read_index(models / f"{name}.amgsrn").source.path
    return str(Options.read(models / name).values.get("data", name))


def _refuse_unknown(options: dict[str, Any], known: set[str]) -> None:
    if unknown := sorted(set(options) - known):
        hint = did_you_mean(unknown[0], known)
        raise ConfigurationError(f"unknown option(s) {', '.join(unknown)}{hint}")


def _name(options: dict[str, Any], key: str) -> str:
    value = options.get(key)
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"'{key}' is missing or not a name")
    if key != "data" and (".." in Path(value).parts or Path(value).is_absolute()):
        raise ConfigurationError(f"'{key}' {value!r} leads out of the folder of models")
    return value


def _find(name: str, places: list[Path]) -> Path:
    for place in places:
        if (place / name).exists():
            return place / name
    raise ConfigurationError(
        f"there are no data {name!r} in {', '.join(dict.fromkeys(map(str, places)))}; name their "
        "folder with --data"
    )


def _value(options: dict[str, Any], key: str, default: Any) -> Any:
    """Return a number, or a tuple of three; the original also takes numbers as texts."""
    value = _plain(options.get(key, default))
    if isinstance(default, str) and isinstance(value, (str, list)):
        items = value.split(",") if isinstance(value, str) else value
        value = tuple(_plain(item) for item in items)
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def _plain(value: Any) -> Any:
    """Return what a text says, where it says a number or a truth value."""
    if isinstance(value, str):
        try:
            plain = json.loads(value.lower())
        except ValueError:
            return value
        return plain if isinstance(plain, (bool, int, float)) else value
    return value


def _changed(config: Any) -> list[str]:
    """Return the command-line options that make this configuration."""
    words = []
    for option in declared(type(config)):
        value = getattr(config, option.name)
        if value is True:
            words.append(f"--{option.name.replace('_', '-')}")
        elif value != option.default:
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            words += [f"--{option.name.replace('_', '-')}", text]
    return words
