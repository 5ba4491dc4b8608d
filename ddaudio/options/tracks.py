"""Settings of the network ``tracks``."""

from dataclasses import dataclass
from typing import Literal, get_args

from ddaudio.errors import OptionError
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

    def check_start(self, initialisation: str) -> None:
        """Raise `OptionError` for another initialisation than from spectral peaks, which are linked to tracks."""
        if initialisation != "peaks":
            problem, others = "but tracks are linked from spectral peaks", {"model": "tracks"}
            raise OptionError(problem, setting="initialisation", value=initialisation, others=others)
