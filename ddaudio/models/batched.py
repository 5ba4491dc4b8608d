"""Several networks computed as one batch.

A fit of half a second of sound takes thousands of operations on small tensors, each of which costs less than its own
overhead. A batch of such fits does them on the tensors of all fits at once. Only `SineNetwork`s are batched; functions
that take networks of another kind compute them one after the other.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ddaudio.analysis.budget import Budget
from ddaudio.analysis.matching_pursuit import Pursuit, pursue_many
from ddaudio.grid.batched import Segments, batched
from ddaudio.models.base import FramedNetwork, Network
from ddaudio.models.sine import SineNetwork
from ddaudio.options import StartingPoint


class BatchedNetwork:
    """A batch of networks as one network; raises `TypeError` for several that are not all sine networks."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self.grids = batched([network.terms[0].grid for network in networks])
        self.network, segments = networks[0], Segments(1)
        if len(networks) > 1:
            sines = _sines(networks)
            if len(sines) < len(networks):
                raise TypeError("only sine networks can be computed as a batch")
            self.network = SineNetwork.beside(sines, self.grids)
            segments = self.grids.owners(self.network.layout.frame_of_partial)
        """The network of all signals."""
        self.owners = [segments] * len(list(self.network.parameters()))
        """Network that each value of each of ``parameters()`` belongs to."""


def _sines(networks: Sequence[Network]) -> list[SineNetwork]:
    return [network for network in networks if isinstance(network, SineNetwork)]


def can_batch(networks: Sequence[Network]) -> bool:
    """Return whether networks can be computed as a batch; a single one always can."""
    return len(networks) == 1 or len(_sines(networks)) == len(networks)


@torch.no_grad()
def estimates(networks: Sequence[Network]) -> list[Tensor]:
    """Return the signals ``[B, T]`` of each network, without gradients."""
    if not networks or not can_batch(networks):
        return [network.estimate() for network in networks]
    batch = BatchedNetwork(networks)
    return list(batch.grids.own(batch.network.estimate()))


def initialise_many(
    networks: Sequence[FramedNetwork],
    targets: Sequence[Tensor],
    sizes: Sequence[Budget],
    start: StartingPoint,
    generators: Sequence[torch.Generator],
) -> None:
    """Set the starting point of each network for its target ``[B, T]``: see `FramedNetwork.initialise`."""
    if start == "peaks" and len(networks) > 1 and can_batch(networks):
        asked = zip(networks, targets, sizes, strict=True)
        found = pursue_many([Pursuit(target, network.grid, size) for network, target, size in asked])
        for sine, (partials, _) in zip(_sines(networks), found, strict=True):
            sine.replace_partials(partials)
        return
    for network, target, size, generator in zip(networks, targets, sizes, generators, strict=True):
        network.initialise(target, size, start, generator)


def extend_many(networks: Sequence[Network], targets: Sequence[Tensor], sizes: Sequence[Budget]) -> list[bool]:
    """Add parameters for what each network leaves of its target ``[B, T]``: see `Network.extend`."""
    if len(networks) > 1 and can_batch(networks):
        sines = _sines(networks)
        before = [network.n_prunable() for network in sines]
        found = pursue_many([one.extension(target, size) for one, target, size in zip(sines, targets, sizes, strict=True)])
        for network, (partials, _) in zip(sines, found, strict=True):
            network.replace_partials(partials)
        return [network.n_prunable() > count for network, count in zip(sines, before, strict=True)]
    return [network.extend(target, size) for network, target, size in zip(networks, targets, sizes, strict=True)]
