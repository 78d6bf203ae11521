"""From messages to where a checkpoint was merged from."""

from penult.results.merge_origin import MergeOrigin, MergeStep
from penult_proto.enums import name_or
from penult_proto.v1 import merges_pb2


def merge_origin(message: merges_pb2.MergeOrigin) -> MergeOrigin:
    """Where a checkpoint was merged from."""
    spec = message.spec
    how = spec.batch_norm
    return MergeOrigin(
        method=spec.method,  # pyright: ignore[reportArgumentType]  one of a newer server may have another name
        parents=tuple(one.checkpoint for one in spec.parents),
        shares=tuple(one.share for one in spec.parents if one.HasField("share")),
        numbers=dict(sorted(spec.numbers.items())),
        scope=name_or(merges_pb2.MergeScope, spec.scope, "body"),
        blocks=tuple(spec.blocks),
        rest=spec.rest,
        base=spec.base,
        bn=name_or(merges_pb2.BatchNormRule, how.rule, "reestimate") if how.rule else None,
        bn_stream=name_or(merges_pb2.BatchNormStream, how.stream, "natural") if how.stream else None,
        bn_batch_size=how.batch_size,
        bn_examples=message.batch_norm_examples,
        row_stream=name_or(merges_pb2.BatchNormStream, spec.row_stream, "natural") if spec.row_stream else None,
        dataset=spec.dataset,
        seed=spec.seed if spec.HasField("seed") else None,
        factors=dict(sorted(message.factors.items())),
        steps=tuple(decode_step(one) for one in message.steps),
        version=message.version,
    )


def decode_step(one: merges_pb2.MergeStep) -> MergeStep:
    """One network that was tried."""
    return MergeStep(
        checkpoint=one.checkpoint,
        alone=one.alone,
        score=one.score,
        kept=one.kept,
        low=one.low,
        high=one.high,
        gain_low=one.gain_low,
        gain_high=one.gain_high,
        entered=one.entered,
    )
