"""Things in the registry: datasets, runs, checkpoints, feature sets with their names, results."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from google.protobuf.json_format import MessageToJson, Parse
from google.protobuf.message import Message
from sqlalchemy import Connection, Executable, Table, func, insert, select

from penult_proto.errors import ErrorKind
from penult_proto.v1 import (
    cards_pb2,
    catalog_pb2,
    checkpoints_pb2,
    datasets_pb2,
    features_pb2,
    groupings_pb2,
    jobs_pb2,
    refits_pb2,
    runs_pb2,
)
from penult_server.errors import ServiceError
from penult_server.notes import Note, notes_to_proto
from penult_server.registry.cards import NOTHING, Cards, Given, moved
from penult_server.registry.database import Database
from penult_server.registry.finding import Finder
from penult_server.registry.long_text import parsed, text_of
from penult_server.registry.pages import Condition, equals, read_page
from penult_server.registry.sql.expressions import insert_into
from penult_server.registry.summaries import SUMMARY_COLUMNS, summary_row
from penult_server.registry.tables import asked as asked_table
from penult_server.registry.tables import checkpoint as checkpoints
from penult_server.registry.tables import dataset as datasets
from penult_server.registry.tables import feature_set as feature_sets
from penult_server.registry.tables import grouping as groupings
from penult_server.registry.tables import result as results
from penult_server.registry.tables import run as runs
from penult_server.registry.tables import summary as summaries


@dataclass(frozen=True, slots=True)
class NewResult:
    """The answer to a query, and what is said of it."""

    digest: str
    kind: str
    answer: Message
    given: Given = NOTHING


class Catalog:
    """Reads and writes things. Every method is one transaction."""

    def __init__(self, database: Database, root: Path) -> None:
        self._database = database
        self._root = root
        self.cards = Cards(database)
        self.finder = Finder(database)
        self._asked: dict[str, float] = {}

    def add_dataset(self, dataset: datasets_pb2.Dataset, given: Given = NOTHING) -> None:
        """Register a dataset; registering the same content again changes nothing.

        Raises ServiceError: NAME_TAKEN when the name belongs to another content; UNKNOWN_DATASET when it is no longer
        in the store.
        """
        with self._database.transaction() as connection:
            taken = connection.execute(select(datasets.c.digest).where(datasets.c.name == dataset.name)).scalar()
            if taken not in (None, dataset.digest):
                raise ServiceError(
                    ErrorKind.NAME_TAKEN,
                    f"dataset {dataset.name!r} is registered with other content; choose another name",
                    name=dataset.name,
                )
            self._check_stored("datasets", dataset.digest, ErrorKind.UNKNOWN_DATASET)
            values = {"digest": dataset.digest, "message": MessageToJson(dataset)}
            _replace(connection, datasets, "name", dataset.name, **values)
            self.cards.add(connection, "dataset", dataset.name, given, is_new=taken is None)

    def datasets(self) -> list[datasets_pb2.Dataset]:
        """Registered datasets by name; packaged ones are not among them."""
        rows = self._database.checked_rows(datasets, select(datasets.c.message).order_by(datasets.c.name))
        found = [Parse(row[0], datasets_pb2.Dataset()) for row in rows]
        self.cards.fill(found)
        return found

    def dataset_page(self, options: cards_pb2.ListOptions, limit: int) -> tuple[list[datasets_pb2.Dataset], str]:
        """Registered datasets, newest first, and the next page."""
        page = read_page(self._database, datasets, [], options, limit)
        found = page.read(datasets_pb2.Dataset)
        self.cards.fill(found)
        return found, page.next_page

    def add_checkpoint(self, checkpoint: runs_pb2.Checkpoint, given: Given = NOTHING) -> None:
        """Register a checkpoint. One that exists (equal weights) is kept as it is.

        Raises ServiceError (UNKNOWN_CHECKPOINT) when it is no longer in the store: somebody deleted it meanwhile.
        """
        self._check_stored("checkpoints", checkpoint.digest, ErrorKind.UNKNOWN_CHECKPOINT)
        with self._database.transaction() as connection:
            values = {"digest": checkpoint.digest, "message": MessageToJson(checkpoint)}
            is_new = _keep(connection, checkpoints, **values)
            self.cards.add(connection, "checkpoint", checkpoint.digest, given, is_new=is_new)

    def checkpoint(self, name: str) -> runs_pb2.Checkpoint:
        """The checkpoint of a name, a digest or the unique start of one. Raises ServiceError (UNKNOWN_CHECKPOINT)."""
        rows = self._database.checked(checkpoints, digest=self.finder.find("checkpoint", name))
        found = Parse(rows[0][0], runs_pb2.Checkpoint())
        self.cards.fill([found])
        return found

    def checkpoint_page(
        self, request: checkpoints_pb2.ListCheckpointsRequest, limit: int
    ) -> tuple[list[runs_pb2.Checkpoint], str]:
        """Checkpoints, newest first, and the next page. Raises ServiceError (UNKNOWN_RUN)."""
        conditions = [
            *equals(checkpoints.c.dataset, request.dataset),
            *equals(checkpoints.c.backbone, request.backbone),
        ]
        if request.run:
            conditions += equals(checkpoints.c.run, self.finder.find("run", request.run))
        page = read_page(self._database, checkpoints, conditions, request.options, limit)
        found = page.read(runs_pb2.Checkpoint)
        self.cards.fill(found)
        return found, page.next_page

    def checkpoints_of_model(self, checkpoint: runs_pb2.Checkpoint) -> set[str]:
        """Digests of the checkpoints that give the same features, itself among them."""
        rows = self._database.rows(select(checkpoints.c.digest).where(checkpoints.c.model == checkpoint.model))
        return {checkpoint.digest, *(row[0] for row in rows)}

    def add_run(self, run: runs_pb2.Run, given: Given = NOTHING) -> None:
        """Register a finished run."""
        with self._database.transaction() as connection:
            is_new = not self._database.has(runs, id=run.id)
            _replace(connection, runs, "id", run.id, created=time.time(), message=MessageToJson(run))
            self.cards.add(connection, "run", run.id, given, is_new=is_new)

    def run(self, name: str) -> runs_pb2.Run:
        """The run of a name, an id or the unique start of one. Raises ServiceError (UNKNOWN_RUN)."""
        rows = self._database.checked(runs, id=self.finder.find("run", name))
        found = Parse(rows[0][0], runs_pb2.Run())
        self.cards.fill([found])
        return found

    def run_page(self, request: runs_pb2.ListRunsRequest, limit: int) -> tuple[list[runs_pb2.Run], str]:
        """Finished runs, newest first, and the next page."""
        conditions = [*equals(runs.c.dataset, request.dataset), *equals(runs.c.backbone, request.backbone)]
        page = read_page(self._database, runs, conditions, request.options, limit)
        found = page.read(runs_pb2.Run)
        self.cards.fill(found)
        return found, page.next_page

    def add_feature_set(
        self, feature_set: features_pb2.FeatureSet, given: Given = NOTHING, text: str = ""
    ) -> features_pb2.FeatureSet:
        """Register a feature set and, when given, move a name to it. Returns it with all its names.

        `text` is what `text_of` says of it, where that was asked in another thread.
        Raises ServiceError (UNKNOWN_FEATURE_SET) when it is no longer in the store: somebody deleted it meanwhile.
        """
        self._check_stored("features", feature_set.digest, ErrorKind.UNKNOWN_FEATURE_SET)
        with self._database.transaction() as connection:
            values = {"digest": feature_set.digest, "created": time.time(), "message": text or text_of(feature_set)}
            is_new = _keep(connection, feature_sets, **values)
            notes = self.cards.add(connection, "feature_set", feature_set.digest, given, is_new=is_new)
        found = self.feature_set(feature_set.digest)
        found.notes.extend(notes_to_proto(notes))
        return found

    def feature_set(self, name: str) -> features_pb2.FeatureSet:
        """The feature set of a name, a digest, the unique start of one, or "DATASET/SPLIT" where that is one alone.

        Raises ServiceError (UNKNOWN_FEATURE_SET), also where the name of one set is the start of another's digest.
        """
        found = self.bare_feature_set(name)
        self.cards.fill([found])
        return found

    def bare_feature_set(self, name: str) -> features_pb2.FeatureSet:
        """As `feature_set`, without its card and names, for who shows it to nobody."""
        rows = self._database.checked(feature_sets, digest=self.finder.find_feature_set(name))
        return parsed(rows[0][0], features_pb2.FeatureSet)

    def feature_sets_of(self, of: Collection[str], split: str) -> list[features_pb2.FeatureSet]:
        """Stored features of a split under any of some checkpoints, by their digests; newest first."""
        rows = self._database.checked_rows(
            feature_sets,
            select(feature_sets.c.message)
            .where(feature_sets.c.checkpoint.in_(of), feature_sets.c.split == split)
            .order_by(feature_sets.c.created.desc(), feature_sets.c.rowid.desc()),
        )
        found = [parsed(row[0], features_pb2.FeatureSet) for row in rows]
        self.cards.fill(found)
        return found

    def feature_set_page(
        self, request: features_pb2.ListFeatureSetsRequest, limit: int
    ) -> tuple[list[features_pb2.FeatureSet], str]:
        """Feature sets, newest first, and the next page. Raises ServiceError (UNKNOWN_CHECKPOINT)."""
        conditions = [*equals(feature_sets.c.dataset, request.dataset), *equals(feature_sets.c.split, request.split)]
        if request.checkpoint:
            conditions += equals(feature_sets.c.checkpoint, self.finder.find("checkpoint", request.checkpoint))
        if request.backbone:
            of_backbone = select(checkpoints.c.digest).where(checkpoints.c.backbone == request.backbone)
            conditions.append(feature_sets.c.checkpoint.in_(of_backbone))
        page = read_page(self._database, feature_sets, conditions, request.options, limit)
        found = [parsed(one, features_pb2.FeatureSet) for one in page.messages]
        self.cards.fill(found)
        return found, page.next_page

    def add_grouping(
        self, grouping: groupings_pb2.Grouping, given: Given = NOTHING, text: str = ""
    ) -> groupings_pb2.Grouping:
        """Register a grouping, or add what is given to one that is; returns it, with its card.

        `text` is what `text_of` says of it, where that was asked in another thread.
        Raises ServiceError (UNKNOWN_GROUPING) when it is no longer in the store: somebody deleted it meanwhile.
        """
        self._check_stored("groupings", grouping.digest, ErrorKind.UNKNOWN_GROUPING)
        with self._database.transaction() as connection:
            values = {"digest": grouping.digest, "created": time.time(), "message": text or text_of(grouping)}
            is_new = _keep(connection, groupings, **values)
            notes = self.cards.add(connection, "grouping", grouping.digest, given, is_new=is_new)
        found = self.grouping(grouping.digest)
        found.notes.extend(notes_to_proto(notes))
        return found

    def stored_grouping(self, digest: str, given: Given = NOTHING) -> groupings_pb2.Grouping | None:
        """The grouping of that digest, if there is one, after what is given was added to its card."""
        if not self._database.has(groupings, digest=digest):
            return None
        notes: list[Note] = []
        if given.describes:
            with self._database.transaction() as connection:
                notes = self.cards.add(connection, "grouping", digest, given, is_new=False)
        found = self.grouping(digest)
        found.notes.extend(notes_to_proto(notes))
        return found

    def grouping(self, name: str) -> groupings_pb2.Grouping:
        """The grouping of a name, a digest or the unique start of one. Raises ServiceError (UNKNOWN_GROUPING)."""
        rows = self._database.checked(groupings, digest=self.finder.find("grouping", name))
        found = parsed(rows[0][0], groupings_pb2.Grouping)
        self.cards.fill([found])
        return found

    def grouping_page(
        self, request: groupings_pb2.ListGroupingsRequest, limit: int
    ) -> tuple[list[groupings_pb2.Grouping], str]:
        """Groupings, newest first, and the next page. Raises ServiceError (UNKNOWN_FEATURE_SET)."""
        conditions = [*equals(groupings.c.dataset, request.dataset), *equals(groupings.c.method, request.method)]
        if request.feature_set:
            conditions += equals(groupings.c.feature_set, self.finder.find_feature_set(request.feature_set))
        page = read_page(self._database, groupings, conditions, request.options, limit)
        found = [parsed(one, groupings_pb2.Grouping) for one in page.messages]
        self.cards.fill(found)
        return found, page.next_page

    def add_result(self, digest: str, kind: str, answer: Message, given: Given = NOTHING) -> list[Note]:
        """Keep the answer to a query, and what is said of it. The first answer stays.

        Returns from where a name was taken.
        """
        with self._database.transaction() as connection:
            return self._add_result(connection, NewResult(digest, kind, answer, given))

    def add_results(self, answers: Sequence["NewResult"]) -> list[cards_pb2.Card]:
        """As `add_result`, of several answers in one transaction; returns their cards."""
        with self._database.transaction() as connection:
            for one in answers:
                self._add_result(connection, one)
            return [self.cards.get("result", one.digest) for one in answers]

    def _add_result(self, connection: Connection, new: "NewResult") -> list[Note]:
        content = new.answer.SerializeToString()
        values = {"digest": new.digest, "kind": new.kind, "created": time.time(), "message": content}
        is_new = _keep(connection, results, **values)
        if is_new:
            row = summary_row(new.digest, new.kind, new.answer)
            connection.execute(_ADD_SUMMARY, dict(zip(SUMMARY_COLUMNS, row, strict=True)))
        return self.cards.add(connection, "result", new.digest, new.given, is_new=is_new)

    def stored_result(self, digest: str, kind: str, given: Given) -> tuple[bytes, cards_pb2.Card, list[Note]] | None:
        """The stored answer of a query, if there is one, and what `describe_result` returns."""
        stored = self.result(digest, kind)
        return None if stored is None else (stored, *self.describe_result(digest, given))

    def describe_result(self, digest: str, given: Given) -> tuple[cards_pb2.Card, list[Note]]:
        """Add what is said of a stored answer to its card; returns that, and from where a name was taken."""
        notes: list[Note] = []
        if given.describes:
            with self._database.transaction() as connection:
                notes = self.cards.add(connection, "result", digest, given, is_new=False)
        return self.cards.get("result", digest), notes

    def result(self, digest: str, kind: str) -> bytes | None:
        """The stored answer of the query `digest`, if there is one."""
        rows = self._database.checked(results, digest=digest, kind=kind)
        if rows:
            self._asked[digest] = time.time()
        return bytes(rows[0][0]) if rows else None

    def find_result(self, name: str, kind: str = "") -> tuple[str, str, bytes]:
        """Digest, kind and stored answer, by name, digest or unique start of one, of one kind if given.

        Raises ServiceError (UNKNOWN_RESULT).
        """
        digest = self.finder.find("summary", name, only=kind)
        rows = self._database.checked(results, "kind", "message", digest=digest)
        self._asked[digest] = time.time()
        return digest, rows[0][0], bytes(rows[0][1])

    def write_asked(self) -> None:
        """Write down when stored answers were asked for last, for `collecting`; not at once, for that is a commit."""
        asked, self._asked = self._asked, {}
        if asked:
            with self._database.transaction() as connection:
                for digest, when in asked.items():
                    if self._database.has(results, digest=digest):
                        _replace(connection, asked_table, "digest", digest, time=when)

    def refit(self, name: str) -> refits_pb2.Refit:
        """The stored refit of a name, a digest or the unique start of one. Raises ServiceError (UNKNOWN_RESULT)."""
        digest, _, stored = self.find_result(name, "refit")
        found = refits_pb2.Refit.FromString(stored)
        found.reused = True
        found.card.CopyFrom(self.cards.get("result", digest))
        return found

    def result_page(
        self, request: catalog_pb2.ListResultsRequest, limit: int
    ) -> tuple[list[catalog_pb2.ResultSummary], str]:
        """Answers in a line each, newest first, and the next page. Raises ServiceError (UNKNOWN_FEATURE_SET)."""
        conditions: list[Condition] = []
        if request.kind:
            kind = catalog_pb2.ResultKind.Name(request.kind).removeprefix("RESULT_KIND_").lower()
            conditions += equals(summaries.c.kind, kind)
        if request.feature_set:
            digest = self.finder.find_feature_set(request.feature_set)
            # A union of two, each by an index; "or" would read the whole table.
            first = select(summaries.c.digest).where(summaries.c.feature_set == digest)
            conditions.append(
                summaries.c.digest.in_(first.union(select(summaries.c.digest).where(summaries.c.second_set == digest)))
            )
        page = read_page(self._database, summaries, conditions, request.options, limit)
        found = [catalog_pb2.ResultSummary.FromString(bytes(one)) for one in page.messages]  # pyright: ignore[reportArgumentType, reportCallIssue]
        self.cards.fill(found)
        return found, page.next_page

    def describe_job(self, job: jobs_pb2.Job, given: Given, *, is_new: bool) -> list[Note]:
        """Add what a request says to the card of its job and, where that has succeeded, of what it made.

        Returns what to say of the name: whose run's or checkpoint's it was, or is until this job has succeeded.
        """
        kind, made = ("run", job.id)
        if job.spec.WhichOneof("kind") in ("import_checkpoint", "merge"):
            kind, made = ("checkpoint", job.result.checkpoint.digest)
        holder = self.cards.holder(kind, given.name)
        with self._database.transaction() as connection:
            notes = self.cards.add(connection, "job", job.id, given, is_new=is_new)
            if job.result.HasField("run"):
                self.cards.add(connection, "run", job.id, given, is_new=False)
            if job.result.HasField("checkpoint"):
                self.cards.add(connection, "checkpoint", made, given, is_new=False)
            for one in job.result.extract.feature_sets:
                self.cards.add(connection, "feature_set", one.digest, given, is_new=False)
        return [moved(kind, given.name, holder)] if holder and holder != made else notes

    def counts(self) -> dict[str, int]:
        """How many things of each sort there are."""
        (found,) = self._database.rows(_COUNTS)
        return {table.name: int(n) for table, n in zip(_COUNTED, found, strict=True)}

    def _check_stored(self, folder: str, digest: str, kind: ErrorKind) -> None:
        if not (self._root / folder / digest / "manifest.json").is_file():
            raise ServiceError(
                kind,
                f"{folder}/{digest[:12]} was deleted while it was being registered; ask again",
                digest=digest,
            )


_COUNTED = (feature_sets, checkpoints, results, groupings)
# Made once, for every call of Info asks it.
_COUNTS = select(*(select(func.count()).select_from(table).scalar_subquery() for table in _COUNTED))
_ADD_SUMMARY = insert(summaries)


def _keep(connection: Connection, table: Table, **values: object) -> bool:
    """Insert a row, unless there is one of that key; whether it was inserted."""
    return connection.execute(_keeping(connection.dialect.name, table), values).first() is not None


@cache
def _keeping(dialect: str, table: Table) -> Executable:
    """A statement that is made once: making one takes longer than carrying it out."""
    return insert_into(dialect, table).on_conflict_do_nothing().returning(*table.primary_key)


def _replace(connection: Connection, table: Table, key: str, id: str, **values: object) -> None:
    """Insert a row, or give the one of that key these values."""
    made = insert_into(connection.dialect.name, table).values({key: id, **values})
    connection.execute(made.on_conflict_do_update(index_elements=(key,), set_=values))
