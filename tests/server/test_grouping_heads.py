"""Groups found by heads and by chosen features: planted groups, rules on other rows, refusals."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from penult_kernels.linear.problem import Head
from penult_kernels.linear.solve import Problem, solve
from penult_kernels.metrics.head_scores import logits_of_heads
from penult_proto.errors import ErrorKind
from penult_proto.grouping_methods import METHODS
from penult_server.compute.backend import choose_backend
from penult_server.compute.groupings.found import Inputs, Rows
from penult_server.compute.groupings.methods import errors, gic, regularised_errors, spuriosity, ssa, units, xrm
from penult_server.errors import ServiceError
from penult_server.records import LabelNames

LABELS = LabelNames(classes=("cat", "dog"), attribute="place", attribute_values=("in", "out"))
FOUND_BY = {"xrm": xrm, "ssa": ssa, "gic": gic, "spuriosity": spuriosity, "units": units}


def planted(seed, n=2000, *, share=0.95, core=1.0, shortcut=1.5, d=64):
    """Class and place shift two hidden directions of decaying noise; the place goes with the class in most rows."""
    rotation = np.linalg.qr(np.random.default_rng(99).standard_normal((d, d)))[0]
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    a = np.where(rng.random(n) < share, y, 1 - y)
    hidden = rng.standard_normal((n, d)) / np.sqrt(np.arange(1, d + 1))
    hidden[:, 0] += core * (2 * y - 1)
    hidden[:, 3] += shortcut * (2 * a - 1)
    return Rows(
        features=(hidden @ rotation).astype(np.float32),
        y=y,
        a=a,
        row_id=np.arange(n, dtype=np.uint64),
        logits=None,
        labels=LABELS,
    )


def asked(method, source, *, fit=None, other=None, indices=(), head=None, seed=0, **numbers):
    given = {name: number.default for name, number in METHODS[method].numbers.items()} | numbers
    return Inputs(
        source=source,
        fit=source if fit is None else fit,
        other=other,
        numbers=given,
        words={name: allowed[0] for name, allowed in METHODS[method].words.items()},
        indices=indices,
        seed=seed,
        backend=choose_backend("cpu"),
        check=lambda: None,
        head=head,
    )


def ari(found, rows):
    """Mean adjusted Rand index within the classes, by the true attribute."""
    return np.mean([adjusted_rand_score(rows.a[rows.y == c], found.value[rows.y == c]) for c in range(2)])


@pytest.fixture(scope="module")
def val():
    return planted(0)


def test_heads_find_what_an_unpenalised_heads_errors_do_not(val):
    """The order of the design's synthetic table; minorities of a twentieth, one seed."""
    head = solve(val.features, val.y, 2, [Problem(l2=1e-4)])[0]
    erm = replace(val, logits=np.asarray(logits_of_heads(val.features, [head])[0]))
    few = planted(1, 200, share=0.5)
    by_errors = ari(errors.find(asked("errors", erm)), val)
    by_strong = ari(regularised_errors.find(asked("regularised_errors", val)), val)
    twins = ari(xrm.find(asked("xrm", val, seeds=3, steps=400)), val)
    labelled = ari(ssa.find(asked("ssa", val, other=few)), val)
    assert by_errors + 0.1 < by_strong
    assert by_strong + 0.1 < twins
    assert min(twins, labelled) > 0.9


@pytest.mark.parametrize(
    ("method", "numbers"), [("xrm", {"seeds": 3, "steps": 300}), ("ssa", {}), ("gic", {}), ("units", {})]
)
def test_rules_say_of_the_rows_that_were_fitted_what_was_found(val, method, numbers):
    other = planted(2, 300, share=0.5)
    more = {"indices": (3, 9)} if method == "units" else {"other": other}
    # Of its own rows SSA asks one fold's head; with `fit` it asks all, as its rule does.
    inputs = asked(method, val, fit=replace(val), **more, **numbers)
    found = FOUND_BY[method].find(inputs)
    assert found.rule == method
    value, soft = FOUND_BY[method].assign(found.rule_arrays, val)
    np.testing.assert_array_equal(value, found.value)
    assert value.dtype == np.int64
    if found.soft is not None:
        np.testing.assert_array_equal(soft, found.soft)
        assert found.soft.dtype == np.float32
        assert found.soft.shape == (2000, len(found.names))
        np.testing.assert_allclose(found.soft.sum(axis=1), 1, atol=1e-6)
    if method != "units":
        # Of rows that were not seen, too.
        said, _ = FOUND_BY[method].assign(found.rule_arrays, other)
        truth = other.a != other.y if method == "xrm" else other.a
        assert adjusted_rand_score(truth, said) > 0.7


def test_twins_vote_and_say_how_far_they_agree(val):
    found = xrm.find(asked("xrm", val, seeds=4, steps=200))
    share = found.soft[:, 1]
    assert set(np.unique(share)) <= {0, 0.25, 0.5, 0.75, 1}
    np.testing.assert_array_equal(found.value, share > 0.5)
    assert found.names == ("agreed", "crossed")
    assert found.scores["agreement"] == pytest.approx(np.maximum(share, 1 - share).mean())
    dogs = share[val.y == 1]
    assert found.scores["agreement of dog"] == pytest.approx(np.maximum(dogs, 1 - dogs).mean())
    assert 0 < found.scores["flipped"] < 0.5
    again = xrm.find(asked("xrm", val, seeds=4, steps=200))
    np.testing.assert_array_equal(again.soft, found.soft)
    assert not np.array_equal(xrm.find(asked("xrm", val, seeds=4, steps=200, seed=1)).soft, found.soft)


