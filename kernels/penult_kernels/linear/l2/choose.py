"""Which engine solves an L2 block, and which blocks are solved together: all these decisions, from sizes alone.

The engine of one block, of n rows and D features:

| the block                              | its engine                                                          |
|----------------------------------------|---------------------------------------------------------------------|
| without l2                             | NEWTON                                                              |
| 1 < n < D, no start given              | ROWS                                                                |
| D <= n < 2 D, no start given           | ROWS or FEATURES, whichever is less work for all such blocks of the |
|                                        | call together; ROWS, too, where FEATURES would need an eigenbasis   |
|                                        | that does not pay                                                   |
| n >= 2 D, or n >= D and a start given  | FEATURES where an eigenbasis pays or is there already, else NEWTON  |
| any other                              | NEWTON                                                              |

ROWS is `subspace_newton` in the space of the rows, with a Gram matrix for each set of rows: n n D to make, and n n for
each head in each evaluation. FEATURES is `l2.lbfgs` in the space of the features, with an eigenbasis as first
Hessian: n D for each head, twice in each evaluation. NEWTON is `l2.newton_cg` from the start; after the others it
certifies.

What is solved together:

| blocks                                 | are solved                                                          |
|----------------------------------------|---------------------------------------------------------------------|
| over the same rows, scaled alike       | together, as many as the memory budget lets                         |
| FEATURES, over different rows          | together over the union of their rows, with weights of zero, where  |
|                                        | a pass costs less so than over each set of rows apart               |
| FEATURES, that differ in their l2 alone | a few first and roughly, then all from between these (`paths`)      |
| FEATURES, slow, over the same rows     | with the Hessian of one of their heads (`curvature`)                |
| ROWS, of as many rows each             | in one stack, as blocks of one Gram matrix of all their rows where  |
|                                        | that is small and less work than one for each set                   |
| ROWS, that differ in their l2 alone    | one roughly first, from whose head and basis all others branch off  |
| NEWTON                                 | over the same rows only; over unions to certify what others solved  |

Rows are float32 if float32 holds the features and, for ROWS, reaches the tolerance. Whether the features are on a GPU
makes no difference to these choices.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from penult_kernels import budget

READING = 35
"""Cost of reading a row, in products of the row with a head."""
READING_A_VECTOR, OF_A_VECTOR = 12, 6
"""The cost of reading and that of each head where few heads are multiplied as vectors (`few_heads`)."""
GATHERING = 2
"""Cost of reading a row that has to be gathered, relative to one that has not."""
NEARLY_ALL = 0.7
"""A union of at least this fraction of all rows is replaced by all rows, which need not be gathered."""
EVALUATIONS_IN_ROWS = 25
"""Evaluations that a block in the space of rows takes, about; each is one product with the Gram matrix."""
EVALUATIONS_IN_FEATURES = 20
"""Evaluations that a block in the space of features takes, about; each is two products with the rows."""
FLOAT32_TOLERANCE = 1e-7
"""The smallest tolerance that float32 reaches in the space of rows."""
WORK_OF_EIGENVECTORS = 10.0
"""Cost of an eigendecomposition, in products of D x D matrices."""
EVALUATIONS_SAVED = 10
"""Evaluations that a head in the space of features saves which starts between solutions for other penalties, about."""
SWEEPS_ADDED = 3
"""Evaluations that follow those of these other penalties."""
FEWEST_BRANCHES = 3
"""Blocks for each one that is solved roughly first, at least."""
STEPS_OF_CURVATURE, RATE_OF_CURVATURE = 6, 1.6
"""Evaluations that L-BFGS takes to the end at least with the Hessian of one head as its first, about; and how much the
logarithm of a gap falls in each while margins grow, as Newton's method has it."""
PASSES_SAVED = 100.0
"""Products with its rows that an eigenbasis saves each head, about."""


