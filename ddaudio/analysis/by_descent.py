"""The starting point of partials without peaks: by descent, frame by frame, from random frequencies."""

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
    """Return silent partials whose frequencies an estimator found in each frame of ``target [B, T]``, each frame on its own.

    Args:
        target: what was recorded.
        grid: its frames, taken as they are, without windows.
        per_frame: partials of each frame, ``[F]``, equal where it is not 0; frames too short for so many get fewer.
        estimator: how they are found, from uniformly random frequencies; see `ddaudio.analysis.frequencies`.
        generator: draws those.

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
