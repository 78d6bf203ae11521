"""Messages become records and back, arrays arrive whole, wrong uploads and requests are refused."""

import json
import os
import subprocess
import sys
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
from penult import arrays, decode, encode, errors, transfer
from penult.choices import BALANCE_BY, BALANCE_METHODS, JOB_STATES, OPTIMIZERS, SCHEDULES, SPECTRA_BY
from penult.cli import refit_json, spectra_json
from penult.jobs import Job, any_result
from penult.rpc import Connection
from penult_proto.v1 import (
    arrays_pb2,
    features_pb2,
    groups_pb2,
    jobs_pb2,
    refits_pb2,
    runs_pb2,
    spectra_pb2,
)

DTYPES = ["<f2", "<f4", "<f8", "<i8", "<u8"]
CLASSES, VALUES = ("sneaker", "boot"), ("grass", "gravel")


def group_messages(counts: tuple[int, ...] = (950, 50, 0, 900)) -> list[groups_pb2.Group]:
    return [
        groups_pb2.Group(
            index=index,
            name=f"{CLASSES[index // 2]}, {VALUES[index % 2]}",
            y=index // 2,
            a=index % 2,
            class_name=CLASSES[index // 2],
            attribute_value=VALUES[index % 2],
            count=count,
        )
        for index, count in enumerate(counts)
    ]


def metrics_message() -> groups_pb2.Metrics:
    """Group 2 is empty; group 1 is the worst."""
    return groups_pb2.Metrics(
        groups=group_messages(),
        correct=[931, 20, 0, 855],
        group_accuracy=[0.98, 0.4, float("nan"), 0.95],
        average_accuracy=0.9505,
        weighted_average_accuracy=float("nan"),
        worst_group_accuracy=0.4,
        worst_group=1,
        worst_class_accuracy=0.95,
        loss=0.25,
        average_weights=[0.475, 0.025, 0.025, 0.475],
    )


def spectra_message() -> spectra_pb2.Spectra:
    values = np.array([[4.0, 1.0, 0.5], [6.0, 2.0, 1.0], [np.nan] * 3, [3.0, 2.0, 0.0]])
    return spectra_pb2.Spectra(
        digest="d" * 64,
        feature_set="f" * 64,
        groups=group_messages(),
        eigenvalues=arrays.encode(values),
        trace=arrays.encode(np.array([8.0, 10.0, np.nan, 6.0])),
        imbalance=[spectra_pb2.Imbalance(y=0, minority=1, majority=0, n_minority=50, n_majority=950, ratio=1.5)],
        by=spectra_pb2.SPECTRA_BY_GROUP,
        correction=1,
    )


def refit_message() -> refits_pb2.Refit:
    head = refits_pb2.Head(
        weight=arrays.encode(np.arange(6.0).reshape(2, 3)), bias=arrays.encode(np.array([1.0, -1.0]))
    )
    request = encode.refit_request(
        features="f" * 64,
        preset="dfr",
        balance="mixture",
        by="group",
        ratio=3,
        l2=0.5,
        standardize=False,
        repeats=4,
        seed=9,
    )
    return refits_pb2.Refit(
        digest="e" * 64,
        request=request,
        head=head,
        certificate=refits_pb2.Certificate(converged=False, gap=float("inf"), iterations=3, passes=12, objective=0.7),
        metrics={"test": metrics_message()},
        n_rows=200,
        reused=True,
    )


def feature_set_message(n: int = 4, d: int = 3) -> features_pb2.FeatureSet:
    return features_pb2.FeatureSet(
        digest="f" * 64,
        names=["mine"],
        n_examples=n,
        n_features=d,
        dtype=arrays_pb2.DTYPE_FLOAT32,
        labels=groups_pb2.Labels(classes=CLASSES, attribute="ground", attribute_values=VALUES),
        groups=group_messages(),
        feature_kind="uploaded",
    )


# Arrays


@given(data=st.data(), dtype=st.sampled_from(DTYPES))
@settings(max_examples=60, deadline=None)
def test_arrays_survive_the_wire_bit_for_bit(data: st.DataObject, dtype: str) -> None:
    array = data.draw(hnp.arrays(np.dtype(dtype), hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=5)))
    back = arrays.decode(arrays.encode(array))
    assert (back.shape, back.dtype) == (array.shape, array.dtype)
    assert back.tobytes() == array.tobytes()
    assert not back.flags.writeable


