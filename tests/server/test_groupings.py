"""Groupings found in a column or uploaded, assigned, stored, and looked for; without a server around them."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from raw_sql import rows_of

from penult_proto.grouping_methods import METHODS, GroupingMethod, MethodNumber
from penult_proto.limits import MOST_LABELS
from penult_proto.v1 import groupings_pb2 as pb
from penult_proto.v1 import jobs_pb2, runs_pb2, spectra_pb2
from penult_server.compute.backend import choose_backend
from penult_server.compute.groupings.discover import FINDERS, assign, discover
from penult_server.compute.groupings.found import Found
from penult_server.compute.groupings.inputs import Access
from penult_server.compute.refits.material import RefitMaterial
from penult_server.compute.rows.resident import ResidentFeatures
from penult_server.errors import ServiceError
from penult_server.front.queries.grouping_request import complete_discovery, grouping_digest
from penult_server.messages import array_to_proto, feature_set_to_proto
from penult_server.records import Attribute, LabelNames
from penult_server.registry.cards import Given
from penult_server.registry.catalog import Catalog
from penult_server.registry.database import Database
from penult_server.registry.deletion import Deletions
from penult_server.registry.deletion_plan import Sort
from penult_server.registry.jobs import JobTable
from penult_server.registry.usage import add_up, read_facts
from penult_server.stores.features import FeatureHeader, FeatureWriter
from penult_server.stores.groupings import StoredGrouping

N = 24
Y, A, SIZE = np.arange(N) % 2, np.arange(N) // 2 % 2, np.arange(N) // 4 % 3
ROWS = np.arange(N, dtype=np.uint64)[::-1] * 3 + 100
COLUMNS = (Attribute(name="ground", values=("grass", "gravel")), Attribute(name="size", values=("s", "m", "l")))


class Store:
    """A store with a feature set, its registry, and what a compute worker has."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.database = Database(root / "penult.db")
        self.catalog = Catalog(self.database, root)
        self.deletions = Deletions(self.database, root, self.catalog, JobTable(self.database))
        backend = choose_backend("cpu")
        self.access = Access(
            root=root,
            material=RefitMaterial(root, backend, ResidentFeatures(root, backend, 2**20)),
            check=lambda: None,
        )
        self.set = self.add()

    def add(self, **changes: Any) -> str:
        """A feature set; returns its digest."""
        values = COLUMNS[0].values
        given: dict[str, Any] = {
            "n_examples": N,
            "n_features": 3,
            "dtype": "float32",
            "labels": LabelNames(classes=("cat", "dog"), attribute="ground", attribute_values=values),
            "attributes": COLUMNS,
        } | changes
        labels = given["labels"]
        width = given["n_features"]
        rows: dict[str, Any] = {
            "features": np.random.default_rng(0).standard_normal((N, width)).astype(np.float32),
            "y": Y,
            "a": A if labels.attribute_values else np.zeros(N, np.int64),
            "row_id": ROWS,
        }
        if given["attributes"]:
            rows["attributes"] = np.stack([A, SIZE], axis=1)
        with FeatureWriter(self.root, FeatureHeader(**given)) as writer:
            writer.append(**rows)
            message = feature_set_to_proto(writer.finish())
        self.catalog.add_feature_set(message)
        return message.digest

    def find(self, method: str = "attribute", given: Given = Given(), **fields: Any) -> pb.Grouping:  # noqa: B008  frozen
        """As the front and its worker do."""
        request = self.complete(method, **fields)
        digest = grouping_digest(request)
        stored = self.catalog.stored_grouping(digest, given)
        return stored or self.catalog.add_grouping(discover(request, digest, self.access), given)

    def complete(self, method: str, **fields: Any) -> pb.DiscoverGroupsRequest:
        request = pb.DiscoverGroupsRequest(method=method, **fields)
        request.source.feature_set = request.source.feature_set or self.set
        complete_discovery(self.catalog, request)
        return request


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    yield store
    store.database.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One that nothing is added to."""
    store = Store(tmp_path_factory.mktemp("groupings"))
    yield store
    store.database.close()


def uploaded(ids: object, values: object, names: tuple[str, ...] = (), dtype: str = "int64") -> pb.UploadedGroups:
    row_ids, given = np.asarray(ids, np.uint64), np.asarray(values, dtype)
    return pb.UploadedGroups(row_ids=array_to_proto(row_ids), values=array_to_proto(given), names=names)


def test_a_column_becomes_the_groups_that_it_makes(store):
    found = store.find(words={"attribute": "ground"}, given=Given(name="true", user="ann"))
    stored = store.catalog.feature_set(store.set)
    assert found.groups == stored.groups
    assert found.labels.attribute == "ground"
    assert (found.method, found.n_rows, found.n_unassigned, found.has_rule) == ("attribute", N, 0, True)
    assert (found.card.name, found.card.user, found.feature_set) == ("true", "ann", store.set)
    arrays = StoredGrouping(store.root, found.digest).arrays
    assert np.array_equal(arrays["value"], A)
    assert np.array_equal(arrays["row_id"], ROWS)
    # The column that the groups are made of is meant when none is named.
    assert store.find().digest == found.digest
    other = store.find(words={"attribute": "size"})
    assert [one.count for one in other.groups] == np.bincount(Y * 3 + SIZE, minlength=6).tolist()
    assert [one.attribute_value for one in other.groups] == ["s", "m", "l"] * 2


def test_uploaded_values_belong_to_row_ids(store):
    ids, values = ROWS[[5, 0, 7]], [1, 0, 1]
    found = store.find("uploaded", uploaded=uploaded(ids, values, ("x", "y", "z")))
    arrays = StoredGrouping(store.root, found.digest).arrays
    wanted = np.full(N, -1)
    wanted[[5, 0, 7]] = values
    assert np.array_equal(arrays["value"], wanted)
    assert found.n_unassigned == N - 3
    assert [one.id for one in found.notes] == ["rows_without_group"]
    assert sum(one.count for one in found.groups) == 3
    assert not found.has_rule
    # Neither the order of the rows nor those in no group are part of what it is.
    again = uploaded([*ids[::-1], ROWS[1]], [*values[::-1], -1], ("x", "y", "z"))
    assert store.find("uploaded", uploaded=again).digest == found.digest
    for other in (uploaded(ids, [1, 1, 1], ("x", "y", "z")), uploaded(ids, values, ("x", "y", "w"))):
        assert store.find("uploaded", uploaded=other).digest != found.digest
    # What is kept of the question has no arrays.
    kept = store.catalog.grouping(found.digest).request
    assert kept.ByteSize() < 400
    assert list(kept.uploaded.names) == ["x", "y", "z"]


@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        (uploaded([1], [0]), "other_rows", "such as row 1"),
        (uploaded([ROWS[0], ROWS[0]], [0, 1]), "invalid_argument", "more than once"),
        (uploaded(ROWS[:2], [0, 2], ("x", "y")), "label_out_of_range", "there are 2 names"),
        (uploaded(ROWS[:2], [0, -2]), "label_out_of_range", "0 .. 0"),
        (uploaded(ROWS[:1], [MOST_LABELS]), "label_out_of_range", "0 .. 24999"),
        (uploaded(ROWS[:1], [MOST_LABELS - 1]), "label_out_of_range", "50000 groups"),
        (uploaded(ROWS[:2], [-1, -1]), "invalid_argument", "no row in a group"),
        (uploaded([], []), "wrong_shape", "at least 1"),
        (uploaded(ROWS[:2], [0]), "wrong_shape", "one length"),
        (uploaded([ROWS[:2]], [[0, 1]]), "wrong_shape", "lists"),
        (uploaded(ROWS[:2], [0, 1], dtype="float64"), "wrong_dtype", "int64"),
        (uploaded(ROWS[:2], [0, 1], ("x", "x")), "invalid_argument", "a name of its own"),
        (uploaded(ROWS[:2], [0, 1], ("x", "")), "invalid_argument", "a name of its own"),
        (uploaded(ROWS[:2], [0, 1], ("x", "y" * 300)), "invalid_argument", "256 characters"),
        (pb.UploadedGroups(), "wrong_dtype", "no known dtype"),
    ],
)
def test_an_upload_that_cannot_be_is_refused(shared, given, kind, said):
    with pytest.raises(ServiceError, match=said) as raised:
        shared.find("uploaded", uploaded=given)
    assert raised.value.kind == kind
    assert shared.catalog.counts()["grouping"] == 0


@pytest.mark.parametrize(
    ("method", "fields", "kind", "said"),
    [
        ("clustering", {}, "unknown_method", "attribute"),
        ("attribute", {"words": {"attribute": "place"}}, "invalid_argument", "known: ground, size"),
        ("attribute", {"words": {"column": "ground"}}, "invalid_argument", "known: attribute"),
        ("attribute", {"numbers": {"k": 2}}, "invalid_argument", "number of the method"),
        ("attribute", {"uploaded": uploaded(ROWS, A)}, "invalid_argument", "for no other"),
        ("uploaded", {}, "invalid_argument", "for no other"),
        ("attribute", {"indices": [1]}, "invalid_argument", "left out"),
        ("attribute", {"fit": "nothing"}, "unknown_feature_set", "nothing"),
        ("attribute", {"head": {"refit": "nothing"}}, "unknown_result", "nothing"),
        ("attribute", {"source": {"feature_set": "nothing"}}, "unknown_feature_set", "nothing"),
        ("attribute", {"source": {"rows": {"run": "x"}}}, "unknown_run", "no run"),
        ("attribute", {"source": {"grouping": "x"}}, "invalid_argument", "left out"),
        ("attribute", {"source": {"checkpoint": "x"}}, "invalid_argument", "named twice"),
    ],
)
def test_a_question_that_cannot_be_is_refused(shared, method, fields, kind, said):
    request = pb.DiscoverGroupsRequest(method=method, **fields)
    request.source.feature_set = request.source.feature_set or shared.set
    with pytest.raises(ServiceError, match=said) as raised:
        complete_discovery(shared.catalog, request)
    assert raised.value.kind == kind


def test_a_set_without_an_attribute_has_no_column(store):
    plain = store.add(labels=LabelNames(classes=("cat", "dog")), attributes=())
    with pytest.raises(ServiceError, match=r"client\.groupings\.upload") as raised:
        store.find(source={"feature_set": plain})
    assert raised.value.kind == "attribute_missing"
    found = store.find("uploaded", source={"feature_set": plain}, uploaded=uploaded(ROWS, A))
    assert [one.name for one in found.groups] == ["cat, 0", "cat, 1", "dog, 0", "dog, 1"]


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"n_features": 4}, "wrong_shape"),
        ({"labels": LabelNames(classes=("cat", "wolf"))}, "other_classes"),
    ],
)
def test_sets_that_cannot_be_looked_at_together_are_refused(store, changes, kind):
    other = store.add(**changes, attributes=())
    with pytest.raises(ServiceError) as raised:
        store.complete("attribute", fit=other)
    assert raised.value.kind == kind
    assert store.complete("attribute", fit=store.set).fit == ""


def test_numbers_and_words_are_completed_by_the_table(store, monkeypatch):
    method = GroupingMethod(
        name="trial",
        sentence="",
        source="",
        numbers={
            "k": MethodNumber(default=2, low=1, high=9, is_integer=True),
            "tau": MethodNumber(default=0.5, low=0, high=1),
        },
        words={"space": ("features", "logits")},
        is_random=True,
    )
    monkeypatch.setitem(METHODS, "trial", method)
    whole = store.complete("trial", seed=3)
    assert dict(whole.numbers) == {"k": 2, "tau": 0.5}
    assert dict(whole.words) == {"space": "features"}
    assert grouping_digest(store.complete("trial", seed=3, numbers={"k": 2})) == grouping_digest(whole)
    assert grouping_digest(store.complete("trial", seed=4)) != grouping_digest(whole)
    for fields in (
        {"numbers": {"k": 2.5}},
        {"numbers": {"k": 10}},
        {"numbers": {"tau": float("nan")}},
        {"numbers": {"tau": -0.1}},
        {"words": {"space": "pixels"}},
    ):
        with pytest.raises(ServiceError) as raised:
            store.complete("trial", **fields)
        assert raised.value.kind == "invalid_argument"
    # The seed of a method that draws nothing is no part of the question.
    assert store.complete("attribute", seed=3).seed == 0


def test_a_rule_assigns_other_rows_by_the_names_of_their_values(store):
    found = store.find()
    swapped = LabelNames(classes=("cat", "dog"), attribute="ground", attribute_values=("gravel", "grass", "sand"))
    other = store.add(labels=swapped, attributes=())
    request = pb.AssignGroupsRequest(grouping=found.digest)
    request.source.feature_set = other
    assigned = store.catalog.add_grouping(assign(request, "b" * 64, store.access))
    assert (assigned.assigned_by, assigned.feature_set, assigned.method) == (found.digest, other, "attribute")
    assert list(assigned.labels.attribute_values) == ["grass", "gravel"]
    assert np.array_equal(StoredGrouping(store.root, assigned.digest).arrays["value"], 1 - A)
    # It has the rule, too.
    request.grouping, request.source.feature_set = assigned.digest, store.set
    back = assign(request, "c" * 64, store.access)
    assert back.groups == found.groups


def test_a_grouping_serves_the_rows_that_it_has(store):
    stored = StoredGrouping(store.root, store.find(words={"attribute": "size"}).digest)
    some = [3, 1, 20]
    assert stored.values_of(ROWS[some], Y[some]).tolist() == SIZE[some].tolist()
    for rows, y, said in ((np.array([1], np.uint64), Y[:1], "says nothing of 1"), (ROWS[:1], 1 - Y[:1], "class")):
        with pytest.raises(ServiceError, match=said) as raised:
            stored.values_of(rows, y)
        assert raised.value.kind == "other_rows"


def test_soft_values_and_rules_come_back_bit_for_bit(store, monkeypatch):
    soft = np.random.default_rng(0).random((N, 2)).astype(np.float32)
    rule = {"centers": np.random.default_rng(1).random((2, 3)), "name": np.asarray("ä b"), "k": np.asarray(2)}
    found = Found(value=A, names=("p", "q"), soft=soft, rule="nearest", rule_arrays=rule, scores={"silhouette": 0.25})
    monkeypatch.setitem(METHODS, "trial", GroupingMethod(name="trial", sentence="", source=""))
    monkeypatch.setitem(FINDERS, "trial", lambda inputs: found)
    grouping = store.find("trial")
    assert (grouping.has_soft, grouping.has_rule, dict(grouping.scores)) == (True, True, {"silhouette": 0.25})
    stored = StoredGrouping(store.root, grouping.digest)
    assert np.array_equal(stored.arrays["soft"], soft)
    assert {name: (one.shape, one.tolist()) for name, one in stored.rule.items()} == {
        name: (one.shape, one.tolist()) for name, one in rule.items()
    }


def test_what_nobody_registered_and_was_altered_is_written_again(store):
    request = store.complete("attribute")
    found = discover(request, grouping_digest(request), store.access)
    place = store.root / "groupings" / found.digest
    assert discover(request, found.digest, store.access) == found
    content = bytearray((place / "arrays.npz").read_bytes())
    content[random.Random(0).randrange(len(content))] ^= 1
    (place / "arrays.npz").write_bytes(content)
    with pytest.raises(ServiceError, match="its arrays were altered"):
        _ = StoredGrouping(store.root, found.digest).arrays
    assert discover(request, found.digest, store.access).groups == found.groups
    assert StoredGrouping(store.root, found.digest).arrays["value"].tolist() == A.tolist()


def test_a_grouping_outlives_its_features_and_goes_by_itself(store):
    found, other = store.find(given=Given(name="true", user="ann")), store.find(words={"attribute": "size"})
    usage = add_up(store.root, read_facts(store.database, store.deletions.holdings))
    of_kind = {one.kind: one for one in usage.kinds}
    assert of_kind["groupings"].count == 2
    assert of_kind["groupings"].bytes == sum(path.stat().st_size for path in store.root.glob("groupings/*/*"))
    assert {one.user: one.bytes > 0 for one in usage.users}["ann"]

    plan = store.deletions.planner.plan(Sort.FEATURES, store.set, dependents=False)
    assert not plan.in_the_way
    assert {one.id for one in plan.stays if one.sort is Sort.GROUPING} == {found.digest, other.digest}
    store.deletions.execute(plan)
    assert store.catalog.grouping("true").digest == found.digest

    store.catalog.add_result("d" * 64, "spectra", spectra_pb2.Spectra(feature_set=found.digest))
    plan = store.deletions.planner.plan(Sort.GROUPING, "true", dependents=False)
    assert [(one.sort, one.id, one.names) for one in plan.goes] == [(Sort.GROUPING, found.digest, ("true",))]
    assert [one.id for one in plan.stays] == ["d" * 64]
    store.deletions.execute(plan)
    assert not (store.root / "groupings" / found.digest).exists()
    with pytest.raises(ServiceError, match="there is no grouping 'true'") as raised:
        store.catalog.grouping("true")
    assert raised.value.kind == "unknown_grouping"
    assert rows_of(store.database, "SELECT id FROM card WHERE kind = 'grouping'") == [(other.digest,)]


def test_a_run_and_a_job_that_name_a_grouping_are_in_its_way(store):
    found = store.find()
    # Digests are found in any field of a spec.
    spec = runs_pb2.FinetuneSpec(dataset="shapes", attribute=found.digest)
    store.catalog.add_run(runs_pb2.Run(id="f00dfeed", spec=spec))
    plan = store.deletions.planner.plan(Sort.GROUPING, found.digest[:6], dependents=False)
    assert [(one.sort, one.id) for one in plan.in_the_way] == [(Sort.RUN, "f00dfeed")]
    plan = store.deletions.planner.plan(Sort.GROUPING, found.digest, dependents=True)
    assert [one.sort for one in plan.goes] == [Sort.GROUPING, Sort.RUN]
    job = JobTable(store.database).create(jobs_pb2.JobSpec(finetune=spec), "spec", "", 9)
    plan = store.deletions.planner.plan(Sort.GROUPING, found.digest, dependents=True)
    assert [(one.sort, one.id) for one in plan.in_the_way] == [(Sort.JOB, job.id)]


def test_lists_hold_what_was_asked_for(store):
    first = store.find(given=Given(tags=("a",)))
    second = store.find("uploaded", uploaded=uploaded(ROWS, A))
    third = store.find("uploaded", source={"feature_set": store.add(attributes=())}, uploaded=uploaded(ROWS, A))

    def listed(limit: int = 10, **fields: Any) -> list[str]:
        page, _ = store.catalog.grouping_page(pb.ListGroupingsRequest(**fields), limit)
        return [one.digest for one in page]

    assert listed() == [third.digest, second.digest, first.digest]
    assert listed(method="uploaded") == [third.digest, second.digest]
    assert listed(feature_set=store.set) == [second.digest, first.digest]
    assert listed(options={"tags": ["a"]}) == [first.digest]
    assert listed(dataset="shapes") == []
    page, rest = store.catalog.grouping_page(pb.ListGroupingsRequest(), 2)
    assert len(page) == 2
    page, end = store.catalog.grouping_page(pb.ListGroupingsRequest(options={"page": rest}), 2)
    assert ([one.digest for one in page], end) == ([first.digest], "")
    with pytest.raises(ServiceError, match="there is no grouping"):
        store.catalog.grouping("zz")


def test_rows_without_an_attribute_cannot_be_assigned_by_a_column(store):
    found = store.find()
    for changes, kind in (
        ({"labels": LabelNames(classes=("cat", "dog"))}, "attribute_missing"),
        (
            {"labels": LabelNames(classes=("cat", "dog"), attribute="size", attribute_values=("s", "m"))},
            "invalid_argument",
        ),
    ):
        request = pb.AssignGroupsRequest(grouping=found.digest)
        request.source.feature_set = store.add(**changes, attributes=())
        with pytest.raises(ServiceError) as raised:
            assign(request, "b" * 64, store.access)
        assert raised.value.kind == kind
