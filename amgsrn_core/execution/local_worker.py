"""A worker process of :class:`LocalExecutor`: calls in, results out."""

from __future__ import annotations

import logging
import os
import pickle
import queue
import signal
import sys
import threading
import time
from types import FrameType
from typing import IO

from amgsrn_core.errors import DeviceError, DeviceLostError, TrainingError
from amgsrn_core.execution.local import ERROR, LAST, RESULT, UNUSABLE, receive, send
from amgsrn_core.execution.termination import termination

_END_SECONDS = 30.0


def main() -> int:
    """Serve until the program that started this process closes its pipe, or ends."""
    calls: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def terminate(number: int, frame: FrameType | None) -> None:
        termination.set()
        calls.put(None)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, terminate)
    incoming, results = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not end up between the results
    threading.Thread(target=_listen, args=(incoming, calls), daemon=True).start()
    while (message := calls.get()) is not None and not termination.is_set():
        kind, answer = _answer(message)
        try:
            send(results, answer)
        except BrokenPipeError:  # nobody waits for it any more
            break
        if kind == LAST:
            break
    return 0


def _answer(message: bytes) -> tuple[str, bytes]:
    """Do a call; return what kind of answer there is, and the answer."""
    try:
        function, arguments, options = pickle.loads(message)
        return RESULT, pickle.dumps((RESULT, function(*arguments, **options)))
    except Exception as error:
        logging.exception("A call failed")
        kind = LAST if isinstance(error, DeviceLostError) else ERROR
        kind = UNUSABLE if isinstance(error, DeviceError) else kind
        try:
            pickle.loads(answer := pickle.dumps((kind, error)))
            return kind, answer
        except Exception:  # an exception of a class that does not pickle
            return kind, pickle.dumps((kind, TrainingError(f"{type(error).__name__}: {error}")))


def _listen(pipe: IO[bytes], calls: queue.SimpleQueue[bytes | None]) -> None:
    while (message := receive(pipe)) is not None:
        calls.put(message)
    termination.set()
    calls.put(None)
    # The call on stops where it can be continued; one that cannot must not outlive the program.
    time.sleep(_END_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    sys.exit(main())
