"""Tokens of users in a registry, the commands that make and end them, and a root that is its owner's alone."""

import contextlib
import json
import logging
import os
import re
import sqlite3
import stat
import time
from pathlib import Path

import pytest

from penult_proto.errors import ErrorKind
from penult_proto.roles import Role
from penult_server.__main__ import main
from penult_server.errors import ServiceError
from penult_server.front.access import RootLock, server_token
from penult_server.logs import repeats
from penult_server.registry.database import Database
from penult_server.settings import Settings
from penult_server.stores.disk.private import make_private
from penult_server.users.command import lifetime
from penult_server.users.tokens import TokenTable, secret_digest


@pytest.fixture(autouse=True)
def _usual_mask():
    """`main` sets its process's own."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    Database(tmp_path / "penult.db").close()
    return tmp_path


@pytest.fixture
def table(root):
    database = Database(root / "penult.db")
    yield TokenTable(database)
    database.close()


def test_the_registry_keeps_no_secret(root, table):
    token, secret = table.create("laptop", user="ann", role=Role.RUNNER, expires=None)
    assert re.fullmatch(r"pen_[A-Za-z0-9_-]{43}", secret)
    assert token.sha256 == secret_digest(secret)
    assert table.all() == [token]
    assert secret.encode() not in (root / "penult.db-wal").read_bytes() + (root / "penult.db").read_bytes()


def test_a_name_is_free_again_once_its_token_is_revoked(table):
    first, _ = table.create("laptop", user="ann", role=Role.RUNNER, expires=None)
    with pytest.raises(ServiceError) as raised:
        table.create("laptop", user="bob", role=Role.READER, expires=None)
    assert raised.value.kind is ErrorKind.NAME_TAKEN
    assert table.revoke("laptop").state == "revoked"
    second, _ = table.create("laptop", user="bob", role=Role.READER, expires=time.time() + 60)
    assert [one.state for one in table.all()] == ["revoked", "valid"]
    assert table.revoke(second.id).id == second.id
    with pytest.raises(ServiceError, match="there is no token 'laptop'; known: there are none yet"):
        table.revoke(first.name)


@pytest.mark.parametrize(("name", "user"), [("", "u"), ("n", ""), ("n\n", "u"), ("n", " u"), ("n" * 65, "u")])
def test_names_are_names(table, name, user):
    with pytest.raises(ServiceError, match="1 to 64 printable characters"):
        table.create(name, user=user, role=Role.READER, expires=None)


def test_another_connection_s_change_is_noticed(root, table):
    before = table.version()
    table.create("mine", user="u", role=Role.READER, expires=None)
    database = Database(root / "penult.db")
    TokenTable(database).create("theirs", user="u", role=Role.READER, expires=None)
    database.close()
    assert table.version() != before


@pytest.mark.parametrize(("said", "seconds"), [("30m", 1800), ("12h", 43200), ("90d", 7776000), ("never", None)])
def test_lifetimes(said, seconds):
    assert lifetime(said) == seconds


def run(root: Path, *arguments: str) -> int:
    return main(["token", *arguments, "--root", str(root)])


def test_the_commands(root, capsys):
    assert run(root, "create", "laptop", "--user", "ann", "--role", "runner", "--expires", "1d") == 0
    said = capsys.readouterr()
    secret = said.out.strip()
    assert re.fullmatch(r"pen_[A-Za-z0-9_-]{43}", secret)
    assert "a runner token for ann, valid until 20" in said.err
    assert run(root, "list", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["name"], row["user"], row["role"], row["state"]) == ("laptop", "ann", "runner", "valid")
    assert run(root, "revoke", "laptop") == 0
    assert run(root, "list") == 0
    assert re.search(r"laptop +\w+ +ann +runner +revoked", capsys.readouterr().out)
    assert run(root, "revoke", "laptop") == 1
    assert "there is no token 'laptop'" in capsys.readouterr().err
    assert run(root, "create", "x", "--user", "ann", "--role", "reader", "--expires", "soon") == 1
    assert "must be like 30m, 12h, 90d, or never; got 'soon'" in capsys.readouterr().err
    assert run(root / "nowhere", "list") == 1
    assert "is no store" in capsys.readouterr().err


def test_a_server_of_another_version_is_left_alone(root, capsys):
    lock = RootLock(root, patience=0)
    assert run(root, "list") == 0
    with contextlib.closing(sqlite3.connect(root / "penult.db")) as connection, connection:
        connection.execute("PRAGMA user_version = 2")
    assert run(root, "list") == 1
    assert "start the server anew with this version" in capsys.readouterr().err
    lock.release()


@pytest.mark.parametrize("content", ["", "\n", "short", "ä" * 40, "a b" * 20])
def test_a_file_that_holds_no_token_is_refused(tmp_path, content):
    (tmp_path / "token").write_text(content)
    with pytest.raises(ServiceError, match=r"must hold a token of at least 32 .* remove the file") as raised:
        server_token(tmp_path)
    assert raised.value.kind is ErrorKind.INVALID_ARGUMENT


def modes(root: Path) -> dict[str, int]:
    return {str(path.relative_to(root)): stat.S_IMODE(path.lstat().st_mode) for path in root.rglob("*")}


def test_a_root_that_was_open_is_closed(tmp_path):
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    for folder in ("features/abc", "logs", "others"):
        (root / folder).mkdir(parents=True)
    for file in ("penult.db", "features/abc/manifest.json", "logs/job-1.log", "others/mine.txt", "notes.txt"):
        (root / file).touch(0o644)
    elsewhere.touch(0o644)
    (root / "features" / "link").symlink_to(elsewhere)
    root.chmod(0o755)
    make_private(root)
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    found = modes(root)
    assert {found[name] for name in ("features", "features/abc", "logs")} == {0o700}
    assert {found[name] for name in ("penult.db", "features/abc/manifest.json", "logs/job-1.log")} == {0o600}
    # What is none of the server's stays as it was.
    assert (found["notes.txt"], found["others/mine.txt"]) == (0o644, 0o644)
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o644
    (root / "server.log").touch(0o644)
    make_private(root)
    assert modes(root)["server.log"] == 0o600


@pytest.mark.parametrize("options", [{"tls_client_ca": Path("ca")}, {"max_user_jobs": 0}, {"max_user_bytes": -1}])
def test_options_that_make_no_sense(tmp_path, options):
    with pytest.raises(ServiceError) as raised:
        Settings(root=tmp_path, **options)
    assert raised.value.kind is ErrorKind.INVALID_ARGUMENT


def test_a_line_that_repeats_is_told_a_few_times(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(repeats.time, "monotonic", lambda: now)
    limit = repeats.RepeatLimit()

    def say(line: int, level: int = logging.ERROR) -> str | None:
        record = logging.LogRecord("penult", level, "here.py", line, "failed: %s", ("x",), None)
        return record.getMessage() if limit.filter(record) else None

    said = [say(1) for _ in range(1000)]
    assert said == ["failed: x"] * repeats.PER_PERIOD + [None] * (1000 - repeats.PER_PERIOD)
    assert say(2) == "failed: x"
    assert all(say(1, logging.INFO) for _ in range(100))
    now += repeats.PERIOD_SECONDS
    assert say(1) == f"failed: x ({1000 - repeats.PER_PERIOD} more of these were left out before)"
    assert say(1) == "failed: x"
