"""Templates: how a page is put together of parts that are HTML already."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from penult.display.html import LONGEST_NAME, Trusted, on_a_page, text
from penult.display.names import one_line
from penult.results.space.deletion import size

HERE = Path(__file__).parent
NAVIGATION = (
    ("/jobs", "Jobs"),
    ("/runs", "Runs"),
    ("/spectra", "Spectra"),
    ("/refits", "Refits"),
    ("/groups", "Groups"),
    ("/diagnostics", "Diagnostics"),
    ("/merges", "Merges"),
    ("/compare", "Compare"),
    ("/store", "Store"),
    ("/server", "Server"),
)
STEPS = ((86_400 * 60, 86_400 * 30, "months"), (86_400 * 2, 86_400, "days"), (7200, 3600, "h"), (120, 60, "min"))
"""From how many seconds on a time is counted in what unit, of how many seconds."""


@lru_cache(maxsize=1)
def templates() -> Environment:
    """The templates; every value is escaped unless this package has made it as HTML."""
    return Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@lru_cache
def digest_of_file(name: str) -> str:
    """By which a browser knows a file of this package again; empty for what is none."""
    file = HERE / "static" / name
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file.is_file() else ""


def static(name: str) -> str:
    """The address of a file of this package: another one whenever its content is another."""
    return f"/static/{name}?v={digest_of_file(name)}"


def render(template: str, **values: Any) -> Trusted:
    """A template with these values."""
    with on_a_page():
        return Trusted(templates().get_template(template).render(static=static, **values))


def shown(record: Any) -> Trusted:
    """A record as notebooks show it, on a page."""
    with on_a_page():
        return Trusted(record._repr_html_())


def joined(parts: Iterable[str]) -> Trusted:
    """Parts one after the other."""
    return Trusted("".join(parts))


def link(to: str, name: str, *, id: str = "", longest: int = LONGEST_NAME) -> Trusted:
    """A link to a path of this page; `to` is quoted already, the name is any text."""
    marked = f' id="{escape(id)}"' if id else ""
    return Trusted(f'<a href="{escape(to)}"{marked}>{text(name or "(no name)", longest)}</a>')


def path(*parts: str) -> str:
    """A path of this page of which each part may be any text."""
    return "/" + "/".join(quote(one, safe="") for one in parts)


def digest_link(kind: str, digest: str) -> Trusted:
    """A link to a thing by its digest, of which 12 digits are shown."""
    return link(path(kind, digest), one_line(digest)[:12]) if digest else Trusted("")


def measured(value: float, said: str) -> Trusted:
    """A quantity in the words of people, by whose number a table is sorted."""
    return Trusted(f'<data value="{value:.12g}">{text(said)}</data>')


def bytes_of(n_bytes: int) -> Trusted:
    """Bytes, such as 12.3 MB."""
    return measured(n_bytes, size(n_bytes))


def when(moment: datetime | None, now: datetime | None = None) -> Trusted:
    """A time as "3 min ago", with the exact one under the mouse."""
    if moment is None:
        return Trusted("")
    exact = moment.astimezone(UTC)
    seconds = ((now or datetime.now(UTC)) - exact).total_seconds()
    said = duration(seconds)
    shown = exact.replace(microsecond=0, tzinfo=None).isoformat()
    return Trusted(f'<time datetime="{shown}Z" title="{shown.replace("T", " ")} UTC">{said} ago</time>')


def duration(seconds: float) -> str:
    """ "40 s", "3 min", "5 h", "2 days"."""
    for least, unit, name in STEPS:
        if seconds >= least:
            return f"{seconds / unit:.0f} {name}"
    return f"{max(0.0, seconds):.0f} s"
