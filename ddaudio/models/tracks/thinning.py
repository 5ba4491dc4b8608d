"""Fewer knots: those that follow the tracks best, by dynamic programming.

A knot has a price, and so has the energy of the change where one segment replaces several. Of all choices of knots the cheapest
is found exactly, for each track by itself, since a segment depends only on the knots at its ends. The price is the same for all
tracks, and found by bisection.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ddaudio.models.tracks.knots import Tracks

LONGEST = 32
"""Largest number of segments that are replaced by one at a time."""
LARGEST_FALL = 4.0
"""Largest factor by which the number of knots falls at a time: segments must not have to be longer than `LONGEST`."""
BISECTIONS = 24
TRACK_KNOTS = 0.25
"""Price of a track besides its knots, in knots: three bytes in a file, where a knot has 13."""
Floats = NDArray[np.float64]


class _Spans(NamedTuple):
    """Energies of the changes of the signal."""

    merging: Floats
    """If the segments from a knot to the ``d``-th one after it are replaced by one, ``[K, LONGEST]``; inf beyond the track."""
    before: Floats
    """If what is before a knot is left out, ``[K]``."""
    after: Floats
    """If what is after it is left out, ``[K]``."""
    bounds: list[tuple[int, int]]
    """First knot and end of each track."""


def thinned(tracks: Tracks, keep: int) -> Tracks:
    """Return the tracks with up to ``keep`` of their knots, which change the signal least."""
    while tracks.n_knots > keep:
        target = max(keep, int(tracks.n_knots / LARGEST_FALL))
        spans = _spans(tracks)
        # A price above the energy of all tracks leaves nothing.
        low, high = 0.0, 2 * float(tracks.track_energies().sum()) + 1e-30
        best = torch.zeros(tracks.n_knots, dtype=torch.bool)
        for _ in range(BISECTIONS):
            price = (low * high) ** 0.5 if low > 0 else high * 1e-6
            which = _cheapest(spans, price)
            if int(which.sum()) > target:
                low = price
            else:
                high, best = price, which
        tracks = tracks.keep(best)
    return tracks


def thinned_at(tracks: Tracks, price: float) -> Tracks:
    """Return the tracks with the knots that are worth an energy of ``price`` each."""
    return tracks.keep(_cheapest(_spans(tracks), price)) if tracks.n_knots else tracks


def _spans(tracks: Tracks) -> _Spans:
    """Return the energies of all changes."""
    knots, n_knots, owner = tracks.knots, tracks.n_knots, tracks.owner
    merging = torch.full((n_knots, LONGEST), torch.inf, dtype=torch.float64)
    every = torch.arange(n_knots)
    for span in range(1, LONGEST + 1):
        left = every[: max(0, n_knots - span)]
        left = left[owner[left] == owner[left + span]]
        merging[left, span - 1] = _merged(tracks, left, span) if span > 1 else 0.0
    energies = torch.zeros(n_knots, dtype=torch.float64).index_copy(0, tracks.lefts, tracks.energies())
    total = torch.nn.functional.pad(energies.cumsum(0), (1, 0))
    ends = knots.counts.cumsum(0)
    starts = ends - knots.counts
    before = total[:-1] - total[starts][owner]
    after = total[ends - 1][owner] - total[:-1]
    return _Spans(merging.numpy(), before.numpy(), after.numpy(), list(zip(starts.tolist(), ends.tolist(), strict=True)))


def _merged(tracks: Tracks, left: Tensor, span: int) -> Tensor:
    """Return the energy of the change if ``span`` segments from each knot ``left`` on are replaced by one."""
    position = tracks.knots.position
    begin, end = position[left][:, None], position[left + span][:, None]
    one = (left[:, None] + torch.arange(span)).flatten()
    length = position[one + 1] - position[one]
    # The middles and the ends of the segments, as in Simpson's rule.
    x = torch.tensor([[0.5, 1.0]], dtype=torch.float64)
    amplitude, phase, _ = tracks.curve(one, one + 1, x)
    place = (position[one][:, None] + x * length[:, None]).reshape(len(left), 2 * span)
    level, merged, _ = tracks.curve(left, left + span, (place - begin) / (end - begin))
    level, merged = level.reshape(-1, 2), merged.reshape(-1, 2)
    square = amplitude.square() + level.square() - 2 * amplitude * level * torch.cos(phase - merged)
    energy = (square * square.new_tensor([2 / 3, 1 / 3])).sum(1) * length / 2
    return energy.reshape(len(left), span).sum(1)


def _cheapest(spans: _Spans, price: float) -> Tensor:
    """Return a mask ``[K]`` of the knots that are kept at a price."""
    kept = np.zeros(len(spans.before), dtype=bool)
    for first, end in spans.bounds:
        _follow(spans, first, end, price, kept)
    return torch.from_numpy(kept)


def _follow(spans: _Spans, first: int, end: int, price: float, kept: NDArray[np.bool_]) -> None:
    """Mark the knots of one track that are kept at a price."""
    cost = spans.before[first:end] + (1 + TRACK_KNOTS) * price
    came = np.full(end - first, -1)
    for knot in range(1, end - first):
        most = min(LONGEST, knot)
        # From the knot ``d`` before, by a segment over ``d``.
        ways = cost[knot - most : knot] + spans.merging[np.arange(first + knot - most, first + knot), np.arange(most - 1, -1, -1)]
        best = int(np.argmin(ways))
        if ways[best] + price < cost[knot]:
            cost[knot], came[knot] = ways[best] + price, knot - most + best
    ending = np.where(came >= 0, cost + spans.after[first:end], np.inf)
    last = int(np.argmin(ending))
    if ending[last] >= spans.before[end - 1]:
        return
    while last >= 0:
        kept[first + last] = True
        last = int(came[last])
