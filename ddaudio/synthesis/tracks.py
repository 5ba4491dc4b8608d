"""Tracks: sinusoids whose amplitude and frequency are given at knots, with a cubic phase between them.

Between two knots at a distance of ``T`` samples, with amplitudes ``a0, a1``, frequencies ``w0, w1`` (radians per sample) and
phases ``phi0, phi1``, the amplitude is linear, and the phase is the cubic that has these frequencies and phases at both ends.
Phases are known up to turns; of all cubics, that with

    M = round((phi0 + w0 T - phi1 + (w1 - w0) T / 2) / (2 pi))

whole turns is the smoothest. With ``u = phi1 - phi0 - w0 T + 2 pi M``, ``v = (w1 - w0) T`` and ``t`` from 0 to 1 it is

    phi0 + w0 T t + (3 u - v) t^2 + (v - 2 u) t^3

(McAulay and Quatieri, 1986, "Speech analysis/synthesis based on a sinusoidal representation", IEEE Trans. ASSP 34(4)). It is
linear in phases and frequencies as long as ``M`` is the same; derivatives take ``M`` as constant.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ddaudio.synthesis.cubic_samples import evaluate
from ddaudio.synthesis.cubic_segments import Segments
from ddaudio.synthesis.cubic_waves import CubicWaves
from ddaudio.synthesis.knots import Knots, check_knots

__all__ = ["Knots", "TrackJacobian", "check_knots", "render_tracks"]

QUADRATURE = 8
"""Points of a quadrature: exact for polynomials up to degree 15, of which the squares of columns have 8."""


def _segments(knots: Knots, signal: Tensor, shape: tuple[int, int], first: int) -> Segments:
    """Return the segments between all neighbours of the knots, in a window of samples; that between two tracks has no samples.

    A sample ``n`` belongs to the segment with ``position[k] <= n < position[k + 1]``, and the last knot to its track.
    """
    position, last = knots.position.detach() - first, knots.counts.cumsum(0) - 1
    is_gap, ends_track = (torch.zeros(max(0, len(position) - 1), dtype=torch.bool, device=last.device) for _ in range(2))
    is_gap[last[:-1]], ends_track[last - 1] = True, True
    start, stop = position[:-1], position[1:]
    end = torch.where(ends_track, stop.floor() + 1, stop.ceil())
    begin, end = (each.clamp(0, shape[1]).long() for each in (start.ceil(), end))
    owner = torch.repeat_interleave(signal, knots.counts)[:-1]
    count, length = (end - begin).masked_fill_(is_gap, 0), (stop - start).masked_fill_(is_gap, 1)
    return Segments(owner, begin, count, start, length, shape)


def _ends(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the values at the left and at the right knot of each segment, float64."""
    values = values.double()
    return values[:-1], values[1:]


class _Coefficients(NamedTuple):
    """Amplitude and phase of segments as polynomials of ``t``, float64."""

    amplitude: Tensor
    """``[2, S]``; with a growth ``[1, S]``."""
    phase: Tensor
    """``[4, S]``."""
    growth: Tensor | None
    """Logarithm of the ratio of the amplitudes at both ends, ``[S]``; 0 where one of them is 0, None if all are linear."""


def _coefficients(knots: Knots, segments: Segments, *, log_amplitude: bool) -> _Coefficients:
    """Return the polynomials of all segments, differentiable by all values of the knots."""
    (a0, a1), (w0, w1), (phi0, phi1) = (_ends(value) for value in (knots.amplitude, knots.frequency, knots.phase))
    length = segments.length
    if knots.position.requires_grad:
        # The same values, with a gradient.
        start, stop = _ends(knots.position)
        length = length + (stop - start) - (stop - start).detach()
    turns = ((phi0 - phi1 + (w0 + w1) * length / 2) / (2 * math.pi)).detach().round()
    rest, bend = phi1 - phi0 - w0 * length + 2 * math.pi * turns, (w1 - w0) * length
    phase = torch.stack([phi0, w0 * length, 3 * rest - bend, bend - 2 * rest])
    amplitude, growth = torch.stack([a0, a1 - a0]), None
    if log_amplitude:
        both = (a0 > 0) & (a1 > 0)
        one = torch.ones_like(a0)
        growth = torch.log(torch.where(both, a1, one) / torch.where(both, a0, one))
        amplitude = torch.stack([a0, torch.where(both, 0, a1 - a0)])
    if knots.position.requires_grad:
        phase, amplitude, growth = _moved(start, length, phase, amplitude, growth)
    return _Coefficients(amplitude, phase, growth)


