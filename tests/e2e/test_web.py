"""The page in a real browser: as reader and runner, with hostile names, without scripts, over a killed server."""

import http.client
import json
import re
import shutil
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest
from server_processes import until
from web_site import CHROMIUM, HOSTILE, WATCHED, Page, Site, axe_script, free_port, fresh, users_token

import penult
from penult.web import report as reports
from penult.web.security import HEADERS, POLICY
from penult_server.stores.disk.verified import note_look
from penult_server.upkeep.command import main as verify

playwright = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[Site]:
    tiny = {
        "backbone": "test_resnet",
        "pretrained": False,
        "batch_size": 8,
        "optimizer": penult.AdamW(learning_rate=3e-3),
    }
    made = Site(tmp_path_factory.mktemp("web") / "store", tiny)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def reader(site) -> str:
    token = users_token(site.root, "eve", "reader")
    fresh(f"localhost:{site.port}", token).close()
    return token


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        )
        yield started
        started.close()


class Visitor:
    """A window of the browser that has logged in, and all that went wrong in it."""

    def __init__(self, browser, url: str, token: str, **options) -> None:
        self.url, self.wrong = url, []
        self.context = browser.new_context(viewport={"width": 1100, "height": 800}, **options)
        self.context.add_init_script(WATCHED)
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.page.on("console", lambda message: self.wrong.append(f"console: {message.text}"))
        self.page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: (self.wrong.append("dialog"), dialog.dismiss()))
        self.page.on("request", lambda request: self._foreign(request.url))
        self.open("/login")
        self.page.fill("#token", token)
        self.page.keyboard.press("Enter")
        self.page.wait_for_selector("h1:has-text('Jobs')")

    def _foreign(self, url: str) -> None:
        if not url.startswith((self.url, "data:")):
            self.wrong.append(f"request to {url}")

    def open(self, path: str) -> int:
        return self.page.goto(self.url + path).status

    def close(self) -> None:
        self.context.close()


@pytest.fixture
def visit(browser, site):
    """Log in; the window is closed, and nothing may have gone wrong in it."""
    opened: list[Visitor] = []

    def enter(token: str, url: str | None = None, **options) -> Visitor:
        opened.append(Visitor(browser, url or site.page.url, token, **options))
        return opened[-1]

    yield enter
    for one in opened:
        one.close()


@pytest.mark.slow  # pytest -m slow tests/e2e/test_web.py
@pytest.mark.parametrize("role", ["runner", "reader"])
def test_every_page_is_quiet_accessible_and_fits_a_telephone(site, reader, visit, role):
    visitor, axe = visit(site.token if role == "runner" else reader, bypass_csp=False), axe_script()
    page = visitor.page
    for path in site.paths:
        if role == "reader" and path.startswith("/delete"):
            assert Asked.by(site, reader, path).status == 403
            continue  # browsers note in the console that a page was refused
        assert visitor.open(path) == 200, path
        assert page.locator("img[src='x']").count() == 0
        text = page.inner_text("body")
        assert "{{" not in text or "{{7*7}}" in text
        for what in ("Cancel this job", "Compute spectra", "Delete this", "delete ..."):
            assert (what in text) <= (role == "runner"), path
        page.set_viewport_size({"width": 360, "height": 700})
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
        page.set_viewport_size({"width": 1100, "height": 800})
        if axe is not None:
            page.evaluate(axe)  # by the debugger, which the policy lets pass
            found = page.evaluate(
                "axe.run().then((result) => result.violations.map((one) => [one.id, one.nodes[0].html]))"
            )
            assert found == [], path
    assert visitor.wrong == []


@pytest.mark.slow
def test_every_page_has_all_without_scripts_that_it_has_with_them(site, visit):
    plain, scripted = visit(site.token, java_script_enabled=False), visit(site.token)
    for path in site.paths:
        counts = []
        for visitor in (plain, scripted):
            visitor.open(path)
            parts = ("main h1", "main table tbody tr", "figure.chart", "main form", "main .card", "main a")
            counts.append({part: visitor.page.locator(part).count() for part in parts})
        # A figure that scripts have drawn has a legend, which is a table.
        for one in counts:
            del one["main table tbody tr"]
        assert counts[0] == counts[1], path
        assert plain.page.locator("figure.chart svg").count() == counts[0]["figure.chart"]
    assert plain.wrong == scripted.wrong == []


