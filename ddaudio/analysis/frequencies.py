"""Frequency estimators by gradient descent from random initial values, without search, restarts or peak picking.

An estimator first minimises an objective without spurious local minima, then refines with growing windows (`growing_windows`):

- ``annihilating-filter``: the residual of ``K`` notch filters (`ddaudio.analysis.annihilating_filter`), for any amplitudes.
- ``optimal-transport``: the cost of transporting the power spectrum onto ``K`` points of equal mass
  (`ddaudio.analysis.optimal_transport`), for larger numbers of sinusoids of equal amplitude without noise.

All frequencies are optimised jointly, one per sinusoid. Amplitudes are solved for by least squares at the current frequencies;
the two objectives above do not need them.
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
"""First stage of each estimator: a function of signals ``[B, N]`` and frequencies ``[B, K]`` to frequencies."""
BLOCK_ELEMENTS = 1 << 21
"""Largest product of samples and frequencies processed at once."""
FIRST_WINDOW = {"annihilating-filter": 1, "optimal-transport": 256}
"""Shortest window of the refinement: where optimal transport works, its error is below a bin of 256 samples."""


def most_sinusoids(n_samples: int) -> int:
    """Return the largest number of sinusoids that can be estimated: ``K`` of them need ``4 K + 2`` samples."""
    return max(0, (n_samples - 2) // 4)


def find_frequencies(signals: Tensor, start: Tensor, estimator: EstimatorName = "annihilating-filter") -> Tensor:
    """Estimate the frequencies of ``K`` sinusoids in each of ``signals [B, N]``: ``[B, K]``, ascending, in radians per sample.

    ``K`` is the number of initial frequencies; see the module's documentation. Computed in float64 for signals of any type.

    Args:
        signals: at least ``4 K + 2`` samples; any finite values.
        start: initial frequencies ``[B, K]``, 0 to pi, such as uniformly random ones.
        estimator: ``annihilating-filter`` or ``optimal-transport``.

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
