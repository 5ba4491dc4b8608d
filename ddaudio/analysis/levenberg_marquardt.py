"""Damped Gauss-Newton steps for many small problems at once (Levenberg, 1944; Marquardt, 1963)."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

FIRST_DAMPING, SMALLEST_DAMPING, GIVEN_UP = 1e-2, 1e-12, 1e6
"""Initial, smallest and largest damping; above the largest a problem has converged, since no step lowers the energy."""
DAMPING_FALL, DAMPING_RISE = 3.0, 4.0
"""Factors of the damping after a step that lowers the energy, and after one that does not."""


class Normal(NamedTuple):
    """Gauss-Newton approximation of a sum of squares near a point."""

    energy: Tensor
    """``|r|^2``, ``[B]``."""
    slope: Tensor
    """``J^T r``, half the gradient, ``[B, K]``."""
    curvature: Tensor
    """``J^T J``, ``[B, K, K]``."""


def descend(
    normal: Callable[[Tensor], Normal], start: Tensor, steps: int, bounds: tuple[float, float], most: float = math.inf
) -> Tensor:
    """Minimise sums of squares from ``start [B, K]``; return the result, ``[B, K]``. No step increases them.

    A step solves ``(J^T J + d diag(J^T J)) s = -J^T r``. The damping ``d`` decreases after a step that lowers the energy, and
    increases after one that does not, which is undone.

    Args:
        normal: returns the normal equations at a point ``[B, K]``.
        start: initial values, within the bounds.
        steps: largest number of steps.
        bounds: lowest and highest value of all variables.
        most: longest step of any variable.

    """
    value, now = start, normal(start)
    damping = torch.full_like(value[:, :1], FIRST_DAMPING)
    for _ in range(steps):
        held = ((value <= bounds[0]) & (now.slope > 0)) | ((value >= bounds[1]) & (now.slope < 0))
        trial = (value + _step(now, damping, held).clamp(-most, most)).clamp(*bounds)
        then = normal(trial)
        better = then.energy < now.energy
        value = torch.where(better[:, None], trial, value)
        row = better[:, None]
        now = Normal(
            torch.where(better, then.energy, now.energy),
            torch.where(row, then.slope, now.slope),
            torch.where(row[..., None], then.curvature, now.curvature),
        )
        damping = torch.where(row, damping / DAMPING_FALL, damping * DAMPING_RISE).clamp(min=SMALLEST_DAMPING)
        if bool((damping > GIVEN_UP).all()):
            break
    return value


def _step(now: Normal, damping: Tensor, held: Tensor) -> Tensor:
    """Return the damped step of each problem; 0 for variables held at a bound."""
    slope = now.slope.masked_fill(held, 0)
    curvature = now.curvature.masked_fill(held[:, :, None] | held[:, None, :], 0)
    diagonal = curvature.diagonal(dim1=1, dim2=2)
    # A variable without influence would make the matrix singular; the added weight does not affect the others.
    weight = diagonal * damping + diagonal.amax(1, keepdim=True) * 1e-15 + torch.finfo(slope.dtype).tiny + held
    step = torch.linalg.solve_ex(curvature + torch.diag_embed(weight), -slope[..., None])[0][..., 0]
    return torch.where(step.isfinite(), step, 0.0)
