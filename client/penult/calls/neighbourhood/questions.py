"""Votes, duplicates, wrong labels, and what a space is organised by."""

from collections.abc import Mapping, Sequence

import numpy as np

from penult.arguments import coerce
from penult.arguments.coerce import build
from penult.calls.waiting.queries import ask, shown_name
from penult.connection.rpc import Connection
from penult.results.neighbourhood.duplicates import Duplicates, Leaks
from penult.results.neighbourhood.label_noise import LabelNoise
from penult.results.neighbourhood.rates import NeighbourRates, RunNeighbours
from penult.results.neighbourhood.votes import NeighbourMetrics
from penult.results.records import Run
from penult.types import NeighbourMetric
from penult.wire import decode
from penult.wire.encode_spectra import SourceLike
from penult.wire.neighbourhood import decoding, encoding
from penult.wire.references import ByLike, FeatureSetLike, GroupingLike, run_id
from penult_proto.v1 import runs_pb2


class Neighbourhood:
    """What is read off the nearest neighbours of rows; the neighbours are found once for all of it."""

    connection: Connection

    def evaluate_neighbours(
        self,
        features: SourceLike,
        *,
        among: FeatureSetLike | None = None,
        k: Sequence[int] | int | None = None,
        temperature: float = 0.07,
        balanced: bool | GroupingLike = False,
        by: ByLike = "group",
        split: str | None = None,
        across_checkpoints: bool = False,
        timeout: float = 600.0,
        progress: bool | None = None,
    ) -> NeighbourMetrics:
        """Metrics of k-nearest-neighbour classification, for several k in one pass.

            client.evaluate_neighbours(sets["test"], among=sets["train"], k=[10, 20])[20].worst_group_accuracy
            client.evaluate_neighbours(sets["train"])  # each row by the others

        Class c gets the votes exp(cos_ij / T) of those of the k nearest neighbours j of row i that are of c (DINO's
        weighted kNN, Caron et al. 2021); the class with the most votes is predicted, with its share for a probability.
        Features are scaled to length 1.

        Parameters
        ----------
        features : what is classified: a feature set, or with `split` a checkpoint.
        among : the set whose rows vote, of the same checkpoint. None: `features` itself, each row left out of its own
            votes by its id, also where it has exact duplicates.
        k : numbers of neighbours. None: 10, 20, 100 and 200, those of them that there are rows for.
        temperature : T.
        balanced : divide each vote by the number of rows of the voter's group, so that small groups count; True for
            stored groups (without `among`: for those of `by`), or a grouping of the rows of `among`.
        by : "group"; or a grouping, its digest or its name, whose groups the metrics are of.
        split : for a checkpoint, the split whose stored features are meant.
        across_checkpoints : let the rows of another checkpoint vote.
        timeout : seconds.
        progress : show how far it is, after a second; None: on a terminal and in a notebook.

        Raises
        ------
        InvalidRequest : k is more than a row has neighbours; kind ``zero_row``: a row of zeros has no direction;
            ``other_classes``, ``other_checkpoint``: the sets do not fit each other.
        NotFound : kind ``unknown_feature_set``.
        """
        request = encoding.evaluation(
            features,
            among,
            k=k,
            temperature=temperature,
            balanced=balanced,
            by=by,
            split=split,
            across_checkpoints=across_checkpoints,
        )
        call, title = self.connection.stubs.neighbours.EvaluateNeighbours, f"neighbours of {shown_name(features)}"
        answer = ask(self.connection, call, request, timeout=timeout, title=title, progress=progress)
        return decoding.neighbour_metrics(answer)

    def duplicates(
        self,
        features: SourceLike,
        *,
        against: FeatureSetLike | None = None,
        threshold: float | None = None,
        metric: NeighbourMetric = "cosine",
        by: ByLike = "group",
        split: str | None = None,
        across_checkpoints: bool = False,
        seed: int = 0,
        timeout: float = 600.0,
        progress: bool | None = None,
    ) -> Duplicates:
        """Equal and nearly equal rows of a set, or of a set and another split, and accuracies without them.

            client.duplicates(sets["train"]).to_frame()
            client.duplicates(sets["train"], against=sets["test"]).leaks

        Rows that are equal in every entry are found first, then pairs that are nearer than the threshold; of a row its
        64 nearest are looked at. Within one set the threshold is 0.13 times the median distance to the nearest other
        row (cleanlab's). Between splits it is the 0.1 % quantile of these distances in `features`, the training set,
        of its rows without a duplicate: of distinct examples 0.1 % are so near by chance, and the p-value says whether
        there are more pairs across than a random split would have.

        Parameters
        ----------
        features : a feature set, or with `split` a checkpoint.
        against : another split of the same checkpoint, whose accuracies may rest on what leaked from `features`.
        threshold : a distance; 0 gives the equal rows alone.
        metric : "cosine" (1 - cosine), or "l2".
        by : as for `evaluate_neighbours`; of the rows of `against` where it is given.
        split : for a checkpoint, the split whose stored features are meant.
        across_checkpoints : let the sets be of different checkpoints.
        seed : of the random splits behind the p-value.
        timeout : seconds.
        progress : show how far it is, after a second; None: on a terminal and in a notebook.

        Raises
        ------
        InvalidRequest, NotFound : as for `evaluate_neighbours`.
        """
        request = encoding.duplicates(
            features,
            against,
            threshold=threshold,
            metric=metric,
            by=by,
            split=split,
            across_checkpoints=across_checkpoints,
            seed=seed,
        )
        call, title = self.connection.stubs.neighbours.FindDuplicates, f"duplicates of {shown_name(features)}"
        answer = ask(self.connection, call, request, timeout=timeout, title=title, progress=progress)
        return decoding.duplicates(answer)

    def leaks(
        self,
        splits: Mapping[str, FeatureSetLike],
        *,
        threshold: float | None = None,
        metric: NeighbourMetric = "cosine",
        by: Mapping[str, GroupingLike] | None = None,
        across_checkpoints: bool = False,
        seed: int = 0,
        timeout: float = 600.0,
        progress: bool | None = None,
    ) -> Leaks:
        """`duplicates` between every two of several splits, as one table by pair of splits and group.

            client.leaks({"train": sets["train"], "val": sets["val"], "test": sets["test"]}).to_frame()

        Parameters
        ----------
        splits : feature sets by their names, in the order in which they are used: what is in an earlier one may have
            leaked into a later one.
        threshold, metric, across_checkpoints, seed, progress : as for `duplicates`.
        by : groupings of the splits by their names; stored groups of those left out.
        timeout : seconds for each two splits.
        """
        groupings = encoding.groupings_of_splits(by, splits)
        found = {
            f"{first} / {second}": self.duplicates(
                splits[first],
                against=splits[second],
                threshold=threshold,
                metric=metric,
                by=groupings.get(second, "group"),
                across_checkpoints=across_checkpoints,
                seed=seed,
                timeout=timeout,
                progress=progress,
            )
            for first, second in encoding.pairs_of_splits(splits)
        }
        return Leaks(splits=tuple(splits), duplicates=found)

    def label_noise(
        self,
        features: SourceLike,
        *,
        k: int = 20,
        folds: int = 5,
        temperature: float = 0.07,
        by: ByLike = "group",
        split: str | None = None,
        seed: int = 0,
        timeout: float = 600.0,
        progress: bool | None = None,
    ) -> LabelNoise:
        """Rows whose label their neighbours and a head that has not seen them contradict: wrong, or of a minority.

            client.label_noise(sets["train"]).suspects  # ids, most suspect first

        A row is as suspect as the share of its neighbours' votes (`evaluate_neighbours`) that are not for its label. It
        is flagged where the most votes, and a head fitted to the other folds, are for one other class. Rows of a
        minority look alike: they are told by having more neighbours of their own class, among those with their
        attribute value, than wrong labels would (binomial test at 5 %), and are listed as `minority` instead.

        Parameters
        ----------
        features : a feature set, or with `split` a checkpoint; at least two of its classes have rows.
        k : number of neighbours.
        folds : parts that are left out in turn when heads are fitted (softmax, l2 = 0.01 on standardised features);
            0 for no head, so that neighbours alone decide.
        temperature : T of the votes.
        by : as for `evaluate_neighbours`; its values are the attribute that minorities are told by.
        split : for a checkpoint, the split whose stored features are meant.
        seed : of the folds.
        timeout : seconds.
        progress : show how far it is, after a second; None: on a terminal and in a notebook.

        Raises
        ------
        InvalidRequest : as for `evaluate_neighbours`; kind ``empty_group``: rows are of one class only.
        NotFound : kind ``unknown_feature_set``.
        """
        request = encoding.label_noise(
            features, k=k, folds=folds, temperature=temperature, by=by, split=split, seed=seed
        )
        call, title = self.connection.stubs.neighbours.FindLabelNoise, f"labels of {shown_name(features)}"
        answer = ask(self.connection, call, request, timeout=timeout, title=title, progress=progress)
        return decoding.label_noise(answer)

    def neighbour_rates(
        self,
        features: SourceLike,
        *,
        among: FeatureSetLike | None = None,
        k: int = 20,
        metric: NeighbourMetric = "cosine",
        by: ByLike = "group",
        split: str | None = None,
        across_checkpoints: bool = False,
        timeout: float = 600.0,
        progress: bool | None = None,
    ) -> NeighbourRates:
        """What a feature space is organised by: the share of neighbours of the same class, attributes and group.

            client.neighbour_rates(sets["test"]).overall.lift  # {"class": 1.6, "ground": 1.9}: by the ground first

        By group and over all rows, beside the share that neighbours drawn at random would have; and the hubness.

        Parameters
        ----------
        features : a feature set, or with `split` a checkpoint.
        among : the set that neighbours are looked for in; None: `features` itself, without the row.
        k : number of neighbours.
        metric : "cosine", "l2" or "inner".
        by : as for `evaluate_neighbours`; its values are an attribute, besides those that are stored.
        split : for a checkpoint, the split whose stored features are meant.
        across_checkpoints : let the sets be of different checkpoints.
        timeout : seconds.
        progress : show how far it is, after a second; None: on a terminal and in a notebook.

        Raises
        ------
        InvalidRequest, NotFound : as for `evaluate_neighbours`.
        """
        request = encoding.rates(
            features, among, k=k, metric=metric, by=by, split=split, across_checkpoints=across_checkpoints
        )
        call, title = self.connection.stubs.neighbours.ComputeNeighbourRates, f"neighbours of {shown_name(features)}"
        answer = ask(self.connection, call, request, timeout=timeout, title=title, progress=progress)
        return decoding.neighbour_rates(answer)

    def run_neighbours(
        self,
        run: Run | str,
        *,
        split: str,
        k: int = 20,
        metric: NeighbourMetric = "cosine",
        by: ByLike = "group",
        timeout: float = 600.0,
        progress: bool | None = None,
    ) -> RunNeighbours:
        """`neighbour_rates` of every checkpoint of a run: from when on the space is organised by what.

            client.run_neighbours(run, split="train").plot()

        The features of `split` must have been extracted for each of them. Beside `Client.run_spectra` of the same run.

        Parameters
        ----------
        run, split : whose checkpoints, and which of their features.
        k, metric, by, progress : as for `neighbour_rates`.
        timeout : seconds for each checkpoint.

        Raises
        ------
        NotFound : kinds ``unknown_run``, ``unknown_feature_set``.
        """
        of_split = coerce.text("split", split, example="'train'")
        request = build(runs_pb2.GetRunRequest, id=run_id(run))
        found = decode.run(self.connection.unary(self.connection.stubs.runs.GetRun, request, timeout=timeout))
        rates = tuple(
            self.neighbour_rates(
                checkpoint, split=of_split, k=k, metric=metric, by=by, timeout=timeout, progress=progress
            )
            for checkpoint in found.checkpoints
        )
        return RunNeighbours(
            run=found.id,
            split=of_split,
            epochs=np.array([checkpoint.epoch for checkpoint in found.checkpoints], dtype=np.float64),
            checkpoints=tuple(checkpoint.digest for checkpoint in found.checkpoints),
            rates=rates,
        )
