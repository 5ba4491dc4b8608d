"""Multi-scale spectral losses: a time-frequency representation of each signal, and a distance between two of them.

A representation is ``[B, bins, frames]``, a distance ``[B]``; a loss is the mean of the distances over its scales.
"""

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from ddaudio.losses.base import Loss, StepInfo
from ddaudio.losses.curvature import Curvature, Magnitudes, pooled
from ddaudio.losses.stft import Resolution, magnitudes, mel_filters, powers, spectrum

MSS_DEFAULT = (Resolution(1024, 120, 600), Resolution(2048, 240, 1200), Resolution(512, 50, 240))
"""The default scales of auraloss (Yamamoto, Song and Kim, 2020, Parallel WaveGAN, table 1)."""
DDSP_SCALES = tuple(Resolution(size, size // 4, size) for size in (2048, 1024, 512, 256, 128, 64))
"""The scales of DDSP (Engel et al., 2020, DDSP: differentiable digital signal processing), with hops of a quarter window."""
SMOOTH_FLOOR = 0.03
"""Transition of ``smooth`` from power to its logarithm, relative to white noise of level 1: 30 dB below it."""
SMALLEST_CHANGE = 0.1
"""Differences below this share of a magnitude, or of their norm below this share of the target's, have the curvature of it."""
AGREEMENT_FLOOR = 1e-4
"""Products of magnitudes well below this have undefined phase; for white noise of level 1 they are 200 and more."""

Picture = Callable[[Tensor, Resolution], Tensor]
Distance = Callable[[Tensor, Tensor], Tensor]
Weighing = Callable[[Tensor, Tensor, Resolution], Tensor]
"""Weights of the curvature, ``[B, bins, frames]``, from representations of estimate and target, and their scale.

With the weight ``w`` of a bin, the parabola ``w (m - Y)^2 / 2`` has the slope of the distance at the estimate's magnitude ``X``,
and its minimum at the target's ``Y``."""


class Spectral(Loss):
    """The mean over scales of a distance between spectral representations."""

    on_crops: ClassVar[bool] = True

    def __init__(
        self,
        picture: Picture,
        between: Distance,
        resolutions: Sequence[Resolution] = MSS_DEFAULT,
        weighing: Weighing | None = None,
    ) -> None:
        self.picture, self.between, self.resolutions, self.weighing = picture, between, resolutions, weighing

    def prepare(self, target: Tensor) -> list[Tensor]:
        """Return the target's representations."""
        return [self.picture(target, resolution) for resolution in self.resolutions]

    def distance(self, estimate: Tensor, prepared: Sequence[Tensor], moment: StepInfo | None) -> Tensor:  # noqa: ARG002
        """Return the loss of each signal against the prepared target."""
        pairs = zip(self.resolutions, prepared, strict=True)
        return torch.stack([self.between(self.picture(estimate, scale), wanted) for scale, wanted in pairs]).mean(0)

    def expand(self, estimate: Tensor, prepared: Sequence[Tensor]) -> tuple[Tensor, Curvature]:
        """Return the loss and its curvature, with the weights of all scales on one short-time spectrum."""
        if self.weighing is None:
            return super().expand(estimate, prepared)
        values, weights = [], []
        for scale, wanted in zip(self.resolutions, prepared, strict=True):
            found = self.picture(estimate, scale)
            values.append(self.between(found, wanted))
            # Energy of a Hann window, bins and frames: see `pooled`.
            energy = 0.375 * scale.window * scale.n_fft / scale.hop / len(self.resolutions)
            weights.append((self.weighing(found.detach(), wanted, scale), energy))
        return torch.stack(values).mean(0), Magnitudes(pooled(weights, estimate.shape[-1]), estimate.detach())


def convergence_and_log(found: Tensor, wanted: Tensor) -> Tensor:
    """Return spectral convergence ``|Y - X|_F / |Y|_F`` plus the mean of ``|log Y - log X|``, for magnitudes X and Y, ``[B]``.

    Arik, Jun and Diamos, 2019, Fast spectrogram inversion; Yamamoto, Song and Kim, 2020, Parallel WaveGAN.
    """
    # The floor keeps the norm of a silent target above zero, and 1 bounds the ratio for it; the norm of a difference has no
    # gradient where the two are equal, hence the tiny addend.
    difference = ((wanted - found).square().sum((1, 2)) + 1e-16).sqrt()
    convergence = difference / wanted.square().sum((1, 2)).sqrt().clamp(min=1.0)
    return convergence + (found / wanted).log().abs().mean((1, 2))


def weigh_convergence_and_log(found: Tensor, wanted: Tensor, _: Resolution) -> Tensor:
    """Return the weights of `convergence_and_log`."""
    norm = wanted.square().sum((1, 2), keepdim=True).sqrt().clamp(min=1.0)
    difference = (wanted - found).square().sum((1, 2), keepdim=True).sqrt()
    return 1 / (norm * torch.maximum(difference, SMALLEST_CHANGE * norm)) + _weigh_log(found, wanted)


def _weigh_log(found: Tensor, wanted: Tensor) -> Tensor:
    """Return the weights of the mean of ``|log Y - log X|``."""
    return 1 / (found * _difference(found, wanted)) / found[0].numel()


def _difference(found: Tensor, wanted: Tensor) -> Tensor:
    """Return ``|Y - X|``, at least a share of ``X``."""
    return torch.maximum((wanted - found).abs(), SMALLEST_CHANGE * found)


def weigh_linear_and_log(found: Tensor, wanted: Tensor, _: Resolution) -> Tensor:
    """Return the weights of `linear_and_log`."""
    return 1 / _difference(found, wanted) / found[0].numel() + _weigh_log(found, wanted)


def weigh_compressed(found: Tensor, wanted: Tensor, resolution: Resolution) -> Tensor:
    """Return the weights of `squared` for `compressed` magnitudes."""
    knee = _knee(resolution)
    power, wanted_power = (knee * torch.expm1(2 * part) for part in (found, wanted))
    slope = power.sqrt() / (knee + power)
    difference = (wanted_power.sqrt() - power.sqrt()).abs()
    # Where both are equal, the ratio is the slope.
    ratio = torch.where(difference > 1e-3 * power.sqrt(), (wanted - found).abs() / difference.clamp(min=1e-12), slope)
    return 2 * slope * ratio / found[0].numel()


def linear_and_log(found: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean of ``|Y - X|`` plus that of ``|log Y - log X|``, for magnitudes X and Y, ``[B]`` (Engel et al., 2020)."""
    return (wanted - found).abs().mean((1, 2)) + (found / wanted).log().abs().mean((1, 2))


def squared(found: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean squared difference, ``[B]``."""
    return (wanted - found).square().mean((1, 2))


def in_time(found: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean absolute difference of the changes from frame to frame, ``[B]``."""
    return (wanted - found).diff(dim=2).abs().mean((1, 2))


def in_frequency(found: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean absolute difference of the changes from bin to bin, ``[B]``."""
    return (wanted - found).diff(dim=1).abs().mean((1, 2))


def compressed(signals: Tensor, resolution: Resolution) -> Tensor:
    """Return ``log(1 + |X|^2 / c^2) / 2``: smooth everywhere, quadratic at low and logarithmic at high levels.

    ``c`` is `SMOOTH_FLOOR` times the root of the window's energy (3/8 of its length for Hann), the same level at all scales.
    """
    return (powers(signals, resolution) / _knee(resolution)).log1p() / 2


def _knee(resolution: Resolution) -> float:
    """Return ``c^2`` of `compressed`."""
    return SMOOTH_FLOOR**2 * 0.375 * resolution.window


def mel_bands(sample_rate: int) -> Picture:
    """Return the representation by magnitudes in mel bands."""

    def picture(signals: Tensor, resolution: Resolution) -> Tensor:
        """Return magnitudes in mel bands, ``[B, bands, frames]``."""
        found = magnitudes(signals, resolution)
        return mel_filters(resolution.n_fft, sample_rate).to(found) @ found

    return picture


def mel(sample_rate: int) -> Spectral:
    """Return the loss `mel` at a sample rate in Hz."""

    def weigh(found: Tensor, wanted: Tensor, resolution: Resolution) -> Tensor:
        """Return weights of the bins, at least as large as those of the bands, by Jensen's inequality."""
        filters = mel_filters(resolution.n_fft, sample_rate).to(found)
        return filters.mT @ (weigh_convergence_and_log(found, wanted, resolution) * filters.sum(1)[:, None])

    return Spectral(mel_bands(sample_rate), convergence_and_log, MSS_DEFAULT, weigh)


def phase_disagreement(found: Tensor, wanted: Tensor) -> Tensor:
    """Return ``1 - cos`` of the phase difference of complex spectra, 0 to 2, weighted by the target's magnitude, ``[B]``.

    The cosine is ``Re(Y conj X) / (|Y| |X| + eps)``; a von Mises likelihood of phase has the same form (Takaki et al., 2018, STFT
    spectral loss for training a neural speech waveform model).
    """
    cosine, weight = _agreement(found, wanted)
    return ((1 - cosine) * weight).sum((1, 2))


def axis_disagreement(found: Tensor, wanted: Tensor) -> Tensor:
    """Return ``sin^2`` of the phase difference of complex spectra, 0 to 1, weighted by the target's magnitude, ``[B]``.

    Opposite phases agree: the sign of partials is ignored.
    """
    cosine, weight = _agreement(found, wanted)
    # Cosines near 1 may be rounded to above 1.
    return ((1 - cosine.square()) * weight).sum((1, 2)).clamp(min=0)


def _agreement(found: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cosine of the phase difference in each bin, and weights of the bins, which sum to 1, or to 0 in silence."""
    # The root of a power has no gradient in silence, hence the tiny addend.
    size, loudness = ((part.real.square() + part.imag.square() + 1e-20).sqrt() for part in (found, wanted))
    product = found.real * wanted.real + found.imag * wanted.imag
    weight = loudness / loudness.sum((1, 2), keepdim=True).clamp(min=1e-6)
    return product / (loudness * size + AGREEMENT_FLOOR), weight


def mss(estimate: Tensor, target: Tensor, resolutions: Sequence[Resolution] = MSS_DEFAULT) -> Tensor:
    """Return the multi-scale spectrogram loss of each signal, ``[B]``: the mean over scales of `convergence_and_log`.

    There is no gradient below the floor: a silent estimate stays silent if this is the only term.
    """
    return Spectral(magnitudes, convergence_and_log, resolutions)(estimate, target)


PRESETS = {
    "default": Spectral(magnitudes, convergence_and_log, MSS_DEFAULT, weigh_convergence_and_log),
    "ddsp": Spectral(magnitudes, linear_and_log, DDSP_SCALES, weigh_linear_and_log),
    "smooth": Spectral(compressed, squared, DDSP_SCALES, weigh_compressed),
}
"""The presets of ``mss``."""
DELTA_TIME = Spectral(magnitudes, in_time, DDSP_SCALES)
"""DDSP's term ``delta_time`` on changes of magnitudes from frame to frame (SpectralLoss in ddsp/losses.py)."""
DELTA_FREQUENCY = Spectral(magnitudes, in_frequency, DDSP_SCALES)
"""DDSP's term ``delta_freq`` on changes of magnitudes from bin to bin (SpectralLoss in ddsp/losses.py)."""
PHASE = Spectral(spectrum, phase_disagreement)
"""Phase agreement."""
AXIS = Spectral(spectrum, axis_disagreement)
"""Axis agreement: phase up to sign."""
