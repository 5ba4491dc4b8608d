"""Division of time into cells: the best of all dyadic divisions, by trial.

A recording is a row of root cells, each either one cell or divided into two halves, and so on down to the smallest. On
every level all cells are tried at once, as one uniform grid, with partials down to a fixed gain per parameter. A cell then
costs its residual energy plus its parameters at that price, and bottom-up each pair of halves is taken if it costs
less than the whole (Coifman and Wickerhauser, 1992, "Entropy-based algorithms for best basis selection", IEEE Trans.
Inf. Theory 38(2); the price of a parameter is the Lagrange multiplier of Ramchandran and Vetterli, 1993, "Best wavelet
packet bases in a rate-distortion sense", IEEE Trans. Image Processing 2(2)).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from ddaudio.analysis.matching_pursuit import pursue
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.models import PARAMETERS_PER_PARTIAL, Budget
from ddaudio.options import WindowName

SHORTEST_CELL_S = 0.003
"""About the length of the shortest cells."""
LEVELS = 8
"""Sizes of cells, each twice the one before: the longest are 0.38 s."""
FIRST_LEVEL = 3
"""Level (cells of 24 ms) on which the price of a parameter is found."""
TRIAL_ROUNDS = 3
"""Rounds of a trial's pursuit."""
PRICE_ROUNDS = 5
"""Rounds of the pursuit that finds the price of a parameter."""
WEAK_SHARE, PRICE_OF_WEAK = 0.2, 0.5
"""The price is half of what a partial at this quantile brings: about what the weakest do, the useless ones not counted.
Half or twice the price changes the SNR by some hundredths of a decibel (tried on 15 recordings)."""


def cell_sizes(sample_rate: int, n_samples: int) -> list[int]:
    """Return the sizes that cells may have, smallest first; none beyond the first that holds the whole signal."""
    smallest = max(8, 2 * round(SHORTEST_CELL_S * sample_rate / 2))
    sizes = [smallest << level for level in range(LEVELS)]
    enough = next((level for level, size in enumerate(sizes) if size >= n_samples), LEVELS - 1)
    return sizes[: enough + 1]


def divide(
    target: Tensor, sample_rate: int, size: Budget, window: WindowName, begun: Sequence[Sequence[int]] | None = None
) -> list[list[int]]:
    """Return the sizes of the cells of each signal in ``target [B, T]``, from its first sample on.

    Args:
        target: the recording.
        sample_rate: samples per second.
        size: the goal of the fit, which sets the price of a parameter.
        window: shape of the fades.
        begun: sizes that the first cells of each signal must have, whole root cells of them (default: none).

    """
    sizes = cell_sizes(sample_rate, target.shape[-1])
    price = _price(target, sample_rate, size, window, sizes[min(FIRST_LEVEL, len(sizes) - 1)])
    if price <= 0:
        divided = [torch.zeros(target.shape[0], math.ceil(target.shape[1] / size), dtype=torch.bool) for size in sizes]
    else:
        divided = _cheapest([_costs(target, sample_rate, window, cell, price) for cell in sizes])
    rows = []
    for signal in range(target.shape[0]):
        row = list(begun[signal]) if begun is not None else []
        for root in range(sum(row) // sizes[-1], divided[-1].shape[1]):
            row += _leaves(divided, sizes, signal, len(sizes) - 1, root, target.shape[1])
        rows.append(row)
    return rows


def _price(target: Tensor, sample_rate: int, size: Budget, window: WindowName, cell: int) -> float:
    """Return the energy that the last parameters of a quick trial with equal cells fit; 0 where there is nothing to fit."""
    grid = _equal_cells(target, sample_rate, window, cell)
    partials, _ = pursue(target, grid, size, rounds=PRICE_ROUNDS)
    if not len(partials):
        return 0.0
    energies = (partials.power * grid.energy.to(partials.power)[partials.frame]).sort().values
    return PRICE_OF_WEAK * float(energies[int(WEAK_SHARE * len(energies))]) / PARAMETERS_PER_PARTIAL


def _equal_cells(target: Tensor, sample_rate: int, window: WindowName, cell: int) -> TimeGrid:
    n_signals, n_samples = target.shape
    return TimeGrid.of_sizes(sample_rate, n_samples, [[cell] * math.ceil(n_samples / cell)] * n_signals, window)


def _costs(target: Tensor, sample_rate: int, window: WindowName, cell: int, price: float) -> Tensor:
    """Return the cost of each cell of a level, ``[B, N]``: its residual energy, and its parameters at their price."""
    grid = _equal_cells(target, sample_rate, window, cell)
    size = Budget(target.numel(), least_gain=PARAMETERS_PER_PARTIAL * price)
    partials, residual = pursue(target, grid, size, rounds=TRIAL_ROUNDS)
    counts = partials.counts(grid)[torch.argsort(grid.order)].reshape(target.shape[0], -1)
    missing = counts.shape[1] * cell - target.shape[1]
    left = pad(residual.double().square(), (0, missing)).reshape(target.shape[0], -1, cell).sum(2)
    return left + price * (PARAMETERS_PER_PARTIAL * counts + 1)


def _cheapest(costs: Sequence[Tensor]) -> list[Tensor]:
    """Return, for each level, which of its cells ``[B, N]`` are better divided in two; smallest cells first."""
    best, divided = costs[0], [torch.zeros_like(costs[0], dtype=torch.bool)]
    for whole in costs[1:]:
        halves = pad(best, (0, 2 * whole.shape[1] - best.shape[1])).reshape(*whole.shape, 2).sum(2)
        divided.append(halves < whole)
        best = torch.minimum(halves, whole)
    return divided


def _leaves(divided: Sequence[Tensor], sizes: Sequence[int], signal: int, level: int, index: int, n_samples: int) -> list[int]:
    """Return the sizes of the cells that one cell ends up as, without those beyond the signal's end."""
    if index * sizes[level] >= n_samples:
        return []
    if not divided[level][signal, index]:
        return [sizes[level]]
    below = (_leaves(divided, sizes, signal, level - 1, 2 * index + half, n_samples) for half in range(2))
    return [size for part in below for size in part]
