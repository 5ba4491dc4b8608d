"""Storage of fits on a local disk or in object storage, with the same interface.

Local files are written atomically by renaming, and a fit's folder as a whole. Object storage cannot rename: there each file is
written atomically, and a fit's report last.
"""

import contextlib
import json
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from ddaudio.errors import BatchError, OutputError
from ddaudio.io.atomic import check_inside, clear_leftovers, install, scratch_folder, whole_file
from ddaudio.io.fit_files import REPORT
from ddaudio.io.paths import TABLES, quoted

MARK = ".ddaudio"
"""File that marks an output as one of ddaudio, whose tables may be replaced."""
AT_ONCE = 16
"""Number of simultaneous requests to object storage."""
_LOCAL = ("file://", "local://")


def is_remote(address: str) -> bool:
    """Return whether an address is the URL of object storage or another file system of fsspec, not a local path."""
    return "://" in address and not address.startswith(_LOCAL)


def local_path(address: str) -> str:
    """Return the path of a local address, without ``file://``."""
    return unquote(urlsplit(address).path) if address.startswith(_LOCAL) else address


@cache
def _file_system(protocol: str) -> Any:
    """Return a file system of fsspec that caches no listings."""
    import fsspec  # type: ignore[import-untyped]  # noqa: PLC0415 - not needed for local files

    return fsspec.filesystem(protocol, use_listings_cache=False)


def storage_errors() -> tuple[type[Exception], ...]:
    """Return the exception types of storage; in object storage missing credentials are not an OSError."""
    boto = sys.modules.get("botocore.exceptions")
    return (OSError, ValueError, ImportError, *((boto.BotoCoreError, boto.ClientError) if boto else ()))


def remote(address: str) -> tuple[Any, str]:
    """Return file system and path of a URL; raises `BatchError` if fsspec does not support it."""
    protocol, _, path = address.partition("://")
    try:
        return _file_system(protocol), path.rstrip("/")
    except Exception as error:  # an address of any protocol: what its package raises is not known
        hint = "pip install 'ddaudio[s3]'" if protocol in ("s3", "s3a") else "install its package"
        raise BatchError(f"cannot use {address!r}: {reason(error)}", hint=f"{hint}, or check the address") from None


class Storage(Protocol):
    """Destination of fits and tables. Names are relative to it, with ``/`` between parts."""

    @property
    def address(self) -> str:
        """An absolute local path, or a URL such as ``s3://bucket/fits``."""
        ...

    def path(self, name: str) -> str:
        """Return the path or URL of a name."""
        ...

    def read(self, name: str) -> bytes | None:
        """Return the contents of a file; None if it does not exist. Raises OSError or the errors of the storage."""
        ...

    def exists(self, name: str) -> bool:
        """Return whether a file exists."""
        ...

    def write(self, name: str, content: bytes | Path) -> None:
        """Write bytes or a copy of a local file atomically; raises `OutputError`."""
        ...

    def finished(self) -> set[str]:
        """Return the folders that contain a report."""
        ...

    def making(self) -> contextlib.AbstractContextManager[Path]:
        """Yield an empty local folder for the files of a new fit; it is removed at the end."""
        ...

    def publish(self, made: Path, name: str, order: Sequence[str]) -> None:
        """Move the files of a folder from `making` into the folder ``name``, the last of ``order`` last.

        Older files among ``order`` that are not replaced are removed; all other files are kept. Raises `OutputError`, OSError or
        the errors of the storage.
        """
        ...

    def fetched(self, name: str) -> contextlib.AbstractContextManager[Path]:
        """Yield a folder as a local one, itself or a copy, with as many parents as ``name`` has parts."""
        ...

    def prepare(self) -> None:
        """Check that it can be written to and is not used for something else, and remove leftovers.

        Raises `OutputError`.
        """
        ...


def open_storage(address: str | os.PathLike[str]) -> Storage:
    """Return the storage at a path or URL."""
    text = os.fspath(address)
    if is_remote(text):
        return ObjectStorage(text.rstrip("/"))
    return LocalStorage(os.path.abspath(local_path(text)))  # noqa: PTH100 - keeps links


