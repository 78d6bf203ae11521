"""Configuration, optimiser groups, schedule and the cutting into batches."""

import math
import re
from dataclasses import fields

import numpy as np
import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from penult_kernels.sampling.balancing import BalanceBy, BalanceMethod
from penult_proto.errors import ErrorKind
from penult_proto.fields.finetune import path_of, written
from penult_proto.v1 import groups_pb2, runs_pb2
from penult_server.errors import ServiceError
from penult_server.finetuning.config import FinetuneConfig
from penult_server.finetuning.examples import split_batches
from penult_server.finetuning.objective import Objective
from penult_server.finetuning.optimizer import learning_rate_factor, parameter_groups
from penult_server.finetuning.plan import make_plan
from penult_server.finetuning.request import config_from_proto


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", -1),
        ("epochs", 10_001),
        ("seed", -1),
        ("seed", 2**64),
        ("batch_size", 0),
        ("image_size", -1),
        ("max_tokens", -1),
        ("learning_rate", 0.0),
        ("learning_rate", math.nan),
        ("learning_rate", math.inf),
        ("weight_decay", -0.1),
        ("momentum", 1.0),
        ("warmup", 1.0),
        ("optimizer", "adam"),
        ("schedule", "step"),
        ("evaluate_every", 0.0),
        ("checkpoint_every", math.nan),
        ("early_steps", (0,)),
        ("evaluate", ("val", "val")),
        ("save_every", -1),
        ("precision", "fp8"),
        ("clip_norm", -1.0),
        ("accumulate", 0),
        ("accumulate", 33),
        ("processes", 0),
        ("crop_scale", 1.0),
        ("image_resize", -1),
    ],
)
def test_refused_values_name_their_field(field: str, value: object) -> None:
    path = path_of(field)
    with pytest.raises(ServiceError, match=f"^{re.escape(written(path))} must be") as caught:
        FinetuneConfig(**{"backbone": "test_vit", "epochs": 1, field: value})
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert caught.value.metadata["field"] == path


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("loss", "max"),
        ("group_dro_rate", -0.1),
        ("group_dro_adjustment", -1.0),
        ("cvar_fraction", 0.0),
        ("cvar_fraction", 1.1),
        ("label_smoothing", 1.0),
        ("mixup", math.inf),
        ("sam", math.nan),
        ("repeat_errors", 0),
    ],
)
def test_refused_objectives_name_their_field(field: str, value: object) -> None:
    path = path_of(field)
    with pytest.raises(ServiceError, match=f"^{re.escape(written(path))} must be") as caught:
        Objective(**{field: value})
    assert caught.value.metadata["field"] == path


@pytest.mark.parametrize(
    ("objective", "change", "field"),
    [
        ({"loss": "group_dro"}, {"accumulate": 2}, "accumulate"),
        ({"loss": "group_dro"}, {"method": BalanceMethod.UPWEIGHTING}, "balance"),
        ({"sam": 0.1}, {"precision": "fp16"}, "precision"),
        ({"repeat_errors_of": "f" * 64, "repeat_errors": 2}, {"method": BalanceMethod.SUBSETTING}, "balance"),
    ],
)
def test_pieces_that_exclude_each_other(objective: dict[str, object], change: dict[str, object], field: str) -> None:
    with pytest.raises(ServiceError, match=f"^{re.escape(written(path_of(field)))} must be"):
        FinetuneConfig(**{"backbone": "test_vit", "epochs": 1, "objective": Objective(**objective), **change})
    FinetuneConfig(backbone="test_vit", epochs=1, objective=Objective(**objective))
    for piece in ({"mixup": 0.2}, {"sam": 0.1}):
        with pytest.raises(ServiceError, match=r"^loss must be"):
            Objective(loss="group_dro", **piece)


def test_ratio_counts_for_the_mixture_alone() -> None:
    FinetuneConfig(backbone="test_vit", epochs=1, ratio=0.5)
    with pytest.raises(ServiceError, match="ratio must be finite and at least 1"):
        FinetuneConfig(backbone="test_vit", epochs=1, method=BalanceMethod.MIXTURE, ratio=0.5)


