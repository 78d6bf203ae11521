"""The doors for who watches: pages over HTTP, readiness, systemd; and that what is shipped for them fits."""

import asyncio
import configparser
import contextlib
import http.client
import json
import os
import re
import shlex
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from http import HTTPStatus
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from penult_proto.v1.pipes_pb2 import ComputeStats
from penult_server.__main__ import make_parser
from penult_server.errors import RegistryUnavailable, ServiceError
from penult_server.front.observed.metrics import COUNTED
from penult_server.front.outside import http as pages_module
from penult_server.front.outside.gauges import Facts, Gauges
from penult_server.front.outside.http import Page, PageServer
from penult_server.front.outside.notify import notify
from penult_server.front.outside.readiness import ReadinessProbe
from penult_server.front.workers.worker_stats import StatsOfWorker
from penult_server.registry.database import Database
from penult_server.registry.jobs import JobCount
from penult_server.settings import Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "server" / "deploy"
DOCUMENTED = {
    "penult_requests_total",
    "penult_request_seconds",
    "penult_queue_seconds",
    "penult_requests_in_flight",
    "penult_answers_total",
    "penult_refusals_total",
    "penult_jobs",
    "penult_job_seconds",
    "penult_oldest_queued_seconds",
    "penult_worker_starts_total",
    "penult_resident_bytes",
    "penult_budget_bytes",
    "penult_evictions_total",
    "penult_device_memory_bytes",
    "penult_device_seconds_total",
    "penult_refits_per_batch",
    "penult_store_bytes",
    "penult_store_free_bytes",
    "penult_store_corrupt_total",
    "penult_registry_seconds",
    "penult_events_lost_total",
    "penult_audit_errors_total",
}
"""What whoever watches may rely on; names are only ever added."""


def facts(**given) -> Facts:
    jobs = (
        JobCount(state="queued", kind="finetune", user="ada", number=2, oldest=1.0),
        JobCount(state="queued", kind="finetune", user="bob", number=1, oldest=5.0),
        JobCount(state="running", kind="extract", user="ada", number=1, oldest=9.0),
    )
    stats = ComputeStats(resident_bytes=10, budget_bytes=20, evictions=3, device_seconds=1.5, batches={1: 4, 32: 1})
    return Facts(**{"jobs": jobs, "free_bytes": 7, "folders": {"runs": 5}, "stats": [stats]} | given)


def samples(gauges: Gauges) -> dict[tuple, float]:
    registry = CollectorRegistry()
    registry.register(gauges)
    return {
        (one.name, *(value for _, value in sorted(one.labels.items()))): one.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for one in family.samples
    }


def names() -> set[str]:
    """Every name that is shown, as Prometheus stores it."""
    asked = CollectorRegistry()
    asked.register(Gauges(facts(), by_user=True))
    shown = set()
    for registry in (COUNTED, asked):
        for family in registry.collect():
            ending = "_total" if family.type == "counter" else ""
            shown |= {f"{family.name}{ending}"}
            if family.type == "histogram":
                shown |= {f"{family.name}_{part}" for part in ("bucket", "sum", "count")}
    return shown


@contextlib.contextmanager
def serving(pages):
    server = PageServer("127.0.0.1", 0, pages)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def get(server: PageServer, path: str, method: str = "GET") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    with contextlib.closing(connection):
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read()


# Metrics


def test_every_documented_metric_is_there():
    assert names() >= DOCUMENTED


def test_jobs_are_counted_by_state_and_kind_and_only_on_wish_by_user():
    found = samples(Gauges(facts(), by_user=False))
    assert found["penult_jobs", "finetune", "queued"] == 3
    assert found["penult_jobs", "extract", "running"] == 1
    assert found["penult_oldest_queued_seconds",] > 1e9
    assert not [name for name in found if "ada" in name]
    assert samples(Gauges(facts(), by_user=True))["penult_user_jobs", "queued", "ada"] == 2


def test_batches_are_a_histogram():
    found = samples(Gauges(facts(), by_user=False))
    buckets = {key[1]: value for key, value in found.items() if key[0] == "penult_refits_per_batch_bucket"}
    assert (buckets["1.0"], buckets["16.0"], buckets["32.0"], buckets["+Inf"]) == (4, 4, 5, 5)
    assert found["penult_refits_per_batch_sum",] == 36


