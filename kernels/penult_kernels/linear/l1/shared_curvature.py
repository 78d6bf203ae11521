"""L1 and elastic net for many draws of many rows: steps with a curvature that the draws share, on the host.

Where rows are many times the columns, draws of one problem (a family) have nearly the same Hessian. So it is made once,
of all their rows or many of them, at the optimum of a part of the first draw. A step then takes two passes over the
rows, which all blocks share, for exact logits and gradients (`l1.draw_state`); each block corrects the shared Hessian
by what its steps show and minimises the model that results with its penalty (`l1.shared_model`). So its steps converge
faster than linearly, although no Hessian is its own; where they do not, it is made anew (`l1.family`). Products are
float32, of differences; certificates are of float64 products.

Shapes: B blocks, n rows of a block, E = D + 1 entries.
"""

from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from penult_kernels import budget
from penult_kernels.arrays import blocks as tiles
from penult_kernels.linear.block_fit import BlockFit
from penult_kernels.linear.blocks.blocks import Block, union
from penult_kernels.linear.control import StopRule
from penult_kernels.linear.l1.active_set import active_set
from penult_kernels.linear.l1.columns import FEWEST_SLOTS
from penult_kernels.linear.l1.draw_state import DrawState, draw_state
from penult_kernels.linear.l1.family import Family
from penult_kernels.linear.l1.own_rows import MOST_SHARE, OwnRows
from penult_kernels.linear.l1.sweeps import Sweeps
from penult_kernels.products import on_threads

Floats = NDArray[np.float64]
Positions = NDArray[np.int64]

TALL = 8
"""Rows for each entry from which draws count as alike in their curvature."""
PART = 8
"""The first head is that of each this many-th row of the first draw."""
PART_TALL = 64
"""Rows for each entry that this part has at least; twice as many where several draws begin there."""
LEAST_GAIN = 2
"""Rows of all draws of a family at least, as a multiple of those of that part."""
ARRAYS_OF_ROWS = 8
"""Arrays with a number for each row of a block that exist at a time."""
VECTORS = 80
"""Vectors of a block's model, about."""
MATRICES = 2
"""Matrices of a family's model."""
LARGEST_COPIES = 4
"""The features' bytes are this many times those of the copies of rows that exist at a time, if the budget is less."""
START_GAP = 0.05
"""Gap in nats at which the first head is good enough, if it is small beside the objective."""


def families(members: Sequence[Block]) -> list[list[int]]:
    """Positions of the blocks that differ in their rows and weights alone."""
    alike: dict[Hashable, list[int]] = {}
    for index, one in enumerate(members):
        kind = (one.target_id, one.offset_id, one.scaling_id, one.l1, one.l2, one.intercept, one.intercept_scale)
        alike.setdefault(kind, []).append(index)
    return list(alike.values())


def are_alike(family: Sequence[Block], n_features: int) -> bool:
    """Whether a family's draws are so tall that they share a curvature, and the first head is a part of the work."""
    rows = sum(block.n_used for block in family)
    return rows >= TALL * (n_features + 1) * len(family) and LEAST_GAIN * _part_size(family, n_features) <= rows


def bytes_of(block: Block, n_features: int, *, is_first: bool) -> int:
    """Bytes that a block takes while it is solved: what it has of its rows, its corrections, a family's Hessian."""
    n_entries = n_features + 1
    return 8 * (ARRAYS_OF_ROWS * block.n_used + VECTORS * n_entries + (MATRICES * n_entries**2 if is_first else 0))


def shared_curvature(features: NDArray[np.floating], members: Sequence[Block], stop: StopRule) -> list[BlockFit]:
    """The best head found of every binary block with an l1, whatever rows it has.

    A block that has not converged may have stalled well before stop.max_iterations. Its gap is the duality gap.
    """
    alike = _begun(features, members, stop)
    waits = np.ones(len(members), np.bool_)
    found: dict[int, BlockFit] = {}
    for portion in _portions(features, members):
        waits[portion] = False
        found.update(zip(portion, _solved(features, members, portion, alike, waits, stop), strict=True))
    return [found[index] for index in range(len(members))]


