"""The checkpoints that a merge names, and what each started from. On the registry's thread."""

from collections.abc import Sequence
from dataclasses import dataclass

from penult_proto.errors import ErrorKind
from penult_proto.merge_methods import MOST_PARENTS, MergeMethod
from penult_proto.notes import NoteId
from penult_proto.v1 import merges_pb2, runs_pb2
from penult_server.errors import ServiceError
from penult_server.notes import Note
from penult_server.registry.catalog import Catalog

DEEPEST = 32
"""Merges of merges that are followed to their start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """One ingredient that exists."""

    checkpoint: runs_pb2.Checkpoint
    share: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a checkpoint started from."""

    checkpoint: str
    """Digest of epoch 0 of its run; empty where that is not stored."""
    root: str
    """What that in turn started from, as far as it is known: weights of one root have one origin."""
    run: str
    """The run whose manifest says from which weights it started."""


def named_parents(
    catalog: Catalog, spec: merges_pb2.MergeSpec, method: MergeMethod, k: int
) -> tuple[list[Parent], list[Note]]:
    """The ingredients in the order in which they were named; `k`: checkpoints of a run, for a method of runs.

    Raises ServiceError: INVALID_ARGUMENT, UNKNOWN_CHECKPOINT.
    """
    if not spec.parents:
        raise _invalid("a merge needs parents, checkpoints that it is made of; got none", "checkpoints")
    if len(spec.parents) > MOST_PARENTS:
        raise _invalid(
            f"at most {MOST_PARENTS} checkpoints are merged at once, got {len(spec.parents)}; merge merges of them, "
            "with shares=",
            "checkpoints",
        )
    found: list[Parent] = []
    notes: list[Note] = []
    for one in spec.parents:
        share = one.share if one.HasField("share") else None
        thing = checkpoint_or_run(catalog, one.checkpoint)
        if isinstance(thing, runs_pb2.Checkpoint):
            found.append(Parent(checkpoint=thing, share=share))
        elif method.of_run:
            found += [Parent(checkpoint=last) for last in _last(thing, k)]
        else:
            (last,) = _last(thing, 1)
            text = f"run {thing.id} stands for its last checkpoint, {last.digest[:12]}"
            notes.append(Note(NoteId.INGREDIENTS, text))
            found.append(Parent(checkpoint=last, share=share))
    if method.of_run and len({one.checkpoint.run_id for one in found}) > 1:
        raise _invalid(f"the method {method.name!r} merges checkpoints of one run; name a run", "checkpoints")
    return found, notes


def checkpoint_or_run(catalog: Catalog, name: str) -> runs_pb2.Checkpoint | runs_pb2.Run:
    """What a name, a digest or the start of one stands for. Raises ServiceError (UNKNOWN_CHECKPOINT)."""
    try:
        return catalog.checkpoint(name)
    except ServiceError as error:
        if error.kind != ErrorKind.UNKNOWN_CHECKPOINT:
            raise
        refusal = error
    try:
        return catalog.run(name)
    except ServiceError as error:
        if error.kind != ErrorKind.UNKNOWN_RUN:
            raise
    raise ServiceError(refusal.kind, f"{refusal.message}{_meant(catalog, name)}", **refusal.metadata)


def start_of(catalog: Catalog, checkpoint: runs_pb2.Checkpoint, depth: int = 0) -> Start | None:
    """What a checkpoint started from, of a merge what its parents did; None where that is not known."""
    if checkpoint.HasField("merge"):
        return _common_start(catalog, checkpoint.merge.spec, depth)
    try:
        run = catalog.run(checkpoint.run_id) if checkpoint.run_id else None
    except ServiceError:  # it was deleted, or has not ended
        return None
    if run is None:
        return None
    stored = next((one.digest for one in run.checkpoints if one.epoch == 0), "")
    return Start(checkpoint=stored, root=_root(catalog, stored, run.id, depth) or stored, run=run.id)


def _root(catalog: Catalog, stored: str, run: str, depth: int) -> str:
    """The start of a start that another run, or a merge, has made; else empty."""
    if not stored or depth >= DEEPEST:
        return ""
    try:
        first = catalog.checkpoint(stored)
    except ServiceError:  # it was deleted
        return ""
    found = start_of(catalog, first, depth + 1) if first.run_id != run else None
    return found.root if found else ""


def _common_start(catalog: Catalog, spec: merges_pb2.MergeSpec, depth: int) -> Start | None:
    if depth >= DEEPEST:
        return None
    starts: list[Start | None] = []
    for digest in [spec.base] if spec.base else [one.checkpoint for one in spec.parents]:
        try:
            starts.append(start_of(catalog, catalog.checkpoint(digest), depth + 1))
        except ServiceError:  # it was deleted
            return None
    known = [one for one in starts if one is not None and one.checkpoint]
    return known[0] if len(known) == len(starts) and len({one.checkpoint for one in known}) == 1 else None


def _last(run: runs_pb2.Run, k: int) -> Sequence[runs_pb2.Checkpoint]:
    """The last k checkpoints of a run, the earliest first. Raises ServiceError (INVALID_ARGUMENT) for fewer."""
    stored = sorted(run.checkpoints, key=lambda one: one.step)
    if len(stored) < k:
        raise _invalid(
            f"run {run.id} has {len(stored)} checkpoints, and the last {k} were to be merged; ask for fewer (k), or "
            "finetune with a smaller checkpoint_every",
            "checkpoints",
        )
    return stored[-k:]


def _meant(catalog: Catalog, name: str) -> str:
    """What to say where a feature set or a head was named."""
    try:
        found = catalog.feature_set(name)
    except ServiceError:
        return _meant_head(catalog, name)
    if found.checkpoint:
        return f"; {name!r} is a feature set: name its checkpoint, {found.checkpoint[:12]}"
    return f"; {name!r} is an uploaded feature set, which no stored model makes: only heads can be averaged on it"


def _meant_head(catalog: Catalog, name: str) -> str:
    try:
        catalog.refit(name)
    except ServiceError:
        return ""
    return (
        f"; {name!r} is a refit, a head alone: finetune(start={name!r}, epochs=0) makes a network with it, "
        "soup_heads one head of several"
    )


def _invalid(text: str, field: str) -> ServiceError:
    return ServiceError(ErrorKind.INVALID_ARGUMENT, text, field=field, argument=field)
