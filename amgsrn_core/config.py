"""Typed configurations: every option, its default, range and help text exist here and only here.

The library takes these classes, and the command line and the properties of ParaView's trainer are
generated from them.
"""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass
from typing import Any, TypeVar

from amgsrn_core.errors import ConfigurationError

ENCODERS = ("adaptive", "dense", "hash")

HASH_SCHEMES = ("tiny-cuda-nn", "original")
"""Which nodes a hash grid has and where it stores them: as tiny-cuda-nn does, or as the original
code did in PyTorch; see :mod:`amgsrn_core.model.hash_levels`."""

BACKENDS = ("auto", "torch", "native", "tcnn")
"""`auto` is `native` on a CPU that has the kernels, else `torch`, which on CUDA trains with CUDA
graphs then. `tcnn` is `torch` with tiny-cuda-nn's decoder, in half precision."""

_FILL_WORDS = ("auto", "known", "none")

_UNITS = {
    "": 1,
    **{letter: 1000**power for power, letter in enumerate("kmgt", 1)},
    **{f"{letter}i": 1024**power for power, letter in enumerate("kmgt", 1)},
}

Triple = tuple[int, int, int]

T = TypeVar("T")


def option(
    default: Any,
    help: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] | None = None,
) -> Any:
    """Declare a field with its help text and the values that it admits (bounds inclusive)."""
    metadata = {"help": help, "minimum": minimum, "maximum": maximum, "choices": choices}
    return dataclasses.field(default=default, metadata=metadata)


def options(kind: type) -> list[dataclasses.Field[Any]]:
    """Return the fields of a configuration class that :func:`option` declared."""
    return [field for field in dataclasses.fields(kind) if "help" in field.metadata]


class Checked:
    """Refuses values of another type than the default's, or outside the declared range."""

    def __post_init__(self) -> None:
        for field in options(type(self)):
            value, default = getattr(self, field.name), field.default
            if isinstance(default, tuple):
                if not isinstance(value, tuple) or len(value) != len(default):
                    raise ConfigurationError(
                        f"{_name(field)} needs {len(default)} numbers, not {value!r}."
                    )
                for item, like in zip(value, default):
                    _check(field, item, like)
            else:
                _check(field, value, default)


def _name(field: dataclasses.Field[Any]) -> str:
    return field.name.replace("_", "-")


def _check(field: dataclasses.Field[Any], value: Any, default: Any) -> None:
    name, choices = _name(field), field.metadata.get("choices")
    if choices is not None and value not in choices:
        raise ConfigurationError(f"{name} must be one of {', '.join(choices)}, not {value!r}.")
    if isinstance(default, str):
        if not isinstance(value, str):
            raise ConfigurationError(f"{name} must be a word, not {value!r}.")
        return
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise ConfigurationError(f"{name} must be true or false, not {value!r}.")
        return
    kinds = (int,) if isinstance(default, int) else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or value != value:
        kind = "a whole number" if kinds == (int,) else "a number"
        raise ConfigurationError(f"{name} must be {kind}, not {value!r}.")
    low, high = field.metadata.get("minimum"), field.metadata.get("maximum")
    if low is not None and value < low:
        raise ConfigurationError(f"{name} must be at least {low:g}, not {_shown(value)}.")
    if high is not None and value > high:
        raise ConfigurationError(f"{name} must be at most {high:g}, not {_shown(value)}.")


def _shown(value: float) -> str:
    try:
        return f"{value:g}"
    except OverflowError:  # a whole number beyond the range of float
        return "a number of hundreds of digits"