def test_every_field_of_the_request_arrives() -> None:
    spec = runs_pb2.FinetuneSpec(
        dataset="footwear",
        attribute="ground",
        backbone="test_vit",
        pretrained=True,
        balance=groups_pb2.Balance(method=groups_pb2.BALANCE_METHOD_MIXTURE, by=groups_pb2.BALANCE_BY_GROUP, ratio=2.5),
        epochs=3,
        seed=2**64 - 1,
        optimizer=runs_pb2.OPTIMIZER_NAME_SGD,
        learning_rate=0.5,
        weight_decay=0.25,
        momentum=0.75,
        schedule=runs_pb2.SCHEDULE_NAME_LINEAR,
        warmup=0.125,
        batch_size=7,
        flip=True,
        image_size=96,
        max_tokens=220,
        evaluate=["val", "test"],
        evaluate_every=0.25,
        checkpoint_every=2,
        early_steps=[1, 5],
        save_every=100,
        objective=runs_pb2.Objective(
            loss=runs_pb2.LOSS_NAME_CVAR_DRO,
            group_dro_rate=0.02,
            group_dro_adjustment=2,
            cvar_fraction=0.3,
            label_smoothing=0.1,
            repeat_errors_of="",
            repeat_errors=1,
        ),
        decay_all=True,
        schedule_by_epoch=True,
        clip_norm=1.5,
        precision=runs_pb2.PRECISION_FP16,
        compile=True,
        accumulate=1,
        crop_scale=0.7,
        pad_to_max=True,
        processes=2,
        image_resize=112,
        weights="/weights/vit.safetensors",
        pooling=runs_pb2.POOLING_NAME_MEAN,
    )
    config = config_from_proto(spec)
    assert config == FinetuneConfig(
        backbone="test_vit",
        epochs=3,
        attribute="ground",
        pretrained=True,
        method=BalanceMethod.MIXTURE,
        by=BalanceBy.GROUP,
        ratio=2.5,
        seed=2**64 - 1,
        optimizer="sgd",
        learning_rate=0.5,
        weight_decay=0.25,
        momentum=0.75,
        schedule="linear",
        warmup=0.125,
        batch_size=7,
        flip=True,
        image_size=96,
        max_tokens=220,
        evaluate=("val", "test"),
        evaluate_every=0.25,
        checkpoint_every=2.0,
        early_steps=(1, 5),
        save_every=100,
        objective=Objective(
            loss="cvar_dro",
            group_dro_rate=0.02,
            group_dro_adjustment=2.0,
            cvar_fraction=0.3,
            label_smoothing=0.1,
        ),
        decay_all=True,
        schedule_by_epoch=True,
        clip_norm=1.5,
        precision="fp16",
        compile=True,
        accumulate=1,
        crop_scale=0.7,
        pad_to_max=True,
        processes=2,
        image_resize=112,
        weights="/weights/vit.safetensors",
        pooling="mean",
    )
    assert {one.name for one in runs_pb2.Objective.DESCRIPTOR.fields} == {one.name for one in fields(Objective)}
    # A field that the protocol gains must be read here too.
    ours = {"method", "by", "ratio"} | {one.name for one in fields(FinetuneConfig)}
    assert {one.name for one in runs_pb2.FinetuneSpec.DESCRIPTOR.fields} - {"dataset", "balance", "recipe"} <= ours


@pytest.mark.parametrize("name", ["METHOD", "BY"])
def test_every_choice_of_the_protocol_is_known(name: str) -> None:
    kind = groups_pb2.BalanceMethod if name == "METHOD" else groups_pb2.BalanceBy
    field = name.lower()
    for number in kind.values():
        spec = runs_pb2.FinetuneSpec(
            backbone="test_vit",
            learning_rate=1,
            batch_size=1,
            evaluate_every=1,
            checkpoint_every=1,
            accumulate=1,
            processes=1,
        )
        spec.balance.ratio = 1
        setattr(spec.balance, field, number)
        name_there = kind.Name(number).removeprefix(f"BALANCE_{name}_").lower()
        expected = {"METHOD": "none", "BY": "class"}[name] if name_there == "unspecified" else name_there
        assert getattr(config_from_proto(spec), field) == expected
    setattr(spec.balance, field, 77)
    with pytest.raises(ServiceError, match=f"^{written(f'balance.{field}')} must be one of"):
        config_from_proto(spec)


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_vit", "test_efficientnet_gn"])
def test_weight_decay_spares_biases_and_normalisation(name: str) -> None:
    module = timm.create_model(name, num_classes=3)
    decayed, kept = (group["params"] for group in parameter_groups(module, 0.1))
    names = {parameter: path for path, parameter in module.named_parameters()}
    assert len(decayed) + len(kept) == len(names)
    assert not {id(one) for one in decayed} & {id(one) for one in kept}
    for parameter in decayed:
        assert parameter.ndim >= 2
        assert "norm" not in names[parameter]
    kept_names = {names[parameter] for parameter in kept}
    assert {path for path in names.values() if path.endswith("bias") or ".norm" in path or ".bn" in path} <= kept_names


