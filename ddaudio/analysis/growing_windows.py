"""Growing windows: frequencies that all windows share, amplitudes solved in each.

A signal is cut into windows of ``L`` samples, side by side. Each has cosine and sine amplitudes of its own, which least squares
gives at once; what is left over is a function of the frequencies alone (variable projection: Golub and Pereyra, 1973; Jacobian
of Kaufman, 1975). A valley is about ``1 / L`` wide, so it narrows as windows grow: each length leads into the valley of the next.
In the last, a single window, the valley's floor is the maximum of the likelihood in white noise.
"""

import math

import torch
from torch import Tensor

from ddaudio.analysis.levenberg_marquardt import Normal, descend

STEPS = 8
"""Steps in each length of window, at most."""
MOST = 2.0
"""Longest step, over the window's length: in radians per sample, a third of a bin."""
EDGE = 1e-6
"""Frequencies stay that far off 0 and Nyquist, where a sine has no energy."""
NEARLY_DEPENDENT = 1e-10
"""Waves that the others say up to this share get no amplitude of their own."""


def lengths(n_samples: int, n_frequencies: int) -> list[int]:
    """Return the lengths of windows, growing by two up to the whole; none is shorter than ``4 K + 2`` samples."""
    halvings = max(0, int(math.log2(n_samples / (4 * n_frequencies + 2))))
    return [n_samples >> shift for shift in range(halvings, -1, -1)]


def grow(signals: Tensor, start: Tensor, first: int | None = None) -> Tensor:
    """Refine frequencies ``start [B, K]`` of ``signals [B, N]`` with longer and longer windows; return them, ``[B, K]``.

    Frequencies are in radians per sample, 0 to pi; signals are float64. Windows shorter than ``first`` are left out.
    """
    frequency = start.clamp(EDGE, math.pi - EDGE)
    for length in lengths(signals.shape[1], start.shape[1]):
        if length >= (first or 0):
            windows = Windows(signals, length)
            frequency = descend(windows.normal, frequency, STEPS, (EDGE, math.pi - EDGE), MOST / length)
    return frequency


class Windows:
    """The energy that sinusoids leave of ``signals [B, N]`` cut into windows, their amplitudes solved in each window."""

    def __init__(self, signals: Tensor, length: int) -> None:
        n_windows = signals.shape[1] // length
        self._cut = signals[:, : n_windows * length].reshape(len(signals), n_windows, length).transpose(1, 2)
        self._time = torch.arange(length, dtype=signals.dtype) - (length - 1) / 2

    def normal(self, frequency: Tensor) -> Normal:
        """Return the problem at frequencies ``[B, K]``."""
        phase = self._time[:, None] * frequency[:, None]
        cos, sin = phase.cos(), phase.sin()
        basis, triangle = torch.linalg.qr(torch.cat([cos, sin], 2))
        known = basis.transpose(1, 2) @ self._cut
        left = self._cut - basis @ known
        cosine, sine = _solved(triangle, known).chunk(2, dim=1)
        # d/dw (a cos(w t) + b sin(w t)) = t (b cos(w t) - a sin(w t)), of which amplitudes take up what lies in their span.
        slope = cos[:, :, None] * sine.transpose(1, 2)[:, None] - sin[:, :, None] * cosine.transpose(1, 2)[:, None]
        turned = (slope * self._time[:, None, None]).flatten(2)
        jacobian = -(turned - basis @ (basis.transpose(1, 2) @ turned)).reshape(len(frequency), -1, frequency.shape[1])
        across, residual = jacobian.transpose(1, 2), left.reshape(len(frequency), -1, 1)
        return Normal(left.square().sum((1, 2)), (across @ residual)[..., 0], across @ jacobian)


def _solved(triangle: Tensor, known: Tensor) -> Tensor:
    """Return the amplitudes ``[B, 2K, windows]``; 0 of waves that are nearly the sum of others."""
    size = triangle.diagonal(dim1=1, dim2=2).abs()
    barred = torch.where(size < NEARLY_DEPENDENT * size.amax(1, keepdim=True), 1 / torch.finfo(size.dtype).eps ** 2, 0.0)
    amplitudes: Tensor = torch.linalg.solve_triangular(triangle + torch.diag_embed(barred), known, upper=True)
    return amplitudes
