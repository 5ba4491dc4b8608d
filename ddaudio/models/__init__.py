"""The networks, by name."""

from ddaudio.models.base import Network
from ddaudio.models.partials import Partials
from ddaudio.models.pursuit import Size
from ddaudio.models.sine import NUMBERS_PER_PARTIAL, SineNetwork

NETWORKS: dict[str, type[Network]] = {SineNetwork.name: SineNetwork}

__all__ = ["NETWORKS", "NUMBERS_PER_PARTIAL", "Network", "Partials", "SineNetwork", "Size"]
