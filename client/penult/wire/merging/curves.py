"""From messages to curves between networks."""

import numpy as np

from penult.results.merging.curve import MergeBarrier, MergeCurve
from penult.results.metrics import Metrics
from penult.wire import decode
from penult.wire.merge_origin import merge_origin
from penult_proto.v1 import merges_pb2


def merge_curve(message: merges_pb2.MergeCurve) -> MergeCurve:
    """The points of every block and split, in the order of t."""
    points: dict[tuple[str, str], list[Metrics]] = {}
    for one in message.points:
        points.setdefault((one.block, one.split), []).append(decode.metrics(one.metrics))
    names = {-1: "all"} | {group.index: group.name for group in message.points[0].metrics.groups}
    return MergeCurve(
        line=merge_origin(merges_pb2.MergeOrigin(spec=message.spec.line)),
        dataset=message.spec.dataset,
        t=np.array(message.spec.t, dtype=np.float64),
        splits=tuple(message.spec.splits),
        blocks=tuple(dict.fromkeys(block for block, _ in points)),
        points={key: tuple(of_line) for key, of_line in points.items()},
        barriers=tuple(decode.record(MergeBarrier, one, name=names[one.group]) for one in message.barriers),
        notes=decode.decode_notes(message.notes),
    )
