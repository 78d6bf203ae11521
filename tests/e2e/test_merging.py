"""Merges through a real server: every method, what is refused, and what a merged checkpoint is good for."""

from collections.abc import Callable

import numpy as np
import pytest

import penult
from penult.errors import InvalidRequest, NotFound, PreconditionFailed
from penult_proto.merge_methods import METHODS


class World:
    """A start, three runs from it, one that has nothing to do with them, and one that was imported."""

    def __init__(self, client: penult.Client, table, tiny: dict, directory) -> None:
        self.client = client
        client.datasets.register("shapes", table)
        fresh = {"dataset": "shapes", "epochs": 0} | {one: tiny[one] for one in ("backbone", "pretrained")}
        trained = {"dataset": "shapes", "epochs": 1, "evaluate": ["val"]}
        trained |= {one: tiny[one] for one in ("batch_size", "optimizer")}
        self.start = client.finetune(**fresh).wait()
        jobs = [client.finetune(**trained, start=self.start.checkpoints[0], seed=seed) for seed in (1, 2, 3)]
        stranger = client.finetune(**fresh, seed=9)
        self.runs = [job.wait() for job in jobs]
        self.last = [run.checkpoints[-1] for run in self.runs]
        self.stranger = stranger.wait().checkpoints[0]
        exported = client.checkpoints.export(self.last[2], directory / "exported")
        self.imported = client.checkpoints.import_(exported).wait()

    def other(self) -> penult.Checkpoint:
        """A network of another architecture."""
        job = self.client.finetune(dataset="shapes", backbone="test_vit", pretrained=False, epochs=0)
        return job.wait().checkpoints[0]

    def resized(self) -> penult.Checkpoint:
        """The start, which reads smaller images."""
        images, start = penult.Images(size=24), self.start.checkpoints[0]
        return self.client.finetune(dataset="shapes", start=start, epochs=0, inputs=images).wait().checkpoints[0]

    def set(self, kind: str) -> str:
        """A feature set of the first network."""
        return self.client.extract(self.last[0], splits=["val"], kind=kind).wait()["val"].digest

    def merged(self, checkpoints, **asked) -> penult.Merge:
        return self.client.merge(checkpoints, **asked).wait()


@pytest.fixture(scope="module")
def world(client, table, tiny, tmp_path_factory) -> World:
    return World(client, table, tiny, tmp_path_factory.mktemp("files"))


def refusal(world: World, checkpoints, kind: str = "invalid_argument", **asked) -> str:
    """The message of what is refused before a job starts."""
    with pytest.raises((InvalidRequest, NotFound)) as caught:
        world.client.merge(checkpoints, **asked)
    assert caught.value.kind == kind, caught.value
    return str(caught.value)


def test_a_merge_is_a_checkpoint_like_every_other(world, tmp_path):
    client = world.client
    found = world.merged(world.last, name="soup", tags=["pilot"], then={"extract": ["val", "test"], "refit": "dfr_l2"})
    soup = found.checkpoint
    assert (soup.name, soup.tags, soup.run_id, soup.dataset) == ("soup", ("pilot",), "", "shapes")
    assert set(found.features) == {"val", "test"}
    assert found.refit.head.checkpoint == soup.digest
    assert np.isfinite(client.spectra(found.features["val"], replicates=0).eigenvalues).all()
    assert client.evaluate(soup, found.features["test"]).average_accuracy >= 0
    origin = found.origin
    assert (origin.method, origin.scope, origin.bn, origin.bn_examples) == ("uniform", "body", "reestimate", 64)
    assert origin.parents == tuple(sorted(one.digest for one in world.last))
    assert origin.rest == world.last[0].digest
    exported = client.checkpoints.export("soup", tmp_path / "soup")
    assert client.checkpoints.import_(exported).wait().model == soup.model
    again = client.finetune(dataset="shapes", start="soup", epochs=0).wait()
    assert again.checkpoints[0].digest == soup.digest
    text = repr(client.lineage(soup))
    assert text.count("parent ") == 3
    assert world.start.checkpoints[0].digest[:12] in text
    assert [one.digest for one in client.checkpoints.list(tag="pilot")] == [soup.digest]


NEW = {"preset": "dfr_l2", "on": "val"}
THEN = {"extract": ["val", "test"], "refit": {"preset": "erm", "l2": 0.1}}


