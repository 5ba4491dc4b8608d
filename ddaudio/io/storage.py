"""Folders on a local disk or in object storage: the same few things are done with both.

A local file appears by renaming, a fit's folder as a whole. Object storage cannot rename: there each file is put as a
whole, and a fit's report last of all.
"""

import contextlib
import itertools
import os
import secrets
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ddaudio.errors import BatchError, OutputError

REPORT = "report.json"
"""The file that marks a folder as a complete fit; see `ddaudio.results.read`."""
UNFINISHED = ".unfinished"
"""Where, in a local output, fits are made before they take their place."""
AT_ONCE = 16
"""Requests to object storage at a time."""
STALE_S = 86_400
"""Age from which on what another machine left unfinished counts as left for good."""
_MOST_TRIES = 20


def is_remote(address: str) -> bool:
    """Return whether an address names object storage, or another file system of fsspec, rather than a local path."""
    return "://" in address and not address.startswith("file://")


def local_path(address: str) -> str:
    """Return the path that a local address means; ``file://`` is taken off."""
    return unquote(urlsplit(address).path) if address.startswith("file://") else address


@cache
def _file_system(protocol: str) -> Any:
    """Return a file system of fsspec; nothing is kept of what it lists."""
    import fsspec  # type: ignore[import-untyped]  # noqa: PLC0415 - not needed for local files

    return fsspec.filesystem(protocol, use_listings_cache=False)


def storage_errors() -> tuple[type[Exception], ...]:
    """Return what object storage raises when it does not do what it is asked: missing credentials are no OSError."""
    boto = sys.modules.get("botocore.exceptions")
    return (OSError, ValueError, ImportError, *((boto.BotoCoreError, boto.ClientError) if boto else ()))


def remote(address: str) -> tuple[Any, str]:
    """Return the file system of an address, and the path there; raises `BatchError` where fsspec knows none."""
    protocol, _, path = address.partition("://")
    try:
        return _file_system(protocol), path.rstrip("/")
    except storage_errors() as error:
        hint = "pip install 'ddaudio[s3]'" if protocol in ("s3", "s3a") else "install its package"
        raise BatchError(f"cannot use {address!r}: {error}", hint=f"{hint}, or check the address") from None


