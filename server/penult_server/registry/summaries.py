"""Stored answers in a line each, so that they can be listed without reading thousands of them."""

from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.message import DecodeError, Message

from penult_proto.enums import name_of
from penult_proto.v1 import catalog_pb2 as pb
from penult_proto.v1 import diagnostics_pb2, groups_pb2, influence_pb2, neighbours_pb2, refits_pb2, spectra_pb2

ANSWERS: Mapping[str, type[Message]] = {
    "refit": refits_pb2.Refit,
    "spectra": spectra_pb2.Spectra,
    "descriptors": spectra_pb2.Descriptors,
    "principal_angles": spectra_pb2.PrincipalAngles,
    "neighbour_metrics": neighbours_pb2.NeighbourMetrics,
    "duplicates": neighbours_pb2.Duplicates,
    "label_noise": neighbours_pb2.LabelNoise,
    "neighbour_rates": neighbours_pb2.NeighbourRates,
    "diagnosis": diagnostics_pb2.Diagnosis,
    "influence": influence_pb2.Influence,
}
"""The message of an answer by its kind, as in `ResultKind` and in the field of `Result`."""


SUMMARY_COLUMNS = ("digest", "kind", "feature_set", "second_set", "message")
"""Columns of the table `summary`, in the order of `summary_row`."""


def summary_row(digest: str, kind: str, answer: bytes | Message) -> tuple[str, str, str, str, bytes]:
    """The row of the table `summary` for an answer, as a message or as its bytes."""
    summary = _summary(kind, answer)
    summary.digest = digest
    if f"RESULT_KIND_{kind.upper()}" in pb.ResultKind.keys():  # noqa: SIM118  no mapping
        summary.kind = pb.ResultKind.Value(f"RESULT_KIND_{kind.upper()}")
    first, second = (*summary.feature_sets, "", "")[:2]
    return digest, kind, first, second, summary.SerializeToString()


def _summary(kind: str, answer: bytes | Message) -> pb.ResultSummary:
    """What a list says of an answer; of one that cannot be read any more, that."""
    if isinstance(answer, bytes):
        try:
            answer = ANSWERS[kind].FromString(answer)
        except (DecodeError, KeyError):
            return pb.ResultSummary(title="cannot be read by this version")
    return _SUMMARIES[kind](answer)


def _refit(answer: refits_pb2.Refit) -> pb.ResultSummary:
    request, method = answer.request, name_of(groups_pb2.BalanceMethod, answer.request.balance.method) or "none"
    chosen = dict(zip([axis.name for axis in request.grid], _chosen(answer), strict=False))
    strengths = {"l1": request.l1, "l2": request.l2} | chosen
    said = [request.preset or ("no balancing" if method == "none" else method)]
    said += [f"{name} {value:g}" for name, value in strengths.items() if value]
    return pb.ResultSummary(
        feature_sets=[request.feature_set],
        title=", ".join(said),
        preset=request.preset,
        scores=[_score(name, answer.metrics[name]) for name in sorted(answer.metrics)],
    )


def _chosen(answer: refits_pb2.Refit) -> list[float]:
    """Values of the candidate that was chosen; none where nothing was."""
    return list(answer.candidates[answer.chosen].values) if answer.candidates else []


def _score(name: str, metrics: groups_pb2.Metrics) -> pb.Score:
    worst = next((group.name for group in metrics.groups if group.index == metrics.worst_group), "")
    return pb.Score(
        evaluated_on=name,
        average_accuracy=metrics.average_accuracy,
        worst_group_accuracy=metrics.worst_group_accuracy,
        worst_group=worst,
    )


