"""nerfacc's compiled CUDA operators: loaded where they are, built only when somebody asks for that.

nerfacc by itself compiles them when one is first used, which takes minutes, needs a CUDA toolkit, a
C++ compiler and ninja, and waits for ever where a build was killed before: not inside a picture.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import logging
import os
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path

import torch

from amgsrn_core.errors import ConfigurationError, first_sentence
from amgsrn_core.system.run_folder import try_lock

_log = logging.getLogger(__name__)

_NAME = "nerfacc_cuda"
_REMEDY = "`amgsrn doctor --build` builds them."
BUILD_SECONDS = 1800.0
_POLL_SECONDS = 0.2
# As nerfacc does it; it tells nothing by its exit status.
_BUILD = "import nerfacc.cuda._backend as b, sys; sys.exit(b._C is None)"


@functools.lru_cache(maxsize=1)
def load() -> bool:
    """Make the operators ready for nerfacc's own functions; return whether there are any.

    Nothing is built. What keeps them from loading is logged, once.
    """
    if not torch.cuda.is_available():
        return False
    try:
        module = _compiled()
    except (ImportError, OSError) as error:
        _log.warning("nerfacc's operators cannot be loaded (%s); PyTorch does without them.", error)
        return False
    if module is None:
        _log.info("nerfacc's operators are not built; PyTorch does without them. %s", _REMEDY)
        return False
    # The module that would build them holds nothing but what we have found.
    backend = types.ModuleType("nerfacc.cuda._backend")
    backend._C = module  # type: ignore[attr-defined]
    sys.modules[backend.__name__] = backend
    return True


def failure() -> str:
    """Return why there are no operators here, or "" where there are."""
    if load():
        return ""
    if not torch.cuda.is_available():
        return "there is no CUDA device that this PyTorch can use"
    try:
        module = _compiled()
    except (ImportError, OSError) as error:
        return f"its operators cannot be loaded ({error})"
    return "its operators are not built" if module is None else "its operators cannot be loaded"


def build(seconds: float = BUILD_SECONDS) -> None:
    """Build the operators in another process, one at a time on this computer.

    Parameters
    ----------
    seconds : float, default: 30 minutes
        After so long the build is ended.

    Raises
    ------
    ConfigurationError
        They cannot be built; the message has the compiler's last words.
    """
    if torch.version.cuda is None:
        raise ConfigurationError(
            f"nerfacc's operators cannot be built for PyTorch {torch.__version__}, which has no "
            "CUDA; install a build that has (see docs/gpu.md), or do without them."
        )
    folder = library().parent
    deadline = time.monotonic() + seconds
    with _alone(folder, deadline):
        if library().exists():
            return
        with contextlib.suppress(OSError):
            # PyTorch waits for whoever made it, and who was killed: our own lock is free.
            (folder / "lock").unlink()
        process = subprocess.Popen(
            [sys.executable, "-c", _BUILD],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # so that compilers end with it
        )
        try:
            said, _ = process.communicate(timeout=max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise ConfigurationError(
                f"Building nerfacc's operators took more than {seconds:g} s and was ended; look "
                "for what keeps the compiler busy, and try again."
            ) from None
        finally:
            _end(process)
        load.cache_clear()
        if process.returncode or not (library().exists() or _installed()):
            words = [line.strip() for line in said.splitlines() if line.strip()]
            last = words[-1].rstrip(".") if words else "it said nothing"
            raise ConfigurationError(
                f"nerfacc's operators cannot be built ({last}); that needs nvcc of PyTorch's CUDA "
                f"{torch.version.cuda or 'version'}, its development files, a C++ compiler and "
                "ninja. Pictures do without them."
            )


def library() -> Path:
    """Return where the built operators are, or would be."""
    from torch.utils.cpp_extension import _get_build_directory

    return Path(_get_build_directory(_NAME, verbose=False), f"{_NAME}.so")


def _compiled() -> types.ModuleType | None:
    """Return the operators that are installed with nerfacc or have been built; None without."""
    if _installed():
        return importlib.import_module("nerfacc.csrc")
    path = library()
    if not path.exists() or (path.parent / "lock").exists():
        return None
    spec = importlib.util.spec_from_file_location(_NAME, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        raise ImportError(f"{path}: {first_sentence(error)}") from error
    return module


def _installed() -> bool:
    return importlib.util.find_spec("nerfacc.csrc") is not None


@contextlib.contextmanager
def _alone(folder: Path, deadline: float) -> Iterator[None]:
    """Wait until no other process of this computer builds."""
    handle = os.open(folder.with_name(f"{_NAME}.amgsrn-lock"), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        while not try_lock(handle):
            if time.monotonic() > deadline:
                raise ConfigurationError(
                    "Another process is building nerfacc's operators; try again later."
                )
            time.sleep(_POLL_SECONDS)
        yield
    finally:
        os.close(handle)


def _end(process: subprocess.Popen[str]) -> None:
    """End a process with all that it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, 9)
    process.kill()
    process.wait()
