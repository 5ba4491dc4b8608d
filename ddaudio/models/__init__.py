"""The networks, by name."""

from ddaudio.analysis.budget import Budget
from ddaudio.analysis.partials import Partials
from ddaudio.models.base import Network, Term
from ddaudio.models.cascade.network import CascadeNetwork
from ddaudio.models.component import ComponentNetwork
from ddaudio.models.coordinate import CoordinateNetwork
from ddaudio.models.declared import DeclaredNetwork
from ddaudio.models.double_dutch.network import DoubleDutchNetwork
from ddaudio.models.framed import FramedNetwork
from ddaudio.models.parameters import Parameter
from ddaudio.models.registry import make_network, network_class
from ddaudio.models.sine import PARAMETERS_PER_PARTIAL, SineNetwork
from ddaudio.models.siren import SirenNetwork
from ddaudio.models.stack import StackNetwork
from ddaudio.models.sum import SumNetwork
from ddaudio.models.surrogate import SurrogateNetwork

__all__ = [
    "PARAMETERS_PER_PARTIAL",
    "Budget",
    "CascadeNetwork",
    "ComponentNetwork",
    "CoordinateNetwork",
    "DeclaredNetwork",
    "DoubleDutchNetwork",
    "FramedNetwork",
    "Network",
    "Parameter",
    "Partials",
    "SineNetwork",
    "SirenNetwork",
    "StackNetwork",
    "SumNetwork",
    "SurrogateNetwork",
    "Term",
    "make_network",
    "network_class",
]
