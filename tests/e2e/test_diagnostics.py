"""Diagnostics over the wire: the kernels' own values, stored answers, joined rows, and what is refused."""

import math

import numpy as np
import pytest

import penult
from penult.results.comparing.comparison import MEASURES
from penult_kernels.diagnostics.definition import Need
from penult_kernels.diagnostics.planner import Settings, diagnose
from penult_kernels.diagnostics.registry import DEFINITIONS
from penult_kernels.diagnostics.subject import Subject
from penult_kernels.linear.problem import Head
from penult_kernels.panels.panel import Scored
from penult_kernels.panels.registry import PANELS, panel_values
from penult_kernels.rows import ArrayRows

N, D = 240, 9


def made(seed: int, **changes):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, N)
    a = np.where(rng.random(N) < 0.85, y, 1 - y)
    features = rng.standard_normal((N, D)) + 3
    features[:, 0] += 2.0 * y
    features[:, 1] += 2.0 * a
    return {
        "features": features.astype(np.float32),
        "y": y,
        "a": a,
        "row_id": rng.permutation(N).astype(np.uint64) * 2 + 7,
        "head": penult.Head(rng.standard_normal((2, D)), rng.standard_normal(2)),
        "classes": ["land", "water"],
        "attribute": "place",
        "attribute_values": ["field", "lake"],
    } | changes


@pytest.fixture(scope="module")
def arrays():
    return made(1)


@pytest.fixture(scope="module")
def one(client, arrays):
    return client.features.upload(**arrays, name="diagnosed")


@pytest.fixture(scope="module")
def other(client, arrays):
    """The same examples in another order without the last 40, other features, no head."""
    order = np.random.default_rng(5).permutation(N)[: N - 40]
    moved = (arrays["features"] @ np.random.default_rng(6).standard_normal((D, 5))).astype(np.float32)
    given = {name: arrays[name][order] for name in ("y", "a", "row_id")}
    names = {name: arrays[name] for name in ("classes", "attribute", "attribute_values")}
    return client.features.upload(features=moved[order], **given, **names)


@pytest.fixture(scope="module")
def subject(arrays):
    return Subject(
        rows=ArrayRows(arrays["features"]),
        part=arrays["y"] * 2 + arrays["a"],
        n_parts=4,
        y=arrays["y"],
        n_classes=2,
        head=Head(weight=arrays["head"].weight, bias=arrays["head"].bias),
    )


def test_what_there_is_is_listed(client):
    listed = client.diagnostics()
    diagnosed = [one for one in listed if one.call == "diagnose"]
    assert [one.id for one in diagnosed] == list(DEFINITIONS)
    for found, known in zip(diagnosed, DEFINITIONS.values(), strict=True):
        assert (found.formula, found.interval, found.needs) == (
            known.formula,
            known.interval,
            tuple(sorted(known.needs)),
        )
    assert "nc1_pinv" in repr(listed)
    assert len(listed.to_frame()) == len(listed)
    assert {one.id for one in listed if one.call == "compare"} == set(MEASURES)
    panels = [(one.family, one.id) for one in listed if one.call == "evaluate"]
    assert panels == [(panel.name, one.id) for panel in PANELS.values() for one in panel.definitions]
    for one in listed:
        assert not one.call or hasattr(client, one.call)
        assert one.formula
    ids = [one.id for one in listed]
    assert len(set(ids)) == len(ids)


