"""L2 blocks with more rows than features, solved by L-BFGS with an eigenbasis, over unions of their rows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from array_api_compat import array_namespace

from penult_kernels.arrays import Array, asarray_like, fits_float32
from penult_kernels.linear.blocks.batch import make_batch, starting_point
from penult_kernels.linear.blocks.blocks import Block
from penult_kernels.linear.control import Control, unseen
from penult_kernels.linear.l2.choose import Group, work_in_features, work_of_a_product
from penult_kernels.linear.l2.eigenbasis import Eigenbases, Eigenbasis, are_alike, make_preconditioner
from penult_kernels.linear.l2.feature_space import PrimalSpace
from penult_kernels.linear.l2.lbfgs import lbfgs, lbfgs_with_pairs
from penult_kernels.linear.l2.paths import ROUGH_GAP, anchors
from penult_kernels.linear.l2.plan import CERTIFIED_FRACTION, Footprint, Together, together
from penult_kernels.linear.l2.quick_loop import Reached, WarmStart

MEMORY = 16
"""Pairs of steps and gradient changes that L-BFGS keeps."""
OTHER_VECTORS = 8
"""Vectors per block in addition to these pairs."""


@dataclass(frozen=True, slots=True, eq=False)
class ByFeatures:
    """Solves blocks of equally many columns, all with an l2, in the space of the features."""

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
            row_width=4 if fits_float32(self.features) else 8,
            per_block=8 * (2 * MEMORY + OTHER_VECTORS) * self.blocks[0].n_columns * n_features,
        )

    def work(self, positions: Sequence[int]) -> int:
        """Multiplications that the blocks at `positions` take."""
        return work_in_features(self._groups(self._parts(positions)), int(self.features.shape[1]))

    def warm_starts(self, positions: Sequence[int]) -> dict[int, WarmStart]:
        """Warm starts of the blocks at `positions` for which an eigenbasis pays and which were not cancelled."""
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
        """Positions grouped by scale: blocks that one eigenbasis serves."""
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
        batch = make_batch(self.features, members, dense=is_kept, in_float32=fits_float32(self.features))
        preconditioner = make_preconditioner(batch, basis)
        start = batch.mask(starting_point(self.features, members))
        reached = self._reached(PrimalSpace(batch, preconditioner), start, members)
        return {
            index: WarmStart(
                theta=reached.theta[place, :, :],
                passes=2 * int(reached.evaluations[place]),
                iterations=int(reached.evaluations[place]),
                preconditioner=preconditioner.of(place),
            )
            for place, index in enumerate(part.positions)
        }

    def _reached(self, space: PrimalSpace, start: Array, members: Sequence[Block]) -> Reached:
        """Minimise from `start`, where that pays some of the blocks first and all from between their solutions."""
        xp = array_namespace(start)
        stop = self.control.stop(members, fraction=CERTIFIED_FRACTION)
        few = anchors(members)
        if few is None:
            return lbfgs(space, space.flat(start), stop, memory=MEMORY)
        own = space.take(few.positions)
        rough = self.control.stop([members[int(index)] for index in few.positions], fraction=CERTIFIED_FRACTION)
        first, pairs, made = lbfgs_with_pairs(
            own,
            own.flat(xp.take(start, asarray_like(few.positions, start), axis=0)),
            replace(rough, limit=max(rough.limit, ROUGH_GAP), left=unseen),
            memory=MEMORY,
        )
        known_heads = xp.reshape(first.theta, (first.theta.shape[0], -1))
        between = xp.reshape(asarray_like(few.weights, start) @ known_heads, start.shape)
        stiffer = space.stiffness(between) - own.take(few.nearest).stiffness(between)
        known = pairs.of_others(few.nearest, stiffer)
        if made is not None:
            space = replace(space, preconditioner=made.of_others(space.preconditioner, few.nearest))
        reached = lbfgs(space, space.flat(between), stop, memory=MEMORY, pairs=known)
        reached.evaluations[few.positions] += first.evaluations
        return reached
