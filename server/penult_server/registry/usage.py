"""What the store takes on the disk: by sort of thing, by run, by user."""

import os
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from shutil import disk_usage

from sqlalchemy import select

from penult_proto.enums import names_of
from penult_proto.v1 import storage_pb2 as pb
from penult_server.registry.database import Database
from penult_server.registry.deletion_plan import Sort
from penult_server.registry.holdings import Holdings
from penult_server.registry.integrity.place import MARK
from penult_server.registry.sql.expressions import value_at
from penult_server.registry.tables import dataset, job
from penult_server.registry.tables import run as run_table
from penult_server.stores.disk.sizes import Sizes
from penult_server.stores.disk.verified import VERIFIED, LastLook, last_look
from penult_server.stores.places.opening import bytes_elsewhere
from penult_server.stores.training_states import state_bytes, state_file

KINDS = (
    "checkpoints",
    "features",
    "groupings",
    "datasets",
    "tokens",
    "uploads",
    "runs",
    "training states",
    "logs",
    "registry",
    "leftovers",
    "other",
)
"""Sorts of files, in the order in which they are told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the registry knows about the things whose files are added up."""

    runs: dict[str, bool]
    """Runs, and finetuning jobs that have made none, by their id; whether each has finished."""
    datasets: dict[str, str]
    """Names of the datasets that the runs train on."""
    run_of_checkpoint: dict[str, str]
    """The run that each registered checkpoint counts for; "" for one that belongs to none."""
    checkpoint_of_features: dict[str, str]
    features_of_grouping: dict[str, str]
    dataset_digests: dict[str, str]
    """Names of registered datasets by their digests."""
    names: dict[tuple[str, str], str]
    users: dict[tuple[str, str], str]
    """By the table of the registry that a thing is in, and its key there, like `names`."""


@dataclass(slots=True)
class _Totals:
    """Bytes and numbers, as they are added up."""

    root: Path
    look: LastLook | None
    with_things: bool
    bytes: Counter[str] = field(default_factory=Counter[str])
    counts: Counter[str] = field(default_factory=Counter[str])
    users: Counter[str] = field(default_factory=Counter[str])
    runs: dict[str, pb.UsageOfRun] = field(default_factory=lambda: defaultdict(pb.UsageOfRun))
    things: list[pb.UsageOfThing] = field(default_factory=list[pb.UsageOfThing])

    def add_thing(self, sort: Sort, folder: str, id: str, n_bytes: int) -> None:
        if not self.with_things:
            return
        thing = pb.UsageOfThing(kind=names_of(pb.StoredKind)[sort.value], id=id, bytes=n_bytes)
        if self.look is not None:
            at, thing.damage = self.look.of(self.root, f"{folder}/{id}")
            if at:
                thing.verified.FromDatetime(datetime.fromtimestamp(at, UTC))
        self.things.append(thing)

    def add(self, kind: str, n_bytes: int, *, count: int = 1) -> None:
        self.bytes[kind] += n_bytes
        self.counts[kind] += count


def read_facts(database: Database, holdings: Holdings) -> Facts:
    """Ask the registry. To be called on its thread."""
    registered = holdings.runs()
    runs = dict.fromkeys(registered, True)
    query = select(run_table.c.id, value_at(run_table.c.message, "spec.dataset"))
    datasets = {row[0]: row[1] for row in database.rows(query)}
    has_spec = value_at(job.c.message, "spec.finetune").is_not(None)
    query = select(job.c.id, value_at(job.c.message, "spec.finetune.dataset"))
    for id, name in database.rows(query.where(job.c.state != "JOB_STATE_SUCCEEDED", has_spec)):
        runs.setdefault(id, False)
        datasets.setdefault(id, name)
    holders: dict[str, str] = {}
    # Oldest first: a checkpoint counts for the oldest of its runs.
    for (run,) in database.rows(select(run_table.c.id).order_by(run_table.c.created, run_table.c.rowid)):
        for digest in registered[run].checkpoints:
            holders.setdefault(digest, run)
    first = {digest: run for run, digests in holdings.checkpoints_by_run().items() for digest in digests}
    owners = {digest: run if run in runs or not run else holders.get(digest, "") for digest, run in first.items()}
    return Facts(
        runs=runs,
        datasets=datasets,
        run_of_checkpoint=owners,
        checkpoint_of_features={one.digest: one.checkpoint for one in holdings.feature_sets()},
        features_of_grouping=holdings.groupings(),
        dataset_digests={digest: name for name, digest in database.rows(select(dataset.c.name, dataset.c.digest))},
        names=holdings.all_names(),
        users=holdings.users(),
    )


