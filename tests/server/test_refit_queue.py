"""Refits of many callers in one batch: solved together, failing alone, leaving when their caller has gone."""

import numpy as np
import pytest

from penult_kernels.linear.solve import Problem, Standardize, solve
from penult_proto.errors import ErrorKind
from penult_proto.v1 import groups_pb2
from penult_proto.v1 import refits_pb2 as pb
from penult_server.compute.backend import choose_backend
from penult_server.compute.refits import queue as refit_queue
from penult_server.compute.refits import work as refit_work
from penult_server.compute.refits.material import RefitMaterial
from penult_server.compute.refits.queue import LONGEST, QUIET, Arrivals, Asked, RefitQueue, answer_together
from penult_server.compute.rows.resident import ResidentFeatures
from penult_server.compute.turns import Turns
from penult_server.errors import ServiceError
from penult_server.front.queries.refits.request import expand
from penult_server.messages import array_from_proto
from penult_server.stores.features import FeatureHeader, FeatureWriter
from penult_server.stores.manifest import LabelNames

LABELS = LabelNames(classes=("cat", "dog"), attribute="place", attribute_values=("in", "out"))


def written(root, seed: int):
    """A set of 300 rows: its digest, features and labels; group (dog, in) is empty."""
    rng = np.random.default_rng(seed)
    g = rng.choice([0, 1, 3], size=300)
    x = (rng.standard_normal((300, 8)) + (g // 2)[:, None] * 0.5).astype(np.float32)
    header = FeatureHeader(n_examples=300, n_features=8, dtype="float32", labels=LABELS, n_logits=0)
    with FeatureWriter(root, header) as writer:
        writer.append(features=x, y=g // 2, a=g % 2, row_id=np.arange(300, dtype=np.uint64))
        return writer.finish().digest, x, g // 2


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A store with one set."""
    root = tmp_path_factory.mktemp("store")
    return root, *written(root, 0)


@pytest.fixture
def material(stored):
    backend = choose_backend("cpu")
    return RefitMaterial(stored[0], backend, ResidentFeatures(stored[0], backend, 2**24))


@pytest.fixture
def solves(monkeypatch) -> list[int]:
    """Problems of each call of the engine."""
    sizes: list[int] = []

    def counting(features, y, n_classes, problems, **more):
        sizes.append(len(problems))
        return solve(features, y, n_classes, problems, **more)

    monkeypatch.setattr(refit_work, "solve", counting)
    return sizes


def asked(digest: str, is_waiting=lambda: True, **fields) -> Asked:
    request = pb.RefitRequest(feature_set=digest, **fields)
    expand(request)
    return Asked(request, is_waiting)


def test_a_batch_is_one_solve_and_each_answer_its_own(stored, material, solves):
    _, digest, x, y = stored
    batch = [asked(digest, l2=l2) for l2 in (0.001, 0.01, 0.1)]
    answer_together(batch, material)
    assert solves == [3]
    for one in batch:
        (alone,) = solve(x, y, 2, [Problem(l2=one.request.l2, standardize=Standardize.ROWS)])
        weight = array_from_proto(one.answer.result().head.weight, "weight")
        bound = np.sqrt(2 * (alone.certificate.gap + one.answer.result().certificate.gap) / one.request.l2)
        assert np.linalg.norm((weight - alone.weight) * x.std(axis=0)) <= 2 * bound + 1e-12


def test_stages_of_different_requests_meet(stored, material, solves):
    """Two grids and one plain refit: one solve for all candidates, one for both final fits."""
    _, digest, _, _ = stored
    grid = [pb.GridAxis(name="l2", values=[0.01, 0.1, 1.0])]
    select = pb.Select(half=True, metric=pb.SELECT_METRIC_AVERAGE, final=pb.SELECT_FINAL_REFIT)
    batch = [asked(digest, grid=grid, select=select, seed=seed) for seed in (0, 1)] + [asked(digest, l2=0.01)]
    answer_together(batch, material)
    assert solves == [7, 2]
    assert [len(one.answer.result().candidates) for one in batch] == [3, 3, 0]


def test_an_impossible_request_fails_alone(stored, material):
    _, digest, _, _ = stored
    subsets = groups_pb2.Balance(method=groups_pb2.BALANCE_METHOD_SUBSETTING, by=groups_pb2.BALANCE_BY_GROUP)
    wide = pb.Head()
    for name, shape in (("weight", (2, 9)), ("bias", (2,))):
        part = getattr(wide, name)
        part.CopyFrom(pb.Head(weight={"dtype": 3, "shape": shape, "data": bytes(8 * int(np.prod(shape)))}).weight)
    batch = [
        asked(digest, l2=0.1),
        asked(digest, l2=0.1, balance=subsets),
        asked(digest, l2=0.1, center=pb.HeadSource(kind=pb.HEAD_KIND_EXPLICIT, head=wide)),
        asked(digest, preset="jtt"),
        asked(digest, l2=0.2),
    ]
    answer_together(batch, material)
    errors = [one.answer.exception() for one in batch]
    assert errors[0] is errors[4] is None
    assert all(isinstance(error, ServiceError) for error in errors[1:4])
    assert [error.kind for error in errors[1:4]] == [
        ErrorKind.EMPTY_GROUP,
        ErrorKind.WRONG_SHAPE,
        ErrorKind.INVALID_ARGUMENT,
    ]
    assert "dog, in" in errors[1].message
    assert "(2, 8)" in errors[2].message
    assert "neither logits" in errors[3].message
    assert batch[4].answer.result().certificate.converged


class Caller:
    """Leaves when it has been asked so often whether it is there."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    def __call__(self) -> bool:
        self.looks -= 1
        return self.looks > 0


@pytest.mark.parametrize("looks", [2, 4, 6])
@pytest.mark.parametrize("more", [{}, {"l1": 1e-3, "penalty_scale": pb.PENALTY_SCALE_MEAN}], ids=["l2", "elastic net"])
def test_a_caller_that_goes_leaves_the_batch_in_the_middle_of_a_solve(stored, material, solves, looks, more):
    """The others go on where they are: one call of the engine, as many steps as if all had stayed, the same answers."""
    _, digest, _, _ = stored
    penalties = (1e-3, 1e-4, 1e-2)
    stayed = [asked(digest, l2=l2, tolerance=1e-10, **more) for l2 in penalties]
    answer_together(stayed, material)
    leaving = Caller(looks)
    batch = [
        asked(digest, leaving if place == 1 else lambda: True, l2=l2, tolerance=1e-10, **more)
        for place, l2 in enumerate(penalties)
    ]
    answer_together(batch, material)
    assert solves == [3, 3], "the others were not begun again"
    assert batch[1].answer.exception().kind == ErrorKind.CANCELLED
    assert leaving.looks == 0, "it was not asked again"
    for one, expected in zip((batch[0], batch[2]), (stayed[0], stayed[2]), strict=True):
        found, expected = one.answer.result(), expected.answer.result()
        assert found.certificate.converged
        assert found.certificate.iterations == expected.certificate.iterations
        weights = [array_from_proto(each.head.weight, "weight") for each in (found, expected)]
        np.testing.assert_allclose(*weights, rtol=0, atol=1e-4)


def test_the_last_caller_that_goes_ends_the_solve(stored, material, solves):
    _, digest, _, _ = stored
    batch = [asked(digest, Caller(looks), l2=l2, tolerance=1e-12) for looks, l2 in ((4, 1e-4), (7, 1e-5))]
    answer_together(batch, material)
    assert solves == [2]
    assert [one.answer.exception().kind for one in batch] == [ErrorKind.CANCELLED] * 2


def test_a_caller_that_goes_while_its_problems_are_made_ends_that(stored, material, solves):
    _, digest, _, _ = stored
    looks = 0

    def caller() -> bool:
        nonlocal looks
        looks += 1
        return looks < 2

    balance = groups_pb2.Balance(by=groups_pb2.BALANCE_BY_CLASS, method=groups_pb2.BALANCE_METHOD_SUBSETTING)
    one = asked(digest, caller, repeats=10_000, balance=balance, l2=0.1)
    answer_together([one], material)
    assert one.answer.exception().kind is ErrorKind.CANCELLED
    assert looks == 2
    assert not solves


def test_requests_that_arrive_together_are_solved_together(stored, material, solves):
    _, digest, _, _ = stored
    device = Turns()
    refits = RefitQueue(material, device)
    with device.held():
        # The first batch waits for the device; what comes meanwhile is the second.
        first = refits.ask(asked(digest, l2=0.5).request, lambda: True)
        answers = [refits.ask(asked(digest, l2=0.1 * (1 + k)).request, lambda: True) for k in range(20)]
    assert first.result(timeout=100).certificate.converged
    assert all(answer.result(timeout=100).certificate.converged for answer in answers)
    assert solves == [21]


def test_who_asks_of_another_set_does_not_begin_a_round_again(stored, material, solves, monkeypatch):
    """One that comes in the middle of a solve and would join it, were it of the same set, as the last one is."""
    for window in ("QUIET", "LONGEST"):
        monkeypatch.setattr(refit_queue, window, 1000.0)
    root, digest, _, _ = stored
    other = written(root, 1)[0]
    refits = RefitQueue(material, Turns())
    answers = []

    def at_look(wanted: int, feature_set: str):
        looks = iter(range(1, 10**6))

        def is_waiting() -> bool:
            if next(looks) == wanted:
                answers.append(refits.ask(asked(feature_set, l2=0.2).request, lambda: True))
            return True

        return is_waiting

    assert refits.ask(asked(digest, l2=0.1).request, at_look(6, other)).result(timeout=100).certificate.converged
    assert answers.pop().result(timeout=100).certificate.converged
    assert solves == [1, 1]
    assert refits.ask(asked(digest, l2=0.3).request, at_look(6, digest)).result(timeout=100).certificate.converged
    assert answers.pop().result(timeout=100).certificate.converged
    assert solves == [1, 1, 1, 2]


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def meanwhile(arrivals: Arrivals, later: Asked, look: int):
    """A caller during whose look, the first being 1, another request arrives."""
    looks = iter(range(1, 10**6))

    def is_waiting() -> bool:
        if next(looks) == look:
            arrivals.put(later)
        return True

    return is_waiting


def test_a_lone_request_is_solved_at_once_and_who_comes_soon_joins_it(stored, material, solves):
    _, digest, _, _ = stored
    clock = Clock()
    arrivals = Arrivals(clock)
    late, soon = asked(digest, l2=0.3), asked(digest, l2=0.2)
    soon.is_waiting = meanwhile(arrivals, late, 5)
    first = asked(digest, meanwhile(arrivals, soon, 6), l2=0.1)
    arrivals.put(first)
    arrivals.wait()
    batch = arrivals.begin()
    assert batch == [first], "it waits for nobody"

    def joining() -> list[Asked]:
        joined = arrivals.joining()
        if joined:
            clock.now += 2 * QUIET
        return joined

    answer_together(batch, material, joining)
    assert solves == [1, 2], "begun again with the second; the third came too late"
    for one in (first, soon):
        (alone,) = solve(stored[2], stored[3], 2, [Problem(l2=one.request.l2, standardize=Standardize.ROWS)])
        weight = array_from_proto(one.answer.result().head.weight, "weight")
        bound = np.sqrt(2 * (alone.certificate.gap + one.answer.result().certificate.gap) / one.request.l2)
        assert np.linalg.norm((weight - alone.weight) * stored[2].std(axis=0)) <= 2 * bound + 1e-12
    assert arrivals.begin() == [late]


def test_a_batch_is_open_for_as_long_as_joining_it_is_worthwhile(stored):
    """A lone refit of two seconds gives up a quarter of that; one of an hour no more than a second."""
    _, digest, _, _ = stored
    for seconds, window in ((0.01, LONGEST), (2.0, 0.5), (3600.0, 1.0)):
        clock = Clock()
        arrivals = Arrivals(clock)
        arrivals.put(asked(digest, l2=0.1))
        arrivals.wait()
        members = len(arrivals.begin(lambda _, seconds=seconds: seconds))
        step = window / 8.5
        for _ in range(20):
            clock.now += step
            arrivals.put(asked(digest, l2=0.1))
            members += len(arrivals.joining())
        assert members == 1 + 8, seconds
    clock = Clock()
    arrivals = Arrivals(clock)
    arrivals.put(asked(digest, l2=0.1))
    arrivals.wait()
    arrivals.begin(lambda _: 2.0)
    clock.now += 0.3  # longer than half of the half second: nobody else comes
    arrivals.put(asked(digest, l2=0.1))
    assert arrivals.joining() == []


def test_how_long_a_lone_refit_takes_is_known_of_its_set(stored, material):
    _, digest, _, _ = stored
    refits = RefitQueue(material, Turns())
    request = asked(digest, l2=0.5).request
    assert refits._expected(request) == 0
    assert refits.ask(request, lambda: True).result(timeout=100).certificate.converged
    device = refits._device
    with device.held():
        assert refits._expected(request) > 0


def test_a_batch_closes_however_closely_others_follow(stored):
    _, digest, _, _ = stored
    clock = Clock()
    arrivals = Arrivals(clock)
    arrivals.put(asked(digest, l2=0.1))
    members = len(arrivals.begin())
    for _ in range(40):
        clock.now += 0.3 * QUIET
        arrivals.put(asked(digest, l2=0.1))
        members += len(arrivals.joining())
    assert members == 1 + int(LONGEST / (0.3 * QUIET))
    assert len(arrivals.begin()) == 41 - members
