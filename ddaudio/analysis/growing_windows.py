"""Growing windows: frequencies shared by all windows, amplitudes solved for in each.

A signal is cut into adjacent windows of ``L`` samples. Each has its own cosine and sine amplitudes, given by least squares, so
that the residual is a function of the frequencies alone (variable projection: Golub and Pereyra, 1973; Jacobian of Kaufman,
1975). Valleys of the residual are about ``1 / L`` wide and narrow as windows grow, so that the result of each length is a start
for the next. With a single window, the last length, the minimum is the maximum-likelihood estimate in white noise.
"""

import math

import torch
from torch import Tensor

from ddaudio.analysis.levenberg_marquardt import Normal, descend

STEPS = 8
"""Largest number of steps per window length."""
MOST = 2.0
"""Longest step times window length: a third of a bin, in radians per sample."""
EDGE = 1e-6
"""Smallest distance of frequencies to 0 and Nyquist, where a sine has no energy."""
NEARLY_DEPENDENT = 1e-10
"""Waves whose part independent of the others is below this share get no amplitude."""


def lengths(n_samples: int, n_frequencies: int) -> list[int]:
    """Return the window lengths, doubling up to the whole signal; none is shorter than ``4 K + 2`` samples."""
    halvings = max(0, int(math.log2(n_samples / (4 * n_frequencies + 2))))
    return [n_samples >> shift for shift in range(halvings, -1, -1)]


def grow(signals: Tensor, start: Tensor, first: int | None = None) -> Tensor:
    """Refine frequencies ``start [B, K]`` of ``signals [B, N]`` with windows of growing length; return them, ``[B, K]``.

    Frequencies are in radians per sample, 0 to pi; signals are float64. Windows shorter than ``first`` are skipped.
    """
    frequency = start.clamp(EDGE, math.pi - EDGE)
    for length in lengths(signals.shape[1], start.shape[1]):
        if length >= (first or 0):
            windows = Windows(signals, length)
            frequency = descend(windows.normal, frequency, STEPS, (EDGE, math.pi - EDGE), MOST / length)
    return frequency


class Windows:
    """The residual energy of sinusoids in windows of ``signals [B, N]``, with amplitudes solved for in each window."""

    def __init__(self, signals: Tensor, length: int) -> None:
        n_windows = signals.shape[1] // length
        self._cut = signals[:, : n_windows * length].reshape(len(signals), n_windows, length).transpose(1, 2)
        self._time = torch.arange(length, dtype=signals.dtype) - (length - 1) / 2

    def normal(self, frequency: Tensor) -> Normal:
        """Return the normal equations at frequencies ``[B, K]``."""
        phase = self._time[:, None] * frequency[:, None]
        cos, sin = phase.cos(), phase.sin()
        basis, triangle = torch.linalg.qr(torch.cat([cos, sin], 2))
        known = basis.transpose(1, 2) @ self._cut
        left = self._cut - basis @ known
        cosine, sine = _solved(triangle, known).chunk(2, dim=1)
        # d/dw (a cos(w t) + b sin(w t)) = t (b cos(w t) - a sin(w t)), minus its projection onto the span of the waves.
        slope = cos[:, :, None] * sine.transpose(1, 2)[:, None] - sin[:, :, None] * cosine.transpose(1, 2)[:, None]
        turned = (slope * self._time[:, None, None]).flatten(2)
        jacobian = -(turned - basis @ (basis.transpose(1, 2) @ turned)).reshape(len(frequency), -1, frequency.shape[1])
        across, residual = jacobian.transpose(1, 2), left.reshape(len(frequency), -1, 1)
        return Normal(left.square().sum((1, 2)), (across @ residual)[..., 0], across @ jacobian)


def _solved(triangle: Tensor, known: Tensor) -> Tensor:
    """Return the amplitudes ``[B, 2K, windows]``; 0 for waves that nearly depend on the others."""
    size = triangle.diagonal(dim1=1, dim2=2).abs()
    barred = torch.where(size < NEARLY_DEPENDENT * size.amax(1, keepdim=True), 1 / torch.finfo(size.dtype).eps ** 2, 0.0)
    amplitudes: Tensor = torch.linalg.solve_triangular(triangle + torch.diag_embed(barred), known, upper=True)
    return amplitudes
