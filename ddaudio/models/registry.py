"""The networks, by name."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from ddaudio.grid.time_grid import TimeGrid
from ddaudio.models.base import FramedNetwork
from ddaudio.models.cascade.network import CascadeNetwork
from ddaudio.models.coordinate import CoordinateNetwork
from ddaudio.models.double_dutch.network import DoubleDutchNetwork
from ddaudio.models.sine import PARAMETERS_PER_PARTIAL, SineNetwork
from ddaudio.models.siren import SirenNetwork
from ddaudio.models.stack import StackNetwork
from ddaudio.models.surrogate import PARAMETERS_PER_EXPONENTIAL, SurrogateNetwork
from ddaudio.options import FitOptions

FramesName = Literal["adaptive", "halving", "equal"]
"""Frames as long as the sound asks for, equal ones of a power of two samples, or equal ones of any length."""


class NetworkSpec(NamedTuple):
    """How a network is made, sized and trained."""

    make: Callable[[TimeGrid, Any], FramedNetwork]
    """From a grid and its `settings`."""
    group: str
    """The group of settings that it has: a field of `FitOptions`; empty for none."""
    component_name: str
    """What its parts are called."""
    parameters_per_frame: int
    """Numbers that each frame takes, whatever is in it."""
    parameters_per_component: int
    """Numbers that a part takes at least."""
    expected_gain_db: float
    """What training brings, about: its starting point stops this far short of the goal."""
    exchanges: int
    """Times that weak parts are exchanged, unless it is set."""
    frames: FramesName
    """How long its frames are, unless it is set."""
    first_order_steps: int = 80
    """Steps of an optimiser of first order, unless they are set."""
    units: type[CoordinateNetwork] | None = None
    """What knows how many units numbers pay for, where these are the same in each frame."""
    kinds: tuple[str, ...] = ("frequency", "amplitude")
    """Kinds of its parameters, as `Network.layers` names them; besides, layers may have numbers, as in ``level 1``."""
    has_frequencies: bool = True
    """Whether `Network.frequencies` says which frequency a parameter belongs to."""

    def settings(self, options: FitOptions) -> Any:
        """Return the group of settings that it has, or None."""
        return getattr(options, self.group) if self.group else None


NETWORKS = {
    SineNetwork.name: NetworkSpec(
        lambda grid, _: SineNetwork(grid), "", "partials", 1, PARAMETERS_PER_PARTIAL, 1.0, 2, "adaptive"
    ),
    DoubleDutchNetwork.name: NetworkSpec(
        DoubleDutchNetwork, "tree", "ropes", 0, 1, 5.0, 8, "halving", kinds=("amplitude", "cutoff")
    ),
    CascadeNetwork.name: NetworkSpec(
        CascadeNetwork,
        "layers",
        "layers",
        1,
        3,
        1.0,
        2,
        "adaptive",
        kinds=("amplitude", "phase", "frequency"),
    ),
    SurrogateNetwork.name: NetworkSpec(
        lambda grid, _: SurrogateNetwork(grid),
        "",
        "exponentials",
        1,
        PARAMETERS_PER_EXPONENTIAL,
        1.0,
        2,
        "adaptive",
        kinds=("z", "amplitude"),
    ),
    StackNetwork.name: NetworkSpec(
        StackNetwork,
        "layers",
        "sine units",
        0,
        StackNetwork.count((1,) * 3),
        0.0,
        0,
        "equal",
        units=StackNetwork,
        kinds=("frequency", "phase", "amplitude"),
        has_frequencies=False,
    ),
    SirenNetwork.name: NetworkSpec(
        SirenNetwork,
        "layers",
        "sine units",
        0,
        SirenNetwork.count((1,) * 4),
        0.0,
        0,
        "equal",
        first_order_steps=150,
        units=SirenNetwork,
        kinds=("weight", "bias", "level"),
        has_frequencies=False,
    ),
}
"""The networks, by name."""
