"""Curves over time, as settings of edits. Does not import torch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from ddaudio.errors import OptionError


@dataclass(frozen=True)
class Curve:
    """A value over time: linear between points, constant before the first and after the last."""

    times_s: tuple[float, ...]
    """Times of the points in seconds from the beginning of the model, rising; one at least."""
    values: tuple[float, ...]
    """Value at each point."""

    @classmethod
    def of(cls, given: "CurveLike", setting: str, low: float, high: float) -> "Curve":
        """Return a curve from a number, a list of pairs (seconds, value), or a text such as ``1.5`` or ``0:1,2.5:1.5``.

        Args:
            given: a number, pairs or a text.
            setting: its name in errors.
            low: lowest value that is allowed.
            high: highest value that is allowed.

        Raises:
            OptionError: it is no curve, its times do not rise, or a value is out of range.

        """
        points = _points(given, setting)
        times_s, values = tuple(time_s for time_s, _ in points), tuple(value for _, value in points)
        if not all(low <= value <= high for value in values):  # NaN is not in any range
            raise OptionError(setting=setting, value=given, allowed=f"values from {low:g} to {high:g}")
        if not all(0 <= time_s < math.inf for time_s in times_s):
            raise OptionError(setting=setting, value=given, allowed="times of 0 s or more")
        if any(after <= before for before, after in pairwise(times_s)):
            raise OptionError("but times go back", setting=setting, value=given, allowed="points in the order of time")
        return cls(times_s, values)

    @property
    def is_constant(self) -> bool:
        """Whether the value is the same at all times."""
        return len(set(self.values)) == 1

    def is_always(self, value: float) -> bool:
        """Return whether the curve has one value at all times."""
        return set(self.values) == {value}


def _points(given: object, setting: str) -> list[tuple[float, float]]:
    """Return pairs of time and value."""
    if isinstance(given, Curve):
        return list(zip(given.times_s, given.values, strict=True))
    try:
        if isinstance(given, str) and ":" in given:
            pairs = [part.split(":") for part in given.split(",")]
            return [(float(time_s), float(value)) for time_s, value in pairs]
        if isinstance(given, str | int | float) and not isinstance(given, bool):
            return [(0.0, float(given))]
        found = [(float(time_s), float(value)) for time_s, value in given]  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        found = []
    if not found:
        raise OptionError(setting=setting, value=given, allowed="a number, or points of seconds and value such as '0:1,2.5:1.5'")
    return found


CurveLike = Curve | float | str | Sequence[tuple[float, float]]
"""What `Curve.of` makes a curve of."""
