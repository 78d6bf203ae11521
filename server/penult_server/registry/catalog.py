"""Things in the registry: datasets, runs, checkpoints, feature sets with their names, results."""

import time
from pathlib import Path

from google.protobuf.json_format import MessageToJson, Parse

from penult_proto.errors import ErrorKind
from penult_proto.v1 import datasets_pb2, features_pb2, runs_pb2
from penult_server.errors import ServiceError, unknown
from penult_server.registry.database import Database

SHORTEST_PREFIX = 8
"""Characters of a digest that are enough to name a thing, when they are unique."""


class Catalog:
    """Reads and writes things. Every method is one transaction."""

    def __init__(self, database: Database, root: Path) -> None:
        self._database = database
        self._root = root

    def add_dataset(self, dataset: datasets_pb2.Dataset) -> None:
        """Register a dataset; registering the same content again changes nothing.

        Raises ServiceError: NAME_TAKEN when the name belongs to another content; STORE_CORRUPT when it is no longer in
        the store.
        """
        with self._database.transaction() as connection:
            taken = connection.execute("SELECT digest FROM dataset WHERE name = ?", (dataset.name,)).fetchone()
            if taken and taken[0] != dataset.digest:
                raise ServiceError(
                    ErrorKind.NAME_TAKEN,
                    f"dataset {dataset.name!r} is registered with other content; choose another name",
                    name=dataset.name,
                )
            self._check_stored("datasets", dataset.digest, "dataset")
            connection.execute(
                "INSERT OR REPLACE INTO dataset VALUES (?, ?, ?)",
                (dataset.name, dataset.digest, MessageToJson(dataset)),
            )

    def datasets(self) -> list[datasets_pb2.Dataset]:
        """Registered datasets by name; packaged ones are not among them."""
        rows = self._database.rows("SELECT message FROM dataset ORDER BY name")
        return [Parse(row[0], datasets_pb2.Dataset()) for row in rows]

    def add_checkpoint(self, checkpoint: runs_pb2.Checkpoint) -> None:
        """Register a checkpoint. One that exists (equal weights) is kept as it is.

        Raises ServiceError (STORE_CORRUPT) when it is no longer in the store: somebody deleted it meanwhile.
        """
        self._check_stored("checkpoints", checkpoint.digest, "checkpoint")
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO checkpoint VALUES (?, ?)",
                (checkpoint.digest, MessageToJson(checkpoint)),
            )

    def checkpoint(self, name: str) -> runs_pb2.Checkpoint:
        """The checkpoint of a digest, or of the unique start of one. Raises ServiceError (UNKNOWN_CHECKPOINT)."""
        row = self._by_prefix("checkpoint", name, ErrorKind.UNKNOWN_CHECKPOINT, "checkpoint")
        return Parse(row, runs_pb2.Checkpoint())

    def checkpoints(self) -> list[runs_pb2.Checkpoint]:
        """Newest first."""
        rows = self._database.rows("SELECT message FROM checkpoint ORDER BY rowid DESC")
        return [Parse(row[0], runs_pb2.Checkpoint()) for row in rows]

    def checkpoints_of_model(self, checkpoint: runs_pb2.Checkpoint) -> set[str]:
        """Digests of the checkpoints that give the same features, itself among them."""
        query = "SELECT digest FROM checkpoint WHERE json_extract(message, '$.model') = ?"
        return {checkpoint.digest, *(row[0] for row in self._database.rows(query, checkpoint.model))}

    def add_run(self, run: runs_pb2.Run) -> None:
        """Register a finished run."""
        with self._database.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO run VALUES (?, ?, ?)", (run.id, time.time(), MessageToJson(run)))

    def run(self, run_id: str) -> runs_pb2.Run:
        """Raises ServiceError (UNKNOWN_RUN)."""
        rows = self._database.rows("SELECT message FROM run WHERE id = ?", run_id)
        if not rows:
            raise unknown(ErrorKind.UNKNOWN_RUN, "run", run_id, [run.id for run in self.runs()])
        return Parse(rows[0][0], runs_pb2.Run())

    def runs(self) -> list[runs_pb2.Run]:
        """Newest first."""
        rows = self._database.rows("SELECT message FROM run ORDER BY created DESC, rowid DESC")
        return [Parse(row[0], runs_pb2.Run()) for row in rows]

    def add_feature_set(self, feature_set: features_pb2.FeatureSet, name: str = "") -> features_pb2.FeatureSet:
        """Register a feature set and, when given, move `name` to it. Returns it with all its names.

        Raises ServiceError (STORE_CORRUPT) when it is no longer in the store: somebody deleted it meanwhile.
        """
        self._check_stored("features", feature_set.digest, "feature set")
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO feature_set VALUES (?, ?, ?)",
                (feature_set.digest, time.time(), MessageToJson(feature_set)),
            )
            if name:
                connection.execute("INSERT OR REPLACE INTO feature_name VALUES (?, ?)", (name, feature_set.digest))
        return self.feature_set(feature_set.digest)

    def feature_set(self, name: str) -> features_pb2.FeatureSet:
        """The feature set of a name, a digest, or the unique start of one.

        Raises ServiceError (UNKNOWN_FEATURE_SET), also where the name of one set is the start of another's digest.
        """
        named = self._database.rows("SELECT digest FROM feature_name WHERE name = ?", name)
        if named and self._starts_another(name, named[0][0]):
            raise ServiceError(
                ErrorKind.UNKNOWN_FEATURE_SET,
                f"{name!r} is the name of feature set {named[0][0][:12]} and the start of another's digest; give more "
                "of the digest that is meant",
                name=name,
            )
        row = self._by_prefix(
            "feature_set",
            named[0][0] if named else name,
            ErrorKind.UNKNOWN_FEATURE_SET,
            "feature set",
            self._names(),
        )
        return self._with_names(Parse(row, features_pb2.FeatureSet()))

    def feature_sets(self) -> list[features_pb2.FeatureSet]:
        """Newest first."""
        rows = self._database.rows("SELECT message FROM feature_set ORDER BY created DESC, rowid DESC")
        return [self._with_names(Parse(row[0], features_pb2.FeatureSet())) for row in rows]

    def add_result(self, digest: str, kind: str, message: bytes) -> None:
        """Keep the answer to a query. The first answer stays."""
        with self._database.transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO result VALUES (?, ?, ?, ?)", (digest, kind, time.time(), message))

    def result(self, digest: str, kind: str) -> bytes | None:
        """The stored answer of the query `digest`, if there is one."""
        rows = self._database.rows("SELECT message FROM result WHERE digest = ? AND kind = ?", digest, kind)
        return bytes(rows[0][0]) if rows else None  # pyright: ignore[reportArgumentType, reportCallIssue]

    def result_by_prefix(self, name: str, kind: str) -> bytes:
        """The stored answer by digest or unique start of one. Raises ServiceError (UNKNOWN_RESULT)."""
        message = self._by_prefix(f"(SELECT * FROM result WHERE kind = '{kind}')", name, ErrorKind.UNKNOWN_RESULT, kind)
        return bytes(message)  # pyright: ignore[reportArgumentType, reportCallIssue]

    def counts(self) -> dict[str, int]:
        """How many things of each sort there are."""
        tables = ("feature_set", "checkpoint", "result")
        return {table: int(self._database.rows(f"SELECT count(*) FROM {table}")[0][0]) for table in tables}

    def _check_stored(self, folder: str, digest: str, what: str) -> None:
        if not (self._root / folder / digest / "manifest.json").is_file():
            raise ServiceError(
                ErrorKind.STORE_CORRUPT,
                f"{what} {digest[:12]} was deleted while it was being registered; ask again",
                digest=digest,
            )

    def _names(self) -> list[str]:
        return [row[0] for row in self._database.rows("SELECT name FROM feature_name ORDER BY name LIMIT 50")]

    def _with_names(self, feature_set: features_pb2.FeatureSet) -> features_pb2.FeatureSet:
        rows = self._database.rows("SELECT name FROM feature_name WHERE digest = ? ORDER BY name", feature_set.digest)
        del feature_set.names[:]
        feature_set.names.extend(row[0] for row in rows)
        return feature_set

    def _starts_another(self, name: str, digest: str) -> bool:
        """Whether a name could also be read as the start of the digest of another set."""
        if len(name) < SHORTEST_PREFIX or not name.isalnum():
            return False
        query = "SELECT 1 FROM feature_set WHERE digest GLOB ? || '*' AND digest != ? LIMIT 1"
        return bool(self._database.rows(query, name, digest))

    def _by_prefix(self, table: str, name: str, kind: ErrorKind, what: str, known: list[str] | None = None) -> str:
        """The message of the one row whose digest starts with `name`."""
        rows: list[tuple[str, ...]] = []
        if len(name) >= SHORTEST_PREFIX and name.isalnum():
            rows = self._database.rows(f"SELECT message FROM {table} WHERE digest GLOB ? || '*' LIMIT 2", name)
        if len(rows) > 1:
            raise ServiceError(kind, f"several {what}s start with {name!r}; give more characters", name=name)
        if not rows:
            digests = [row[0][:12] for row in self._database.rows(f"SELECT digest FROM {table} LIMIT 20")]
            raise unknown(kind, what, name, (known or []) + digests)
        return rows[0][0]