def test_big_endian_and_strided_arrays_are_sent_as_their_values() -> None:
    array = np.arange(12, dtype=">f8").reshape(3, 4)[:, ::2].T
    np.testing.assert_array_equal(arrays.decode(arrays.encode(array)), array)


def test_an_array_with_bytes_missing_is_refused() -> None:
    message = arrays.encode(np.arange(4.0))
    message.data = message.data[:-1]
    with pytest.raises(errors.ServerBug, match="32 bytes"):
        arrays.decode(message)


# Records


def test_metrics() -> None:
    metrics = decode.metrics(metrics_message())
    assert metrics.worst_group.name == "sneaker, gravel"
    assert [group.n_examples for group in metrics.groups] == [950, 50, 0, 900]
    np.testing.assert_array_equal(metrics.correct, [931, 20, 0, 855])
    np.testing.assert_array_equal(metrics.group_accuracy, [0.98, 0.4, np.nan, 0.95])
    assert "0.400 (sneaker, gravel)" in repr(metrics)
    table = str(metrics).splitlines()
    assert table[3].split() == ["boot,", "grass", "0", "empty"]


def test_spectra() -> None:
    spectra = decode.spectra(spectra_message())
    assert spectra.by == "group"
    assert spectra.eigenvalues.shape == (4, 3)
    assert spectra.eigenvalues.dtype == np.float64
    (entry,) = spectra.imbalance
    assert (entry.minority, entry.majority, entry.class_name) == ("sneaker, gravel", "sneaker, grass", "sneaker")
    assert repr(entry) == "Imbalance('sneaker': 1.500 = 'sneaker, gravel' (n=50) / 'sneaker, grass' (n=950))"


def test_spectra_as_a_table_lists_every_eigenvalue_with_its_share() -> None:
    spectra = decode.spectra(spectra_message())
    table = spectra.to_frame()
    assert list(table["rank"]) == [1, 2, 3] * 4
    second = table[(table["group"] == "sneaker, gravel") & (table["rank"] == 1)].iloc[0]
    assert (second["eigenvalue"], second["n"], second["share_of_trace"]) == (6.0, 50, 0.6)


def test_refit_keeps_settings_head_and_a_solver_that_stopped_short() -> None:
    refit = decode.refit(refit_message())
    shown = refit.settings
    assert (shown.preset, shown.balance, shown.by, shown.ratio) == ("dfr", "mixture", "group", 3)
    assert (shown.l2, shown.standardize, shown.repeats, shown.seed) == (0.5, False, 4, 9)
    np.testing.assert_array_equal(refit.head.logits(np.ones((1, 3), np.float32)), [[0 + 1 + 2 + 1, 3 + 4 + 5 - 1]])
    assert "NOT CONVERGED" in repr(refit)
    table = refit.to_frame()
    assert list(table["correct"]) == [931, 20, 0, 855]
    assert set(table["evaluated_on"]) == {"test"}
    with pytest.raises(errors.InvalidRequest, match="wrong_shape"):
        refit.head.logits(np.ones((1, 4)))


def test_a_spec_survives_the_round_trip() -> None:
    chosen: dict[str, Any] = {
        "dataset": "footwear",
        "backbone": "test_resnet",
        "attribute": "ground",
        "pretrained": False,
        "balance": "mixture",
        "by": "group",
        "ratio": 2.0,
        "epochs": 3,
        "seed": 2**64 - 1,
        "optimizer": "sgd",
        "learning_rate": 0.01,
        "weight_decay": 0.5,
        "momentum": 0.8,
        "schedule": "linear",
        "warmup": 0.25,
        "batch_size": 7,
        "flip": False,
        "image_size": 48,
        "max_tokens": 16,
        "evaluate": ("val", "test"),
    }
    spec = decode.finetune_spec(encode.finetune_spec(**chosen))
    assert {name: getattr(spec, name) for name in chosen} == chosen
    assert set(spec.__dataclass_fields__) == set(chosen)


