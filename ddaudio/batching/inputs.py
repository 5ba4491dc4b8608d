"""Inputs of a batch: recordings in a folder, in a list file, or given one by one, on disk or in object storage."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from ddaudio.errors import BatchError, RecordingError
from ddaudio.io.paths import apart, folder_of, quoted
from ddaudio.io.storage import AT_ONCE, Storage, is_remote, local_path, reason, remote, storage_errors

SUFFIXES = (".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc")
"""File name extensions of recordings, in any case; used unless a pattern is given."""
LISTS = (".txt", ".m3u", ".m3u8")
"""Extensions of list files, which contain a path or URL per line."""
FEW = 5
"""Number of missing inputs named in a message."""


@dataclass(frozen=True, slots=True)
class Input:
    """A recording of a batch."""

    place: str
    """Local path or URL."""
    folder: str
    """Folder of its fit, relative to the output."""
    size: int
    """File size in bytes."""
    mark: str = ""
    """ETag reported by the storage, equal only for equal content; empty for local files."""
    problem: str = ""
    """Reason why it cannot be read, if known: a folder that cannot be listed is an input that fails."""

    @property
    def is_local(self) -> bool:
        """Whether it is a local file."""
        return not is_remote(self.place)


def find(inputs: Sequence[str | os.PathLike[str]], output: Storage, pattern: str | None = None) -> list[Input]:
    """Return the recordings of all inputs without duplicates, sorted by folder.

    Args:
        inputs: a folder, a list file (`LISTS`), a URL of either, or several paths and URLs. Folders are searched recursively,
            except hidden files and folders; symbolic links to files are followed, those to folders are not.
        output: storage of the fits, from which no recording may be read.
        pattern: shell pattern for names, or for paths relative to the folder if it contains a slash (default: `SUFFIXES`).

    Raises:
        BatchError: nothing is found, an input is missing, or input and output overlap.

    """
    addresses = [_tidy(os.fspath(each)) for each in inputs]
    if not addresses:
        raise BatchError("no input", hint="give a folder, a list file or recordings")
    for address in addresses:
        _check_apart(address, output)
    wanted = _filter(pattern)
    try:
        if len(addresses) == 1:
            found = _found_in(addresses[0], wanted)
        else:
            found = [item for one in _looked_up(addresses, "") for item in _given(one, wanted, alone=False)]
    except storage_errors() as error:
        raise BatchError(
            f"cannot list {', '.join(map(repr, addresses[:FEW]))}: {reason(error)}", hint="check the address"
        ) from None
    if not found:
        what = f"no name matches {pattern!r}" if pattern else f"no name ends in {', '.join(SUFFIXES)}"
        raise BatchError(f"no recordings in {', '.join(map(repr, addresses[:FEW]))}: {what}", hint="give another {pattern}")
    for item in found:
        _check_apart(item.place, output)
    once = {item.folder: item for item in found}
    folders = apart(once)
    return sorted((replace(item, folder=folders[name]) for name, item in once.items()), key=lambda item: item.folder)


def _tidy(address: str) -> str:
    return address.rstrip("/") if is_remote(address) else local_path(address)


def _check_apart(address: str, output: Storage) -> None:
    """Raise `BatchError` if the output is the input or inside it, or a recording is inside the output."""
    if is_remote(address) != is_remote(output.address):
        return
    one, other = (address, output.address) if is_remote(address) else map(os.path.realpath, (address, output.address))
    if one == other:
        raise BatchError(f"input and output are the same, {output.address!r}", hint="choose another {out}")
    if other.startswith(one.rstrip("/") + "/") and _is_folder(address):
        raise BatchError(
            f"the output {output.address!r} is inside the input {address!r}: its sounds would be fitted next time",
            hint="choose another {out}, outside of it",
        )
    if one.startswith(other.rstrip("/") + "/") and not _is_folder(address):
        raise BatchError(f"the recording {address!r} is in the output {output.address!r}", hint="choose another {out}")


def _is_folder(address: str) -> bool:
    return is_remote(address) or os.path.isdir(address)  # noqa: PTH112 - a path may be any text


def _filter(pattern: str | None) -> Callable[[str], bool]:
    """Return a predicate that selects recordings by their path relative to a folder."""
    if pattern is None:
        return lambda path: path.lower().endswith(SUFFIXES)
    return lambda path: fnmatch(path if "/" in pattern else path.rpartition("/")[2], pattern)


@dataclass(frozen=True)
class _Entry:
    """A named input and its file information."""

    named: str
    place: str
    info: dict[str, Any] | None
    """``type``, ``size`` and possibly an ETag; None if it does not exist."""


def _looked_up(names: Sequence[str], base: str) -> Iterator[_Entry]:
    """Look up names; local ones are relative to the folder ``base``."""

    def look(named: str) -> _Entry:
        """Look up one name."""
        place = named if is_remote(named) else os.path.join(base, named)  # noqa: PTH118
        return _Entry(named, place, _info(place))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        entries = list(pool.map(look, names))
    missing = [entry.place for entry in entries if entry.info is None]
    if missing:
        more = f" and {len(missing) - FEW} more" if len(missing) > FEW else ""
        raise BatchError(
            f"{len(missing)} of {len(entries)} inputs are missing: {', '.join(map(repr, missing[:FEW]))}{more}",
            hint="restore them, or remove them from the list",
        )
    yield from entries


def _info(place: str) -> dict[str, Any] | None:
    """Return information on a file or folder; None if it does not exist."""
    try:
        if not is_remote(place):
            found = os.stat(place)  # noqa: PTH116
            return {"type": "directory" if os.path.isdir(place) else "file", "size": found.st_size}  # noqa: PTH112
        system, path = remote(place)
        return dict(system.info(path))
    except (FileNotFoundError, NotADirectoryError):
        return None


def _found_in(address: str, wanted: Callable[[str], bool]) -> list[Input]:
    """Return the recordings of a single input."""
    (entry,) = _looked_up([address], "")
    if entry.info is not None and entry.info["type"] != "directory" and address.lower().endswith(LISTS):
        base = "" if is_remote(address) else os.path.dirname(os.path.abspath(address))  # noqa: PTH100, PTH120
        return [item for one in _looked_up(_rows(address), base) for item in _given(one, wanted, alone=False)]
    return list(_given(entry, wanted, alone=True))


def _rows(address: str) -> list[str]:
    """Return the entries of a list file; empty lines and comments are ignored."""
    try:
        if is_remote(address):
            system, path = remote(address)
            text = system.cat_file(path).decode("utf-8-sig")
        else:
            text = Path(address).read_text(encoding="utf-8-sig", errors="surrogateescape")
    except UnicodeDecodeError as error:
        raise BatchError(f"the list {address!r} is not UTF-8 text: {error}", hint="save it as UTF-8") from None
    rows = [line.strip() for line in text.splitlines()]
    found = [_tidy(row) for row in rows if row and not row.startswith("#")]
    if any("\0" in row for row in found):
        raise BatchError(f"the list {address!r} has a zero byte in a path", hint="write a path or an address on each line")
    if not found:
        raise BatchError(f"the list {address!r} is empty", hint="write a path or an address on each line")
    return found


def _given(entry: _Entry, wanted: Callable[[str], bool], *, alone: bool) -> Iterator[Input]:
    """Yield the recordings of an entry: the file itself, or all in a folder, below its name unless ``alone``."""
    info = entry.info or {}
    if info["type"] != "directory":
        yield Input(entry.place, folder_of(*_parts(entry)), int(info["size"] or 0), _mark(info))
        return
    above, root = ([], "") if alone else _parts(entry)
    for path, place, size, mark, problem in _below(entry.place):
        if problem or wanted(path):
            yield Input(place, folder_of([*above, *path.split("/")], root), size, mark, problem)


def _parts(entry: _Entry) -> tuple[list[str], str]:
    """Return the parts of a named path and its root; paths that begin with ``..`` are made absolute."""
    if is_remote(entry.named):
        protocol, _, path = entry.named.partition("://")
        return [protocol, *(part for part in path.split("/") if part)], f"{protocol}://"
    path = os.path.normpath(entry.named)
    root = "/" if os.path.isabs(path) or Path(path).parts[:1] == ("..",) else ""  # noqa: PTH117
    if root:
        path = os.path.abspath(entry.place)  # noqa: PTH100 - links keep their names
    return list(Path(path).parts[bool(root) :]) or ["."], root


def _below(place: str) -> Iterator[tuple[str, str, int, str, str]]:
    """Yield relative path, place, size in bytes, mark and problem of each file in a folder, except hidden ones.

    A subfolder that cannot be listed is yielded as a file with a problem; for the folder itself OSError is raised.
    """
    if is_remote(place):
        system, root = remote(place)
        protocol = place.partition("://")[0]
        start = len(str(system._strip_protocol(root)).rstrip("/")) + 1
        for name, info in system.find(root, detail=True).items():
            path = name[start:]
            if info["type"] == "file" and not any(part.startswith(".") for part in path.split("/")):
                yield path, f"{protocol}://{name.lstrip('/')}", int(info["size"] or 0), _mark(info), ""
        return
    problems: list[OSError] = []
    for folder, below, files in os.walk(place, onerror=problems.append):
        below[:] = [name for name in below if not name.startswith(".")]
        for name in files:
            if not name.startswith("."):
                full = Path(folder, name)
                yield full.relative_to(place).as_posix(), str(full), _size(full), "", ""
    for error in problems:
        if error.filename is None or str(error.filename) == place:
            raise error
        problem = f"cannot list {quoted(error.filename)}: {reason(error)}"
        yield Path(error.filename).relative_to(place).as_posix(), str(error.filename), 0, "", problem


def _size(path: Path) -> int:
    """Return the size of a file in bytes; 0 if it cannot be determined."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _mark(info: dict[str, Any]) -> str:
    """Return the ETag of a file, if there is one."""
    return str(info.get("ETag") or info.get("etag") or info.get("md5Hash") or "").strip('"')


def seconds_of_sound(items: Sequence[Input]) -> float:
    """Return the total duration of recordings in seconds; unreadable ones count as 0.

    Local files are measured, since headers may be wrong; of remote files only headers are read.
    """
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return sum(pool.map(_duration_s, items))


def _duration_s(item: Input) -> float:
    import soundfile  # type: ignore[import-untyped]  # noqa: PLC0415 - needed for a dry run only

    from ddaudio.io.audio_decoding import declared_length_s, length_s  # noqa: PLC0415 - as above

    try:
        if item.is_local:
            # Other files, such as pipes, are refused by the fit; opening one could block forever.
            return length_s(Path(item.place)) if os.path.isfile(item.place) else 0.0  # noqa: PTH113
        system, place = remote(item.place)
        with system.open(place, "rb") as file:
            return declared_length_s(file)
    except (*storage_errors(), RecordingError, soundfile.LibsndfileError):
        return 0.0
