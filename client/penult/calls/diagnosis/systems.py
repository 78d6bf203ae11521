"""Checkpoints beside each other, on the rows of one split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from penult.arguments import coerce
from penult.arguments.instead import wrong_sort
from penult.calls.arrays.predicting import Predicting
from penult.calls.features import FeatureSets
from penult.errors import from_kind, invalid, shown
from penult.results.notes import Note
from penult.results.records import Checkpoint, FeatureSet, Run, short
from penult_proto.errors import ErrorKind
from penult_proto.notes import NoteId

if TYPE_CHECKING:
    from penult.results.comparing.comparison import Comparison
    from penult.results.comparing.scored import Scored

EXAMPLE = "[run_a, run_b]"
MOST_SYSTEMS = 200
POOLED = "pooled"
"""The kind of features that a head multiplies."""


class ComparingSystems(Predicting):
    """What several checkpoints get right, of the same rows."""

    features: FeatureSets

    def compare(
        self,
        items: Sequence[Run | Checkpoint],
        *,
        split: str,
        measures: Sequence[str] | str | None = None,
        select_split: str | None = None,
        sizes: Sequence[float] | None = None,
        timeout: float = 600.0,
        progress: bool | None = None,
    ) -> Comparison:
        """Checkpoints by their own heads on one split: shared errors, what each does better, ranks, evenness.

            client.compare([run_a, run_b], split="test", measures=["error_inconsistency", "specialisation"])

        Rows are joined by their ids. The features of `split` must have been extracted for each checkpoint.

        Parameters
        ----------
        items : at least two checkpoints, or runs, of which the last checkpoint is meant.
        split : the split whose stored features are meant.
        measures : "error_inconsistency" and kappa, "specialisation" by group, "ensemble_gain" of mean probabilities,
            "evenness" over groups, "rank_systems" (mean rank, Kemeny, by draws of rows), "moon" (worst group against
            best, of eight or more), "selection_rules" (what each rule's choice loses in the worst group),
            "model_size" (gain for ten times the parameters), "opposing_signals" (rows whose losses move most from
            each item to the next); None: all of them.
        select_split : the split that selection rules look at, such as "val"; None: the rows that are scored.
        sizes : the number of parameters of each item, for "model_size".
        timeout : seconds for each checkpoint.
        progress : show how far it is, after a second; None: on a terminal and in a notebook.

        Raises
        ------
        InvalidRequest : fewer than two items, an unknown measure (the message lists them), other classes or groups.
        NotFound : kind ``unknown_feature_set``: no features of the split are stored.
        """
        from penult.results.comparing.comparison import MEASURES, Comparison  # not with `import penult`
        from penult.results.comparing.scored import scored_together

        of_split = coerce.text("split", split, example="'test'")
        wanted = _measures(measures)
        checkpoints = [_checkpoint(one) for one in coerce.listed("items", items, EXAMPLE)]
        if not 2 <= len(checkpoints) <= MOST_SYSTEMS:
            raise invalid(
                f"items must be 2 .. {MOST_SYSTEMS} runs or checkpoints, got {len(checkpoints)}", argument="items"
            )
        names = [f"{place + 1}: {one.digest[:8]}" for place, one in enumerate(checkpoints)]
        numbers = _sizes(sizes, len(checkpoints))
        selection = coerce.optional_text("select_split", select_split)

        def scored_on(of: str) -> Scored:
            sets = [self._scored_set(one, of, timeout) for one in checkpoints]
            if len({one.dataset_digest for one in sets}) > 1:
                raise invalid(
                    f"what is compared must score one dataset as it is, got split {of!r} of "
                    f"{', '.join(sorted({f'{one.dataset} ({short(one.dataset_digest)})' for one in sets}))}",
                    argument="items",
                )
            return scored_together([self.predictions(one, timeout=timeout, progress=progress) for one in sets], names)

        seen = scored_on(selection) if selection else None
        scored = replace(scored_on(of_split), selection=seen, sizes=numbers)
        text = f"rows were joined by their ids: {scored.y.size} are in all sets, {scored.n_left_out} were left out"
        return Comparison(
            split=of_split,
            systems=scored.names,
            checkpoints=tuple(one.digest for one in checkpoints),
            n_rows=int(scored.y.size),
            values=tuple(value for name in wanted for value in MEASURES[name](scored)),
            notes=(Note(text, NoteId.ROWS_JOINED),) if scored.n_left_out else (),
        )

    def _scored_set(self, checkpoint: Checkpoint, split: str, timeout: float) -> FeatureSet:
        """What the checkpoint's head reads of a split, of its own dataset where there are several."""
        known = self.features.list(checkpoint=checkpoint, split=split, timeout=timeout)
        found = [one for one in known if one.feature_kind == POOLED]
        if not found:
            raise from_kind(
                ErrorKind.UNKNOWN_FEATURE_SET,
                f"no features of split {shown(split)} are stored for {checkpoint!r}: extract them first",
            )
        own = [one for one in found if one.dataset_digest == checkpoint.dataset_digest] or found
        if len({one.dataset_digest for one in own}) > 1:
            raise invalid(
                f"features of split {shown(split)} of several datasets are stored for {checkpoint!r}, none of its "
                f"own: {', '.join(one.dataset for one in own)}; delete those that are not meant",
                argument="split",
            )
        return own[0]


def _sizes(sizes: Sequence[float] | None, count: int) -> tuple[float, ...] | None:
    if sizes is None:
        return None
    found = tuple(coerce.number("sizes", one) for one in coerce.listed("sizes", sizes, "[2.5e7, 8.6e7]"))
    if len(found) != count or min(found) <= 0:
        raise invalid(
            f"sizes must be a positive number for each of the {count} items, got {list(found)}", argument="sizes"
        )
    return found


def _measures(measures: Sequence[str] | str | None) -> list[str]:
    from penult.results.comparing.comparison import MEASURES

    if measures is None:
        return list(MEASURES)
    given = [measures] if isinstance(measures, str) else coerce.listed("measures", measures, '["evenness"]')
    named = [coerce.text("measures", one) for one in given]
    if unknown := [one for one in named if one not in MEASURES]:
        raise invalid(f"measures are {', '.join(MEASURES)}; got {', '.join(map(shown, unknown))}", argument="measures")
    if not named:
        raise invalid(f"measures must name at least one of {', '.join(MEASURES)}", argument="measures")
    return [one for one in MEASURES if one in named]


def _checkpoint(item: object) -> Checkpoint:
    if isinstance(item, Run):
        if not item.checkpoints:
            raise invalid(f"items: {item!r} has no checkpoint to compare", argument="items")
        return item.checkpoints[-1]
    if not isinstance(item, Checkpoint):
        raise wrong_sort("items", "checkpoint", item, "Runs or Checkpoints")
    return item
