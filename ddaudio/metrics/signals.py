"""Input of the metrics: an estimate and its target, read block by block, and sums over their samples."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ddaudio.io.samples import Samples

BLOCK_SAMPLES = 2**17
"""Samples of all channels in a block: 3 s of mono at 44.1 kHz."""

EXACT = "exact: the residual is zero"
SILENT = "the target is digital silence"
ORTHOGONAL = "the estimate holds nothing of the target"
NO_ONSET = "the target has no onset: no mel level rises"
NO_BAND = "the target has no energy in this band"
QUIET = "the target is silent, or below the floor of the spectrogram everywhere"
NOT_FINITE = "not a finite number: the estimate or the target is not finite, or too large to square"


@dataclass(frozen=True)
class Metric:
    """A value, or the reason why it is undefined."""

    value: float | None
    """Always finite; None where the metric is undefined."""
    reason: str | None
    """Reason why ``value`` is None; None if it is not."""


@dataclass(frozen=True)
class Sums:
    """Sums over the samples of both signals, in float64."""

    signal: Tensor
    """Energies ``[B]`` of the target."""
    noise: Tensor
    """Energies ``[B]`` of the residual."""
    product: float
    """Sum of estimate times target over all signals."""
    peak: float
    """The target's largest absolute sample over all signals; NaN if any is, 0 if there are none."""


@dataclass(frozen=True)
class SignalPair:
    """An estimate and its target, ``[C, T]`` each, full scale 1.0.

    They may not fit into memory: use `blocks`, or read parts such as ``pair.target[:, first:last]``.
    """

    estimate: Samples
    target: Samples
    sample_rate: int
    """Samples per second."""

    def blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield both signals block by block, ``[C, n]`` each, in float64 on the CPU."""
        return pieces(self.estimate, self.target)

    @cached_property
    def sums(self) -> "Sums":
        """Sums over the samples, computed once."""
        return sums_of(self.estimate, self.target)


def sums_of(estimate: Samples, target: Samples) -> Sums:
    """Compute the sums in one pass over both signals."""
    if tuple(estimate.shape) != tuple(target.shape) or len(target.shape) != 2:
        shapes = f"estimate {tuple(estimate.shape)} and target {tuple(target.shape)}"
        raise ValueError(f"{shapes} must have the same shape, [signals, samples]")
    signal = torch.zeros(target.shape[0], dtype=torch.float64)
    noise, product, peak = torch.zeros_like(signal), torch.zeros_like(signal), torch.zeros_like(signal)
    for part, wanted in pieces(estimate, target):
        signal += wanted.square().sum(-1)
        noise += (wanted - part).square().sum(-1)
        product += (part * wanted).sum(-1)
        peak = torch.maximum(peak, wanted.abs().amax(-1))  # unlike Python's max, this keeps a NaN
    return Sums(signal, noise, float(product.sum()), float(peak.amax()) if len(peak) else 0.0)


def pieces(estimate: Samples, target: Samples) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield both signals block by block, in float64 on the CPU."""
    step = max(1, BLOCK_SAMPLES // max(1, target.shape[0]))
    for start in range(0, target.shape[1], step):
        part, wanted = (signal[:, start : start + step].detach().cpu().double() for signal in (estimate, target))
        yield part, wanted


def decibels(signal: Tensor, noise: Tensor) -> Tensor:
    """Return ``10 log10(signal / noise)``, nan where ``signal`` is zero."""
    return torch.where(signal > 0.0, 10.0 * (signal.log10() - noise.log10()), torch.nan)


def ratio_db(signal: float, noise: float, no_signal: str = SILENT) -> Metric:
    """Return ``10 log10(signal / noise)``, or the reason why it is undefined."""
    if signal == 0.0 or noise == 0.0:
        return Metric(None, EXACT if signal else no_signal)
    finite = math.isfinite(signal) and math.isfinite(noise)
    return Metric(10.0 * (math.log10(signal) - math.log10(noise)), None) if finite else Metric(None, NOT_FINITE)


def defined(value: float) -> Metric:
    """Return a metric with this value, undefined if it is not finite."""
    return Metric(value, None) if math.isfinite(value) else Metric(None, NOT_FINITE)
