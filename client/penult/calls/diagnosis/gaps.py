"""Why one group falls behind: its accuracy with the threshold, the head, the rows and the features mended."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from penult.arguments import coerce
from penult.calls.arrays.predicting import Predicting
from penult.calls.neighbourhood.questions import Neighbourhood
from penult.calls.refitting import Refitting
from penult.errors import invalid, shown
from penult.results.rows.predictions import Predictions
from penult.wire.references import AnyHeadLike, FeatureSetLike

if TYPE_CHECKING:
    from penult.results.comparing.gap import GapExplained

PARTS = (0.25, 0.5)
"""Fractions of the held-out rows that the learning curve has, besides all of them."""
PRESET = "dfr_l2"


class ExplainingGaps(Neighbourhood, Refitting, Predicting):
    """What would bring a group forward."""

    def explain_gap(
        self,
        sets: Mapping[str, FeatureSetLike],
        group: str,
        *,
        head: AnyHeadLike | None = None,
        held_out: str = "val",
        test: str = "test",
        label_noise: bool = True,
        seed: int = 0,
        timeout: float = 600.0,
        progress: bool | None = None,
    ) -> GapExplained:
        """The accuracy of one group with its threshold, its head, its rows and its features mended, one by one.

            print(client.explain_gap(sets, "boots, grass"))

        Every refit is DFR (``preset="dfr_l2"``), and stored: asking again is quick. Intervals are those of a share of
        the group's rows: steps of a small group differ by chance.

        Parameters
        ----------
        sets : feature sets by split, of one checkpoint.
        group : name of the group.
        head : what is explained; None: the head that is stored with the scored set.
        held_out, test : the splits that refits are fitted on, and that is scored.
        label_noise : also ask which labels of the scored rows their neighbours doubt.
        seed : of halves, parts and draws.
        timeout : seconds for each question.
        progress : show how far it is, after a second; None: on a terminal and in a notebook.

        Raises
        ------
        InvalidRequest : a split that `sets` does not have; a group that the scored set does not have, or has no rows of
            (the message lists those that have); kinds ``other_classes``, ``other_checkpoint``, ``empty_group``.
        NotFound : kind ``unknown_feature_set``.
        """
        from penult.results.comparing.gap import GapExplained, extrapolated, step_of, tuned_offsets

        seen, fitted = _set_of(sets, test, "test"), _set_of(sets, held_out, "held_out")

        def predicted(of: FeatureSetLike, by: AnyHeadLike | None) -> Predictions:
            return self.predictions(of, by, timeout=timeout, progress=progress)

        def refitted(on: FeatureSetLike, rows: NDArray[np.uint64] | None) -> Predictions:
            refit = self.refit(on, preset=PRESET, rows=rows, seed=seed, timeout=timeout, progress=progress)
            return predicted(seen, refit)

        base, held = predicted(seen, head), predicted(fitted, head)
        place = _group(base, group)
        offsets = tuned_offsets(np.log(np.maximum(held.probabilities, 1e-300)), held.y, held.g)
        moved = np.argmax(np.log(np.maximum(base.probabilities, 1e-300)) + offsets, axis=1) == base.y
        whole = held.row_id.size
        parts = [_part(held, part, seed) for part in PARTS]
        curve = [*(refitted(fitted, rows) for rows in parts), refitted(fitted, None)]
        mended = [
            step_of("head", one.correct, one.g, place, f"{PRESET} on {whole} rows of {held_out}") for one in curve
        ]
        sizes = np.array([*(rows.size for rows in parts), whole])
        halves = _halves(base, seed)
        crossed = np.zeros(base.y.size, np.bool_)
        for inside in (halves, ~halves):
            found = refitted(seen, np.sort(base.row_id[~inside]))
            crossed[inside] = found.correct[inside]
        return GapExplained(
            group=group,
            n=int((base.g == place).sum()),
            steps=(
                step_of("as it is", base.correct, base.g, place, base.head),
                step_of("threshold", moved, base.g, place, f"a bias found on {held_out}"),
                mended[-1],
                extrapolated("rows", sizes, mended),
                step_of("features", crossed, base.g, place, "each half of the scored rows by the other"),
            ),
            flagged=self._flagged(seen, base, place, seed, timeout, progress) if label_noise else math.nan,
        )

    def _flagged(
        self, seen: FeatureSetLike, base: Predictions, place: int, seed: int, timeout: float, progress: bool | None
    ) -> float:
        """The fraction of the group's rows whose labels are in doubt."""
        found = self.label_noise(seen, seed=seed, timeout=timeout, progress=progress)
        doubted = np.isin(base.row_id, found.row_ids[found.flagged])
        return float(doubted[base.g == place].mean())


def _set_of(sets: Mapping[str, FeatureSetLike], split: str, argument: str) -> FeatureSetLike:
    name = coerce.text(argument, split, example="'test'")
    if not isinstance(sets, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise invalid(
            f"sets must be feature sets by split, such as the answer of extract; got {shown(sets)}", argument="sets"
        )
    if name not in sets:
        raise invalid(f"{argument}={shown(name)} is not among sets: {', '.join(map(shown, sets))}", argument=argument)
    return sets[name]


def _group(base: Predictions, group: str) -> int:
    counts = np.bincount(base.g, minlength=len(base.group_names))
    there = [name for name, count in zip(base.group_names, counts, strict=True) if count]
    if coerce.text("group", group, example="'boots, grass'") not in there:
        raise invalid(f"group must be one of {', '.join(map(shown, there))}; got {shown(group)}", argument="group")
    return base.group_names.index(group)


def _shuffled(of: Predictions, seed: int) -> NDArray[np.float64]:
    """(N,) each row's place within its group in a random order, as a fraction of the group in (0, 1]."""
    rng, found = np.random.default_rng([seed, 41]), np.zeros(of.y.size)
    for group in np.unique(of.g).tolist():
        rows = np.flatnonzero(of.g == group)
        found[rng.permutation(rows)] = np.arange(1, rows.size + 1) / rows.size
    return found


def _part(of: Predictions, fraction: float, seed: int) -> NDArray[np.uint64]:
    """Ids of a fraction of the rows of every group, two of each at least where it has them."""
    place = _shuffled(of, seed)
    counts = np.bincount(of.g)[of.g]
    return np.sort(of.row_id[place <= np.maximum(fraction, 2 / counts) + 1e-12])


def _halves(of: Predictions, seed: int) -> NDArray[np.bool_]:
    """(N,) one half of the rows of every group. Raises `InvalidRequest` for a group of one row."""
    counts = np.bincount(of.g, minlength=len(of.group_names))
    if (counts == 1).any():
        names = ", ".join(shown(of.group_names[one]) for one in np.flatnonzero(counts == 1).tolist())
        raise invalid(
            f"the scored set has one row of {names}, which has no two halves: score more rows", argument="sets"
        )
    return _shuffled(of, seed) <= 0.5
