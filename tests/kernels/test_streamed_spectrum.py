"""Spectra of rows that come in passes, against those of the same rows in memory."""

import numpy as np
import pytest

from penult_kernels.arrays import to_host
from penult_kernels.finite import NotFiniteError
from penult_kernels.spectra import streamed as module
from penult_kernels.spectra.eigen import Method
from penult_kernels.spectra.spectrum import spectrum_from_rows
from penult_kernels.spectra.streamed import spectrum_from_passes

PLENTY = 2**30


class Passes:
    """Rows in blocks of some sizes, again and again; counts how often."""

    def __init__(self, backend, rows, cuts=(3, 4, 11)):
        self.blocks = [backend.array(block) for block in np.split(rows, cuts)]
        self.n = 0

    def __call__(self):
        self.n += 1
        return iter(self.blocks)


def rows_of(rng, shape):
    return (rng.standard_normal(shape) * np.arange(1, shape[1] + 1.0) ** -1 + 30).astype(np.float32)


def gram_memory(n, d, panel):
    """Bytes that hold Z Z^T and `panel` rows."""
    return 4 * 8 * n * n + 8 * d * panel


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("top_k", [0, 4])
@pytest.mark.parametrize(
    ("shape", "memory", "n_passes"),
    [
        ((60, 9), PLENTY, 1),
        ((20, 45), PLENTY, 2),
        ((20, 45), gram_memory(20, 45, 8), 1 + 3),
        ((20, 45), gram_memory(20, 45, 1), 1 + 20),
    ],
    ids=["features", "rows", "three panels", "row by row"],
)
def test_equals_rows_in_memory(backend, rng, shape, memory, n_passes, top_k, center):
    rows = rows_of(rng, shape)
    passes = Passes(backend, rows)
    found = spectrum_from_passes(
        passes, *shape, like=backend.array([0.0]), memory=memory, top_k=top_k, correction=1, center=center
    )
    expected = spectrum_from_rows(rows, top_k=top_k, correction=1, center=center)
    assert backend.owns(found.eigenvalues)
    largest = expected.eigenvalues[0]
    np.testing.assert_allclose(to_host(found.eigenvalues), expected.eigenvalues, rtol=1e-9, atol=1e-12 * largest)
    assert found.trace == pytest.approx(expected.trace, rel=1e-11)
    assert passes.n == n_passes


@pytest.mark.parametrize("shape", [(80, 300), (300, 80)])
@pytest.mark.parametrize("center", [True, False])
def test_without_any_matrix(backend, rng, shape, center):
    rows = rows_of(rng, shape)
    found = spectrum_from_passes(
        Passes(backend, rows), *shape, like=backend.array([0.0]), memory=200_000, top_k=3, center=center
    )
    expected = spectrum_from_rows(rows, top_k=3, center=center)
    assert found.method is Method.LANCZOS
    assert found.converged
    np.testing.assert_allclose(to_host(found.eigenvalues), expected.eigenvalues, rtol=1e-9)
    assert to_host(found.residuals).max() <= 1e-10 * expected.eigenvalues[0]
    assert found.trace == pytest.approx(expected.trace, rel=1e-11)


def test_equal_eigenvalues_are_all_found_without_a_matrix(rng):
    q = np.linalg.qr(np.column_stack([np.ones(80), rng.standard_normal((80, 40))]))[0][:, 1:]
    eigenvalues = np.r_[[5.0] * 6, np.linspace(1, 0.1, 34)]
    rows = np.sqrt(80 * eigenvalues) * q @ np.linalg.qr(rng.standard_normal((200, 40)))[0].T
    found = spectrum_from_passes(lambda: [rows], 80, 200, like=rows, memory=200 * 8 * 70, top_k=6)
    np.testing.assert_allclose(found.eigenvalues, 5, rtol=1e-12)


def test_an_iteration_that_runs_out_of_memory_says_so(rng):
    rows = rng.standard_normal((200, 150))
    found = spectrum_from_passes(lambda: [rows], 200, 150, like=rows, memory=150 * 8 * 12, top_k=6)
    assert not found.converged
    assert found.residuals.max() > 1e-3


@pytest.mark.parametrize("memory", [PLENTY, gram_memory(20, 45, 3), 45 * 8 * 20])
def test_bad_rows_are_named_and_missing_ones_noticed(backend, rng, memory):
    rows = rows_of(rng, (20, 45))
    options = {"like": backend.array([0.0]), "memory": memory, "top_k": 2}
    for n in (19, 21):
        with pytest.raises(ValueError, match=f"expected {n} rows in a pass, got 20"):
            spectrum_from_passes(Passes(backend, rows), n, 45, **options)
    rows[13, 7] = np.inf
    with pytest.raises(NotFiniteError, match="row 13, column 7"):
        spectrum_from_passes(Passes(backend, rows), 20, 45, **options)


def test_too_many_or_too_few(rng, monkeypatch):
    rows = rng.standard_normal((40, 40))
    monkeypatch.setattr(module, "LARGEST_BASIS", 40)
    with pytest.raises(ValueError, match="ask for top_k=10 or fewer"):
        spectrum_from_passes(lambda: [rows], 40, 40, like=rows, memory=0)
    nothing = spectrum_from_passes(list, 1, 40, like=rows, memory=PLENTY, top_k=2, correction=1)
    assert np.isnan(nothing.eigenvalues).all()
    assert nothing.method is Method.UNDEFINED
    with pytest.raises(ValueError, match="expected 41 rows, got none"):
        spectrum_from_passes(list, 41, 40, like=rows, memory=PLENTY)
