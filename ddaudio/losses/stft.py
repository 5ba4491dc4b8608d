"""Differentiable short-time spectra at several scales, floored, and padded for signals shorter than a scale."""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import pad

MAGNITUDE_FLOOR = 1e-4
"""Lower bound of magnitudes: the square root of auraloss's eps."""
MELS_PER_BAND = 50.0
"""Spacing of mel bands, unless the bins of a scale are too wide for it."""
MELS_PER_HZ = 2595 / math.log(10) / 700
"""Slope of the mel scale (HTK, ``2595 log10(1 + f / 700)``) at 0 Hz, where bands are narrowest."""


@dataclass(frozen=True)
class Resolution:
    """One scale of a spectrogram with a Hann window; lengths in samples."""

    n_fft: int
    hop: int
    window: int


def spectrum(signals: Tensor, resolution: Resolution) -> Tensor:
    """Return the short-time spectrum of ``signals [B, T]``, complex ``[B, bins, frames]``, at least 5 frames."""
    # Reflection at the ends needs more samples than half a window; shorter signals are padded with zeros.
    signals = pad(signals, (0, max(0, resolution.n_fft - signals.shape[-1])))
    window = torch.hann_window(resolution.window, dtype=signals.dtype, device=signals.device)
    return torch.stft(signals, resolution.n_fft, resolution.hop, resolution.window, window, return_complex=True)


def powers(signals: Tensor, resolution: Resolution) -> Tensor:
    """Return the squared magnitudes ``[B, bins, frames]`` of ``signals [B, T]``."""
    found = spectrum(signals, resolution)
    return found.real.square() + found.imag.square()


def magnitudes(signals: Tensor, resolution: Resolution) -> Tensor:
    """Return the magnitude spectrogram ``[B, bins, frames]`` of ``signals [B, T]``, floored at `MAGNITUDE_FLOOR`."""
    return powers(signals, resolution).clamp(min=MAGNITUDE_FLOOR**2).sqrt()


@lru_cache(maxsize=16)
def mel_filters(n_fft: int, sample_rate: int, bands: int | None = None) -> Tensor:
    """Return triangular filters ``[bands, bins]`` (HTK) from 0 Hz to Nyquist.

    By default they are 50 mel apart, or further if needed for each to contain a bin.
    """
    from torchaudio.functional import melscale_fbanks  # type: ignore[import-untyped]  # noqa: PLC0415 - slow to import

    if bands is None:
        mels = 2595 * math.log10(1 + sample_rate / 1400)
        # A triangle extends to the centres of its neighbours; if these are a bin away, it contains a bin.
        apart = max(MELS_PER_BAND, MELS_PER_HZ * sample_rate / n_fft)
        bands = max(1, int(mels / apart) - 1)
    filters: Tensor = melscale_fbanks(n_fft // 2 + 1, 0.0, sample_rate / 2, bands, sample_rate).mT
    return filters