@dataclass(frozen=True)
class NetworkConfig(Checked):
    """Size of one network: an encoder, mostly of adaptive feature grids, and a small MLP."""

    encoder: str = option(
        "adaptive",
        "what points become before the decoder: features of adaptive grids, of one dense grid and "
        "positional terms as in fV-SRN, or of a multi-resolution hash grid as in Instant NGP; "
        "PyTorch alone computes the latter two",
        choices=ENCODERS,
    )
    grids: int = option(
        16, "number of adaptive feature grids, or levels of the hash grid", minimum=1, maximum=4096
    )
    features: int = option(2, "features per grid node", minimum=1, maximum=64)
    grid_shape: Triple = option(  # noqa: RUF009 -- a dataclasses.field, like the others
        (32, 32, 32), "nodes of each feature grid along z, y, x", minimum=2, maximum=1024
    )
    positional_terms: int = option(
        6, "octaves of sines and cosines beside the dense grid", minimum=0, maximum=16
    )
    hash_log2_size: int = option(
        19, "the tables of the hash grid have at most 2^N entries", minimum=3, maximum=26
    )
    hash_base_resolution: int = option(
        16, "nodes per axis of the hash grid's coarsest level", minimum=2, maximum=65536
    )
    hash_max_resolution: int = option(
        2048, "nodes per axis of the hash grid's finest level", minimum=2, maximum=65536
    )
    layers: int = option(2, "hidden layers of the decoder", minimum=1, maximum=8)
    width: int = option(64, "neurons per hidden layer", minimum=1, maximum=1024)

    # No options: what is trained here has these values, and only imported networks have others.
    hash_scheme: str = HASH_SCHEMES[0]
    biases: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hash_scheme not in HASH_SCHEMES:
            raise ConfigurationError(
                f"hash-scheme must be one of {', '.join(HASH_SCHEMES)}, not {self.hash_scheme!r}."
            )
        if not isinstance(self.biases, bool):
            raise ConfigurationError(f"biases must be true or false, not {self.biases!r}.")
        if self.encoder != "hash" and (self.biases or self.hash_scheme != HASH_SCHEMES[0]):
            raise ConfigurationError(
                "Only networks with a hash grid have biases or another hash scheme."
            )

    @property
    def inputs(self) -> int:
        """Inputs of the decoder."""
        if self.encoder == "dense":
            return 6 * self.positional_terms + self.features
        return self.grids * self.features


SIZES = ("grids", "features", "grid_shape")
"""The options of a network that say how large its grids are."""


def gives_size(network: NetworkConfig) -> bool:
    """Return whether a network's grids are of another size than the default."""
    default = NetworkConfig()
    return any(getattr(network, name) != getattr(default, name) for name in SIZES)


@dataclass(frozen=True)
class TrainingConfig(Checked):
    """How one network is fitted to its brick."""

    iterations: int = option(
        0,
        "optimiser steps; more make a better model and take longer (0: 4000, or more where a CPU "
        "chooses a smaller batch than 65536: as many as take about as long)",
        minimum=0,
        maximum=100_000_000,
    )
    batch: int = option(
        0,
        "random points per iteration (0: on a CPU by the size of the network, a 64th of its "
        "parameters between 4096 and 65536, as a power of two; else 65536)",
        minimum=0,
        maximum=1 << 28,
    )
    sampling: str = option(
        "auto",
        "where the points are drawn: all over the brick (uniform), or most of them where errors "
        "were large before, each counting for less there (importance, on a CPU); auto is "
        "importance where a CPU chooses the batch, else uniform",
        choices=("auto", "uniform", "importance"),
    )
    learning_rate: float = option(
        0.02, "peak learning rate of the features", minimum=1e-8, maximum=1.0
    )
    decoder_rate: float = option(
        0.3, "learning rate of the decoder relative to the features'", minimum=1e-4, maximum=100.0
    )
    schedule: str = option(
        "cosine",
        "learning rate over time: held for half of the run and then lowered to zero along a "
        "cosine, constant as in the original code, or held, for a run that may end at any time and "
        "makes the average of its weights",
        choices=("cosine", "constant", "held"),
    )
    targets: str = option(
        "cubic",
        "interpolation of the data at random training points",
        choices=("cubic", "linear"),
    )
    placement: str = option(
        "auto",
        "where feature grids start: half of them on the active regions of a volume that is quiet "
        "elsewhere (auto), half of them there always (active), or all over the brick (global)",
        choices=("auto", "active", "global"),
    )
    motion: str = option(
        "gradient",
        "how feature grids move: early in the run along the gradient of the reconstruction loss, "
        "never, or by the original's density rule",
        choices=("gradient", "none", "density"),
    )
    precision: str = option(
        "float32",
        "numbers that the decoder multiplies in training: float32, or bfloat16 (NVIDIA GPUs: "
        "TF32) with float32 sums where that is faster (fast)",
        choices=("float32", "fast"),
    )
    averaging: bool = option(
        False,
        "show the weights' average over the last eighth of the training so far in previews; with "
        "a constant learning rate it also is what the training makes",
    )
    tv: float = option(
        0.0,
        "weight of the feature grids' total variation, the mean squared difference of "
        "neighbouring nodes, in what training minimises",
        minimum=0.0,
    )
    l1: float = option(
        0.0,
        "weight of the features' mean absolute value in what training minimises",
        minimum=0.0,
    )
    match_aspect: bool = option(
        False,
        "give the feature grids the proportions of the brick's voxels, at about as many nodes",
    )
    seed: int = option(
        0,
        "seed of every random choice: the same seed on the same device gives the same model",
        minimum=0,
        maximum=2**31 - 1,
    )
    device: str = option(
        "auto",
        "where to train: auto, cpu, cuda, cuda:N or mps; several with commas between them train "
        "bricks side by side",
    )
    data_device: str = option(
        "auto",
        "where a brick's values are kept while it is trained: on the device (auto), or in the "
        "computer's memory (cpu), for bricks that a GPU has no room for",
        choices=("auto", "cpu"),
    )
    backend: str = option(
        "auto",
        "implementation that evaluates and trains: the CPU kernels (native), PyTorch (torch), "
        "PyTorch with tiny-cuda-nn's decoder in half precision on CUDA (tcnn), or the fastest that "
        "works in single precision (auto)",
        choices=BACKENDS,
    )
    checkpoint_seconds: float = option(
        30.0, "seconds between checkpoints (0: only when stopped)", minimum=0.0
    )
    log_grids: int = option(
        0,
        "write where the feature grids are every so many iterations, as a ParaView time series "
        "beside the model, NAME.grids.pvd (0: never)",
        minimum=0,
    )
    tensorboard: str = option(
        "", "write loss, PSNR, learning rate and grid motion to this folder for TensorBoard"
    )

    @property
    def averages(self) -> bool:
        """Whether the average of the weights is kept."""
        return self.averaging or self.schedule == "held"

    @property
    def makes_average(self) -> bool:
        """Whether the training makes the average of the weights, where there is one."""
        return self.schedule != "cosine"

    def substance(self) -> dict[str, Any]:
        """Return as JSON types what decides over the result.

        Left out is what only says where and how comfortably a run happens.
        """
        circumstances: tuple[str, ...] = (
            "device",
            "data_device",
            "backend",
            "checkpoint_seconds",
            "log_grids",
            "tensorboard",
        )
        # What came later is left out where nothing changes by it: runs of before go on.
        plain = {"sampling": ("auto", "uniform"), "averaging": (False,)}
        if not self.makes_average:
            circumstances += ("averaging",)
        return {
            key: value
            for key, value in to_json(self).items()
            if key not in circumstances and value not in plain.get(key, ())
        }


