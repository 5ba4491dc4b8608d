"""Pursuit of tracks: candidates from cells of several lengths, of which the best ones are taken."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from ddaudio.analysis.budget import Budget
from ddaudio.analysis.matching_pursuit import pursue
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.models.tracks.knots import Tracks
from ddaudio.models.tracks.starting import tracks_from
from ddaudio.synthesis.tracks import TrackJacobian, render_tracks

CELLS_S = (0.006, 0.012, 0.024, 0.048)
"""Lengths of the cells of the candidates: fast glides need short ones, neighbouring partials long ones."""
PARTIALS_PER_CELL = 2
"""Least number of partials for each cell, on average, from which candidates are linked."""
CELL_ROUNDS = 4
"""Number of rounds of the pursuit of partials in cells."""
FEWEST_CELLS = 3
"""Cells of the shortest tracks, of signals that have as many."""
SURE_SHARE = 0.5
"""Smallest product of a track with what the others leave, relative to its energy."""
RANGE = 0.003
"""Smallest gain of a track, relative to that of the best one."""
RASTER_S, RASTER_HZ = 0.006, 40.0
"""Raster of time and frequency in which a candidate must not be where a better one of the same round is."""
MOST_SHARED = 0.2
"""Largest share of such places."""
LEAST_GAIN = 1e-7
"""Smallest gain of a candidate, relative to the energy of the target."""


def pursue_tracks(target: Tensor, sample_rate: int, step: int, most: int, goal_energy: float = 0.0, price: float = 0.0) -> Tracks:
    """Return the tracks that take away most of ``target [B, T]``, and that are apart from each other.

    Weaker ones than `RANGE` below the best are left to another pursuit, of the residual: they may be no more than its errors.

    Args:
        target: the signals.
        sample_rate: samples per second.
        step: distance of the places at which knots can be, in samples.
        most: number of knots at which the pursuit ends.
        goal_energy: energy of the residual at which it ends.
        price: energy that a track must take away for each of its cells.

    """
    pool = _candidates(target, sample_rate, step, Budget(most, goal_energy))
    if not len(pool.signal):
        return pool
    gains = _gains(pool, target)
    least = max(float(gains.max()) * RANGE, LEAST_GAIN * float(target.double().square().sum()))
    gains = torch.where(gains > price * pool.knots.counts, gains, 0)
    found = pool.keep(_chosen(gains, _places(pool, sample_rate), least, most, pool)[pool.owner])
    return found.keep(_stands_alone(found, target)[found.owner]) if found.n_knots else found


def _stands_alone(found: Tracks, target: Tensor) -> Tensor:
    """Return a mask ``[N]`` of the tracks that still take away `SURE_SHARE` of their energy where all others are.

    Others are images of louder tracks, in cells too short to resolve them.
    """
    knots = found.knots._replace(amplitude=found.knots.amplitude.to(target))
    shape, energy = (target.shape[0], target.shape[1]), found.track_energies()
    left = target - render_tracks(knots, found.signal, shape)
    slope = TrackJacobian(knots, found.signal, shape).adjoint(left)[0].double()
    product = torch.zeros(len(found.signal), dtype=torch.float64).index_add(0, found.owner, slope * found.knots.amplitude)
    return product + energy > SURE_SHARE * energy


def _candidates(target: Tensor, sample_rate: int, step: int, size: Budget) -> Tracks:
    """Return tracks through partials in cells of each length, each length for itself."""
    pool, (n_signals, n_samples) = Tracks.none(), target.shape
    for length_s in CELLS_S:
        cell = max(8, 2 * round(length_s * sample_rate / 2))
        n_cells = math.ceil(n_samples / cell)
        grid = TimeGrid.of_sizes(sample_rate, n_samples, [[cell] * n_cells] * n_signals)
        own = replace(size, most=max(size.most, PARTIALS_PER_CELL * n_cells * n_signals))
        partials, _ = pursue(target, grid, own, rounds=CELL_ROUNDS)
        found = tracks_from(partials, grid, step)
        # Each has a knot at both ends besides that of each cell.
        pool = pool.joined(found.keep((found.knots.counts >= min(FEWEST_CELLS, n_cells) + 2)[found.owner]))
        if n_cells == 1:
            break
    return pool


def _gains(pool: Tracks, residual: Tensor) -> Tensor:
    """Return by how much each candidate alone, at its best level, reduces the energy of ``residual [B, T]``, ``[N]``."""
    knots = pool.knots._replace(amplitude=pool.knots.amplitude.to(residual))
    slope = TrackJacobian(knots, pool.signal, (residual.shape[0], residual.shape[1])).adjoint(residual)[0].double()
    product = torch.zeros(len(pool.signal), dtype=torch.float64).index_add(0, pool.owner, slope * pool.knots.amplitude)
    energy = pool.track_energies().clamp(min=torch.finfo(torch.float64).tiny)
    return product.clamp(min=0).square() / energy


def _places(pool: Tracks, sample_rate: int) -> list[Tensor]:
    """Return the places of each candidate in the raster."""
    knots, left = pool.knots, pool.lefts
    width, height = RASTER_S * sample_rate, 2 * math.pi * RASTER_HZ / sample_rate
    length = knots.position[left + 1] - knots.position[left]
    points = (length / width).ceil().long().clamp(min=1)
    which = torch.arange(len(left)).repeat_interleave(points)
    x = (torch.arange(len(which)) - (points.cumsum(0) - points)[which] + 0.5) / points[which]
    _, _, frequency = pool.curve(left[which], left[which] + 1, x[:, None])
    column = ((knots.position[left[which]] + x * length[which]) / width).long()
    row = (frequency[:, 0] / height).round().long().clamp(min=0)
    signal = pool.signal[pool.owner[left[which]]]
    rows, columns = int(math.pi / height) + 3, int(column.max()) + 1
    place = (signal * columns + column) * rows + row + 1
    counts = torch.bincount(pool.owner[left[which]], minlength=len(pool.signal))
    return list(torch.split(place, counts.tolist()))


def _chosen(gains: Tensor, places: list[Tensor], least: float, room: int, pool: Tracks) -> Tensor:
    """Return a mask ``[N]`` of the best candidates that are apart from each other, until there is no more room."""
    taken: set[int] = set()
    chosen = torch.zeros(len(gains), dtype=torch.bool)
    for number in torch.argsort(gains, descending=True, stable=True).tolist():
        if float(gains[number]) <= least or room <= 0:
            break
        own = places[number].tolist()
        if sum(place in taken for place in own) <= MOST_SHARED * len(own):
            taken.update(near for place in own for near in (place - 1, place, place + 1))
            chosen[number] = True
            room -= int(pool.knots.counts[number])
    return chosen
