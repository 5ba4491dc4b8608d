"""How far an estimate is from its target, in numbers that a report prints and a person can check.

Every metric pools all channels, is finite or None with a reason, and is a ratio or mean of sums over samples or over
frames. The sums are added up over blocks of a recording, cut so that every frame is computed once and from all of its
samples: the values are those of the whole recording, and an hour of sound needs no more memory than a minute.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TypedDict

import torch
from torch import Tensor
from torch.nn.functional import pad

from ddaudio.io.samples import Samples, on_cpu
from ddaudio.metrics.multi_resolution_stft import multi_resolution_distance

_BLOCK_SAMPLES = 2**17  # of all channels together: 3 s of mono at 44.1 kHz
_FRAME_S = 0.046  # frames of the log-spectral, mel and onset metrics
_BAND_FRAME_S = 0.37  # frames of the octave bands: bins of 2.7 Hz at 44.1 kHz, eight of them in the lowest band
_FLOOR_DB = 80.0  # a magnitude this far below the target's peak sample counts as silence
_BAND_FLOOR_DB = 120.0  # a band this far below the target's total energy counts as empty: float32 rounding lies at 140
_MELS_PER_FILTER = 50.0
_FIRST_BAND_HZ = 31.25

_EXACT = "exact: the residual is zero"
_SILENT = "the target is digital silence"
_ORTHOGONAL = "the estimate holds nothing of the target"
_NO_ONSET = "the target has no onset: no mel level rises"
_NO_BAND = "the target has no energy in this band"
_QUIET = "the target is silent, or below the floor of the spectrogram everywhere"
_NOT_FINITE = "not a finite number: the estimate or the target is not finite, or too large to square"

_FRAMES = f"Hann frames of the power of two nearest to {_FRAME_S:g} s (at least 16 samples), hop a quarter of it"
_LEVELS = (
    "Magnitudes are scaled so that a sinusoid shows its amplitude, and divided by the target's peak sample (by 1.0 if "
    f"that is 0); levels below -{_FLOOR_DB:g} dB are raised to it."
)

DEFINITIONS: dict[str, str] = {
    "snr_db": "Signal-to-noise ratio: 10 log10(sum target^2 / sum (target - estimate)^2), over samples and channels.",
    "si_sdr_db": "Scale-invariant signal-to-distortion ratio (Le Roux et al. 2019): "
    "10 log10(|a target|^2 / |a target - estimate|^2) with a = <estimate, target> / <target, target>, one for all "
    "channels. No mean is taken away.",
    "mse": "Mean squared error: the mean of (target - estimate)^2 over samples and channels; full scale is 1.0.",
    "lsd_db": f"Log-spectral distance (Gray & Markel 1976) over {_FRAMES}: the root of the mean over bins of "
    f"(20 log10 |ESTIMATE| - 20 log10 |TARGET|)^2, then the mean over frames and channels. {_LEVELS}",
    "mr_stft": "Multi-resolution STFT distance as auraloss 0.4's MultiResolutionSTFTLoss defines it (Yamamoto et al. "
    "2020), with its defaults: spectral convergence plus mean absolute difference of log magnitudes, mean over FFTs of "
    "1024, 2048, 512. Channels are pooled; recordings shorter than 2048 samples are padded with zeros.",
    "mel_db": "Mel distance: the mean over mel filters, frames and channels of |10 log10 MEL_ESTIMATE - 10 log10 "
    f"MEL_TARGET|, from power spectra of {_FRAMES}, and triangular filters of height 1, one per {_MELS_PER_FILTER:g} "
    f"mel (HTK) from 0 Hz to Nyquist. {_LEVELS}",
    "onset_flux": "Onset-flux error: sum |flux_estimate - flux_target| / sum flux_target over frames and channels. The "
    "flux of a frame is the mean over filters of the rise of its mel levels in dB (those of the mel distance) over the "
    "frame before, falls counted as zero; before the first frame there is silence. 0 is best; silence scores 1.",
    "bands": "SNR by octave band: 10 log10(target energy / residual energy) within the band, from power spectra of "
    f"Hann frames of the power of two nearest to {_BAND_FRAME_S:g} s, hop a quarter of it, added up over frames and "
    f"channels. Bands are centred on {_FIRST_BAND_HZ:g} Hz times powers of two and the last ends at Nyquist. A band "
    f"where the target lies {_BAND_FLOOR_DB:g} dB or more below its total energy has none.",
}
"""What each metric of `measure` means: formula, parameters, source."""


@dataclass(frozen=True)
class Metric:
    """One value, or the reason why there is none."""

    value: float | None
    """Always finite; None where the metric is undefined."""
    reason: str | None
    """Why ``value`` is None; None where it is not."""


@dataclass(frozen=True)
class Band:
    """The signal-to-noise ratio within one octave band, ``low_hz <= frequency < high_hz``."""

    low_hz: float
    high_hz: float
    snr_db: float | None
    """Always finite; None where it is undefined."""
    reason: str | None
    """Why ``snr_db`` is None; None where it is not."""


class Metrics(TypedDict):
    """All metrics of one fit: a plain dict; ``json.dumps(metrics, default=dataclasses.asdict)`` writes it."""

    snr_db: Metric
    si_sdr_db: Metric
    mse: Metric
    lsd_db: Metric
    mr_stft: Metric
    mel_db: Metric
    onset_flux: Metric
    bands: list[Band]


def measure(estimate: Samples, target: Samples, sample_rate: int) -> Metrics:
    """Compare an estimate with its target by every metric in `DEFINITIONS`.

    Args:
        estimate: What the model says, ``[C, T]``, full scale 1.0, any length of at least one sample; read seven times,
            block by block: samples that are costly to compute are better spooled first.
        target: What was recorded, of the same shape.
        sample_rate: Samples per second, in Hz, above 0.

    Returns:
        One `Metric` per name and the octave `Band` rows; every value is finite, or None with a reason.

    Raises:
        ValueError: The shapes differ, are not ``[C, T]``, or are empty, or the sample rate is not above 0.

    Example:
        >>> target = torch.sin(torch.arange(8000.0) / 3.0)[None]
        >>> metrics = measure(target * 0.9, target, 8000)
        >>> round(metrics["snr_db"].value, 3)
        20.0
        >>> metrics["onset_flux"].value < 0.1
        True

    """
    _check(estimate, target, sample_rate)
    sums = _sums(estimate, target)
    snr, si_sdr, mse = _sample_metrics(estimate, target, sums)
    lsd, mel, flux = _frame_metrics(estimate, target, sample_rate, sums.peak)
    distance = multi_resolution_distance(estimate, target)
    return Metrics(
        snr_db=snr,
        si_sdr_db=si_sdr,
        mse=mse,
        lsd_db=lsd,
        mr_stft=Metric(None, _QUIET) if distance is None else _defined(distance),
        mel_db=mel,
        onset_flux=flux,
        bands=_bands(estimate, target, sample_rate, sums.peak),
    )


def snr_db(estimate: Samples, target: Samples) -> float:
    """Return the signal-to-noise ratio in dB, all signals pooled: ``10 log10(sum target^2 / sum residual^2)``.

    Args:
        estimate: ``[B, T]``.
        target: Of the same shape.

    Returns:
        dB; ``inf`` where the residual is zero and the target is not, ``nan`` where the target is silent.

    Raises:
        ValueError: The shapes differ or are not ``[B, T]``.

    """
    sums = _sums(estimate, target)
    return float(_decibels(sums.signal.sum(), sums.noise.sum()))


def snr_db_per_signal(estimate: Samples, target: Samples) -> Tensor:
    """Return the signal-to-noise ratio in dB of each signal on its own.

    Args:
        estimate: ``[B, T]``.
        target: Of the same shape.

    Returns:
        dB ``[B]``, float64 on the CPU, without gradient; ``inf`` where the residual is zero and the target is not,
        ``nan`` where the target is silent.

    Raises:
        ValueError: The shapes differ or are not ``[B, T]``.

    """
    sums = _sums(estimate, target)
    return _decibels(sums.signal, sums.noise)


# Sums over samples.


@dataclass(frozen=True)
class _Sums:
    """What one pass over the samples of both signals adds up, in float64."""

    signal: Tensor
    """Energies ``[B]`` of the target."""
    noise: Tensor
    """Energies ``[B]`` of the residual."""
    product: float
    """Sum of estimate times target over all signals."""
    peak: float
    """The target's largest absolute sample over all signals; NaN if any is, 0 if there are none."""


