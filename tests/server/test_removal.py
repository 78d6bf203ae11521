"""A deletion that is interrupted at any moment leaves all of it or nothing, and nothing that nobody reaches."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from raw_sql import rows_of

from penult_proto.errors import ErrorKind
from penult_proto.v1 import datasets_pb2, features_pb2, jobs_pb2, runs_pb2, spectra_pb2
from penult_server.errors import RegistryUnavailable
from penult_server.registry.cards import Given
from penult_server.registry.catalog import Catalog
from penult_server.registry.database import Database
from penult_server.registry.deletion import Deletions
from penult_server.registry.deletion_plan import Sort
from penult_server.registry.jobs import JobTable
from penult_server.registry.usage import add_up, read_facts
from penult_server.stores import removal
from penult_server.stores.disk.durable import STAGING_PREFIX
from penult_server.stores.disk.reserve import RESERVE_BYTES, Reserve
from penult_server.stores.removal import FOLDERS, recover, remove, remove_left, set_aside
from penult_server.stores.training_states import state_file

A, B, C, SET, DATA = (digit * 64 for digit in "abcde")


class Store:
    """A registry and the files that belong to it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.database = Database(root / "penult.db")
        self.catalog = Catalog(self.database, root)
        self.jobs = JobTable(self.database)
        self.deletions = Deletions(self.database, root, self.catalog, self.jobs)

    def close(self) -> None:
        self.database.close()

    def there(self) -> set[str]:
        """What clients see."""
        tables = {
            "run": "id",
            "checkpoint": "digest",
            "feature_set": "digest",
            "dataset": "name",
            "job": "id",
            "result": "digest",
        }
        return {
            f"{table} {row[0]}"
            for table, key in tables.items()
            for row in rows_of(self.database, f"SELECT {key} FROM {table}")
        } | {
            f"{table} of {' '.join(row)}"
            for table, columns in {"card": "kind, id", "name": "kind, id, name", "summary": "digest"}.items()
            for row in rows_of(self.database, f"SELECT {columns} FROM {table}")
        }

    def files(self) -> set[str]:
        return {f"{folder}/{path.name}" for folder in FOLDERS for path in (self.root / folder).glob("*")}


def place(root: Path, folder: str, name: str) -> None:
    directory = root / folder / name
    directory.mkdir(parents=True)
    for file in ("manifest.json", "data"):
        (directory / file).write_text(name)


def fill(root: Path) -> Store:
    """A run with two checkpoints, one of them shared with another run; features; a dataset; the log of a job."""
    root.mkdir(parents=True, exist_ok=True)
    store = Store(root)
    for digest in (A, B, C):
        place(root, "checkpoints", digest)
        owner = "one" if digest != C else "two"
        store.catalog.add_checkpoint(runs_pb2.Checkpoint(digest=digest, run_id=owner, dataset_digest=DATA))
    for run, digests in (("one", (A, B)), ("two", (A, C))):
        place(root, "runs", run)
        kept = [runs_pb2.Checkpoint(digest=digest, run_id=run) for digest in digests]
        store.catalog.add_run(runs_pb2.Run(id=run, dataset_digest=DATA, checkpoints=kept))
    place(root, "features", SET)
    place(root, "features", f".damaged-{SET}-17")
    store.catalog.add_feature_set(
        features_pb2.FeatureSet(digest=SET, checkpoint=B, dataset_digest=DATA), Given(name="mine")
    )
    store.catalog.add_result("f" * 64, "spectra", spectra_pb2.Spectra(feature_set=SET), Given(name="mine"))
    place(root, "datasets", DATA)
    store.catalog.add_dataset(datasets_pb2.Dataset(name="data", digest=DATA))
    (root / "tokens").mkdir()
    (root / "tokens" / f"{DATA}.{'0' * 64}.safetensors").write_text("ids")
    (root / "tokens" / f"{'9' * 64}.{'0' * 64}.safetensors").write_text("ids of a packaged dataset")
    (root / "logs").mkdir()
    spec = jobs_pb2.JobSpec(extract=jobs_pb2.ExtractSpec(checkpoint=B, dataset="data", splits=["val"]))
    job = store.jobs.create(spec, "digest", "", 10)
    store.jobs.cancel(job.id)
    (root / "logs" / f"job-{job.id}.log").write_text("said")
    return store


def delete(store: Store, sort: Sort, name: str) -> None:
    plan = store.deletions.planner.plan(sort, name, dependents=True)
    assert not plan.in_the_way
    remove(store.deletions.execute(plan))


