"""Two servers of one registry on PostgreSQL: the second waits, takes over from a killed one, and tells no password."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from postgres_server import PASSWORD
from running_server import RunningServer
from server_processes import until

import penult
from penult.cli.main import main as penult_command
from penult_proto.v1 import jobs_pb2
from penult_server.upkeep.command import main as store_command

TOKEN = [sys.executable, "-m", "penult_server", "token"]


def answers(server: RunningServer) -> bool:
    with contextlib.suppress(OSError, ValueError, penult.PenultError):
        return server.record["pid"] == server.process.pid
    return False


def test_a_second_server_takes_over_from_a_killed_one(
    postgres_url: str, tmp_path: Path, table: Path, tiny: dict, capsys: pytest.CaptureFixture[str]
):
    root = tmp_path / "store"
    options = ("--registry", postgres_url, "--lease-seconds", "2")
    first = RunningServer(root, *options)
    waiting: list[RunningServer] = []
    try:
        with first.connect() as client:
            client.datasets.register("shapes", table)
            job = client.finetune(dataset="shapes", epochs=6, evaluate=["val"], name="kept", **tiny)
            starting = threading.Thread(target=lambda: waiting.append(RunningServer(root, *options)))
            starting.start()
            until(lambda: "waiting until it leaves" in first.log())
            request = jobs_pb2.WatchJobRequest(id=job.id)
            with job._connection.stream(job._connection.stubs.jobs.WatchJob, request, timeout=120) as events:
                next(one for one in events if one.HasField("metrics"))
        first.kill()
        starting.join(timeout=120)
        (second,) = waiting
        assert second.process.poll() is None
        with second.connect() as client:
            run = client.jobs.get(job.id).wait()
            assert (run.name, len(run.history)) == ("kept", 6)
            assert client.jobs.get(job.id).attempt == 2
            assert client.runs.get("kept").id == job.id
        # A user's token is given and known while the server runs.
        given = subprocess.run(
            [*TOKEN, "create", "laptop", "--user", "ann", "--role", "reader", "--root", str(root)],
            env=os.environ | {"PENULT_REGISTRY": postgres_url},
            capture_output=True,
            text=True,
            check=True,
        )
        until(lambda: lets_in(second, given.stdout.strip()))
        assert penult_command(["runs", "list", "--root", str(root)]) == 0
        assert "kept" in capsys.readouterr().out
        assert store_command(["verify", "--root", str(root)]) == 0
        for command in (["repair"], ["backup", str(tmp_path / "copy")]):
            assert store_command([*command, "--root", str(root)]) == 1
            said = capsys.readouterr().err
            assert "the registry of" in said
            assert "pg_dump" in said
        second.process.send_signal(signal.SIGTERM)
        assert second.process.wait(timeout=100) == 0
        assert store_command(["gc", "--root", str(root), "--registry", postgres_url]) == 0
    finally:
        for server in (first, *waiting):
            if server.process.poll() is None:
                server.kill()
    for path in root.rglob("*"):
        if path.is_file():
            assert PASSWORD.encode() not in path.read_bytes(), path
    assert not (root / "penult.db").exists()


def lets_in(server: RunningServer, token: str) -> bool:
    try:
        with server.connect(token=token) as client:
            return bool(client.runs.list())
    except penult.Unauthenticated:
        return False
