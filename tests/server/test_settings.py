"""What a server may be told, and the files by which it is found."""

import json
import os
import stat

import pytest

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.front.access import RootLock, ServerRecord, address_files, publish, server_token, withdraw
from penult_server.settings import Settings


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_tls(tmp_path, host):
    assert Settings(root=tmp_path, host=host).is_loopback


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "gpu-box", "127.0.0.1.example"])
def test_any_other_address_does(tmp_path, host):
    with pytest.raises(ServiceError, match="--tls-cert"):
        Settings(root=tmp_path, host=host)
    assert Settings(root=tmp_path, host=host, insecure=True).host == host
    assert Settings(root=tmp_path, host=host, tls_cert=tmp_path / "c", tls_key=tmp_path / "k").host == host


@pytest.mark.parametrize(
    "options",
    [{"tls_cert": "c"}, {"max_queued_jobs": 0}, {"resident_bytes": 0}, {"device": "tpu"}, {"compute_workers": -1}],
)
def test_options_that_make_no_sense(tmp_path, options):
    with pytest.raises(ServiceError) as raised:
        Settings(root=tmp_path, **options)
    assert raised.value.kind is ErrorKind.INVALID_ARGUMENT


def test_a_root_is_locked_until_it_is_released(tmp_path):
    lock = RootLock(tmp_path / "root", patience=0)
    with pytest.raises(ServiceError) as raised:
        RootLock(tmp_path / "root", patience=0)
    assert raised.value.kind is ErrorKind.STORE_LOCKED
    lock.release()
    RootLock(tmp_path / "root", patience=0).release()


def test_token_and_records_are_for_their_owner_only(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    token = server_token(tmp_path)
    assert server_token(tmp_path) == token
    assert len(token) >= 32
    files = address_files(tmp_path, 7711)
    publish(ServerRecord(address="a", token=token, pid=os.getpid(), root=str(tmp_path), protocol=1, version="1"), files)
    for path in (*files, tmp_path / "token"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    files[0].write_text(json.dumps({"pid": -1}))
    withdraw(files)
    assert files[0].exists(), "another server's record is left alone"
    assert not files[1].exists()
