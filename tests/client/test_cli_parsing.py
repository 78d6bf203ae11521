"""The command line: what it accepts, what it refuses and with which exit code."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from penult import cli
from penult.connection import handshake, servers
from penult.connection.servers import ServerRecord, read_record, state_file

RECORD = {
    "address": "127.0.0.1:7711",
    "token": "secret",
    "pid": 1,
    "root": "/store",
    "protocol": 1,
    "version": "0.1.0",
}


@pytest.fixture
def closed_address() -> str:
    """An address that nobody listens on."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{unused.getsockname()[1]}"


@pytest.fixture
def state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("PENULT_TOKEN", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["jobs", "watch"],
        ["jobs", "list", "j1"],
        ["jobs", "stop", "j1"],
        ["spectra"],
        ["spectra", "x", "--by", "groups"],
        ["spectra", "x", "--top-k", "many"],
        ["spectra", "x", "--address", "a:1", "--root", "r"],
        ["refit", "x", "--preset", "drf"],
        ["refit", "x", "--evaluate", "test"],
        ["refit", "x", "--evaluate", "=mine"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage: penult" in capsys.readouterr().err


def test_options_reach_their_command() -> None:
    options = cli.make_parser().parse_args(
        ["refit", "mine", "--preset", "erm", "--evaluate", "test=t1", "--evaluate", "val=a=b", "--root", "store"]
    )
    assert (options.features, options.preset, options.root) == ("mine", "erm", Path("store"))
    assert dict(options.evaluate) == {"test": "t1", "val": "a=b"}
    assert (options.l2, options.seed, options.json) == (None, 0, False)
    options = cli.make_parser().parse_args(["spectra", "mine", "--by", "class", "--top-k", "3", "--plot", "s.png"])
    assert (options.by, options.top_k, options.plot, options.address) == ("class", 3, Path("s.png"), None)
    assert cli.make_parser().parse_args(["jobs"]).action == "list"


@pytest.mark.parametrize("command", [["jobs"], ["spectra", "x"], ["refit", "x", "--json"]])
def test_a_failure_is_one_line_with_its_kind_and_exit_code_1(
    command: list[str], closed_address: str, state_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*command, "--address", closed_address]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("penult: unreachable: ")
    assert said.err.count("\n") == 1
    assert closed_address in said.err


def test_doctor_says_what_there_is_and_that_nobody_answers(
    closed_address: str, state_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["doctor", "--address", closed_address]) == 1
    lines = capsys.readouterr().out.splitlines()
    topics = [line.split()[0] for line in lines]
    assert topics[:2] == ["python", "penult"]
    assert {"grpcio", "protocol", "[server]", "[plot]", "token", "server"} <= set(topics)
    assert lines[-1].startswith("server       not reached: ")


def test_serve_hands_every_option_to_the_server_in_the_same_process() -> None:
    code = (
        "import os, sys\n"
        "from penult import cli\n"
        "os.execv = lambda path, arguments: (print(path, *arguments[1:], sep='|'), sys.exit(0))\n"
        "cli.main(['serve', '--root', 'r', '--port', '0', '--help'])\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == f"{sys.executable}|-m|penult_server|serve|--root|r|--port|0|--help"


# The files of servers on this machine


def test_a_record_is_read_from_the_users_state_directory(state_home: Path) -> None:
    path = state_file("7711")
    assert path == state_home / "penult" / "servers" / "7711.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(RECORD | {"added_later": 1}))
    assert read_record(path) == ServerRecord(
        address="127.0.0.1:7711", token="secret", pid=1, root="/store", protocol=1, version="0.1.0"
    )


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "3", "{}", json.dumps(RECORD | {"pid": "x"}), json.dumps({**RECORD, "protocol": None})],
)
def test_what_is_not_a_record_counts_as_none(content: str, tmp_path: Path) -> None:
    path = servers.root_file(tmp_path)
    path.write_text(content)
    assert read_record(path) is None
    assert read_record(tmp_path / "absent.json") is None


def test_the_token_comes_from_the_argument_then_the_environment_then_the_file(
    state_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = state_file("7711")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(RECORD))
    assert handshake.find_token("localhost:7711", None) == "secret"
    assert handshake.find_token("localhost:7712", None) is None
    assert handshake.find_token("gpu-box:7711", None) is None
    monkeypatch.setenv("PENULT_TOKEN", "from-environment")
    assert handshake.find_token("gpu-box:7711", None) == "from-environment"
    assert handshake.find_token("localhost:7711", "given") == "given"


def test_the_state_directory_has_a_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert state_file("1") == Path(os.path.expanduser("~")) / ".local" / "state" / "penult" / "servers" / "1.json"
