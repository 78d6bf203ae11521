"""The two ways to a client, as of the synchronous one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from penult import connecting
from penult.aio.running import awaited
from penult.aio.twins.client import Client

if TYPE_CHECKING:
    from pathlib import Path


async def connect(address: str | None = None, **options: Any) -> Client:
    """A client of the server at `address`; `options` and errors are those of `penult.connect`."""
    return Client(await awaited(connecting.connect, address, **options))


async def local(root: str | Path, **options: Any) -> Client:
    """A client of the store in `root`; `options` and errors are those of `penult.local`."""
    return Client(await awaited(connecting.local, root, **options))
