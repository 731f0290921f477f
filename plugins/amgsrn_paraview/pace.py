"""How often a training shows its news: about once a second, and the window stays free."""

from __future__ import annotations

import time

_SECONDS = 1.0


class Pace:
    """Tells when to show news.

    ParaView's window asks whenever it has nothing else to do. From showing to the first question
    after it, the window was busy: with the update itself and with drawing all views. It is then
    left alone for as long at least, however slow the computer is.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._next: float | None = 0.0

    def show(self) -> None:
        """Begin to show something."""
        self._began, self._next = time.monotonic(), None

    def is_time(self) -> bool:
        """Tell whether to show something else, if there is."""
        now = time.monotonic()
        if self._next is None:
            busy = now - self._began
            self._next = now + max(_SECONDS - busy, busy)
        return now >= self._next