def test_without_a_worker_the_rest_is_told():
    found = samples(Gauges(facts(stats=[None]), by_user=False))
    assert found["penult_compute_up",] == 0
    assert found["penult_store_free_bytes",] == 7
    assert ("penult_resident_bytes",) not in found


def test_several_workers_are_told_apart():
    stats = [ComputeStats(resident_bytes=1, batches={2: 1}), None, ComputeStats(resident_bytes=3, used_bytes=4)]
    found = samples(Gauges(facts(stats=stats), by_user=False))
    assert [found["penult_compute_up", str(number)] for number in range(3)] == [1, 0, 1]
    assert [found.get(("penult_resident_bytes", str(number))) for number in range(3)] == [1, None, 3]
    assert found["penult_device_memory_bytes", "used", "2"] == 4
    assert found["penult_refits_per_batch_sum", "0"] == 2


# Pages


def test_two_pages_and_no_more():
    page = Page(HTTPStatus.OK, "text/plain", b"content\n")
    with serving({"/metrics": lambda: page}) as server:
        assert get(server, "/metrics?x=1") == (200, b"content\n")
        assert get(server, "/metrics", "HEAD") == (200, b"")
        assert get(server, "/etc/passwd")[0] == 404
        assert get(server, "/metrics", "POST")[0] == 501


def test_a_page_that_fails_is_a_500_and_no_end(caplog):
    def fail() -> Page:
        raise RuntimeError("private words")

    with serving({"/metrics": fail}) as server:
        for _ in range(2):
            status, said = get(server, "/metrics")
            assert status == 500
            assert b"private" not in said
    assert "private words" in caplog.text


def test_peers_that_say_nothing_are_left(monkeypatch):
    """Idle connections neither pile up nor keep others out for long."""
    monkeypatch.setattr(pages_module._Handler, "timeout", 0.2)
    page = Page(HTTPStatus.OK, "text/plain", b"")
    with serving({"/healthz": lambda: page}) as server, contextlib.ExitStack() as idle:
        for _ in range(pages_module.MOST_AT_ONCE * 2):
            idle.enter_context(socket.create_connection(("127.0.0.1", server.server_port), timeout=10))
        answered, end = 0, time.monotonic() + 100
        while answered != 200:
            assert time.monotonic() < end
            with contextlib.suppress(OSError, http.client.HTTPException):
                answered = get(server, "/healthz")[0]


def test_a_port_that_is_taken_is_said():
    with serving({}) as server, pytest.raises(ServiceError, match="choose another --metrics-port"):
        PageServer("127.0.0.1", server.server_port, {})


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::"])
def test_pages_beyond_this_machine_are_asked_for(host, tmp_path):
    options = {"root": tmp_path, "metrics_port": 0, "metrics_host": host}
    with pytest.raises(ServiceError, match="ask for no token"):
        Settings(**options)
    assert Settings(**options, insecure=True).metrics_host == host
    assert Settings(root=tmp_path, metrics_host=host).metrics_port is None


# Readiness


class Registry:
    def __init__(self) -> None:
        self.is_good = True
        self.n_commits = 0

    async def is_writable(self) -> bool:
        self.n_commits += 1
        return self.is_good


class Compute:
    """Compute workers, each of which answers or does not."""

    def __init__(self, *answers: bool) -> None:
        self._answers = answers

    async def stats(self) -> list[ComputeStats | None]:
        return [ComputeStats() if answers else None for answers in self._answers]


def test_ready_is_a_commit_and_a_worker_that_answers(monkeypatch):
    async def scenario():
        registry = Registry()
        probe = ReadinessProbe(registry, Compute(True))
        assert (await probe.look()).is_ready
        registry.is_good = False
        found = await asyncio.gather(*(probe.look() for _ in range(20)))
        assert all(one.is_ready for one in found)
        assert registry.n_commits == 1  # at most one in five seconds
        monkeypatch.setattr("penult_server.front.outside.readiness.COMMIT_SECONDS", 0)
        found = await probe.look()
        assert (found.is_ready, str(found)) == (False, "registry: does not answer\ncompute worker: ok\n")
        assert not (await ReadinessProbe(Registry(), Compute(False)).look()).is_ready
        assert not (await ReadinessProbe(Registry(), Compute(False, False)).look()).is_ready
        found = await ReadinessProbe(Registry(), Compute(False, True)).look()
        said = "registry: ok\ncompute worker 0: does not answer\ncompute worker 1: ok\n"
        assert (found.is_ready, str(found)) == (True, said)

    asyncio.run(scenario())


