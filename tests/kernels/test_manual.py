"""The code of the kernels' README as it is written, and that what README and NOTES name exists."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

import penult_kernels

PACKAGE = Path(penult_kernels.__file__).parent
ROOT = Path(__file__).parents[2]
README = ROOT / "kernels" / "README.md"
NOTES = ROOT / "kernels" / "NOTES.md"
BLOCKS = dict(re.findall(r"^```python (\w+)\n(.*?)^```$", README.read_text(), flags=re.DOTALL | re.MULTILINE))

# Modules by the names that the README uses, until they are moved there.
MOVED = {
    "linear.problem": "refit_problem",
    "linear.solve": "refit_engine",
    "metrics.accuracy": "metrics",
    "metrics.head_scores": "heads",
    "moments.accumulation": "accumulation",
    "sampling.balancing": "selection",
    "sampling.plans": "row_plans",
    "spectra.imbalance": "imbalance",
    "spectra.inference": "imbalance_inference",
    "spectra.spectrum": "spectra",
    "trajectories.descend": "descent",
    "trajectories.settings": "trajectory_settings",
}
IS_MOVED = importlib.util.find_spec("penult_kernels.linear") is not None
after_the_move = pytest.mark.skipif(not IS_MOVED, reason="the packages are not there yet")


def code(name: str) -> str:
    """A block of the README."""
    found = BLOCKS[name]
    for new, old in () if IS_MOVED else MOVED.items():
        found = found.replace(f"from penult_kernels.{new} import", f"from penult_kernels.{old} import")
    return found


def test_spectra_and_imbalance(capsys: pytest.CaptureFixture[str]):
    names = {}
    exec(code("spectra"), names)
    assert capsys.readouterr().out.count("p of equal covariances") == 2
    for one, g in zip(names["spectra"], range(4), strict=True):
        covariance = np.cov(names["X"][names["g"] == g].astype(float), rowvar=False, bias=True)
        exact = np.linalg.eigvalsh(covariance)[::-1][:5]
        np.testing.assert_allclose(one.eigenvalues, exact, rtol=1e-10)
        assert (np.abs(one.eigenvalues - exact) <= one.residuals + 1e-15).all()
    assert names["found"].low > 1
    assert names["found"].p_value < 0.05


def test_a_refit_and_its_certificate_then_a_trajectory(capsys: pytest.CaptureFixture[str]):
    names = {}
    exec(code("refit"), names)
    worst = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines()]
    assert len(worst) == 2
    assert min(worst) > 0.6
    assert names["head_error"] < 0.01
    assert objective(names) == pytest.approx(names["found"].objective, abs=1e-12)
    exec(code("trajectory"), names)
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert names["found"].score == names["found"].scores.max()


def objective(names: dict) -> float:
    """Of the last fit, as the README states it."""
    problem, fit = names["problem"], names["fit"]
    x, y = names["X"][problem.rows].astype(float), names["y"][problem.rows]
    logits = x @ fit.weight.T + fit.bias
    losses = np.logaddexp(logits[:, 0], logits[:, 1]) - logits[np.arange(y.size), y]
    return float(losses.mean() + problem.l2 / 2 * ((fit.weight * x.std(axis=0)) ** 2).sum())


def test_it_is_short_and_points_at_what_exists():
    text = README.read_text()
    assert len(text.splitlines()) <= 150
    for place in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (README.parent / place).exists()
    for name in re.findall(r"`(test_\w+\.py)`", text):
        assert (ROOT / "tests" / "kernels" / name).exists()


@after_the_move
def test_every_package_is_named_and_every_named_path_exists():
    text = README.read_text()
    packages = {str(one.parent.relative_to(PACKAGE)) for one in PACKAGE.rglob("*/__init__.py")}
    assert [name for name in packages if f"`{name}`" not in text] == []
    named = re.findall(r"`([\w/]+/\w+)(?:\.py)?`", text + NOTES.read_text())
    places = (PACKAGE, ROOT)
    assert [one for one in named if not any((at / one).exists() or (at / f"{one}.py").exists() for at in places)] == []


@after_the_move
def test_the_refit_stands_in_the_docstring_of_linear():
    import penult_kernels.linear

    written = [line.strip() for line in (penult_kernels.linear.__doc__ or "").splitlines()]
    assert [line.strip() for line in BLOCKS["refit"].splitlines() if line.strip() not in written] == []
