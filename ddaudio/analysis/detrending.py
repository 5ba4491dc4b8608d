"""Least-squares fits of the drift of recordings, see `ddaudio.synthesis.drift`."""

from typing import NamedTuple

import numpy as np
import torch
from scipy.linalg import solveh_banded  # type: ignore[import-untyped]
from torch import Tensor
from torch.nn.functional import pad

from ddaudio.io.samples import Samples, block_length, on_cpu
from ddaudio.synthesis.drift import ORDER, n_coefficients, spline_weights

RIDGE = 1e-10
"""Added to the diagonal of the normal equations, relative to the length of an interval: for splines that the recording's ends
almost cut off."""


class Projection(NamedTuple):
    """The orthogonal projection of signals on splines, or on constants."""

    coefficients: Tensor
    """``[C, K]`` float64."""
    energy: float
    """Energy of the projection, all channels pooled. Splines of half the interval contain those of the whole, so the energy of
    the difference of two projections is the difference of their energies."""


def project(samples: Samples, interval: int) -> Projection:
    """Return the projection of signals ``[C, T]`` on cubic splines with knots every ``interval`` samples; 0 for constants."""
    n_channels, n_samples = samples.shape
    if not interval:
        return _project_on_constants(samples)
    n_intervals = -(-n_samples // interval)
    weights = spline_weights(torch.arange(interval, dtype=torch.float64) / interval)
    products = torch.zeros(n_channels, n_coefficients(interval, n_samples), dtype=torch.float64)
    at_once = max(1, block_length(n_channels) // interval)
    for first in range(0, n_intervals, at_once):
        block = on_cpu(samples[:, first * interval : (first + at_once) * interval]).double()
        block = pad(block, (0, -block.shape[1] % interval)).reshape(n_channels, -1, interval) @ weights
        for spline in range(ORDER):
            products[:, first + spline : first + spline + block.shape[1]] += block[..., spline]
    last = weights[: n_samples - (n_intervals - 1) * interval]
    bands = _normal_equations(n_intervals, (weights.T @ weights).numpy(), (last.T @ last).numpy())
    bands[0] += RIDGE * interval
    coefficients = torch.from_numpy(np.ascontiguousarray(solveh_banded(bands, products.T.numpy(), lower=True).T))
    return Projection(coefficients, float((products * coefficients).sum()))


def _project_on_constants(samples: Samples) -> Projection:
    """Return the projection on constants: the means."""
    n_channels, n_samples = samples.shape
    step = block_length(n_channels)
    blocks = (on_cpu(samples[:, first : first + step]).double() for first in range(0, n_samples, step))
    means = torch.stack([block.sum(1) for block in blocks]).sum(0) / n_samples
    return Projection(means[:, None], n_samples * float(means.square().sum()))


def _normal_equations(n_intervals: int, whole: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Return the inner products of B-splines as lower bands, ``[4, K]``.

    Args:
        n_intervals: number of intervals.
        whole: inner products within an interval, ``[4, 4]``.
        last: the same within the last one, which the end of the recording may cut.

    """
    bands = np.zeros((ORDER, n_intervals + ORDER - 1))
    for distance in range(ORDER):
        for spline in range(ORDER - distance):
            row = bands[distance, spline : spline + n_intervals]
            row[:-1] += whole[spline, spline + distance]
            row[-1] += last[spline, spline + distance]
    return bands
