"""A store for benchmarks to read."""

from pathlib import Path

import numpy as np

from penult_server.stores.features import FeatureHeader, FeatureWriter
from penult_server.stores.manifest import LabelNames
from penult_server.stores.reading import StoredFeatures


def stored_features(root: Path, n: int, d: int) -> tuple[StoredFeatures, np.ndarray]:
    """Rows of four groups; and the rows."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((n, d), dtype=np.float32) + 1
    labels = LabelNames(classes=("x", "y"), attribute="a", attribute_values=("p", "q"))
    with FeatureWriter(root, FeatureHeader(n_examples=n, n_features=d, dtype="float32", labels=labels)) as writer:
        writer.append(
            features=features,
            y=rng.integers(0, 2, n),
            a=rng.integers(0, 2, n),
            row_id=np.arange(n, dtype=np.uint64),
        )
        return StoredFeatures(root, writer.finish().digest), features
