"""The lead of phases over the stored ones between attacks, where it returns to whole turns."""

import math

import torch
from torch import Tensor

from ddaudio.editing.knots import advances, located, owners, values_at
from ddaudio.editing.time_map import Attacks
from ddaudio.synthesis.knots import Knots, segment_starts

MOST_SHIFT_RAD = 12.0
"""Largest common shift of all tracks between two attacks, in radians of the loudest track's mean frequency."""
SHIFTS = 1601
"""Number of shifts that are tried."""
SHIFT_COST = 0.3
"""Price of the largest shift, as a share of what aligning all tracks is worth."""


class Spans:
    """Tracks cut at attacks into pieces: from the stop of one attack, or their own beginning, to the start of the next.

    Args:
        knots: knots, with one of each track at each start and stop of an attack.
        attacks: the attacks, ``A`` of them; there are ``A + 1`` spans.

    """

    def __init__(self, knots: Knots, attacks: Attacks) -> None:
        self.knots, self.attacks = knots, attacks
        self.owner, self.left = owners(knots), segment_starts(knots.counts)
        self.starts = knots.counts.cumsum(0) - knots.counts
        middle = (knots.position[self.left] + knots.position[self.left + 1]) / 2
        self.of_segment = torch.searchsorted(attacks.onset, middle, right=True)
        """Span of each segment, ``[S]``: segments of an attack, whose phases are stored, belong to the one before or after."""
        place = torch.searchsorted(attacks.start, knots.position) - 1
        stop = torch.cat([attacks.stop, torch.tensor([-math.inf]).double()])[place]
        self.is_held = (place >= 0) & (knots.position <= stop)
        """Whether a knot is in an attack, its stop included, where it has no lead; those at its start return to whole turns."""
        self._begins = self.is_held.clone()
        self._begins[self.starts] = True
        self.piece = torch.where(self._begins, torch.arange(len(middle) + len(self.starts)), 0).cummax(0).values
        """First knot of the piece of each knot, ``[K]``."""

    def lead(self, scale: Tensor, before: Tensor) -> Tensor:
        """Return the lead of all knots in phase, ``[K]`` radians, without regard to attacks that follow.

        Args:
            scale: how many times as much each segment's phase advances, ``[S]``.
            before: the track that each track continues, ``[N]``, or -1.

        """
        steps = torch.zeros_like(self.knots.position)
        steps[self.left + 1] = advances(self.knots) * (scale - 1)
        total = steps.cumsum(0)
        own = total - total[self.piece]
        return own + self._inherited(own, before)[self.piece]

    def _inherited(self, own: Tensor, before: Tensor) -> Tensor:
        """Return the lead with which the piece of each first knot begins, ``[K]``: 0 but where a track continues another."""
        rows = ((before >= 0) & ~self.is_held[self.starts]).nonzero().flatten()
        first = torch.zeros_like(own)
        if not len(rows):
            return first
        left, x = located(self.knots, before[rows], self.knots.position[self.starts[rows]])
        begun = self.piece[left]
        here = self._between(own, left, x)
        order = torch.argsort(self.knots.position[self.starts[rows]], stable=True).tolist()
        values, places = first.tolist(), self.starts[rows].tolist()
        for row, (source, gained) in zip(order, [(int(begun[row]), float(here[row])) for row in order], strict=True):
            values[places[row]] = values[source] + gained
        return torch.tensor(values, dtype=torch.float64)

    def _between(self, lead: Tensor, left: Tensor, x: Tensor) -> Tensor:
        """Return the lead within segments: as much more of that of the segment as its phase has advanced."""
        begin, end = self.knots.phase[left], values_at(self.knots, left, torch.ones_like(x)).phase
        share = (values_at(self.knots, left, x).phase - begin) / (end - begin)
        return lead[left] + share.nan_to_num(0.0, 0.0, 0.0) * (lead[left + 1] - lead[left])

    def _arrivals(self) -> tuple[Tensor, Tensor]:
        """Return the knots at the starts of attacks of tracks that began before, and which attack it is, ``[M]`` each."""
        if not len(self.attacks.onset):
            return torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)
        place = torch.searchsorted(self.attacks.start, self.knots.position).clamp(max=len(self.attacks.start) - 1)
        arrives = (self.knots.position == self.attacks.start[place]) & ~self._begins
        return arrives.nonzero().flatten(), place[arrives]

    def common_rates(self, lead: Tensor) -> Tensor:
        """Return by how much all tracks together are slowed down in each span, ``[A + 1]``, as a part of their speed.

        The common shift in time with which their leads are nearest to whole turns at the next attack, weighted by power.
        """
        rates = torch.zeros(len(self.attacks.onset) + 1, dtype=torch.float64)
        arrivals, spans = self._arrivals()
        begin = torch.cat([torch.zeros(1, dtype=torch.float64), self.attacks.stop])
        for span in range(len(self.attacks.onset)):
            rows = arrivals[spans == span]
            power = self.knots.amplitude[rows].square()
            length = float(self.attacks.start[span] - begin[span])
            if not len(rows) or not float(power.sum()) > 0 or length <= 0:
                continue
            mean = float((power * self.knots.frequency[rows]).sum() / power.sum())
            shifts = torch.linspace(-1, 1, SHIFTS, dtype=torch.float64)
            turned = torch.cos(lead[rows] - shifts[:, None] * (MOST_SHIFT_RAD / mean) * self.knots.frequency[rows])
            worth = turned @ (power / power.sum()) - SHIFT_COST * shifts.abs()
            shift = float(shifts[worth.argmax()]) * MOST_SHIFT_RAD / mean
            rates[span] = shift / length
        return rates

    def ramps(self, lead: Tensor, before: Tensor) -> Tensor:
        """Return what is taken from the leads so that they are whole turns at the next attack, ``[K]`` radians.

        It grows with time from the beginning of the first of the pieces that continue each other.
        """
        arrivals, _ = self._arrivals()
        over = torch.remainder(lead[arrivals] + math.pi, 2 * math.pi) - math.pi
        rate, roots = torch.zeros_like(lead), self.knots.position.tolist()
        # The piece that each piece continues, by its first knot.
        sources: dict[int, int] = {}
        rows = ((before >= 0) & ~self.is_held[self.starts]).nonzero().flatten()
        if len(rows):
            left, _ = located(self.knots, before[rows], self.knots.position[self.starts[rows]])
            sources = dict(zip(self.starts[rows].tolist(), self.piece[left].tolist(), strict=True))
        by_time = sorted(sources, key=lambda knot: roots[knot])
        for knot in by_time:
            roots[knot] = roots[sources[knot]]
        root = torch.tensor(roots, dtype=torch.float64)
        arrived = self.piece[arrivals]
        rate[arrived] = over / (self.knots.position[arrivals] - root[arrived]).clamp(min=1)
        rates, reaches = rate.tolist(), {*arrived.tolist()}
        # A piece that ends before takes part in the ramp of one that continues it.
        for knot in reversed(by_time):
            source = sources[knot]
            if source not in reaches and (knot in reaches):
                rates[source] = rates[knot]
                reaches.add(source)
        rate = torch.tensor(rates, dtype=torch.float64)
        return rate[self.piece] * (self.knots.position - root[self.piece])
