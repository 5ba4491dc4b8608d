"""The setting ``span``: time as a network sees it."""

from ddaudio.errors import OptionError
from ddaudio.options.checks import parse_row

SPANS = "seconds, or two rising numbers from -1e6 to 1e6, as in 4,7"
"""Allowed values, for errors."""


def span_ends(span: str | None) -> tuple[float, float] | None:
    """Return time at both ends of a frame; None if time is in seconds or no span is given.

    Raises `OptionError` for anything but two rising numbers.
    """
    if span in (None, "seconds"):
        return None
    row = parse_row("span", str(span))
    if len(row) != 2 or not -1e6 <= row[0] < row[1] <= 1e6:
        raise OptionError(setting="span", value=span, allowed=SPANS)
    return row[0], row[1]
