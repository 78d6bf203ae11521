"""L2 blocks with more rows than features, solved by L-BFGS with an eigenbasis: all that overlap enough together."""

from collections.abc import Sequence
from dataclasses import dataclass

from penult_kernels.arrays import Array, is_narrow
from penult_kernels.batch_lbfgs import lbfgs
from penult_kernels.choose import Group, work_in_features, work_of_a_product
from penult_kernels.eigenbasis import Eigenbases, Eigenbasis, are_alike, make_preconditioner
from penult_kernels.l2_plan import CERTIFIED_SHARE, Footprint, Together, together
from penult_kernels.primal_space import PrimalSpace
from penult_kernels.quick_loop import WarmStart
from penult_kernels.refit_batch import make_batch, starting_point
from penult_kernels.refit_blocks import Block
from penult_kernels.solver_control import Control

MEMORY = 16
"""L-BFGS remembers so many pairs."""
OTHER_VECTORS = 8
"""A block takes so many vectors beside these pairs."""


@dataclass(frozen=True, slots=True, eq=False)
class ByFeatures:
    """Blocks with as many columns each, all with an l2."""

    features: Array
    blocks: Sequence[Block]
    control: Control
    bases: Eigenbases

    @property
    def _footprint(self) -> Footprint:
        n_rows, n_features = (int(size) for size in self.features.shape)
        return Footprint(
            n_rows=n_rows,
            n_features=n_features,
            row_width=4 if is_narrow(self.features) else 8,
            per_block=8 * (2 * MEMORY + OTHER_VECTORS) * self.blocks[0].n_columns * n_features,
        )

    def work(self, positions: Sequence[int]) -> int:
        """What some blocks take, in multiplications."""
        return work_in_features(self._groups(self._parts(positions)), int(self.features.shape[1]))

    def warm_starts(self, positions: Sequence[int]) -> dict[int, WarmStart]:
        """Where some blocks end, all of them or those for which an eigenbasis pays and that were still wanted."""
        starts: dict[int, WarmStart] = {}
        for alike in self._by_scale(positions):
            parts = self._parts(alike)
            scale = self.blocks[alike[0]].scaling.unit
            work = work_of_a_product(self._groups(parts), int(self.features.shape[1]))
            basis = self.bases.get(self.features, scale, work)
            if basis is not None:
                for part in parts:
                    starts.update(self._solve(part, basis))
        return starts

    def _parts(self, positions: Sequence[int]) -> list[Together]:
        return list(together(self.blocks, positions, self._footprint))

    def _groups(self, parts: Sequence[Together]) -> list[Group]:
        n_columns = self.blocks[0].n_columns
        return [Group(n_rows=part.n_used, n_heads=len(part.positions) * n_columns) for part in parts]

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

    def _solve(self, part: Together, basis: Eigenbasis) -> dict[int, WarmStart]:
        members = part.members(self.blocks)
        if self.control.all_unwanted(members):
            return {}
        is_kept = part.one_scaling and part.rows is not None and self._footprint.may_keep(part.n_used)
        batch = make_batch(self.features, members, dense=is_kept, narrow=is_narrow(self.features))
        preconditioner = make_preconditioner(batch, basis)
        space = PrimalSpace(batch, preconditioner)
        reached = lbfgs(
            space,
            space.flat(batch.mask(starting_point(self.features, members))),
            self.control.stop(members, share=CERTIFIED_SHARE),
            memory=MEMORY,
        )
        return {
            index: WarmStart(
                theta=reached.theta[place, :, :],
                passes=2 * int(reached.evaluations[place]),
                iterations=int(reached.evaluations[place]),
                preconditioner=preconditioner.of(place),
            )
            for place, index in enumerate(part.positions)
        }
