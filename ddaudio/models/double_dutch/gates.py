"""Gates, and the interface of trees with fixed gates, which are linear in their amplitudes."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from ddaudio.models.double_dutch.ladder import Ladder
from ddaudio.options import PairName, ReadingName


@dataclass(frozen=True)
class Voices:
    """Waveforms of the ropes of a ladder: one wave or two each, at every level or only at the deepest."""

    ladder: Ladder
    reading: ReadingName = "every"
    pair: PairName = "opposite"
    """Waveforms of a pair. In a ``quadrature`` a rope has a second wave, a quarter period off; in a ``shifted`` pair the ropes
    are an eighth of a period early and late; a ``sigmoid`` pair has the constants 1 and -1."""
    folded: bool = True
    """Whether that wave is folded with the tree, so that it has one sign over each cell. If the root of the ladder has one cell,
    nodes are active in one cell only, and the amplitude includes the sign."""

    @property
    def is_binary(self) -> bool:
        """Whether ropes have no waves: gates alone are the output."""
        return self.reading in ("binary", "gates")

    @property
    def n_waves(self) -> int:
        """Number of waves per rope, ``P``."""
        return 2 if self.pair == "quadrature" else 1

    def speaks(self, level: int) -> bool:
        """Return whether the ropes of a level (from 0) contribute to the sum."""
        return self.reading == "every" or level == self.ladder.depth - 1

    def waves(self, level: int, position: Tensor) -> Tensor:
        """Return the waves of the open rope, ``[P, T]``; for those of the opposite one see `far_waves`."""
        if self.is_binary or self.pair == "sigmoid":
            return torch.ones_like(position)[None]
        first = self.ladder.wave(level, position)
        if self.pair == "opposite":
            return first[None]
        second = self.ladder.quadrature(level, position)
        if self.pair == "shifted":
            return (first + second)[None] * math.sqrt(0.5)
        return torch.stack([first, second.abs() if self.folded and self.ladder.rope != "sine" else second])

    def far_waves(self, level: int, position: Tensor) -> Tensor:
        """Return the waves of the opposite rope, ``[P, T]``: `opposite` times those of the open one, unless they are shifted."""
        if self.pair == "shifted":
            return (self.ladder.quadrature(level, position) - self.ladder.wave(level, position))[None] * math.sqrt(0.5)
        return self.opposite * self.waves(level, position)

    @property
    def opposite(self) -> float:
        """Factor of the opposite rope's waves: -1, but 1 for the reading ``binary``; not used for ``shifted`` pairs."""
        return 1.0 if self.is_binary else -1.0


@dataclass(frozen=True)
class Gating:
    """Gates ``g = sigmoid(k (r - c))`` for the rope ``r``, and ``1 - g`` for its opposite."""

    hard: bool
    """Whether gates are 0 or 1, with the derivative of the sigmoid (straight-through)."""
    sharpness: tuple[float, ...]
    """``k`` of each level."""

    def open(self, level: int, wave: Tensor, cutoff: Tensor) -> Tensor:
        """Return ``g``."""
        lifted = wave - cutoff
        return (lifted >= 0).to(wave) if self.hard else torch.sigmoid(self.sharpness[level] * lifted)

    def slope(self, level: int, wave: Tensor, cutoff: Tensor) -> Tensor:
        """Return the derivative of ``g`` by ``-c``."""
        soft = torch.sigmoid(self.sharpness[level] * (wave - cutoff))
        return self.sharpness[level] * soft * (1 - soft)


class OpenedTree(ABC):
    """``W`` windows of ``T`` samples, each with a tree with fixed gates.

    Amplitudes are ``[W, R, P]`` over all ropes, cutoffs ``[W, N]`` over all nodes, level by level in the order of addresses.
    """

    @abstractmethod
    def sound(self, amplitudes: Tensor, shifts: Tensor | None = None) -> Tensor:
        """Return the sum ``[W, T]``, linear in amplitudes; plus its change for ``shifts [W, N]`` of the cutoffs."""

    @abstractmethod
    def settle(self, amplitudes: Tensor) -> None:
        """Store the outputs of both sides of each gate for these amplitudes, at which derivatives by cutoffs are taken."""

    @abstractmethod
    def correlate(self, signals: Tensor) -> tuple[Tensor, Tensor | None]:
        """Apply the adjoint of `sound` to ``signals [W, T]``; the gradient of the cutoffs is None before `settle`."""

    @abstractmethod
    def squares(self, weights: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the squared norms of the columns for each amplitude and cutoff, samples weighted by ``[W, T]``."""
