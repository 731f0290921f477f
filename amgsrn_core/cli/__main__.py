"""``python -m amgsrn_core.cli``: the same as ``amgsrn``."""

from __future__ import annotations

import sys

from amgsrn_core.cli import main

sys.exit(main())