def test_run_history_by_split_and_epoch() -> None:
    entries = [
        runs_pb2.EpochMetrics(epoch=epoch, split=split, metrics=metrics_message())
        for epoch in (0, 1)
        for split in ("val", "test")
    ]
    run = decode.run(runs_pb2.Run(id="r", history=entries, checkpoints=[runs_pb2.Checkpoint(digest="c", epoch=0)]))
    assert run.metrics("test") is run.history[3].metrics
    assert run.metrics("val", 0) is run.history[0].metrics
    with pytest.raises(KeyError, match="train"):
        run.metrics("train")
    assert len(run.to_frame()) == 4 * 4
    assert run.created is None


@pytest.mark.parametrize(
    ("table", "enum"),
    [
        (BALANCE_METHODS, groups_pb2.BalanceMethod),
        (BALANCE_BY, groups_pb2.BalanceBy),
        (SPECTRA_BY, spectra_pb2.SpectraBy),
        (OPTIMIZERS, runs_pb2.OptimizerName),
        (SCHEDULES, runs_pb2.ScheduleName),
        (JOB_STATES, jobs_pb2.JobState),
        (arrays.DTYPES, arrays_pb2.DType),
    ],
)
def test_every_choice_of_the_wire_has_a_name(table: dict[Any, Any], enum: Any) -> None:
    numbers = set(table) if enum is arrays_pb2.DType else set(table.values())
    assert numbers == set(enum.values()) - {0}
    if enum is not arrays_pb2.DType:
        for name, number in table.items():
            assert enum.Name(number).lower().endswith(f"_{name}")


@pytest.mark.parametrize(
    ("message", "record"),
    [
        (groups_pb2.Metrics, penult.Metrics),
        (groups_pb2.Group, penult.Group),
        (runs_pb2.Checkpoint, penult.Checkpoint),
        (runs_pb2.Run, penult.Run),
        (features_pb2.FeatureSet, penult.FeatureSet),
        (spectra_pb2.Spectra, penult.Spectra),
        (refits_pb2.Certificate, penult.Certificate),
    ],
)
def test_no_field_of_the_wire_is_lost(message: type[Message], record: Any) -> None:
    renamed = {"count": "n_examples"}
    wire = {renamed.get(field.name, field.name) for field in message.DESCRIPTOR.fields}
    assert wire == set(record.__dataclass_fields__)


# Requests


def test_what_is_left_out_is_left_to_the_preset() -> None:
    request = encode.refit_request(features="mine", preset="dfr")
    assert not any(request.HasField(name) for name in ("balance", "l2", "standardize", "repeats"))
    assert (request.tolerance, request.max_iterations) == (1e-6, 100)
    chosen = encode.refit_request(features="mine", preset="dfr", standardize=False, l2=0.0)
    assert chosen.HasField("standardize")
    assert chosen.HasField("l2")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"preset": "drf"}, "'erm', 'class_balanced', 'dfr'"),
        ({}, "l2= is needed without a preset"),
        ({"l2": -1.0}, "l2 must be at least 0"),
        ({"l2": float("nan")}, "l2"),
        ({"l2": 1.0, "balance": "subset"}, "'subsetting'"),
        ({"l2": 1.0, "balance": "subsetting"}, "needs by="),
        ({"preset": "dfr", "by": "class"}, "need balance="),
        ({"l2": 1.0, "balance": "mixture", "by": "group"}, "needs ratio="),
        ({"l2": 1.0, "balance": "mixture", "by": "group", "ratio": 0.5}, "ratio must be at least 1"),
        ({"l2": 1.0, "balance": "upsampling", "by": "group", "ratio": 2.0}, "mixture"),
        ({"preset": "dfr", "repeats": 0}, "repeats"),
        ({"preset": "dfr", "seed": -1}, "seed"),
        ({"preset": "dfr", "features": ""}, "a feature set is"),
        ({"preset": "dfr", "evaluate": {"test": 3}}, "a feature set is"),
        ({"preset": "dfr", "repeat": 3}, "repeat"),
    ],
)
def test_wrong_refits_are_refused_before_any_call(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=said):
        encode.refit_request_of({"features": "mine"} | arguments)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: encode.spectra_request("x", by="groups", top_k=None, correction=0, uncentered=False),
            "'group', 'class'",
        ),
        (lambda: encode.spectra_request("x", by="group", top_k=0, correction=0, uncentered=False), "top_k"),
        (lambda: encode.spectra_request("x", by="group", top_k=None, correction=2, uncentered=False), "correction"),
        (lambda: encode.evaluate_request("refit", "x"), "a Head, a Refit or a Checkpoint"),
        (lambda: encode.evaluate_request(penult.Head(weight=np.ones((2, 3)), bias=np.ones(3)), "x"), "bias"),
        (
            lambda: encode.extract_spec("c", dataset=None, attribute=None, splits="val", dtype="float32", batch_size=1),
            "list of names",
        ),
    ],
)
def test_other_wrong_requests(make: Callable[[], Message], said: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=said):
        make()


