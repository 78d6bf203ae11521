"""The page's application: its addresses, who may open them, and what is said when something fails."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from penult.errors import (
    Busy,
    Conflict,
    InvalidRequest,
    NotAllowed,
    NotFound,
    PenultError,
    Unauthenticated,
    Unavailable,
)
from penult.web import actions, downloads
from penult.web.asking import THREADS, Visit
from penult.web.pages import answers, compare, groups, jobs, merges, runs, store
from penult.web.rendering import HERE, NAVIGATION, render
from penult.web.security import SecureHeaders, form_of, inner_path, masked
from penult.web.sessions import Session, Sessions

if TYPE_CHECKING:
    from starlette.requests import Request

COOKIE = "penult_session"
Page = Callable[[Visit], Awaitable[Response]]
PAGES: dict[str, Page] = {
    "/jobs": jobs.jobs,
    "/jobs/rows": jobs.rows,
    "/jobs/{id}": jobs.job,
    "/jobs/{id}/curve": jobs.curve,
    "/jobs/{id}/log": jobs.log,
    "/jobs/{id}/events": jobs.events,
    "/runs": runs.runs,
    "/runs/{id}": runs.run,
    "/spectra": answers.spectra,
    "/refits": answers.refits,
    "/diagnostics": answers.diagnostics,
    "/results/{id:path}": answers.result,
    "/features/{id:path}": answers.features,
    "/groups": groups.groups,
    "/groupings/{id}": groups.grouping,
    "/examples": groups.examples,
    "/merges": merges.merges,
    "/checkpoints/{id}": merges.checkpoint,
    "/compare": compare.compare,
    "/report": downloads.report,
    "/store": store.store,
    "/datasets/{id:path}": store.dataset,
    "/delete/{kind}/{id:path}": store.deleting,
    "/server": store.server,
}
FORMS: dict[str, Page] = {
    "/jobs/{id}/cancel": actions.cancel,
    "/spectra": actions.spectra,
    "/refits": actions.refit,
    "/delete/{kind}/{id:path}": actions.delete,
}
STATUS: tuple[tuple[type[PenultError], int], ...] = (
    (Unauthenticated, 401),
    (NotAllowed, 403),
    (NotFound, 404),
    (Conflict, 409),
    (InvalidRequest, 400),
    (Busy, 503),
    (Unavailable, 503),
)


class Site:
    """The page of one server."""

    def __init__(self, sessions: Sessions, *, address: str, tls: bool) -> None:
        """`address`: of the server, for people to see; `tls`: whether browsers reach this process by it."""
        self._sessions, self._address, self._tls = sessions, address, tls
        self._limiter: CapacityLimiter | None = None

    def app(self) -> Starlette:
        """The application."""
        routes = [
            Route("/", self._first),
            Route("/login", self._login_form, methods=["GET"]),
            Route("/login", self._login, methods=["POST"]),
            Route("/logout", self._logout, methods=["POST"]),
            *(Route(at, self._visited(page), methods=["POST"]) for at, page in FORMS.items()),
            *(Route(at, self._visited(page), methods=["GET"]) for at, page in PAGES.items()),
            Mount("/static", _Static(directory=HERE / "static")),
            Route("/{other:path}", self._visited(_nothing)),
        ]
        middleware = [Middleware(SecureHeaders, tls=self._tls), Middleware(GZipMiddleware, minimum_size=1000)]
        return Starlette(routes=routes, middleware=middleware, lifespan=self._living)

    @asynccontextmanager
    async def _living(self, app: Starlette) -> AsyncGenerator[None]:
        self._limiter = CapacityLimiter(THREADS)
        yield
        await to_thread.run_sync(self._sessions.close_all)

    async def _first(self, request: Request) -> Response:
        return RedirectResponse("/jobs", 303)

    async def _login_form(self, request: Request) -> Response:
        return self._asks_for_token("", inner_path(request.query_params.get("next", "/")), 200)

    def _asks_for_token(self, said: str, after: str, status: int) -> Response:
        content = render("login.html", said=said, after=after, server=self._address)
        return HTMLResponse(content, status_code=status)

    async def _login(self, request: Request) -> Response:
        """Open a session for a token; the cookie holds a random id alone."""
        after = "/"
        try:
            form = await form_of(request, None)
            after = inner_path(form.get("next", ["/"])[0])
            token = form.get("token", [""])[0].strip()
            if not token or not token.isascii() or not token.isprintable():
                return self._asks_for_token(
                    "A token is printable ASCII text, as penult token create prints it.", after, 400
                )
            id = await to_thread.run_sync(self._sessions.open, token, limiter=self._limiter)
        except PenultError as error:
            return self._asks_for_token(error.message, after, status_of(error))
        response = RedirectResponse(after, 303)
        response.set_cookie(COOKIE, id, httponly=True, samesite="strict", secure=self._tls, path="/")
        return response

    async def _logout(self, request: Request) -> Response:
        id = request.cookies.get(COOKIE, "")
        session = self._sessions.get(id)
        try:
            if session is not None:
                await form_of(request, session.form_token)
        except PenultError as error:
            return self._asks_for_token(error.message, "/", 403)
        await to_thread.run_sync(self._sessions.close, id)
        response = RedirectResponse("/login", 303)
        response.delete_cookie(COOKIE, path="/")
        return response

    def _visited(self, page: Page) -> Callable[[Request], Awaitable[Response]]:
        """A page for visitors who have logged in; others are asked to."""

        async def visited(request: Request) -> Response:
            id = request.cookies.get(COOKIE, "")
            session = self._sessions.get(id)
            if session is None:
                return self._without_session(request)
            assert self._limiter is not None
            visit = Visit(request, session, self._limiter, self._address)
            try:
                return await page(visit)
            except Unauthenticated as error:
                await to_thread.run_sync(self._sessions.close, id)
                return self._asks_for_token(error.message, "/", 401)
            except PenultError as error:
                return self._failure(session, request, error)

        return visited

    def _without_session(self, request: Request) -> Response:
        """The way to the login for a browser that opens a page; a plain 401 for parts of pages, and for programs."""
        if request.method == "GET" and request.headers.get("sec-fetch-mode") == "navigate":
            after = inner_path(f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path)
            return RedirectResponse(f"/login?{urlencode({'next': after})}", 303)
        return self._asks_for_token("", inner_path(request.url.path), 401)

    def _failure(self, session: Session, request: Request, error: PenultError) -> Response:
        """What a page says that could not be made."""
        status = status_of(error)
        content = render(
            "error.html",
            title=f"{error.kind}".replace("_", " "),
            said=error.message,
            retryable=error.retryable,
            navigation=NAVIGATION,
            here="",
            server=self._address,
            may_run=session.may_run,
            form_token=masked(session.form_token),
        )
        headers = {"retry-after": "2"} if status == 503 else None
        return HTMLResponse(content, status_code=status, headers=headers)


class _Static(StaticFiles):
    """Files of this package; a browser asks each time whether they have changed."""

    def file_response(self, *arguments: object, **options: object) -> Response:
        response = super().file_response(*arguments, **options)  # pyright: ignore[reportArgumentType]
        response.headers["cache-control"] = "no-cache"
        return response


async def _nothing(visit: Visit) -> Response:
    raise NotFound(f"there is no page {visit.request.url.path[:200]}", kind="unknown_result")


def status_of(error: PenultError) -> int:
    """The status of HTTP that says what an error means."""
    return next((status for kind, status in STATUS if isinstance(error, kind)), 500)
