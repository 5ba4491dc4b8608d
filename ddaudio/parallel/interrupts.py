"""Ctrl-C at the wrong moment: deferred where it would leave something unfinished, and kept from child processes."""

import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def deferred_interrupts() -> Iterator[None]:
    """Defer Ctrl-C until the block has ended; no effect outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[object] = []
    before = signal.signal(signal.SIGINT, lambda *_: came.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            signal.raise_signal(signal.SIGINT)


@contextlib.contextmanager
def children_without_interrupts() -> Iterator[None]:
    """Start processes that never receive Ctrl-C, which a terminal sends to all processes of a command.

    They inherit the signals that this thread blocks; a Ctrl-C within the block is delivered when it ends. No effect on Windows.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
