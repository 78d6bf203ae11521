"""What the checks of the refit matrix share: the ways that each is made with, and how two refits are compared.

By default a check of more than six ways takes a fifth of them, which one depends on its name. All of them:
python -m pytest -m "slow or not slow" tests/e2e/test_refit_matrix*.py; on other data: PENULT_MATRIX_SEED=7 before it.
"""

import os
from collections.abc import Callable
from typing import Any, TypeVar
from zlib import crc32

import numpy as np
import pytest
from refit_matrix import WAYS, Data, Way

import penult

SEED = int(os.environ.get("PENULT_MATRIX_SEED", "0"))
EVERY = list(WAYS)
OPTIMA = [name for name, way in WAYS.items() if not way.is_path]
PATHS = [name for name, way in WAYS.items() if way.is_path]
MEANS = [name for name, way in WAYS.items() if "risk" not in way.arguments]
PENALISED = [name for name in OPTIMA if "no penalty" not in name]

WITH_HEADS = [name for name in EVERY if WAYS[name].is_path or {"l1", "l2"} & set(WAYS[name].arguments)]
"""Ways of solving on which a center or a start has an effect."""

Check = TypeVar("Check", bound=Callable[..., None])


def of(names: list[str]) -> Callable[[Check], Check]:
    """The ways that a check is made with; of more than six, four in five are slow."""

    def given(check: Check) -> Check:
        first = crc32(check.__name__.encode())
        kept = {name for place, name in enumerate(names) if (place + first) % 5 == 0 or len(names) <= 6}
        ways = [pytest.param(WAYS[one], id=one, marks=[] if one in kept else [pytest.mark.slow]) for one in names]
        return pytest.mark.parametrize("way", ways)(check)

    return given


def fit(client: penult.Client, features: penult.FeatureSet, way: Way, **more: Any) -> penult.Refit:
    """A refit by a way; of a path `path` replaces what it names."""
    arguments = {"standardize": False, **way.arguments, **more}
    if "path" in more and way.is_path:
        arguments["path"] = {**way.arguments["path"], **more["path"]}
    found = client.refit(features, **arguments)
    assert way.is_path or found.certificate.converged
    return found


def same(one: penult.Refit, other: penult.Refit, data: Data, way: Way) -> None:
    """Two heads with the same logits on the data, up to what the way leaves open."""
    np.testing.assert_allclose(data.logits(one.head), data.logits(other.head), atol=way.atol)


def far(one: penult.Refit, other: penult.Refit, data: Data) -> bool:
    return float(np.abs(data.logits(one.head) - data.logits(other.head)).max()) > 1e-3


def weights_of(n: int) -> np.ndarray:
    return np.random.default_rng(SEED + 3).integers(0, 4, n)
