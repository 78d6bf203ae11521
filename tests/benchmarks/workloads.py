"""Rows that several files of benchmarks work on."""

from functools import cache

import numpy as np
import torch

from penult_kernels.linear.solve import Problem, solve
from penult_server.backbones.model import load_backbone
from penult_server.datasets.footwear.dataset import FootwearDataset

COUNTS = (467, 133, 133, 466)
CS = (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)
"""scikit-learn's C of the penalties that DFR tunes over."""


@cache
def footwear(n: int):
    """Features (n, 1280), classes and groups of rows of all splits, groups in the proportions of COUNTS."""
    data = FootwearDataset()
    splits = ("train", "val", "test")
    where = [(split, row) for split in splits for row in range(len(data.info.splits[split].y))]
    y = np.concatenate([data.info.splits[split].y for split in splits])
    g = 2 * y + np.concatenate([data.info.splits[split].a[:, 0] for split in splits])
    rng = np.random.default_rng(0)
    kept = [rng.permutation(np.flatnonzero(g == k))[: max(2, count * n // 1199)] for k, count in enumerate(COUNTS)]
    rows = np.sort(np.concatenate(kept))
    classifier = load_backbone("tf_efficientnet_lite0", 2, pretrained=True, seed=0, image_size=96)
    parts = []
    with torch.inference_mode():
        for first in range(0, rows.size, 64):
            images = [data.examples(where[row][0])[where[row][1]] for row in rows[first : first + 64]]
            batch = classifier.preprocessing.to_batch(images, torch.device("cpu"))
            parts.append(classifier.forward_with_features(batch)[0].numpy())
    return np.concatenate(parts), y[rows], g[rows]


def balanced(rows, g, rng):
    smallest = min(np.sum(g[rows] == k) for k in range(4))
    return np.sort(np.concatenate([rng.permutation(rows[g[rows] == k])[:smallest] for k in range(4)]))


def correlated(n: int, n_real: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows (n, 1280) with the covariance of standardised real features, and classes drawn by a head fitted to these."""
    features, y, _ = footwear(n_real)
    z = features - features.mean(axis=0)
    z /= np.maximum(features.std(axis=0), 1e-3)
    head = solve(z, y, 2, [Problem(l2=0.02)])[0]
    rng = np.random.default_rng(0)
    rows = np.empty((n, z.shape[1]), np.float32)
    for first in range(0, n, 4096):
        part = rows[first : first + 4096]
        part[:] = rng.standard_normal((len(part), len(z)), dtype=np.float32) @ (z / np.sqrt(len(z)))
        part += 0.1 * rng.standard_normal(part.shape, dtype=np.float32)
    logits = rows @ (head.weight[1] - head.weight[0]) + head.bias[1] - head.bias[0]
    return rows, (rng.random(n) < 1 / (1 + np.exp(-logits))).astype(np.int64)
