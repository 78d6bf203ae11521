"""The page's application: its addresses, and what is said when something fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from anyio import to_thread
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from penult.errors import NotFound, PenultError, ServerBug, Unauthenticated
from penult.web import actions, downloads
from penult.web.asking import Limits, Visit
from penult.web.entering import Entrance, status_of
from penult.web.pages import answers, compare, deleting, groups, job, jobs, merges, neighbours, runs, server, store
from penult.web.rendering import HERE, digest_of_file
from penult.web.security import SecureHeaders
from penult.web.sessions import Sessions
from penult_proto.errors import ErrorKind

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Scope

Page = Callable[[Visit], Awaitable[Response]]
PAGES: dict[str, Page] = {
    "/jobs": jobs.jobs,
    "/jobs/rows": jobs.rows,
    "/jobs/{id}": job.job,
    "/jobs/{id}/curve": job.curve,
    "/jobs/{id}/log": job.log,
    "/jobs/{id}/events": job.events,
    "/runs": runs.runs,
    "/runs/{id}": runs.run,
    "/spectra": answers.spectra,
    "/refits": answers.refits,
    "/diagnostics": answers.diagnostics,
    "/results/{id:path}": answers.result,
    "/features/{id:path}": answers.features,
    "/groups": groups.groups,
    "/neighbours": neighbours.neighbours,
    "/groupings/{id}": groups.grouping,
    "/examples": groups.examples,
    "/merges": merges.merges,
    "/checkpoints/{id}": merges.checkpoint,
    "/compare": compare.compare,
    "/report": downloads.report,
    "/store": store.store,
    "/datasets/{id:path}": store.dataset,
    "/delete/{kind}/{id:path}": deleting.deleting,
    "/server": server.server,
}
FORMS: dict[str, Page] = {
    "/jobs/{id}/cancel": actions.cancel,
    "/spectra": actions.spectra,
    "/refits": actions.refit,
    "/delete/{kind}/{id:path}": actions.delete,
}
CLOSING_SECONDS = 60.0
"""How often sessions of visitors who have left are closed."""
log = logging.getLogger("penult.web")


class Site:
    """The page of one server."""

    def __init__(self, sessions: Sessions, *, address: str, tls: bool) -> None:
        """`address`: of the server, for people to see; `tls`: whether browsers reach this process by it."""
        self._entrance = Entrance(sessions, address=address, tls=tls)
        self._sessions, self._address = sessions, address
        self._limits: Limits | None = None

    def app(self) -> ASGIApp:
        """The application."""
        routes = [
            Route("/", _first),
            Route("/login", self._entrance.login_form, methods=["GET"]),
            Route("/login", self._entrance.login, methods=["POST"]),
            Route("/logout", self._entrance.logout, methods=["POST"]),
            *(Route(at, self._visited(page), methods=["POST"]) for at, page in FORMS.items()),
            *(Route(at, self._visited(page), methods=["GET"]) for at, page in PAGES.items()),
            Mount("/static", _Static(directory=HERE / "static")),
            Route("/{other:path}", self._visited(_nothing)),
        ]
        compressed = [Middleware(GZipMiddleware, minimum_size=1000, compresslevel=6)]
        return SecureHeaders(Starlette(routes=routes, middleware=compressed, lifespan=self._living))

    @asynccontextmanager
    async def _living(self, app: Starlette) -> AsyncGenerator[None]:
        self._limits = Limits()
        closing = asyncio.create_task(self._close_idle())
        yield
        closing.cancel()
        await to_thread.run_sync(self._sessions.close_all)

    async def _close_idle(self) -> None:
        while True:
            await asyncio.sleep(CLOSING_SECONDS)
            await to_thread.run_sync(self._sessions.close_idle)

    def _visited(self, page: Page) -> Callable[[Request], Awaitable[Response]]:
        """A page for visitors who have logged in; others are asked to."""

        async def visited(request: Request) -> Response:
            session = self._entrance.of(request)
            if session is None:
                return self._entrance.turn_away(request)
            assert self._limits is not None
            visit = Visit(request, session, self._limits, self._address)
            try:
                return await page(visit)
            except Unauthenticated as error:
                await self._entrance.leave(request)
                return self._entrance.asks(error.message, "/", 401)
            except Exception as error:
                if self._entrance.of(request) is not session:  # logged out meanwhile, in another window
                    return self._entrance.turn_away(request)
                return _failure(visit, error)

        return visited


def _failure(visit: Visit, error: Exception) -> Response:
    """What a page says that could not be made."""
    if not isinstance(error, PenultError):
        log.exception("the page %s could not be made", visit.path, exc_info=error)
        error = ServerBug(
            "this page could not be made, by a mistake of its program: what printed its address has printed more",
            kind=ErrorKind.INTERNAL,
        )
    status = status_of(error)
    response = visit.page(
        f"{error.kind}".replace("_", " "),
        template="error.html",
        status=status,
        said=error.message,
        retryable=error.retryable,
    )
    if status == 503:
        response.headers["retry-after"] = "2"
    return response


async def _first(request: Request) -> Response:
    return RedirectResponse("/jobs", 303)


async def _nothing(visit: Visit) -> Response:
    raise NotFound(f"there is no page {visit.path[:200]}", kind=ErrorKind.UNKNOWN_RESULT)


class _Static(StaticFiles):
    """Files of this package, which a browser keeps by the digest that its address names, and else asks for anew."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        digest = digest_of_file(path)
        is_named = bool(digest) and scope["query_string"].decode("latin-1") == f"v={digest}"
        response.headers["cache-control"] = "private, max-age=31536000, immutable" if is_named else "no-cache"
        return response
