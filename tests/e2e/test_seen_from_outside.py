"""A server as those who watch it see it: every number, line, page and trace of what its clients did."""

import json
import os
import re
import secrets
import socket
import urllib.error
import urllib.request

import grpc
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from server_processes import until

import penult
from penult.cli.main import main
from penult_proto import PROTOCOL
from penult_proto.v1 import info_pb2, info_pb2_grpc

STRANGE = "pen_" + secrets.token_urlsafe(32)


@pytest.fixture(scope="module")
def systemd(tmp_path_factory):
    """What systemd listens on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.settimeout(60)
        listening.bind(f"\0penult-test-{os.getpid()}")
        yield listening


@pytest.fixture(scope="module")
def server(tmp_path_factory, server_class, systemd):
    root = tmp_path_factory.mktemp("seen") / "store"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("NOTIFY_SOCKET", f"@penult-test-{os.getpid()}")
        running = server_class(root, "--metrics-port", "0", "--metrics-by-user", "--device", "cpu")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def client(server):
    with server.connect() as client:
        yield client


@pytest.fixture(scope="module")
def mine(client):
    x = np.random.default_rng(0).standard_normal((60, 4)).astype(np.float32)
    return client.features.upload(features=x, y=np.arange(60) % 2, a=np.arange(60) // 30, name="mine")


@pytest.fixture(scope="module")
def job(client, table):
    client.datasets.register("shapes", table)
    return client.jobs.list(limit=1)[0]


def lines(server, **values) -> list[dict]:
    """The lines of the log of which that is said, as soon as there are any: they are written a moment later."""

    def look() -> list[dict]:
        found = [json.loads(line) for line in server.log().splitlines(keepends=True) if line.endswith("\n")]
        return [line for line in found if values.items() <= line.items()]

    return until(look)


def page(server, name: str) -> str:
    address = until(lambda: re.search(r"http://[\d.]+:\d+", server.log()))[0]
    with urllib.request.urlopen(f"{address}/{name}", timeout=30) as answer:
        return answer.read().decode()


def numbers(server) -> dict[tuple, float]:
    return {
        (one.name, *(value for _, value in sorted(one.labels.items()))): one.value
        for family in text_string_to_metric_families(page(server, "metrics"))
        for one in family.samples
    }


def test_answers_are_counted_by_where_they_came_from(server, client, mine):
    before = numbers(server)
    for _ in range(2):
        client.refit(mine, l2=0.5)
        client.spectra(mine, replicates=0)
    after = numbers(server)
    for service in ("RefitService", "SpectraService"):
        for source in ("computed", "stored"):
            name = ("penult_answers_total", service, source)
            assert after[name] - before.get(name, 0) == 1
    assert after["penult_requests_total", "OK", "", "RefitService/ComputeRefits"] >= 2
    assert after["penult_requests_in_flight", "RefitService/ComputeRefits"] == 0
    # The worker is asked once a second at most.
    after = until(lambda: (found := numbers(server))["penult_refits_per_batch_sum",] >= 1 and found)
    assert after["penult_device_seconds_total",] > 0
    assert after["penult_resident_bytes",] >= mine.n_examples * 4 * 4
    assert after["penult_queue_seconds_count", "RefitService/ComputeRefits"] >= 1
    assert after["penult_registry_seconds_count", "commit"] > 0
    assert after["penult_worker_starts_total", "start", "compute"] == 1


def test_a_job_is_counted_and_its_lines_are_its_own(server, client, job):
    found = numbers(server)
    assert found["penult_job_seconds_count", "register_dataset", "succeeded"] == 1
    assert found["penult_events_lost_total",] == 0
    lines(server, job=job.id, outcome="succeeded")
    told = [one["message"] for one in lines(server, job=job.id)]
    assert [message.split()[2] for message in told] == ["waits", "starts,", "succeeded"]


def test_a_call_has_one_number_at_both_ends(server, client, mine):
    """The client's error names the line of the log that says the same of the call."""
    with pytest.raises(penult.NotFound) as caught:
        client.features.get("nothing")
    number = caught.value.metadata["request_id"]
    (line,) = lines(server, request_id=number)
    assert (line["logger"], line["method"], line["code"], line["kind"]) == (
        "penult.access",
        "FeatureService/GetFeatureSet",
        "NOT_FOUND",
        "unknown_feature_set",
    )
    assert line["user"]
    assert line["milliseconds"] > 0


def test_a_number_of_another_client_is_kept(server):
    record = server.record
    metadata = {"authorization": f"Bearer {record['token']}", "penult-protocol": str(PROTOCOL)}
    with grpc.insecure_channel(record["address"]) as channel:
        stub = info_pb2_grpc.InfoServiceStub(channel)
        _, call = stub.GetInfo.with_call(
            info_pb2.GetInfoRequest(), metadata=(*metadata.items(), ("x-request-id", "from-a-notebook:7")), timeout=30
        )
        assert dict(call.trailing_metadata())["x-request-id"] == "from-a-notebook:7"
        _, call = stub.GetInfo.with_call(info_pb2.GetInfoRequest(), metadata=tuple(metadata.items()), timeout=30)
        assert re.fullmatch(r"[0-9a-f]{16}", dict(call.trailing_metadata())["x-request-id"])
    assert lines(server, request_id="from-a-notebook:7")


def test_strangers_are_counted_without_a_name(server):
    before = numbers(server).get(("penult_refusals_total", "unauthenticated"), 0)
    with pytest.raises(penult.Unauthenticated):
        server.connect(token=STRANGE)
    assert numbers(server)["penult_refusals_total", "unauthenticated"] == before + 1
    line = lines(server, kind="unauthenticated")[-1]
    assert (line["user"], line["level"]) == ("", "WARNING")


def test_a_job_s_log_is_read_from_afar(server, client, job, capsys):
    log = server.root / "logs" / f"job-{job.id}.log"
    with log.open("ab") as file:
        file.write("grüße\n".encode() + b"x" * (3 * 2**20) + b"\nlast words\n")
    whole = client.jobs.log(job)
    assert whole == log.read_text()
    assert client.jobs.log(job.id, last=11) == "last words\n"
    assert main(["jobs", "logs", job.id[:8], "--last", "11", "--address", server.record["address"]]) == 0
    assert capsys.readouterr().out == "last words\n"
    with pytest.raises(penult.NotFound):
        client.jobs.log("nothing")


def test_health_says_what_works(server, client, mine):
    assert page(server, "healthz") == "registry: ok\ncompute worker: ok\n"
    with pytest.raises(urllib.error.HTTPError, match="404"):
        page(server, "anything")


def test_systemd_is_told_when_calls_are_answered(server, systemd):
    assert systemd.recv(1000).decode() == f"READY=1\nSTATUS=serves {server.root.resolve()}"


def test_no_secret_is_written_anywhere(server, client, mine, job):
    """After everything above: neither the server's token nor one that a stranger tried."""
    token = server.record["token"]
    with pytest.raises(penult.PenultError):
        client.features.get(STRANGE)
    with pytest.raises(penult.PenultError) as caught:
        server.connect(token=STRANGE)
    said = [server.log(), page(server, "metrics"), page(server, "healthz"), str(caught.value), *caught.value.metadata]
    said += [path.read_text(errors="replace") for path in (server.root / "logs").iterdir()]
    for one in said:
        assert token not in one
        assert STRANGE not in one
        assert "Bearer p" not in one
