"""The choice of a greedy soup: candidates merged and measured one after the other."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penult_kernels.metrics.accuracy import GroupMetrics, group_metrics
from penult_kernels.weight_space.greedy import GreedyStep, greedy_steps
from penult_kernels.weight_space.resampled import How, resampled_scores
from penult_proto.v1 import merges_pb2
from penult_proto.v1.pipes_pb2 import JobOrder
from penult_server.class_names import Classes, match_classes
from penult_server.datasets.catalog import open_dataset
from penult_server.datasets.stored import check_files
from penult_server.jobs.channel import Reports
from penult_server.jobs.ranks import choose_device
from penult_server.merging.measuring import Measured, Measuring
from penult_server.merging.storing import Reestimation
from penult_server.merging.streamed import MergePlan
from penult_server.stores.checkpoints import read_manifest


def chosen(
    order: JobOrder, spec: merges_pb2.MergeSpec, plan: MergePlan, statistics: Reestimation | None, channel: Reports
) -> tuple[MergePlan, list[merges_pb2.MergeStep]]:
    """The plan of the soup, and what was tried. The head, where it is not merged, is the best candidate's."""
    scorer = _Scorer(order, spec, plan, statistics, channel)
    try:
        steps = greedy_steps(len(plan.parents), scorer.score, margin=spec.select.margin)
    finally:
        scorer.close()
    kept = [plan.parents[one.candidate] for one in steps if one.kept]
    told = scorer.told(steps)
    return replace(plan, parents=tuple(sorted(kept)), rest=kept[0]), told


class _Scorer:
    def __init__(
        self,
        order: JobOrder,
        spec: merges_pb2.MergeSpec,
        plan: MergePlan,
        statistics: Reestimation | None,
        channel: Reports,
    ) -> None:
        root = Path(order.root)
        self._spec, self._plan, self._channel = spec, plan, channel
        self._dataset = open_dataset(spec.dataset, order.dataset_digest, root)
        check_files(self._dataset, [spec.select.split])
        info = self._dataset.info
        self._n_groups = len(info.group_totals(spec.attribute))
        rest = read_manifest(root, plan.rest)
        known = Classes(names=rest.classes, whose=f"checkpoint {rest.digest[:12]}")
        match = match_classes(known, Classes(names=info.classes, whose=f"dataset {spec.dataset!r}"))
        asked = Measured(dataset=self._dataset, splits=(spec.select.split,), classes=match, statistics=statistics)
        self._work = Measuring(root, plan.rest, asked, device=choose_device(order.device), beat=channel.check_cancelled)
        self._done = 0
        self._found: dict[int, GroupMetrics] = {}
        """The metrics of the last soup that each candidate was tried in."""
        self._rows: list[NDArray[np.float64]] = []
        """What was scored of every row, in the order in which networks were measured."""

    def close(self) -> None:
        self._work.close()

    def score(self, members: Sequence[int]) -> float:
        """Higher is better."""
        self._channel.progress("choosing", self._done, 2 * len(self._plan.parents) - 1, "networks")
        self._done += 1
        parents = tuple(sorted(self._plan.parents[one] for one in members))
        logits = self._work.logits(replace(self._plan, parents=parents, rest=self._plan.parents[members[0]]))
        split, info = self._spec.select.split, self._dataset.info
        y, g = info.split(split).y, info.group_index(split, self._spec.attribute)
        metrics = group_metrics(logits[split], y, g, self._n_groups)
        self._found[members[-1]] = metrics
        self._rows.append(_scored(logits[split], y, self._spec.select.metric))
        match self._spec.select.metric:
            case "worst_group":
                return metrics.worst_group_accuracy
            case "average":
                return metrics.average_accuracy
            case "mean_group":
                return metrics.mean_group_accuracy
            case "worst_class":
                return metrics.worst_class_accuracy
            case _:
                return -metrics.loss

    def told(self, steps: Sequence[GreedyStep]) -> list[merges_pb2.MergeStep]:
        """Every step with the interval of its score, and how often it would have been kept on rows drawn again."""
        info, select = self._dataset.info, self._spec.select
        labels = info.split(select.split).y
        if select.metric != "worst_class":
            labels = info.group_index(select.split, self._spec.attribute)
        how = _HOW.get(select.metric, "rows")
        drawn = resampled_scores(np.stack(self._rows), labels, how)
        n_alone = len(self._plan.parents)
        alone = drawn[:, :n_alone]
        # The networks alone were measured first, then a soup for each step but the first.
        best = alone[:, steps[0].candidate]
        found = [self._step(steps[0], np.zeros(len(drawn)), float((best >= alone.max(axis=1)).mean()))]
        for index, one in enumerate(steps[1:]):
            score = drawn[:, n_alone + index]
            gain = score - best
            found.append(self._step(one, gain, float((gain > select.margin).mean())))
            best = score if one.kept else best
        return found

    def _step(self, step: GreedyStep, gain: NDArray[np.float64], entered: float) -> merges_pb2.MergeStep:
        metrics = self._found[step.candidate]
        low, high = np.nan, np.nan
        if self._spec.select.metric == "worst_group":
            low, high = metrics.group_interval[metrics.worst_group]
        gain_low, gain_high = np.quantile(gain, [0.025, 0.975])
        return merges_pb2.MergeStep(
            checkpoint=self._plan.parents[step.candidate],
            alone=step.alone,
            score=step.score,
            kept=step.kept,
            low=low,
            high=high,
            gain_low=gain_low,
            gain_high=gain_high,
            entered=entered,
        )


def _scored(logits: NDArray[np.float32], y: NDArray[np.int64], metric: str) -> NDArray[np.float64]:
    """(N,) what a score is the mean of: whether a row is right, or the negative of its loss."""
    if metric != "loss":
        return (logits.argmax(axis=1) == y).astype(np.float64)
    in_float64 = logits.astype(np.float64)
    highest = in_float64.max(axis=1)
    return in_float64[np.arange(len(y)), y] - highest - np.log(np.exp(in_float64 - highest[:, None]).sum(axis=1))


_HOW: dict[str, How] = {"worst_group": "worst", "worst_class": "worst", "mean_group": "mean"}
