"""Differentiable short-time spectra at several scales, floored, and padded for signals shorter than a scale."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import fold, pad

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
    """Return the short-time spectrum of ``signals [B, T]``, complex ``[B, bins, frames]``, at least 5 frames.

    Differentiable once.
    """
    # Reflection at the ends needs more samples than half a window; shorter signals are padded with zeros.
    found: Tensor = _Spectrum.apply(pad(signals, (0, max(0, resolution.n_fft - signals.shape[-1]))), resolution)  # type: ignore[no-untyped-call]
    return found


class _Spectrum(torch.autograd.Function):
    """`torch.stft` with a gradient by inverse FFTs of real signals, in half the time of its own."""

    @staticmethod
    def forward(ctx: Any, signals: Tensor, scale: Resolution) -> Tensor:
        """Return the short-time spectrum, with reflection at the ends."""
        ctx.scale, ctx.n_samples = scale, signals.shape[-1]
        window = torch.hann_window(scale.window, dtype=signals.dtype, device=signals.device)
        return torch.stft(signals, scale.n_fft, scale.hop, scale.window, window, return_complex=True)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Return frames of the gradient, windowed, overlapped and added, with the reflected ends folded back."""
        scale, n_samples, half = ctx.scale, ctx.n_samples, ctx.scale.n_fft // 2
        # The inverse counts all bins twice except for the first and the last, and divides by their number.
        factors = torch.full((half + 1, 1), scale.n_fft / 2, dtype=gradient.real.dtype, device=gradient.device)
        factors[[0, -1]] *= 2
        edge = (scale.n_fft - scale.window) // 2
        frames = torch.fft.irfft(gradient * factors, scale.n_fft, dim=1)[:, edge : edge + scale.window]
        window = torch.hann_window(scale.window, dtype=frames.dtype, device=frames.device)
        length = (frames.shape[2] - 1) * scale.hop + scale.window
        added = fold(frames * window[:, None], (1, length), (1, scale.window), stride=(1, scale.hop))[:, 0, 0]
        padded = pad(added, (edge, n_samples + 2 * half - length - edge))
        found = padded[:, half : half + n_samples].clone()
        found[:, 1 : half + 1] += padded[:, :half].flip(1)
        found[:, n_samples - half - 1 : n_samples - 1] += padded[:, half + n_samples :].flip(1)
        return found, None


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