@dataclass(frozen=True)
class GoalConfig(Checked):
    """What a training is to reach; the sizes of networks and the length follow from it."""

    target_psnr: float = option(
        0.0,
        "end the training when the model's PSNR over all voxels is so many dB; the network is as "
        "small as that allows (0: no such target)",
        minimum=0.0,
        maximum=200.0,
    )
    target_size: str = option(
        "",
        "bytes of the model file, such as 500000, 500kB or 2MiB: as large as possible, but never "
        "larger; of a series, for each of its time steps",
    )
    target_ratio: float = option(
        0.0,
        "the model file is so many times smaller than the data, which count as they are in their "
        "file without compression (0: no such target)",
        minimum=0.0,
        maximum=1e9,
    )
    max_seconds: float = option(
        0.0,
        "end the training after so many seconds, reading the data and compressing the network not "
        "counted; of a series, of each of its time steps (0: no such limit)",
        minimum=0.0,
        maximum=1e9,
    )
    network_size: str = option(
        "auto",
        "who says how large the feature grids are: the options of the network (given), or the goal "
        "(chosen), which without any target is a tenth of the data's bytes, and no more than the "
        "default size; auto is given where an option says how many grids, features or nodes there "
        "are, else chosen",
        choices=("auto", "given", "chosen"),
    )

    def __post_init__(self) -> None:
        if isinstance(self.target_size, int) and not isinstance(self.target_size, bool):
            object.__setattr__(self, "target_size", str(self.target_size))
        super().__post_init__()
        if self.target_size and self.target_bytes < 1:
            raise ConfigurationError(
                f"target-size must be bytes such as 500000, 500kB or 2MiB, not {self.target_size}."
            )
        if self.target_size and self.target_ratio:
            raise ConfigurationError(
                "Give either target-size or target-ratio: both say how large the model file is."
            )

    @property
    def target_bytes(self) -> int:
        """The target size in bytes; 0 where there is none, or no number of bytes."""
        found = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([kmgt]?i?)b?\s*", self.target_size.lower())
        if found is None or found[2] not in _UNITS:
            return 0
        return int(float(found[1]) * _UNITS[found[2]])

    @property
    def sizes_file(self) -> bool:
        """Whether there is a target for the model's bytes."""
        return bool(self.target_size or self.target_ratio)

    @property
    def is_target(self) -> bool:
        """Whether anything was asked for."""
        return self.sizes_file or self.target_psnr > 0.0 or self.max_seconds > 0.0

    def for_network(self, network: NetworkConfig, is_given: bool) -> GoalConfig:
        """Return the goal with a choice between "given" and "chosen" for `network_size`.

        `is_given` says whether anybody chose the network's size; only adaptive grids get another.
        """
        size = self.network_size
        if size == "auto":
            size = "given" if is_given or network.encoder != "adaptive" else "chosen"
        elif size == "chosen" and network.encoder != "adaptive":
            raise ConfigurationError(
                f"Only the size of adaptive grids can be chosen by a goal; give the sizes of the "
                f"{network.encoder} encoder and network-size given."
            )
        return dataclasses.replace(self, network_size=size)

    @property
    def chooses(self) -> bool:
        """Whether the size of networks follows from the goal, where that is decided."""
        return self.network_size == "chosen"

    def substance(self) -> dict[str, Any]:
        """Return as JSON types what decides over the result; nothing where all is given."""
        plain = to_json(GoalConfig())
        found = {key: value for key, value in to_json(self).items() if value != plain[key]}
        if not self.chooses:
            found.pop("network_size", None)
        return found