SEED_ROWS = {
    "001.10": ["decodability_accuracy", "decodability_bits"],
    "001.20": ["model_size"],
    "002.2": ["inductive_bias_bits"],
    "002.3": ["generalization_difficulty"],
    "002.7": ["variance_share", "decodability_r2", "learning_order"],
    "002.12": ["opposing_signals"],
    "002.22": ["moon"],
    "002.23": ["uniformity", "class_alignment", "tolerance"],
    "002.25": ["label_sharpness", "two_nn", "mle_dimension"],
    "002.29": ["projection_head"],
    "002.31": ["sharpness"],
    "002.42": ["influence"],
    "002.45": ["information_bottleneck", "decodability_bits"],
    "002.46": ["cue_preference"],
    "002.52": ["gradient_coherence"],
    "002.56": ["feature_complexity"],
    "003.4": ["error_inconsistency", "ensemble_gain", "concat_gain"],
    "003.5": ["spectral_bias"],
    "001.7": ["adjusted_accuracy", "worst_group_accuracy", "selection_rules"],
    "001.25": ["worst_marked_accuracy"],
    "001.27": ["ood"],
    "001.29": ["bg_gap"],
    "001.39": ["unintended_bias_score"],
    "001.40": ["hans"],
    "001.42": ["shape_bias"],
    "001.47": ["equalized_odds_difference"],
    "001.54": ["selection_rate_intersection_difference", "selection_rate_difference_to_overall"],
    "002.8": ["randomised", "reliance"],
    "003.3": ["multilabel"],
    "003.7": ["affinity_diversity"],
    "004.8": ["rank_systems"],
    "004.10": ["evenness"],
}
"""Rows of the list of ideas that are diagnostics or evaluations, and the ids that answer them."""
NOT_OFFERED = {"002.3", "002.29", "002.31", "002.56", "003.5", "001.27", "001.29", "001.40", "001.42", "003.3", "003.7"}
"""Rows of which no id is answered, and which say why."""


@pytest.fixture(scope="module")
def listed(client):
    return {one.id: one for one in client.diagnostics()}


@pytest.mark.parametrize("row", SEED_ROWS)
def test_every_row_has_its_ids_or_says_why_not(listed, row):
    answered = [id for id in SEED_ROWS[row] if listed[id].call]
    assert bool(answered) == (row not in NOT_OFFERED)


def test_served_values_are_the_kernels(client, one, subject):
    found = client.diagnose(one, "nc", seed=4)
    direct = diagnose(subject, ["nc"], Settings(seed=4))
    assert [value.id for value in found.values] == [value.id for value in direct]
    for served, own in zip(found.values, direct, strict=True):
        assert (served.indices, served.n, served.note) == (own.parts, own.n, own.note)
        for name in ("value", "low", "high", "matched_value", "matched_low", "matched_high", "null"):
            np.testing.assert_allclose(getattr(served, name), getattr(own, name), rtol=1e-9)
    assert found.matched_n == subject.smallest
    assert found.value("cdnv", "land, field / water, lake").indices == (0, 3)
    assert float(found.value("nc1_pinv")) == found.values[0].value
    assert (
        found.matrix("cdnv")[0, 3]
        == found.matrix("cdnv")[3, 0]
        == found.value("cdnv", "land, field / water, lake").value
    )
    with pytest.raises(penult.InvalidRequest, match="it has: all; land, field / land, lake"):
        found.value("cdnv", "sea")
    with pytest.raises(penult.InvalidRequest, match="there are nc1_pinv"):
        found.value("rank")


def test_an_answer_is_stored_and_shown(client, one, tmp_path):
    first = client.diagnose("diagnosed", ["cdnv", "nc4_ncc"], by="class", replicates=20)
    again = client.diagnose(one, ["nc4_ncc", "cdnv"], by="class", replicates=20)
    assert again.reused
    assert (again.digest, again.by) == (first.digest, "class")
    assert client.diagnose(one, ["nc4_ncc", "cdnv"], by="class", replicates=20, seed=1).digest != first.digest
    listed = client.results.list(kind="diagnosis")
    assert "nc by class" in [summary.title for summary in listed]
    assert client.results.get(first).value("cdnv").value == first.value("cdnv").value
    first.save(tmp_path / "one")
    loaded = penult.load(tmp_path / "one")
    assert loaded.value("cdnv", "land / water").high == first.value("cdnv", "land / water").high
    assert first.to_frame().shape[0] == len(first.values)
    assert "nc4_ncc" in str(first)
    assert "nc4_ncc" in first._repr_html_()
    assert first.plot().axes


