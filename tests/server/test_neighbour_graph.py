"""Neighbours of stored sets: filters, selections, other sets, sets that are read in passes, and what is stored."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from grouped_store import GroupedStore, grouped_store

from penult_kernels.neighbours import search
from penult_proto.arrays import encode
from penult_proto.errors import ErrorKind
from penult_proto.v1 import neighbours_pb2 as pb
from penult_proto.v1.spectra_pb2 import FeatureSource
from penult_server.compute.backend import choose_backend
from penult_server.compute.neighbours import graph
from penult_server.compute.neighbours.graph import NO_ROW, graph_of, stored_graph_of
from penult_server.compute.rows.resident import ResidentFeatures
from penult_server.compute.spectra.parts import Resources
from penult_server.errors import ServiceError
from penult_server.questions.neighbours import filled_in, key_of
from penult_server.stores.neighbours import damaged_graphs, forget_graphs, is_stored
from penult_server.stores.removal import remove_left
from penult_server.upkeep.verify import verify_store

WITHIN = {
    "class": lambda store: store.y,
    "group": lambda store: 2 * store.y + store.place,
    "attribute": lambda store: store.place,
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> GroupedStore:
    return grouped_store(tmp_path_factory.mktemp("near"))


@pytest.fixture(scope="module")
def digest(store: GroupedStore) -> str:
    return store.written()


def resources(root: Path, resident_bytes: int = 2**24) -> Resources:
    backend = choose_backend("cpu")
    return Resources(
        root=root,
        residents=ResidentFeatures(root, backend, resident_bytes),
        backend=backend,
        check=lambda: None,
    )


def query(digest: str, **others: object) -> pb.NeighbourQuery:
    return pb.NeighbourQuery(source=FeatureSource(feature_set=digest), **others)  # pyright: ignore[reportArgumentType]


def brute(x, among, legal, k, row_id, metric="l2"):
    """Ids and distances in float64, equal distances in the order of the ids, among the legal pairs."""
    x, among = x.astype(np.float64), among.astype(np.float64)
    if metric == "cosine":
        x, among = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (x, among))
    square = np.square(x[:, None] - among[None]).sum(axis=2)
    distance = np.where(legal, np.sqrt(square) if metric == "l2" else square / 2, np.inf)
    order = np.lexsort((np.broadcast_to(row_id, distance.shape), distance), axis=1)[:, :k]
    found = np.take_along_axis(distance, order, axis=1)
    ids = np.where(np.isinf(found), np.uint64(NO_ROW), row_id[order])
    return ids, np.where(np.isinf(found), np.nan, found)


def test_every_row_of_a_set_by_cosine(store: GroupedStore, digest: str):
    x = store.features(n_features=6)
    found = graph_of(query(digest, k=7), resources(store.root))
    ids, distance = brute(x, x, ~np.eye(len(x), dtype=bool), 7, store.row_id, "cosine")
    assert np.array_equal(found.row_id, ids)
    np.testing.assert_allclose(found.distance, distance, rtol=1e-12, atol=1e-15)
    assert np.array_equal(found.query_id, store.row_id)
    assert found.recall.value == 1
    assert found.method == pb.NEIGHBOUR_METHOD_EXACT


@pytest.mark.parametrize("resident_bytes", [2**24, 8000], ids=["resident", "in passes"])
@pytest.mark.parametrize("is_other", [False, True], ids=["same", "other"])
@pytest.mark.parametrize("name", WITHIN)
def test_filters(store: GroupedStore, digest: str, name: str, is_other: bool, resident_bytes: int, monkeypatch):
    monkeypatch.setattr(search, "ROWS_OF_A_TILE", 64)
    x, code = store.features(n_features=6), WITHIN[name](store)
    legal = (code[:, None] == code[None]) != is_other
    np.fill_diagonal(legal, False)
    number = pb.NeighbourWithin.Value(f"NEIGHBOUR_WITHIN_{'OTHER_' if is_other else ''}{name.upper()}")
    asked = query(digest, k=60, within=number, metric=pb.NEIGHBOUR_METRIC_L2)
    asked.source.rows.row_ids.CopyFrom(encode(np.sort(store.row_id)))  # all rows by their ids: nothing is stored
    found = graph_of(asked, resources(store.root, resident_bytes))
    ids, distance = brute(x, x, legal, 60, store.row_id)
    assert np.array_equal(found.row_id, ids)
    np.testing.assert_allclose(found.distance, distance, rtol=1e-12)
    assert found.n_short == np.count_nonzero(legal.sum(axis=1) < 60)


def test_a_grouping_stands_in_for_the_attribute(store: GroupedStore, digest: str):
    value = np.where(store.light == 1, -1, 1 - store.place)
    asked = query(digest, k=3, within=pb.NEIGHBOUR_WITHIN_GROUP, metric=pb.NEIGHBOUR_METRIC_L2)
    asked.source.grouping = store.grouping(value, ("b", "a"))
    found = graph_of(asked, resources(store.root))
    kept = np.flatnonzero(value >= 0)
    x, code = store.features(n_features=6)[kept], (2 * store.y + value)[kept]
    legal = (code[:, None] == code[None]) & ~np.eye(len(kept), dtype=bool)
    ids, _ = brute(x, x, legal, 3, store.row_id[kept])
    assert np.array_equal(found.query_id, store.row_id[kept])
    assert np.array_equal(found.row_id, ids)


@pytest.mark.parametrize("resident_bytes", [2**24, 8000], ids=["resident", "in passes"])
def test_another_set_and_some_rows(store: GroupedStore, digest: str, resident_bytes: int):
    other = store.written(seed=5)
    asked = query(digest, k=4, metric=pb.NEIGHBOUR_METRIC_L2, among=FeatureSource(feature_set=other))
    rows = np.arange(0, len(store.y), 7)
    asked.source.rows.row_ids.CopyFrom(encode(np.sort(store.row_id[rows])))
    found = graph_of(asked, resources(store.root, resident_bytes))
    x, among = store.features(n_features=6)[rows], store.features(n_features=6, seed=5)
    ids, distance = brute(x, among, np.ones((len(rows), len(among)), dtype=bool), 4, store.row_id)
    assert np.array_equal(found.row_id, ids)
    np.testing.assert_allclose(found.distance, distance, rtol=1e-12)


def test_some_rows_among_all_of_their_set_leave_themselves_out(store: GroupedStore, digest: str):
    asked = query(digest, k=4, metric=pb.NEIGHBOUR_METRIC_L2, among=FeatureSource(feature_set=digest))
    rows = np.arange(0, len(store.y), 7)
    asked.source.rows.row_ids.CopyFrom(encode(np.sort(store.row_id[rows])))
    found = graph_of(asked, resources(store.root))
    x = store.features(n_features=6)
    ids, _ = brute(x[rows], x, rows[:, None] != np.arange(len(x))[None], 4, store.row_id)
    assert np.array_equal(found.row_id, ids)


def test_stored_once_and_sliced(store: GroupedStore, digest: str):
    asked = query(digest, k=5, metric=pb.NEIGHBOUR_METRIC_INNER)
    key = key_of(filled_in(asked))
    assert key is not None
    assert stored_graph_of(asked, resources(store.root)) is None
    first = graph_of(asked, resources(store.root))
    assert is_stored(store.root, key)
    nothing_resident = resources(store.root, 0)
    asked.k = 64
    again = graph_of(asked, nothing_resident)
    assert again.reused
    assert not first.reused
    assert np.array_equal(again.row_id[:, :5], first.row_id)
    assert np.array_equal(again.distance[:, :5], first.distance)
    asked.k = 65
    assert stored_graph_of(asked, nothing_resident) is None
    more = graph_of(asked, resources(store.root))
    assert not more.reused
    assert np.array_equal(more.row_id[:, :64], again.row_id)


def test_damage_is_found_and_computed_again(store: GroupedStore, digest: str):
    asked = query(digest, k=5, metric=pb.NEIGHBOUR_METRIC_L2)
    first = graph_of(asked, resources(store.root))
    key = key_of(filled_in(asked))
    assert key is not None
    for name in ("distance.npy", "manifest.json"):
        file = key.directory(store.root) / name
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
        assert list(damaged_graphs(store.root, digest)) == [file.parent.name]
        assert any(file.parent.name in one.what for one in verify_store(store.root).damages)
        again = graph_of(asked, resources(store.root))
        assert not again.reused
        assert np.array_equal(again.row_id, first.row_id)
        assert list(damaged_graphs(store.root, digest)) == []
        assert graph_of(asked, resources(store.root)).reused


def test_neighbours_go_with_the_set_among_which_they_were_looked_for(store: GroupedStore, digest: str):
    other = store.written(seed=6)
    asked = query(digest, k=5, among=FeatureSource(feature_set=other))
    key = key_of(filled_in(asked))
    assert key is not None
    graph_of(asked, resources(store.root))
    assert is_stored(store.root, key)
    forget_graphs(store.root, other)
    assert not is_stored(store.root, key)


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
sys.path[:0] = [sys.argv[3]]
from test_neighbour_graph import graph_of, pb, query, resources
save = np.save
def save_one_and_die(file, array):
    save(file, array)
    os.kill(os.getpid(), signal.SIGKILL)
np.save = save_one_and_die
asked = query(sys.argv[2], k=5, metric=pb.NEIGHBOUR_METRIC_L2, within=pb.NEIGHBOUR_WITHIN_CLASS)
graph_of(asked, resources(Path(sys.argv[1])))
"""


