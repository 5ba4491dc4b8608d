"""Plot data of levels over frequency: long-term average spectra, and the levels of a noise layer."""

import math
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from ddaudio.grid.erb import bin_shares, erb_number, evenly_spaced_hz
from ddaudio.io.samples import Samples, block_length
from ddaudio.io.spectra import Frames, nearest_fft
from ddaudio.models import Network
from ddaudio.models.noise.grid import STEP_S
from ddaudio.models.noise.network import NoiseNetwork
from ddaudio.report.plot_data import FRAME_S, MOST_CHANNELS, decibels, drawn_as
from ddaudio.results.read import FitAudio

BANDS = 64
"""Number of bands of an average spectrum."""
LOWEST_HZ = 20.0
"""Lower edge of the first band."""
ROUND_HZ = (0, 200, 500, 1000, 2000, 5000, 10_000, 20_000)
"""Labels of an axis in ERB number."""


@dataclass(frozen=True)
class AverageSpectrum:
    """Level of each band over a whole sound; a sinusoid of full scale has 0 dB."""

    hz: NDArray[np.float64]
    """Middle of each band in ERB number, ``[BANDS]``."""
    level_db: NDArray[np.float32]
    """``[BANDS]``, at least -200."""


@dataclass(frozen=True)
class NoiseLevels:
    """Levels of a noise layer at its nodes, as they are rendered; a sinusoid of the same power and of full scale has 0 dB."""

    level_db: NDArray[np.float32]
    """``[C, bands, columns]``: the highest level in each column; NaN where there is no noise."""
    hz: NDArray[np.float64]
    """Frequency of each row, ``[bands]``, evenly spaced in ERB number from 0 Hz; the level is that of the band around it."""
    start_s: float
    """Start of the first column, half a step before the first node."""
    column_s: float
    """Duration of a column in seconds."""


def average_spectrum(samples: Samples, sample_rate: int) -> AverageSpectrum:
    """Return the long-term average spectrum of ``samples [C, T]``: the mean power of each band over time and channels.

    Bands have equal width in ERB number, from 20 Hz to Nyquist. Powers are those of Hann frames of about 46 ms that overlap by
    one half; the first is centred on the first sample.
    """
    n_channels, n_samples = samples.shape
    n_fft = nearest_fft(FRAME_S, sample_rate)
    hop, nyquist_hz = n_fft // 2, sample_rate / 2
    edges_hz = evenly_spaced_hz(min(LOWEST_HZ, nyquist_hz / 2), nyquist_hz, 2 * BANDS + 1)
    window = torch.hann_window(n_fft)
    frames = Frames(n_fft, hop, n_samples // hop + 2, first_sample=-hop)
    power = torch.zeros(n_fft // 2 + 1, dtype=torch.float64)
    for spectra in frames.spectra(samples, window, max(1, block_length(4 * n_channels) // n_fft)):
        power += torch.view_as_real(spectra).square().sum((0, 2, 3)).double()
    # The squares of the overlapping windows add up to 3/4 on average.
    power *= 4 / (0.75 * n_fft * n_channels * n_samples)
    in_bands = power @ bin_shares(edges_hz[::2], n_fft, sample_rate)
    return AverageSpectrum(edges_hz[1::2].numpy(), decibels(in_bands.float().numpy()))


def average_spectra(sounds: FitAudio) -> dict[str, AverageSpectrum]:
    """Return the average spectra of original, waves (of a model with noise) and resynthesis, by name."""
    parts = {"original": sounds.original, "waves": sounds.waves, "resynthesis": sounds.resynthesis}
    return {name: average_spectrum(part, sounds.sample_rate) for name, part in parts.items() if part is not None}


def noise_layer(network: Network) -> NoiseNetwork | None:
    """Return the term of a network that is drawn as noise; None if there is none."""
    layers = drawn_as(network, "noise")
    return cast("NoiseNetwork", layers[0]) if layers else None


@torch.no_grad()
def noise_levels(layer: NoiseNetwork, columns: int) -> NoiseLevels:
    """Return the levels of a noise layer in at most ``columns`` columns, of up to `MOST_CHANNELS` channels."""
    grid, n_channels = layer.grid, min(layer.n_channels, MOST_CHANNELS)
    nodes = math.ceil((grid.n_intervals + 1) / columns)
    power = torch.zeros(math.ceil((grid.n_intervals + 1) / nodes), n_channels, grid.bands, dtype=torch.float64)
    floor = 10 ** (layer.floor_db / 10)
    for chunk in range(grid.n_chunks if layer.n_components() else 0):
        # The last node of a chunk is at the time of the first one of the next.
        count = grid.covered(chunk) - (chunk < grid.n_chunks - 1)
        levels = layer.levels_db(chunk)[:n_channels, :count].transpose(0, 1)
        own = (10 ** (levels / 10) * grid.widths_hz - floor).clamp(min=0)
        column = (torch.arange(count) + chunk * grid.chunk_intervals) // nodes
        power.scatter_reduce_(0, column[:, None, None].expand_as(own), own, "amax")
    level_db = torch.where(power > 0, 10 * torch.log10(2 * power.clamp(min=1e-20)), torch.nan).permute(1, 2, 0)
    return NoiseLevels(level_db.float().numpy(), grid.hz.numpy(), -STEP_S / 2, nodes * STEP_S)


def round_rows(hz: NDArray[np.float64]) -> dict[int, float]:
    """Return the positions of round frequencies among rows at ``hz [bands]``, evenly spaced in ERB number from 0 Hz."""
    per_cam = (len(hz) - 1) / float(erb_number(torch.tensor(hz[-1])))
    return {one: per_cam * float(erb_number(torch.tensor(float(one)))) for one in ROUND_HZ if one <= hz[-1]}
