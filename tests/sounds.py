"""Sounds made for tests."""

import math
import os
from typing import Any

import torch
from torch import Tensor

from ddaudio.fitting.result import FitResult
from ddaudio.fitting.run import fit
from ddaudio.io.audio import Recording
from ddaudio.options import FitOptions

RATE = 8000


def tones(hz: list[float], amplitude: list[float], phase: list[float], seconds: float, rate: int = RATE) -> Tensor:
    """Return ``sum_k amplitude_k cos(2 pi hz_k t + phase_k)``, ``[1, T]`` float32."""
    times = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    parts = [a * torch.cos(2 * math.pi * f * times + p) for f, a, p in zip(hz, amplitude, phase, strict=True)]
    return torch.stack(parts).sum(0, keepdim=True).float()


def noise(seconds: float, channels: int = 1, seed: int = 0, rate: int = RATE) -> Tensor:
    """Return white noise of RMS 0.1, ``[channels, T]``."""
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(channels, round(seconds * rate), generator=generator)


def pluck(seconds: float = 0.5, rate: int = RATE) -> Recording:
    """Return a decaying harmonic sound in a little noise: something to train on."""
    times = torch.arange(round(seconds * rate)) / rate
    sound = tones([220.0 * k for k in range(1, 8)], [0.3 / k for k in range(1, 8)], [0.0] * 7, seconds, rate)
    return Recording(sound * torch.exp(-6 * times) + 0.02 * noise(seconds, rate=rate), rate, "pluck.wav")


def fit_waves(recording: Recording | str | os.PathLike[str], options: FitOptions | None = None, **settings: Any) -> FitResult:
    """Fit as `ddaudio.fit` does, by default with partials alone, which most tests are about."""
    if options is None:
        settings.setdefault("model", "sine")
    return fit(recording, options, **settings)
