"""Atomic writing of files and folders. All renaming and deleting of the library is done here.

Files are written into a scratch folder next to their destination and then renamed. A scratch folder contains a mark, the file
`OWNER`, which is locked while its process runs: only folders with this mark are ever removed as leftovers. No function follows a
symbolic link to delete, overwrite or rename something; a link in the place of a file is replaced.
"""

import contextlib
import json
import os
import re
import secrets
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, TypeGuard

from ddaudio.errors import OutputError
from ddaudio.io.json_text import json_object
from ddaudio.io.locks import folder_lock, is_running, lock, lock_file
from ddaudio.io.paths import quoted

SCRATCH = ".ddaudio-"
"""Prefixes of the names of scratch folders and of temporary files."""
_TEMPORARY = re.compile(re.escape(SCRATCH) + "[0-9a-f]{16}")
OWNER, JOURNAL, NEW, OLD = "owner.json", "journal.json", "new", "old"
"""Contents of a scratch folder: its mark, the journal of `install`, and new and replaced files."""
STALE_S = 86_400
"""Age in seconds at which the scratch folder of another machine is considered a leftover."""


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for writing that replaces `path` only if the block ends without an error.

    Raises OutputError if it cannot be written; an older file at `path` is then unchanged, and no part of the new one is left.
    """
    path = Path(path)
    temporary = path.parent / f"{SCRATCH}{secrets.token_hex(8)}"
    made = False
    try:
        if path.exists() and not path.is_file():
            raise OutputError(f"cannot write {quoted(path)}: it is not a file", hint="give the path of a file")
        with temporary.open("xb") as stream:  # a new file: never through a link
            made = True
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        made = False
    except OSError as error:
        absent = isinstance(error, FileNotFoundError | NotADirectoryError)
        reason = f"there is no folder {quoted(path.parent)}" if absent else error.strerror
        raise OutputError(f"cannot write {quoted(path)}: {reason}", hint="choose a writable folder with enough space") from error
    finally:
        if made:
            with contextlib.suppress(OSError):
                temporary.unlink()


def check_inside(root: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Raise `OutputError` if a path below the folder ``root`` leads through a symbolic link, or out of the folder."""
    relative = os.path.relpath(os.path.abspath(path), os.path.abspath(root))  # noqa: PTH100 - keeps links
    expected = os.path.normpath(os.path.join(os.path.realpath(root), relative))  # noqa: PTH118
    found = os.path.realpath(path)
    if Path(relative).parts[:1] == (os.pardir,) or found != expected:
        raise OutputError(f"cannot write {quoted(path)}: a link leads to {quoted(found)}", hint="remove the link")


@contextlib.contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Create a folder in ``parent`` for unfinished files; it is removed with all its contents at the end.

    Yields the empty folder inside it for new files. Raises OSError.
    """
    home = Path(tempfile.mkdtemp(prefix=SCRATCH, dir=parent))
    try:
        with (home / OWNER).open("x", encoding="utf-8") as mark:
            lock(mark.fileno())
            mark.write(json.dumps({"ddaudio": "scratch", "host": socket.gethostname(), "pid": os.getpid()}))
            mark.flush()
            (home / NEW).mkdir()
            yield home / NEW
    finally:
        if not (home / JOURNAL).exists():  # otherwise `clear_leftovers` completes the move later
            _remove_tree(home)


def install(new: Path, folder: Path, names: Sequence[str]) -> None:
    """Move the files of a `scratch_folder` to ``folder``, all or none; the last of ``names`` marks them as complete.

    Older files among ``names`` that are not replaced are removed; all other files in ``folder`` are kept. Processes that install
    into the same folder wait for each other. A process that is killed meanwhile leaves a journal, from which `clear_leftovers`
    completes the move.
    Raises OSError, and ``folder`` is then unchanged.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not os.path.lexists(folder):
        try:
            new.rename(folder)
        except OSError:
            if not folder.is_dir():  # otherwise another process was faster
                raise
        else:
            return
    home = new.parent
    to = os.path.relpath(os.path.realpath(folder), os.path.realpath(home.parent))
    (home / OLD).mkdir(exist_ok=True)
    with folder_lock(folder):
        there = [name for name in names if os.path.lexists(folder / name)]
        with whole_file(home / JOURNAL) as stream:
            stream.write(json.dumps({"to": to, "names": list(names), "new": os.listdir(new)}).encode())  # noqa: PTH208
        done = False
        try:
            _replace_all(home, folder, names, {name for name in names if os.path.lexists(new / name)})
            done = True
        finally:
            for name in () if done else names:
                if os.path.lexists(home / OLD / name):
                    (home / OLD / name).replace(folder / name)
                elif name not in there:
                    (folder / name).unlink(missing_ok=True)
            (home / JOURNAL).unlink()


