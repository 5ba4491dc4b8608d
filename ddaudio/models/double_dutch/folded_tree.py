"""A tree with halving denominators, evaluated by folding: exact for soft and hard gates, in ``O(T D)`` time and memory.

Below level ``l`` all cosines are even about the multiples of ``d_l / 2``, so the output of a node of that level at a sample
depends only on the position of the sample after time is folded into one cell of ``d_l / 2`` samples. A node therefore has
``d_l / 2`` different values, and the ``2^(l-1)`` nodes of a level have ``T`` in total, for gates of any softness. A child's
cell is its parent's, folded once more:

    V(u) = g(u) (A+ w(u) + V+(u')) + (1 - g(u)) (-A- w(u) + V-(u')),    u' = min(u, d_l / 2 - 1 - u)

and this recursion from the deepest level up evaluates the whole tree, instead of ``2^D T`` products of gates. Sines with halving
denominators repeat instead: ``u' = u mod (d_l / 2)``, in cells of ``d_l``. The adjoint runs top down.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ddaudio.models.double_dutch.gates import Gating, OpenedTree, Voices


class FoldedTree(OpenedTree):
    """Trees over windows of ``n_samples`` samples; see the module's documentation."""

    def __init__(self, voices: Voices, gating: Gating, cutoffs: Tensor, n_samples: int, *, shared: bool = False) -> None:
        """Set the gates.

        Args:
            voices: waveforms of the ropes, with a halving ladder.
            gating: type of the gates.
            cutoffs: ``[W, N]``.
            n_samples: length of the windows.
            shared: whether all cutoffs are equal; gates are then computed once per level.

        """
        ladder = voices.ladder
        self._ladder, self._voices, self._n_samples = ladder, voices, n_samples
        self._cells = [round(ladder.cell(level)) for level in range(ladder.depth)]
        self._waves, self._gates, self._slopes = [], [], []
        for level, cell in enumerate(self._cells):
            position = (torch.arange(2 * cell, dtype=torch.float64) + 0.5).to(cutoffs.device)
            rope = ladder.wave(level, position).to(cutoffs)
            self._waves.append(voices.waves(level, position).to(cutoffs))
            cutoff = cutoffs[:1, :1, None] if shared else cutoffs[:, 2**level - 1 : 2 ** (level + 1) - 1, None]
            self._gates.append(gating.open(level, rope, cutoff))
            self._slopes += [] if shared else [gating.slope(level, rope, cutoff)]
        self._differences: list[Tensor] | None = None

    def sound(self, amplitudes: Tensor, shifts: Tensor | None = None) -> Tensor:
        """Return the sum ``[W, T]``."""
        return self._whole(self._ascend(amplitudes, shifts, None))

    def settle(self, amplitudes: Tensor) -> None:
        """Store the difference between both sides of each gate."""
        self._differences = []
        self._ascend(amplitudes, None, self._differences)
        self._differences.reverse()

    def correlate(self, signals: Tensor) -> tuple[Tensor, Tensor | None]:
        """Apply the adjoint."""
        return self._descend(self._root(signals), _same)

    def squares(self, weights: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the energy of each column."""
        return self._descend(self._root(weights), torch.square)

    def _ascend(self, amplitudes: Tensor, shifts: Tensor | None, differences: list[Tensor] | None) -> Tensor:
        """Return the output of the root over its cell, ``[W, 1, 2 s]``; from the deepest level up."""
        said = amplitudes.new_zeros(())
        for level in reversed(range(self._ladder.depth)):
            first, count = 2 ** (level + 1) - 2, 2**level
            sides = said
            if self._voices.speaks(level):
                own = amplitudes[:, first : first + 2 * count].reshape(-1, count, 2, amplitudes.shape[2])
                waves = self._waves[level]
                spoken = own @ waves if waves.shape[0] > 1 else own * waves
                if self._voices.opposite < 0:
                    spoken[:, :, 1].neg_()
                sides = spoken.add_(said)
            near, far = sides.unbind(2)
            difference = near - far
            if differences is not None:
                differences.append(difference)
            whole = torch.addcmul(far, self._gates[level], difference)
            if shifts is not None and self._differences is not None:
                shift = shifts[:, 2**level - 1 : 2 ** (level + 1) - 1, None]
                whole = whole.addcmul_(self._slopes[level] * shift, self._differences[level], value=-1)
            said = whole if level == 0 else _paired(self._unfolded(whole))
        return said

    def _descend(self, root: Tensor, power: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor | None]:
        """Propagate ``root [W, 1, 2 s]`` down to all ropes and nodes, with gates and waves raised to a ``power``."""
        n_windows = root.shape[0]
        amplitudes = root.new_zeros(n_windows, self._ladder.n_ropes, self._voices.n_waves)
        cutoffs = root.new_zeros(n_windows, self._ladder.n_nodes) if self._differences is not None else None
        here = root
        for level in range(self._ladder.depth):
            count = 2**level
            gate = self._gates[level]
            if cutoffs is not None and self._differences is not None:
                tilt = power(-self._slopes[level] * self._differences[level])
                cutoffs[:, count - 1 : 2 * count - 1] = (tilt * here).sum(2)
            sides = torch.stack([power(gate) * here, power(1 - gate) * here], 2)
            if self._voices.speaks(level):
                own = (sides @ power(self._waves[level]).T).flatten(1, 2)
                own[:, 1::2] *= power(torch.tensor(self._voices.opposite)).to(own)
                amplitudes[:, 2 * count - 2 : 4 * count - 2] = own
            here = self._folded(sides.flatten(1, 2))
        return amplitudes, cutoffs

    def _unfolded(self, cells: Tensor) -> Tensor:
        """Return cells ``[W, N, s]``, extended to the cells that they are halves of, ``[W, N, 2 s]``."""
        return torch.cat([cells, cells if self._ladder.rope == "sine" else cells.flip(-1)], -1)

    def _folded(self, cells: Tensor) -> Tensor:
        """Apply the adjoint of `_unfolded`."""
        near, far = cells.chunk(2, -1)
        return near + (far if self._ladder.rope == "sine" else far.flip(-1))

    def _whole(self, root: Tensor) -> Tensor:
        """Extend or cut a root's cell to the window, ``[W, T]``."""
        while root.shape[2] < self._n_samples:
            root = self._unfolded(root)
        return root[:, 0, : self._n_samples]

    def _root(self, signals: Tensor) -> Tensor:
        """Apply the adjoint of `_whole`."""
        cell = 2 * self._cells[0]
        folds = max(0, math.ceil(math.log2(self._n_samples / cell)))
        here = torch.nn.functional.pad(signals, (0, (cell << folds) - self._n_samples))[:, None]
        for _ in range(folds):
            here = self._folded(here)
        return here


def _paired(cells: Tensor) -> Tensor:
    """Return cells ``[W, 2 N, s]`` side by side, ``[W, N, 2, s]``."""
    return cells.reshape(cells.shape[0], -1, 2, cells.shape[2])


def _same(values: Tensor) -> Tensor:
    return values
