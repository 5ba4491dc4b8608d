"""Losses on differences over time: the proximal difference loss (PDL) and related losses.

With ``e = estimate - target``, PDL is ``sum_d w_d mean_n D(e[n + d] - e[n]) / sum_d w_d`` over lags ``d``, ``D`` the square, the
absolute value, or the Huber function. A difference at lag ``d`` is a filter with the power response
``4 sin^2(pi f d / sample_rate)``: small lags emphasise high frequencies, and a constant offset is ignored. A lag that has no
pair in a short signal contributes zero.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import huber_loss

from ddaudio.losses.all_pairs import all_pairs, over_pairs, pair_weights
from ddaudio.losses.base import Loss, StepInfo
from ddaudio.losses.curvature import Centred, Curvature, Differences, PairWeights
from ddaudio.options import HUBER_DELTA

NEAR_LAGS = (1, 2, 4, 8, 16, 32, 64)
"""The lags ``near``, in samples."""
LAGS_AT_ONCE = 4
"""Number of lags per step of ``long-range`` and ``far-to-near``."""
JUDGED_LAGS = 8
"""Number of geometrically spaced lags, from 1 to the longest, that replace varying lags in evaluations."""
WEIGHTS: dict[str, Callable[[Tensor], Tensor]] = {
    "equal": torch.ones_like,
    "by-distance": lambda lags: lags,
    "by-inverse-distance": lambda lags: 1 / lags,
}
"""Weight functions of lags in samples, by name."""
DISTANCES: dict[str, Callable[[Tensor], Tensor]] = {
    "squared": torch.square,
    "absolute": torch.abs,
    "huber": lambda error: huber_loss(error, torch.zeros_like(error), reduction="none", delta=HUBER_DELTA),
}
"""Distance functions, by name."""
SMALLEST_ERROR = 1e-3
"""Absolute values below it, in units of the target's level, have the curvature that they have at it."""


def pdl(
    estimate: Tensor, target: Tensor, lags: Sequence[int] = NEAR_LAGS, weights: str = "equal", distance: str = "squared"
) -> Tensor:
    """Return the proximal difference loss of each signal, ``[B]``, at lags in samples; see the module's documentation."""
    error, cost = estimate - target, DISTANCES[distance]
    weight = WEIGHTS[weights](torch.tensor(lags, dtype=torch.float64))
    total = error[..., 0] * 0
    for lag, share in zip(lags, (weight / weight.sum()).tolist(), strict=True):
        if lag < error.shape[-1]:
            total = total + share * cost(error[..., lag:] - error[..., :-lag]).mean(-1)
    return total


