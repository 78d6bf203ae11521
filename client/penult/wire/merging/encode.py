"""From arguments to the request of a merge."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from penult.arguments import coerce
from penult.arguments.coerce import build
from penult.arguments.instead import wrong_sort
from penult.errors import invalid
from penult.results.records import Checkpoint, Run
from penult.types import MergeMethodName
from penult_proto.merge_methods import METHODS
from penult_proto.v1 import merges_pb2

WHOLE = ("k", "rows")
FLAGS = ("per_tensor",)
SELECT = ("split", "metric", "margin")


def merge_parents(
    checkpoints: "Sequence[Checkpoint | Run | str]", shares: Sequence[float] | None
) -> list[merges_pb2.MergeParent]:
    """Ingredients with their shares. Raises `InvalidRequest`."""
    given = coerce.listed("checkpoints", checkpoints, "[run_a.checkpoints[-1], run_b.checkpoints[-1]]")
    named = [ingredient(one, f"checkpoints[{i}]") for i, one in enumerate(given)]
    if shares is None:
        return [build(merges_pb2.MergeParent, checkpoint=name) for name in named]
    factors = [coerce.number("shares", one) for one in coerce.listed("shares", shares, "[0.5, 0.5]")]
    if len(factors) != len(named):
        raise invalid(f"shares must be as many as checkpoints, {len(named)}; got {len(factors)}", argument="shares")
    pairs = zip(named, factors, strict=True)
    return [build(merges_pb2.MergeParent, checkpoint=name, share=share) for name, share in pairs]


def ingredient(value: Checkpoint | Run | str, argument: str) -> str:
    """The digest or id that stands for a checkpoint, or for a run and so for its last. Raises `InvalidRequest`."""
    if isinstance(value, Checkpoint):
        return value.digest
    if isinstance(value, Run):
        return value.id
    if not isinstance(value, str) or not value:  # pyright: ignore[reportUnnecessaryIsInstance]  callers may be untyped
        expected = "a Checkpoint, its digest or its name, or a Run for its last one"
        raise wrong_sort(argument, "checkpoint", value, expected)
    return coerce.text(argument, value)


def merge_method(value: MergeMethodName) -> str:
    """The name of a method. Raises `InvalidRequest`, listing all."""
    coerce.check_choice("method", value, METHODS)
    return value


def merge_numbers(given: Mapping[str, Any]) -> dict[str, float]:
    """Numbers that are not None. Raises `InvalidRequest`."""
    found: dict[str, float] = {}
    for name, value in given.items():
        if value is None:
            continue
        if name in FLAGS:
            found[name] = float(coerce.flag(name, value))
        elif name in WHOLE:
            found[name] = float(coerce.whole(name, value))
        else:
            found[name] = coerce.number(name, value)
    return found


def batch_norm(
    rule: object, stream: object, batch_size: int | None, count: int | None, seed: int | None
) -> merges_pb2.BatchNorm | None:
    """What is asked of running statistics; None where nothing was said. Raises `InvalidRequest`."""
    if all(one is None for one in (rule, stream, batch_size, count, seed)):
        return None
    return build(
        merges_pb2.BatchNorm,
        rule=merges_pb2.BATCH_NORM_RULE_UNSPECIFIED
        if rule is None
        else coerce.choice("bn", rule, merges_pb2.BatchNormRule),
        stream=merges_pb2.BATCH_NORM_STREAM_UNSPECIFIED
        if stream is None
        else coerce.choice("bn_stream", stream, merges_pb2.BatchNormStream),
        batch_size=None if batch_size is None else coerce.whole("bn_batch_size", batch_size),
        count=None if count is None else coerce.whole("bn_count", count),
        seed=None if seed is None else coerce.seed(seed, "bn_seed"),
    )


def row_rule(value: object) -> "merges_pb2.BatchNormStream.ValueType":
    """Which rows a method measures on; unspecified where nothing was said. Raises `InvalidRequest`."""
    if value is None:
        return merges_pb2.BATCH_NORM_STREAM_UNSPECIFIED
    return coerce.choice("row_stream", value, merges_pb2.BatchNormStream)


def merge_select(value: Mapping[str, Any] | None) -> merges_pb2.MergeSelect | None:
    """What a method that chooses goes by. Raises `InvalidRequest`."""
    if value is None:
        return None
    given = dict(coerce.items("select", value, 'dict(split="val", metric="worst_group", margin=0.0)'))
    coerce.check_choice("the key of select", next((key for key in given if key not in SELECT), SELECT[0]), SELECT)
    return build(
        merges_pb2.MergeSelect,
        split=coerce.optional_text("select['split']", given.get("split")),
        metric=coerce.optional_text("select['metric']", given.get("metric")),
        margin=coerce.number("select['margin']", given.get("margin", 0.0), 0),
    )


def block_names(blocks: Iterable[str] | None) -> list[str]:
    """Names of blocks. Raises `InvalidRequest`."""
    return coerce.names("blocks", blocks)


def curve_places(steps: int | None, t: Sequence[float] | None) -> list[float]:
    """Places on a line; none where the server chooses. Raises `InvalidRequest`."""
    if steps is not None and t is not None:
        raise invalid("steps has no effect beside t; leave one of them out", argument="steps")
    if t is not None:
        return [coerce.number("t", one, 0, 1) for one in coerce.listed("t", t, "[0, 0.5, 1]")]
    if steps is None:
        return []
    last = coerce.whole("steps", steps, 2, 101) - 1
    return [index / last for index in range(last + 1)]
