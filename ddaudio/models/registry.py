"""Creation of networks by name, from their rows in `ddaudio.options.NETWORKS`."""

from ddaudio.errors import PluginError
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.models.base import Term
from ddaudio.models.framed import FramedNetwork
from ddaudio.options import NETWORKS, NetworkOptions
from ddaudio.options.registry import REMEDY, load


def network_class(name: str) -> type[Term]:
    """Return the class of a network.

    Raises `PluginError` for a network of another package that is broken, and `KeyError` for an unknown one.
    """
    spec = NETWORKS[name]
    found = load(spec)
    if not (isinstance(found, type) and issubclass(found, Term) and found.name == name):
        raise PluginError(f"the network {name!r} cannot be used: {spec.path} is no such network", hint=REMEDY)
    return found


def make_network(name: str, grid: TimeGrid, options: NetworkOptions | None = None) -> FramedNetwork:
    """Create a silent network on a grid, with its settings (default: those of its option class)."""
    found = network_class(name)
    if not issubclass(found, FramedNetwork):
        raise TypeError(f"{name} is no network on a grid")
    return found.on_grid(grid, options or NETWORKS[name].options())
