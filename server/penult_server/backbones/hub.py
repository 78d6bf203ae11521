"""Access to the model hub, without long waits when it does not answer."""

import socket
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from urllib.parse import urlsplit

from huggingface_hub import constants

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError

ANSWER_SECONDS = 3.0
"""How long the hub may take to accept a connection before only its cache on this machine is used."""


@contextmanager
def hub_access(name: str) -> Generator[None]:
    """Run the block with the hub, or with its cache alone when it is off or does not answer.

    The hub's own client tries each file for half a minute first. ``HF_HUB_OFFLINE`` is respected.
    Raises ServiceError (WEIGHTS_UNAVAILABLE) in place of the errors of libraries that get a file
    neither from the hub nor from its cache.
    """
    before = constants.HF_HUB_OFFLINE
    # The library reads its setting once, at import; this is the variable that it reads afterwards.
    constants.HF_HUB_OFFLINE = before or not hub_answers()
    try:
        yield
    except OSError as error:
        raise weights_unavailable(name, offline=constants.HF_HUB_OFFLINE) from error
    finally:
        constants.HF_HUB_OFFLINE = before


def hub_answers() -> bool:
    """Whether the hub accepts a connection; assumed behind a proxy, where it cannot be told cheaply."""
    if urllib.request.getproxies():
        return True
    endpoint = urlsplit(constants.ENDPOINT)
    port = endpoint.port or (80 if endpoint.scheme == "http" else 443)
    try:
        socket.create_connection((endpoint.hostname or "", port), timeout=ANSWER_SECONDS).close()
    except OSError:
        return False
    return True


def weights_unavailable(name: str, *, offline: bool) -> ServiceError:
    """The error for pretrained weights that are nowhere to be had."""
    reason = (
        "the model hub is switched off or does not answer, and its cache on the server does not hold them"
        if offline
        else "the model hub does not have them or does not give them out"
    )
    return ServiceError(
        ErrorKind.WEIGHTS_UNAVAILABLE,
        f"no pretrained weights for {name!r}: {reason}; choose a packaged backbone, give the directory of a "
        f"transformers model on the server, fill the server's hub cache, or set pretrained=False",
        backbone=name,
    )
