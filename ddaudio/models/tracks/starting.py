"""Tracks from the partials of cells."""

import math

import torch
from torch import Tensor

from ddaudio.analysis.linking import link
from ddaudio.analysis.partials import Partials
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.models.tracks.knots import Tracks
from ddaudio.synthesis.tracks import Knots


def tracks_from(partials: Partials, grid: TimeGrid, step: int, track: Tensor | None = None) -> Tracks:
    """Return tracks through the partials of successive cells.

    A track has a knot in the middle of each of its cells, and one at the beginning of its first and the end of its last cell.

    Args:
        partials: undamped partials.
        grid: their time grid.
        step: distance of the places at which knots can be, in samples.
        track: which track each partial belongs to, ``[P]`` (default: by `ddaudio.analysis.linking.link`).

    """
    if not len(partials):
        return Tracks.none()
    track = link(partials, grid) if track is None else track
    order = torch.argsort(grid.order[partials.frame], stable=True)
    order = order[torch.argsort(track[order], stable=True)]
    partials = partials.keep(order)
    _, owner, counts = torch.unique_consecutive(track[order], return_inverse=True, return_counts=True)
    signal = grid.frames.signal[partials.frame][counts.cumsum(0) - counts]
    return Tracks(_with_ends(_middles(partials, grid, owner, step), partials, grid, counts, step), signal).in_order()


def _middles(partials: Partials, grid: TimeGrid, owner: Tensor, step: int) -> tuple[Tensor, ...]:
    """Return position, amplitude, frequency, phase and slope of the frequency in the middle of each cell, ``[P]`` float64."""
    frame, w = partials.frame, partials.frequency.double()
    cosine, sine = partials.cosine.double(), partials.sine.double()
    first, size = grid.frames.first[frame].double(), grid.n_valid[frame].double()
    middle = grid.start[frame].double() + (grid.frames.length[frame].double() - 1) / 2
    slope = _slopes(w, middle, owner)
    # A partial of constant frequency, fitted to a glide, has the phase of its middle and a part of the glide's bend.
    phase = torch.atan2(-sine, cosine) - slope * grid.spread[frame].double().square() / 2
    position = ((first + size / 2) / step).round() * step
    ahead = position - middle
    phase = phase + w * ahead + slope / 2 * ahead.square()
    return position, torch.hypot(cosine, sine), (w + slope * ahead).clamp(0, math.pi), phase, slope


def _slopes(w: Tensor, middle: Tensor, owner: Tensor) -> Tensor:
    """Return the slope of the frequency at each partial, from its neighbours in the same track, ``[P]``; 0 where it is alone."""
    total, count = torch.zeros_like(w), torch.zeros_like(w)
    left = (owner[1:] == owner[:-1]).nonzero().flatten()
    between = (w[left + 1] - w[left]) / (middle[left + 1] - middle[left])
    for side in (left, left + 1):
        total.index_add_(0, side, between)
        count.index_add_(0, side, torch.ones_like(between))
    return total / count.clamp(min=1)


def _with_ends(middles: tuple[Tensor, ...], partials: Partials, grid: TimeGrid, counts: Tensor, step: int) -> Knots:
    """Return the knots of tracks of ``counts [N]`` cells, with one more at each end."""
    position, amplitude, frequency, phase, _ = middles
    last = counts.cumsum(0) - 1
    starts = last + 1 - counts
    cells = grid.frames.keep(partials.frame)
    begin = torch.floor(cells.first[starts].double() / step) * step
    end = torch.ceil((cells.first + grid.n_valid[partials.frame])[last].double() / step) * step
    rows = torch.arange(len(position))
    furthest = math.ceil(grid.n_samples / step) * step
    # The last cell of a signal may be too short for a partial.
    end = torch.where(end + cells.size[last] > grid.n_samples, float(furthest), end)
    ends = [
        (starts, torch.minimum(begin, position[starts] - step).clamp(min=0), cells.half_fade_in[starts], starts - 0.25),
        (last, torch.maximum(end, position[last] + step).clamp(max=furthest), cells.half_fade_out[last], last + 0.25),
    ]
    columns, keys = [[position, amplitude, frequency, phase]], [rows.double()]
    for place, at, fade, key in ends:
        level = amplitude[place] * torch.where(fade > 0, 0.5, 1.0)
        columns.append([at, level, frequency[place], phase[place] + frequency[place] * (at - position[place])])
        keys.append(key)
    order = torch.argsort(torch.cat(keys))
    joined = [torch.cat(parts)[order] for parts in zip(*columns, strict=True)]
    owner = torch.arange(len(counts)).repeat_interleave(counts)
    owner = torch.cat([owner, torch.arange(len(counts)).repeat(2)])[order]
    rising = torch.ones(len(owner), dtype=torch.bool)
    rising[1:] = (joined[0][1:] > joined[0][:-1]) | (owner[1:] != owner[:-1])
    kept = torch.bincount(owner[rising], minlength=len(counts))
    return Knots(kept, *(column[rising] for column in joined))
