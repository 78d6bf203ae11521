"""What the compute worker has in memory while it answers: at most twice the rows above what it has at rest."""

from pathlib import Path

import numpy as np
import pytest
from worker_memory import fresh_worker, peak_bytes, resident_bytes

import penult
from penult_kernels import budget

N, D = 160_000, 160
MOST = 2.0
"""Times the bytes of the features."""
ASKED = {
    "spectra from moments": lambda client, mine: client.spectra(mine, replicates=0),
    # Before the rows are in memory: then its residuals are all that is. Beside them they are a second copy.
    "replicates by class": lambda client, mine: client.spectra(mine, replicates=1, by="class"),
    "spectra of some rows": lambda client, mine: client.spectra(mine, rows=np.arange(1, N), replicates=0),
    "spectra about zero": lambda client, mine: client.spectra(mine, replicates=0, center=False, by="class"),
    "replicates": lambda client, mine: client.spectra(mine, replicates=1),
    "weighted by errors": lambda client, mine: client.spectra(mine, weights="errors", by="class", replicates=0),
    "map of some rows": lambda client, mine: client.map(mine, rows=np.arange(1, N)),
    "evaluation": lambda client, mine: client.evaluate(mine_head(), mine),
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
    "balanced, L1": lambda client, mine: client.refit(mine, preset="dfr", grid={"l1": [0.1, 0.3]}, repeats=2),
}
"""By kind of query."""


def mine_head(sign: int = 1) -> penult.Head:
    return penult.Head(weight=sign * np.random.default_rng(1).standard_normal((2, D)), bias=np.zeros(2))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is read from /proc")
def test_a_query_needs_at_most_twice_the_rows(serve):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, N)
    a = np.where(rng.random(N) < 0.05, 1 - y, y)
    x = rng.standard_normal((N, D), dtype=np.float32)
    x /= np.sqrt(1 + np.arange(D, dtype=np.float32))
    x[:, :2] += np.stack([y, 2 * a], axis=1)
    server = serve()
    with server.connect() as client:
        mine = client.features.upload(x, y, a, head=mine_head())
        few = client.features.upload(x[:100], y[:100], a[:100])
        worker = fresh_worker(server.process.pid)
        client.evaluate(mine_head(), few)
        base = resident_bytes(worker)
        peaks = {kind: peak_bytes(worker, lambda ask=ask: ask(client, mine)) for kind, ask in ASKED.items()}
    shared = budget.DEFAULT.columns_bytes  # float64 columns of problems with an l1, however few the rows
    times = {kind: round((peak - base - shared * ("L1" in kind)) / x.nbytes, 2) for kind, peak in peaks.items()}
    assert max(times.values()) <= MOST, f"{times}"
