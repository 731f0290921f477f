"""The command line, ``amgsrn``: one module per subcommand, options from the configurations.

Nothing heavy is imported before a command needs it: help, version and ``amgsrn info`` never pay
for PyTorch.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``amgsrn`` with the given arguments (default: the process's) and return its status.

    Returns
    -------
    int
        0 when everything succeeded, 2 for a wrong command line, 128 + the signal's number when
        interrupted, otherwise 1.
    """
    from amgsrn_core.cli.failures import reported
    from amgsrn_core.cli.parser import build_parser, parse, run

    if "_ARGCOMPLETE" in os.environ:
        from amgsrn_core.cli.completion import complete

        complete(build_parser())

    # Read when PyTorch is loaded. Threads that wait by spinning slow training down several times
    # over as soon as another program wants a core.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with contextlib.suppress(AttributeError):  # a file name need not be UTF-8
        sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
    arguments = list(sys.argv[1:] if argv is None else argv)
    with reported(debug="--debug" in arguments) as result:
        result.status = run(parse(arguments))
        sys.stdout.flush()
    return result.status
