"""The front's log lines: about the call that runs, and who asks."""

from collections.abc import Mapping

from penult_server.front.caller import CALLER


def subjects() -> Mapping[str, str]:
    """What the caller's contextvar says."""
    caller = CALLER.get()
    return {"request_id": caller.request_id, "user": caller.user}
