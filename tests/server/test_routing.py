"""Which compute worker answers: every checkpoint has a home, whose crowd alone sends a question elsewhere."""

from collections import Counter

import hypothesis
import pytest
from hypothesis import strategies as st

from penult_proto.v1 import groupings_pb2, neighbours_pb2, refits_pb2, spectra_pb2
from penult_server.front.queries.asked_sets import sets_of
from penult_server.front.workers.routing import MOST_WAITING, Standing, choose, least_used, ranked
from penult_server.front.workers.shares import Share
from penult_server.settings import Settings

KEYS = st.text("0123456789abcdef", min_size=64, max_size=64)
STANDINGS = st.lists(
    st.builds(
        Standing,
        is_up=st.booleans(),
        n_waiting=st.integers(0, 2 * MOST_WAITING),
        n_held=st.integers(0, 3),
    ),
    min_size=1,
    max_size=9,
)


def given(*strategies: st.SearchStrategy):
    """As Hypothesis has it, without a limit in time: the machine may be busy."""
    return lambda test: hypothesis.settings(deadline=None)(hypothesis.given(*strategies)(test))


# Homes


@given(KEYS, st.integers(1, 40))
def test_every_worker_is_ranked_and_always_in_the_same_order(key, n):
    assert sorted(ranked(key, n)) == list(range(n))
    assert ranked(key, n) == ranked(key, n)


@given(KEYS, st.integers(1, 40))
def test_one_worker_more_takes_keys_and_moves_no_other(key, n):
    before, after = ranked(key, n), ranked(key, n + 1)
    assert [number for number in after if number < n] == before
    assert after[0] in (before[0], n)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8])
def test_a_worker_more_takes_its_share_and_all_have_as_much(n):
    keys = [f"{number:064x}" for number in range(4000)]
    homes = Counter(ranked(key, n + 1)[0] for key in keys)
    expected = len(keys) / (n + 1)
    # Five standard deviations of a binomial.
    assert all(abs(homes[number] - expected) < 5 * (expected * n / (n + 1)) ** 0.5 for number in range(n + 1))
    moved = sum(ranked(key, n)[0] != ranked(key, n + 1)[0] for key in keys)
    assert moved == homes[n]


# Choices


@given(st.lists(KEYS, min_size=1, max_size=3), STANDINGS)
def test_a_question_goes_where_it_should(keys, workers):
    number, up = choose(keys, workers), [one.is_up for one in workers]
    assert up[number] or not any(up)
    allowed = [n for n in range(len(workers)) if up[n] or not any(up)]
    orders = [[n for n in ranked(key, len(workers)) if n in allowed] for key in keys]
    homes = [order[0] for order in orders]
    best = max(workers[home].n_held for home in homes)
    if number in homes and workers[number].n_held == best:
        return
    # It has spilled: from a home that has nothing and too many waiting, to a second choice with fewer.
    assert best == 0
    (home,) = {order[0] for order in orders if order[:2][-1] == number and workers[order[0]].n_held == 0} & {homes[0]}
    assert workers[home].n_waiting > max(MOST_WAITING, workers[number].n_waiting)


@given(KEYS, st.integers(0, 100), st.integers(1, 100))
def test_a_set_in_memory_keeps_its_questions(key, waiting, held):
    home = ranked(key, 3)[0]
    workers = [Standing(n_waiting=waiting, n_held=held) if n == home else Standing() for n in range(3)]
    assert choose([key], workers) == home


@given(KEYS, st.integers(2, 9), st.integers(0, 3 * MOST_WAITING))
def test_a_crowd_sends_others_to_the_second_choice(key, n, waiting):
    home, second = ranked(key, n)[:2]
    workers = [Standing(n_waiting=waiting if number == home else 0) for number in range(n)]
    assert choose([key], workers) == (second if waiting > MOST_WAITING else home)


@given(KEYS, st.integers(2, 9))
def test_the_death_of_one_moves_its_keys_alone(key, n):
    home, second = ranked(key, n)[:2]
    for dead in range(n):
        workers = [Standing(is_up=number != dead) for number in range(n)]
        assert choose([key], workers) == (second if dead == home else home)


@given(KEYS, KEYS)
def test_of_several_sets_the_home_that_has_most_answers(one, other):
    first, second = (ranked(key, 5)[0] for key in (one, other))
    assert choose([one, other], [Standing()] * 5) == first
    held = [Standing(n_held=int(number == second)) for number in range(5)]
    assert choose([one, other], held) == second


@given(STANDINGS, st.data())
def test_what_any_can_do_goes_to_one_with_the_least_to_do(workers, data):
    transfers = data.draw(st.lists(st.integers(0, 9), min_size=len(workers), max_size=len(workers)))
    number = least_used(workers, transfers)
    assert workers[number].is_up or not any(one.is_up for one in workers)
    assert all(
        transfers[number] + workers[number].n_waiting <= transfers[n] + one.n_waiting
        for n, one in enumerate(workers)
        if one.is_up == workers[number].is_up
    )


# Questions


def source(name: str) -> spectra_pb2.FeatureSource:
    return spectra_pb2.FeatureSource(feature_set=name, grouping="no set")


@pytest.mark.parametrize(
    ("request_", "sets"),
    [
        (spectra_pb2.ComputeSpectraRequest(source=source("a")), ("a",)),
        (
            spectra_pb2.ComputePrincipalAnglesRequest(
                first=spectra_pb2.Subspace(source=source("b")), second=spectra_pb2.Subspace(source=source("a"))
            ),
            ("b", "a"),
        ),
        (neighbours_pb2.NeighbourQuery(source=source("b"), among=source("a")), ("b", "a")),
        (neighbours_pb2.FindDuplicatesRequest(source=source("a"), against=source("a")), ("a",)),
        (groupings_pb2.DiscoverGroupsRequest(source=source("b"), fit="a", other="c"), ("b", "a", "c")),
        (refits_pb2.EvaluateRequest(feature_set="b", checkpoint="c", train="t"), ("b",)),
        (
            refits_pb2.RefitRequest(
                feature_set="z",
                evaluate={"test": "a"},
                train="t",
                grouping="g",
                scaling=refits_pb2.Scaling(feature_set="s"),
                select=refits_pb2.Select(feature_set="v"),
                rows=refits_pb2.Rows(other="o"),
            ),
            ("z", "a", "s", "o", "v"),
        ),
    ],
)
def test_the_sets_of_a_question(request_, sets):
    assert sets_of(request_) == sets


# Shares


@given(st.integers(1, 64), st.integers(1, 256))
def test_cores_are_shared_out_so_that_answers_keep_their_bits(of, n_cores):
    (each,) = {Share(number=number, of=of).cores(n_cores) for number in range(of)}
    assert each * of <= max(n_cores, 2 * of)
    assert (each > 1) == (n_cores > 1)


@given(st.integers(1, 9), st.integers(0, 9), st.integers(1, 2**40))
def test_memory_is_shared_out(of, n_devices, n_bytes):
    settings = Settings(root="r", resident_bytes=n_bytes, compute_devices=tuple(map(str, range(n_devices))))
    shares = [Share(number=number, of=of) for number in range(of)]
    assert sum(share.resident_bytes(settings) for share in shares) <= max(n_bytes, of)
    assert sum(1 / share.sharers(settings) for share in shares) == pytest.approx(min(of, n_devices) if n_devices else 1)
    assert len({share.log for share in shares}) == of
