"""Calls to the server from pages: on threads, several at once, and never more than so many."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from anyio import CapacityLimiter, to_thread
from starlette.responses import HTMLResponse, Response

from penult.client import Client
from penult.connection.scope import SCOPE, Scope
from penult.display.html import Trusted, is_digest
from penult.web.rendering import NAVIGATION, render
from penult.web.security import masked
from penult.web.sessions import Session
from penult.wire.references import Answer

if TYPE_CHECKING:
    from starlette.requests import Request

T = TypeVar("T")
THREADS, COMPUTATIONS = 16, 4
"""Calls of all visitors that run at once: that read, and that compute, for which no page has to wait."""
LOOK_SECONDS = 1.0
"""How often it is looked whether the browser still waits for a computation."""


class Limits:
    """How many calls of all visitors run at once. To be made where the event loop runs."""

    def __init__(self) -> None:
        self.reading, self.computing = CapacityLimiter(THREADS), CapacityLimiter(COMPUTATIONS)


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of a visitor who has logged in."""

    request: Request
    session: Session
    limits: Limits
    address: str
    """Address of the server that is asked."""

    @property
    def client(self) -> Client:
        """The visitor's own client."""
        return self.session.client

    @property
    def path(self) -> str:
        """The path that was asked for, without what browsers say of the host."""
        return str(self.request.scope["path"])

    def field(self, name: str) -> str:
        """A part of the path, or a parameter of the query; empty without it."""
        return str(self.request.path_params.get(name) or self.request.query_params.get(name, ""))

    async def ask(self, call: Callable[[], T]) -> T:
        """What a call that blocks gives."""
        return await to_thread.run_sync(call, limiter=self.limits.reading)

    async def ask_all(self, *calls: Callable[[], Any]) -> list[Any]:
        """What several calls give, asked at once."""
        return await asyncio.gather(*(self.ask(call) for call in calls))

    async def compute(self, call: Callable[[], T]) -> T:
        """What a computation gives. Given up, by the server, too, when the browser no longer waits for it."""
        scope, context = Scope(), copy_context()
        context.run(SCOPE.set, scope)
        answer = asyncio.ensure_future(to_thread.run_sync(context.run, call, limiter=self.limits.computing))
        try:
            while not answer.done():
                await asyncio.wait({answer}, timeout=LOOK_SECONDS)
                if not answer.done() and await self.request.is_disconnected():
                    scope.cancel()
            return await answer
        finally:
            scope.cancel()

    async def answer(self, which: str) -> Answer:
        """A stored answer by its digest, which is read once; or by a name or the start of a digest, which may move."""

        def read() -> Answer:
            return self.client.results.get(which)

        return await self.ask((lambda: self.session.kept(which, read)) if is_digest(which) else read)

    def form_token(self) -> str:
        """What a form of this visitor's page carries."""
        return masked(self.session.form_token)

    def page(self, title: str, *parts: str, template: str = "page.html", status: int = 200, **values: Any) -> Response:
        """A whole page of these parts."""
        content = render(
            template,
            title=title,
            parts=[Trusted(part) for part in parts],
            navigation=NAVIGATION,
            here=f"/{self.path.split('/')[1]}",
            form_token=self.form_token(),
            may_run=self.session.may_run,
            role=self.session.role,
            server=self.address,
            **values,
        )
        return HTMLResponse(content, status_code=status)
