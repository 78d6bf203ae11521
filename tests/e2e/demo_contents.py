"""What a demo's root holds, by content: `python tests/e2e/demo_contents.py ROOT FILE.json` asks its server."""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np

import penult


def contents(client: penult.Client) -> dict[str, dict[str, str]]:
    """Digests of weights, of every array of features with their moments, of heads, spectra and groupings."""
    root = Path(client.info().root)
    return {
        "weights": {one.digest: f"epoch {one.epoch}" for one in client.checkpoints.list()},
        **{f"features {one.digest[:12]}": files_of(root / "features" / one.digest) for one in client.features.list()},
        "results": dict(result_of(client.results.get(one.digest)) for one in client.results.list()),
        "groupings": {one.digest: sha256(client.groupings.get(one.digest).values) for one in client.groupings.list()},
    }


def files_of(directory: Path) -> dict[str, str]:
    """Digests of a set's files, rows and moments: the manifest has them, wherever they lie."""
    manifest = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
    return {name: one if isinstance(one, str) else one["sha256"] for name, one in manifest["files"].items()}


def result_of(result: object) -> tuple[str, str]:
    """A result's own digest, which names the question, and one of the numbers that answer it."""
    head = getattr(result, "head", None)
    arrays = (head.weight, head.bias) if head is not None else (result.eigenvalues,)
    return result.digest, sha256(*arrays, np.frombuffer(repr(getattr(result, "metrics", "")).encode(), np.uint8))


def sha256(*arrays: np.ndarray) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(one).tobytes() for one in arrays)).hexdigest()


if __name__ == "__main__":
    with penult.local(sys.argv[1]) as client:
        Path(sys.argv[2]).write_text(json.dumps(contents(client), indent=1), encoding="utf-8")
