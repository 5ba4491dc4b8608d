"""Tracks as lists of knots: choosing, joining, dividing and rating them."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ddaudio.synthesis.tracks import Knots

POINTS = 8
"""Number of points of each segment at which a change of its signal is evaluated."""


class Tracks(NamedTuple):
    """Tracks, in the order of signal, then beginning."""

    knots: Knots
    """Positions are in samples, on a lattice; of float64 all but the counts."""
    signal: Tensor
    """Signal of each track, ``[N]`` int64."""
    is_log: bool = False
    """Whether amplitudes are linear in level between knots that are both above 0."""

    @classmethod
    def none(cls) -> "Tracks":
        """Return no tracks."""
        empty, whole = torch.zeros(0, dtype=torch.float64), torch.zeros(0, dtype=torch.int64)
        return cls(Knots(whole, empty, empty, empty, empty), whole)

    @property
    def n_knots(self) -> int:
        """Number of knots of all tracks."""
        return self.knots.position.numel()

    @property
    def owner(self) -> Tensor:
        """Track of each knot, ``[K]``."""
        return torch.arange(len(self.signal)).repeat_interleave(self.knots.counts)

    @property
    def lefts(self) -> Tensor:
        """Knot at the beginning of each segment, ``[K - N]``; that at its end is the next one."""
        is_left = torch.ones(self.n_knots, dtype=torch.bool)
        is_left[self.knots.counts.cumsum(0) - 1] = False
        return is_left.nonzero().flatten()

    def keep(self, which: Tensor) -> "Tracks":
        """Return the knots of a mask ``[K]``, without tracks of which fewer than two are left."""
        owner = self.owner
        counts = torch.bincount(owner[which], minlength=len(self.signal))
        kept = counts > 1
        which = which & kept[owner]
        return Tracks(Knots(counts[kept], *(column[which] for column in self.knots[1:])), self.signal[kept], self.is_log)

    def split(self, which: Tensor) -> "Tracks":
        """Return the knots of a mask ``[K]``, as a track for each run of two or more of them."""
        gone = torch.cumsum(~which, 0)
        _, run, counts = torch.unique_consecutive(
            torch.stack([self.owner, gone])[:, which], dim=1, return_inverse=True, return_counts=True
        )
        signal = self.signal[self.owner[which]]
        starts = counts.cumsum(0) - counts
        parts = Tracks(Knots(counts, *(column[which] for column in self.knots[1:])), signal[starts], self.is_log)
        return parts.keep((counts > 1)[run])

    def within(self, first: float, end: float) -> "Tracks":
        """Return the tracks that sound anywhere from the sample ``first`` to before ``end``."""
        ends = self.knots.counts.cumsum(0)
        begins, last = self.knots.position[ends - self.knots.counts], self.knots.position[ends - 1]
        return self.keep(((begins < end) & (last >= first))[self.owner])

    @staticmethod
    def beside(each: Sequence["Tracks"]) -> "Tracks":
        """Return the tracks of several lists, at least one, in order."""
        columns = (torch.cat(column) for column in zip(*(one.knots for one in each), strict=True))
        return Tracks(Knots(*columns), torch.cat([one.signal for one in each]), each[0].is_log).in_order()

    def joined(self, other: "Tracks") -> "Tracks":
        """Return these tracks and others, in order."""
        return Tracks.beside([self, other])

    def in_order(self) -> "Tracks":
        """Return the tracks in the order of signal, beginning, and frequency there."""
        if len(self.signal) < 2:
            return self
        counts = self.knots.counts
        starts = counts.cumsum(0) - counts
        order = torch.arange(len(counts))
        for key in (self.knots.frequency[starts], self.knots.position[starts], self.signal):
            order = order[torch.argsort(key[order], stable=True)]
        taken = counts[order]
        within = torch.arange(self.n_knots) - (taken.cumsum(0) - taken).repeat_interleave(taken)
        index = starts[order].repeat_interleave(taken) + within
        return Tracks(Knots(taken, *(column[index] for column in self.knots[1:])), self.signal[order], self.is_log)

    def shifted(self, samples: int) -> "Tracks":
        """Return the tracks that many samples later."""
        return self._replace(knots=self.knots._replace(position=self.knots.position + samples))

    def halved(self, which: Tensor, step: int) -> tuple["Tracks", Tensor]:
        """Return the same tracks with a knot in the middle of the segments at `lefts` ``which``, and which knots are new.

        Middles are on the lattice of ``step`` samples: of segments of two steps or more.
        """
        knots = self.knots
        begin, end = knots.position[which], knots.position[which + 1]
        middle = torch.floor((begin + end) / (2 * step)) * step
        x = ((middle - begin) / (end - begin))[:, None]
        amplitude, phase, frequency = (value[:, 0] for value in self.curve(which, which + 1, x))
        new = middle, amplitude, frequency, torch.remainder(phase, 2 * math.pi)
        order = torch.argsort(torch.cat([torch.arange(self.n_knots) + 0.0, which + 0.5]))
        columns = [torch.cat(pair)[order] for pair in zip(knots[1:], new, strict=True)]
        counts = knots.counts + torch.bincount(self.owner[which], minlength=len(knots.counts))
        return Tracks(Knots(counts, *columns), self.signal, self.is_log), order >= self.n_knots

    def energies(self) -> Tensor:
        """Return the energy of each segment, ``[K - N]``, apart from that of beats between tracks."""
        left = self.lefts
        a, b = self.knots.amplitude[left], self.knots.amplitude[left + 1]
        return (self.knots.position[left + 1] - self.knots.position[left]) * (a * a + a * b + b * b) / 6

    def track_energies(self) -> Tensor:
        """Return the energy of each track, ``[N]``."""
        return torch.zeros(len(self.signal), dtype=torch.float64).index_add(0, self.owner[self.lefts], self.energies())

    def removal_energies(self) -> Tensor:
        """Return by how much the signal changes if each knot alone is left out, as an energy, ``[K]``.

        Without an end the track is shorter; otherwise the segment from the knot before to the one after takes the place of two.
        """
        costs = torch.zeros(self.n_knots, dtype=torch.float64)
        left, energies = self.lefts, self.energies()
        is_inner = torch.zeros(self.n_knots, dtype=torch.bool)
        is_inner[left] = True
        starts = self.knots.counts.cumsum(0) - self.knots.counts
        is_inner[starts] = False
        # The first knot of a track has its segment after it, the last one before it.
        costs[left + 1], costs[left] = energies, costs[left]
        first = torch.zeros(self.n_knots, dtype=torch.float64).index_copy(0, left, energies)
        costs[starts] = first[starts]
        inner = is_inner.nonzero().flatten()
        costs[inner] = self._merging_energies(inner)
        return costs

    def _merging_energies(self, inner: Tensor) -> Tensor:
        """Return the energy of the change if inner knots are left out, ``[M]``."""
        knots, total = self.knots, torch.zeros(len(inner), dtype=torch.float64)
        x = (torch.arange(POINTS, dtype=torch.float64)[None] + 0.5) / POINTS
        before, after = knots.position[inner - 1], knots.position[inner + 1]
        for left in (inner - 1, inner):
            length = (knots.position[left + 1] - knots.position[left])[:, None]
            amplitude, phase, _ = self.curve(left, left + 1, x)
            place = (knots.position[left][:, None] + x * length - before[:, None]) / (after - before)[:, None]
            other, merged, _ = self.curve(inner - 1, inner + 1, place)
            square = amplitude.square() + other.square() - 2 * amplitude * other * torch.cos(phase - merged)
            total += (square * length).sum(1) / (2 * POINTS)
        return total

    def curve(self, left: Tensor, right: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return amplitude, phase and frequency between pairs of knots, at shares ``x`` of the time between them.

        Args:
            left: index of the knot at the beginning, ``[S]``.
            right: index of the knot at the end, ``[S]``.
            x: 0 to 1, which broadcasts to ``[S, Q]``.

        Returns:
            ``[S, Q]`` each.

        """
        knots = self.knots
        length = (knots.position[right] - knots.position[left])[:, None]
        a, b, w, v, p, q = (
            column[index][:, None] for column in (knots.amplitude, knots.frequency, knots.phase) for index in (left, right)
        )
        turns = torch.round((p + w * length - q + (v - w) * length / 2) / (2 * math.pi))
        rest, bend = q - p - w * length + 2 * math.pi * turns, (v - w) * length
        phase = p + w * length * x + (3 * rest - bend) * x**2 + (bend - 2 * rest) * x**3
        frequency = w + (2 * (3 * rest - bend) * x + 3 * (bend - 2 * rest) * x**2) / length
        amplitude = a + (b - a) * x
        if self.is_log:
            both = (a > 0) & (b > 0)
            ratio = torch.where(both, b, 1.0) / torch.where(both, a, 1.0)
            amplitude = torch.where(both, a * ratio**x, amplitude)
        return amplitude, phase, frequency
