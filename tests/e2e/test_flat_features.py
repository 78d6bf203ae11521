"""Flat features through the service: extracted, labelled, asked for spectra, and kept away from heads."""

import numpy as np
import pytest

import penult


@pytest.fixture(scope="module")
def run(client, table, tiny):
    dataset = client.datasets.register("flat-images", table)
    return client.finetune(dataset=dataset.name, epochs=1, inputs=penult.Images(size=64), **tiny).wait()


def test_flat_features_have_spectra_and_no_head(client, run):
    flat = client.extract(run.checkpoints[-1], kind="flat", splits=["train"], batch_size=16).wait()["train"]
    pooled = client.extract(run.checkpoints[-1], splits=["train"]).wait()["train"]
    assert (flat.feature_kind, pooled.feature_kind) == ("flat", "pooled")
    assert flat.digest != pooled.digest
    assert flat.n_features > pooled.n_features
    assert not flat.has_head
    whole = client.features.read(flat)
    narrow = client.features.read(pooled)
    np.testing.assert_array_equal(whole.row_id, narrow.row_id)
    np.testing.assert_allclose(
        whole.features.reshape(len(whole.row_id), pooled.n_features, -1).mean(axis=2),
        narrow.features,
        rtol=1e-4,
        atol=1e-5,
    )
    spectra = client.spectra(flat, top_k=5, replicates=0)
    for group in range(4):
        rows = whole.features[whole.y * 2 + whole.a == group].astype(np.float64)
        singular = np.linalg.svd(rows - rows.mean(axis=0), compute_uv=False)
        np.testing.assert_allclose(spectra.eigenvalues[group], (singular**2 / len(rows))[:5], rtol=1e-9)
    assert client.spectra(run.checkpoints[-1], split="train", top_k=5, replicates=0).feature_set == pooled.digest


def test_no_head_is_fitted_to_flat_features(client, run):
    flat = client.extract(run.checkpoints[-1], kind="flat", splits=["train"], batch_size=16).wait()["train"]
    with pytest.raises(penult.InvalidRequest, match="kind='pooled'"):
        client.refit(flat, preset="erm")


def test_other_kinds_are_refused(client, run):
    with pytest.raises(penult.InvalidRequest, match="'pooled', 'flat'; got 'raw'"):
        client.extract(run.checkpoints[-1], kind="raw")
