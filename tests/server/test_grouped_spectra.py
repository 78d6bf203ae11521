"""Spectra and what is read off them by a grouping: to the last bit those of an attribute with its values."""

from contextlib import nullcontext

import numpy as np
import pytest
from grouped_store import VALUES, GroupedStore, grouped_store

from penult_proto.errors import ErrorKind
from penult_proto.notes import NoteId
from penult_proto.v1 import spectra_pb2 as pb
from penult_server.compute.backend import Backend
from penult_server.compute.rows.resident import ResidentFeatures
from penult_server.compute.spectra.descriptors import compute_descriptors, compute_principal_angles
from penult_server.compute.spectra.eigenvectors import read_eigenvectors
from penult_server.compute.spectra.parts import Resources
from penult_server.compute.spectra.spectra import compute_spectra
from penult_server.errors import ServiceError
from penult_server.messages import array_from_proto, array_to_proto

NUMPY = Backend(np, "numpy", "cpu")
FEW, MANY = 6, 60
"""Features of a set whose moments are stored, since they are smaller than its rows; and of one without moments."""


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> GroupedStore:
    return grouped_store(tmp_path_factory.mktemp("store"))


def resources(store: GroupedStore, budget: int = 2**24) -> Resources:
    residents = ResidentFeatures(store.root, NUMPY, budget)
    return Resources(root=store.root, residents=residents, backend=NUMPY, check=lambda: None)


def everything(store: GroupedStore, digest: str, grouping: str = "", *, budget: int = 2**24, **source) -> list:
    """The answers of every verb about spectra, without what names the question."""
    work = resources(store, budget)
    asked = pb.FeatureSource(feature_set=digest, grouping=grouping, **source)
    small = budget < 2**20
    answers = []
    for center in (True, False):
        spectra = compute_spectra(
            pb.ComputeSpectraRequest(
                source=asked,
                by=pb.SPECTRA_BY_GROUP,
                top_k=4,
                center=center,
                replicates=0 if small else 20,
                confidence=0.9,
                seed=5,
            ),
            work,
        )
        answers.append(spectra)
    answers.append(
        compute_descriptors(
            pb.ComputeDescriptorsRequest(source=asked, by=pb.SPECTRA_BY_GROUP, power_law_first=1, power_law_last=4),
            resources(store),
        )
    )
    sides = [pb.Subspace(source=asked, by=pb.SPECTRA_BY_GROUP, part=part) for part in ("0", "1")]
    answers.append(
        compute_principal_angles(
            pb.ComputePrincipalAnglesRequest(first=sides[0], second=sides[1], top_k=3), resources(store)
        )
    )
    answers += read_eigenvectors(
        pb.ReadEigenvectorsRequest(source=asked, by=pb.SPECTRA_BY_GROUP, top_k=3, center=True),
        resources(store),
        nullcontext,
    )
    for one in answers:
        header = one.header if isinstance(one, pb.ReadEigenvectorsResponse) else one
        for name in ("grouping", "groupings", "notes", "request", "feature_set", "feature_sets"):
            if name in header.DESCRIPTOR.fields_by_name:
                header.ClearField(name)
    return answers


@pytest.mark.parametrize("n_features", [FEW, MANY])
@pytest.mark.parametrize("attribute", ["place", "light"])
@pytest.mark.parametrize("budget", [2**24, 2**13])
def test_an_attribute_s_grouping_gives_the_bits_of_stored_groups(store, n_features, attribute, budget):
    """Of the set's own attribute, and of another column against the same features stored with that as their own."""
    own = store.written(n_features=n_features)
    stored = store.written(attribute=attribute, n_features=n_features, pieces=7)
    expected = everything(store, stored, budget=budget)
    assert everything(store, own, store.of_attribute(attribute), budget=budget) == expected


def test_it_serves_other_checkpoints_of_the_same_examples(store):
    grouping = store.of_attribute("light")
    stored = store.written(attribute="light", seed=1)
    assert everything(store, store.written(seed=1), grouping) == everything(store, stored)


def test_permuted_values_rename_groups_and_nothing_else(store):
    digest = store.written()
    straight = everything(store, digest, store.of_attribute("light"))[0]
    turned = everything(store, digest, store.grouping(1 - store.light, VALUES["light"][::-1]))[0]
    order = [1, 0, 3, 2]
    values = [array_from_proto(one.eigenvalues, "eigenvalues") for one in (straight, turned)]
    np.testing.assert_array_equal(values[0][order], values[1])
    assert [straight.groups[place].name for place in order] == [group.name for group in turned.groups]
    for one, other in zip(straight.imbalance, turned.imbalance, strict=True):
        assert (order[one.minority], order[one.majority]) == (other.minority, other.majority)
        assert (one.ratio, one.low, one.p_value) == (other.ratio, other.low, other.p_value)


