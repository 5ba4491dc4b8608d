"""Exponential moving average of the parameters, as a candidate for the best fit and as a teacher."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """``e(t) = keep e(t - 1) + (1 - keep) p(t)`` for each of the parameters ``p``, with ``e(0) = p(0)``.

    Polyak and Juditsky, 1992, SIAM J. Control Optim. 30(4), for averages of iterates; as a teacher for consistency losses:
    Tarvainen and Valpola, 2017, "Mean teachers are better role models".

    Args:
        parameters: the parameters; bounds are convex, so that the average is within them too.
        keep: decay of the average per step, 0 to 1.

    """

    def __init__(self, parameters: Sequence[nn.Parameter], keep: float) -> None:
        self._parameters, self._keep = list(parameters), keep
        self.values: list[Tensor] = [parameter.detach().clone() for parameter in self._parameters]
        """The average of each parameter."""

    @torch.no_grad()
    def update(self) -> None:
        """Update the average with the current parameters."""
        for value, parameter in zip(self.values, self._parameters, strict=True):
            value.lerp_(parameter, 1 - self._keep)

    @torch.no_grad()
    def reset(self) -> None:
        """Set the average to the current parameters."""
        for value, parameter in zip(self.values, self._parameters, strict=True):
            value.copy_(parameter)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Replace the parameters by their average within the context, without gradients."""
        with torch.no_grad():
            own = [parameter.clone() for parameter in self._parameters]
            try:
                self._put(self.values)
                yield
            finally:
                self._put(own)

    def _put(self, values: Sequence[Tensor]) -> None:
        for parameter, value in zip(self._parameters, values, strict=True):
            parameter.copy_(value)
