"""Which engine solves an L2 block and what is solved together: the table, and that the solver goes by it."""

import numpy as np
import pytest

from penult_kernels.linear.l2 import by_features as l2_by_features
from penult_kernels.linear.l2 import by_rows as l2_by_rows
from penult_kernels.linear.l2 import solver as l2_solver
from penult_kernels.linear.l2.choose import (
    Engine,
    Group,
    are_better_together,
    bytes_of_a_number,
    eigenbasis_pays,
    engines,
    is_nearly_all,
    share_a_gram_matrix,
    work_in_features,
    work_in_rows,
)
from penult_kernels.linear.solve import Eigenbases, Head, Problem, solve

ROWS, FEATURES, NEWTON = Engine.ROWS, Engine.FEATURES, Engine.NEWTON


@pytest.mark.parametrize(
    ("n_rows", "n_features", "more", "expected"),
    [
        # Fewer rows than features.
        (2, 1280, {}, (ROWS, NEWTON)),
        (532, 1280, {}, (ROWS, NEWTON)),
        (1279, 1280, {"features_are_less_work": True}, (ROWS, NEWTON)),
        # Between one and two rows a feature: by the work of all such blocks.
        (1280, 1280, {}, (ROWS, FEATURES, NEWTON)),
        (2559, 1280, {}, (ROWS, FEATURES, NEWTON)),
        (2559, 1280, {"features_are_less_work": True}, (FEATURES, ROWS, NEWTON)),
        # More rows.
        (2560, 1280, {}, (FEATURES, NEWTON)),
        (60_000, 1280, {"features_are_less_work": True}, (FEATURES, NEWTON)),
        # A start cannot be told in the space of rows.
        (532, 1280, {"has_start": True}, (NEWTON,)),
        (1280, 1280, {"has_start": True}, (FEATURES, NEWTON)),
        # A single row, and no penalty.
        (1, 1280, {}, (NEWTON,)),
        (1, 1, {}, (FEATURES, NEWTON)),
        (532, 1280, {"has_l2": False}, (NEWTON,)),
        (60_000, 1280, {"has_l2": False}, (NEWTON,)),
    ],
)
def test_engines_of_a_block(n_rows, n_features, more, expected):
    assert engines(n_rows, n_features, **more) == expected


@pytest.mark.parametrize(
    ("sets", "parts", "are_features_less"),
    [
        # One penalty over one set of 1.5 rows a feature; over it, many more.
        ([(1920, 1)], [(1920, 1)], True),
        ([(1920, 45)], [(1920, 45)], True),
        # One set of as many rows as features, few heads: the Gram matrix is cheap.
        ([(1280, 1)], [(1280, 1)], True),
        # Narrow features: the Gram matrix of so few rows is less than forty products with them.
        ([(40, 1)], [(40, 1)], False),
        # Twenty sets that share one pass over all rows, and twenty that take a pass each.
        ([(1300, 7)] * 20, [(2600, 140)], True),
        ([(1300, 1)] * 20, [(60_000, 20)], False),
    ],
)
def test_work_in_both_spaces(sets, parts, are_features_less):
    def groups(sizes):
        return [Group(n_rows=n_rows, n_heads=n_heads) for n_rows, n_heads in sizes]

    n_features = 30 if sets[0][0] == 40 else 1280
    assert (work_in_features(groups(parts), n_features) < work_in_rows(groups(sets), n_features)) == are_features_less


@pytest.mark.parametrize(
    ("union", "apart", "expected"),
    [
        # Half of the rows each, ten times: all are read once.
        (Group(n_rows=2000, n_heads=10), [Group(n_rows=1000, n_heads=1, is_gathered=False)] * 10, True),
        # The same where one reading of all rows is shared by two heads only.
        (Group(n_rows=2000, n_heads=10, n_batches=5), [Group(n_rows=1000, n_heads=1)] * 10, False),
        # A tenth of the rows each: the union of five sets.
        (Group(n_rows=800, n_heads=5, is_gathered=True), [Group(n_rows=200, n_heads=1, is_gathered=True)] * 5, True),
        (Group(n_rows=800, n_heads=5, is_gathered=True), [Group(n_rows=200, n_heads=1)] * 5, False),
        # A hundredth each: they hardly share a row.
        (Group(n_rows=60, n_heads=3), [Group(n_rows=20, n_heads=1)] * 3, False),
        # So many heads that reading no longer counts.
        (Group(n_rows=2000, n_heads=2000), [Group(n_rows=1000, n_heads=1000)] * 2, False),
        # One set of rows has nothing to share.
        (Group(n_rows=1000, n_heads=7), [Group(n_rows=1000, n_heads=7, is_gathered=True)], False),
    ],
)
def test_together_or_apart(union, apart, expected):
    assert are_better_together(union, apart) == expected