def _replace_all(home: Path, folder: Path, names: Sequence[str], new: set[str]) -> None:
    """Move older files out of ``folder`` and new ones in; the last name is removed first and added last. Can be repeated."""
    for name in reversed(names):
        waits = os.path.lexists(home / NEW / name)
        if (waits or name not in new) and os.path.lexists(folder / name):
            (folder / name).replace(home / OLD / name)
    for name in names:
        if os.path.lexists(home / NEW / name):
            (home / NEW / name).replace(folder / name)


def clear_leftovers(parent: Path) -> None:
    """Remove scratch folders of killed processes in ``parent``, and complete their interrupted installations.

    Only folders (not links) with the mark of `scratch_folder` are removed, whose process on this machine has ended, or which
    another machine has not touched for more than `STALE_S` seconds; and empty ones of that age, whose process was killed before
    it wrote the mark. Never raises.
    """
    with contextlib.suppress(OSError), os.scandir(parent) as entries:
        found = [Path(entry.path) for entry in entries if entry.name.startswith(SCRATCH) and entry.is_dir(follow_symlinks=False)]
        for home in found:
            with contextlib.suppress(OSError, OutputError), _leftover(home) as is_leftover:
                if is_leftover:
                    _complete(home)
                    _remove_tree(home)
            with contextlib.suppress(OSError):
                _remove_unmarked(home)


def _remove_unmarked(home: Path) -> None:
    """Remove an old folder with nothing in it but an empty mark; raises OSError if there is no such folder."""
    mark = home / OWNER
    if time.time() - home.stat().st_mtime > STALE_S and set(home.iterdir()) <= {mark}:
        if os.path.lexists(mark) and stat.S_ISREG(mark.lstat().st_mode) and mark.lstat().st_size == 0:
            mark.unlink()
        home.rmdir()


@contextlib.contextmanager
def _leftover(home: Path) -> Iterator[bool]:
    """Yield whether a folder is a scratch folder whose process has ended; its mark is locked meanwhile."""
    with os.fdopen(os.open(home / OWNER, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb") as mark:
        owner = json_object(mark.read(10_000)) if stat.S_ISREG(os.fstat(mark.fileno()).st_mode) else {}
        here = owner.get("host") == socket.gethostname()
        ended = not is_running(owner.get("pid")) if here else time.time() - home.stat().st_mtime > STALE_S
        yield owner.get("ddaudio") == "scratch" and ended and lock(mark.fileno())


def _complete(home: Path) -> None:
    """Complete the move of a journal, whose destination can only be an adjacent folder or the parent."""
    try:
        journal = json_object((home / JOURNAL).read_bytes())
    except FileNotFoundError:
        return
    names, new, to = journal.get("names"), journal.get("new"), journal.get("to")
    if not _is_path(to) or not _are_names(names) or not _are_names(new):
        return
    folder = home.parent / to
    check_inside(home.parent, folder)
    folder.mkdir(exist_ok=True)
    (home / OLD).mkdir(exist_ok=True)
    with folder_lock(folder):
        _replace_all(home, folder, names, set(new))


def _are_names(names: object) -> TypeGuard[list[str]]:
    return isinstance(names, list) and all(_is_path(name) and Path(name).parts == (name,) for name in names)


def _is_path(text: object) -> TypeGuard[str]:
    """Return whether a value is text that the system takes as a path."""
    try:
        return isinstance(text, str) and b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def _remove_tree(home: Path) -> None:
    """Remove a scratch folder if it still exists; links in it are removed, not followed."""
    shutil.rmtree(home, ignore_errors=True)


def temporary_files(folder: Path) -> list[str]:
    """Return the names of temporary files in a folder, left by processes killed within `whole_file`."""
    return [path.name for path in folder.glob(f"{SCRATCH}*") if _TEMPORARY.fullmatch(path.name)]


def remove_file(path: Path, root: Path) -> None:
    """Remove a file below the folder ``root``, or a link in its place.

    Raises `OutputError` if its path contains a link; OSError if it cannot be removed. A missing file is ignored.
    """
    if os.path.lexists(path):
        check_inside(root, path.parent)
        path.unlink(missing_ok=True)


def remove_empty(folder: Path) -> None:
    """Remove a folder if it is empty and not a link."""
    if not folder.is_symlink():
        with contextlib.suppress(OSError):
            folder.rmdir()


def is_inside_only(folder: Path) -> bool:
    """Return whether nothing can be created next to a folder: it is a root, or its parent is not writable."""
    folder = folder.absolute()
    return folder.parent == folder or (os.path.isdir(folder) and not os.access(folder.parent, os.W_OK))  # noqa: PTH112


@contextlib.contextmanager
def exclusive(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file ``path``, which is created and finally removed, together with folders created for it.

    Raises `OutputError` with the message ``what`` if another process or thread holds it.
    """
    made = [folder for folder in path.parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = lock_file(path, what)
    except OSError as error:
        raise OutputError(
            f"cannot write to {quoted(path.parent)}: {error.strerror or error}", hint="choose another {out}"
        ) from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(descriptor)
        for folder in made:
            remove_empty(folder)
