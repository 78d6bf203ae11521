"""Queries that take long say how far they are to everybody who waits, and Ctrl-C cancels them on the server."""

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import uuid
from collections.abc import Iterator
from pathlib import Path

import grpc
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from test_cancelled_queries import LONG_PATH, MANY_REPLICATES, WAIT, Worker

import penult
from penult.calls.waiting import bars, queries
from penult.wire import encode_refits, encode_spectra
from penult_proto.services import QUERY_KEY
from penult_proto.v1 import jobs_pb2, progress_pb2, refits_pb2


@pytest.fixture(scope="module")
def client(client_alone):
    """Its worker is killed."""
    return client_alone


@pytest.fixture(scope="module")
def mine(client: penult.Client) -> penult.FeatureSet:
    rng = np.random.default_rng(1)
    y, a = np.repeat([0, 1], 400), np.tile([0, 1], 400)
    features = (rng.standard_normal((800, 96)) + 0.3 * y[:, None]).astype(np.float32)
    return client.features.upload(features, y, a, name="slow")


class Asked:
    """A query with a name, as the client sends it."""

    def __init__(self, client: penult.Client, request: object) -> None:
        self._stubs, self._metadata = client.connection.stubs, client.connection._metadata
        self.name = uuid.uuid4().hex
        of_spectra = isinstance(request, encode_spectra.spectra_pb2.ComputeSpectraRequest)
        method = self._stubs.spectra.ComputeSpectra.future if of_spectra else self._stubs.refits.ComputeRefits
        self.call: grpc.Future = method(request, metadata=(*self._metadata, (QUERY_KEY, self.name)))

    def watch(self) -> "Watch":
        request = progress_pb2.WatchQueryRequest(id=self.name)
        while not self.call.done():
            watch = Watch(self._stubs.progress.WatchQuery(request, timeout=WAIT, metadata=self._metadata))
            if watch.seen:  # else the query itself has not arrived
                return watch
        raise AssertionError(self.call)

    def __enter__(self) -> "Asked":
        return self

    def __exit__(self, *_: object) -> None:
        self.call.cancel()


class Watch:
    """The stream of one watcher; what it has seen is checked."""

    def __init__(self, stream: Iterator[jobs_pb2.Progress]) -> None:
        self.stream = stream
        self.seen: list[jobs_pb2.Progress] = []
        self.next()

    def next(self) -> bool:
        message = next(self.stream, None)
        if message is not None:
            assert 0 <= message.done <= message.total
            if self.seen and self.seen[-1].stage == message.stage:
                assert message.done > self.seen[-1].done or message.total != self.seen[-1].total
            self.seen.append(message)
        return message is not None

    def until(self, stage: str, beyond: float = 0.0) -> float:
        """Wait for a stage and for more than so much of it."""
        while not (self.seen[-1].stage == stage and self.seen[-1].done > beyond):
            assert self.next(), self.seen
        return self.seen[-1].done


def spectra(mine: penult.FeatureSet, seed: int) -> encode_spectra.spectra_pb2.ComputeSpectraRequest:
    return encode_spectra.spectra_request(mine, replicates=MANY_REPLICATES, seed=seed)


def path(mine: penult.FeatureSet, **options: object) -> refits_pb2.ComputeRefitsRequest:
    one = encode_refits.refit_request({"features": mine, "path": {**LONG_PATH, **options}, "standardize": False})
    return refits_pb2.ComputeRefitsRequest(requests=[one])


def test_a_watcher_that_goes_leaves_the_query_alone(client, mine):
    with Asked(client, spectra(mine, 0)) as asked:
        first, second = asked.watch(), asked.watch()
        reached = first.until("replicates")
        assert first.seen[-1].total == 5 * 2 * MANY_REPLICATES
        assert first.seen[-1].unit == "resamples"
        first.stream.cancel()
        second.until("replicates", beyond=reached)
        assert not asked.call.done()
        asked.call.cancel()
        while second.next():
            pass


def test_callers_who_share_a_query_both_see_it(client, mine):
    with penult.local(client.info().root) as other, Asked(client, spectra(mine, 1)) as one:
        reached = one.watch().until("replicates")
        with Asked(other, spectra(mine, 1)) as two:
            watch = two.watch()
            reached = watch.until("replicates", beyond=reached - 1)
            one.call.cancel()
            watch.until("replicates", beyond=reached)


def test_a_refit_counts_its_steps_and_those_that_wait_say_so(client, mine):
    with Asked(client, path(mine)) as asked:
        watch = asked.watch()
        watch.until("following paths")
        assert (watch.seen[-1].total, watch.seen[-1].unit) == (LONG_PATH["steps"], "steps")
        with Asked(client, path(mine, learning_rate=2e-3)) as behind:
            waiting = behind.watch()
            assert waiting.seen[-1] == jobs_pb2.Progress(stage="waiting for its turn")
            asked.call.cancel()
            waiting.until("following paths")


