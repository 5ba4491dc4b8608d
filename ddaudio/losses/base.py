"""Base classes of the losses."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

from torch import Tensor

from ddaudio.losses.curvature import Curvature, Differences


class StepInfo(NamedTuple):
    """State of the training. Losses that vary during training depend on it alone, so that a resumed run is the same."""

    step: int
    """Number of completed steps, 0 or more."""
    steps: int
    """Number of steps of this run, 1 or more."""
    seed: int
    """Random seed, 0 or more."""


class Loss(ABC):
    """Loss function ``estimate, target [B, T] -> [B]``: one value per signal, float32 or float64.

    Finite, with a finite gradient, on silence, on a constant and on a single sample.
    """

    on_crops: ClassVar[bool] = False
    """Whether it is computed on crops of long recordings, because it needs spectra."""

    def prepare(self, target: Tensor) -> Sequence[Tensor]:
        """Return tensors that are computed once per target ``[B, T]``."""
        return [target]

    @abstractmethod
    def distance(self, estimate: Tensor, prepared: Sequence[Tensor], moment: StepInfo | None) -> Tensor:
        """Return the loss of each signal, ``[B]``, for a prepared target; for evaluation, ``moment`` is None."""

    def filter(self, n_samples: int) -> Differences | None:
        """Return the curvature of a loss that is a quadratic form of the error, the same at all times; None for others."""
        del n_samples
        return None

    def expand(self, estimate: Tensor, prepared: Sequence[Tensor]) -> tuple[Tensor, Curvature]:
        """Return the loss of each signal for evaluation, ``[B]``, and the curvature of their sum near the estimate.

        Raises `NotImplementedError` for losses without curvature, whose row has no ``has_curvature``.
        """
        curvature = self.filter(estimate.shape[-1])
        if curvature is None:
            raise NotImplementedError(f"{type(self).__name__} has no curvature")
        return self.distance(estimate, prepared, None), curvature

    def __call__(self, estimate: Tensor, target: Tensor, moment: StepInfo | None = None) -> Tensor:
        """Return the loss of each signal, ``[B]``."""
        return self.distance(estimate, self.prepare(target), moment)


class Plain(Loss):
    """A loss without preparation: a function ``estimate, target -> [B]``."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.function = function

    def distance(self, estimate: Tensor, prepared: Sequence[Tensor], moment: StepInfo | None) -> Tensor:  # noqa: ARG002
        """Return the function's value."""
        return self.function(estimate, prepared[0])