def test_folds_are_labelled_by_heads_that_did_not_see_them(val):
    few = planted(1, 200, share=0.5)
    found = ssa.find(asked("ssa", val, other=few))
    assert found.names == ("in", "out")
    assert found.scores["worst_accuracy"] > 0.8
    by_rule, _ = ssa.assign(found.rule_arrays, val)
    assert np.mean(by_rule == found.value) > 0.97


def test_gic_compares_with_the_other_set(val):
    found = gic.find(asked("gic", val, other=planted(2, 500, share=0.5)))
    assert ari(found, val) > 0.9
    assert found.names == ("0", "1")
    assert found.scores["divergence"] > 0.2


@pytest.mark.parametrize("quantile", [0.5, 0.1])
def test_spuriosity_ranks_by_chosen_features(val, quantile):
    # A column that is the shortcut itself, which ranks the rows.
    features = np.concatenate([val.features, (5 * val.a + np.linspace(0, 1, 2000))[:, None].astype(np.float32)], axis=1)
    is_right = np.arange(2000) % 3 > 0
    logits = np.where(is_right[:, None], np.eye(2)[val.y], np.eye(2)[1 - val.y])
    rows = replace(val, features=features, logits=logits)
    found = spuriosity.find(asked("spuriosity", rows, indices=(64,), quantile=quantile, top=30))
    assert found.names == ("low", "high")
    for c in range(2):
        own = val.y == c
        order = np.argsort(features[own, 64])
        n = int(quantile * own.sum())
        np.testing.assert_array_equal(found.value[own][order[:n]], 0)
        np.testing.assert_array_equal(found.value[own][order[-n:]], 1)
        assert np.count_nonzero(found.value[own] == -1) <= own.sum() - 2 * n + 1
        right = is_right[own][order]
        expected = right[-30:].mean() - right[:30].mean()
        assert found.scores[f"gap of {LABELS.classes[c]}"] == pytest.approx(expected)
        assert found.soft[own][order, 1].tolist() == pytest.approx(np.linspace(0, 1, own.sum()))
    assert found.rule_arrays["features"].tolist() == [[64], [64]]


def test_spuriosity_without_a_choice_takes_what_gives_most_to_the_class(val):
    rows = replace(val, features=val.features + 1)
    weight = np.zeros((2, 64))
    weight[0, [5, 7]], weight[1, [2, 9]] = [1, 3], [2, 1]
    given = spuriosity.find(asked("spuriosity", rows, head=Head(weight=weight, bias=np.zeros(2)), features=2))
    assert given.rule_arrays["features"].tolist() == [[7, 5], [2, 9]]
    fitted = spuriosity.find(asked("spuriosity", rows, features=3))
    assert fitted.rule_arrays["features"].shape == (2, 3)
    assert not fitted.scores


def test_units_are_crossed(val):
    found = units.find(asked("units", val, indices=(4, 0)))
    of_zero = [f"unit 0 {end}" for end in ("low", "high")]
    assert found.names == tuple(f"unit 4 {end}, {other}" for other in of_zero for end in ("low", "high"))
    own = val.features[val.y == 1]
    is_above = own[:, [4, 0]] > np.median(own[:, [4, 0]], axis=0)
    np.testing.assert_array_equal(found.value[val.y == 1], is_above @ [1, 2])


def refusal(module, inputs):
    with pytest.raises(ServiceError) as caught:
        module.find(inputs)
    return caught.value


def test_refusals(val):
    one_value = replace(LABELS, attribute_values=("in",))
    few = planted(1, 50, share=0.5)
    lonely = replace(few, a=np.arange(50) // 49)
    said = {
        "other=...": refusal(gic, asked("gic", val)),
        "set that has one": refusal(ssa, asked("ssa", val)),
        "one value only": refusal(ssa, asked("ssa", val, other=replace(few, labels=one_value, a=0 * few.a))),
        "value 'out' of the attribute has 1 rows": refusal(ssa, asked("ssa", val, other=lonely)),
        "3 folds need as many rows": refusal(ssa, asked("ssa", planted(0, 2), other=few)),
        "class 'dog' has no row in the comparison": refusal(gic, asked("gic", val, other=replace(few, y=0 * few.y))),
        "say which": refusal(units, asked("units", val)),
        "indices 0 to 63, got 64": refusal(units, asked("units", val, indices=(64,))),
        "differ": refusal(spuriosity, asked("spuriosity", val, indices=(1, 1))),
        "at most 6 features": refusal(units, asked("units", val, indices=tuple(range(7)))),
    }
    for text, error in said.items():
        assert text in error.message
    kinds = {error.kind for error in said.values()}
    assert kinds == {ErrorKind.INVALID_ARGUMENT, ErrorKind.ATTRIBUTE_MISSING, ErrorKind.EMPTY_GROUP}
    apart = replace(val, features=np.where(val.y[:, None] > 0, 1.0, -1.0) * np.ones((1, 4)))
    assert refusal(xrm, asked("xrm", apart, seeds=2, steps=5)).kind is ErrorKind.EMPTY_GROUP
    flat, flat_few = replace(val, features=np.zeros((2000, 3))), replace(few, features=np.zeros((50, 3)))
    assert refusal(gic, asked("gic", flat, other=flat_few)).kind is ErrorKind.EMPTY_GROUP


def test_a_question_that_nobody_waits_for_ends(val):
    def check():
        raise KeyboardInterrupt

    for method in ("xrm", "gic"):
        inputs = replace(asked(method, val, other=val), check=check)
        with pytest.raises(KeyboardInterrupt):
            FOUND_BY[method].find(inputs)
