"""Derivatives of trees with respect to their amplitudes and cutoffs."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from ddaudio.models.base import Jacobian
from ddaudio.models.double_dutch.gates import OpenedTree
from ddaudio.models.double_dutch.trees import Trees


def open_trees(trees: Trees, spoken: Tensor, learned: Tensor) -> OpenedTree:
    """Return trees ready for derivatives at amplitudes ``[K, P]`` and learned cutoffs ``[N]``."""
    opened = trees.plan.opened(trees.all_cutoffs(learned))
    if trees.plan.learns_cutoffs:
        opened.settle(trees.all_amplitudes(spoken))
    return opened


class Speak(Function):
    """Output of trees, ``[F, T]``, for amplitudes ``[K, P]`` and learned cutoffs ``[N]``.

    With hard gates the gradient by cutoffs is straight-through: that of soft gates around the same hard paths.
    """

    @staticmethod
    def forward(ctx: Any, trees: Trees, spoken: Tensor, learned: Tensor) -> Tensor:
        """Add up."""
        ctx.trees, ctx.opened, ctx.none = trees, open_trees(trees, spoken, learned), torch.zeros_like(spoken)
        sound: Tensor = ctx.opened.sound(trees.all_amplitudes(spoken))
        return sound

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Apply the adjoint."""
        return (None, *ctx.trees.kept(*ctx.opened.correlate(gradient)))

    @staticmethod
    def jvp(ctx: Any, _: None, spoken: Tensor | None, learned: Tensor | None) -> Tensor:
        """Return the change of the sum for changes of amplitudes and cutoffs; None for no change."""
        own: Trees = ctx.trees
        amplitudes = own.all_changes(ctx.none if spoken is None else spoken)
        shifts = own.all_cutoffs(learned) if learned is not None and own.plan.learns_cutoffs else None
        change: Tensor = ctx.opened.sound(amplitudes, shifts)
        return change


class DoubleDutchJacobian(Jacobian):
    """The Jacobian of a double-dutch network."""

    def __init__(self, trees: Trees, amplitudes: Tensor, cutoffs: Tensor, units: tuple[Tensor, float]) -> None:
        """Differentiate at ``amplitudes [K, P]`` and learned ``cutoffs [N]``, by parameters in ``units``."""
        self._trees, self._units = trees, units
        self._opened = open_trees(trees, amplitudes, cutoffs)

    def forward(self, changes: Sequence[Tensor]) -> Tensor:
        """Return the change of the signals for changes of amplitudes and cutoffs."""
        trees, (unit, cutoff_unit) = self._trees, self._units
        amplitude, cutoff = changes
        shifts = trees.all_cutoffs(cutoff * cutoff_unit) if trees.plan.learns_cutoffs else None
        sound = self._opened.sound(trees.all_changes(amplitude * unit), shifts)
        return trees.plan.grid.add_windowed(trees.plan.frames(sound))

    def adjoint(self, signals: Tensor) -> list[Tensor]:
        """Return the gradients for amplitudes and cutoffs."""
        windows = self._trees.plan.windows(self._trees.plan.grid.frame_adjoint(signals))
        amplitude, cutoff = self._trees.kept(*self._opened.correlate(windows))
        return [amplitude * self._units[0], cutoff * self._units[1]]

    def squares(self) -> list[Tensor]:
        """Return the squared norms of the columns."""
        unit, cutoff_unit = self._units
        weights = [group.windows.square().to(unit) for group in self._trees.plan.grid.groups]
        amplitude, cutoff = self._trees.kept(*self._opened.squares(self._trees.plan.windows(weights)))
        return [amplitude * unit**2, cutoff * cutoff_unit**2]
