"""Crossings: tracks that meet go on as straight as they came.

Where two partials cross, they are closer than a cell can resolve: a cell has one partial for both, or none, or its partials are
elsewhere, and links from cell to cell take either way. So paths over several cells are compared. A partial of a track has a line
through the last `MOST_POINTS` partials up to it, and one through the first from it on. A partial is joined to a later one of
another track, up to `MOST_CELLS` later, if both lines agree in frequency, slope and level, and agree better than those of both
tracks by themselves. Cells between them are skipped; at least one of them has a partial near the path.
"""

from typing import NamedTuple

import numpy as np

from ddaudio.analysis.points import Floats, Integers, Links, Points, levels_db, near, within
from ddaudio.grid.time_grid import TimeGrid

LEAST_POINTS, MOST_POINTS = 3, 4
"""Partials in a line."""
MOST_CELLS = 14
"""Most cells from the last partial before a crossing to the first after it."""
PER_CELL = 0.05
"""Cost of a skipped cell."""
SCATTER = 4.0
"""Weight of the variance of partials around their lines."""
WIDTH_DB = 6.0
"""Nominal width in level between the lines, and of levels around their mean."""
STRAIN = 0.2
"""Cost of the worst link of a path from which on it may be replaced."""
MARGIN = 1.0
"""By how much a join must be cheaper than the paths that it replaces."""


class Lines(NamedTuple):
    """Lines through the partials of a track up to each partial, or from it on; columns ``[P]``."""

    frequency: Floats
    """Of the line at the partial; NaN without enough partials."""
    slope: Floats
    """Per sample."""
    level_db: Floats
    """Mean level of the partials."""
    variance: Floats
    """Mean squared distance of the partials from the line."""
    level_variance: Floats
    """Mean squared distance of their levels from the mean."""


def straightened(points: Points, links: Links, track: Integers, width: Floats, grid: TimeGrid) -> Integers:
    """Return the next partial of each partial's track, ``[P]``, -1 for none, after joins across crossings.

    Args:
        points: partials, sorted by cell and frequency.
        links: links of partials to those of the next cell.
        track: track of each, ``[P]``.
        width: nominal width in frequency for each, ``[P]``.
        grid: their time grid.

    """
    following, preceding = chains(links, len(track))
    strain = np.ones((2, len(track)))
    strain[0, links.left], strain[1, links.right] = links.cost, links.cost
    before, after = lines(points, preceding), lines(points, following)
    times, signal = grid.centre[np.argsort(grid.order.numpy())].numpy(), grid.cells.signal.numpy()
    kept, ends, worst = [], [np.arange(len(track))] * 2, np.zeros((2, len(track)))
    for ahead in range(1, MOST_CELLS + 1):
        # The worst link of each track over the same cells, and where it leads.
        worst = np.stack(
            [np.maximum(one, np.where(end >= 0, own[end], 1)) for one, end, own in zip(worst, ends, strain, strict=True)]
        )
        ends = [_step(chain, end) for chain, end in zip((following, preceding), ends, strict=True)]
        found = _joins(points, before, after, width, times, signal, ahead)
        better = track[found.left] != track[found.right]
        better &= (worst[0, found.left] > STRAIN) & (worst[1, found.right] > STRAIN)
        stays = _cost(points, before, after, width, found.left, ends[0][found.left])
        came = _cost(points, before, after, width, ends[1][found.right], found.right)
        better &= found.cost + MARGIN < np.minimum(stays, came)
        kept.append(found.keep(better))
    joins = Links(*(np.concatenate(column) for column in zip(*kept, strict=True)))
    return _joined(following, preceding, points.cell, track, joins)


def chains(links: Links, n_points: int) -> tuple[Integers, Integers]:
    """Return the partial that follows each in its track and the one before, ``[P]`` each, -1 for none."""
    following, preceding = (np.full(n_points, -1) for _ in range(2))
    following[links.left], preceding[links.right] = links.right, links.left
    return following, preceding


def _step(chain: Integers, place: Integers) -> Integers:
    """Return the next partial of a chain from each place; -1 stays."""
    return np.where(place >= 0, chain[place], -1)


