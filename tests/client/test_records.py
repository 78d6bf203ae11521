"""Messages become records, and the package is light to import."""

import json
import math
import os
import subprocess
import sys
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import penult
from penult import errors
from penult.calls.job import Job, any_result
from penult.cli.answers_json import refit_json, spectra_json
from penult.connection.rpc import Connection
from penult.wire import arrays, decode, decode_refits, decode_spectra, encode_refits
from penult_proto import arrays as wire_arrays
from penult_proto.enums import names_of
from penult_proto.v1 import (
    arrays_pb2,
    cards_pb2,
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
        masks=[
            groups_pb2.MaskMetrics(name="outdoors", count=10, correct=5, accuracy=0.5),
            groups_pb2.MaskMetrics(name="nobody", accuracy=float("nan")),
        ],
        worst_mask=0,
        worst_mask_accuracy=0.5,
        group_low=[0.97, 0.28, float("nan"), 0.93],
        group_high=[0.99, 0.54, float("nan"), 0.96],
        confusion=[931, 19, 30, 20, 0, 0, 45, 855],
    )


def spectra_message() -> spectra_pb2.Spectra:
    values = np.array([[4.0, 1.0, 0.5], [6.0, 2.0, 1.0], [np.nan] * 3, [3.0, 2.0, 0.0]])
    return spectra_pb2.Spectra(
        digest="d" * 64,
        feature_set="f" * 64,
        groups=group_messages(),
        eigenvalues=arrays.encode(values),
        trace=arrays.encode(np.array([8.0, 10.0, np.nan, 6.0])),
        residuals=arrays.encode(np.zeros((4, 3))),
        methods=["full"] * 4,
        converged=[True, True, True, False],
        imbalance=[
            spectra_pb2.Imbalance(
                y=0,
                minority=1,
                majority=0,
                n_minority=50,
                n_majority=950,
                ratio=1.5,
                matched_ratio=1.25,
                low=0.9,
                high=float("inf"),
                p_value=0.04,
                p_adjusted=0.08,
            )
        ],
        by=spectra_pb2.SPECTRA_BY_GROUP,
        correction=1,
        center=True,
        replicates=200,
        confidence=0.9,
    )


