"""The methods that find groups, by name: ``client.grouping_methods()``, and their part of the help."""

from collections.abc import Mapping
from dataclasses import dataclass

from penult.calls.methods.named import NamedMethod, NamedMethods, with_list
from penult_proto import grouping_methods as known
from penult_proto.grouping_methods import GroupingMethod

GIVEN = ("attribute", "uploaded")
"""Methods that have calls of their own, since they look for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class GroupingMethodInfo(NamedMethod):
    """A method that `Client.discover` knows by name; ``.sets`` has its options with what they are by default."""

    options: Mapping[str, str]
    """What each option may be: the range of a number, or the words."""
    is_random: bool
    """Whether the seed matters."""

    def __repr__(self) -> str:
        said = ", ".join(f"{name}={value!r}" for name, value in self.sets.items())
        return f"{NamedMethod.__repr__(self).removesuffix('.')}{f'; {said}' if said else ''}."


class GroupingMethods(NamedMethods[GroupingMethodInfo]):
    """Several of them, in the order of the documentation: ``client.grouping_methods()["xrm"]``."""

    __slots__ = ()


def grouping_methods() -> GroupingMethods:
    """All of them but those that look for nothing."""
    return GroupingMethods(_info(one) for one in known.METHODS.values() if one.name not in GIVEN)


def _info(method: GroupingMethod) -> GroupingMethodInfo:
    numbers = {name: int(one.default) if one.is_integer else one.default for name, one in method.numbers.items()}
    ranges = {name: f"{one.low:g} .. {one.high:g}: {one.meaning}" for name, one in method.numbers.items()}
    words = {name: legal[0] if legal else "" for name, legal in method.words.items()}
    choices = {name: " | ".join(map(repr, legal)) or "text" for name, legal in method.words.items()}
    return GroupingMethodInfo(
        name=method.name,
        sentence=method.sentence,
        source=method.source,
        sets=numbers | words,
        options=ranges | choices,
        is_random=method.is_random,
    )


with_grouping_methods = with_list("methods", [repr(one) for one in grouping_methods()])
"""Put the list of methods in place of the line ``[methods]`` of a docstring."""
