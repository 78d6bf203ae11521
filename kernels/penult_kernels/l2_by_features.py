"""L2 blocks with more rows than features, begun by L-BFGS with an eigenbasis, all that overlap enough together."""

from collections.abc import Sequence
from dataclasses import dataclass

from penult_kernels.arrays import Array, is_narrow
from penult_kernels.batch_lbfgs import lbfgs
from penult_kernels.eigenbasis import Eigenbases, Eigenbasis, are_alike
from penult_kernels.l2_plan import PROVEN_SHARE, READING, Begun, Room, Together, together
from penult_kernels.preconditioner import make_preconditioner
from penult_kernels.primal_space import PrimalSpace
from penult_kernels.refit_batch import make_batch, starting_point
from penult_kernels.refit_blocks import Block
from penult_kernels.solver_control import Control

MEMORY = 16
"""Pairs that L-BFGS remembers."""
OTHER_VECTORS = 8
EVALUATIONS = 20
"""That a problem takes, about, of two products with the rows."""


@dataclass(frozen=True, slots=True, eq=False)
class ByFeatures:
    """Blocks with as many columns each, all with an l2."""

    features: Array
    blocks: Sequence[Block]
    control: Control
    bases: Eigenbases

    @property
    def _room(self) -> Room:
        n_rows, n_features = (int(size) for size in self.features.shape)
        return Room(
            n_rows=n_rows,
            n_features=n_features,
            row_width=4 if is_narrow(self.features) else 8,
            per_block=8 * (2 * MEMORY + OTHER_VECTORS) * self.blocks[0].n_columns * n_features,
        )

    def is_possible(self, index: int) -> bool:
        """Whether a block has rows enough to have about the covariance of all."""
        return self.blocks[index].n_used >= int(self.features.shape[1])

    def work(self, positions: Sequence[int]) -> float:
        """What some blocks take, in multiplications."""
        return 2 * EVALUATIONS * self._work_of_a_pass(self._parts(positions))

    def begin(self, positions: Sequence[int]) -> dict[int, Begun]:
        """Where some blocks end, all of them or those for which an eigenbasis pays and that were still wanted."""
        begun: dict[int, Begun] = {}
        for alike in self._by_scale(positions):
            parts = self._parts(alike)
            scale = self.blocks[alike[0]].scaling.unit
            basis = self.bases.get(self.features, scale, self._work_of_a_pass(parts))
            if basis is not None:
                for part in parts:
                    begun.update(self._begin(part, basis))
        return begun

    def _parts(self, positions: Sequence[int]) -> list[Together]:
        return list(together(self.blocks, positions, self._room))

    def _work_of_a_pass(self, parts: Sequence[Together]) -> float:
        rows_read = sum(part.n_used for part in parts)
        products = sum(part.n_used * len(part.positions) for part in parts) * self.blocks[0].n_columns
        return float(int(self.features.shape[1]) * (READING * rows_read + products))

    def _by_scale(self, positions: Sequence[int]) -> list[list[int]]:
        """Blocks whose columns are scaled about alike."""
        scales: list[Array] = []
        found: list[list[int]] = []
        place: dict[int, int] = {}
        for index in positions:
            block = self.blocks[index]
            if block.scaling_id not in place:
                unit = block.scaling.unit
                near = [at for at, scale in enumerate(scales) if are_alike(scale, unit)]
                if not near:
                    scales.append(unit)
                    found.append([])
                place[block.scaling_id] = near[0] if near else len(scales) - 1
            found[place[block.scaling_id]].append(index)
        return found

    def _begin(self, part: Together, basis: Eigenbasis) -> dict[int, Begun]:
        members = part.members(self.blocks)
        if self.control.all_unwanted(members):
            return {}
        is_kept = part.one_scaling and part.rows is not None and self._room.may_keep(part.n_used)
        batch = make_batch(self.features, members, dense=is_kept, narrow=is_narrow(self.features))
        preconditioner = make_preconditioner(batch, basis)
        space = PrimalSpace(batch, preconditioner)
        x, count = lbfgs(
            space,
            space.flat(batch.mask(starting_point(self.features, members))),
            limit=PROVEN_SHARE * self.control.limit(members[0].n_columns),
            memory=MEMORY,
            check=self.control.check,
            unwanted=self.control.unwanted(members),
        )
        theta = space.theta(x)
        return {
            index: Begun(
                theta=theta[place, :, :],
                passes=2 * int(count[place]),
                steps=int(count[place]),
                basis=basis,
                mean=preconditioner.mean[place, :, :],
            )
            for place, index in enumerate(part.positions)
        }
