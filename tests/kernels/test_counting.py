"""The counting device counts everything, and computes what NumPy does."""

import ast
from pathlib import Path

import counting
import numpy as np
import pytest
from counting import OPERATORS, RULES, CountedArray, asarray, counted, xp

import penult_kernels
from penult_kernels.arrays import asarray_like, to_host
from penult_kernels.linear.solve import Problem, solve
from penult_kernels.moments.accumulation import moments_of
from penult_kernels.spectra.spectrum import spectrum_from_moments

PACKAGE = Path(penult_kernels.__file__).parent
SQUARE = np.asarray([[2.0, 0.5], [0.5, 1.0]])
ARGUMENTS = {
    "reshape": ((4,),), "permute_dims": ((1, 0),), "broadcast_to": ((3, 2, 2),), "full": (1.0,), "full_like": (1.0,),
    "where": (SQUARE, SQUARE), "take": (np.asarray([1, 0]),),
    "take_along_axis": (np.asarray([[0], [1]]),),
    "repeat": (2,), "moveaxis": (0, 1), "astype": (np.float32,), "maximum": (SQUARE,), "minimum": (SQUARE,),
    "logical_and": (SQUARE > 1,),
    "logical_or": (SQUARE > 1,), "nextafter": (SQUARE,), "add": (SQUARE,),
    "multiply": (SQUARE,),
    "logaddexp": (SQUARE,), "linalg.solve": (SQUARE,), "linalg.vecdot": (SQUARE,), "broadcast_arrays": (SQUARE,),
    "clip": (0.0, 1.0), "searchsorted": (SQUARE[0],), "squeeze": (0,), "expand_dims": (),
}  # fmt: skip
"""Further arguments of each function, behind a 2 x 2 matrix."""


def called(name: str):
    """The result of a function of the namespace, on small arrays."""
    owner, _, last = name.rpartition(".")
    function = getattr(xp.linalg if owner else xp, last)
    more = [asarray(one) if isinstance(one, np.ndarray) else one for one in ARGUMENTS.get(name, ())]
    first = asarray(SQUARE)
    if name in ("zeros", "ones", "full"):
        return function((2, 2), *more)
    if name in ("arange", "eye"):
        return function(3)
    if name in ("concat", "stack"):
        return function([first, first])
    if name == "searchsorted":
        return function(first[1, :], *more)
    if name == "squeeze":
        return function(first[None, :, :], axis=0)
    if name in ("expand_dims", "cumulative_sum"):
        return function(first, axis=0)
    if name == "logical_not":
        return function(first > 1)
    if name in ("take", "take_along_axis"):
        return function(first, *more, axis=1)
    if name in ("logical_and", "logical_or"):
        return function(first > 1, *more)
    return function(first, *more)


@pytest.mark.parametrize("name", RULES)
def test_every_function_is_counted_or_gives_views(name):
    with counted() as none:
        asarray(SQUARE)
    with counted() as found:
        called(name)
    # A view that is none would have raised.
    assert found.n_launches or name in counting.VIEWS
    assert none.uploads == 1


@pytest.mark.parametrize("name", OPERATORS)
def test_every_operator_is_counted(name):
    whole = any(word in name for word in ("and", "or", "shift", "invert"))
    own = asarray(np.asarray([[3, 1], [2, 5]]) if whole else SQUARE.copy())
    other = asarray(np.asarray([[1, 1], [2, 2]]) if whole else SQUARE)
    unary = name in ("__neg__", "__pos__", "__abs__", "__invert__")
    with counted() as found:
        getattr(own, name)(*([] if unary else [other]))
    assert found.n_launches == 1
    assert found.bytes_moved >= 2 * 32


def test_no_way_around():
    values = asarray(SQUARE)
    for read in (np.asarray, np.sum, np.sqrt, memoryview, list, iter, np.array):
        with pytest.raises(TypeError):
            read(values)
    for mixed in (
        lambda: values + SQUARE,
        lambda: SQUARE * values,
        lambda: values @ SQUARE,
        lambda: xp.maximum(values, SQUARE),
    ):
        with pytest.raises(TypeError):
            mixed()
    public = {name for name in dir(CountedArray) if not name.startswith("_")}
    assert public == {"shape", "ndim", "size", "dtype", "device", "T"}
    with pytest.raises(AttributeError, match="no rule"):
        xp.einsum  # noqa: B018
    with pytest.raises(ValueError, match="expected an array of the device"):
        xp.zeros((2,), device="cpu")


def test_a_rule_that_forgets_a_launch_fails(monkeypatch):
    monkeypatch.setitem(RULES, "sqrt", 0)
    with pytest.raises(AssertionError, match="made an array without a launch"):
        xp.sqrt(asarray(SQUARE))


def test_waits_are_counted():
    values = asarray(SQUARE)
    for wait in (
        lambda: float(values[0, 0]), lambda: bool(xp.all(values > 0)), lambda: int(values[0, 0]),
        lambda: to_host(values),
        lambda: xp.nonzero(values), lambda: values[values > 1],
    ):  # fmt: skip
        with counted() as found:
            wait()
        assert found.n_waits == 1
        assert sum(found.waited.values()) == 1
    with counted() as found:
        asarray_like(SQUARE, values)
    assert (found.uploads, found.n_waits) == (1, 0)


def test_products_by_how_their_operands_lie():
    wide, cube = asarray(np.ones((4, 6))), asarray(np.ones((3, 4, 4)))
    for product, expected in (
        (lambda: wide @ wide.T, 1),
        (lambda: wide[:, :4] @ wide, 2),
        (lambda: cube @ cube, 1),
        (lambda: cube @ xp.matrix_transpose(cube), 2),
        (lambda: cube @ wide[:, :4], 4),
        (lambda: xp.astype(wide, xp.float32) @ wide.T, 3),
    ):
        with counted() as found:
            product()
        assert found.n_launches == expected
    assert found.flops == {4: 0, 8: 2 * 4 * 4 * 6}


def test_many_small_parts_are_one_launch():
    part = asarray(np.ones((2, 2)))
    for n, expected in ((8, (8, 0)), (9, (1, 1))):
        with counted() as found:
            xp.concat([part] * n)
        assert (found.n_launches, found.uploads) == expected


def test_answers_are_those_of_numpy():
    rng = np.random.default_rng(0)
    rows, y = rng.standard_normal((90, 5)).astype(np.float32), np.arange(90) % 2
    expected = moments_of(rows, y, 2)
    found = moments_of(asarray(rows), y, 2)
    np.testing.assert_allclose(to_host(found.m2), expected.m2, rtol=1e-12)
    values = to_host(spectrum_from_moments(found.m2[0, :, :], 45).eigenvalues)
    np.testing.assert_allclose(values, spectrum_from_moments(expected.m2[0], 45).eigenvalues, rtol=1e-9)
    (fit,), (own,) = (solve(given, y, 2, [Problem(l2=0.1)], tolerance=1e-8) for given in (asarray(rows), rows))
    assert fit.certificate.objective == pytest.approx(own.certificate.objective, abs=1e-8)


def test_every_function_that_kernels_call_has_a_rule():
    asked: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "xp":
                asked.add(node.attr)
    missing = [name for name in sorted(asked - {"linalg"}) if not hasattr(xp, name)]
    assert missing == []
