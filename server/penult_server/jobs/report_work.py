"""Networks compared: the request decoded, weights and logits read, the answer encoded."""

from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penult_kernels.metrics.accuracy import group_metrics
from penult_kernels.weight_space.gained import gained
from penult_kernels.weight_space.task_vectors import TaskVectors
from penult_proto.errors import ErrorKind
from penult_proto.v1 import merges_pb2 as pb
from penult_proto.v1.pipes_pb2 import JobOrder
from penult_server.errors import ServiceError
from penult_server.jobs.channel import Reports
from penult_server.jobs.merge_work import plan_of
from penult_server.merging.comparing import compared
from penult_server.messages import metrics_to_proto
from penult_server.stores.reading import StoredFeatures

Floats = NDArray[np.float64]


def report_job(order: JobOrder, spec: pb.MergeReportSpec, channel: Reports) -> pb.MergeReport:
    """Task vectors by block; and what the networks' ensemble, and a merged one, gain over all of them."""
    root = Path(order.root)

    def beat(done: float) -> None:
        channel.check_cancelled()
        channel.progress("comparing weights", 100 * done, 100, "percent")

    answer = pb.MergeReport(spec=spec, notes=spec.networks.notes)
    blocks = compared(root, plan_of(root, spec.networks), beat=beat)
    answer.blocks.append(_block("", reduce(add, blocks.values())))
    answer.blocks.extend(_block(name, one) for name, one in blocks.items())
    if spec.feature_sets:
        channel.check_cancelled()
        _add_gains(answer, root)
    return answer


def _block(name: str, found: TaskVectors) -> pb.TaskVectorBlock:
    return pb.TaskVectorBlock(
        block=name,
        n_entries=found.n_entries,
        base_norm=found.base_norm(),
        norms=found.norms().tolist(),
        cosines=found.cosines().ravel().tolist(),
        variance_factor=found.variance_factor(),
    )


def _add_gains(answer: pb.MergeReport, root: Path) -> None:
    """In place: by group, from the stored logits."""
    n_networks = len(answer.spec.networks.parents)
    sets = [StoredFeatures(root, digest) for digest in answer.spec.feature_sets]
    ids, y, a = (sets[0].read(name) for name in ("row_id", "y", "a"))
    if not all(np.array_equal(one.read("row_id"), ids) for one in sets[1:]):
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT, "the feature sets have different rows; extract them anew", field="features"
        )
    labels = sets[0].manifest.labels
    y = y.astype(np.int64)
    g = y * labels.n_attributes + (a.astype(np.int64) if labels.attribute_values else 0)
    logits = [one.read("logits").astype(np.float64) for one in sets]
    ensemble = np.log(np.mean([_softmax(one) for one in logits[:n_networks]], axis=0))
    for one in (*logits[:n_networks], ensemble, *logits[n_networks:]):
        metrics = group_metrics(one.astype(np.float32), y, g, labels.n_groups)
        answer.metrics.append(metrics_to_proto(metrics, labels))
    right = np.stack([one.argmax(axis=1) == y for one in logits[:n_networks]])
    made = {"ensemble": ensemble} | ({"merged": logits[n_networks]} if len(logits) > n_networks else {})
    rows = {-1: np.arange(len(y))} | {int(one): np.flatnonzero(g == one) for one in np.unique(g)}
    for of, one in made.items():
        for group, members in rows.items():
            found = gained(right[:, members], (one.argmax(axis=1) == y)[members])
            answer.gains.add(
                of=of,
                group=group,
                count=found.count,
                all_right=found.all_right,
                all_wrong=found.all_wrong,
                gained=found.gained,
                lost=found.lost,
                p_value=found.p_value,
            )


def _softmax(logits: Floats) -> Floats:
    """(N, C), at least the least positive number, so that its logarithm is finite."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.maximum(powers / powers.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
