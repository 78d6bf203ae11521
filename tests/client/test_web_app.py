"""The page's process without a browser and a server: who comes in, what forms may do, what is said of a mistake."""

import asyncio
import re
import time
from types import SimpleNamespace
from urllib.parse import urlencode

import pytest

import penult
from penult.errors import from_kind
from penult.web import live
from penult.web import sessions as visitors
from penult.web.app import PAGES, Site
from penult.web.security import HEADERS, MOST_FIELDS, cookie_name
from penult.web.sessions import Session, Sessions
from penult_proto.errors import ErrorKind


class Client:
    """As much of a client as a login asks."""

    def __init__(self, role: str) -> None:
        self.role, self.is_closed, self.asked = role, False, []
        self.results = SimpleNamespace(get=self._get)

    def info(self):
        return SimpleNamespace(role=self.role)

    def close(self) -> None:
        self.is_closed = True

    def _get(self, which: str):
        self.asked.append(which)
        return f"answer {len(self.asked)}"


def connect(token: str) -> Client:
    if token == "wrong":
        raise from_kind(ErrorKind.UNAUTHENTICATED, "no such token", {})
    return Client(token)


class Answer:
    def __init__(self, messages: list[dict]) -> None:
        self.status = messages[0]["status"]
        self.headers = {name.decode(): value.decode() for name, value in messages[0]["headers"]}
        self.text = b"".join(message.get("body", b"") for message in messages[1:]).decode()

    @property
    def cookie(self) -> str:
        return self.headers["set-cookie"].split(";")[0]

    @property
    def form_token(self) -> str:
        return re.search(r'name="form_token" value="([0-9a-f]+)"', self.text)[1]


class Browser:
    """Requests to the application itself, as uvicorn makes them."""

    def __init__(self, *, tls: bool = False) -> None:
        self.sessions = Sessions(connect)
        self._app = Site(self.sessions, address="lab", tls=tls).app()

    async def __aenter__(self) -> "Browser":
        self._leaves, self._has_started = asyncio.Event(), asyncio.Event()
        self._life = asyncio.create_task(self._app({"type": "lifespan"}, self._lives, self._said))
        await self._has_started.wait()
        return self

    async def __aexit__(self, *error: object) -> None:
        self._leaves.set()
        await self._life

    async def _lives(self) -> dict:
        if self._has_started.is_set():
            await self._leaves.wait()
            return {"type": "lifespan.shutdown"}
        return {"type": "lifespan.startup"}

    async def _said(self, message: dict) -> None:
        assert "failed" not in message["type"], message
        self._has_started.set()

    async def ask(self, method: str, target: str, form: dict | None = None, **headers: str) -> Answer:
        path, _, query = target.partition("?")
        named = {"host": "localhost:7712", **{name.replace("_", "-"): value for name, value in headers.items()}}
        scope = {
            "type": "http", "http_version": "1.1", "method": method, "scheme": "http", "path": path,
            "raw_path": path.encode(), "root_path": "", "query_string": query.encode(), "client": ("10.0.0.1", 5),
            "server": ("127.0.0.1", 7712), "headers": [(n.encode(), v.encode()) for n, v in named.items()],
        }  # fmt: skip
        body = [{"type": "http.request", "body": urlencode(form or {}).encode()}]
        said: list[dict] = []

        async def receive() -> dict:
            return body.pop(0) if body else await asyncio.Future()

        async def send(message: dict) -> None:
            said.append(message)

        await self._app(scope, receive, send)
        return Answer(said)


def visiting(what, **options) -> object:
    async def run():
        async with Browser(**options) as browser:
            return await what(browser)

    return asyncio.run(run())


def test_pages_of_two_ports_have_cookies_of_their_own_and_over_tls_of_this_host_alone():
    names = {cookie_name(host, tls=False) for host in ("localhost:7712", "localhost:7713", "localhost", "[::1]:7714")}
    assert len(names) == 4
    assert cookie_name("gpu-box:7712", tls=True) == "__Host-penult_session_7712"
    for odd in ("", "a:b", "a:99999999", "\x00", "x:12;y"):
        assert re.fullmatch(r"penult_session(_[0-9]{1,5})?", cookie_name(odd, tls=False))


