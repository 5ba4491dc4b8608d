"""Seams between blocks: tracks that go on are joined."""

import math

import torch
from torch import Tensor

from ddaudio.models.tracks.knots import Tracks
from ddaudio.synthesis.tracks import Knots

MOST_RAD = 1.0
"""Largest difference of phase of two tracks that are joined."""
MOST_RATIO = 0.03
"""Largest difference of their frequencies, relative to the lower one."""


def joined_at(before: Tracks, after: Tracks, place: int) -> Tracks:
    """Return the tracks of two blocks; those that meet at the sample ``place`` and agree there are joined.

    Of the others that end there, the last knot is left out: two tracks would sound at that sample.
    """
    ends = _at(before, before.knots.counts.cumsum(0) - 1, place)
    starts = _at(after, after.knots.counts.cumsum(0) - after.knots.counts, place)
    owners = before.owner, after.owner
    follower = {int(owners[0][end]): int(owners[1][start]) for end, start in _pairs(before, after, ends, starts)}
    ending, later = set(owners[0][ends].tolist()), _rows(after)
    parts = []
    for track, row in enumerate(_rows(before)):
        own = [column[:-1] for column in row] if track in ending else row
        more = [torch.cat(pair) for pair in zip(own, later[follower[track]], strict=True)] if track in follower else own
        parts.append((int(before.signal[track]), more))
    taken = set(follower.values())
    parts += [(int(after.signal[track]), own) for track, own in enumerate(later) if track not in taken]
    parts = [(signal, own) for signal, own in parts if len(own[0]) > 1]
    if not parts:
        return Tracks.none()
    columns = [torch.cat(column) for column in zip(*(own for _, own in parts), strict=True)]
    counts = torch.tensor([len(own[0]) for _, own in parts])
    return Tracks(Knots(counts, *columns), torch.tensor([signal for signal, _ in parts]), before.is_log).in_order()


def _at(tracks: Tracks, knots: Tensor, place: int) -> Tensor:
    """Return those of some knots that are at a sample."""
    return knots[tracks.knots.position[knots] == place]


def _rows(tracks: Tracks) -> list[list[Tensor]]:
    """Return position, amplitude, frequency and phase of each track."""
    columns = [torch.split(column, tracks.knots.counts.tolist()) for column in tracks.knots[1:]]
    return [list(parts) for parts in zip(*columns, strict=True)]


def _pairs(before: Tracks, after: Tracks, ends: Tensor, starts: Tensor) -> list[tuple[int, int]]:
    """Return pairs of knots that agree, the best ones first, each knot at most once."""
    one, other = before.knots, after.knots
    gap = (one.frequency[ends][:, None] / other.frequency[starts][None] - 1).abs()
    turn = torch.remainder(one.phase[ends][:, None] - other.phase[starts][None] + math.pi, 2 * math.pi) - math.pi
    same = before.signal[before.owner[ends]][:, None] == after.signal[after.owner[starts]][None]
    possible = same & (gap < MOST_RATIO) & (turn.abs() < MOST_RAD)
    found, used_ends, used_starts = [], set(), set()
    rows, columns = possible.nonzero(as_tuple=True)
    for number in torch.argsort((gap / MOST_RATIO + turn.abs() / MOST_RAD)[rows, columns], stable=True).tolist():
        row, column = int(rows[number]), int(columns[number])
        if row not in used_ends and column not in used_starts:
            used_ends.add(row)
            used_starts.add(column)
            found.append((int(ends[row]), int(starts[column])))
    return found
