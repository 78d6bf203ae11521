"""Uploads past gRPC, to a server of the same machine: the same sets and refusals as through the stream."""

from pathlib import Path

import numpy as np
import pytest

import penult
from penult.connection import beside, rpc
from penult_proto.pieces.sockets import listening
from penult_proto.v1.features_pb2 import UploadFeaturesRequest
from penult_server.compute.arriving import pieces_beside
from penult_server.errors import ServiceError
from penult_server.front import uploads


@pytest.fixture
def ways(client, monkeypatch):
    """How arrays went: an entry for each upload, whether the worker came for them."""
    seen: list[bool] = []

    def noted(*given):
        call, is_met = beside.uploaded_beside(*given)
        seen.append(is_met)
        return call, is_met

    monkeypatch.setattr(rpc, "uploaded_beside", noted)
    monkeypatch.setattr(client.connection, "_may_meet", True)
    return seen


def rows(n: int = 140_000, d: int = 4, **changes):
    rng = np.random.default_rng(0)
    given = {"features": rng.standard_normal((n, d), dtype=np.float32), "y": rng.integers(0, 2, n)}
    more = {"a": rng.integers(0, 2, n), "logits": rng.standard_normal((n, 2), dtype=np.float32)}
    return given | more | {"masks": {"odd": np.arange(n) % 2}} | changes


def through_the_stream(client, monkeypatch, **arrays):
    with monkeypatch.context() as patch:
        patch.setattr(client.connection, "root", None)
        return client.features.upload(**arrays)


def test_both_ways_store_the_same_set(client, ways, monkeypatch):
    """Pieces of 1 MiB, several to an array, into chunks whose rows they cross."""
    arrays = rows(d=33)
    here = client.features.upload(**arrays)
    assert ways == [True]
    stored = client.features.read(here)
    assert np.array_equal(stored.features, arrays["features"])
    assert np.array_equal(stored.logits, arrays["logits"])
    client.features.delete(here)
    there = through_the_stream(client, monkeypatch, **arrays)
    assert ways == [True]
    assert there.digest == here.digest


@pytest.mark.parametrize("last", [np.nan, np.inf])
def test_both_ways_refuse_alike(client, ways, monkeypatch, last):
    arrays = rows(20_000)
    arrays["features"][-1, -1] = last
    said = []
    for upload in (client.features.upload, lambda **given: through_the_stream(client, monkeypatch, **given)):
        with pytest.raises(penult.InvalidRequest) as raised:
            upload(**arrays)
        said.append((raised.value.kind, raised.value.args))
    assert said[0] == said[1]
    assert "row 19999, column 3" in str(said[0])
    assert ways == [True]


def test_a_refusal_ends_what_is_still_to_be_sent(client, ways):
    """Rows of many times what a socket holds, of which the first is refused."""
    arrays = rows(400_000, 64)
    arrays["features"][0, 0] = np.nan
    with pytest.raises(penult.InvalidRequest, match="row 0, column 0"):
        client.features.upload(**arrays)
    assert ways == [True]


def test_a_refused_name_says_nothing_of_the_socket(client, ways):
    with pytest.raises(penult.InvalidRequest, match="name"):
        client.features.upload(**rows(1000), name="/")
    client.features.upload(**rows(1000))
    assert ways == [False, True]


def test_where_nobody_comes_the_stream_is_used(client, ways, monkeypatch):
    """As of a server of an earlier version, which knows nothing of the socket."""
    monkeypatch.setattr(beside.secrets, "token_hex", lambda _: "no name that a server takes")
    arrays = rows(1000)
    stored = client.features.upload(**arrays)
    again = client.features.upload(**arrays)
    assert stored.digest == again.digest
    assert ways == [False]
    assert not list(client.connection.root.glob(".staging-*"))


def test_a_sender_that_stands_still_is_not_waited_for(tmp_path):
    still = pytest.raises(ServiceError, match="nothing of the upload came for")
    with listening(tmp_path / "door"), still, pieces_beside(tmp_path / "door", idle_seconds=0.1) as pieces:
        next(pieces)
    with pytest.raises(ServiceError, match="where nobody listens"), pieces_beside(Path(tmp_path, "door"), 1.0):
        pass


@pytest.mark.parametrize("name", ["../door", "server.json", "/tmp/door", ".staging-" + "0" * 32, "\0"])
def test_no_client_names_another_socket(client, tmp_path, name):
    with pytest.raises(ServiceError, match="beside must name a socket"):
        uploads.own_socket(client.connection.root, name, is_near=True)
    request = UploadFeaturesRequest(header={"beside": name})
    with pytest.raises(penult.InvalidRequest, match="beside must name a socket"):
        client.connection.upload(client.connection.stubs.upload_features, lambda: iter([request]), timeout=60)
