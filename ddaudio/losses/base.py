"""What every loss offers: one contract, so that one objective and one suite of tests serve them all."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

from torch import Tensor


class StepInfo(NamedTuple):
    """Where training stands: losses that change on the way depend on nothing else, so a run that is resumed goes on alike."""

    step: int
    """Steps done, 0 or more."""
    steps: int
    """Steps of this run, 1 or more."""
    seed: int
    """Seed of everything random, 0 or more."""


class Loss(ABC):
    """How far estimates are from their targets: ``estimate, target [B, T] -> [B]``, one value per signal, float32 or float64.

    Finite, with a finite gradient, on silence, on a constant and on a single sample.
    """

    on_crops: ClassVar[bool] = False
    """Whether it costs spectra, and so looks at a long recording crop by crop."""

    def prepare(self, target: Tensor) -> Sequence[Tensor]:
        """Return what has to be computed of a target ``[B, T]`` once."""
        return [target]

    @abstractmethod
    def distance(self, estimate: Tensor, prepared: Sequence[Tensor], moment: StepInfo | None) -> Tensor:
        """Return the loss of each signal, ``[B]``, against a prepared target; without a moment, what the judge looks at."""

    def __call__(self, estimate: Tensor, target: Tensor, moment: StepInfo | None = None) -> Tensor:
        """Return the loss of each signal, ``[B]``."""
        return self.distance(estimate, self.prepare(target), moment)


class Plain(Loss):
    """A loss that needs no preparation: a function ``estimate, target -> [B]``."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.function = function

    def distance(self, estimate: Tensor, prepared: Sequence[Tensor], moment: StepInfo | None) -> Tensor:  # noqa: ARG002
        """Return the function's value."""
        return self.function(estimate, prepared[0])
