"""Whether this process was told to end: its work should stop where it can be continued."""

from __future__ import annotations

import threading

termination = threading.Event()
"""Set once, by whatever asks the process to end."""
