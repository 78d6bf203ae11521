"""StorageService: what the store takes, and how things are taken out of it."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

from penult_proto.enums import name_of, names_of
from penult_proto.errors import ErrorKind
from penult_proto.v1 import storage_pb2 as pb
from penult_proto.v1 import storage_pb2_grpc
from penult_server.datasets.catalog import packaged
from penult_server.errors import ServiceError
from penult_server.front.caller import CALLER, Caller
from penult_server.front.guard import Context
from penult_server.front.registry_thread import Registry
from penult_server.front.users.rules import check_own
from penult_server.front.workers.compute_workers import ComputeWorkers
from penult_server.registry.deletion_plan import Plan, Sort, Thing
from penult_server.registry.usage import add_up
from penult_server.stores.disk.sizes import Sizes
from penult_server.stores.places.opening import bytes_elsewhere
from penult_server.stores.removal import remove

MOST_LISTED = 8
"""Things that the message of a refusal lists; `dry_run` lists all of them."""

Bytes = dict[Thing, int]


class StorageServicer(storage_pb2_grpc.StorageServiceServicer):
    """Delete, and what there is to delete."""

    def __init__(self, root: Path, registry: Registry, compute: ComputeWorkers) -> None:
        self._root = root
        self._registry = registry
        self._compute = compute

    async def Delete(self, request: pb.DeleteRequest, context: Context) -> pb.Deletion:
        sort = _sort(request)
        if sort is Sort.DATASET and request.id in packaged():
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                f"{request.id!r} is part of the installation and takes no space in the store; only datasets that were "
                "registered can be deleted",
                field="id",
            )
        deletions, run = self._registry.deletions, self._registry.run
        plan = await run(deletions.planner.plan, sort, request.id, dependents=request.dependents)
        places = await run(deletions.places, [*plan.goes, *plan.in_the_way, *plan.stays])
        sizes = await asyncio.to_thread(_measure, places)
        if not request.dry_run:
            plan, left = await run(self._execute, sort, request, sizes, CALLER.get())
            # Whoever asked may leave: what the registry has forgotten is removed all the same.
            await asyncio.shield(self._clear(plan, left))
        return _deletion(plan, sizes, dry_run=request.dry_run)

    async def GetUsage(self, request: pb.GetUsageRequest, context: Context) -> pb.Usage:
        facts = await self._registry.run(self._registry.usage_facts)
        return await asyncio.to_thread(add_up, self._root, facts, with_things=request.things)

    def _execute(self, sort: Sort, request: pb.DeleteRequest, sizes: Bytes, caller: Caller) -> tuple[Plan, list[Path]]:
        """Plan once more and carry it out: on the registry's thread, so that nothing comes between."""
        deletions = self._registry.deletions
        plan = deletions.planner.plan(sort, request.id, dependents=request.dependents)
        if plan.in_the_way:
            raise _refusal(plan, sizes)
        for thing in plan.goes:
            card = self._registry.catalog.cards.get(thing.sort.table, thing.id)
            check_own(_said(thing), card.user, caller)
        return plan, deletions.execute(plan)

    async def _clear(self, plan: Plan, left: list[Path]) -> None:
        """Remove what was forgotten, and take the space kept back again when it was needed."""
        await asyncio.to_thread(remove, left)
        await asyncio.to_thread(self._registry.deletions.reserve.keep)
        for digest in plan.ids(Sort.FEATURES):
            self._compute.damaged.discard(digest)
            self._compute.forget(digest)


def _sort(request: pb.DeleteRequest) -> Sort:
    """Raises ServiceError (INVALID_ARGUMENT)."""
    name = name_of(pb.StoredKind, request.kind)
    if name is None:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"kind must be one of {', '.join(sort.value for sort in Sort)}; got number {request.kind}",
            field="kind",
        )
    return Sort(name)


def _measure(places: dict[Thing, list[Path]]) -> Bytes:
    """Bytes of each thing; files with several links count for the first."""
    sizes = Sizes()
    return {
        thing: thing.n_bytes + sum(sizes.of(path) + bytes_elsewhere(path) for path in paths)
        for thing, paths in places.items()
    }


def _refusal(plan: Plan, sizes: Bytes) -> ServiceError:
    """Why a thing cannot be deleted, naming what stands in the way."""
    thing, others = plan.goes[0], plan.in_the_way
    lines = [f"{_said(one)} ({sizes.get(one, 0):,} bytes; {one.reason})" for one in others[:MOST_LISTED]]
    more = f" and {len(others) - MOST_LISTED} more" if len(others) > MOST_LISTED else ""
    total = sum(sizes.get(one, 0) for one in others)
    jobs = [one.id for one in others if one.sort is Sort.JOB]
    advice = "" if jobs else "; delete them first, or with it by dependents=True (dry_run=True says what would go)"
    return ServiceError(
        ErrorKind.IN_USE,
        f"{_said(thing)} is in use, nothing was deleted: {'; '.join(lines)}{more}; {total:,} bytes in all{advice}",
        id=thing.id,
        in_the_way=", ".join(one.id for one in others),
        jobs=", ".join(jobs),
    )


def _said(thing: Thing) -> str:
    named = f" {', '.join(thing.names)}" if thing.names and thing.sort is not Sort.DATASET else ""
    return f"{thing.sort} {thing.id[:12] if thing.sort is not Sort.DATASET else thing.id}{named}"


def _deletion(plan: Plan, sizes: Bytes, *, dry_run: bool) -> pb.Deletion:
    return pb.Deletion(
        dry_run=dry_run,
        goes=_things(plan.goes, sizes),
        stays=_things(plan.stays, sizes),
        in_the_way=_things(plan.in_the_way, sizes),
    )


def _things(things: Iterable[Thing], sizes: Bytes) -> list[pb.StoredThing]:
    kinds = names_of(pb.StoredKind)
    return [
        pb.StoredThing(
            kind=kinds[one.sort.value],
            id=one.id,
            names=one.names,
            bytes=0 if one.name_only else sizes.get(one, one.n_bytes),
            reason=one.reason,
        )
        for one in things
    ]
