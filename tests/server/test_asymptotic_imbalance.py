"""Intervals of large groups without replicates: the same from stored, summed and streamed moments, with any rows."""

import numpy as np
import pytest

from penult_kernels.spectra.inference import infer_imbalance
from penult_proto.errors import ErrorKind
from penult_proto.notes import NoteId
from penult_proto.v1 import spectra_pb2 as pb
from penult_server.compute.backend import Backend
from penult_server.compute.rows.resident import ResidentFeatures
from penult_server.compute.spectra.parts import Parts, Resources
from penult_server.compute.spectra.spectra import compute_spectra
from penult_server.errors import ServiceError
from penult_server.messages import array_to_proto
from penult_server.stores.features import FeatureHeader, FeatureWriter
from penult_server.stores.manifest import LabelNames

NUMPY = Backend(np, "numpy", "cpu")
SIZES, D = (1400, 1100, 60, 1000), 6
"""Rows of the groups: the first class has rows enough, the second has not."""
LABELS = LabelNames(classes=("x", "y"), attribute="a", attribute_values=("p", "q"))


class Stored:
    """One set of four groups, stored with its moments; and its rows."""

    def __init__(self, root) -> None:
        rng = np.random.default_rng(0)
        self.root = root
        self.g = rng.permutation(np.repeat(np.arange(4), SIZES))
        x = (
            rng.standard_normal((self.g.size, D))
            * np.arange(1, D + 1) ** -0.5
            * np.where(self.g == 1, 1.1, 1.0)[:, None]
        )
        self.x = (x + 3).astype(np.float32)
        header = FeatureHeader(n_examples=self.g.size, n_features=D, dtype="float32", labels=LABELS)
        with FeatureWriter(root, header) as writer:
            row_id = np.arange(self.g.size, dtype=np.uint64)
            writer.append(features=self.x, y=self.g // 2, a=self.g % 2, row_id=row_id)
            self.digest = writer.finish().digest

    def ask(self, *, budget: int = 2**24, source: dict | None = None, **changed) -> pb.Spectra:
        residents = ResidentFeatures(self.root, NUMPY, budget)
        work = Resources(root=self.root, residents=residents, backend=NUMPY, check=lambda: None)
        asked = pb.FeatureSource(feature_set=self.digest, **(source or {}))
        options = {"by": pb.SPECTRA_BY_GROUP, "top_k": 2, "center": True, "confidence": 0.9, "seed": 4, **changed}
        return compute_spectra(pb.ComputeSpectraRequest(source=asked, **options), work)


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> Stored:
    return Stored(tmp_path_factory.mktemp("store"))


def numbers(entry: pb.Imbalance) -> list[float]:
    return [entry.matched_ratio, entry.low, entry.high, entry.p_value]


@pytest.mark.parametrize("center", [True, False])
def test_the_sizes_decide_and_the_answer_says_how(stored, center):
    found = stored.ask(center=center)
    large, small = found.imbalance
    assert large.inference == pb.IMBALANCE_INFERENCE_ASYMPTOTIC
    assert small.inference == pb.IMBALANCE_INFERENCE_RESAMPLED
    assert found.replicates == 200
    assert [note.id for note in found.notes] == [NoteId.WITHOUT_REPLICATES]
    assert "of 1 of 2 comparisons" in found.notes[0].text
    minority, majority = (stored.x[stored.g == k] for k in (1, 0))
    expected = infer_imbalance(minority, majority, confidence=0.9, center=center)
    expected = [expected.matched_ratio, expected.low, expected.high, expected.p_value]
    np.testing.assert_allclose(numbers(large), expected, rtol=1e-6)


def test_a_number_of_replicates_is_kept_to(stored):
    found = stored.ask(replicates=7)
    assert {one.inference for one in found.imbalance} == {pb.IMBALANCE_INFERENCE_RESAMPLED}
    assert (found.replicates, list(found.notes)) == (7, [])
    none = stored.ask(replicates=0)
    assert {one.inference for one in none.imbalance} == {pb.IMBALANCE_INFERENCE_UNSPECIFIED}
    assert np.isnan([one.p_value for one in none.imbalance]).all()


@pytest.mark.parametrize("center", [True, False])
def test_rows_that_do_not_fit_in_memory_give_the_same(stored, center, monkeypatch):
    """By class both are large enough; the set takes 85 kB, of which the server may keep 50, and all that sums need."""
    monkeypatch.setattr(Parts, "_stream_bytes", 0)
    some = pb.RowSelection(row_ids=array_to_proto(np.arange(3400, dtype=np.uint64)))
    for source in ({}, {"rows": some}):
        inside, streamed = (
            stored.ask(by=pb.SPECTRA_BY_CLASS, center=center, budget=budget, source=source)
            for budget in (2**24, 50_000)
        )
        assert inside.replicates == streamed.replicates == 0
        np.testing.assert_allclose(numbers(streamed.imbalance[0]), numbers(inside.imbalance[0]), rtol=1e-5)


@pytest.mark.parametrize("replicates", [None, 7])
def test_replicates_of_pairs_that_fit_are_drawn_from_the_store(stored, replicates):
    """The pair of the second class, 25 kB of residuals, of a set of 85 kB; to the bits of a set in memory."""
    asked = {} if replicates is None else {"replicates": replicates}
    some = pb.RowSelection(row_ids=array_to_proto(np.flatnonzero(stored.g >= 2).astype(np.uint64)))
    inside, outside = (
        stored.ask(budget=budget, source={"rows": some}, **asked).imbalance[0] for budget in (2**24, 40_000)
    )
    assert inside.inference == pb.IMBALANCE_INFERENCE_RESAMPLED
    assert (numbers(outside), outside.replicate_error) == (numbers(inside), inside.replicate_error)


def test_a_pair_whose_replicates_do_not_fit_is_missing_from_the_default_answer_alone(stored, monkeypatch):
    monkeypatch.setattr(Parts, "_stream_bytes", 0)
    inside, found = stored.ask(), stored.ask(budget=20_000)
    large, small = found.imbalance
    np.testing.assert_allclose(numbers(large), numbers(inside.imbalance[0]), rtol=1e-5)
    assert small.inference == pb.IMBALANCE_INFERENCE_UNSPECIFIED
    assert small.ratio == pytest.approx(inside.imbalance[1].ratio)
    assert np.isnan(numbers(small)).all()
    assert [note.id for note in found.notes] == [NoteId.WITHOUT_REPLICATES, NoteId.NOT_INFERRED]
    assert "no interval and no p-value of 'y, p' and 'y, q'" in found.notes[1].text


def test_replicates_that_were_asked_for_and_do_not_fit_are_refused(stored):
    with pytest.raises(ServiceError, match="replicates draw from a pair's rows in memory, where 2,500 of") as caught:
        stored.ask(budget=20_000, replicates=7)
    assert caught.value.kind == ErrorKind.OUT_OF_MEMORY
