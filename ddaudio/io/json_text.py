"""Strict reading of JSON: what is no JSON, or holds numbers that no float can, is a ValueError."""

import json
import math
from typing import Any


def parse_json(text: str | bytes) -> Any:
    """Return the value of JSON text.

    Raises ValueError if it is not JSON in UTF-8, is nested too deeply, or contains numbers that are not finite.
    """
    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
        return json.loads(decoded, parse_constant=_finite, parse_float=_finite, parse_int=_whole)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def json_object(data: bytes) -> dict[str, Any]:
    """Return JSON text as an object; an empty one if it is not one."""
    try:
        found = parse_json(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _finite(text: str) -> float:
    """Parse a number; raises ValueError for NaN and infinity, which do not exist in JSON."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:50]} is no finite number")
    return number


def _whole(text: str) -> int:
    """Parse a whole number; raises ValueError if it exceeds the range of floats."""
    _finite(text)
    return int(text)
