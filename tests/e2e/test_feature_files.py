"""Features as files: exported and loaded back bit for bit, and taken from what other tools leave on disk."""

import io
import itertools
import json
import pickle
import struct
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.numpy
import torch

import penult
from penult.files.rows import BLOCK_BYTES

FORMATS = ("npz", "npy", "parquet", "safetensors")
N, D = 900, 7


@pytest.fixture(scope="module")
def arrays() -> dict:
    rng = np.random.default_rng(0)
    return {
        "features": rng.standard_normal((N, D), dtype=np.float32),
        "y": rng.integers(0, 3, N),
        "a": rng.integers(0, 2, N),
    }


@pytest.fixture(scope="module")
def full(client, arrays) -> dict[str, penult.FeatureSet]:
    """A set with everything that an upload can have, in both types."""
    rng = np.random.default_rng(1)
    others = {
        "logits": rng.standard_normal((N, 3), dtype=np.float32),
        "row_id": rng.permutation(N) * 3 + 5,
        "head": penult.Head(rng.standard_normal((3, D)), np.arange(3.0)),
        "classes": ["heron, grey", "gull", "tern"],
        "attribute": "ground",
        "attribute_values": ["land", "water"],
        "masks": {"first class": arrays["y"] == 0, "second": arrays["a"] == 1},
        "train_counts": {(y, a): 3 + 7 * y + a for y in range(3) for a in range(2)},
    }
    return {
        dtype: client.features.upload(arrays["features"].astype(dtype), arrays["y"], arrays["a"], **others)
        for dtype in ("float32", "float16")
    }


# The way out and back.


