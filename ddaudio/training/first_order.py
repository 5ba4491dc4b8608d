"""Optimisers: who moves the parameters along the gradients, what they remember, and how that is kept.

Each takes the learning rate at every step, moves each value by its own share of it, and can say and take over all that
its next step depends on.
"""

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from ddaudio.options import OptimiserName

Closure = Callable[[], float]
"""Evaluates the loss and its gradients, and returns the loss."""


class Optimiser(ABC):
    """Moves parameters by their gradients."""

    @abstractmethod
    def step(self, closure: Closure, rate: float) -> None:
        """Evaluate the loss and its gradients by ``closure``, and move the parameters at a learning ``rate`` above 0."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Return what the next step depends on besides parameters and loss, by name; the tensors are its own."""

    @abstractmethod
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` gave."""

    def restart(self) -> None:
        """Take note that the loss is another one from now on; momentum is kept."""
        return


class FirstOrder(Optimiser):
    """What Adam and SGD have in common: shares of the rate, and gradients that enter the momentum late.

    Args:
        parameters: what is moved.
        shares: what the rate is multiplied by, for each value of each parameter (default: 1).
        delay: steps by which a gradient enters the momentum late: at step ``t`` that of step ``max(0, t - delay)``.

    """

    def __init__(self, parameters: Sequence[nn.Parameter], shares: Sequence[Tensor] | None = None, delay: int = 0) -> None:
        self.parameters = list(parameters)
        self.shares = None if shares is None else list(shares)
        self._waiting: deque[list[Tensor]] = deque(maxlen=delay + 1)
        self._steps = 0

    def step(self, closure: Closure, rate: float) -> None:
        """Evaluate the loss and its gradients by ``closure``, and move the parameters."""
        closure()
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        late = gradients
        if self._waiting.maxlen != 1:
            self._waiting.append([gradient.clone() for gradient in gradients])
            late = self._waiting[0]
        self._steps += 1
        with torch.no_grad():
            for place in range(len(self.parameters)):
                self._move(place, gradients[place], late[place], rate)

    @abstractmethod
    def _move(self, place: int, gradient: Tensor, late: Tensor, rate: float) -> None:
        """Move a parameter by its gradient, and one from ``delay`` steps ago."""

    def _shared(self, place: int, direction: Tensor) -> Tensor:
        return direction if self.shares is None else direction * self.shares[place]

    def state(self) -> dict[str, Tensor]:
        """Return moments, gradients that wait, and the number of steps."""
        waiting = {f"waiting.{k}.{i}": one for k, row in enumerate(self._waiting) for i, one in enumerate(row)}
        return {"steps": torch.tensor(self._steps), **waiting}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` gave."""
        self._steps = int(state["steps"])
        count = sum(name.startswith("waiting.") for name in state) // max(1, len(self.parameters))
        self._waiting.extend([state[f"waiting.{k}.{i}"] for i in range(len(self.parameters))] for k in range(count))


class Adam(FirstOrder):
    """Adam (Kingma and Ba, 2015, algorithm 1) over all parameters.

    The one of torch loads a compiler when it is first used, which takes longer than most fits here. Gradients of a
    good fit are tiny, so there is next to no epsilon: with the usual 1e-8 they would not move anything. With a delay the
    first moment averages late gradients, the second one those of now (AdaShift by Zhou et al., 2019, does the opposite).
    """

    BETAS = (0.9, 0.99)
    EPSILON = 1e-30

    def __init__(self, parameters: Sequence[nn.Parameter], shares: Sequence[Tensor] | None = None, delay: int = 0) -> None:
        super().__init__(parameters, shares, delay)
        self._moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in self.parameters]

    def _move(self, place: int, gradient: Tensor, late: Tensor, rate: float) -> None:
        correction_1, correction_2 = (1 - beta**self._steps for beta in self.BETAS)
        first, second = self._moments[place]
        first.lerp_(late, 1 - self.BETAS[0])
        second.lerp_(gradient.square(), 1 - self.BETAS[1])
        scale = (second / correction_2).sqrt_().add_(self.EPSILON)
        self.parameters[place].addcdiv_(self._shared(place, first), scale, value=-rate / correction_1)

    def state(self) -> dict[str, Tensor]:
        """Return both moments, gradients that wait, and the number of steps."""
        moments = {f"moment.{k}.{i}": one for i, pair in enumerate(self._moments) for k, one in enumerate(pair)}
        return {name: one.clone() for name, one in (super().state() | moments).items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` gave."""
        super().restore(state)
        self._moments = [(state[f"moment.0.{i}"], state[f"moment.1.{i}"]) for i in range(len(self.parameters))]


