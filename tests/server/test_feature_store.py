"""Feature stores: what is read is what was written, whole or not at all, and damage never passes as zeros."""

import dataclasses
import errno
import json
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penult_proto.errors import ErrorKind
from penult_server.datasets.model import Attribute
from penult_server.errors import ServiceError
from penult_server.stores import features as features_module
from penult_server.stores.disk.sealed import sealed_text
from penult_server.stores.features import FeatureHeader, FeatureWriter, chunk_rows
from penult_server.stores.manifest import LabelNames, read_manifest
from penult_server.stores.places.local import LocalAttempt
from penult_server.stores.reading import StoredFeatures
from penult_server.stores.writing import commit as commit_module

LABELS = LabelNames(classes=("cat", "dog"), attribute="place", attribute_values=("in", "out"))


def make(n: int, d: int, seed: int = 0, dtype: str = "float32") -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "features": (rng.standard_normal((n, d)) + 3).astype(dtype),
        "y": rng.integers(0, 2, n),
        "a": rng.integers(0, 2, n),
        "row_id": rng.permutation(n).astype(np.uint64),
        "logits": rng.standard_normal((n, 2)).astype(np.float32),
    }


def header_for(arrays: dict[str, np.ndarray], **changes) -> FeatureHeader:
    n, d = arrays["features"].shape
    values = {"n_examples": n, "n_features": d, "dtype": arrays["features"].dtype.name, "labels": LABELS, "n_logits": 2}
    return FeatureHeader(**values | changes)


def write(root, arrays, cuts=(), **changes):
    with FeatureWriter(root, header_for(arrays, **changes)) as writer:
        for first, last in zip((0, *cuts), (*cuts, len(arrays["y"])), strict=True):
            writer.append(**{name: values[first:last] for name, values in arrays.items()})
        return writer.finish()


@pytest.fixture(autouse=True)
def small_chunks(set_budget):
    set_budget(chunk_bytes=256)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), n=st.integers(1, 70), d=st.integers(1, 9), dtype=st.sampled_from(["float32", "float16"]))
def test_round_trip_is_exact_and_does_not_depend_on_how_rows_came(tmp_path_factory, data, n, d, dtype):
    root = tmp_path_factory.mktemp("store")
    arrays = make(n, d, seed=n * 10 + d, dtype=dtype)
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=6)))
    manifest = write(root, arrays, cuts)
    stored = StoredFeatures(root, manifest.digest)
    for name, values in arrays.items():
        back = stored.read(name)
        assert back.dtype == values.dtype
        np.testing.assert_array_equal(back, values)
        np.testing.assert_array_equal(np.concatenate(list(stored.blocks(name))), values)
    again = write(root, arrays)
    assert again.digest == manifest.digest, "the identity of uploaded arrays is their content"


