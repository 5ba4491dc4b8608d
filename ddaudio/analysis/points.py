"""Partials as points in time and frequency, for linking."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ddaudio.analysis.partials import Partials
from ddaudio.grid.time_grid import TimeGrid

LEAST_AMPLITUDE = 1e-10
"""Amplitude below which levels are equal."""

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Points(NamedTuple):
    """Partials in the order of signal, time and frequency; columns ``[P]``."""

    cell: Integers
    """Cell of each partial, in the order of signal, then time."""
    frequency: Floats
    """Radians per sample."""
    amplitude: Floats
    """Full scale."""
    phase: Floats
    """Radians at ``time``."""
    time: Floats
    """Centre of the frame under its squared window in samples: where the frequency of a glide is that of the partial."""
    variance: Floats
    """Mean squared distance of the frame's samples from there."""

    def keep(self, which: NDArray[Any]) -> "Points":
        """Return the partials that a mask or an index selects."""
        columns: tuple[NDArray[Any], ...] = self
        return Points(*(column[which] for column in columns))


class Links(NamedTuple):
    """Pairs of partials of neighbouring cells; columns ``[E]``."""

    left: Integers
    """Index of the earlier partial."""
    right: Integers
    """Index of the later one."""
    cost: Floats
    """What a link costs: the less, the better its two partials continue each other."""

    def keep(self, which: NDArray[Any]) -> "Links":
        """Return the pairs that a mask or an index selects."""
        return Links(*(column[which] for column in self))


def points_of(partials: Partials, grid: TimeGrid) -> tuple[Points, Integers]:
    """Return the partials sorted by cell and frequency, and their original indices ``[P]``."""
    frame, cell = partials.frame.numpy(), grid.order[partials.frame].numpy()
    columns = partials.frequency, partials.cosine, partials.sine
    frequency, cosine, sine = (column.detach().cpu().double().numpy() for column in columns)
    amplitude, phase = np.hypot(cosine, sine), np.arctan2(-sine, cosine)
    origin = grid.start.double()
    if partials.decay is None:
        origin = origin + (grid.frames.length.double() - 1) / 2
    distance = (grid.centre - origin).numpy()[frame]
    phase = phase + frequency * distance
    if partials.decay is not None:
        amplitude = amplitude * np.exp(-partials.decay.detach().cpu().double().numpy() * distance)
    # Of equal frequencies the louder is first, so that the order of the input does not matter.
    order = np.lexsort((phase, -amplitude, frequency, cell))
    points = Points(cell, frequency, amplitude, phase, grid.centre.numpy()[frame], _variance(grid).numpy()[frame])
    return points.keep(order), order


def _variance(grid: TimeGrid) -> Tensor:
    """Return the mean squared distance of the samples of each frame from its `TimeGrid.centre`, ``[F]`` float64."""
    middle = grid.start + (grid.frames.length.double() - 1) / 2
    return grid.spread.double() ** 2 - (grid.centre - middle) ** 2


def levels_db(amplitude: Floats) -> Floats:
    """Return the levels of amplitudes in dB, at least -200."""
    levels: Floats = 20 * np.log10(np.maximum(amplitude, LEAST_AMPLITUDE))
    return levels


def near(points: Points, frequency: Floats, width: Floats, signal: Integers, ahead: int = 1) -> tuple[Integers, Integers]:
    """Return all pairs of partials and those ``ahead`` cells later whose frequencies differ from expected ones by up to a width.

    Args:
        points: partials, sorted by cell and frequency.
        frequency: what is expected after each, ``[P]``; NaN for none.
        width: largest difference, ``[P]``.
        signal: signal of each cell, ``[C]``; partials of different signals are no pairs.
        ahead: number of cells, 1 or more.

    """
    first, count = within(points, points.cell + ahead, frequency, width)
    inside = points.cell + ahead < len(signal)
    ends = np.minimum(points.cell + ahead, len(signal) - 1)
    count = np.where(inside & (signal[points.cell] == signal[ends]), count, 0)
    left = np.repeat(np.arange(len(count)), count)
    begins = np.cumsum(count) - count
    return left, np.arange(len(left)) - begins[left] + first[left]


def within(points: Points, cell: Integers, frequency: Floats, width: Floats) -> tuple[Integers, Integers]:
    """Return the first partial of each cell in a range of frequency, and their number, ``[P]`` each."""
    # Frequencies are 0 to pi, so the limits stay within a cell's own range of keys.
    step = 2 * math.pi
    key = points.cell * step + points.frequency
    low = cell * step + np.clip(frequency - width, -1, math.pi + 1)
    high = cell * step + np.clip(frequency + width, -1, math.pi + 1)
    first, last = np.searchsorted(key, low), np.searchsorted(key, high, side="right")
    return first, np.where(np.isnan(frequency), 0, last - first)
