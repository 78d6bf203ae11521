"""Methods that find groups on one table: agreement with the true groups, and what a refit on the found ones gains."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from penult.arguments import coerce
from penult.calls.arrays.predicting import Predicting
from penult.calls.discovery.discovering import Discovering
from penult.calls.features import FeatureSets
from penult.calls.methods.groupings import GIVEN
from penult.calls.methods.presets import presets
from penult.calls.refitting import Refitting
from penult.calls.spectral import Spectral
from penult.errors import InvalidRequest, PreconditionFailed, invalid
from penult.results.groupings.discovery_table import BASELINES, DiscoveryRow, DiscoveryTable
from penult.results.groupings.gap import GapShare, gap_share
from penult.results.groupings.grouping import Grouping
from penult.results.records import FeatureSet
from penult.results.refits import Refit
from penult.types import Preset
from penult.wire.references import AnyHeadLike, FeatureSetLike, GroupingLike
from penult_proto.grouping_methods import METHODS, GroupingMethod

NAN = math.nan
NO_GAP = GapShare(share=NAN, low=NAN, high=NAN)
EMPTY = DiscoveryRow(
    method="",
    grouping="",
    n_groups=0,
    ari=NAN,
    p_value=NAN,
    minority_precision=NAN,
    minority_recall=NAN,
    imbalance_p=NAN,
    worst_group_accuracy=NAN,
    average_accuracy=NAN,
    gap_closed=NAN,
    gap_low=NAN,
    gap_high=NAN,
    seconds=NAN,
    failure="",
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Asked:
    """What every method is asked with, and the refit that follows."""

    features: FeatureSet
    fit: FeatureSetLike | None
    other: FeatureSetLike | None
    head: AnyHeadLike | None
    test: FeatureSet | None
    preset: Preset
    replicates: int | None
    seed: int
    timeout: float
    progress: bool | None


class Comparing(Discovering, Spectral, Refitting, Predicting):
    """Methods beside each other."""

    features: FeatureSets

    def discover_all(
        self,
        features: FeatureSetLike,
        *,
        fit: FeatureSetLike | None = None,
        test: FeatureSetLike | None = None,
        other: FeatureSetLike | None = None,
        head: AnyHeadLike | None = None,
        methods: Sequence[str] | Mapping[str, Mapping[str, Any]] | None = None,
        groupings: Mapping[str, GroupingLike] | None = None,
        preset: Preset = "dfr",
        replicates: int | None = 0,
        seed: int = 0,
        timeout: float = 3600.0,
        progress: bool | None = None,
    ) -> DiscoveryTable:
        """Every method that finds groups on one table: how true its groups are, and what they are worth.

            print(client.discover_all(sets["val"], fit=sets["train"], test=sets["test"]))
            client.discover_all(sets["val"], test=sets["test"], methods={"xrm": {"seeds": 20}, "errors": {}})

        For each method: `discover`; `score_grouping` where the rows have an attribute; with `test`, a `refit` balanced
        over the found groups, its strength chosen by them too, scored over the stored groups of the test rows. Beside
        them: "none" (the biased head), "classes" (the refit on balanced classes), "true groups" (on the stored ones).
        The share of the gap closed is (found - none) / (true - none), with a bootstrap interval over the test rows.

        Parameters
        ----------
        features : the rows that are grouped and refitted on, such as the validation split.
        fit, other, head : as for `discover`; each goes to the methods that take it.
        test : rows that the refits are scored on; without them only agreement is shown.
        methods : names, or a dict of names with the options of each; by default all.
        groupings : further groupings of these rows, uploaded ones or a consensus, by the names of their rows.
        preset : of the refits; one that is about groups.
        replicates : of the `spectra` by the found groups, whose imbalance tells more than chance where true groups are
            not known: ``.imbalance_p``; 0 for none, None as of `spectra`: those of large groups without replicates.
        seed : of the methods and of the refits.
        timeout : seconds for each of the calls.
        progress : show how far each is, after a second; None: on a terminal and in a notebook.

        A method that cannot be had, such as one that needs `other`, has a row without numbers that says why.

        Raises
        ------
        InvalidRequest : a method or a preset that does not exist.
        NotFound : there is no such set or head.
        """
        asked = _Asked(
            features=self.features.get(features),
            fit=fit,
            other=other,
            head=head,
            test=None if test is None else self.features.get(test),
            preset=preset,
            replicates=None if replicates is None else coerce.whole("replicates", replicates, 0),
            seed=coerce.seed(seed),
            timeout=timeout,
            progress=progress,
        )
        chosen = _chosen(methods)
        heads: dict[str, AnyHeadLike] = {}
        rows = [] if asked.test is None else self._baselines(asked, heads)
        for name, options in chosen.items():
            rows.append(self._found(name, partial(self._discovered, METHODS[name], options, asked), asked, heads))
        for name, one in _stored(groupings).items():
            rows.append(self._found(name, partial(self.groupings.get, one, timeout=timeout), asked, heads))
        return DiscoveryTable(
            rows=tuple(self._with_gaps(rows, heads, asked)),
            features=asked.features.digest,
            test="" if asked.test is None else asked.test.digest,
            preset=asked.preset,
        )

    def _baselines(self, asked: _Asked, heads: dict[str, AnyHeadLike]) -> list[DiscoveryRow]:
        """The biased head, and the refits on classes and on the stored groups, where there are some."""
        labels = asked.features.labels
        heads["none"] = self._biased_head(asked)
        if (balance := presets()[asked.preset].sets.get("balance", "none")) != "none":
            selected = _selected_by(asked, {"metric": "worst_class"})
            heads["classes"] = self._refit(asked, balance=balance, by="class", **selected)
        if labels.attribute_values:
            heads["true groups"] = self._refit(asked)
        sizes = {"none": 0, "classes": len(labels.classes), "true groups": _n_groups(asked.features.groups)}
        return [self._scored(replace(EMPTY, method=name, n_groups=sizes[name]), heads, asked) for name in heads]

    def _biased_head(self, asked: _Asked) -> AnyHeadLike:
        """The head that was given, or else the checkpoint's own, or else one without any balancing."""
        if asked.head is not None:
            return asked.head
        if asked.features.has_head:
            return self._stored_head_of(asked.features, timeout=asked.timeout)
        fitted = asked.features if asked.fit is None else asked.fit
        return self.refit(fitted, preset="erm", timeout=asked.timeout, progress=asked.progress)

    def _refit(self, asked: _Asked, **arguments: Any) -> Refit:
        said: dict[str, Any] = {"seed": asked.seed, "timeout": asked.timeout, "progress": asked.progress, **arguments}
        return self.refit(asked.features, preset=asked.preset, **said)

    def _found(
        self, name: str, find: Callable[[], Grouping], asked: _Asked, heads: dict[str, AnyHeadLike]
    ) -> DiscoveryRow:
        row = replace(EMPTY, method=name)
        began = time.monotonic()
        try:
            grouping = find()
            row = replace(row, grouping=grouping.digest, n_groups=grouping.n_groups, seconds=time.monotonic() - began)
            if asked.features.labels.attribute_values:
                row = self._agreement(row, grouping, asked)
            if asked.replicates != 0:
                row = replace(row, imbalance_p=self._imbalance(grouping, asked))
            if asked.test is None:
                return row
            heads[name] = self._refit(asked, by=grouping, **_over(grouping, asked))
            return self._scored(row, heads, asked)
        except (InvalidRequest, PreconditionFailed) as error:
            return replace(row, failure=str(error))

    def _discovered(self, method: GroupingMethod, options: Mapping[str, Any], asked: _Asked) -> Grouping:
        said = {name: str(options[name]) for name in method.words if name in options}
        taken: dict[str, Any] = {
            "fit": asked.fit if method.takes_fit else None,
            "other": asked.other if method.takes_other or method.needs_attribute else None,
            "head": asked.head if method.looks_at_head(said) else None,
            "seed": asked.seed,
            "timeout": asked.timeout,
            "progress": asked.progress,
        }
        return self.discover(asked.features, method=method.name, **{**taken, **options})

    def _agreement(self, row: DiscoveryRow, grouping: Grouping, asked: _Asked) -> DiscoveryRow:
        overall = self.score_grouping(grouping, seed=asked.seed, timeout=asked.timeout).overall
        return replace(
            row,
            ari=overall.ari,
            p_value=overall.p_value,
            minority_precision=overall.minority_precision,
            minority_recall=overall.minority_recall,
        )

    def _imbalance(self, grouping: Grouping, asked: _Asked) -> float:
        """The largest adjusted p-value of spectral imbalance over the classes; NaN where none could be compared."""
        spectra = self.spectra(
            asked.features,
            by=grouping,
            top_k=1,
            replicates=asked.replicates,
            seed=asked.seed,
            timeout=asked.timeout,
            progress=asked.progress,
        )
        known = [one.p_adjusted for one in spectra.imbalance if not math.isnan(one.p_adjusted)]
        return max(known, default=NAN)

    def _scored(self, row: DiscoveryRow, heads: Mapping[str, AnyHeadLike], asked: _Asked) -> DiscoveryRow:
        test = cast("FeatureSet", asked.test)
        metrics = self.evaluate(heads[row.method], test, timeout=asked.timeout, progress=asked.progress)
        return replace(
            row, worst_group_accuracy=metrics.worst_group_accuracy, average_accuracy=metrics.average_accuracy
        )

    def _with_gaps(
        self, rows: Sequence[DiscoveryRow], heads: Mapping[str, AnyHeadLike], asked: _Asked
    ) -> list[DiscoveryRow]:
        """Rows with the share of the gap that each closes; all heads are applied to the test rows at once."""
        if asked.test is None or "true groups" not in heads:
            return list(rows)
        g, right = self._rows_right(asked.test, heads, timeout=asked.timeout)
        return [
            replace(row, gap_closed=gap.share, gap_low=gap.low, gap_high=gap.high)
            for row in rows
            for gap in (_gap(row.method, right, g, asked.seed),)
        ]


