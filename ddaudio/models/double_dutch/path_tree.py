"""A tree with any denominators, evaluated along the paths that the gates of each sample leave open.

A state is one path of one sample. Soft gates leave all ``2^D`` paths open, so that all products of gates are evaluated, for small
trees. A beam keeps the most open paths, with weights renormalised to sum to one. Hard gates leave one path; if cutoffs are
learned, the closed side of each node on it is evaluated too, because the derivative by the node's cutoff is the difference
between the outputs of both sides.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ddaudio.errors import OptionError
from ddaudio.models.double_dutch.gates import Gating, OpenedTree, Voices

MOST_STATES = 1 << 27
"""Largest product of paths, samples and levels: 2 GB."""


@dataclass(frozen=True)
class Step:
    """The states of one level, ``[S, W T]`` each."""

    node: Tensor
    """Node in the tables of all windows, ``w N + node``."""
    weight: Tensor
    """Product of the gates above, ``G``."""
    gate: Tensor
    """Gate of the node for its rope, 0 to 1."""
    slope: Tensor
    """Derivative of the gate by minus the cutoff."""
    children: tuple[Tensor, Tensor]
    """State of the next level below the rope, and below its opposite; -1 for none."""


class WalkedTree(OpenedTree):
    """Trees over the positions ``[W, T]`` or ``[T]`` (in samples from the window's beginning) of ``W`` windows."""

    def __init__(
        self, voices: Voices, gating: Gating, cutoffs: Tensor, position: Tensor, *, paths: int | None, siblings: bool = False
    ) -> None:
        """Evaluate the gates from the root down.

        Args:
            voices: waveforms of the ropes.
            gating: type of the gates.
            cutoffs: ``[W, N]``.
            position: positions of the samples; sample ``n`` is at ``n + 1/2``.
            paths: number of paths to keep (default: all); hard gates open one.
            siblings: whether the closed sides of hard gates are evaluated as well.

        Raises `OptionError` if there are too many states for memory.

        """
        ladder = voices.ladder
        self._voices, self._ladder, self._n_windows = voices, ladder, cutoffs.shape[0]
        position = position.double().expand(cutoffs.shape[0], -1).reshape(-1)
        soft = min(paths or 2**ladder.depth, 2**ladder.depth)
        most = ladder.depth if siblings else 1 if gating.hard else soft
        check_states(ladder.depth, most, position.numel())
        self._waves: list[Tensor] = []
        self._far_waves: list[Tensor] = []
        self._steps: list[Step] = []
        window = torch.arange(position.numel()) // (position.numel() // self._n_windows)
        address = torch.zeros(1, position.numel(), dtype=torch.int64)
        weight = torch.ones(1, position.numel(), dtype=cutoffs.dtype)
        for level in range(ladder.depth):
            rope = ladder.wave(level, position).to(cutoffs)
            self._waves.append(voices.waves(level, position).to(cutoffs))
            self._far_waves.append(voices.far_waves(level, position).to(cutoffs))
            node = window * ladder.n_nodes + 2**level - 1 + address
            cutoff = cutoffs.reshape(-1)[node]
            gate, slope = gating.open(level, rope, cutoff), gating.slope(level, rope, cutoff)
            if gating.hard:
                children, chosen, side = _hard(gate, siblings)
            else:
                children, chosen, side = _most_open(torch.cat([weight * gate, weight * (1 - gate)]), paths)
            self._steps.append(Step(node, weight, gate, slope, children))
            passed = torch.where(side == 0, gate.gather(0, chosen), 1 - gate.gather(0, chosen))
            weight = weight.gather(0, chosen) * passed
            if not gating.hard and paths is not None:
                weight = weight / weight.sum(0)
            address = 2 * address.gather(0, chosen) + side
        self._differences: list[Tensor] | None = None

    def sound(self, amplitudes: Tensor, shifts: Tensor | None = None) -> Tensor:
        """Return the sum ``[W, T]``."""
        total = amplitudes.new_zeros(self._waves[0].shape[1])
        for level, step in enumerate(self._steps):
            if self._voices.speaks(level):
                near, far = self._sides(amplitudes, level)
                total += (step.weight * (step.gate * near + (1 - step.gate) * far)).sum(0)
            if shifts is not None and self._differences is not None:
                total -= (step.weight * step.slope * self._differences[level] * shifts.reshape(-1)[step.node]).sum(0)
        return total.reshape(self._n_windows, -1)

    def settle(self, amplitudes: Tensor) -> None:
        """Store the difference between both sides of each gate, from the deepest level up."""
        self._differences = []
        said: Tensor | None = None
        for level in reversed(range(len(self._steps))):
            step, sides = self._steps[level], self._sides(amplitudes, level)
            if not self._voices.speaks(level):
                sides = torch.zeros_like(sides[0]), torch.zeros_like(sides[1])
            if said is not None:
                below = (torch.where(child < 0, 0.0, said.gather(0, child.clamp(min=0))) for child in step.children)
                sides = sides[0] + next(below), sides[1] + next(below)
            said = step.gate * sides[0] + (1 - step.gate) * sides[1]
            self._differences.insert(0, sides[0] - sides[1])

    def correlate(self, signals: Tensor) -> tuple[Tensor, Tensor | None]:
        """Apply the adjoint."""
        return self._adjoint(signals.reshape(-1), 1)

    def squares(self, weights: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the energy of each column; states of a sample that share a node are treated as separate."""
        return self._adjoint(weights.reshape(-1), 2)

    def _adjoint(self, signals: Tensor, power: int) -> tuple[Tensor, Tensor | None]:
        """Propagate signals ``[W T]`` to all ropes and nodes, with weights and waves raised to a ``power``."""
        ladder, n_waves = self._ladder, self._voices.n_waves
        amplitudes = signals.new_zeros(self._n_windows * ladder.n_ropes, n_waves)
        cutoffs = signals.new_zeros(self._n_windows * ladder.n_nodes) if self._differences is not None else None
        for level, step in enumerate(self._steps):
            if self._voices.speaks(level):
                sides = (step.gate, self._waves[level]), (1 - step.gate, self._far_waves[level])
                for side, (gate, waves) in enumerate(sides):
                    weighted = ((step.weight * gate) ** power)[..., None] * (waves**power * signals).T
                    amplitudes.index_add_(0, (2 * step.node + side).reshape(-1), weighted.reshape(-1, n_waves))
            if cutoffs is not None and self._differences is not None:
                tilt = (-step.weight * step.slope * self._differences[level]) ** power * signals
                cutoffs.index_add_(0, step.node.reshape(-1), tilt.reshape(-1))
        shaped = amplitudes.reshape(self._n_windows, ladder.n_ropes, n_waves)
        return shaped, None if cutoffs is None else cutoffs.reshape(self._n_windows, -1)

    def _sides(self, amplitudes: Tensor, level: int) -> tuple[Tensor, Tensor]:
        """Return the waves of the rope and of its opposite at each state of a level, ``[S, W T]``."""
        flat, node = amplitudes.reshape(-1, self._voices.n_waves), self._steps[level].node
        waves = self._waves[level], self._far_waves[level]
        near, far = ((flat[2 * node + side] * own.T).sum(-1) for side, own in enumerate(waves))
        return near, far


def check_states(depth: int, paths: int, n_samples: int) -> None:
    """Raise `OptionError` if so many paths of so many samples do not fit into memory."""
    if paths * n_samples * depth > MOST_STATES:
        raise OptionError(
            f"with {paths} paths of {n_samples} samples at once",
            setting="depth",
            value=depth,
            hint="use a smaller {depth}, {gating=hard} or {gating=beam}, or denominators that halve from level to level",
        )


def _hard(gate: Tensor, siblings: bool) -> tuple[tuple[Tensor, Tensor], Tensor, Tensor]:
    """Return the children of each state, and the parent and side of each state of the next level, for hard gates.

    The first state is the open path; with siblings the node on it has both children, all others only the open one.
    """
    side = (gate < 0.5).long()
    parents = torch.arange(gate.shape[0])[:, None].expand_as(side)
    near, far = torch.where(side == 0, parents, -1), torch.where(side == 1, parents, -1)
    if not siblings:
        return (near, far), parents, side
    last = torch.full_like(side[:1], gate.shape[0])
    near = torch.cat([torch.where(side[:1] == 0, 0, last), near[1:]])
    far = torch.cat([torch.where(side[:1] == 1, 0, last), far[1:]])
    return (near, far), torch.cat([parents, torch.zeros_like(last)]), torch.cat([side, 1 - side[:1]])


def _most_open(weights: Tensor, paths: int | None) -> tuple[tuple[Tensor, Tensor], Tensor, Tensor]:
    """Return the same for soft gates, from the weights ``[2 S, W T]`` of all children; the ``paths`` largest are kept."""
    count = weights.shape[0] // 2
    kept = weights.topk(min(paths or 2 * count, 2 * count), 0).indices.sort(0).values
    place = torch.full_like(weights, -1, dtype=torch.int64)
    place.scatter_(0, kept, torch.arange(kept.shape[0])[:, None].expand_as(kept))
    return (place[:count], place[count:]), kept % count, kept // count
