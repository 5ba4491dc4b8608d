"""Damped Gauss-Newton steps for least squares, and for other losses of the signals that have a curvature.

With the residual ``r`` and the Jacobian ``J`` of the signals with respect to the parameters, a step solves

    (J' J + mu D) step = J' r,    D = diag(J' J), block by block for each partial

by conjugate gradients, preconditioned with ``D``; ``J`` is never formed. The damping ``mu`` is reduced after a step that
lowers the error, and increased until one does (Marquardt, 1963, SIAM J. Appl. Math. 11(2)).

For an objective with gradient ``g`` and curvature ``H`` with respect to the signals (see `ddaudio.losses.curvature`) it solves
``(J' H J + mu D) step = -J' g`` (the generalised Gauss-Newton method: Schraudolph, 2002, Neural Computation 14(7)), and ``D`` is
``diag(J' J)`` times the level of ``H`` at the frequency and in the frame of each parameter.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ddaudio.grid.batched import Scalars, Segments, ratio
from ddaudio.losses import Objective
from ddaudio.models import Network
from ddaudio.models.batched import BatchedNetwork, can_batch, estimates
from ddaudio.training.history import Status
from ddaudio.training.optimiser import Closure, Optimiser
from ddaudio.training.preconditioning import curvature_levels, stacked_levels

INNER_STEPS = 8
"""Conjugate gradient steps in one Gauss-Newton step."""
FIRST_DAMPING, LEAST_DAMPING = 1e-2, 1e-6
EASED, STIFFENED = 1 / 3, 4.0
"""Factors of the damping after a step that lowers the error, and after one that does not."""
TRIES = 5
"""Most trials in a step, each shorter than the one before, until the error falls."""
LONGEST_STEP = 0.7
"""Bound on the change of a parameter that enters nonlinearly, in its own units; see `Network.clip_step`."""
SMALLEST_SQUARE = 1e-4
"""Least entry of ``D``, as a share of its mean: it bounds steps of parameters that change next to nothing."""


class GaussNewton(Optimiser):
    """Damped Gauss-Newton descent of the squared error between a network's signals and ``target [B, T]``, or of an objective.

    Args:
        network: network whose parameters are optimised.
        target: recorded signals, ``[B, T]``.
        estimate: the signals of the network, ``[B, T]``, if known.
        weight: factor from the sum of squares to the training loss, for `gradients`.
        objective: what is reduced instead of the squared error, as it is evaluated.
        terms: terms of the objective at the estimate, if known.

    """

    estimate: Tensor

    def __init__(
        self,
        network: Network,
        target: Tensor,
        estimate: Tensor | None = None,
        weight: float = 1.0,
        objective: Objective | None = None,
        terms: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(list(network.parameters()))
        self.network, self.target, self.objective = network, target, objective
        self.weight = weight if objective is None else 0.5
        self.damping = FIRST_DAMPING
        """``mu`` of the next step."""
        self.energy = 0.0
        """Sum of squares of the residual, or the objective."""
        self.slope = [torch.zeros_like(parameter) for parameter in self.parameters]
        """``J' r`` for each parameter at the start of the last step: minus half the gradient of the sum of squares; for an
        objective minus its gradient."""
        self._evaluate(estimate, terms)

    def _evaluate(self, estimate: Tensor | None = None, terms: Mapping[str, float] | None = None) -> None:
        self.estimate = estimates([self.network])[0] if estimate is None else estimate
        if self.objective is None:
            self.energy = float((self.target - self.estimate).double().square().sum())
        else:
            self.terms = self.objective.evaluate(self.estimate) if terms is None else terms
            self.energy = sum(self.terms.values())

    def step(self, closure: Closure | None = None, rate: float = 1.0) -> Status | None:
        """Take a step, which uses neither closure nor rate; return ``converged`` if no trial lowers the error."""
        del closure, rate
        return step_many([self])[0]

    def gradients(self) -> list[Tensor]:
        """Return the gradient of the training loss for each parameter at the start of the last step."""
        return [-2 * self.weight * part for part in self.slope]

    def state(self) -> dict[str, Tensor]:
        """Return the damping."""
        return {"damping": torch.tensor(self.damping, dtype=torch.float64)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Set the damping, and evaluate the network."""
        self.damping = float(state["damping"])
        self._evaluate()


@torch.no_grad()
def step_many(descents: Sequence[GaussNewton]) -> list[Status | None]:
    """Take a step in each of several descents, as one batch if possible: see `GaussNewton.step`."""
    if not can_batch([descent.network for descent in descents]):
        return [step_many([descent])[0] for descent in descents]
    batch = _Batch(descents)
    before = batch.row()
    slope, change = batch.solve()
    for _ in range(TRIES):
        batch.try_out(before + change)
        if not batch.waiting.any():
            break
        change = change * EASED
    batch.hand_out(slope)
    return ["converged" if waiting else None for waiting in batch.waiting]


