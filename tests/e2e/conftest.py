"""Real servers, real stores, small real images."""

from pathlib import Path

import pytest
from made_tables import make_table
from running_server import RunningServer

import penult


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


@pytest.fixture(scope="session")
def embedded(tmp_path_factory):
    """A client of an embedded server, shared by files of tests: the start of a server, and of its first job, costs
    more than most files do with it."""
    with penult.local(tmp_path_factory.mktemp("shared")) as client:
        yield client
        end_jobs(client)


@pytest.fixture(scope="module")
def client(embedded):
    """A client of a server that has things of other files, too. They must not be counted on, nor counted."""
    yield embedded
    # The next file's jobs wait behind none of this one's.
    end_jobs(embedded)


@pytest.fixture(scope="module")
def client_alone(tmp_path_factory):
    """A client of an embedded server that the tests of one file have for themselves, for those that list everything."""
    with penult.local(tmp_path_factory.mktemp("store")) as client:
        yield client
        # Its server would stay until they have ended.
        end_jobs(client)


def end_jobs(client: penult.Client) -> None:
    """Cancel what runs or waits."""
    for job in client.jobs.list(states=["queued", "running"]):
        job.cancel()


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