def test_a_new_head_is_the_one_that_is_fitted_by_hand(world):
    """Digest by digest: what is merged, its features, the refit, and the network with its head."""
    client, asked = world.client, {"heads": NEW, "bn": "average", "then": THEN, "name": "headed", "tags": ["a"]}
    found = world.merged(world.last, scope="full", **asked)
    body = world.merged(world.last, scope="body", bn="average").checkpoint
    assert found.merged.digest == body.digest != found.checkpoint.digest
    sets = client.extract(body, splits=["val"]).wait()
    refit = client.refit(sets["val"], preset="dfr_l2")
    assert found.head_refit.digest == refit.digest
    started = client.finetune(dataset="shapes", start=refit, epochs=0).wait()
    assert started.checkpoints[0].digest == found.checkpoint.digest
    assert client.checkpoints.get("headed").digest == found.checkpoint.digest
    assert not client.checkpoints.get(body.digest).name
    # Its features are those of the body, and so is what is fitted on them; its logits are those of the new head.
    theirs = client.extract(body, splits=["test"]).wait()["test"]
    assert client.evaluate(refit, theirs).group_accuracy == pytest.approx(
        client.evaluate(found.checkpoint, found.features["test"]).group_accuracy
    )
    by_hand = client.refit(sets["val"], preset="erm", l2=0.1)
    np.testing.assert_array_equal(found.refit.head.weight, by_hand.head.weight)
    assert "start " in repr(client.lineage(found))
    assert repr(client.lineage(found)).count("parent ") == 3


@pytest.mark.parametrize("heads", ["first", "merged"])
def test_what_comes_next_is_of_the_checkpoint_whatever_its_head(world, heads):
    found = world.merged(world.last, heads=heads, bn="average", then=THEN)
    scope = "full" if heads == "merged" else "body"
    assert found.checkpoint.digest == world.merged(world.last, scope=scope, bn="average").checkpoint.digest
    assert (found.merged, found.head_refit) == (None, None)
    sets = world.client.extract(found.checkpoint, splits=["val", "test"]).wait()
    assert found.features["val"].digest == sets["val"].digest
    asked = THEN["refit"] | {"evaluate": {"test": sets["test"]}}
    assert found.refit.digest == world.client.refit(sets["val"], **asked).digest
    if heads == "first":
        same = world.merged(world.last, heads="first", scope="full", bn="average")
        assert same.checkpoint.digest == found.checkpoint.digest


def test_heads_that_contradict_the_scope_are_refused(world):
    for heads in ("first", "merged", "refit", NEW):
        assert "merges heads and nothing else" in refusal(world, world.last, heads=heads, scope="head")
    for heads in ("first", "merged"):
        blocks = {"scope": "blocks", "blocks": ["conv1.0"]}
        assert "blocks say whether the head" in refusal(world, world.last, heads=heads, **blocks)
    assert "take scope='full'" in refusal(world, world.last, heads="merged", scope="body")
    assert "'first', 'merged', 'refit'" in refusal(world, world.last, heads="mean")
    assert "on" in refusal(world, world.last, heads={"on": 3})


def test_the_same_merge_is_the_same_job_in_whatever_order(world):
    first, *others = world.last
    one = world.client.merge([first, *others], bn="average")
    assert world.client.merge([first, *others[::-1]], bn="average").id == one.id
    swapped = world.merged([others[0], first, others[1]], bn="average", scope="full")
    assert swapped.checkpoint.digest == world.merged([first, *others], bn="average", scope="full").checkpoint.digest
    assert one.title == "merge 3 checkpoints, uniform"
    assert one.id in [job.id for job in world.client.jobs.list(kind="merge")]
    assert isinstance(world.client.jobs.get(one.id).wait(), penult.Merge)


@pytest.mark.parametrize("method", [name for name in METHODS if not METHODS[name].selects])
def test_every_method_runs(world, method):
    checkpoints = {"wise": world.last[:1], "trajectory": [world.runs[0]], "slerp": world.last[:2]}
    asked = {"k": 2} if method == "trajectory" else {}
    found = world.merged(checkpoints.get(method, world.last), method=method, bn="average", **asked)
    assert found.origin.method == method
    base = world.start.checkpoints[0].digest if METHODS[method].needs_base else ""
    assert found.origin.base == base
    assert found.checkpoint.digest not in {one.digest for one in world.last}


