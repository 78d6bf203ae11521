"""A team at one server: what each role may, whose things are whose, what is written down, and clients' certificates."""

import json
import re
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import grpc
import numpy as np
import pytest
from running_server import RunningServer
from server_processes import computes

import penult
from penult.certificates import make_certificate
from penult.wire import encode_refits
from penult_proto.roles import Role
from penult_proto.v1 import refits_pb2
from penult_server.registry.database import Database
from penult_server.users.tokens import TokenTable

T = TypeVar("T")
X, Y = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32), np.arange(60) % 2


def token(root: Path, name: str, user: str, role: str) -> str:
    """A new token, as another process makes it beside the server that runs."""
    database = Database(root / "penult.db")
    try:
        return TokenTable(database).create(name, user=user, role=Role(role), expires=None)[1]
    finally:
        database.close()


def let_in(connect: Callable[[], T]) -> T:
    """What `connect` gives once the server knows of a new token: within a second."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return connect()
        except (penult.Unauthenticated, penult.NotAllowed):
            if time.monotonic() > deadline:
                raise


def refused(what: Callable[[], object], kind: str = "not_allowed") -> penult.PenultError:
    with pytest.raises(penult.PenultError) as raised:
        what()
    assert raised.value.kind == kind, raised.value
    return raised.value


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    root = tmp_path_factory.mktemp("users") / "store"
    started = RunningServer(root, "--max-user-bytes", "1000000", "--max-user-jobs", "1")
    yield started
    started.stop()


@pytest.fixture(scope="module")
def secrets(server):
    people = (("ann", "runner"), ("bob", "runner"), ("eve", "reader"), ("root", "admin"))
    return {user: token(server.root, f"laptop of {user}", user, role) for user, role in people}


@pytest.fixture(scope="module")
def people(server, secrets):
    """Clients of everybody, each let in within a second of `penult token create`."""
    clients = {user: let_in(partial(server.connect, token=secret)) for user, secret in secrets.items()}
    yield clients
    for client in clients.values():
        client.close()


@pytest.fixture(scope="module")
def ann_s(people):
    """Features that a runner has uploaded."""
    return people["ann"].features.upload(features=X, y=Y, name="anns")


def test_a_thing_is_its_token_s_user_s(server, people, ann_s, monkeypatch):
    assert ann_s.user == "ann"
    assert people["ann"].refit(ann_s, l2=0.5).user == "ann"
    monkeypatch.setenv("PENULT_USER", "whoever")
    with server.connect() as owner:
        assert owner.features.upload(features=X[:40], y=Y[:40]).user == "whoever"
    with server.connect(token=(server.root / "token").read_text().strip()) as again:
        assert again.features.upload(features=X[:30], y=Y[:30]).user == "whoever"


def test_a_reader_has_what_is_stored_and_no_more(people, ann_s):
    eve, ann = people["eve"], people["ann"]
    assert np.array_equal(eve.features.read(ann_s).features, X)
    ann.refit(ann_s, l2=0.1)
    ann.spectra(ann_s, top_k=2)
    assert eve.refit(ann_s.digest, l2=0.1).user == "ann"
    eve.spectra(ann_s.digest, top_k=2)
    said = str(refused(lambda: eve.refit(ann_s.digest, l2=0.2)))
    assert "this answer is not stored, and eve is a reader here" in said
    refused(lambda: eve.spectra(ann_s.digest, top_k=3))
    refused(lambda: eve.descriptors(ann_s.digest))
    assert "a name, tags or a note needs the role runner" in str(
        refused(lambda: eve.refit(ann_s.digest, l2=0.1, name="mine-now"))
    )
    ann.groupings.upload(ann_s, Y, name="anns-groups")
    assert eve.groupings.upload(ann_s.digest, Y).user == "ann"
    assert np.array_equal(eve.groupings.get("anns-groups").values, Y)
    refused(lambda: eve.groupings.upload(ann_s.digest, 1 - Y))
    refused(lambda: eve.groupings.upload(ann_s.digest, Y, name="mine-now"))
    refused(lambda: eve.groupings.delete("anns-groups"))
    refused(lambda: people["bob"].groupings.delete("anns-groups"))
    refused(lambda: eve.features.upload(features=X, y=Y))
    refused(lambda: eve.features.delete(ann_s))
    refused(lambda: eve.evaluate(ann.refit(ann_s, l2=0.1), ann_s.digest))


def training(client: penult.Client, seed: int) -> penult.Job:
    """Long enough to be there when the next is asked for."""
    return client.finetune(dataset="footwear", backbone="test_resnet", pretrained=False, epochs=500, seed=seed)


def job_or_error(ask: Callable[[], penult.Job]) -> penult.Job | penult.PenultError:
    try:
        return ask()
    except penult.PenultError as error:
        return error


def test_a_runner_deletes_and_cancels_what_is_their_own(people, ann_s):
    ann, bob = people["ann"], people["bob"]
    assert "is ann's, and a runner may change only what is their own" in str(
        refused(lambda: bob.features.delete(ann_s))
    )
    assert bob.features.delete(ann_s, dry_run=True).goes
    job = training(ann, 0)
    refused(lambda: bob.jobs.get(job.id).cancel())
    refused(lambda: bob.datasets.register("mine", "/tmp/labels.csv"))
    # One of ann's may run, one may wait.
    made = [job_or_error(partial(training, ann, seed)) for seed in (1, 2)]
    busy = [one for one in made if isinstance(one, penult.PenultError)]
    assert [one.kind for one in busy] == ["quota_exceeded"] * len(busy) != []
    assert isinstance(busy[0], penult.Busy)
    assert busy[0].retry_after
    for one in made:
        if isinstance(one, penult.Job):
            one.cancel()
    people["root"].jobs.get(job.id).cancel()


def test_bytes_are_bounded(people):
    large = np.zeros((4000, 80), dtype=np.float32)
    busy = refused(lambda: people["bob"].features.upload(features=large, y=np.arange(4000) % 2), "quota_exceeded")
    assert "and 1,000,000 is the most" in str(busy)


def test_a_revoked_token_ends_what_it_began(server, people):
    secret = token(server.root, "short", "zoe", "reader")
    client = let_in(lambda: server.connect(token=secret))
    command = [sys.executable, "-m", "penult", "token", "revoke", "short", "--root", str(server.root)]
    subprocess.run(command, check=True, capture_output=True)
    ended = time.monotonic()
    with client:
        while (error := failure(client.info)) is None:
            assert time.monotonic() - ended < 2
    # The second where a call was in progress.
    assert any(said in str(error) for said in ("was revoked", "the token of this call has ended"))


def test_a_flood_of_one_user_s_ends_after_the_small_questions_of_another(server, people, ann_s):
    """By the order in which answers come: of ann's refits of three sets, minutes each, none does before bob's."""
    ann, bob = people["ann"], people["bob"]
    sets = [ann.features.upload(features=X[: 50 + k], y=Y[: 50 + k]) for k in range(3)]
    flood = []
    for number, features in enumerate([*sets, *sets]):
        path = {"optimizer": "gd", "learning_rate": 1e-3 * (1 + number), "steps": 1_000_000}
        request = encode_refits.refit_request({"features": features, "path": path, "standardize": False})
        request = refits_pb2.ComputeRefitsRequest(requests=[request])
        flood.append(ann.connection.stubs.refits.ComputeRefits(request, metadata=ann.connection._metadata))
    computes(server)
    for number in range(3):
        assert bob.refit(ann_s.digest, l2=0.7 + number, timeout=60).user == "bob"
        assert bob.spectra(ann_s.digest, top_k=3 + number, timeout=60).user == "bob"
    in_progress = [one for one in flood if not one.done()]
    assert len(in_progress) >= 2
    # What the server cannot begin soon it refuses at once.
    assert {one.code() for one in flood if one.done()} <= {grpc.StatusCode.RESOURCE_EXHAUSTED}
    for one in in_progress:
        one.cancel()


def failure(call: Callable[[], object]) -> penult.PenultError | None:
    try:
        call()
    except penult.Unauthenticated as error:
        return error
    return None


def test_strangers_messages_take_no_memory(server):
    """Once 24 messages of 60 MB took 1.1 GB more."""
    message = b"\x0a" + b"a" * (60 * 2**20)

    def send(_: int) -> grpc.StatusCode:
        with grpc.insecure_channel(server.record["address"]) as channel:
            call = channel.unary_unary("/penult.v1.JobService/GetJob")
            with pytest.raises(grpc.RpcError) as raised:
                call(message, timeout=30)
        return raised.value.code()

    before = peak(server)
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(send, range(8))) == {grpc.StatusCode.UNAUTHENTICATED}
    assert peak(server) - before < 200 * 2**20


def peak(server: RunningServer) -> int:
    """Most bytes that the front has had in memory."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{server.process.pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