def test_a_second_login_takes_the_place_of_the_first():
    async def visit(browser):
        first = await browser.ask("POST", "/login", {"token": "runner"})
        known = browser.sessions.get(first.cookie.split("=")[1])
        second = await browser.ask("POST", "/login", {"token": "reader"}, cookie=first.cookie)
        assert known.client.is_closed
        assert (await browser.ask("GET", "/delete/run/x", cookie=first.cookie)).status == 401
        return await browser.ask("GET", "/delete/run/x", cookie=second.cookie)

    refused = visiting(visit)
    assert refused.status == 403
    assert "your role, reader, may look" in refused.text


def test_over_tls_the_cookie_is_of_this_host_and_no_answer_binds_other_services_of_the_machine():
    answer = visiting(lambda browser: browser.ask("POST", "/login", {"token": "runner"}), tls=True)
    assert answer.headers["set-cookie"].startswith("__Host-penult_session_7712=")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=strict"} <= set(answer.headers["set-cookie"].split("; "))
    assert "strict-transport-security" not in answer.headers


def test_forms_of_too_many_fields_and_logouts_without_the_token_are_refused():
    async def visit(browser):
        many = {f"f{place}": "1" for place in range(MOST_FIELDS + 1)}
        assert (await browser.ask("POST", "/login", many)).status == 403
        cookie = (await browser.ask("POST", "/login", {"token": "runner"})).cookie
        assert (await browser.ask("POST", "/logout", {}, cookie=cookie)).status == 403
        assert (await browser.ask("POST", "/delete/run/x", many, cookie=cookie)).status == 403
        page = await browser.ask("GET", "/nothing", cookie=cookie)
        assert page.status == 404
        out = await browser.ask("POST", "/logout", {"form_token": page.form_token}, cookie=cookie)
        assert (out.status, out.headers["location"]) == (303, "/login")
        return await browser.ask("GET", "/nothing", cookie=cookie)

    assert visiting(visit).status == 401


def test_a_mistake_of_the_page_is_said_with_all_headers_and_without_its_traceback(monkeypatch, caplog):
    async def fails(visit):
        raise ZeroDivisionError("secret detail")

    monkeypatch.setitem(PAGES, "/server", fails)

    async def visit(browser):
        cookie = (await browser.ask("POST", "/login", {"token": "runner"})).cookie
        return await browser.ask("GET", "/server", cookie=cookie)

    answer = visiting(visit)
    assert answer.status == 500
    assert "secret detail" not in answer.text
    assert "ZeroDivisionError" in caplog.text
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert answer.headers["cache-control"] == "no-store"


def test_an_odd_host_is_no_mistake_of_the_page():
    async def visit(browser):
        return [
            (await browser.ask("GET", "/jobs", host=host, sec_fetch_mode="navigate")).headers["location"]
            for host in ("evil/x", "a:b:c", "", "[::1")
        ]

    assert visiting(visit) == ["/login?next=%2Fjobs"] * 4


def test_after_a_login_the_page_that_was_asked_for_comes_and_never_another_site():
    async def visit(browser):
        asked = await browser.ask("GET", "/runs/a%2Fb?x=1", sec_fetch_mode="navigate")
        assert asked.headers["location"].startswith("/login?next=%2Fruns")
        posted = await browser.ask("POST", "/jobs/x/cancel", {})
        assert 'name="next" value="/"' in posted.text, "a form is not repeated by a login"
        return await browser.ask("POST", "/login", {"token": "runner", "next": "//evil.example"})

    assert visiting(visit).headers["location"] == "/"


