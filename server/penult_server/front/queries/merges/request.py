"""A request to merge: every name a digest, every number decided, and refused where its checkpoints do not fit."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from penult_proto.enums import name_of
from penult_proto.errors import ErrorKind
from penult_proto.merge_methods import SELECT_METRICS, MergeMethod
from penult_proto.notes import NoteId
from penult_proto.v1 import datasets_pb2, merges_pb2, runs_pb2
from penult_server.errors import ServiceError, unknown
from penult_server.front.queries.merges.compatible import Facts, check_bodies, check_heads, facts_of, incompatible
from penult_server.front.queries.merges.numbers import check_shares, complete_numbers, method_of, number_of
from penult_server.front.queries.merges.parents import Parent, Start, checkpoint_or_run, named_parents, start_of
from penult_server.front.queries.merges.selecting import complete_select
from penult_server.front.queries.merges.statistics import (
    check_modality,
    complete_data,
    complete_rows,
    complete_statistics,
)
from penult_server.front.registry_thread import Registry
from penult_server.merging.tensors import Scope, all_blocks, has_batch_norm, head_of, merged_tensors
from penult_server.notes import Note, notes_to_proto
from penult_server.registry.catalog import Catalog
from penult_server.stores.runs import read_run_manifest

FindDataset = Callable[[str], Awaitable[datasets_pb2.Dataset]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What the registry knows of a request."""

    parents: tuple[Parent, ...]
    starts: tuple[Start | None, ...]
    base: str
    """Digest of a base that was given, empty without."""
    base_start: Start | None
    notes: tuple[Note, ...]


async def complete_merge(
    spec: merges_pb2.MergeSpec,
    registry: Registry,
    root: Path,
    find_dataset: FindDataset,
    usual: str = "",
    *,
    is_made: bool = True,
) -> None:
    """In place; `usual`: the dataset of running statistics where none is named, before the parents' own; `is_made`:
    whether a network is made, which has running statistics.

    Raises ServiceError: INVALID_ARGUMENT, UNKNOWN_METHOD, UNKNOWN_CHECKPOINT, UNKNOWN_DATASET,
    INCOMPATIBLE_CHECKPOINTS, STORE_CORRUPT.
    """
    method = method_of(spec)
    del spec.notes[:]
    _check_arguments(spec, method)
    found = await registry.run(_found, registry.catalog, spec, method)
    found = await asyncio.to_thread(_distinct, root, found, method)
    complete_numbers(spec, method, len(found.parents))
    facts = await asyncio.to_thread(_facts, root, found, spec)
    first = facts[0]
    scope = _scope(spec, first)
    merged = set(merged_tensors(first.header, first.manifest, scope, spec.blocks))
    _check_scope(spec, facts, merged)
    base, notes = await asyncio.to_thread(_base, root, spec, method, found, merged & head_of(first.manifest))
    if base and base not in {one.manifest.digest for one in facts}:
        check_bodies(first, await asyncio.to_thread(facts_of, root, base), allow_datasets=True)
    changes_body = bool(merged - head_of(first.manifest))
    has_statistics = is_made and changes_body and has_batch_norm(first.header)
    reads = method.selects or method.reads_rows
    measures = complete_statistics(spec, has_batch_norm=has_statistics, selects=reads)
    _check_number(found, method, base, measures=measures)
    if measures or reads:
        dataset = await _complete_data(spec, first, find_dataset, usual)
        if measures:
            complete_data(spec, dataset)
        if method.reads_rows:
            complete_rows(spec, dataset)
        if method.selects:
            complete_select(spec, dataset, first.manifest.classes)
    _write(spec, method, found, base)
    spec.notes.extend(notes_to_proto([*found.notes, *notes]))


def _check_arguments(spec: merges_pb2.MergeSpec, method: MergeMethod) -> None:
    """What contradicts the method by itself."""
    if spec.base and not (method.needs_base or method.takes_base):
        raise _without_effect("base", f"on the method {method.name!r}")
    if spec.HasField("seed") and not method.is_random:
        raise _without_effect("seed", f"on the method {method.name!r}, which draws nothing")
    if method.is_random:
        spec.seed = spec.seed
    if spec.row_stream and not method.reads_rows:
        raise _without_effect("row_stream", f"on the method {method.name!r}, which measures on no rows")
    if method.reads_rows:
        spec.row_stream = spec.row_stream or merges_pb2.BATCH_NORM_STREAM_NATURAL
    if spec.HasField("select") and not method.selects:
        raise _without_effect("select", f"on the method {method.name!r}, which chooses nothing")
    if method.selects:
        spec.select.metric = spec.select.metric or SELECT_METRICS[0]
    if spec.scope == merges_pb2.MERGE_SCOPE_BLOCKS and not spec.blocks:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT, "scope='blocks' needs blocks=[...], names of blocks", field="blocks"
        )
    if spec.blocks and spec.scope != merges_pb2.MERGE_SCOPE_BLOCKS:
        raise _without_effect("blocks", "without scope='blocks'")
    check_shares(spec, method, [one.share if one.HasField("share") else None for one in spec.parents])


