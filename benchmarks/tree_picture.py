"""The picture of ``docs/double-dutch.md``: ``python -m benchmarks.tree_picture`` draws ropes, gates and the binary address."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib import pyplot as plt

from ddaudio.models.double_dutch.folded_tree import FoldedTree
from ddaudio.models.double_dutch.gates import Gating, Voices
from ddaudio.models.double_dutch.ladder import Ladder

ROOT = Path(__file__).parents[1]
N_SAMPLES, DEPTH = 512, 3
OPEN, SHUT = "#0072b2", "#d55e00"


def main() -> None:
    """Draw one column of panels over one window."""
    mpl.use("Agg")
    ladder = Ladder.dyadic(N_SAMPLES, DEPTH)
    position = torch.arange(N_SAMPLES) + 0.5
    figure, axes = plt.subplots(DEPTH + 2, 1, figsize=(9, 7.5), sharex=True, height_ratios=(*[1] * DEPTH, 0.9, 1.3))
    for level in range(DEPTH):
        _ropes(axes[level], ladder, level, position.numpy())
    _address(axes[DEPTH], ladder)
    _windows(axes[DEPTH + 1], ladder)
    axes[-1].set(xlabel=f"sample of a window of {N_SAMPLES}", xlim=(0, N_SAMPLES))
    figure.tight_layout()
    figure.savefig(ROOT / "docs" / "double-dutch.png", dpi=110)


def _ropes(axis: plt.Axes, ladder: Ladder, level: int, position: np.ndarray) -> None:
    """Draw the pair of a level; bold where its gate is open."""
    rope = ladder.wave(level, torch.from_numpy(position)).numpy()
    for sign, colour, name in ((1, OPEN, "r, bit 0"), (-1, SHUT, "-r, bit 1")):
        axis.plot(position, sign * rope, color=colour, linewidth=0.8, alpha=0.45)
        axis.plot(position, np.where(sign * rope >= 0, sign * rope, np.nan), color=colour, linewidth=2.6, label=name)
    axis.set(ylabel=f"level {level + 1}\nd = {ladder.denominators[level]:g}", ylim=(-1.15, 1.15), yticks=(-1, 0, 1))
    if level == 0:
        axis.set_title("ropes: two opposite waves a level; the gate opens the one that is positive (bold)", fontsize=10)
        axis.legend(loc="upper right", fontsize=8, ncols=2)


def _address(axis: plt.Axes, ladder: Ladder) -> None:
    """Write the address of each cell into it."""
    cell = N_SAMPLES // 2**DEPTH
    for number in range(2**DEPTH):
        address = int(ladder.addresses(torch.tensor([number * cell + 0.5]))[-1])
        for level in range(DEPTH):
            bit = address >> (DEPTH - 1 - level) & 1
            axis.add_patch(plt.Rectangle((number * cell, DEPTH - 1 - level), cell, 1, color=(OPEN, SHUT)[bit], alpha=0.35))
        axis.text((number + 0.5) * cell, DEPTH / 2, "\n".join(f"{address:0{DEPTH}b}"), ha="center", va="center", fontsize=9)
        axis.axvline(number * cell, color="white", linewidth=2)
    axis.set(ylim=(0, DEPTH), yticks=(), ylabel="address")
    axis.set_title("the address of a cell is the Gray code of its number: one gate flips at each boundary", fontsize=10)


def _windows(axis: plt.Axes, ladder: Ladder) -> None:
    """Draw the product of soft gates for each deepest cell."""
    voices = Voices(ladder, "binary")
    gating = Gating(False, tuple(ladder.sharpness(level, 0.125) for level in range(DEPTH)))
    tree = FoldedTree(voices, gating, torch.zeros(2**DEPTH, ladder.n_nodes), N_SAMPLES)
    alone = torch.zeros(2**DEPTH, ladder.n_ropes, 1)
    alone[torch.arange(2**DEPTH), 2**DEPTH - 2 + torch.arange(2**DEPTH), 0] = 1
    for window in tree.sound(alone).numpy():
        axis.plot(np.arange(N_SAMPLES) + 0.5, window, linewidth=1.4)
    axis.set(ylim=(0, 1.05), ylabel="weight")
    axis.set_title("soft gates: the products are windows that overlap with their neighbours and sum to one", fontsize=10)


main()
