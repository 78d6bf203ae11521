"""Every diagnostic of rows with a group, or a class, that has none or one of them: a number, or why there is none."""

import math

import numpy as np
import pytest
from diagnosed import planted, subject_of, values_of

from penult_kernels.diagnostics.planner import Settings
from penult_kernels.diagnostics.registry import DEFINITIONS

SPARSE = {
    "group": lambda y, a: (y == 1) & (a == 1),
    "class": lambda y, a: y == 1,
}


@pytest.mark.parametrize("left", [0, 1])
@pytest.mark.parametrize("what", SPARSE)
def test_what_is_not_defined_says_why(what, left):
    made = planted(n=80, d=5)
    rows = np.flatnonzero(SPARSE[what](made["y"], made["a"]))
    keep = np.setdiff1d(np.arange(80), rows[left:])
    less = made | {name: made[name][keep] for name in ("x", "y", "a")}
    columns = {"class": (less["y"], 3), "ground": (less["a"], 2)}
    subject = subject_of(less, part=less["y"] * 2 + less["a"], n_parts=6, columns=columns)
    found = values_of(subject, list(DEFINITIONS), Settings(replicates=20, matched=20))
    assert {id for id, *_ in found} == set(DEFINITIONS)
    assert [key for key, value in found.items() if math.isnan(value.value) and not value.note] == []
    assert math.isfinite(found["trace_within_part", (), ""].value)
