"""Evaluation of an estimate against its target by all metrics of `METRICS`.

Every metric pools all channels, is finite or None with a reason, and is a ratio or mean of sums over samples or frames. The
sums are accumulated over blocks of a recording, cut so that every frame is computed once and from all of its samples: results
are those of the whole recording, and memory does not depend on its length.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ddaudio.errors import PluginError
from ddaudio.io.samples import Samples, blocks
from ddaudio.metrics.erb_distance import MissingBand, Range
from ddaudio.metrics.registry import METRICS, MetricSpec, requested
from ddaudio.metrics.signals import ORTHOGONAL, SILENT, Metric, SignalPair, decibels, defined, pieces, ratio_db, sums_of
from ddaudio.metrics.spectrogram import Band, band_snrs
from ddaudio.options.registry import REMEDY, load


@dataclass(frozen=True)
class Metrics(Mapping[str, Metric]):
    """All metrics of one fit, by name."""

    values_by_name: dict[str, Metric]
    bands: list[Band]
    """The SNR by octave band."""
    missing_bands: list[MissingBand]
    """Ranges of frequencies that are audible in the target and missing in the estimate."""
    most_dead: Range | None
    """The narrowest range with most of the other dead cells; None without such cells, or if they are everywhere."""

    def __getitem__(self, name: str) -> Metric:
        """Return a metric."""
        return self.values_by_name[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self.values_by_name)

    def __len__(self) -> int:
        """Return the number of metrics."""
        return len(self.values_by_name)


def measure(
    estimate: Samples, target: Samples, sample_rate: int, waves: Samples | None = None, quality: str | None = None
) -> Metrics:
    """Evaluate an estimate against its target by the metrics in `METRICS`.

    Args:
        estimate: Output of the model, ``[C, T]``, full scale 1.0, any length of at least one sample; read eight times,
            block by block, so samples that are expensive to compute should be stored first.
        target: Recorded signal, of the same shape.
        sample_rate: Samples per second, in Hz, above 0.
        waves: What metrics of the waveform compare, such as the SNR, of the same shape (default: the estimate).
        quality: Perceptual scores to compute as well, with commas between them, such as ``zimtohrli,visqol`` (default: none).

    Returns:
        One `Metric` per name, the octave `Band` rows and the `MissingBand` rows; values are finite, or None with a reason.

    Raises:
        ValueError: The shapes differ, are not ``[C, T]``, or are empty, or the sample rate is not above 0.
        OptionError: There is no such score.
        PluginError: A metric of another package is broken, or the package of a score is missing.

    Example:
        >>> import torch
        >>> target = torch.sin(torch.arange(8000.0) / 3.0)[None]
        >>> metrics = measure(target * 0.9, target, 8000)
        >>> round(metrics["snr_db"].value, 3)
        20.0
        >>> metrics["onset_flux"].value < 0.1
        True

    """
    _check(estimate, target, sample_rate)
    if _is_silent(estimate, target) and (waves is None or _is_silent(waves, target)):
        # The metrics of silence do not depend on its length.
        estimate, target, waves = estimate[:, :sample_rate], target[:, :sample_rate], None
    pair = SignalPair(estimate, target, sample_rate)
    pairs = {False: pair, True: pair if waves is None or waves is estimate else SignalPair(waves, target, sample_rate)}
    METRICS.check()
    asked = ("", *requested(quality))
    specs = {name: spec for name, spec in METRICS.items() if spec.request in asked}
    found = _found(specs, pairs)
    values = {name: _metric(spec, found[spec.path, spec.of_waves]) for name, spec in specs.items()}
    in_bands = found[METRICS["erb_db"].path, False]
    return Metrics(values, band_snrs(pairs[True]), in_bands["missing_bands"], in_bands["most_dead"])


def request_metrics(estimate: Samples, target: Samples, sample_rate: int, quality: str) -> dict[str, Metric]:
    """Return only the perceptual scores that ``quality`` asks for, and their controls; arguments and errors as in `measure`."""
    _check(estimate, target, sample_rate)
    names = requested(quality)
    specs = {name: spec for name, spec in METRICS.items() if spec.request in names}
    found = _found(specs, {False: SignalPair(estimate, target, sample_rate)})
    return {name: _metric(spec, found[spec.path, False]) for name, spec in specs.items()}


def _found(specs: Mapping[str, MetricSpec], pairs: Mapping[bool, SignalPair]) -> dict[tuple[str, bool], Any]:
    """Return the results of the functions of some metrics, by path, since one function may compute several."""
    found: dict[tuple[str, bool], Any] = {}
    for spec in specs.values():
        if (spec.path, spec.of_waves) not in found:
            found[spec.path, spec.of_waves] = load(spec)(pairs[spec.of_waves])
    return found


def _metric(spec: MetricSpec, found: Any) -> Metric:
    """Return the metric of a row from what its function returned."""
    value: Any = found.get(spec.name) if isinstance(found, Mapping) else found
    if isinstance(value, Metric):
        return value
    try:
        return defined(float(value))
    except (TypeError, ValueError):
        problem = f"the metric {spec.name!r} cannot be used: {spec.path} returned a {type(value).__name__} in place of a number"
        raise PluginError(problem, hint=REMEDY) from None


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
    sums = sums_of(estimate, target)
    return float(decibels(sums.signal.sum(), sums.noise.sum()))


def snr_db_per_signal(estimate: Samples, target: Samples) -> Tensor:
    """Return the signal-to-noise ratio in dB of each signal separately.

    Args:
        estimate: ``[B, T]``.
        target: Of the same shape.

    Returns:
        dB ``[B]``, float64 on the CPU, without gradient; ``inf`` where the residual is zero and the target is not,
        ``nan`` where the target is silent.

    Raises:
        ValueError: The shapes differ or are not ``[B, T]``.

    """
    sums = sums_of(estimate, target)
    return decibels(sums.signal, sums.noise)


def sample_metrics(pair: SignalPair) -> dict[str, Metric]:
    """Return SNR, SI-SDR and MSE, by name."""
    estimate, target, sums = pair.estimate, pair.target, pair.sums
    signal, noise = float(sums.signal.sum()), float(sums.noise.sum())
    scale = sums.product / signal if signal else 0.0
    # Not |estimate|^2 - scale^2 |target|^2, which would be rounding noise for an estimate near the target.
    distortion = sum(float((scale * wanted - part).square().sum()) for part, wanted in pieces(estimate, target))
    si_sdr = ratio_db(scale**2 * signal, distortion, ORTHOGONAL if signal else SILENT)
    return {"snr_db": ratio_db(signal, noise), "si_sdr_db": si_sdr, "mse": defined(noise / math.prod(target.shape))}


def _is_silent(*signals: Samples) -> bool:
    """Return whether all samples of some signals are 0."""
    return not any(bool(block.any()) for signal in signals for block in blocks(signal))


def _check(estimate: Samples, target: Samples, sample_rate: int) -> None:
    """Raise ValueError for signals that cannot be measured."""
    if tuple(estimate.shape) != tuple(target.shape) or len(target.shape) != 2 or math.prod(target.shape) == 0:
        shapes = f"{tuple(estimate.shape)} and {tuple(target.shape)}"
        raise ValueError(f"estimate and target have shapes {shapes}: both must be [channels, samples], alike, not empty")
    if sample_rate <= 0:
        raise ValueError(f"sample_rate is {sample_rate}: it must be above 0")
