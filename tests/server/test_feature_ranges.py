"""A feature set written as ranges, by several writers of one attempt: the same files as by one, or nothing."""

import json
import random
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from penult_kernels.moments.accumulation import MomentAccumulator
from penult_server.errors import ServiceError
from penult_server.records import LabelNames
from penult_server.stores.features import FeatureWriter
from penult_server.stores.places.local import LocalStore
from penult_server.stores.places.store import Written
from penult_server.stores.reading import StoredFeatures
from penult_server.stores.writing.commit import commit_features
from penult_server.stores.writing.header import FeatureHeader, chunk_shapes, group_index
from penult_server.stores.writing.rows import ChunkWriter, WrittenRows

LABELS = LabelNames(classes=("cat", "dog"), attribute="place", attribute_values=("in", "out"))
N, D = 70, 5


@pytest.fixture(autouse=True)
def small_chunks(set_budget):
    set_budget(chunk_bytes=256)


def make() -> tuple[FeatureHeader, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    arrays = {
        "features": rng.standard_normal((N, D)).astype(np.float32),
        "y": rng.integers(0, 2, N),
        "a": rng.integers(0, 2, N),
        "row_id": np.arange(N, dtype=np.uint64),
    }
    head = (np.ones((2, D)), np.zeros(2))
    return FeatureHeader(n_examples=N, n_features=D, dtype="float32", labels=LABELS, digest="d" * 64, head=head), arrays


def write_range(root: Path, name: str, first: int, n_rows: int) -> WrittenRows:
    header, arrays = make()
    attempt = LocalStore(root).attempt("features", name)
    with ChunkWriter(attempt, header, first=first, n_rows=n_rows) as writer:
        for start in range(first, first + n_rows, 3):
            writer.append(**{key: one[start : min(start + 3, first + n_rows)] for key, one in arrays.items()})
        return over_json(writer.finish())


def over_json(rows: WrittenRows) -> WrittenRows:
    """As another process tells it."""
    told = json.loads(json.dumps(asdict(rows)))
    files = {name: Written(**one) for name, one in told["files"].items()}
    return WrittenRows(**told | {"files": files, "group_counts": tuple(told["group_counts"])})


def commit(root: Path, name: str, ranges: Sequence[WrittenRows]) -> None:
    header, arrays = make()
    sums = MomentAccumulator(4, D, dtype=np.dtype("float32"))
    sums.add(arrays["features"], group_index(arrays["y"], arrays["a"], LABELS))
    attempt = LocalStore(root).attempt("features", name)
    commit_features(attempt, header, ranges, digest="d" * 64, moments=sums.part())


def test_ranges_in_any_order_leave_the_files_of_one_writer(tmp_path):
    header, arrays = make()
    with FeatureWriter(tmp_path / "one", header) as writer:
        writer.append(**arrays)
        writer.finish()
    in_chunk = chunk_shapes(header)["features"][0][0]
    starts = list(range(0, N, 2 * in_chunk))
    random.Random(0).shuffle(starts)
    name = LocalStore(tmp_path / "many").attempt("features").name
    ranges = [write_range(tmp_path / "many", name, first, min(2 * in_chunk, N - first)) for first in starts]
    assert len(ranges) > 2
    commit(tmp_path / "many", name, ranges)
    one, many = (StoredFeatures(tmp_path / place, "d" * 64).manifest for place in ("one", "many"))
    assert (one.files, one.group_counts, one.stored_bytes) == (many.files, many.group_counts, many.stored_bytes)
    assert [path.name for path in (tmp_path / "many" / "features").iterdir()] == ["d" * 64]


def test_ranges_that_are_no_whole_are_refused(tmp_path):
    header, _ = make()
    in_chunk = chunk_shapes(header)["features"][0][0]
    attempt = LocalStore(tmp_path).attempt("features")
    first = write_range(tmp_path, attempt.name, 0, in_chunk)
    third = write_range(tmp_path, attempt.name, 2 * in_chunk, N - 2 * in_chunk)
    for ranges in ([first, third], [first], [first, first, third]):
        with pytest.raises(ValueError, match=r"the ranges of a set must"):
            commit(tmp_path, attempt.name, ranges)
    for begin, n in ((1, in_chunk), (0, 1), (0, N + in_chunk)):
        with pytest.raises(ValueError, match=r"a range (begins|ends) with a chunk"):
            ChunkWriter(attempt, header, first=begin, n_rows=n)
    with ChunkWriter(attempt, header, n_rows=in_chunk) as writer, pytest.raises(ServiceError, match="expected"):
        writer.finish()
    attempt.discard()
    assert not list((tmp_path / "features").iterdir())


def test_a_partial_result_lies_with_its_attempt_until_it_is_dropped(tmp_path):
    attempt = LocalStore(tmp_path).attempt("features")
    LocalStore(tmp_path).attempt("features", attempt.name).put("partial/0", np.arange(3.0))
    back = np.empty(3)
    attempt.fill("partial/0", back)
    assert back.tolist() == [0.0, 1.0, 2.0]
    with pytest.raises(ValueError, match="has not 16 bytes"):
        attempt.fill("partial/0", np.empty(2))
    attempt.drop("partial/0")
    with pytest.raises(FileNotFoundError):
        attempt.fill("partial/0", back)
