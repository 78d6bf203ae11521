"""Names, ids and starts of ids: what each stands for, and what is refused with its candidates."""

import pytest
from raw_sql import rows_of

from penult_proto.errors import ErrorKind
from penult_proto.v1 import cards_pb2, features_pb2, refits_pb2, runs_pb2, spectra_pb2
from penult_server.datasets.registration import check_name as check_dataset_name
from penult_server.errors import ServiceError
from penult_server.front.queries.specs import check_name
from penult_server.registry.cards import Given
from penult_server.registry.catalog import Catalog
from penult_server.registry.database import Database
from penult_server.registry.finding import Finder
from penult_server.registry.jobs import JobTable
from penult_server.registry.pages import read_page
from penult_server.registry.tables import TABLES

KEYS = {"run": "run", "checkpoint": "checkpoint", "feature_set": "feature_set", "summary": "result"}
"""Tables that are searched, and the kind of a card."""
ERRORS = {
    "run": ErrorKind.UNKNOWN_RUN,
    "checkpoint": ErrorKind.UNKNOWN_CHECKPOINT,
    "feature_set": ErrorKind.UNKNOWN_FEATURE_SET,
    "summary": ErrorKind.UNKNOWN_RESULT,
}


@pytest.fixture
def database(place):
    database = Database(place)
    yield database
    database.close()


@pytest.fixture
def catalog(database, tmp_path):
    return Catalog(database, tmp_path)


def put_down(catalog: Catalog, folder: str, digest: str) -> None:
    """The least that is in the store of what is registered."""
    directory = catalog._root / folder / digest
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "manifest.json").touch()


def put(catalog: Catalog, table: str, id: str, name: str = "", **fields) -> None:
    """Register a thing of any kind."""
    given = Given(name=name)
    match table:
        case "run":
            catalog.add_run(runs_pb2.Run(id=id, spec=runs_pb2.FinetuneSpec(dataset="d", backbone="b")), given)
        case "checkpoint":
            put_down(catalog, "checkpoints", id)
            catalog.add_checkpoint(runs_pb2.Checkpoint(digest=id, dataset="d", backbone="b", **fields), given)
        case "feature_set":
            put_down(catalog, "features", id)
            catalog.add_feature_set(features_pb2.FeatureSet(digest=id, **fields), given)
        case _:
            catalog.add_result(id, "spectra", spectra_pb2.Spectra(digest=id), given)


@pytest.mark.parametrize("table", KEYS)
class TestEveryKind:
    """One rule for all of them."""

    def test_a_name_an_id_and_its_start_are_found(self, catalog: Catalog, database: Database, table: str):
        put(catalog, table, "ab12" + "0" * 60, "mine")
        put(catalog, table, "ab13" + "0" * 60)
        finder = Finder(database)
        for given in ("mine", "ab12", "ab12000", "ab12" + "0" * 60):
            assert finder.find(table, given) == "ab12" + "0" * 60

    @pytest.mark.parametrize("given", ["ab1", "AB12", "ab1?", "a*", "", "b12", "ab12" + "0" * 61, "mine ", "%", "'"])
    def test_nothing_else_is(self, catalog: Catalog, database: Database, table: str, given: str):
        put(catalog, table, "ab12" + "0" * 60, "mine")
        with pytest.raises(ServiceError, match="known: mine, ab1200000000") as raised:
            Finder(database).find(table, given)
        assert raised.value.kind is ERRORS[table]
        assert ("at least 4 characters" in raised.value.message) == (given in ("ab1", "b12"))

    def test_a_start_of_several_is_refused_with_each(self, catalog: Catalog, database: Database, table: str):
        ids = ["cafe" * 15 + ending for ending in ("0001", "0002", "1000")]
        for id in ids:
            put(catalog, table, id)
        with pytest.raises(ServiceError, match=r"several .*s start with 'cafe'") as raised:
            Finder(database).find(table, "cafe")
        assert raised.value.kind is ERRORS[table]
        assert all(id in raised.value.message for id in ids)
        assert Finder(database).find(table, "cafe" * 15 + "1") == ids[2]

    def test_many_candidates_are_not_all_listed(self, catalog: Catalog, database: Database, table: str):
        for index in range(14):
            put(catalog, table, f"beef{index:x}" + "0" * 59)
        with pytest.raises(ServiceError, match="and more") as raised:
            Finder(database).find(table, "beef")
        assert raised.value.message.count("beef") == 1 + 10

    def test_a_full_id_is_not_the_start_of_a_longer_one(self, catalog: Catalog, database: Database, table: str):
        put(catalog, table, "abcd1234")
        put(catalog, table, "abcd12345678")
        assert Finder(database).find(table, "abcd1234") == "abcd1234"

    def test_a_name_that_starts_another_s_id_is_refused(self, catalog: Catalog, database: Database, table: str):
        put(catalog, table, "0" * 64, "feed")
        assert Finder(database).find(table, "feed") == "0" * 64
        put(catalog, table, "feed" + "1" * 60)
        with pytest.raises(ServiceError, match=r"'feed' is the name of .* 000000000000 and the start of another's id"):
            Finder(database).find(table, "feed")
        put(catalog, table, "feed" + "1" * 60, "feed")
        assert Finder(database).find(table, "feed") == "feed" + "1" * 60

    def test_a_full_id_goes_before_a_name_of_earlier_versions(self, catalog: Catalog, database: Database, table: str):
        put(catalog, table, "a" * 64, "b" * 64)
        assert Finder(database).find(table, "b" * 64) == "a" * 64
        put(catalog, table, "b" * 64)
        assert Finder(database).find(table, "b" * 64) == "b" * 64

    def test_a_name_is_unique_within_its_kind_alone(self, catalog: Catalog, database: Database, table: str):
        for other in KEYS:
            put(catalog, other, f"{list(KEYS).index(other)}" * 64, "same")
        assert Finder(database).find(table, "same") == f"{list(KEYS).index(table)}" * 64


