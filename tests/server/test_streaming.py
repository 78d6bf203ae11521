"""Feature sets larger than the memory kept for features: the same answers, read from the store in passes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from penult_kernels import budget
from penult_kernels.moments.accumulation import moments_of
from penult_proto.errors import ErrorKind
from penult_proto.v1 import spectra_pb2 as pb
from penult_server.compute.backend import Backend
from penult_server.compute.rows.reading import read_ahead
from penult_server.compute.rows.resident import ResidentFeatures
from penult_server.compute.spectra import parts as parts_module
from penult_server.compute.spectra.descriptors import compute_descriptors
from penult_server.compute.spectra.parts import Resources
from penult_server.compute.spectra.spectra import compute_spectra
from penult_server.compute.spectra.streaming import stream_moments
from penult_server.errors import ServiceError
from penult_server.messages import array_from_proto, array_to_proto
from penult_server.stores.features import FeatureHeader, FeatureWriter
from penult_server.stores.manifest import LabelNames
from penult_server.stores.reading import StoredFeatures

NUMPY = Backend(np, "numpy", "cpu")


def store(root: Path, n: int, d: int, monkeypatch: pytest.MonkeyPatch, chunk_rows: int = 8) -> StoredFeatures:
    """Rows of four groups, without moments."""
    monkeypatch.setattr(budget, "DEFAULT", replace(budget.DEFAULT, chunk_bytes=chunk_rows * d * 4, moments_bytes=0))
    rng = np.random.default_rng(0)
    labels = LabelNames(classes=("x", "y"), attribute="a", attribute_values=("p", "q"))
    with FeatureWriter(root, FeatureHeader(n_examples=n, n_features=d, dtype="float32", labels=labels)) as writer:
        writer.append(
            features=rng.standard_normal((n, d), dtype=np.float32) * np.arange(1, d + 1, dtype=np.float32) ** -1,
            y=rng.integers(0, 2, n),
            a=rng.integers(0, 2, n),
            row_id=np.arange(n, dtype=np.uint64),
        )
        return StoredFeatures(root, writer.finish().digest)


def work(root: Path, budget: int) -> Resources:
    return Resources(root=root, residents=ResidentFeatures(root, NUMPY, budget), backend=NUMPY, check=lambda: None)


def ask(root: Path, stored: StoredFeatures, budget: int, **changed: object) -> pb.Spectra:
    request = pb.ComputeSpectraRequest(
        source=pb.FeatureSource(feature_set=stored.manifest.digest),
        by=pb.SPECTRA_BY_GROUP,
        top_k=3,
        center=True,
        confidence=0.95,
        replicates=0,
    )
    request.MergeFrom(pb.ComputeSpectraRequest(**changed))  # pyright: ignore[reportArgumentType]
    return compute_spectra(request, work(root, budget))


@pytest.mark.parametrize(
    ("n", "d", "budget"), [(200, 12, 8000), (60, 300, 60_000), (400, 200, 150_000)], ids=["features", "rows", "neither"]
)
@pytest.mark.parametrize("by", [pb.SPECTRA_BY_GROUP, pb.SPECTRA_BY_CLASS])
def test_spectra_do_not_depend_on_the_memory_kept(tmp_path, monkeypatch, n, d, budget, by):
    stored = store(tmp_path, n, d, monkeypatch)
    small, large = (ask(tmp_path, stored, bytes, by=by) for bytes in (budget, 2**30))
    np.testing.assert_allclose(
        array_from_proto(small.eigenvalues, "small"), array_from_proto(large.eigenvalues, "large"), rtol=1e-9
    )
    np.testing.assert_allclose(
        array_from_proto(small.trace, "small"), array_from_proto(large.trace, "large"), rtol=1e-11
    )
    assert all(small.converged)
    assert ("lanczos" in small.methods) == (budget == 150_000)


def test_a_selection_of_rows_is_streamed_too(tmp_path, monkeypatch):
    stored = store(tmp_path, 100, 80, monkeypatch)
    ids = np.arange(10, 90, dtype=np.uint64)
    source = pb.FeatureSource(rows=pb.RowSelection(row_ids=array_to_proto(ids)))
    small, large = (ask(tmp_path, stored, bytes, source=source) for bytes in (30000, 2**30))
    assert small.n_rows == large.n_rows == 80
    np.testing.assert_allclose(
        array_from_proto(small.eigenvalues, "small"), array_from_proto(large.eigenvalues, "large"), rtol=1e-9
    )


@pytest.mark.parametrize("center", [True, False])
def test_many_rows_of_few_features_are_read_once(tmp_path, monkeypatch, center):
    """Moments of all groups are taken in one pass where they fit, and the rows do not."""
    stored = store(tmp_path, 20_000, 16, monkeypatch, chunk_rows=1000)
    passes = []
    monkeypatch.setattr(parts_module, "stream_moments", lambda *a, **k: passes.append(a) or stream_moments(*a, **k))
    source = pb.FeatureSource(rows=pb.RowSelection(row_ids=array_to_proto(np.arange(500, 20_000, dtype=np.uint64))))
    for changed in ({}, {"by": pb.SPECTRA_BY_CLASS}, {"source": source}):
        small, large = (ask(tmp_path, stored, bytes, center=center, **changed) for bytes in (1_400_000, 2**30))
        np.testing.assert_allclose(
            array_from_proto(small.eigenvalues, "small"), array_from_proto(large.eigenvalues, "large"), rtol=1e-10
        )
    assert len(passes) == 3


def test_descriptors_of_what_is_not_kept_in_memory(tmp_path, monkeypatch):
    stored = store(tmp_path, 20_000, 16, monkeypatch, chunk_rows=1000)
    request = pb.ComputeDescriptorsRequest(
        source=pb.FeatureSource(feature_set=stored.manifest.digest),
        by=pb.SPECTRA_BY_GROUP,
        power_law_first=2,
        power_law_last=10,
    )
    small, large = (compute_descriptors(request, work(tmp_path, bytes)) for bytes in (1_400_000, 2**30))
    for mine, theirs in zip(small.descriptors, large.descriptors, strict=True):
        np.testing.assert_allclose(
            array_from_proto(mine.values, "small"), array_from_proto(theirs.values, "large"), rtol=1e-9
        )
    for mine, theirs in zip(small.variance_shares, large.variance_shares, strict=True):
        assert mine.value == pytest.approx(theirs.value, rel=1e-9)


def test_all_eigenvalues_of_what_never_fits_are_refused(tmp_path, monkeypatch):
    stored = store(tmp_path, 2000, 300, monkeypatch)
    request = pb.ComputeSpectraRequest(
        source=pb.FeatureSource(feature_set=stored.manifest.digest), by=pb.SPECTRA_BY_GROUP, center=True, replicates=0
    )
    with pytest.raises(ServiceError, match="ask for top_k=256 or fewer") as raised:
        compute_spectra(request, work(tmp_path, 5000))
    assert raised.value.kind is ErrorKind.INVALID_ARGUMENT


def test_moments_of_any_grouping_in_one_pass(tmp_path, monkeypatch):
    stored = store(tmp_path, 100, 6, monkeypatch)
    features = stored.read("features")
    g = np.random.default_rng(1).integers(-1, 3, 100)
    found = stream_moments(stored, g, 3, NUMPY)
    expected = moments_of(features[g >= 0], g[g >= 0], 3)
    for name in ("count", "weight", "mean", "m2"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-12, atol=1e-12)
    again = stream_moments(stored, g, 3, NUMPY)
    np.testing.assert_array_equal(again.m2, found.m2)


def test_several_groupings_in_one_pass(tmp_path, monkeypatch):
    stored = store(tmp_path, 100, 6, monkeypatch)
    rng = np.random.default_rng(2)
    groups, masks = rng.integers(-1, 3, 100), rng.random((2, 100)) < 0.5
    g = np.stack([groups, np.where(masks[0], 3, -1), np.where(masks[1], 4, -1)])
    found = stream_moments(stored, g, 5, NUMPY)
    features = stored.read("features").astype(np.float64)
    for k, members in enumerate([groups == 0, groups == 1, groups == 2, *masks]):
        assert found.count[k] == members.sum()
        np.testing.assert_allclose(found.m2[k], np.cov(features[members].T, ddof=0) * members.sum(), rtol=1e-11)


def test_a_stream_stops_when_nobody_waits_any_more(tmp_path, monkeypatch):
    stored = store(tmp_path, 100, 6, monkeypatch)

    def gone() -> None:
        raise ServiceError(ErrorKind.CANCELLED, "the caller has gone")

    with pytest.raises(ServiceError, match="has gone"):
        stream_moments(stored, np.zeros(100, dtype=np.int64), 1, NUMPY, check=gone)


def test_reading_ahead_keeps_order_and_errors():
    def blocks():
        yield from range(3)
        raise OSError("disk gone")

    seen = []
    with pytest.raises(OSError, match="disk gone"):
        seen.extend(read_ahead(blocks()))
    ahead = read_ahead(iter(range(5)))
    assert list(ahead) == [0, 1, 2, 3, 4]