def _found(catalog: Catalog, spec: merges_pb2.MergeSpec, method: MergeMethod) -> _Found:
    """On the registry's thread."""
    k = int(number_of(spec, method, "k", 0)) if method.of_run else 1
    parents, notes = named_parents(catalog, spec, method, k)
    base = ""
    if spec.base:
        thing = checkpoint_or_run(catalog, spec.base)
        if isinstance(thing, runs_pb2.Run):
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                f"base must be a checkpoint, and {spec.base!r} is a run; name its first checkpoint",
                field="base",
            )
        base = thing.digest
    if method.name == "wise" and len(parents) == 2 and not base:
        base, parents = parents[0].checkpoint.digest, parents[1:]
    starts = tuple(start_of(catalog, one.checkpoint) for one in parents)
    base_start = start_of(catalog, catalog.checkpoint(base)) if base else None
    return _Found(parents=tuple(parents), starts=starts, base=base, base_start=base_start, notes=tuple(notes))


def _distinct(root: Path, found: _Found, method: MergeMethod) -> _Found:
    """Parents of equal weights count once; those with the share 0 are left out."""
    kept: dict[str, tuple[Parent, Start | None]] = {}
    notes = list(found.notes)
    for parent, start in zip(found.parents, found.starts, strict=True):
        weights = facts_of(root, parent.checkpoint.digest).manifest.weights_digest
        if weights in kept:
            earlier = kept[weights][0]
            text = (
                f"checkpoints {earlier.checkpoint.digest[:12]} and {parent.checkpoint.digest[:12]} have equal weights"
            )
            notes.append(Note(NoteId.INGREDIENTS, f"{text}: they count once"))
            share = None if parent.share is None else (earlier.share or 0.0) + parent.share
            kept[weights] = (replace(earlier, share=share), kept[weights][1])
        else:
            kept[weights] = (parent, start)
    if len(kept) < 2 and len(found.parents) > 1:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"a merge needs at least two checkpoints of different weights; the {len(found.parents)} that were named "
            "have the same",
            field="checkpoints",
        )
    used = [one for one in kept.values() if one[0].share != 0]
    return replace(
        found, parents=tuple(one for one, _ in used), starts=tuple(start for _, start in used), notes=tuple(notes)
    )


def _facts(root: Path, found: _Found, spec: merges_pb2.MergeSpec) -> list[Facts]:
    """Facts of every parent, in the order in which they were named; checked against the first."""
    facts = [facts_of(root, one.checkpoint.digest) for one in found.parents]
    for other in facts[1:]:
        check_bodies(facts[0], other, allow_datasets=spec.allow_datasets)
    return facts


def _scope(spec: merges_pb2.MergeSpec, first: Facts) -> Scope:
    """In place: the scope. Raises ServiceError (INVALID_ARGUMENT) for blocks that do not exist, listing all."""
    spec.scope = spec.scope or merges_pb2.MERGE_SCOPE_BODY
    known = list(all_blocks(first.header, first.manifest))
    for name in spec.blocks:
        if name not in known:
            raise unknown(ErrorKind.INVALID_ARGUMENT, f"block of {first.manifest.backbone!r} called", name, known)
    if len(set(spec.blocks)) < len(spec.blocks):
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT, f"name every block once, got {list(spec.blocks)}", field="blocks"
        )
    return cast(Scope, name_of(merges_pb2.MergeScope, spec.scope))


def _check_scope(spec: merges_pb2.MergeSpec, facts: Sequence[Facts], merged: set[str]) -> None:
    first = facts[0]
    if not merged & head_of(first.manifest):
        return
    if spec.allow_datasets and len({(one.manifest.dataset_digest, one.manifest.attribute) for one in facts}) > 1:
        raise incompatible(
            "heads of different datasets are not merged, which allow_datasets=True allows of bodies; take scope='body'"
        )
    for other in facts[1:]:
        check_heads(first, other)


def _base(
    root: Path, spec: merges_pb2.MergeSpec, method: MergeMethod, found: _Found, head: set[str]
) -> tuple[str, list[Note]]:
    """The base, empty where the method has none; and what is said of the starts.

    Raises ServiceError (INCOMPATIBLE_CHECKPOINTS) where a common start is needed and there is none.
    """
    roots = {one.root for one in (*found.starts, found.base_start) if one is not None and one.root}
    if head and len(roots) > 1:
        starts = ", ".join(sorted(one[:12] for one in roots)[:5])
        raise incompatible(
            f"the heads started from different ones (checkpoints {starts}), so that their rows have no common meaning; "
            "merge the bodies (scope='body') and refit the head, or finetune all of them with start= one checkpoint",
            sorted(head),
        )
    if found.base:
        return found.base, []
    known = [one.checkpoint for one in found.starts if one is not None and one.checkpoint]
    if len(set(known)) > 1 and len(roots) == 1:
        known = list(roots)
    is_one = len(set(known)) == 1 and all(one is not None and one.checkpoint for one in found.starts)
    has_one_body = is_one or (not head and _have_one_body(root, found.starts))
    if not method.needs_base:
        is_alone = len(found.parents) < 2
        return "", [] if has_one_body or is_alone else [_no_start(found.starts)]
    if has_one_body and known:
        return min(known), []
    raise incompatible(
        f"the method {method.name!r} is about what was learned since a common start, and the checkpoints have none "
        f"that is stored: {_starts_listed(found.starts)}; give base=, the checkpoint that all of them started from"
    )