@pytest.mark.parametrize("fold_rows", [1, 7, 4096])
def test_moments_are_those_of_the_rows(tmp_path, set_budget, fold_rows):
    set_budget(buffer_rows=fold_rows)
    arrays = make(60, 5)
    stored = StoredFeatures(tmp_path, write(tmp_path, arrays, (13, 14, 40)).digest)
    moments = stored.moments()
    g = arrays["y"] * 2 + arrays["a"]
    for group in range(4):
        rows = arrays["features"][g == group].astype(np.float64)
        assert moments.count[group] == len(rows)
        np.testing.assert_allclose(moments.mean[group], rows.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(moments.m2[group] / len(rows), np.cov(rows.T, bias=True), rtol=1e-9, atol=1e-12)
    assert stored.manifest.group_counts == tuple(np.bincount(g, minlength=4))


def test_moments_of_some_groups(tmp_path):
    stored = StoredFeatures(tmp_path, write(tmp_path, make(60, 5)).digest)
    everything, some = stored.moments(), stored.moments([2, 0])
    for name in ("count", "weight", "mean", "m2"):
        np.testing.assert_array_equal(getattr(some, name), getattr(everything, name)[[2, 0]])


def test_moments_of_the_first_layout_are_read(tmp_path, monkeypatch):
    """Format 1 kept the triangle row by row and did not say so."""
    expected = StoredFeatures(tmp_path / "new", write(tmp_path / "new", make(60, 5)).digest).moments()
    monkeypatch.setattr(commit_module, "TILE", 1)
    stored = StoredFeatures(tmp_path / "old", write(tmp_path / "old", make(60, 5)).digest)
    rows, columns = np.triu_indices(5)
    np.testing.assert_array_equal(stored.read("moments.zarr/m2_upper"), expected.m2[:, rows, columns])
    np.testing.assert_array_equal(stored.moments().m2, expected.m2)


def with_columns(arrays):
    """The same rows with two attribute columns and three overlapping masks, and the header's names of them."""
    rng = np.random.default_rng(1)
    n = len(arrays["y"])
    columns = {"attributes": np.stack([arrays["a"], rng.integers(0, 5, n)], axis=1), "masks": rng.random((n, 3)) < 0.5}
    attributes = (
        Attribute(name="place", values=("in", "out")),
        Attribute(name="camera", values=tuple("abcde")),
    )
    labels = dataclasses.replace(LABELS, masks=("any", "old", "rare"))
    return arrays | columns, {"attributes": attributes, "labels": labels}


@pytest.mark.parametrize("cuts", [(), (1, 2, 40)])
def test_all_attribute_columns_and_masks_are_stored(tmp_path, cuts):
    arrays, names = with_columns(make(60, 5))
    manifest = write(tmp_path, arrays, cuts, **names)
    stored = StoredFeatures(tmp_path, manifest.digest)
    assert stored.manifest.attributes == names["attributes"]
    assert stored.manifest.labels.masks == ("any", "old", "rare")
    assert {"attributes", "masks"} <= set(stored.array_names)
    assert stored.read("masks").dtype == np.bool_
    for name in ("attributes", "masks", "a", "y"):
        np.testing.assert_array_equal(stored.read(name), arrays[name])
    assert manifest.digest != write(tmp_path, make(60, 5)).digest, "columns are part of what was uploaded"


def test_columns_go_with_their_names(tmp_path):
    arrays, names = with_columns(make(60, 5))
    for changes in ({}, {"labels": names["labels"]}, {"attributes": names["attributes"]}):
        with pytest.raises(ServiceError, match=r"(attributes|masks) of 60 rows must be None, got") as raised:
            write(tmp_path, arrays, **changes)
        assert raised.value.kind is ErrorKind.WRONG_SHAPE
    arrays["attributes"][33, 1] = 5
    with pytest.raises(ServiceError, match=r"camera must lie in 0 .. 4, got 5 in row 33"):
        write(tmp_path, arrays, (20,), **names)


def test_moments_beyond_the_budget_are_left_out(tmp_path, set_budget):
    set_budget(moments_bytes=100)
    manifest = write(tmp_path, make(60, 5))
    assert not manifest.has_moments
    assert not (tmp_path / "features" / manifest.digest / "moments.zarr").exists()


def test_moments_are_kept_where_they_are_smaller_than_the_rows(tmp_path):
    """4 groups of 15 numbers of 8 bytes against 5 numbers of 4 bytes a row: even at 24 rows."""
    assert write(tmp_path, make(24, 5)).has_moments
    assert not write(tmp_path, make(23, 5)).has_moments


def test_head_and_description_come_back(tmp_path):
    arrays = make(10, 3)
    head = (np.arange(6.0).reshape(2, 3), np.array([0.5, -0.5]))
    digest = "d" * 64
    changes = {"head": head, "digest": digest, "split": "val", "train_shares": (0.1, 0.2, 0.3, 0.4), "dataset": "pets"}
    write(tmp_path, arrays, **changes)
    stored = StoredFeatures(tmp_path, digest)
    np.testing.assert_array_equal(stored.read("head_weight"), head[0])
    np.testing.assert_array_equal(stored.read("head_bias"), head[1])
    assert stored.manifest.labels == LABELS
    assert stored.manifest.train_shares == (0.1, 0.2, 0.3, 0.4)
    assert (stored.manifest.dataset, stored.manifest.split) == ("pets", "val")


@pytest.mark.parametrize("zero", ["weight", "bias", "everything"])
def test_zeros_are_stored_like_any_number(tmp_path, zero):
    """A head without an intercept has a bias of zeros; a file that is not there would pass for damage."""
    arrays = make(40, 3)
    head = [np.ones((2, 3)), np.ones(2)]
    for position in {"weight": [0], "bias": [1], "everything": [0, 1]}[zero]:
        head[position] = np.zeros_like(head[position])
    if zero == "everything":
        arrays = {name: values if name == "row_id" else np.zeros_like(values) for name, values in arrays.items()}
    stored = StoredFeatures(tmp_path, write(tmp_path, arrays, head=tuple(head)).digest)
    for name, expected in (arrays | {"head_weight": head[0], "head_bias": head[1]}).items():
        np.testing.assert_array_equal(stored.read(name), expected)


def test_other_label_names_make_another_set(tmp_path):
    arrays = make(10, 3)
    other = LabelNames(classes=("cat", "fox"), attribute="place", attribute_values=("in", "out"))
    assert write(tmp_path, arrays).digest != write(tmp_path, arrays, labels=other).digest


@pytest.mark.parametrize("name", ["features", "y", "moments.zarr/m2_upper", "logits"])
@pytest.mark.parametrize("harm", ["flip", "truncate", "delete"])
def test_damage_is_an_error_never_zeros(tmp_path, name, harm):
    manifest = write(tmp_path, make(60, 5))
    chunk = next(file for file in manifest.files if file.startswith(f"{name}/c/"))
    path = tmp_path / "features" / manifest.digest / chunk
    content = bytearray(path.read_bytes())
    if harm == "flip":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif harm == "truncate":
        path.write_bytes(content[:-1])
    else:
        path.unlink()
    stored = StoredFeatures(tmp_path, manifest.digest)
    with pytest.raises(ServiceError, match=chunk) as raised:
        stored.read(name)
    assert raised.value.kind is ErrorKind.STORE_CORRUPT


def test_writing_again_mends_a_damaged_set_and_keeps_the_damaged_one_aside(tmp_path):
    arrays = make(30, 4)
    manifest = write(tmp_path, arrays)
    (tmp_path / "features" / manifest.digest / "y" / "c" / "0").unlink()
    write(tmp_path, arrays)
    np.testing.assert_array_equal(StoredFeatures(tmp_path, manifest.digest).read("y"), arrays["y"])
    assert len(list((tmp_path / "features").glob(".damaged-*"))) == 1


@pytest.mark.parametrize("text", ["", "{", "[]", '{"digest": 1}'])
def test_a_damaged_manifest_is_said_to_be_one(tmp_path, text):
    manifest = write(tmp_path, make(5, 2))
    (tmp_path / "features" / manifest.digest / "manifest.json").write_text(text)
    with pytest.raises(ServiceError) as raised:
        StoredFeatures(tmp_path, manifest.digest)
    assert raised.value.kind is ErrorKind.STORE_CORRUPT


def test_a_set_of_a_newer_format_is_refused(tmp_path):
    directory = tmp_path / "features" / write(tmp_path, make(5, 2)).digest
    path = directory / "manifest.json"
    path.write_text(sealed_text(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(ServiceError) as raised:
        read_manifest(directory)
    assert raised.value.kind is ErrorKind.VERSION_MISMATCH


@pytest.mark.parametrize(
    ("name", "row", "column", "value"),
    [("features", 17, 2, np.nan), ("features", 0, 0, np.inf), ("logits", 29, 1, -np.inf)],
)
def test_what_is_not_finite_is_refused_by_row_and_column_and_leaves_nothing(tmp_path, name, row, column, value):
    arrays = make(30, 4)
    arrays[name][row, column] = value
    with pytest.raises(ServiceError, match=f"{name} .*row {row}, column {column}") as raised:
        write(tmp_path, arrays, (10, 20))
    assert raised.value.kind is ErrorKind.NOT_FINITE
    assert list((tmp_path / "features").iterdir()) == []


def test_what_float16_cannot_hold_is_refused_and_moments_are_of_what_is_stored(tmp_path):
    arrays = make(60, 5)
    arrays["features"][17, 2] = 70000.0
    with pytest.raises(ServiceError, match=r"features .*row 17, column 2"):
        write(tmp_path, arrays, (20,), dtype="float16")
    arrays["features"][17, 2] = 0.1
    stored = StoredFeatures(tmp_path, write(tmp_path, arrays, dtype="float16").digest)
    assert stored.manifest.has_moments
    rows = stored.read("features").astype(np.float64)[arrays["y"] * 2 + arrays["a"] == 1]
    np.testing.assert_allclose(stored.moments().mean[1], rows.mean(axis=0), rtol=1e-12)


@pytest.mark.parametrize(("name", "value"), [("y", 2), ("y", -1), ("a", 7)])
def test_labels_out_of_range_are_refused_by_row(tmp_path, name, value):
    arrays = make(30, 4)
    arrays[name][21] = value
    with pytest.raises(ServiceError, match=f"{name} must lie in 0 .. 1, got {value} in row 21") as raised:
        write(tmp_path, arrays, (10, 20))
    assert raised.value.kind is ErrorKind.LABEL_OUT_OF_RANGE


@pytest.mark.parametrize(
    ("owner", "name"),
    [(commit_module, "_metadata"), (features_module, "RangeMoments"), (LocalAttempt, "put")],
)
def test_a_full_disk_or_memory_leaves_nothing(tmp_path, monkeypatch, owner, name):
    def fail(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(owner, name, fail)
    with pytest.raises(OSError, match="no space left"):
        write(tmp_path, make(40, 3), cuts=(7,))
    assert list((tmp_path / "features").iterdir()) == []
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("chunks")]


def test_missing_rows_are_noticed(tmp_path):
    arrays = make(30, 4)
    with FeatureWriter(tmp_path, header_for(arrays)) as writer:
        writer.append(**{name: values[:29] for name, values in arrays.items()})
        with pytest.raises(ServiceError, match="expected 30 rows, got 29"):
            writer.finish()
    assert list((tmp_path / "features").iterdir()) == []


def test_wrong_shapes_are_refused(tmp_path):
    arrays = make(30, 4)
    with (
        FeatureWriter(tmp_path, header_for(arrays)) as writer,
        pytest.raises(ServiceError, match=r"logits of 30 rows must be \(30, 2\), got \(30, 1\)"),
    ):
        writer.append(**arrays | {"logits": arrays["logits"][:, :1]})


def test_chunks_are_a_power_of_two_rows_near_the_aim(set_budget):
    set_budget(chunk_bytes=32 * 2**20)
    assert chunk_rows(1280, 4) == 4096
    assert chunk_rows(2048, 4) == 4096
    assert chunk_rows(768, 2) == 16384
    assert chunk_rows(10**9, 4) == 1