class _Batch:
    """Several descents as one, with the values of all parameters in one row ``[N]``."""

    def __init__(self, descents: Sequence[GaussNewton]) -> None:
        batch = BatchedNetwork([descent.network for descent in descents])
        self._descents, self._owners = descents, batch.owners
        self.network, self.signals = batch.network, batch.signals
        self._parameters = list(self.network.parameters())
        self._all = Segments.beside(self._owners)
        self._target = self.signals.signals([descent.target for descent in descents])
        self._objectives = [descent.objective for descent in descents if descent.objective is not None]
        if self._objectives:
            pairs = zip(self._objectives, descents, strict=True)
            expansions = [objective.expand(descent.estimate) for objective, descent in pairs]
            self._curvatures = [one.curvature for one in expansions]
            self._residual = -self.signals.signals([one.gradient for one in expansions])
        else:
            self._residual = self._target - self.signals.signals([descent.estimate for descent in descents])
        self._energy = np.array([descent.energy for descent in descents])
        self._damping = np.array([descent.damping for descent in descents])
        self.waiting = np.ones(len(descents), dtype=bool)
        """Which descents have not found a step yet, ``[M]``."""
        self._kept, self._estimates = self.row(), [descent.estimate for descent in descents]
        self._terms = [descent.terms for descent in descents]

    def row(self) -> Tensor:
        """Return the values of all parameters."""
        return _row(self._parameters)

    def _parts(self, row: Tensor) -> list[Tensor]:
        """Return the part of a row that belongs to each parameter, in its shape."""
        pieces = torch.split(row, [parameter.numel() for parameter in self._parameters])
        return [piece.view(parameter.shape) for piece, parameter in zip(pieces, self._parameters, strict=True)]

    def try_out(self, row: Tensor) -> None:
        """Set all parameters; accept them for those pending descents whose error they lower."""
        for parameter, value in zip(self._parameters, self._parts(row), strict=True):
            parameter.copy_(value)
        self.network.project()
        estimate = self.network.estimate()
        energy, terms = self._evaluate(estimate)
        better = self.waiting & (energy < self._energy)
        self._kept = self._all.where(better, self.row(), self._kept)
        self._terms = [new if helped else old for old, new, helped in zip(self._terms, terms, better.tolist(), strict=True)]
        tried = zip(self._estimates, self.signals.own(estimate), better.tolist(), strict=True)
        self._estimates = [new if helped else old for old, new, helped in tried]
        self._energy = np.where(better, energy, self._energy)
        self.waiting = self.waiting & ~better
        self._damping = np.where(better, np.maximum(self._damping * EASED, LEAST_DAMPING), self._damping)
        self._damping = np.where(self.waiting, self._damping * STIFFENED, self._damping)

    def _evaluate(self, estimate: Tensor) -> tuple[Scalars, Sequence[Mapping[str, float]]]:
        """Return what each descent reduces, ``[M]``, for all signals, and the terms of its objective."""
        if not self._objectives:
            return self.signals.energies(self._target - estimate), self._terms
        pairs = zip(self._objectives, self.signals.own(estimate), strict=True)
        terms = [objective.evaluate(own) for objective, own in pairs]
        return np.array([sum(own.values()) for own in terms]), list[Mapping[str, float]](terms)

    def _curved(self, signals: Tensor) -> Tensor:
        """Return the product of the curvature with a change of all signals."""
        if not self._objectives:
            return signals
        pairs = zip(self._curvatures, self.signals.own(signals), strict=True)
        return self.signals.signals([curvature.product(own) for curvature, own in pairs])

    def hand_out(self, slope: Tensor) -> None:
        """Set each descent to its accepted parameters, and to its part of the slope."""
        kept, slopes = self._of_each(self._kept), self._of_each(slope)
        for place, descent in enumerate(self._descents):
            for parameter, value in zip(descent.parameters, kept[place], strict=True):
                parameter.copy_(value)
            descent.estimate, descent.slope = self._estimates[place], slopes[place]
            descent.energy, descent.damping = float(self._energy[place]), float(self._damping[place])
            descent.terms = self._terms[place]

    def _of_each(self, row: Tensor) -> list[list[Tensor]]:
        """Return the part of a row that belongs to each parameter of each network."""
        each = [owners.split(part) for owners, part in zip(self._owners, self._parts(row), strict=True)]
        return [list(parts) for parts in zip(*each, strict=True)]

    def solve(self) -> tuple[Tensor, Tensor]:
        """Return the slope ``J' r``, and the step by preconditioned conjugate gradients."""
        tangent, owners = self.network.jacobian(), self._all
        norms = tangent.squares()
        if self._objectives:
            levels = curvature_levels(self.network, stacked_levels([curvature.levels() for curvature in self._curvatures]))
            norms = [norm * level for norm, level in zip(norms, levels, strict=True)]
        squares = _row([self._floored(*pair) for pair in zip(norms, self._owners, strict=True)])
        slope = left = _row(tangent.adjoint(self._residual))
        solution = torch.zeros_like(left)
        damped = owners.broadcast(self._damping, squares) * squares
        direction = left / squares
        size = owners.segment_sum(left * direction)
        moving = np.ones(len(size), dtype=bool)
        for _ in range(INNER_STEPS):
            curved = _row(tangent.adjoint(self._curved(tangent.forward(self._parts(direction))))) + damped * direction
            curvature = owners.segment_sum(direction * curved)
            # Rounding can make it zero or negative; no step length is defined then.
            moving = moving & np.isfinite(size) & (size > 0) & (curvature > 0)
            if not moving.any():
                break
            along = owners.broadcast(ratio(size, curvature, moving), left)
            solution, left = solution + along * direction, left - along * curved
            scaled = left / squares
            previous, size = size, owners.segment_sum(left * scaled)
            direction = scaled + owners.broadcast(ratio(size, previous, moving), left) * direction
        return slope, _row(self.network.clip_step(self._parts(solution), LONGEST_STEP))

    @staticmethod
    def _floored(square: Tensor, owners: Segments) -> Tensor:
        """Return squares ``[N]`` of one parameter, none below a share of its mean, and 1 where all are 0: it does not move."""
        square = square.reshape(-1)
        counts = np.maximum(owners.segment_sum(torch.ones_like(square)), 1)
        floor = owners.broadcast(SMALLEST_SQUARE * owners.segment_sum(square) / counts, square)
        square = square.clamp(min=floor)
        return torch.where(square > 0, square, 1)


def _row(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.reshape(-1) for part in parts])