def test_afterwards_all_is_private_and_the_audit_tells_who_did_what(server, people, ann_s, secrets):
    refused(lambda: people["eve"].features.delete(ann_s))
    open_to_others = [
        path for path in (server.root, *server.root.rglob("*")) if stat.S_IMODE(path.lstat().st_mode) & 0o077
    ]
    assert [path for path in open_to_others if path.name not in ("store", "server.log")] == []
    assert stat.S_IMODE(server.root.stat().st_mode) == 0o700
    lines = [json.loads(line) for line in (server.root / "logs" / "audit.jsonl").read_text().splitlines()]
    done = {(one["user"], one["method"].rpartition("/")[2], one["code"]) for one in lines}
    assert {
        ("ann", "UploadFeatures", "OK"),
        ("ann", "ComputeRefits", "OK"),
        ("bob", "Delete", "PERMISSION_DENIED"),
        ("eve", "Delete", "PERMISSION_DENIED"),
        ("eve", "ComputeSpectra", "PERMISSION_DENIED"),
        ("ann", "CreateJob", "RESOURCE_EXHAUSTED"),
        ("root", "CancelJob", "OK"),
    } <= done
    # What was stored changes nothing, and needs no line; a refusal has one, also within an answer.
    assert ("eve", "ComputeRefits", "PERMISSION_DENIED") in done
    assert not done & {("eve", "ComputeRefits", "OK"), ("eve", "ComputeSpectra", "OK")}
    assert "GetInfo" not in {method for _, method, code in done if code == "OK"}
    uploads = {one["what"] for one in lines if one["method"].endswith("UploadFeatures")}
    assert ann_s.digest in uploads


