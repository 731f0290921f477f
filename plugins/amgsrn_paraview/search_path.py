"""Where ParaView's Python finds the library and what it needs."""

from __future__ import annotations

import importlib.util
import site
import sys
from pathlib import Path


def extend_search_path() -> None:
    """Make ``amgsrn_core`` and its requirements importable, wherever this package was put.

    In a checkout or an installed tree the library lies beside the folder ``plugins`` and the
    virtual environment in ``.venv``; a wheel puts all into one folder. These go to the end of the
    search path: whatever ParaView brings itself (numpy above all) stays in front. Where the modules
    are importable already, nothing changes.
    """
    packages, root = Path(__file__).resolve().parents[1:3]
    if (packages / "amgsrn_core").is_dir():
        site.addsitedir(str(packages))
    if importlib.util.find_spec("amgsrn_core") is None and (root / "amgsrn_core").is_dir():
        sys.path.append(str(root))
    if importlib.util.find_spec("safetensors") is None:
        major, minor = sys.version_info[:2]
        for folder in (
            root / ".venv" / "lib" / f"python{major}.{minor}" / "site-packages",
            root / ".venv" / "Lib" / "site-packages",
        ):
            if folder.is_dir():
                site.addsitedir(str(folder))
