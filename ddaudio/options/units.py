"""Settings that networks of layers of sine units have in common."""

from dataclasses import dataclass

from ddaudio.errors import OptionError
from ddaudio.options.checks import parse_row
from ddaudio.options.network import NetworkOptions

MOST_UNITS = 4096
"""Units that a layer may have."""
SPANS = "seconds, or two rising numbers from -1e6 to 1e6, as in 4,7"
"""Values of the setting ``span``."""


@dataclass(frozen=True)
class UnitOptions(NetworkOptions):
    """Layers of sine units, as functions of time."""

    widths: str | None = None
    """Units in each layer, as in 100,10,1 (default: as many as the budget allows; of stack, three layers that fall to 1; of
    siren, four equal ones)."""
    span: str | None = None
    """Time as the units see it: seconds, or the values at both ends of each frame, as in 4,7 (default: -1024,1024 for stack; for
    siren -8,8, and -100,100 with whole)."""

    def __post_init__(self) -> None:
        if self.widths is not None and not all(width % 1 == 0 and 1 <= width <= MOST_UNITS for width in self.parsed_widths):
            raise OptionError(
                setting="widths", value=self.widths, allowed=f"whole numbers from 1 to {MOST_UNITS}, as in 100,10,1"
            )
        low, high = self.ends or (0.0, 1.0)
        if not -1e6 <= low < high <= 1e6:
            raise OptionError(setting="span", value=self.span, allowed=SPANS)

    @property
    def parsed_widths(self) -> tuple[int, ...]:
        """The units of each layer; none where they are not given."""
        row = () if self.widths is None else parse_row("widths", self.widths)
        return tuple(int(width) if width % 1 == 0 else width for width in row)  # type: ignore[misc]

    @property
    def ends(self) -> tuple[float, float] | None:
        """Time at the ends of a frame; None where time is counted in seconds, or no span is given."""
        if self.span in (None, "seconds"):
            return None
        row = parse_row("span", str(self.span))
        if len(row) != 2:
            raise OptionError(setting="span", value=self.span, allowed=SPANS)
        return row[0], row[1]
