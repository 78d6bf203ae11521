"""Which head a merged network gets: ``heads=`` of `Client.merge`, beside ``scope=``."""

from collections.abc import Mapping
from typing import Any, NamedTuple, get_args

from penult.arguments import coerce
from penult.errors import invalid, shown
from penult.types import MergeHeads, MergeScope
from penult_proto.merge_methods import HEADS

USUAL = "val"
"""The split that is fitted on, where no other is named."""
PRESET = "dfr"


class Heads(NamedTuple):
    """What is asked for."""

    scope: MergeScope | None
    """What is merged, so that the head is the one that was asked for; None for the server's default."""
    on: str = ""
    """Split that a new head is fitted on; empty for no new head."""
    refit: Mapping[str, Any] | None = None
    """Arguments of that refit."""


def heads_of(heads: MergeHeads | Mapping[str, Any] | None, scope: MergeScope | None) -> Heads:
    """The rule and the scope as one. Raises `InvalidRequest` where they contradict each other."""
    if scope is not None:
        coerce.check_choice("scope", scope, get_args(MergeScope))
    if heads is None:
        return Heads(scope)
    given: Mapping[str, Any] = {}
    if isinstance(heads, Mapping):
        given, rule = heads, "refit"
    else:
        coerce.check_choice("heads", heads, HEADS)
        rule = heads
    if scope == "head":
        raise invalid(
            f"heads={shown(heads)} has no effect with scope='head', which merges heads and nothing else; leave it out",
            argument="heads",
        )
    if rule == "refit":
        asked = {"preset": PRESET} | dict(coerce.items("heads", given, 'dict(preset="dfr", on="val")'))
        on = coerce.text("heads['on']", asked.pop("on", USUAL), example=USUAL)
        return Heads("body" if scope == "full" else scope, on, asked)
    if scope == "blocks":
        raise invalid(
            f"heads={shown(heads)} has no effect with scope='blocks', whose blocks say whether the head is merged; "
            "name its block or leave that out",
            argument="heads",
        )
    if rule == "merged" and scope == "body":
        raise invalid("scope='body' leaves heads as they are; take scope='full' to merge them, too", argument="heads")
    return Heads("full" if rule == "merged" else "body")