def _have_one_body(root: Path, starts: Sequence[Start | None]) -> bool:
    """Whether all runs started from the same weights, whatever their heads."""
    weights: set[str] = set()
    for one in starts:
        if one is None:
            return False
        try:
            weights.add(read_run_manifest(root, one.run).weights)
        except ServiceError:  # of another store, or deleted
            return False
    return len(weights) == 1 and weights != {"random"}


def _no_start(starts: Sequence[Start | None]) -> Note:
    text = (
        f"no common start of the checkpoints is known ({_starts_listed(starts)}): between networks that were not "
        "finetuned from one another may lie a barrier, where the mean is worse than all of them; measure it on "
        "features of the merge"
    )
    return Note(NoteId.INGREDIENTS, text)


def _starts_listed(starts: Sequence[Start | None]) -> str:
    said = [f"checkpoint {one.checkpoint[:12]}" if one and one.checkpoint else "not known" for one in starts]
    return ", ".join(dict.fromkeys(said))


def _check_number(found: _Found, method: MergeMethod, base: str, *, measures: bool) -> None:
    """Raise ServiceError (INVALID_ARGUMENT) for more or fewer networks than the method takes."""
    n = len(found.parents)
    named = f"the method {method.name!r} takes"
    if method.most and n > method.most:
        most = "one checkpoint, and its start or base=" if method.most == 1 else f"{method.most} checkpoints"
        raise ServiceError(ErrorKind.INVALID_ARGUMENT, f"{named} {most}; got {n}", field="checkpoints")
    if n == 1 and base == found.parents[0].checkpoint.digest:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"checkpoint {base[:12]} is its own start: there is nothing between them; name one that was trained",
            field="checkpoints",
        )
    has_shares = found.parents[0].share is not None
    # With the shares (1, 0) one is left, and is what comes of it.
    enough = has_shares or (n >= method.least and (n > 1 or method.needs_base or measures))
    if not enough:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"{named} at least {max(2, method.least)} checkpoints of different weights; got {n}"
            + ("; one alone with bn='reestimate', where it has BatchNorm" if method.least == 1 else ""),
            field="checkpoints",
        )


async def _complete_data(
    spec: merges_pb2.MergeSpec, first: Facts, find_dataset: FindDataset, usual: str
) -> datasets_pb2.Dataset:
    manifest = first.manifest
    if not (spec.dataset or usual or manifest.dataset):
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"checkpoint {first.short} was imported and belongs to no dataset: say on which one it is measured, "
            "dataset=..., or take bn='average' or bn='first' where running statistics alone need one",
            field="dataset",
        )
    dataset = await find_dataset(spec.dataset or usual or manifest.dataset)
    spec.dataset = dataset.name
    by_group = merges_pb2.BATCH_NORM_STREAM_GROUP in (spec.batch_norm.stream, spec.row_stream)
    if spec.attribute and not spec.HasField("select") and not by_group:
        raise _without_effect("attribute", "without bn_stream='group', row_stream='group' or select=")
    if spec.HasField("select") or by_group:
        names = [one.name for one in dataset.attributes]
        own = manifest.attribute if manifest.dataset == dataset.name else ""
        spec.attribute = spec.attribute or own or names[0]
        if spec.attribute not in names:
            raise unknown(
                ErrorKind.ATTRIBUTE_MISSING, f"attribute of dataset {dataset.name!r} called", spec.attribute, names
            )
    check_modality(dataset, is_text=manifest.max_tokens > 0)
    return dataset


def _write(spec: merges_pb2.MergeSpec, method: MergeMethod, found: _Found, base: str) -> None:
    """In place: the parents by their digests, in whose order sums run."""
    spec.rest = found.parents[0].checkpoint.digest
    spec.base = base
    ordered = found.parents if method.is_ordered else sorted(found.parents, key=lambda one: one.checkpoint.digest)
    del spec.parents[:]
    for one in ordered:
        spec.parents.add(checkpoint=one.checkpoint.digest, share=one.share)


def _without_effect(argument: str, where: str) -> ServiceError:
    return ServiceError(
        ErrorKind.INVALID_ARGUMENT, f"{argument} has no effect {where}; leave it out", field=argument, argument=argument
    )