@pytest.mark.parametrize("n_features", [FEW, MANY])
@pytest.mark.parametrize("budget", [2**24, 2**13])
def test_rows_in_no_group_are_left_out_as_by_rows(store, n_features, budget):
    digest = store.written(n_features=n_features)
    value = np.where(np.arange(store.y.size) % 5 == 0, -1, store.light)
    grouping = store.grouping(value, VALUES["light"])
    rows = pb.RowSelection(row_ids=array_to_proto(np.sort(store.row_id[value >= 0])))
    expected = everything(store, digest, store.of_attribute("light"), budget=budget, rows=rows)
    assert everything(store, digest, grouping, budget=budget) == expected


def test_rows_in_no_group_are_counted(store):
    value = np.where(np.arange(store.y.size) < 21, -1, store.light)
    grouping = store.grouping(value, VALUES["light"], attribute="kmeans")
    request = pb.ComputeSpectraRequest(
        source=pb.FeatureSource(feature_set=store.written(), grouping=grouping),
        by=pb.SPECTRA_BY_GROUP,
        top_k=1,
        center=True,
        replicates=0,
    )
    answer = compute_spectra(request, resources(store))
    assert (answer.grouping.digest, answer.grouping.attribute, answer.grouping.n_left_out) == (grouping, "kmeans", 21)
    assert answer.n_rows == 400
    assert [note.id for note in answer.notes] == [NoteId.ROWS_WITHOUT_GROUP]
    assert f"21 of 421 rows are in no group of grouping {grouping[:12]} (kmeans)" in answer.notes[0].text


def test_one_value_is_by_class(store):
    """Its groups are the classes, whose names are those of the groups without the value's."""
    digest = store.written(n_features=MANY)
    grouping = store.grouping(np.zeros_like(store.y), ("all",))
    by = {"by": pb.SPECTRA_BY_CLASS, "top_k": 4, "center": True, "replicates": 0}
    classes = compute_spectra(
        pb.ComputeSpectraRequest(source=pb.FeatureSource(feature_set=digest), **by), resources(store)
    )
    groups = everything(store, digest, grouping)[0]
    # A class pools the moments of its groups, or reads its rows: the sums are of another order.
    values = [array_from_proto(one.eigenvalues, "eigenvalues") for one in (classes, groups)]
    np.testing.assert_allclose(values[0], values[1], rtol=1e-12)
    assert [f"{one.name}, all" for one in classes.groups] == [one.name for one in groups.groups]


@pytest.mark.parametrize(
    ("made", "kind", "says"),
    [
        ("other rows", ErrorKind.OTHER_ROWS, "grouping.on("),
        ("other classes", ErrorKind.OTHER_CLASSES, "cat, horse"),
        ("moved", ErrorKind.OTHER_ROWS, "in another class"),
        ("nothing", ErrorKind.EMPTY_GROUP, "no group for any of the 421 rows"),
        ("unknown", ErrorKind.UNKNOWN_GROUPING, "list the groupings"),
    ],
)
def test_groupings_of_others_are_refused(store, made, kind, says):
    value = np.zeros_like(store.y)
    other = GroupedStore(root=store.root, y=1 - store.y, place=value, light=value, row_id=store.row_id)
    make = {
        "other rows": lambda: store.grouping(value, ("all",), rows=np.arange(400)),
        "other classes": lambda: store.grouping(value, ("all",), classes=("cat", "horse")),
        "moved": lambda: other.grouping(value, ("all",), attribute="moved"),
        "nothing": lambda: store.grouping(value - 1, ("all",)),
        "unknown": lambda: "0" * 64,
    }
    with pytest.raises(ServiceError) as caught:
        everything(store, store.written(), make[made]())
    assert caught.value.kind == kind
    assert says in str(caught.value)


def test_classes_in_another_order_are_matched_by_their_names(store):
    """The same rows, whose classes another set numbers the other way round."""
    digest = store.written()
    turned = GroupedStore(
        root=store.root, y=1 - store.y, place=store.place, light=store.light, row_id=store.row_id
    ).grouping(store.light, VALUES["light"], classes=("dog", "cat"))
    assert everything(store, digest, turned) == everything(store, digest, store.of_attribute("light"))