def test_a_grouping_stands_in_for_the_attribute(client, one, arrays):
    true = client.groupings.from_attribute(one)
    found = client.diagnose(one, "cdnv", by=true, replicates=0, matched=False)
    stored = client.diagnose(one, "cdnv", replicates=0, matched=False)
    assert found.by == true.attribute
    assert [value.value for value in found.values] == [value.value for value in stored.values]
    half = arrays["row_id"][::2]  # neighbours are looked for among these rows alone
    few, some = (
        client.diagnose(one, "two_nn_ml", by=by, rows=half, replicates=0, matched=False) for by in (true, "group")
    )
    assert [value.value for value in few.values] == [value.value for value in some.values]
    x = arrays["features"][::2][(arrays["y"] * 2 + arrays["a"])[::2] == 0].astype(float)
    apart = np.sort(np.linalg.norm(x[:, None] - x[None], axis=2), axis=1)[:, 1:3]
    expected = (len(x) - 1) / np.log(apart[:, 1] / apart[:, 0]).sum()
    assert float(few.value("two_nn_ml", "land, field")) == pytest.approx(expected)
    rest = np.where(np.arange(N) % 3 == 0, "rest", np.where(arrays["a"] == 0, "field", "lake")).tolist()
    thirds = client.groupings.upload(one, values=rest, name="thirds")
    assert len(client.diagnose(one, "cdnv", by=thirds, replicates=0, matched=False).groups) == 6


def test_everything_at_once(client, one, arrays):
    """Every family that needs one set, in one request; neighbours of the stored graph, distances by NumPy."""
    comparing = {one.family for one in DEFINITIONS.values() if Need.OTHER in one.needs}
    families = sorted({one.family for one in DEFINITIONS.values()} - comparing)
    found = client.diagnose(one, families, replicates=20, numbers={"mle_k": 5})
    assert {value.id for value in found.values} == {
        id for id, definition in DEFINITIONS.items() if definition.family in families
    }
    assert all(math.isfinite(value.value) or value.note for value in found.values)
    part = arrays["y"] * 2 + arrays["a"]
    x = arrays["features"][part == 0].astype(float)
    apart = np.sort(np.linalg.norm(x[:, None] - x[None], axis=2), axis=1)[:, 1:]
    expected = (len(x) - 1) / np.log(apart[:, 1] / apart[:, 0]).sum()
    assert float(found.value("two_nn_ml", "land, field")) == pytest.approx(expected)
    local = np.mean(np.log(apart[:, 4:5] / apart[:, :4]), axis=1)
    assert float(found.value("mle_dimension", "land, field")) == pytest.approx(1 / np.mean(local))
    stored = client.descriptors(one)
    for id in stored.descriptors:
        for group, value in zip(found.groups, stored[id], strict=True):
            assert float(found.value(id, group.name)) == pytest.approx(float(value), rel=1e-6, nan_ok=True), id
    assert found.value("decodability_bits", "place given class").column == "place given class"
    conflict = found.matrix("gradient_conflict")
    assert np.isnan(np.diag(conflict)).all()
    assert (np.abs(conflict[np.triu_indices(4, 1)]) <= 1).all()