def test_a_share_of_one_is_the_parent(world):
    first = world.last[0]
    found = world.merged(world.last, shares=[1, 0, 0], bn="first", scope="full")
    assert found.checkpoint.digest == first.digest
    assert found.checkpoint.merge is None
    assert found.origin.shares == (1.0,)
    for method in ("variance_corrected", "fisher"):
        asked = {"rows": 4} if method == "fisher" else {}
        alone = world.merged(world.last, method=method, shares=[1, 0, 0], bn="first", scope="full", **asked)
        assert alone.checkpoint.digest == first.digest
    at_end = world.merged([world.start.checkpoints[0], first], method="wise", t=1, bn="average", scope="full")
    assert at_end.checkpoint.digest == first.digest


def test_what_methods_measure_on_rows_is_told_and_bounded(world):
    found = world.merged(
        world.last, method="fisher", bn="first", rows=5, row_stream="group", attribute="ground", seed=3
    )
    assert (found.origin.numbers["rows"], found.origin.row_stream, found.origin.dataset) == (5, "group", "shapes")
    assert 0 <= found.factors["plain_mean_fraction"] < 1
    head = world.merged(world.last, method="regmean", scope="head", rows=10**5)
    assert (head.origin.numbers["rows"], head.factors) == (72, {"tensors_averaged": 1, "tensors_solved": 1})
    assert "row_stream='group'" in refusal(world, world.last, method="fisher", bn="first", attribute="ground")


def test_an_imported_one_is_merged_too(world):
    found = world.merged([world.last[0], world.imported], allow_datasets=True)
    assert "no common start" in found.notes[0]
    assert found.origin.bn_examples == 64
    own = world.merged([world.imported], dataset="shapes", bn_stream="group", attribute="ground")
    assert (own.origin.parents, own.origin.bn_stream) == ((world.imported.digest,), "group")
    assert own.checkpoint.model != world.imported.model
    assert "belongs to no dataset" in refusal(world, [world.imported])


