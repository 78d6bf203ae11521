"""The command line: what it accepts, what it refuses and with which exit code."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

import click
import pytest

import penult
from penult.cli import wording
from penult.cli.commands import penult as penult_command
from penult.cli.main import OF_TOKENS, main
from penult.cli.values import Moment
from penult.cli.work.arguments import arguments_of
from penult.cli.work.finetune import finetune
from penult.cli.work.sweep import EXAMPLE
from penult.cli.work.sweep_file import read_sweep
from penult.connection import handshake, servers
from penult.connection.servers import ServerRecord, read_record, state_file
from penult_proto.fields.finetune import PLACES

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
        ["spectra", "x", "--root", "r", "--tls"],
        ["spectra", "x", "--plot", "picture.xyz"],
        ["spectra", "x", "--plot", "picture"],
        ["refit", "x", "--preset", "drf"],
        ["refit", "x", "--evaluate", "test"],
        ["refit", "x", "--evaluate", "=mine"],
        ["completion", "csh"],
        ["runs", "show"],
        ["runs", "first"],
        ["runs", "--since", "yesterday"],
        ["runs", "--limit", "0"],
        ["runs", "table", "--metric", "accuracy"],
        ["runs", "describe", "first", "--root", "r", "--colour", "red"],
        ["results", "--kind", "heads"],
        ["checkpoints", "export", "x"],
        ["checkpoints", "import", "x", "--image-mean", "a,b"],
        ["features", "load", "/nowhere/x.npz"],
        ["features", "export", "x", "y", "--format", "csv"],
        ["datasets", "register", "x"],
        ["datasets", "register", "x", "y", "--column", "label"],
        ["finetune", "--epochs", "many"],
        ["finetune", "--ratio", "half"],
        ["finetune", "--set", "optimizer"],
        ["finetune", "--set", "optimizer.rate=1"],
        ["finetune", "--set", "optimizer.class=Adam"],
        ["finetune", "--set", "augment.flip=perhaps"],
        ["finetune", "--set", "record.early_steps=1,b"],
        ["extract", "x", "--kind", "deep"],
        ["evaluate", "x"],
        ["export", "x", "y", "--format", "zip"],
        ["sweep", "/nowhere/sweep.toml"],
        ["delete", "runs", "x"],
        ["delete", "run"],
        ["merge"],
        ["merge", "a", "b", "--method", "median"],
        ["merge", "a", "b", "--set", "density"],
        ["doctor", "--root", "r", "--tls"],
        ["tls-init"],
        ["token"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "Usage: penult" in capsys.readouterr().err


def all_commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that is no group, by the words that name it."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from all_commands(command, (*path, name))
        else:
            yield (*path, name), command


def test_every_command_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    commands = dict(all_commands(penult_command))
    assert len(commands) > 8
    for path, command in commands.items():
        if path in {("serve",), ("store",)} or list(path) in OF_TOKENS:
            continue
        assert main([*path, "--help"]) == 0
        said = capsys.readouterr().out
        assert said.startswith(f"Usage: penult {' '.join(path)}")
        assert command.help, path
        # One sentence each for options that their name and values do not explain.
        silent = [one.name for one in command.params if isinstance(one, click.Option) and not one.help]
        assert set(silent) <= {"by", "seed", "preset", "correction"}, path


def test_a_method_is_shown_with_what_its_options_may_be(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods", "kmeans"]) == 0
    assert "k = 2  (2 .. 64: clusters of each class)" in capsys.readouterr().out


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"penult {version('penult')}\n"


@pytest.mark.parametrize(
    ("line", "completed"), [("penult spe", "spectra"), ("penult refit --pre", "--preset"), ("penult jobs w", "watch")]
)
def test_shells_complete_commands_and_options(line: str, completed: str) -> None:
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1), "_PENULT_COMPLETE": "bash_complete"}
    command = [sys.executable, "-m", "penult"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60, env=os.environ | words)
    assert done.stdout.split() == [f"plain,{completed}"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_for_a_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert f"_PENULT_COMPLETE={shell}_complete" in capsys.readouterr().out


@pytest.mark.parametrize("command", [["spectra", "x"], ["refit", "x"], ["jobs"], ["jobs", "show", "j1"]])
def test_a_folder_that_is_no_store_is_refused_and_stays_as_it_is(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.tex").touch()
    for root in (tmp_path, tmp_path / "nowhere"):
        assert main([*command, "--root", str(root)]) == 1
        assert f"{root} is no store" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_reader_that_has_gone_is_no_error() -> None:
    command = [sys.executable, "-m", "penult", "completion", "bash"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def finetune_line(*line: str) -> dict[str, object]:
    """The arguments of `Client.finetune` that a command line stands for."""
    with finetune.make_context("finetune", list(line)) as context:
        options = dict(context.params)
    for name in ("wait", "as_json", "address", "root", "token", "tls", "tls_ca", "tls_cert", "tls_key"):
        del options[name]
    return arguments_of(options.pop("settings"), options)


def test_options_of_topics_become_the_objects_that_python_takes() -> None:
    line = [
        "--dataset",
        "d",
        "--epochs",
        "2",
        "--evaluate",
        "val",
        "--evaluate",
        "test",
        "--no-pretrained",
        "--ratio",
        "dataset",
        "--tag",
        "a",
    ]
    settings = ["optimizer.learning_rate=1e-4", "schedule.name=linear", "augment.flip=no", "record.early_steps=1,2,5"]
    settings += ["inputs.pooling=mean", "loss.class=GroupDRO", "loss.rate=0.1", "compute.accumulate=2"]
    assert finetune_line(*line, *(word for one in settings for word in ("--set", one))) == {
        "dataset": "d",
        "epochs": 2,
        "evaluate": ["val", "test"],
        "pretrained": False,
        "ratio": "dataset",
        "tags": ["a"],
        "optimizer": penult.AdamW(learning_rate=1e-4),
        "schedule": penult.Schedule("linear"),
        "augment": penult.Augment(flip=False),
        "record": penult.Record(early_steps=[1, 2, 5]),
        "inputs": penult.Texts(pooling="mean"),
        "loss": penult.GroupDRO(rate=0.1),
        "compute": penult.Compute(accumulate=2),
    }


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (["--set", "optimizer.momentum=0.5"], penult.SGD(momentum=0.5)),
        (["--set", "optimizer.class=SGD"], penult.SGD()),
        (["--set", "optimizer.weight_decay=0"], penult.AdamW(weight_decay=0.0)),
        # Of a recipe, its own optimizer is changed, not replaced by the default's.
        (["--recipe", "sagawa2020-celeba", "--set", "optimizer.weight_decay=0"], penult.SGD(weight_decay=0.0)),
        (["--set", "optimizer.sam=1", "--set", "optimizer.sam=2"], penult.AdamW(sam=2.0)),
    ],
)
def test_the_class_of_a_topic_is_said_or_the_recipes_or_the_first_that_fits(
    line: list[str], expected: penult.AdamW
) -> None:
    assert finetune_line(*line)["optimizer"] == expected


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["--set", "optimizer.class=AdamW", "--set", "optimizer.momentum=0.5"], "which belongs to SGD"),
        (["--set", "repeat.times=5"], "repeat.checkpoint and repeat.times must be given together; got times alone"),
    ],
)
def test_options_that_do_not_fit_are_refused(line: list[str], said: str) -> None:
    with pytest.raises(penult.InvalidRequest, match=said):
        finetune_line(*line)


def test_every_argument_and_option_of_a_finetuning_is_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    main(["finetune", "--help"])
    words = set(re.findall(r"[\w.-]+", capsys.readouterr().out))
    for place in PLACES.values():
        option = place.option or place.argument
        assert {option, f"--{option.replace('_', '-')}"} & words or option in ("loss", "optimizer"), place


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("seed = 1", "has [common], [grid] and [[runs]]; got seed"),
        ("[common", "is no TOML"),
        ("[grid]\nseed = 1", "grid: seed takes a list of values"),
        ("[grid]\nseed = []", "grid: seed takes a list of values"),
        ("[runs]\nseed = 1", "each under [[runs]]"),
        ("[grid]\nseed = [1]\n[[runs]]\nseed = 2", "seed stands in the grid and in entry 1 of the runs"),
        ('[common]\noptimizer = "SGD"', "optimizer has options, such as optimizer.class; got 'SGD'"),
        ('[common]\ndataset = "d"', "dataset = 'd': backbone=, the model"),
        ('[common]\ndataset = "d"\nbackbone = "b"\ncolour = 1', "got colour"),
        ('[common]\ndataset = "d"\nbackbone = "b"\nname = "n"\n[grid]\nseed = [1, 2]', "would get the name 'n'"),
        ('[common]\ndataset = "d"\nbackbone = "b"\noptimizer.momentun = 1', "optimizer has no 'momentun'"),
    ],
)
def test_files_of_sweeps_that_cannot_be_meant_are_refused(content: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "sweep.toml"
    file.write_text(content)
    with pytest.raises(penult.InvalidRequest) as raised:
        read_sweep(file)
    assert said in raised.value.message
    assert str(file) in raised.value.message or "would get the name" in said


def test_a_sweep_is_every_run_with_every_point_of_the_grid(tmp_path: Path) -> None:
    file = tmp_path / "sweep.toml"
    file.write_text(EXAMPLE.removeprefix("\b\n"))
    found = [request.arguments for request in read_sweep(file)]
    assert len(found) == 2 * 3 * 2
    assert [one["balance"] for one in found] == ["none"] * 6 + ["mixture"] * 6
    assert [one["seed"] for one in found[:6]] == [0, 0, 1, 1, 2, 2]
    assert found[1]["optimizer"] == penult.AdamW(learning_rate=1e-3)
    assert {one["dataset"] for one in found} == {"footwear"}


@pytest.mark.parametrize("moment", ["2026-11-30", "2026-11-30T12:00"])
def test_since_takes_a_moment_or_how_long_ago(moment: str) -> None:
    assert Moment().convert(moment, None, None) == moment
    assert Moment().convert("36h", None, None) == timedelta(hours=36)
    assert Moment().convert("2w", None, None) == timedelta(weeks=2)


@pytest.mark.parametrize(
    ("command", "said", "in_options"),
    [
        ("finetune", "optimizer=AdamW(learning_rate=...) must be", "--set optimizer.learning_rate must be"),
        ("finetune", "give optimizer=penult.SGD(momentum=0.9)", "give --set optimizer.momentum=0.9"),
        ("sweep", "optimizer=AdamW(learning_rate=...) must be", "optimizer.learning_rate must be"),
        ("finetune", "dataset= must be given, or a recipe= that", "--dataset must be given, or a --recipe that"),
        ("finetune", "give all of them a tag: tags=[...]", "give all of them a tag: --tag"),
        ("checkpoints export", "pass overwrite=True to replace", "pass --overwrite to replace"),
        ("features load", "give dtype='float32' to have", "give --dtype float32 to have"),
        ("features load", "columns={'a': ...}.", "--column a=...."),
        ("features load", "give n_attributes=, the number", "give --n-attributes, the number"),
    ],
)
def test_advice_is_in_the_words_of_its_command(command: str, said: str, in_options: str) -> None:
    assert wording.in_options(said, penult_command, command.split()) == in_options


@pytest.mark.parametrize(
    ("said", "in_options"),
    [
        ("top_k must be 1 or more; got 0", "--top-k must be 1 or more; got 0"),
        ("ask for replicates=0, or look at fewer rows", "ask for --replicates 0, or look at fewer rows"),
        ("seed must be at least 0", "--seed must be at least 0"),
        ("the same seed in two words", "the same seed in two words"),
        ("the column 'top_k' is missing", "the column 'top_k' is missing"),
        (
            "extract them first: client.extract('1a2b', splits=['val']).wait()",
            "extract them first: penult extract 1a2b --split val",
        ),
        ("speaks TLS: pass tls=True, or tls_ca= with the file", "speaks TLS: pass --tls, or --tls-ca with the file"),
    ],
)
def test_errors_speak_of_options(said: str, in_options: str) -> None:
    assert wording.in_options(said, penult_command, ["spectra", "x"]) == in_options


@pytest.mark.parametrize("command", [["jobs"], ["spectra", "x"], ["refit", "x", "--json"]])
def test_a_failure_is_one_line_with_its_kind_and_exit_code_1(
    command: list[str], closed_address: str, state_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--address", closed_address]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("penult: unreachable: ")
    assert said.err.count("\n") == 1
    assert closed_address in said.err


def test_doctor_says_what_there_is_and_that_nobody_answers(
    closed_address: str, state_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--address", closed_address]) == 1
    lines = capsys.readouterr().out.splitlines()
    topics = [line.split()[0] for line in lines]
    assert topics[:2] == ["python", "penult"]
    assert {"grpcio", "protocol", "[server]", "[plot]", "token", "server"} <= set(topics)
    assert lines[-1].startswith("server       not reached: ")


def test_serve_hands_every_option_to_the_server_in_the_same_process() -> None:
    code = (
        "import os, sys\n"
        "from penult.cli.main import main\n"
        "os.execv = lambda path, arguments: (print(path, *arguments[1:], sep='|'), sys.exit(0))\n"
        "main(['serve', '--root', 'r', '--port', '0', '--help'])\n"
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
