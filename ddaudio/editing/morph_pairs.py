"""Pairs of the tracks of two sounds, and the tracks between them."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ddaudio.editing.editable import Editable
from ddaudio.editing.knots import in_order
from ddaudio.editing.track_rows import TrackRows, pitch_of
from ddaudio.synthesis.knots import Knots

HOP_S = 0.004
"""Interval of the knots of a morph."""
RANGE_DB = 80.0
"""Partials this far below the loudest of a time are left out."""
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Amount = Callable[[Tensor], Tensor]
"""A function from positions in samples to amounts from 0 to 1."""


class _Frame(NamedTuple):
    """The partials of one sound, channel and time; columns ``[P]``."""

    track: Integers
    amplitude: Floats
    frequency: Floats
    number: Integers
    """Harmonic numbers, 0 for none."""

    def keep(self, which: Integers) -> "_Frame":
        """Return the partials of an index."""
        return _Frame(self.track[which], self.amplitude[which], self.frequency[which], self.number[which])


class _Pairs(NamedTuple):
    """Partials of both sounds that become one; -1 for none. Columns ``[M]``."""

    first: Integers
    second: Integers
    amplitude: Floats
    frequency: Floats


def paired(first: Editable, second: Editable, amplitude: Amount, frequency: Amount) -> tuple[Knots, Tensor]:
    """Return the tracks between those of two sounds of one length, and the channel of each.

    Args:
        first: a sound.
        second: another one of the same shape.
        amplitude: amount for amplitudes.
        frequency: amount for frequencies.

    """
    step = HOP_S * first.sample_rate
    count = max(2, int(np.ceil(first.n_samples / step)))
    frames = [_frames(sound, step, count) for sound in (first, second)]
    middles = (torch.arange(count, dtype=torch.float64) + 0.5) * step
    levels, bends = amplitude(middles).numpy(), frequency(middles).numpy()
    keys: list[tuple[NDArray[np.int64], NDArray[np.float64]]] = []
    for channel in range(first.shape[0]):
        for frame in range(count):
            pairs = _between(frames[0][channel][frame], frames[1][channel][frame], levels[frame], bends[frame])
            labels = np.stack([np.full(len(pairs.first), channel), pairs.first, pairs.second, np.full(len(pairs.first), frame)])
            keys.append((labels, np.stack([pairs.amplitude, pairs.frequency])))
    labels, values = (np.concatenate(parts, 1) for parts in zip(*keys, strict=True))
    return _tracks(labels, values, middles, step)


def _frames(sound: Editable, step: float, count: int) -> list[list[_Frame]]:
    """Return the partials of each channel in each interval."""
    rows, (_, number) = TrackRows.of(sound, step), pitch_of(sound)
    found = []
    for channel in range(sound.shape[0]):
        own = sound.signal[rows.track] == channel
        interval, track, level, hz = (part[own].numpy() for part in (rows.interval, rows.track, rows.amplitude, rows.frequency))
        order = np.argsort(interval, kind="stable")
        edges = np.searchsorted(interval[order], np.arange(count + 1))
        numbers = number.numpy()[track]
        frames = []
        for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            here = order[low:high]
            here = here[level[here] > level[here].max(initial=0) * 10 ** (-RANGE_DB / 20)]
            frames.append(_Frame(track[here], level[here], hz[here], numbers[here]))
        found.append(frames)
    return found


def _between(a: _Frame, b: _Frame, level: float, bend: float) -> _Pairs:
    """Return the partials between those of one time; ``level`` and ``bend`` are the amounts for amplitude and frequency."""
    if not len(a.track) or not len(b.track):
        return _joined([_alone(a, True, 1 - level), _alone(b, False, level)])
    if (a.number > 0).any() and (b.number > 0).any():
        return _by_harmonic(a, b, level, bend)
    return _transported(a, b, level, bend)


def _alone(one: _Frame, is_first: bool, gain: float) -> _Pairs:
    none = np.full(len(one.track), -1)
    sides = (one.track, none) if is_first else (none, one.track)
    return _Pairs(sides[0], sides[1], one.amplitude * gain, one.frequency)


def _joined(parts: list[_Pairs]) -> _Pairs:
    return _Pairs(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _by_harmonic(a: _Frame, b: _Frame, level: float, bend: float) -> _Pairs:
    """Return the loudest partials of each harmonic number as pairs, and the others alone."""
    ranks = _loudest_by_number(a), _loudest_by_number(b)
    common = sorted(set(ranks[0]) & set(ranks[1]))
    left, right = (np.array([rank[number] for number in common], dtype=np.int64) for rank in ranks)
    both = _Pairs(
        a.track[left],
        b.track[right],
        _mean(a.amplitude[left], b.amplitude[right], level),
        _mean(a.frequency[left], b.frequency[right], bend),
    )
    others = []
    for one, used, is_first, gain in ((a, left, True, 1 - level), (b, right, False, level)):
        rest = np.setdiff1d(np.arange(len(one.track)), used)
        others.append(_alone(one.keep(rest), is_first, gain))
    return _joined([both, *others])


def _loudest_by_number(one: _Frame) -> dict[int, int]:
    """Return the index of the loudest partial of each harmonic number."""
    order = np.argsort(one.amplitude, kind="stable")
    return {int(one.number[place]): int(place) for place in order if one.number[place] > 0}


def _mean(a: Floats, b: Floats, amount: float) -> Floats:
    """Return the weighted geometric mean."""
    mean: Floats = a ** (1 - amount) * b**amount
    return mean


def _transported(a: _Frame, b: _Frame, level: float, bend: float) -> _Pairs:
    """Return the plan that transports the power of one to that of the other over frequency, which keeps their order."""
    a, b = (one.keep(np.argsort(one.frequency, kind="stable")) for one in (a, b))
    masses = [np.cumsum(one.amplitude**2) for one in (a, b)]
    shares = [mass / mass[-1] for mass in masses]
    edges = np.unique(np.concatenate([[0.0], *shares]))
    size, middle = np.diff(edges), (edges[1:] + edges[:-1]) / 2
    left, right = (np.searchsorted(share, middle).clip(0, len(share) - 1) for share in shares)
    power = _mean(masses[0][-1:], masses[1][-1:], level)
    frequency = _mean(a.frequency[left], b.frequency[right], bend)
    return _Pairs(a.track[left], b.track[right], np.sqrt(power * size), frequency)


def _tracks(labels: Integers, values: Floats, middles: Tensor, step: float) -> tuple[Knots, Tensor]:
    """Return the tracks of pairs: a run of intervals with the same pair, fading in and out over half an interval."""
    channel, first, second, frame = labels
    order = np.lexsort((frame, second, first, channel))
    channel, first, second, frame = (column[order] for column in labels)
    amplitude, frequency = (column[order] for column in values)
    new = np.ones(len(order), dtype=bool)
    same = (np.diff(channel) == 0) & (np.diff(first) == 0) & (np.diff(second) == 0) & (np.diff(frame) == 1)
    new[1:] = ~same
    run = np.cumsum(new) - 1
    starts = np.flatnonzero(new)
    ends = np.append(starts[1:], len(order)) - 1
    position = middles.numpy()[frame]
    # A silent knot at either end of each run.
    rows = np.concatenate([np.arange(len(order)), starts, ends])
    ahead = np.concatenate([np.zeros(len(order)), np.full(len(starts), -step), np.full(len(ends), step)])
    order = np.lexsort((position[rows] + ahead, run[rows]))
    rows, ahead = rows[order], ahead[order]
    position, amplitude = position[rows] + ahead, np.where(ahead == 0, amplitude[rows], 0)
    frequency, owner = frequency[rows], run[rows]
    advance = np.zeros(len(rows))
    advance[1:] = np.where(owner[1:] == owner[:-1], np.diff(position) * (frequency[1:] + frequency[:-1]) / 2, 0)
    counts = np.bincount(owner, minlength=len(starts))
    columns = (
        torch.from_numpy(np.ascontiguousarray(part)) for part in (counts, position, amplitude, frequency, np.cumsum(advance))
    )
    return in_order(Knots(*columns), torch.from_numpy(channel[starts]))
