"""Time segmentation: the best dyadic division of time.

A recording is a sequence of root cells, each of which may be divided into two halves, and so on down to the smallest cells. On
each level all cells are evaluated at once, as one uniform grid, with partials down to a fixed gain per parameter. The cost of a
cell is the energy of its residual plus its parameters at that price; bottom-up, a pair of halves is chosen if its cost is
lower than that of the whole (Coifman and Wickerhauser, 1992, "Entropy-based algorithms for best basis
selection", IEEE Trans. Inf. Theory 38(2); the price of a parameter is the Lagrange multiplier of Ramchandran and Vetterli,
1993, "Best wavelet packet bases in a rate-distortion sense", IEEE Trans. Image Processing 2(2)).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from ddaudio.analysis.matching_pursuit import Pursuit, pursue_many
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.models import PARAMETERS_PER_PARTIAL, Budget
from ddaudio.options import WindowName

SHORTEST_CELL_S = 0.003
"""Approximate length of the shortest cells."""
LEVELS = 8
"""Number of sizes of cells, each twice the previous one: the longest are 0.38 s."""
FIRST_LEVEL = 3
"""The level (cells of 24 ms) on which the price of a parameter is determined."""
TRIAL_ROUNDS = 3
"""Number of rounds of the pursuit on each level."""
PRICE_ROUNDS = 5
"""Number of rounds of the pursuit that determines the price of a parameter."""
WEAK_SHARE, PRICE_OF_WEAK = 0.2, 0.5
"""The price is half the energy of a partial at this quantile, about that of the weakest useful ones. Half or twice the price
changes the SNR by a few hundredths of a decibel (measured on 15 recordings)."""


def cell_sizes(sample_rate: int, n_samples: int) -> list[int]:
    """Return the possible sizes of cells, smallest first, up to the first that contains the whole signal."""
    smallest = max(8, 2 * round(SHORTEST_CELL_S * sample_rate / 2))
    sizes = [smallest << level for level in range(LEVELS)]
    enough = next((level for level, size in enumerate(sizes) if size >= n_samples), LEVELS - 1)
    return sizes[: enough + 1]


class Division(NamedTuple):
    """Signals whose time is to be divided."""

    target: Tensor
    """Recorded signals, ``[B, T]``."""
    sample_rate: int
    size: Budget
    """Budget or goal of the fit; it determines the price of a parameter."""
    window: WindowName
    begun: Sequence[Sequence[int]] | None = None
    """Required sizes of the first cells of each signal, which form whole root cells or reach its end (default: none)."""

    @property
    def sizes(self) -> list[int]:
        """Possible sizes of cells, smallest first."""
        return cell_sizes(self.sample_rate, self.target.shape[-1])

    def equal_cells(self, cell: int) -> TimeGrid:
        """Return the grid of equal cells of ``cell`` samples."""
        n_signals, n_samples = self.target.shape
        return TimeGrid.of_sizes(self.sample_rate, n_samples, [[cell] * math.ceil(n_samples / cell)] * n_signals, self.window)

    def rows(self, divided: Sequence[Tensor]) -> list[list[int]]:
        """Return the sizes of the cells of each signal, given the divided cells of each level."""
        sizes, rows = self.sizes, []
        for signal in range(self.target.shape[0]):
            row = list(self.begun[signal]) if self.begun is not None else []
            for root in range(math.ceil(sum(row) / sizes[-1]), divided[-1].shape[1]):
                row += _leaves(divided, sizes, signal, len(sizes) - 1, root, self.target.shape[1])
            rows.append(row)
        return rows


def divide(
    target: Tensor, sample_rate: int, size: Budget, window: WindowName, begun: Sequence[Sequence[int]] | None = None
) -> list[list[int]]:
    """Return the sizes of the cells of each signal of ``target [B, T]``, from its first sample on; see `Division`."""
    return divide_many([Division(target, sample_rate, size, window, begun)])[0]


def price_of(division: Division) -> float:
    """Return the price of a parameter, as energy, for a target and its size; 0 for silence."""
    return _prices([division])[0]


def root_costs(division: Division, price: float) -> Tensor:
    """Return the cost of each root cell, divided in the cheapest way, ``[B, N]``: energy of the residual and parameters."""
    costs = [_costs([division], level, [price])[0] for level in range(len(division.sizes))]
    best = costs[0]
    for whole in costs[1:]:
        best = torch.minimum(_halves(best, whole), whole)
    return best


def divide_many(divisions: Sequence[Division]) -> list[list[list[int]]]:
    """Return the sizes of the cells of each signal of several divisions, computed as one batch."""
    prices = _prices(divisions)
    costs: list[list[Tensor]] = [[] for _ in divisions]
    for level in range(LEVELS):
        tried = [place for place, one in enumerate(divisions) if prices[place] > 0 and level < len(one.sizes)]
        found = _costs([divisions[place] for place in tried], level, [prices[place] for place in tried])
        for place, cost in zip(tried, found, strict=True):
            costs[place].append(cost)
    return [one.rows(_cheapest(own) if own else _undivided(one)) for one, own in zip(divisions, costs, strict=True)]


def _undivided(division: Division) -> list[Tensor]:
    """Return a mask ``[B, N]`` per level in which no cell is divided."""
    n_signals, n_samples = division.target.shape
    return [torch.zeros(n_signals, math.ceil(n_samples / size), dtype=torch.bool) for size in division.sizes]


def _prices(divisions: Sequence[Division]) -> list[float]:
    """Return the price of a parameter of each division, from a short pursuit with equal cells; 0 for silence."""
    grids = [one.equal_cells(one.sizes[min(FIRST_LEVEL, len(one.sizes) - 1)]) for one in divisions]
    trials = [Pursuit(one.target, grid, one.size, rounds=PRICE_ROUNDS) for one, grid in zip(divisions, grids, strict=True)]
    prices = []
    for grid, (partials, _) in zip(grids, pursue_many(trials), strict=True):
        energies = (partials.power * grid.energy.to(partials.power)[partials.frame]).sort().values
        weak = float(energies[int(WEAK_SHARE * len(energies))]) if len(energies) else 0.0
        prices.append(PRICE_OF_WEAK * weak / PARAMETERS_PER_PARTIAL)
    return prices


def _costs(divisions: Sequence[Division], level: int, prices: Sequence[float]) -> list[Tensor]:
    """Return the cost of each cell of a level, ``[B, N]``: the energy of its residual, and its parameters at their price."""
    grids = [one.equal_cells(one.sizes[level]) for one in divisions]
    trials = [
        Pursuit(one.target, grid, Budget(one.target.numel(), least_gain=PARAMETERS_PER_PARTIAL * price), rounds=TRIAL_ROUNDS)
        for one, grid, price in zip(divisions, grids, prices, strict=True)
    ]
    costs = []
    for one, grid, price, (partials, residual) in zip(divisions, grids, prices, pursue_many(trials), strict=True):
        cell, (n_signals, n_samples) = one.sizes[level], one.target.shape
        counts = partials.counts(grid)[torch.argsort(grid.order)].reshape(n_signals, -1)
        missing = counts.shape[1] * cell - n_samples
        left = pad(residual.double().square(), (0, missing)).reshape(n_signals, -1, cell).sum(2)
        costs.append(left + price * (PARAMETERS_PER_PARTIAL * counts + 1))
    return costs


def _cheapest(costs: Sequence[Tensor]) -> list[Tensor]:
    """Return a mask ``[B, N]`` per level of the cells that are better divided, smallest cells first."""
    best, divided = costs[0], [torch.zeros_like(costs[0], dtype=torch.bool)]
    for whole in costs[1:]:
        halves = _halves(best, whole)
        divided.append(halves < whole)
        best = torch.minimum(halves, whole)
    return divided


def _halves(cells: Tensor, whole: Tensor) -> Tensor:
    """Return the cost of both halves of each cell of ``whole [B, N]``."""
    return pad(cells, (0, 2 * whole.shape[1] - cells.shape[1])).reshape(*whole.shape, 2).sum(2)


def _leaves(divided: Sequence[Tensor], sizes: Sequence[int], signal: int, level: int, index: int, n_samples: int) -> list[int]:
    """Return the sizes of the cells into which a cell is divided, without those beyond the signal's end."""
    if index * sizes[level] >= n_samples:
        return []
    if not divided[level][signal, index]:
        return [sizes[level]]
    below = (_leaves(divided, sizes, signal, level - 1, 2 * index + half, n_samples) for half in range(2))
    return [size for part in below for size in part]
