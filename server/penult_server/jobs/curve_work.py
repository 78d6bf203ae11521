"""Networks on a line: the request decoded, each point measured, barriers told by group."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penult_kernels.metrics.accuracy import group_metrics
from penult_kernels.weight_space.barriers import barrier
from penult_kernels.weight_space.blocks import blocks_of
from penult_proto.v1 import merges_pb2 as pb
from penult_proto.v1.pipes_pb2 import JobOrder
from penult_server.class_names import Classes, match_classes
from penult_server.datasets.catalog import open_dataset
from penult_server.datasets.model import Dataset
from penult_server.datasets.stored import check_files
from penult_server.jobs.channel import Reports
from penult_server.jobs.merge_work import plan_of, reestimation
from penult_server.jobs.ranks import choose_device
from penult_server.machine.allocator import keep_freed_memory
from penult_server.merging.measuring import Logits, Measured, Measuring, at, swapped
from penult_server.merging.streamed import MergePlan
from penult_server.messages import dataset_labels, metrics_to_proto
from penult_server.stores.checkpoints import read_manifest

Points = dict[float, Logits]
"""Logits of every split by place."""


def curve_job(order: JobOrder, spec: pb.MergeCurveSpec, channel: Reports) -> pb.MergeCurve:
    """Every point measured."""
    keep_freed_memory()
    root = Path(order.root)
    dataset = open_dataset(spec.dataset, order.dataset_digest, root)
    check_files(dataset, list(spec.splits))
    plan = plan_of(root, spec.line)
    work = Measuring(
        root,
        plan.rest,
        _measured(order, spec, dataset, root),
        device=choose_device(order.device),
        beat=channel.check_cancelled,
    )
    answer = pb.MergeCurve(spec=spec, notes=spec.line.notes)
    try:
        for block, points in _lines(work, plan, spec, channel):
            _answer(answer, dataset, block, points)
    finally:
        work.close()
    return answer


def _measured(order: JobOrder, spec: pb.MergeCurveSpec, dataset: Dataset, root: Path) -> Measured:
    rest = read_manifest(root, spec.line.rest)
    known = Classes(names=rest.classes, whose=f"checkpoint {rest.digest[:12]}")
    labels = Classes(names=dataset.info.classes, whose=f"dataset {spec.dataset!r}")
    return Measured(
        dataset=dataset,
        splits=tuple(spec.splits),
        classes=match_classes(known, labels),
        statistics=reestimation(spec.line, order.dataset_digest, root),
    )


def _lines(work: Measuring, plan: MergePlan, spec: pb.MergeCurveSpec, channel: Reports) -> Iterator[tuple[str, Points]]:
    """The line, or one for every block; their common end is measured once."""
    lines: dict[str, list[str]] = blocks_of(plan.merged) if spec.each_block else {"": []}
    places = list(spec.t)
    total = len(lines) * (len(places) - 1) + 1
    done, end = 0, None
    for block, tensors in lines.items():
        points: Points = {}
        for t in places:
            if end is not None and t == 0:
                points[t] = end
                continue
            channel.progress(block or "line", done, total, "networks")
            points[t] = work.logits(swapped(plan, tuple(tensors), t) if spec.each_block else at(plan, t))
            done += 1
        end = points[0.0] if spec.each_block else None
        yield block, points


def _answer(answer: pb.MergeCurve, dataset: Dataset, block: str, points: Points) -> None:
    """Add the points of one line, and its barriers."""
    attribute = answer.spec.attribute
    labels = dataset_labels(dataset.info, attribute)
    weights = _train_counts(dataset, attribute, labels.n_groups)
    for split in answer.spec.splits:
        y, g = dataset.info.split(split).y, dataset.info.group_index(split, attribute)
        masks = dataset.info.split(split).masks.T
        for t, logits in points.items():
            metrics = group_metrics(logits[split], y, g, labels.n_groups, average_weights=weights, masks=masks)
            answer.points.add(t=t, split=split, block=block, metrics=metrics_to_proto(metrics, labels))
        stacked = np.stack([logits[split] for logits in points.values()]).astype(np.float64)
        rows = {-1: np.arange(len(y))} | {int(one): np.flatnonzero(g == one) for one in np.unique(g)}
        for measure, values in _measures(stacked, y).items():
            _add_barriers(answer, (split, block, measure), np.array(list(points)), values, rows)


def _train_counts(dataset: Dataset, attribute: str, n_groups: int) -> NDArray[np.int64] | None:
    if "train" not in dataset.info.splits:
        return None
    return np.bincount(dataset.info.group_index("train", attribute), minlength=n_groups)


def _measures(logits: NDArray[np.float64], y: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """(T, N) cross-entropy, and whether the prediction is wrong, of every row at every point; logits (T, N, C)."""
    highest = logits.max(axis=2, keepdims=True)
    log_sums = np.log(np.exp(logits - highest).sum(axis=2)) + highest[..., 0]
    right = np.take_along_axis(logits, y[None, :, None], axis=2)[..., 0]
    return {"loss": log_sums - right, "error": (logits.argmax(axis=2) != y).astype(np.float64)}


def _add_barriers(
    answer: pb.MergeCurve,
    about: tuple[str, str, str],
    t: NDArray[np.float64],
    values: NDArray[np.float64],
    rows: Mapping[int, NDArray[np.int64]],
) -> None:
    split, block, measure = about
    for group, members in rows.items():
        found = barrier(values[:, members], t)
        answer.barriers.add(
            split=split,
            block=block,
            measure=measure,
            group=group,
            count=len(members),
            t=found.t,
            value=found.value,
            low=found.low,
            high=found.high,
        )