def test_a_result_of_one_kind_is_sought_among_these(catalog: Catalog, database: Database):
    catalog.add_result("ab01" + "0" * 60, "refit", refits_pb2.Refit(), Given(name="head"))
    put(catalog, "summary", "ab02" + "0" * 60, "values")
    finder = Finder(database)
    assert finder.find("summary", "ab0" + "1", only="refit") == finder.find("summary", "head", only="refit")
    with pytest.raises(ServiceError, match="no result 'values'"):
        finder.find("summary", "values", only="refit")


def test_candidates_of_a_printed_name_say_checkpoint_epoch_and_date(catalog: Catalog, database: Database):
    for digit, epoch in (("1", 0), ("2", 1.5)):
        put(catalog, "checkpoint", digit * 64, epoch=epoch)
        put(
            catalog,
            "feature_set",
            digit * 60 + "aaaa",
            dataset="d",
            split="val",
            checkpoint=digit * 64,
            feature_kind="pooled",
        )
    database.connection.exec_driver_sql("UPDATE card SET created = 1764500000")
    with pytest.raises(ServiceError) as raised:
        catalog.feature_set("d/val")
    assert raised.value.kind is ErrorKind.UNKNOWN_FEATURE_SET
    for said in (
        "111111111111 (d/val, checkpoint 111111111111 epoch 0 pooled, 2025-11-30 10:53)",
        "222222222222 (d/val, checkpoint 222222222222 epoch 1.5 pooled, 2025-11-30 10:53)",
    ):
        assert said in raised.value.message
    with database.transaction() as connection:
        connection.execute(TABLES["feature_set"].delete().where(TABLES["feature_set"].c.digest == "1" * 60 + "aaaa"))
    assert catalog.feature_set("d/val").checkpoint == "2" * 64
    for given in ("d/", "/val", "d/val/", "d//val", "d/test", "*/val"):
        with pytest.raises(ServiceError, match="there is no feature set"):
            catalog.feature_set(given)


def test_a_name_given_before_does_not_come_back(catalog: Catalog, database: Database):
    """A job's name is given to its run when that is registered; by then a newer thing may have it."""
    put(catalog, "run", "1" * 12, "best")
    (before,) = rows_of(database, "SELECT given FROM name")[0]
    catalog.add_run(runs_pb2.Run(id="2" * 12), Given(name="best", at=float(before) - 1))
    assert catalog.run("best").id == "1" * 12
    catalog.add_run(runs_pb2.Run(id="3" * 12), Given(name="best", at=float(before) + 1))
    assert catalog.run("best").id == "3" * 12


