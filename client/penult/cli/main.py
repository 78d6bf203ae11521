"""``penult COMMAND``: which commands there are, and how they end."""

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

INTERRUPTED = 130
"""What shells expect of a command that Ctrl-C ended."""
OF_TOKENS = [["token", "create"], ["token", "list"], ["token", "revoke"]]
"""Commands that work on the registry of a root, whether a server runs there or not."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0, 1 when it failed, 2 when it was called wrongly."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        of_cluster = given[:1] == ["doctor"] and "--cluster" in given
        if given[:1] in (["serve"], ["store"]) or given[:2] in OF_TOKENS or of_cluster:
            _become_the_server(given)
        # Imported here: a server starts without it.
        from penult.cli.commands import run

        return run(given)
    except ImportError as error:
        sys.stderr.write(f"penult: {error}\n")
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


def _become_the_server(given: list[str]) -> NoReturn:
    """Become the server's program: its own options, unknown here, are left to it."""
    from penult.connection.embedded import require_server

    require_server(f"`penult {given[0]}` is the server's")
    os.execv(sys.executable, [sys.executable, "-m", "penult_server", *given])
