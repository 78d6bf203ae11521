"""Names, tags, notes: given, moved, found again; lists, and starts of ids, for every kind of thing."""

import getpass
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

import penult


@pytest.fixture(scope="module")
def client(client_alone):
    """Everything is listed."""
    return client_alone


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    y, a = np.arange(40) // 20, np.arange(40) % 2
    return {"features": (rng.standard_normal((40, 4)) + y[:, None]).astype(np.float32), "y": y, "a": a}


def shifted(rows, by: float):
    return {**rows, "features": (rows["features"] + by).astype(np.float32)}


@pytest.fixture(scope="module")
def run(client, table, tiny):
    client.datasets.register("shapes", table)
    return client.finetune(dataset="shapes", epochs=1, **tiny, name="first", tags=["pilot", "a b"], note="why").wait()


@pytest.fixture(scope="module")
def sets(client, run):
    return client.extract(run.checkpoints[-1], tags=["pilot"], note="of the end").wait()


def test_a_run_carries_what_was_said_of_it_and_who_asked(client, run):
    for found in (run, client.runs.get("first"), client.runs.get(run.id[:4]), client.jobs.get("first").result):
        assert (found.id, found.name, found.tags, found.note) == (run.id, "first", ("a b", "pilot"), "why")
        assert found.user == getpass.getuser()
        assert abs(found.created - datetime.now(UTC)) < timedelta(hours=1)
    assert all(one.user == getpass.getuser() and not one.name for one in client.runs.get(run).checkpoints)
    assert client.runs.manifest("first").run_id == client.runs.manifest(run.id[:5]).run_id == run.id
    assert "'first'" in repr(run)


def test_an_equal_spec_with_a_name_names_the_existing_run(client, run, table, tiny):
    job = client.finetune(dataset="shapes", epochs=1, **tiny, name="again", tags=["more"])
    assert job.id == run.id
    assert job.ended
    found = client.runs.get("again")
    assert (found.id, found.name, found.tags, found.note) == (run.id, "again", ("a b", "more", "pilot"), "why")
    assert client.runs.get("first").id == run.id
    assert job.notes == ()
    described = client.runs.describe("again", name="first", tags=["pilot", "a b"])
    assert (described.name, described.tags, described.note, described.notes) == ("first", ("a b", "pilot"), "why", ())
    with pytest.raises(penult.NotFound, match="no run 'again'"):
        client.runs.get("again")


def test_a_name_moves_when_the_job_it_was_given_to_has_ended(client, run, tiny):
    job = client.finetune(dataset="shapes", epochs=1, seed=7, **tiny, name="first")
    assert [note.id for note in job.notes] == ["name_moved"]
    assert run.id in job.notes[0]
    assert run.id in repr(job)
    other = job.wait()
    assert client.runs.get("first").id == other.id != run.id
    assert client.runs.get(run).name == ""
    back = client.runs.describe(run, name="first")
    assert [note.id for note in back.notes] == ["name_moved"]
    assert other.id in back.notes[0]
    assert client.runs.get(other).name == ""


def test_a_run_that_fails_takes_no_name(client, run, tiny):
    with pytest.raises(penult.PenultError, match="became nan"):
        client.finetune(
            dataset="shapes", epochs=1, **tiny | {"optimizer": penult.AdamW(learning_rate=1e30)}, name="first"
        ).wait()
    assert client.runs.get("first").id == run.id


def test_an_extraction_describes_every_set(client, run, sets):
    assert {one.tags for one in sets.values()} == {("pilot",)}
    assert {one.note for one in sets.values()} == {"of the end"}
    again = client.extract(run.checkpoints[-1], tags=["twice"]).wait()
    assert {one.tags for one in again.values()} == {("pilot", "twice")}
    assert client.features.get(sets["val"]).tags == ("pilot", "twice")
    for one in sets.values():
        client.features.describe(one, tags=["pilot"])


def test_a_printed_name_finds_the_one_set_that_it_is(client, run, sets):
    assert client.features.get("shapes/val") == sets["val"]
    flat = client.extract(run.checkpoints[-1], splits=["val"], kind="flat").wait()["val"]
    assert client.features.get("shapes/val") == sets["val"] != flat
    start = client.extract(run.checkpoints[0], splits=["val"]).wait()["val"]
    with pytest.raises(penult.NotFound, match="several feature sets are 'shapes/val'") as raised:
        client.features.get("shapes/val")
    for one in (sets["val"], flat, start):
        assert one.digest[:12] in str(raised.value)
    assert f"checkpoint {run.checkpoints[0].digest[:12]} epoch 0" in str(raised.value)
    assert f"{datetime.now(UTC):%Y-%m-}" in str(raised.value)
    assert client.refit("shapes/train", l2=0.1).settings.feature_set == sets["train"].digest
    with pytest.raises(penult.NotFound, match="no feature set 'shapes/nowhere'"):
        client.features.get("shapes/nowhere")
    for one in (flat, start):
        client.features.delete(one)