def test_no_secret_is_in_anything_that_is_kept(server, people, secrets):
    owner = (server.root / "token").read_text().strip()
    for path in server.root.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert all(secret.encode() not in content for secret in secrets.values()), path
            assert owner.encode() not in content or path.name in ("token", "server.json"), path


# Certificates of clients

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")


NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def authority(folder: Path) -> tuple[str, str]:
    """The certificate and key of one who signs others."""
    folder.mkdir()
    key, certificate = str(folder / "ca.key"), str(folder / "ca.pem")
    openssl("req", "-x509", *NEW_KEY, "-nodes", "-subj", "/CN=team", "-keyout", key, "-out", certificate)
    return certificate, key


def signed(folder: Path, name: str, by: tuple[str, str], *options: str) -> dict[str, str]:
    """A person's certificate and key, as arguments of `connect`."""
    key, request, certificate = (str(folder / f"{name}.{end}") for end in ("key", "csr", "pem"))
    openssl("req", *NEW_KEY, "-nodes", "-subj", f"/CN={name}", "-keyout", key, "-out", request)
    made = ["-in", request, "-CA", by[0], "-CAkey", by[1], "-CAcreateserial", "-out", certificate]
    openssl("x509", "-req", *made, *(options or ("-days", "2")))
    return {"tls_cert": certificate, "tls_key": key}


@needs_openssl
def test_a_certificate_names_its_user(tmp_path):
    server_s, key = make_certificate(["localhost", "127.0.0.1"], tmp_path / "server")
    team, others = authority(tmp_path / "team"), authority(tmp_path / "others")
    people = {name: signed(tmp_path, name, team) for name in ("ann", "nobody")}
    owner = {"token": "t" * 43, "tls_ca": server_s, **people["nobody"]}
    options = ["--tls-cert", str(server_s), "--tls-key", str(key), "--tls-client-ca", team[0]]
    root = tmp_path / "store"
    root.mkdir(mode=0o700)
    (root / "token").write_text("t" * 43)
    server = RunningServer(root, *options, **owner)
    try:
        address = server.record["address"]
        token(server.root, "ann's", "ann", "runner")

        def connect(**given):
            return penult.connect(address, tls_ca=server_s, **given)

        with let_in(lambda: connect(**people["ann"])) as client:
            assert client.features.upload(features=X, y=Y).user == "ann"
        said = str(refused(lambda: connect(**people["nobody"])))
        assert "the certificate names 'nobody', who has no valid token here" in said
        said = str(refused(partial(connect, timeout=2), "unreachable"))
        assert "wants a certificate of each client: pass tls_cert= and tls_key=" in said
        strange = signed(tmp_path, "strange", others)
        assert "does not accept the certificate in" in str(
            refused(lambda: connect(**strange, timeout=2), "unreachable")
        )
        ended = signed(tmp_path, "ended", team, "-days", "0")
        assert "and it must be valid today" in str(refused(lambda: connect(**ended, timeout=2), "unreachable"))
        assert "go together" in str(refused(lambda: connect(tls_cert=strange["tls_cert"]), "invalid_argument"))
        wrong = {**people["ann"], "tls_key": strange["tls_key"]}
        assert "a certificate and its key" in str(refused(lambda: connect(**wrong), "invalid_argument"))
        with pytest.raises(penult.Unauthenticated):
            connect(token="x" * 43, **people["ann"])
    finally:
        server.stop()
    assert (root / "logs" / "audit.jsonl").exists()
