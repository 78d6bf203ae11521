"""A server whose checkpoints, features and groupings lie in a bucket: answers and digests of one on a disk."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from moto_s3 import CREDENTIALS, MotoS3, stripping

import penult
from penult_server.stores.places.opening import store_of
from penult_server.upkeep.command import main
from penult_server.upkeep.verify import verify_store


@pytest.fixture(scope="module")
def s3() -> Iterator[MotoS3]:
    server = MotoS3()
    yield server
    server.stop()


@pytest.fixture
def bucket(s3, monkeypatch) -> tuple[str, ...]:
    """Options of a server with a bucket of its own."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return "--store", s3.bucket(), "--store-endpoint", s3.endpoint


def work(client: penult.Client, table: Path, tiny: dict, out: Path) -> dict[str, object]:
    """Everything that reads or writes what a bucket may hold, and what came of it."""
    client.datasets.register("shapes", table)
    run = client.finetune(dataset="shapes", epochs=1, name="first", **tiny).wait()
    last = run.checkpoints[-1]
    sets = client.extract(last, splits=["train", "val"]).wait()
    rng = np.random.default_rng(0)
    mine = client.features.upload(
        features=rng.standard_normal((60, 6)).astype(np.float32), y=np.repeat([0, 1], 30), a=np.tile([0, 1], 30)
    )
    further = client.finetune(dataset="shapes", epochs=1, start=last, **tiny | {"backbone": None}).wait()
    directory = client.checkpoints.export(last, out)
    again = client.checkpoints.import_(directory).wait()
    grouping = client.groupings.upload(mine, {3: "x", 5: "y"})
    return {
        "grouping": grouping.digest,
        "last": last.digest,
        "checkpoints": [one.digest for one in (*run.checkpoints, *further.checkpoints, again)],
        "sets": {name: one.digest for name, one in sets.items()} | {"mine": mine.digest},
        **answers(client, sets["train"].digest, sets["val"].digest, mine.digest, last.digest),
        "values": client.groupings.get(grouping.digest).values.tolist(),
    }


def answers(client: penult.Client, train: str, val: str, mine: str, last: str) -> dict[str, object]:
    """What is answered from what is stored."""
    refit = client.refit(train, preset="dfr_l2", evaluate={"val": val})
    spectra = client.spectra(mine, top_k=2, replicates=5)
    read = client.features.read(val)
    return {
        "refit": (refit.digest, refit.head.weight.tobytes(), str(refit.metrics)),
        "spectra": (spectra.digest, str(spectra.eigenvalues), str(spectra.inference)),
        "evaluated": str(client.evaluate(client.checkpoints.get(last), val)),
        "read": {name: getattr(read, name).tobytes() for name in ("features", "logits", "y", "a", "row_id")},
    }


def names_in_bucket(root: Path) -> list[str]:
    """What lies there, without the names of attempts and runs."""
    bucket, kept = store_of(root).bucket, []
    for one in bucket.listed("data/"):
        _, kind, _, *name = one.key.split("/")
        kept.append(f"{kind} {'/'.join(name)} {one.size}")
    return sorted([*kept, *(one.key for one in bucket.listed("manifests/"))])


def in_bucket(root: Path) -> list[str]:
    return [one.key for one in store_of(root).bucket.listed("data/")]


def test_answers_and_digests_are_those_of_a_disk(s3, serve, tmp_path, table, tiny, bucket, capsys):
    roots = {"disk": tmp_path / "disk", "bucket": tmp_path / "bucket"}
    said = {}
    for name, root in roots.items():
        server = serve(root, *(bucket if name == "bucket" else ()))
        with server.connect() as client:
            said[name] = work(client, table, tiny, tmp_path / f"exported-{name}")
            used = {one.kind: one.bytes for one in client.usage().kinds}
            said[name] |= {"used": used["features"] > 10_000 and used["checkpoints"] > 1_000_000}
        server.kill()
    assert said["disk"] == said["bucket"]
    root, digests = roots["bucket"], said["disk"]["sets"]
    moved = ["move-to-bucket", "--root", str(roots["disk"])]
    assert main(moved) == 1
    assert "say where to" in capsys.readouterr().err
    assert main([*moved, "--store", s3.bucket(), *bucket[2:]]) == 0
    assert "moved: 3 features" in capsys.readouterr().out
    assert names_in_bucket(roots["disk"]) == names_in_bucket(root)
    assert not [*roots["disk"].glob("checkpoints/*/*.safetensors"), *roots["disk"].glob("features/*/features")]
    assert verify_store(roots["disk"]).damages == []
    assert not list((root / "features").glob("*/features")), "no rows lie on the disk"
    assert not [*root.glob("checkpoints/*/*.safetensors"), *root.glob("groupings/*/*.npz")]
    assert len(in_bucket(root)) > 30
    assert verify_store(root).damages == []

    # Built again from the bucket, without the answers, and started without the option: everything is read from there.
    for path in (*root.glob("penult.db*"), root / "features", root / "cache" / "store"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert main(["repair", "--root", str(root)]) == 0
    assert "3 features without a directory" in capsys.readouterr().out
    lost, root = root, tmp_path / "another"
    adopt = ["adopt-bucket", "--root", str(root), *bucket]
    assert main(adopt) == 1
    assert f"say so by --lost-root {lost}" in capsys.readouterr().err
    # Its disk is lost with the registry: another root takes over what lies in the bucket, and the lost one is refused.
    assert main([*adopt, "--lost-root", str(lost)]) == 0
    told = capsys.readouterr().out
    assert "is the store of" in told
    assert "3 features without a directory" in told
    assert "old registry" not in told
    assert main([*adopt, "--lost-root", str(lost)]) == 1
    assert "is not empty" in capsys.readouterr().err
    with pytest.raises(AssertionError, match="holds the things of another root"):
        serve(lost)
    server = serve(root)
    with server.connect() as client:
        found = answers(client, digests["train"], digests["val"], digests["mine"], said["disk"]["last"])
        assert found == {name: said["disk"][name] for name in found}
        assert client.groupings.get(said["disk"]["grouping"]).values.tolist() == said["disk"]["values"]
        again = client.extract(said["disk"]["last"], splits=["val"]).wait()
        assert again["val"].digest == digests["val"]
        for mine in (client.groupings, client.features, client.runs, client.checkpoints):
            for one in mine.list():
                mine.delete(one, dependents=True)
        client.datasets.delete("shapes")
        assert not client.features.list()
        assert in_bucket(root) == []
    server.stop()
    assert verify_store(root).damages == []
    assert main(["backup", str(tmp_path / "copy"), "--root", str(root)]) == 1
    assert "lie in s3://" in capsys.readouterr().err
    assert main(["gc", "--root", str(root)]) == 0


def test_a_server_does_not_start_on_a_store_that_ignores_conditions(s3, serve, tmp_path, bucket):
    with stripping(s3.address, "if-none-match") as endpoint:
        with pytest.raises(AssertionError, match="ignores conditional writes") as raised:
            serve(tmp_path / "store", "--store", bucket[1], "--store-endpoint", endpoint)
        assert "invalid_argument" in str(raised.value)
