"""Completion with the Tab key, by argcomplete: ``amgsrn completion SHELL`` says what a shell needs.

The shell then starts ``amgsrn`` at each Tab with a variable of argcomplete's, and the parser itself
is asked what may follow.
"""

from __future__ import annotations

import argparse
from typing import Any

from amgsrn_core.cli.arguments import Parser
from amgsrn_core.system.extras import expect


def run(arguments: argparse.Namespace) -> int:
    """Print what the shell is to be told."""
    expect("argcomplete", "Completion")
    import argcomplete

    if arguments.shell == "zsh":  # which may not have loaded its completion system yet
        print("autoload -Uz compinit && compinit")
    print(argcomplete.shellcode(["amgsrn"], shell=arguments.shell))
    return 0


def complete(parser: Parser) -> None:
    """Tell the shell what may follow, and end this process."""
    import argcomplete

    for each in parser.commands.choices.values() if parser.commands else ():
        for action in each._actions:
            if action.dest == "variable":
                action.completer = _variables  # type: ignore[attr-defined]
    argcomplete.autocomplete(parser, always_complete_options="long")


def _variables(prefix: str, parsed_args: argparse.Namespace, **more: Any) -> list[str]:
    """Return the variables of the file that the command line names."""
    from amgsrn_core.volume.open import variable_names

    for option in ("volume", "against", "model"):
        path = getattr(parsed_args, option, None)
        if path and not str(path).endswith(".amgsrn"):
            return [name for name in variable_names(path) if not name.startswith("/")]
    return []