def name_of(store: Store, sort: Sort) -> str:
    return store.jobs.list([], 1)[0].id if sort is Sort.JOB else {Sort.RUN: "one", Sort.DATASET: "data"}.get(sort, SET)


class Snapshots:
    """Copies of a store before and after everything that a deletion does to the disk."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: Path, copies: Path) -> None:
        self.root, self.copies, self.taken = root, copies, []
        for owner, name in ((Path, "rename"), (Path, "unlink"), (shutil, "rmtree"), (removal, "sync_path")):
            monkeypatch.setattr(owner, name, self.wrapped(getattr(owner, name)))
        commit = Deletions._forget
        monkeypatch.setattr(Deletions, "_forget", self.wrapped(commit))

    def wrapped(self, function: Callable) -> Callable:
        def call(*args, **options):
            self.take()
            result = function(*args, **options)
            self.take()
            return result

        return call

    def take(self) -> None:
        copy = self.copies / str(len(self.taken))
        shutil.copytree(self.root, copy)
        self.taken.append(copy)


@pytest.mark.parametrize("sort", [Sort.RUN, Sort.FEATURES, Sort.DATASET, Sort.JOB])
def test_a_kill_at_any_moment_leaves_all_or_nothing(tmp_path: Path, sort: Sort) -> None:
    store = fill(tmp_path / "store")
    before, files_before = store.there(), store.files()
    with pytest.MonkeyPatch.context() as patch:
        snapshots = Snapshots(patch, store.root, tmp_path / "copies")
        delete(store, sort, name_of(store, sort))
    after, files_after = store.there(), store.files()
    store.close()
    assert after < before
    assert {f"result {'f' * 64}", f"summary of {'f' * 64}", f"name of result {'f' * 64} mine"} < after
    assert all(f"card of {one}" in after for one in after if " of " not in one)
    assert sum(one.startswith("card of") for one in after) == sum(" of " not in one for one in after)
    assert files_after < files_before
    seen = set()
    for copy in snapshots.taken:
        # As the server starts.
        found = Store(copy)
        found.deletions.recover()
        for folder in FOLDERS:
            remove_left(copy / folder)
        whole = found.there() == before
        assert found.there() == (before if whole else after)
        assert found.files() == (files_before if whole else files_after)
        contents = [path.read_text() for path in copy.glob("checkpoints/*/data")]
        assert sorted(contents) == sorted(path.parent.name for path in copy.glob("checkpoints/*/data"))
        seen.add(whole)
        found.close()
    assert seen == {True, False}
    assert len(snapshots.taken) >= 6


def test_a_commit_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = fill(tmp_path)
    before, files_before = store.there(), store.files()

    def full(*_: object) -> None:
        raise RegistryUnavailable(ErrorKind.DISK_FULL, "database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(store.deletions, "_forget", full)
        for is_kept in (True, False):
            if is_kept:
                store.deletions.reserve.keep()
            with pytest.raises(RegistryUnavailable):
                delete(store, Sort.RUN, "one")
            assert (store.there(), store.files()) == (before, files_before)
            # It was given back in the attempt to make space.
            assert not (tmp_path / "reserve").exists()
    delete(store, Sort.RUN, "one")
    assert store.there() != before
    store.close()


def test_what_was_deleted_twice_is_brought_back_once(tmp_path: Path) -> None:
    """Deleted, made again, and being deleted again: the newest is the one that may come back."""
    for content in ("old", "new"):
        place(tmp_path, "features", SET)
        (tmp_path / "features" / SET / "data").write_text(content)
        set_aside([tmp_path / "features" / SET])
        time.sleep(0)
    recover(tmp_path, lambda folder, name: (folder, name) == ("features", SET))
    assert (tmp_path / "features" / SET / "data").read_text() == "new"
    assert [path.name for path in (tmp_path / "features").iterdir()] == [SET]


def test_renaming_that_fails_in_the_middle_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (A, B):
        place(tmp_path, "checkpoints", name)
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if self.name == B:
            raise PermissionError(13, "no")
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse)
        with pytest.raises(PermissionError):
            set_aside([tmp_path / "checkpoints" / name for name in (A, "0" * 64, B)])
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [A, B]


def test_the_reserve_is_kept_once_and_given_back(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path)
    reserve.keep()
    reserve.keep()
    status = (tmp_path / "reserve").stat()
    assert status.st_size == RESERVE_BYTES
    assert status.st_blocks * 512 >= RESERVE_BYTES
    assert reserve.release()
    assert not reserve.release()
    assert not list(tmp_path.iterdir())


def test_leftovers_of_a_removal_are_swept_with_those_of_writers(tmp_path: Path) -> None:
    place(tmp_path, "features", SET)
    (left,) = removal.condemn(set_aside([tmp_path / "features" / SET]))
    assert left.name.startswith(STAGING_PREFIX)
    remove_left(tmp_path / "features")
    assert not list((tmp_path / "features").iterdir())


def test_what_a_killed_writer_of_safetensors_left_is_swept(tmp_path: Path) -> None:
    """It writes beside its target by a name of its own, which 40 MB kept after each kill."""
    (tmp_path / "runs" / "1").mkdir(parents=True)
    for name in (".tmpk8H2Gq", "training_state.safetensors"):
        (tmp_path / "runs" / "1" / name).write_bytes(b"left")
    remove_left(tmp_path / "runs")
    assert [path.name for path in (tmp_path / "runs" / "1").iterdir()] == ["training_state.safetensors"]


def test_what_a_failed_finetuning_left_is_counted_and_goes_with_its_job(tmp_path: Path) -> None:
    """Its training state, and its checkpoints but for those that the job which went on from there has stored, too."""
    store = fill(tmp_path)
    spec = jobs_pb2.JobSpec(finetune=runs_pb2.FinetuneSpec(dataset="data"))
    kept, taken = "1" * 64, "2" * 64
    failed, again = (store.jobs.create(spec, "work", "", 10).id for _ in range(2))
    for digest in (kept, taken):
        place(tmp_path, "checkpoints", digest)
        store.catalog.add_checkpoint(runs_pb2.Checkpoint(digest=digest, run_id=failed, dataset_digest=DATA))
        store.jobs.report(failed, jobs_pb2.JobEvent(checkpoint=digest))
    store.jobs.fail(failed, jobs_pb2.Error(kind="worker_died"))
    place(tmp_path, "runs", failed)
    state_file(tmp_path, failed).write_bytes(b"state" * 7)
    usage = add_up(tmp_path, read_facts(store.database, store.deletions.holdings))
    assert {one.kind: (one.count, one.bytes) for one in usage.kinds}["training states"] == (1, 35)
    of_failed = next(one for one in usage.runs if one.run == failed)
    assert (of_failed.finished, of_failed.training_state_bytes, of_failed.n_checkpoints) == (False, 35, 2)

    store.jobs.report(again, jobs_pb2.JobEvent(checkpoint=taken))
    # It has not ended, however it stands; that includes the time in which it is stopped.
    while store.jobs.get(again).state != jobs_pb2.JOB_STATE_RUNNING:
        store.jobs.start_next()
    store.jobs.ask_to_cancel(again)
    for thing in (Sort.JOB, again), (Sort.CHECKPOINT, taken):
        assert [one.id for one in store.deletions.planner.plan(*thing, dependents=True).in_the_way] == [again]
    delete(store, Sort.JOB, failed[:6])
    assert not (tmp_path / "runs" / failed).exists()
    assert not (tmp_path / "checkpoints" / kept).exists()
    assert store.catalog.checkpoint(taken).run_id == again
    usage = add_up(tmp_path, read_facts(store.database, store.deletions.holdings))
    assert {one.kind: one.bytes for one in usage.kinds}["training states"] == 0
    store.close()


def test_usage_by_user(tmp_path: Path) -> None:
    """A thing counts for its own user, else for that of its checkpoint, else for that of its run."""
    store = fill(tmp_path)
    cards = [("run", "one", "ada"), ("run", "two", "bob"), ("checkpoint", C, "cy"), ("dataset", "data", "dan")]
    with store.database.transaction() as connection:
        for kind, id, user in cards:
            store.catalog.cards.add(connection, kind, id, Given(user=user), is_new=True)
    store.catalog.cards.replace("run", "one", name="baseline", tags=None, note=None)
    usage = add_up(tmp_path, read_facts(store.database, store.deletions.holdings))
    of = {one.user: one.bytes for one in usage.users}
    each = 2 * 64
    run = 2 * len("one")
    assert of == {"ada": 3 * each + run, "bob": run, "cy": each, "dan": each}
    runs = {one.run: one for one in usage.runs}
    assert (runs["one"].name, runs["one"].user, runs["two"].name) == ("baseline", "ada", "")
    assert (runs["one"].checkpoint_bytes, runs["one"].feature_bytes, runs["two"].checkpoint_bytes) == (
        2 * each,
        each,
        each,
    )
    assert store.deletions.planner.plan(Sort.RUN, "one", dependents=True).goes[0].names == ("baseline",)
    store.close()