@dataclass(frozen=True)
class LocalStorage:
    """A local folder. Links in it are never followed to write, replace or remove files."""

    address: str

    def path(self, name: str) -> str:
        """Return the path of a name."""
        return f"{self.address}/{name}"

    def read(self, name: str) -> bytes | None:
        """Return the contents of a file; None if it does not exist. Raises OSError."""
        try:
            return Path(self.path(name)).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def exists(self, name: str) -> bool:
        """Return whether a file exists."""
        return os.path.isfile(self.path(name))  # noqa: PTH113 - no error where it cannot be looked at

    def write(self, name: str, content: bytes | Path) -> None:
        """Write bytes or a copy of a file atomically; raises `OutputError`."""
        place = Path(self.path(name))
        check_inside(self.address, place.parent)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            data = content if isinstance(content, bytes) else content.read_bytes()
        except OSError as error:
            raise _unwritable(str(place), error) from error
        with whole_file(place) as stream:
            stream.write(data)

    def finished(self) -> set[str]:
        """Return the folders that contain a report, except hidden ones."""
        return set(self._finished())

    def _finished(self) -> Iterator[str]:
        for folder, below, files in os.walk(self.address):
            below[:] = [name for name in below if not name.startswith(".")]
            if REPORT in files:
                yield os.path.relpath(folder, self.address).replace(os.sep, "/")

    @contextlib.contextmanager
    def making(self) -> Iterator[Path]:
        """Yield an empty folder for the files of a new fit; it is removed at the end."""
        Path(self.address).mkdir(parents=True, exist_ok=True)
        with scratch_folder(Path(self.address)) as folder:
            yield folder

    def publish(self, made: Path, name: str, order: Sequence[str]) -> None:
        """Move the files of a folder from `making` into the folder ``name``, all or none; raises `OutputError` or OSError."""
        place = Path(self.path(name))
        check_inside(self.address, place)
        if place.exists() and not place.is_dir():
            raise OutputError(f"cannot write {str(place)!r}: it is a file", hint="move it away")
        install(made, place, order)

    @contextlib.contextmanager
    def fetched(self, name: str) -> Iterator[Path]:
        """Yield the folder itself."""
        yield Path(self.path(name))

    def prepare(self) -> None:
        """Check that it can be written to and is not used for something else, and remove leftovers; raises `OutputError`."""
        place = Path(self.address)
        above = next(folder for folder in (place, *place.parents) if os.path.lexists(folder))
        if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
            what = "is not a folder" if not above.is_dir() else "cannot be written to"
            raise OutputError(f"cannot write to {self.address!r}: {str(above)!r} {what}", hint="choose another {out}")
        _mark(self)
        clear_leftovers(place)


@dataclass(frozen=True)
class ObjectStorage:
    """A folder in object storage, or in another file system of fsspec."""

    address: str

    def path(self, name: str) -> str:
        """Return the URL of a name."""
        return f"{self.address}/{name}"

    def read(self, name: str) -> bytes | None:
        """Return the contents of a file; None if it does not exist. Raises the errors of the storage."""
        system, path = remote(self.path(name))
        try:
            return bytes(system.cat_file(path))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def exists(self, name: str) -> bool:
        """Return whether a file exists."""
        system, path = remote(self.path(name))
        return bool(system.exists(path))

    def write(self, name: str, content: bytes | Path) -> None:
        """Upload bytes or a copy of a local file; raises `OutputError`."""
        system, path = remote(self.path(name))
        try:
            if isinstance(content, bytes):
                system.pipe_file(path, content)
            else:
                system.put_file(str(content), path)
        except storage_errors() as error:
            raise _unwritable(self.path(name), error) from error

    def finished(self) -> set[str]:
        """Return the folders that contain a report."""
        system, path = remote(self.address)
        try:
            found = system.find(path)
        except FileNotFoundError:
            return set()
        start = len(str(system._strip_protocol(path))) + 1
        return {name[start : -len(REPORT) - 1] for name in found if name.endswith("/" + REPORT)}

    @contextlib.contextmanager
    def making(self) -> Iterator[Path]:
        """Yield an empty local folder for the files of a new fit; it is removed at the end."""
        with scratch_folder(Path(tempfile.gettempdir())) as folder:
            yield folder

    def publish(self, made: Path, name: str, order: Sequence[str]) -> None:
        """Upload the files of a folder from `making` to the folder ``name``; the old report is removed first."""
        system, path = remote(self.path(name))
        # Together with the report, files that the new fit does not have, such as a page.
        for file in (REPORT, *(file for file in order if not (made / file).exists())):
            with contextlib.suppress(FileNotFoundError):
                system.rm_file(f"{path}/{file}")
        for file in order:
            if (made / file).exists():
                system.put_file(str(made / file), f"{path}/{file}")

    @contextlib.contextmanager
    def fetched(self, name: str) -> Iterator[Path]:
        """Yield a copy of a folder."""
        system, path = remote(self.path(name))
        with tempfile.TemporaryDirectory() as home, ThreadPoolExecutor(AT_ONCE) as pool:
            folder = Path(home, *PurePosixPath(name).parts)
            folder.mkdir(parents=True)
            list(pool.map(lambda file: system.get_file(file, str(folder / file.rpartition("/")[2])), system.find(path)))
            yield folder

    def prepare(self) -> None:
        """Check that it can be written to and is not used for something else, and remove leftovers; raises `OutputError`."""
        _mark(self)
        clear_leftovers(Path(tempfile.gettempdir()))


def _mark(output: Storage) -> None:
    """Mark an output as one of ddaudio; raises `OutputError` if tables or gallery would replace files of another origin."""
    try:
        if output.exists(MARK):
            return
        there = [name for name in TABLES if output.exists(name)]
    except storage_errors() as error:
        raise _unwritable(output.address, error) from error
    if there:
        problem = f"{quoted(output.path(there[0]))} is not of a batch of ddaudio and would be replaced"
        raise OutputError(problem, hint="move it away, or choose another {out}")
    output.write(MARK, json.dumps({"ddaudio": "batch", "id": secrets.token_hex(8)}).encode())


def _unwritable(place: str, error: Exception) -> OutputError:
    return OutputError(f"cannot write {place!r}: {reason(error)}", hint="choose a writable {out} with enough space")


def reason(error: Exception) -> str:
    """Return the reason of a failed operation on storage."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
