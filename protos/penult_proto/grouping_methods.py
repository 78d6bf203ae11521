"""Methods that find groups, as data: the server checks and completes questions by them, the client explains them.

To add one: a line here, its module in ``penult_server/compute/groupings/methods/``, a test of its right value.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodNumber:
    """A number of a method: what it is when nothing is said, and the range it must lie in, ends included."""

    default: float
    low: float
    high: float
    is_integer: bool = False
    meaning: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupingMethod:
    """One published way to find groups without labels, or with few."""

    name: str
    sentence: str
    source: str
    numbers: dict[str, MethodNumber] = field(default_factory=dict)
    words: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Words by name: the allowed ones, the default first; empty where any is allowed."""
    needs_features: bool = True
    """Whether it looks at features: they are not read into memory for one that does not."""
    takes_fit: bool = True
    """Whether the set that is fitted on may be another than the one that is grouped."""
    takes_other: bool = False
    """Whether there may be a set to compare with; one that needs an attribute takes it, too."""
    needs_logits: bool = False
    """Whether the rows, or a head that is given, must have logits."""
    takes_head: bool = False
    """Whether a head may be given; one that needs logits takes it, too."""
    needs_attribute: bool = False
    """Whether `other` must have an attribute."""
    takes_indices: bool = False
    """Whether `indices` say something to it."""
    is_random: bool = False
    """Whether the seed matters."""


METHODS: dict[str, GroupingMethod] = {}
"""Methods by name."""


def _add(method: GroupingMethod) -> None:
    METHODS[method.name] = method


_add(
    GroupingMethod(
        name="attribute",
        sentence="the values of an attribute column of the set",
        source="the data's own",
        words={"attribute": ()},
        needs_features=False,
        takes_fit=False,
    )
)
_add(
    GroupingMethod(
        name="uploaded",
        sentence="values that the caller gives for row ids",
        source="the caller",
        words={"attribute": ()},
        needs_features=False,
        takes_fit=False,
    )
)
_add(
    GroupingMethod(
        name="errors",
        sentence="rows that a head misclassifies: the one given, or that of the stored logits",
        source="JTT, Liu et al. 2021 (arXiv 2107.09044)",
        needs_logits=True,
        takes_fit=False,
    )
)
_add(
    GroupingMethod(
        name="regularised_errors",
        sentence="rows that a head with a strong l2 misclassifies, fitted on `fit`",
        source="FACTS' first stage, Yenamandra et al. 2023 (arXiv 2309.17430), as a convex problem",
        numbers={"l2": MethodNumber(default=1.0, low=1e-6, high=1e6, meaning="strength of l2 beside the mean loss")},
        words={"balance": ("class", "none"), "standardize": ("rows", "none")},
    )
)
_add(
    GroupingMethod(
        name="eiil",
        sentence="environments that violate invariance most, in closed form; with two classes the errors",
        source="Creager et al. 2021 (arXiv 2010.07249)",
        needs_logits=True,
        takes_fit=False,
    )
)
_add(
    GroupingMethod(
        name="predictions",
        sentence="class x predicted class of a head: the one given, or that of the stored logits",
        source="Correct-N-Contrast, Zhang et al. 2022 (arXiv 2203.01517)",
        needs_logits=True,
        takes_fit=False,
    )
)
_add(
    GroupingMethod(
        name="xrm",
        sentence="rows that either of two heads misses, which unlearn what the other finds easy: the majority of seeds",
        source="XRM, Pezeshki et al. 2023 (arXiv 2309.16748)",
        numbers={
            "seeds": MethodNumber(default=10, low=1, high=1000, is_integer=True, meaning="pairs of heads that vote"),
            "steps": MethodNumber(default=3000, low=1, high=1_000_000, is_integer=True, meaning="full-batch steps"),
            "learning_rate": MethodNumber(default=1e-2, low=1e-8, high=1e3, meaning="of gradient descent"),
        },
        is_random=True,
    )
)
_add(
    GroupingMethod(
        name="ssa",
        sentence="the attribute of `other`, spread by heads and pseudo-labels, fold by fold",
        source="SSA, Nam et al. 2022 (arXiv 2204.02070), heads in place of a network",
        numbers={
            "folds": MethodNumber(default=3, low=2, high=100, is_integer=True, meaning="folds of the rows"),
            "rounds": MethodNumber(default=5, low=0, high=100, is_integer=True, meaning="rounds of pseudo-labels"),
            "tau": MethodNumber(default=0.95, low=0, high=1, meaning="probability from which a row is pseudo-labelled"),
            "l2": MethodNumber(default=5e-4, low=1e-9, high=1e6, meaning="strength of l2 beside the mean losses"),
        },
        needs_attribute=True,
        is_random=True,
    )
)
_add(
    GroupingMethod(
        name="gic",
        sentence="a value that predicts the class here, and in another way in the comparison set `other`",
        source="ours, after GIC, Han & Zou 2024 (arXiv 2404.13815)",
        numbers={
            "values": MethodNumber(default=2, low=2, high=20, is_integer=True, meaning="values of a row"),
            "gamma": MethodNumber(default=1.0, low=0, high=1e3, meaning="weight of the divergence"),
            "l2": MethodNumber(default=1e-3, low=0, high=1e6, meaning="strength of l2"),
            "learning_rate": MethodNumber(default=0.05, low=1e-8, high=1e2, meaning="of Adam"),
            "steps": MethodNumber(default=300, low=1, high=100_000, is_integer=True, meaning="full-batch steps"),
            "starts": MethodNumber(default=8, low=1, high=1000, is_integer=True, meaning="random heads to start from"),
        },
        is_random=True,
        takes_other=True,
    )
)
_add(
    GroupingMethod(
        name="spuriosity",
        sentence="low and high ends of each class by the mean z-score of chosen features (`indices`), or of those that "
        "a head, `head` or one fitted on `fit`, gives most to the class",
        source="Moayeri et al. 2022 (arXiv 2212.02648)",
        numbers={
            "quantile": MethodNumber(default=0.5, low=1e-6, high=0.5, meaning="share of a class in each end"),
            "features": MethodNumber(
                default=5, low=1, high=1024, is_integer=True, meaning="features a class, unchosen"
            ),
            "top": MethodNumber(default=100, low=1, high=1e9, is_integer=True, meaning="rows in each end of the gap"),
        },
        takes_head=True,
        takes_indices=True,
    )
)
_add(
    GroupingMethod(
        name="units",
        sentence="above or below a quantile of chosen features (`indices`) within the class; several are crossed",
        source="after Salient ImageNet, Singla & Feizi 2022 (arXiv 2110.04301)",
        numbers={"quantile": MethodNumber(default=0.5, low=0, high=1, meaning="quantile of a feature in a class")},
        takes_indices=True,
    )
)
