"""The multi-resolution STFT distance with the settings and formula of auraloss, for recordings of any length.

Spectrograms are computed in blocks, with reflection only at the ends of the recording. In contrast to auraloss, phases are not
computed, which takes most of its time, and silent targets do not give huge values.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from ddaudio.io.samples import Samples
from ddaudio.io.spectra import Frames
from ddaudio.metrics.signals import QUIET, Metric, SignalPair, defined

_BLOCK_SAMPLES = 2**17  # of all channels together: 3 s of mono at 44.1 kHz


def mr_stft(pair: SignalPair) -> Metric:
    """Return the multi-resolution STFT distance of a pair, or why it is undefined."""
    distance = multi_resolution_distance(pair.estimate, pair.target)
    return Metric(None, QUIET) if distance is None else defined(distance)


def multi_resolution_distance(estimate: Samples, target: Samples) -> float | None:
    """Return the multi-resolution STFT distance as auraloss's `MultiResolutionSTFTLoss` defines it, with its defaults.

    Args:
        estimate: ``[C, T]``, channels pooled; signals shorter than the longest FFT are padded with zeros.
        target: Of the same shape.

    Returns:
        The mean over three FFT sizes of spectral convergence plus mean absolute difference of log magnitudes, at least
        0; not finite if the signals are not; None if the target is below auraloss's floor everywhere.

    """
    from auraloss.freq import MultiResolutionSTFTLoss  # type: ignore[import-untyped]  # noqa: PLC0415 - slow to import

    resolutions = MultiResolutionSTFTLoss().stft_losses
    if (missing := max(resolution.fft_size for resolution in resolutions) - target.shape[1]) > 0:
        estimate, target = pad(estimate[:, :], (0, missing)), pad(target[:, :], (0, missing))
    distances = [_distance(estimate, target, resolution) for resolution in resolutions]
    defined = [distance for distance in distances if distance is not None]
    return sum(defined) / len(defined) if len(defined) == len(distances) else None


def _distance(estimate: Samples, target: Samples, resolution: Any) -> float | None:
    """Return auraloss's ``STFTLoss`` with its default weights; None if the target is below its floor."""
    error = energy = logarithms = 0.0
    count = 0
    for part, wanted in _spectrograms(estimate, target, resolution):
        error += float((wanted - part).square().sum(dtype=torch.float64))
        energy += float(wanted.square().sum(dtype=torch.float64))
        logarithms += float((part.log() - wanted.log()).abs().sum(dtype=torch.float64))
        count += wanted.numel()
    if energy <= count * resolution.eps * (1.0 + 1e-6):
        return None
    return math.sqrt(error / energy) + logarithms / count


def _spectrograms(estimate: Samples, target: Samples, resolution: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield auraloss's floored magnitudes of both signals in blocks of frames, each frame once."""
    n_fft, hop = resolution.fft_size, resolution.hop_size
    channels, n_samples = target.shape
    frames = Frames(n_fft, hop, n_samples // hop + 1, first_sample=-(n_fft // 2), edge="reflect")
    step, least = max(1, _BLOCK_SAMPLES // (channels * hop)), math.sqrt(resolution.eps)
    for part, wanted in zip(*(frames.spectra(signal, resolution.window, step) for signal in (estimate, target)), strict=True):
        yield part.abs().clamp(min=least), wanted.abs().clamp(min=least)
