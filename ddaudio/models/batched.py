"""Several networks computed as one batch.

A fit of half a second of sound consists of thousands of operations on small tensors, dominated by their overhead. A batch of such
fits performs them on the tensors of all fits at once. Networks of the same type whose row has ``is_batched`` are computed as a
batch, others one after the other.
"""

from collections.abc import Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from ddaudio.analysis.budget import Budget
from ddaudio.analysis.matching_pursuit import Pursuit, pursue_many
from ddaudio.analysis.partials import Partials
from ddaudio.grid.batched import BatchedGrid, BatchedSignals, Segments, batched
from ddaudio.models.base import Network
from ddaudio.models.framed import FramedNetwork
from ddaudio.options import NETWORKS, StartingPoint


class BatchableNetwork(Protocol):
    """A network that can be computed in batches (``is_batched``); it has only parameters per component."""

    @classmethod
    def beside(cls, networks: Sequence[Any], grids: BatchedGrid) -> Network:
        """Return one network on the grid of all networks, with the parameters of each."""

    def extension(self, target: Tensor, size: Budget) -> Pursuit:
        """Return the pursuit of `Network.extend`."""

    def replace_partials(self, partials: Partials) -> None:
        """Replace all components by the partials found by a pursuit."""


def _framed(network: Network) -> FramedNetwork:
    """Return the first term of a network; raises `TypeError` if it has no grid."""
    first = network.terms[0]
    if not isinstance(first, FramedNetwork):
        raise TypeError(f"{first.name} has no grid")
    return first


class BatchedNetwork:
    """A batch of networks as one network; raises `TypeError` for several that cannot be computed as a batch."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self.network, segments = networks[0], Segments(1)
        """The network of all signals."""
        self.signals = BatchedSignals([networks[0].shape])
        """The signals of all networks."""
        if len(networks) > 1:
            if not can_batch(networks):
                raise TypeError("only networks of one kind, whose row has is_batched, can be computed as a batch")
            self.signals = grids = batched([_framed(network).grid for network in networks])
            self.network = _batchable(networks)[0].beside(networks, grids)
            segments = grids.owners(_framed(self.network).frames_of_rows()[0])
        self.owners = [segments] * len(list(self.network.parameters()))
        """Network that each value of each of ``parameters()`` belongs to."""


def _batchable(networks: Sequence[Network]) -> Sequence[BatchableNetwork]:
    return cast("Sequence[BatchableNetwork]", networks)


def can_batch(networks: Sequence[Network]) -> bool:
    """Return whether networks can be computed as a batch; a single one always can."""
    if len(networks) == 1:
        return True
    kinds = {type(network) for network in networks}
    return len(kinds) == 1 and all(len(one.terms) == 1 and NETWORKS[one.terms[0].name].is_batched for one in networks)


@torch.no_grad()
def estimates(networks: Sequence[Network]) -> list[Tensor]:
    """Return the signals ``[B, T]`` of each network, without gradients."""
    if not networks or not can_batch(networks):
        return [network.estimate() for network in networks]
    batch = BatchedNetwork(networks)
    return list(batch.signals.own(batch.network.estimate()))


def initialise_many(
    networks: Sequence[FramedNetwork],
    targets: Sequence[Tensor],
    sizes: Sequence[Budget],
    start: StartingPoint,
    generators: Sequence[torch.Generator],
) -> None:
    """Initialise each network for its target ``[B, T]``; see `FramedNetwork.initialise`."""
    if start == "peaks" and len(networks) > 1 and can_batch(networks):
        asked = zip(networks, targets, sizes, strict=True)
        found = pursue_many([Pursuit(target, network.grid, size, weighting=network.weighting) for network, target, size in asked])
        for one, (partials, _) in zip(_batchable(networks), found, strict=True):
            one.replace_partials(partials)
        return
    for network, target, size, generator in zip(networks, targets, sizes, generators, strict=True):
        network.initialise(target, size, start, generator)


def extend_many(networks: Sequence[Network], targets: Sequence[Tensor], sizes: Sequence[Budget]) -> list[bool]:
    """Add components that model the residual of each network's target ``[B, T]``; see `Network.extend`."""
    if len(networks) > 1 and can_batch(networks):
        before = [network.n_prunable() for network in networks]
        asked = zip(_batchable(networks), targets, sizes, strict=True)
        found = pursue_many([one.extension(target, size) for one, target, size in asked])
        for one, (partials, _) in zip(_batchable(networks), found, strict=True):
            one.replace_partials(partials)
        return [network.n_prunable() > count for network, count in zip(networks, before, strict=True)]
    return [network.extend(target, size) for network, target, size in zip(networks, targets, sizes, strict=True)]
