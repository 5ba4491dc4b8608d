"""Checks that settings make when they are made: each refuses with what was given and what is allowed."""

from ddaudio.errors import OptionError, nearest


def check_range(options: object, name: str, low: float, high: float, unit: str = "") -> None:
    """Refuse a value out of range; a whole number given for a float becomes one, so that equal settings are equal."""
    value = getattr(options, name)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise OptionError(f"{name} is {value!r}; allowed is {low:.12g} to {high:.12g}{unit and ' ' + unit}")
    object.__setattr__(options, name, float(value))


def check_whole(options: object, name: str, low: int, high: int, unit: str = "") -> None:
    """Refuse what is no whole number in a range; None passes."""
    value = getattr(options, name)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise OptionError(f"{name} is {value!r}; it must be a whole number from {low} to {high}{unit and ' ' + unit}")
    if not low <= value <= high:
        raise OptionError(f"{name} is {value!r}; allowed is {low} to {high}{unit and ' ' + unit}")


def check_choice(options: object, name: str, known: tuple[str, ...]) -> None:
    """Refuse a value that is none of those known, and name the nearest."""
    value = getattr(options, name)
    if value not in known:
        raise OptionError(f"{name} is {value!r}, which is unknown; {nearest(str(value), known)}")


def parse_row(name: str, text: str) -> tuple[float, ...]:
    """Return the numbers of a setting such as ``4096,2048``."""
    try:
        return tuple(float(part) for part in text.split(","))
    except (ValueError, AttributeError):
        raise OptionError(f"{name} is {text!r}; it must be numbers with commas between them, as in 4096,2048") from None
