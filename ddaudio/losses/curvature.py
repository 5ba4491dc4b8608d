"""Curvatures of losses, for Gauss-Newton steps.

The curvature of a loss near an estimate is a symmetric, positive semidefinite linear map ``H`` of signals ``[B, T]``, so that

    loss(estimate + c) ~ loss(estimate) + gradient . c + c . H c / 2

is a model of the loss that a step minimises. Of a loss that is quadratic in the error it is the exact second derivative, at all
estimates. Of absolute values it is that of the parabola that touches them from above and has the same minimum (iteratively
reweighted least squares), of spectral magnitudes that of a parabola with the same slope and minimum in each bin.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool1d, fold, pad

WINDOW, HOP = 512, 256
"""Window and hop in samples of the short-time spectra of `Magnitudes`, and of the cells of `Curvature.levels`."""
PHASE_SHARE = 0.3
"""Weight of changes of phase relative to those of magnitude in `Magnitudes`."""
BINS = WINDOW // 2 + 1
"""Frequencies of such a spectrum, equally spaced from 0 to Nyquist."""


class Curvature(ABC):
    """Symmetric, positive semidefinite linear map of signals ``[B, T]``."""

    @abstractmethod
    def product(self, change: Tensor) -> Tensor:
        """Return the product with a change of the signals, ``[B, T]``."""

    @abstractmethod
    def levels(self) -> Tensor:
        """Return ``c . H c / c . c`` for waves ``c`` in cells of frequency and time, ``[B, F, N]``.

        ``F`` is `BINS`, from 0 to Nyquist, and ``N`` is `n_cells`, cell ``k`` with its middle at sample ``k HOP``. Axes along
        which it is constant may have length 1.
        """


class Differences(Curvature):
    """``sum_d D_d' W_d D_d`` with differences ``(D_d e)[n] = e[n + d] - e[n]``, the error itself for lag 0.

    Args:
        weights: by lag in samples: a number (then it is a filter), or a weight of each difference, ``[B, T - d]``.

    """

    def __init__(self, weights: Mapping[int, float | Tensor]) -> None:
        self.weights = dict(weights)
        self._kept: Tensor | None = None

    def product(self, change: Tensor) -> Tensor:
        """Return the product with a change of the signals; lags without any pair are ignored."""
        found = self._diagonal(change.shape[-1]).to(change) * change
        for lag, weight in self.weights.items():
            if 0 < lag < change.shape[-1] and not isinstance(weight, Tensor):
                found[..., lag:].sub_(change[..., :-lag], alpha=weight)
                found[..., :-lag].sub_(change[..., lag:], alpha=weight)
            elif 0 < lag < change.shape[-1]:
                step = (change[..., lag:] - change[..., :-lag]) * weight
                found[..., lag:] += step
                found[..., :-lag] -= step
        return found

    def _diagonal(self, n_samples: int) -> Tensor:
        """Return the weights of the error itself, and of filters on the diagonal, ``[T]`` or ``[B, T]``; kept for a length."""
        if self._kept is None or self._kept.shape[-1] != n_samples:
            own = self.weights.get(0, 0.0)
            total = own if isinstance(own, Tensor) else torch.full((n_samples,), own, dtype=torch.float64)
            for lag, weight in self.weights.items():
                if 0 < lag < n_samples and not isinstance(weight, Tensor):
                    total = total.clone()
                    total[..., lag:] += weight
                    total[..., :-lag] += weight
            self._kept = total
        return self._kept

    def response(self, frequency: Tensor) -> Tensor:
        """Return the power response at frequencies in radians per sample; only for weights that are numbers."""
        found = torch.zeros_like(frequency)
        for lag, weight in self.weights.items():
            found = found + weight * _power(frequency, lag)
        return found

    def levels(self) -> Tensor:
        """Return the power responses, weighted by the mean weight in each interval of time."""
        frequency = torch.linspace(0, math.pi, BINS)
        parts = []
        for lag, weight in self.weights.items():
            power = _power(frequency, lag).view(1, -1, 1) if lag else torch.ones(1, 1, 1)
            parts.append(power * (_means(weight, lag)[:, None] if isinstance(weight, Tensor) else weight))
        return sum(parts[1:], parts[0]) if parts else torch.zeros(1, 1, 1)

    def mean_response(self) -> float:
        """Return the mean of the power response over all frequencies; only for weights that are numbers."""
        return sum(float(weight) * (2 if lag else 1) for lag, weight in self.weights.items())

    def scaled(self, factor: float) -> "Differences":
        """Return the curvature times a factor."""
        return Differences({lag: factor * weight for lag, weight in self.weights.items()})


def _power(frequency: Tensor, lag: int) -> Tensor:
    """Return the power response of a difference, ``4 sin^2(w d / 2)``; 1 for lag 0."""
    return 4 * torch.sin(frequency * (lag / 2)).square() if lag else torch.ones_like(frequency)


def _means(weight: Tensor, lag: int) -> Tensor:
    """Return the means ``[B, N]`` of weights ``[B, T - d]`` within a window around each cell."""
    n_samples = weight.shape[-1] + lag
    padded = pad(weight[:, None], (0, (n_cells(n_samples) - 1) * HOP - weight.shape[-1]))
    return avg_pool1d(padded, WINDOW, HOP, padding=HOP, count_include_pad=False)[:, 0]


class Centred(Curvature):
    """``weight (I - 1 1' / T)``: of the variance of the error, which ignores its mean."""

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def product(self, change: Tensor) -> Tensor:
        """Return the product with a change of the signals."""
        return self.weight * (change - change.mean(-1, keepdim=True))

    def levels(self) -> Tensor:
        """Return the weight."""
        return torch.full((1, 1, 1), self.weight)


class PairWeights(Curvature):
    """``sum_(i<j) w_|i-j| (e_i - e_j)^2``, as a quadratic form, by FFT.

    Args:
        weights: of each lag from 1, ``[T - 1]`` float64.

    """

    def __init__(self, weights: Tensor) -> None:
        self.n_samples = weights.numel() + 1
        self.size = 1 << (2 * self.n_samples - 1).bit_length()
        before = pad(weights.cumsum(0), (1, 0))
        self.own = before + before.flip(0)
        kernel = torch.cat(
            [weights.new_zeros(1), weights, weights.new_zeros(self.size - 2 * self.n_samples + 1), weights.flip(0)]
        )
        self.spectrum = torch.fft.rfft(kernel)

    def product(self, change: Tensor) -> Tensor:
        """Return the product with a change of the signals."""
        precise = change.double()
        blurred: Tensor = torch.fft.irfft(torch.fft.rfft(precise, self.size) * self.spectrum, self.size)[..., : self.n_samples]
        return (self.own * precise - blurred).to(change)

    def levels(self) -> Tensor:
        """Return the mean weight of the samples; at most frequencies other samples count little."""
        return self.own.mean().float().view(1, 1, 1)


class Magnitudes(Curvature):
    """``(1 - p) S' u W Re(conj(u) S) + p S' W S``: weights on changes of magnitudes of a short-time spectrum ``S``.

    With the phases ``u``, the magnitude of a bin changes by ``Re(conj(u) dX)``. Changes of phase cost a share ``p`` of this,
    `PHASE_SHARE`, which keeps steps where the phases still hold: those of ``mss:smooth`` alone end lower for it, and nearer to
    the waveform. The window is a sine of `WINDOW` samples, whose squares sum to one.

    Args:
        weight: of each bin, 0 or more, ``[B, F, N]``.
        signals: where the phases are taken, ``[B, T]``.

    """

    def __init__(self, weight: Tensor, signals: Tensor) -> None:
        spectrum = _spectrum(signals)
        self.weight = weight
        self.turned = spectrum / (spectrum.abs() + 1e-20) * ((1 - PHASE_SHARE) * weight).sqrt()
        self.plain = PHASE_SHARE * weight

    def product(self, change: Tensor) -> Tensor:
        """Return the product with a change of the signals."""
        spectrum = _spectrum(change)
        along = spectrum.real * self.turned.real + spectrum.imag * self.turned.imag
        return _adjoint(along * self.turned + self.plain * spectrum, change.shape[-1])

    def levels(self) -> Tensor:
        """Return the weights times the energy of a bin; half of it changes the magnitude, half the phase."""
        return self.weight * (WINDOW / 4 * (1 + PHASE_SHARE))


def pooled(weights: Sequence[tuple[Tensor, float]], n_samples: int) -> Tensor:
    """Return the weights of a short-time spectrum of `Magnitudes` that are equivalent to those of other spectra, ``[B, F, N]``.

    Within a cell weights are averaged by their square roots: those of quiet bins, which exceed others by decades, count less.

    Args:
        weights: of the bins of each spectrum, ``[B, bins, frames]``, with its ``window energy * n_fft / hop``: the energy in
            all of its bins of a signal of unit power, for each sample and twice.
        n_samples: length of the signals.

    """
    size = BINS, n_cells(n_samples)
    parts = [adaptive_avg_pool2d(weight[:, None].sqrt(), size)[:, 0].square() * (energy / WINDOW) for weight, energy in weights]
    return sum(parts[1:], parts[0])


def n_cells(n_samples: int) -> int:
    """Return the number of cells of time, or of frames of `Magnitudes`, of signals of some length."""
    return math.ceil(n_samples / HOP) + 1


@lru_cache(maxsize=2)
def _window(dtype: torch.dtype) -> Tensor:
    return torch.sin(math.pi * (torch.arange(WINDOW, dtype=torch.float64) + 0.5) / WINDOW).to(dtype)


def _spectrum(signals: Tensor) -> Tensor:
    """Return the short-time spectrum, ``[B, F, N]``."""
    n_samples = signals.shape[-1]
    padded = pad(signals, (HOP, n_cells(n_samples) * HOP - n_samples))
    frames: Tensor = torch.fft.rfft(padded.unfold(-1, WINDOW, HOP) * _window(signals.dtype))
    return frames.transpose(1, 2)


def _adjoint(spectrum: Tensor, n_samples: int) -> Tensor:
    """Return the adjoint of `_spectrum` with respect to real products, ``[B, n_samples]``."""
    halved = spectrum.transpose(1, 2) * (WINDOW / 2)
    halved[..., [0, -1]] *= 2
    frames = torch.fft.irfft(halved, WINDOW) * _window(spectrum.real.dtype)
    total = (n_cells(n_samples) + 1) * HOP
    added = fold(frames.transpose(1, 2), (1, total), (1, WINDOW), stride=(1, HOP))
    return added[:, 0, 0, HOP : HOP + n_samples]


class Part(NamedTuple):
    """A curvature of some samples of the signals."""

    factor: float
    curvature: Curvature
    first: int
    last: int
    """First sample, and the end."""


class Total(Curvature):
    """The weighted sum of curvatures, each of some samples of signals ``[B, T]``.

    Args:
        parts: the curvatures.
        n_samples: length of the signals.

    """

    def __init__(self, parts: Sequence[Part], n_samples: int) -> None:
        self.parts, self.n_samples = list(parts), n_samples

    def product(self, change: Tensor) -> Tensor:
        """Return the product with a change of the signals."""
        found = torch.zeros_like(change)
        for factor, curvature, first, last in self.parts:
            found[:, first:last].add_(curvature.product(change[:, first:last]), alpha=factor)
        return found

    def levels(self) -> Tensor:
        """Return the sum of the levels."""
        found = torch.zeros(1, 1, 1)
        for factor, curvature, first, last in self.parts:
            own = factor * curvature.levels()
            if (first, last) != (0, self.n_samples):
                begin, count = round(first / HOP), n_cells(self.n_samples)
                own = own.expand(-1, -1, n_cells(last - first))[..., : count - begin]
                own = pad(own, (begin, count - begin - own.shape[-1]))
            found = found + own
        return found
