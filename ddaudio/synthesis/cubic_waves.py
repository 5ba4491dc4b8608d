"""Waves whose phase is a cubic polynomial of time: a linear map from their amplitudes to samples, and its adjoint.

A segment has the time ``t = (n - start) / length``, between 0 and 1 in it, and the wave ``z(t) = exp(r t + i p(t))`` with a real
growth ``r`` and a cubic ``p``. Its samples are ``Re(c(t) z(t))``, with a complex polynomial ``c``; the adjoint gives the
moments ``sum_n g(n) t^s z(t)`` of signals ``g``.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

ELEMENTS_AT_ONCE = 1 << 18
"""Largest number of samples of all segments that are computed at once."""


@dataclass(frozen=True)
class Segments:
    """Which samples of which signals belong to which segment; all tensors are ``[S]``."""

    signal: Tensor
    """Number of the signal, int64."""
    begin: Tensor
    """First sample, int64, relative to the first one of the signals."""
    count: Tensor
    """Number of samples, int64, 0 or more."""
    start: Tensor
    """Position at which ``t`` is 0, in samples relative to the first one, float64."""
    length: Tensor
    """Distance in samples to the position at which ``t`` is 1, float64."""
    shape: tuple[int, int]
    """Number of signals and samples of each."""

    @cached_property
    def ends(self) -> Tensor:
        """Number of samples of all segments up to and including each, ``[S]``."""
        return self.count.cumsum(0)


class _Part(NamedTuple):
    """Some consecutive samples of the segments, ``[E]`` each."""

    segment: Tensor
    time: Tensor
    """``t``, float64."""
    place: Tensor
    """Flat index in the signals."""


class CubicWaves:
    """The waves of segments, computed sample by sample.

    Args:
        segments: where they are.
        phase: coefficients of ``1, t, t^2, t^3``, in radians, ``[4, S]`` float64.
        growth: ``r``, ``[S]`` float64; None for 0.
        dtype: of the samples.

    """

    def __init__(self, segments: Segments, phase: Tensor, growth: Tensor | None, dtype: torch.dtype) -> None:
        self.segments, self.phase, self.growth, self.dtype = segments, phase, growth, dtype

    def _parts(self) -> Iterator[_Part]:
        """Yield all samples of all segments, part by part."""
        segments, ends = self.segments, self.segments.ends
        for first in range(0, int(ends[-1]) if len(ends) else 0, ELEMENTS_AT_ONCE):
            number = torch.arange(first, min(first + ELEMENTS_AT_ONCE, int(ends[-1])), device=ends.device)
            segment = torch.searchsorted(ends, number, right=True)
            sample = number.sub_((ends - segments.count)[segment]).add_(segments.begin[segment])
            time = (sample - segments.start[segment]).div_(segments.length[segment])
            yield _Part(segment, time, sample + segments.signal[segment] * segments.shape[1])

    def _wave(self, part: _Part) -> tuple[Tensor, Tensor]:
        """Return the real and the imaginary part of ``z``."""
        turns = evaluate(self.phase[:, part.segment] / (2 * math.pi), part.time)
        angle = turns.sub_(turns.round()).mul_(2 * math.pi).to(self.dtype)
        cosine, sine = angle.cos(), angle.sin()
        if self.growth is not None:
            envelope = (self.growth[part.segment] * part.time).exp_().to(self.dtype)
            cosine, sine = cosine * envelope, sine * envelope
        return cosine, sine

    def forward(self, cosine: Tensor, sine: Tensor | None = None) -> Tensor:
        """Return the signals ``[B, T]`` for coefficients of ``1, t, ...``, real parts and imaginary parts ``[D, S]`` float64."""
        total = torch.zeros(math.prod(self.segments.shape), dtype=self.dtype, device=cosine.device)
        for part in self._parts():
            wave = self._wave(part)
            made = evaluate(cosine[:, part.segment], part.time).to(self.dtype) * wave[0]
            if sine is not None:
                made.sub_(evaluate(sine[:, part.segment], part.time).to(self.dtype) * wave[1])
            total.index_add_(0, part.place, made)
        return total.view(self.segments.shape)

    def moments(self, signals: Tensor, orders: int) -> tuple[Tensor, Tensor]:
        """Return the real and imaginary parts of the moments of ``t^0 .. t^(orders - 1)``, ``[orders, S]`` float64 each."""
        flat, phase = signals.reshape(-1), self.phase
        found = phase.new_zeros(2, orders, phase.shape[1])
        for part in self._parts():
            own = flat[part.place]
            for row, wave in enumerate(self._wave(part)):
                product = (own * wave).double()
                for order in range(orders):
                    found[row, order].index_add_(0, part.segment, product)
                    product = product.mul_(part.time) if order + 1 < orders else product
        return found[0], found[1]


def evaluate(coefficients: Tensor, time: Tensor) -> Tensor:
    """Return the values ``[E]`` of polynomials with the coefficients ``[D, E]`` of ``1, t, ...`` at times ``[E]``."""
    value = coefficients[-1].clone()
    for each in reversed(coefficients[:-1].unbind()):
        value = value.mul_(time).add_(each)
    return value
