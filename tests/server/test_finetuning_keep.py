"""Policies for the checkpoints of a run: which are left, when the others go, and that a kill changes nothing."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from finetuning_data import MemoryDataset, Recorder, squares
from numpy.testing import assert_array_equal

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.finetuning.config import FinetuneConfig
from penult_server.finetuning.keep import needed
from penult_server.finetuning.train import FinetuneOutcome, finetune
from penult_server.stores.checkpoints import CheckpointManifest

CONFIG = FinetuneConfig(
    backbone="test_vit",
    pretrained=False,
    epochs=3,
    batch_size=4,
    learning_rate=0.02,
    evaluate=("val",),
    evaluate_every=0.5,
    checkpoint_every=0.5,
    save_every=2,
)
CPU = torch.device("cpu")


class Store(Recorder):
    """A context that deletes what is no longer needed, as the front does, and counts what lies there."""

    def __init__(self, root: Path, die_at: int = -1) -> None:
        super().__init__()
        self.root = root
        self.die_at = die_at
        self.most = 0

    def checkpoint(self, manifest: CheckpointManifest) -> None:
        super().checkpoint(manifest)
        self.most = max(self.most, len(self.there()))
        self.tick()

    def needed(self, digests: list[str]) -> None:
        super().needed(digests)
        self.tick()
        for path in self.there():
            if path.name not in digests:
                path.rename(path.with_name(f".gone-{path.name}"))

    def tick(self) -> None:
        self.die_at -= 1
        if self.die_at == 0:
            raise KeyboardInterrupt

    def there(self) -> list[Path]:
        return [path for path in (self.root / "checkpoints").iterdir() if not path.name.startswith(".")]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run(root: Path, keep: str, context: Recorder | None = None, dataset: MemoryDataset | None = None, **changes):
    config = replace(CONFIG, keep=keep, **changes)
    return finetune(config, dataset or squares(), root=root, device=CPU, context=context or Store(root), run_id="run-1")


def content(outcome: FinetuneOutcome) -> list[tuple[int, str]]:
    return [(one.step, one.digest) for one in outcome.checkpoints]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> FinetuneOutcome:
    """Every checkpoint: of the start and of six steps."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    outcome = run(tmp_path_factory.mktemp("whole"), "all")
    torch.set_num_threads(before)
    assert len(outcome.checkpoints) == 7
    return outcome


def expected(whole: FinetuneOutcome, keep: str) -> list[tuple[int, str]]:
    every = content(whole)
    if keep == "last":
        return every[-1:]
    if keep == "best":
        scores = {one.step: one.metrics.worst_group_accuracy for one in whole.history}
        return [max(every[1:], key=lambda one: (scores[one[0]], -one[0]))]
    return [one for i, one in enumerate(every) if i % int(keep) == 0 or i == len(every) - 1]


@pytest.mark.parametrize(("keep", "most"), [("last", 2), ("best", 2), ("1", 7), ("2", 5), ("4", 4), ("99", 3)])
def test_what_is_left_and_how_much_there_ever_is(tmp_path: Path, whole: FinetuneOutcome, keep: str, most: int) -> None:
    context = Store(tmp_path)
    outcome = run(tmp_path, keep, context)
    assert content(outcome) == expected(whole, keep)
    assert sorted(path.name for path in context.there()) == sorted(digest for _, digest in content(outcome))
    # No more than is needed at that time, and one.
    assert context.most == most
    assert [one.step for one in outcome.history] == [one.step for one in whole.history]
    for one, other in zip(outcome.history, whole.history, strict=True):
        assert_array_equal(one.metrics.correct, other.metrics.correct)


def test_the_best_is_kept(whole: FinetuneOutcome) -> None:
    """The earlier of equal ones; what has no score, or none that is a number, is never better."""
    records = [one for one in whole.history if one.split == "val"]

    def history(*scores: float):
        return [
            replace(records[0], step=step, metrics=replace(records[0].metrics, worst_group_accuracy=score))
            for step, score in enumerate(scores, start=1)
        ]

    def left(checkpoints, *scores: float) -> int:
        return needed("best", [(step, "") for step in checkpoints], history(*scores), n_stored=9)[0][0]

    assert left([1, 2], 0.5, 0.5) == 1
    assert left([1, 2], 0.5, 0.6) == 2
    assert left([1, 2], 0.5, float("nan")) == 1
    assert left([1, 2], float("nan"), 0.0) == 2
    assert left([0, 1], 0.0) == 1
    other_split = [replace(one, split="test") for one in history(0.9)]
    assert needed("best", [(1, ""), (2, "")], [*other_split, *history(0.1, 0.2)], n_stored=3) == [(2, "")]


def test_only_measured_checkpoints_are_candidates(tmp_path: Path) -> None:
    context = Store(tmp_path)
    outcome = run(tmp_path, "best", context, checkpoint_every=0.5, evaluate_every=1.5)
    measured = {one.step for one in outcome.history}
    assert {one.step for one in context.stored} == {0, *measured}
    assert outcome.checkpoints[0].step in measured


@pytest.mark.parametrize("keep", ["last", "best", "2"])
def test_a_run_that_is_killed_anywhere_leaves_the_same(tmp_path: Path, whole: FinetuneOutcome, keep: str) -> None:
    kills = 0
    for die_at in (2, 3, 4, 5, 9):
        root = tmp_path / str(die_at)
        try:
            run(root, keep, Store(root, die_at))
        except KeyboardInterrupt:
            kills += 1
        context = Store(root)
        outcome = run(root, keep, context)
        assert content(outcome) == expected(whole, keep), die_at
        # What was kept is really there; a state never asks for what has gone.
        there = {path.name for path in context.there()}
        assert {digest for _, digest in content(outcome)} <= there
    assert kills == 5


@pytest.mark.parametrize("keep", ["", "none", "first", "0", "-1", "1.5", "²", "1" * 12])
def test_what_is_no_policy_is_refused(keep: str) -> None:
    with pytest.raises(ServiceError, match="must be one of all, last, best, or a number") as caught:
        replace(CONFIG, keep=keep)
    assert (caught.value.kind, caught.value.metadata["field"]) == (ErrorKind.INVALID_ARGUMENT, "keep")


def test_the_best_needs_a_split_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=r"where that split is not evaluated \(evaluated are test\)") as caught:
        run(tmp_path, "best", evaluate=("test",))
    assert caught.value.metadata["field"] == "keep"
