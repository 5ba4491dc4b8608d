"""Texts that name parts of a model, such as ``band=200-800`` or ``track=1,5-9``."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ddaudio.errors import OptionError


class Choice(NamedTuple):
    """A part of a model."""

    what: str
    """Name, such as ``band``."""
    ranges: tuple[tuple[float, float], ...]
    """Lowest and highest value of each range, both included; empty where none is needed."""

    def within(self, values: Tensor) -> Tensor:
        """Return which values are in one of the ranges."""
        found = torch.zeros(values.shape, dtype=torch.bool)
        for low, high in self.ranges:
            found |= (values >= low) & (values <= high)
        return found


def choice_of(text: str, setting: str, given: object, plain: tuple[str, ...], ranged: tuple[str, ...]) -> Choice:
    """Return the part that a text names.

    Args:
        text: a name alone (``waves``), or with numbers and ranges (``track=1,5-9``, ``band=2000-``).
        setting: name of the setting in errors.
        given: its value in errors.
        plain: names that stand alone.
        ranged: names that need ranges.

    Raises `OptionError` for another text.
    """
    what, equals, rest = text.strip().partition("=")
    if what in plain and not equals:
        return Choice(what, ())
    try:
        ranges = tuple(_range(part) for part in rest.split(",")) if what in ranged and equals else ()
    except ValueError:
        ranges = ()
    if not ranges or any(not low <= high for low, high in ranges):
        allowed = ", ".join([*plain, *(f"{name}=LOW-HIGH" for name in ranged)])
        raise OptionError(setting=setting, value=given, allowed=allowed)
    return Choice(what, ranges)


def _range(text: str) -> tuple[float, float]:
    """Return both ends of ``LOW-HIGH``, ``LOW-``, ``-HIGH`` (from 0), or a single number."""
    low, dash, high = text.strip().partition("-")
    if not dash:
        return float(low), float(low)
    if not low and not high:
        raise ValueError("no number")
    return float(low) if low else 0.0, float(high) if high else math.inf
