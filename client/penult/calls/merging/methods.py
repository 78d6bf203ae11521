"""The methods that merge networks, by name: ``client.merge_methods()``, and their part of the help."""

from collections.abc import Mapping
from dataclasses import dataclass

from penult.calls.methods.named import NamedMethod, NamedMethods, with_list
from penult_proto.merge_methods import METHODS, MergeMethod


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class MergeMethodInfo(NamedMethod):
    """A method that `Client.merge` knows by name; ``.sets`` has its numbers with what they are by default."""

    options: Mapping[str, str]
    """The range of each number, and what it means."""
    needs_base: bool
    """Whether it is about what was learned since a common start."""

    def __repr__(self) -> str:
        said = ", ".join(f"{name}={value:g}" for name, value in self.sets.items())
        return f"{NamedMethod.__repr__(self).removesuffix('.')}{f'; {said}' if said else ''}."


class MergeMethods(NamedMethods[MergeMethodInfo]):
    """Several of them, in the order of the documentation: ``client.merge_methods()["ties"]``."""

    __slots__ = ()


def merge_methods() -> MergeMethods:
    """All of them."""
    return MergeMethods(_info(one) for one in METHODS.values())


def _info(method: MergeMethod) -> MergeMethodInfo:
    return MergeMethodInfo(
        name=method.name,
        sentence=method.sentence,
        source=method.source,
        sets={name: one.default for name, one in method.numbers.items()},
        options={name: f"{one.low:g} .. {one.high:g}: {one.meaning}" for name, one in method.numbers.items()},
        needs_base=method.needs_base,
    )


with_merge_methods = with_list("methods", [repr(one) for one in merge_methods()])
"""Put the list of methods in place of the line ``[methods]`` of a docstring."""
