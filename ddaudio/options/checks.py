"""Checks of settings, made when they are created or read; errors name the value and the allowed ones."""

import os
import tomllib
from pathlib import Path
from typing import Any

from ddaudio.errors import OptionError, closest

LARGEST_WHOLE = 10**12
"""Bound on whole numbers that have no other: beyond it, counts derived from them could overflow."""


def check_range(options: object, name: str, low: float, high: float, unit: str = "") -> None:
    """Raise `OptionError` for a value out of range; integers are converted to floats, so that equal settings compare equal."""
    value = getattr(options, name)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise OptionError(setting=name, value=value, allowed=f"{low:.12g} to {high:.12g}{unit and ' ' + unit}")
    object.__setattr__(options, name, float(value))


def check_whole(options: object, name: str, low: int, high: int = LARGEST_WHOLE, unit: str = "") -> None:
    """Raise `OptionError` for a value that is not an integer within a range; None is allowed."""
    value = getattr(options, name)
    if value is None:
        return
    if not is_whole(value) or not low <= value <= high:
        raise OptionError(setting=name, value=value, allowed=allowed_whole(value, low, high) + (unit and f" {unit}"))


def is_whole(value: object) -> bool:
    """Return whether a value is an integer; True and False are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def allowed_whole(value: object, low: int, high: int) -> str:
    """Describe the integers from ``low`` to ``high`` for the error about ``value``.

    >>> allowed_whole(3, 4, LARGEST_WHOLE), allowed_whole(3.5, 4, LARGEST_WHOLE), allowed_whole(3.5, 1, 9)
    ('4 or more', 'whole numbers, 4 or more', 'whole numbers from 1 to 9')
    """
    whole = is_whole(value)
    if high == LARGEST_WHOLE and not (isinstance(value, int) and value > high):
        return f"{low} or more" if whole else f"whole numbers, {low} or more"
    return f"{low} to {high}" if whole else f"whole numbers from {low} to {high}"


def check_switch(options: object, name: str) -> None:
    """Raise `OptionError` for a value that is neither true nor false."""
    value = getattr(options, name)
    if not isinstance(value, bool):
        raise OptionError(setting=name, value=value, allowed="true or false")


def check_text(options: object, name: str) -> None:
    """Raise `OptionError` for a value that is no text; None is allowed."""
    value = getattr(options, name)
    if value is not None and not isinstance(value, str):
        raise OptionError(setting=name, value=value, allowed="text")


def check_choice(options: object, name: str, known: tuple[str, ...]) -> None:
    """Raise `OptionError`, with the closest known value as a hint, for a value that is not among ``known``."""
    value = getattr(options, name)
    if value not in known:
        raise OptionError(setting=name, value=value, allowed=", ".join(known), hint=closest(str(value), known))


def check_one_of(options: object, first: str, second: str, problem: str = "") -> None:
    """Raise `OptionError` if two mutually exclusive settings are both given."""
    one, other = getattr(options, first), getattr(options, second)
    if one is not None and other is not None:
        raise OptionError(problem, setting=first, value=one, others={second: other}, hint="give only one of the two")


def parse_row(name: str, text: str) -> tuple[float, ...]:
    """Parse the numbers of a setting such as ``4096,2048``."""
    try:
        return tuple(float(part) for part in text.split(","))
    except (ValueError, AttributeError):
        raise OptionError(setting=name, value=text, allowed="numbers separated by commas, as in 4096,2048") from None


def read_toml(path: str | os.PathLike[str], what: str, hint: str) -> dict[str, Any]:
    """Return the contents of a TOML file described by ``what``; raises `OptionError`, with a ``hint``, if it cannot be read."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise OptionError(f"there is no {what} {str(path)!r}", hint=hint) from None
    except (OSError, ValueError, RecursionError) as error:  # all errors of TOML and of encodings are ValueErrors
        raise OptionError(f"cannot be read as TOML: {error}", source=repr(str(path)), hint=hint) from None
