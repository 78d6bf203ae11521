"""How a server's process ends: on a signal always, whatever hangs."""

import faulthandler
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Never

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Of these SIGHUP, which comes when a terminal closes, is left alone where it is ignored, as by nohup."""
EXIT_CUT = 4
"""Exit status of a server that something kept from leaving in order."""


def on_signals(stop: Callable[[], object], patience: float) -> None:
    """Call `stop` when one of `SIGNALS` comes, and end the process when it still runs `patience` seconds later.

    To be called in the main thread. The signals are caught in a thread of their own: the event loop's handlers, and
    Python's, wait for the main thread, which may hang.
    """
    receiving, sending = socket.socketpair()
    sending.setblocking(False)
    # The system's own handler writes the number of a signal there, whatever the interpreter does.
    signal.set_wakeup_fd(sending.fileno(), warn_on_full_buffer=False)
    for number in SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _do_nothing)
    threading.Thread(target=_catch, args=(receiving, sending, stop, patience), name="signals", daemon=True).start()


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """Python's own part in a signal: that there is one makes the system write the number."""


def _catch(receiving: socket.socket, sending: socket.socket, stop: Callable[[], object], patience: float) -> None:
    with sending:  # kept open
        while receiving.recv(1)[0] not in SIGNALS:
            pass
        stop()
        time.sleep(patience)
    sys.stderr.write(f"penult serve: something hangs, and does not let the server leave in {patience:.0f} s:\n")
    faulthandler.dump_traceback(all_threads=True)
    os._exit(EXIT_CUT)


def leave(status: int) -> Never:
    """End the process now, with everything printed, without waiting for threads: what must last is on the disk."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
