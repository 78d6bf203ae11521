"""The part of the client that finds groups nobody labelled, and says how well they agree."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult.arguments import coerce
from penult.arguments.coerce import build
from penult.calls.arrays.exporting import Reading
from penult.calls.catalog.groupings import Groupings
from penult.calls.catalog.heads import looked_up
from penult.calls.methods.groupings import GroupingMethods, grouping_methods, with_grouping_methods
from penult.calls.waiting.queries import ask, shown_name
from penult.connection.rpc import Connection
from penult.errors import invalid
from penult.results.groupings.consensus import Consensus, consensus_values
from penult.results.groupings.grouping import Grouping
from penult.results.groupings.scores import GroupingScores, GroupingStability
from penult.wire import encode
from penult.wire.encode_spectra import RowsLike, SourceLike
from penult.wire.groupings import decode as decode_groupings
from penult.wire.groupings.discovery import discovery_request, grouping_scores
from penult.wire.references import AnyHeadLike, FeatureSetLike, GroupingLike, grouping_name
from penult_proto.errors import ErrorKind
from penult_proto.v1 import groupings_pb2

STORED = "stored"
MOST_ROWS = 2**20
"""Rows of labels that come in one piece."""
PART = 0.8
"""Share of the rows that each of several groupings sees, where the method is not random."""


class Discovering:
    """Groups found in features and logits, and their agreement with others."""

    connection: Connection
    groupings: Groupings

    @with_grouping_methods
    def discover(
        self,
        features: SourceLike,
        *,
        method: str,
        split: str | None = None,
        rows: RowsLike | None = None,
        fit: FeatureSetLike | None = None,
        other: FeatureSetLike | None = None,
        head: AnyHeadLike | None = None,
        indices: Sequence[int] | None = None,
        seed: int = 0,
        seeds: int | None = None,
        name: str | None = None,
        tags: Sequence[str] | None = None,
        note: str | None = None,
        timeout: float = 600.0,
        progress: bool | None = None,
        **options: Any,
    ) -> Grouping:
        """Groups that nobody labelled: a value for every row, which with its class makes its group.

            groups = client.discover(sets["val"], method="regularised_errors", fit=sets["train"])
            client.refit(sets["val"], preset="dfr", by=groups, evaluate={"test": sets["test"]})
            client.score_grouping(groups)

        What is found is stored, and takes the place of the attribute wherever ``by=`` takes a grouping. The same
        question again returns the stored answer.

        Parameters
        ----------
        features, split : the rows that are grouped, as for `spectra`.
        method : how; `grouping_methods` says more of each.
            [methods]
        rows : group only these rows, as for `spectra`.
        fit : the set that heads and mixtures are fitted on, such as the training split; the rows themselves by default.
        other : the set that is compared with (gic), or the one that has an attribute (ssa).
        head : the head whose predictions are looked at instead of the stored logits, as for `evaluate`.
        indices : indices of features, for the methods that take some (units, spuriosity).
        seed : of everything random; the same seed gives the same groups.
        seeds : how many seeds vote, for the methods that have several within them.
        name, tags, note : to find it by, and for people; see ``client.groupings.describe``.
        timeout : seconds.
        progress : show how far it is, after a second; None: on a terminal and in a notebook.
        options : the numbers and words of the method, such as ``l2=10`` or ``balance="none"``.

        Raises
        ------
        InvalidRequest : kind ``unknown_method`` (the message lists them); an option that the method does not have, or
            out of its range; ``empty_group``: a class without rows, or nothing to tell groups by;
            ``attribute_missing``; ``other_classes``, ``other_checkpoint``, ``wrong_shape``: sets that do not belong
            together.
        NotFound : there is no such set or head.
        """
        request = discovery_request(
            features,
            method=method,
            split=split,
            rows=rows,
            fit=fit,
            other=other,
            head=None if head is None else looked_up(self.connection, head),
            indices=indices,
            seed=seed,
            seeds=seeds,
            options=options,
        )
        request.card.CopyFrom(encode.card(name, tags, note))
        call = self.connection.stubs.groupings.DiscoverGroups
        title = f"groups of {shown_name(features)}"
        answer = ask(self.connection, call, request, timeout=timeout, title=title, progress=progress)
        return decode_groupings.grouping(answer).bound(self.groupings)

    def grouping_methods(self) -> GroupingMethods:
        """The methods that `discover` knows by name: what each does, its source, and its options.

        ``print(client.grouping_methods())`` lists them; ``.to_frame()`` makes a table.
        """
        return grouping_methods()

    def score_grouping(
        self,
        grouping: GroupingLike,
        truth: GroupingLike = STORED,
        *,
        permutations: int = 200,
        seed: int = 0,
        timeout: float = 120.0,
        progress: bool | None = None,
    ) -> GroupingScores:
        """How well a grouping agrees with the true groups, within each class.

            print(client.score_grouping(groups))
            client.score_grouping(groups, truth=others).overall.ari

        Within a class, since groups never cross classes, and indices over all rows are inflated by that. Beside every
        index stands what values of the same sizes reach that are shuffled among the rows.

        Parameters
        ----------
        grouping : what was found.
        truth : "stored" for the stored groups of its rows; or another grouping, of the same rows or some of them.
        permutations : shuffles of the baseline; 0 for none.
        seed : of the shuffles.
        timeout : seconds.
        progress : show how far it is, after a second; None: on a terminal and in a notebook.

        Raises
        ------
        InvalidRequest : kinds ``attribute_missing`` (the set has no attribute: see `grouping_stability`),
            ``other_rows``, ``other_classes``.
        NotFound : there is no such grouping.
        """
        named = grouping_name(truth, "truth")
        request = build(
            groupings_pb2.ScoreGroupingRequest,
            grouping=grouping_name(grouping),
            truth="" if named == STORED else named,
            permutations=coerce.whole("permutations", permutations, 0),
            seed=coerce.seed(seed),
        )
        call = self.connection.stubs.groupings.ScoreGrouping
        answer = ask(self.connection, call, request, timeout=timeout, title="scores of a grouping", progress=progress)
        return grouping_scores(answer)

    def grouping_stability(
        self,
        features: FeatureSetLike,
        *,
        method: str,
        seeds: Sequence[int] = (0, 1, 2, 3, 4),
        share: float | None = None,
        timeout: float = 600.0,
        progress: bool | None = None,
        **arguments: Any,
    ) -> GroupingStability:
        """Whether a method finds the same groups again: mean within-class ARI of every two of several groupings.

        What can be known where true groups are not. A method that is not random finds the same for every seed: give a
        `share` below 1, and each grouping is of a random part of the rows, compared on those that two have in common.

        Parameters
        ----------
        features, method : as for `discover`.
        seeds : one grouping each, two at least.
        share : part of the rows that each grouping sees; None: all for a random method, 0.8 for another.
        timeout : seconds for each grouping.
        progress : show how far it is, after a second; None: on a terminal and in a notebook.
        arguments : those of `discover`, such as `fit` and the options of the method.

        Raises
        ------
        InvalidRequest, NotFound : as `discover`.
        """
        given = coerce.listed("seeds", seeds, "[0, 1, 2]")
        chosen = [coerce.seed(one, f"seeds[{place}]") for place, one in enumerate(given)]
        if len(set(chosen)) < 2:
            raise invalid(f"seeds must be two different ones at least; got {chosen}", argument="seeds")
        parts = self._parts(features, method, share, chosen, timeout)
        found: list[Grouping] = []
        for one, part in zip(chosen, parts, strict=True):
            asked: dict[str, Any] = {"rows": part, "seed": one, "timeout": timeout, "progress": progress, **arguments}
            found.append(self.discover(features, method=method, **asked))
        ari = np.eye(len(found))
        for first, second in combinations(range(len(found)), 2):
            score = self.score_grouping(found[first], found[second], permutations=0, timeout=timeout)
            ari[first, second] = ari[second, first] = score.overall.ari
        digests = tuple(one.digest for one in found)
        return GroupingStability(method=method, groupings=digests, seeds=tuple(chosen), ari=ari)

    def consensus(
        self,
        groupings: Sequence[GroupingLike],
        *,
        k: int = 2,
        name: str | None = None,
        tags: Sequence[str] | None = None,
        note: str | None = None,
        timeout: float = 600.0,
    ) -> Consensus:
        """One grouping out of several of the same rows, and the rows that they disagree on.

            both = client.consensus([client.discover(sets["val"], method=one) for one in ("xrm", "gmm", "errors")])
            client.refit(sets["val"], preset="dfr", by=both.grouping)

        Within each class, by average linkage of how many of the groupings put two rows together.

        Parameters
        ----------
        groupings : two or more, of the same rows.
        k : values of the consensus.
        name, tags, note : of its grouping, which is stored as an uploaded one; see ``client.groupings.describe``.
        timeout : seconds for each call.

        Raises
        ------
        InvalidRequest : kind ``other_rows``: they are of other rows; they have too many combinations of values.
        NotFound : there is no such grouping.
        """
        given = coerce.listed("groupings", groupings, "['first', 'second']")
        members = [self.groupings.get(one, timeout=timeout) for one in given]
        if len({one.digest for one in members}) < 2:
            raise invalid(
                f"a consensus is of two different groupings at least; got {len(members)}", argument="groupings"
            )
        arrays = [self.groupings.read(one, timeout=timeout) for one in members]
        reading = Reading(self.connection, members[0].feature_set, timeout)
        with reading.stream(["row_id", "y"]) as stream:
            ids, y = (np.concatenate(list(stream.rows(one, MOST_ROWS))) for one in stream.arrivals)
            stream.end()
        row_id = arrays[0].row_id
        y = y[np.isin(ids, row_id)]
        if len(y) != len(row_id) or any(not np.array_equal(one.row_id, row_id) for one in arrays):
            raise invalid("a consensus is of groupings of the same rows", ErrorKind.OTHER_ROWS, argument="groupings")
        try:
            values, agreement = consensus_values(
                np.stack([one.values for one in arrays]), y.astype(np.int64), coerce.whole("k", k, 1)
            )
        except ValueError as error:
            raise invalid(f"{error}; give fewer of them", argument="groupings") from None
        grouping = self.groupings.upload(
            members[0].feature_set,
            values,
            row_id=row_id,
            attribute="consensus",
            name=name,
            tags=tags,
            note=note,
            timeout=timeout,
        )
        digests = tuple(one.digest for one in members)
        return Consensus(grouping=grouping, members=digests, row_id=row_id, agreement=agreement)

    def _parts(
        self, features: FeatureSetLike, method: str, share: float | None, seeds: Sequence[int], timeout: float
    ) -> list[NDArray[np.uint64] | None]:
        """The rows that each grouping sees; None for all."""
        if share is None:
            share = 1.0 if any(one.is_random for one in grouping_methods() if one.name == method) else PART
        if coerce.number("share", share, 0, 1) >= 1:
            return [None] * len(seeds)
        ids = self.groupings.row_ids_of(features, timeout)
        count = max(1, round(share * ids.size))
        return [np.sort(np.random.default_rng(one).permutation(ids)[:count]) for one in seeds]
