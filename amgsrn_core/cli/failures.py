"""What a failure looks like to the user: one sentence on standard error and an exit status."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass

from amgsrn_core.errors import AmgsrnError, first_sentence, is_device_lost, is_out_of_memory
from amgsrn_core.system.extras import sentence
from amgsrn_core.system.output import reason


class UsageError(Exception):
    """The command line itself is wrong; exit status 2."""


class Interrupted(Exception):
    """A signal ended the work early, and what was done is kept; the status tells the signal."""

    def __init__(self, message: str, number: int = signal.SIGINT) -> None:
        super().__init__(message)
        self.status = 128 + int(number)


@dataclass
class Result:
    """The exit status of the command that ran in :func:`reported`."""

    status: int = 0


@contextlib.contextmanager
def reported(debug: bool) -> Iterator[Result]:
    """Turn whatever the block raises into a sentence and a status, never into a traceback.

    With `debug` the traceback is printed before the sentence.
    """
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.WARNING, format="%(message)s", force=debug
    )
    result = Result()
    try:
        yield result
    except BrokenPipeError:
        # The reader of a pipe went away (`amgsrn info ... | head`): nothing to report.
        result.status = 128 + signal.SIGPIPE
        _discard_output()
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            traceback.print_exc()
        result.status, message = explain(error)
        print(f"amgsrn: {message}", file=sys.stderr)
        try:
            sys.stdout.flush()
        except OSError:
            _discard_output()


def explain(error: BaseException) -> tuple[int, str]:
    """Return the exit status for an error, and one sentence about it."""
    if isinstance(error, UsageError):
        return 2, str(error)
    if isinstance(error, Interrupted):
        return error.status, str(error)
    if isinstance(error, KeyboardInterrupt):
        return 128 + signal.SIGINT, "Interrupted."
    if isinstance(error, AmgsrnError):
        return 1, _one_line(str(error))
    if is_out_of_memory(error):
        return 1, (
            "There is not enough memory for this; use a smaller --batch, a smaller network, or "
            "another --device."
        )
    if is_device_lost(error):
        return 1, f"The GPU failed ({first_sentence(error)}); start it again, or use --device cpu."
    if isinstance(error, ModuleNotFoundError):
        return 1, sentence((error.name or "a package").partition(".")[0], "This")
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return 1, f"{where}{reason(error)}."
    return 1, (
        f"Unexpected {type(error).__name__}: {_one_line(str(error)) or 'no message'} "
        "(this is a mistake in the program; --debug shows where)."
    )


def _discard_output() -> None:
    """Let what standard output did not take go nowhere: flushing it at exit would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _one_line(text: str) -> str:
    return " ".join(text.split())