def lines(points: Points, chain: Integers) -> Lines:
    """Return the lines through each partial and those that follow it in a chain."""
    places = [np.arange(len(chain))]
    for _ in range(MOST_POINTS - 1):
        places.append(_step(chain, places[-1]))
    own = np.stack(places)
    there, counts = own >= 0, (own >= 0).sum(0)

    def mean(values: Floats) -> Floats:
        total: Floats = (values * there).sum(0) / counts
        return total

    time, frequency, level_db = points.time[own], points.frequency[own], levels_db(points.amplitude)[own]
    away = (time - mean(time)) * there
    slope = (away * frequency).sum(0) / np.maximum((away**2).sum(0), 1)
    rest, middle_db = frequency - mean(frequency) - slope * away, mean(level_db)
    known = counts >= LEAST_POINTS
    at = mean(frequency) + slope * (points.time - mean(time))
    columns = at, slope, middle_db, mean(rest**2), mean((level_db - middle_db) ** 2)
    return Lines(*(np.where(known, column, np.nan) for column in columns))


def _joins(points: Points, before: Lines, after: Lines, width: Floats, times: Floats, signal: Integers, ahead: int) -> Links:
    """Return the joins over a number of cells that are straight, with a partial near the path in one of the cells between."""
    cell = np.minimum(points.cell + ahead, len(times) - 1)
    expected = before.frequency + before.slope * (times[cell] - points.time)
    left, right = near(points, expected, width, signal, ahead)
    cost = _cost(points, before, after, width, left, right) + PER_CELL * (ahead - 1)
    straight = cost < 1
    left, right, cost = left[straight], right[straight], cost[straight]
    met = np.full(len(left), ahead == 1)
    for between in range(1, ahead):
        place = points.cell[left] + between
        share = (times[place] - points.time[left]) / np.maximum(points.time[right] - points.time[left], 1)
        path = (1 - share) * points.frequency[left] + share * points.frequency[right]
        met |= within(points, place, path, width[left])[1] > 0
    left, right, cost = left[met], right[met], cost[met]
    return Links(left, right, cost)


def _cost(points: Points, before: Lines, after: Lines, width: Floats, left: Integers, right: Integers) -> Floats:
    """Return the cost of paths from one partial to another, in squared nominal widths; infinite without lines on both sides.

    It has the gap between the lines in frequency, the change of frequency by the difference of their slopes, the gap in level,
    and the variance of partials around the lines.
    """
    distance = points.time[right] - points.time[left]
    step = after.frequency[right] - before.frequency[left] - (before.slope[left] + after.slope[right]) / 2 * distance
    bend = (after.slope[right] - before.slope[left]) * distance
    scatter = SCATTER * (before.variance[left] + after.variance[right])
    cost = (step**2 + bend**2 + scatter) / width[left] ** 2
    scatter_db = before.level_variance[left] + after.level_variance[right]
    cost += ((after.level_db[right] - before.level_db[left]) ** 2 + SCATTER * scatter_db) / WIDTH_DB**2
    return np.where((left < 0) | (right < 0) | np.isnan(cost), np.inf, cost)


def _joined(following: Integers, preceding: Integers, cell: Integers, track: Integers, joins: Links) -> Integers:
    """Return the next partial of each after the joins, the straightest first; near a crossing a track has one each way."""
    following, preceding = following.copy(), preceding.copy()
    reach = MOST_CELLS + LEAST_POINTS
    taken: dict[tuple[int, bool], list[int]] = {}
    for place in np.lexsort((joins.right, joins.left, joins.cost)).tolist():
        left, right = int(joins.left[place]), int(joins.right[place])
        ends = [((int(track[left]), False), int(cell[left])), ((int(track[right]), True), int(cell[right]))]
        if any(abs(at - other) <= reach for key, at in ends for other in taken.get(key, [])):
            continue
        for key, at in ends:
            taken.setdefault(key, []).append(at)
        for chain, back, here, there in ((following, preceding, left, right), (preceding, following, right, left)):
            if chain[here] >= 0:
                back[chain[here]] = -1
            chain[here] = there
    return following
