"""Who may come in: the login by a token, the cookie of a session, the way out."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from anyio import to_thread
from starlette.responses import HTMLResponse, RedirectResponse, Response

from penult.errors import (
    Busy,
    Conflict,
    DeadlineExceeded,
    InvalidRequest,
    NotAllowed,
    NotFound,
    PenultError,
    PreconditionFailed,
    Unauthenticated,
    Unavailable,
)
from penult.web.rendering import render
from penult.web.security import cookie_name, form_of, inner_path
from penult.web.sessions import Session, Sessions

if TYPE_CHECKING:
    from starlette.requests import Request

STATUS: tuple[tuple[type[PenultError], int], ...] = (
    (Unauthenticated, 401),
    (NotAllowed, 403),
    (NotFound, 404),
    (Conflict, 409),
    (PreconditionFailed, 409),
    (InvalidRequest, 400),
    (Busy, 503),
    (Unavailable, 503),
    (DeadlineExceeded, 504),
)


def status_of(error: PenultError) -> int:
    """The status of HTTP that says what an error means."""
    return next((status for kind, status in STATUS if isinstance(error, kind)), 500)


class Entrance:
    """Sessions, as requests come by them and leave them."""

    def __init__(self, sessions: Sessions, *, address: str, tls: bool) -> None:
        """`address`: of the server, for people to see; `tls`: whether browsers reach this process by it."""
        self.sessions, self._address, self._tls = sessions, address, tls

    def of(self, request: Request) -> Session | None:
        """The session of a request; None without one, or after it was closed."""
        return self.sessions.get(self._id(request))

    def _id(self, request: Request) -> str:
        return request.cookies.get(self._cookie(request), "")

    def _cookie(self, request: Request) -> str:
        return cookie_name(request.headers.get("host", ""), tls=self._tls)

    async def leave(self, request: Request) -> None:
        """Close the session of a request."""
        await to_thread.run_sync(self.sessions.close, self._id(request))

    def asks(self, said: str, after: str, status: int) -> Response:
        """The form that asks for a token; `after`: the path that it leads to."""
        content = render("login.html", said=said, after=after, server=self._address)
        return HTMLResponse(content, status_code=status)

    def turn_away(self, request: Request) -> Response:
        """The way to the login for a browser that opens a page; a plain 401 for parts of pages, and for programs."""
        path, query = str(request.scope["path"]), request.scope["query_string"].decode("latin-1")
        after = inner_path(f"{path}?{query}" if query else path) if request.method == "GET" else "/"
        if request.method == "GET" and request.headers.get("sec-fetch-mode") == "navigate":
            return RedirectResponse(f"/login?{urlencode({'next': after})}", 303)
        return self.asks("", after, 401)

    async def login_form(self, request: Request) -> Response:
        """What a visitor sees first."""
        return self.asks("", inner_path(request.query_params.get("next", "/")), 200)

    async def login(self, request: Request) -> Response:
        """Open a session for a token, in the place of the one before; the cookie holds a random id alone."""
        after = "/"
        try:
            form = await form_of(request, None)
            after = inner_path(form.get("next", ["/"])[0])
            token = form.get("token", [""])[0].strip()
            if not token or not token.isascii() or not token.isprintable():
                return self.asks("A token is printable ASCII text, as penult token create prints it.", after, 400)
            machine = "" if request.client is None else request.client.host
            id = await to_thread.run_sync(self.sessions.open, token, machine)
        except PenultError as error:
            return self.asks(error.message, after, status_of(error))
        await self.leave(request)
        response = RedirectResponse(after, 303)
        response.set_cookie(self._cookie(request), id, httponly=True, samesite="strict", secure=self._tls, path="/")
        return response

    async def logout(self, request: Request) -> Response:
        """Close the session, and forget its token."""
        session = self.of(request)
        try:
            if session is not None:
                await form_of(request, session.form_token)
        except PenultError as error:
            return self.asks(error.message, "/", 403)
        await self.leave(request)
        response = RedirectResponse("/login", 303)
        response.delete_cookie(self._cookie(request), path="/", secure=self._tls, httponly=True, samesite="strict")
        return response