FIT = "incompatible_checkpoints"
BAD: dict[str, tuple[Callable[[World], dict], str, str]] = {
    # What does not fit, and says so before a job starts.
    "heads of other starts": (lambda w: of(w.last[0], w.stranger, scope="full"), FIT, "heads started from different"),
    "no common start": (lambda w: of(w.last[0], w.stranger, method="ties"), FIT, "none that is stored"),
    "another dataset": (lambda w: of(w.last[0], w.imported), FIT, "allow_datasets=True"),
    "another backbone": (lambda w: of(w.last[0], w.other()), FIT, "of one architecture"),
    "another image size": (lambda w: of(w.last[0], w.resized()), FIT, "of one preprocessing"),
    "one twice": (lambda w: of(w.last[0], w.last[0]), "", "have the same"),
    "one alone": (lambda w: of(w.last[0], bn="average"), "", "at least 2 checkpoints"),
    "its own start": (lambda w: of(w.start.checkpoints[0], method="wise"), "", "its own start"),
    "a merge of three by wise": (lambda w: of(*w.last, method="wise"), "", "takes one checkpoint"),
    "a merge of three by slerp": (lambda w: of(*w.last, method="slerp"), "", "2 checkpoints"),
    "a run too short": (lambda w: of(w.runs[0], method="trajectory", k=7), "", "has 2 checkpoints"),
    "two runs": (lambda w: of(*w.runs[:2], method="trajectory", k=2), "", "checkpoints of one run"),
    "too many": (lambda w: of(*(w.last * 100)), "", "at most 256"),
    "a feature set": (lambda w: of(w.set("pooled"), w.last[0]), "unknown_checkpoint", "name its checkpoint"),
    "a flat feature set": (lambda w: of(w.set("flat"), w.last[0]), "unknown_checkpoint", "name its checkpoint"),
    # Numbers out of their range.
    "t beyond 1": (lambda w: of(w.last[0], method="wise", t=1.5), "", "allow_extrapolation=True"),
    "density 0": (lambda w: of(*w.last, method="ties", density=0), "", "density must be in"),
    "density above 1": (lambda w: of(*w.last, method="ties", density=1.5), "", "density must be in"),
    "rows 0": (lambda w: of(*w.last, method="fisher", rows=0), "", "rows must be"),
    "alpha above 1": (lambda w: of(*w.last, method="regmean", alpha=1.5), "", "alpha must be in 0 .. 1"),
    "one example of statistics": (lambda w: of(*w.last, bn_count=1), "", "bn_count must be in 2"),
    "shares above 1": (lambda w: of(*w.last, shares=[0.5] * 3), "", "sum 1"),
    "a negative share": (lambda w: of(*w.last, shares=[1.5, -0.5, 0]), "", "sum 1"),
    "too few shares": (lambda w: of(*w.last, shares=[1]), "", "as many as checkpoints"),
    "no share": (lambda w: of(*w.last, shares=[0, 0, 0]), "", "not all 0"),
    # Names that there are not.
    "another method": (lambda w: of(*w.last, method="median"), "", "'uniform', 'greedy'"),
    "another block": (lambda w: of(*w.last, scope="blocks", blocks=["blocks.99"]), "", "known: bn1, conv1.0"),
    "another split": (lambda w: of(*w.last, method="greedy", select={"split": "x"}), "unknown_split", "known: train"),
    "another metric": (lambda w: of(*w.last, method="greedy", select={"metric": "f1"}), "", "worst_group"),
    # What would have no effect.
    "shares of ties": (lambda w: of(*w.last, method="ties", shares=[1, 0, 0]), "", "shares have no effect"),
    "t of the mean": (lambda w: of(*w.last, t=0.5), "", "t has no effect"),
    "a base of the mean": (lambda w: of(*w.last, base=w.last[0]), "", "base has no effect"),
    "a seed of the mean": (lambda w: of(*w.last, seed=1), "", "seed has no effect"),
    "rows of the mean": (lambda w: of(*w.last, row_stream="class"), "", "row_stream has no effect"),
    "a choice of the mean": (lambda w: of(*w.last, select={"split": "val"}), "", "chooses nothing"),
    "no blocks": (lambda w: of(*w.last, scope="blocks"), "", "needs blocks"),
    "blocks of the body": (lambda w: of(*w.last, blocks=["conv1"]), "", "without scope='blocks'"),
    "a count of the average": (lambda w: of(*w.last, bn="average", bn_count=5), "", "bn_count has no effect"),
    "statistics of a head": (lambda w: of(*w.last, scope="head", bn="first"), "", "batch_norm has no effect"),
    "a dataset of the first": (lambda w: of(*w.last, bn="first", dataset="shapes"), "", "dataset has no effect"),
    "an attribute alone": (lambda w: of(*w.last, attribute="ground"), "", "bn_stream='group' alone"),
    # A score on the rows that chose.
    "a leak": (lambda w: of(*w.last, method="greedy", then=LEAK), "selection_leak", "too high"),
}
LEAK = {"extract": ["val", "test"], "refit": {"preset": "dfr_l2", "on": "test"}}


def of(*checkpoints, **asked) -> dict:
    """Arguments of a merge."""
    return {"checkpoints": list(checkpoints)} | asked


@pytest.mark.parametrize("case", BAD)
def test_a_bad_request_says_what_is_wrong_with_it(world, case):
    asked, kind, words = BAD[case]
    given = asked(world)
    assert words in refusal(world, given.pop("checkpoints"), kind or "invalid_argument", **given)


def test_what_is_odd_is_said(world):
    """Statistics of networks that have seen unequally many batches; and a place beyond the end, where it is allowed."""
    odd = world.merged([world.start.checkpoints[0], world.last[0]], bn="average")
    assert any("the parents have counted" in str(note) for note in odd.notes)
    assert world.merged(world.last[:1], method="wise", t=1.5, allow_extrapolation=True, bn="first").checkpoint
    assert "known: uniform" in refusal_of_method(world)


def refusal_of_method(world: World) -> str:
    from penult_proto.v1 import jobs_pb2

    spec = jobs_pb2.JobSpec()
    spec.merge.method = "median"
    spec.merge.parents.add(checkpoint=world.last[0].digest)
    connection = world.client.connection
    with pytest.raises(InvalidRequest) as caught:
        connection.unary(connection.stubs.jobs.CreateJob, jobs_pb2.CreateJobRequest(spec=spec), timeout=20)
    assert caught.value.kind == "unknown_method"
    return str(caught.value)


