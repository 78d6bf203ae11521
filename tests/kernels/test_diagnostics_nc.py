"""Neural collapse beside formulas computed naively, planted truths, and the traps of published code."""

import math

import numpy as np
import pytest
from diagnosed import number, owner, planted, subject_of, values_of

from penult_kernels.diagnostics.planner import Settings
from penult_kernels.linear.problem import Head
from penult_kernels.rows import ArrayRows


@pytest.fixture(scope="module")
def made():
    return planted(seed=2)


def parts_of(made):
    part = made["y"] * 2 + made["a"]
    means = np.stack([made["x"][part == p].mean(axis=0) for p in range(6)])
    return part, means


def test_nc1_by_groups(backend, made):
    part, means = parts_of(made)
    within = (made["x"] - means[part]).T @ (made["x"] - means[part]) / len(part)
    centered = means - means.mean(axis=0)
    between = centered.T @ centered / 6
    subject = subject_of(made, like=backend.array)
    assert owner(subject.shift) is owner(backend.array([0.0]))
    assert number(subject, "nc1_pinv") == pytest.approx(np.trace(within @ np.linalg.pinv(between, rcond=1e-10)) / 6)
    assert number(subject, "nc1_quotient") == pytest.approx(np.trace(within) / np.trace(between))


def test_cdnv_of_pairs_and_their_mean(made):
    part, means = parts_of(made)
    variance = [np.mean(np.sum((made["x"][part == p] - means[p]) ** 2, axis=1)) for p in range(6)]
    found = values_of(subject_of(made), "cdnv")
    each = []
    for p in range(6):
        for q in range(p + 1, 6):
            each.append((variance[p] + variance[q]) / (2 * np.sum((means[p] - means[q]) ** 2)))
            assert found["cdnv", (p, q), ""].value == pytest.approx(each[-1])
    assert found["cdnv", (), ""].value == pytest.approx(np.mean(each))


def test_two_classes_have_one_direction(made):
    """tr(S_W pinv(S_B)) / 2 is the within variance along it over twice the squared distance of a mean from the mid."""
    keep = made["y"] < 2
    x, y = made["x"][keep], made["y"][keep]
    m = np.stack([x[y == c].mean(axis=0) for c in range(2)])
    direction = (m[1] - m[0]) / np.linalg.norm(m[1] - m[0])
    along = np.mean(((x - m[y]) @ direction) ** 2)
    subject = subject_of(made, rows=ArrayRows(x), part=y, n_parts=2, y=y, other=None, columns={})
    assert number(subject, "nc1_pinv") == pytest.approx(along / (2 * np.sum((m[1] - m[0]) ** 2) / 4))
    for id in ("nc2_etf", "nc2_equinorm", "nc2_equiangle"):
        one = values_of(subject, id)[id, (), ""]
        assert math.isnan(one.value)
        assert "two means are always opposite" in one.note


def test_collapsed_rows_on_a_simplex_are_all_zero():
    """Means of an ETF, rows equal to them, a head that is dual."""
    corners = np.eye(4) - 0.25
    y = np.repeat(np.arange(4), 5)
    made = {"x": 3 * corners[y] + 7, "y": y, "a": np.zeros(20, dtype=np.int64), "weight": corners, "bias": np.zeros(4)}
    found = {key[0]: one.value for key, one in values_of(subject_of(made), "nc").items() if not key[1]}
    assert found.pop("nc4_ncc") == 1
    apart = [found.pop(name) for name in ("trace_total", "trace_between_class", "trace_between_part")]
    assert apart == pytest.approx([9 * 0.75] * 3)
    assert len(found) == 11
    assert all(abs(value) < 1e-12 for value in found.values()), found


