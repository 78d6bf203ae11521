"""Standard output kept for messages."""

import os
from typing import IO


def own_stdout() -> IO[str]:
    """A handle on this process's output for messages alone; what libraries print goes where errors go."""
    messages = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    return messages