def test_alignment_joins_rows_by_their_ids(client, one, other, arrays):
    found = client.diagnose(one, "cka", other=other, by="all", replicates=0)
    (note,) = found.notes
    assert note.id == "rows_joined"
    assert "200 in both sets, 40 and 0 left out" in str(note)
    theirs = client.features.read(other)
    order = {int(id): place for place, id in enumerate(arrays["row_id"])}
    x = arrays["features"][[order[int(id)] for id in theirs.row_id]].astype(float)
    y = theirs.features.astype(float)
    a, b = x - x.mean(axis=0), y - y.mean(axis=0)
    expected = np.linalg.norm(a.T @ b) ** 2 / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b))
    assert float(found.value("cka_linear", "all")) == pytest.approx(expected)
    assert expected > 0.2
    assert float(client.diagnose(one, "cka_debiased", other=one).value("cka_debiased", "all")) == pytest.approx(1)
    with pytest.raises(penult.InvalidRequest, match="other is a second set, which cka_linear"):
        client.diagnose(one, "cka_linear")
    elsewhere = client.features.upload(**made(3, row_id=np.arange(N) + 10_000))
    with pytest.raises(penult.InvalidRequest, match="no row id in common") as caught:
        client.diagnose(one, "cka", other=elsewhere)
    assert caught.value.kind == "other_rows"
    relabelled = client.features.upload(**{**arrays, "y": 1 - arrays["y"]})
    with pytest.raises(penult.InvalidRequest, match=r"240 of the 240 rows .* of other classes"):
        client.diagnose(one, "cka", other=relabelled)


def test_rows_that_do_not_fit_into_memory_give_the_same(serve_for_a_file, client, one, arrays):
    """A server that keeps no set in memory reads the store in passes; what gathers rows says what it needs."""
    small = serve_for_a_file("--resident-bytes", "1000").connect()
    with small:
        stored = small.features.upload(**arrays)
        ids = ["nc", "effective_rank", "gradients", "hessian", "sphere", "two_nn", "decodability_bits"]
        found = small.diagnose(stored, ids, replicates=0, matched=False)
        expected = client.diagnose(one, ids, replicates=0, matched=False)
    for ours, theirs in zip(found.values, expected.values, strict=False):
        if ours.id == "decodability_bits":
            assert math.isnan(ours.value)
            assert "--resident-bytes" in ours.note
        else:
            np.testing.assert_allclose(ours.value, theirs.value, rtol=1e-9)


def test_panels_are_the_kernels(client, one, arrays):
    head = arrays["head"]
    logits = arrays["features"].astype(float) @ head.weight.T + head.bias
    rows = Scored(logits=logits, y=arrays["y"], g=arrays["y"] * 2 + arrays["a"], n_groups=4)
    names = ["calibration", "subpop", "fairness", "unintended_bias"]
    found = client.evaluate(head, one, panels=names)
    plain = client.evaluate(head, one)
    assert plain.panels == {}
    assert found.average_accuracy == plain.average_accuracy
    assert list(found.panels) == ["subpop", "fairness", "unintended_bias", "calibration"]
    direct = panel_values(rows, names)
    served = [(name, value) for name, panel in found.panels.items() for value in panel.values]
    assert len(served) == len(direct)
    for (name, ours), (expected, theirs) in zip(served, direct, strict=True):
        assert (name, ours.id, ours.n, ours.note) == (expected, theirs.id, theirs.n, theirs.note)
        for field in ("value", "low", "high", "null", "null_low", "null_high"):
            np.testing.assert_allclose(getattr(ours, field), getattr(theirs, field), rtol=1e-7, atol=1e-9)
    fairness = found.panels["fairness"]
    assert fairness.value("selection_rate", "lake").kind == "attribute"
    assert float(fairness.value("selection_rate_difference")) >= 0
    with pytest.raises(penult.InvalidRequest, match="it has: all; field; lake"):
        fairness.value("selection_rate", "sea")
    with pytest.raises(penult.InvalidRequest, match="panel fairness has no 'f1'"):
        fairness.value("f1")
    assert len(fairness.to_frame()) == len(fairness.values)
    assert "selection_rate" in str(fairness)
    assert found.panels["subpop"].value("accuracy", "land, field").n == (rows.g == 0).sum()


