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
    needs_logits: bool = False
    """Whether the rows, or a head that is given, must have logits."""
    needs_attribute: bool = False
    """Whether `other` must have an attribute."""
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
    )
)
_add(GroupingMethod(name="uploaded", sentence="values that the caller gives for row ids", source="the caller"))
_add(
    GroupingMethod(
        name="errors",
        sentence="rows that a head misclassifies: the one given, or that of the stored logits",
        source="JTT, Liu et al. 2021 (arXiv 2107.09044)",
        needs_logits=True,
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
    )
)
_add(
    GroupingMethod(
        name="predictions",
        sentence="class x predicted class of a head: the one given, or that of the stored logits",
        source="Correct-N-Contrast, Zhang et al. 2022 (arXiv 2203.01517)",
        needs_logits=True,
    )
)
