"""Features from and to files: loading one beside uploading the array that it holds, exporting beside reading."""

import resource
from pathlib import Path
from statistics import median

import numpy as np
import pytest
from turns import seconds_in_turns

import penult


@pytest.mark.timeout(1800)
def test_loading_beside_uploading_and_exporting_beside_reading(tmp_path: Path, at_full_size: bool) -> None:
    """The goal is 1.1 times the upload of the same array; the other formats for comparison."""
    n, d, rounds = (75_000, 1024, 5) if at_full_size else (300, 16, 1)
    rng = np.random.default_rng(0)
    x, y, a = rng.standard_normal((n, d), dtype=np.float32), rng.integers(0, 2, n), rng.integers(0, 2, n)
    np.savez(tmp_path / "mine.npz", features=x, y=y, a=a)
    with penult.local(tmp_path / "store") as client:
        digest = client.features.upload(x, y, a).digest

        def upload() -> None:
            client.features.delete(client.features.upload(x, y, a))

        def load() -> None:
            client.features.delete(client.features.load(tmp_path / "mine.npz"))

        assert client.features.load(tmp_path / "mine.npz").digest == digest
        uploaded, loaded = seconds_in_turns(upload, load, rounds=rounds)
        client.features.upload(x, y, a)
        lines = [
            f"load of {x.nbytes / 1e6:.0f} MB in an npz: {median(loaded) / median(uploaded):.2f} x the upload of the "
            f"array ({median(uploaded):.2f} s)"
        ]
        for format in ("npz", "npy", "parquet", "safetensors"):

            def export(format: str = format) -> None:
                path = client.features.export(digest, tmp_path / f"out-{len(list(tmp_path.iterdir()))}", format)
                (tmp_path / "last").unlink(missing_ok=True)
                (tmp_path / "last").symlink_to(path)

            read, exported = seconds_in_turns(lambda: client.features.read(digest), export, rounds=1)
            assert client.features.load((tmp_path / "last").resolve()).digest == digest
            lines.append(f"export to {format}: {exported[0] / read[0]:.2f} x reading it into memory ({read[0]:.2f} s)")
    print(
        "\nfiles, " + "\n  ".join(lines),
        f"\n  peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB",
    )
