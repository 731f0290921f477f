"""The plugin for ParaViews that load Python plugins: it finds everything else by its own place.

ParaView 5.11 with Python 3.11 cannot load any Python plugin; there, ``xml/AMGSRN.xml`` is the
plugin, and the folder of ``amgsrn_paraview`` has to be on PYTHONPATH.
"""

import importlib.util
import sys
from pathlib import Path

_FOLDER = Path(__file__).resolve().parent

# In a checkout the package lies beside this file; a wheel has this file within the package.
_PACKAGES = _FOLDER if (_FOLDER / "amgsrn_paraview").is_dir() else _FOLDER.parents[1]

if str(_PACKAGES) not in sys.path:
    sys.path.append(str(_PACKAGES))

_FOUND = Path(importlib.util.find_spec("amgsrn_paraview").origin).resolve().parent

if (_PACKAGES / "amgsrn_paraview").resolve() != _FOUND:
    raise ImportError(
        f"Another AMGSRN suite comes first on ParaView's path, in {_FOUND.parent}, before that in "
        f"{_PACKAGES}: load the plugin of that one, or remove it from PYTHONPATH or its "
        "environment."
    )

paraview_plugin_name = "AMGSRN"


try:
    from amgsrn_paraview import hook
except ImportError:  # no ParaView: somebody looks at the file
    pass
else:
    hook.start()


class Proxies:
    """Hands the server-manager XML to ParaView, which looks for this attribute."""

    _pvsm_proxy_xml = (_FOLDER.parent / "xml" / "AMGSRN.xml").read_text(encoding="utf-8")
