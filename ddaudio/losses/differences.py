"""Losses that compare differences over time: the proximal difference loss (PDL) and its relatives.

With ``e = estimate - target``, PDL is ``sum_d w_d mean_n D(e[n + d] - e[n]) / sum_d w_d`` over lags ``d``, ``D`` the square, the
absolute value, or Huber's mean of both. A difference at lag ``d`` is a filter with the power response
``4 sin^2(pi f d / sample_rate)``: small lags stress high frequencies, and a constant offset costs nothing. A lag without a
pair, in a signal that is too short, counts zero.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import huber_loss

from ddaudio.losses.all_pairs import all_pairs
from ddaudio.losses.base import Loss, StepInfo
from ddaudio.options import HUBER_DELTA

NEAR_LAGS = (1, 2, 4, 8, 16, 32, 64)
"""The lags ``near``, in samples."""
LAGS_AT_ONCE = 4
"""How many of the lags ``long-range`` and ``far-to-near`` a step looks at."""
JUDGED_LAGS = 8
"""How many lags from 1 to the longest, evenly spaced by ratio, the judge looks at in place of lags that change."""
WEIGHTS: dict[str, Callable[[Tensor], Tensor]] = {
    "equal": torch.ones_like,
    "by-distance": lambda lags: lags,
    "by-inverse-distance": lambda lags: 1 / lags,
}
"""The weight of each lag, for lags in samples, by name."""
DISTANCES: dict[str, Callable[[Tensor], Tensor]] = {
    "squared": torch.square,
    "absolute": torch.abs,
    "huber": lambda error: huber_loss(error, torch.zeros_like(error), reduction="none", delta=HUBER_DELTA),
}
"""What a difference costs, by name."""


def pdl(
    estimate: Tensor, target: Tensor, lags: Sequence[int] = NEAR_LAGS, weights: str = "equal", distance: str = "squared"
) -> Tensor:
    """Return the proximal difference loss of each signal, ``[B]``, at given lags in samples; see the head of this module."""
    error, cost = estimate - target, DISTANCES[distance]
    weight = WEIGHTS[weights](torch.tensor(lags, dtype=torch.float64))
    total = error[..., 0] * 0
    for lag, share in zip(lags, (weight / weight.sum()).tolist(), strict=True):
        if lag < error.shape[-1]:
            total = total + share * cost(error[..., lag:] - error[..., :-lag]).mean(-1)
    return total


def slope(estimate: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error of the slopes, ``((e[n + 1] - e[n - 1]) / 2)^2``, of each signal, ``[B]``.

    Central differences: a quarter of PDL at lag 2, blind to a constant and to the frequency half the sample rate.
    """
    return pdl(estimate, target, (2,)) / 4


def first_difference(estimate: Tensor, target: Tensor) -> Tensor:
    """Return the mean of ``|e[n + 1] - e[n]|`` of each signal, ``[B]``: PDL at lag 1 with the absolute distance.

    The L1 loss of first differences, as in the gradient difference loss of images (Mathieu, Couprie and LeCun, 2016, Deep
    multi-scale video prediction beyond mean square error), but with signs, which that one leaves out.
    """
    return pdl(estimate, target, (1,), distance="absolute")


def long_range_lags(n_samples: int, moment: StepInfo) -> list[int]:
    """Return lags from 1 to ``n_samples - 1``, log-uniform at random, new at each step; one and the same for the same moment."""
    draws = np.random.default_rng((moment.seed, moment.step)).uniform(0, math.log(max(n_samples, 2)), LAGS_AT_ONCE)
    return [min(int(math.exp(draw)), max(n_samples - 1, 1)) for draw in draws]


def far_to_near_lags(n_samples: int, moment: StepInfo) -> list[int]:
    """Return a lag that shrinks from the longest to 1 by the same ratio at each step, and its half, quarter and eighth."""
    left = 1 - moment.step / max(1, moment.steps - 1)
    reach = max(n_samples - 1, 1) ** max(0.0, left)
    return sorted({max(1, round(reach / 2**halvings)) for halvings in range(LAGS_AT_ONCE)}, reverse=True)


def evaluation_lags(n_samples: int) -> list[int]:
    """Return lags from 1 to ``n_samples - 1``, evenly spaced by ratio: what stands for lags that change."""
    return sorted({round(lag) for lag in np.geomspace(1, max(n_samples - 1, 1), JUDGED_LAGS).tolist()})


class Pdl(Loss):
    """PDL with a choice of lags, by name or given in samples, of weights and of distance."""

    def __init__(self, lags: str | Sequence[int] = "near", weights: str = "equal", distance: str = "squared") -> None:
        self.lags, self.weights, self.cost = lags, weights, distance

    def distance(self, estimate: Tensor, prepared: Sequence[Tensor], moment: StepInfo | None) -> Tensor:
        """Return the loss at the lags of this moment."""
        (target,) = prepared
        if self.lags == "all-pairs":
            return all_pairs(estimate, target, self.weights, self.cost)
        return pdl(estimate, target, self.lags_at(target.shape[-1], moment), self.weights, self.cost)

    def lags_at(self, n_samples: int, moment: StepInfo | None) -> Sequence[int]:
        """Return the lags that are looked at in a signal of ``n_samples``."""
        if self.lags == "near":
            return NEAR_LAGS
        if not isinstance(self.lags, str):
            return self.lags
        if moment is None:
            return evaluation_lags(n_samples)
        return (long_range_lags if self.lags == "long-range" else far_to_near_lags)(n_samples, moment)
