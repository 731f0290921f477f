"""Files of the original code (APMGSRN and its successor AMGSRN++): models in and out, job files."""

from __future__ import annotations

from amgsrn_core.original.cache import OPTIONS_FILE, imported
from amgsrn_core.original.exporting import export_model
from amgsrn_core.original.importing import import_model

__all__ = ["OPTIONS_FILE", "export_model", "import_model", "imported"]
