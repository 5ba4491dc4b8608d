"""Networks side by side as one: what each says and how it changes, computed together."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ddaudio.grid.batched import Segments, batched
from ddaudio.models.base import Network
from ddaudio.models.sine import SineNetwork
from ddaudio.parallel.lockstep import meet


class BatchedNetwork:
    """Some networks as one; several must be sine networks, the one kind that meets others."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self.grids = batched([network.terms[0].grid for network in networks])
        self.network, owners = networks[0], Segments(1)
        if len(networks) > 1:
            sines = [network for network in networks if isinstance(network, SineNetwork)]
            if len(sines) < len(networks):
                raise TypeError("only sine networks can be put beside one another")
            self.network = SineNetwork.beside(sines, self.grids)
            owners = self.grids.owners(self.network.layout.frame_of_partial)
        """Says what all of them say."""
        self.owners = [owners] * len(list(self.network.parameters()))
        """Whose each value of each of its ``parameters()`` is."""


@torch.no_grad()
def _estimates(networks: Sequence[Network]) -> list[Tensor]:
    company = BatchedNetwork(networks)
    return list(company.grids.own(company.network.estimate()))


def estimate_of(network: Network) -> Tensor:
    """Return the signals ``[B, T]`` of a network, without gradient, computed together with those of others that are fitted."""
    return meet(_estimates, network)