def test_other_things_than_checkpoints_say_what_to_pass(world):
    sets = world.client.extract(world.last[0], splits=["val"]).wait()
    assert "name its checkpoint" in refusal(world, [sets["val"].digest, world.last[0]], "unknown_checkpoint")
    mine = world.client.features.upload(np.eye(4, dtype=np.float32), [0, 1, 0, 1], name="mine")
    assert "only heads can be averaged" in refusal(world, [mine.digest, world.last[0]], "unknown_checkpoint")
    head = world.client.refit(mine, preset="erm").digest
    assert "a head alone" in refusal(world, [head, world.last[0]], "unknown_checkpoint")
    with pytest.raises(InvalidRequest, match=r"features\.checkpoint"):
        world.client.merge([sets["val"], world.last[0]])
    with pytest.raises(InvalidRequest, match="then takes"):
        world.client.merge(world.last, then={"plot": 1})
    run = world.merged([world.runs[0], world.last[1]], bn="average")
    assert "stands for its last checkpoint" in run.notes[0]


def test_a_parent_may_go_afterwards_and_not_before(world):
    client = world.client
    extra = client.finetune(dataset="shapes", start=world.last[0], epochs=0, head="new", seed=5).wait()
    made = world.merged([extra, world.last[1]], bn="average", scope="body")
    assert client.runs.delete(extra).goes
    tree = client.lineage(made)
    assert "deleted" in repr(tree)
    assert client.extract(made.checkpoint, splits=["val"]).wait()["val"].n_examples == 32
    with pytest.raises((NotFound, PreconditionFailed)):
        client.merge([extra.checkpoints[0], world.last[1]])


def test_a_line_is_measured_by_group(world):
    first, second = world.last[:2]
    found = world.client.merge_curve(first, second, t=[0.5], splits=["val", "test"], bn="average").wait()
    assert found.t.tolist() == [0.0, 0.5, 1.0]
    sets = world.client.extract(second, splits=["test"]).wait()
    own = world.client.evaluate(second, sets["test"])
    np.testing.assert_array_equal(found.metrics("test")[-1].group_accuracy, own.group_accuracy)
    assert found.metrics("test")[-1].loss == pytest.approx(own.loss, rel=1e-4)
    middle = world.merged([first, second], bn="average", scope="full").checkpoint
    there = world.client.evaluate(middle, world.client.extract(middle, splits=["test"]).wait()["test"])
    np.testing.assert_array_equal(found.metrics("test")[1].group_accuracy, there.group_accuracy)
    for measure in ("loss", "error"):
        everything, *groups = found.barrier("test", measure=measure)
        assert (everything.name, everything.count, len(groups)) == ("all", 40, 4)
        ends = [one.loss if measure == "loss" else 1 - one.average_accuracy for one in found.metrics("test")]
        assert everything.value == pytest.approx(max(0, ends[1] - (ends[0] + ends[2]) / 2), abs=1e-6)
        assert all(one.value >= 0 and one.low <= one.value <= one.high for one in groups)
    assert len(found.to_frame()) == 2 * 3 * 4
    assert found.plot().axes[0].get_xlabel() == "t"
    assert "3 networks" in repr(found)


def test_blocks_are_moved_one_after_the_other(world):
    start, last = world.start.checkpoints[0], world.last[0]
    found = world.client.merge_curve(start, last, blocks="each", t=[0.5], bn="first").wait()
    assert {"conv1.0", "bn1", "layer1.0", "fc"} <= set(found.blocks)
    ends = {found.metrics(block=one)[0].loss for one in found.blocks}
    assert len(ends) == 1
    # With the head of the start, and the statistics of either, a block that is moved by 0 is not moved.
    assert any(found.metrics(block=one)[-1].loss != found.metrics(block=one)[0].loss for one in found.blocks)
    assert set(found.stragglers()) <= set(found.blocks)
    assert found.plot().axes[0].get_xlabel() == "t of the block"


