"""Linking: partials of successive cells that continue each other, as tracks.

Two partials of neighbouring cells continue each other as far as their frequency, level and phase agree. With the gaps ``d`` in
each of the three, relative to their widths ``sigma``, a link costs ``1 - exp(-sum d^2 / sigma^2)``, 0 for none and 1 for large
gaps, and leaving it costs ``1 - (1 - delta) cost`` (Neri and Depalle, 2018, "Fast partial tracking of audio with real-time
capability through linear programming", DAFx-18). Both are equal where the sum is ``ln((2 - delta) / (1 - delta))``, so with
``sigma^2 = zeta^2 / ln((2 - delta) / (1 - delta))`` a gap in one of the three alone ends a track exactly beyond its nominal width
``zeta``. The published program multiplies by the logarithm instead.

Between each pair of neighbouring cells, the links are those of least total cost, an assignment problem, solved for each connected
component of the links that are possible; then once more, with the slopes of the tracks found. Where tracks cross,
`ddaudio.analysis.crossings` compares paths over several cells.
"""

import math

import numpy as np
import torch
from torch import Tensor

from ddaudio.analysis.crossings import chains, lines, straightened
from ddaudio.analysis.partials import Partials
from ddaudio.analysis.points import Floats, Integers, Links, Points, levels_db, near, points_of
from ddaudio.grid.time_grid import TimeGrid

DELTA = 0.2
"""How flat the cost is: 0 to 1."""
WIDTH_BINS = 0.5
"""Nominal width in frequency, in bins of the shorter of two cells (1 / its length), or `WIDTH_RATIO` if that is more."""
WIDTH_RATIO = 0.03
"""Nominal width in frequency, relative to the frequency: a quarter tone."""
WIDTH_DB = 20.0
"""Nominal width in level."""
WIDTH_RAD = 0.9 * math.pi
"""Nominal width in phase at the boundary of two cells."""

STRAIGHTNESS = 10.0
"""How much the slope of a track counts less for the variance of its partials around a line, in squared nominal widths."""
LONG_TRACK = 3
"""Cells from which on a track counts as one that is followed over time."""


def link(partials: Partials, grid: TimeGrid) -> Tensor:
    """Return the track of each partial, ``[P]`` int64.

    Partials of one track are in successive cells of one signal, at most one in each cell; cells are skipped only where tracks
    cross. Tracks are numbered from 0 in the order of signal, beginning, and frequency at their beginning.

    Args:
        partials: partials, in any order. Damped ones are taken as they are at the `TimeGrid.centre`.
        grid: their time grid.

    """
    if not len(partials):
        return torch.zeros(0, dtype=torch.int64)
    points, order = points_of(partials, grid)
    n_points, widths = len(order), _widths(grid, points)
    level = np.full((2, n_points), np.nan)
    chosen = assigned(candidates(points, grid, level), n_points)
    chosen = assigned(candidates(points, grid, _slopes(points, chosen, widths)), n_points)
    following = straightened(points, chosen, _numbered(chosen.left, chosen.right, n_points), widths, grid)
    left = np.flatnonzero(following >= 0)
    track = np.empty(n_points, dtype=np.int64)
    track[order] = _numbered(left, following[left], n_points)
    return torch.from_numpy(track)


def energy_in_tracks(track: Tensor, energy: Tensor) -> float | None:
    """Return the share of partials' ``energy [P]`` that is in tracks of `LONG_TRACK` cells or more; None without energy."""
    total = float(energy.double().sum())
    in_long = torch.bincount(track)[track] >= LONG_TRACK if len(track) else torch.zeros(0, dtype=torch.bool)
    return float(energy.double()[in_long].sum()) / total if total > 0 else None


def _slopes(points: Points, links: Links, widths: Floats) -> Floats:
    """Return the slope of each partial's track up to it and from it on, ``[2, P]``; NaN for none, less where it is crooked."""
    following, preceding = chains(links, len(widths))
    before, after = lines(points, preceding), lines(points, following)
    return np.stack([one.slope / (1 + STRAIGHTNESS * one.variance / widths**2) for one in (before, after)])