def test_an_upload_under_a_taken_name_says_so(client, rows):
    first = client.features.upload(**rows, name="mine", tags=["own"], note="from a paper")
    assert (first.name, first.names, first.tags, first.note) == ("mine", ("mine",), ("own",), "from a paper")
    assert first.notes == ()
    second = client.features.upload(**shifted(rows, 1), name="mine")
    assert [note.id for note in second.notes] == ["name_moved"]
    assert first.digest[:12] in second.notes[0]
    assert client.features.get("mine") == second
    assert client.features.get(second).notes == ()
    assert client.features.get(first).names == ()
    both = client.features.upload(**shifted(rows, 1), name="other")
    assert (both.name, both.names, both.notes) == ("other", ("other", "mine"), ())
    assert client.features.get("mine") == client.features.get("other") == second
    client.features.delete(second)
    assert client.features.upload(**rows, name="mine").notes == ()


def test_a_checkpoint_has_a_name_too(client, run, sets):
    end = run.checkpoints[-1]
    named = client.checkpoints.describe(end.digest[:6], name="best", tags=["kept"], note="n")
    assert (named, named.name, named.tags, named.note) == (end, "best", ("kept",), "n")
    assert client.checkpoints.get("best") == end
    assert client.runs.get(run).checkpoints[-1].name == "best"
    assert client.extract("best", splits=["val"]).wait()["val"] == sets["val"]
    assert client.spectra("best", split="train", replicates=0, top_k=2).feature_set == sets["train"].digest
    moved = client.checkpoints.describe(run.checkpoints[0], name="best")
    assert end.digest[:12] in moved.notes[0]
    assert [one.digest for one in client.checkpoints.list(run="first")] == [
        one.digest for one in reversed(run.checkpoints)
    ]
    assert list(client.checkpoints.list(tag="kept")) == [end]
    assert list(client.checkpoints.list(name="b*")) == [run.checkpoints[0]]


def test_refits_and_spectra_are_named_and_found_again(client, rows, sets):
    mine = client.features.upload(**rows, name="mine")
    refit = client.refit("mine", preset="erm", evaluate={"own": mine}, name="head", tags=["t"], note="why")
    assert (refit.name, refit.tags, refit.note, refit.user) == ("head", ("t",), "why", getpass.getuser())
    same = client.refit(mine.digest, preset="erm", evaluate={"own": "mine"})
    assert (same.digest, same.reused, same.name, same.tags) == (refit.digest, True, "head", ("t",))
    again = client.refit("mine", preset="erm", evaluate={"own": mine}, name="newer")
    assert (again.digest, again.name, again.notes) == (refit.digest, "newer", refit.notes)
    other = client.refit("mine", l2=0.5, name="head")
    assert [note.id for note in other.notes] == ["name_moved"]
    assert refit.digest[:12] in other.notes[0]
    spectra = client.spectra("mine", replicates=0, name="values", tags=["t"], note="all")
    assert (spectra.name, spectra.tags, spectra.note) == ("values", ("t",), "all")
    stored = client.results.get("newer")
    assert isinstance(stored, penult.Refit)
    assert stored.digest == refit.digest
    np.testing.assert_array_equal(stored.head.weight, refit.head.weight)
    assert stored.metrics["own"].worst_group_accuracy == refit.metrics["own"].worst_group_accuracy
    assert isinstance(client.results.get(spectra.digest[:6]), penult.Spectra)
    np.testing.assert_array_equal(client.results.get("values").eigenvalues, spectra.eigenvalues)
    described = client.results.describe(spectra, name="head")
    assert other.digest[:12] in described.notes[-1]
    angles = client.principal_angles("mine", "mine", groups=(0, 1), top_k=1)
    for one in (client.descriptors("mine"), angles):
        assert client.results.get(one.digest).digest == one.digest
        assert client.results.describe(one, tags=["t"]).digest == one.digest
    assert {one.kind for one in client.results.list(tag="t")} == {"refit", "spectra", "descriptors", "principal_angles"}


