"""What a GPU would do for every answer, counted without one: launches, waits of the host, uploads, bytes (`counting`).

The bounds are what was counted, those of refits in 2026-12, and may only fall; with `--benchmarks` the shapes are those
of the notes of kernels ("On a GPU"), whose table this prints.
"""

from collections.abc import Iterator

import numpy as np
import pytest
from counted_work import Data, full, small, works
from counting import Counts, counted

from penult_kernels import budget

GPU_BYTES = 139 * 2**30
"""Memory of an H200, which sets how large steps are."""
BYTES_A_SECOND = 4.8e12
FLOPS_A_SECOND = {4: 67e12, 8: 67e12}
"""Of an H200 by its data sheet: float32, and float64 on tensor cores."""
SMALL = {
    "moments of resident rows, 4 groups": (76, 4),
    "classes from moments of groups": (42, 0),
    "spectra of 4 groups from moments": (48, 16),
    "the same with vectors": (56, 16),
    "spectra of 4 groups from rows": (84, 16),
    "imbalance with replicates": (1700, 220),
    "L2 refits of draws by 7 penalties": (1100, 13),
    "the same, each draw standardised": (3250, 25),
    "an L2 path of 45 penalties": (2000, 12),
    "a softmax of 4 classes with L2": (1630, 13),
    "an L1 path of 7 (on the host)": (21, 5),
    "one warm weighted refit (a round of group DRO)": (990, 13),
    "ridge, LDA and nearest mean": (181, 6),
    "trajectories: 132 settings": (181, 3),
    "logits of 2 heads": (4, 0),
    "group metrics": (38, 7),
    "group accuracies of 2 heads": (13, 1),
    "neighbours, own graph, k = 10": (80, 11),
    "neighbours among other rows, k = 10": (118, 15),
    "principal axes, 5": (40, 3),
    "k-means, k = 2 ... 4, 3 starts": (660, 45),
    "silhouettes of 3 labelings": (29, 2),
    "mixtures, 2 runs of 3": (680, 11),
    "twin heads, 2 seeds": (193, 1),
    "SSA, one round": (5300, 85),
    "GIC": (309, 27),
}
"""Launches and waits at most, of the small shapes. Where steps are taken until a tolerance is met, rounding may decide
on one more: those bounds leave a few hundredths."""
FULL = {
    "moments of resident rows, 4 groups": (106, 6),
    "spectra of 4 groups from moments": (60, 16),
    "L2 refits of draws by 7 penalties": (1850, 22),
    "an L2 path of 45 penalties": (5400, 60),
}


@pytest.fixture(scope="module")
def data(request: pytest.FixtureRequest) -> Iterator[Data]:
    """The rows, with the steps of a large device in force."""
    before, budget.DEVICE = budget.DEVICE, budget.on_device(GPU_BYTES)
    try:
        yield full() if request.config.getoption("--benchmarks") else small()
    finally:
        budget.DEVICE = before


def row(name: str, found: Counts, answers: int) -> str:
    """A row of the table."""
    bound = found.bytes_moved / BYTES_A_SECOND + sum(n / FLOPS_A_SECOND[width] for width, n in found.flops.items())
    return (
        f"| {name} | {found.n_launches:,} | {found.n_launches / answers:.1f} | {found.n_waits} | {found.uploads} "
        f"| {found.bytes_moved / 1e6:,.1f} | {1e3 * bound:.2f} |"
    )


def test_launches_and_waits(data: Data, at_full_size: bool) -> None:
    bounds = FULL if at_full_size else SMALL
    print("\n| what | launches | each | waits | uploads | MB moved | ms at an H200's bandwidth and flops |")
    print("|---|---|---|---|---|---|---|")
    asked = works(data)
    assert set(bounds) <= set(asked)
    assert at_full_size or set(bounds) == set(asked), "every answer has a bound"
    above: list[str] = []
    for name, (work, answers) in asked.items():
        with counted() as found:
            work()
        print(row(name, found, answers), flush=True)
        most = bounds.get(name, (np.inf, np.inf))
        if found.n_launches > most[0] or found.n_waits > most[1]:
            places = found.places.most_common(5), found.waited.most_common(3)
            above.append(f"{name}: {found.n_launches} launches, {found.n_waits} waits, at most {most}; from {places}")
    assert not above, "\n".join(above)
