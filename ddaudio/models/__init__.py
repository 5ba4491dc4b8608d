"""The networks, by name."""

from collections.abc import Callable
from typing import NamedTuple

from ddaudio.grid import TimeGrid
from ddaudio.models.base import FramedNetwork, Network
from ddaudio.models.double_dutch.network import DoubleDutchNetwork
from ddaudio.models.partials import Partials
from ddaudio.models.pursuit import Size
from ddaudio.models.sine import NUMBERS_PER_PARTIAL, SineNetwork
from ddaudio.models.sums import SumNetwork
from ddaudio.options import TreeOptions


class Kind(NamedTuple):
    """How a network is made, and what its parts cost."""

    make: Callable[[TimeGrid, TreeOptions], FramedNetwork]
    """From a grid and the settings of trees, if it has any."""
    parts: str
    """What its parts are called."""
    numbers_per_frame: int
    """Numbers that each frame takes, whatever is in it."""
    numbers_per_part: int
    """Numbers that a part takes at least."""
    expected_gain_db: float
    """What training brings, about: its starting point stops this far short of the goal."""
    exchanges: int
    """Times that weak parts are exchanged, unless it is set."""
    divides: bool
    """Whether its frames are as long as the sound asks for; otherwise they are equal."""
    kinds: tuple[str, ...] = ("frequency", "amplitude")
    """Kinds of its parameters, as `Network.layers` names them; besides, layers may have numbers, as in ``level 1``."""


NETWORKS = {
    SineNetwork.name: Kind(lambda grid, _: SineNetwork(grid), "partials", 1, NUMBERS_PER_PARTIAL, 1.0, 2, divides=True),
    DoubleDutchNetwork.name: Kind(DoubleDutchNetwork, "ropes", 0, 1, 5.0, 8, divides=False, kinds=("amplitude", "cutoff")),
}
"""The networks, by name."""

__all__ = [
    "NETWORKS",
    "NUMBERS_PER_PARTIAL",
    "DoubleDutchNetwork",
    "FramedNetwork",
    "Kind",
    "Network",
    "Partials",
    "SineNetwork",
    "Size",
    "SumNetwork",
]