def test_normalisation_over_several_axes_and_shared_weights() -> None:
    shared = torch.nn.Linear(3, 3, bias=False)
    module = torch.nn.Sequential(shared, torch.nn.LayerNorm([2, 3]), shared)
    decayed, kept = (group["params"] for group in parameter_groups(module, 0.1))
    assert len(decayed) == 1
    assert decayed[0] is shared.weight
    assert len(kept) == 2


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear"])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.99])
def test_schedule(schedule: str, warmup: float) -> None:
    n = 200
    factors = np.array([learning_rate_factor(step, n, schedule=schedule, warmup=warmup) for step in range(n)])
    n_warmup = round(warmup * n)
    assert_allclose(factors[:n_warmup], np.arange(1, n_warmup + 1) / max(n_warmup, 1))
    gone = np.arange(n - n_warmup) / (n - n_warmup)
    expected = {"constant": np.ones_like(gone), "linear": 1 - gone, "cosine": np.cos(np.pi * gone / 2) ** 2}[schedule]
    assert_allclose(factors[n_warmup:], expected, atol=1e-12)
    assert 0 < factors.min() <= factors.max() <= 1


def test_a_schedule_by_the_epoch_changes_between_epochs_alone() -> None:
    factors = [learning_rate_factor(step, 12, schedule="cosine", warmup=0.0, steps_per_change=3) for step in range(12)]
    by_epoch = np.cos(np.pi * np.arange(4) / 4 / 2) ** 2
    assert_allclose(factors, np.repeat(by_epoch, 3))


def test_decay_all_spares_nothing() -> None:
    module = timm.create_model("test_vit", num_classes=3)
    decayed, kept = (group["params"] for group in parameter_groups(module, 0.1, decay_all=True))
    assert (len(decayed), kept) == (len(list(module.parameters())), [])


@given(n=st.integers(1, 200), batch_size=st.integers(1, 70))
def test_batches_hold_every_row_once_and_never_one_alone(n: int, batch_size: int) -> None:
    order = np.random.default_rng(n).permutation(n)
    batches = split_batches(order, batch_size)
    assert_array_equal(np.concatenate(batches), order)
    assert max(len(batch) for batch in batches) <= batch_size + 1
    if n > 1 and batch_size > 1:
        assert min(len(batch) for batch in batches) > 1


@pytest.mark.parametrize(
    ("epochs", "per_epoch", "every", "early", "expected"),
    [
        (2, 4, 1.0, (), [4, 8]),
        (2, 4, 0.5, (), [2, 4, 6, 8]),
        # A third of an epoch of four steps: the nearest steps, none of them twice.
        (1, 4, 1 / 3, (), [1, 3, 4]),
        (1, 4, 0.01, (), [1, 2, 3, 4]),
        # Every second epoch, and the last.
        (5, 3, 2.0, (), [6, 12, 15]),
        (2, 4, 10.0, (1, 3, 99), [1, 3, 8]),
        (0, 4, 1.0, (), []),
    ],
)
def test_plan(epochs: int, per_epoch: int, every: float, early: tuple[int, ...], expected: list[int]) -> None:
    config = FinetuneConfig(
        backbone="test_vit", epochs=epochs, evaluate_every=every, checkpoint_every=every, early_steps=early
    )
    plan = make_plan(config, per_epoch)
    steps = range(1, plan.n_steps + 1)
    assert [step for step in steps if plan.is_measured(step)] == expected
    assert [step for step in range(plan.n_steps + 1) if plan.is_stored(step)] == [0, *expected]
    assert [plan.stage(step) for step in steps] == [
        f"epoch {epoch} of {epochs}" for epoch in range(1, epochs + 1) for _ in range(per_epoch)
    ]
