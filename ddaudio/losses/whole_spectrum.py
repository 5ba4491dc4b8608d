"""Losses on the discrete Fourier transform (DFT) of the whole signal, without windows.

With the spectra ``X`` and ``Y`` of estimate and target of ``T`` samples, over all ``T`` bins ``k``:

- ``magnitude``: ``sum_k (|X_k| - |Y_k|)^2 / T^2``, insensitive to phase and to delay,
- ``complex``: ``sum_k |X_k - Y_k|^2 / T^2``, which by Parseval's theorem is the mean squared error,
- ``log``: ``mean_k (log|X_k| - log|Y_k|)^2``, of ``|X_k|^2 / T + FLOOR^2``.

Losses of this kind are the baseline of Hayes, Saitis and Fazekas (2023, Sinusoidal frequency estimation by gradient descent,
ICASSP).
"""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool1d

from ddaudio.losses.base import Loss, StepInfo
from ddaudio.losses.curvature import BINS, Curvature, Differences

FLOOR = 1e-3
"""Magnitudes well below it count as equal in ``log``; of white noise of level 1 they are 1."""
SMALLEST_CHANGE = 0.01
"""Differences below this share of a magnitude have the curvature of it."""


class SpectrumMagnitudes(Curvature):
    """``F' u W Re(conj(u) F)``: weights on changes of magnitudes of the DFT ``F``, with the phases ``u``.

    Args:
        weight: of each bin from 0 to Nyquist, 0 or more, ``[B, T // 2 + 1]``; bins beyond have the same.
        spectrum: whose phases are taken, of the same shape.
        n_samples: ``T``.

    """

    def __init__(self, weight: Tensor, spectrum: Tensor, n_samples: int) -> None:
        self.weight, self.n_samples = weight, n_samples
        self.turned = spectrum / (spectrum.abs() + 1e-20) * (weight * n_samples).sqrt()

    def product(self, change: Tensor) -> Tensor:
        """Return the product with a change of the signals."""
        spectrum = torch.fft.rfft(change)
        along = spectrum.real * self.turned.real + spectrum.imag * self.turned.imag
        found: Tensor = torch.fft.irfft(along * self.turned, self.n_samples)
        return found

    def levels(self) -> Tensor:
        """Return the weights times the energy of a bin; half of it changes the magnitude, half the phase."""
        return adaptive_avg_pool1d(self.weight[:, None], BINS)[:, 0, :, None] * (self.n_samples / 2)


class WholeSpectrum(Loss):
    """The loss ``dft``: squared differences of the spectra of whole signals, by name: ``magnitude``, ``complex`` or ``log``."""

    on_crops: ClassVar[bool] = True

    def __init__(self, part: str) -> None:
        self.part = part

    def prepare(self, target: Tensor) -> Sequence[Tensor]:
        """Return the target's spectrum in the form that is compared."""
        return [self._image(torch.fft.rfft(target), target.shape[-1])]

    def distance(self, estimate: Tensor, prepared: Sequence[Tensor], moment: StepInfo | None) -> Tensor:  # noqa: ARG002
        """Return the loss of each signal, ``[B]``."""
        n_samples = estimate.shape[-1]
        error = self._image(torch.fft.rfft(estimate), n_samples) - prepared[0]
        square = error.real.square() + error.imag.square() if error.is_complex() else error.square()
        return (square * _counts(n_samples).to(square)).sum(-1) / n_samples

    def filter(self, n_samples: int) -> Differences | None:
        """Return the curvature of ``complex``, that of the mean squared error."""
        return Differences({0: 2 / n_samples}) if self.part == "complex" else None

    def expand(self, estimate: Tensor, prepared: Sequence[Tensor]) -> tuple[Tensor, Curvature]:
        """Return the loss, and its curvature: of parabolas with its slope, and their minimum at the target's magnitude."""
        if self.part == "complex":
            return super().expand(estimate, prepared)
        n_samples = estimate.shape[-1]
        spectrum = torch.fft.rfft(estimate.detach())
        weight = torch.full_like(spectrum.real, 2 / n_samples**2)
        if self.part == "log":
            logs, wanted = self._image(spectrum, n_samples), prepared[0]
            size, other = (torch.expm1(2 * (part - math.log(FLOOR))).clamp(min=0).sqrt() * FLOOR for part in (logs, wanted))
            slope = size / (size.square() + FLOOR**2)
            difference = (size - other).abs()
            ratio = torch.where(difference > SMALLEST_CHANGE * size, (logs - wanted).abs() / difference.clamp(min=1e-12), slope)
            weight = weight * slope * ratio
        return self.distance(estimate, prepared, None), SpectrumMagnitudes(weight, spectrum, n_samples)

    def _image(self, spectrum: Tensor, n_samples: int) -> Tensor:
        """Return what is compared, with white noise of level 1 at 1 in each bin."""
        if self.part == "complex":
            return spectrum / math.sqrt(n_samples)
        power = (spectrum.real.square() + spectrum.imag.square()) / n_samples
        if self.part == "log":
            return (power + FLOOR**2).log() / 2
        # A root has no gradient at 0, hence the tiny addend.
        return (power + 1e-20).sqrt()


def _counts(n_samples: int) -> Tensor:
    """Return how many of all bins each bin from 0 to Nyquist stands for, ``[T // 2 + 1]``: 1 or 2."""
    counts = torch.full((n_samples // 2 + 1,), 2.0)
    counts[0] = 1
    if n_samples % 2 == 0:
        counts[-1] = 1
    return counts
