"""What the compute worker has in memory while it answers: at most twice the rows above what it has at rest."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from worker_memory import fresh_worker, peak_bytes, resident_bytes

import penult
from penult_kernels import budget

SIZES = [pytest.param((160_000, 160), id="102 MB"), pytest.param((1_000_000, 256), id="1 GB", marks=pytest.mark.slow)]
MOST = 2.0
"""Times the bytes of the features, those that lie in memory already counted."""
ASKED = {
    "spectra from moments": lambda client, mine: client.spectra(mine, replicates=0),
    "replicates by class": lambda client, mine: client.spectra(mine, replicates=1, by="class"),
    "spectra of some rows": lambda client, mine: client.spectra(mine, rows=np.arange(1, mine.n_examples), replicates=0),
    "spectra about zero": lambda client, mine: client.spectra(mine, replicates=0, center=False, by="class"),
    "replicates": lambda client, mine: client.spectra(mine, replicates=1),
    "weighted by errors": lambda client, mine: client.spectra(mine, weights="errors", by="class", replicates=0),
    "map of some rows": lambda client, mine: client.map(mine, rows=np.arange(1, mine.n_examples)),
    "evaluation": lambda client, mine: client.evaluate(a_head(mine), mine),
    "choice on half": lambda client, mine: client.refit(
        mine, preset="erm", grid={"l2": [0.1, 1.0]}, select={"on": "half", "metric": "worst_group"}
    ),
    "path, best on half": lambda client, mine: client.refit(
        mine,
        grid={"l2": [0.1, 0.2]},
        path={"optimizer": "gd", "learning_rate": 0.01, "steps": 3, "keep": "best"},
        select={"on": "half"},
    ),
    "clusters": lambda client, mine: client.discover(mine, method="kmeans", starts=1),
    "hidden value": lambda client, mine: client.discover(mine, method="gic", other=mine, steps=2),
    "low-rank corrections": lambda client, mine: client.refit(
        mine, preset="leia", grid={"gamma": [5.0, 10.0, 15.0, 20.0], "subspace": [20]}, select={"on": mine}
    ),
    "errors of a detector, L1": lambda client, mine: client.refit(
        mine, preset="rad", grid={"up": [4.0], "l1": [1e3, 1e4]}, select={"on": "half"}
    ),
    "balanced, L1": lambda client, mine: client.refit(mine, preset="dfr", grid={"l1": [0.1, 0.3]}, repeats=2),
}
"""By kind of query."""


BUDGETS = {"balanced, L1": budget.DEFAULT.columns_bytes}
"""Bytes that a kind may take however few the rows are; of many rows they are part of the bound."""

LONG = ("errors of a detector, L1",)
"""Kinds that take long with few rows, too."""


@dataclass(frozen=True)
class Worker:
    """A compute worker with a set in memory."""

    client: penult.Client
    pid: int
    mine: penult.FeatureSet
    n_bytes: int
    """Of the features."""
    at_rest: int
    """Bytes that it has in memory without the set."""
    is_large: bool


def a_head(mine: penult.FeatureSet) -> penult.Head:
    weight = np.random.default_rng(1).standard_normal((2, mine.n_features))
    return penult.Head(weight=weight, bias=np.zeros(2))


@pytest.fixture(scope="module", params=SIZES)
def worker(request, server_class, tmp_path_factory) -> Iterator[Worker]:
    n, d = request.param
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, n)
    a = np.where(rng.random(n) < 0.05, 1 - y, y)
    x = rng.standard_normal((n, d), dtype=np.float32)
    x /= np.sqrt(1 + np.arange(d, dtype=np.float32))
    x[:, :2] += np.stack([y, 2 * a], axis=1)
    head = penult.Head(weight=np.random.default_rng(1).standard_normal((2, d)), bias=np.zeros(2))
    server = server_class(tmp_path_factory.mktemp("memory") / "store")
    try:
        with server.connect() as client:
            mine = client.features.upload(x, y, a, head=head)
            few = client.features.upload(x[:100], y[:100], a[:100])
            pid, n_bytes = fresh_worker(server.process.pid), x.nbytes
            del x
            client.evaluate(head, few)
            at_rest = resident_bytes(pid)
            client.evaluate(head, mine)
            yield Worker(client, pid, mine, n_bytes, at_rest, n_bytes > 2**29)
    finally:
        server.kill()


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is read from /proc")
@pytest.mark.parametrize("kind", [pytest.param(one, marks=pytest.mark.slow if one in LONG else ()) for one in ASKED])
def test_a_query_needs_at_most_twice_the_rows(worker, kind):
    """With the rows in memory, as after a first question. In full: `pytest -m slow tests/e2e/test_worker_memory.py`
    (5 GB of disk and memory, some ten minutes)."""
    peak = peak_bytes(worker.pid, lambda: ASKED[kind](worker.client, worker.mine))
    of_budgets = 0 if worker.is_large else BUDGETS.get(kind, 0)
    times = (peak - worker.at_rest - of_budgets) / worker.n_bytes
    assert times <= MOST, f"{times:.2f} times the rows"
