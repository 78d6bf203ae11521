"""Rules that merge networks, as data: the server checks and completes requests by them, the client explains them.

To add one: a line here, its module in ``penult_kernels/weight_space/methods/`` and a line of the registry there, a test
of its right value.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MergeNumber:
    """A number of a method: what it is when nothing is said, and the range it must lie in, ends included."""

    default: float
    low: float
    high: float
    meaning: str
    extrapolates: bool = False
    """Whether it may leave its range where extrapolation is allowed."""
    of_many: float | None = None
    """The default for more than two networks; None where it is the same."""

    def default_of(self, n_parents: int) -> float:
        """What it is for so many networks."""
        return self.default if self.of_many is None or n_parents <= 2 else self.of_many


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MergeMethod:
    """One way to make one network of several."""

    name: str
    sentence: str
    source: str
    numbers: Mapping[str, MergeNumber] = field(default_factory=dict[str, MergeNumber])
    needs_base: bool = False
    """Whether it is about what was learned since a common start."""
    takes_base: bool = False
    """Whether a base that is given has an effect; one that needs it takes it, too."""
    takes_shares: bool = False
    least: int = 2
    """Fewest networks."""
    most: int = 0
    """Most networks; 0 for the limit of all."""
    is_ordered: bool = False
    """Whether the order of the networks matters."""
    is_random: bool = False
    """Whether the seed matters."""
    of_run: bool = False
    """Whether it merges checkpoints of one run."""
    reads_rows: bool = False
    """Whether it measures every network on training examples before it merges: `row_stream` says on which."""
    selects: bool = False
    """Whether it measures networks on held-out examples to choose among them."""


MOST_PARENTS = 256
"""Most networks of one merge."""

SELECT_METRICS = ("worst_group", "average", "mean_group", "worst_class", "loss")
"""What a choice among networks goes by; of the loss the lowest."""

HEADS = ("first", "merged", "refit")
"""Which head a merged network gets: that of the first, the heads merged, or one that is fitted on its features."""

METHODS: dict[str, MergeMethod] = {}
"""Methods by name."""


def _add(method: MergeMethod) -> None:
    METHODS[method.name] = method


_DENSITY = MergeNumber(default=0.2, low=1e-6, high=1.0, meaning="fraction of the entries of a task vector that is kept")
_SCALE = MergeNumber(default=1.0, low=-10.0, high=10.0, meaning="factor of what is added to the start")

_add(
    MergeMethod(
        name="uniform",
        sentence="the mean of the networks, or their sum by shares=",
        source="Wortsman et al. 2022, arXiv 2203.05482",
        takes_shares=True,
        least=1,
    )
)
_add(
    MergeMethod(
        name="greedy",
        sentence="the mean of those that raise a score on held-out examples, from the best on; select= says which",
        source="Wortsman et al. 2022, arXiv 2203.05482",
        selects=True,
    )
)
_add(
    MergeMethod(
        name="wise",
        sentence="(1 - t) of the start and t of one network",
        source="WiSE-FT, Wortsman et al. 2022, arXiv 2109.01903",
        numbers={"t": MergeNumber(default=0.5, low=0.0, high=1.0, meaning="place on the line", extrapolates=True)},
        needs_base=True,
        least=1,
        most=1,
    )
)
_add(
    MergeMethod(
        name="trajectory",
        sentence="the mean of the last k checkpoints of one run",
        source="stochastic weight averaging, Izmailov et al. 2018, arXiv 1803.05407",
        numbers={
            "k": MergeNumber(default=3.0, low=2.0, high=float(MOST_PARENTS), meaning="checkpoints, from the last")
        },
        of_run=True,
    )
)
_add(
    MergeMethod(
        name="task_arithmetic",
        sentence="the start and scale times the sum of the task vectors; a negative scale unlearns",
        source="Ilharco et al. 2023, arXiv 2212.04089",
        numbers={"scale": MergeNumber(default=0.8, of_many=0.4, low=-10.0, high=10.0, meaning=_SCALE.meaning)},
        needs_base=True,
        least=1,
    )
)
_add(
    MergeMethod(
        name="ties",
        sentence="task vectors trimmed over the whole network, a sign elected for each entry, the mean of what agrees",
        source="Yadav et al. 2023, arXiv 2306.01708",
        numbers={"density": _DENSITY, "scale": _SCALE},
        needs_base=True,
    )
)
_add(
    MergeMethod(
        name="ties_per_tensor",
        sentence="TIES trimmed in each tensor by itself, as merging tools do",
        source="Yadav et al. 2023, arXiv 2306.01708, changed",
        numbers={"density": _DENSITY, "scale": _SCALE},
        needs_base=True,
    )
)
_add(
    MergeMethod(
        name="dare",
        sentence="the mean task vector of entries kept with probability `density` and divided by it",
        source="Yu et al. 2024, arXiv 2311.03099",
        numbers={
            "density": MergeNumber(default=0.5, low=1e-3, high=1.0, meaning="probability that an entry is kept"),
            "scale": _SCALE,
        },
        needs_base=True,
        least=1,
        is_random=True,
    )
)
_add(
    MergeMethod(
        name="breadcrumbs",
        sentence="the sum of task vectors without their smallest and largest entries, in each tensor",
        source="Davari and Belilovsky 2024, arXiv 2312.06795",
        numbers={
            "smallest": MergeNumber(default=0.85, low=0.0, high=0.99, meaning="fraction of smallest entries left out"),
            "largest": MergeNumber(default=0.01, low=0.0, high=0.99, meaning="fraction of largest entries left out"),
            "scale": MergeNumber(default=0.3, low=-10.0, high=10.0, meaning=_SCALE.meaning),
        },
        needs_base=True,
        least=1,
    )
)
_add(
    MergeMethod(
        name="model_stock",
        sentence="between the start and the mean, in each tensor by the cosine of the task vectors, clamped to [0, 1]",
        source="Jang et al. 2024, arXiv 2403.19522",
        needs_base=True,
    )
)
_add(
    MergeMethod(
        name="slerp",
        sentence="on the great circle through two networks or, with base=, through their task vectors",
        source="Shoemake 1985",
        numbers={
            "t": MergeNumber(default=0.5, low=0.0, high=1.0, meaning="place from the first to the second"),
            "per_tensor": MergeNumber(default=0.0, low=0.0, high=1.0, meaning="1 for an angle of each tensor"),
        },
        takes_base=True,
        most=2,
        is_ordered=True,
    )
)
_add(
    MergeMethod(
        name="variance_corrected",
        sentence="the mean, each tensor given back the variance that its networks have",
        source="arXiv 2404.04616",
        takes_shares=True,
    )
)
_add(
    MergeMethod(
        name="fisher",
        sentence="the mean, entry by entry weighted by the exact diagonal of each network's Fisher information",
        source="Matena and Raffel 2022, arXiv 2111.09832",
        numbers={"rows": MergeNumber(default=4096.0, low=1.0, high=1e6, meaning="training examples measured on")},
        takes_shares=True,
        reads_rows=True,
        is_random=True,
    )
)
_add(
    MergeMethod(
        name="regmean",
        sentence="each linear layer so that its outputs change least on its inputs, other tensors averaged",
        source="Jin et al. 2023, arXiv 2212.09849",
        numbers={
            "rows": MergeNumber(default=256.0, low=1.0, high=1e6, meaning="training examples measured on"),
            "alpha": MergeNumber(
                default=0.9, low=0.0, high=1.0, meaning="factor of the inputs' products between features"
            ),
        },
        reads_rows=True,
        is_random=True,
    )
)
