"""Calls that are let in, refused, tried again, left standing, and ended with the server."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from admitted_server import admitted_server, connected

import penult
from penult_proto.errors import said_by
from penult_proto.v1 import features_pb2, info_pb2
from penult_server.front.admission.limits import LANES, Lane, Limit


def info(connection, timeout: float = 20.0):
    return connection.unary(connection.stubs.info.GetInfo, info_pb2.GetInfoRequest(), timeout=timeout)


def refusal(error: grpc.RpcError):
    return said_by((entry.key, entry.value) for entry in error.trailing_metadata())


def test_every_call_has_a_lane():
    assert LANES["/penult.v1.FeatureService/UploadFeatures"] is Lane.UPLOAD
    assert LANES["/penult.v1.SpectraService/ReadEigenvectors"] is Lane.READ
    assert LANES["/penult.v1.InfoService/Attach"] is Lane.WATCH
    assert LANES["/penult.v1.RefitService/ComputeRefits"] is Lane.LOOK


def test_one_more_call_than_a_user_may_have_is_refused_and_another_user_is_served():
    with admitted_server(calls=Limit(server=6, user=4)) as server, connected(server, "many") as many:
        server.set(server.services.gate.clear)
        stub = many.stubs.info.GetInfo
        held = [stub.future(info_pb2.GetInfoRequest(), metadata=many._metadata, timeout=30) for _ in range(4)]
        server.until(lambda: server.services.begun == 4)
        with pytest.raises(grpc.RpcError) as raised:
            stub(info_pb2.GetInfoRequest(), metadata=many._metadata, timeout=30)
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        said = refusal(raised.value)
        assert (said.kind, said.retry_after) == ("busy", 1.0)
        assert (said.metadata["limit"], said.metadata["used"]) == ("4", "4")
        with connected(server, "one") as one, ThreadPoolExecutor(1) as pool:
            answer = pool.submit(info, one)
            server.until(lambda: server.services.begun == 5)
            server.set(server.services.gate.set)
            assert answer.result().version == "1"
        assert [call.result().version for call in held] == ["1"] * 4
        server.until(lambda: not server.calls._tasks)
        assert server.calls._all.n_held == 0


def test_the_client_asks_again_by_itself_until_there_is_room():
    with (
        admitted_server(calls=Limit(server=2, user=2)) as server,
        connected(server) as connection,
        ThreadPoolExecutor(8) as pool,
    ):
        assert {one.version for one in pool.map(lambda _: info(connection), range(40))} == {"1"}
        server.set(server.services.gate.clear)
        server.services.begun = 0
        answers = [pool.submit(info, connection) for _ in range(3)]
        server.until(lambda: server.services.begun == 2)
        server.set(server.services.gate.set)
        assert {one.result().version for one in answers} == {"1"}


def test_the_client_gives_up_within_its_own_time():
    with admitted_server(calls=Limit(server=1, user=1)) as server, connected(server) as connection:
        server.set(server.services.gate.clear)
        held = connection.stubs.info.GetInfo.future(
            info_pb2.GetInfoRequest(), metadata=connection._metadata, timeout=30
        )
        server.until(lambda: server.services.begun == 1)
        begun = time.monotonic()
        with pytest.raises(penult.Busy) as raised:
            info(connection, timeout=0.3)
        assert raised.value.kind == "busy"
        assert time.monotonic() - begun < 5
        server.set(server.services.gate.set)
        held.result()


def upload_messages(release: threading.Event):
    """Three messages and then a pause that only `release` ends."""
    for _ in range(3):
        yield features_pb2.UploadFeaturesRequest(header={})
    release.wait(30)


def test_uploads_that_stand_still_end_and_do_not_hold_others_up():
    release = threading.Event()
    with (
        admitted_server(uploads=Limit(server=4, user=4), idle_seconds=0.6, patience=0.05) as server,
        connected(server, "many") as many,
    ):
        call = many.stubs.features.UploadFeatures
        stalled = [call.future(upload_messages(release), metadata=many._metadata, timeout=30) for _ in range(4)]
        server.until(lambda: server.calls._lanes[Lane.UPLOAD].n_held == 4)
        with connected(server, "one") as one:
            assert info(one).version == "1"
            # Refused while all slots are taken, and tried again until those that stand still have been ended.
            stored = one.upload(call, lambda: iter([features_pb2.UploadFeaturesRequest(header={})]), timeout=20)
            assert stored.n_examples == 1
        for one in stalled:
            assert one.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert refusal(one).kind == "deadline_exceeded"
            assert "nothing of the upload came for 0.6 seconds" in one.details()
        release.set()


def test_readers_that_do_not_read_end_and_what_they_asked_for_is_not_piled_up():
    with (
        admitted_server(reads=Limit(server=4, user=4), idle_seconds=0.5, patience=0.05) as server,
        connected(server, "many") as many,
    ):
        call = many.stubs.features.ReadFeatures
        asked = features_pb2.ReadFeaturesRequest(feature_set="70")
        stalled = [call(asked, metadata=many._metadata, timeout=60) for _ in range(4)]
        for one in stalled:
            next(one)
        short = features_pb2.ReadFeaturesRequest(feature_set="3")
        with connected(server, "one") as one, one.stream(call, short, timeout=20) as messages:
            assert len(list(messages)) == 3
        server.until(lambda: server.calls._lanes[Lane.READ].n_held == 0)
        assert server.services.sent < 4 * 20  # MiB of 280
        for one in stalled:
            with pytest.raises(grpc.RpcError) as raised:
                list(one)
            assert refusal(raised.value).kind == "deadline_exceeded"


def test_a_slow_reader_gets_everything():
    with admitted_server(idle_seconds=5.0) as server, connected(server) as connection:
        call = connection.stubs.features.ReadFeatures
        with connection.stream(call, features_pb2.ReadFeaturesRequest(feature_set="30"), timeout=20) as messages:
            first = next(messages)
            server.until(lambda: server.services.sent >= 2)
            assert [first, *messages] == [first] * 30


def test_a_server_that_leaves_says_so_and_lets_calls_in_progress_end():
    with admitted_server() as server, connected(server) as connection, ThreadPoolExecutor(2) as pool:
        server.set(server.services.gate.clear)
        in_progress = pool.submit(info, connection)
        server.until(lambda: server.services.begun == 1)
        server.set(server.calls.leave)
        left = server.begin(server.calls.until_ended(20.0))
        with pytest.raises(penult.Unavailable) as raised:
            info(connection)
        assert (raised.value.kind, raised.value.retry_after) == ("shutting_down", 2.0)
        assert not left.done()
        server.set(server.services.gate.set)
        assert in_progress.result().version == "1"
        left.result(100)


def test_calls_that_outlast_the_grace_are_told_why_they_end():
    with admitted_server() as server, connected(server) as connection, ThreadPoolExecutor(2) as pool:
        server.set(server.services.gate.clear)
        in_progress = pool.submit(info, connection)
        reading = connection.stubs.features.ReadFeatures(
            features_pb2.ReadFeaturesRequest(feature_set="70"), metadata=connection._metadata, timeout=30
        )
        next(reading)
        server.until(lambda: server.services.begun == 1)
        server.set(server.calls.leave)
        server.run(server.calls.until_ended(0.05))
        server.run(server.calls.cut())
        with pytest.raises(penult.Unavailable) as raised:
            in_progress.result()
        assert raised.value.kind == "shutting_down"
        with pytest.raises(grpc.RpcError) as ended:
            list(reading)
        assert refusal(ended.value).kind == "shutting_down"
