"""Drives ParaView's window from inside: clicks real widgets, and beats on the event loop's timer.

Clicks are queued on Qt's event loop, so that they happen as a user's do: with no Python underneath.
There is no Python binding of Qt in ParaView; three functions of its libraries are called directly.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import paraview.simple as pv
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkUnsignedCharArray

MENU = "pqClientMainWindow/menubar/menu{}/pqProxyGroupMenuManager0/{}"
PROPERTIES = "pqClientMainWindow/propertiesDock/propertiesPanel/"
PANEL = PROPERTIES + (
    "scrollArea/qt_scrollarea_viewport/scrollAreaWidgetContents/PropertiesFrame/ProxyPanel/"
)
BEAT_MS = 20


class Window:
    """ParaView's window: widgets by their names in ParaView's own test recordings."""

    def __init__(self) -> None:
        maps = Path("/proc/self/maps").read_text()
        self._core, self._naming, self._application = (
            ctypes.PyDLL(re.search(rf"/\S+/lib{name}[^/\s]*\.so\S*", maps)[0])
            for name in ("Qt[56]Core", "vtkqttesting", "pqCore")
        )
        self._get_object = self._naming._ZN14pqObjectNaming9GetObjectERK7QString
        self._get_object.restype = ctypes.c_void_p
        self._single_shot = self._core._ZN6QTimer10singleShotEiPK7QObjectPKc
        self._player = self._event_player()
        self._play = self._naming._ZN13pqEventPlayer9playEventERK7QStringS2_S2_Rb

    def find(self, name: str) -> int | None:
        return self._get_object(self._string(name))

    def call(self, name: str, slot: str) -> None:
        """Have the event loop call a slot of the object with this name."""
        found = self.find(name)
        if not found:
            raise LookupError(f"ParaView's window has no {name}")
        # Qt's code of a slot is 1, that of a signal 2.
        kind = 2 if slot.startswith("aboutTo") else 1
        self._single_shot(0, ctypes.c_void_p(found), f"{kind}{slot}()".encode())

    def type(self, name: str, text: str) -> None:
        """Type a text into a line of the property panel, without pressing Apply."""
        if not self.play(PANEL + name, "set_string", text):
            raise LookupError(f"the property panel has no {name} to type '{text}' into")

    def play(self, name: str, command: str, text: str) -> bool:
        """Do to a widget what ParaView's test recordings do; return whether it could be done."""
        failed = ctypes.c_bool(False)
        strings = [self._string(each) for each in (name, command, text)]
        self._play(self._player, *strings, ctypes.byref(failed))
        return not failed

    def open(self, path: Path) -> Callable[[], object]:
        """Choose File > Open; return what to wait for, which names the file in its dialog."""
        self.call("pqClientMainWindow/menubar/menu_File/actionFileOpen", "trigger")
        dialog = "pqClientMainWindow/FileOpenDialog"
        return lambda: self.find(dialog) and self.play(dialog, "filesSelected", str(path))

    def choose(self, menu: str, proxy: str) -> None:
        # Later ParaViews enable the entries when their menu opens.
        self.call(f"pqClientMainWindow/menubar/menu{menu}", "aboutToShow")
        self.call(MENU.format(menu, proxy), "trigger")

    def press(self, button: str) -> None:
        """Press a button of the property panel: Accept (Apply), Delete, or a command's."""
        panel = PROPERTIES + button
        self.call(panel if self.find(panel) else f"{PANEL}{button}/1QPushButton0", "click")

    def _string(self, text: str):
        encoded = text.encode()
        try:
            new_string = self._core._ZN7QString17fromLatin1_helperEPKci
        except AttributeError:  # Qt 6, whose strings are three words long
            string = (ctypes.c_void_p * 3)()
            self._core._ZN7QString8fromUtf8E14QByteArrayView(
                ctypes.byref(string), ctypes.c_ssize_t(len(encoded)), encoded
            )
            return ctypes.byref(string)
        new_string.restype = ctypes.c_void_p
        return ctypes.byref(ctypes.c_void_p(new_string(encoded, len(encoded))))

    def _event_player(self) -> ctypes.c_void_p:
        instance = self._application._ZN17pqApplicationCore8instanceEv
        utility = self._application._ZN17pqApplicationCore11testUtilityEv
        player = self._naming._ZN13pqTestUtility11eventPlayerEv
        for function in (instance, utility, player):
            function.restype = ctypes.c_void_p
        found = player(ctypes.c_void_p(utility(ctypes.c_void_p(instance()))))
        return ctypes.c_void_p(found)

    def photograph(self, name: str) -> None:
        """Keep the screen as it is; the test turns it into a picture."""
        pictures = Path(os.environ["AMGSRN_TEST_PICTURES"])
        shutil.copy(os.environ["AMGSRN_TEST_PICTURE"], pictures / f"{name}.xwd")

    def quit(self) -> None:
        """Close ParaView."""
        self.call("pqClientMainWindow", "close")


