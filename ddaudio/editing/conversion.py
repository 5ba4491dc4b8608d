"""Partials of cells as tracks.

The partials of successive cells that `ddaudio.analysis.linking` links are one track; one without links is a track of its own. Of
each track, the sum of its windowed partials is a known function ``z(t)``: its magnitude and its phase are the track's. Knots are
taken from it, and segments divided, until what the tracks differ by from the partials is below a tolerance.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ddaudio.analysis.linking import link
from ddaudio.analysis.partials import Partials
from ddaudio.editing.knots import in_order, values_at
from ddaudio.grid.cells import Cells
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.grid.windows import _step, fade_in
from ddaudio.synthesis.knots import Knots, segment_starts

TOLERANCE_DB = -50.0
"""Level of the difference relative to the sound around it."""
AROUND_S = 0.050
"""Time over which the level around a segment is measured."""
LEAST_SEGMENT = 4.0
"""Length in samples below which segments are not divided."""
POINTS = 4
"""Positions of each segment at which the difference is evaluated."""
ROUNDS = 12
"""Most rounds of dividing segments."""


class _Pieces(NamedTuple):
    """Partials sorted by track, then time; columns ``[P]``, in samples and radians per sample."""

    track: Tensor
    frequency: Tensor
    value: Tensor
    """Complex amplitude in the middle of the frame."""
    middle: Tensor
    cells: Cells
    n_valid: Tensor

    def at(self, piece: Tensor, position: Tensor, shape: str) -> Tensor:
        """Return the complex value of single windowed partials at positions, ``[M]``."""
        cells = Cells(*(column[piece].double() for column in self.cells))
        inside = position + 0.5 - cells.first
        rising, falling = _step(inside, cells.half_fade_in), _step(self.n_valid[piece] - inside, cells.half_fade_out)
        window = fade_in(rising, shape) * fade_in(falling, shape)  # type: ignore[arg-type]
        turn = self.frequency[piece] * (position - self.middle[piece])
        return self.value[piece] * torch.polar(window, turn)


class _Trajectories:
    """The sums of the windowed partials of each track."""

    def __init__(self, pieces: _Pieces, shape: str) -> None:
        self.pieces, self._shape = pieces, shape
        same = pieces.track[1:] == pieces.track[:-1]
        self.follows = torch.cat([torch.zeros(1, dtype=torch.bool), same])
        self.is_followed = torch.cat([same, torch.zeros(1, dtype=torch.bool)])

    def at(self, piece: Tensor, position: Tensor) -> Tensor:
        """Return the complex value of tracks at positions within the cells of ``piece [M]``, or in its outer fades."""
        total = self.pieces.at(piece, position, self._shape)
        for there, step in ((self.follows, -1), (self.is_followed, 1)):
            other = (piece + step).clamp(0, len(there) - 1)
            total = total + torch.where(there[piece], self.pieces.at(other, position, self._shape), 0)
        return total

    def knots_at(self, piece: Tensor, position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return amplitude, frequency and phase of tracks, ``[M]``; where they are silent, those of the partial."""
        value, step = self.at(piece, position), 0.25
        alone = self.pieces.value[piece] * torch.polar(
            torch.ones_like(position), self.pieces.frequency[piece] * (position - self.pieces.middle[piece])
        )
        before, after = self.at(piece, position - step), self.at(piece, position + step)
        silent = value.abs() <= 1e-6 * alone.abs()
        turning = torch.angle(after * before.conj()) / (2 * step)
        unsure = silent | (torch.minimum(before.abs(), after.abs()) <= 1e-6 * alone.abs())
        frequency = torch.where(unsure, self.pieces.frequency[piece], turning)
        phase = torch.where(silent, torch.angle(alone), torch.angle(value))
        return value.abs(), frequency.clamp(1e-6, math.pi - 1e-6), phase


