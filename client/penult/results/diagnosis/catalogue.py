"""What other calls than `diagnose` answer, and what none does, as definitions beside those of the server."""

from collections.abc import Iterator

from penult.results.diagnosis.definitions import DiagnosticDefinition

COMPARE = {
    "error_inconsistency": ("share of rows that exactly one of two gets right; kappa; McNemar", "Geirhos et al. 2020"),
    "specialisation": ("difference of two accuracies by group", "Newcombe 1998; Holm 1979"),
    "ensemble_gain": ("accuracy of the mean of probabilities - the best single accuracy", "deep ensembles"),
    "evenness": ("entropy, Gini, Atkinson and worst by mean of the groups' accuracies", "Atkinson 1970"),
    "rank_systems": ("mean rank with ties, Kemeny's order, share of draws in the first place", "Kemeny 1959"),
    "moon": ("worst group's accuracy over the best's: line, parabola, F test", "after Liang & Zou 2022"),
    "selection_rules": ("loss in the worst group by each rule's choice", "after Yang et al. 2023 (SubpopBench)"),
    "model_size": ("coefficient of the worst group's accuracy over log10 of the parameters", "after Pham et al. 2021"),
    "opposing_signals": ("rows whose losses rise and fall most in a step", "Rosenfeld & Risteski 2023"),
}
OTHERS = {
    "learning_order": ("diagnose_run", "epoch at which a column's decodability reaches 90 % of its last", "ours"),
    "influence": ("influence", "change of a group's mean loss when a row is removed", "Koh & Liang 2017; exactly"),
    "variance_share": ("descriptors", "share of the features' variance that a column of labels explains", "R^2"),
    "explain_gap": ("explain_gap", "accuracy of a group after each mend: threshold, head, features, rows", "ours"),
}
FORWARD = "needs new forward passes and is not offered yet"
MISSING = {
    "generalization_difficulty": "its closed form is in a paper that was not read in full; two_nn has the dimension",
    "information_bottleneck": "I(X; Z) by bins or neighbours is unstable for more than 20 features: decodability_bits",
    "projection_head": f"accuracies and CKA layer by layer: {FORWARD}",
    "feature_complexity": f"how early in a network a direction can be read: {FORWARD}",
    "sharpness": f"curvature in all weights: {FORWARD}; head_hessian_max is that of the head",
    "distance_from_start": "norms of moved weights: needs the weights of every checkpoint, and is not offered yet",
    "spectral_bias": f"frequencies of logits between two inputs: {FORWARD}",
    "randomised": f"accuracy with a part of the inputs shuffled: {FORWARD}; reliance is of features",
    "ood": f"accuracy on registered other datasets beside its own: {FORWARD} as one number; evaluate each set",
    "bg_gap": f"accuracies on backgrounds that go with the class or do not: {FORWARD} as one number; evaluate each set",
    "hans": f"accuracies by heuristic: {FORWARD}",
    "shape_bias": f"decisions on images of conflicting shape and texture: {FORWARD}",
    "multilabel": "whether the prediction is among several labels: needs a set of labels for each row",
    "affinity_diversity": f"of augmentations: {FORWARD}",
    "harmony": "its kernel's constants are in a paper that was not read in full; evenness has the spread of accuracies",
}


def _one(id: str, family: str, call: str, formula: str, source: str) -> DiagnosticDefinition:
    return DiagnosticDefinition(
        id=id,
        family=family,
        formula=formula,
        source=source,
        direction="neither",
        needs=(),
        parts="",
        interval="",
        matched=False,
        cost="",
        numbers=(),
        call=call,
    )


def beyond_diagnose() -> Iterator[DiagnosticDefinition]:
    """Measures of `compare`, numbers of other calls, and what is not offered: without a call, its reason as formula."""
    for id, (formula, source) in COMPARE.items():
        yield _one(id, "compare", "compare", formula, source)
    for id, (call, formula, source) in OTHERS.items():
        yield _one(id, "others", call, formula, source)
    for id, reason in MISSING.items():
        yield _one(id, "not offered", "", reason, "")