def _gap(method: str, right: Mapping[str, NDArray[np.bool_]], g: NDArray[np.int64], seed: int) -> GapShare:
    if method not in right or method in ("none", "true groups"):
        return NO_GAP
    return gap_share(right["none"], right[method], right["true groups"], g, seed=seed)


def _chosen(methods: Sequence[str] | Mapping[str, Mapping[str, Any]] | None) -> dict[str, Mapping[str, Any]]:
    """The options of every method that is asked for. Raises `InvalidRequest` for one that is not known."""
    if methods is None:
        return {name: {} for name in METHODS if name not in GIVEN}
    found: dict[str, Mapping[str, Any]] = {}
    if isinstance(methods, Mapping):
        found |= coerce.items("methods", methods, "{'xrm': {'seeds': 10}}")
    else:
        found |= {name: {} for name in coerce.names("methods", methods)}
    for name, options in found.items():
        if name in GIVEN or name in BASELINES:
            raise invalid(f"methods: {name!r} finds nothing; the baselines are shown in any case", argument="methods")
        coerce.check_choice("methods", name, [one for one in METHODS if one not in GIVEN])
        coerce.items(f"methods[{name!r}]", options, "{'seeds': 10}")
    return found


def _stored(groupings: Mapping[str, GroupingLike] | None) -> dict[str, GroupingLike]:
    """Groupings by the names of their rows. Raises `InvalidRequest` for a name that a method or a baseline has."""
    found = dict(coerce.items("groupings", groupings, "{'mine': grouping}"))
    for name in found:
        if coerce.text("groupings", name) in (*METHODS, *BASELINES):
            raise invalid(f"groupings: {name!r} is the name of another row; choose another", argument="groupings")
    return found


def _selected_by(asked: _Asked, select: dict[str, Any]) -> dict[str, Any]:
    """The argument that changes a preset's selection; none for a preset that selects nothing."""
    return {"select": select} if "select" in presets()[asked.preset].sets else {}


def _over(grouping: Grouping, asked: _Asked) -> dict[str, Any]:
    """What a refit over found groups is asked with: it selects by them, and balances those that have rows."""
    some_are_empty = _n_groups(grouping.groups) < len(grouping.groups)
    skipped = {"missing_groups": "skip"} if some_are_empty else {}
    return {**_selected_by(asked, {"groups": grouping}), **skipped}


def _n_groups(groups: Sequence[Any]) -> int:
    return sum(group.count > 0 for group in groups)
