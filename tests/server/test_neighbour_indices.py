"""Indices of neighbours: what they promise, what is refused, and FAISS beside the other native libraries."""

import subprocess
import sys

import cupy
import numpy as np
import pytest

from penult_proto.errors import ErrorKind
from penult_proto.v1 import neighbours_pb2 as pb
from penult_proto.v1.spectra_pb2 import FeatureSource
from penult_server.compute.backend import choose_backend
from penult_server.compute.neighbours import indices, libraries
from penult_server.compute.neighbours.graph import graph_of
from penult_server.compute.rows.resident import ResidentFeatures
from penult_server.compute.spectra.parts import Resources
from penult_server.errors import ServiceError
from penult_server.records import LabelNames
from penult_server.stores.features import FeatureHeader, FeatureWriter

N, D = 3000, 16
USE = """
import numpy as np
index = faiss.index_factory(8, "IVF4,Flat")
x = np.random.default_rng(0).standard_normal((400, 8)).astype(np.float32)
index.train(x); index.add(x); index.search(x, 3)
hnsw = faiss.IndexHNSWFlat(8, 16); hnsw.add(x); hnsw.search(x, 3)
layer = torch.nn.Conv2d(3, 4, 3)
layer(torch.zeros(8, 3, 32, 32)).sum().backward()
torch.arange(40_000).sum()
index.search(x, 3)
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store with one set of rows in clusters, and its digest."""
    root = tmp_path_factory.mktemp("indices")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, D))[rng.integers(0, 40, N)] * 2 + rng.standard_normal((N, D))
    header = FeatureHeader(n_examples=N, n_features=D, dtype="float32", labels=LabelNames(classes=("a",)))
    with FeatureWriter(root, header) as writer:
        zeros = np.zeros(N, dtype=np.int64)
        writer.append(
            features=x.astype(np.float32), y=zeros, a=zeros, row_id=np.arange(N, dtype=np.uint64)[::-1].copy()
        )
        digest = writer.finish().digest
    return root, digest


def asked(store, resident_bytes=2**24, **others):
    root, digest = store
    backend = choose_backend("cpu")
    resources = Resources(
        root=root, residents=ResidentFeatures(root, backend, resident_bytes), backend=backend, check=lambda: None
    )
    query = pb.NeighbourQuery(source=FeatureSource(feature_set=digest), **others)
    return graph_of(query, resources)


@pytest.mark.parametrize("resident_bytes", [2**24, 50_000], ids=["resident", "in passes"])
@pytest.mark.parametrize(
    "method",
    [
        pb.NEIGHBOUR_METHOD_IVF,
        pb.NEIGHBOUR_METHOD_HNSW,
        pytest.param(pb.NEIGHBOUR_METHOD_PQ, marks=pytest.mark.slow),
    ],
    ids=["ivf", "hnsw", "pq"],
)
def test_certificates_are_true(store, method, resident_bytes, monkeypatch):
    monkeypatch.setattr(indices, "POINTS_PER_LIST", 1)
    monkeypatch.setattr(indices, "n_lists", lambda n_rows: 32)
    metric = pb.NEIGHBOUR_METRIC_L2
    exact = asked(store, k=10, metric=metric)
    # Another seed is another question, whose answer is not stored.
    found = asked(store, resident_bytes, k=10, metric=metric, method=method, recall=0.95, seed=resident_bytes)
    assert found.method == method
    assert found.recall.n_rows == 256
    assert found.recall.value >= 0.95
    hits = (found.distance <= exact.distance[:, -1:]).sum(axis=1) / 10
    assert found.recall.low - 0.005 <= hits.mean() <= found.recall.high + 0.005
    assert not (found.row_id == found.query_id[:, None]).any()
    # What is found is measured in float64: the same rows have the same distances.
    is_same = found.position == exact.position
    assert np.array_equal(found.distance[is_same], exact.distance[is_same])
    names = {"M", "efConstruction", "efSearch"} if method == pb.NEIGHBOUR_METHOD_HNSW else {"nlist", "nprobe"}
    assert names <= set(found.parameters)
    again = asked(store, k=4, metric=metric, method=method, recall=0.95, seed=resident_bytes)
    assert again.reused
    assert np.array_equal(again.row_id, found.row_id[:, :4])
    assert again.recall.n_rows == 256


@pytest.mark.parametrize("metric", [pb.NEIGHBOUR_METRIC_COSINE, pb.NEIGHBOUR_METRIC_INNER])
def test_other_metrics(store, metric):
    exact = asked(store, k=5, metric=metric)
    found = asked(store, k=5, metric=metric, method=pb.NEIGHBOUR_METHOD_HNSW, recall=0.9)
    hits = (found.distance <= exact.distance[:, -1:]).sum(axis=1) / 5
    assert hits.mean() > 0.85


def test_an_index_that_does_not_reach_the_recall_is_not_used(store, monkeypatch):
    monkeypatch.setattr(indices.Index, "widen", lambda self: False)
    monkeypatch.setattr(indices, "POINTS_PER_LIST", 1)
    monkeypatch.setattr(indices, "n_lists", lambda n_rows: 32)
    found = asked(store, k=10, method=pb.NEIGHBOUR_METHOD_IVF, recall=0.9999, seed=9)
    assert found.method == pb.NEIGHBOUR_METHOD_EXACT
    assert found.recall.value == 1


def test_few_rows_are_searched_exactly_unless_an_index_is_asked_for(store):
    assert asked(store, k=5, recall=0.9).method == pb.NEIGHBOUR_METHOD_EXACT
    with pytest.raises(ServiceError, match="needs 39 rows for each, 9984 in all") as caught:
        asked(store, k=5, recall=0.9, method=pb.NEIGHBOUR_METHOD_IVF)
    assert caught.value.kind == ErrorKind.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("system", "distributions", "said"),
    [
        ("Darwin", ["faiss-cpu 1.15.1"], "on macOS"),
        ("Linux", [], "has no FAISS"),
        ("Linux", ["faiss-cpu 1.15.1", "faiss-gpu 1.15.1"], "both installed"),
    ],
)
def test_without_one_whole_library_indices_are_refused_with_the_reason(system, distributions, said, monkeypatch):
    monkeypatch.setattr(libraries.platform, "system", lambda: system)
    monkeypatch.setattr(libraries, "installed_distributions", lambda: distributions)
    with pytest.raises(ServiceError, match=said) as caught:
        libraries.import_faiss()
    assert "recall=1" in caught.value.message


@pytest.mark.parametrize("order", ["import faiss, torch", "import torch, faiss"])
def test_faiss_and_torch_live_in_one_process(order):
    subprocess.run([sys.executable, "-c", order + USE], check=True, timeout=200)


@pytest.mark.gpu
@pytest.mark.skipif(not cupy.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("order", ["import cupy, faiss, torch", "import faiss, torch, cupy"])
def test_faiss_torch_and_cupy_live_in_one_process(order):
    use = "\na = cupy.ones((64, 64)); assert float((a @ a).sum()) == 64**3\n"
    subprocess.run([sys.executable, "-c", order + use + USE + use], check=True, timeout=200)
