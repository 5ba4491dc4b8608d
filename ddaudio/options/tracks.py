"""Settings of the network ``tracks``."""

from dataclasses import dataclass
from typing import Literal, get_args

from ddaudio.options.checks import check_choice
from ddaudio.options.network import NetworkOptions

LevelsName = Literal["linear", "log"]


@dataclass(frozen=True)
class TracksOptions(NetworkOptions):
    """The network ``tracks``: partials followed over time by knots."""

    levels: LevelsName = "linear"
    """Amplitude of a track between its knots: linear, or linear in its logarithm (log), as in exponential decays."""

    def __post_init__(self) -> None:
        check_choice(self, "levels", get_args(LevelsName))