def candidates(points: Points, grid: TimeGrid, slopes: Floats) -> Links:
    """Return all pairs of partials of neighbouring cells for which a link is cheaper than none.

    Args:
        points: partials, sorted by cell and frequency.
        grid: their time grid.
        slopes: slope of the track up to each partial, and from each on, ``[2, P]``; NaN for none. The gap in frequency is that
            between the partials or that from what their slopes lead to expect, whichever is less.

    """
    size, widths = grid.cells.size.numpy(), _widths(grid, points)
    reach = widths + np.abs(np.nan_to_num(slopes[0])) * size[points.cell]
    left, right = near(points, points.frequency, 2 * reach, grid.cells.signal.numpy())
    bin_rad = 2 * math.pi / np.minimum(size[points.cell[left]], size[points.cell[right]])
    width = np.maximum(WIDTH_BINS * bin_rad, WIDTH_RATIO * np.minimum(points.frequency[left], points.frequency[right]))
    both = np.stack([slopes[0, left], slopes[1, right]])
    slope = np.nan_to_num(both).sum(0) / np.maximum((~np.isnan(both)).sum(0), 1)
    gap = points.frequency[right] - points.frequency[left]
    bend = gap - slope * (points.time[right] - points.time[left])
    level_db = levels_db(points.amplitude)
    squares = (np.minimum(np.abs(gap), np.abs(bend)) / width) ** 2
    squares += ((level_db[right] - level_db[left]) / WIDTH_DB) ** 2
    squares += (phase_gap(points, left, right) / WIDTH_RAD) ** 2
    links = Links(left, right, link_cost(squares))
    return links.keep(links.cost < CROSSOVER)


def link_cost(squares: Floats) -> Floats:
    """Return the cost of links, 0 to 1, for the sum of squares of gaps relative to their nominal widths; `CROSSOVER` at 1."""
    cost: Floats = -np.expm1(-squares * math.log((2 - DELTA) / (1 - DELTA)))
    return cost


CROSSOVER = 1 / (2 - DELTA)
"""Cost above which no link is cheaper: there ``cost = 1 - (1 - delta) cost``."""


def phase_gap(points: Points, left: Integers, right: Integers) -> Floats:
    """Return the difference of phase between pairs of partials where their cells meet in radians, -pi to pi.

    Frequency is taken to change linearly from the centre of one frame to that of the next, by ``s`` per sample. A partial of
    constant frequency, fitted to a glide, has the glide's frequency at the centre, and its phase plus ``s variance / 2``.
    """
    w, variance = points.frequency, points.variance
    distance = np.maximum(points.time[right] - points.time[left], 1)
    slope = (w[right] - w[left]) / distance
    advance = (w[right] + w[left]) / 2 * distance + slope / 2 * (variance[right] - variance[left])
    gap: Floats = np.remainder(points.phase[right] - points.phase[left] - advance + math.pi, 2 * math.pi) - math.pi
    return gap


def _widths(grid: TimeGrid, points: Points) -> Floats:
    """Return the largest width in frequency for links of each partial to the next cell, ``[P]``."""
    size = grid.cells.size.numpy()
    shorter = np.minimum(size, np.append(size[1:], size[-1]))
    widths: Floats = np.maximum(WIDTH_BINS * 2 * math.pi / shorter[points.cell], WIDTH_RATIO * points.frequency)
    return widths


def assigned(links: Links, n_points: int) -> Links:
    """Return the links with the least sum of costs, at most one to and one from each partial; none costs `CROSSOVER`."""
    group = _components(links.left, links.right + n_points, 2 * n_points)[links.left]
    order = np.argsort(group, kind="stable")
    ends = np.flatnonzero(np.diff(group[order], append=-1)) + 1
    chosen = np.zeros(len(order), dtype=bool)
    alone = np.diff(ends, prepend=0) == 1
    chosen[order[ends[alone] - 1]] = True
    for first, last in zip(np.append(0, ends[:-1])[~alone], ends[~alone], strict=True):
        own = order[first:last]
        chosen[own[_cheapest(links.keep(own))]] = True
    return links.keep(chosen)


def _cheapest(links: Links) -> Integers:
    """Return the indices of the links of one component that are chosen."""
    from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped] # noqa: PLC0415 - slow to import

    lefts, row = np.unique(links.left, return_inverse=True)
    rights, column = np.unique(links.right, return_inverse=True)
    table = np.zeros((len(lefts), len(rights)))
    where = np.full(table.shape, -1)
    table[row, column] = links.cost - CROSSOVER
    where[row, column] = np.arange(len(links.left))
    found: Integers = where[linear_sum_assignment(table)]
    return found[found >= 0]


def _components(left: Integers, right: Integers, n_points: int) -> Integers:
    """Return the connected component of each point of a graph with edges from ``left [E]`` to ``right [E]``, ``[N]``."""
    from scipy.sparse import coo_array  # type: ignore[import-untyped] # noqa: PLC0415 - slow to import
    from scipy.sparse.csgraph import connected_components  # type: ignore[import-untyped] # noqa: PLC0415

    graph = coo_array((np.ones(len(left), dtype=bool), (left, right)), shape=(n_points, n_points))
    labels: Integers = connected_components(graph, directed=False)[1]
    return labels


def _numbered(left: Integers, right: Integers, n_points: int) -> Integers:
    """Return the track of each partial from pairs of partials, numbered in the order of their first partials."""
    label = _components(left, right, n_points)
    _, first, number = np.unique(label, return_index=True, return_inverse=True)
    ranks: Integers = np.argsort(np.argsort(first))
    return ranks[number]
