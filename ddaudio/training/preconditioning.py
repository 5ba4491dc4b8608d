"""Levels of a curvature of signals at the frequency and in the frame of each parameter, for preconditioning."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from ddaudio.losses.curvature import BINS, HOP
from ddaudio.models import Network
from ddaudio.models.base import SampleRanges


def stacked_levels(each: Sequence[Tensor]) -> Tensor:
    """Return levels ``[B, F, N]`` of several groups of signals as one tensor; see `ddaudio.losses.curvature.Curvature.levels`.

    Axes of length 1 are kept if they have it everywhere; shorter signals are padded with zeros.
    """
    if len(each) == 1:
        return each[0]
    bins, cells = (max(levels.shape[axis] for levels in each) for axis in (1, 2))
    rows = []
    for levels in each:
        own = levels.expand(-1, bins, cells if levels.shape[2] == 1 else -1)
        rows.append(pad(own, (0, cells - own.shape[2])))
    return torch.cat(rows)


def curvature_levels(network: Network, levels: Tensor) -> list[Tensor]:
    """Return the mean level over the samples of each value, at its frequency, in the shape of each of ``parameters()``.

    Args:
        network: network of waves, or a sum of them.
        levels: of its signals, ``[B, F, N]``; axes of length 1 are constant.

    For parameters without frequency it is the mean over frequencies, for those of the whole network also over signals.
    """
    found, frequencies = [], iter(network.frequencies())
    for term in network.terms:
        for ranges, parameter in zip(term.ranges_of_rows(), term.parameters(), strict=True):
            width = parameter.numel() // max(1, ranges.signal.numel())
            each = SampleRanges(*(column.repeat_interleave(width) for column in ranges))
            frequency = next(frequencies, None)
            own = _levels_at(levels, each, None if frequency is None else frequency.flatten())
            found.append(own.view(parameter.shape).to(parameter))
    return found


def _levels_at(levels: Tensor, ranges: SampleRanges, frequency: Tensor | None) -> Tensor:
    """Return the mean levels ``[N]`` over ranges of samples at frequencies in radians per sample."""
    if frequency is None:
        levels = levels.mean(1, keepdim=True)
    signal, begin, length = ranges
    row = signal.clamp(min=0) if levels.shape[0] > 1 else torch.zeros_like(signal)
    column = torch.zeros_like(signal)
    if frequency is not None and levels.shape[1] > 1:
        column = (frequency * ((BINS - 1) / math.pi)).round().long().clamp(0, BINS - 1)
    n_cells = levels.shape[2]
    first = torch.div(begin, HOP, rounding_mode="floor").clamp(0, n_cells - 1)
    last = torch.maximum(first + 1, torch.div(begin + length + HOP - 1, HOP, rounding_mode="floor").clamp(max=n_cells))
    sums = pad(levels.double().cumsum(2), (1, 0))
    inside = (sums[row, column, last] - sums[row, column, first]) / (last - first)
    return torch.where(signal < 0, levels.double().mean((0, 2))[column], inside)
