"""Settings of the network ``stack``."""

from dataclasses import dataclass
from typing import Literal, get_args

from ddaudio.errors import OptionError
from ddaudio.options.checks import check_choice, check_switch
from ddaudio.options.units import UnitOptions

PositiveName = Literal["softplus", "relu", "project"]


@dataclass(frozen=True)
class StackOptions(UnitOptions):
    """The network ``stack``: layers of sine units whose sum is the time of the next."""

    positive: PositiveName = "softplus"
    """How stack keeps frequencies and phases positive: as softplus or relu of the trained parameters, or by a projection after
    each step (project)."""
    pass_on: bool = False
    """Pass the mean frequency and phase of each layer of stack on to the next, which adds its own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self, "positive", get_args(PositiveName))
        check_switch(self, "pass_on")
        if self.widths is not None and self.parsed_widths[-1] != 1:
            allowed = "of stack, widths that end with one unit, as in 100,10,1"
            raise OptionError(setting="widths", value=self.widths, allowed=allowed)
