"""Knots of linked partials: tracks as `ddaudio.synthesis.tracks` computes them."""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ddaudio.analysis.partials import Partials
from ddaudio.analysis.points import Floats, Points, points_of
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.synthesis.knots import Knots

LEAST_DISTANCE = 0.25
"""Least distance between two knots in samples."""
LEAST_RAD = 1e-9
"""Least distance of frequencies from 0 and pi, which knots must not reach."""


class Tracks(NamedTuple):
    """Linked partials as knots."""

    knots: Knots
    """Knots of the tracks, in the order of their numbers."""
    signal: Tensor
    """Signal of each track, ``[N]`` int64."""


class _Rows(NamedTuple):
    """Up to five knots of each partial, in their order; ``[P, 5]``."""

    position: Floats
    amplitude: Floats
    frequency: Floats
    phase: Floats


def tracks_of(partials: Partials, track: Tensor, grid: TimeGrid) -> Tracks:
    """Return the knots of linked partials.

    Each partial has a knot at the `TimeGrid.centre` of its frame. The first and the last of a track have knots at both ends of
    the cell's fade too, where the amplitude is 0 outside and the partial's own inside; where a cell has a hard edge, one at its
    last sample. The frequency changes towards them as it does inside the track.

    Args:
        partials: partials, in any order.
        track: track of each, ``[P]`` int64, as `ddaudio.analysis.linking.link` returns it.
        grid: their time grid.

    """
    points, order = points_of(partials, grid)
    number = track.numpy()[order]
    by_track = np.lexsort((points.cell, number))
    points, number = points.keep(by_track), number[by_track]
    first, last = np.diff(number, prepend=-1) > 0, np.diff(number, append=number.max(initial=0) + 1) > 0
    rows, used = _rows(points, _slopes(points, first, last), grid), np.ones((len(number), 5), dtype=bool)
    used[~first, :2] = used[~last, 3:] = False
    used = _apart(rows.position, used)
    alone = first & last & (used.sum(1) == 1)
    # A cell of one sample: tracks last a sample at least.
    used[alone, 4], rows.position[alone, 4] = True, rows.position[alone, 2] + 1
    counts = np.bincount(number, used.sum(1)).astype(np.int64)
    knots = Knots(*(torch.from_numpy(column) for column in (counts, *(column[used] for column in rows))))
    return Tracks(knots, grid.cells.signal[torch.from_numpy(points.cell[first])])


def _rows(points: Points, slope: Floats, grid: TimeGrid) -> _Rows:
    """Return the knots that each partial has where it is first and last of its track."""
    cells = grid.cells.keep(torch.from_numpy(points.cell))
    lengths = torch.full((grid.n_signals,), grid.n_samples) if grid.lengths is None else grid.lengths
    first, rise, fall, size, last = (
        column.double().numpy()
        for column in (cells.first, cells.half_fade_in, cells.half_fade_out, cells.size, lengths[cells.signal] - 1)
    )
    # Sample n is in the middle of its interval, so cells begin half a sample before their first.
    begin, end = np.where(rise == 0, 0, -0.5) + first, np.where(fall == 0, -1, -0.5) + first + size
    places = [begin - rise, begin + rise, points.time, end - fall, end + fall]
    position = np.minimum(np.stack(places, 1), last[:, None])
    amplitude = np.repeat(points.amplitude[:, None], 5, 1)
    amplitude[rise > 0, 0] = 0
    # A fade that the end of the signal cuts off does not reach 0.
    amplitude[:, 4] *= np.clip((end + fall - last) / np.maximum(2 * fall, 1), 0, 1) ** (fall > 0)
    away = position - points.time[:, None]
    frequency = points.frequency[:, None] + slope[:, None] * away
    phase = points.phase[:, None] + points.frequency[:, None] * away
    phase += slope[:, None] * (away**2 - points.variance[:, None]) / 2
    return _Rows(
        position,
        amplitude,
        frequency.clip(LEAST_RAD, math.pi - LEAST_RAD),
        np.remainder(phase + math.pi, 2 * math.pi) - math.pi,
    )


def _slopes(points: Points, first: NDArray[np.bool_], last: NDArray[np.bool_]) -> Floats:
    """Return the slope of the frequency of each partial's track there, per sample, ``[P]``.

    It is the smaller of the slopes to the partials before and after, or 0 where they differ in sign; at the ends of a track it is
    that of the partial beside it, and in tracks of two partials 0.
    """
    slope = np.zeros(len(first))
    steps = np.diff(points.frequency) / np.maximum(np.diff(points.time), 1)
    inner = np.flatnonzero(~first & ~last)
    before, after = steps[inner - 1], steps[inner]
    slope[inner] = np.where(before * after > 0, np.sign(before) * np.minimum(np.abs(before), np.abs(after)), 0)
    place = np.arange(len(first))
    slope[first] = slope[np.minimum(place + 1, len(place) - 1)[first]] * ~last[first]
    slope[last] = slope[(place - 1)[last]] * ~first[last]
    return slope


def _apart(position: Floats, used: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which knots are used, without those that are not outside of the next one towards the middle."""
    for side, near, far in ((-1, 1, 0), (1, 3, 4)):
        next_in = position[:, 2]
        for column in (near, far):
            used[:, column] &= side * (position[:, column] - next_in) >= LEAST_DISTANCE
            next_in = np.where(used[:, column], position[:, column], next_in)
    return used