def test_a_worker_that_is_silent_does_not_answer(monkeypatch):
    monkeypatch.setattr("penult_server.front.workers.worker_stats.PATIENCE", 0.02)

    async def scenario():
        asked = []
        stats = StatsOfWorker(lambda: asked.append(1) or True)
        assert await stats.latest() is None
        asyncio.get_running_loop().call_later(0.001, stats.come, ComputeStats(evictions=2))
        assert (await stats.latest()).evictions == 2
        assert (await stats.latest()).evictions == 2
        assert len(asked) == 2  # the last question was answered from memory

    asyncio.run(scenario())


def test_the_registry_is_tried_by_a_commit(tmp_path):
    path = tmp_path / "penult.db"
    database = Database(path)
    written = (tmp_path / "penult.db-wal").stat().st_size
    database.check_writable()
    assert (tmp_path / "penult.db-wal").stat().st_size > written
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        database.connection.exec_driver_sql("PRAGMA busy_timeout=10")
        with pytest.raises(RegistryUnavailable, match="locked"):
            database.check_writable()
    database.close()


# systemd, Docker, Grafana


def test_systemd_is_told(tmp_path, monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify("READY=1")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.settimeout(10)
        heard.bind(f"\0penult-test-notify-{os.getpid()}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@penult-test-notify-{os.getpid()}")
        assert notify("READY=1\nSTATUS=serves")
        assert heard.recv(100) == b"READY=1\nSTATUS=serves"
    assert not notify("STOPPING=1")  # nobody listens any more


def options_of(command: list[str]) -> None:
    """Fails unless the server knows every option of `penult serve ...`."""
    assert Path(command[0]).name == "penult"
    assert command[1] == "serve"
    Settings(**{key: value for key, value in vars(make_parser().parse_args(command[1:])).items() if key != "command"})


@pytest.fixture
def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str
    parser.read_string((DEPLOY / "penult.service").read_text().replace("\\\n", " "))
    return parser


def test_the_unit_starts_a_server_that_says_when_it_is_ready(unit):
    service = unit["Service"]
    assert service["Type"] == "notify"
    options_of(shlex.split(service["ExecStart"]))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_has_nothing_against_the_unit(tmp_path):
    content = (DEPLOY / "penult.service").read_text().replace("/opt/penult/.venv/bin/penult", "/bin/true")
    (tmp_path / "penult.service").write_text(content)
    done = subprocess.run(
        ["systemd-analyze", "verify", tmp_path / "penult.service"], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, "penult.service" in done.stderr) == (0, False), done.stderr


def test_the_image_is_made_of_what_exists():
    content = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.split(maxsplit=1) for line in content.splitlines() if line and not line.startswith("#")]
    for copied in (rest.split()[:-1] for word, rest in lines if word == "COPY"):
        assert [name for name in copied if not (ROOT / name).exists()] == []
    (extras,) = [rest.partition("=")[2].split(",") for word, rest in lines if word == "ARG"]
    project = (ROOT / "pyproject.toml").read_text()
    assert [name for name in extras if not re.search(rf"^{name} = \[", project, re.MULTILINE)] == []
    (command,) = [json.loads(rest) for word, rest in lines if word == "ENTRYPOINT"]
    options_of(command)
    (health,) = [rest for word, rest in lines if word == "HEALTHCHECK"]
    compile(shlex.split(health.partition("CMD ")[2])[2], "healthcheck", "exec")
    assert f"127.0.0.1:{command[command.index('--metrics-port') + 1]}/healthz" in health


def test_the_board_names_metrics_that_exist():
    board = json.loads((DEPLOY / "grafana.json").read_text())
    expressions = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    used = {name for one in expressions for name in re.findall(r"\b(?:penult|process)_\w+", one)}
    assert used - names() == set()
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    # Every name that must be watched is on it.
    assert {f"penult_{one}" for one in ("store_corrupt_total", "events_lost_total", "audit_errors_total")} <= used


def test_the_front_needs_no_package_beyond_its_extra():
    code = "import sys, penult_server.front.server; print(*sorted(n for n in sys.modules if n.startswith('opentel')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == ""
