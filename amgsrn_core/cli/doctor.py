"""Look at this machine and say what the suite will use, what is missing and how to repair it."""

from __future__ import annotations

import json as json_module
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import amgsrn_core
from amgsrn_core.cli import paraview_launcher
from amgsrn_core.cli.report import prepare_report, write_report
from amgsrn_core.cli.virtual_display import find_server
from amgsrn_core.errors import AmgsrnError
from amgsrn_core.system.cores import available_cores

OK, NOTE, PROBLEM = "ok", "note", "problem"
_MARKS = {OK: "  ", NOTE: "! ", PROBLEM: "X "}

_NUMPY_LIMIT = (2, 4)  # numpy 2.4 removed functions that ParaView up to 5.13 calls
_PARAVIEW_SECONDS = 120
_TCNN_TOLERANCE = 0.05  # half precision turns some neurons on or off
_TCNN_REMEDY = "Build tiny-cuda-nn for this GPU and this PyTorch, or leave --backend at auto."
_PARAVIEW_PYTHON = "paraview's python"

_PARAVIEW_PROBE = """
import json, sys
seen = {"python": "%d.%d" % sys.version_info[:2]}
for name in ("numpy", "torch", "amgsrn_core", "amgsrn_paraview"):
    try:
        module = __import__(name)
        seen[name] = getattr(module, "__version__", "")
    except Exception as error:
        seen[name] = None
        seen[name + "_error"] = "%s: %s" % (type(error).__name__, error)
from paraview import servermanager, simple
proxies = servermanager.ProxyManager().SMProxyManager
seen["neural_volume"] = proxies.HasDefinition("representations", "NeuralVolumeRepresentation")
print("amgsrn-doctor " + json.dumps(seen))
"""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    name : str
        What it is about; stable, for programs that read the JSON.
    state : {"ok", "note", "problem"}
        A note limits what can be done; a problem stops the suite from working.
    detail : str
        What was found.
    remedy : str
        What to do about it, or "".
    """

    name: str
    state: str
    detail: str
    remedy: str = ""


def doctor(json: str | None = None, build: bool = False) -> int:
    """Report what was found; return 1 if any of it stops the suite from working, else 0.

    Parameters
    ----------
    json : str, optional
        A file for the report as JSON, or "-" for standard output instead of the text.
    build : bool, default: False
        Build nerfacc's CUDA operators first.

    Raises
    ------
    ConfigurationError
        They cannot be built.
    """
    prepare_report(json)
    if build:
        from amgsrn_core.rendering import nerfacc_operators

        print("Building nerfacc's operators, which takes some minutes ...", file=sys.stderr)
        nerfacc_operators.build()
    findings = list(examine())
    healthy = all(finding.state != PROBLEM for finding in findings)
    pictures, rows = _pictures(findings)
    results = {
        "healthy": healthy,
        "machine": machine(),
        "findings": [asdict(finding) for finding in findings],
        "pictures": pictures,
    }
    write_report(results, [*_rows(findings), *rows, _last_row(healthy)], json)
    return 0 if healthy else 1


def _pictures(findings: list[Finding]) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """Return a table of pictures by all marchers, for programs and for people."""
    broken = {finding.name for finding in findings if finding.state == PROBLEM}
    if broken & {"numpy", "torch", "backend"}:
        return [], []
    try:
        from amgsrn_core.cli import gpu_rendering
    except ImportError as error:
        return [], [(_MARKS[NOTE] + "pictures", f"cannot be made ({error})")]
    found = list(gpu_rendering.pictures())
    return gpu_rendering.as_json(found), list(gpu_rendering.table(found))


def machine() -> dict[str, Any]:
    """Describe this machine, for reports whose figures depend on it."""
    return {
        "processor": _processor(),
        "cores": available_cores(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": _version("torch"),
        "paraview": _paraview_version(),
    }


def examine() -> Iterator[Finding]:
    """Yield one finding after the other, in the order in which they depend on each other."""
    yield Finding("amgsrn", OK, f"{amgsrn_core.__version__} in {Path(amgsrn_core.__file__).parent}")
    yield Finding("machine", OK, f"{_processor()}, {available_cores()} cores for this process")
    yield Finding("python", OK, f"{platform.python_version()} ({sys.executable})")
    yield _numpy()
    yield _netcdf()
    yield _constriction()
    yield _vtk()
    yield from _torch()
    yield from _paraview()
    yield _display()
    yield _mpi()


def _rows(findings: list[Finding]) -> Iterator[tuple[str, str]]:
    for finding in findings:
        yield _MARKS[finding.state] + finding.name, finding.detail
        if finding.remedy:
            yield "", f"-> {finding.remedy}"


def _last_row(healthy: bool) -> tuple[str, str]:
    return "", "The suite can work here." if healthy else "The suite cannot work here yet."


def _numpy() -> Finding:
    version = _version("numpy")
    if version is None:
        return Finding(
            "numpy", PROBLEM, "not installed", "Run scripts/setup, or pip install numpy."
        )
    if _numbers(version)[:2] >= _NUMPY_LIMIT:
        remedy = 'ParaView up to 5.13 needs an older one: pip install "numpy<2.4".'
        return Finding("numpy", PROBLEM, version, remedy)
    return Finding("numpy", OK, version)


def _netcdf() -> Finding:
    from amgsrn_core.volume.netcdf.library import import_netcdf4

    try:
        module = import_netcdf4()
    except AmgsrnError as error:
        return Finding("netCDF4", PROBLEM, str(error), "Run scripts/setup, or pip install netCDF4.")
    return Finding("netCDF4", OK, f"{module.__version__} (netCDF {module.__netcdf4libversion__})")


def _constriction() -> Finding:
    version = _version("constriction")
    if version is None:
        return Finding(
            "constriction",
            NOTE,
            "not installed: compressed models can be neither read nor written",
            "Run scripts/setup, or pip install constriction (on Linux with ARM it needs Rust).",
        )
    return Finding("constriction", OK, version)


def _vtk() -> Finding:
    try:
        from vtkmodules.vtkCommonCore import vtkVersion
    except ImportError:
        return Finding(
            "vtkmodules",
            NOTE,
            "not importable by this Python: .vti and .vtr files are read only inside ParaView",
            "Make .venv with scripts/setup from the interpreter that ParaView embeds, or convert "
            "the volume to NetCDF.",
        )
    return Finding("vtkmodules", OK, vtkVersion.GetVTKVersion())


def _torch() -> Iterator[Finding]:
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Finding("torch", PROBLEM, f"cannot be imported ({error})", "Run scripts/setup.")
        return
    yield Finding("torch", OK, f"{torch.__version__}, {torch.get_num_threads()} threads")
    devices = [
        f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())
    ]
    if getattr(torch.backends, "mps", None) is not None and torch.backends.mps.is_available():
        devices.append("mps")
        yield from _mps()
    if not devices and shutil.which("nvidia-smi") and _runs(["nvidia-smi", "-L"]):
        reason = (
            "the installed torch is a CPU build"
            if torch.version.cuda is None
            else f"torch (CUDA {torch.version.cuda}) does not get along with the driver"
        )
        yield Finding(
            "devices",
            NOTE,
            f"cpu; an NVIDIA GPU is here but {reason}",
            "Install a torch build for this driver's CUDA version into .venv; see docs/gpu.md.",
        )
    else:
        yield Finding("devices", OK, ", ".join(["cpu", *devices]))
    yield _backend(devices[0] if devices else "cpu")
    if torch.cuda.is_available():
        from amgsrn_core.cli.gpu_rendering import check_devices, check_nerfacc
        from amgsrn_core.cli.gpu_training import check_graph, check_tcnn

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

    for training, what in ((False, "evaluated"), (True, "trained")):
        if lacking := missing_operator(torch.device("mps"), training=training):
            detail = f"this PyTorch lacks {lacking} there: models cannot be {what} with mps"
            yield Finding("mps", NOTE, detail, f"{REMEDY[0].upper()}{REMEDY[1:]}.")
            return


def _backend(device: str) -> Finding:
    """Say what computes by default on the device."""
    from amgsrn_core.kernels import load

    try:
        library = load()
    except AmgsrnError as error:
        return Finding("backend", PROBLEM, str(error), "Unset the variable.")
    if library is None:
        return Finding(
            "backend",
            NOTE,
            f"torch on {device}; the CPU kernels, several times faster than torch on a CPU, are "
            "not built",
            "Install cmake and g++, run scripts/setup, and see docs/kernels.md.",
        )
    kernels = f"native on the CPU ({library.isa}, {library.path})"
    return Finding("backend", OK, kernels if device == "cpu" else f"torch on {device}, {kernels}")


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


def _paraview() -> Iterator[Finding]:
    try:
        pvpython = paraview_launcher.find_program("pvpython")
    except AmgsrnError as error:
        yield Finding("paraview", NOTE, "not found; the library and the shell work", str(error))
        return
    yield Finding("paraview", OK, f"{_paraview_version() or 'unknown version'} ({pvpython})")
    try:
        folder = paraview_launcher.plugin_folder()
    except AmgsrnError as error:
        yield Finding("plugin", PROBLEM, "not found", str(error))
        return
    files = sorted(path.name for path in folder.iterdir() if path.suffix in (".xml", ".so", ".py"))
    yield Finding("plugin", OK, f"{', '.join(files)} in {folder}")
    yield from _paraview_python(str(pvpython))


def _paraview_python(pvpython: str) -> Iterator[Finding]:
    """Import the suite inside ParaView, as the plugin will, and look for what it registered."""
    seen = _seen_inside(pvpython)
    if isinstance(seen, Finding):
        yield seen
        return
    yield _judge_python(seen)
    yield _judge_neural_volume(seen, pvpython)


def _seen_inside(pvpython: str) -> dict[str, Any] | Finding:
    """Return what a program inside ParaView sees, or why there is nothing to be seen."""
    try:
        result = subprocess.run(
            [pvpython, "-c", _PARAVIEW_PROBE],
            env=paraview_launcher.paraview_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PARAVIEW_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        detail = f"{pvpython} does not run ({error})"
        return Finding(_PARAVIEW_PYTHON, PROBLEM, detail, "Repair ParaView.")
    line = re.search(r"^amgsrn-doctor (\{.*\})$", result.stdout, re.MULTILINE)
    if line is None:
        tail = (result.stderr.strip().splitlines() or ["no output"])[-1]
        return Finding(
            _PARAVIEW_PYTHON,
            PROBLEM,
            f"{pvpython} ended with status {result.returncode} ({tail})",
            "Try `amgsrn pvpython -c 'import torch, amgsrn_paraview'` by hand.",
        )
    return dict(json_module.loads(line[1]))


def _judge_python(seen: dict[str, Any]) -> Finding:
    ours = "{}.{}".format(*sys.version_info[:2])
    if seen["python"] != ours:
        return Finding(
            _PARAVIEW_PYTHON,
            PROBLEM,
            f"ParaView embeds Python {seen['python']}, this environment is Python {ours}",
            "Remove .venv and run scripts/setup, which makes it from ParaView's own version.",
        )
    failed = [key for key in ("numpy", "amgsrn_core", "amgsrn_paraview") if seen[key] is None]
    if failed:
        first = failed[0]
        return Finding(
            _PARAVIEW_PYTHON,
            PROBLEM,
            f"{first} cannot be imported inside ParaView ({seen[first + '_error']})",
            "Run scripts/setup.",
        )
    if seen["torch"] is None:
        return Finding(
            _PARAVIEW_PYTHON,
            NOTE,
            f"torch cannot be imported inside ParaView ({seen['torch_error']}): models can be "
            "trained there, in another process, but not evaluated",
            "Run scripts/setup.",
        )
    versions = f"{seen['python']} with numpy {seen['numpy']}, torch {seen['torch']}"
    return Finding(_PARAVIEW_PYTHON, OK, versions)


def _judge_neural_volume(seen: dict[str, Any], pvpython: str) -> Finding:
    name, compiled = "neural volume", paraview_launcher.neural_volume()
    if compiled is None:
        return Finding(
            name,
            NOTE,
            "not built: ParaView shows previews and reconstructions of models only",
            "Install ParaView's development files (Debian, Ubuntu: paraview-dev) and run "
            "scripts/setup.",
        )
    if not seen["neural_volume"]:
        return Finding(
            name,
            NOTE,
            f"{compiled} was built for another ParaView than {pvpython}",
            "Remove the folder build and run scripts/setup with this ParaView.",
        )
    return Finding(name, OK, str(compiled))


def _display() -> Finding:
    if display := os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        return Finding("display", OK, display)
    if find_server() is not None:
        return Finding("display", OK, "none; pvpython, pvbatch and pvserver get a virtual one")
    return Finding(
        "display",
        NOTE,
        "none, and no Xvfb",
        "Install the package xvfb, unless this ParaView renders off screen by itself.",
    )


def _mpi() -> Finding:
    mpiexec = shutil.which("mpiexec")
    if mpiexec is None:
        return Finding(
            "mpi",
            NOTE,
            "no mpiexec: pvbatch and pvserver run on one rank",
            "Install ParaView's MPI (Debian, Ubuntu: apt-get install openmpi-bin).",
        )
    return Finding("mpi", OK, mpiexec)


def _paraview_version() -> str | None:
    try:
        pvpython = paraview_launcher.find_program("pvpython")
    except AmgsrnError:
        return None
    text = _runs([str(pvpython), "--version"])
    found = re.search(r"\d+\.\d+(\.\d+)?", text or "")
    return found[0] if found else None


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1] if found else (platform.processor() or platform.machine())


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))


def _runs(command: list[str]) -> str | None:
    """Return what a short command prints, or None when it fails."""
    try:
        result = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout
