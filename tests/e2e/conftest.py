"""Real servers, real stores, small real images."""

import json
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import penult

SERVE = [sys.executable, "-m", "penult_server", "serve", "--port", "0"]


class RunningServer:
    """`penult serve` in a process of its own."""

    def __init__(self, root: Path, *options: str, **connect) -> None:
        self.root = root
        self._connect = connect
        root.mkdir(parents=True, exist_ok=True)
        with (root / "server.log").open("ab") as log:
            self.process = subprocess.Popen([*SERVE, "--root", str(root), *options], stdout=log, stderr=log)
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.kill()
            raise

    @property
    def record(self) -> dict:
        return json.loads((self.root / "server.json").read_text())

    def connect(self, **options) -> penult.Client:
        return penult.connect(self.record["address"], **options)

    def kill(self) -> None:
        """kill -9, and wait until the process is gone."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=100)

    def log(self) -> str:
        return (self.root / "server.log").read_text()

    def _has_ended_within(self, seconds: float) -> bool:
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        return self.process.returncode is not None

    def _wait_until_it_answers(self) -> None:
        while not self._has_ended_within(0.02):
            with suppress(FileNotFoundError, json.JSONDecodeError):
                if self.record["pid"] == self.process.pid:
                    self.connect(**self._connect).close()
                    return
        raise AssertionError(f"the server did not start: {self.log()}")


@pytest.fixture(scope="session")
def server_class() -> type[RunningServer]:
    """What starts a server, for files whose tests share one."""
    return RunningServer


@pytest.fixture
def serve(tmp_path):
    """Start servers; they are stopped afterwards."""
    started: list[RunningServer] = []

    def start(root: Path | None = None, *options: str, **connect) -> RunningServer:
        started.append(RunningServer(root or tmp_path / "store", *options, **connect))
        return started[-1]

    yield start
    for server in started:
        if server.process.poll() is None:
            server.stop()


@pytest.fixture(scope="module")
def serve_for_a_file(tmp_path_factory):
    """Start servers that are shared by the tests of a file."""
    started: list[RunningServer] = []

    def start(*options: str) -> RunningServer:
        started.append(RunningServer(tmp_path_factory.mktemp("store"), *options))
        return started[-1]

    yield start
    for server in started:
        if server.process.poll() is None:
            server.stop()


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """A client of an embedded server, shared by the tests of a file."""
    with penult.local(tmp_path_factory.mktemp("store")) as client:
        yield client
        # Its server would stay until they have ended.
        for job in client.jobs.list(states=["queued", "running"]):
            job.cancel()


def make_table(directory: Path, n_per_group=(30, 6, 6, 30), side: int = 16, seed: int = 0) -> Path:
    """Images whose class is their shape's brightness and whose attribute is the ground's colour."""
    rng = np.random.default_rng(seed)
    directory.mkdir(parents=True, exist_ok=True)
    lines = ["path,y,ground,split"]
    for split, counts in (("train", n_per_group), ("val", (8, 8, 8, 8)), ("test", (10, 10, 10, 10))):
        for group, count in enumerate(counts):
            y, a = divmod(group, 2)
            for index in range(count):
                pixels = rng.integers(0, 60, (side, side, 3))
                pixels[:, :, a] += 90
                pixels[4:12, 4:12] += 60 * y
                name = f"{split}-{group}-{index}.png"
                Image.fromarray(pixels.astype(np.uint8)).save(directory / name)
                lines.append(f"{name},{('dark', 'bright')[y]},{('red', 'green')[a]},{split}")
    table = directory / "table.csv"
    table.write_text("\n".join(lines) + "\n")
    return table


@pytest.fixture(scope="session")
def table(tmp_path_factory) -> Path:
    """A table of small images, not to be changed."""
    return make_table(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="session")
def tiny() -> dict:
    """A network of 0.5 million random weights, trained in a second."""
    return {
        "backbone": "test_resnet",
        "pretrained": False,
        "batch_size": 8,
        "optimizer": penult.AdamW(learning_rate=3e-3),
    }
