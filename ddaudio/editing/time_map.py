"""Maps from the times of a model to those of a stretched one."""

from typing import NamedTuple

import torch
from torch import Tensor

from ddaudio.editing.curves import Curve

STEP_S = 0.020
"""Interval at which a varying factor is sampled."""
ROOM = 0.8
"""Largest share of the time between two onsets, before or after the stretch, in which speed is kept."""


class TimeMap(NamedTuple):
    """A rising map of positions in samples, linear between points."""

    old: Tensor
    """Positions in the model, ``[M]`` float64, from 0 to its length."""
    new: Tensor
    """Where they are mapped to, ``[M]``."""

    def at(self, position: Tensor) -> Tensor:
        """Return where positions are mapped to."""
        return _interpolated(position, self.old, self.new)

    def inverse_at(self, position: Tensor) -> Tensor:
        """Return what is mapped to positions."""
        return _interpolated(position, self.new, self.old)

    def slopes(self, begin: Tensor, end: Tensor) -> Tensor:
        """Return the mean slope between pairs of positions."""
        return (self.at(end) - self.at(begin)) / (end - begin)


def _interpolated(position: Tensor, x: Tensor, y: Tensor) -> Tensor:
    place = torch.searchsorted(x, position.contiguous(), right=True).clamp(1, len(x) - 1)
    share = (position - x[place - 1]) / (x[place] - x[place - 1])
    return y[place - 1] + share * (y[place] - y[place - 1])


def curve_map(factor: Curve, n_samples: int, sample_rate: int) -> TimeMap:
    """Return the map whose slope is a curve of factors, for a sound of ``n_samples``."""
    end = float(n_samples)
    if factor.is_constant:
        return TimeMap(torch.tensor([0.0, end]).double(), torch.tensor([0.0, end * factor.values[0]]).double())
    points = torch.tensor(factor.times_s, dtype=torch.float64) * sample_rate
    even = torch.arange(0, end, STEP_S * sample_rate, dtype=torch.float64)
    old = torch.unique(torch.cat([points[(points > 0) & (points < end)], even, torch.tensor([end]).double()]))
    values = values_of(factor, old / sample_rate)
    steps = (values[1:] + values[:-1]) / 2 * old.diff()
    return TimeMap(old, torch.cat([torch.zeros(1).double(), steps.cumsum(0)]))


def values_of(curve: Curve, times_s: Tensor) -> Tensor:
    """Return the values of a curve, ``[M]`` float64."""
    x, y = (torch.tensor(column, dtype=torch.float64) for column in (curve.times_s, curve.values))
    if len(x) == 1:
        return y.expand(len(times_s)).clone()
    return _interpolated(times_s.clamp(x[0], x[-1]), x, y)


class Attacks(NamedTuple):
    """Stretches of time that keep their speed; columns ``[A]`` in samples of the model, rising, not overlapping."""

    start: Tensor
    onset: Tensor
    stop: Tensor

    @classmethod
    def none(cls) -> "Attacks":
        """Return none."""
        return cls(*torch.zeros(3, 0, dtype=torch.float64))


def fitted_attacks(base: TimeMap, attacks: Attacks) -> Attacks:
    """Return attacks that are shortened where there is too little time between two onsets, before or after the stretch."""
    inside = (attacks.onset > 0) & (attacks.onset < base.old[-1])
    attacks = Attacks(*(column[inside] for column in attacks))
    if not len(attacks.onset):
        return attacks
    ends = ((attacks.onset, base.old[-1:]), (base.at(attacks.onset), base.new[-1:]))
    gaps = [torch.cat([torch.zeros(1).double(), own, last]).diff() for own, last in ends]
    gap = ROOM * torch.minimum(*gaps)
    before, after = attacks.onset - attacks.start, attacks.stop - attacks.onset
    zero = torch.zeros(1, dtype=torch.float64)
    # The end of an attack and the beginning of the next one share the time between their onsets.
    share = (gap / (torch.cat([zero, after]) + torch.cat([before, zero])).clamp(min=1e-9)).clamp(max=1)
    return Attacks(attacks.onset - before * share[:-1], attacks.onset, attacks.onset + after * share[1:])


def with_attacks(base: TimeMap, attacks: Attacks) -> TimeMap:
    """Return a map with slope 1 in attacks, whose onsets stay where ``base`` maps them to, within half a sample.

    They move by whole samples, so that those of an attack stay what they are.
    """
    if not len(attacks.onset):
        return base
    new = attacks.onset + (base.at(attacks.onset) - attacks.onset).round()
    starts, stops = attacks.start, attacks.stop
    inside = torch.searchsorted(starts, base.old, right=True) != torch.searchsorted(stops, base.old)
    between = base.old[~inside]
    # From the end of one attack to the start of the next, the base map is scaled to the time that is left.
    old_edges = torch.cat([base.old[:1], torch.stack([starts, stops], 1).flatten(), base.old[-1:]])
    moved = torch.stack([new - (attacks.onset - starts), new + (stops - attacks.onset)], 1).flatten()
    new_edges = torch.cat([base.new[:1], moved, base.new[-1:]])
    gap = torch.searchsorted(old_edges, between, right=True).clamp(1, len(old_edges) - 1)
    low, high = base.at(old_edges[gap - 1]), base.at(old_edges[gap])
    placed = new_edges[gap - 1] + (base.at(between) - low) / (high - low) * (new_edges[gap] - new_edges[gap - 1])
    old, order = torch.unique(torch.cat([old_edges, between]), return_inverse=True)
    return TimeMap(old, torch.zeros_like(old).index_copy(0, order, torch.cat([new_edges, placed])))
