"""The noise layer of a model as powers in critical bands."""

import numpy as np
import torch
from torch import Tensor

from ddaudio.editing.exchange.track_data import NoiseBands
from ddaudio.models.noise.expectation import LevelsAtBins
from ddaudio.models.noise.fit import fit_noise
from ddaudio.models.noise.grid import STEP_S
from ddaudio.models.noise.network import NoiseNetwork
from ddaudio.synthesis.noise import NoiseFrames

EDGES_HZ = (
    *(0.0, 100.0, 200.0, 300.0, 400.0, 510.0, 630.0, 770.0, 920.0, 1080.0, 1270.0, 1480.0, 1720.0),
    *(2000.0, 2320.0, 2700.0, 3150.0, 3700.0, 4400.0, 5300.0, 6400.0, 7700.0, 9500.0, 12000.0, 15500.0, 20000.0),
)
"""Edges of 25 critical bands (Zwicker), in Hz."""
POINTS = 16
"""Number of frequencies at which the density of each band is evaluated."""


@torch.no_grad()
def noise_bands(layer: NoiseNetwork, channel: int) -> NoiseBands:
    """Return the power of one channel of a noise layer in the bands of `EDGES_HZ`, every 10 ms."""
    grid, edges = layer.grid, torch.tensor(EDGES_HZ, dtype=torch.float64)
    widths = edges.diff() / POINTS
    hz = (edges[:-1, None] + widths[:, None] * (torch.arange(POINTS) + 0.5)).flatten()
    at = LevelsAtBins(grid, hz)
    floor = at.densities((layer.floor_db - 10 * grid.widths_hz.log10())[None])
    rows = []
    for chunk in range(grid.n_chunks):
        density = (at.densities(layer.levels_db(chunk)[channel]) - floor).clamp(min=0)
        # The last node of a chunk is at the time of the first of the next one.
        density = density if chunk == grid.n_chunks - 1 else density[:-1]
        rows.append(density.reshape(len(density), -1, POINTS).sum(2) * widths)
    return NoiseBands(STEP_S, np.asarray(torch.cat(rows), dtype=np.float64))


@torch.no_grad()
def noise_of_bands(bands: NoiseBands, n_samples: int, sample_rate: int) -> NoiseNetwork:
    """Return a noise layer of one channel with the powers of bands: noise with these powers is synthesised, and fitted."""
    width = torch.tensor(EDGES_HZ, dtype=torch.float64).diff()
    density = torch.cat([torch.from_numpy(bands.power) / width, torch.zeros(len(bands.power), 1, dtype=torch.float64)], 1)

    def power(times_s: Tensor, hz: Tensor) -> Tensor:
        """Return the density at times, linear between frames, and in the bands of frequencies."""
        place = (times_s / bands.step_s).clamp(max=len(density) - 1)
        row = place.long().clamp(max=max(0, len(density) - 2))
        share = (place - row)[:, None]
        levels = density[row] * (1 - share) + density[(row + 1).clamp(max=len(density) - 1)] * share
        return levels[:, torch.bucketize(hz, torch.tensor(EDGES_HZ[1:], dtype=torch.float64), right=True)][None]

    noise = NoiseFrames.at(sample_rate).render(power, 0, n_samples)
    return fit_noise(noise, torch.zeros_like(noise), sample_rate)
