"""The whole service at a small size: what goes in, what comes out, and that it is what the kernels say."""

import numpy as np
import pytest
from worker_threads import as_the_worker_computes

import penult
from penult_kernels.linear.solve import Problem, Standardize, solve


@pytest.fixture(scope="module")
def client(client_alone):
    """The datasets are listed."""
    return client_alone


@pytest.fixture(scope="module")
def shapes(client, table):
    return client.datasets.register("shapes", table, description="dark and bright squares")


@pytest.fixture(scope="module")
def run(client, shapes, tiny):
    return client.finetune(dataset="shapes", epochs=2, seed=1, **tiny).wait()


@pytest.fixture(scope="module")
def sets(client, run):
    return client.extract(run.checkpoints[-1]).wait()


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(5)
    g = np.repeat(np.arange(6), (90, 40, 70, 60, 110, 30))[rng.permutation(400)]
    y, a = np.divmod(g, 2)
    features = (rng.standard_normal((400, 12)) * np.linspace(0.5, 3, 12) + y[:, None]).astype(np.float32)
    return {"features": features, "y": y, "a": a}


@pytest.fixture(scope="module")
def mine(client, arrays):
    return client.features.upload(**arrays, name="mine")


def test_a_registered_dataset_tells_its_groups(client, shapes):
    assert shapes.classes == ("bright", "dark")
    assert [(one.name, one.values) for one in shapes.attributes] == [("ground", ("green", "red"))]
    train = next(split for split in shapes.splits if split.name == "train")
    assert {group.name: group.count for group in train.groups} == {
        "bright, green": 30,
        "bright, red": 6,
        "dark, green": 6,
        "dark, red": 30,
    }
    assert {one.name for one in client.datasets.list()} == {"footwear", "shapes"}


def test_a_run_keeps_every_epoch(run):
    assert [checkpoint.epoch for checkpoint in run.checkpoints] == [0, 1, 2]
    assert len({checkpoint.digest for checkpoint in run.checkpoints}) == 3
    assert {(one.epoch, one.split) for one in run.history} == {
        (epoch, split) for epoch in (1, 2) for split in ("train", "val", "test")
    }
    for one in run.history:
        metrics = one.metrics
        counts = np.array([group.count for group in metrics.groups])
        np.testing.assert_allclose(metrics.group_accuracy * counts, metrics.correct)
        assert metrics.worst_group_accuracy == metrics.group_accuracy.min()
        assert metrics.average_accuracy == pytest.approx(metrics.correct.sum() / counts.sum())
    assert all(checkpoint.head_error < 1e-5 for checkpoint in run.checkpoints)


def test_the_same_request_is_the_same_job_and_the_same_run(client, run, shapes, tiny):
    again = client.finetune(dataset="shapes", epochs=2, seed=1, **tiny)
    assert again.wait().id == run.id
    assert again.attempt == 1
    assert client.runs.get(run.id).checkpoints == run.checkpoints


def test_the_seed_decides_the_weights(client, run, tmp_path, table, tiny):
    """On another server, with another store, the same seed leaves the same weights; another seed others."""
    with penult.local(tmp_path / "other") as other:
        other.datasets.register("shapes", table)
        same = other.finetune(dataset="shapes", epochs=2, seed=1, **tiny).wait()
    assert [one.digest for one in same.checkpoints] == [one.digest for one in run.checkpoints]
    different = client.finetune(dataset="shapes", epochs=1, seed=2, **tiny).wait()
    assert different.checkpoints[0].digest != run.checkpoints[0].digest


@pytest.mark.parametrize("by", ["class", "group"])
@pytest.mark.parametrize(
    ("balance", "n"), [("subsetting", {"class": 72, "group": 24}), ("mixture", {"class": 72, "group": 36})]
)
def test_balancing_keeps_the_rows_it_should(client, shapes, tiny, balance, by, n):
    ratio = 2.0 if balance == "mixture" else None
    run = client.finetune(dataset="shapes", epochs=1, balance=balance, by=by, ratio=ratio, **tiny).wait()
    assert run.n_train_examples == n[by]


def test_features_are_what_the_head_reads(client, run, sets):
    for split, feature_set in sets.items():
        stored = client.features.read(feature_set)
        logits = stored.features @ stored.head_weight.T + stored.head_bias
        np.testing.assert_allclose(logits, stored.logits, rtol=1e-4, atol=1e-4)
        measured = next(one.metrics for one in run.history if (one.epoch, one.split) == (2, split))
        assert (stored.logits.argmax(axis=1) == stored.y).mean() == pytest.approx(measured.average_accuracy)
        assert client.evaluate(run.checkpoints[-1], feature_set).correct.tolist() == measured.correct.tolist()


def test_splits_come_in_the_dataset_s_order(sets):
    assert list(sets) == ["train", "val", "test"]


def test_extracting_again_does_nothing(client, run, sets):
    again = client.extract(run.checkpoints[-1], splits=["val"]).wait()
    assert again["val"].digest == sets["val"].digest
    assert again["val"].created == sets["val"].created


