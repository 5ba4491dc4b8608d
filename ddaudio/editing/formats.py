"""Registry of the formats of component tables, one row each. Does not import torch."""

from dataclasses import dataclass

from ddaudio.options.registry import Registry


@dataclass(frozen=True)
class FormatSpec:
    """A format of component tables."""

    name: str
    """Name in settings."""
    summary: str
    """Short description for the help."""
    path: str
    """Function of named columns of equal length that returns the text of the file, as ``module:function``."""


FORMATS = Registry(
    "ddaudio.formats",
    FormatSpec,
    [
        FormatSpec("csv", "comma-separated values with a line of headings", "ddaudio.editing.tables:as_csv"),
        FormatSpec("json", "a list of objects, one for each component", "ddaudio.editing.tables:as_json"),
    ],
)
"""The formats, by name."""
