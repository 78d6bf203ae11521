"""What all diagnostics have in common: one file each, formulas that are run, blocks and orders that change nothing."""

import doctest
import importlib
import math
import pkgutil
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from diagnosed import FAST, permuted, planted, streamed, subject_of, values_of

import penult_kernels.diagnostics
from penult_kernels.diagnostics.definition import Diagnostic, Need, Size
from penult_kernels.diagnostics.planner import Settings, diagnose, memory, work
from penult_kernels.diagnostics.registry import DEFINITIONS, DIAGNOSTICS, FAMILIES, UnknownDiagnosticError, expand

ROOT = Path(__file__).parents[2]
FOLDER = Path(penult_kernels.diagnostics.__file__).parent
PACKAGES = ("kernels/penult_kernels", "server/penult_server", "protos/penult_proto")
SHARED = {"participation_ratio", "effective_rank", "rank_me", "power_law_exponent", "tolerance"}
"""Ids that `spectra.descriptors` defines, too: the same numbers; and a word of solvers."""


def modules() -> list[str]:
    return [
        one.name
        for one in pkgutil.walk_packages(penult_kernels.diagnostics.__path__, "penult_kernels.diagnostics.")
        if not one.ispkg
    ]


def kernels() -> list[str]:
    return [name for name in modules() if isinstance(vars(importlib.import_module(name)).get("DIAGNOSTIC"), Diagnostic)]


def test_a_new_diagnostic_touches_three_files():
    """Its kernel, a line of the registry (and the import), and a test: nothing else in the packages names its ids."""
    assert [one for one in map(importlib.import_module, kernels()) if one.DIAGNOSTIC not in DIAGNOSTICS] == []
    texts = {
        path: path.read_text()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if "_pb2" not in path.name
    }
    named = {path.stem for path in (ROOT / "tests/kernels").glob("test_diagnostics_*.py")}
    for name in kernels():
        own = FOLDER.joinpath(*name.split(".")[2:]).with_suffix(".py")
        ids = {one.id for one in importlib.import_module(name).DIAGNOSTIC} - SHARED
        quoted = re.compile(f"[\"'](?:{'|'.join(ids)})[\"']") if ids else re.compile("(?!)")
        others = [path for path, text in texts.items() if path != own and quoted.search(text)]
        assert others == [], f"{name}: ids are also in {others}"
        lines = [
            line for line in (FOLDER / "registry.py").read_text().splitlines() if f" {own.stem}.DIAGNOSTIC," in line
        ]
        assert len(lines) == 1, name
    for family in FAMILIES:
        assert f"test_diagnostics_{family}" in named, f"family {family} has no test of its own"


def test_every_kernel_runs_its_formula():
    """A doctest in each kernel computes what its ids say naively."""
    for name in kernels():
        results = doctest.testmod(importlib.import_module(name))
        assert results.attempted, f"{name} has no doctest"
        assert results.failed == 0, name


def test_definitions_are_complete():
    for one in DEFINITIONS.values():
        assert re.fullmatch(r"[a-z][a-z0-9_]+", one.id)
        assert one.formula
        assert one.source
        assert one.parts
        assert one.cost
    assert len({one.formula for one in DEFINITIONS.values()}) == len(DEFINITIONS)


def test_families_expand_and_unknown_ids_are_told_with_what_there_is():
    assert expand(["nc", "cdnv"]) == FAMILIES["nc"]
    with pytest.raises(UnknownDiagnosticError, match=r"no diagnostic 'cdnw'.*'nc' \(nc1_pinv"):
        expand(["cdnw"])


@pytest.mark.parametrize("numbers", [{"nothing": 1.0}, {"mle_k": 0.0}, {"mle_k": math.nan}])
def test_settings_out_of_range_are_refused(numbers):
    with pytest.raises(ValueError, match=r"nothing|mle_k"):
        Settings(numbers=numbers)
    with pytest.raises(ValueError, match="replicates must be"):
        Settings(replicates=-1)


