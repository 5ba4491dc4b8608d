"""The formats of tables of components: a row each. Imports no torch."""

from dataclasses import dataclass

from ddaudio.options.registry import Registry


@dataclass(frozen=True)
class FormatSpec:
    """A format that a model's components can be exported in."""

    name: str
    """Name in settings."""
    summary: str
    """What it is, in a few words for the help."""
    path: str
    """A function of named columns of equal length that returns the text of the file, as ``module:function``."""


FORMATS = Registry(
    "ddaudio.formats",
    FormatSpec,
    [
        FormatSpec("csv", "comma-separated values with a line of headings", "ddaudio.editing.tables:as_csv"),
        FormatSpec("json", "a list of objects, one for each component", "ddaudio.editing.tables:as_json"),
    ],
)
"""The formats, by name."""
