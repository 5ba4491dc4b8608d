"""Gradient-based optimisers: Adam, stochastic gradient descent with momentum, and L-BFGS.

The learning rate is an argument of each step; Adam and SGD multiply it by a factor for each value.
"""

import math
from abc import abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ddaudio.options import OptimiserName
from ddaudio.training.history import Status
from ddaudio.training.optimiser import Closure, Optimiser


class FirstOrder(Optimiser):
    """Base of Adam and SGD: factors of the rate, and momentum from delayed gradients.

    Args:
        parameters: the parameters.
        shares: factor of the rate for each value of each parameter (default: 1).
        delay: delay of the gradients in the momentum, in steps: at step ``t`` that of step ``max(0, t - delay)`` is used.
        begin: steps without momentum at the beginning.

    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], shares: Sequence[Tensor] | None = None, delay: int = 0, begin: int = 0
    ) -> None:
        super().__init__(parameters)
        self._begin = begin
        self.shares = None if shares is None else list(shares)
        self._waiting: deque[list[Tensor]] = deque(maxlen=delay + 1)
        self._steps = 0

    def step(self, closure: Closure, rate: float) -> Status | None:
        """Evaluate the loss and its gradients, and move the parameters."""
        if not closure():
            return "diverged"
        late = gradients = self.gradients()
        if self._waiting.maxlen != 1:
            self._waiting.append([gradient.clone() for gradient in gradients])
            late = self._waiting[0]
        self._steps += 1
        with torch.no_grad():
            for place in range(len(self.parameters)):
                self._move(place, gradients[place], late[place], rate)
        return None

    @property
    def _with_momentum(self) -> int:
        """Number of steps with momentum, the current one included; 0 before it begins."""
        return max(0, self._steps - self._begin)

    @abstractmethod
    def _move(self, place: int, gradient: Tensor, late: Tensor, rate: float) -> None:
        """Move a parameter by its gradient and the one from ``delay`` steps ago."""

    def _shared(self, place: int, direction: Tensor) -> Tensor:
        return direction if self.shares is None else direction * self.shares[place]

    def state(self) -> dict[str, Tensor]:
        """Return delayed gradients and the number of steps."""
        waiting = {f"waiting.{k}.{i}": one for k, row in enumerate(self._waiting) for i, one in enumerate(row)}
        return {"steps": torch.tensor(self._steps), **waiting}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Set the state to one that `state` returned."""
        self._steps = int(state["steps"])
        count = sum(name.startswith("waiting.") for name in state) // max(1, len(self.parameters))
        self._waiting.extend([state[f"waiting.{k}.{i}"] for i in range(len(self.parameters))] for k in range(count))