def test_labels_that_do_not_fit_are_refused():
    made = planted()
    with pytest.raises(ValueError, match="part must lie"):
        subject_of(made, part=made["y"] + 100)
    with pytest.raises(ValueError, match="one entry per row"):
        subject_of(made, y=made["y"][:-1])


@pytest.fixture(scope="module")
def made():
    return planted()


@pytest.fixture(scope="module")
def at_once(made):
    return values_of(subject_of(made), list(FAMILIES))


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_blocks_of_any_size_give_the_same_values(made, at_once, rows):
    found = streamed(subject_of(made), list(FAMILIES), rows)
    assert found.keys() == at_once.keys()
    for key, one in found.items():
        np.testing.assert_allclose(one.value, at_once[key].value, rtol=1e-9, atol=1e-11, err_msg=str(key))
        assert one.note == at_once[key].note


def test_what_is_not_defined_says_why(at_once):
    for key, one in at_once.items():
        assert math.isfinite(one.value) or one.note, key


def test_draws_come_from_the_seed_alone(made):
    settings = Settings(replicates=30, matched=20, seed=5)
    first, second = (values_of(subject_of(made), list(FAMILIES), settings) for _ in range(2))
    for key, one in first.items():
        np.testing.assert_equal(
            (one.low, one.high, one.matched_value, one.matched_high),
            (second[key].low, second[key].high, second[key].matched_value, second[key].matched_high),
        )


def test_an_interval_holds_its_value_and_stays_in_range(made):
    for one in values_of(subject_of(made), list(FAMILIES), Settings(replicates=60, matched=0)).values():
        if math.isfinite(one.low):
            definition = DEFINITIONS[one.id]
            assert one.low <= one.high
            assert definition.lowest <= one.low
            assert one.high <= definition.highest


def test_the_smallest_part_is_its_own_matched_value(made):
    """200 draws of all of its rows are its rows."""
    subject = subject_of(made)
    smallest = int(np.flatnonzero(subject.counts == subject.smallest)[0])
    checked = 0
    for one in diagnose(subject, list(FAMILIES), replace(FAST, matched=20)):
        if one.parts == (smallest,) and math.isfinite(one.matched_value):
            np.testing.assert_allclose(one.matched_value, one.value, rtol=1e-9)
            np.testing.assert_allclose([one.matched_low, one.matched_high], one.value, rtol=1e-9)
            checked += 1
    assert checked


def test_the_order_of_rows_changes_nothing(made, at_once):
    """But for what draws rows: of few rows all are drawn."""
    for key, one in values_of(subject_of(permuted(made)), list(FAMILIES)).items():
        if DEFINITIONS[one.id].family not in ORDERED:
            np.testing.assert_allclose(one.value, at_once[key].value, rtol=1e-8, atol=1e-10, err_msg=str(key))


ORDERED = {"decodability", "concat"}
"""Families that split rows into folds by seed and position."""


def test_what_a_set_does_not_have_is_said(made):
    bare = subject_of(made, head=None, other=None, neighbours=None)
    for one in values_of(bare, list(FAMILIES)).values():
        missing = DEFINITIONS[one.id].needs - bare.has
        assert missing <= {Need.HEAD, Need.LOGITS, Need.OTHER, Need.NEIGHBOURS}
        assert not missing or (math.isnan(one.value) and "needs" in one.note), one


def test_a_cost_is_known_before():
    size = Size(n=20_000, d=1280, k=2, parts=4, draws=401, smallest=100, d_other=1280)
    assert 1e9 < work(["nc"], size) < 1e13
    assert work(list(FAMILIES), size) >= work(["nc"], size)


def test_memory_is_known_before():
    """Features that were not pooled: what takes D x D is told by its bytes, what takes sums alone fits."""
    flat = Size(n=2_000, d=62_720, k=2, parts=4, draws=201, smallest=100, d_other=62_720)
    for name in ("dimension", "cka"):
        assert memory([name], flat) > 8 * 62_720**2
    assert memory(["nc"], flat) < 2**30