def test_hostile_names_are_shown_as_they_are(site, visit):
    visitor = visit(site.token)
    visitor.open(f"/runs/{site.run.id}")
    assert "</script><img src=x" in visitor.page.inner_text("main")
    data = visitor.page.locator("figure.chart .data").first.text_content()
    assert "</script>" in json.loads(data)["lines"][0]["name"]
    assert visitor.page.locator("figure.chart .uplot").count() >= 2, "drawn by uPlot"
    assert max(len(line) for line in visitor.page.inner_text("main").splitlines()) < 3000


def test_tables_sort_and_a_reload_keeps_its_place(site, visit):
    visitor = visit(site.token)
    page = visitor.page
    visitor.open("/refits")
    head = page.locator("table.sortable th", has_text="average").last
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    column = (
        "[...document.querySelector('main > .scroll table').tBodies[0].rows].map((row) => row.cells[5].textContent)"
    )
    values = page.evaluate(column)
    assert values == sorted(values, reverse=True)
    page.evaluate("scrollTo(0, 150)")
    until(lambda: page.evaluate("scrollY > 0 || document.body.scrollHeight <= innerHeight"))
    there = page.evaluate("scrollY")
    page.reload()
    assert head.get_attribute("aria-sort") == "descending"
    assert page.evaluate(column) == values
    until(lambda: page.evaluate(f"Math.abs(scrollY - {there}) < 3"))
    assert visitor.wrong == []


def test_sizes_sort_by_their_bytes_and_digests_by_their_letters(site, visit):
    visitor = visit(site.token)
    page = visitor.page
    visitor.open("/store")
    table = page.locator("main table.sortable", has=page.locator("caption", has_text="by kind"))
    table.locator("th button", has_text="bytes").click()
    values = table.evaluate("(one) => [...one.tBodies[0].rows].map((row) => Number(row.querySelector('data').value))")
    said = table.evaluate("(one) => [...one.tBodies[0].rows].map((row) => row.cells[2].textContent.split(' ')[1])")
    assert values == sorted(values, reverse=True)
    assert len(set(said)) > 1, "kB and MB"
    table = page.locator("main table.sortable", has=page.locator("caption", has_text="feature sets"))
    table.locator("th button", has_text="features").click()
    names = table.evaluate("(one) => [...one.tBodies[0].rows].map((row) => row.cells[0].textContent)")
    assert names == sorted(names)


def test_what_is_renewed_stays_where_the_visitor_is(site, visit):
    visitor = visit(site.token)
    page = visitor.page
    page.set_viewport_size({"width": 360, "height": 700})
    visitor.open("/jobs")
    page.locator("#rows th button", has_text="state").focus()
    page.evaluate("document.querySelector('#rows .scroll').scrollLeft = 60")
    page.evaluate("document.querySelector('#rows table').dataset.mark = 'the table that is there now'")
    page.evaluate("htmx.ajax('GET', '/jobs/rows', {target: '#rows', swap: 'innerHTML'})")
    until(lambda: page.evaluate("document.querySelector('#rows table').dataset.mark === undefined"))
    assert page.evaluate("document.activeElement.textContent") == "state"
    assert page.evaluate("document.querySelector('#rows .scroll').scrollLeft") == 60
    assert visitor.wrong == []


def test_without_scripts_all_is_there(site, visit):
    visitor = visit(site.token, java_script_enabled=False)
    page = visitor.page
    for path in (f"/runs/{site.run.id}", f"/results/{site.spectra.digest}", "/refits"):
        visitor.open(path)
        assert page.locator("figure.chart svg").count() >= 1
        assert page.locator("table tbody tr").count() >= 2
    visitor.open("/spectra")
    page.locator("summary", has_text="Compute").click()
    page.locator("form[action='/spectra'] select[name=by]").select_option("class")
    page.locator("form[action='/spectra'] button").click()
    page.wait_for_url("**/results/*")
    assert "Spectra by class" in page.inner_text("main")
    assert visitor.wrong == []