def add_up(root: Path, facts: Facts, *, with_things: bool = False) -> pb.Usage:
    """The usage of a store from its files. What is written or removed meanwhile may be counted or not.

    `with_things`: with a line for each thing, too.
    """
    look = last_look(root)
    totals, sizes = _Totals(root, look, with_things=with_things), Sizes()
    for name in sorted(_entries(root)):
        match name:
            case "checkpoints" | "features" | "groupings" | "datasets":
                _add_things(root / name, facts, totals, sizes)
            case "runs":
                _add_runs(root, facts, totals, sizes)
            case "tokens" | "logs" | "uploads":
                _add_files(root / name, name, totals, sizes)
            case _ if name.startswith("penult.db") or name in (MARK, VERIFIED):
                totals.add("registry", sizes.of(root / name))
            case _:
                kind = "leftovers" if name.startswith(".") else "other"
                totals.add(kind, sizes.of(root / name))
    disk = disk_usage(root)
    usage = pb.Usage(
        kinds=[pb.UsageOfKind(kind=kind, count=totals.counts[kind], bytes=totals.bytes[kind]) for kind in KINDS],
        runs=sorted(totals.runs.values(), key=_run_bytes, reverse=True),
        users=[pb.UsageOfUser(user=user, bytes=size) for user, size in totals.users.most_common()],
        bytes=totals.bytes.total(),
        free_bytes=disk.free,
        disk_bytes=disk.total,
        root=str(root),
        things=totals.things,
    )
    if look is not None:
        usage.verified.FromDatetime(datetime.fromtimestamp(look.started, UTC))
        usage.n_damages = len(look.damages)
    return usage


def _run_bytes(run: pb.UsageOfRun) -> int:
    return run.checkpoint_bytes + run.feature_bytes + run.training_state_bytes


def _entries(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _add_things(folder: Path, facts: Facts, totals: _Totals, sizes: Sizes) -> None:
    """Checkpoints, feature sets, groupings or datasets: a directory each, named by its digest."""
    known: Mapping[str, str] = {
        "checkpoints": facts.run_of_checkpoint,
        "features": facts.checkpoint_of_features,
        "groupings": facts.features_of_grouping,
        "datasets": facts.dataset_digests,
    }[folder.name]
    for digest in sorted(_entries(folder)):
        size = sizes.of(folder / digest) + bytes_elsewhere(folder / digest)
        if digest not in known:
            totals.add("leftovers", size)
            continue
        totals.add(folder.name, size)
        match folder.name:
            case "checkpoints":
                run, targets = known[digest], [(Sort.CHECKPOINT, digest)]
                _of_run(run, facts, totals).checkpoint_bytes += size
                _of_run(run, facts, totals).n_checkpoints += 1
            case "features":
                run = facts.run_of_checkpoint.get(known[digest], "")
                targets = [(Sort.FEATURES, digest), (Sort.CHECKPOINT, known[digest])]
                _of_run(run, facts, totals).feature_bytes += size
            case "groupings":
                run, targets = "", [(Sort.GROUPING, digest), (Sort.FEATURES, known[digest])]
            case _:
                run, targets = "", [(Sort.DATASET, known[digest])]
        totals.users[_user([*targets, (Sort.RUN, run)], facts)] += size
        totals.add_thing(targets[0][0], folder.name, digest, size)


def _add_runs(root: Path, facts: Facts, totals: _Totals, sizes: Sizes) -> None:
    elsewhere = state_bytes(root)
    for run in sorted(_entries(root / "runs")):
        on_disk = sizes.of(state_file(root, run))
        state = on_disk + elsewhere.get(run, 0)
        if run in facts.runs:
            rest = sizes.of(root / "runs" / run) - on_disk
            totals.add("runs", rest)
            totals.add("training states", state, count=int(state > 0))
            _of_run(run, facts, totals).training_state_bytes += state
            totals.add_thing(Sort.RUN, "runs", run, rest + state)
            totals.users[_user([(Sort.RUN, run)], facts)] += rest + state
        else:
            totals.add("leftovers", sizes.of(root / "runs" / run) + elsewhere.get(run, 0))


def _add_files(folder: Path, kind: str, totals: _Totals, sizes: Sizes) -> None:
    for name in sorted(_entries(folder)):
        totals.add("leftovers" if name.startswith(".") else kind, sizes.of(folder / name))


def _of_run(run: str, facts: Facts, totals: _Totals) -> pb.UsageOfRun:
    """The sums of a run; those that belong to no run are added up for nothing."""
    if not run:
        return pb.UsageOfRun()
    one = totals.runs[run]
    one.run, one.finished = run, facts.runs[run]
    one.dataset = facts.datasets.get(run) or ""
    one.name, one.user = (which.get((Sort.RUN.table, run), "") for which in (facts.names, facts.users))
    return one


def _user(targets: list[tuple[Sort, str]], facts: Facts) -> str:
    """The first that is known of the users of a thing and of what it came from."""
    return next((facts.users[sort.table, id] for sort, id in targets if facts.users.get((sort.table, id))), "")