def test_upload_comes_back_exactly(client, arrays, mine):
    back = client.features.read(mine)
    np.testing.assert_array_equal(back.features, arrays["features"])
    assert back.features.dtype == np.float32
    np.testing.assert_array_equal(back.y, arrays["y"])
    np.testing.assert_array_equal(back.a, arrays["a"])
    np.testing.assert_array_equal(back.row_id, np.arange(400))
    assert back.logits is None


def test_everything_given_comes_back(client, arrays):
    rng = np.random.default_rng(0)
    extra = {
        "logits": rng.standard_normal((400, 3)).astype(np.float32),
        "row_id": rng.permutation(10**6)[:400].astype(np.uint64),
        "head": penult.Head(weight=rng.standard_normal((3, 12)), bias=rng.standard_normal(3)),
    }
    half = arrays | {"features": arrays["features"].astype(np.float16)}
    stored = client.features.upload(**half, **extra, classes=["x", "y", "z"], attribute_values=["in", "out"])
    back = client.features.read(stored)
    np.testing.assert_array_equal(back.features, half["features"])
    assert back.features.dtype == np.float16
    np.testing.assert_array_equal(back.logits, extra["logits"])
    np.testing.assert_array_equal(back.row_id, extra["row_id"])
    np.testing.assert_array_equal(back.head_weight, extra["head"].weight)
    np.testing.assert_array_equal(back.head_bias, extra["head"].bias)
    assert [group.name for group in stored.groups][:2] == ["x, in", "x, out"]


def test_masks_are_stored_and_every_evaluation_counts_them(client, arrays):
    rng = np.random.default_rng(5)
    masks = {"any": rng.random(400) < 0.7, "few": np.arange(400) < 9, "none": np.zeros(400, dtype=bool)}
    stored = client.features.upload(**arrays, masks=masks)
    assert stored.labels.masks == ("any", "few", "none")
    back = client.features.read(stored)
    np.testing.assert_array_equal(back.masks, np.stack(list(masks.values()), axis=1))
    head = penult.Head(weight=rng.standard_normal((3, 12)), bias=rng.standard_normal(3))
    metrics = client.evaluate(head, stored)
    right = np.argmax(arrays["features"] @ head.weight.T + head.bias, axis=1) == arrays["y"]
    assert [(one.name, one.count, one.correct) for one in metrics.masks] == [
        (name, mask.sum(), right[mask].sum()) for name, mask in masks.items()
    ]
    assert np.isnan(metrics.masks[2].accuracy)


@pytest.mark.parametrize(
    ("masks", "words"),
    [
        ({"short": np.zeros(3, bool)}, "'short' must have shape"),
        ({"numbers": np.full(400, 2.0)}, "must be bool"),
        ({"": np.zeros(400, bool)}, "a name of its own"),
    ],
)
def test_masks_that_are_not_right(client, arrays, masks, words):
    with pytest.raises(penult.InvalidRequest, match=words):
        client.features.upload(**arrays, masks=masks)


def test_served_spectra_are_those_of_the_rows(client, arrays, mine):
    g = arrays["y"] * 2 + arrays["a"]
    for correction in (0, 1):
        spectra = client.spectra(mine, by="group", correction=correction)
        expected = [
            np.linalg.eigvalsh(np.cov(arrays["features"][g == group].T.astype(float), ddof=correction))[::-1]
            for group in range(6)
        ]
        np.testing.assert_allclose(spectra.eigenvalues, expected, rtol=1e-9)
        np.testing.assert_allclose(spectra.trace, np.sum(expected, axis=1), rtol=1e-9)
    classes = client.spectra(mine, by="class", top_k=3)
    of_class = [np.cov(arrays["features"][arrays["y"] == y].T.astype(float), bias=True) for y in range(3)]
    np.testing.assert_allclose(classes.eigenvalues, [np.linalg.eigvalsh(one)[::-1][:3] for one in of_class], rtol=1e-9)
    assert [(one.y, one.minority, one.majority) for one in classes.imbalance] == [
        (-1, "0", "1"),
        (-1, "0", "2"),
        (-1, "1", "2"),
    ]


def test_imbalance_names_minority_and_majority(client, arrays, mine):
    spectra = client.spectra(mine, by="group")
    counts = np.bincount(arrays["y"] * 2 + arrays["a"], minlength=6).reshape(3, 2)
    for y, record in enumerate(spectra.imbalance):
        assert (record.n_minority, record.n_majority) == (counts[y].min(), counts[y].max())
        smaller, larger = 2 * y + counts[y].argmin(), 2 * y + counts[y].argmax()
        assert record.ratio == pytest.approx(spectra.eigenvalues[smaller, 0] / spectra.eigenvalues[larger, 0])


def test_fewer_rows_than_features(client):
    rng = np.random.default_rng(1)
    features = rng.standard_normal((20, 40)).astype(np.float32)
    y = np.repeat([0, 1], 10)
    few = client.features.upload(features=features, y=y, a=np.zeros(20, int))
    eigenvalues = client.spectra(few, by="group").eigenvalues
    assert eigenvalues.shape == (2, 40)
    expected = np.linalg.svd(features[:10] - features[:10].mean(axis=0), compute_uv=False) ** 2 / 10
    np.testing.assert_allclose(eigenvalues[0, :9], expected[:9], rtol=1e-5)
    np.testing.assert_allclose(eigenvalues[0, 9:], 0, atol=1e-9)


