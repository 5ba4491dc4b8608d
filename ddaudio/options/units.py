"""Common settings of networks of layers of sine units."""

from dataclasses import dataclass

from ddaudio.errors import OptionError
from ddaudio.options.checks import parse_row
from ddaudio.options.network import NetworkOptions
from ddaudio.options.span import span_ends

MOST_UNITS = 4096
"""Largest number of units of a layer."""


@dataclass(frozen=True)
class UnitOptions(NetworkOptions):
    """Layers of sine units, as functions of time."""

    widths: str | None = None
    """Units in each layer, as in 100,10,1 (default: as many as the budget allows; for stack, three layers that decrease to 1; for
    siren, four equal ones)."""
    span: str | None = None
    """Time as input of the units: seconds, or the values at both ends of each frame, as in 4,7 (default: -1024,1024 for stack;
    -8,8 for siren, and -100,100 with whole)."""

    def __post_init__(self) -> None:
        if self.widths is not None and not all(width % 1 == 0 and 1 <= width <= MOST_UNITS for width in self.parsed_widths):
            raise OptionError(
                setting="widths", value=self.widths, allowed=f"whole numbers from 1 to {MOST_UNITS}, as in 100,10,1"
            )
        span_ends(self.span)

    @property
    def parsed_widths(self) -> tuple[int, ...]:
        """The units of each layer; empty if they are not given."""
        row = () if self.widths is None else parse_row("widths", self.widths)
        return tuple(int(width) if width % 1 == 0 else width for width in row)  # type: ignore[misc]

    @property
    def ends(self) -> tuple[float, float] | None:
        """Time at both ends of a frame; None if time is in seconds or no span is given."""
        return span_ends(self.span)
