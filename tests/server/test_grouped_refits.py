"""Refits and metrics by a grouping: to the last bit those of an attribute with its values."""

import numpy as np
import pytest
from grouped_store import VALUES, GroupedStore, grouped_store

from penult_proto.errors import ErrorKind
from penult_proto.notes import NoteId
from penult_proto.v1 import groups_pb2
from penult_proto.v1 import refits_pb2 as pb
from penult_server.compute.backend import Backend
from penult_server.compute.refits.evaluation import evaluate, evaluate_mixtures
from penult_server.compute.refits.material import RefitMaterial
from penult_server.compute.refits.queue import Asked, answer_together
from penult_server.compute.rows.resident import ResidentFeatures
from penult_server.errors import ServiceError
from penult_server.front.queries.refits.request import expand
from penult_server.messages import array_to_proto

NUMPY = Backend(np, "numpy", "cpu")


def balanced(method: "groups_pb2.BalanceMethod.ValueType", **more) -> groups_pb2.Balance:
    return groups_pb2.Balance(method=method, by=groups_pb2.BALANCE_BY_GROUP, **more)


REQUESTS = {
    "subsetting": {"balance": balanced(groups_pb2.BALANCE_METHOD_SUBSETTING), "l2": 0.1, "repeats": 3},
    "upsampling": {"balance": balanced(groups_pb2.BALANCE_METHOD_UPSAMPLING), "l2": 0.1},
    "mixture": {"balance": balanced(groups_pb2.BALANCE_METHOD_MIXTURE, ratio=2.0), "l2": 0.1},
    "upweighting": {"balance": balanced(groups_pb2.BALANCE_METHOD_UPWEIGHTING), "l2": 0.1},
    "group_dro": {"risk": pb.Risk(kind=pb.RISK_KIND_GROUP_DRO), "l2": 0.1, "tolerance": 0.01},
    "dfr on a half": {"preset": "dfr", "repeats": 2, "grid": [pb.GridAxis(name="l1", values=[0.01, 0.1])]},
    "a path": {
        "balance": balanced(groups_pb2.BALANCE_METHOD_UPSAMPLING),
        "path": pb.Path(optimizer=pb.PATH_OPTIMIZER_SGD, learning_rate=0.05, steps=30, batch_size=16),
        "seed": 3,
    },
}


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> GroupedStore:
    return grouped_store(tmp_path_factory.mktemp("store"))


@pytest.fixture
def material(store) -> RefitMaterial:
    return RefitMaterial(store.root, NUMPY, ResidentFeatures(store.root, NUMPY, 2**24))


def refit(material: RefitMaterial, **fields) -> pb.Refit:
    request = pb.RefitRequest(**fields)
    expand(request)
    asked = Asked(request, lambda: True)
    answer_together([asked], material)
    return asked.answer.result()


def alike(answer: pb.Refit) -> tuple:
    """What two refits have in common that are the same but for the names of their sets and groups."""
    return answer.head.weight, answer.head.bias, answer.certificate, answer.n_rows, list(answer.candidates), answer.plan


@pytest.mark.parametrize("named", REQUESTS)
@pytest.mark.parametrize("attribute", ["place", "light"])
def test_an_attribute_s_grouping_fits_the_bits_of_stored_groups(store, material, named, attribute):
    """Selection is by the stored groups, which for another column means by a grouping, too."""
    fields = REQUESTS[named] | {"plan": True}
    own, stored = store.written(), store.written(attribute=attribute)
    grouping = store.of_attribute(attribute)
    expected = refit(material, feature_set=stored, evaluate={"same": stored}, **fields)
    select = {"select": pb.Select(grouping=grouping)} if expected.request.HasField("select") else {}
    found = refit(material, feature_set=own, grouping=grouping, **fields, **select)
    assert alike(found) == alike(expected)
    assert found.grouping.digest == grouping
    scored = pb.EvaluateRequest(explicit=found.head, feature_set=own, grouping=grouping)
    metrics = evaluate(scored, material, lambda: None)
    metrics.ClearField("grouping")
    assert metrics == expected.metrics["same"]


def test_metrics_and_choice_are_of_the_stored_groups(store, material):
    digest, grouping = store.written(), store.of_attribute("light")
    fields = REQUESTS["dfr on a half"] | {"feature_set": digest, "evaluate": {"same": digest}}
    plain, by = refit(material, **fields), refit(material, grouping=grouping, **fields)
    assert [group.name for group in by.metrics["same"].groups] == [group.name for group in plain.metrics["same"].groups]
    assert not by.metrics["same"].HasField("grouping")
    assert [note.id for note in by.notes] == [NoteId.GROUPS_USED]
    called = f"grouping {grouping[:12]} (light)"
    assert by.notes[0].text == (
        f"the rows that are fitted have the groups of {called}; the choice is by the stored groups; "
        "metrics are of the stored groups"
    )
    chosen = refit(material, select=pb.Select(grouping=grouping), **fields)
    assert chosen.notes[0].text == f"the choice is by those of {called}; metrics are of the stored groups"
    # The candidates are the same, their scores are of other groups.
    averages = [[one.average_accuracy for one in answer.candidates] for answer in (chosen, plain)]
    assert averages[0] == pytest.approx(averages[1])
    assert [one.score for one in chosen.candidates] != [one.score for one in plain.candidates]
    assert plain.notes == []