class Adam(FirstOrder):
    """Adam (Kingma and Ba, 2015, algorithm 1) over all parameters.

    Torch's implementation loads a compiler on first use, which takes longer than most fits here. Gradients of a good fit are
    tiny, hence the small epsilon: with the usual 1e-8 parameters would not change. With a delay the first moment averages
    delayed gradients, the second one current gradients (AdaShift by Zhou et al., 2019, does the opposite).
    """

    BETAS = (0.9, 0.99)
    EPSILON = 1e-30

    def __init__(
        self, parameters: Sequence[nn.Parameter], shares: Sequence[Tensor] | None = None, delay: int = 0, begin: int = 0
    ) -> None:
        super().__init__(parameters, shares, delay, begin)
        self._moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in self.parameters]

    def _move(self, place: int, gradient: Tensor, late: Tensor, rate: float) -> None:
        correction_1, correction_2 = 1 - self.BETAS[0] ** self._with_momentum, 1 - self.BETAS[1] ** self._steps
        first, second = self._moments[place]
        if self._with_momentum:
            first.lerp_(late, 1 - self.BETAS[0])
        else:
            first, correction_1 = gradient, 1.0
        second.lerp_(gradient.square(), 1 - self.BETAS[1])
        scale = (second / correction_2).sqrt_().add_(self.EPSILON)
        self.parameters[place].addcdiv_(self._shared(place, first), scale, value=-rate / correction_1)

    def state(self) -> dict[str, Tensor]:
        """Return both moments, delayed gradients and the number of steps."""
        moments = {f"moment.{k}.{i}": one for i, pair in enumerate(self._moments) for k, one in enumerate(pair)}
        return {name: one.clone() for name, one in (super().state() | moments).items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Set the state to one that `state` returned."""
        super().restore(state)
        self._moments = [(state[f"moment.0.{i}"], state[f"moment.1.{i}"]) for i in range(len(self.parameters))]


class Sgd(FirstOrder):
    """Gradient descent with Nesterov's momentum, as in torch (Sutskever et al., 2013).

    ``v <- 0.9 v + g(t - delay)``, then ``p <- p - rate (g(t) + 0.9 v)``.
    """

    MOMENTUM = 0.9

    def __init__(
        self, parameters: Sequence[nn.Parameter], shares: Sequence[Tensor] | None = None, delay: int = 0, begin: int = 0
    ) -> None:
        super().__init__(parameters, shares, delay, begin)
        self._velocities = [torch.zeros_like(p) for p in self.parameters]

    def _move(self, place: int, gradient: Tensor, late: Tensor, rate: float) -> None:
        velocity = self._velocities[place]
        if self._with_momentum:
            velocity.mul_(self.MOMENTUM).add_(late)
        self.parameters[place].add_(self._shared(place, gradient.add(velocity, alpha=self.MOMENTUM)), alpha=-rate)

    def state(self) -> dict[str, Tensor]:
        """Return velocities, delayed gradients and the number of steps."""
        velocities = {f"velocity.{i}": one for i, one in enumerate(self._velocities)}
        return {name: one.clone() for name, one in (super().state() | velocities).items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Set the state to one that `state` returned."""
        super().restore(state)
        self._velocities = [state[f"velocity.{i}"] for i in range(len(self.parameters))]


class Lbfgs(Optimiser):
    """L-BFGS without line search (Nocedal, 1980; Liu and Nocedal, 1989, algorithm 2.1), as in torch.

    Each step makes up to `TRIES` moves of length ``rate`` along ``-H g``, with ``H`` from the last `PAIRS` pairs of a move
    and the resulting change of the gradient; the first move is no longer than ``rate``. Pairs belong to one loss, so it
    restarts with another one. Torch's implementation loads a compiler, and drops pairs below a bound that good fits do not reach.
    """

    TRIES, PAIRS = 5, 10
    LEAST_CURVATURE = 1e-7
    """Least cosine of the angle between a move and the change of the gradient for a pair to be kept: float32 rounding."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        super().__init__(parameters)
        self.restart()

    def restart(self) -> None:
        """Discard all pairs."""
        self._pairs: deque[tuple[Tensor, Tensor]] = deque(maxlen=self.PAIRS)
        self._last: tuple[Tensor, Tensor] | None = None

    def step(self, closure: Closure, rate: float) -> Status | None:
        """Make up to 5 moves, with an evaluation before each; stop early if no direction is a descent direction."""
        for _ in range(self.TRIES):
            if not closure():
                return "diverged"
            gradient = torch.cat([part.reshape(-1) for part in self.gradients()])
            if self._last is None:
                direction, length = -gradient, rate * min(1.0, 1 / max(float(gradient.abs().sum()), 1e-30))
            else:
                move, before = self._last
                change = gradient - before
                if _dot(move, change) > self.LEAST_CURVATURE * math.sqrt(_dot(move, move) * _dot(change, change)):
                    self._pairs.append((move, change))
                direction, length = -self._curved(gradient), rate
            if not _dot(gradient, direction) < 0:
                self.restart()
                break
            self._last = length * direction, gradient
            with torch.no_grad():
                for parameter, part in zip(self.parameters, self._split(self._last[0]), strict=True):
                    parameter.add_(part)
        return None

    def _curved(self, gradient: Tensor) -> Tensor:
        """Return ``H g`` by the two-loop recursion."""
        shares, vector = [], gradient
        for move, change in reversed(self._pairs):
            shares.append(_dot(move, vector) / _dot(move, change))
            vector = vector - shares[-1] * change
        if self._pairs:
            move, change = self._pairs[-1]
            vector = vector * (_dot(move, change) / _dot(change, change))
        for (move, change), share in zip(self._pairs, reversed(shares), strict=True):
            vector = vector + (share - _dot(change, vector) / _dot(move, change)) * move
        return vector

    def _split(self, flat: Tensor) -> list[Tensor]:
        parts = torch.split(flat, [parameter.numel() for parameter in self.parameters])
        return [part.reshape(parameter.shape) for part, parameter in zip(parts, self.parameters, strict=True)]

    def state(self) -> dict[str, Tensor]:
        """Return the pairs, and the last move with the gradient before it."""
        rows = {"pair": self._pairs, "last": [] if self._last is None else [self._last]}
        return {f"{name}.{i}.{k}": one for name, row in rows.items() for i, pair in enumerate(row) for k, one in enumerate(pair)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Set the state to one that `state` returned."""
        self.restart()
        for place in range(self.PAIRS):
            if f"pair.{place}.0" in state:
                self._pairs.append((state[f"pair.{place}.0"], state[f"pair.{place}.1"]))
        if "last.0.0" in state:
            self._last = state["last.0.0"], state["last.0.1"]


def _dot(one: Tensor, other: Tensor) -> float:
    return float(one.double() @ other.double())


def optimiser_of(
    name: OptimiserName | None,
    parameters: Sequence[nn.Parameter],
    shares: Sequence[Tensor] | None = None,
    delay: int = 0,
    begin: int = 0,
) -> Optimiser:
    """Return an optimiser of first order by its name, Adam by default; ``lbfgs`` has neither shares nor momentum."""
    if name == "lbfgs":
        return Lbfgs(parameters)
    return Sgd(parameters, shares, delay, begin) if name == "sgd" else Adam(parameters, shares, delay, begin)
