"""Logits and rankings of many heads at once, against one at a time."""

import numpy as np
import pytest

from penult_kernels.arrays import to_host
from penult_kernels.linear.problem import Head
from penult_kernels.metrics.accuracy import group_metrics
from penult_kernels.metrics.head_scores import HeadScorer, SelectionMetric, logits_of_heads


def sample(rng: np.random.Generator, n_classes: int, n: int = 500):
    g = rng.choice(2 * n_classes, size=n)
    g = np.where(g == 1, 0, g)  # group 1 is empty
    x = rng.standard_normal((n, 6)).astype(np.float32)
    return x, g // 2, g


def heads_of(rng: np.random.Generator, n_classes: int, n_heads: int = 5):
    return rng.standard_normal((n_heads, n_classes, 6)), rng.standard_normal((n_heads, n_classes))


def test_logits_of_many_heads_are_those_of_each(backend, rng):
    x = rng.standard_normal((5000, 6)).astype(np.float32)
    weights = [rng.standard_normal((c, 6)) for c in (2, 4, 3)]
    biases = [rng.standard_normal(c) for c in (2, 4, 3)]
    found = logits_of_heads(backend.array(x), [Head(weight=w, bias=b) for w, b in zip(weights, biases, strict=True)])
    for own, weight, bias in zip(found, weights, biases, strict=True):
        np.testing.assert_allclose(to_host(own), x.astype(float) @ weight.T + bias, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("metric", list(SelectionMetric))
def test_scores_are_those_of_group_metrics(backend, rng, n_classes, metric):
    x, y, g = sample(rng, n_classes)
    weights, biases = heads_of(rng, n_classes)
    rows = np.flatnonzero(rng.random(500) < 0.7)
    scorer = HeadScorer(backend.array(x), y, g, n_classes, 2 * n_classes, rows=rows)
    accuracies = scorer.group_accuracies(backend.array(weights), backend.array(biases))
    found = scorer.scores(accuracies, metric)
    for head in range(5):
        logits = x[rows].astype(float) @ weights[head].T + biases[head]
        expected = group_metrics(logits, y[rows], g[rows], 2 * n_classes)
        np.testing.assert_allclose(accuracies[head], expected.group_accuracy)
        value = {
            SelectionMetric.WORST_GROUP: expected.worst_group_accuracy,
            SelectionMetric.WORST_CLASS: expected.worst_class_accuracy,
            SelectionMetric.AVERAGE: expected.average_accuracy,
            SelectionMetric.MEAN_GROUP: expected.mean_group_accuracy,
        }[metric]
        assert found[head] == pytest.approx(value)


def test_nothing_to_choose_by_is_refused(rng):
    x, y, g = sample(rng, 2)
    scorer = HeadScorer(x, y, g, 2, 4, rows=np.zeros(0, dtype=np.int64))
    with pytest.raises(ValueError, match="no row to choose by"):
        scorer.scores(scorer.group_accuracies(*heads_of(rng, 2)), SelectionMetric.AVERAGE)
