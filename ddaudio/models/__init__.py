"""The networks, by name."""

from ddaudio.analysis.budget import Size
from ddaudio.analysis.partials import Partials
from ddaudio.models.base import FramedNetwork, Network
from ddaudio.models.cascade.network import CascadeNetwork
from ddaudio.models.coordinate import SinesNetwork
from ddaudio.models.double_dutch.network import DoubleDutchNetwork
from ddaudio.models.registry import NETWORKS, Kind
from ddaudio.models.sine import NUMBERS_PER_PARTIAL, SineNetwork
from ddaudio.models.siren import SirenNetwork
from ddaudio.models.stack import StackNetwork
from ddaudio.models.sum import SumNetwork
from ddaudio.models.surrogate import SurrogateNetwork

__all__ = [
    "NETWORKS",
    "NUMBERS_PER_PARTIAL",
    "CascadeNetwork",
    "DoubleDutchNetwork",
    "FramedNetwork",
    "Kind",
    "Network",
    "Partials",
    "SineNetwork",
    "SinesNetwork",
    "SirenNetwork",
    "Size",
    "StackNetwork",
    "SumNetwork",
    "SurrogateNetwork",
]