def test_a_union_that_is_nearly_all():
    assert is_nearly_all(700, 1000)
    assert not is_nearly_all(699, 1000)


@pytest.mark.parametrize(
    ("n_sets", "n_rows", "n_union", "expected"),
    [(20, 532, 1197, True), (5, 532, 1197, False), (6, 532, 1197, True), (1000, 532, 4000, False)],
)
def test_one_gram_matrix_of_all_rows(n_sets, n_rows, n_union, expected):
    """Where one of the union is less work than one for each set, within the memory budget."""
    assert share_a_gram_matrix(n_sets, n_rows, n_union, 1280) == expected


@pytest.mark.parametrize(
    ("n_rows", "n_heads", "n_features", "expected"),
    [(60_000, 1, 1280, True), (5_000, 1, 1280, False), (60_000, 45, 512, True), (2_000, 1, 2048, False)],
)
def test_when_an_eigenbasis_pays(n_rows, n_heads, n_features, expected):
    work = n_features * n_rows * (35 + n_heads)
    assert eigenbasis_pays(work, min(n_rows, 16 * n_features), n_features) == expected


@pytest.mark.parametrize(
    ("is_float32", "tolerance", "expected"), [(True, 1e-4, 4), (True, 1e-7, 4), (True, 9e-8, 8), (False, 1e-4, 8)]
)
def test_the_width_of_numbers(is_float32, tolerance, expected):
    assert bytes_of_a_number(is_float32=is_float32, tolerance=tolerance) == expected


@pytest.mark.parametrize(
    ("shape", "size", "n_sets", "problem", "is_basis_dear", "expected"),
    [
        ((40, 60), None, 1, Problem(l2=0.1), False, ["rows", "newton"]),
        ((40, 60), 20, 3, Problem(l2=0.1), False, ["rows", "newton"]),
        ((400, 10), None, 1, Problem(l2=0.1), False, ["features", "newton"]),
        ((400, 10), None, 1, Problem(l2=0.1), True, ["newton"]),
        ((60, 40), None, 1, Problem(l2=0.1), False, ["rows", "newton"]),
        ((78, 40), None, 1, Problem(l2=0.1), False, ["features", "newton"]),
        ((78, 40), None, 1, Problem(l2=0.1), True, ["rows", "newton"]),
        ((400, 10), None, 1, Problem(l2=0.0), False, ["newton"]),
        ((40, 60), None, 1, Problem(l2=0.1, start=Head(weight=np.zeros((2, 60)), bias=np.zeros(2))), False, ["newton"]),
    ],
)
def test_the_solver_goes_by_the_table(rng, monkeypatch, shape, size, n_sets, problem, is_basis_dear, expected):
    called: list[str] = []

    def spy(module, name: str, engine: str) -> None:
        method = getattr(module, name)

        def spying(*arguments, **named):
            called.append(engine)
            return method(*arguments, **named)

        monkeypatch.setattr(module, name, spying)

    spy(l2_by_rows, "subspace_newton", "rows")
    spy(l2_by_features, "lbfgs", "features")
    spy(l2_solver, "newton", "newton")
    if is_basis_dear:
        monkeypatch.setattr("penult_kernels.linear.l2.choose.PASSES_SAVED", 0.0)
    y = rng.permutation(np.arange(shape[0]) % 2)
    features = rng.standard_normal(shape) + 0.3 * y[:, None]
    sets = [None if size is None else np.sort(rng.permutation(shape[0])[:size]) for _ in range(n_sets)]
    problems = [Problem(l2=problem.l2, start=problem.start, rows=rows) for rows in sets]
    solve(features, y, 2, problems, tolerance=1e-4, bases=Eigenbases())
    assert list(dict.fromkeys(called)) == expected
