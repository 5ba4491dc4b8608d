"""Ctrl-C while modules are loaded."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

AGAIN_S = 0.05
"""Time in seconds after which an interrupted import is interrupted again, if it is still going on."""


@contextlib.contextmanager
def sure_interrupts() -> Iterator[None]:
    """Raise `KeyboardInterrupt` on Ctrl-C, within an import again and again until the import has ended.

    Modules catch exceptions while they are loaded, and extensions turn them into others: there one Ctrl-C may be lost, and an
    error that follows is `KeyboardInterrupt`. No effect where Ctrl-C is ignored or handled otherwise, outside the main thread,
    and on Windows.
    """
    handled = threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer")
    if not handled or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    interrupted = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        """Raise `KeyboardInterrupt` on Ctrl-C, and on the alarm after it if a module is still being imported."""
        importing = _is_importing(frame)
        if importing:
            interrupted.append(number)
            signal.setitimer(signal.ITIMER_REAL, AGAIN_S)
        if importing or number == signal.SIGINT:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGALRM)}
    try:
        yield
    except Exception as error:
        if interrupted:
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_importing(frame: FrameType | None) -> bool:
    """Return whether a module is being imported."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
