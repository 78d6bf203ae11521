"""Networks compared from file to file, block by block: of each a slice is in memory."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from penult_kernels.weight_space.blocks import block_of
from penult_kernels.weight_space.piece import Piece
from penult_kernels.weight_space.task_vectors import TaskVectors
from penult_server.merging.parents import ParentWeights
from penult_server.merging.streamed import MOST_ENTRIES, SLICE_BYTES, MergePlan


def compared(root: Path, plan: MergePlan, *, beat: Callable[[float], None]) -> dict[str, TaskVectors]:
    """Task vectors of the networks of a plan that has a base, by block, in the order of the blocks' names.

    `beat` is called before each slice with the fraction done, and may raise. Every file is verified. Raises
    ServiceError (STORE_CORRUPT).
    """
    digests = dict.fromkeys([*plan.parents, plan.base])
    step = min(MOST_ENTRIES, max(1024, SLICE_BYTES // (8 * (4 * len(digests) + 6))))
    found: dict[str, TaskVectors] = {}
    with ExitStack() as stack:
        opened = {one: stack.enter_context(ParentWeights(root, one, step, plan.rows.get(one))) for one in digests}
        sizes = {name: opened[plan.base].n_entries(name) for name in plan.merged}
        done, total = 0, max(1, sum(sizes.values()))
        for name, size in sizes.items():
            block = found.setdefault(block_of(name), TaskVectors(len(plan.parents)))
            for piece in _pieces(plan, opened, name, size, step):
                beat(done / total)
                block.add(piece)
                done += len(piece.parents[0])
        for one in opened.values():
            one.verify()
    return dict(sorted(found.items()))


def _pieces(plan: MergePlan, opened: dict[str, ParentWeights], name: str, size: int, step: int) -> Iterator[Piece]:
    for start in range(0, size, step):
        stop = min(start + step, size)
        read = {one: np.asarray(file.read(name, start, stop)) for one, file in opened.items()}
        parents = [read[one] for one in plan.parents]
        yield Piece(name=name, start=start, size=size, parents=parents, base=read[plan.base])