def test_a_name_of_no_query_ends_at_once(client):
    for name in ("", "nobody", "x" * 100_000):
        request = progress_pb2.WatchQueryRequest(id=name)
        with client.connection.stream(client.connection.stubs.progress.WatchQuery, request, timeout=WAIT) as said:
            assert list(said) == []


def test_a_worker_that_dies_ends_the_watch_and_the_next_one_answers(client, mine):
    with Asked(client, spectra(mine, 2)) as asked:
        watch = asked.watch()
        watch.until("replicates")
        server = json.loads((Path(client.info().root) / "server.json").read_text())["pid"]
        os.kill(Worker(server).pid, signal.SIGKILL)
        while watch.next():
            pass
        assert asked.call.exception(WAIT).code() is grpc.StatusCode.UNAVAILABLE
    assert client.spectra(mine, replicates=2, timeout=WAIT).eigenvalues.shape == (4, 96)


class Recorder(bars.Silent):
    """A bar that remembers."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.seen: list[jobs_pb2.Progress] = []

    def advance(self, progress: jobs_pb2.Progress) -> None:
        copy = jobs_pb2.Progress()
        copy.CopyFrom(progress)
        self.seen.append(copy)


@pytest.fixture
def shown(monkeypatch) -> list[Recorder]:
    """The bars that are made, at once."""
    made: list[Recorder] = []
    monkeypatch.setattr(queries, "AGAIN", 0.01)
    for module in (bars, queries):
        monkeypatch.setattr(module, "PATIENCE", 0.0)
        monkeypatch.setattr(module, "new_bar", lambda title: made.append(Recorder(title)) or made[-1])
    return made


def test_a_bar_ends_full(client, mine, shown):
    answer = client.spectra(mine, replicates=1500, seed=3, progress=True, timeout=WAIT)
    assert answer.replicates == 1500
    (bar,) = shown
    assert bar.title == "spectra of slow"
    assert bar.seen[-1] == jobs_pb2.Progress(stage="replicates", done=15_000, total=15_000, unit="resamples")


def test_an_upload_and_a_read_count_every_byte(client, shown):
    rng = np.random.default_rng(5)
    features = rng.standard_normal((40_000, 64)).astype(np.float32)
    mine = client.features.upload(features, np.arange(40_000) % 2, name="wide", progress=True)
    client.features.read(mine, progress=True)
    client.features.read(mine, progress=False)
    upload, read = shown
    assert (upload.title, read.title) == ("upload of wide", "features of wide")
    for bar, n_bytes in ((upload, 40_000 * (64 * 4 + 8)), (read, 40_000 * (64 * 4 + 3 * 8))):
        done = [one.done for one in bar.seen]
        assert done == sorted(done)
        assert len(done) > 5
        assert bar.seen[-1].done == bar.seen[-1].total == pytest.approx(n_bytes / 1e6)
    assert upload.seen[-1].stage == "being verified"


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, command: list[str], columns: int = 100) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
        os.close(theirs)
        self.said = ""

    def until(self, text: str | None) -> str:
        """Read until the text is there; to the end without one."""
        while text is None or text not in self.said:
            try:
                piece = os.read(self._ours, 65536)
            except OSError:
                piece = b""
            if not piece:
                assert text is None, self.said
                break
            self.said += piece.decode(errors="replace")
        return self.said

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


ASK = """
import penult
with penult.local({root!r}) as client:
    client.spectra("slow", replicates={n}, seed=4{options})
