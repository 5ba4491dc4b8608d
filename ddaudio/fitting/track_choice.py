"""Which tracks are cheaper than the cells that would say the same.

The cost of a sound in cells is the energy that they leave, plus their parameters at the price of a parameter at this size of the
model, with the best division of time. Tracks are worth their parameters where they lower that cost of what they leave by more.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ddaudio.fitting.segmentation import Division, price_of, root_costs
from ddaudio.models import Budget
from ddaudio.models.sine import PARAMETERS_PER_PARTIAL
from ddaudio.models.tracks.growing import PER_KNOT, PER_TRACK
from ddaudio.models.tracks.network import TracksNetwork
from ddaudio.options import WindowName

MARGIN = 0.02
"""Share of the cost in cells that tracks must save: they are trained already, which lowers the cost of cells by about as much."""
ROUNDS = 3
"""Largest number of rounds in which tracks are dropped."""


class Rival(NamedTuple):
    """Cells as the alternative to tracks."""

    division: Division
    """The signals and the size that cells may have."""
    price: float
    """Energy that a parameter is worth."""
    costs: Tensor
    """Cost of each root cell, ``[B, N]``."""

    @classmethod
    def of(cls, target: Tensor, sample_rate: int, size: Budget, window: WindowName) -> "Rival":
        """Return the cells for ``target [B, T]`` within ``size``, whose count is one of knots."""
        trial = Budget(max(1, (size.n_parameters or size.most) // PARAMETERS_PER_PARTIAL), size.goal_energy)
        division = Division(target, sample_rate, trial, window)
        price = price_of(division)
        return cls(division, price, root_costs(division, price) if price else target.new_zeros(target.shape[0], 0))

    def saved(self, network: TracksNetwork) -> Tensor:
        """Return what tracks save in each root cell, ``[B, N]``; below 0 where they are dearer."""
        with torch.no_grad():
            left = self.division.target - network.estimate()
        costs = root_costs(self.division._replace(target=left), self.price)
        return self.costs - costs - self.price * _parameters(network, self.division.sizes[-1], self.costs)


def _parameters(network: TracksNetwork, root: int, like: Tensor) -> Tensor:
    """Return the parameters of the tracks in each root cell, ``[B, N]``."""
    tracks, total = network.tracks, torch.zeros_like(like)
    if not tracks.n_knots:
        return total
    signal, column = tracks.signal[tracks.owner], (tracks.knots.position / root).long().clamp(max=like.shape[1] - 1)
    numbers = torch.full((tracks.n_knots,), PER_KNOT, dtype=total.dtype)
    numbers[tracks.knots.counts.cumsum(0) - 1] += PER_TRACK
    return total.index_put_((signal, column), numbers, accumulate=True)


def cheaper(network: TracksNetwork, rival: Rival) -> TracksNetwork:
    """Return the network with those tracks that are cheaper than cells; without any where all together save too little."""
    for _ in range(ROUNDS):
        if not network.n_components():
            return network
        saved = rival.saved(network)
        if float(saved.sum()) > MARGIN * float(rival.costs.sum()) and bool((saved >= 0).all()):
            return network
        kept = _savings(network, saved, rival.division.sizes[-1]) > 0
        if bool(kept.all()):
            break
        tracks = network.tracks
        network = TracksNetwork(network.signals, network.options, tracks.keep(kept[tracks.owner]))
    saves = network.n_components() and float(rival.saved(network).sum()) > MARGIN * float(rival.costs.sum())
    return network if saves else network.pruned(0)


def _savings(network: TracksNetwork, saved: Tensor, root: int) -> Tensor:
    """Return what each track saves, ``[N]``: its share of what is saved in each root cell, by its energy."""
    tracks = network.tracks
    left, energies = tracks.lefts, tracks.energies()
    middle = (tracks.knots.position[left] + tracks.knots.position[left + 1]) / 2
    column, owner = (middle / root).long().clamp(max=saved.shape[1] - 1), tracks.owner[left]
    total = torch.zeros(len(tracks.signal), dtype=torch.float64)
    return total.index_add_(0, owner, energies * saved[tracks.signal[owner], column].double())
