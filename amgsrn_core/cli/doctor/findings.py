"""What the doctor says of one thing that it looked at."""

from __future__ import annotations

from dataclasses import dataclass

OK, NOTE, PROBLEM = "ok", "note", "problem"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    name : str
        What it is about; stable, for programs that read the JSON.
    state : {"ok", "note", "problem"}
        A note limits what can be done; a problem stops the suite from working.
    detail : str
        What was found.
    remedy : str
        What to do about it, or "".
    """

    name: str
    state: str
    detail: str
    remedy: str = ""


def as_sentence(words: str) -> str:
    """Return words that begin with a small letter, and lack a full stop, as a sentence."""
    return f"{words[0].upper()}{words[1:]}."