def _portions(features: NDArray[np.floating], members: Sequence[Block]) -> list[list[int]]:
    """Positions of the blocks that are evaluated together: all, or as many as copies of their rows fit in memory."""
    if not _are_sparse(members):
        return [list(range(len(members)))]
    of_row = max(features.itemsize, 4) * int(features.shape[1])
    most = max(budget.DEFAULT.own_rows_bytes, features.nbytes // LARGEST_COPIES)
    found: list[list[int]] = []
    n_bytes = 0
    for index, block in enumerate(members):
        own = of_row * block.n_used
        if not found or n_bytes + own > most:
            found.append([])
            n_bytes = 0
        found[-1].append(index)
        n_bytes += own
    return found


def _are_sparse(members: Sequence[Block]) -> bool:
    """Whether passes over all rows with all heads would mostly be of rows with heads that do not need them."""
    return sum(block.n_used for block in members) <= MOST_SHARE * union(members).size * len(members)


def _solved(
    features: NDArray[np.floating],
    members: Sequence[Block],
    portion: Sequence[int],
    alike: Sequence[tuple[Family, Sequence[int]]],
    waits: NDArray[np.bool_],
    stop: StopRule,
) -> list[BlockFit]:
    """The fits of a portion, whose families have their first heads; `waits` (B,) are the blocks of later ones."""
    own = [members[index] for index in portion]
    passes = OwnRows(features, own) if _are_sparse(members) else Sweeps(features, own)
    place = {index: place for place, index in enumerate(portion)}
    places = [(family, [place[index] for index in indices if index in place]) for family, indices in alike]
    begins = {index: family.head for family, indices in places for index in indices}
    states = [draw_state(block, begins[index]) for index, block in enumerate(own)]
    active = np.arange(len(own))
    for rounds in range(stop.max_iterations + 1):
        stop.check()
        _evaluate(passes, states, active)
        goes_on = np.zeros(len(own), np.bool_)
        goes_on[active] = [not states[index].is_done(stop.limit) for index in active]
        goes_on &= True if stop.unwanted is None else ~stop.unwanted()[portion]
        active = np.flatnonzero(goes_on)
        left = ~waits
        left[np.asarray(portion)[active]] = False
        stop.left(left)
        if not active.size or rounds == stop.max_iterations:
            break
        for (family, indices), (_, everyone) in zip(places, alike, strict=True):
            if going := [states[index] for index in indices if goes_on[index]]:
                family.step(going, stop.limit, int(np.count_nonzero(waits[everyone])))
    return _certified(passes, states, active, stop)


def _certified(
    passes: OwnRows | Sweeps, states: Sequence[DrawState], unsolved: Positions, stop: StopRule
) -> list[BlockFit]:
    """The best heads; those of blocks whose steps are used up get certificates of float64 products, too."""
    for index in map(int, unsolved):
        states[index].begin_again()
    if unsolved.size:
        _evaluate(passes, states, unsolved)
    return [state.fit(stop.limit) for state in states]


def _evaluate(passes: OwnRows | Sweeps, states: Sequence[DrawState], active: Positions) -> None:
    """Evaluate the trial heads: two passes over the rows for those in float32, and two for the others."""
    for is_exact in (False, True):
        own = {index: states[index] for index in map(int, active) if states[index].is_exact is is_exact}
        if not own:
            continue
        which = np.asarray(list(own), np.int64)
        heads = np.stack([state.difference for state in own.values()])
        logits = passes.logits(which, heads, float32=not is_exact)
        residuals = on_threads(_residuals, list(zip(own.values(), logits, strict=True)))
        gradients = passes.gradients(which, residuals, float32=not is_exact)
        on_threads(_take, list(zip(own.values(), gradients, strict=True)))


def _residuals(pair: tuple[DrawState, Floats]) -> Floats:
    state, logits = pair
    return state.residuals(logits)


def _take(pair: tuple[DrawState, Floats]) -> None:
    state, gradient = pair
    state.take(gradient)


def _begun(features: NDArray[np.floating], members: Sequence[Block], stop: StopRule) -> list[tuple[Family, list[int]]]:
    """Families with the places of their blocks: at the optimum of a part of a family's first draw."""
    alike = families(members)
    drawn = [[members[index] for index in indices] for indices in alike]
    parts = [_part(own[0], _part_size(own, int(features.shape[1]))) for own in drawn]
    rule = StopRule(limit=START_GAP, max_iterations=stop.max_iterations, check=stop.check)
    found: list[tuple[Family, list[int]]] = []
    # Few enough at a time that their copies of columns fit in memory.
    most = max(1, budget.DEFAULT.own_columns_bytes // (8 * FEWEST_SLOTS * max(part.n_used for part in parts)))
    starts = [
        start for some in tiles(len(parts), most) for start in active_set(features, parts[some], rule, least=stop.limit)
    ]
    for indices, own, start in zip(alike, drawn, starts, strict=True):
        stop.check()
        found.append((Family(features, own, start.theta[0]), indices))
    return found


def _part_size(family: Sequence[Block], n_features: int) -> int:
    """Rows of the part of the first draw that gives the first head."""
    n_used, tall = family[0].n_used, PART_TALL if len(family) == 1 else 2 * PART_TALL
    return min(n_used, max(n_used // PART, tall * (n_features + 1)))


def _part(block: Block, size: int) -> Block:
    """The block of some of its rows of positive weight, evenly spaced."""
    counting = np.arange(block.n_used) if block.weight is None else np.flatnonzero(block.weight)
    kept = counting[np.arange(size) * counting.size // size]
    return replace(block, rows=block.used()[kept], weight=None if block.weight is None else block.weight[kept])
