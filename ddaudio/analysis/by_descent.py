"""Initial partials by gradient descent from random frequencies, frame by frame, without peak picking."""

import math

import torch
from torch import Tensor

from ddaudio.analysis.frequencies import find_frequencies, most_sinusoids
from ddaudio.analysis.partials import Layout, Partials
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.options import EstimatorName


def descended(
    target: Tensor, grid: TimeGrid, per_frame: Tensor, estimator: EstimatorName, generator: torch.Generator
) -> Partials:
    """Return silent partials whose frequencies are estimated independently in each frame of ``target [B, T]``.

    Args:
        target: the recorded signals.
        grid: its frames, used without windows.
        per_frame: number of partials per frame, ``[F]``, equal where not 0; frames that are too short get fewer.
        estimator: estimator that starts from uniformly random frequencies; see `ddaudio.analysis.frequencies`.
        generator: random number generator of the initial frequencies.

    """
    room = torch.tensor([most_sinusoids(int(length)) for length in grid.frames.length])
    layout = Layout(grid, torch.minimum(per_frame, room))
    frame = layout.frame_of_partial
    frequency = math.pi * torch.rand(frame.numel(), generator=generator).to(target)
    for group, share, frames in zip(grid.groups, layout.shares, grid.frame(target), strict=True):
        counts = layout.counts[group.frames]
        if int(counts.sum()):
            start = frequency[share].reshape(-1, int(counts.max()))
            frequency[share] = find_frequencies(frames[counts > 0], start, estimator).flatten()
    silent = torch.zeros_like(frequency)
    return Partials(frame, frequency, silent, silent)
