"""Weights merged from file to file: of every parent a slice is in memory, whatever their number and size."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_kernels.weight_space.methods.regmean import SingularError
from penult_kernels.weight_space.piece import Asked, Piece, Rule
from penult_kernels.weight_space.registry import RULES
from penult_kernels.weight_space.streaming import merged_pieces
from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.merging.measured_files import MeasuredFile
from penult_server.merging.parents import ParentWeights
from penult_server.merging.tensors import N_BATCHES, is_number
from penult_server.stores.writing.weights import WeightsWriter

SLICE_BYTES = 256 * 2**20
"""Most memory for the slices of all parents, and for what is computed from them."""
MOST_ENTRIES = 2**17
"""Most entries of a slice, of which two are held for each parent: more would leave the cache, and gain nothing."""

THREADS = 4
"""Threads that read, write and take digests, all of which leave Python's lock alone, while sums are made."""

AnyArray = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class MergePlan:
    """What is merged, by which rule; every name and number decided."""

    method: str
    parents: tuple[str, ...]
    """Digests in the order in which they are summed."""
    shares: tuple[float, ...]
    """Empty for the mean."""
    numbers: Mapping[str, float]
    seed: int
    base: str
    """Digest, or empty."""
    rest: str
    """Digest of the parent whose tensors are taken where nothing is merged."""
    merged: tuple[str, ...]
    """Tensors that the rule merges, in order."""
    averaged: tuple[str, ...] = ()
    """Tensors whose mean is taken, whatever the rule, in order."""
    tied: Mapping[str, str] = field(default_factory=dict[str, str])
    """The further names of tensors that are stored under several, and the first of each, by which it is merged."""
    rows: Mapping[str, Mapping[str, NDArray[np.int64]]] = field(default_factory=dict[str, Any])
    """Of parents and tensors whose rows are taken in another order."""
    importance: tuple[Path, ...] = ()
    """Of every parent, a file of how much each entry matters: tensors of the names and sizes of those that are merged;
    where one is missing its entries do not matter."""
    grams: tuple[Path, ...] = ()
    """Of every parent, a file of what its layers read: (D, D) by the names of their weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Streamed:
    """A file of weights that was merged."""

    weights_digest: str
    factors: Mapping[str, float]
    batch_counts: tuple[int, ...]
    """For how many batches BatchNorm of each parent has counted, where it has."""


def stream(
    root: Path, plan: MergePlan, target: Path, *, beat: Callable[[float], None], step: int = MOST_ENTRIES
) -> Streamed:
    """Merge into a new file. `beat` is called before each slice with the fraction done, and may raise.

    Raises ServiceError: STORE_CORRUPT for a parent that was altered; INCOMPATIBLE_CHECKPOINTS for whole numbers that
    differ; NOT_FINITE where the sum is.
    """
    digests: dict[str, None] = dict.fromkeys([*plan.parents, plan.rest, *([plan.base] if plan.base else [])])
    n_entries = min(step, max(1024, SLICE_BYTES // (8 * (2 * len(digests) + 6))))
    with ExitStack() as stack:
        opened = {one: stack.enter_context(ParentWeights(root, one, n_entries, plan.rows.get(one))) for one in digests}
        writer = stack.enter_context(WeightsWriter(target, opened[plan.rest].header))
        # Entered last, and so left first: what threads still read and write is closed afterwards.
        pool = stack.enter_context(ThreadPoolExecutor(THREADS, thread_name_prefix="weights"))
        work = _Work(plan, opened, writer, n_entries, beat, pool)
        try:
            factors = work.run()
        except SingularError as error:
            raise ServiceError(ErrorKind.INVALID_ARGUMENT, f"{error}, rows=...", field="rows") from error
        for _ in pool.map(ParentWeights.verify, opened.values()):
            pass
        return Streamed(weights_digest=writer.weights_digest(), factors=factors, batch_counts=work.batch_counts())


class _Work:
    """One pass over the names of all tensors, in their order."""

    def __init__(
        self,
        plan: MergePlan,
        opened: Mapping[str, ParentWeights],
        writer: WeightsWriter,
        n_entries: int,
        beat: Callable[[float], None],
        pool: ThreadPoolExecutor,
    ) -> None:
        self._pool = pool
        self._writing: Future[None] | None = None
        self._plan, self._opened, self._writer, self._step, self._beat = plan, opened, writer, n_entries, beat
        self._parents = [opened[one] for one in plan.parents]
        self._rest = opened[plan.rest]
        self._by_rule = set(plan.merged)
        self._importance = [MeasuredFile(one) for one in plan.importance]
        self._grams = [MeasuredFile(one) for one in plan.grams]
        self._done, self._total = 0, 1

    def run(self) -> dict[str, float]:
        """Write every tensor; returns the rule's factors."""
        rule = self._rule(self._plan.method)
        mean = self._rule("uniform")
        names = sorted(self._rest.header.tensors)
        self._total = sum(self._rest.header.tensors[name].n_bytes for name in names) * (rule.n_passes + 1)
        waiting = iter(names)
        for piece, values in merged_pieces(rule, self._plan.merged, self._pieces):
            if piece.start == 0:
                self._write_others_before(waiting, piece.name, mean)
            self._write(piece, values)
        self._write_others_before(waiting, "", mean)
        self._written()
        assert self._by_rule <= set(names)
        return rule.factors()

    def batch_counts(self) -> tuple[int, ...]:
        """Batches that the first BatchNorm of each parent has seen."""
        name = next((name for name in sorted(self._rest.header.tensors) if name.endswith(N_BATCHES)), "")
        return tuple(int(one.read(name, 0, 1)[0]) for one in self._parents) if name else ()

    def _rule(self, method: str) -> Rule:
        plan = self._plan
        return RULES[method](
            Asked(
                ids=plan.parents,
                shares=plan.shares,
                numbers=plan.numbers,
                seed=plan.seed,
                grams=(lambda name, index: self._grams[index].whole(name)) if self._grams else None,
            )
        )

    def _write_others_before(self, waiting: Iterator[str], name: str, mean: Rule) -> None:
        """The tensors that no rule merges, up to one that was merged."""
        for other in waiting:
            if other == name:
                return
            if self._plan.tied.get(other) in self._by_rule:
                self._repeat(other, self._plan.tied[other])
            elif other in self._plan.averaged:
                for piece in self._pieces(other):
                    self._write(piece, mean.merge(piece))
            else:
                self._copy(other)

    def _pieces(self, name: str) -> Iterator[Piece]:
        size = self._rest.n_entries(name)
        bounds = [(start, min(start + self._step, size)) for start in range(0, max(1, size), self._step)]
        asked = self._ask(name, *bounds[0])
        for index, (start, stop) in enumerate(bounds):
            read = {one: future.result() for one, future in asked.items()}
            # Not beside the first piece, at which tensors that come before this one are written.
            if ahead := 0 < index < len(bounds) - 1:
                asked = self._ask(name, *bounds[index + 1])
            self._advance(name, stop - start)
            yield Piece(
                name=name,
                start=start,
                size=size,
                parents=[read[one] for one in self._plan.parents],
                base=read[self._plan.base] if self._plan.base else None,
                importance=[one.part(name, start, stop) for one in self._importance],
            )
            if not ahead and index < len(bounds) - 1:
                asked = self._ask(name, *bounds[index + 1])

    def _ask(self, name: str, start: int, stop: int) -> dict[str, "Future[AnyArray]"]:
        """A slice of every network that is merged, read by threads."""
        digests = {*self._plan.parents, *([self._plan.base] if self._plan.base else [])}
        return {one: self._pool.submit(self._opened[one].read, name, start, stop) for one in digests}

    def _advance(self, name: str, n_entries: int) -> None:
        self._beat(min(1.0, self._done / max(1, self._total)))
        self._done += n_entries * np.dtype(self._rest.header.tensors[name].numpy_type).itemsize

    def _write(self, piece: Piece, values: AnyArray) -> None:
        kind = np.dtype(self._rest.header.tensors[piece.name].numpy_type)
        with np.errstate(over="ignore"):  # what is too large is refused below
            stored = values.astype(kind)
        if not np.isfinite(stored).all():
            self._check_parents(piece)
            raise ServiceError(
                ErrorKind.NOT_FINITE,
                f"merged, {int((~np.isfinite(stored)).sum())} values of {piece.name!r} are not finite in {kind}; take "
                "smaller shares or a smaller scale",
                tensors=piece.name,
            )
        self._written()
        self._writing = self._pool.submit(self._writer.write, piece.name, stored)

    def _check_parents(self, piece: Piece) -> None:
        """Raise ServiceError (INCOMPATIBLE_CHECKPOINTS) for a network that is not finite itself."""
        named = zip((*self._plan.parents, self._plan.base), (*piece.parents, piece.base), strict=True)
        for digest, values in named:
            if values is not None and not np.isfinite(values).all():
                raise ServiceError(
                    ErrorKind.INCOMPATIBLE_CHECKPOINTS,
                    f"checkpoint {digest[:12]} holds values of {piece.name!r} that are not finite; merge others",
                    tensors=piece.name,
                )

    def _written(self) -> None:
        """Wait for the last piece. Raises what its writing raised."""
        if self._writing is not None:
            self._writing.result()

    def _repeat(self, name: str, first: str) -> None:
        """A tensor that was written under its first name, which comes before this one, under another."""
        size = self._rest.n_entries(name)
        self._written()
        for start in range(0, max(1, size), self._step):
            stop = min(start + self._step, size)
            self._advance(name, stop - start)
            self._writer.write(name, self._writer.read(first, start, stop))

    def _copy(self, name: str) -> None:
        """The tensor of the parent that the rest comes from; whole numbers must be equal in all parents."""
        size = self._rest.n_entries(name)
        others: Sequence[ParentWeights] = []
        if not is_number(self._rest.header.tensors[name]) and not name.endswith(N_BATCHES):
            others = [one for one in self._parents if one is not self._rest]
        for start in range(0, max(1, size), self._step):
            stop = min(start + self._step, size)
            self._advance(name, stop - start)
            self._written()
            values = self._rest.read(name, start, stop)
            for other in others:
                if not np.array_equal(other.read(name, start, stop), values):
                    raise ServiceError(
                        ErrorKind.INCOMPATIBLE_CHECKPOINTS,
                        f"{name!r} holds whole numbers, which differ between checkpoints "
                        f"{self._rest.manifest.digest[:12]} and {other.manifest.digest[:12]}, and have no mean; merge "
                        "networks whose masks and indices are equal",
                        tensors=name,
                    )
            self._writer.write(name, values)
