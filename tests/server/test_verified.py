"""What the last look at a store found is kept beside it, and counts for the files that were looked at alone."""

import json
import os
import shutil
import time

import pytest

from penult_server.stores.disk.verified import VERIFIED, last_look, note_look

THINGS = ("features/aa", "features/bb", "runs/1")


@pytest.fixture
def root(tmp_path):
    for thing in THINGS:
        (tmp_path / "store" / thing).mkdir(parents=True)
        (tmp_path / "store" / thing / "manifest.json").write_text("{}")
    return tmp_path / "store"


def test_each_thing_has_the_time_of_the_look_and_what_was_wrong(root):
    assert last_look(root) is None
    at = time.time() + 1
    note_look(root, at, THINGS, {"features/bb": "its file y is missing", "registry/penult.db": "a row is altered"})
    look = last_look(root)
    assert look.of(root, "features/aa") == (at, "")
    assert look.of(root, "features/bb") == (at, "its file y is missing")
    assert look.of(root, "features/cc") == (0.0, ""), "it was not there"
    note_look(root, at + 1, THINGS, {})
    assert last_look(root).of(root, "features/bb") == (at + 1, "")


def test_what_was_written_since_was_not_looked_at(root):
    at = time.time()
    note_look(root, at, THINGS, {"features/bb": "altered"})
    for thing in ("features/aa", "features/bb"):
        os.utime(root / thing / "manifest.json", (at + 5, at + 5))
    look = last_look(root)
    assert look.of(root, "features/aa") == look.of(root, "features/bb") == (0.0, "")
    (root / "features/bb/manifest.json").unlink()
    assert look.of(root, "features/bb") == (at, "altered")
    (root / "features/aa/manifest.json").unlink()
    assert look.of(root, "features/aa") == (0.0, "")


def test_a_copy_of_the_store_was_not_looked_at(root, tmp_path):
    note_look(root, time.time() + 1, THINGS, {})
    shutil.copytree(root, tmp_path / "copy")
    assert last_look(root) is not None
    assert last_look(tmp_path / "copy") is None


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"root": 3}', None])
def test_a_note_that_is_damaged_says_nothing(root, content):
    note_look(root, 1.0, THINGS, {})
    if content is None:
        altered = json.loads((root / VERIFIED).read_text()) | {"damages": {"runs/1": "x"}}
        content = json.dumps(altered)
    (root / VERIFIED).write_text(content)
    assert last_look(root) is None
