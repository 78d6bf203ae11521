"""The part of the client that merges stored networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from penult.arguments.coerce import build, check_choice, flag, listed, optional_text
from penult.arguments.coerce import choice as choice_of
from penult.arguments.coerce import names as names_of
from penult.arguments.coerce import seed as a_seed
from penult.calls import jobs
from penult.calls.catalog.heads import looked_up
from penult.calls.checkpoints import Checkpoints
from penult.calls.finetuning import Finetuning
from penult.calls.job import Job, curve_result, merge_result, report_result
from penult.calls.merging.following import Following, MergeJob, NewHead, Verbs, check_leak, then_of
from penult.calls.merging.heads import USUAL, heads_of
from penult.calls.merging.lineage import lineage_of
from penult.calls.merging.methods import MergeMethods, merge_methods, with_merge_methods
from penult.calls.refitting import Refitting
from penult.calls.waiting.queries import ask, shown_name
from penult.results.merging.curve import MergeCurve
from penult.results.merging.merge import Lineage, Merge
from penult.results.records import Checkpoint, Dataset, Run
from penult.types import BatchNormRule, BatchNormStream, HeadSoupRule, MergeHeads, MergeMethodName, MergeScope
from penult.wire import encode
from penult.wire.merging.encode import (
    batch_norm,
    block_names,
    curve_places,
    ingredient,
    merge_method,
    merge_numbers,
    merge_parents,
    merge_select,
    row_rule,
)
from penult.wire.references import AnyHeadLike, FeatureSetLike, dataset_name, feature_set_name
from penult_proto.merge_methods import METHODS
from penult_proto.v1 import jobs_pb2, merges_pb2

if TYPE_CHECKING:
    from penult.results.merging.head_soup import HeadSoup
    from penult.results.merging.report import MergeReport


class Merging(Finetuning, Refitting):
    """One network of several."""

    @with_merge_methods
    def merge(
        self,
        checkpoints: Sequence[Checkpoint | Run | str],
        *,
        method: MergeMethodName = "uniform",
        shares: Sequence[float] | None = None,
        base: Checkpoint | str | None = None,
        scope: MergeScope | None = None,
        heads: MergeHeads | Mapping[str, Any] | None = None,
        blocks: Sequence[str] | None = None,
        t: float | None = None,
        k: int | None = None,
        scale: float | None = None,
        density: float | None = None,
        smallest: float | None = None,
        largest: float | None = None,
        per_tensor: bool | None = None,
        alpha: float | None = None,
        rows: int | None = None,
        row_stream: BatchNormStream | None = None,
        select: Mapping[str, Any] | None = None,
        bn: BatchNormRule | None = None,
        bn_stream: BatchNormStream | None = None,
        bn_batch_size: int | None = None,
        bn_count: int | None = None,
        bn_seed: int | None = None,
        dataset: Dataset | str | None = None,
        attribute: str | None = None,
        allow_datasets: bool = False,
        allow_extrapolation: bool = False,
        seed: int | None = None,
        then: Mapping[str, Any] | None = None,
        name: str | None = None,
        tags: Sequence[str] | None = None,
        note: str | None = None,
        timeout: float = 60.0,
    ) -> Job[Merge]:
        """Merge checkpoints of one architecture into a new one; ``.wait()`` gives the `Merge`.

            lp = client.refit(sets["train"], preset="erm", l2=1e-3)
            runs = client.finetunes(seeds=range(5), start=lp, dataset="birds").wait()
            soup = client.merge([run.checkpoints[-1] for run in runs],
                                then=dict(extract=["val", "test"], refit="dfr")).wait()
            print(soup.checkpoint, soup.refit.metrics["test"])

        The result is an ordinary checkpoint: it is extracted, refitted, exported and finetuned as every other, and
        ``.merge`` says of what it was made. By default the body alone is merged, the running statistics of BatchNorm
        are measured anew on training examples, and the head is the first checkpoint's, to be refitted: finetunings
        draw fresh heads by their seeds, so that only those that started from one head share the meaning of its rows.

        Sums are taken in float64 in the order of the digests, and stored in the parents' type: the order in which
        parents are named changes no bit (but says whose head it is). The same merge again is the same job. A merge
        whose weights are those of a stored checkpoint is that checkpoint. Methods, with their numbers by default::

            [methods]

        Parameters
        ----------
        checkpoints : records, digests or names; a run stands for its last checkpoint and, with
            ``method="trajectory"``, for its last `k`. Those of equal weights count once.
        method : the rule; `client.merge_methods()` lists them.
        shares : factors of the checkpoints, at least 0 with the sum 1; their mean by default.
        base : the common start, for methods about what was learned since; by default epoch 0 of the checkpoints' runs,
            where that is one.
        scope : what is merged: the "body", all below the head (by default), "full", "head", or "blocks". The rest is
            the first checkpoint's.
        heads : "first", the head of the first checkpoint (as with ``scope="body"``); "merged", the heads' mean (as with
            "full"); or "refit", a new one, which `wait` fits on features of the merged body: ``.checkpoint`` has it,
            ``.merged`` is what was merged, ``.head_refit`` the refit. That is the preset "dfr" on "val", or what
            ``dict(preset=..., on=...)`` says, with any argument of `refit`.
        blocks : with ``scope="blocks"``: names such as "blocks.3" or "bert.encoder.layer.11"; an unknown one is
            refused with all that there are.
        t, k, scale, density, smallest, largest, per_tensor, alpha, rows : the method's own numbers, as above. `scale`
            of "task_arithmetic" is .8 for up to two checkpoints, .4 for more; a negative one unlearns.
        row_stream : for "fisher" and "regmean", which measure networks on `rows` training examples: as `bn_stream`.
        select : for "greedy": ``dict(split="val", metric="worst_group", margin=0.0)``, any of them. The metric may be
            "average", "mean_group", "worst_class" or "loss", too; a candidate is taken in if the score rises by more
            than the margin. `.selection` of the answer has every score with its interval.
        bn : running statistics of BatchNorm: "reestimate" (by default, where the network has any), "average" or
            "first".
        bn_stream : training examples that they are measured on: as frequent as they are ("natural"), or equally many
            of each "class" or "group". ``client.merge([c], bn_stream="group")`` adapts one network without a gradient.
        bn_batch_size, bn_count, bn_seed : 64 examples a batch, 2,048 in all, or all where there are fewer; seed 0.
        dataset, attribute : whose training examples and groups those are; the checkpoints' own by default.
        allow_datasets : bodies may be of different datasets or attributes.
        allow_extrapolation : shares may be negative and of any sum, and `t` may be beyond 0 and 1.
        seed : of "dare", and of the rows of "fisher" and "regmean"; 0 by default.
        then : what `wait` does next with ``.checkpoint``: ``extract=`` splits (None for all), and ``refit=`` a preset
            or a dict of arguments of `refit`, fitted on the split "val", or on ``on=`` another, and evaluated on the
            others.
        name, tags, note : of the checkpoint.
        timeout : seconds for starting the job.

        Raises
        ------
        InvalidRequest : kind ``incompatible_checkpoints`` for networks that do not fit each other, with the first
            tensors in ``.metadata``; ``unknown_method``; an argument out of its range or without effect.
        NotFound : kinds ``unknown_checkpoint``, ``unknown_dataset``.
        StoreCorrupt : a parent's file is damaged.
        """
        following, asked = then_of(then), heads_of(heads, scope)
        chosen_by = merge_select(select)
        if following is not None and method in METHODS and METHODS[method].selects:
            check_leak(following, USUAL if chosen_by is None else chosen_by.split or USUAL)
        numbers = {
            "t": t,
            "k": k,
            "scale": scale,
            "density": density,
            "smallest": smallest,
            "largest": largest,
            "per_tensor": per_tensor,
            "alpha": alpha,
            "rows": rows,
        }
        spec = build(
            merges_pb2.MergeSpec,
            parents=merge_parents(checkpoints, shares),
            method=merge_method(method),
            numbers=merge_numbers(numbers),
            scope=merges_pb2.MERGE_SCOPE_UNSPECIFIED
            if asked.scope is None
            else choice_of("scope", asked.scope, merges_pb2.MergeScope),
            blocks=block_names(blocks),
            base="" if base is None else ingredient(base, "base"),
            batch_norm=batch_norm(bn, bn_stream, bn_batch_size, bn_count, bn_seed),
            row_stream=row_rule(row_stream),
            dataset="" if dataset is None else dataset_name(dataset),
            attribute=optional_text("attribute", attribute),
            select=chosen_by,
            allow_datasets=flag("allow_datasets", allow_datasets),
            allow_extrapolation=flag("allow_extrapolation", allow_extrapolation),
            seed=None if seed is None else a_seed(seed),
        )
        # Of two checkpoints of one name the one with the new head has it.
        card = encode.card(None if asked.refit is not None else name, tags, note)
        head = None if asked.refit is None else NewHead(asked.on, asked.refit, name, tags, note)
        make = Job[Merge]
        if following is not None or head is not None:
            verbs = Verbs(self.extract, self.refit, self.finetune, Checkpoints(self.connection).describe)
            make = partial(MergeJob, following=Following(following, head, spec.dataset), verbs=verbs)
        request = jobs_pb2.JobSpec(merge=spec)
        return jobs.create(self.connection, request, merge_result, card=card, timeout=timeout, make=make)

    def merge_curve(
        self,
        first: Checkpoint | Merge | Run | str,
        second: Checkpoint | Merge | Run | str,
        *,
        steps: int | None = None,
        t: Sequence[float] | None = None,
        splits: Sequence[str] | None = None,
        blocks: Literal["each"] | None = None,
        scope: MergeScope | None = None,
        bn: BatchNormRule | None = None,
        bn_stream: BatchNormStream | None = None,
        bn_batch_size: int | None = None,
        bn_count: int | None = None,
        bn_seed: int | None = None,
        dataset: Dataset | str | None = None,
        attribute: str | None = None,
        allow_datasets: bool = False,
        tags: Sequence[str] | None = None,
        note: str | None = None,
        timeout: float = 60.0,
    ) -> Job[MergeCurve]:
        """Measure networks on the line between two, by group; ``.wait()`` gives the `MergeCurve`.

            curve = client.merge_curve(start.checkpoints[0], run.checkpoints[-1], splits=["val"]).wait()
            print(curve, curve.barrier(measure="error"))
            curve.plot()

        Every point is the network (1 - t) first + t second, with running statistics of its own: both ends are
        measured like the rest, and so may differ from the networks as they are stored. A barrier is the largest rise
        of the loss, or of the error, above the straight line between the ends (Frankle et al. 2020), over all rows
        and for each group.

        Parameters
        ----------
        first, second : at 0 and at 1.
        steps : points, both ends among them: 11 by default, 5 with ``blocks="each"``.
        t : the points themselves, in [0, 1]; the ends are always measured.
        splits : "val" by default.
        blocks : "each" is the layer-swap curve: `second`, of which one block after the other is moved to `first` by t.
        scope : "full" by default, which needs heads of one start; "body" keeps the head of `first`.
        bn, bn_stream, bn_batch_size, bn_count, bn_seed, dataset, attribute, allow_datasets : as for `merge`, of every
            point; `dataset` is what is measured, too.
        tags, note : of the job.
        timeout : seconds for starting the job.

        Raises
        ------
        As `merge`; `NotFound` of kind ``unknown_split``.
        """
        line = build(
            merges_pb2.MergeSpec,
            parents=merge_parents([_named(first), _named(second)], None),
            scope=merges_pb2.MERGE_SCOPE_UNSPECIFIED
            if scope is None
            else choice_of("scope", scope, merges_pb2.MergeScope),
            batch_norm=batch_norm(bn, bn_stream, bn_batch_size, bn_count, bn_seed),
            allow_datasets=flag("allow_datasets", allow_datasets),
        )
        spec = build(
            merges_pb2.MergeCurveSpec,
            line=line,
            t=curve_places(steps, t),
            splits=names_of("splits", splits),
            each_block=blocks is not None,
            dataset="" if dataset is None else dataset_name(dataset),
            attribute=optional_text("attribute", attribute),
        )
        if blocks is not None:
            check_choice("blocks", blocks, ("each",))
        card, request = encode.card(None, tags, note), jobs_pb2.JobSpec(merge_curve=spec)
        return jobs.create(self.connection, request, curve_result, card=card, timeout=timeout)

    def merge_report(
        self,
        checkpoints: Sequence[Checkpoint | Run | str],
        *,
        features: Sequence[FeatureSetLike] | None = None,
        base: Checkpoint | str | None = None,
        scope: MergeScope | None = None,
        blocks: Sequence[str] | None = None,
        allow_datasets: bool = False,
        tags: Sequence[str] | None = None,
        note: str | None = None,
        timeout: float = 60.0,
    ) -> Job[MergeReport]:
        """Compare networks by what they have learned since their start; ``.wait()`` gives the `MergeReport`.

            report = client.merge_report([a, b, c]).wait()
            print(report, report.block("blocks.6").cosines)
            vals = [client.extract(one, splits=["val"]).wait()["val"] for one in (a, b, c, soup)]
            client.merge_report([a, b, c], features=vals).wait().plot()

        Weights and stored logits alone are read: no network runs. For each block: how far each network went, the
        cosines between their task vectors, and how much spread their mean loses. With feature sets, by group: rows that
        all networks get wrong and their ensemble, or the merged network, gets right, and the other way round.

        Parameters
        ----------
        checkpoints : as of `merge`, at least two.
        features : feature sets of the same rows, one of each checkpoint, in any order, and at most one more, of a
            network that was made of them.
        base : the common start; found from the runs when left out.
        scope, blocks, allow_datasets : as of `merge`.
        tags, note : of the job.
        timeout : seconds for starting the job.

        Raises
        ------
        As `merge`; `NotFound` of kind ``unknown_feature_set``.
        """
        networks = build(
            merges_pb2.MergeSpec,
            parents=merge_parents(checkpoints, None),
            base="" if base is None else ingredient(base, "base"),
            scope=merges_pb2.MERGE_SCOPE_UNSPECIFIED
            if scope is None
            else choice_of("scope", scope, merges_pb2.MergeScope),
            blocks=block_names(blocks),
            allow_datasets=flag("allow_datasets", allow_datasets),
        )
        sets = [] if features is None else listed("features", features, "[set_a, set_b]")
        spec = merges_pb2.MergeReportSpec(networks=networks, feature_sets=[feature_set_name(one) for one in sets])
        card, request = encode.card(None, tags, note), jobs_pb2.JobSpec(merge_report=spec)
        return jobs.create(self.connection, request, report_result, card=card, timeout=timeout)

    def soup_heads(
        self,
        heads: Sequence[AnyHeadLike],
        features: FeatureSetLike,
        *,
        weights: HeadSoupRule = "uniform",
        by_group: bool = False,
        margin: float = 0.0,
        groups: Sequence[int] | None = None,
        class_map: Mapping[str, str] | None = None,
        across_checkpoints: bool = False,
        timeout: float = 300.0,
        progress: bool | None = None,
    ) -> HeadSoup:
        """One head of several on a feature set, exact and without a new pass: its shares, and who helps which group.

            soup = client.soup_heads([erm, dfr, afr], sets["val"], weights="learned", by_group=True)
            print(soup, client.evaluate(soup.head, sets["test"]))
            soup.plot()

        Logits are linear in the head, so that the loss is convex in the shares: there is no barrier between heads,
        and the best mixture is found to a gap. Rows that a soup is fitted or chosen on make its own metrics too good:
        evaluate it on others.

        Parameters
        ----------
        heads : as in `evaluate`; of the features of one checkpoint.
        features : what losses, information and scores are taken on.
        weights : "uniform"; "learned", the shares on the simplex of the least cross-entropy; "greedy", the mean of
            those that raise the worst group's accuracy (Wortsman et al. 2022); "fisher", entry by entry by the exact
            Fisher information (Matena and Raffel 2022); "moments", the head whose logits differ least from each
            head's on the rows of its group (RegMean, Jin et al. 2023).
        by_group : of "learned": each group weighs as much as another, instead of each row.
        margin : of "greedy": by how much more than the best soup so far the next one must score.
        groups : of "moments": for every head the index of the group on whose rows it was fitted.
        class_map, across_checkpoints : as in `evaluate`.
        timeout : seconds for the whole call.
        progress : whether to show progress; by default on a terminal and in a notebook.

        Raises
        ------
        InvalidRequest : heads that do not fit the set or each other; an argument without effect.
        NotFound : an unknown name.
        Busy : kind ``out_of_memory``.
        """
        from penult.wire.merging.head_soups import head_soup, soup_request  # not with `import penult`

        found = [
            looked_up(self.connection, one, f"heads[{i}]", timeout=timeout)
            for i, one in enumerate(listed("heads", heads, "[refit_a, refit_b]"))
        ]
        request = soup_request(
            found,
            features,
            weights=weights,
            by_group=by_group,
            margin=margin,
            groups=groups,
            class_map=class_map,
            across_checkpoints=across_checkpoints,
        )
        call = self.connection.stubs.refits.SoupHeads
        title = f"soup of heads on {shown_name(features)}"
        return head_soup(ask(self.connection, call, request, timeout=timeout, title=title, progress=progress))

    def merge_methods(self) -> MergeMethods:
        """The methods that `merge` knows by name: what each does, its source, its numbers and their ranges."""
        return merge_methods()

    def lineage(self, checkpoint: Checkpoint | Merge | str, *, timeout: float = 30.0) -> Lineage:
        """What a checkpoint was made of, as a tree: parents and base of a merge, the start of a run, and theirs.

        Parameters
        ----------
        checkpoint : a record, a digest or a name.
        timeout : seconds for each question to the server.
        """
        named = checkpoint.checkpoint if isinstance(checkpoint, Merge) else checkpoint
        return lineage_of(self.connection, Checkpoints(self.connection).get(named, timeout=timeout), timeout)


def _named(value: Checkpoint | Merge | Run | str) -> Checkpoint | Run | str:
    return value.checkpoint if isinstance(value, Merge) else value
