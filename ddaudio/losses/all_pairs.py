"""PDL over all ordered pairs of samples in less than quadratic time: ``sum_ij w_|i-j| D(e_i - e_j) / sum_ij w_|i-j|``.

- Squared, equal weights: twice the population variance of the error, ``2 (mean e^2 - (mean e)^2)``. Its gradient is twice that
  of mse for the error without its mean: except for a constant offset it is mse. O(B).
- Squared, weighted: ``sum_ij w_|i-j| (e_i - e_j)^2 = 2 (sum_i e_i^2 sum_j w_|i-j| - 2 sum_(d>0) w_d R_d)``, with the
  autocorrelation ``R_d = sum_n e[n] e[n + d]`` by FFT. O(B log B).
- Absolute, equal weights: sorted, ``sum_(i<j) (s_j - s_i) = sum_k (2 k - B + 1) s_k`` (Gini's mean difference). O(B log B).
- Huber, equal weights: sorted, pairs closer than delta are adjacent, and their sums are differences of cumulative sums.

Sums are computed in float64, since the results are differences of larger values.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from ddaudio.options import HUBER_DELTA


def all_pairs(estimate: Tensor, target: Tensor, weights: str = "equal", distance: str = "squared") -> Tensor:
    """Return PDL over all ordered pairs of samples of each signal, ``[B]``; see the module's documentation.

    Weights other than ``equal`` require the distance ``squared``. With equal weights, pairs of a sample with itself are included.
    """
    error = (estimate - target).double()
    # Differences do not depend on the mean; without it there is less cancellation.
    error = error - error.mean(-1, keepdim=True)
    if distance == "squared":
        found = 2 * error.square().mean(-1) if weights == "equal" else _weighted(error, weights == "by-distance")
    elif weights == "equal":
        order = error.sort(-1).values
        sums = _absolute_pairs(order) if distance == "absolute" else _huber_pairs(order)
        found = 2 * sums / error.shape[-1] ** 2
    else:
        raise ValueError(f"all pairs with weights {weights} have the distance squared alone, not {distance}")
    return found.clamp(min=0).to(estimate)


def _weighted(error: Tensor, by_distance: bool) -> Tensor:
    """Return the mean squared difference, weighted by distance or by its inverse; 0 for a single sample."""
    n_samples = error.shape[-1]
    if n_samples == 1:
        return error[..., 0] * 0
    weight = pair_weights(n_samples, by_distance)
    # Weights of all samples to the left of each sample; those to the right are the same, mirrored.
    before = pad(weight.cumsum(0), (1, 0))
    own = (error.square() * (before + before.flip(0))).sum(-1)
    size = 1 << (2 * n_samples - 1).bit_length()
    spectrum = torch.fft.rfft(error, size)
    correlation = torch.fft.irfft(spectrum.real.square() + spectrum.imag.square(), size)[..., 1:n_samples]
    total: Tensor = (own - 2 * (weight * correlation).sum(-1)) / over_pairs(weight)
    return total


def pair_weights(n_samples: int, by_distance: bool) -> Tensor:
    """Return the weight of an unordered pair at each lag from 1, ``[T - 1]`` float64."""
    lags = torch.arange(1, n_samples, dtype=torch.float64)
    return lags if by_distance else 1 / lags


def over_pairs(weight: Tensor) -> Tensor:
    """Return the sum of weights by lag, ``[T - 1]``, over all unordered pairs."""
    return (weight * torch.arange(weight.numel(), 0, -1, dtype=weight.dtype)).sum()


def _absolute_pairs(order: Tensor) -> Tensor:
    """Return the sum of differences over unordered pairs of sorted values ``[..., B]``."""
    n_samples = order.shape[-1]
    return (order * (2 * torch.arange(n_samples, dtype=order.dtype, device=order.device) - n_samples + 1)).sum(-1)


def _huber_pairs(order: Tensor) -> Tensor:
    """Return the sum of Huber's distance over unordered pairs of sorted values ``[..., B]``."""
    n_samples, delta = order.shape[-1], HUBER_DELTA
    place = torch.arange(n_samples, device=order.device)
    beyond = torch.searchsorted(order.detach(), order.detach() + delta, right=True)
    near, far = (beyond - place).to(order), (n_samples - beyond).to(order)
    sums, squares = (pad(values.cumsum(-1), (1, 0)) for values in (order, order.square()))
    sum_near, square_near = (runs.gather(-1, beyond) - runs[..., :-1] for runs in (sums, squares))
    sum_far = sums[..., -1:] - sums.gather(-1, beyond)
    within = (square_near - 2 * order * sum_near + near * order.square()) / 2
    return (within + delta * (sum_far - far * order) - far * delta**2 / 2).sum(-1)
