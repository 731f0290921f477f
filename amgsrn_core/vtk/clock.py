"""A window's event loop, where one runs: it may be asked for another frame."""

from __future__ import annotations

import time
import weakref
from typing import Any

_PAUSE = 10  # milliseconds between two frames, in which everything else gets its turn

# So long after a frame was due nobody is going to draw it.
_LATE_SECONDS = 2.0


class FrameClock:
    """The timers of one window's interactor; nothing here keeps the window alive.

    Scripts may have an interactor, too, and no event loop. That one runs shows when a timer fires.
    """

    def __init__(self) -> None:
        self._interactor = ""
        self._tags: list[int] = []
        self._due = 0.0
        self._is_running = self._is_wanted = False
        self._cameras: dict[str, str] = {}

    def is_interactive(self, renderer: Any) -> bool:
        """Return whether other frames can follow this one soon.

        Not so where no event loop runs, and in a screenshot: ParaView's leave the window as it is,
        and vtkWindowToImageFilter gives renderers another camera meanwhile.
        """
        window = renderer.GetRenderWindow()
        self._watch(window)
        if self._due and time.perf_counter() > self._due + _LATE_SECONDS:
            self._due, self._is_running = 0.0, False  # until another timer fires
        if _has_ended(window.GetInteractor()):
            self._is_running = False
        camera = renderer.GetActiveCamera().__this__
        is_shot = not window.GetSwapBuffers() or tuple(window.GetTileScale()) != (1, 1)
        is_same = self._cameras.get(renderer.__this__) == camera
        return self._is_running and is_same and not is_shot

    def ask(self, window: Any, *, frame: bool) -> None:
        """Ask for a tick soon, and for another frame with it."""
        self._is_wanted = frame
        interactor = window.GetInteractor()
        if interactor is not None and interactor.GetInitialized() and not self._due:
            self._due = time.perf_counter() + 1e-3 * _PAUSE
            interactor.CreateOneShotTimer(_PAUSE)

    def leave(self, window: Any) -> None:
        """Do not draw any more."""
        interactor = window.GetInteractor()
        if interactor is not None and interactor.__this__ == self._interactor:
            for tag in self._tags:
                interactor.RemoveObserver(tag)
        self._interactor, self._tags = "", []

    def _watch(self, window: Any) -> None:
        interactor = window.GetInteractor()
        if interactor is None or interactor.__this__ == self._interactor:
            return
        me = weakref.ref(self)

        def tick(caller: Any, _: str) -> None:
            clock = me()
            if clock is not None:
                clock._tick(caller)

        def stop(*_: Any) -> None:
            clock = me()
            if clock is not None:
                clock._is_running = False

        self._interactor, self._due, self._is_running = interactor.__this__, 0.0, False
        self._tags = [
            interactor.AddObserver("TimerEvent", tick),
            interactor.AddObserver("ExitEvent", stop),
        ]

    def _tick(self, interactor: Any) -> None:
        if not self._due or time.perf_counter() < self._due - 2e-3:
            return  # somebody else's timer
        self._due, self._is_running = 0.0, True
        window = interactor.GetRenderWindow()
        renderers = window.GetRenderers()
        found = [renderers.GetItemAsObject(i) for i in range(renderers.GetNumberOfItems())]
        self._cameras = {each.__this__: each.GetActiveCamera().__this__ for each in found}
        if self._is_wanted:
            self._is_wanted = False
            interactor.Render()


def _has_ended(interactor: Any) -> bool:
    """Return whether an interactor's own event loop has ended; not all versions of VTK tell."""
    return interactor is not None and bool(getattr(interactor, "GetDone", bool)())
