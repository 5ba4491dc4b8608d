"""Files that appear whole or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ddaudio.errors import OutputError
from ddaudio.io.paths import quoted


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for writing that takes its place at `path` only when the block ends without an error.

    Raises OutputError if it cannot be written; then an older file at `path` is untouched and no part of the new stays.
    """
    path = Path(path)
    temporary = path.parent / f".{path.name[:100]}.tmp-{os.getpid()}"
    try:
        if path.exists() and not path.is_file():
            raise OutputError(f"cannot write {quoted(path)}: it is not a file", hint="give the path of a file")
        with temporary.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        absent = isinstance(error, FileNotFoundError | NotADirectoryError)
        reason = f"there is no folder {quoted(path.parent)}" if absent else error.strerror
        raise OutputError(f"cannot write {quoted(path)}: {reason}", hint="choose a writable folder with enough space") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
