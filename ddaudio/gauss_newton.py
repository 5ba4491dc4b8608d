"""Least squares of second order: Gauss-Newton steps with damping.

With the residual ``r`` and the Jacobian ``J`` of the signals with respect to the parameters, a step solves

    (J' J + mu D) step = J' r,    D = diag(J' J) of each partial on its own

by conjugate gradients, preconditioned with ``D``; ``J`` is never written out. The damping ``mu`` falls after a step that
helped, and grows until one does (Marquardt, 1963, SIAM J. Appl. Math. 11(2)).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ddaudio.models import Network
from ddaudio.models.base import Tangent

INNER_STEPS = 8
"""Conjugate gradient steps in one Gauss-Newton step."""
FIRST_DAMPING, LEAST_DAMPING = 1e-2, 1e-6
EASED, STIFFENED = 1 / 3, 4.0
"""Factors of the damping after a step that helped, and after one that did not."""
TRIES = 5
"""Steps that are tried, each shorter than the one before, until the error falls."""
LONGEST_STEP = 0.7
"""Bound on the change of a parameter that enters nonlinearly, in its own units; see `Network.bounded`."""
SMALLEST_SQUARE = 1e-4
"""Least entry of ``D``, as a share of its mean: parameters that change nothing must not be sent far away."""


class GaussNewton:
    """Damped Gauss-Newton descent of the squared error between a network's signals and ``target [B, T]``."""

    def __init__(self, network: Network, target: Tensor) -> None:
        self._network, self._target = network, target
        self.damping = FIRST_DAMPING
        """``mu`` of the next step."""
        with torch.no_grad():
            self.estimate = network.estimate()
            """What the network says, where the last step ended."""
            self._residual = target - self.estimate
        self.energy = float(self._residual.double().square().sum())
        """Sum of squares of the residual, as it stands."""
        self.slope: list[Tensor] = []
        """``J' r`` for each parameter, where the last step began: minus half the gradient of the sum of squares."""

    @torch.no_grad()
    def step(self) -> bool:
        """Take a step; return False, and leave the parameters as they were, if none is found that helps."""
        parameters = list(self._network.parameters())
        before = [parameter.clone() for parameter in parameters]
        changes = self._solve(self._network.tangent())
        for _ in range(TRIES):
            for parameter, old, change in zip(parameters, before, changes, strict=True):
                parameter.copy_(old + change)
            self._network.project()
            estimate = self._network.estimate()
            residual = self._target - estimate
            energy = float(residual.double().square().sum())
            if energy < self.energy:
                self.estimate, self._residual, self.energy = estimate, residual, energy
                self.damping = max(self.damping * EASED, LEAST_DAMPING)
                return True
            self.damping *= STIFFENED
            changes = [change * EASED for change in changes]
        for parameter, old in zip(parameters, before, strict=True):
            parameter.copy_(old)
        return False

    def _solve(self, tangent: Tangent) -> list[Tensor]:
        """Return the step by preconditioned conjugate gradients."""
        squares = [square.clamp(min=SMALLEST_SQUARE * float(square.mean())) for square in tangent.squares()]
        left = self.slope = tangent.adjoint(self._residual)
        solution = [torch.zeros_like(part) for part in left]
        direction = scaled = [part / square for part, square in zip(left, squares, strict=True)]
        size = _dot(left, scaled)
        for _ in range(INNER_STEPS):
            if not math.isfinite(size) or size <= 0:
                break
            curved = tangent.adjoint(tangent.forward(direction))
            curved = [c + self.damping * s * d for c, s, d in zip(curved, squares, direction, strict=True)]
            curvature = _dot(direction, curved)
            if not curvature > 0:  # Rounded away: no step is long enough.
                break
            length = size / curvature
            solution = [part + length * along for part, along in zip(solution, direction, strict=True)]
            left = [part - length * along for part, along in zip(left, curved, strict=True)]
            scaled = [part / square for part, square in zip(left, squares, strict=True)]
            previous, size = size, _dot(left, scaled)
            direction = [part + (size / previous) * along for part, along in zip(scaled, direction, strict=True)]
        return self._network.bounded(solution, LONGEST_STEP)


def _dot(some: Sequence[Tensor], others: Sequence[Tensor]) -> float:
    return sum(float((one * other).sum(dtype=torch.float64)) for one, other in zip(some, others, strict=True))
