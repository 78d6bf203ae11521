"""Spectra over the wire: what is resampled, which rows are looked at, and what is refused."""

import numpy as np
import pytest
from scipy.linalg import subspace_angles

import penult
from penult_kernels.spectra.inference import holm, infer_imbalance


@pytest.fixture(scope="module")
def client(client_alone):
    """Its names are given elsewhere, too."""
    return client_alone


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(11)
    g = np.repeat(np.arange(4), (60, 20, 15, 70))[rng.permutation(165)]
    y, a = np.divmod(g, 2)
    features = (rng.standard_normal((165, 10)) * np.linspace(2, 0.5, 10) * (1 + (g == 2))[:, None]).astype(np.float32)
    return {"features": features, "y": y, "a": a, "row_id": np.arange(165, dtype=np.uint64) * 7 + 3}


@pytest.fixture(scope="module")
def mine(client, arrays):
    return client.features.upload(**arrays, name="mine")


@pytest.fixture(scope="module")
def run(client, table, tiny):
    client.datasets.register("shapes", table)
    return client.finetune(dataset="shapes", epochs=1, balance="subsetting", by="group", **tiny).wait()


def test_the_served_imbalance_is_the_kernels_(client, arrays, mine):
    spectra = client.spectra(mine, replicates=40, confidence=0.9, seed=5)
    g, features = arrays["y"] * 2 + arrays["a"], arrays["features"]
    expected = [
        infer_imbalance(
            features[g == minority], features[g == majority], replicates=40, confidence=0.9, seed=5, stream=y
        )
        for y, (minority, majority) in enumerate([(1, 0), (2, 3)])
    ]
    for entry, one in zip(spectra.imbalance, expected, strict=True):
        found = [entry.matched_ratio, entry.low, entry.high, entry.p_value]
        np.testing.assert_allclose(found, [one.matched_ratio, one.low, one.high, one.p_value], rtol=1e-6)
        assert entry.replicate_error < 1e-6
    np.testing.assert_allclose(
        [entry.p_adjusted for entry in spectra.imbalance], holm([one.p_value for one in expected])
    )
    assert spectra.imbalance[1].low > 1.5
    assert (spectra.replicates, spectra.confidence, spectra.seed) == (40, 0.9, 5)


def test_replicates_are_on_unless_turned_off(client, mine):
    by_size, asked = client.spectra(mine), client.spectra(mine, replicates=200)
    assert by_size.replicates == asked.replicates == 200
    assert by_size.inference == asked.inference == "resampled"
    assert by_size.digest != asked.digest
    assert [one.p_value for one in by_size.imbalance] == [one.p_value for one in asked.imbalance]
    without = client.spectra(mine, replicates=0)
    assert np.isnan(without.imbalance[0].matched_ratio)
    assert without.imbalance[0].ratio == client.spectra(mine).imbalance[0].ratio
    assert client.spectra(mine, replicates=0, seed=9, confidence=0.5).reused


def test_every_two_classes(client, arrays, mine):
    spectra = client.spectra(mine, by="class", replicates=20)
    (entry,) = spectra.imbalance
    assert (entry.y, entry.minority, entry.majority) == (-1, "0", "1")
    assert entry.ratio == pytest.approx(spectra.eigenvalues[0, 0] / spectra.eigenvalues[1, 0])
    assert entry.low < entry.matched_ratio < entry.high


def test_eigenvalues_come_with_certificates(client, arrays, mine):
    spectra = client.spectra(mine, top_k=3, replicates=0)
    assert spectra.residuals.shape == (4, 3)
    assert (spectra.residuals < 1e-9 * spectra.eigenvalues[:, :1]).all()
    assert spectra.converged.all()
    assert len(spectra.methods) == 4


def test_some_rows(client, arrays, mine):
    chosen = np.flatnonzero(arrays["row_id"] % 2)
    spectra = client.spectra(mine, rows=arrays["row_id"][chosen][::-1], replicates=10)
    g = (arrays["y"] * 2 + arrays["a"])[chosen]
    assert [group.count for group in spectra.groups] == np.bincount(g).tolist()
    assert (spectra.n_rows, spectra.n_examples) == (len(chosen), 165)
    expected = [
        np.linalg.eigvalsh(np.cov(arrays["features"][chosen][g == group].T.astype(float), bias=True))[::-1]
        for group in range(4)
    ]
    np.testing.assert_allclose(spectra.eigenvalues, expected, rtol=1e-9, atol=1e-12)
    assert client.spectra(mine, rows=arrays["row_id"][chosen], replicates=10).reused


def test_rows_that_are_not_there(client, mine):
    with pytest.raises(penult.InvalidRequest, match=r"no row with id 4 \(1 of the 2"):
        client.spectra(mine, rows=[3, 4])
    with pytest.raises(penult.InvalidRequest, match="name every row once"):
        client.spectra(mine, rows=[3, 3])