def test_duality_does_not_see_what_a_softmax_does_not(made):
    subject = subject_of(made)
    moved = subject_of(made, head=Head(weight=2 * made["weight"] + 11, bias=made["bias"]))
    for id in ("nc3_duality", "nc3_simplex"):
        assert number(moved, id) == pytest.approx(number(subject, id))
    w = made["weight"] - made["weight"].mean(axis=0)
    m = np.stack([made["x"][made["y"] == c].mean(axis=0) for c in range(3)])
    m = m - m.mean(axis=0)
    expected = np.linalg.norm(w / np.linalg.norm(w) - m / np.linalg.norm(m))
    assert number(subject, "nc3_duality") == pytest.approx(expected)


def test_the_nearest_class_mean_agrees_with_the_head_where_it_does(made):
    x, y = made["x"], made["y"]
    m = np.stack([x[y == c].mean(axis=0) for c in range(3)])
    nearest = np.argmin(((x[:, None] - m[None]) ** 2).sum(axis=2), axis=1)
    agrees = nearest == np.argmax(x @ made["weight"].T + made["bias"], axis=1)
    found = values_of(subject_of(made), "nc4_ncc")
    assert found["nc4_ncc", (), ""].value == pytest.approx(agrees.mean())
    part = y * 2 + made["a"]
    assert found["nc4_ncc", (3,), ""].value == pytest.approx(agrees[part == 3].mean())
    # The bias decides, too.
    far = subject_of(made, head=Head(weight=made["weight"], bias=np.array([1e6, 0.0, 0.0])))
    assert number(far, "nc4_ncc") == pytest.approx(np.mean(nearest == 0))


def test_distant_means_do_not_cancel(made):
    far = made | {"x": made["x"] + 1e6}
    for id in ("nc1_pinv", "nc1_quotient", "cdnv", "nc2_etf"):
        assert number(subject_of(far), id) == pytest.approx(number(subject_of(made), id), rel=1e-7)


def test_an_empty_part_is_left_out_and_one_part_is_not_enough(made):
    spread = subject_of(made, part=(made["y"] * 2 + made["a"]) * 2, n_parts=12)
    assert number(spread, "nc1_pinv") == pytest.approx(number(subject_of(made), "nc1_pinv"))
    one = values_of(subject_of(made, part=made["y"] * 0, n_parts=1), "nc")
    assert one["nc1_pinv", (), ""].note == one["cdnv", (), ""].note == "needs two parts with rows"
    same = subject_of(made | {"x": np.ones_like(made["x"])})
    for id in ("nc1_pinv", "nc1_quotient", "cdnv"):
        assert "means of the parts are equal" in values_of(same, id)[id, (), ""].note


def test_intervals_cover_and_fall_with_n():
    """Of 25 sets of two Gaussian classes, at least 20 intervals of the quotient hold what 100,000 rows have."""
    rng = np.random.default_rng(4)

    def drawn(n):
        y = np.arange(n) % 2
        return {
            "x": rng.standard_normal((n, 3)) + y[:, None],
            "y": y,
            "a": y * 0,
            "weight": np.eye(2, 3),
            "bias": np.zeros(2),
        }

    truth = number(subject_of(drawn(100_000)), "nc1_quotient")
    found = [
        values_of(subject_of(drawn(300)), "nc1_quotient", Settings(replicates=100, matched=0))["nc1_quotient", (), ""]
        for _ in range(25)
    ]
    assert sum(one.low <= truth <= one.high for one in found) >= 20


def test_the_matched_value_is_of_so_many_rows_of_each_part(made):
    """By hand: the median over the same draws."""
    settings = Settings(replicates=0, matched=200, seed=9)
    subject = subject_of(made)
    one = values_of(subject, "nc1_quotient", settings)["nc1_quotient", (), ""]
    part = made["y"] * 2 + made["a"]
    smallest = np.bincount(part).min()
    each = []
    for index in range(200):
        rows = []
        for p in range(6):
            own = np.flatnonzero(part == p)
            rng = np.random.default_rng([9, 1, p, index])
            rows.append(own if own.size <= smallest else own[np.sort(rng.choice(own.size, smallest, replace=False))])
        chosen = np.concatenate(rows)
        each.append(
            number(
                subject_of(
                    {name: made[name][chosen] for name in ("x", "y", "a")}
                    | {name: made[name] for name in ("weight", "bias")}
                ),
                "nc1_quotient",
            )
        )
    assert one.matched_value == pytest.approx(np.median(each))
    assert one.matched_low == pytest.approx(np.quantile(each, 0.025))