def test_uncentered_second_moments(client, arrays, mine):
    spectra = client.spectra(mine, by="class", center=False)
    rows = arrays["features"][arrays["y"] == 1].astype(float)
    np.testing.assert_allclose(spectra.eigenvalues[1], np.linalg.eigvalsh(rows.T @ rows / len(rows))[::-1], rtol=1e-9)


def test_served_refits_are_the_kernels_(client, arrays, mine):
    refit = client.refit(mine, preset="dfr_l2", evaluate={"itself": mine}, seed=3, plan=True)
    problems = [
        Problem(rows=np.sort(rows.astype(np.int64)), l2=1e-3, standardize=Standardize.ROWS)
        for rows in refit.plan.row_ids
    ]
    with as_the_worker_computes():
        fits = solve(arrays["features"], arrays["y"], 3, problems, tolerance=refit.settings.tolerance)
    weight, bias = np.mean([fit.weight for fit in fits], axis=0), np.mean([fit.bias for fit in fits], axis=0)
    np.testing.assert_allclose(refit.head.weight, weight, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(refit.head.bias, bias, rtol=1e-9, atol=1e-12)
    assert refit.certificate.converged
    assert refit.certificate.gap == max(fit.certificate.gap for fit in fits)
    logits = arrays["features"].astype(float) @ refit.head.weight.T + refit.head.bias
    assert refit.metrics["itself"].average_accuracy == pytest.approx((logits.argmax(1) == arrays["y"]).mean())
    assert client.evaluate(refit, mine).correct.tolist() == refit.metrics["itself"].correct.tolist()
    assert client.evaluate(refit.head, mine).correct.tolist() == refit.metrics["itself"].correct.tolist()


def test_equal_queries_are_answered_from_the_store(client, mine):
    first = client.spectra(mine, by="group", top_k=4)
    again = client.spectra("mine", by="group", top_k=4)
    assert again.reused
    np.testing.assert_array_equal(first.eigenvalues, again.eigenvalues)
    client.refit(mine, preset="erm")
    assert client.refit(mine.digest[:12], preset="erm").reused


def test_one_impossible_refit_fails_alone(client, mine):
    answers = client.refits(
        [{"features": mine, "preset": "erm"}, {"features": "nowhere", "preset": "erm"}, {"features": mine, "l2": 0.1}]
    )
    assert isinstance(answers[0], penult.Refit)
    assert isinstance(answers[1], penult.NotFound)
    assert answers[1].kind == "unknown_feature_set"
    assert isinstance(answers[2], penult.Refit)


def test_deleted_features_are_gone_and_extracted_ones_come_back(client, run):
    val = client.extract(run.checkpoints[0], splits=["val"]).wait()["val"]
    before = client.features.read(val)
    client.features.delete(val)
    with pytest.raises(penult.NotFound):
        client.features.get(val)
    again = client.extract(run.checkpoints[0], splits=["val"]).wait()["val"]
    assert again.digest == val.digest
    np.testing.assert_array_equal(client.features.read(again).features, before.features)


def test_frames_and_pictures(client, run, mine, tmp_path):
    spectra = client.spectra(mine, by="group")
    assert len(spectra.to_frame()) == 6 * 12
    assert not run.to_frame().empty
    spectra.plot().savefig(tmp_path / "spectra.png")
    assert (tmp_path / "spectra.png").stat().st_size > 5000


def test_texts_go_the_same_way(client, tmp_path):
    """The packaged MiniLM on a table of sentences; negation is the attribute."""
    lines = ["text,y,negation,split"]
    for split in ("train", "val"):
        for index in range(8):
            y, a = divmod(index % 4, 2)
            verb, thing = ("likes", "dislikes")[y], ("the film", "the book")[index // 4]
            lines.append(f"{split}: she {'never ' * a}{verb} {thing},{('good', 'bad')[y]},{('no', 'yes')[a]},{split}")
    table = tmp_path / "table.csv"
    table.write_text("\n".join(lines) + "\n")
    dataset = client.datasets.register("sentences", table)
    assert dataset.modality == "text"
    run = client.finetune(
        dataset="sentences",
        backbone="all-MiniLM-L6-v2",
        epochs=1,
        batch_size=4,
        optimizer=penult.AdamW(learning_rate=1e-4),
        inputs=penult.Texts(max_tokens=16),
    ).wait()
    sets = client.extract(run.checkpoints[-1]).wait()
    stored = client.features.read(sets["val"])
    assert stored.features.shape == (8, 384)
    np.testing.assert_allclose(
        stored.features @ stored.head_weight.T + stored.head_bias, stored.logits, rtol=1e-4, atol=1e-4
    )
    assert client.spectra(sets["train"], by="group", top_k=2).eigenvalues.shape == (4, 2)
