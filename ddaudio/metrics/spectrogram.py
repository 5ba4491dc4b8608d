"""Spectral metrics: log-spectral distance, mel distance, onset flux, and the SNR of octave bands."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ddaudio.io.spectra import Frames, nearest_fft
from ddaudio.losses.stft import mel_filters
from ddaudio.metrics import signals
from ddaudio.metrics.registry import BAND_FLOOR_DB, BAND_FRAME_S, FIRST_BAND_HZ, FLOOR_DB, FRAME_S, MELS_PER_FILTER
from ddaudio.metrics.signals import NO_BAND, NO_ONSET, Metric, SignalPair, defined, ratio_db


@dataclass(frozen=True)
class Band:
    """The signal-to-noise ratio within one octave band, ``low_hz <= frequency < high_hz``."""

    low_hz: float
    high_hz: float
    snr_db: float | None
    """Always finite; None where it is undefined."""
    reason: str | None
    """Reason why ``snr_db`` is None; None if it is not."""


# Sums over frames. Frame f contains samples (f + 1) hop - n_fft to (f + 1) hop, zero outside the signal: with a hop of
# n_fft / 4 every sample is in four frames, whose squared Hann windows have the same sum everywhere.


class _PairOfFrames:
    """Frames of two signals, whose samples are divided by the target's peak."""

    def __init__(self, pair: SignalPair, frame_s: float) -> None:
        channels, n_samples = pair.target.shape
        self.n_fft = nearest_fft(frame_s, pair.sample_rate)
        hop = self.n_fft // 4
        self._pair, self._peak = pair, pair.sums.peak or 1.0
        self._frames = Frames(self.n_fft, hop, -(-n_samples // hop) + 3, first_sample=hop - self.n_fft)
        self._at_a_time = max(1, signals.BLOCK_SAMPLES // (channels * hop))
        self._window = torch.hann_window(self.n_fft)
        self._scale = 2.0 / float(self._window.sum())

    def blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the samples of both signals, divided by the peak, that the frames of each block need."""
        both = (self._frames.blocks(signal, self._at_a_time) for signal in (self._pair.estimate, self._pair.target))
        for part, wanted in zip(*both, strict=True):
            yield part / self._peak, wanted / self._peak

    def magnitudes(self, samples: Tensor) -> Tensor:
        """Return the magnitudes ``[C, bins, frames]`` of a block: 1 for a sinusoid as loud as the peak."""
        return self._frames.transform(samples, self._window).abs() * self._scale


def frame_metrics(pair: SignalPair) -> dict[str, Metric]:
    """Return log-spectral distance, mel distance and onset-flux error, by name."""
    frames, n_channels = _PairOfFrames(pair, FRAME_S), pair.target.shape[0]
    filters = _mel_filters(frames.n_fft, pair.sample_rate)
    sums = torch.zeros(4, dtype=torch.float64)
    count = 0
    before = before_target = torch.full((n_channels, filters.shape[0], 1), -FLOOR_DB)
    for part, wanted in frames.blocks():
        powers, wanted_powers = frames.magnitudes(part).square(), frames.magnitudes(wanted).square()
        lsd = (_levels(powers) - _levels(wanted_powers)).square().mean(1).sqrt()
        mels, wanted_mels = _levels(filters @ powers), _levels(filters @ wanted_powers)
        flux, wanted_flux = _rise(before, mels), _rise(before_target, wanted_mels)
        terms = lsd, (mels - wanted_mels).abs().mean(1), (flux - wanted_flux).abs(), wanted_flux
        sums += torch.stack([term.sum(dtype=torch.float64) for term in terms])
        count += lsd.numel()
        before, before_target = mels[..., -1:], wanted_mels[..., -1:]
    lsd_sum, mel_sum, flux_error, flux_target = sums.tolist()
    onset_flux = defined(flux_error / flux_target) if flux_target else Metric(None, NO_ONSET)
    return {"lsd_db": defined(lsd_sum / count), "mel_db": defined(mel_sum / count), "onset_flux": onset_flux}


def _levels(powers: Tensor) -> Tensor:
    """Return powers in dB, floored."""
    return 10.0 * powers.clamp(min=10.0 ** (-FLOOR_DB / 10.0)).log10()


def _rise(before: Tensor, levels: Tensor) -> Tensor:
    """Return the flux ``[C, frames]`` of levels ``[C, filters, frames]`` after the frame ``before``."""
    return torch.cat([before, levels], dim=-1).diff(dim=-1).clamp(min=0.0).mean(1)


def _mel_filters(n_fft: int, sample_rate: int) -> Tensor:
    """Return triangular mel filters ``[filters, bins]``, 50 mel apart; with frames of 46 ms each contains a bin."""
    mels = 2595.0 * math.log10(1.0 + sample_rate / 1400.0)
    return mel_filters(n_fft, sample_rate, max(1, round(mels / MELS_PER_FILTER) - 1)).contiguous()


def band_snrs(pair: SignalPair) -> list[Band]:
    """Return the SNR of each octave band."""
    frames, sample_rate = _PairOfFrames(pair, BAND_FRAME_S), pair.sample_rate
    signal = torch.zeros(frames.n_fft // 2 + 1, dtype=torch.float64)
    noise = torch.zeros_like(signal)
    for part, wanted in frames.blocks():
        signal += frames.magnitudes(wanted).square().sum((0, 2), dtype=torch.float64)
        noise += frames.magnitudes(wanted - part).square().sum((0, 2), dtype=torch.float64)
    frequencies_hz = torch.arange(len(signal), dtype=torch.float64) * (sample_rate / frames.n_fft)
    floor = float(signal.sum()) * 10.0 ** (-BAND_FLOOR_DB / 10.0)
    rows = []
    for low_hz, high_hz in _octaves(sample_rate / 2.0):
        inside = (frequencies_hz >= low_hz) & ((frequencies_hz < high_hz) | (high_hz == sample_rate / 2.0))
        energy = float(signal[inside].sum())
        ratio = ratio_db(0.0 if energy <= floor else energy, float(noise[inside].sum()), NO_BAND)
        rows.append(Band(low_hz, high_hz, ratio.value, ratio.reason))
    return rows


def _octaves(nyquist_hz: float) -> Iterator[tuple[float, float]]:
    """Yield the edges of the octave bands in Hz: an octave apart, around their centres on a log scale."""
    low_hz = FIRST_BAND_HZ / math.sqrt(2.0)
    while low_hz < nyquist_hz:
        yield low_hz, min(2.0 * low_hz, nyquist_hz)
        low_hz *= 2.0