def test_networks_are_compared_by_block_and_group(world):
    """Gains against the logits of the sets, and the parts against the whole."""
    client, last = world.client, sorted(world.last[:2], key=lambda one: one.digest)
    soup = world.merged(last, bn="average").checkpoint
    sets = [client.extract(one, splits=["test"]).wait()["test"] for one in (soup, *last)]
    found = client.merge_report(last[::-1], features=sets, scope="full").wait()
    assert found.networks.parents == tuple(one.digest for one in last)
    assert found.networks.base == world.start.checkpoints[0].digest
    assert found.total.n_entries == sum(one.n_entries for one in found.blocks)
    np.testing.assert_allclose(found.total.norms, np.sqrt(sum(one.norms**2 for one in found.blocks)))
    assert {"conv1.0", "fc"} <= {one.block for one in found.blocks}
    assert all(-1 <= one.mean_cosine <= 1 for one in found.blocks)
    assert found.block("fc").variance_factor >= 1 - 1e-9
    logits = [client.features.read(one).logits for one in (*sets[1:], sets[0])]
    y = client.features.read(sets[0]).y
    right = [one.argmax(axis=1) == y for one in logits]
    everything = {one.of: one for one in found.gains if one.group == -1}
    assert everything["merged"].gained == int((~right[0] & ~right[1] & right[2]).sum())
    assert everything["merged"].lost == int((right[0] & right[1] & ~right[2]).sum())
    by_group = [one for one in found.gains if one.of == "merged" and one.group >= 0]
    assert sum(one.gained - one.lost for one in by_group) == everything["merged"].gained - everything["merged"].lost
    own = client.evaluate(last[0], sets[1])
    np.testing.assert_array_equal(found.metrics[0].group_accuracy, own.group_accuracy)
    assert found.merged.average_accuracy == pytest.approx(right[2].mean())
    assert len(found.to_frame()) == (len(found.blocks) + 1) * 2
    assert "all blocks" in found._repr_html_()
    assert len(found.plot().axes) == 3
    assert "2 networks" in repr(found)


def test_networks_that_cannot_be_compared_are_refused(world):
    client, last = world.client, world.last[:2]

    def refused(checkpoints=last, kind="invalid_argument", **asked) -> str:
        with pytest.raises((InvalidRequest, NotFound)) as caught:
            client.merge_report(checkpoints, **asked)
        assert caught.value.kind == kind, caught.value
        return str(caught.value)

    sets = [client.extract(one, splits=["val", "test"]).wait() for one in last]
    assert "a set of every network" in refused(features=[sets[0]["val"]])
    assert "sets of the same rows" in refused(features=[sets[0]["val"], sets[1]["test"]])
    assert "one set of each network" in refused(features=[sets[0]["val"], sets[0]["val"]])
    mine = client.features.upload(np.eye(4, dtype=np.float32), [0, 1, 0, 1])
    assert "was uploaded" in refused(features=[mine])
    assert "none that is stored" in refused([last[0], world.stranger], "incompatible_checkpoints")
    assert "at least 2 checkpoints" in refused(last[:1])


def test_lines_that_cannot_be_measured_are_refused(world):
    first, second = world.last[:2]

    def refused(kind: str = "invalid_argument", **asked) -> str:
        with pytest.raises((InvalidRequest, NotFound)) as caught:
            world.client.merge_curve(first, second, **asked)
        assert caught.value.kind == kind
        return str(caught.value)

    assert "known: train" in refused("unknown_split", splits=["holdout"])
    assert "ascend" in refused(t=[0.7, 0.2])
    assert "steps has no effect" in refused(t=[0.5], steps=3)
    assert "blocks" in refused(blocks="conv1")
    with pytest.raises(InvalidRequest, match="heads started from different ones"):
        world.client.merge_curve(first, world.stranger)


def test_a_greedy_soup_says_what_it_tried(world):
    found = world.merged(
        world.last, method="greedy", scope="full", bn="average", select={"split": "val", "metric": "average"}
    )
    first, *others = found.selection
    assert {one.checkpoint for one in found.selection} == {one.digest for one in world.last}
    assert first.kept
    assert first.alone == first.score >= max(one.alone for one in others)
    assert all(one.gain_low <= one.score - first.score + 1e-9 or one.kept for one in others)
    assert all(0 <= one.entered <= 1 and one.gain_low <= one.gain_high for one in found.selection)
    assert first.gain_low == first.gain_high == 0 < first.entered
    kept = [one.checkpoint for one in found.selection if one.kept]
    same = world.merged(kept, scope="full", bn="average").checkpoint.digest if len(kept) > 1 else kept[0]
    assert same == found.checkpoint.digest
    sets = world.client.extract(found.checkpoint, splits=["val"]).wait()
    best = [one.score for one in found.selection if one.kept][-1]
    assert world.client.evaluate(found.checkpoint, sets["val"]).average_accuracy == pytest.approx(best, abs=1e-12)
