"""The correlation of estimate and target: how large their product is, for their levels."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ddaudio.losses.base import Loss, StepInfo
from ddaudio.losses.curvature import Curvature

QUIETEST_LEVEL = 1e-3
"""Signals of a level well below it, relative to the target's, count as silence."""


class Directions(Curvature):
    """``J J`` with ``J = (I - u u') / n``, the symmetric Jacobian of ``u = x / n`` with ``n^2 = |x|^2 + T QUIETEST_LEVEL^2``.

    Args:
        unit: ``u``, ``[B, T]``.
        norm: ``n``, ``[B, 1]``.

    """

    def __init__(self, unit: Tensor, norm: Tensor) -> None:
        self.unit, self.norm = unit, norm
        self.square = unit.square().sum(-1, keepdim=True)

    def product(self, change: Tensor) -> Tensor:
        """Return the product with a change of the signals."""
        along = (self.unit * change).sum(-1, keepdim=True)
        return (change - (2 - self.square) * along * self.unit) / self.norm.square()

    def levels(self) -> Tensor:
        """Return that of waves that are not in the signals."""
        return (1 / self.norm.square())[..., None]


class Correlation(Loss):
    """The loss ``correlation``: ``1 - sum(x y) / (|x| |y|)``, 0 to 2, insensitive to the level of the estimate.

    Computed as ``|x / |x| - y / |y||^2 / 2``, which is a sum of squares. Silence has the direction 0: it costs 0 beside silence,
    and 1/2 beside anything else.
    """

    def prepare(self, target: Tensor) -> Sequence[Tensor]:
        """Return the direction of the target."""
        return [_direction(target)[0]]

    def distance(self, estimate: Tensor, prepared: Sequence[Tensor], moment: StepInfo | None) -> Tensor:  # noqa: ARG002
        """Return the loss of each signal, ``[B]``."""
        return (_direction(estimate)[0] - prepared[0]).square().sum(-1) / 2

    def expand(self, estimate: Tensor, prepared: Sequence[Tensor]) -> tuple[Tensor, Curvature]:
        """Return the loss and its curvature."""
        return self.distance(estimate, prepared, None), Directions(*_direction(estimate.detach()))


def _direction(signals: Tensor) -> tuple[Tensor, Tensor]:
    """Return signals ``[B, T]`` divided by their norms, and the norms ``[B, 1]``, none below that of silence."""
    floor = QUIETEST_LEVEL * math.sqrt(signals.shape[-1])
    norm: Tensor = torch.linalg.vector_norm(signals, dim=-1, keepdim=True)
    norm = (norm.clamp(min=floor * 1e-6).square() + floor**2).sqrt()
    return signals / norm, norm


CORRELATION = Correlation()
"""The loss ``correlation``."""
