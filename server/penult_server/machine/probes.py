"""Whether another machine has the same root: it finds a file there that was made just now."""

import secrets
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def probe_in(root: Path) -> Generator[str]:
    """A block in which a new file lies in a root, with its name in there."""
    name = f"cache/probe-{secrets.token_hex(16)}"
    (root / "cache").mkdir(parents=True, exist_ok=True)
    (root / name).touch()
    try:
        yield name
    finally:
        (root / name).unlink(missing_ok=True)
