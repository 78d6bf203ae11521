"""A stored answer where the registry lies on PostgreSQL, beside the smallest call."""

from pathlib import Path
from statistics import median

import numpy as np
from running_server import RunningServer
from turns import seconds_in_turns


def test_a_stored_answer_from_postgres(postgres_url: str, tmp_path: Path, at_full_size: bool) -> None:
    times = 300 if at_full_size else 3
    server = RunningServer(tmp_path / "store", "--registry", postgres_url)
    try:
        with server.connect() as client:
            rng = np.random.default_rng(0)
            mine = client.features.upload(features=rng.standard_normal((400, 32), np.float32), y=np.arange(400) % 2)
            client.refit(mine, l2=0.1)
            turns = seconds_in_turns(client.info, lambda: client.refit(mine, l2=0.1), rounds=times)
    finally:
        server.stop()
    info, stored = map(median, turns)
    print(
        f"\nstored refit, {stored * 1e3:.2f} ms, {stored / info:.2f} x an Info call ({info * 1e3:.2f} ms), PostgreSQL"
    )
    if at_full_size:
        assert stored <= 2 * info
