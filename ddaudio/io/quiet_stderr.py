"""Suppress output of C libraries, such as libmpg123, to the standard error stream."""

import contextlib
import ctypes
import os
import platform
import threading
from collections.abc import Iterator
from functools import cache
from typing import Any

_lock = threading.Lock()
_depth = 0
_before: int | None = None


@contextlib.contextmanager
def quiet_c_stderr() -> Iterator[None]:
    """Discard output of C code to `stderr`, in all threads, until the block ends.

    In glibc `stderr` is a variable that may be assigned ("Standard Streams" in its manual). Python's own stream and file
    descriptor 2, which child processes inherit, are not affected. With other C libraries this does nothing.
    """
    _change(1)
    try:
        yield
    finally:
        _change(-1)


def _change(by: int) -> None:
    """Count active blocks; the first replaces the stream, the last restores it."""
    global _depth, _before  # noqa: PLW0603 - stderr is global, too
    streams = _streams()
    if streams is None:
        return
    with _lock:
        _depth += by
        if by > 0 and _depth == 1:
            _before, streams[0].value = streams[0].value, streams[1]
        elif _depth == 0:
            streams[0].value = _before


@cache
def _streams() -> tuple[Any, int] | None:
    """Return the variable `stderr` of the C library and a stream to the null device; None without glibc."""
    if platform.libc_ver()[0] != "glibc":
        return None
    library = ctypes.CDLL(None)
    library.fopen.restype = ctypes.c_void_p
    nowhere = library.fopen(os.fsencode(os.devnull), b"w")
    return (ctypes.c_void_p.in_dll(library, "stderr"), nowhere) if nowhere else None
