"""Formats of ddaudio's own files: the one that this version reads and writes, and the versions that read others."""

import os
from typing import Any, NamedTuple

from ddaudio.io.paths import quoted


class FileFormat(NamedTuple):
    """The format of one type of file; its number increases with every incompatible change."""

    name: str
    """Type of the file, for errors."""
    number: int
    """The format that this ddaudio reads and writes."""
    readers: dict[int, str]
    """Versions of ddaudio that read each earlier format."""
    remedy: str
    """Hint about files in an earlier format."""

    @property
    def text(self) -> str:
        """The number as text, as metadata hold it."""
        return str(self.number)

    def mismatch(self, path: str | os.PathLike[str], found: object) -> dict[str, Any]:
        """Return the facts of an error about a file in another format, a number or text: problem and hint.

        >>> MODEL_FORMAT.mismatch("a", "1")["problem"]
        "'a' is a model of format 1, which ddaudio 0.1.0 reads; this one reads format 4"
        >>> MODEL_FORMAT.mismatch("a", "5")
        {'problem': "'a' is a model of format 5, which a later ddaudio reads; this one reads format 4", 'hint': 'update ddaudio'}
        """
        text = str(found)[:20]
        number = int(text) if text.isascii() and text.isdigit() else 0
        is_later = number > self.number
        reader = "a later ddaudio reads" if is_later else self.readers.get(number, "no ddaudio reads")
        problem = f"{quoted(path)} is a {self.name} of format {text}, which {reader}; this one reads format {self.number}"
        return {"problem": problem, "hint": "update ddaudio" if is_later else self.remedy}


# Versions between two releases have no number of their own.
_FIRST, _LATER = "ddaudio 0.1.0 reads", "development versions after 0.1.0 read"
_FIT_AGAIN = "fit the recording again"
MODEL_FORMAT = FileFormat("model", 4, {1: _FIRST, 2: _LATER, 3: _LATER}, _FIT_AGAIN)
"""``model.safetensors``."""
REPORT_FORMAT = FileFormat("report", 8, {1: _FIRST, **dict.fromkeys(range(2, 8), _LATER)}, _FIT_AGAIN)
"""``report.json``, which calls it its schema."""
CHECKPOINT_FORMAT = FileFormat("checkpoint", 2, {1: _LATER}, "leave {resume} out and set {force=True} to start again")
"""The folder of a checkpoint; format 1 had no mark."""