def test_several_refits_keep_their_places_when_none_can_be_sent() -> None:
    client = penult.Client(Connection("localhost:1"), decode.info(info_message()))
    answers = client.refits([{"features": "x"}, {"features": "x", "preset": "nope"}])  # pyright: ignore[reportArgumentType]
    assert [type(answer) for answer in answers] == [errors.InvalidRequest] * 2
    assert "nope" in str(answers[1])
    assert client.refits([]) == []


def info_message() -> Any:
    from penult_proto.v1 import info_pb2

    return info_pb2.Info(protocol=1, chunk_bytes=64)


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
    checked = transfer.upload_arrays(**(given_arrays | replaced))
    return list(transfer.upload_messages(checked, "mine", None, chunk_bytes))


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
        ({"y": [0.0, 1.0, 1.0, 0.0]}, "wrong_dtype", "integers"),
        ({"y": [True, False, True, False]}, "wrong_dtype", "bool"),
        ({"y": [0, 1, -1, 0]}, "label_out_of_range", "-1 .. 1"),
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
    yield "middle missing", whole[:2] + whole[3:], "was next"
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


# Jobs


def job(**fields: Any) -> Job[Any]:
    return Job(Connection("localhost:1"), jobs_pb2.Job(id="j1", **fields), any_result)


def test_a_failed_job_raises_the_error_of_its_kind() -> None:
    reason = jobs_pb2.Error(kind="corrupt_image", message="cannot read 7.png", metadata={"file": "7.png"})
    failed = job(state=jobs_pb2.JOB_STATE_FAILED, error=reason)
    with pytest.raises(errors.InvalidRequest, match=r"job j1 failed: cannot read 7\.png") as caught:
        _ = failed.result
    assert (caught.value.kind, caught.value.metadata) == ("corrupt_image", {"file": "7.png"})


def test_a_cancelled_and_an_unfinished_job_have_no_result() -> None:
    with pytest.raises(errors.Cancelled, match="j1"):
        _ = job(state=jobs_pb2.JOB_STATE_CANCELLED).result
    with pytest.raises(errors.NotFound, match="running"):
        _ = job(state=jobs_pb2.JOB_STATE_RUNNING).result


def test_a_job_gives_what_its_kind_makes() -> None:
    extract = jobs_pb2.ExtractResult(feature_sets={"val": feature_set_message()})
    done = job(state=jobs_pb2.JOB_STATE_SUCCEEDED, result=jobs_pb2.JobResult(extract=extract))
    assert done.result["val"].names == ("mine",)
    assert done.ended


# JSON and imports


def test_json_has_null_where_nothing_exists() -> None:
    content = json.loads(json.dumps(spectra_json(decode.spectra(spectra_message())), allow_nan=False))
    assert content["groups"][2]["eigenvalues"] == [None] * 3
    assert content["imbalance"][0]["ratio"] == 1.5
    content = json.loads(json.dumps(refit_json(decode.refit(refit_message())), allow_nan=False))
    assert content["gap"] is None
    assert content["metrics"]["test"]["group_accuracy"]["boot, grass"] is None


def test_the_import_is_light() -> None:
    code = (
        "import sys, penult\n"
        "heavy = {'torch', 'zarr', 'pandas', 'matplotlib', 'tqdm', 'grpc', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "from penult.client import Client\n"
        "heavy = {'torch', 'zarr', 'pandas', 'matplotlib', 'penult_server', 'penult_kernels'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ, timeout=60)


def test_every_public_name_can_be_had() -> None:
    for name in penult.__all__:
        assert getattr(penult, name) is not None
    with pytest.raises(AttributeError, match="Client"):
        _ = penult.Clinet  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("package", ["pandas", "matplotlib"])
def test_a_missing_package_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spectra = decode.spectra(spectra_message())
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, f"{package}.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'penult\[plot\]'"):
        spectra.to_frame() if package == "pandas" else spectra.plot()
