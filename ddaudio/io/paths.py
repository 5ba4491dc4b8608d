"""Paths and names, as they are written and as they are shown."""

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from contextlib import suppress

from ddaudio.io.fit_files import ENDING


def quoted(path: str | os.PathLike[str]) -> str:
    """Return a path in quotes, on one line whatever characters it has."""
    return repr(os.fspath(path)).replace("\\\\", "\\")


def printable(text: str) -> str:
    """Return text that any file can hold: bytes of a name that are no UTF-8 are escaped."""
    with suppress(UnicodeEncodeError):
        return os.fsencode(text).decode("utf-8", "backslashreplace")
    return text.encode("utf-8", "backslashreplace").decode()


LONGEST_NAME = 255
"""Bytes of a name that file systems allow."""
TABLES = ("results.csv", "results.parquet", "summary.json", "index.html")
"""What the output holds beside the fits."""
LONGEST_BYTES = 100
"""Longest part of a path that is kept whole; file systems allow 255, of which mark, ending and temporary names take some."""
HASH_DIGITS = 12
"""Hexadecimal digits of the hash: it only has to tell apart paths that look alike."""
_SIGNS = " _+.,=()-"

_PLAIN = re.compile(rf"[A-Za-z0-9]([A-Za-z0-9{re.escape(_SIGNS)}]*[A-Za-z0-9_+=)-])?")

_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])([. ].*)?")


def apart(folders: Iterable[str]) -> dict[str, str]:
    """Return the name for each of some folders of fits; those that differ from another only by capitals get a hash.

    On a disk that takes ``a`` for ``A`` they would be one folder.

    >>> apart(["b/A.wav-fit", "c.wav-fit"])
    {'b/A.wav-fit': 'b/A.wav-fit', 'c.wav-fit': 'c.wav-fit'}
    >>> apart(["a.wav-fit", "A.wav-fit"])["a.wav-fit"]
    'a.wav-fit'
    """
    alike: dict[str, list[str]] = {}
    for folder in folders:
        alike.setdefault(folder.casefold(), []).append(folder)
    return {
        one: one if len(group) == 1 or one == one.casefold() else f"{one.removesuffix(ENDING)}~{_hash([one], '')}{ENDING}"
        for group in alike.values()
        for one in group
    }


def short_name(stem: str, ending: str) -> str:
    """Return a stem and an ending as a name; one that would be too long is cut, with a hash that keeps it apart from others.

    >>> short_name("bark", "-fit"), len(short_name("b" * 255, "-fit"))
    ('bark-fit', 255)
    """
    whole = os.fsencode(stem)
    if len(whole) + len(ending) <= LONGEST_NAME:
        return stem + ending
    mark = "~" + hashlib.sha256(whole).hexdigest()[:HASH_DIGITS] + ending
    return os.fsdecode(whole[: LONGEST_NAME - len(mark)]).encode("utf-8", "ignore").decode() + mark


def folder_of(parts: Sequence[str], root: str = "") -> str:
    """Return the folder of a recording's fit, relative to the output, with ``/`` between its parts.

    Args:
        parts: the parts of the recording's path below the input, one or more, its own name last; of any characters.
        root: what stands before a path that is not below any input: ``/``, or the beginning of an address.

    >>> folder_of(["birds", "a.wav"]), folder_of(["A.wav"])
    ('birds/a.wav-fit', 'A.wav-fit')
    """
    *folders, name = parts
    plain = not root and _is_plain(name) and all(_is_plain(part) and part == _as_folder(part) for part in folders)
    mark = "" if plain else "~" + _hash(parts, root)
    return "/".join([*(_as_folder(_shown(part)) for part in folders), f"{_shown(name)}{mark}{ENDING}"])


def _hash(parts: Sequence[str], root: str) -> str:
    # Names that are no UTF-8 hold lone surrogates, which are told apart as well. No part contains a slash.
    text = "/".join([root, *parts])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:HASH_DIGITS]


def _is_plain(part: str) -> bool:
    """Return whether a part of a path is safe as it stands, and equal to no other one but for capitals."""
    return len(part) <= LONGEST_BYTES and bool(_PLAIN.fullmatch(part)) and not _DEVICES.fullmatch(part.lower())


def _shown(part: str) -> str:
    """Return a part of a path with what is not safe replaced; a plain one as it is."""
    if _is_plain(part):
        return part
    kept = "".join(sign if sign.isalnum() or sign in _SIGNS else "_" for sign in unicodedata.normalize("NFC", part))
    kept = kept.encode("utf-8", "replace")[:LONGEST_BYTES].decode("utf-8", "ignore").rstrip(" .")
    return "_" + kept if not kept or not kept[0].isalnum() or _DEVICES.fullmatch(kept.lower()) else kept


def _as_folder(part: str) -> str:
    """Return a safe part so that it can be a folder on the way: like no fit's, and like none of `TABLES`."""
    return part + "_" if part.casefold().endswith(ENDING) or part.casefold() in TABLES else part
