"""Handling of standard streams that are closed, full or read only in part, without tracebacks or failing fits."""

import contextlib
import os
import sys


def open_closed_streams() -> None:
    """Replace closed standard streams by the null device, before an opened file gets their descriptors.

    Without this, a fit whose stderr is closed would write its messages into the first file that it opens.
    """
    with contextlib.suppress(OSError):
        while True:
            handle = os.open(os.devnull, os.O_RDWR)
            if handle > 2:
                os.close(handle)
                break
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 - open until the end


def set_columns() -> None:
    """Ignore a terminal width that is not above 0."""
    columns = os.environ.get("COLUMNS")
    if columns is not None and not (columns.isdecimal() and int(columns) > 0):
        del os.environ["COLUMNS"]


def stdout_problem() -> str | None:
    """Return why standard output cannot be written to, or None, by writing an empty line."""
    try:
        sys.stdout.write("\n")
        sys.stdout.flush()
    except OSError as error:
        return error.strerror or str(error)
    return None


def discard_stdout() -> None:
    """Send the rest of the output to the null device, so that the final flush of Python does not fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