def test_files_of_the_page_are_kept_by_a_browser_for_as_long_as_they_are_the_same():
    async def visit(browser):
        page = (await browser.ask("GET", "/login")).text
        (address,) = re.findall(r'href="(/static/[^"]+)"', page)
        kept, other = [await browser.ask("GET", at) for at in (address, address[:-1])]
        outside = await browser.ask("GET", "/static/../app.py?v=")
        assert (await browser.ask("GET", "/static/vendor/nothing.js")).status == outside.status == 404
        return [one.headers["cache-control"] for one in (kept, other, outside)]

    assert visiting(visit) == ["private, max-age=31536000, immutable", "no-cache", "no-store"]


def test_answers_are_kept_by_their_digest_and_never_by_a_name():
    from penult.web.asking import Limits, Visit

    session = Session(client=Client("runner"), form_token="00", role="runner", last_used=0.0)

    async def look():
        visit = Visit(None, session, Limits(), "lab")
        return [await visit.answer(which) for which in ("d" * 64, "d" * 64, "best", "best", "dddd")]

    assert asyncio.run(look()) == ["answer 1", "answer 1", "answer 2", "answer 3", "answer 4"]


def test_a_computation_is_given_up_when_nobody_waits_for_it_any_more(monkeypatch):
    from penult.connection.scope import sleep
    from penult.web import asking

    monkeypatch.setattr(asking, "LOOK_SECONDS", 0.01)
    session = Session(client=Client("runner"), form_token="00", role="runner", last_used=0.0)

    class Gone:
        async def is_disconnected(self) -> bool:
            return True

    async def look():
        visit = asking.Visit(Gone(), session, asking.Limits(), "lab")
        started = time.monotonic()
        with pytest.raises(penult.Cancelled):
            await visit.compute(lambda: sleep(60))
        return time.monotonic() - started

    assert asyncio.run(look()) < 30


def test_one_machine_that_guesses_does_not_lock_out_another(monkeypatch):
    sessions = Sessions(connect)
    for _ in range(visitors.MOST_REFUSED):
        with pytest.raises(penult.Unauthenticated):
            sessions.open("wrong", "10.0.0.1")
    with pytest.raises(penult.Busy, match="too many logins"):
        sessions.open("runner", "10.0.0.1")
    assert sessions.get(sessions.open("runner", "10.0.0.2")).may_run
    monkeypatch.setattr(visitors, "REFUSED_SECONDS", 0.0)
    sessions.open("runner", "10.0.0.1")


def test_sessions_are_few_and_those_of_visitors_who_left_are_closed(monkeypatch):
    sessions = Sessions(connect)
    ids = [sessions.open("reader", "") for _ in range(visitors.MOST_SESSIONS + 1)]
    assert sessions.get(ids[0]) is None
    kept = sessions.get(ids[1])
    assert not kept.may_run
    following = sessions.get(ids[2])
    following.n_streams = 1
    monkeypatch.setattr(visitors, "IDLE_SECONDS", -1.0)
    assert sessions.get(ids[1]) is None
    sessions.close_idle()
    assert kept.client.is_closed
    assert not following.client.is_closed, "its page follows a job"
    sessions.close_all()
    assert following.client.is_closed


def test_what_a_session_keeps_is_bounded_and_an_older_look_never_replaces_a_newer():
    session = Session(client=Client("runner"), form_token="00", role="runner", last_used=0.0)
    session.keep_history("job", 9, ["new"])
    session.keep_history("job", 5, ["old"])
    assert session.history("job") == (9, ["new"])
    for place in range(3 * visitors.MOST_HISTORIES):
        session.keep_history(f"{place}", 1, [])
    for place in range(3 * visitors.MOST_ANSWERS):
        session.kept(f"{place}", lambda: 1)
    assert (len(session.histories), len(session.answers)) == (visitors.MOST_HISTORIES, visitors.MOST_ANSWERS)
    session.n_streams = live.MOST_STREAMS
    with pytest.raises(penult.Busy, match="close one"):
        live.check_streams(session)
