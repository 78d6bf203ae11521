"""Small data sets with a class and a spurious attribute, and a context that remembers what it is told."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from transformers import BertConfig

from penult_proto.errors import ErrorKind
from penult_server.datasets.model import Attribute, DatasetInfo, Example, SplitLabels
from penult_server.errors import ServiceError
from penult_server.progress import MetricsRecord
from penult_server.stores.checkpoints import CheckpointManifest
from penult_server.stores.groupings import GroupingManifest, write_grouping

SIDE = 32
COUNTS = {"train": [9, 3, 2, 10], "val": [2, 2, 2, 2], "test": [3, 0, 4, 5]}


@dataclass
class MemoryDataset:
    """A dataset whose images are kept in memory."""

    info: DatasetInfo
    images: dict[str, list[Example]]

    def examples(self, split: str) -> Sequence[Example]:
        return self.images[split]


@dataclass
class Recorder:
    """A context that remembers what it is told, and cancels at a given step."""

    cancel_at: int = -1
    steps: list[tuple[str, float, float, str]] = field(default_factory=list)
    reported: list[tuple[float, str]] = field(default_factory=list)
    stored: list[CheckpointManifest] = field(default_factory=list)
    saved_steps: list[float] = field(default_factory=list)
    still_needed: list[list[str]] = field(default_factory=list)
    asked: int = 0

    def progress(self, stage: str, done: float, total: float, unit: str) -> None:
        self.steps.append((stage, done, total, unit))

    def metrics(self, record: MetricsRecord) -> None:
        self.reported.append((record.epoch, record.split))

    def checkpoint(self, manifest: CheckpointManifest) -> None:
        self.stored.append(manifest)

    def saved(self, amount: float) -> None:
        self.saved_steps.append(amount)

    def needed(self, digests: list[str]) -> None:
        self.still_needed.append(digests)

    def check_cancelled(self) -> None:
        self.asked += 1
        if self.asked == self.cancel_at:
            raise ServiceError(ErrorKind.CANCELLED, "the job was cancelled")


def squares(counts: dict[str, list[int]] = COUNTS, height: int = SIDE) -> MemoryDataset:
    """Class: a bright square in the upper or lower half; attribute: the hue of the whole image."""
    rng = np.random.default_rng(0)
    splits: dict[str, SplitLabels] = {}
    images: dict[str, list[Example]] = {}
    first = 0
    for split, per_group in counts.items():
        g = np.repeat(np.arange(4), per_group)
        rng.shuffle(g)
        y, a = g // 2, g % 2
        n = len(g)
        splits[split] = SplitLabels(row_id=np.arange(first, first + n, dtype=np.uint64), y=y, a=a[:, None])
        first += n
        pixels = rng.integers(0, 60, (n, height, SIDE, 3), dtype=np.uint8)
        for image, one_y, one_a in zip(pixels, y, a, strict=True):
            top = 4 + 14 * int(one_y)
            image[top : top + 10, 10:22] += np.uint8(120)
            image[..., 2 * int(one_a)] += np.uint8(40)
        images[split] = list(pixels)
    info = DatasetInfo(
        name="squares",
        digest=f"{height:064d}",
        modality="image",
        classes=("upper", "lower"),
        attributes=(Attribute(name="hue", values=("red", "blue")),),
        splits=splits,
        description="",
    )
    return MemoryDataset(info, images)


def texts() -> MemoryDataset:
    rng = np.random.default_rng(1)
    splits: dict[str, SplitLabels] = {}
    sentences: dict[str, list[Example]] = {}
    for first, split in ((0, "train"), (100, "val")):
        g = np.repeat(np.arange(4), 3)
        splits[split] = SplitLabels(row_id=np.arange(first, first + 12, dtype=np.uint64), y=g // 2, a=g[:, None] % 2)
        sentences[split] = [
            " ".join([("bad", "good")[i // 2], ("film", "book")[i % 2], *["very"] * int(rng.integers(0, 5))]) for i in g
        ]
    info = DatasetInfo(
        name="texts",
        digest="f" * 64,
        modality="text",
        classes=("bad", "good"),
        attributes=(Attribute(name="kind", values=("film", "book")),),
        splits=splits,
        description="",
    )
    return MemoryDataset(info, sentences)


def tiny_bert(path: Path, **options: float) -> str:
    """A directory of a tiny BERT with dropout and a tokenizer of seven words."""
    words = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "bad", "good", "film", "book", "very")
    BertConfig(
        num_hidden_layers=1,
        num_attention_heads=2,
        hidden_size=16,
        intermediate_size=32,
        vocab_size=len(words),
        max_position_embeddings=16,
        **options,
    ).save_pretrained(path)
    (path / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    (path / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}', encoding="utf-8")
    return str(path)


def grouping_of(
    root: Path, dataset: MemoryDataset, attribute: str = "", *, left_out: Sequence[int] = (), digest: str = ""
) -> str:
    """Digest of a grouping of the training examples by an attribute; those at some positions are in no group."""
    info = dataset.info
    column = info.attribute_column(attribute)
    train, chosen = info.split("train"), info.attributes[column]
    value = train.a[:, column].copy()
    value[list(left_out)] = -1
    manifest = GroupingManifest(
        digest=f"{abs(hash((value.tobytes(), chosen))):064x}",
        feature_set="",
        classes=info.classes,
        values=chosen.values,
        attribute=chosen.name,
        record={},
        dataset=info.name,
        dataset_digest=digest or info.digest,
        split="train",
    )
    return write_grouping(root, manifest, {"row_id": train.row_id, "y": train.y, "value": value}).digest
