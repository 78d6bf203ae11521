"""Heads are scored on sets that do not fit in memory, whose rows are read a chunk at a time."""

import numpy as np
import pytest
from stored_rows import stored_features

from penult_proto.v1 import refits_pb2 as pb
from penult_server.compute.backend import Backend
from penult_server.compute.refits.evaluation import evaluate, evaluate_mixtures
from penult_server.compute.refits.material import RefitMaterial
from penult_server.compute.rows.resident import ResidentFeatures
from penult_server.messages import array_to_proto

N, D = 3000, 8


@pytest.fixture
def materials(tmp_path, set_budget):
    """A set's digest; material that keeps it in memory, and material that has too little for it."""
    set_budget(chunk_bytes=2**14)
    stored, _ = stored_features(tmp_path, N, D)
    backend = Backend(np, "numpy", "cpu")
    kept = [RefitMaterial(tmp_path, backend, ResidentFeatures(tmp_path, backend, size)) for size in (2**24, 1000)]
    assert stored.n_blocks("features") > 3
    return stored.manifest.digest, *kept


def head(sign: int = 1) -> pb.Head:
    weight = sign * np.random.default_rng(1).standard_normal((2, D))
    return pb.Head(weight=array_to_proto(weight), bias=array_to_proto(np.zeros(2)))


def test_a_head(materials):
    digest, resident, streamed = materials
    request = pb.EvaluateRequest(explicit=head(), feature_set=digest)
    passed = []
    found = evaluate(request, streamed, lambda: passed.append(1))
    assert found == evaluate(request, resident, lambda: None)
    assert len(passed) > 3


def test_mixtures(materials):
    digest, resident, streamed = materials
    heads = [pb.HeadReference(explicit=head(sign)) for sign in (1, -1)]
    shares = array_to_proto(np.array([[1.0, 0.0], [0.3, 0.7]]))
    request = pb.EvaluateMixturesRequest(heads=heads, shares=shares, feature_set=digest)
    assert evaluate_mixtures(request, streamed, lambda: None) == evaluate_mixtures(request, resident, lambda: None)


def test_a_caller_that_goes_ends_the_pass(materials):
    digest, _, streamed = materials

    def gone() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(pb.EvaluateRequest(explicit=head(), feature_set=digest), streamed, gone)
