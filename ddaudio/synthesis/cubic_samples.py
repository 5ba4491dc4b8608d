"""Waves with cubic phases, computed sample by sample."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ddaudio.synthesis.cubic_segments import Segments

ELEMENTS_AT_ONCE = 1 << 18
"""Largest number of samples of all segments that are computed at once."""


class _Part(NamedTuple):
    """Some consecutive samples of the segments, ``[E]`` each."""

    segment: Tensor
    time: Tensor
    """``t``, float64."""
    sample: Tensor


class SampleWaves:
    """The waves of segments, computed sample by sample.

    Args:
        segments: where they are, in one signal.
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
            yield _Part(segment, time, sample)

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
        """Return the signal ``[T]`` for coefficients of ``1, t, ...``, real parts and imaginary parts ``[D, S]`` float64."""
        total = torch.zeros(self.segments.shape[1], dtype=self.dtype, device=cosine.device)
        for part in self._parts():
            wave = self._wave(part)
            made = evaluate(cosine[:, part.segment], part.time).to(self.dtype) * wave[0]
            if sine is not None:
                made.sub_(evaluate(sine[:, part.segment], part.time).to(self.dtype) * wave[1])
            total.index_add_(0, part.sample, made)
        return total

    def moments(self, signal: Tensor, orders: int) -> Tensor:
        """Return the moments of ``t^0 .. t^(orders - 1)``, real and imaginary parts, for a signal ``[T]``: ``[orders, 2, S]``."""
        found = self.phase.new_zeros(orders, 2, self.phase.shape[1])
        for part in self._parts():
            own = signal[part.sample]
            for row, wave in enumerate(self._wave(part)):
                product = (own * wave).double()
                for order in range(orders):
                    found[order, row].index_add_(0, part.segment, product)
                    product = product.mul_(part.time) if order + 1 < orders else product
        return found


def evaluate(coefficients: Tensor, time: Tensor) -> Tensor:
    """Return the values ``[E]`` of polynomials with the coefficients ``[D, E]`` of ``1, t, ...`` at times ``[E]``."""
    value = coefficients[-1].clone()
    for each in reversed(coefficients[:-1].unbind()):
        value = value.mul_(time).add_(each)
    return value