def status() -> str:
    """Return what the Neural Volume that is shown last says of its picture."""
    display = pv.GetDisplayProperties(view=pv.GetActiveView())
    display.UpdatePropertyInformation()
    return str(display.GetProperty("NeuralStatus"))


def is_refined() -> bool:
    return "100% refined" in status()


def coloured(view: object) -> int:
    """Return how many pixels of a view have a colour, which axes and texts have not."""
    shown, pixels = view.GetRenderWindow(), vtkUnsignedCharArray()
    width, height = shown.GetSize()
    shown.GetPixelData(0, 0, width - 1, height - 1, 1, pixels, 0)
    return int((np.ptp(vtk_to_numpy(pixels).astype(int), axis=1) > 40).sum())


class Heart:
    """Beats on the event loop and walks through a scenario, one step per beat at most.

    A scenario yields seconds to wait, or a function to wait for until it returns something true.
    """

    def __init__(
        self,
        scenario: Iterator[float | Callable[[], object]],
        patience: float,
        on_end: Callable[[], None],
    ) -> None:
        self.gaps: list[tuple[str, float]] = []
        self.phase = "start"
        self.error = ""
        self._is_stepping = False
        self._on_end = on_end
        self._scenario, self._patience = scenario, patience
        self._until: Callable[[], object] = lambda: True
        self._last = self._asked = time.monotonic()
        self._interactor = pv.GetActiveView().GetInteractor()
        self._interactor.AddObserver("TimerEvent", self._beat)
        self._timer = self._interactor.CreateRepeatingTimer(BEAT_MS)

    def longest(self, phase: str) -> float:
        return max((gap for name, gap in self.gaps if name == phase), default=0.0)

    def _beat(self, _caller: object, _event: str) -> None:
        now = time.monotonic()
        self.gaps.append((self.phase, now - self._last))
        self._last = now
        if self._is_stepping:
            return  # ParaView 6 lets timers beat while a script's step updates a pipeline
        self._is_stepping = True
        try:
            if self._until():
                step = next(self._scenario)
                self._asked = now
                if callable(step):
                    self._until = step
                else:
                    end = time.monotonic() + step
                    self._until = lambda: time.monotonic() >= end
            elif now - self._asked > self._patience:
                raise TimeoutError(f"waited in vain in phase '{self.phase}'")
        except StopIteration:
            self._stop()
        except Exception:
            self.error = traceback.format_exc()
            self._stop()
        finally:
            self._is_stepping = False
        self._last = time.monotonic()

    def _stop(self) -> None:
        self._interactor.DestroyTimer(self._timer)
        self._on_end()


def play(
    window: Window,
    scenario: Iterator[float | Callable[[], object]],
    seen: dict,
    patience: float = 60,
    on_end: Callable[[Heart], object] = lambda heart: None,
) -> Heart:
    """Walk through a scenario, then write what was seen, and the error, and close ParaView.

    `on_end` is called before, with the heart that beats.
    """

    def end() -> None:
        on_end(heart)
        seen["error"] = heart.error
        Path(os.environ["AMGSRN_TEST_RESULTS"]).write_text(json.dumps(seen))
        window.quit()

    heart = Heart(scenario, patience, end)
    return heart