def test_results_are_listed_by_kind_set_tag_and_time(client, rows):
    mine = client.features.upload(**shifted(rows, 3), name="listed")
    before = datetime.now(UTC)
    kept = [client.refit(mine, l2=strength, evaluate={"own": mine}) for strength in (0.1, 0.2, 0.3)]
    spectra = client.spectra(mine, replicates=0, tags=["seen"])
    found = client.results.list(feature_set="listed")
    assert [one.digest for one in found] == [spectra.digest, *(one.digest for one in reversed(kept))]
    assert [one.digest for one in client.results.list(kind="refit", feature_set=mine, limit=2)] == [
        kept[2].digest,
        kept[1].digest,
    ]
    assert [one.digest for one in client.results.list(tag="seen")] == [spectra.digest]
    assert client.results.list(tag=["seen", "not"]) == []
    assert len(client.results.list(feature_set=mine, since=before)) == 4
    assert client.results.list(feature_set=mine, since=datetime.now(UTC) + timedelta(days=1)) == []
    assert client.results.list(feature_set=mine, user="nobody") == []
    summary = client.results.list(kind="refit", feature_set=mine)[0]
    metrics = kept[2].metrics["own"]
    assert (summary.title, summary.kind, summary.feature_sets) == ("no balancing, l2 0.3", "refit", (mine.digest,))
    (score,) = summary.scores
    assert (score.evaluated_on, score.worst_group) == ("own", metrics.worst_group.name)
    assert (score.average_accuracy, score.worst_group_accuracy) == (
        metrics.average_accuracy,
        metrics.worst_group_accuracy,
    )
    assert client.results.get(summary).digest == summary.digest
    frame = found.to_frame()
    assert frame["digest"].tolist() == [one.digest for one in found]
    assert frame["worst_group_accuracy"].tolist()[1] == metrics.worst_group_accuracy
    assert "no balancing, l2 0.3" in repr(found)


def test_lists_are_filtered_by_what_things_are(client, run, sets, rows):
    client.features.upload(**rows, name="mine", tags=["own"])
    assert [one.id for one in client.runs.list(dataset="shapes", tag="pilot", name="fir*")] == [run.id]
    assert client.runs.list(backbone="test_vit") == client.runs.list(dataset="other") == []
    assert {one.dataset for one in client.features.list(dataset="shapes")} == {"shapes"}
    assert {one.split for one in client.features.list(checkpoint=run.checkpoints[-1])} == {"train", "val", "test"}
    assert [one.digest for one in client.features.list(split="val", backbone="test_resnet")] == [sets["val"].digest]
    assert [one.name for one in client.features.list(tag="own")] == ["mine"]
    assert len(client.features.list(limit=2)) == 2
    assert [one.name for one in client.datasets.list(name="sha*")] == ["shapes"]
    assert [one.name for one in client.datasets.list(user=getpass.getuser())] == ["shapes"]
    assert "footwear" in [one.name for one in client.datasets.list()]
    jobs = client.jobs.list(kind="extract", tag="pilot", dataset="shapes", since=timedelta(hours=1))
    assert {job.kind for job in jobs} == {"extract"}
    assert [job.id for job in client.jobs.list(name="aga*", states=["succeeded"])] == [run.id]
    assert client.jobs.list(limit=1)[0].created >= client.jobs.list()[-1].created
    for found in (client.runs.list(), client.checkpoints.list(), client.features.list(), client.datasets.list(), jobs):
        assert len(found.to_frame()) == len(found) > 0
        assert len(repr(found).splitlines()) == len(found) + 1


def test_pages_join_without_gap_or_repetition(client, rows, monkeypatch):
    for index in range(7):
        client.features.upload(**shifted(rows, 100 + index), tags=["paged"])
    monkeypatch.setattr("penult.calls.catalog.paging.PAGE", 3)
    found = client.features.list(tag="paged")
    assert len({one.digest for one in found}) == len(found) == 7
    times = [one.created for one in found]
    assert times == sorted(times, reverse=True)
    assert [one.digest for one in client.features.list(tag="paged", limit=5)] == [one.digest for one in found[:5]]