@pytest.mark.slow
def test_a_job_is_live_while_the_server_is_killed_and_comes_back_and_is_cancelled_by_the_keyboard(site, visit):
    job = site.finetune(300, seed=1)
    visitor = visit(site.token)
    page = visitor.page
    visitor.open("/jobs")
    row = page.locator(f"#job-{job.id}")
    row.wait_for()
    page.locator("#rows td", has_text="▼").first.wait_for()  # the worst group so far, by polling
    visitor.open(f"/jobs/{job.id}")
    page.locator("#curve figure.chart .uplot").first.wait_for()
    drawn = "[...document.querySelectorAll('#curve .data')].map((one) => JSON.parse(one.textContent).x.length)"
    epochs = f"Math.max(...{drawn})"
    # The browser's own way to wait needs `eval`, which the page's policy forbids.
    until(lambda: page.evaluate(f"{epochs} >= 2"))
    assert visitor.wrong == []
    before = page.evaluate(epochs)
    hidden = "Object.defineProperty(document, 'hidden', {configurable: true, get: () => %s})"
    changed = "document.dispatchEvent(new Event('visibilitychange'))"
    page.evaluate(f"{hidden % 'true'}; {changed}")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    reached = site.client.jobs.get(job.id).last_seq
    until(lambda: site.client.jobs.get(job.id).last_seq > reached + 30)
    assert asked == [], "a page that nobody sees asks for nothing"
    page.evaluate(f"{hidden % 'false'}; {changed}")
    until(lambda: page.evaluate(f"{epochs} > {before}"))
    before = page.evaluate(epochs)
    site.server.kill()
    page.locator("#away", has_text="does not answer").wait_for()
    site.start()
    until(lambda: page.evaluate(f"{epochs} > {before}"))
    until(lambda: page.evaluate("document.getElementById('away').textContent === ''"))
    page.locator("h1").click()
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent.startsWith('Cancel this job')"):
            break
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator("#state", has_text="cancel").wait_for()
    with pytest.raises(penult.Cancelled):
        site.client.jobs.get(job.id).wait(timeout=100)
    # While the server was away the browser says so itself, and nothing else is wrong.
    assert all("503" in said or "ERR_" in said for said in visitor.wrong), visitor.wrong


class Asked:
    """One request by hand, with what a browser would not send."""

    def __init__(self, url: str, method: str, path: str, fields: dict | None = None, **headers: str) -> None:
        parts = urllib.parse.urlsplit(url)
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
        body = None if fields is None else urllib.parse.urlencode(fields)
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        self.status, self.headers = answer.status, answer.headers
        self.text = answer.read().decode()
        connection.close()

    @classmethod
    def by(cls, site: Site, token: str, path: str) -> "Asked":
        """A page as it is for who logs in with a token."""
        cookie = cls(site.page.url, "POST", "/login", {"token": token}).headers["set-cookie"].split(";")[0]
        return cls(site.page.url, "GET", path, cookie=cookie)


@pytest.fixture(scope="module")
def cookie(site) -> str:
    answer = Asked(site.page.url, "POST", "/login", {"token": site.token, "next": "//evil.example/"})
    assert answer.status == 303
    assert answer.headers["location"] == "/"
    return answer.headers["set-cookie"]


def test_the_cookie_holds_no_token_and_scripts_cannot_read_it(site, cookie):
    assert site.token not in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie


@pytest.mark.parametrize(("method", "path"), [("GET", "/jobs"), ("GET", "/results/abcd"), ("POST", "/spectra")])
def test_nobody_is_let_in_without_a_session(site, method, path):
    answer = Asked(site.page.url, method, path, cookie="penult_session=guess")
    assert answer.status == 401
    assert "Token" in answer.text


def test_a_wrong_token_is_refused_and_not_repeated(site):
    answer = Asked(site.page.url, "POST", "/login", {"token": "wrong-token-123"})
    assert answer.status == 401
    assert "wrong-token-123" not in answer.text
    assert "set-cookie" not in answer.headers


def test_every_answer_has_the_headers(site, cookie):
    for path in ("/login", "/jobs", "/static/page.js", "/nothing-here", f"/jobs/{site.run.id}"):
        answer = Asked(site.page.url, "GET", path, cookie=cookie.split(";")[0])
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert "unsafe-inline" not in POLICY.split("style-src-attr")[0]


