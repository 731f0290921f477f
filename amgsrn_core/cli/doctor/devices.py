"""PyTorch and its devices, and what computes on them."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Iterator

from amgsrn_core.cli.doctor.findings import NOTE, OK, PROBLEM, Finding, install, set_up
from amgsrn_core.cli.doctor.machine import output_of
from amgsrn_core.errors import AmgsrnError

_TCNN_TOLERANCE = 0.05  # half precision turns some neurons on or off
_TCNN_REMEDY = (
    "Build tiny-cuda-nn for this GPU and this PyTorch, or leave --backend at auto: "
    "pip install --no-build-isolation "
    "git+https://github.com/NVlabs/tiny-cuda-nn/#subdirectory=bindings/torch"
)


def check_torch() -> Iterator[Finding]:
    """Look at PyTorch, which only training needs, and at what computes with it and without."""
    help_ = install("torch")
    if importlib.util.find_spec("torch") is None:
        detail = (
            "not installed: models can be looked at, sampled and measured on the CPU, but neither "
            "trained nor compressed, and no GPU is used"
        )
        yield Finding("torch", NOTE, detail, help_)
        yield _backend("")
        return
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Finding("torch", PROBLEM, f"cannot be imported ({error})", help_)
        return
    yield Finding("torch", OK, f"{torch.__version__}, {torch.get_num_threads()} threads")
    devices = _devices()
    if "mps" in devices:
        yield from _mps()
    yield _found(devices)
    yield _backend(devices[0] if devices else "cpu")
    if torch.cuda.is_available():
        yield from _cuda()


def _devices() -> list[str]:
    """Return the GPUs that PyTorch knows, by their names."""
    import torch

    names = [
        f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())
    ]
    has_mps = getattr(torch.backends, "mps", None) is not None
    return [*names, "mps"] if has_mps and torch.backends.mps.is_available() else names


def _found(devices: list[str]) -> Finding:
    """Say which devices there are, and why an NVIDIA GPU is not among them."""
    import torch

    if devices or not shutil.which("nvidia-smi") or not output_of(["nvidia-smi", "-L"]):
        return Finding("devices", OK, ", ".join(["cpu", *devices]))
    reason = (
        "the installed torch is a CPU build"
        if torch.version.cuda is None
        else f"torch (CUDA {torch.version.cuda}) does not get along with the driver"
    )
    return Finding(
        "devices",
        NOTE,
        f"cpu; an NVIDIA GPU is here but {reason}",
        "Install a build for this driver's CUDA version, see docs/gpu.md: "
        f"{sys.executable} -m pip install --force-reinstall torch",
    )


def _cuda() -> Iterator[Finding]:
    """Compute, render and train on CUDA devices."""
    import torch

    from amgsrn_core.cli.doctor.rendering import check_devices, check_nerfacc
    from amgsrn_core.cli.doctor.training import check_graph, check_tcnn

    yield from check_devices()
    yield check_nerfacc()
    yield check_graph(torch.device("cuda"))
    tcnn = _tcnn()
    yield tcnn
    if tcnn.detail.startswith("agrees"):
        yield check_tcnn(torch.device("cuda"))


def _mps() -> Iterator[Finding]:
    """Say what Apple's GPU cannot do in this PyTorch, if anything."""
    import torch

    from amgsrn_core.networks.devices import REMEDY, missing_operator

    help_ = f"{REMEDY[0].upper()}{REMEDY[1:]}: amgsrn train --device cpu"
    for training, what in ((False, "evaluated"), (True, "trained")):
        if lacking := missing_operator(torch.device("mps"), training=training):
            detail = f"this PyTorch lacks {lacking} there: models cannot be {what} with mps"
            yield Finding("mps", NOTE, detail, help_)
            return


def _backend(device: str) -> Finding:
    """Say what computes by default on a device of PyTorch; "" where there is no PyTorch."""
    from amgsrn_core.kernels import load
    from amgsrn_core.kernels.loader import ISA_VARIABLE

    try:
        library = load()
    except AmgsrnError as error:
        return Finding("backend", PROBLEM, str(error), f"Unset the variable: unset {ISA_VARIABLE}")
    if library is None:
        help_ = f"Install cmake and g++, see docs/kernels.md, and build them: {set_up()}"
        if not device:
            detail = "none: neither PyTorch is installed, nor are the CPU kernels built"
            return Finding("backend", PROBLEM, detail, help_)
        detail = (
            f"torch on {device}; the CPU kernels, several times faster than torch on a CPU, are "
            "not built"
        )
        return Finding("backend", NOTE, detail, help_)
    kernels = f"native on the CPU ({library.isa}, {library.path})"
    on_gpu = device not in ("", "cpu")
    return Finding("backend", OK, f"torch on {device}, {kernels}" if on_gpu else kernels)


def _tcnn() -> Finding:
    """Compare tiny-cuda-nn's decoder with the reference, values and gradients, on this GPU."""
    import torch

    from amgsrn_core.config import NetworkConfig
    from amgsrn_core.networks.fused import FusedDecoder, difference

    config = NetworkConfig(grids=5, features=4)
    try:
        device = torch.device("cuda")
        apart = difference(FusedDecoder(config, 3, device), config, 3, device)
    except AmgsrnError as error:
        return Finding("tiny-cuda-nn", OK, f"not used ({error})")
    except RuntimeError as error:
        return Finding("tiny-cuda-nn", NOTE, f"does not work here ({error})", _TCNN_REMEDY)
    if apart > _TCNN_TOLERANCE:
        detail = f"its decoder differs from PyTorch's by {apart:.1%}"
        return Finding("tiny-cuda-nn", NOTE, detail, _TCNN_REMEDY)
    return Finding("tiny-cuda-nn", OK, f"agrees with PyTorch to {apart:.2%} (--backend tcnn)")
