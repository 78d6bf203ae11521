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
    needs_logits: bool = False
    """Whether the rows, or a head that is given, must have logits."""
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
    )
)
_add(
    GroupingMethod(
        name="uploaded",
        sentence="values that the caller gives for row ids",
        source="the caller",
        words={"attribute": ()},
        needs_features=False,
    )
)
