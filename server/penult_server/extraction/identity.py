"""What a feature set is computed from, as a digest. No framework is needed to know it."""

import hashlib
import json
from typing import Literal, TypeAlias

from penult_server.class_names import Match
from penult_server.stores.checkpoints import CheckpointManifest

FeatureKind: TypeAlias = Literal["pooled", "flat"]
"""What the head reads, or the whole last hidden state."""


def extraction_identity(
    manifest: CheckpointManifest,
    dataset_digest: str,
    split: str,
    *,
    attribute: str = "",
    feature_kind: FeatureKind = "pooled",
    dtype: str = "float32",
    classes: Match | None = None,
) -> str:
    """Identity (sha256, hex) of the features of a split under a checkpoint.

    The same weights, preprocessing, data, attribute, kind, type and order of the classes give the same identity,
    whatever run left the weights. `attribute` empty means the checkpoint's.
    """
    content: list[object] = [
        "features 1",
        manifest.weights_digest,
        manifest.preprocessing_id,
        dataset_digest,
        split,
        attribute or manifest.attribute,
        feature_kind,
        dtype,
    ]
    if classes is not None and not classes.is_same:
        content.append(classes.order.tolist())
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