def _moved(
    start: Tensor, length: Tensor, phase: Tensor, amplitude: Tensor, growth: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the polynomials of ``shift + scale t`` for ``t`` at fixed positions: differentiable by the knots' positions."""
    shift, scale = (start.detach() - start) / length, length.detach() / length
    p0, p1, p2, p3 = phase
    moved = torch.stack(
        [
            p0 + shift * (p1 + shift * (p2 + shift * p3)),
            scale * (p1 + shift * (2 * p2 + 3 * shift * p3)),
            scale**2 * (p2 + 3 * shift * p3),
            scale**3 * p3,
        ]
    )
    a0, a1 = amplitude
    amplitude = torch.stack([a0 + shift * a1, scale * a1])
    if growth is not None:
        amplitude, growth = amplitude * torch.exp(growth * shift), growth * scale
    return moved, amplitude, growth


class _Render(torch.autograd.Function):
    """Samples of segments, with gradients from moments."""

    @staticmethod
    def forward(amplitude: Tensor, phase: Tensor, growth: Tensor | None, waves: CubicWaves) -> Tensor:  # noqa: ARG004 - in waves
        """Return the signals ``[B, T]``."""
        return waves.forward(amplitude)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004 - as torch calls it
        """Keep the amplitudes and the waves."""
        amplitude, _, _, ctx.waves = inputs
        ctx.save_for_backward(amplitude)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of amplitude, phase and growth."""
        (amplitude,) = ctx.saved_tensors
        moments = ctx.waves.moments(gradient, 5)
        real, turned = moments[:, 0].double(), -moments[:, 1]
        to_phase = amplitude[0] * turned[:4] + amplitude[1] * turned[1:]
        to_growth = None if ctx.waves.growth is None else amplitude[0] * real[1] + amplitude[1] * real[2]
        return real[:2], to_phase, to_growth, None


def render_tracks(knots: Knots, signal: Tensor, shape: tuple[int, int], first: int = 0, *, log_amplitude: bool = False) -> Tensor:
    """Return the sum of tracks, ``[B, T]`` in the type of the amplitudes.

    Values are not checked, since this is called in each step of a training: see `check_knots`. The phase of each segment is
    computed from its own knots, in float64, and is as exact after ten minutes as at the beginning.

    Args:
        knots: knots of ``N`` tracks. A track is silent before its first and after its last knot.
        signal: which signal each track belongs to, 0 to ``B - 1``, ``[N]`` int64.
        shape: number of signals, ``B``, and samples of each, ``T``.
        first: position of the first sample.
        log_amplitude: whether amplitudes are linear in level where both ends of a segment are above 0.

    Returns:
        Samples, differentiable once in all values of the knots; of the rounding ``M``, the derivative is 0.

    """
    segments = _segments(knots, signal, shape, first)
    amplitude, phase, growth = _coefficients(knots, segments, log_amplitude=log_amplitude)
    own = phase.detach(), None if growth is None else growth.detach(), knots.amplitude.dtype
    waves = CubicWaves(segments, *own, keep=amplitude.requires_grad or phase.requires_grad)
    made: Tensor = _Render.apply(amplitude, phase, growth, waves)  # type: ignore[no-untyped-call]
    return made


class TrackJacobian:
    """The Jacobian of `render_tracks` by amplitude, frequency and phase of each knot, as a linear map, and its adjoint.

    Positions and ``M`` are fixed. For the arguments see `render_tracks`.
    """

    def __init__(
        self, knots: Knots, signal: Tensor, shape: tuple[int, int], first: int = 0, *, log_amplitude: bool = False
    ) -> None:
        self._knots = Knots(*(part.detach() for part in knots))
        self._segments = _segments(knots, signal, shape, first)
        self._amplitude, phase, growth = _coefficients(self._knots, self._segments, log_amplitude=log_amplitude)
        self._dtype = knots.amplitude.dtype
        self._waves = CubicWaves(self._segments, phase, growth, self._dtype, keep=True)

    def _to_knots(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the adjoint of `_ends`, in the type of the samples."""
        total = left.new_zeros(len(self._knots.position))
        total[:-1] += left
        total[1:] += right
        return total.to(self._dtype)

    def _amplitude_shapes(self) -> tuple[Tensor, Tensor]:
        """Return the change of the amplitude for a change at the left and at the right knot, ``[2, S]`` each, over the growth."""
        one = torch.ones_like(self._segments.length)
        shapes = torch.stack([one, -one]), torch.stack([0 * one, one])
        if self._waves.growth is None:
            return shapes
        linear = (self._amplitude[1] != 0) | (self._amplitude[0] == 0)
        ends = (torch.where(linear, 1, each) for each in _ends(self._knots.amplitude))
        first = torch.where(linear, 1, self._amplitude[0])
        left, right = (shape * first / end for shape, end in zip(shapes, ends, strict=True))
        return left, right

    def _phase_shapes(self) -> list[Tensor]:
        """Return the change of the phase for changes of frequency, then phase, at the left, then right knot, ``[4, S]`` each."""
        one = torch.ones_like(self._segments.length)
        shapes = ((0, 1, -2, 1), (0, 0, -1, 1), (1, 0, -3, 2), (0, 0, 3, -2))
        columns = [one * one.new_tensor(shape)[:, None] for shape in shapes]
        return [columns[0] * self._segments.length, columns[1] * self._segments.length, columns[2], columns[3]]

    def _times_amplitude(self, cubic: Tensor) -> Tensor:
        """Return the product of a cubic ``[4, S]`` with the amplitude, ``[5, S]``."""
        product = cubic.new_zeros(5, cubic.shape[1])
        product[:4] += self._amplitude[0] * cubic
        product[1:] += self._amplitude[1] * cubic
        return product

    def forward(self, changes: Sequence[Tensor]) -> Tensor:
        """Return the change of the signals ``[B, T]`` for changes of amplitude, frequency and phase, ``[K]`` each."""
        amplitude, *others = (_ends(change) for change in changes)
        louder = sum(shape * end for shape, end in zip(self._amplitude_shapes(), amplitude, strict=True))
        ends = [end for pair in others for end in pair]
        bent = sum(shape * end for shape, end in zip(self._phase_shapes(), ends, strict=True))
        sine = self._times_amplitude(torch.as_tensor(bent))
        cosine = torch.zeros_like(sine)
        cosine[:2] = louder
        return self._waves.forward(cosine, sine)

    def adjoint(self, signals: Tensor) -> list[Tensor]:
        """Return the gradients of ``(signals * forward(changes)).sum()`` by amplitude, frequency and phase, ``[K]`` each."""
        moments = self._waves.moments(signals.to(self._dtype), 5)
        turned = -(self._amplitude[0] * moments[:4, 1] + self._amplitude[1] * moments[1:, 1])
        ends = [(shape * moments[:2, 0]).sum(0) for shape in self._amplitude_shapes()]
        ends += [(shape * turned).sum(0) for shape in self._phase_shapes()]
        return [self._to_knots(*ends[place : place + 2]) for place in (0, 2, 4)]

    def squares(self) -> list[Tensor]:
        """Return the squared norm of the column of each amplitude, frequency and phase, ``[K]`` each.

        The square of ``c cos(p)`` is ``(c^2 + c^2 cos(2 p)) / 2``, of which the first half is summed over the samples, by Gauss's
        quadrature. The sum of the other, which changes its sign, is left out: of a segment with ``N`` samples at the frequency
        ``w``, about ``1 / (N sin w)`` of the result.
        """
        segments, waves = self._segments, self._waves
        nodes, weights = (
            torch.from_numpy(each).to(segments.start.device) for each in np.polynomial.legendre.leggauss(QUADRATURE)
        )
        sample = segments.begin - 0.5 + segments.count * (1 + nodes[:, None]) / 2
        time = (sample - segments.start) / segments.length
        share = weights[:, None] * segments.count / 4
        if waves.growth is not None:
            share = share * torch.exp(2 * waves.growth * time)
        columns = [*self._amplitude_shapes(), *(self._times_amplitude(shape) for shape in self._phase_shapes())]
        ends = [(share * evaluate(column[:, None].expand(-1, *time.shape), time).square()).sum(0) for column in columns]
        return [self._to_knots(*ends[place : place + 2]) for place in (0, 2, 4)]
