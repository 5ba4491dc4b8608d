"""Locks of files and folders, which end with the process that holds them."""

import contextlib
import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from ddaudio.errors import OutputError
from ddaudio.io.json_text import json_object
from ddaudio.io.paths import quoted

if sys.platform != "win32":
    import fcntl


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Wait for and hold the lock of a folder; no effect on systems without locks on folders."""
    descriptor = None
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        lock(descriptor, wait=True)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def lock_file(path: Path, what: str) -> int:
    """Return the descriptor of a lock file owned by this process; retries if another process removes it before it is locked."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        holder = os.read(descriptor, 500)
        if holder and json_object(holder).get("ddaudio") != "lock":
            os.close(descriptor)
            raise OutputError(f"{quoted(path)} is not a lock of ddaudio", hint="move it away")
        if not lock(descriptor):
            os.close(descriptor)
            pid, host = (json_object(holder).get(name, "unknown") for name in ("pid", "host"))
            raise OutputError(f"{what} (process {pid} on {host})", hint="wait until it ends, or choose another {out}")
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                break
        os.close(descriptor)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps({"ddaudio": "lock", "pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)
    return descriptor


def lock(descriptor: int, *, wait: bool = False) -> bool:
    """Lock an open file; return False if it is locked already. Always True on systems without locks."""
    if sys.platform != "win32":
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        except OSError:
            return True
    return True


def is_running(pid: object) -> bool:
    """Return whether a process of this machine is running."""
    if not isinstance(pid, int) or not 0 < pid < 1 << 31:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
