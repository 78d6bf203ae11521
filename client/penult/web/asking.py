"""Calls to the server from pages: on threads, several at once, and never more than so many."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from anyio import CapacityLimiter, to_thread
from starlette.responses import HTMLResponse, Response

from penult.calls.catalog.results import Answer
from penult.client import Client
from penult.display.html import Trusted
from penult.web.rendering import NAVIGATION, render
from penult.web.security import masked
from penult.web.sessions import Session

if TYPE_CHECKING:
    from starlette.requests import Request

T = TypeVar("T")
THREADS = 16
"""Calls of all visitors that run at once."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of a visitor who has logged in."""

    request: Request
    session: Session
    limiter: CapacityLimiter
    address: str
    """Address of the server that is asked."""

    @property
    def client(self) -> Client:
        """The visitor's own client."""
        return self.session.client

    def field(self, name: str) -> str:
        """A part of the path, or a parameter of the query; empty without it."""
        return str(self.request.path_params.get(name) or self.request.query_params.get(name, ""))

    async def ask(self, call: Callable[[], T]) -> T:
        """What a call that blocks gives."""
        return await to_thread.run_sync(call, limiter=self.limiter)

    async def ask_all(self, *calls: Callable[[], Any]) -> list[Any]:
        """What several calls give, asked at once."""
        return await asyncio.gather(*(self.ask(call) for call in calls))

    async def answer(self, digest: str) -> Answer:
        """A stored answer, which is read once."""
        return await self.ask(lambda: self.session.kept(f"result {digest}", lambda: self.client.results.get(digest)))

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
            here=f"/{self.request.url.path.split('/')[1]}",
            form_token=self.form_token(),
            may_run=self.session.may_run,
            server=self.address,
            **values,
        )
        return HTMLResponse(content, status_code=status)
