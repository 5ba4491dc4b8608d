"""Sine networks in float64, and their Jacobians spelled out in numpy."""

import math

import numpy as np
import torch

from ddaudio.grid.time_grid import TimeGrid
from ddaudio.models import Partials, SineNetwork

RATE = 8000
CELLS = [[64, 32, 32, 128, 64], [128, 128, 64]]


def network_of(grid: TimeGrid, partials: Partials) -> SineNetwork:
    """A network with these partials, of the dtype that they have."""
    network = SineNetwork(grid)
    network.replace_partials(partials)
    return network


def scattered(grid: TimeGrid, most: int, seed: int = 0, low: float = 0.0) -> Partials:
    """Up to ``most`` random partials in each frame, float64."""
    generator = np.random.default_rng(seed)
    frame = np.repeat(np.arange(grid.n_frames), generator.integers(0, most + 1, grid.n_frames))
    columns = generator.uniform(low, math.pi - low, len(frame)), *generator.normal(0, 0.3, (2, len(frame)))
    return Partials(torch.tensor(frame), *(torch.tensor(column) for column in columns))


def columns_of(network: SineNetwork) -> np.ndarray:
    """The Jacobian in numpy: a column ``[B T]`` for each frequency, then each cosine, then each sine amplitude."""
    grid, partials = network.grid, network.partials
    columns = np.zeros((3, len(partials), grid.n_signals, grid.n_samples))
    units = network.step_rad.numpy(), network.unit.numpy(), network.unit.numpy()
    for k, frame in enumerate(partials.frame.tolist()):
        begin, length, signal = int(grid.start[frame]), int(grid.frames.length[frame]), int(grid.frames.signal[frame])
        (group,) = [group for group in grid.groups if group.length == length]
        window = group.windows[frame - group.frames.start].double().numpy()
        d = np.arange(length) - (length - 1) / 2
        w, a, b = (float(column[k]) for column in (partials.frequency, partials.cosine, partials.sine))
        waves = d * (b * np.cos(w * d) - a * np.sin(w * d)), np.cos(w * d), np.sin(w * d)
        inside = slice(max(0, -begin), min(length, grid.n_samples - begin))
        for kind in range(3):
            columns[kind, k, signal, begin + inside.start : begin + inside.stop] = (window * waves[kind] * units[kind][k])[inside]
    return columns.reshape(3 * len(partials), grid.n_signals * grid.n_samples)


def flat(parts: list[torch.Tensor]) -> np.ndarray:
    return torch.cat(parts).detach().numpy()