def test_pages_go_on_where_things_are_equally_old(catalog: Catalog, database: Database):
    for digit in "123456789":
        put(catalog, "checkpoint", digit * 64)
    database.connection.exec_driver_sql("UPDATE card SET created = 7.25")
    options, found = cards_pb2.ListOptions(), []
    while True:
        page = read_page(database, TABLES["checkpoint"], [], options, 4)
        found += [runs_pb2.Checkpoint.FromString(b"") for _ in page.messages]
        options.page = page.next_page
        if not page.next_page:
            break
        assert len(page.messages) == 4
    assert len(found) == 9


def test_large_things_make_short_pages(catalog: Catalog, database: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("penult_server.registry.pages.PAGE_BYTES", 10)
    for digit in "123":
        put(catalog, "checkpoint", digit * 64)
    page = read_page(database, TABLES["checkpoint"], [], cards_pb2.ListOptions(), 100)
    assert len(page.messages) == 1
    assert page.next_page


@pytest.mark.parametrize("page", ["x", "1", "1:", ":1", "1:x", "1:1:1"])
def test_a_page_that_no_answer_named_is_refused(database: Database, page: str):
    with pytest.raises(ServiceError, match="next_page") as raised:
        read_page(database, TABLES["run"], [], cards_pb2.ListOptions(page=page), 10)
    assert raised.value.kind is ErrorKind.INVALID_ARGUMENT


def test_brackets_in_a_pattern_stand_for_themselves(catalog: Catalog, database: Database):
    put(catalog, "checkpoint", "1" * 64, "a-1")
    for name, n in (("a-1", 1), ("a-?", 1), ("*", 1), ("a-[0-9]", 0), ("[", 0), ("A-1", 0)):
        assert len(read_page(database, TABLES["checkpoint"], [], cards_pb2.ListOptions(name=name), 10).messages) == n, (
            name
        )


def test_too_many_tags_in_all_are_refused(catalog: Catalog, database: Database):
    put(catalog, "run", "1" * 12)
    with database.transaction() as connection:
        catalog.cards.add(connection, "run", "1" * 12, Given(tags=tuple("abcdefghijklmnop")), is_new=False)
    with pytest.raises(ServiceError, match="at most 32"):
        catalog.cards.replace("run", "1" * 12, name="x", tags=[str(i) for i in range(33)], note=None)
    assert catalog.run("1" * 12).card.tags == list("abcdefghijklmnop")
    assert catalog.run("1" * 12).card.name == ""


def test_jobs_are_found_like_everything(database: Database):
    from penult_proto.v1 import jobs_pb2

    jobs = JobTable(database)
    made = jobs.create(jobs_pb2.JobSpec(extract=jobs_pb2.ExtractSpec(checkpoint="c")), "digest", "", 10)
    assert jobs.find(made.id[:4]) == made.id


def test_the_name_of_a_card_is_the_newest_that_the_thing_has(catalog: Catalog, database: Database):
    put(catalog, "run", "1" * 12, "first")
    put(catalog, "run", "1" * 12, "second")
    put(catalog, "run", "2" * 12)

    def names() -> list[str]:
        stored = [row[0] for row in rows_of(database, "SELECT name FROM card WHERE kind = 'run' ORDER BY id")]
        assert stored == [catalog.run(digit * 12).card.name for digit in "12"]
        return stored

    assert names() == ["second", ""]
    put(catalog, "run", "2" * 12, "second")
    assert names() == ["first", "second"]
    catalog.cards.replace("run", "2" * 12, name="third", tags=None, note=None)
    assert names() == ["first", "third"]
    with pytest.raises(ServiceError, match="no run 'second'"):
        catalog.run("second")
    catalog.cards.replace("run", "1" * 12, name="", tags=None, note=None)
    assert names() == ["", "third"]
    put(catalog, "run", "1" * 12, "third")
    assert names() == ["third", ""]


@pytest.mark.parametrize("name", ["feed", "0123", "a" * 63, "2026", "cafe1234"])
def test_a_name_like_the_start_of_a_digest_is_refused(name: str):
    for check in (lambda: check_name(name, "run"), lambda: check_dataset_name(name)):
        with pytest.raises(ServiceError, match="must not look like a digest") as raised:
            check()
        assert raised.value.kind is ErrorKind.INVALID_ARGUMENT


@pytest.mark.parametrize("name", ["fed", "feeds", "run-2026", "cafe-1", "2026.1"])
def test_other_names_are_not(name: str):
    check_name(name, "run")
    check_dataset_name(name)
