"""Diagnoses as tables for a paper, and the example scripts' figures of made numbers."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib import figure as mpl

from penult.results.diagnosis.definitions import DiagnosticDefinition
from penult.results.diagnosis.diagnosis import Diagnosis, DiagnosticValue
from penult.results.records import Group

EXAMPLES = Path(__file__).parents[2] / "client" / "examples"


def definition(id, **changes):
    given = {"family": "nc", "formula": f"100 % of {id}_x", "source": "s", "direction": "lower", "needs": ()}
    given |= {"parts": "all", "interval": "bootstrap", "matched": True, "cost": "n", "numbers": ()}
    return DiagnosticDefinition(id=id, **given | changes)


def value(id, part, number, low=math.nan, high=math.nan, indices=(), n=1234):
    nan = math.nan
    return DiagnosticValue(
        id=id,
        part=part,
        indices=indices,
        column="",
        value=number,
        low=low,
        high=high,
        n=n,
        matched_value=nan,
        matched_low=nan,
        matched_high=nan,
        null=nan,
        note="",
    )


def diagnosis(values, groups=()):
    return Diagnosis(
        digest="d" * 64,
        feature_set="f" * 64,
        other="",
        by="group",
        groups=groups,
        definitions={id: definition(id) for id in dict.fromkeys(one.id for one in values)},
        values=tuple(values),
        numbers={},
        replicates=200,
        matched_draws=0,
        matched_n=0,
        seed=0,
        n_rows=1234,
        reused=False,
    )


@pytest.fixture
def found():
    return diagnosis(
        [
            value("cdnv", "all", 0.51234, 0.4, 0.6),
            value("cdnv", "cats & dogs_1 | 50 %", 0.25, n=56),
            value("head_norm", "all", 12.0),
            value("margin_min", "all", math.nan),
        ]
    )


def test_a_table_for_latex(found):
    lines = found.to_latex().splitlines()
    assert lines[0] == "% cdnv: 100 % of cdnv_x"
    assert lines[2:5] == [r"\begin{tabular}{lrrr}", r"\toprule", r" & $n$ & cdnv & head\_norm \\"]
    assert lines[6] == r"all & 1{,}234 & $0.512_{0.4}^{0.6}$ & $12$ \\"
    assert lines[7] == r"cats \& dogs\_1 | 50 \% & 56 & $0.25$ &  \\"
    assert "margin" not in found.to_latex()


def test_a_table_for_markdown(found):
    lines = found.to_markdown().splitlines()
    assert lines[0] == "|  | n | cdnv | head_norm |"
    assert lines[2] == "| all | 1,234 | 0.512 [0.4, 0.6] | 12 |"
    assert lines[3] == r"| cats & dogs_1 \| 50 % | 56 | 0.25 |  |"
    assert len({line.replace(r"\|", "").count("|") for line in lines}) == 1


def test_nothing_known_is_an_empty_table():
    empty = diagnosis([value("cdnv", "all", math.nan)])
    assert empty.to_latex().count(r"\\") == 1
    assert len(empty.to_markdown().splitlines()) == 2


def test_pairs_of_parts_are_a_matrix():
    groups = tuple(
        Group(index=g, name=f"group {g}", y=0, a=g, class_name="c", attribute_value=str(g), count=9) for g in range(3)
    )
    pairs = [((0, 1), -0.5), ((0, 2), 0.25), ((1, 2), 0.75)]
    values = [value("conflict", f"{p} / {q}", number, indices=(p, q)) for (p, q), number in pairs]
    figure = diagnosis([*values, value("cdnv", "all", 1.0, 0.5, 1.5)], groups).plot()
    matrix, plain = figure.axes
    (image,) = matrix.images
    np.testing.assert_array_equal(image.get_array().filled(np.nan)[0], [np.nan, -0.5, 0.25])
    assert image.get_clim() == (-0.75, 0.75)
    assert {one.get_text() for one in matrix.texts} == {"-0.5", "0.25", "0.75"}
    assert not plain.images


def script(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def lines_of(figure):
    assert isinstance(figure, mpl.Figure)
    return {line.get_label(): line for axis in figure.axes for line in axis.lines}


def test_labonte_draws_means_of_seeds_and_their_deviations():
    module = script("labonte2024")
    epochs, worst = [1, 2], {"none": np.array([[0.2, 0.4], [0.4, 0.6]]), "subsetting": np.full((2, 2), 0.7)}
    line = lines_of(module.draw_epochs(epochs, worst))["none"]
    np.testing.assert_allclose(line.get_ydata(), [0.3, 0.5])
    worst |= dict.fromkeys(("upsampling", "upweighting", "mixture 2"), worst["none"])
    bars = module.draw_bars({name: values[:, -1] for name, values in worst.items()})
    assert [bar.get_height() for bar in bars.axes[0].patches] == pytest.approx([0.5, 0.7, 0.5, 0.5, 0.5])
    spectra = lines_of(module.draw_spectra(["a", "b"], np.array([[[4.0, 1.0], [2.0, 0.0]], [[1.0, 1.0], [2.0, 0.5]]])))
    np.testing.assert_allclose(spectra["a"].get_ydata(), [2.0, 1.0])
    np.testing.assert_allclose(spectra["b"].get_ydata(), [2.0])
    ratios = module.draw_imbalance({name: (["cat"], np.ones((2, 2, 1))) for name in ("none", "upsampling")})
    assert len(ratios.axes[0].containers) == 2
    backbones = module.draw_backbones(["r18", "r50"], {"none": [[0.1, 0.3], [0.4]]})
    np.testing.assert_allclose(backbones.axes[0].lines[0].get_ydata(orig=False), [0.2, 0.4])
    assert r"none & $50.0 \pm 14.1$" in module.table({"none": np.array([[0.4, 1, 1], [0.6, 1, 1]])})


@pytest.mark.parametrize(
    ("balance", "by", "expected"),
    [
        ("none", None, [0.6, 0.2, 0.05, 0.15]),
        ("subsetting", "class", [0.375, 0.125, 0.125, 0.375]),
        ("upsampling", "group", [0.25] * 4),
    ],
)
def test_shares_after_balancing(balance, by, expected):
    """The authors' average weighs the groups by their shares among the examples that are trained on."""
    counts, classes = np.array([60.0, 20, 5, 15]), np.array([0, 0, 1, 1])
    np.testing.assert_allclose(script("labonte2024").balanced_shares(counts, classes, balance, by), expected)