class Sgd(FirstOrder):
    """Gradient descent with Nesterov's momentum, as torch has it (Sutskever et al., 2013).

    ``v <- 0.9 v + g(t - delay)``, then ``p <- p - rate (g(t) + 0.9 v)``.
    """

    MOMENTUM = 0.9

    def __init__(self, parameters: Sequence[nn.Parameter], shares: Sequence[Tensor] | None = None, delay: int = 0) -> None:
        super().__init__(parameters, shares, delay)
        self._velocities = [torch.zeros_like(p) for p in self.parameters]

    def _move(self, place: int, gradient: Tensor, late: Tensor, rate: float) -> None:
        velocity = self._velocities[place].mul_(self.MOMENTUM).add_(late)
        self.parameters[place].add_(self._shared(place, gradient.add(velocity, alpha=self.MOMENTUM)), alpha=-rate)

    def state(self) -> dict[str, Tensor]:
        """Return velocities, gradients that wait, and the number of steps."""
        velocities = {f"velocity.{i}": one for i, one in enumerate(self._velocities)}
        return {name: one.clone() for name, one in (super().state() | velocities).items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` gave."""
        super().restore(state)
        self._velocities = [state[f"velocity.{i}"] for i in range(len(self.parameters))]


class Lbfgs(Optimiser):
    """L-BFGS without line search (Nocedal, 1980; Liu and Nocedal, 1989, algorithm 2.1), as torch has it.

    At each step up to `TRIES` moves of length ``rate`` along ``-H g``, with ``H`` from the last `PAIRS` pairs of a move and
    the change of the gradient that it brought; the first move is no longer than ``rate``. Pairs are of one loss, so it
    starts anew when the loss is another one. Torch's loads a compiler, and drops pairs below a bound that good fits are under.
    """

    TRIES, PAIRS = 5, 10
    LEAST_CURVATURE = 1e-7
    """Cosine of the angle between a move and the change of the gradient, from which on a pair is kept: float32 rounds beyond."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self._parameters = list(parameters)
        self.restart()

    def restart(self) -> None:
        """Forget all pairs."""
        self._pairs: deque[tuple[Tensor, Tensor]] = deque(maxlen=self.PAIRS)
        self._last: tuple[Tensor, Tensor] | None = None

    def step(self, closure: Closure, rate: float) -> None:
        """Take up to 5 moves, with an evaluation before each; it ends early where no direction leads down."""
        for _ in range(self.TRIES):
            closure()
            gradient = self._gradient()
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
                return
            self._last = length * direction, gradient
            with torch.no_grad():
                for parameter, part in zip(self._parameters, self._split(self._last[0]), strict=True):
                    parameter.add_(part)

    def _curved(self, gradient: Tensor) -> Tensor:
        """Return ``H g`` by the two loops over the pairs."""
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

    def _gradient(self) -> Tensor:
        return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in self._parameters])

    def _split(self, flat: Tensor) -> list[Tensor]:
        parts = torch.split(flat, [parameter.numel() for parameter in self._parameters])
        return [part.reshape(parameter.shape) for part, parameter in zip(parts, self._parameters, strict=True)]

    def state(self) -> dict[str, Tensor]:
        """Return the pairs, and the last move with the gradient before it."""
        rows = {"pair": self._pairs, "last": [] if self._last is None else [self._last]}
        return {f"{name}.{i}.{k}": one for name, row in rows.items() for i, pair in enumerate(row) for k, one in enumerate(pair)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` gave."""
        self.restart()
        for place in range(self.PAIRS):
            if f"pair.{place}.0" in state:
                self._pairs.append((state[f"pair.{place}.0"], state[f"pair.{place}.1"]))
        if "last.0.0" in state:
            self._last = state["last.0.0"], state["last.0.1"]


def _dot(one: Tensor, other: Tensor) -> float:
    return float(one.double() @ other.double())


def optimiser_of(
    name: OptimiserName | None, parameters: Sequence[nn.Parameter], shares: Sequence[Tensor] | None = None, delay: int = 0
) -> Optimiser:
    """Return an optimiser of first order by its name, Adam by default; ``lbfgs`` knows neither shares nor delay."""
    if name == "lbfgs":
        return Lbfgs(parameters)
    return Sgd(parameters, shares, delay) if name == "sgd" else Adam(parameters, shares, delay)
