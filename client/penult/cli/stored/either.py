"""Words that may name things of two kinds."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from penult.client import Client
from penult.errors import NotFound, from_kind, invalid
from penult.results.records import Checkpoint, FeatureSet

T = TypeVar("T")


def model_or_features(client: Client, word: str) -> Checkpoint | FeatureSet:
    """The checkpoint or the feature set of a word. Raises `NotFound`, and `InvalidRequest` where it names both."""
    return _either(
        word, {"checkpoint": lambda: client.checkpoints.get(word), "feature set": lambda: client.features.get(word)}
    )


def _either(word: str, ask: Mapping[str, Callable[[], Any]]) -> Any:
    """What one of the questions finds, when the others find nothing."""
    found: dict[str, Any] = {}
    missing: list[NotFound] = []
    for kind, get in ask.items():
        try:
            found[kind] = get()
        except NotFound as error:
            missing.append(error)
    if len(found) > 1:
        raise invalid(f"{word!r} names a {' and a '.join(found)}: give more of the digest of the one that is meant")
    if not found:
        said = "; ".join(error.message for error in missing)
        raise from_kind(missing[-1].kind, f"{word!r} names no {' and no '.join(ask)}: {said}")
    return next(iter(found.values()))
