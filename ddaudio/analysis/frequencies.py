"""Estimators that find sinusoids from random frequencies by gradient alone: no search, no restart, no peak is picked.

An estimator first descends in a landscape without false valleys, then with longer and longer windows (`growing_windows`):

- ``notches``: what `K` notch filters leave of the signal (`annihilating_filter`). Amplitudes may be anything.
- ``transport``: what it costs to carry the power spectrum onto ``K`` points of equal mass (`optimal_transport`). For
  sinusoids of equal strength without noise, of which there may be more.

What is solved and what descends: frequencies descend, all of them at once, one oscillator for each sinusoid. Amplitudes are
solved by least squares for the frequencies as they are; notches and transport need none.
"""

import math
from collections.abc import Callable
from typing import get_args

import torch
from torch import Tensor

from ddaudio.analysis.annihilating_filter import silence
from ddaudio.analysis.growing_windows import grow
from ddaudio.analysis.optimal_transport import carry
from ddaudio.errors import OptionError
from ddaudio.options import EstimatorName

__all__ = ["FIRST_STAGES", "find_frequencies", "most_sinusoids"]

FIRST_STAGES: dict[EstimatorName, Callable[[Tensor, Tensor], Tensor]] = {
    "annihilating-filter": silence,
    "optimal-transport": carry,
}
"""How each estimator begins: from signals ``[B, N]`` and frequencies ``[B, K]`` to frequencies."""
BLOCK_ELEMENTS = 1 << 21
"""Samples times frequencies that are worked on at once."""
FIRST_WINDOW = {"annihilating-filter": 1, "optimal-transport": 256}
"""Shortest window that the frequencies are refined with: transport, where it works at all, comes within a bin of 256 samples."""


def most_sinusoids(n_samples: int) -> int:
    """Return how many sinusoids the estimators look for in ``n_samples`` samples at most: ``4 K + 2`` samples hold ``K``."""
    return max(0, (n_samples - 2) // 4)


def find_frequencies(signals: Tensor, start: Tensor, estimator: EstimatorName = "annihilating-filter") -> Tensor:
    """Return the frequencies of ``K`` sinusoids in each of ``signals [B, N]``, ``[B, K]``, rising, in radians per sample.

    Exactly as many oscillators as ``start`` has; see the head of this module. Computed in float64, whatever the signals are.

    Args:
        signals: what was recorded, with ``4 K + 2`` samples or more; every finite value is allowed.
        start: frequencies to begin with, ``[B, K]``, 0 to pi, such as uniformly random ones.
        estimator: ``notches`` or ``transport``.

    Raises:
        OptionError: the estimator is unknown, shapes do not fit, signals are too short, or a value is not finite or out of range.

    >>> signal = (torch.arange(512) * 0.7).cos() + 0.1 * (torch.arange(512) * 2.0).cos()
    >>> find_frequencies(signal[None], torch.tensor([[3.0, 0.1]]))
    tensor([[0.7000, 2.0000]])

    """
    if estimator not in get_args(EstimatorName):
        raise OptionError(setting="estimator", value=estimator, allowed=", ".join(get_args(EstimatorName)))
    if signals.dim() != 2 or start.dim() != 2 or len(signals) != len(start) or not start.shape[1]:
        raise OptionError(
            f"signals are {list(signals.shape)} and start is {list(start.shape)}",
            allowed="[B, N] and [B, K] with as many rows, K 1 or more",
        )
    if start.shape[1] > most_sinusoids(signals.shape[1]):
        raise OptionError(
            f"{start.shape[1]} sinusoids of {signals.shape[1]} samples", allowed=f"{4 * start.shape[1] + 2} samples or more"
        )
    if not signals.isfinite().all():
        bad = int((~signals.isfinite()).sum())
        raise OptionError(f"signals have {bad} of {signals.numel()} values NaN or infinite", allowed="finite values")
    outside = start[~((start >= 0) & (start <= math.pi))]
    if len(outside):
        raise OptionError(setting="start", verb="contains", value=outside[0].item(), allowed="0 to pi radians per sample")
    rows = max(1, BLOCK_ELEMENTS // (signals.shape[1] * start.shape[1]))
    found = []
    for first in range(0, len(signals), rows):
        block, begin = (part[first : first + rows].double() for part in (signals, start))
        found.append(grow(block, FIRST_STAGES[estimator](block, begin), min(FIRST_WINDOW[estimator], block.shape[1])))
    return torch.cat(found).sort(1).values.to(start.dtype)
