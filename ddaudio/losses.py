"""Losses: how far an estimate is from its target, one value per signal.

A loss maps ``estimate, target [B, T]`` to ``[B]``, finite and with a finite gradient on silence, on a constant and on a
single sample. `Objective` adds named terms up with their weights, and is what the trainer minimises.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import pad

NEAR_LAGS = (1, 2, 4, 8, 16, 32, 64)
"""The lags of ``pdl``, in samples."""
MAGNITUDE_FLOOR = 1e-4
"""Magnitudes below this count as this: the square root of auraloss's eps."""
QUIETEST_LEVEL = 1e-12
"""A target quieter than this is not scaled up any further: float32 would overflow."""
LONGEST_CROPS_S = 12.0
"""Spectral terms of the judge look at crops of this length in all, at most."""


def mse(estimate: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error of each signal, ``[B]``."""
    return (estimate - target).square().mean(-1)


def mae(estimate: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute error of each signal, ``[B]``."""
    return (estimate - target).abs().mean(-1)


def pdl(estimate: Tensor, target: Tensor, lags: tuple[int, ...] = NEAR_LAGS) -> Tensor:
    """Return the proximal difference loss of each signal, ``[B]``.

    With ``e = estimate - target``: ``mean_d mean_n (e[n + d] - e[n])^2`` over the lags ``d``. A difference at lag ``d``
    is a filter with the power response ``4 sin^2(pi f d / sample_rate)``: small lags stress high frequencies, and a
    constant offset costs nothing. A lag without a pair, in a signal that is too short, counts zero.
    """
    error = estimate - target
    terms = [(error[..., lag:] - error[..., :-lag]).square().mean(-1) for lag in lags if lag < error.shape[-1]]
    return torch.stack(terms).sum(0) / len(lags) if terms else (error * 0).sum(-1)


@dataclass(frozen=True)
class Resolution:
    """One scale of a spectrogram: lengths in samples, a Hann window."""

    n_fft: int
    hop: int
    window: int


MSS_DEFAULT = (Resolution(1024, 120, 600), Resolution(2048, 240, 1200), Resolution(512, 50, 240))
"""The scales that auraloss takes as its defaults (Yamamoto, Song and Kim, 2020, Parallel WaveGAN, table 1)."""


def magnitudes(signals: Tensor, resolution: Resolution) -> Tensor:
    """Return the magnitude spectrogram ``[B, bins, frames]`` of ``signals [B, T]``, floored at `MAGNITUDE_FLOOR`."""
    # Reflecting at the ends needs more samples than half a window: shorter signals get silence behind them.
    signals = pad(signals, (0, max(0, resolution.n_fft - signals.shape[-1])))
    window = torch.hann_window(resolution.window, dtype=signals.dtype, device=signals.device)
    spectrum = torch.stft(signals, resolution.n_fft, resolution.hop, resolution.window, window, return_complex=True)
    return (spectrum.real.square() + spectrum.imag.square()).clamp(min=MAGNITUDE_FLOOR**2).sqrt()


def mss(estimate: Tensor, target: Tensor, resolutions: tuple[Resolution, ...] = MSS_DEFAULT) -> Tensor:
    """Return the multi-scale spectrogram loss of each signal, ``[B]``.

    The mean over scales of spectral convergence ``|Y - X|_F / |Y|_F`` and the mean of ``|log Y - log X|`` between
    magnitudes ``Y`` of the target and ``X`` of the estimate (Arik, Jun and Diamos, 2019; Yamamoto et al., 2020). Below the
    floor there is no gradient: a silent estimate stays silent if this is the only term.
    """
    return spectral_distance(estimate, [magnitudes(target, resolution) for resolution in resolutions], resolutions)


def spectral_distance(estimate: Tensor, spectra: list[Tensor], resolutions: tuple[Resolution, ...]) -> Tensor:
    """Return `mss` for a target whose ``magnitudes`` at each resolution are given."""
    total = estimate.new_zeros(estimate.shape[0])
    for resolution, wanted in zip(resolutions, spectra, strict=True):
        found = magnitudes(estimate, resolution)
        # The floor keeps every magnitude, and so the norm of a silent target, above zero; the norm of a difference
        # has no gradient where the two are equal, hence the tiny addend.
        difference = ((wanted - found).square().sum((1, 2)) + 1e-16).sqrt()
        convergence = difference / wanted.square().sum((1, 2)).sqrt().clamp(min=1.0)
        total = total + convergence + (wanted.log() - found.log()).abs().mean((1, 2))
    return total / len(resolutions)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mae": mae, "mse": mse, "mss": mss, "pdl": pdl}
"""Every loss by its name."""
SPECTRAL = frozenset({"mss"})
"""Losses that cost a spectrogram: trained on crops, judged on a fixed set of crops."""


class Objective:
    """Named terms with weights, for one target.

    Signals are divided by the target's level (root mean square, one for all signals of the recording) first, so that
    weights mean the same for a quiet and a loud recording; ``mse`` then is the noise-to-signal ratio. Training draws from
    all crops; the target's spectra on those that the judge looks at are computed once.

    Args:
        terms: weight of each loss, by name.
        target: what was recorded, ``[B, T]``.
        crop_samples: length of the crops that spectral terms look at; crops are contiguous, side by side.
        most_crops: how many crops the judge looks at, spread evenly over the recording.

    """

    def __init__(self, terms: Mapping[str, float], target: Tensor, crop_samples: int, most_crops: int) -> None:
        level = float(target.double().square().mean().sqrt())
        self.scale = 1 / max(level, QUIETEST_LEVEL) if level > 0 else 1.0
        self.terms = dict(terms)
        self.target = target * self.scale
        n_samples = target.shape[-1]
        count = max(1, round(n_samples / crop_samples))
        edges = [round(index * n_samples / count) for index in range(count + 1)]
        crops = list(pairwise(edges))
        looked_at = min(count, most_crops)
        picked = [round(index * (count - 1) / max(1, looked_at - 1)) for index in range(looked_at)]
        self.crops = crops
        self.judged = picked
        self._spectra: dict[int, list[Tensor]] = {}

    def __call__(self, estimate: Tensor, crop: int | None = None) -> dict[str, Tensor]:
        """Return each term's weighted mean over signals; spectral terms on one crop, or on those that are judged."""
        estimate = estimate * self.scale
        values = {}
        for name, weight in self.terms.items():
            if name in SPECTRAL:
                chosen = self.judged if crop is None else [crop]
                value = torch.stack([self._on_crop(estimate, index) for index in chosen]).mean()
            else:
                value = LOSSES[name](estimate, self.target).mean()
            values[name] = weight * value
        return values

    @torch.no_grad()
    def judge(self, estimate: Tensor) -> dict[str, float]:
        """Return the terms on all that the judge looks at: the same every time, whatever the training looks at."""
        return {name: float(value) for name, value in self(estimate).items()}

    def _on_crop(self, estimate: Tensor, index: int) -> Tensor:
        first, last = self.crops[index]
        spectra = self._spectra.get(index)
        if spectra is None:
            spectra = [magnitudes(self.target[:, first:last], resolution) for resolution in MSS_DEFAULT]
            if index in self.judged:
                self._spectra[index] = spectra
        return spectral_distance(estimate[:, first:last], spectra, MSS_DEFAULT).mean()