def test_a_build_that_is_killed_leaves_nothing_that_is_read(tmp_path: Path):
    store = grouped_store(tmp_path)
    digest = store.written()
    here = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), digest, here], check=False, timeout=200)
    assert done.returncode == -signal.SIGKILL
    folder = tmp_path / "features" / digest
    assert any(folder.glob(".staging-*"))
    assert [one for one in verify_store(tmp_path).damages if one.kind == "features"] == []
    remove_left(tmp_path / "features")
    assert not any(folder.glob(".staging-*"))
    asked = query(digest, k=5, metric=pb.NEIGHBOUR_METRIC_L2, within=pb.NEIGHBOUR_WITHIN_CLASS)
    assert not graph_of(asked, resources(tmp_path)).reused
    assert graph_of(asked, resources(tmp_path)).reused


def test_a_set_that_is_deleted_meanwhile_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = grouped_store(tmp_path)
    digest = store.written()
    folder = tmp_path / "features" / digest
    compute = graph._computed

    def deleted(*arguments):
        found = compute(*arguments)
        shutil.rmtree(folder)
        return found

    monkeypatch.setattr(graph, "_computed", deleted)
    assert graph_of(query(digest, k=5), resources(tmp_path)).row_id.shape == (len(store.y), 5)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("others", "kind", "said"),
    [
        ({"k": 0}, ErrorKind.INVALID_ARGUMENT, "k must"),
        ({"k": 421}, ErrorKind.INVALID_ARGUMENT, "k must"),
        ({"method": pb.NEIGHBOUR_METHOD_IVF, "recall": 0.9}, ErrorKind.INVALID_ARGUMENT, "needs 39 rows for each"),
    ],
)
def test_refused(store: GroupedStore, digest: str, others, kind: ErrorKind, said: str):
    with pytest.raises(ServiceError, match=said) as caught:
        graph_of(query(digest, **others), resources(store.root))
    assert caught.value.kind == kind


def test_other_widths_have_no_distance(store: GroupedStore, digest: str):
    wider = store.written(n_features=7)
    with pytest.raises(ServiceError, match="have 6 and 7 features") as caught:
        graph_of(query(digest, among=FeatureSource(feature_set=wider)), resources(store.root))
    assert caught.value.kind == ErrorKind.WRONG_SHAPE