class Engine(StrEnum):
    """The method that first minimises a block; `newton_cg` certifies."""

    ROWS = "rows"
    FEATURES = "features"
    NEWTON = "newton"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Heads over the same rows."""

    n_rows: int
    n_heads: int
    """Columns of all blocks."""
    n_batches: int = 1
    """How often a pass reads the rows: once for each batch of blocks that fits in the memory budget."""
    is_gathered: bool = False
    """Whether the rows have to be gathered from the features in every pass."""

    @property
    def cost(self) -> int:
        """Cost of a pass, in products of a row with a head."""
        return self.n_rows * (self.n_batches * READING * (GATHERING if self.is_gathered else 1) + self.n_heads)


def engines(
    n_rows: int,
    n_features: int,
    *,
    has_l2: bool = True,
    has_start: bool = False,
    features_are_less_work: bool = False,
) -> tuple[Engine, ...]:
    """The engines that can solve a block, the best first; without an eigenbasis that pays, FEATURES is skipped."""
    rows = (Engine.ROWS,) if has_l2 and not has_start and 1 < n_rows < 2 * n_features else ()
    features = (Engine.FEATURES,) if has_l2 and n_rows >= n_features else ()
    return (*(features + rows if features_are_less_work else rows + features), Engine.NEWTON)


def work_in_rows(sets: Sequence[Group], n_features: int) -> int:
    """Multiplications that ROWS takes with one Gram matrix for each set of rows."""
    return sum(one.n_rows**2 * (n_features + EVALUATIONS_IN_ROWS * (READING + one.n_heads)) for one in sets)


def work_in_features(groups: Sequence[Group], n_features: int) -> int:
    """Multiplications that FEATURES takes, without those of the eigenbasis."""
    return 2 * EVALUATIONS_IN_FEATURES * work_of_a_product(groups, n_features)


def work_of_a_product(groups: Sequence[Group], n_features: int) -> int:
    """Multiplications of one product of all heads with their rows."""
    return n_features * sum(one.n_rows * (READING + one.n_heads) for one in groups)


def eigenbasis_pays(work: float, n_sampled: int, n_features: int) -> bool:
    """Whether solves whose product takes `work` multiplications save as much as the eigenbasis of a sample costs."""
    products = WORK_OF_EIGENVECTORS * n_features + n_sampled
    return PASSES_SAVED * work >= products * n_features**2


def interpolation_pays(n_heads: int) -> bool:
    """Whether so many heads should wait for solutions for other penalties, to start between them."""
    return EVALUATIONS_SAVED * n_heads > SWEEPS_ADDED * READING


def evaluations_with_curvature(to_fall: NDArray[np.float64]) -> NDArray[np.float64]:
    """Evaluations that problems take, about, with the Hessian of one head; their gaps are to fall by so much (log)."""
    return np.maximum(STEPS_OF_CURVATURE, to_fall / RATE_OF_CURVATURE)


def curvature_pays(n_saved: float, *, n_heads: int, n_rows: int, n_sampled: int, n_features: int) -> bool:
    """Whether the Hessian of one head is less work than so many evaluations."""
    of_product = min(READING + n_heads, READING_A_VECTOR + OF_A_VECTOR * n_heads)
    of_evaluation = 2 * n_rows * n_features * of_product
    return n_saved * of_evaluation > n_features**2 * (n_sampled / 2 + 2 * n_features)


def branching_pays(n_blocks: int, n_sources: int) -> bool:
    """Whether so many blocks over the same rows wait for rough solutions of some, to branch off from these."""
    return n_blocks >= FEWEST_BRANCHES * n_sources


def are_better_together(union: Group, apart: Sequence[Group]) -> bool:
    """Whether blocks over different rows cost less in one group over the union of their rows."""
    return len(apart) > 1 and union.cost < sum(one.cost for one in apart)


def is_nearly_all(n_union: int, n_rows: int) -> bool:
    """Whether a union of rows is extended to all rows, which need not be gathered."""
    return n_union >= NEARLY_ALL * n_rows


def share_a_gram_matrix(n_sets: int, n_rows: int, n_union: int, n_features: int) -> bool:
    """Whether sets of `n_rows` rows each take their Gram matrices out of one of all `n_union` rows."""
    is_small = 8 * n_union * max(n_union, n_features) <= budget.DEFAULT.batch_rows_bytes
    return is_small and n_union**2 <= n_sets * n_rows**2


def bytes_of_a_number(*, is_float32: bool, tolerance: float) -> int:
    """Bytes of a number in the space of rows, for features that float32 holds or not."""
    return 4 if is_float32 and tolerance >= FLOAT32_TOLERANCE else 8
