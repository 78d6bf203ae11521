"""Rows to diagnose, planted, and how values are found by id."""

from dataclasses import replace
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from scipy.spatial.distance import cdist

from penult_kernels.diagnostics.definition import Value
from penult_kernels.diagnostics.planner import Settings, diagnose
from penult_kernels.diagnostics.subject import Subject
from penult_kernels.linear.problem import Head
from penult_kernels.rows import ArrayRows

FAST = Settings(replicates=0, matched=0)
"""Values alone."""


def planted(seed: int = 0, n: int = 120, d: int = 7, k: int = 3, n_attributes: int = 2) -> dict[str, Any]:
    """Classes and a correlated attribute, each with a direction of its own, far from the origin."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % k
    a = np.where(rng.random(n) < 0.4, y % n_attributes, rng.integers(0, n_attributes, n))
    x = rng.standard_normal((n, d)) + 5.0
    x[:, 0] += 2.0 * y
    x[:, 1] += 3.0 * a
    return {"x": x, "y": y, "a": a, "weight": rng.standard_normal((k, d)), "bias": rng.standard_normal(k)}


def subject_of(made: dict[str, Any], like: Any = None, **changes: Any) -> Subject:
    """By group, with a head and a second set; arrays are of the library and on the device of `like`."""
    move = (lambda values: values) if like is None else like
    n_attributes, k = int(made["a"].max()) + 1, made["weight"].shape[0]
    x = np.ascontiguousarray(made["x"])
    given: dict[str, Any] = {
        "rows": ArrayRows(move(x)),
        "part": made["y"] * n_attributes + made["a"],
        "n_parts": k * n_attributes,
        "y": made["y"],
        "n_classes": k,
        "head": Head(weight=move(made["weight"]), bias=move(made["bias"])),
        "other": ArrayRows(move(np.ascontiguousarray(x[:, ::-1] ** 2))),
        "columns": {"class": (made["y"], k), "ground": (made["a"], n_attributes)},
        "neighbours": lambda count: distances_within(x, made["y"] * n_attributes + made["a"], count),
    }
    return Subject(**given | changes)


def distances_within(x: Any, part: Any, k: int) -> Any:
    """(n, k) distances to the nearest rows of the same part, by brute force."""
    apart = cdist(x, x)
    apart[part[:, None] != part[None]] = np.nan
    np.fill_diagonal(apart, np.nan)
    found = np.sort(apart, axis=1)[:, :k]
    return np.pad(found, ((0, 0), (0, k - found.shape[1])), constant_values=np.nan)


def values_of(subject: Subject, names: Any, settings: Settings = FAST) -> dict[tuple[str, tuple[int, ...], str], Value]:
    """By id, parts and column."""
    names = [names] if isinstance(names, str) else names
    return {(one.id, one.parts, one.column): one for one in diagnose(subject, names, settings)}


def number(subject: Subject, id: str, parts: tuple[int, ...] = (), column: str = "") -> float:
    """The value of one id, of one part."""
    return values_of(subject, id)[id, parts, column].value


def permuted(made: dict[str, Any], seed: int = 3) -> dict[str, Any]:
    """The same rows in another order."""
    order = np.random.default_rng(seed).permutation(len(made["y"]))
    return made | {name: made[name][order] for name in ("x", "y", "a")}


def streamed(subject: Subject, names: Any, rows: int, settings: Settings = FAST) -> Any:
    """Values by blocks of so many rows."""
    return values_of(subject, names, replace(settings, block_rows=rows))


def owner(values: Any) -> Any:
    """The library of an array."""
    return array_namespace(values)
