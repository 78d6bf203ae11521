"""The demo, whole or in small, and what its root holds then: `python demo_contents.py ROOT FILE.json HOW`."""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np

import penult
from penult.demo import run_demo


def run_small(root: Path) -> None:
    """The demo's steps with a network that is trained in seconds, and sets with moments."""
    with penult.local(root) as client:
        inputs = penult.Images(size=32)
        run = client.finetune(
            dataset="footwear", backbone="test_vit", pretrained=False, epochs=1, batch_size=64, inputs=inputs
        ).wait()
        sets = client.extract(run.checkpoints[-1]).wait()
        client.spectra(sets["train"], by="group", top_k=8)
        client.refit(sets["val"], preset="dfr_l2", evaluate={"test": sets["test"]})
        client.discover(sets["train"], method="kmeans")


def contents(client: penult.Client) -> dict[str, dict]:
    """Digests of weights, of every array of features with their moments, of heads, spectra and groupings."""
    root = Path(client.info().root)
    return {
        "weights": {one.digest: f"epoch {one.epoch}" for one in client.checkpoints.list()},
        "features": {one.digest: files_of(root / "features" / one.digest) for one in client.features.list()},
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
    place, out, how = sys.argv[1:]
    {"whole": run_demo, "small": run_small}[how](Path(place))
    with penult.local(place) as client:
        Path(out).write_text(json.dumps(contents(client), indent=1), encoding="utf-8")
