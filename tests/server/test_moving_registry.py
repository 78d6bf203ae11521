"""A registry that moves from its file to PostgreSQL: every row, in its order, with what it answers; or nothing."""

import contextlib
from pathlib import Path

import pytest
from postgres_server import PASSWORD, Postgres, name_of

from penult_proto.roles import Role
from penult_proto.v1 import cards_pb2, catalog_pb2, datasets_pb2, refits_pb2, runs_pb2
from penult_proto.v1 import jobs_pb2 as pb
from penult_server.registry.cards import Given
from penult_server.registry.catalog import Catalog
from penult_server.registry.database import Database
from penult_server.registry.integrity import moving
from penult_server.registry.integrity.place import place_of
from penult_server.registry.jobs import JobTable
from penult_server.upkeep.command import main
from penult_server.users.tokens import TokenTable

SPEC = pb.JobSpec(extract=pb.ExtractSpec(checkpoint="c" * 64))
N = 45


@pytest.fixture
def root(tmp_path: Path, monkeypatch) -> Path:
    """A root with more rows than are moved at once, names that moved on, an answer, a token, an ended job."""
    monkeypatch.setattr(moving, "ROWS_AT_ONCE", 20)
    root = tmp_path / "store"
    root.mkdir()
    with contextlib.closing(Database(root / "penult.db")) as database:
        for folder, digest in (("checkpoints", "c" * 64), ("datasets", "d" * 64)):
            (root / folder / digest).mkdir(parents=True)
            (root / folder / digest / "manifest.json").write_text("{}")
        catalog, jobs = Catalog(database, root), JobTable(database)
        catalog.add_dataset(datasets_pb2.Dataset(name="shapes", digest="d" * 64), Given(user="ann"))
        named = Given(name="é name", tags=("t",))
        catalog.add_checkpoint(runs_pb2.Checkpoint(digest="c" * 64, dataset="shapes"), named)
        for index in range(3):
            catalog.add_run(runs_pb2.Run(id=f"run-{index}"), Given(name="best"))
        answer = refits_pb2.Refit(digest="a" * 64, request=refits_pb2.RefitRequest(preset="x" * 1_000_000))
        catalog.add_result("a" * 64, "refit", answer)
        TokenTable(database).create("laptop", user="ann", role=Role.READER, expires=None)
        made = [jobs.create(SPEC, str(index), f"request {index}", N).id for index in range(N)]
        jobs.report(jobs.start_next().id, pb.JobEvent(progress=pb.Progress(stage="x")), 1)
        jobs.fail(made[0], pb.Error(kind="busy", message="naïve"), 1)
    return root


def said(database: Database, root: Path) -> dict[str, object]:
    """What a registry answers."""
    catalog, jobs = Catalog(database, root), JobTable(database)
    pages, page = [], ""
    while True:
        found, page = jobs.page(pb.ListJobsRequest(options=cards_pb2.ListOptions(page=page)), 100)
        pages += [one.SerializeToString(deterministic=True) for one in found]
        if not page:
            break
    return {
        "jobs": pages,
        "events": [str(one) for one in jobs.events(jobs.list([], 1)[0].id, 0)],
        "ended": [one.id for one in jobs.list([pb.JOB_STATE_FAILED], 5)],
        "best": catalog.finder.find("run", "best"),
        "checkpoint": str(catalog.checkpoint("é name")),
        "datasets": [str(one) for one in catalog.datasets()],
        "result": catalog.result("a" * 64, "refit"),
        "results": [str(one) for one in catalog.result_page(catalog_pb2.ListResultsRequest(), 5)[0]],
        "tokens": [str(one) for one in TokenTable(database).all()],
        "next": jobs.start_next().id,
    }


def test_everything_is_there_and_the_file_is_kept(root: Path, postgres_url: str, capsys):
    with contextlib.closing(Database(root / "penult.db")) as database:
        file = root.parent / "copy.db"
        database.connection.exec_driver_sql(f"VACUUM INTO '{file}'")
    assert main(["move-registry", "--root", str(root), "--registry", postgres_url]) == 0
    out = capsys.readouterr().out
    assert f"{N} of job," in out
    assert "rows copied and compared" in out
    assert PASSWORD not in out
    assert place_of(root) in out
    (kept,) = root.glob("penult.db.moved-*[0-9]")
    assert not (root / "penult.db").exists()
    assert kept.name in out
    before, after = Database(file), Database(postgres_url)
    with contextlib.closing(before), contextlib.closing(after):
        assert said(after, root) == said(before, root)
        JobTable(after).create(SPEC, "new", "", N + 1)  # the numbers of new rows go on behind those that were copied
        assert JobTable(after).list([], 1)[0].spec == SPEC
    assert main(["move-registry", "--root", str(root), "--registry", postgres_url]) == 1
    assert "it has been moved already" in capsys.readouterr().err


def test_a_target_with_rows_and_a_copy_that_differs_change_nothing(
    root: Path, postgres: Postgres, postgres_url: str, capsys, monkeypatch
):
    command = ["move-registry", "--root", str(root), "--registry", postgres_url]

    def refused(what: str) -> None:
        assert main(command) == 1
        assert what in capsys.readouterr().err
        assert (root / "penult.db").exists()
        assert not place_of(root)

    with monkeypatch.context() as patched:
        real = moving._pages
        # The last page of events is lost on the way.
        kept = lambda table, page: table.name != "job_event" or len(page) == moving.ROWS_AT_ONCE  # noqa: E731
        patched.setattr(moving, "_pages", lambda c, t, o: (page for page in real(c, t, o) if kept(t, page)))
        refused("nothing was copied")
    assert postgres.ask("SELECT count(*) FROM job", name_of(postgres_url)) == [(0,)]
    with contextlib.closing(Database(postgres_url)) as other:
        assert other.claim()
        refused("a server serves")
        JobTable(other).create(SPEC, "x", "", 5)
    refused("is not empty (1 in card, 1 in job, 1 in job_event)")
    assert main(["move-registry", "--root", str(root)]) == 1
    assert "say where to: --registry" in capsys.readouterr().err
    with contextlib.closing(Database(root / "penult.db")) as database:
        assert len(JobTable(database).list([], N)) == N, "the file is as it was"