def tracks_of_partials(partials: Partials, grid: TimeGrid, tolerance_db: float = TOLERANCE_DB) -> tuple[Knots, Tensor]:
    """Return the tracks of the partials of a network ``sine``, and the signal of each.

    Args:
        partials: undamped partials.
        grid: their time grid.
        tolerance_db: level of the difference relative to the sound around it, in dB.

    """
    empty, whole = torch.zeros(0, dtype=torch.float64), torch.zeros(0, dtype=torch.int64)
    if not len(partials):
        return Knots(whole, empty, empty, empty, empty), whole
    pieces, signal = _pieces(partials, grid)
    trajectories = _Trajectories(pieces, grid.window)
    piece, position = _first_positions(pieces, trajectories, grid.n_samples)
    tolerated = _tolerated(pieces, signal, grid, tolerance_db)
    columns: tuple[Tensor, ...] = (piece, position, *trajectories.knots_at(piece, position))
    is_new = torch.ones_like(piece, dtype=torch.bool)
    for _ in range(ROUNDS):
        new = _too_far(_knots(pieces, columns), columns[0], is_new, trajectories, tolerated)
        if not len(new[0]):
            break
        added = (*new, *trajectories.knots_at(*new))
        columns = tuple(torch.cat(pair) for pair in zip(columns, added, strict=True))
        index = _distinct(pieces, *columns[:2])
        is_new = index >= len(is_new)
        columns = tuple(column[index] for column in columns)
    return in_order(_knots(pieces, columns), signal)


def _knots(pieces: _Pieces, columns: tuple[Tensor, ...]) -> Knots:
    """Return knots from pieces, positions, amplitudes, frequencies and phases, ``[K]`` each."""
    piece, *values = columns
    return Knots(torch.bincount(pieces.track[piece]), *values)


def _pieces(partials: Partials, grid: TimeGrid) -> tuple[_Pieces, Tensor]:
    """Return the partials in the order of track and time, and the signal of each track."""
    track = link(partials, grid)
    order = torch.argsort(grid.order[partials.frame], stable=True)
    order = order[torch.argsort(track[order], stable=True)]
    partials, track = partials.keep(order), track[order]
    frame = partials.frame
    cells, n_valid = grid.frames.keep(frame), grid.n_valid[frame]
    middle = grid.start[frame].double() + (grid.frames.length[frame].double() - 1) / 2
    value = torch.complex(partials.cosine.double(), -partials.sine.double())
    first = torch.cat([torch.ones(1, dtype=torch.bool), track[1:] != track[:-1]])
    return _Pieces(track, partials.frequency.double(), value, middle, cells, n_valid), cells.signal[first]


def _first_positions(pieces: _Pieces, trajectories: _Trajectories, n_samples: int) -> tuple[Tensor, Tensor]:
    """Return knots at the ends and in the middle of each fade, and in the middle of each cell: pieces and positions, sorted."""
    cells, every = pieces.cells, torch.arange(len(pieces.track))
    begin, end = cells.first.double() - 0.5, (cells.first + pieces.n_valid).double() - 0.5
    rise, fall = cells.half_fade_in.double(), cells.half_fade_out.double()
    # A hard edge is between two samples: the last one of a cell and the first one of the next.
    columns = [
        torch.where(rise > 0, begin - rise, begin + 0.5),
        torch.where(rise > 0, begin, begin + 0.5),
        torch.where(rise > 0, begin + rise, begin + 0.5),
        (begin + end) / 2,
        torch.where(fall > 0, end - fall, end - 0.5),
    ]
    last = [torch.where(fall > 0, end, end - 0.5), torch.where(fall > 0, end + fall, end - 0.5)]
    alone = every[~trajectories.is_followed]
    piece = torch.cat([every.repeat(len(columns)), alone.repeat(2), alone[pieces.n_valid[alone] == 1]])
    position = torch.cat([*columns, *(column[alone] for column in last)]).round().clamp(0, n_samples - 1)
    # A cell of one sample: tracks have two knots.
    position = torch.cat([position, begin[alone[pieces.n_valid[alone] == 1]] + 1.5])
    index = _distinct(pieces, piece, position)
    return piece[index], position[index]