"""


@pytest.fixture
def script(client, mine) -> str:
    return ASK.format(root=client.info().root, n=MANY_REPLICATES, options="")


def test_ctrl_c_cancels_a_query_in_a_line(client, mine, script):
    with Terminal([sys.executable, "-c", script]) as terminal:
        terminal.until("of 1000000 resamples")
        terminal.process.send_signal(signal.SIGINT)
        said = terminal.until(None)
        assert terminal.process.wait(WAIT) == -signal.SIGINT
    assert "cancelled: spectra of slow" in said
    assert "Traceback" not in said
    # The worker is free.
    assert client.spectra(mine, replicates=0, top_k=7, timeout=WAIT).eigenvalues.shape == (4, 7)


def test_the_command_line_shows_progress_on_a_terminal(client, mine):
    command = [sys.executable, "-m", "penult", "spectra", "slow", "--root", client.info().root]
    command += ["--replicates", str(MANY_REPLICATES), "--seed", "5"]
    with Terminal(command) as terminal:
        terminal.until("of 1000000 resamples")
        terminal.process.send_signal(signal.SIGINT)
        said = terminal.until(None)
        assert terminal.process.wait(WAIT) == 130
    assert "cancelled: spectra of slow" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(("variables", "on_terminal"), [({}, False), ({"PENULT_PROGRESS": "0"}, True)])
def test_nothing_is_shown_without_a_terminal_or_where_it_is_switched_off(client, script, variables, on_terminal):
    """Seen from the server: nobody watches the query, and the worker is free after Ctrl-C all the same."""
    code = script.replace(
        "import penult", "import penult\nfrom penult.calls.waiting import bars\nprint(bars.is_shown(None), flush=True)"
    )
    environment = {**os.environ, **variables}
    ours, theirs = pty.openpty()
    err = theirs if on_terminal else subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=err, env=environment) as process:
        assert process.stdout.readline() == b"False\n"
        worker = Worker(json.loads((Path(client.info().root) / "server.json").read_text())["pid"])
        worker.works()
        worker.works()
        worker.works()
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT) == -signal.SIGINT
        said = os.read(ours, 65536) if on_terminal else process.stderr.read()
    os.close(ours)
    os.close(theirs)
    assert said.replace(b"\r", b"").strip() == b"cancelled: spectra of slow"


def test_a_notebook_has_one_static_bar(client, mine, tmp_path):
    """Of HTML alone: no widget, no warning that there are none."""
    source = ASK.format(root=client.info().root, n=1500, options=", by='class', timeout=60")
    early = "from penult.calls.waiting import bars, queries\nqueries.PATIENCE, queries.AGAIN = 0.0, 0.01\n"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(early + source)])
    NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    (output,) = notebook.cells[0].outputs
    assert output.output_type == "display_data"
    assert "spectra of slow: replicates" in output.data["text/html"]
    assert '<progress value="7500" max="7500"></progress> 7500 of 7500 resamples' in output.data["text/html"]


@pytest.mark.parametrize("format", ["npz", "parquet"])
def test_an_export_of_features_counts_every_byte(client, shown, tmp_path, format):
    wide = client.features.upload(np.zeros((40_000, 64), np.float32), np.arange(40_000) % 2, name="zeros")
    client.features.export("zeros", tmp_path / "own", format, progress=True)
    (bar,) = shown
    assert bar.title == "export of zeros"
    done = [one.done for one in bar.seen]
    assert done == sorted(done)
    assert bar.seen[-1].done == bar.seen[-1].total == pytest.approx(wide.n_examples * (64 * 4 + 3 * 8) / 1e6)


def test_predictions_count_the_features_that_come(client, shown):
    client.features.upload(
        np.zeros((40_000, 64), np.float32), np.arange(40_000) % 2, head=(np.ones((2, 64)), [0, 0]), name="headed"
    )
    client.predictions("headed", progress=True)
    *_, bar = shown
    assert {one.title for one in shown} == {"predictions for headed"}
    assert bar.seen[-1].done == bar.seen[-1].total == pytest.approx(40_000 * 64 * 4 / 1e6)


@pytest.fixture(scope="module")
def start(client, table):
    client.datasets.register("shapes", table)
    return client.finetune(dataset="shapes", backbone="test_resnet", pretrained=False, epochs=0).wait().checkpoints[0]


def test_an_export_of_a_checkpoint_counts_every_byte(client, shown, start, tmp_path):
    place = client.checkpoints.export(start, tmp_path / "out", format="safetensors", progress=True)
    *_, bar = shown
    assert bar.title == f"export of checkpoint {start.digest[:12]}"
    assert bar.seen[-1].done == bar.seen[-1].total
    n_bytes = (place / "model.safetensors").stat().st_size / 1e6
    assert 0.9 * n_bytes < bar.seen[-1].total < 1.1 * n_bytes


@pytest.mark.parametrize("what", ["features", "predictions", "checkpoint"])
def test_ctrl_c_ends_a_transfer_in_a_line_and_leaves_nothing(client, monkeypatch, capsys, start, tmp_path, what):
    """The interrupt comes while bytes do."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    client.features.upload(np.zeros((9, 4), np.float32), np.arange(9) % 2, head=(np.ones((2, 4)), [0, 0]), name="small")
    monkeypatch.setattr(queries.Transfer, "_advance", interrupted)
    asked = {
        "features": lambda: client.features.export("small", tmp_path / "own.npz"),
        "predictions": lambda: client.predictions("small"),
        "checkpoint": lambda: client.checkpoints.export(start, tmp_path / "out"),
    }
    with pytest.raises(KeyboardInterrupt):
        asked[what]()
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert said[0].startswith(("cancelled: export of ", "cancelled: predictions for small"))
    assert list(tmp_path.iterdir()) == []