def test_thresholds_come_from_other_rows(client, one, arrays, tmp_path):
    held = client.features.upload(**made(9, head=arrays["head"]))
    found = client.evaluate(arrays["head"], one, panels=["conformal", "threshold"], calibration=held)
    assert 0 <= float(found.panels["conformal"].value("coverage")) <= 1
    found.save(tmp_path / "metrics")
    loaded = penult.load(tmp_path / "metrics")
    assert str(loaded.panels["threshold"]) == str(found.panels["threshold"])
    for arguments, said in (
        ({"panels": "conformal"}, "calibration is a feature set with other rows"),
        ({"panels": "conformal", "calibration": one}, "holds rows that are scored"),
        ({"panels": "subpop", "calibration": held}, "calibration has no effect"),
        ({"calibration": held}, "calibration has no effect"),
        ({"panels": ["fairnes"]}, "panels are subpop, wilds"),
        ({"panels": "conformal", "calibration": held, "by": client.groupings.from_attribute(one)}, "grouping"),
    ):
        with pytest.raises(penult.InvalidRequest, match=said):
            client.evaluate(arrays["head"], one, **arguments)
    others = client.features.upload(**made(9, classes=["cat", "dog"], head=None))
    with pytest.raises(penult.InvalidRequest) as caught:
        client.evaluate(arrays["head"], one, panels="conformal", calibration=others)
    assert caught.value.kind == "other_classes"


def test_rows_may_be_chosen(client, one, arrays):
    keep = np.arange(N) % 2 == 0
    ids = arrays["row_id"][keep]
    found = client.diagnose(one, "nc1_quotient", by="class", rows=ids, replicates=0, matched=False)
    x, y = arrays["features"][keep].astype(float), arrays["y"][keep]
    m = np.stack([x[y == c].mean(axis=0) for c in range(2)])
    expected = np.mean(((x - m[y]) ** 2).sum(axis=1)) / np.mean(((m - m.mean(axis=0)) ** 2).sum(axis=1))
    assert found.n_rows == keep.sum()
    assert float(found.value("nc1_quotient")) == pytest.approx(expected)


def test_a_set_without_a_head_says_how_to_come_by_one(client, other):
    found = client.diagnose(other, "nc", replicates=0, matched=False)
    for id in ("nc3_duality", "nc4_ncc"):
        assert math.isnan(found.value(id).value)
        assert "head=" in found.value(id).note
    assert math.isfinite(found.value("nc1_pinv").value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"ids": "ncx"}, "no diagnostic 'ncx'; there are, by family: 'nc'"),
        ({"ids": []}, "ids must name a diagnostic"),
        ({"ids": "nc", "other": "diagnosed"}, "other has no effect"),
        ({"ids": "nc", "numbers": {"mle_k": 3}}, "'mle_k', which has no effect"),
        ({"ids": "nc", "replicates": -1}, "replicates"),
        ({"ids": "nc", "replicates": 10**6}, "replicates must be 0"),
        ({"ids": "nc", "seed": -1}, "seed"),
        ({"ids": "nc", "by": "row"}, "by"),
        ({"ids": "nc", "rows": [3]}, "no row with id 3"),
    ],
)
def test_what_cannot_be_answered_is_refused(client, one, arguments, said):
    with pytest.raises(penult.PenultError, match=said) as caught:
        client.diagnose(one, **arguments)
    assert not isinstance(caught.value, penult.ServerBug)


def test_a_set_that_is_too_much_work_is_refused_with_the_number():
    from penult_proto.v1 import diagnostics_pb2, features_pb2, groups_pb2, spectra_pb2
    from penult_server.errors import ServiceError
    from penult_server.front.queries.diagnosis.request import fill_in

    source = features_pb2.FeatureSet(n_examples=10**9, n_features=2048)
    source.labels.classes.extend(["a", "b"])
    source.groups.extend([groups_pb2.Group(y=0, count=5 * 10**8), groups_pb2.Group(y=1, index=1, count=5 * 10**8)])
    request = diagnostics_pb2.DiagnoseRequest(ids=["nc"], source=spectra_pb2.FeatureSource(feature_set="x"))
    with pytest.raises(ServiceError, match=r"about [\d,]+ s of two cores \(1,000,000,000 rows"):
        fill_in(request, source, None)