def _distinct(pieces: _Pieces, piece: Tensor, position: Tensor) -> Tensor:
    """Return an index that puts positions in the order of track and position, each position of a track once, the first of it."""
    order = torch.argsort(position, stable=True)
    order = order[torch.argsort(pieces.track[piece[order]], stable=True)]
    piece, position = piece[order], position[order]
    distinct, track = torch.ones(len(piece), dtype=torch.bool), pieces.track[piece]
    distinct[1:] = (position[1:] > position[:-1]) | (track[1:] != track[:-1])
    return order[distinct]


def _tolerated(pieces: _Pieces, signal: Tensor, grid: TimeGrid, tolerance_db: float) -> tuple[Tensor, float]:
    """Return the mean square that a segment may differ by, over signal and time ``[B, bins]``, and the length of a bin."""
    step = AROUND_S * grid.sample_rate
    n_bins = math.ceil(grid.n_samples / step)
    powers, counts = torch.zeros(2, grid.n_signals * n_bins, dtype=torch.float64)
    begin = pieces.cells.first.double()
    first, last = (begin / step).long(), ((begin + pieces.n_valid - 1) / step).long()
    length = last - first + 1
    row = torch.arange(len(first)).repeat_interleave(length)
    place = torch.arange(len(row)) - (length.cumsum(0) - length)[row] + first[row]
    flat = signal[pieces.track[row]] * n_bins + place
    reach = torch.minimum((begin + pieces.n_valid)[row], (place + 1) * step) - torch.maximum(begin[row], place * step)
    share = reach.clamp(min=0) / step
    powers.index_add_(0, flat, pieces.value[row].abs().square() / 2 * share)
    counts.index_add_(0, flat, share)
    around = torch.nn.functional.max_pool1d(powers.reshape(grid.n_signals, 1, n_bins), 3, 1, 1).reshape(grid.n_signals, n_bins)
    return around * 10 ** (tolerance_db / 10) / counts.reshape(around.shape).clamp(min=1), step


def _too_far(
    knots: Knots, piece: Tensor, is_new: Tensor, trajectories: _Trajectories, tolerated: tuple[Tensor, float]
) -> tuple[Tensor, Tensor]:
    """Return pieces and positions of the middles of the segments with a new knot that differ by more than is tolerated."""
    left = segment_starts(knots.counts)
    left = left[is_new[left] | is_new[left + 1]]
    begin, end = knots.position[left], knots.position[left + 1]
    x = (torch.arange(POINTS, dtype=torch.float64) + 0.5) / POINTS
    found = values_at(knots, left.repeat_interleave(POINTS), x.repeat(len(left)))
    position = (begin[:, None] + x * (end - begin)[:, None]).flatten()
    exact = trajectories.at(_piece_at(trajectories, piece[left].repeat_interleave(POINTS), position), position)
    square = (torch.polar(found.amplitude.clamp(min=0), found.phase) - exact).abs().square().reshape(-1, POINTS).mean(1) / 2
    levels, step = tolerated
    place = ((begin + end) / 2 / step).long().clamp(0, levels.shape[1] - 1)
    limit = levels[trajectories.pieces.cells.signal[piece[left]], place]
    # Segments of equal length differ equally much over a sound of any length.
    worse = (square > limit) & (end - begin >= LEAST_SEGMENT)
    middle = ((begin + end) / 2)[worse].round()
    return _piece_at(trajectories, piece[left][worse], middle), middle


def _piece_at(trajectories: _Trajectories, piece: Tensor, position: Tensor) -> Tensor:
    """Return the piece whose cell contains a position: the given one, or the next one of its track."""
    cells = trajectories.pieces.cells
    after = position + 0.5 >= (cells.first + cells.size)[piece]
    piece = torch.where(after & trajectories.is_followed[piece], piece + 1, piece)
    before = position + 0.5 < cells.first[piece]
    return torch.where(before & trajectories.follows[piece], piece - 1, piece)
