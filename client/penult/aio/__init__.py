"""The client for asyncio: every method of `penult.Client` and of its collections, to be awaited.

    import asyncio
    from penult import aio

    async def main():
        async with await aio.connect("gpu-box:7711") as client:
            sets = await client.features.list(split="val")
            refits = await asyncio.gather(*(client.refit(one, preset="dfr") for one in sets))

What asks the server is awaited, what only looks at a record is not. Cancelling a task gives up its calls, at the
server, too; it never cancels a job. Calls run on threads and share the channel of the synchronous client; so a client
serves several event loops, one after the other, and works after a fork as that does.

`twins` are generated from the synchronous client: ``python -m penult.aio.generate``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penult.aio.opening import connect, local
    from penult.aio.twins.client import Client
    from penult.aio.twins.jobs import Job, JobGroup

__all__ = ["Client", "Job", "JobGroup", "connect", "local"]
_WHERE = {
    **dict.fromkeys(("connect", "local"), "opening"),
    **dict.fromkeys(("Job", "JobGroup"), "twins.jobs"),
    "Client": "twins.client",
}


def __getattr__(name: str) -> Any:
    """A name of this package, whose module is loaded when it is first used."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
