"""Losses of waves and noise together, on the power that is to be expected of both.

A realisation of the noise would add its own scatter to losses and gradients. Losses of absolute differences are least at the
median of what is random: that of the power of Gaussian noise is ``ln 2`` of its mean, which is therefore what is expected.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from ddaudio.losses.spectral import MSS_DEFAULT, convergence_and_log
from ddaudio.losses.stft import MAGNITUDE_FLOOR, Resolution, mel_filters, powers
from ddaudio.models.noise.expectation import ExpectedDensity, LevelsAtBins
from ddaudio.models.noise.grid import STEP_S
from ddaudio.models.noise.network import NoiseNetwork
from ddaudio.options.noise import NoiseLossName

MEDIAN_SHARE = math.log(2)
"""Median of an exponentially distributed power, relative to its mean."""
AUDIBLE_DB, FLOOR_DB = 50.0, 65.0
"""Nodes this far below the loudest are not compared, and powers this far below it count as silence; as in the ERB distance."""


class ExpectedLoss(ABC):
    """A loss ``waves [C, T], layer -> []`` for one target; differentiable by both.

    Args:
        target: the recording, ``[C, T]``.
        layer: the noise whose grid is used.

    """

    def __init__(self, target: Tensor, layer: NoiseNetwork) -> None:
        self.grid, self.target = layer.grid, target
        self._means = target.double().mean(1)
        step = self.grid.chunk_intervals * STEP_S * self.grid.sample_rate
        begins = [round(chunk * step) for chunk in range(self.grid.n_chunks)]
        self._spans = [slice(begin, end) for begin, end in zip(begins, [*begins[1:], target.shape[1]], strict=True)]
        self._wanted = [self._measure(target, chunk) for chunk in range(self.grid.n_chunks)]

    def __call__(self, waves: Tensor, layer: NoiseNetwork) -> Tensor:
        """Return the mean of the loss over the chunks."""
        chunks = range(self.grid.n_chunks)
        found = [self._compare(self._measure(waves, chunk), layer.levels_db(chunk), chunk) for chunk in chunks]
        return torch.stack(found).mean()

    @abstractmethod
    def _measure(self, signals: Tensor, chunk: int) -> list[Tensor]:
        """Return the powers of signals ``[C, T]`` in a chunk, one tensor a scale."""

    @abstractmethod
    def _compare(self, waves: Sequence[Tensor], levels_db: Tensor, chunk: int) -> Tensor:
        """Return the loss for the powers of the waves and the levels of the noise, ``[C, covered, bands]``."""


class LevelLoss(ExpectedLoss):
    """Mean square of the difference in level around the audible nodes, in units of 10 dB."""

    def _measure(self, signals: Tensor, chunk: int) -> list[Tensor]:
        return [self.grid.densities(signals, self._means, chunk)]

    def _compare(self, waves: Sequence[Tensor], levels_db: Tensor, chunk: int) -> Tensor:
        widths, (wanted,) = self.grid.widths_hz, self._wanted[chunk]
        loudest = (wanted * widths).amax()
        floor = loudest * 10 ** (-FLOOR_DB / 10) / widths
        audible = wanted * widths > loudest * 10 ** (-AUDIBLE_DB / 10)
        given = waves[0] + ExpectedDensity.at(self.grid.sample_rate).typical_power(levels_db)
        return torch.where(audible, ((given + floor) / (wanted + floor)).log10().square(), 0).sum() / audible.sum().clamp(min=1)


class SpectrogramLoss(ExpectedLoss):
    """The loss ``mss``, or ``mel``, of expected magnitudes."""

    def __init__(self, target: Tensor, layer: NoiseNetwork, *, mel: bool = False) -> None:
        rate = layer.sample_rate
        self._scale = 1 / max(float(target.square().mean().sqrt()), MAGNITUDE_FLOOR)
        self._filters = [mel_filters(scale.n_fft, rate) if mel else None for scale in MSS_DEFAULT]
        hz = [torch.arange(scale.n_fft // 2 + 1, dtype=torch.float64) * (rate / scale.n_fft) for scale in MSS_DEFAULT]
        self._bins = [LevelsAtBins(layer.grid, each) for each in hz]
        super().__init__(target, layer)

    def _measure(self, signals: Tensor, chunk: int) -> list[Tensor]:
        part = signals[:, self._spans[chunk]] * self._scale
        return [powers(part, scale) for scale in MSS_DEFAULT]

    def _compare(self, waves: Sequence[Tensor], levels_db: Tensor, chunk: int) -> Tensor:
        rows = zip(MSS_DEFAULT, self._bins, self._filters, waves, self._wanted[chunk], strict=True)
        return torch.stack([self._at(scale, bins, filters, levels_db, pair) for scale, bins, filters, *pair in rows]).mean()

    def _at(
        self, scale: Resolution, bins: LevelsAtBins, filters: Tensor | None, levels_db: Tensor, pair: Sequence[Tensor]
    ) -> Tensor:
        """Return the loss at one scale, for the powers of waves and target."""
        waves, wanted = pair
        places = torch.arange(waves.shape[-1], dtype=torch.float64) * (scale.hop / (self.grid.sample_rate * STEP_S))
        row = places.long().clamp(max=levels_db.shape[1] - 2)
        share = (places - row).clamp(max=1)[:, None]
        density = bins.densities(levels_db[:, row] * (1 - share) + levels_db[:, row + 1] * share)
        energy = torch.hann_window(scale.window, dtype=torch.float64).square().sum()
        noise = density.mT * (MEDIAN_SHARE * self._scale**2 * self.grid.sample_rate / 2 * energy)
        sizes = [each.clamp(min=MAGNITUDE_FLOOR**2).sqrt() for each in (waves + noise.to(waves.dtype), wanted)]
        given, aim = sizes if filters is None else [filters.to(size) @ size for size in sizes]
        return convergence_and_log(given, aim).mean()


def expected_loss(name: NoiseLossName, target: Tensor, layer: NoiseNetwork) -> ExpectedLoss:
    """Return a loss by its name in the settings."""
    if name == "erb":
        return LevelLoss(target, layer)
    return SpectrogramLoss(target, layer, mel=name == "mel")
