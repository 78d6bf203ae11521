"""Replicates are drawn once for one set of rows, whatever is then read off their spectra."""

import numpy as np
import pytest

from penult_proto.v1 import spectra_pb2 as pb
from penult_server.compute.backend import Backend
from penult_server.compute.rows.resident import ResidentFeatures
from penult_server.compute.spectra import inferences
from penult_server.compute.spectra import spectra as spectra_module
from penult_server.compute.spectra.inference_cache import InferenceCache
from penult_server.compute.spectra.parts import Resources
from penult_server.stores.features import FeatureHeader, FeatureWriter
from penult_server.stores.manifest import LabelNames

NUMPY = Backend(np, "numpy", "cpu")


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """Asks for spectra of one stored set, and counts the inferences that were computed for it."""
    rng = np.random.default_rng(0)
    labels = LabelNames(classes=("x", "y"), attribute="a", attribute_values=("p", "q"))
    with FeatureWriter(tmp_path, FeatureHeader(n_examples=80, n_features=6, dtype="float32", labels=labels)) as writer:
        writer.append(
            features=rng.standard_normal((80, 6), dtype=np.float32),
            y=rng.integers(0, 2, 80),
            a=rng.integers(0, 2, 80),
            row_id=np.arange(80, dtype=np.uint64),
        )
        digest = writer.finish().digest
    computed = []
    infer = inferences.infer_imbalance
    monkeypatch.setattr(inferences, "infer_imbalance", lambda *a, **k: computed.append(k) or infer(*a, **k))
    work = Resources(
        root=tmp_path, residents=ResidentFeatures(tmp_path, NUMPY, 2**30), backend=NUMPY, check=lambda: None
    )

    def ask(**changed):
        request = pb.ComputeSpectraRequest(
            source=pb.FeatureSource(feature_set=digest),
            by=pb.SPECTRA_BY_GROUP,
            top_k=2,
            center=True,
            replicates=9,
            confidence=0.9,
        )
        request.MergeFrom(pb.ComputeSpectraRequest(**changed))
        answer = spectra_module.compute_spectra(request, work)
        return answer, len(computed)

    return ask


def test_top_k_and_correction_change_no_replicate(asked):
    first, once = asked()
    more, still = asked(top_k=5, correction=1)
    assert once == still == 2
    for a, b in zip(first.imbalance, more.imbalance, strict=True):
        assert (a.matched_ratio, a.low, a.high, a.p_value) == (b.matched_ratio, b.low, b.high, b.p_value)
        assert a.ratio != b.ratio


@pytest.mark.parametrize("changed", [{"seed": 1}, {"replicates": 11}, {"confidence": 0.8}, {"by": pb.SPECTRA_BY_CLASS}])
def test_everything_else_does(asked, changed):
    _, before = asked()
    _, after = asked(**changed)
    assert after > before


def test_the_oldest_are_forgotten(monkeypatch):
    monkeypatch.setattr("penult_server.compute.spectra.inference_cache.CAPACITY", 2)
    cache, computed = InferenceCache(), []
    for seed in (0, 1, 0, 2, 1, 2):
        cache.get(pb.ComputeSpectraRequest(seed=seed), lambda seed=seed: computed.append(seed) or [])
    assert computed == [0, 1, 2, 1]