def slope(estimate: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error of the slopes, ``((e[n + 1] - e[n - 1]) / 2)^2``, of each signal, ``[B]``.

    Central differences: a quarter of PDL at lag 2, insensitive to a constant and to half the sample rate.
    """
    return pdl(estimate, target, (2,)) / 4


def first_difference(estimate: Tensor, target: Tensor) -> Tensor:
    """Return the mean of ``|e[n + 1] - e[n]|`` of each signal, ``[B]``: PDL at lag 1 with the absolute distance.

    The L1 loss of first differences, as in the gradient difference loss of images (Mathieu, Couprie and LeCun, 2016, Deep
    multi-scale video prediction beyond mean square error), but with signs, which are omitted there.
    """
    return pdl(estimate, target, (1,), distance="absolute")


def long_range_lags(n_samples: int, moment: StepInfo) -> list[int]:
    """Return random, log-uniform lags from 1 to ``n_samples - 1``, a deterministic function of ``moment``."""
    draws = np.random.default_rng((moment.seed, moment.step)).uniform(0, math.log(max(n_samples, 2)), LAGS_AT_ONCE)
    return [min(int(math.exp(draw)), max(n_samples - 1, 1)) for draw in draws]


def far_to_near_lags(n_samples: int, moment: StepInfo) -> list[int]:
    """Return a lag that decreases geometrically from the longest to 1 over the steps, and its half, quarter and eighth."""
    left = 1 - moment.step / max(1, moment.steps - 1)
    reach = max(n_samples - 1, 1) ** max(0.0, left)
    return sorted({max(1, round(reach / 2**halvings)) for halvings in range(LAGS_AT_ONCE)}, reverse=True)


def evaluation_lags(n_samples: int) -> list[int]:
    """Return geometrically spaced lags from 1 to ``n_samples - 1``, used in evaluations in place of varying lags."""
    return sorted({round(lag) for lag in np.geomspace(1, max(n_samples - 1, 1), JUDGED_LAGS).tolist()})


def curvature_at(error: Tensor, shares: Mapping[int, float], distance: str, delta: float = HUBER_DELTA) -> Differences:
    """Return the curvature of ``sum_d shares[d] mean_n D((D_d e)[n])`` at an error ``[B, T]``; of lag 0, ``D_d e`` is ``e``.

    Of a squared distance it is exact, and has the same weight everywhere. Others are touched from above by parabolas of the
    curvature ``D'(x) / x``: ``1 / |x|``, or for Huber's distance ``min(1, delta / |x|)``.
    """
    n_samples, weights = error.shape[-1], dict[int, float | Tensor]()
    for lag, share in shares.items():
        if lag >= n_samples:
            continue
        each = share / (n_samples - lag)
        if distance == "squared":
            weights[lag] = 2 * each
            continue
        size = (error[..., lag:] - error[..., :-lag]).abs() if lag else error.abs()
        weights[lag] = each / size.clamp(min=SMALLEST_ERROR) if distance == "absolute" else each / (size / delta).clamp(min=1)
    return Differences(weights)


class Pointwise(Loss):
    """The mean of a distance function of the error.

    Args:
        function: estimate and target to losses.
        cost: name of the distance function.
        delta: that of Huber's distance.

    """

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], cost: str, delta: float = HUBER_DELTA) -> None:
        self.function, self.cost, self.delta = function, cost, delta

    def distance(self, estimate: Tensor, prepared: Sequence[Tensor], moment: StepInfo | None) -> Tensor:  # noqa: ARG002
        """Return the function's value."""
        return self.function(estimate, prepared[0])

    def filter(self, n_samples: int) -> Differences | None:
        """Return the curvature of the squared error."""
        return Differences({0: 2 / n_samples}) if self.cost == "squared" else None

    def expand(self, estimate: Tensor, prepared: Sequence[Tensor]) -> tuple[Tensor, Curvature]:
        """Return the loss and its curvature."""
        error = (estimate - prepared[0]).detach()
        return self.distance(estimate, prepared, None), curvature_at(error, {0: 1.0}, self.cost, self.delta)


class Pdl(Loss):
    """PDL with lags (by name or in samples), weights and distance, times a factor."""

    def __init__(
        self, lags: str | Sequence[int] = "near", weights: str = "equal", distance: str = "squared", factor: float = 1.0
    ) -> None:
        self.lags, self.weights, self.cost, self.factor = lags, weights, distance, factor

    def distance(self, estimate: Tensor, prepared: Sequence[Tensor], moment: StepInfo | None) -> Tensor:
        """Return the loss at the lags of the current step."""
        (target,) = prepared
        if self.lags == "all-pairs":
            return all_pairs(estimate, target, self.weights, self.cost)
        found = pdl(estimate, target, self.lags_at(target.shape[-1], moment), self.weights, self.cost)
        return found if self.factor == 1 else self.factor * found

    def lags_at(self, n_samples: int, moment: StepInfo | None) -> Sequence[int]:
        """Return the lags for a signal of ``n_samples``."""
        if self.lags == "near":
            return NEAR_LAGS
        if not isinstance(self.lags, str):
            return self.lags
        if moment is None:
            return evaluation_lags(n_samples)
        return (long_range_lags if self.lags == "long-range" else far_to_near_lags)(n_samples, moment)

    def filter(self, n_samples: int) -> Differences | None:
        """Return the curvature of squared differences at fixed lags; that of all pairs is not the same at all times."""
        if self.cost != "squared" or self.lags in ("all-pairs", "long-range", "far-to-near"):
            return None
        return curvature_at(torch.zeros(1, n_samples), self._shares(n_samples), self.cost)

    def expand(self, estimate: Tensor, prepared: Sequence[Tensor]) -> tuple[Tensor, Curvature]:
        """Return the loss and its curvature."""
        value, n_samples = self.distance(estimate, prepared, None), estimate.shape[-1]
        if self.lags != "all-pairs":
            return value, curvature_at((estimate - prepared[0]).detach(), self._shares(n_samples), self.cost)
        if self.cost != "squared":
            raise NotImplementedError(f"all pairs with the distance {self.cost} have no curvature")
        if self.weights == "equal" or n_samples == 1:
            return value, Centred(4 / n_samples)
        weight = pair_weights(n_samples, self.weights == "by-distance")
        return value, PairWeights(2 * weight / over_pairs(weight))

    def _shares(self, n_samples: int) -> dict[int, float]:
        """Return the weight of each lag in evaluations; those of the lags sum to the factor."""
        lags = self.lags_at(n_samples, None)
        weight = WEIGHTS[self.weights](torch.tensor(lags, dtype=torch.float64))
        return dict(zip(lags, (self.factor * weight / weight.sum()).tolist(), strict=True))


SLOPE = Pdl((2,), factor=0.25)
"""`slope`."""
FIRST_DIFFERENCE = Pdl((1,), distance="absolute")
"""`first_difference`."""