@pytest.mark.parametrize(
    ("words", "change"),
    [
        ("small letter", {"name": "Not A Name"}),
        ("a list of names", {"tags": "single"}),
        ("1 to 63 printable", {"tags": [" x"]}),
        ("1 to 63 printable", {"tags": ["x" * 64]}),
        ("at most 32 tags", {"tags": [str(i) for i in range(33)]}),
        ("nothing to change", {}),
    ],
)
def test_what_cannot_be_a_card_is_refused(client, run, words, change):
    with pytest.raises(penult.InvalidRequest, match=words):
        client.runs.describe(run, **change)
    assert client.runs.get(run).tags == ("a b", "pilot")


def test_one_name_for_several_runs_is_refused(client, tiny):
    with pytest.raises(penult.InvalidRequest, match="belongs to one run"):
        client.finetunes(seeds=range(2), dataset="shapes", **tiny, name="twice")


def test_who_asks_is_as_told(client, rows, monkeypatch):
    monkeypatch.setenv("PENULT_USER", "Zoë\n")
    with penult.connect(client.connection.address) as other:
        stored = other.features.upload(**shifted(rows, 50))
        refit = other.refit(stored, l2=1)
    assert client.features.get(stored).user == client.results.get(refit.digest).user == "Zoë"
    assert client.refit(stored, l2=1).user == "Zoë"
    assert [one.digest for one in client.features.list(user="Zoë")] == [stored.digest]


def test_since_takes_times_in_many_forms(client, rows):
    stored = client.features.upload(**shifted(rows, 60), tags=["timed"])
    now = datetime.now(UTC)
    for since in (now - timedelta(minutes=5), timedelta(minutes=5), "2020-01-01", now.date() - timedelta(days=2)):
        assert list(client.features.list(tag="timed", since=since)) == [stored]
    for since in (now + timedelta(minutes=5), "2999-01-01T00:00", timedelta(minutes=-5)):
        assert list(client.features.list(tag="timed", since=since)) == []
    for since in ("yesterday", 5, ""):
        with pytest.raises(penult.InvalidRequest, match="since takes"):
            client.features.list(since=since)


def test_a_dataset_has_tags_and_a_note_and_keeps_its_name(client, run):
    described = client.datasets.describe("shapes", tags=["small", "ours"], note="drawn by the tests")
    for found in (described, client.datasets.get("shapes"), client.datasets.list(tag="small")[0]):
        assert (found.name, found.tags, found.note) == ("shapes", ("ours", "small"), "drawn by the tests")
        assert found.user == getpass.getuser()
        assert abs(found.created - datetime.now(UTC)) < timedelta(hours=1)
    assert client.datasets.list(tag=["small", "not"]) == []
    assert client.datasets.describe(described, note="").note == ""
    assert client.datasets.get("shapes").tags == ("ours", "small")
    with pytest.raises(penult.InvalidRequest, match="part of the installation"):
        client.datasets.describe("footwear", note="mine")
    with pytest.raises(penult.NotFound, match="no registered dataset 'nothing'; known: shapes"):
        client.datasets.describe("nothing", note="mine")


def test_a_dataset_is_registered_with_tags(client, table):
    job = client.datasets.register("tagged", table, tags=["later"], note="the same images", wait=False)
    registered = job.wait()
    assert (registered.tags, registered.note) == (("later",), "the same images")
    assert client.jobs.get(job).result.tags == ("later",)
    assert client.datasets.register("tagged", table, tags=["more"]).tags == ("later", "more")
    client.datasets.delete("tagged")


def test_a_job_is_described_and_what_it_makes_gets_that(client, run, tiny):
    done = client.jobs.describe(run.id, name="job-of-run", tags=["seen"], note="done")
    assert (done.id, done.name, done.tags, done.note) == (run.id, "job-of-run", ("seen",), "done")
    assert client.jobs.get("job-of-run").id == client.jobs.list(tag="seen")[0].id == run.id
    assert client.runs.get(run).tags == ("a b", "pilot")
    waits = client.finetune(dataset="shapes", epochs=2, seed=11, **tiny)
    told = client.jobs.describe(waits, name="job-of-run", tags=["late"])
    assert run.id[:12] in told.notes[0]
    assert client.jobs.get(run.id).name == ""
    made = waits.wait()
    assert (made.name, made.tags) == ("job-of-run", ("late",))
    extraction = client.jobs.list(kind="extract")[0]
    with pytest.raises(penult.InvalidRequest, match="several feature sets: describe each"):
        client.jobs.describe(extraction, name="several")
    assert client.jobs.describe(extraction, note="fine").note == "fine"
    with pytest.raises(penult.NotFound, match="no job 'nothing'"):
        client.jobs.describe("nothing", note="x")
