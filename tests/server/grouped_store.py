"""A store with one split under two checkpoints, its attributes in all ways they can be stored, and groupings of it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penult_server.records import Attribute, LabelNames
from penult_server.stores.features import FeatureHeader, FeatureWriter
from penult_server.stores.groupings import GroupingManifest, write_grouping

CLASSES = ("cat", "dog")
VALUES = {"place": ("in", "out"), "light": ("dim", "bright")}
ATTRIBUTES = tuple(Attribute(name=name, values=values) for name, values in VALUES.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupedStore:
    """Rows of a class and two attributes, "place" and "light"; N a little more than 400, in no order of their ids."""

    root: Path
    y: NDArray[np.int64]
    place: NDArray[np.int64]
    light: NDArray[np.int64]
    row_id: NDArray[np.uint64]

    def features(self, *, n_features: int, seed: int = 0) -> NDArray[np.float32]:
        """Rows that depend on class and attributes; another checkpoint's with another seed."""
        rng = np.random.default_rng(seed)
        scale = 1.0 + 2.0 * self.place + 0.5 * self.light
        x = rng.standard_normal((len(self.y), n_features)) * scale[:, None] * (np.arange(n_features) + 1.0) ** -0.5
        x[:, 0] += 1.5 * self.y
        x[:, 1] += 2.0 * self.place
        return (x + 3.0).astype(np.float32)

    def written(self, *, attribute: str = "place", n_features: int = 6, seed: int = 0, pieces: int = 3) -> str:
        """Digest of the set whose groups are those of an attribute, written in several pieces."""
        x = self.features(n_features=n_features, seed=seed)
        labels = LabelNames(classes=CLASSES, attribute=attribute, attribute_values=VALUES[attribute])
        rng = np.random.default_rng(seed)
        head = rng.standard_normal((2, n_features)), np.array([0.3, -0.1])
        logits = (x @ head[0].T + head[1]).astype(np.float32)
        header = FeatureHeader(
            n_examples=len(x),
            n_features=n_features,
            dtype="float32",
            labels=labels,
            n_logits=2,
            head=head,
            attributes=ATTRIBUTES,
        )
        columns = np.stack([self.place, self.light], axis=1)
        with FeatureWriter(self.root, header) as writer:
            for rows in np.array_split(np.arange(len(x)), pieces):
                writer.append(
                    features=x[rows],
                    y=self.y[rows],
                    a=getattr(self, attribute)[rows],
                    row_id=self.row_id[rows],
                    logits=logits[rows],
                    attributes=columns[rows],
                )
            return writer.finish().digest

    def grouping(
        self,
        value: NDArray[np.int64],
        values: tuple[str, ...],
        *,
        attribute: str = "found",
        rows: NDArray[np.int64] | None = None,
        classes: tuple[str, ...] = CLASSES,
    ) -> str:
        """Digest of a grouping of these values; of some rows only where `rows` are given."""
        some = np.arange(len(self.y)) if rows is None else rows
        digest = f"{abs(hash((value.tobytes(), values, attribute, some.tobytes(), classes))):064x}"
        manifest = GroupingManifest(
            digest=digest, feature_set="", classes=classes, values=values, attribute=attribute, record={}
        )
        # In another order than the set's: groupings go by row ids.
        order = np.argsort(self.row_id[some])
        arrays = {"row_id": self.row_id[some], "y": self.y[some], "value": value[some]}
        write_grouping(self.root, manifest, {name: array[order] for name, array in arrays.items()})
        return digest

    def of_attribute(self, attribute: str) -> str:
        """Digest of the grouping that an attribute's own values make."""
        return self.grouping(getattr(self, attribute), VALUES[attribute], attribute=attribute)


def grouped_store(root: Path) -> GroupedStore:
    """A store without sets."""
    rng = np.random.default_rng(3)
    n = 421
    y = rng.integers(0, 2, n)
    # Unequal groups, none of them empty.
    place = np.where(rng.random(n) < 0.8, y, 1 - y)
    light = (rng.random(n) < 0.3).astype(np.int64)
    row_id = rng.permutation(10 * n)[:n].astype(np.uint64)
    return GroupedStore(root=root, y=y, place=place, light=light, row_id=row_id)
