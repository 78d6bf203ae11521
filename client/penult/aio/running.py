"""How a synchronous method is awaited, and what its answer becomes: jobs, for one, become jobs that are awaited."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import Any, Generic, TypeVar, cast
from weakref import WeakKeyDictionary

from penult.connection.scope import SCOPE, Scope
from penult.results.lists.listing import Listing

T = TypeVar("T")
S = TypeVar("S")
MOST_CALLS = 128
"""Calls of one event loop that run at once; others wait for their turn. Those that wait for a job are not counted."""
_PLACES: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


TWINS: dict[type[Any], Callable[[Any], Any]] = {}
"""What stands for what; `penult.aio.twins.jobs` says it."""


class Twin(Generic[S]):
    """What stands for an object of the synchronous client."""

    def __init__(self, sync: S) -> None:
        self.sync = sync
        """The object itself, for code that blocks."""

    def __repr__(self) -> str:
        return repr(self.sync)

    def _repr_html_(self) -> str:
        """The same for a notebook."""
        shown: Any = getattr(self.sync, "_repr_html_", None)
        return shown() if shown is not None else ""


async def awaited(method: Callable[..., T], *arguments: Any, **named: Any) -> T:
    """What a synchronous method gives. A task that is cancelled gives up its calls.

    Arguments of this package are those that they stand for, and jobs in the answer become twins.
    """
    loop = _running_loop()
    places = _PLACES.setdefault(loop, asyncio.Semaphore(MOST_CALLS))
    async with places:
        return await waited(method, *arguments, **named)


async def waited(method: Callable[..., T], *arguments: Any, **named: Any) -> T:
    """As `awaited`, of what may wait for days, such as for a job: it takes no place of a call."""
    loop = _running_loop()
    scope, answer = Scope(), loop.create_future()
    context = copy_context()
    context.run(SCOPE.set, scope)
    given = [plain(one) for one in arguments]
    by_name = {name: plain(one) for name, one in named.items()}

    def work() -> None:
        try:
            found, failure = context.run(method, *given, **by_name), None
        except BaseException as error:  # it is the awaiting task's
            found, failure = None, error
        # A loop that has ended says so by a RuntimeError: nobody waits then.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_give, answer, found, failure)

    threading.Thread(target=work, name="penult.aio", daemon=True).start()
    try:
        return twinned(await answer)
    except asyncio.CancelledError:
        scope.cancel()
        raise


def _running_loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "no event loop runs here: penult.aio is awaited within asyncio.run(...). After os.fork() the parent's loop "
            "does not run in the child, which needs an asyncio.run(...) of its own; its client may be used on"
        ) from None


def _give(answer: asyncio.Future[Any], found: Any, failure: BaseException | None) -> None:
    if answer.done():
        return
    if failure is None:
        answer.set_result(found)
    else:
        answer.set_exception(failure)


def plain(value: Any) -> Any:
    """A value as the synchronous client takes it: twins replaced by what they stand for, in lists and mappings, too."""
    if isinstance(value, Twin):
        return cast("Twin[Any]", value).sync
    if type(value) in (list, tuple):
        return type(value)(plain(one) for one in value)
    if type(value) is dict:
        return {key: plain(one) for key, one in cast("dict[Any, Any]", value).items()}
    return value


def twinned(value: Any) -> Any:
    """An answer of the synchronous client as this one gives it."""
    if isinstance(value, Listing):
        row: Any = value._row  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType, reportUnknownVariableType]
        members: list[Any] = list(cast("Listing[Any]", value))
        return Listing((twinned(one) for one in members), lambda one: row(plain(one)))
    for kind, twin in TWINS.items():
        if isinstance(value, kind):
            return twin(value)
    return value
