"""Knots of tracks: values between them, more of them, and parts of tracks."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ddaudio.synthesis.knots import Knots, segment_starts

LEAST_RAD = 1e-6
"""Least distance of frequencies from 0 and from the Nyquist frequency, in radians per sample."""


class Values(NamedTuple):
    """Values of tracks at some positions, ``[M]`` float64 each."""

    amplitude: Tensor
    """Full scale."""
    frequency: Tensor
    """Radians per sample."""
    phase: Tensor
    """Radians, without jumps of whole turns within a segment."""


def owners(knots: Knots) -> Tensor:
    """Return the track of each knot, ``[K]``."""
    return torch.arange(len(knots.counts)).repeat_interleave(knots.counts)


def advances(knots: Knots) -> Tensor:
    """Return the phase from the left to the right knot of each segment in radians, whole turns included, ``[S]``."""
    left = segment_starts(knots.counts)
    length = knots.position[left + 1] - knots.position[left]
    mean = (knots.frequency[left] + knots.frequency[left + 1]) / 2 * length
    gap = knots.phase[left + 1] - knots.phase[left] - mean
    return mean + gap - 2 * math.pi * torch.round(gap / (2 * math.pi))


def deviations(knots: Knots) -> Tensor:
    """Return by how much the phase of each segment differs from that of its mean frequency, -pi to pi, ``[S]``."""
    left = segment_starts(knots.counts)
    mean = (knots.frequency[left] + knots.frequency[left + 1]) / 2 * (knots.position[left + 1] - knots.position[left])
    return advances(knots) - mean


def values_at(knots: Knots, left: Tensor, x: Tensor) -> Values:
    """Return the values within segments.

    Args:
        knots: the knots.
        left: left knot of the segment of each position, ``[M]``.
        x: time within the segment, from 0 at its left knot to 1 at the right one, ``[M]``.

    """
    segment = torch.zeros_like(knots.position).index_copy(0, segment_starts(knots.counts), advances(knots))
    length = knots.position[left + 1] - knots.position[left]
    w0, w1 = knots.frequency[left] * length, knots.frequency[left + 1] * length
    # The cubic with these slopes at both ends and this difference between them.
    rest, bend = segment[left] - w0, w1 - w0
    phase = knots.phase[left] + x * (w0 + x * (3 * rest - bend + x * (bend - 2 * rest)))
    frequency = (w0 + x * (2 * (3 * rest - bend) + 3 * x * (bend - 2 * rest))) / length
    amplitude = knots.amplitude[left] + x * (knots.amplitude[left + 1] - knots.amplitude[left])
    return Values(amplitude, frequency, phase)


def located(knots: Knots, track: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
    """Return the segments of tracks at positions: left knots and times from 0 to 1, ``[M]`` each, as `values_at` takes them.

    Args:
        knots: the knots.
        track: which track, ``[M]``.
        position: where in it, in samples, from its first to its last knot, ``[M]``.

    """
    # One list of keys, in which knots are sorted by track, then position.
    span = float(knots.position.max()) + 1 if len(knots.position) else 1.0
    starts = knots.counts.cumsum(0) - knots.counts
    left = torch.searchsorted(owners(knots) * span + knots.position, track * span + position, right=True) - 1
    left = torch.minimum(torch.maximum(left, starts[track]), starts[track] + knots.counts[track] - 2)
    return left, ((position - knots.position[left]) / (knots.position[left + 1] - knots.position[left])).clamp(0, 1)


def inserted(knots: Knots, left: Tensor, position: Tensor) -> Knots:
    """Return knots with more of them, which change no sample.

    Args:
        knots: the knots.
        left: left knot of the segment of each new knot, ``[M]``, in any order.
        position: where each of them is within the segment, in samples, different for the knots of one segment, ``[M]``.

    """
    if not len(left):
        return knots
    new = values_at(knots, left, (position - knots.position[left]) / (knots.position[left + 1] - knots.position[left]))
    key = torch.cat([torch.arange(len(knots.position)), left])
    both = torch.cat([knots.position, position])
    order = torch.argsort(both, stable=True)
    order = order[torch.argsort(key[order], stable=True)]
    pairs = zip(knots[1:], (position, new.amplitude, _within_bounds(new.frequency), new.phase), strict=True)
    columns = [torch.cat(pair)[order] for pair in pairs]
    return Knots(knots.counts + torch.bincount(owners(knots)[left], minlength=len(knots.counts)), *columns)


def _within_bounds(frequency: Tensor) -> Tensor:
    """Return frequencies that knots may have."""
    return frequency.clamp(LEAST_RAD, math.pi - LEAST_RAD)


def inserted_at(knots: Knots, positions: Tensor) -> Knots:
    """Return knots with one more at each of ``positions [M]`` (rising, in samples) in each track that is there."""
    left = segment_starts(knots.counts)
    begin, end, positions = knots.position[left], knots.position[left + 1], positions.contiguous()
    first, last = torch.searchsorted(positions, begin, right=True), torch.searchsorted(positions, end)
    count = (last - first).clamp(min=0)
    row = torch.arange(len(left)).repeat_interleave(count)
    place = torch.arange(len(row)) - (count.cumsum(0) - count)[row] + first[row]
    return inserted(knots, left[row], positions[place])


def subdivided(knots: Knots, parts: Tensor) -> Knots:
    """Return knots with each segment divided into ``parts [S]`` equal ones."""
    left = segment_starts(knots.counts)
    row = torch.arange(len(left)).repeat_interleave(parts - 1)
    share = (torch.arange(len(row)) - ((parts - 1).cumsum(0) - (parts - 1))[row] + 1) / parts[row].double()
    start = left[row]
    return inserted(knots, start, knots.position[start] + share * (knots.position[start + 1] - knots.position[start]))


def kept(knots: Knots, signal: Tensor, which: Tensor) -> tuple[Knots, Tensor]:
    """Return the tracks of a mask ``[N]``."""
    mask = which[owners(knots)]
    return Knots(knots.counts[which], *(column[mask] for column in knots[1:])), signal[which]


def runs(knots: Knots, signal: Tensor, which: Tensor) -> tuple[Knots, Tensor]:
    """Return the knots of a mask ``[K]``, each run of two of them or more as a track."""
    owner = owners(knots)
    pairs = torch.stack([owner, torch.cumsum(~which, 0)])[:, which]
    _, run, counts = torch.unique_consecutive(pairs, dim=1, return_inverse=True, return_counts=True)
    long = counts > 1
    columns = [column[which][long[run]] for column in knots[1:]]
    first = (counts.cumsum(0) - counts)[long]
    return Knots(counts[long], *columns), signal[owner[which][first]]


def in_order(knots: Knots, signal: Tensor) -> tuple[Knots, Tensor]:
    """Return the tracks in the order of signal, beginning, and frequency there."""
    counts = knots.counts
    starts = counts.cumsum(0) - counts
    order = torch.arange(len(counts))
    for key in (knots.frequency[starts], knots.position[starts], signal):
        order = order[torch.argsort(key[order], stable=True)]
    taken = counts[order]
    within = torch.arange(int(counts.sum())) - (taken.cumsum(0) - taken).repeat_interleave(taken)
    index = starts[order].repeat_interleave(taken) + within
    return Knots(taken, *(column[index] for column in knots[1:])), signal[order]


def joined(parts: list[tuple[Knots, Tensor]]) -> tuple[Knots, Tensor]:
    """Return the tracks of all parts, in order."""
    columns = zip(*(knots for knots, _ in parts), strict=True)
    return in_order(Knots(*(torch.cat(column) for column in columns)), torch.cat([signal for _, signal in parts]))


def on_samples(knots: Knots, signal: Tensor, n_samples: int) -> tuple[Knots, Tensor]:
    """Return tracks whose knots are at whole samples within a sound, without those that then coincide with the one before.

    Phases are those of the places that knots are moved to; what is outside of the sound is left out.
    """
    position = knots.position.round()
    phase = knots.phase + (position - knots.position) * knots.frequency
    knots = knots._replace(position=position, phase=phase, frequency=_within_bounds(knots.frequency))
    if len(position) and (float(position.min()) < 0 or float(position.max()) > n_samples):
        knots = inserted_at(knots, torch.tensor([0.0, n_samples], dtype=torch.float64))
        knots, signal = runs(knots, signal, (knots.position >= 0) & (knots.position <= n_samples))
    owner = owners(knots)
    apart = torch.ones(len(owner), dtype=torch.bool)
    apart[1:] = (knots.position[1:] > knots.position[:-1]) | (owner[1:] != owner[:-1])
    counts = torch.bincount(owner[apart], minlength=len(knots.counts))
    knots = Knots(counts, *(column[apart] for column in knots[1:]))
    return kept(knots, signal, counts > 1)