@dataclass(frozen=True)
class StorageConfig(Checked):
    """How a trained model is stored."""

    dtype: str = option("float32", "type of the stored numbers", choices=("float32", "float16"))
    compress: bool = option(
        False, "quantise the trained numbers and store them entropy-coded, many times smaller"
    )
    compress_loss: float = option(
        0.1, "decibels of PSNR that compression may cost each brick", minimum=0.001, maximum=60.0
    )
    compress_finetune: int = option(
        3000,
        "more optimiser steps, on quantised numbers and with a penalty on their size, before a "
        "network is compressed",
        minimum=0,
        maximum=100_000_000,
    )
    max_error: float = option(
        0.0,
        "store corrections with which every voxel is within this distance of the data, in their "
        "units (0: no such bound)",
        minimum=0.0,
    )
    max_relative_error: float = option(
        0.0,
        "the same as a share of the range of the data, of each component and time step: 0.01 is a "
        "hundredth (0: no such bound)",
        minimum=0.0,
        maximum=1.0,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if math.isinf(self.max_error):
            raise ConfigurationError("max-error must be a finite number.")

    @property
    def is_bounded(self) -> bool:
        """Whether errors are bounded, so that there are corrections."""
        return self.max_error > 0 or self.max_relative_error > 0

    @property
    def finetuning(self) -> int:
        """Optimiser steps that follow the training."""
        return self.compress_finetune if self.compress else 0

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types, without the options of what is not used.

        Without them, programs that know nothing of compression or of bounds go on reading what has
        none. Those that know nothing of bounds refuse what has one, and do not break it silently.
        """
        values = to_json(self)
        bounds = {key: values.pop(key) for key in ("max_error", "max_relative_error")}
        values = values if self.compress else {"dtype": values["dtype"]}
        return {**values, **{key: value for key, value in bounds.items() if value}}


@dataclass(frozen=True)
class BrickConfig(Checked):
    """How a volume is cut into bricks, each with a network of its own."""

    bricks: Triple = option(  # noqa: RUF009 -- a dataclasses.field, like the others
        (1, 1, 1),
        "bricks along z, y, x that the volume is cut into, each with a network of its own; the "
        "model is one continuous field all the same",
        minimum=1,
        maximum=1_000_000,
    )
    brick_voxels: int = option(
        0,
        "cut into as few bricks of at most this many voxels as possible (0: as `bricks` says, or "
        "so that each fits into the memory of the computer)",
        minimum=0,
        maximum=2**48,
    )
    ghost: int = option(
        1,
        "ghost cells: voxels of its neighbours that a brick learns at each face, over which the "
        "bricks are blended (0: the field jumps)",
        minimum=0,
        maximum=64,
    )

    sizes: str = option(
        "equal",
        "size of the bricks' networks: as the options of the network say (equal), or larger where "
        "more happens and smaller where less, together no larger (complexity)",
        choices=("equal", "complexity"),
    )


@dataclass(frozen=True)
class SeriesConfig(Checked):
    """How a training goes on from another model, as the steps of a series do."""

    warm_iterations: int = option(
        0,
        "optimiser steps of a training that starts from a model, as every step of a series after "
        "the first does (0: half of the iterations)",
        minimum=0,
        maximum=100_000_000,
    )
    series_differences: bool = option(
        False,
        "with --compress, store a time step as its difference from the step before where that "
        "is smaller",
    )


@dataclass(frozen=True)
class ExtractionConfig(Checked):
    """How a running simulation's time steps become a series of models."""

    seconds_per_step: float = option(
        0.0,
        "seconds that a time step may take, from when its training begins until it is in the file "
        "(0: as long as its iterations take)",
        minimum=0.0,
        maximum=1e9,
    )
    window: int = option(
        2, "most time steps that wait for their training", minimum=1, maximum=1_000_000
    )
    when_full: str = option(
        "wait",
        "what happens where so many wait: the simulation waits as well, or the oldest that waits "
        "is dropped and the report says so",
        choices=("wait", "drop"),
    )
    keep_error: float = option(
        0.0,
        "keep the data themselves of a rank and time step where the largest error is above this, "
        "in units of the data (0: never)",
        minimum=0.0,
    )
    threads: int = option(
        0,
        "threads that train beside each rank (0: the cores it may use, shared by all ranks)",
        minimum=0,
        maximum=4096,
    )


@dataclass(frozen=True)
class DataConfig(Checked):
    """Which numbers of the data stand for no value."""

    fill_values: str = option(
        "auto",
        "numbers in the data that stand for no value: none, some with commas between them, or "
        "usual fill values such as 1e20 where all other values are far smaller (known); auto is "
        "known for data that come through ParaView, and none for files, which mark their own",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fill_values in _FILL_WORDS:
            return
        try:
            usable = all(math.isfinite(value) for value in self.fill_numbers)
        except ValueError:
            usable = False
        if not usable:
            raise ConfigurationError(
                f"fill-values must be {', '.join(_FILL_WORDS)} or numbers with commas between "
                f"them, not {self.fill_values!r}."
            )

    @property
    def fill_numbers(self) -> tuple[float, ...]:
        """The numbers that were named."""
        if self.fill_values in _FILL_WORDS:
            return ()
        return tuple(float(number) for number in self.fill_values.split(","))

    @property
    def masks_known(self) -> bool:
        """Whether known fill values are missing in data whose source does not mark its own."""
        return self.fill_values in ("auto", "known")


@dataclass(frozen=True)
class MeshConfig(Checked):
    """How data that are no volume (meshes, multi-block data, AMR) become one."""

    sampling_dimensions: Triple = option(  # noqa: RUF009 -- a dataclasses.field, like the others
        (0, 0, 0),
        "samples along z, y, x of the lattice on which data are sampled that are neither image "
        "data nor a rectilinear grid (0: somewhat finer than the mesh)",
        minimum=0,
        maximum=65536,
    )
    curvilinear: str = option(
        "space",
        "how structured (curvilinear) grids are learned: sampled on a lattice in space, or sample "
        "by sample in index space (index), with their coordinates stored in the model, so that its "
        "reconstruction is the same grid",
        choices=("space", "index"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if 1 in self.sampling_dimensions:
            raise ConfigurationError("sampling-dimensions must be at least 2, or 0, not 1.")


@dataclass(frozen=True)
class ImportConfig(Checked):
    """How a model of the original code is taken over."""

    blend: bool = option(
        False,
        "blend the bricks of an ensemble where they overlap, which removes its seams (without: "
        "jump from brick to brick exactly where the original does)",
    )


@dataclass(frozen=True)
class DispatchConfig(Checked):
    """Where and how the bricks of a volume are trained."""

    workers: int = option(
        0,
        "worker processes on the CPU, which share its cores (0: one per core, if memory allows)",
        minimum=0,
        maximum=4096,
    )
    scheduler: str = option(
        "", "train on the Dask cluster of this scheduler: an address or a scheduler file"
    )
    retries: int = option(
        3, "how often a brick is tried again when nothing came of it", minimum=0, maximum=1000
    )
    stall_minutes: float = option(
        10.0, "replace a worker that shows no sign of life for so long", minimum=0.01
    )
    log: str = option("", "write what happens as JSON lines to this file")


def to_json(config: Any) -> dict[str, Any]:
    """Return a configuration as plain JSON types.

    A field that is no option is left out where it has its default: without it, programs that do not
    know it go on reading what does not need it.
    """
    known = {field.name for field in options(type(config))}
    return {
        field.name: list(value) if isinstance(value, tuple) else value
        for field in dataclasses.fields(config)
        for value in (getattr(config, field.name),)
        if field.name in known or value != field.default
    }


def from_json(kind: type[T], values: dict[str, Any]) -> T:
    """Make a configuration from :func:`to_json`'s result; unknown names are refused by name."""
    known = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - known)
    if unknown:
        raise ConfigurationError(f"Unknown {kind.__name__} option(s): {', '.join(unknown)}.")
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
