"""Secrets that must stand in no log: tokens by their form, and those that this process knows."""

import re

_SHAPE = re.compile(r"pen_[A-Za-z0-9_-]{43}|(Bearer\s+)[^\s\"',\\]+")
_HIDDEN = "[secret]"
_known: set[str] = set()


def conceal(secret: str) -> None:
    """From now on this process writes these characters nowhere. An empty secret is none."""
    if secret:
        _known.add(secret)


def without_secrets(text: str) -> str:
    """The same text, with every secret in it replaced."""
    for secret in _known:
        text = text.replace(secret, _HIDDEN)
    return _SHAPE.sub(lambda found: (found[1] or "") + _HIDDEN, text)
