"""Base class of the optimisers: single steps, and the state needed to resume."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor, nn

from ddaudio.training.history import Status

Closure = Callable[[], bool]
"""Evaluates the training loss and its gradients; returns False if they must not be used: not finite, or diverged."""


class Optimiser(ABC):
    """Moves parameters to reduce a loss.

    Args:
        parameters: the parameters, all those of a network.

    """

    estimate: Tensor | None = None
    """The signals ``[B, T]`` of the parameters within their bounds, from an optimiser that computes both in a step."""

    terms: Mapping[str, float] = MappingProxyType({})
    """Terms of the objective at this estimate, from an optimiser that evaluates it; empty if not."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = list(parameters)

    @abstractmethod
    def step(self, closure: Closure, rate: float) -> Status | None:
        """Take one step at a learning ``rate`` above 0; return None, or the status with which training ends.

        It is ``diverged`` if the ``closure`` returns False, and ``converged`` if no step reduces the loss; the parameters are
        then unchanged.
        """

    def gradients(self) -> list[Tensor]:
        """Return the gradient of the training loss for each parameter at its last evaluation."""
        return [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Return all that the next step depends on besides parameters and loss, by name."""

    @abstractmethod
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Set the state to one that `state` returned, at the parameters of that time."""

    def restart(self) -> None:
        """Prepare for another loss from the next step on; momentum is kept."""
        return