def test_hill_draws_ratios_collapse_margins_directions_and_separation():
    module = script("hill2026")
    rng = np.random.default_rng(0)
    ratios = lines_of(module.draw_ratios([0.1, 1.0], {"LLR": np.array([[0.5, 0.7], [0.7, 0.9]])}))
    np.testing.assert_allclose(ratios["LLR"].get_ydata(), [0.6, 0.8])
    traces = rng.uniform(1, 2, (2, 3, len(module.TRACES)))
    collapse = lines_of(module.draw_collapse([0, 1, 2], traces))
    np.testing.assert_allclose(collapse["within groups"].get_ydata(), np.sqrt(traces[0, :, 3] * traces[1, :, 3]))
    quotient = traces[:, :, 1] / traces[:, :, 2]
    np.testing.assert_allclose(collapse["classes"].get_ydata(), np.sqrt(quotient[0] * quotient[1]))
    margins = module.draw_margins([0, 1], ["a", "b"], rng.standard_normal((2, 2, 2, 3)))
    assert len(margins.axes) == 3
    found = {"steps": np.ones((2, len(module.STEPS))), "l2": np.ones((2, len(module.STRENGTHS)))}
    errors = np.array([[0.5, np.nan, 0.3], [0.7, 0.2, 0.1]])
    finetuned = lines_of(module.draw_directions([0, 1, 2], errors, found))["finetuned head"]
    np.testing.assert_allclose(finetuned.get_xdata(), [0, 2])
    apart = module.draw_separation([[("cat", 1.0, 0.1), ("dog", 2.0, 0.3)]])
    assert lines_of(apart)["dog"].get_xdata() == [2.0]
    w = rng.standard_normal((2, 4))
    assert module.distance(w, 3 * w + 1) == pytest.approx(0.0, abs=1e-12)
