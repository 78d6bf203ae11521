"""Telling systemd how the service stands (`Type=notify`); nothing where it was not started by systemd."""

import os
import socket


def notify(state: str) -> bool:
    """Send a state such as "READY=1"; whether anybody was told."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    # "@" stands for the zero byte of an abstract address.
    target = "\0" + address[1:] if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.sendto(state.encode(), target)
    except OSError:
        return False
    return True
