"""A page of ordinary use that the type checker must accept; it is checked, never run."""

# ruff: noqa: T201

from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import penult


def analyse(x: NDArray[np.float32], y: NDArray[np.int64], a: NDArray[np.int64]) -> float:
    """What a script does."""
    with penult.local("store", timeout=30) as client:
        assert_type(client, penult.Client)
        job = client.finetune(
            dataset="footwear", backbone="tf_efficientnet_lite0", balance="mixture", by="class", ratio=2, seed=1
        )
        assert_type(job, penult.Job[penult.Run])
        run = job.wait(progress=True, timeout=3600)
        for entry in run.history:
            print(entry.epoch, entry.split, entry.metrics.worst_group_accuracy)
        sets = client.extract(run.checkpoints[-1], splits=["train", "val"], dtype="float16").wait()
        assert_type(sets, dict[str, penult.FeatureSet])
        spectra = client.spectra(sets["train"], by="group", top_k=50)
        assert_type(spectra.eigenvalues, NDArray[np.float64])
        balanced = client.spectra(run.checkpoints[-1], split="train", rows=run, replicates=500, confidence=0.9)
        print(balanced.imbalance[0].low, balanced.imbalance_to_frame())
        assert_type(client.run_spectra(run, split="train").eigenvalues, NDArray[np.float64])
        assert_type(client.descriptors(sets["train"])["effective_rank"], NDArray[np.float64])
        angles = client.principal_angles(sets["train"], sets["val"], groups=("sneaker, grass", 1), top_k=5)
        assert_type(angles.overlap, float)
        ratios = {entry.class_name: entry.ratio for entry in spectra.imbalance}
        refit = client.refit(sets["val"], preset="dfr", evaluate={"test": sets["test"], "mine": "my-features"})
        assert_type(refit.metrics["test"].group_accuracy, NDArray[np.float64])
        answers = client.refits(
            [
                {"features": sets["val"], "preset": "erm", "l2": 0.1},
                {"features": "my-features", "balance": "upweighting", "by": "group", "l2": 0.01},
            ]
        )
        for answer in answers:
            if isinstance(answer, penult.PenultError):
                print(answer.kind, answer.metadata, answer.retryable)
            else:
                assert_type(answer, penult.Refit)
        assert_type(client.runs.list(tag="pilot", since="2026-11-30"), penult.Listing[penult.Run])
        table = client.runs.table(by=["balance", "optimizer.learning_rate"], over="seed", metric="worst_group_accuracy")
        assert_type(table.rows[0].mean["worst_group_accuracy"], float)
        for found in client.results.list(kind="refit", feature_set=sets["val"]):
            stored = client.results.get(found)
            if isinstance(stored, penult.Refit):
                assert_type(stored.tags, tuple[str, ...])
        assert_type(client.runs.describe(run, name="first", tags=["pilot"], note="why"), penult.Run)
        mine = client.features.upload(features=x, y=y, a=a, name="my-features", attribute="ground")
        back = client.features.read(mine)
        assert_type(back.features, NDArray[Any])
        assert_type(back.y, NDArray[np.int64])
        grouped = client.groupings.upload(mine, {3: "grass", 4: "gravel"}, attribute="ground")
        assert_type(grouped.on(sets["val"]).values, NDArray[np.int64])
        assert_type(client.groupings.list(features=mine), penult.Listing[penult.Grouping])
        own = client.evaluate(run.checkpoints[-1], mine)
        other = client.evaluate(penult.Head(weight=refit.head.weight, bias=refit.head.bias), mine.digest)
        assert_type(client.datasets.register("shoes", "/data/shoes.csv"), penult.Dataset)
        assert_type(client.datasets.register("shoes", "/data/shoes.csv", wait=False), penult.Job[penult.Dataset])
        birds = client.datasets.register("waterbirds", "/data/waterbird_complete95_forest2water2", layout="waterbirds")
        assert_type(birds.notes, tuple[penult.Note, ...])
        client.datasets.register("pairs", "/data/pairs.parquet", columns={"text": ["first", "second"], "masks": "old"})
        for known in client.jobs.list(states=["running", "queued"]):
            known.refresh().cancel()
        spectra.plot(top_k=5).savefig("spectra.png")  # pyright: ignore[reportUnknownMemberType]
        return ratios["sneaker"] + own.average_accuracy + other.worst_class_accuracy


def remote() -> list[penult.FeatureSet]:
    """Another machine's server, with errors told apart by what to do about them."""
    client = penult.connect("gpu-box:7711", token="secret", tls=True)
    try:
        return [entry for entry in client.features.list(timeout=5) if entry.n_features > 100]
    except penult.Unavailable as error:
        print(error.kind, error.retry_after)
        return []
    except (penult.Unauthenticated, penult.VersionMismatch):
        raise
    finally:
        client.close()
