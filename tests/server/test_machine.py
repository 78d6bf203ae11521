"""What the machine refuses has kinds of its own; a signal ends a server that hangs; sockets find a short place."""

import errno
import json
import os
import resource
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from penult_proto.errors import ErrorKind
from penult_server.errors import RegistryUnavailable, ServiceError
from penult_server.machine.folders import MOST_SOCKET_BYTES, caches, socket_folder
from penult_server.registry.database import Database
from penult_server.settings import Settings
from penult_server.status import translate

KINDS = {
    "EIO": ErrorKind.DISK_FAILED,
    "EROFS": ErrorKind.DISK_FAILED,
    "ESTALE": ErrorKind.DISK_FAILED,
    "ENOSPC": ErrorKind.DISK_FULL,
    "EDQUOT": ErrorKind.DISK_FULL,
    "EFBIG": ErrorKind.TOO_LARGE,
    "EMFILE": ErrorKind.BUSY,
    "ENFILE": ErrorKind.BUSY,
    "ENOMEM": ErrorKind.OUT_OF_MEMORY,
}


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_numbers_of_the_system_are_kinds(name, kind):
    number = getattr(errno, name)
    bare = OSError(number, os.strerror(number))
    assert translate(bare).kind == kind
    # safetensors writes the number in words.
    rust = type("SafetensorError", (Exception,), {})(f"Error: I/O error: {os.strerror(number)} (os error {number})")
    assert translate(rust).kind == kind
    # Whoever wraps it blames a file; it is the machine's fault all the same.
    blamed = ServiceError(ErrorKind.STORE_CORRUPT, "the manifest cannot be read")
    blamed.__cause__ = bare
    assert translate(blamed).kind == kind
    wrapped = RuntimeError("something went wrong")
    wrapped.__cause__ = bare
    assert translate(wrapped).kind == kind


def test_other_errors_stay_what_they_are():
    assert translate(OSError(errno.ENOENT, "gone")).kind == ErrorKind.INTERNAL
    damaged = ServiceError(ErrorKind.STORE_CORRUPT, "altered")
    damaged.__cause__ = FileNotFoundError(errno.ENOENT, "gone")
    assert translate(damaged) is damaged
    refused = ServiceError(ErrorKind.INVALID_ARGUMENT, "no")
    refused.__cause__ = OSError(errno.EIO, "bad")
    assert translate(refused) is refused


def test_a_file_that_grows_too_large(tmp_path):
    """The real message of safetensors: its form may change."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(Exception, match="File too large") as raised:
            save_file({"x": np.zeros(1000)}, tmp_path / "weights")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert translate(raised.value).kind == ErrorKind.TOO_LARGE


def test_a_registry_that_the_disk_refuses(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(ServiceError, match="must be a file that this user can read and write") as raised:
        Database(tmp_path / "folder")
    assert raised.value.kind == ErrorKind.DISK_FAILED
    database = Database(tmp_path / "penult.db")
    database.connection.exec_driver_sql("PRAGMA max_page_count = 1")
    insert = "INSERT INTO job (id, spec_digest, state, created, message) VALUES ('x', '', '', 0, ?)"
    with pytest.raises(RegistryUnavailable) as full, database.transaction() as connection:
        connection.exec_driver_sql(insert, (json.dumps("x" * 10**6),))
    assert translate(full.value).kind == ErrorKind.DISK_FULL
    database.connection.exec_driver_sql("PRAGMA query_only = ON")
    with pytest.raises(RegistryUnavailable) as read_only, database.transaction():
        pass
    assert translate(read_only.value).kind == ErrorKind.DISK_FAILED
    database.close()


def test_a_socket_finds_a_short_place_whatever_the_temporary_folder_is(tmp_path, monkeypatch):
    long = tmp_path / ("t" * 120)
    long.mkdir()
    for given in (long, tmp_path / "missing"):
        monkeypatch.setenv("TMPDIR", str(given))
        folder = socket_folder()
        try:
            assert folder.stat().st_mode & 0o777 == 0o700
            path = folder / "1234567890.sock"
            assert len(os.fsencode(path)) <= MOST_SOCKET_BYTES
            with socket.socket(socket.AF_UNIX) as one:
                one.bind(str(path))
            path.unlink()
        finally:
            folder.rmdir()


def test_a_home_that_cannot_be_written_to_has_its_cache_in_the_store(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/proc/nope")
    assert caches({}, tmp_path) == {"CUPY_CACHE_DIR": str(tmp_path / "cache" / "cupy")}
    assert caches({"CUPY_CACHE_DIR": "/elsewhere"}, tmp_path) == {}
    monkeypatch.setenv("HOME", str(tmp_path))
    assert caches({}, tmp_path) == {}


@pytest.mark.parametrize("port", [-1, 65536, 99999])
def test_ports_that_there_are_not(tmp_path, port):
    with pytest.raises(ServiceError, match=r"--port must lie in 0 \.\. 65535"):
        Settings(root=tmp_path, port=port)


def refused(*options: str, **variables: str) -> str:
    """What `penult serve` says instead of serving: a sentence."""
    done = subprocess.run(
        [sys.executable, "-m", "penult_server", "serve", "--port", "0", *options],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | variables,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    (said,) = done.stderr.splitlines()
    assert said.startswith("penult serve: ")
    return said


def test_a_root_that_is_none_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    assert "--root must be a directory" in refused("--root", str(tmp_path / "file"))
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    assert "--root must be a directory" in refused("--root", str(tmp_path / "circle"))
    deep = tmp_path.joinpath(*["d" * 200] * 3)
    assert "its path may have about 500 bytes" in refused("--root", str(deep))


LEAVING = """
import os, signal, sys, threading, time
from penult_server.machine.leaving import on_signals
signal.signal(signal.SIGHUP, signal.{hangup})
on_signals(lambda: sys.stdout.write("asked\\n") and sys.stdout.flush(), 0.3)
sys.stdout.write("ready\\n"); sys.stdout.flush()
{hang}
"""
"""A process whose main thread hangs, in Python or in the system."""


@pytest.mark.parametrize("hang", ["while True: pass", "os.open(sys.argv[1], os.O_RDONLY)"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_a_process_that_hangs(tmp_path, hang, number):
    os.mkfifo(tmp_path / "fifo")
    command = [sys.executable, "-c", LEAVING.format(hang=hang, hangup="SIG_DFL"), str(tmp_path / "fifo")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (4, "asked\n")
    assert "does not let the server leave" in err


def test_nohup_is_respected(tmp_path):
    code = LEAVING.format(hang="time.sleep(0.3); sys.stdout.write('goes on')", hangup="SIG_IGN")
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGHUP)
        out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "goes on")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc can be told so")
def test_freed_memory_is_used_again():
    code = (
        "import resource, sys, numpy as np\n"
        "from penult_server.machine.allocator import keep_freed_memory\n"
        "keep_freed_memory()\n"
        "faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "np.ones(8 << 20)\n"
        "before = faults()\n"
        "for _ in range(10): np.ones(8 << 20)\n"
        "print(faults() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    # 64 MiB are 16,384 pages each time.
    assert int(done.stdout) < 2_000