def _sums(estimate: Samples, target: Samples) -> _Sums:
    """Go through both signals once."""
    if tuple(estimate.shape) != tuple(target.shape) or len(target.shape) != 2:
        shapes = f"estimate {tuple(estimate.shape)} and target {tuple(target.shape)}"
        raise ValueError(f"{shapes} must have the same shape, [signals, samples]")
    signal = torch.zeros(target.shape[0], dtype=torch.float64)
    noise, product, peak = torch.zeros_like(signal), torch.zeros_like(signal), torch.zeros_like(signal)
    for part, wanted in _pieces(estimate, target):
        signal += wanted.square().sum(-1)
        noise += (wanted - part).square().sum(-1)
        product += (part * wanted).sum(-1)
        peak = torch.maximum(peak, wanted.abs().amax(-1))  # unlike Python's max, this keeps a NaN
    return _Sums(signal, noise, float(product.sum()), float(peak.amax()) if len(peak) else 0.0)


def _pieces(estimate: Samples, target: Samples) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield both signals piece by piece, in float64 on the CPU."""
    step = max(1, _BLOCK_SAMPLES // max(1, target.shape[0]))
    for start in range(0, target.shape[1], step):
        part, wanted = (signal[:, start : start + step].detach().cpu().double() for signal in (estimate, target))
        yield part, wanted


def _decibels(signal: Tensor, noise: Tensor) -> Tensor:
    """Return ``10 log10(signal / noise)`` with nan where there is no signal."""
    return torch.where(signal > 0.0, 10.0 * (signal.log10() - noise.log10()), torch.nan)


def _sample_metrics(estimate: Samples, target: Samples, sums: _Sums) -> tuple[Metric, Metric, Metric]:
    """Return SNR, SI-SDR and MSE."""
    signal, noise = float(sums.signal.sum()), float(sums.noise.sum())
    scale = sums.product / signal if signal else 0.0
    # Not |estimate|^2 - scale^2 |target|^2, which would be rounding noise for an estimate near the target.
    distortion = sum(float((scale * wanted - part).square().sum()) for part, wanted in _pieces(estimate, target))
    si_sdr = _ratio_db(scale**2 * signal, distortion, _ORTHOGONAL if signal else _SILENT)
    return _ratio_db(signal, noise), si_sdr, _defined(noise / math.prod(target.shape))


def _ratio_db(signal: float, noise: float, no_signal: str = _SILENT) -> Metric:
    """Return ``10 log10(signal / noise)``, or why it is undefined."""
    if signal == 0.0 or noise == 0.0:
        return Metric(None, _EXACT if signal else no_signal)
    finite = math.isfinite(signal) and math.isfinite(noise)
    return Metric(10.0 * (math.log10(signal) - math.log10(noise)), None) if finite else Metric(None, _NOT_FINITE)


def _defined(value: float) -> Metric:
    """Return a metric with this value where it is finite."""
    return Metric(value, None) if math.isfinite(value) else Metric(None, _NOT_FINITE)


# Sums over frames. Frame f holds samples (f + 1) hop - n_fft up to (f + 1) hop, zero outside the signal: with a hop of
# n_fft / 4 every sample lies in four frames, and the squares of their four Hann windows add up to the same for each.


@dataclass(frozen=True)
class _Frames:
    """How two signals are cut into frames, and what their samples are divided by."""

    n_fft: int
    peak: float

    @classmethod
    def of(cls, peak: float, sample_rate: int, frame_s: float) -> "_Frames":
        """Return frames of the power of two nearest to ``frame_s`` on a log scale, at least 16 samples."""
        return cls(2 ** max(4, round(math.log2(frame_s * sample_rate))), peak or 1.0)

    def blocks(self, estimate: Samples, target: Samples) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the samples of both signals, divided by the peak, that the frames of each block need."""
        channels, n_samples = target.shape
        hop = self.n_fft // 4
        n_frames, step = -(-n_samples // hop) + 3, max(1, _BLOCK_SAMPLES // (channels * hop))
        for first in range(0, n_frames, step):
            start, stop = (first + 1) * hop - self.n_fft, min(first + step, n_frames) * hop
            zeros = max(-start, 0), max(stop - n_samples, 0)
            inside = slice(max(start, 0), min(stop, n_samples))
            part, wanted = (pad(on_cpu(signal[:, inside]) / self.peak, zeros) for signal in (estimate, target))
            yield part, wanted

    def magnitudes(self, samples: Tensor) -> Tensor:
        """Return the magnitudes ``[C, bins, frames]`` of a block: a sinusoid as loud as the peak shows 1."""
        window = torch.hann_window(self.n_fft)
        spectra = torch.stft(samples, self.n_fft, self.n_fft // 4, window=window, center=False, return_complex=True)
        return spectra.abs() * (2.0 / float(window.sum()))


def _frame_metrics(estimate: Samples, target: Samples, sample_rate: int, peak: float) -> tuple[Metric, Metric, Metric]:
    """Return log-spectral distance, mel distance and onset-flux error."""
    frames = _Frames.of(peak, sample_rate, _FRAME_S)
    filters = _mel_filters(frames.n_fft, sample_rate)
    sums = torch.zeros(4, dtype=torch.float64)
    count = 0
    before = before_target = torch.full((target.shape[0], filters.shape[0], 1), -_FLOOR_DB)
    for part, wanted in frames.blocks(estimate, target):
        powers, wanted_powers = frames.magnitudes(part).square(), frames.magnitudes(wanted).square()
        lsd = (_levels(powers) - _levels(wanted_powers)).square().mean(1).sqrt()
        mels, wanted_mels = _levels(filters @ powers), _levels(filters @ wanted_powers)
        flux, wanted_flux = _rise(before, mels), _rise(before_target, wanted_mels)
        terms = lsd, (mels - wanted_mels).abs().mean(1), (flux - wanted_flux).abs(), wanted_flux
        sums += torch.stack([term.sum(dtype=torch.float64) for term in terms])
        count += lsd.numel()
        before, before_target = mels[..., -1:], wanted_mels[..., -1:]
    lsd_sum, mel_sum, flux_error, flux_target = sums.tolist()
    onset_flux = _defined(flux_error / flux_target) if flux_target else Metric(None, _NO_ONSET)
    return _defined(lsd_sum / count), _defined(mel_sum / count), onset_flux


def _levels(powers: Tensor) -> Tensor:
    """Return powers in dB, floored."""
    return 10.0 * powers.clamp(min=10.0 ** (-_FLOOR_DB / 10.0)).log10()


def _rise(before: Tensor, levels: Tensor) -> Tensor:
    """Return the flux ``[C, frames]`` of levels ``[C, filters, frames]`` after the frame ``before``."""
    return torch.cat([before, levels], dim=-1).diff(dim=-1).clamp(min=0.0).mean(1)


@cache
def _mel_filters(n_fft: int, sample_rate: int) -> Tensor:
    """Return triangular mel filters ``[filters, bins]``: 50 mel apart, and with frames of 46 ms, each has a bin."""
    from torchaudio.functional import melscale_fbanks  # type: ignore[import-untyped]  # noqa: PLC0415

    mels = 2595.0 * math.log10(1.0 + sample_rate / 1400.0)
    count = max(1, round(mels / _MELS_PER_FILTER) - 1)
    filters: Tensor = melscale_fbanks(n_fft // 2 + 1, 0.0, sample_rate / 2.0, count, sample_rate)
    return filters.T.contiguous()


def _bands(estimate: Samples, target: Samples, sample_rate: int, peak: float) -> list[Band]:
    """Return the SNR of each octave band."""
    frames = _Frames.of(peak, sample_rate, _BAND_FRAME_S)
    signal = torch.zeros(frames.n_fft // 2 + 1, dtype=torch.float64)
    noise = torch.zeros_like(signal)
    for part, wanted in frames.blocks(estimate, target):
        signal += frames.magnitudes(wanted).square().sum((0, 2), dtype=torch.float64)
        noise += frames.magnitudes(wanted - part).square().sum((0, 2), dtype=torch.float64)
    frequencies_hz = torch.arange(len(signal), dtype=torch.float64) * (sample_rate / frames.n_fft)
    floor = float(signal.sum()) * 10.0 ** (-_BAND_FLOOR_DB / 10.0)
    rows = []
    for low_hz, high_hz in _octaves(sample_rate / 2.0):
        inside = (frequencies_hz >= low_hz) & ((frequencies_hz < high_hz) | (high_hz == sample_rate / 2.0))
        energy = float(signal[inside].sum())
        ratio = _ratio_db(0.0 if energy <= floor else energy, float(noise[inside].sum()), _NO_BAND)
        rows.append(Band(low_hz, high_hz, ratio.value, ratio.reason))
    return rows


def _octaves(nyquist_hz: float) -> Iterator[tuple[float, float]]:
    """Yield the edges of the octave bands in Hz: an octave apart, around their centres on a log scale."""
    low_hz = _FIRST_BAND_HZ / math.sqrt(2.0)
    while low_hz < nyquist_hz:
        yield low_hz, min(2.0 * low_hz, nyquist_hz)
        low_hz *= 2.0


def _check(estimate: Samples, target: Samples, sample_rate: int) -> None:
    """Refuse what cannot be measured."""
    if tuple(estimate.shape) != tuple(target.shape) or len(target.shape) != 2 or math.prod(target.shape) == 0:
        shapes = f"{tuple(estimate.shape)} and {tuple(target.shape)}"
        raise ValueError(f"estimate and target have shapes {shapes}: both must be [channels, samples], alike, not empty")
    if sample_rate <= 0:
        raise ValueError(f"sample_rate is {sample_rate}: it must be above 0")
