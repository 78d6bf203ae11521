"""A PostgreSQL server of the tests' own: unprivileged, on a socket alone, with a database for each test."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

USER = "penult"


def binaries() -> Path | None:
    """Where the newest PostgreSQL's programs are, Debian's or those on PATH."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    found = shutil.which("initdb")
    places += [Path(found).resolve().parent] if found else []
    return next((path for path in places if (path / "initdb").exists() and (path / "postgres").exists()), None)


class Postgres:
    """One server. PostgreSQL refuses root, for whom it runs as Debian's user."""

    def __init__(self, programs: Path, *, fsync: bool = False) -> None:
        self._programs = programs
        # A socket's path is short, and the server's user must reach it.
        self._home = Path(tempfile.mkdtemp(prefix="penult-pg-", dir="/tmp"))
        self._fsync = "on" if fsync else "off"
        self._as: dict[str, object] = {}
        if os.getuid() == 0:
            try:
                user = pwd.getpwnam("postgres")
            except KeyError:
                user = pwd.getpwnam("nobody")
            os.chown(self._home, user.pw_uid, user.pw_gid)
            self._as = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        # Without -E a C locale gives SQL_ASCII, whose texts come as bytes.
        options = ["-D", "data", "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "-N"]
        self._call("initdb", *options)
        self.start()

    def _call(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        subprocess.run(command, cwd=self._home, check=True, capture_output=True, timeout=60, **self._as)

    def start(self) -> None:
        """Start, also after a kill: the children of the last one must have gone."""
        options = ["-D", str(self._home / "data"), "-h", "", "-k", str(self._home), "-c", f"fsync={self._fsync}"]
        deadline = time.monotonic() + 60
        with (self._home / "log").open("ab") as log:
            while True:
                command = [str(self._programs / "postgres"), *options]
                self._process = subprocess.Popen(command, cwd=self._home, stdout=log, stderr=log, **self._as)
                while self._process.poll() is None:
                    if self._accepts():
                        return
                    time.sleep(0.02)
                assert time.monotonic() < deadline, (self._home / "log").read_text()[-2000:]

    def _accepts(self) -> bool:
        ready = [str(self._programs / "pg_isready"), "-q", "-h", str(self._home), "-U", USER, "-d", "postgres"]
        return subprocess.run(ready, timeout=60).returncode == 0

    def kill(self) -> None:
        """As a power cut does, but for what the system has in memory."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def database(self, encoding: str = "UTF8") -> str:
        """The URL of a new, empty database."""
        name = f"t{uuid.uuid4().hex[:12]}"
        self.ask(f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0")
        return self.url(name)

    def url(self, name: str) -> str:
        """The URL of a database; the password is for those who look for it in logs, for nobody asks."""
        return f"postgresql://{USER}:{PASSWORD}@/{name}?host={self._home}"

    def ask(self, query: str, name: str = "postgres") -> list[tuple[object, ...]]:
        """What the server says, asked beside the registry."""
        import psycopg

        with psycopg.connect(f"host={self._home} user={USER} dbname={name}", autocommit=True) as connection:
            answer = connection.execute(query)
            return answer.fetchall() if answer.description else []

    def close(self) -> None:
        """End it and remove everything."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(timeout=30)
        shutil.rmtree(self._home, ignore_errors=True)


def name_of(url: str) -> str:
    """The database of a URL."""
    return url.partition("@/")[2].partition("?")[0]


PASSWORD = "correct-horse-battery"


def started(*, fsync: bool = False) -> Iterator[Postgres]:
    """A server, ended afterwards; skips where there is none."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'penult[postgres]'")
    programs = binaries()
    if programs is None:
        pytest.skip("PostgreSQL is not installed here (Debian: apt-get install postgresql)")
    server = Postgres(programs, fsync=fsync)
    yield server
    server.close()
