"""What keeps a page to itself: headers of every answer, and forms that only this page can send."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from penult.errors import NotAllowed
from penult_proto.errors import ErrorKind

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Scripts and style sheets come from this process alone. Style attributes are those of galleries, made by this package;
they hold no text of users."""
HEADERS = {
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
LONGEST_FORM, MOST_FIELDS = 64 * 1024, 200
"""Bytes and fields of a form that is read."""
FIELD = "form_token"
"""The field in which a form says that it is of this page."""


class SecureHeaders:
    """Adds `HEADERS` to every answer, failures too, and forbids to keep it, but for files that never change.

    Not `Strict-Transport-Security`: it holds for a whole machine, whose other services may have no certificate.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name for name, _ in message["headers"]}
                added = [header for header in self._headers if header[0] not in present]
                kept = [] if b"cache-control" in present else [(b"cache-control", b"no-store")]
                message["headers"] = [*message["headers"], *added, *kept]
            await send(message)

        await self._app(scope, receive, with_headers)


def cookie_name(host: str, *, tls: bool) -> str:
    """The cookie of a page whose address has this host and port.

    Browsers send cookies to every port of a host: pages of two ports would log each other's visitors out by one name.
    """
    port = re.search(r":([0-9]{1,5})$", host)
    name = f"penult_session_{port[1]}" if port else "penult_session"
    return f"__Host-{name}" if tls else name


def masked(token: str) -> str:
    """A token as a form carries it: other bytes each time, so that the size of a compressed page says nothing of it."""
    raw = bytes.fromhex(token)
    pad = secrets.token_bytes(len(raw))
    return (pad + bytes(a ^ b for a, b in zip(pad, raw, strict=True))).hex()


def is_token(given: str, token: str) -> bool:
    """Whether a form carried this token."""
    try:
        content = bytes.fromhex(given)
    except ValueError:
        return False
    half = len(content) // 2
    found = bytes(a ^ b for a, b in zip(content[:half], content[half:], strict=False))
    return secrets.compare_digest(found, bytes.fromhex(token))


async def form_of(request: Request, token: str | None) -> Mapping[str, list[str]]:
    """The fields of a form that this page has sent; `token` is the session's, None before a login.

    Raises `NotAllowed` for a form of another page, or one that is too large.
    """
    _check_origin(request)
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > LONGEST_FORM:
            raise _refused(f"the form is larger than {LONGEST_FORM // 1024} kB")
    try:
        fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        raise _refused(f"the form has more than {MOST_FIELDS} fields") from None
    if token is not None and not is_token(fields.get(FIELD, [""])[0], token):
        raise _refused("the form is of an older session: load the page again")
    return fields


def _check_origin(request: Request) -> None:
    """Browsers say where a form comes from; what is no browser has no cookie to be abused."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise _refused("the form was sent by another site")
    origin = request.headers.get("origin")
    if origin not in (None, "null") and urlsplit(origin).netloc != request.headers.get("host"):
        raise _refused("the form was sent by another site")


def _refused(said: str) -> NotAllowed:
    return NotAllowed(said, kind=ErrorKind.NOT_ALLOWED)


def inner_path(path: str) -> str:
    """A path of this page; "/" in the place of anything else, such as the address of another site."""
    is_inner = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable() and "\\" not in path
    return path if is_inner and len(path) < 2000 else "/"
