"""Formatting of paths, and names of the folders of fits."""

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from contextlib import suppress

from ddaudio.io.fit_files import ENDING


def quoted(path: str | os.PathLike[str]) -> str:
    """Return a path in quotes, always on one line."""
    return repr(os.fspath(path)).replace("\\\\", "\\")


def printable(text: str) -> str:
    """Return valid text: bytes of a name that are not UTF-8 are escaped."""
    with suppress(UnicodeEncodeError):
        return os.fsencode(text).decode("utf-8", "backslashreplace")
    return text.encode("utf-8", "backslashreplace").decode()


LONGEST_NAME = 255
"""Largest length of a name in file systems, in bytes."""
TABLES = ("results.csv", "results.parquet", "summary.json", "index.html")
"""Names in the output that are not folders of fits."""
LONGEST_BYTES = 100
"""Largest length of a part of a path that is kept whole: less than 255, to allow for hash, ending and temporary names."""
HASH_DIGITS = 12
"""Number of hexadecimal digits of the hash, enough to distinguish similar paths."""
_SIGNS = " _+.,=()-"

_PLAIN = re.compile(rf"[A-Za-z0-9]([A-Za-z0-9{re.escape(_SIGNS)}]*[A-Za-z0-9_+=)-])?")

_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])([. ].*)?")


def apart(folders: Iterable[str]) -> dict[str, str]:
    """Return unique names for folders of fits; those that differ from another only by case get a hash.

    On case-insensitive file systems they would be the same folder.

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


CONTROLS = {code: f"\\x{code:02x}" for code in (*range(9), *range(11, 32), *range(127, 160))}
"""Escapes of control characters except tabs and line ends, since file names must not control the terminal."""


def visible(text: str) -> str:
    """Return text with control characters escaped."""
    return text.translate(CONTROLS)


def csv_cell(value: object) -> object:
    r"""Return a value for a table that people open in a terminal or a spreadsheet.

    Control characters of text are escaped, and text that spreadsheets would take for a formula is prefixed with an apostrophe.

    >>> csv_cell("=1+1"), csv_cell("a\x1b[31m.wav"), csv_cell(-1.0)
    ("'=1+1", 'a\\\\x1b[31m.wav', -1.0)
    """
    if not isinstance(value, str):
        return value
    return f"'{visible(value)}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else visible(value)


def short_name(stem: str, ending: str) -> str:
    """Return a stem and an ending as a name; if it is too long, it is shortened and made unique by a hash.

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
        parts: the parts of the recording's path relative to the input, one or more, its own name last; any characters.
        root: prefix of a path that is not below any input: ``/``, or the beginning of a URL.

    >>> folder_of(["birds", "a.wav"]), folder_of(["A.wav"])
    ('birds/a.wav-fit', 'A.wav-fit')
    """
    *folders, name = parts
    plain = not root and _is_plain(name) and all(_is_plain(part) and part == _as_folder(part) for part in folders)
    mark = "" if plain else "~" + _hash(parts, root)
    return "/".join([*(_as_folder(_shown(part)) for part in folders), f"{_shown(name)}{mark}{ENDING}"])


def _hash(parts: Sequence[str], root: str) -> str:
    # Names that are not UTF-8 contain lone surrogates, which also enter the hash. No part contains a slash.
    text = "/".join([root, *parts])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:HASH_DIGITS]


def _is_plain(part: str) -> bool:
    """Return whether a part of a path is safe unchanged, and differs from others not only by case."""
    return len(part) <= LONGEST_BYTES and bool(_PLAIN.fullmatch(part)) and not _DEVICES.fullmatch(part.lower())


def _shown(part: str) -> str:
    """Return a part of a path with unsafe characters replaced; a plain one unchanged."""
    if _is_plain(part):
        return part
    kept = "".join(sign if sign.isalnum() or sign in _SIGNS else "_" for sign in unicodedata.normalize("NFC", part))
    kept = kept.encode("utf-8", "replace")[:LONGEST_BYTES].decode("utf-8", "ignore").rstrip(" .")
    return "_" + kept if not kept or not kept[0].isalnum() or _DEVICES.fullmatch(kept.lower()) else kept


def _as_folder(part: str) -> str:
    """Return a safe part as the name of an intermediate folder, different from those of fits and from `TABLES`."""
    return part + "_" if part.casefold().endswith(ENDING) or part.casefold() in TABLES else part
