"""Reports on networks: arguments to messages, messages to records."""

import numpy as np

from penult.results.merging.report import MergeGain, MergeReport, TaskVectorBlock
from penult.wire import decode
from penult.wire.merge_origin import merge_origin
from penult_proto.v1 import merges_pb2


def merge_report(message: merges_pb2.MergeReport) -> MergeReport:
    """The blocks, and what was made of the networks by group."""
    networks = merge_origin(merges_pb2.MergeOrigin(spec=message.spec.networks))
    total, *blocks = (_block(one, len(networks.parents)) for one in message.blocks)
    metrics = [decode.metrics(one) for one in message.metrics]
    own, made = metrics[: len(networks.parents)], metrics[len(networks.parents) :]
    names = {-1: "all"} | ({group.index: group.name for group in metrics[0].groups} if metrics else {})
    return MergeReport(
        networks=networks,
        blocks=tuple(blocks),
        total=total,
        gains=tuple(decode.record(MergeGain, one, name=names[one.group]) for one in message.gains),
        metrics=tuple(own),
        ensemble=made[0] if made else None,
        merged=made[1] if len(made) > 1 else None,
        notes=decode.decode_notes(message.notes),
    )


def _block(message: merges_pb2.TaskVectorBlock, n_networks: int) -> TaskVectorBlock:
    norms = np.array(message.norms, dtype=np.float64)
    cosines = np.array(message.cosines, dtype=np.float64).reshape(n_networks, n_networks)
    return decode.record(TaskVectorBlock, message, norms=norms, cosines=cosines)
