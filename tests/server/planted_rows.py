"""Rows with planted groups, and questions about them, for methods that find groups."""

from collections.abc import Mapping

import numpy as np

from penult_proto.grouping_methods import METHODS
from penult_server.compute.backend import choose_backend
from penult_server.compute.groupings.found import Inputs, Rows
from penult_server.records import LabelNames

LABELS = LabelNames(classes=("cat", "dog"), attribute="place", attribute_values=("in", "out"))


def planted_rows(seed: int, n: int = 800, d: int = 16, *, first_id: int = 0, share: float = 0.9) -> Rows:
    """Two classes; in each a shortcut (a) that is larger than the class itself, and agrees with it in most rows.

    The logits are those of a head that looks at the shortcut: it errs where the two disagree.
    """
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    a = np.where(rng.random(n) < share, y, 1 - y)
    turn = np.linalg.qr(np.random.default_rng(99).standard_normal((d, d)))[0]
    x = rng.standard_normal((n, d)) * 0.4
    x[:, 0] += 0.8 * y
    x[:, 1] += 6.0 * a
    margin = x[:, 1] - 3.0 + 0.5 * (x[:, 0] - 0.4)
    return Rows(
        features=(x @ turn + 3.0).astype(np.float32),
        y=y,
        a=a,
        row_id=np.arange(n, dtype=np.uint64) + np.uint64(first_id),
        logits=np.stack([-margin, margin], axis=1),
        labels=LABELS,
    )


def question(
    method: str,
    source: Rows,
    fit: Rows | None = None,
    *,
    numbers: Mapping[str, float] | None = None,
    words: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Inputs:
    """A complete question: defaults where nothing is said."""
    defaults = METHODS[method]
    return Inputs(
        source=source,
        fit=source if fit is None else fit,
        other=None,
        numbers={name: number.default for name, number in defaults.numbers.items()} | dict(numbers or {}),
        words={name: allowed[0] for name, allowed in defaults.words.items()} | dict(words or {}),
        indices=(),
        seed=seed,
        backend=choose_backend("cpu"),
        check=lambda: None,
    )
