"""A double-dutch tree written down from its formula, in float64: every path of every sample, with autograd."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ddaudio.models.double_dutch.gates import Gating, Voices
from ddaudio.models.double_dutch.ladder import Ladder


class Spelled(NamedTuple):
    """What the formula needs."""

    denominators: tuple[float, ...]
    rope: str = "cosine"
    reading: str = "every"
    quadrature: bool = False
    hard: bool = False
    transition: float = 0.125

    @property
    def depth(self) -> int:
        return len(self.denominators)

    @property
    def n_nodes(self) -> int:
        return 2**self.depth - 1

    @property
    def n_waves(self) -> int:
        return 2 if self.quadrature else 1

    @property
    def voices(self) -> Voices:
        return Voices(
            Ladder(self.denominators, self.rope, above_nyquist=True),
            self.reading,
            "quadrature" if self.quadrature else "opposite",
        )

    @property
    def gating(self) -> Gating:
        """k = d / (2 pi tau), tau being the transition's share of a half (sine) or a quarter of a period."""
        per_cell = math.pi if self.rope == "sine" else math.pi / 2
        return Gating(self.hard, (1 / (self.transition * per_cell),) * self.depth)

    def waves(self, level: int, position: Tensor) -> list[Tensor]:
        """The waves of the open rope; the first decides the gate."""
        angle = 2 * math.pi * position / self.denominators[level]
        if self.rope == "sine":
            return [angle.sin(), angle.cos()][: self.n_waves]
        rope = angle.cos()
        if self.rope == "square":
            rope = torch.where(rope < 0, -1.0, 1.0).double()
        return [rope, angle.sin().abs()][: self.n_waves]

    def gate(self, level: int, rope: Tensor, cutoff: Tensor) -> Tensor:
        """The gate; a hard one has the derivative of the soft one."""
        soft = torch.sigmoid(self.gating.sharpness[level] * (rope - cutoff))
        return (rope >= cutoff).double() + soft - soft.detach() if self.hard else soft

    def sound(self, amplitudes: Tensor, cutoffs: Tensor, position: Tensor, *, active_alone: bool = False) -> Tensor:
        """``sum_l G (g+ a+ r+ + g- a- r-)`` of amplitudes ``[R, P]`` and cutoffs ``[N]``; ``[T]``.

        With ``active_alone`` the derivative by a gate is that of the side that is open alone; values are the same.
        """
        return self._below(amplitudes, cutoffs, position, 0, 0, active_alone)

    def _below(self, amplitudes: Tensor, cutoffs: Tensor, position: Tensor, level: int, address: int, active: bool) -> Tensor:
        if level == self.depth:
            return torch.zeros_like(position)
        waves = self.waves(level, position)
        gate = self.gate(level, waves[0], cutoffs[2**level - 1 + address])
        sides = []
        for side in range(2):
            said = self._below(amplitudes, cutoffs, position, level + 1, 2 * address + side, active)
            own = amplitudes[2 ** (level + 1) - 2 + 2 * address + side]
            if self.reading == "binary" and level == self.depth - 1:
                said = said + own[0]
            elif self.reading == "every" or (self.reading == "leaf" and level == self.depth - 1):
                opposite = -1 if side else 1
                said = said + opposite * sum(a * wave for a, wave in zip(own, waves, strict=True))
            sides.append(said)
        near, far = gate, 1 - gate
        if active:
            near = torch.where(gate > 0.5, near, near.detach())
            far = torch.where(gate > 0.5, far.detach(), far)
        return near * sides[0] + far * sides[1]


def randomly(tree: Spelled, seed: int, windows: int = 1) -> tuple[Tensor, Tensor]:
    """Normal amplitudes ``[W, R, P]`` and cutoffs ``[W, N]`` in -1 to 1, float64."""
    generator = torch.Generator().manual_seed(seed)
    amplitudes = torch.randn(windows, 2 * tree.n_nodes, tree.n_waves, generator=generator, dtype=torch.float64)
    return amplitudes, 2 * torch.rand(windows, tree.n_nodes, generator=generator, dtype=torch.float64) - 1


def samples(count: int) -> Tensor:
    """Positions of samples."""
    return torch.arange(count, dtype=torch.float64) + 0.5