def test_the_balanced_subset_of_a_run(client, run):
    checkpoint = run.checkpoints[-1]
    with pytest.raises(penult.NotFound, match=r"client.extract\('[0-9a-f]{12}', splits=\['train'\]\)"):
        client.spectra(checkpoint, split="train")
    sets = client.extract(checkpoint, splits=["train", "val"]).wait()
    everything = client.spectra(checkpoint, split="train", top_k=4)
    assert everything.feature_set == sets["train"].digest
    assert everything.rows_of_run == ""
    balanced = client.spectra(checkpoint, split="train", top_k=4, rows=run)
    assert [group.count for group in everything.groups] == [30, 6, 6, 30]
    assert [group.count for group in balanced.groups] == [6, 6, 6, 6]
    assert balanced.rows_of_run == run.id
    assert client.spectra(checkpoint.digest[:10], split="train", top_k=4, rows=run).reused
    with pytest.raises(penult.InvalidRequest, match=r"but feature set .* is split 'val'"):
        client.spectra(sets["val"], rows=run)


def test_a_run_says_nothing_of_an_upload(client, mine, run):
    with pytest.raises(penult.InvalidRequest, match="is an upload"):
        client.spectra(mine, rows=run)


def test_a_class_with_one_group_and_groups_of_one_and_two(client):
    rng = np.random.default_rng(0)
    g = np.repeat([0, 2, 3, 4, 5], [9, 1, 8, 2, 7])
    features = rng.standard_normal((27, 4)).astype(np.float32)
    few = client.features.upload(features=features, y=g // 2, a=g % 2)
    spectra = client.spectra(few, replicates=50)
    assert [(entry.y, entry.n_minority) for entry in spectra.imbalance] == [(1, 1), (2, 2)]
    one, two = spectra.imbalance
    assert one.ratio == 0
    assert np.isnan([one.matched_ratio, one.low, one.high, one.p_value, one.p_adjusted]).all()
    assert two.matched_ratio > 0
    assert two.p_adjusted == two.p_value
    unbiased = client.spectra(few, replicates=0, correction=1)
    assert np.isnan(unbiased.imbalance[0].ratio)


@pytest.mark.parametrize(
    "options", [{"replicates": 10**6}, {"replicates": -1}, {"confidence": 0.0}, {"confidence": 1.5}, {"seed": -3}]
)
def test_options_out_of_range(client, mine, options):
    with pytest.raises(penult.InvalidRequest):
        client.spectra(mine, **options)


def test_a_whole_run_is_one_answer(client, run):
    with pytest.raises(penult.NotFound, match=r"features of split 'test' for epoch 0 \(.*epoch 1 \("):
        client.run_spectra(run, split="test")
    for checkpoint in run.checkpoints:
        client.extract(checkpoint, splits=["test"]).wait()
    answer = client.run_spectra(run, split="test", top_k=5, replicates=10)
    assert answer.epochs.tolist() == [0, 1]
    assert answer.eigenvalues.shape == (2, 4, 5)
    for checkpoint, one in zip(run.checkpoints, answer.spectra, strict=True):
        alone = client.spectra(checkpoint, split="test", top_k=5, replicates=10)
        assert alone.reused
        np.testing.assert_array_equal(one.eigenvalues, alone.eigenvalues)
        assert one.imbalance == alone.imbalance
    said = answer.to_frame().inference.tolist()
    assert said == [entry.inference for one in answer.spectra for entry in one.imbalance]
    assert set(said) == {"resampled"}
    with pytest.raises(penult.NotFound, match="no run"):
        client.run_spectra("nothing", split="test")


def test_what_a_run_is_organised_by_epoch_for_epoch(client, run):
    for checkpoint in run.checkpoints:
        client.extract(checkpoint, splits=["test"]).wait()
    found = client.run_neighbours(run, split="test", k=5)
    assert found.epochs.tolist() == [0, 1]
    alone = client.neighbour_rates(run.checkpoints[1], split="test", k=5)
    assert alone.reused
    assert found.lift["class"][1] == alone.overall.lift["class"]
    assert list(found.lift) == ["class", "ground"]
    assert found.to_frame().epoch.unique().tolist() == [0, 1]
    assert len(found.plot().axes) == 2
    with pytest.raises(penult.NotFound, match="extract them first"):
        client.run_neighbours(run, split="val")


def test_diagnostics_epoch_for_epoch(client, run):
    for checkpoint in run.checkpoints:
        client.extract(checkpoint, splits=["test"]).wait()
    found = client.diagnose_run(run, ["gradient_conflict", "cdnv"], split="test", replicates=0)
    assert found.epochs.tolist() == [0, 1]
    alone = client.diagnose(
        run.checkpoints[1], ["cdnv", "gradient_conflict"], split="test", replicates=0, matched=False
    )
    assert alone.reused
    assert found.values("cdnv", "all")[1].value == alone.value("cdnv", "all").value
    np.testing.assert_array_equal(found.matrix("gradient_conflict")[1], alone.matrix("gradient_conflict"))
    with pytest.raises(penult.NotFound, match="extract them first"):
        client.diagnose_run(run, "cdnv", split="val")


def test_epochs_of_a_run_compared(client, run):
    sets = [client.extract(checkpoint, splits=["test"]).wait()["test"] for checkpoint in run.checkpoints]
    found = client.compare(run.checkpoints, split="test", measures=["evenness", "error_inconsistency"])
    right = [client.predictions(one).correct for one in sets]
    assert found.of("error_inconsistency")[0].value == np.mean(right[0] != right[1])
    assert found.checkpoints == tuple(one.digest for one in run.checkpoints)
    assert len(found.to_frame()) == len(found.values)
    with pytest.raises(penult.NotFound, match="extract them first"):
        client.compare(run.checkpoints, split="val")
    for arguments, said in (
        ({"items": [run]}, "2 .. 200"),
        ({"items": run.checkpoints, "measures": ["moons"]}, "measures are"),
        ({"items": ["x", "y"]}, "Runs or Checkpoints"),
    ):
        with pytest.raises(penult.InvalidRequest, match=said):
            client.compare(**arguments, split="test")


def test_descriptors_with_their_formulas(client, arrays, mine):
    found = client.descriptors(mine, power_law=(2, 6))
    g, z = arrays["y"] * 2 + arrays["a"], arrays["features"].astype(float)
    for group in range(4):
        rows = z[g == group]
        values = np.linalg.eigvalsh(np.cov(rows.T, bias=True))[::-1]
        p, s = values / values.sum(), np.linalg.svd(rows, compute_uv=False)
        slope = np.polyfit(np.log(np.arange(2, 7)), np.log(values[1:6]), 1, w=np.arange(2, 7) ** -0.5)[0]
        assert found["participation_ratio"][group] == pytest.approx(values.sum() ** 2 / np.sum(values**2))
        assert found["effective_rank"][group] == pytest.approx(np.exp(-np.sum(p * np.log(p))))
        q = s / s.sum() + 1e-7
        assert found["rank_me"][group] == pytest.approx(np.exp(-np.sum(q * np.log(q))))
        assert found["power_law_exponent"][group] == pytest.approx(-slope)
    assert "2 ... 6" in found.descriptors["power_law_exponent"].formula
    total = np.sum((z - z.mean(axis=0)) ** 2)
    between = sum(np.sum(arrays["y"] == y) * np.sum((z[arrays["y"] == y].mean(0) - z.mean(0)) ** 2) for y in (0, 1))
    assert found.variance_shares["class_share"].value == pytest.approx(between / total)
    assert client.descriptors("mine", power_law=(2, 6)).reused
    by_class = client.descriptors(mine, by="class")
    assert by_class["effective_rank"].shape == (2,)
    assert np.isnan(by_class["power_law_exponent"]).all()
    assert by_class.variance_shares == found.variance_shares
    assert list(found.to_frame()["n"]) == [60, 20, 15, 70]
    assert "participation_ratio = (sum_i l_i)^2" in str(found)
    with pytest.raises(KeyError, match="effective_rank"):
        found["rank"]


def test_descriptors_of_some_rows(client, arrays, mine):
    chosen = arrays["row_id"][::2]
    kept = client.features.upload(**{name: array[::2] for name, array in arrays.items()})
    ours, theirs = client.descriptors(mine, rows=chosen), client.descriptors(kept)
    np.testing.assert_allclose(ours["rank_me"], theirs["rank_me"])
    assert ours.variance_shares["group_share"].value == pytest.approx(theirs.variance_shares["group_share"].value)


@pytest.mark.parametrize("center", [True, False])
def test_eigenvectors_come_as_a_stream(client, arrays, mine, center):
    found = client.eigenvectors(mine, top_k=4, correction=1, center=center)
    spectra = client.spectra(mine, top_k=4, correction=1, center=center, replicates=0)
    np.testing.assert_allclose(found.eigenvalues, spectra.eigenvalues, rtol=1e-9)
    g, z = arrays["y"] * 2 + arrays["a"], arrays["features"].astype(float)
    for group, values, vectors in zip(range(4), found.eigenvalues, found.vectors, strict=True):
        rows = z[g == group]
        rows = rows - rows.mean(axis=0) if center else rows
        np.testing.assert_allclose(rows.T @ rows @ vectors.T / (len(rows) - 1), vectors.T * values, atol=1e-9)
        np.testing.assert_allclose(vectors @ vectors.T, np.eye(4), atol=1e-12)
        assert all(vector[np.argmax(np.abs(vector))] > 0 for vector in vectors)
    assert [group.count for group in found.groups] == [60, 20, 15, 70]
    assert repr(found).endswith("(G, K, D) = (4, 4, 10))")


def test_eigenvectors_of_few_rows_of_many_features(client):
    """More than one piece on the wire; and directions beyond the rows."""
    rng = np.random.default_rng(0)
    wide = rng.standard_normal((9, 6000), dtype=np.float32)
    stored = client.features.upload(features=wide, y=np.array([0, 0, 0, 0, 0, 0, 1, 1, 1]))
    found = client.eigenvectors(stored, by="class", top_k=12)
    assert found.vectors.shape == (2, 12, 6000)
    for rows, values, vectors in zip((wide[:6], wide[6:]), found.eigenvalues, found.vectors, strict=True):
        z = rows.astype(float) - rows.mean(axis=0, dtype=float)
        np.testing.assert_allclose(z.T @ (z @ vectors.T) / len(z), vectors.T * values, atol=1e-9)
        np.testing.assert_allclose(vectors @ vectors.T, np.eye(12), atol=1e-10)
        np.testing.assert_allclose(values[len(z) - 1 :], 0, atol=1e-9)
    some = client.eigenvectors(stored, by="class", top_k=2, rows=[0, 1, 2, 3])
    assert np.isnan(some.vectors[1]).all()
    assert not np.isnan(some.vectors[0]).any()


def test_eigenvectors_that_cannot_be(client, mine):
    with pytest.raises(penult.InvalidRequest, match=r"top_k must lie in 1 \.\. 10, got 11"):
        client.eigenvectors(mine, top_k=11)
    with pytest.raises(penult.InvalidRequest, match="correction must be 0"):
        client.eigenvectors(mine, correction=2)
    with pytest.raises(penult.NotFound, match="feature set"):
        client.eigenvectors("nobody's")


def test_angles_between_groups_and_between_feature_sets(client, arrays, mine):
    found = client.principal_angles(mine, mine, groups=("0, 0", 3), top_k=3)
    g, z = arrays["y"] * 2 + arrays["a"], arrays["features"].astype(float)
    u, v = (np.linalg.eigh(np.cov(z[g == group].T))[1][:, :-4:-1] for group in (0, 3))
    np.testing.assert_allclose(found.angles, np.sort(subspace_angles(u, v)), atol=1e-6)
    assert (found.first.index, found.second.index) == (0, 3)
    assert found.overlap == pytest.approx(np.mean(np.cos(found.angles) ** 2))
    itself = client.principal_angles(mine, mine, groups=(2, 2), top_k=3)
    np.testing.assert_allclose(itself.angles, 0, atol=1e-9)
    rotated = arrays | {"features": arrays["features"][:, ::-1].copy()}
    other = client.features.upload(**rotated)
    turned = client.principal_angles(mine, other, groups=(0, 0), top_k=1, by="class")
    assert turned.angles[0] > 1.0
    assert client.principal_angles(mine, other, groups=("0", "0"), top_k=1, by="class").reused
    with pytest.raises(penult.InvalidRequest, match=r"no group or class 'nobody'; it has 0 \('0, 0'\)"):
        client.principal_angles(mine, mine, groups=("nobody", 0))
    with pytest.raises(penult.InvalidRequest, match=r"top_k must lie in 1 \.\. 10"):
        client.principal_angles(mine, mine, groups=(0, 1), top_k=11)


def test_replicates_that_do_not_fit_are_refused_before_anything_is_computed(serve, arrays):
    with serve(None, "--resident-bytes", "1000").connect() as client:
        mine = client.features.upload(**arrays)
        with pytest.raises(penult.Busy, match="ask for replicates=0") as caught:
            client.spectra(mine, replicates=20)
        assert caught.value.kind == "out_of_memory"
        assert client.spectra(mine, replicates=0, top_k=2).eigenvalues.shape == (4, 2)


def test_by_default_pairs_whose_replicates_do_not_fit_are_named_and_the_rest_is_answered(serve, arrays):
    with serve(None, "--resident-bytes", "1000").connect() as client:
        found = client.spectra(client.features.upload(**arrays), top_k=2)
        (note,) = found.notes
        assert note.id == "not_inferred"
        assert np.isnan([one.p_value for one in found.imbalance]).all()
        assert all(one.ratio > 0 for one in found.imbalance)


def test_too_many_pairs_of_classes_have_ratios_only(client):
    rng = np.random.default_rng(2)
    y = np.arange(44) % 11
    many = client.features.upload(features=rng.standard_normal((44, 3)).astype(np.float32), y=y)
    with pytest.raises(penult.InvalidRequest, match="55 pairs of classes"):
        client.spectra(many, by="class")
    assert len(client.spectra(many, by="class", replicates=0).imbalance) == 55