def _spectra(answer: spectra_pb2.Spectra) -> pb.ResultSummary:
    kept = answer.eigenvalues.shape[1] if len(answer.eigenvalues.shape) == 2 else 0
    said = [f"by {_by(answer.by)}, top {kept}"]
    said += [f"rows of run {answer.rows_of_run}"] if answer.rows_of_run else []
    names = {group.index: group for group in answer.groups}
    for one in answer.imbalance[:4]:
        minority, majority = names[one.minority], names[one.majority]
        label = minority.class_name if one.y >= 0 else f"{minority.name} / {majority.name}"
        said.append(f"imbalance {label} {one.ratio:.3g}")
    return pb.ResultSummary(feature_sets=[answer.feature_set], title=", ".join(said))


def _descriptors(answer: spectra_pb2.Descriptors) -> pb.ResultSummary:
    return pb.ResultSummary(feature_sets=[answer.feature_set], title=f"by {_by(answer.by)}")


def _angles(answer: spectra_pb2.PrincipalAngles) -> pb.ResultSummary:
    title = f"{answer.first.name} / {answer.second.name}, top {answer.angles.shape[0] if answer.angles.shape else 0}"
    return pb.ResultSummary(feature_sets=answer.feature_sets, title=title)


def _neighbour_metrics(answer: neighbours_pb2.NeighbourMetrics) -> pb.ResultSummary:
    said = ["balanced"] if answer.balanced else []
    said += [f"T {answer.temperature:g}"]
    return pb.ResultSummary(
        feature_sets=_one_or_two(answer.feature_set, answer.among),
        title=", ".join(said),
        scores=[_score(f"k = {one.k}", one.metrics) for one in answer.by_k],
    )


def _duplicates(answer: neighbours_pb2.Duplicates) -> pb.ResultSummary:
    title = f"{answer.n_pairs} pairs, {answer.n_exact} of them equal, nearer than {answer.threshold:.3g}"
    return pb.ResultSummary(feature_sets=_one_or_two(answer.feature_set, answer.against), title=title)


def _label_noise(answer: neighbours_pb2.LabelNoise) -> pb.ResultSummary:
    flagged, minority = (sum(one.count for one in groups) for groups in (answer.flagged_groups, answer.minority_groups))
    title = f"{flagged} rows flagged, {minority} of a minority, k = {answer.k}"
    return pb.ResultSummary(feature_sets=[answer.feature_set], title=title)


def _neighbour_rates(answer: neighbours_pb2.NeighbourRates) -> pb.ResultSummary:
    named = zip(answer.attributes, answer.overall.same_attribute, strict=True)
    said = [f"k = {answer.k}", f"class {answer.overall.same_class:.3f}"]
    said += [f"{name} {share:.3f}" for name, share in [*named][:4]]
    return pb.ResultSummary(feature_sets=_one_or_two(answer.feature_set, answer.among), title=", ".join(said))


def _diagnosis(answer: diagnostics_pb2.Diagnosis) -> pb.ResultSummary:
    families = dict.fromkeys(one.family for one in answer.definitions)
    title = f"{', '.join(families)} by {_by(answer.by)}"
    return pb.ResultSummary(feature_sets=_one_or_two(answer.feature_set, answer.other), title=title)


def _influence(answer: influence_pb2.Influence) -> pb.ResultSummary:
    title = f"influence of refit {answer.refit[:12]} by {_by(answer.by)}"
    return pb.ResultSummary(feature_sets=_one_or_two(answer.feature_set, answer.fitted_feature_set), title=title)


def _one_or_two(first: str, second: str) -> list[str]:
    return [first] if second in ("", first) else [first, second]


def _by(number: "spectra_pb2.SpectraBy.ValueType") -> str:
    return name_of(spectra_pb2.SpectraBy, number) or "group"


_SUMMARIES: Mapping[str, Callable[[Any], pb.ResultSummary]] = {
    "refit": _refit,
    "spectra": _spectra,
    "descriptors": _descriptors,
    "principal_angles": _angles,
    "neighbour_metrics": _neighbour_metrics,
    "duplicates": _duplicates,
    "label_noise": _label_noise,
    "neighbour_rates": _neighbour_rates,
    "diagnosis": _diagnosis,
    "influence": _influence,
}
