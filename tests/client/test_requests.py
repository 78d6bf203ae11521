"""What leaves the client: requests and uploads are checked first, reads are complete or refused."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

import penult
from penult import errors
from penult.connection.rpc import Connection
from penult.wire import arrays, decode, encode, encode_refits, transfer, uploads
from penult.wire.encode_refits import evaluate_request, refit_request
from penult.wire.encode_spectra import angles_request, descriptors_request, run_spectra_request, spectra_request
from penult_proto.v1 import arrays_pb2, features_pb2, groups_pb2, info_pb2, refits_pb2, runs_pb2, spectra_pb2

CLASSES, VALUES = ("sneaker", "boot"), ("grass", "gravel")


def feature_set_message(n: int = 4, d: int = 3) -> features_pb2.FeatureSet:
    return features_pb2.FeatureSet(
        digest="f" * 64,
        names=["mine"],
        n_examples=n,
        n_features=d,
        dtype=arrays_pb2.DTYPE_FLOAT32,
        labels=groups_pb2.Labels(classes=CLASSES, attribute="ground", attribute_values=VALUES),
        feature_kind="uploaded",
    )


# Requests


def test_what_is_left_out_is_left_to_the_preset() -> None:
    request = encode_refits.refit_request({"features": "mine", "preset": "dfr"})
    assert [field.name for field, _ in request.ListFields()] == ["feature_set", "preset"]
    chosen = encode_refits.refit_request({"features": "mine", "preset": "dfr", "standardize": False, "l2": 0.0})
    assert chosen.scaling.kind == refits_pb2.SCALING_KIND_NONE
    assert chosen.HasField("l2")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"preset": "drf"}, "'erm', 'class_balanced', 'dfr'"),
        ({"grid": {"l3": [1]}}, "'l1', 'l2'"),
        ({"grid": [0.1, 0.01]}, r"grid takes a dict, such as \{'l2': .*got \[0.1"),
        ({"grid": {"l1": 0.1}}, r"grid\['l1'\] takes a list, such as"),
        ({"grid": {"l1": ["a"]}}, r"grid\['l1'\]\[0\] must be a number; got 'a'"),
        ({"grid": {"l1": [[0.1], [0.1, 1.0]]}}, r"grid\['l1'\]\[0\] must be a number; got \[0.1\]"),
        ({"select": "worst_group"}, r"select takes a dict, such as \{'on': 'half'.*got 'worst_group'"),
        ({"path": "sgd"}, r"path takes a dict, such as \{'optimizer'"),
        ({"evaluate": "test"}, r"evaluate takes a dict, such as \{'test': features\}; got 'test'"),
        ({"l2": "0.1"}, "l2 must be a number; got '0.1'"),
        ({"repeats": 2.5}, "repeats must be a whole number; got 2.5"),
        ({"seed": 1.5}, "seed must be a whole number"),
        ({"grid": {"l1": []}}, "at least one"),
        ({"grid": {"l1": [float("nan")]}}, "finite"),
        ({"select": {"by": "average"}}, "'on', 'metric'"),
        ({"select": {"metric": "worst"}}, "'worst_group'"),
        ({"select": {"ties": "any"}}, "'first'"),
        ({"path": {"lr": 0.1}}, "'learning_rate'"),
        ({"path": {"optimizer": "lbfgs"}}, "'gd', 'sgd'"),
        ({"path": {"start": 3}}, "'stored'"),
        ({"center": (np.ones((2, 3)), np.ones(3))}, "bias"),
        ({"rows": np.array([0.5])}, "rows must be integers; got 0.5 in row 0"),
        ({"weights": "loud"}, "'confidence'"),
        ({"l2": float("nan")}, "l2"),
        ({"preset": "dfr", "repeats": 2**31}, "repeats"),
        ({"l2": 1.0, "balance": "subset"}, "'subsetting'"),
        ({"l2": 1.0, "balance": "subsetting"}, "needs by="),
        ({"preset": "dfr", "by": "class"}, "must be given with balance="),
        ({"l2": 1.0, "balance": "mixture", "by": "group"}, "needs ratio="),
        ({"l2": 1.0, "balance": "upsampling", "by": "group", "ratio": 2.0}, "mixture"),
        ({"preset": "dfr", "seed": -1}, "seed"),
        ({"preset": "dfr", "features": ""}, "a feature set is"),
        ({"preset": "dfr", "evaluate": {"test": 3}}, "a feature set is"),
        ({"preset": "dfr", "repeat": 3}, "repeat"),
    ],
)
def test_wrong_refits_are_refused_before_any_call(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=said):
        encode_refits.refit_request({"features": "mine"} | arguments)  # pyright: ignore[reportArgumentType]


def test_a_request_of_many_has_the_arguments_of_a_single_one() -> None:
    single = set(inspect.signature(penult.Client.refit).parameters) - {"self", "timeout", "progress"}
    assert single == set(encode_refits.RefitArguments.__annotations__)


def extract_spec(**changed) -> Message:
    given = {"dataset": None, "attribute": None, "splits": None, "kind": "pooled", "dtype": "float32", "batch_size": 1}
    return encode.extract_spec("c", **{**given, **changed})


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: spectra_request("x", by="groups"), "'group', 'class'"),  # pyright: ignore[reportArgumentType]
        (lambda: spectra_request("x", top_k=0), "top_k"),
        (lambda: spectra_request("x", correction=2), "correction"),
        (lambda: spectra_request("x", replicates=-1), "replicates"),
        (lambda: spectra_request("x", confidence=95.0), "between 0 and 1"),
        (lambda: spectra_request("x", seed=-1), "seed"),
        (lambda: run_spectra_request("r", "", spectra_request(None)), "split='train'"),
        (lambda: descriptors_request("x", split=None, by="group", rows=None, power_law=(5, 5)), "power_law="),
        (lambda: angles_request("x", "x", groups=(0, 1), split=None, by="group", top_k=0, rows=None), "top_k"),
        (lambda: spectra_request("x", rows=[]), "row ids"),
        (lambda: spectra_request("x", rows=[0.5]), "rows must be integers"),  # pyright: ignore[reportArgumentType]
        (lambda: spectra_request("x", rows=[-1, 2]), "rows must lie in 0"),
        (lambda: spectra_request(decode.feature_set(feature_set_message()), split="val"), "one split already"),
        (lambda: spectra_request(decode.checkpoint(runs_pb2.Checkpoint(digest="c"))), "split='train'"),
        (lambda: encode_refits.evaluate_request("refit", "x"), "a Head, a Refit, a Checkpoint or"),
        (lambda: encode_refits.evaluate_request((np.ones((2, 3)), np.ones(3)), "x"), "bias"),
        (
            lambda: extract_spec(splits="val"),
            "list of names",
        ),
        (lambda: extract_spec(kind="flattened"), "kind must be one of"),  # pyright: ignore[reportArgumentType]
    ],
)
def test_other_wrong_requests(make: Callable[[], Message], said: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=said):
        make()


def test_spectra_of_a_checkpoint_and_of_some_rows() -> None:
    checkpoint = decode.checkpoint(runs_pb2.Checkpoint(digest="c" * 64))
    assert spectra_request(checkpoint, split="val").source.checkpoint == "c" * 64
    by_name = spectra_request("cccccccc", split="val", rows=np.array([3, 1], np.int32)).source
    assert (by_name.checkpoint, by_name.feature_set, by_name.split) == ("cccccccc", "", "val")
    np.testing.assert_array_equal(arrays.decode(by_name.rows.row_ids), np.array([3, 1], np.uint64))
    plain = spectra_request("mine", rows=decode.run(runs_pb2.Run(id="r1")))
    assert (plain.source.feature_set, plain.source.rows.run) == ("mine", "r1")
    assert (plain.confidence, plain.center) == (0.95, True)
    # The rows decide whether replicates are drawn: that is another question than 200 of them.
    assert not plain.HasField("replicates")
    assert spectra_request("mine", replicates=200).replicates == 200
    assert spectra_request("mine", replicates=0).HasField("replicates")


def test_several_refits_keep_their_places_when_none_can_be_sent() -> None:
    client = penult.Client(Connection("localhost:1"), decode.info(info_pb2.Info(protocol=1)))
    answers = client.refits([{"features": "x", "l2": "-1"}, {"features": "x", "preset": "nope"}])  # pyright: ignore[reportArgumentType]
    assert [type(answer) for answer in answers] == [errors.InvalidRequest] * 2
    assert "nope" in str(answers[1])
    assert client.refits([]) == []


# Uploads and reads


def upload(chunk_bytes: int = 64, **replaced: Any) -> list[features_pb2.UploadFeaturesRequest]:
    rng = np.random.default_rng(0)
    given_arrays: dict[str, Any] = {
        "features": rng.normal(size=(4, 3)).astype(np.float32),
        "y": [0, 1, 1, 0],
        "a": None,
        "logits": None,
        "row_id": None,
        "head": None,
    }
    checked = uploads.prepare(**(given_arrays | replaced))
    sent = transfer.upload_messages(checked, encode.card("mine", ["a"], "n"), chunk_bytes)
    return [features_pb2.UploadFeaturesRequest.FromString(message.SerializeToString()) for message in sent]


def answer_to(messages: list[features_pb2.UploadFeaturesRequest]) -> list[features_pb2.ReadFeaturesResponse]:
    """A read that sends back what was uploaded."""
    header = features_pb2.ReadHeader(feature_set=feature_set_message(), arrays=messages[0].header.arrays)
    chunks = [features_pb2.ReadFeaturesResponse(chunk=message.chunk) for message in messages[1:]]
    return [features_pb2.ReadFeaturesResponse(header=header), *chunks]


@given(
    features=hnp.arrays(
        st.sampled_from([np.dtype("<f4"), np.dtype("<f2")]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=9),
        elements=st.floats(width=16),
    ),
    chunk_bytes=st.integers(1, 100),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=60, deadline=None)
def test_what_is_uploaded_is_what_is_read(features: NDArray[Any], chunk_bytes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = len(features)
    y, a = rng.integers(0, 2, n, dtype=np.int8), rng.integers(0, 2, n)
    row_id = rng.permutation(n).astype(np.uint64) + np.uint64(2**63)
    messages = upload(chunk_bytes, features=features, y=y, a=a, row_id=row_id)
    assert all(len(message.chunk.data) <= chunk_bytes for message in messages)
    back = transfer.receive(answer_to(messages))
    assert (back.features.dtype, back.features.tobytes()) == (features.dtype, features.tobytes())
    np.testing.assert_array_equal(back.y, y)
    np.testing.assert_array_equal(back.a, a)
    np.testing.assert_array_equal(back.row_id, row_id)
    np.testing.assert_array_equal(back.g, y * 2 + a)
    assert back.logits is None


def test_a_head_and_logits_travel_along() -> None:
    head = penult.Head(weight=np.arange(6.0).reshape(2, 3), bias=np.array([0.5, -0.5]))
    logits = np.ones((4, 2), np.float32)
    row_id = np.arange(4)
    back = transfer.receive(answer_to(upload(a=[0, 0, 1, 1], row_id=row_id, logits=logits, head=head)))
    np.testing.assert_array_equal(back.head_weight, head.weight)
    np.testing.assert_array_equal(back.head_bias, head.bias)
    np.testing.assert_array_equal(back.logits, logits)


@pytest.mark.parametrize(
    ("replaced", "kind", "said"),
    [
        ({"features": np.ones((4, 3))}, "wrong_dtype", r"astype\(np.float32\)"),
        ({"features": np.ones((4, 3), np.int32)}, "wrong_dtype", "int32"),
        ({"features": np.ones(4, np.float32)}, "wrong_shape", "N, D"),
        ({"features": np.ones((0, 3), np.float32), "y": []}, "wrong_shape", "N, D"),
        ({"y": [0, 1]}, "wrong_shape", r"y must have shape \(4,\)"),
        ({"y": [0.0, 1.0, 0.5, 0.0]}, "wrong_dtype", "integers; got 0.5 in row 2"),
        ({"y": [0, 1, -1, 0]}, "label_out_of_range", "count from 0"),
        ({"y": np.array([0, 1, 2**63, 0], np.uint64)}, "label_out_of_range", str(2**63)),
        ({"a": [[0], [1], [0], [1]]}, "wrong_shape", "a must"),
        ({"logits": np.ones((4, 2))}, "wrong_dtype", "logits must be float32"),
        ({"logits": np.ones((3, 2), np.float32)}, "wrong_shape", "logits"),
        ({"row_id": [-1, 0, 1, 2]}, "label_out_of_range", "row_id"),
        ({"head": penult.Head(weight=np.ones((2, 4)), bias=np.ones(2))}, "wrong_shape", "head"),
    ],
)
def test_wrong_uploads_are_refused(replaced: dict[str, Any], kind: str, said: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=said) as caught:
        upload(**replaced)
    assert caught.value.kind == kind


def broken_reads() -> Iterator[tuple[str, list[features_pb2.ReadFeaturesResponse], str]]:
    whole = answer_to(upload(16, a=[0, 0, 1, 1], row_id=[0, 1, 2, 3]))
    yield "nothing", [], "no header"
    yield "no header", whole[1:], "no header"
    yield "end missing", whole[:-1], "incomplete"
    yield "middle missing", whole[:-2] + whole[-1:], "was next"
    yield "sent twice", whole[:2] + whole[1:], "was next"
    stray = features_pb2.ReadFeaturesResponse(chunk=arrays_pb2.ArrayChunk(name="z", data=b"1"))
    yield "not announced", [*whole, stray], "not announced"
    yield "array missing", answer_to(upload(1000, row_id=[0, 1, 2, 3])), r"\['a'\]"


@pytest.mark.parametrize(
    ("messages", "said"), [(m, s) for _, m, s in broken_reads()], ids=[i for i, _, _ in broken_reads()]
)
def test_a_broken_read_never_becomes_an_array(messages: list[features_pb2.ReadFeaturesResponse], said: str) -> None:
    with pytest.raises(errors.ServerBug, match=said):
        transfer.receive(messages)


A_GROUPING = "ab" * 32


def test_by_a_grouping_is_by_its_groups() -> None:
    """In a refit it says which groups a balancing means: one that is given, a preset's, or a risk's."""
    asked = refit_request({"features": "x", "balance": "upweighting", "by": A_GROUPING})
    assert (asked.grouping, asked.balance.by) == (A_GROUPING, groups_pb2.BALANCE_BY_GROUP)
    for fields in ({"preset": "dfr"}, {"risk": "group_dro", "l2": 0.1}, {"balance": "none", "risk": "group_dro"}):
        asked = refit_request({"features": "x", "by": "a-name", **fields})  # pyright: ignore[reportArgumentType]
        assert (asked.grouping, asked.balance.by) == ("a-name", groups_pb2.BALANCE_BY_UNSPECIFIED)
    assert refit_request({"features": "x", "select": {"on": "half", "groups": "a-name"}}).select.grouping == "a-name"
    spectra = spectra_request("x", by="a-name")
    assert (spectra.by, spectra.source.grouping) == (spectra_pb2.SPECTRA_BY_GROUP, "a-name")
    assert spectra_request("x", by="class").source.grouping == ""
    assert evaluate_request((np.ones((2, 3)), np.zeros(2)), "x", by="a-name").grouping == "a-name"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: refit_request({"features": "x", "by": "group"}), "balance="),
        (lambda: refit_request({"features": "x", "by": "a-name", "ratio": 2.0}), "ratio= must be given with balance="),
        (lambda: refit_request({"features": "x", "preset": "dfr", "by": 3}), "a Grouping, its digest or its name"),  # pyright: ignore[reportArgumentType]
        (lambda: refit_request({"features": "x", "select": {"groups": 3}}), "select.groups: a grouping is"),  # pyright: ignore[reportArgumentType]
        (lambda: evaluate_request((np.ones((2, 3)), np.zeros(2)), "x", by="class"), "hold those of classes"),
        (lambda: evaluate_request((np.ones((2, 3)), np.zeros(2)), "x", by="Classes"), "'class'"),
        (lambda: spectra_request("x", by=""), "'group', 'class'"),
    ],
)
def test_other_groupings_are_refused_before_any_call(make: Callable[[], object], said: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=said):
        make()
