"""Checks that settings make when they are created, and when they are read: each refusal has the value and what is allowed."""

import os
import tomllib
from pathlib import Path
from typing import Any

from ddaudio.errors import OptionError, closest


def check_range(options: object, name: str, low: float, high: float, unit: str = "") -> None:
    """Refuse a value out of range; an integer given for a float becomes a float, so that equal settings are equal."""
    value = getattr(options, name)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise OptionError(setting=name, value=value, allowed=f"{low:.12g} to {high:.12g}{unit and ' ' + unit}")
    object.__setattr__(options, name, float(value))


def check_whole(options: object, name: str, low: int, high: int, unit: str = "") -> None:
    """Refuse a value that is not an integer within a range; None passes."""
    value = getattr(options, name)
    if value is None:
        return
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or not low <= value <= high:
        kind = "" if whole else "whole numbers from "
        raise OptionError(setting=name, value=value, allowed=f"{kind}{low} to {high}{unit and ' ' + unit}")


def check_switch(options: object, name: str) -> None:
    """Refuse a value that is neither true nor false."""
    value = getattr(options, name)
    if not isinstance(value, bool):
        raise OptionError(setting=name, value=value, allowed="true or false")


def check_choice(options: object, name: str, known: tuple[str, ...]) -> None:
    """Refuse a value that is not among those known, with the closest one as a hint."""
    value = getattr(options, name)
    if value not in known:
        raise OptionError(setting=name, value=value, allowed=", ".join(known), hint=closest(str(value), known))


def check_one_of(options: object, first: str, second: str, problem: str = "") -> None:
    """Refuse two settings that exclude each other, where both have a value."""
    one, other = getattr(options, first), getattr(options, second)
    if one is not None and other is not None:
        raise OptionError(problem, setting=first, value=one, others={second: other}, hint="give only one of the two")


def parse_row(name: str, text: str) -> tuple[float, ...]:
    """Return the numbers of a setting such as ``4096,2048``."""
    try:
        return tuple(float(part) for part in text.split(","))
    except (ValueError, AttributeError):
        raise OptionError(setting=name, value=text, allowed="numbers separated by commas, as in 4096,2048") from None


def read_toml(path: str | os.PathLike[str], what: str, hint: str) -> dict[str, Any]:
    """Return the contents of a TOML file; raises `OptionError`, with a ``hint``, where ``what`` it is cannot be read."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise OptionError(f"there is no {what} {str(path)!r}", hint=hint) from None
    except (OSError, ValueError, RecursionError) as error:  # all errors of TOML and of encodings are ValueErrors
        raise OptionError(f"cannot be read as TOML: {error}", source=repr(str(path)), hint=hint) from None
