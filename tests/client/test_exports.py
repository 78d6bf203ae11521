"""The client's part of an export: what comes is checked, held a piece at a time, and described."""

import json
import math
import tracemalloc
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save

import penult
from penult.results.records import Checkpoint
from penult.wire.exports.about import Origin
from penult.wire.exports.card import card
from penult.wire.exports.layouts import crop_fraction, timm_config
from penult.wire.exports.manifest import parse_manifest
from penult.wire.exports.writing import Request, write_export
from penult_proto.limits import CHUNK_BYTES
from penult_proto.safetensors import LENGTH, WeightsDigest, parse_header
from penult_proto.v1 import arrays_pb2, checkpoints_pb2

D = 5
CHECKPOINT = Checkpoint(
    digest="c" * 64,
    run_id="",
    epoch=0,
    step=0,
    backbone="net",
    dataset="",
    dataset_digest="",
    n_features=D,
    n_classes=2,
    head_error=0.0,
    created=None,
)
ORIGIN = Origin(checkpoint=CHECKPOINT, run=None, manifest=None)
OWN = Request(format=None, head=None, origin=ORIGIN, is_same_model=lambda _: False)


class Stored:
    """A checkpoint as a server sends it."""

    def __init__(self, body: np.ndarray, **manifest) -> None:
        self.state = {
            "body": body,
            "head.weight": np.ones((2, D), np.float32),
            "head.bias": np.zeros(2, np.float32),
        }
        self.content = save(self.state)
        self.first = self.content[: LENGTH.size + LENGTH.unpack_from(self.content)[0]]
        self.tensors = parse_header(self.first).tensors
        digest = WeightsDigest()
        for name in sorted(self.tensors):
            digest.begin_tensor(self.tensors[name])
            digest.update(self.state[name].tobytes())
        self.manifest = {
            "weights_digest": digest.hexdigest(),
            "library": "timm",
            "attribute": "",
            "classes": ["a|b", "`c`"],
            "n_features": D,
            "head_weight": "head.weight",
            "head_bias": "head.bias",
            "image_size": 224,
            "image_resize": 256,
            "image_mean": [0.5] * 3,
            "image_std": [0.5] * 3,
            "interpolation": "bicubic",
            "max_tokens": 0,
            "pooling": "model",
            "build": {"architecture": "net", "model_args": {}, "pretrained_cfg": {}, "head_is_convolution": True},
        } | manifest

    @property
    def header(self) -> checkpoints_pb2.CheckpointHeader:
        return checkpoints_pb2.CheckpointHeader(manifest=json.dumps(self.manifest), weights_header=self.first)

    def chunks(self, chunk_bytes: int = CHUNK_BYTES) -> Iterator[arrays_pb2.ArrayChunk]:
        for name in sorted(self.tensors):
            one = self.tensors[name]
            for offset in range(0, one.n_bytes, chunk_bytes):
                place = len(self.first) + one.start + offset
                data = self.content[place : place + min(chunk_bytes, one.n_bytes - offset)]
                yield arrays_pb2.ArrayChunk(name=f"model.safetensors/{name}", offset=offset, data=data)


@pytest.fixture
def small() -> Stored:
    return Stored(np.arange(10, dtype=np.float32))


def test_no_more_than_two_pieces_are_held(tmp_path):
    stored = Stored(np.zeros(16 * CHUNK_BYTES // 4, np.float32))
    chunks = stored.chunks()
    tracemalloc.start()
    write_export(tmp_path / "out", stored.header, chunks, OWN)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The test's own slice of the content, and its copy in the message.
    assert peak < 3.2 * CHUNK_BYTES
    state = load_file(tmp_path / "out" / "model.safetensors")
    assert state["head.weight"].shape == (2, D, 1, 1)
    np.testing.assert_array_equal(state["body"], stored.state["body"])


def test_pieces_may_be_of_any_size(small, tmp_path):
    for size in (1, 7, 1000):
        path = tmp_path / str(size)
        write_export(path, small.header, small.chunks(size), replace(OWN, format="safetensors"))
        assert (path / "model.safetensors").read_bytes() == small.content


def broken(stored: Stored) -> Iterator[tuple[str, list[arrays_pb2.ArrayChunk], str]]:
    good = list(stored.chunks(16))
    changed = arrays_pb2.ArrayChunk(name=good[1].name, offset=good[1].offset, data=bytes(len(good[1].data)))
    yield "nothing", [], "ended after 0"
    yield "cut off", good[:-1], "ended after"
    yield "a gap", [good[0], *good[2:]], "was next"
    yield "twice", [good[0], good[0], *good[1:]], "was next"
    yield "another's", good[::-1], "was next"
    yield "too much", [*good, good[-1]], "more of"
    yield "altered", [good[0], changed, *good[2:]], "changed on their way"
    yield "empty", [arrays_pb2.ArrayChunk(name=good[0].name), *good], "was next"


@pytest.mark.parametrize("index", range(8))
def test_a_broken_stream_leaves_nothing(small, tmp_path, index):
    _, chunks, said = list(broken(small))[index]
    with pytest.raises(penult.ServerBug, match=said):
        write_export(tmp_path / "out", small.header, iter(chunks), OWN)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["../outside", "..", "model.safetensors", "a/b", ""])
def test_files_stay_inside(small, tmp_path, name):
    header = small.header
    header.files.append(checkpoints_pb2.StoredFile(name=name, size=0, sha256=""))
    with pytest.raises(penult.ServerBug, match="a file called"):
        write_export(tmp_path / "out", header, small.chunks(), OWN)
    assert not list(tmp_path.iterdir())


def test_timm_s_rounding_gives_the_resize_back():
    assert crop_fraction(224, 256) == 0.875
    for size in range(1, 300, 7):
        for resize in range(size, 2 * size + 40):
            fraction = crop_fraction(size, resize)
            assert math.floor(size / fraction) == resize
            assert json.loads(json.dumps(fraction)) == fraction
            assert fraction == pytest.approx(size / resize, rel=1e-12)


def test_names_of_classes_do_not_break_the_card(small, tmp_path):
    write_export(tmp_path / "out", small.header, small.chunks(), OWN)
    text = (tmp_path / "out" / "README.md").read_text()
    assert "| 0 | a\\|b |" in text
    assert "| 1 | \\`c\\` |" in text
    assert "not known" in text
    about = json.loads((tmp_path / "out" / "penult.json").read_text())
    assert card(about, "out") == text
    manifest, _ = parse_manifest(small.header.manifest)
    assert asdict(manifest)["classes"] == ("a|b", "`c`")
    assert timm_config(manifest)["label_names"] == ["a|b", "`c`"]


def test_a_head_without_bias(tmp_path):
    stored = Stored(np.zeros(3, np.float32), head_bias="")
    head = penult.Head(np.full((2, D), 2.0), np.zeros(2))
    write_export(tmp_path / "out", stored.header, stored.chunks(), replace(OWN, head=head))
    state = load_file(tmp_path / "out" / "model.safetensors")
    assert (state["head.weight"] == 2).all()
    with pytest.raises(penult.InvalidRequest, match="no bias"):
        write_export(
            tmp_path / "new", stored.header, stored.chunks(), replace(OWN, head=replace(head, bias=np.ones(2)))
        )
    assert [one.name for one in Path(tmp_path).iterdir()] == ["out"]
