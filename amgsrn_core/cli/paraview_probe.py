"""What ParaView is, and what its Python sees of this suite: asked by a program that runs inside."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amgsrn_core.cli.paraview_launcher import paraview_environment
from amgsrn_core.errors import AmgsrnError

_SECONDS = 120
# numpy 2.4 removed functions that ParaView calls up to 6.0, and 6.1 does not.
_NUMPY_LIMIT, _PARAVIEW_BEYOND = (2, 4), (6, 1)

MODULES = ("numpy", "amgsrn_core.field.neural_volume", "amgsrn_paraview")
"""What the plugin imports; the first that cannot be imported is the reason for the others."""

# ParaView's own modules last: a numpy that is too new stops them.
_PROGRAM = f"""
import json, site, sys
seen = {{"python": "%d.%d" % sys.version_info[:2], "neural_volume": False}}
seen["user_site"] = site.getusersitepackages()
for name in {MODULES!r}:
    try:
        seen[name] = getattr(__import__(name), "__version__", "")
    except Exception as error:
        seen[name] = None
        seen[name + "_error"] = "%s: %s" % (type(error).__name__, error)
try:
    from paraview import servermanager
    version = servermanager.vtkSMProxyManager.GetParaViewSourceVersion()
    seen["paraview"] = version.split()[-1]
    from paraview import simple
    proxies = servermanager.ProxyManager().SMProxyManager
    seen["filters"] = proxies.HasDefinition("filters", "AMGSRNTrainer")
    seen["neural_volume"] = proxies.HasDefinition("representations", "NeuralVolumeRepresentation")
except Exception as error:
    seen["paraview_error"] = "%s: %s" % (type(error).__name__, error)
print("amgsrn-probe " + json.dumps(seen))
"""


@dataclass(frozen=True)
class Seen:
    """What a program inside ParaView saw.

    Attributes
    ----------
    paraview, python : str
        Their versions; "" for a ParaView that does not say.
    numpy : str
        Its version, or "".
    failure : str
        Why the suite cannot work inside, or "".
    has_filters, has_neural_volume : bool
        Whether the plugins that PV_PLUGIN_PATH names have been loaded.
    user_site : str
        The folder in which its Python looks for packages of this user.
    """

    paraview: str
    python: str
    numpy: str
    failure: str
    has_filters: bool
    has_neural_volume: bool
    user_site: str


class Probe:
    """A program inside ParaView, which begins at once and is asked later what it saw."""

    def __init__(self, pvpython: Path) -> None:
        self.pvpython = pvpython
        # Files: a pipe that nobody empties meanwhile would hold the program up.
        self._output, self._messages = (
            tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
            for _ in range(2)
        )
        self._failure = ""
        try:
            self._process = subprocess.Popen(
                [str(pvpython), "-c", _PROGRAM],
                env=paraview_environment(),
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._messages,
            )
        except OSError as error:
            self._failure = f"{pvpython} does not run ({error})"
        except AmgsrnError as error:
            self._failure = str(error)  # there is no plugin to look for

    def seen(self) -> Seen:
        """Wait, and return what there was to be seen.

        Raises
        ------
        AmgsrnError
            The program did not come to its end.
        """
        if not self._failure:
            try:
                status = self._process.wait(_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._failure = f"{self.pvpython} does not end within {_SECONDS} s"
        if self._failure:
            raise AmgsrnError(self._failure)
        line = re.search(r"^amgsrn-probe (\{.*\})$", _text(self._output), re.MULTILINE)
        if line is None:
            tail = (_text(self._messages).strip().splitlines() or ["no output"])[-1]
            raise AmgsrnError(f"{self.pvpython} ended with status {status} ({tail})")
        return _judged(json.loads(line[1]))


def version_numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version."""
    return tuple(int(number) for number in re.findall(r"\d+", version))


def numpy_is_too_new(numpy: str, paraview: str) -> bool:
    """Tell whether a ParaView does not get along with a numpy."""
    new = version_numbers(numpy)[:2] >= _NUMPY_LIMIT
    return new and bool(paraview) and version_numbers(paraview)[:2] < _PARAVIEW_BEYOND


def _judged(found: dict[str, Any]) -> Seen:
    numpy, paraview = found.get("numpy") or "", found.get("paraview") or ""
    failure = ""
    for name in MODULES:
        if found[name] is None:
            failure = f"{name} cannot be imported inside ParaView ({found[f'{name}_error']})"
            break
    if numpy_is_too_new(numpy, paraview):
        failure = f"ParaView {paraview} needs a numpy below 2.4, and finds {numpy}"
    elif not failure and "paraview_error" in found:
        failure = f"ParaView's own modules do not work ({found['paraview_error']})"
    return Seen(
        paraview=paraview,
        python=found["python"],
        numpy=numpy,
        failure=failure,
        has_filters=bool(found.get("filters")),
        has_neural_volume=bool(found["neural_volume"]),
        user_site=found.get("user_site", ""),
    )


def _text(file: Any) -> str:
    file.seek(0)
    return str(file.read())
