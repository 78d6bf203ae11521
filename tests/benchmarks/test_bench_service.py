"""What the service itself costs: a stored answer beside the smallest call, and transfers beside the disk."""

import time
from pathlib import Path
from statistics import median

import numpy as np
from turns import seconds

import penult


def test_stored_answers_and_transfers(tmp_path: Path, at_full_size: bool) -> None:
    n, d, times = (60_000, 1280, 200) if at_full_size else (300, 16, 3)
    rng = np.random.default_rng(0)
    features = rng.standard_normal((n, d), dtype=np.float32)
    y, a = rng.integers(0, 2, n), rng.integers(0, 2, n)
    with penult.local(tmp_path / "store") as client:
        started = time.perf_counter()
        mine = client.features.upload(features=features, y=y, a=a)
        uploaded = time.perf_counter() - started
        started = time.perf_counter()
        client.spectra(mine, top_k=50, replicates=0)
        first = time.perf_counter() - started
        info = median(seconds(client.info) for _ in range(times))
        spectra = median(seconds(lambda: client.spectra(mine, top_k=50, replicates=0)) for _ in range(times))
        refit = seconds(lambda: client.refit(mine, preset="dfr", l2=1.0, repeats=1))
        stored_refit = median(
            seconds(lambda: client.refit(mine, preset="dfr", l2=1.0, repeats=1)) for _ in range(times)
        )
        started = time.perf_counter()
        back = client.features.read(mine)
        read = time.perf_counter() - started
    started = time.perf_counter()
    np.save(tmp_path / "plain.npy", features)
    plain = time.perf_counter() - started
    np.testing.assert_array_equal(back.features, features)
    print(
        f"\nservice, {n} x {d}: Info {info * 1e3:.2f} ms; stored spectra {spectra / info:.2f} x, stored refit "
        f"{stored_refit / info:.2f} x of it (computed in {first:.2f} s and {refit:.2f} s)"
        f"\ntransfers: upload with moments and flush {uploaded / plain:.1f} x, read {read / plain:.1f} x of np.save "
        f"({features.nbytes / plain / 1e6:.0f} MB/s)"
    )