@pytest.mark.parametrize(("format", "dtype"), [*itertools.product(FORMATS, ("float32", "float16"))])
def test_what_is_exported_is_loaded_with_the_same_digest(client, full, tmp_path, format, dtype):
    path = client.features.export(full[dtype], tmp_path / "out", format)
    again = client.features.load(path)
    assert again.digest == full[dtype].digest
    assert again.notes == ()
    assert [one.name for one in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("format", FORMATS)
def test_a_set_without_names_or_attribute_comes_back(client, arrays, tmp_path, format):
    mine = client.features.upload(arrays["features"], arrays["y"])
    assert client.features.load(client.features.export(mine, tmp_path / "out", format)).digest == mine.digest


def test_other_libraries_read_the_files(client, full, arrays, tmp_path):
    """Each format by its own library, against the arrays that went in."""
    mine = full["float32"]
    stored = client.features.read(mine)
    with np.load(client.features.export(mine, tmp_path / "out.npz"), allow_pickle=False) as archive:
        by_npz = {name: archive[name] for name in archive.files if name != "penult.json"}
        described = json.loads(archive["penult.json"])
    client.features.export(mine, tmp_path / "npy", "npy")
    by_npy = {file.stem: np.load(file, mmap_mode="r") for file in (tmp_path / "npy").glob("*.npy")}
    by_safetensors = safetensors.numpy.load_file(client.features.export(mine, tmp_path / "out.st", "safetensors"))
    for found in (by_npz, by_npy, by_safetensors):
        assert set(found) == {"features", "y", "a", "row_id", "logits", "masks", "head.weight", "head.bias"}
        for name, array in found.items():
            expected = getattr(stored, name.replace(".", "_"))
            assert array.dtype == expected.dtype
            np.testing.assert_array_equal(array, expected)
    table = pq.read_table(client.features.export(mine, tmp_path / "out.parquet", "parquet"))
    assert table.schema.field("features").type == pa.list_(pa.float32(), D)
    np.testing.assert_array_equal(np.stack(table["features"].to_numpy()), arrays["features"])
    np.testing.assert_array_equal(table["y"].to_numpy(), arrays["y"])
    assert (described["classes"], described["attribute_values"]) == (["heron, grey", "gull", "tern"], ["land", "water"])
    assert described["digest"] == mine.digest


@pytest.fixture(scope="module")
def val(client, table, tiny) -> penult.FeatureSet:
    """An extracted set."""
    client.datasets.register("shapes", table)
    run = client.finetune(dataset="shapes", epochs=1, seed=1, **tiny).wait()
    return client.extract(run.checkpoints[-1], splits=["val"]).wait()["val"]


@pytest.mark.parametrize("format", FORMATS)
def test_an_extracted_set_goes_out_whole(client, val, tmp_path, format):
    loaded = client.features.load(client.features.export(val, tmp_path / "out", format))
    before, after = client.features.read(val), client.features.read(loaded)
    for name in ("features", "y", "a", "row_id", "logits"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
    np.testing.assert_array_equal(before.head.weight, after.head.weight)
    assert loaded.train_shares.tolist() == val.train_shares.tolist()
    assert loaded.labels == val.labels
    assert [note.id for note in loaded.notes] == ["read_from_file"]
    assert client.evaluate(before.head, val).correct.tolist() == client.evaluate(after.head, loaded).correct.tolist()


def test_nothing_is_left_of_an_export_that_fails(client, full, tmp_path, monkeypatch):
    with pytest.raises(penult.NotFound):
        client.features.export("no-such-set", tmp_path / "out.npz")
    with pytest.raises(penult.InvalidRequest, match="no directory"):
        client.features.export(full["float32"], tmp_path / "missing" / "out.npz")
    (tmp_path / "there").mkdir()
    for format in FORMATS:
        with pytest.raises(penult.InvalidRequest, match=r"name a file|there already"):
            client.features.export(full["float32"], tmp_path / "there", format)
        with pytest.raises(penult.DeadlineExceeded):
            client.features.export(full["float32"], tmp_path / "late", format, timeout=0)
    assert [one.name for one in tmp_path.iterdir()] == ["there"]
    with pytest.raises(penult.InvalidRequest, match="one of 'npz'"):
        client.features.export(full["float32"], tmp_path / "out", "pickle")


def test_an_export_replaces_the_file_of_before_only_when_it_is_whole(client, full, tmp_path):
    path = tmp_path / "out.npz"
    path.write_text("of before")
    with pytest.raises(penult.DeadlineExceeded):
        client.features.export(full["float32"], path, timeout=0)
    assert path.read_text() == "of before"
    client.features.export(full["float32"], path)
    assert client.features.load(path).digest == full["float32"].digest


def test_a_head_too_large_for_the_metadata_is_refused(client, arrays, tmp_path, monkeypatch):
    from penult.files.formats import parquet

    monkeypatch.setattr(parquet, "MOST_HEAD", 100)
    mine = client.features.upload(arrays["features"], arrays["y"], head=(np.ones((3, D)), np.ones(3)))
    with pytest.raises(penult.InvalidRequest, match="format='npz'"):
        client.features.export(mine, tmp_path / "out", "parquet")
    assert not list(tmp_path.iterdir())


MEMORY = """
    import resource, sys
    import penult
    what, address, path, format = sys.argv[1:]
    with penult.connect(address) as client:
        client.features.export("small", path + ".small", format)
        client.features.load(path + ".small", name="small-again")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if what == "export":
            client.features.export("large", path, format)
        else:
            client.features.load(path)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.fixture(scope="module")
def large(client) -> str:
    """The address of a server that has a set of 16 blocks, "large", and one that is "small"."""
    n, d = 16 * BLOCK_BYTES // 2048, 512
    x = np.random.default_rng(0).standard_normal((n, d), dtype=np.float32)
    client.features.upload(x, np.arange(n) % 2, name="large")
    client.features.upload(x[:100], np.arange(100) % 2, name="small")
    return client.connection.address


@pytest.mark.parametrize("format", FORMATS)
def test_memory_is_that_of_a_few_blocks(large, tmp_path, format):
    """A set of 16 blocks moves the peak of a process by less than 8; a whole set would move it by 16."""
    for what in ("export", "load") if format in ("npz", "parquet") else ("export",):
        arguments = [what, large, str(tmp_path / "out"), format]
        command = [sys.executable, "-c", textwrap.dedent(MEMORY), *arguments]
        for leftover in tmp_path.glob("out.small*"):
            (__import__("shutil").rmtree if leftover.is_dir() else Path.unlink)(leftover)
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert int(done.stdout) < 8 * BLOCK_BYTES, what


# What others have on disk.


def loaded(client, path, **options):
    stored = client.features.load(path, **options)
    return stored, client.features.read(stored), "\n".join(stored.notes)


def test_dfr_embeddings(client, arrays, tmp_path):
    """`{dataset}_{model}_{split}_embeddings.npz` of imagenet_extract_embeddings.py: embeddings and labels alone."""
    path = tmp_path / "waterbirds_resnet50_val_embeddings.npz"
    np.savez(path, embeddings=arrays["features"], labels=arrays["y"])
    stored, back, notes = loaded(client, path, a=arrays["a"], attribute="place")
    np.testing.assert_array_equal(back.features, arrays["features"])
    np.testing.assert_array_equal(back.g, arrays["y"] * 2 + arrays["a"])
    assert "'embeddings' was taken for features" in notes
    assert "'labels' was taken for y" in notes
    counts = np.bincount(arrays["y"] * 2 + arrays["a"])
    assert f"'0, 0' {counts[0]}, '0, 1' {counts[1]}" in notes
    named = client.features.load(
        path, columns={"features": "embeddings", "y": "labels"}, a=arrays["a"], attribute="place"
    )
    assert named.digest == stored.digest
    assert [note.id for note in named.notes] == ["rows_by_group"]


@pytest.mark.parametrize("compressed", [False, True])
def test_x_y_g(client, arrays, tmp_path, compressed):
    """Groups alone: asked for what they mean, with the counts by either meaning."""
    path = tmp_path / "groups.npz"
    g = arrays["y"] * 2 + arrays["a"]
    (np.savez_compressed if compressed else np.savez)(path, X=arrays["features"], g=g)
    with pytest.raises(penult.InvalidRequest, match=r"n_attributes=.*group_coding=") as asked:
        client.features.load(path)
    assert f"{np.bincount(g)[3]}" in str(asked.value)
    with pytest.raises(penult.InvalidRequest, match="group_coding=") as asked:
        client.features.load(path, n_attributes=2)
    assert "y=1 a=1" in str(asked.value)  # group 3, by y * 2 + a
    assert "y=0 a=1" in str(asked.value)  # group 3, by a * 3 + y
    _, back, _ = loaded(client, path, n_attributes=2, group_coding="y*A+a")
    np.testing.assert_array_equal(back.y, arrays["y"])
    np.testing.assert_array_equal(back.a, arrays["a"])
    np.savez(path, X=arrays["features"], g=arrays["a"] * 3 + arrays["y"], y=arrays["y"])
    _, back, _ = loaded(client, path, n_attributes=2, group_coding="a*C+y")
    np.testing.assert_array_equal(back.y, arrays["y"])
    np.testing.assert_array_equal(back.a, arrays["a"])
    with pytest.raises(penult.InvalidRequest, match="y in the file"):
        client.features.load(path, n_attributes=2, group_coding="y*A+a")


def test_clip_retrieval(client, arrays, tmp_path):
    """img_emb_{i}.npy and metadata_{i}.parquet in the order of their numbers, 10 after 9."""
    (tmp_path / "img_emb").mkdir()
    (tmp_path / "metadata").mkdir()
    parts = np.array_split(np.arange(N), 11)
    for number, rows in enumerate(parts):
        np.save(tmp_path / f"img_emb/img_emb_{number}.npy", arrays["features"][rows].astype(np.float16))
        columns = {
            "image_path": [f"{row}.jpg" for row in rows],
            "label": np.array(["cat", "dog", "eel"])[arrays["y"][rows]],
            "place": arrays["a"][rows],
        }
        pq.write_table(pa.table(columns), tmp_path / f"metadata/metadata_{number}.parquet")
    stored, back, notes = loaded(client, tmp_path)
    assert stored.dtype == "float16"
    assert stored.labels.classes == ("cat", "dog", "eel")
    np.testing.assert_array_equal(back.features, arrays["features"].astype(np.float16))
    np.testing.assert_array_equal(back.y, arrays["y"])
    np.testing.assert_array_equal(back.a, arrays["a"])
    assert "11 parts" in notes
    np.save(tmp_path / "img_emb/img_emb_3.npy", arrays["features"][:5].astype(np.float16))
    with pytest.raises(penult.InvalidRequest, match="part 3 of metadata has 82 rows, its partner 5"):
        client.features.load(tmp_path)
    (tmp_path / "metadata/metadata_3.parquet").unlink()
    with pytest.raises(penult.InvalidRequest, match="missing parts"):
        client.features.load(tmp_path)


@pytest.mark.parametrize("kind", ["list", "large_list", "fixed", "double"])
def test_parquet_with_a_column_of_lists(client, arrays, tmp_path, kind):
    values = [row.tolist() for row in arrays["features"]]
    types = {
        "list": pa.list_(pa.float32()),
        "large_list": pa.large_list(pa.float32()),
        "fixed": pa.list_(pa.float32(), D),
        "double": pa.list_(pa.float64()),
    }
    path = tmp_path / "out.parquet"
    columns = {
        "embedding": pa.array(values, types[kind]),
        "label": pa.array(arrays["y"]),
        "place": pa.array(arrays["a"]).dictionary_encode(),
    }
    pq.write_table(pa.table(columns), path, row_group_size=100)
    if kind == "double":
        with pytest.raises(penult.InvalidRequest, match="dtype='float32'"):
            client.features.load(path)
    _, back, _ = loaded(client, path, dtype="float32" if kind == "double" else None)
    np.testing.assert_array_equal(back.features, arrays["features"])
    np.testing.assert_array_equal(back.a, arrays["a"])


def test_ragged_lists_are_refused_by_row(client, arrays, tmp_path):
    values = [row.tolist() for row in arrays["features"]]
    values[700] = values[700][:3]
    pq.write_table(pa.table({"features": values, "y": arrays["y"]}), tmp_path / "out.parquet")
    with pytest.raises(penult.InvalidRequest, match="row 700 of the column 'features' has 3 numbers"):
        client.features.load(tmp_path / "out.parquet", dtype="float32")


@pytest.mark.parametrize("legacy", [False, True])
def test_torch_dict_of_tensors(client, arrays, tmp_path, legacy):
    content = {name: torch.from_numpy(array) for name, array in arrays.items()}
    content["features"] = content["features"].to(torch.bfloat16)
    torch.save(content, tmp_path / "out.pt", _use_new_zipfile_serialization=not legacy)
    _, back, _ = loaded(client, tmp_path / "out.pt")
    np.testing.assert_array_equal(back.features, content["features"].float().numpy())
    np.testing.assert_array_equal(back.y, arrays["y"])


def test_safetensors_of_others(client, arrays, tmp_path):
    safetensors.numpy.save_file({"feats": arrays["features"], "target": arrays["y"]}, tmp_path / "out.safetensors")
    _, back, notes = loaded(client, tmp_path / "out.safetensors")
    np.testing.assert_array_equal(back.features, arrays["features"])
    assert "'feats' was taken for features" in notes


def test_h5(client, arrays, tmp_path):
    with h5py.File(tmp_path / "out.h5", "w") as file:
        file.create_dataset("train/features", data=arrays["features"], chunks=(100, D), compression="gzip")
        file.create_dataset("train/labels", data=[f"class {y}" for y in arrays["y"]])
    _, back, _ = loaded(
        client, tmp_path / "out.h5", columns={"features": "train/features", "y": "train/labels"}, a=arrays["a"]
    )
    np.testing.assert_array_equal(back.features, arrays["features"])
    np.testing.assert_array_equal(back.y, arrays["y"])


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_column_major_and_big_endian_arrays(client, arrays, tmp_path, order, suffix):
    x = np.asarray(arrays["features"], dtype=">f4", order=order)
    path = tmp_path / f"out.{suffix}"
    if suffix == "npy":
        np.save(path, x)
    else:
        np.savez(path, features=x)
    _, back, _ = loaded(client, path, y=arrays["y"])
    np.testing.assert_array_equal(back.features, arrays["features"])


@pytest.mark.parametrize("separator", [",", "\t"])
def test_labels_from_a_table_and_rows_of_a_split(client, arrays, tmp_path, separator):
    """WILDS' and DFR's metadata.csv beside an array of embeddings, in the same order; one split of it."""
    np.save(tmp_path / "all.npy", arrays["features"])
    split = np.arange(N) % 3
    lines = [separator.join(("y", "place", "split", "img_filename"))]
    lines += [separator.join(map(str, row)) for row in zip(arrays["y"], arrays["a"], split, ["x.jpg"] * N, strict=True)]
    table = tmp_path / f"metadata.{'tsv' if separator == chr(9) else 'csv'}"
    table.write_text("\n".join(lines))
    _, back, notes = loaded(client, tmp_path / "all.npy", metadata=table, split=1)
    np.testing.assert_array_equal(back.features, arrays["features"][split == 1])
    np.testing.assert_array_equal(back.g, (arrays["y"] * 2 + arrays["a"])[split == 1])
    np.testing.assert_array_equal(back.row_id, np.flatnonzero(split == 1))
    _, back, notes = loaded(client, tmp_path / "all.npy", metadata=table)
    assert "all rows were taken: 'split' has 0 (300 rows), 1 (300 rows)" in notes
    with pytest.raises(penult.InvalidRequest, match=r"no row is of the split 'val'; 'split' has 0 \(300 rows\)"):
        client.features.load(tmp_path / "all.npy", metadata=table, split="val")
    table.write_text("\n".join(lines[:-1]))
    with pytest.raises(penult.InvalidRequest, match=r"has shape .899,., the features have 900 rows"):
        client.features.load(tmp_path / "all.npy", metadata=table)


# What is refused, with what to do.


class Runs:
    """A pickle that would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def hostile_files(directory: Path, ran: Path) -> dict[str, Path]:
    good = np.ones((4, 2), np.float32)
    files = {name: directory / name for name in ("objects.npz", "objects.npy", "pickle.pkl", "pickle.pt", "pickle.npz")}
    np.savez(files["objects.npz"], features=good, y=np.array([Runs(ran)] * 4, dtype=object))
    np.save(files["objects.npy"], np.array([Runs(ran)] * 4, dtype=object))
    files["pickle.pkl"].write_bytes(pickle.dumps(Runs(ran)))
    torch.save({"features": Runs(ran)}, files["pickle.pt"])
    files["pickle.npz"].write_bytes(pickle.dumps(Runs(ran)))
    return files


def test_pickles_are_refused_and_never_run(client, tmp_path):
    ran = tmp_path / "ran"
    for name, path in hostile_files(tmp_path, ran).items():
        with pytest.raises(penult.InvalidRequest, match="could run any code") as refusal:
            client.features.load(path)
        assert "np.savez" in str(refusal.value), name
    assert not ran.exists()


def with_header(shape: str, data: bytes) -> bytes:
    """An .npy of a header of its own."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


@pytest.mark.parametrize("shape", ["(1000000000000, 4)", "(3, 4)", "(-1, 4)", "(2, 2, 2)", "()", "(__import__, 2)"])
def test_headers_that_lie_are_refused(client, tmp_path, shape):
    path = tmp_path / "out.npy"
    path.write_bytes(with_header(shape, bytes(32)))
    with pytest.raises(penult.InvalidRequest):
        client.features.load(path, y=[0, 1])
    with zipfile.ZipFile(tmp_path / "out.npz", "w") as archive:
        archive.writestr("features.npy", with_header(shape, bytes(32)))
    with pytest.raises(penult.InvalidRequest):
        client.features.load(tmp_path / "out.npz", y=[0, 1])


def test_zip_bombs_are_refused_before_they_are_unpacked(client, tmp_path, monkeypatch):
    from penult.files.formats import npz

    monkeypatch.setattr(npz, "LARGE", 2**20)
    with zipfile.ZipFile(tmp_path / "out.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("features.npy", with_header("(524288, 4)", bytes(2**23)))
    with pytest.raises(penult.InvalidRequest, match=r"zip bomb.*np\.savez"):
        client.features.load(tmp_path / "out.npz", y=np.zeros(2**19, int))


def test_half_files_and_altered_bytes_are_refused(client, arrays, tmp_path, full):
    """Every format cut at every tenth of its length, and a byte of the stored features altered in a zip."""
    for format in ("npz", "parquet", "safetensors"):
        whole = client.features.export(full["float32"], tmp_path / f"whole.{format}", format).read_bytes()
        for tenth in range(10):
            path = tmp_path / f"half.{format}"
            path.write_bytes(whole[: len(whole) * tenth // 10])
            with pytest.raises(penult.InvalidRequest):
                client.features.load(path)
    content = bytearray((tmp_path / "whole.npz").read_bytes())
    at = content.find(arrays["features"][100].tobytes())
    assert at > 0
    content[at] ^= 1
    (tmp_path / "altered.npz").write_bytes(content)
    with pytest.raises(penult.InvalidRequest, match="CRC"):
        client.features.load(tmp_path / "altered.npz")


@pytest.mark.parametrize(
    ("content", "options", "match"),
    [
        ({"features": np.ones((4, 2), np.int64), "y": [0, 1, 0, 1]}, {}, "must be floats; got int64"),
        ({"features": np.ones((4, 2)), "y": [0, 1, 0, 1]}, {}, "float64 and would be rounded.*dtype='float32'"),
        ({"features": np.ones((4, 2), np.float32), "y": [0, 1, 0]}, {}, "has shape .3,., the features have 4 rows"),
        ({"features": np.ones((4, 2, 2), np.float32), "y": [0, 1, 0, 1]}, {}, "pool or flatten"),
        ({"features": np.ones((4, 2), np.float32)}, {}, "no array that is known to be y.*metadata="),
        ({"stuff": np.ones((4, 2), np.float32), "y": [0, 1, 0, 1]}, {}, "known to be features.*'stuff' .4, 2. float32"),
        (
            {"X": np.ones((4, 2), np.float32), "feats": np.ones((4, 2), np.float32)},
            {},
            "several arrays may be features",
        ),
        ({"features": np.ones((4, 2), np.float32)}, {"y": [0, 1]}, r"y must have shape \(4,\)"),
        ({"features": np.ones((4, 2), np.float32), "y": [0, 1, 0, 1]}, {"n_attributes": 2}, "there is none"),
        ({"features": np.ones((4, 2), np.float32), "y": [0, 1, 0, 1]}, {"split": "val"}, "name it"),
        (
            {"features": np.ones((4, 2), np.float32), "y": [0, 1, 0, 1]},
            {"columns": {"x": "y"}},
            "columns has no key 'x'",
        ),
        (
            {"features": np.ones((4, 2), np.float32), "label": [0, 1, 0, 1]},
            {"columns": {"y": "labels"}},
            "mean 'label'",
        ),
        ({"features": np.ones((4, 2), np.float32), "y": [0, 1, 0, 1]}, {"dtype": "int8"}, "dtype must be one of"),
        ({"features": np.full((4, 2), np.nan, np.float32), "y": [0, 1, 0, 1]}, {}, "must be finite, got nan"),
        (
            {"features": np.full((4, 2), 1e9, np.float32), "y": [0, 1, 0, 1]},
            {"dtype": "float16"},
            "must be finite, got inf",
        ),
    ],
)
def test_refusals_say_what_to_do(client, tmp_path, content, options, match):
    np.savez(tmp_path / "out.npz", **content)
    with pytest.raises(penult.InvalidRequest, match=match):
        client.features.load(tmp_path / "out.npz", **options)


def test_places_that_hold_no_features(client, tmp_path):
    with pytest.raises(penult.InvalidRequest, match="there is no"):
        client.features.load(tmp_path / "missing.npz")
    with pytest.raises(penult.InvalidRequest, match=r"holds no arrays; expected an \.npz"):
        client.features.load(tmp_path)
    (tmp_path / "text").write_text("hello")
    with pytest.raises(penult.InvalidRequest, match="of no format that is read here"):
        client.features.load(tmp_path / "text")
    np.savez(buffer := io.BytesIO())
    (tmp_path / "empty.npz").write_bytes(buffer.getvalue())
    with pytest.raises(penult.InvalidRequest, match=r"np\.savez"):
        client.features.load(tmp_path / "empty.npz")