def test_forms_of_others_are_refused(site, cookie):
    ours = cookie.split(";")[0]
    page = Asked(site.page.url, "GET", "/spectra", cookie=ours).text
    token = re.search(r'name="form_token" value="([0-9a-f]+)"', page)[1]
    again = re.search(
        r'name="form_token" value="([0-9a-f]+)"', Asked(site.page.url, "GET", "/spectra", cookie=ours).text
    )[1]
    assert token != again, "other bytes each time"
    fields = {"form_token": token, "features": site.sets["test"].digest, "by": "group", "top_k": "2"}
    bad = ({**fields, "form_token": ""}, {**fields, "form_token": "00" * 32}, {**fields, "form_token": "xyz"})
    assert [Asked(site.page.url, "POST", "/spectra", one, cookie=ours).status for one in bad] == [403] * 3
    foreign = ({"origin": "https://evil.example"}, {"sec_fetch_site": "cross-site"})
    assert [Asked(site.page.url, "POST", "/spectra", fields, cookie=ours, **one).status for one in foreign] == [403] * 2
    assert Asked(site.page.url, "POST", "/spectra", fields, cookie=ours).status == 303


def test_a_reader_is_refused_by_the_server_itself(site, reader):
    ours = Asked(site.page.url, "POST", "/login", {"token": reader}).headers["set-cookie"].split(";")[0]
    page = Asked(site.page.url, "GET", "/jobs", cookie=ours).text
    token = re.search(r'name="form_token" value="([0-9a-f]+)"', page)[1]
    fields = {"form_token": token}
    for path in (f"/jobs/{site.run.id}/cancel", f"/delete/run/{site.run.id}"):
        answer = Asked(site.page.url, "POST", path, fields, cookie=ours)
        assert answer.status == 403, path
    refused = Asked(site.page.url, "GET", f"/delete/run/{site.run.id}", cookie=ours)
    assert refused.status == 403
    assert "your role, reader, may look" in refused.text
    for path in ("/store", f"/runs/{site.run.id}", f"/results/{site.refit.digest}"):
        assert "/delete/" not in Asked(site.page.url, "GET", path, cookie=ours).text, path
    assert site.client.runs.get(site.run.id).id == site.run.id


def test_the_store_says_when_each_thing_was_verified_and_what_was_wrong(site, cookie):
    ours, train = cookie.split(";")[0], site.sets["train"].digest

    def page() -> str:
        return Asked(site.page.url, "GET", "/store", cookie=ours).text

    assert "never verified" in page()
    assert verify(["verify", "--root", str(site.root)]) == 0
    usage = site.client.usage(things=True)
    assert "all whole" in repr(usage)
    assert {one.kind for one in usage.things} == {"run", "checkpoint", "dataset", "features", "grouping"}
    assert all(one.verified == usage.verified and not one.damage for one in usage.things)
    assert sum(one.bytes for one in usage.things if one.kind == "features") == usage.of("features")
    assert page().count("✔") == len(usage.things)
    note_look(site.root, time.time(), [f"features/{train}"], {f"features/{train}": HOSTILE})
    damaged = page()
    assert damaged.count("✘") == 1
    assert HOSTILE not in damaged
    assert "not since it was written" in damaged


def test_neighbours_of_rows_are_shown_as_pictures(site, cookie):
    of = f"/neighbours?features={site.sets['train'].digest}&rows=0-2&k=3"
    page = Asked(site.page.url, "GET", of, cookie=cookie.split(";")[0])
    assert page.status == 200
    assert page.text.count("<img") == 3 * (1 + 3)
    assert "row 1" in page.text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/neighbours?features=nope", 404),
        ("/neighbours?k=99999999999999999999", 400),
        ("/runs/none", 404),
        ("/results/%3Cscript%3E", 404),
        ("/examples?dataset=birds&split=train&rows=x", 400),
        ("/compare?run=nope", 404),
        ("/delete/secrets/x", 404),
        ("/nothing", 404),
        ("/jobs?state=%00&kind=%3Cb%3E", 200),
    ],
)
def test_what_is_wrong_is_said_and_is_no_bug(site, cookie, path, status):
    answer = Asked(site.page.url, "GET", path, cookie=cookie.split(";")[0])
    assert answer.status == status
    assert "<script>" not in answer.text


