"""Datasets of other tools' forms, from their files to features of a finetuned model."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

import penult


def picture(y: int, a: int, seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 60, (16, 16, 3))
    pixels[:, :, a] += 90
    pixels[4:12, 4:12] += 60 * y
    Image.fromarray(pixels.astype(np.uint8)).save(buffer := io.BytesIO(), "PNG")
    return buffer.getvalue()


def rows(split: str) -> list[tuple[bytes, int, int]]:
    start = {"train": 0, "val": 100, "test": 200}[split]
    return [(picture(i % 2, i // 2 % 2, start + i), i % 2, i // 2 % 2) for i in range(12)]


def hub(directory):
    (directory / "data").mkdir(parents=True)
    for split in ("train", "val", "test"):
        columns = {
            "image": [{"bytes": content, "path": None} for content, _, _ in rows(split)],
            "label": [y for _, y, _ in rows(split)],
            "ground": [a for *_, a in rows(split)],
        }
        pq.write_table(pa.table(columns), directory / f"data/{split}-00000-of-00001.parquet")
    return directory


def folders(directory):
    for split in ("train", "val", "test"):
        lines = ["file_name,ground"]
        for i, (content, y, a) in enumerate(rows(split)):
            (directory / split / str(y)).mkdir(parents=True, exist_ok=True)
            (directory / split / str(y) / f"{i}.png").write_bytes(content)
            lines.append(f"{y}/{i}.png,{a}")
        (directory / split / "metadata.csv").write_text("\n".join(lines))
    return directory


class Value:
    pass


class Picture:
    def __init__(self, decode: bool = True) -> None:
        self.decode = decode


Picture.__name__ = "Image"


class Split:
    def __init__(self, split: str) -> None:
        self.features = {"image": Picture(), "label": Value(), "ground": Value()}
        self.name = split

    def cast_column(self, name: str, feature: object) -> "Split":
        return self

    def iter(self, batch_size: int):
        images, y, a = zip(*rows(self.name), strict=True)
        yield {"image": [{"bytes": one, "path": None} for one in images], "label": list(y), "ground": list(a)}


def test_three_forms_of_the_same_images_give_the_same_features(client, tmp_path, tiny):
    """Registered as folders, as Parquet and from objects, the same rows have the same features of untrained weights."""
    registered = [
        client.datasets.register("hub", hub(tmp_path / "hub"), layout="huggingface"),
        client.datasets.register("folders", folders(tmp_path / "folders"), layout="imagefolder"),
        penult.datasets.from_hf(
            {split: Split(split) for split in ("train", "val", "test")},
            tmp_path / "written",
            y="label",
            a="ground",
            client=client,
            name="objects",
        ),
    ]
    found = []
    for dataset in registered:
        assert [(split.name, split.n_examples) for split in dataset.splits] == [
            ("train", 12),
            ("val", 12),
            ("test", 12),
        ]
        run = client.finetune(
            dataset=dataset.name, epochs=0, seed=1, backbone=tiny["backbone"], pretrained=False
        ).wait()
        stored = client.features.read(client.extract(run.checkpoints[0], splits=["val"]).wait()["val"])
        order = np.lexsort((*stored.features.T[:5], stored.g))
        found.append((stored.g[order], stored.features[order]))
    for g, features in found[1:]:
        np.testing.assert_array_equal(g, found[0][0])
        np.testing.assert_allclose(features, found[0][1], rtol=1e-5, atol=1e-6)
