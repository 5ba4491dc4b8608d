"""The power that is to be expected of rendered noise around each node, for levels at the nodes.

Levels are interpolated between the nodes, rendered by `ddaudio.synthesis.noise.NoiseFrames`, and measured in the frames of
`NoiseGrid`: a linear map of the densities at the bins, whose matrix is measured once for each sample rate.
"""

import math
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from ddaudio.models.noise.grid import NoiseGrid
from ddaudio.synthesis.noise import NoiseFrames

NEPER_DB = 10 / math.log(10)
"""Level in dB of a power of e."""
CALIBRATION_S, CALIBRATION_SEED = 20, 1
"""Length and seed of the white noise by which the scatter of levels is measured."""
EDGE_NODES = 3
"""Nodes at either end of that noise that are left out."""
OFFSETS = 2
"""Positions of rendered frames, for each hop, relative to a frame that is measured."""


class LevelsAtBins:
    """Interpolates levels at the nodes to densities at other frequencies.

    Args:
        grid: the nodes; only their frequencies matter.
        hz: the frequencies, ``[K]`` float64.

    """

    def __init__(self, grid: NoiseGrid, hz: Tensor) -> None:
        self.band = grid.band_of(hz)
        """Position of each frequency among the nodes, ``[K]`` float64."""
        self._column, self._inside = self.band.long().clamp(max=grid.bands - 2), self.band <= grid.bands - 1 + 1e-9
        self._share = (self.band - self._column).clamp(max=1)

    def densities(self, levels_db: Tensor) -> Tensor:
        """Return the densities, ``[..., K]``, for levels at the nodes, ``[..., bands]`` dB; differentiable."""
        level = levels_db[..., self._column] * (1 - self._share) + levels_db[..., self._column + 1] * self._share
        return torch.where(self._inside, (level / NEPER_DB).exp(), 0)


class ExpectedDensity:
    """Maps levels at the nodes to densities: at the bins of rendered frames, and as measured around the nodes.

    Args:
        sample_rate: sample rate at which the noise is rendered, in Hz.
        grid: the nodes; only their frequencies matter.

    """

    def __init__(self, sample_rate: int, grid: NoiseGrid) -> None:
        self.frames = NoiseFrames.at(sample_rate)
        self._bins = LevelsAtBins(grid, self.frames.hz)

    @property
    def band(self) -> Tensor:
        """Position of each bin among the nodes, ``[K]`` float64."""
        return self._bins.band

    @staticmethod
    @lru_cache(maxsize=16)
    def at(sample_rate: int) -> "ExpectedDensity":
        """Return the map for a layer that is rendered at its own sample rate."""
        return ExpectedDensity(sample_rate, NoiseGrid(sample_rate, 1))

    def at_bins(self, levels_db: Tensor) -> Tensor:
        """Return the densities at the bins, ``[..., K]``, for levels at the nodes, ``[..., bands]`` dB; differentiable."""
        return self._bins.densities(levels_db)

    def mean_power(self, levels_db: Tensor) -> Tensor:
        """Return the mean density around the nodes, ``[..., bands]``, for levels at the nodes; differentiable."""
        return self.at_bins(levels_db) @ leakage(self.frames)

    def typical_power(self, levels_db: Tensor) -> Tensor:
        """Return the density whose level is the mean level around the nodes, ``[..., bands]``; differentiable."""
        return self.at_bins(levels_db) @ self._typical

    @cached_property
    def _typical(self) -> Tensor:
        return leakage(self.frames) * 10 ** (level_bias_db(self.frames.sample_rate) / 10)


@lru_cache(maxsize=16)
def leakage(frames: NoiseFrames) -> Tensor:
    """Return the mean density around each node for a density of 1 at each bin alone, ``[K, bands]`` float64.

    Of each bin all rendered frames that reach into a measured frame are added by their powers, for two phases a quarter
    period apart and `OFFSETS` positions of the one relative to the other.
    """
    grid = NoiseGrid(frames.sample_rate, 1)
    length, place = grid.frame_length, torch.arange(grid.frame_length, dtype=torch.float64)
    # A density of 1 at one bin is a sinusoid of this amplitude under the window.
    amplitude = math.sqrt(2 * frames.sample_rate / frames.length)
    windows = []
    for begin in torch.arange(-frames.length, length, frames.hop / OFFSETS).round().tolist():
        inside = (place - begin).long()
        reached = (inside >= 0) & (inside < frames.length)
        windows.append(torch.where(reached, frames.window[inside.clamp(0, frames.length - 1)], 0))
    rows = []
    for hz in frames.hz.tolist():
        angle = 2 * math.pi * hz / frames.sample_rate * place
        waves = torch.stack([angle.cos(), angle.sin()]) * amplitude
        powers = grid.frame_powers((torch.stack(windows)[:, None] * waves).flatten(0, 1))
        rows.append(powers.sum(0) / (2 * OFFSETS))
    response = torch.stack(rows)
    # The first and the last bin are half as wide.
    response[[0, -1]] /= 2
    return response


@lru_cache(maxsize=16)
def _white_powers(sample_rate: int) -> Tensor:
    """Return the density of white Gaussian noise around the nodes, ``[N, bands]``."""
    grid = NoiseGrid(sample_rate, CALIBRATION_S * sample_rate)
    noise = torch.randn(1, grid.n_samples, generator=torch.Generator().manual_seed(CALIBRATION_SEED))
    powers = [grid.densities(noise, torch.zeros(1), chunk)[0] for chunk in range(grid.n_chunks)]
    return torch.cat(powers)[EDGE_NODES:-EDGE_NODES]


@lru_cache(maxsize=16)
def level_bias_db(sample_rate: int) -> Tensor:
    """Return the mean level of Gaussian noise minus the level of its mean power, ``[bands]`` dB, 0 or less.

    Levels of random powers scatter, and more downwards than upwards: -2.5 dB where a node has a single bin. Rendered noise
    scatters less than recorded noise; it is given the mean power of what was recorded, not the mean level.
    """
    powers = _white_powers(sample_rate)
    return 10 * (powers.log10().mean(0) - powers.mean(0).log10())


@lru_cache(maxsize=16)
def level_scatter_db(sample_rate: int) -> Tensor:
    """Return the standard deviation of the levels of Gaussian noise, ``[bands]`` dB: 5.6 where a node has a single bin."""
    return (10 * _white_powers(sample_rate).log10()).std(0)