def test_the_page_of_500_jobs_is_small_and_quick(site, cookie):
    """The table of 500 jobs, made of messages as the server sends them; its bytes as browsers take them, compressed."""
    import gzip
    import time
    from datetime import UTC, datetime

    from penult.calls.job import Job, any_result
    from penult.web.pages import jobs as pages

    message = site.client.jobs.get(site.run.id)._message
    many = []
    for place in range(500):
        copy = type(message)()
        copy.CopyFrom(message)
        copy.id = f"{place * 2654435761 % 2**48:012x}"
        copy.card.name = f"run-{copy.id}"
        many.append(Job(site.client.connection, copy, any_result))
    took = []
    for _ in range(5):
        started = time.process_time()
        table = pages.table_of(many, {}, datetime.now(UTC))
        took.append(time.process_time() - started)
    assert table.count("<tr>") == 501
    assert len(gzip.compress(table.encode(), 6)) < 60_000
    assert min(took) < 0.05


def test_the_report_is_the_same_twice(site, tmp_path):
    first, again = tmp_path / "first.html", tmp_path / "again.html"
    reports.write(site.client, [site.run.id], first)
    reports.write(site.client, [site.run.id], again)
    assert first.read_bytes() == again.read_bytes()
    assert HOSTILE not in first.read_text()


@pytest.mark.parametrize("scripts", [True, False])
def test_the_report_asks_for_nothing(site, browser, tmp_path, scripts):
    path = reports.write(site.client, [site.run.id], tmp_path / "report.html")
    context = browser.new_context(offline=True, java_script_enabled=scripts)
    wrong: list[str] = []
    page = context.new_page()
    page.on("console", lambda message: wrong.append(message.text))
    page.on("request", lambda request: wrong.append(request.url))
    page.goto(path.as_uri())
    assert [one for one in wrong if not one.startswith(("file:", "data:"))] == []
    assert page.locator("figure.chart .uplot" if scripts else "figure.chart svg").count() >= 4
    assert "Wilson" in page.inner_text("footer")
    assert site.run.dataset_digest in page.inner_text("main")
    context.close()


def test_a_report_of_twenty_runs_stays_below_a_megabyte(site):
    one = reports.read(site.client, [site.run.id])
    many = reports.Content(
        one.version, one.runs * 20, one.manifests * 20, one.spectra * 20, one.refits * 20, one.summaries * 20
    )
    assert len(reports.html_of(many).encode()) < 1_000_000
    with pytest.raises(penult.InvalidRequest, match="1 to 20"):
        reports.read(site.client, [f"run-{place}" for place in range(21)])


def test_the_page_listens_on_this_machine_alone_unless_it_has_a_certificate(tmp_path):
    from penult.web.serving import check_listening, is_reached

    with pytest.raises(penult.InvalidRequest, match="in the clear"):
        check_listening("0.0.0.0", None, None)
    check_listening("127.0.0.1", None, None)
    with pytest.raises(penult.InvalidRequest, match="go together"):
        check_listening("127.0.0.1", tmp_path / "cert.pem", None)
    assert not is_reached(f"[::1]:{free_port()}")


def test_over_tls_the_cookie_is_secure(site, tmp_path):
    import ssl

    from penult.certificates import make_certificate

    if shutil.which("openssl") is None:
        pytest.skip("no openssl")
    certificate, key = make_certificate(["localhost", "127.0.0.1"], tmp_path, days=2)
    page = Page("--server", f"localhost:{site.port}", "--tls-cert", str(certificate), "--tls-key", str(key))
    try:
        parts = urllib.parse.urlsplit(page.url)
        trust = ssl.create_default_context(cafile=str(certificate))
        connection = http.client.HTTPSConnection("localhost", parts.port, context=trust, timeout=60)
        connection.request("POST", "/login", urllib.parse.urlencode({"token": site.token}))
        answer = connection.getresponse()
        assert answer.status == 303
        assert "Secure" in answer.headers["set-cookie"]
        connection.close()
    finally:
        page.stop()


def test_vendored_files_are_those_of_their_projects():
    import hashlib

    folder = Path(reports.HERE) / "static" / "vendor"
    listed = re.findall(r"^\| (\S+) \|.*\| ([0-9a-f]{64}) \|$", (folder / "README.md").read_text(), re.MULTILINE)
    assert {name for name, _ in listed} == {one.name for one in folder.iterdir() if one.suffix in (".js", ".css")}
    for name, digest in listed:
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