def test_float16_is_float32_of_the_same_values(made):
    halves = made["x"].astype(np.float16)
    first, second = (subject_of(made | {"x": halves.astype(kind)}) for kind in (np.float16, np.float32))
    for one, other in zip(values_of(first, "nc").values(), values_of(second, "nc").values(), strict=True):
        assert one.value == pytest.approx(other.value, nan_ok=True)


def test_traces_split_the_whole_by_class_and_by_group(backend, made):
    """Naive sums; and what is within groups, between the groups of a class and between classes adds up to the whole."""
    part, _ = parts_of(made)
    x, y = made["x"], made["y"]
    m, by_class = x.mean(axis=0), np.stack([x[y == c].mean(axis=0) for c in range(3)])
    by_part = np.stack([x[part == p].mean(axis=0) for p in range(6)])
    found = values_of(subject_of(made, like=backend.array), "nc")
    expected = {
        "trace_total": np.trace(np.cov(x.T, bias=True)),
        "trace_within_class": np.mean(np.sum((x - by_class[y]) ** 2, axis=1)),
        "trace_between_class": np.mean(np.sum((by_class - m) ** 2, axis=1)),
        "trace_within_part": np.mean(np.sum((x - by_part[part]) ** 2, axis=1)),
        "trace_between_part": np.mean(np.sum((by_part - m) ** 2, axis=1)),
        "trace_parts_in_class": np.mean(np.sum((by_part[part] - by_class[y]) ** 2, axis=1)),
    }
    assert {name: found[name, (), ""].value for name in expected} == pytest.approx(expected)
    own = [np.mean(np.sum((x[part == p] - by_part[p]) ** 2, axis=1)) for p in range(6)]
    assert [found["trace_within_part", (p,), ""].value for p in range(6)] == pytest.approx(own)
    shares = np.bincount(y) / y.size
    between_classes = np.sum(shares * np.sum((by_class - m) ** 2, axis=1))
    parts = expected["trace_within_part"] + expected["trace_parts_in_class"] + between_classes
    assert parts == pytest.approx(expected["trace_total"])


def test_traces_of_classes_are_the_same_by_any_parts(made):
    by_group, by_class = subject_of(made), subject_of(made, part=made["y"], n_parts=3)
    for name in ("trace_total", "trace_within_class", "trace_between_class"):
        assert number(by_group, name) == pytest.approx(number(by_class, name))
    assert number(by_class, "trace_within_part") == pytest.approx(number(by_class, "trace_within_class"))
    assert number(by_class, "trace_parts_in_class") == pytest.approx(0.0, abs=1e-12)


def test_traces_of_an_empty_group(made):
    keep = made["y"] * 2 + made["a"] != 3
    less = made | {name: made[name][keep] for name in ("x", "y", "a")}
    found = values_of(subject_of(less), ["trace_within_part", "trace_between_part"])
    assert found["trace_within_part", (3,), ""].note == "the part is empty"
    means = [less["x"][less["y"] * 2 + less["a"] == p].mean(axis=0) for p in (0, 1, 2, 4, 5)]
    apart = np.mean(np.sum((np.stack(means) - less["x"].mean(axis=0)) ** 2, axis=1))
    assert found["trace_between_part", (), ""].value == pytest.approx(apart)
    part = less["y"] * 2 + less["a"]
    within = [np.sum((less["x"][part == p] - m) ** 2) for p, m in zip((0, 1, 2, 4, 5), means, strict=True)]
    assert found["trace_within_part", (), ""].value == pytest.approx(sum(within) / part.size)