@pytest.mark.parametrize("named", ["subsetting", "group_dro", "dfr on a half"])
def test_rows_in_no_group_are_left_out_as_by_rows(store, material, named):
    digest = store.written()
    value = np.where(np.arange(store.y.size) % 5 == 0, -1, store.light)
    rows = pb.Rows(kind=pb.ROWS_KIND_EXPLICIT, row_ids=array_to_proto(store.row_id[value >= 0]))
    fields = REQUESTS[named] | {"feature_set": digest, "plan": True}
    expected = refit(material, grouping=store.of_attribute("light"), rows=rows, **fields)
    found = refit(material, grouping=store.grouping(value, VALUES["light"]), **fields)
    assert alike(found) == alike(expected)
    assert NoteId.ROWS_WITHOUT_GROUP in [note.id for note in found.notes]


def test_metrics_leave_out_and_count_rows_in_no_group(store, material):
    digest = store.written()
    value = np.where(np.arange(store.y.size) < 21, -1, store.light)
    grouping = store.grouping(value, VALUES["light"], attribute="kmeans")
    head = refit(material, feature_set=digest, l2=0.1).head
    metrics = evaluate(pb.EvaluateRequest(explicit=head, feature_set=digest, grouping=grouping), material, lambda: None)
    g = (2 * store.y + store.light)[21:]
    assert [group.count for group in metrics.groups] == np.bincount(g).tolist()
    assert metrics.grouping == groups_pb2.UsedGrouping(digest=grouping, attribute="kmeans", n_left_out=21)
    assert [note.id for note in metrics.notes] == [NoteId.ROWS_WITHOUT_GROUP]
    mixed = evaluate_mixtures(
        pb.EvaluateMixturesRequest(
            heads=[pb.HeadReference(explicit=head)],
            shares=array_to_proto(np.ones((1, 1))),
            feature_set=digest,
            grouping=grouping,
        ),
        material,
        lambda: None,
    )
    assert mixed.metrics[0] == metrics


def test_one_value_balances_the_classes(store, material):
    digest = store.written()
    grouping = store.grouping(np.zeros_like(store.y), ("all",))
    by_class = groups_pb2.Balance(method=groups_pb2.BALANCE_METHOD_SUBSETTING, by=groups_pb2.BALANCE_BY_CLASS)
    expected = refit(material, feature_set=digest, l2=0.1, repeats=2, plan=True, balance=by_class)
    balance = balanced(groups_pb2.BALANCE_METHOD_SUBSETTING)
    found = refit(material, feature_set=digest, l2=0.1, repeats=2, plan=True, balance=balance, grouping=grouping)
    assert alike(found) == alike(expected)


def test_train_weights_groups_by_their_names(store, material):
    """A grouping may be called otherwise than the attribute; other values are refused."""
    digest = store.written()
    head = refit(material, feature_set=digest, l2=0.1).head
    request = pb.EvaluateRequest(explicit=head, feature_set=digest, train=digest)
    expected = evaluate(request, material, lambda: None)
    request.grouping = store.grouping(store.place, VALUES["place"], attribute="of another name")
    found = evaluate(request, material, lambda: None)
    assert found.weighted_average_accuracy == expected.weighted_average_accuracy
    request.grouping = store.of_attribute("light")
    with pytest.raises(ServiceError, match="leave train= out"):
        evaluate(request, material, lambda: None)


def test_an_empty_group_is_named_as_the_grouping_names_it(store, material):
    value = np.where(store.y == 1, 0, store.light)
    grouping = store.grouping(value, ("calm", "wild"))
    fields = {"feature_set": store.written(), "grouping": grouping, "l2": 0.1}
    with pytest.raises(ServiceError, match=r"group 3 \(dog, wild\) has no example") as caught:
        refit(material, balance=balanced(groups_pb2.BALANCE_METHOD_SUBSETTING), **fields)
    assert caught.value.kind == ErrorKind.EMPTY_GROUP
    skipping = balanced(groups_pb2.BALANCE_METHOD_SUBSETTING, missing_groups=groups_pb2.MISSING_GROUPS_SKIP)
    answer = refit(material, balance=skipping, **fields)
    assert "'dog, wild'" in answer.notes[-1].text


@pytest.mark.parametrize(
    ("fields", "goes_with"),
    [
        ({}, "balance= by group, or risk='group_dro'"),
        ({"preset": "class_balanced"}, "balance= by group, or risk='group_dro'"),
        ({"preset": "eiil"}, "groups='stored'"),
        (
            {"groups": pb.GROUP_SOURCE_ERRORS, "risk": pb.Risk(kind=pb.RISK_KIND_GROUP_DRO), "l2": 0.1},
            "groups='stored'",
        ),
    ],
)
def test_a_grouping_without_effect_is_refused(fields, goes_with):
    with pytest.raises(ServiceError, match="by=a grouping has no effect") as caught:
        expand(pb.RefitRequest(feature_set="x", grouping="y", **fields))
    assert caught.value.kind == ErrorKind.INVALID_ARGUMENT
    assert goes_with in caught.value.message