def refit_message() -> refits_pb2.Refit:
    head = refits_pb2.Head(
        weight=arrays.encode(np.arange(6.0).reshape(2, 3)), bias=arrays.encode(np.array([1.0, -1.0]))
    )
    request = encode_refits.refit_request(
        {
            "features": "f" * 64,
            "preset": "dfr",
            "balance": "mixture",
            "by": "group",
            "ratio": 3,
            "l2": 0.5,
            "standardize": False,
            "repeats": 4,
            "seed": 9,
        }
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
    assert [group.count for group in metrics.groups] == [950, 50, 0, 900]
    np.testing.assert_array_equal(metrics.correct, [931, 20, 0, 855])
    np.testing.assert_array_equal(metrics.group_accuracy, [0.98, 0.4, np.nan, 0.95])
    np.testing.assert_array_equal(metrics.confusion, [[931, 19], [30, 20], [0, 0], [45, 855]])
    assert metrics.worst_group_interval == (0.28, 0.54)
    assert metrics.worst_mask is metrics.masks[0]
    assert (metrics.masks[0].name, metrics.masks[0].accuracy) == ("outdoors", 0.5)
    assert "0.400 (sneaker, gravel)" in repr(metrics)
    table = str(metrics).splitlines()
    assert table[3].split() == ["boot,", "grass", "0", "empty"]


def test_spectra() -> None:
    spectra = decode_spectra.spectra(spectra_message())
    assert spectra.by == "group"
    assert spectra.eigenvalues.shape == (4, 3)
    assert spectra.eigenvalues.dtype == np.float64
    (entry,) = spectra.imbalance
    assert (entry.minority, entry.majority, entry.class_name) == ("sneaker, gravel", "sneaker, grass", "sneaker")
    assert repr(entry) == (
        "Imbalance('sneaker': 1.500 = 'sneaker, gravel' (n=50) / 'sneaker, grass' (n=950); "
        "at equal n 1.250 [0.900, inf], p=0.04, adjusted 0.08)"
    )
    assert "90% interval" in str(spectra)
    assert "0.900 .. inf" in str(spectra)
    assert spectra.converged.tolist() == [True, True, True, False]
    np.testing.assert_allclose(spectra.rank_ratios(), [[1.5, 2.0, 2.0]])
    np.testing.assert_allclose(spectra.explained_variance()[0], [4 / 8, 5 / 8, 5.5 / 8])
    assert list(spectra.imbalance_to_frame()["matched_ratio"]) == [1.25]


def test_how_an_imbalance_was_inferred() -> None:
    """Servers that do not say it knew replicates alone; without numbers nothing was inferred."""
    message = spectra_message()
    assert decode_spectra.spectra(message).inference == "resampled"
    message.imbalance[0].inference = spectra_pb2.IMBALANCE_INFERENCE_ASYMPTOTIC
    asymptotic = decode_spectra.spectra(message)
    assert asymptotic.inference == asymptotic.imbalance[0].inference == "asymptotic"
    assert "adjusted 0.08, asymptotic)" in repr(asymptotic.imbalance[0])
    message.imbalance[0].p_value = 3e-7
    assert " 3e-07 " in str(decode_spectra.spectra(message)), "a p-value that is only small is not 0"
    assert repr(asymptotic).endswith("(asymptotic))")
    assert str(asymptotic).endswith("intervals and p: asymptotic")
    assert "asymptotic" in asymptotic._repr_html_()
    assert list(asymptotic.imbalance_to_frame()["inference"]) == ["asymptotic"]
    message.imbalance.add(minority=1, majority=0, ratio=2.0, matched_ratio=1.0)
    assert decode_spectra.spectra(message).inference == "asymptotic and resampled"
    del message.imbalance[0]
    message.imbalance[0].matched_ratio = math.nan
    assert decode_spectra.spectra(message).inference == decode_spectra.spectra(message).imbalance[0].inference == "none"


def test_without_replicates_only_the_ratio_is_shown() -> None:
    message = spectra_message()
    message.replicates = 0
    message.imbalance[0].matched_ratio = message.imbalance[0].low = message.imbalance[0].high = float("nan")
    shown = str(decode_spectra.spectra(message))
    assert shown.endswith("Imbalance('sneaker': 1.500 = 'sneaker, gravel' (n=50) / 'sneaker, grass' (n=950))")


def test_two_classes_have_an_imbalance_of_their_own() -> None:
    classes = [
        groups_pb2.Group(index=y, name=name, y=y, a=-1, class_name=name, count=9) for y, name in enumerate(CLASSES)
    ]
    message = spectra_pb2.Spectra(
        groups=classes,
        eigenvalues=arrays.encode(np.ones((2, 1))),
        residuals=arrays.encode(np.ones((2, 1))),
        trace=arrays.encode(np.ones(2)),
        imbalance=[spectra_pb2.Imbalance(y=-1, minority=1, majority=0, n_minority=9, n_majority=9, ratio=1.0)],
        by=spectra_pb2.SPECTRA_BY_CLASS,
    )
    (entry,) = decode_spectra.spectra(message).imbalance
    assert (entry.y, entry.class_name, entry.label) == (-1, "", "boot / sneaker")


def test_spectra_as_a_table_lists_every_eigenvalue_with_its_share() -> None:
    spectra = decode_spectra.spectra(spectra_message())
    table = spectra.to_frame()
    assert list(table["rank"]) == [1, 2, 3] * 4
    second = table[(table["group"] == "sneaker, gravel") & (table["rank"] == 1)].iloc[0]
    assert (second["eigenvalue"], second["n"], second["share_of_trace"]) == (6.0, 50, 0.6)


def test_refit_keeps_settings_head_and_a_solver_that_stopped_short() -> None:
    refit = decode_refits.refit(refit_message())
    shown = refit.settings
    assert (shown.preset, shown.balance, shown.by, shown.ratio) == ("dfr", "mixture", "group", 3)
    assert (shown.l2, shown.standardize, shown.repeats, shown.seed) == (0.5, "none", 4, 9)
    np.testing.assert_array_equal(refit.head.logits(np.ones((1, 3), np.float32)), [[0 + 1 + 2 + 1, 3 + 4 + 5 - 1]])
    assert "NOT CONVERGED" in repr(refit)
    table = refit.to_frame()
    assert list(table["correct"]) == [931, 20, 0, 855]
    assert set(table["evaluated_on"]) == {"test"}
    with pytest.raises(errors.InvalidRequest, match="wrong_shape"):
        refit.head.logits(np.ones((1, 4)))


def test_every_argument_of_a_refit_comes_back_in_its_settings() -> None:
    path = {
        "optimizer": "sgd",
        "learning_rate": 0.5,
        "steps": 7,
        "momentum": 0.25,
        "weight_decay": 0.125,
        "clip_norm": 2.0,
        "batch_size": 16,
        "keep": "best",
        "schedule": "cosine",
        "start": "stored",
        "normalize": True,
    }
    plain: dict[str, Any] = {
        "preset": "afr",
        "balance": "mixture",
        "by": "group",
        "ratio": 3.0,
        "group_ratio": 0.25,
        "missing_groups": "skip",
        "l1": 0.25,
        "l2": 0.5,
        "penalty": "sum",
        "center": "stored",
        "intercept": "penalized",
        "link": "ovr",
        "standardize": "all",
        "repeats": 4,
        "weights": "confidence",
        "gamma": 2.0,
        "up": 5.0,
        "class_ratio": 0.5,
        "detector_l1": 0.75,
        "rows": "top_disagreement",
        "top_k": 20,
        "other": "o" * 64,
        "offset": "prediction_prior",
        "tau": 1.5,
        "groups": "eiil",
        "risk": "cvar",
        "alpha": 0.2,
        "subspace": 5,
        "seed": 9,
        "tolerance": 1e-3,
        "max_iterations": 50,
        "across_checkpoints": True,
    }
    select = {
        "on": "half",
        "metric": "worst_class",
        "ties": "last",
        "final": "refit",
        "repeats": 2,
        "standardize": "rows",
        "groups": "ab" * 32,
    }
    grid = {"l1": [1.0, 2.0], "gamma": [3.0]}
    request = encode_refits.refit_request(
        {"features": "f" * 64, "path": path, "detector": path, "grid": grid, "select": select, **plain}
    )  # pyright: ignore[reportArgumentType]
    found = decode_refits.refit_settings(request)
    assert {name: getattr(found, name) for name in plain} == plain
    assert asdict(found.path) == asdict(found.detector) == path | {"epochs": 0}
    assert asdict(found.select) == select
    assert found.grid == {"l1": (1.0, 2.0), "gamma": (3.0,)}
    nested = {"path", "detector", "grid", "select"}
    assert set(found.__dataclass_fields__) == set(plain) | nested | {"feature_set"}


def test_a_selection_names_the_values_that_won() -> None:
    message = refit_message()
    message.request.grid.append(refits_pb2.GridAxis(name="l2", values=[0.5, 0.25]))
    for value in (0.5, 0.25):
        message.candidates.append(refits_pb2.Candidate(values=[value], score=1 - value))
    message.chosen = 1
    refit = decode_refits.refit(message)
    assert refit.selection.chosen.values == {"l2": 0.25}
    assert refit.settings.l2 == 0.25
    assert refit.selection.to_frame()["chosen"].tolist() == [False, True]


def test_a_soup_is_the_mean_of_heads() -> None:
    heads = [penult.Head(weight=np.full((2, 3), value), bias=np.full(2, -value)) for value in (1.0, 2.0, 6.0)]
    mixed = penult.soup(heads)
    np.testing.assert_array_equal(mixed.weight, np.full((2, 3), 3.0))
    np.testing.assert_array_equal(mixed.bias, np.full(2, -3.0))
    np.testing.assert_array_equal(penult.soup(heads, [1, 3, 0]).bias, np.full(2, -1.75))
    with pytest.raises(errors.InvalidRequest, match="one shape"):
        penult.soup([heads[0], penult.Head(weight=np.ones((2, 4)), bias=np.ones(2))])
    with pytest.raises(errors.InvalidRequest, match="weights"):
        penult.soup(heads, [1.0])


def test_run_history_by_split_and_epoch() -> None:
    entries = [
        runs_pb2.EpochMetrics(epoch=epoch, split=split, metrics=metrics_message())
        for epoch in (0, 1)
        for split in ("val", "test")
    ]
    run = decode.run(runs_pb2.Run(id="r", history=entries, checkpoints=[runs_pb2.Checkpoint(digest="c", epoch=0)]))
    assert run.metrics("test") is run.history[3].metrics
    assert run.metrics("val", 0) is run.history[0].metrics
    with pytest.raises(penult.NotFound, match="train"):
        run.metrics("train")
    assert len(run.to_frame()) == 4 * 4
    assert run.created is None


@pytest.mark.parametrize(
    ("table", "enum"),
    [
        (names_of(groups_pb2.BalanceMethod), groups_pb2.BalanceMethod),
        (names_of(groups_pb2.BalanceBy), groups_pb2.BalanceBy),
        (names_of(spectra_pb2.SpectraBy), spectra_pb2.SpectraBy),
        (names_of(runs_pb2.LossName), runs_pb2.LossName),
        (names_of(runs_pb2.Precision), runs_pb2.Precision),
        (names_of(runs_pb2.OptimizerName), runs_pb2.OptimizerName),
        (names_of(runs_pb2.ScheduleName), runs_pb2.ScheduleName),
        (names_of(jobs_pb2.JobState), jobs_pb2.JobState),
        (wire_arrays.DTYPES, arrays_pb2.DType),
    ],
)
def test_every_choice_of_the_wire_has_a_name(table: dict[Any, Any], enum: Any) -> None:
    assert set(table.values()) == set(enum.values()) - {0}
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
    wire = {field.name for field in message.DESCRIPTOR.fields}
    if "card" in wire:
        wire = wire - {"card"} | {field.name for field in cards_pb2.Card.DESCRIPTOR.fields}
    assert wire <= set(record.__dataclass_fields__) <= wire | {"notes"}


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
    sets = []
    for split in ("train", "val", "test", "extra"):
        sets.append(feature_set_message())
        sets[-1].split = split
    extract = jobs_pb2.ExtractResult(feature_sets=sets)
    done = job(state=jobs_pb2.JOB_STATE_SUCCEEDED, result=jobs_pb2.JobResult(extract=extract))
    assert done.result["val"].names == ("mine",)
    assert list(done.result) == ["train", "val", "test", "extra"]
    assert done.ended


# JSON and imports


def test_json_has_null_where_nothing_exists() -> None:
    content = json.loads(json.dumps(spectra_json(decode_spectra.spectra(spectra_message())), allow_nan=False))
    assert content["groups"][2]["eigenvalues"] == [None] * 3
    assert content["imbalance"][0]["ratio"] == 1.5
    assert (content["imbalance"][0]["matched_ratio"], content["imbalance"][0]["high"]) == (1.25, None)
    content = json.loads(json.dumps(refit_json(decode_refits.refit(refit_message())), allow_nan=False))
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
    spectra = decode_spectra.spectra(spectra_message())
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, f"{package}.figure", None)
    with pytest.raises(ImportError, match=r"pip install '\.\[plot\]'"):
        spectra.to_frame() if package == "pandas" else spectra.plot()
