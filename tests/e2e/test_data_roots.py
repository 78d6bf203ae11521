"""Paths of the server's machine, as a client names them to a server that was given a data root."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from made_tables import make_table
from running_server import RunningServer

import penult


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A data root with the store in it, and a secret beside it."""
    place = tmp_path_factory.mktemp("place")
    make_table(place / "data/images", n_per_group=(2, 2, 2, 2))
    (place / "secret.csv").write_text("TOPSECRET,hunter2\n")
    (place / "data/link.csv").symlink_to(place / "secret.csv")
    os.mkfifo(place / "data/fifo")
    return place


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[RunningServer]:
    server = RunningServer(place / "data/store", "--data-root", str(place / "data"))
    yield server
    if server.process.poll() is None:
        server.stop()


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[penult.Client]:
    with server.connect() as client:
        yield client


def test_data_below_a_root_are_read(client, place):
    assert client.datasets.register("inside", place / "data/images/table.csv").classes == ("bright", "dark")


@pytest.mark.parametrize(
    "named", ["secret.csv", "absent.csv", "data/link.csv", "data/../secret.csv", "data/store/token"]
)
def test_nothing_else_is(client, place, tiny, named):
    path, said = f"{place}/{named}", []
    for ask in (
        lambda: client.datasets.register("outside", path),
        lambda: client.datasets.register("outside", path, layout="imagefolder"),
        lambda: client.finetune(dataset="footwear", **tiny | {"weights": path, "pretrained": True}),
        lambda: client.finetune(dataset="footwear", **tiny | {"backbone": path}),
        lambda: client.checkpoints.import_(path, on_server=True, backbone="resnet18"),
    ):
        with pytest.raises(penult.NotAllowed) as refused:
            ask()
        said.append(str(refused.value))
    assert all(f"data from ({place / 'data'})" in one and "TOPSECRET" not in one for one in said)


@pytest.mark.timeout(60)
def test_a_fifo_holds_nobody_up_and_the_server_ends(server, client, place, tiny):
    for _ in range(9):
        with pytest.raises(penult.PenultError, match="it is a FIFO; expected a regular file"):
            client.finetune(dataset="footwear", **tiny | {"weights": f"{place}/data/fifo", "pretrained": True})
    with pytest.raises(penult.PenultError, match="it is a FIFO"):
        client.datasets.register("fifo", place / "data/fifo")
    assert client.datasets.get("footwear").name == "footwear"
    started = time.monotonic()
    server.stop()
    assert time.monotonic() - started < 20
