"""What went wrong, as one sentence for ParaView's messages."""

from __future__ import annotations

import logging

from amgsrn_core.errors import AmgsrnError, first_sentence, is_device_lost, is_out_of_memory

_log = logging.getLogger(__name__)


def explain(error: Exception, label: str, out_of_memory: str) -> str:
    """Return a sentence on an error of the object called `label`.

    An error that nobody thought of is logged with its traceback.
    """
    if isinstance(error, AmgsrnError):
        return str(error)
    if is_out_of_memory(error):
        return f"There is not enough memory; {out_of_memory}."
    if is_device_lost(error):
        return (
            f"The GPU failed ({first_sentence(error)}); restart ParaView, or its server, before "
            "you use it again."
        )
    _log.error("%s failed", label, exc_info=error)
    kind = type(error).__name__
    return f"An internal error occurred ({kind}: {error}); please report it."