@dataclass(frozen=True)
class Storage:
    """Where fits and tables go: a local folder or one in object storage."""

    address: str
    """An absolute local path, or an address such as ``s3://bucket/fits``."""

    @classmethod
    def at(cls, address: str | os.PathLike[str]) -> "Storage":
        """Return the output at a path or address."""
        text = os.fspath(address)
        return cls(text.rstrip("/") if is_remote(text) else os.path.abspath(local_path(text)))  # noqa: PTH100 - keeps links

    @property
    def is_local(self) -> bool:
        """Whether it is a folder on a local disk."""
        return not is_remote(self.address)

    def path(self, name: str) -> str:
        """Return the path or address of something in it."""
        return f"{self.address}/{name}"

    def read(self, name: str) -> bytes | None:
        """Return what a file holds; None where there is none. Raises OSError, or what the storage raises."""
        try:
            if self.is_local:
                return Path(self.path(name)).read_bytes()
            system, path = remote(self.path(name))
            return bytes(system.cat_file(path))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def exists(self, name: str) -> bool:
        """Return whether there is such a file."""
        if self.is_local:
            return Path(self.path(name)).is_file()
        system, path = remote(self.path(name))
        return bool(system.exists(path))

    def write(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all; raises `OutputError`."""
        with self._whole(name) as place:
            if isinstance(place, Path):
                place.write_bytes(content)
            else:
                place[0].pipe_file(place[1], content)

    def write_file(self, name: str, file: Path) -> None:
        """Write a copy of a local file, whole or not at all; raises `OutputError`."""
        with self._whole(name) as place:
            if isinstance(place, Path):
                shutil.copyfile(file, place)
            else:
                place[0].put_file(str(file), place[1])

    @contextlib.contextmanager
    def _whole(self, name: str) -> Iterator[Path | tuple[Any, str]]:
        """Give where to write a file: a local path from which it goes to its place, or a file system and the place itself."""
        try:
            if not self.is_local:
                yield remote(self.path(name))
                return
            place = Path(self.path(name))
            place.parent.mkdir(parents=True, exist_ok=True)
            temporary = place.with_name(f".{place.name}.{os.getpid()}-{secrets.token_hex(4)}")
            try:
                yield temporary
                temporary.replace(place)
            finally:
                temporary.unlink(missing_ok=True)
        except storage_errors() as error:
            raise OutputError(
                f"cannot write {self.path(name)!r}: {_reason(error)}", hint="choose a writable {out} with enough space"
            ) from error

    def finished(self) -> set[str]:
        """Return the folders, relative to the output, that hold a report."""
        if self.is_local:
            return set(self._finished_here())
        system, path = remote(self.address)
        try:
            found = system.find(path)
        except FileNotFoundError:
            return set()
        start = len(str(system._strip_protocol(path))) + 1
        return {name[start : -len(REPORT) - 1] for name in found if name.endswith("/" + REPORT)}

    def _finished_here(self) -> Iterator[str]:
        """Yield the folders of fits of a local output; hidden folders hold none."""
        for folder, below, files in os.walk(self.address):
            below[:] = [name for name in below if not name.startswith(".")]
            if REPORT in files:
                yield os.path.relpath(folder, self.address).replace(os.sep, "/")

    @contextlib.contextmanager
    def making(self) -> Iterator[Path]:
        """Give an empty local folder to make a fit's folder in; it goes at the end with all that is left in it."""
        home = Path(self.address, UNFINISHED) if self.is_local else Path(tempfile.gettempdir())
        if self.is_local:
            home.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=home, prefix=f"{socket.gethostname()[:60]}.{os.getpid()}."))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            if self.is_local:
                with contextlib.suppress(OSError):
                    home.rmdir()  # fails while other fits are being made

    def publish(self, made: Path, name: str, order: Sequence[str]) -> None:
        """Put a fit's folder that was made in `making` into its place ``name``, instead of what is there.

        A local folder takes its place whole, whoever else does the same at the same time; files in the older one that are not
        in ``order`` stay. In object storage the old report goes first and the new one comes last. Raises OSError, or what
        the storage raises.
        """
        if not self.is_local:
            system, path = remote(self.path(name))
            # The report first; with it what the new fit lacks, such as a page that tells of the old one.
            for file in (REPORT, *(file for file in order if not (made / file).exists())):
                with contextlib.suppress(FileNotFoundError):
                    system.rm_file(f"{path}/{file}")
            for file in order:
                if (made / file).exists():
                    system.put_file(str(made / file), f"{path}/{file}")
            return
        place = Path(self.path(name))
        place.parent.mkdir(parents=True, exist_ok=True)
        self._check_inside(place)
        for tries in itertools.count():
            old = made.parent / f"old-{tries}"
            try:
                with contextlib.suppress(FileNotFoundError):
                    place.rename(old)
                    _keep_others(old, made, order)
                made.rename(place)
            except OSError:
                # Another process that fits the same recording may have been faster: then its folder is taken away again.
                if tries == _MOST_TRIES or not place.is_dir():
                    if old.exists() and not place.exists():
                        old.rename(place)
                    raise
            else:
                return

    def _check_inside(self, place: Path) -> None:
        """Refuse a place that a link in the output leads out of it."""
        root, found = os.path.realpath(self.address), os.path.realpath(place)
        if place.is_symlink() or os.path.commonpath([root, found]) != root:
            raise OutputError(f"cannot write {str(place)!r}: a link leads out of the output to {found!r}", hint="remove the link")
        if place.exists() and not place.is_dir():
            raise OutputError(f"cannot write {str(place)!r}: it is a file", hint="move it away")

    def clear_leftovers(self) -> None:
        """Take away what batches that were killed left unfinished: those of this machine that no longer run, and old ones."""
        home = Path(self.address, UNFINISHED)
        if not self.is_local or not home.is_dir():
            return
        for folder in list(home.iterdir()):
            host, _, rest = folder.name.rpartition(".")[0].rpartition(".")
            with contextlib.suppress(OSError):
                dead = host == socket.gethostname()[:60] and rest.isdecimal() and not _runs(int(rest))
                if dead or time.time() - folder.stat().st_mtime > STALE_S:
                    shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            home.rmdir()

    def download(self, name: str, folder: Path) -> Path:
        """Return a local folder with the files of a fit: its own if it is local, else a copy in ``folder``."""
        if self.is_local:
            return Path(self.path(name))
        system, path = remote(self.path(name))
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda file: system.get_file(file, str(folder / file.rpartition("/")[2])), system.find(path)))
        return folder

    def check_writable(self) -> None:
        """Raise `OutputError` where nothing can be written: call it before the work."""
        if not self.is_local:
            self.write(".writable", b"")
            system, path = remote(self.path(".writable"))
            with contextlib.suppress(*storage_errors()):
                system.rm_file(path)
            return
        place = Path(self.address)
        above = next(folder for folder in (place, *place.parents) if os.path.lexists(folder))
        if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
            what = "is not a folder" if not above.is_dir() else "cannot be written to"
            raise OutputError(f"cannot write to {self.address!r}: {str(above)!r} {what}", hint="choose another {out}")


def _keep_others(old: Path, new: Path, order: Sequence[str]) -> None:
    """Move what a user put into an older folder into the new one."""
    for entry in list(old.iterdir()):
        if entry.name not in order and not (new / entry.name).exists():
            entry.rename(new / entry.name)


def _runs(pid: int) -> bool:
    """Return whether a process of this machine runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
