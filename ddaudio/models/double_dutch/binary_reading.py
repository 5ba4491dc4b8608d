"""The reading ``binary``: gates only, as ones and zeros. Each frame is a signal with two levels.

A target that is quantised at a threshold is a signal with two levels as well. The best threshold for two given levels is midway
between them, so learning the levels (Lloyd, 1982, "Least squares quantization in PCM", IEEE Trans. Inf. Theory 28(2)) also
learns the threshold.
"""

import torch
from torch import Tensor

from ddaudio.models.double_dutch.trees import Plan

CANDIDATES = 81
"""Number of cutoffs tried where all gates of a tree share one."""
ROUNDS = 20
"""Number of iterations of Lloyd's algorithm."""


def start(windows: Tensor, plan: Plan) -> tuple[Tensor, Tensor]:
    """Return initial levels ``[2 F, 1]``, that of open gates first, and cutoffs ``[F, N]`` for ``windows [F, T]``.

    Without amplitudes the levels are 1 and 0.

    If cutoffs are learned, those of the deepest gates are optimal; all others are 0.
    """
    if plan.shares_cutoff:
        return _shared(windows, plan, torch.linspace(-1, 1, CANDIDATES).tolist())
    if plan.options.given_cutoff:
        return _shared(windows, plan, [plan.options.given_cutoff])
    deepest = 2 ** (plan.ladder.depth - 1) - 1
    position = torch.arange(plan.n_samples, dtype=torch.float64) + 0.5
    node = plan.ladder.addresses(position)[-1] // 2
    rope = plan.ladder.wave(plan.ladder.depth - 1, position).to(windows)
    cutoffs = windows.new_zeros(windows.shape[0], plan.ladder.n_nodes)
    if not plan.has_amplitudes:
        cutoffs[:, deepest:] = _best_cutoffs(windows**2 - (windows - 1) ** 2, rope, node)
        return windows.new_tensor([[1.0], [0.0]]).repeat(windows.shape[0], 1), cutoffs
    levels, left = _levels(windows, (rope >= 0).expand(windows.shape))
    if plan.learns_cutoffs:
        high, low = _two_levels(windows)
        learned = _best_cutoffs((windows - low) ** 2 - (windows - high) ** 2, rope, node)
        other, other_left = _levels(windows, rope >= learned[:, node])
        better = (other_left < left)[:, None]
        cutoffs[:, deepest:] = torch.where(better, learned, 0.0)
        levels = torch.where(better, other, levels)
    return levels.reshape(-1, 1), cutoffs


def _levels(windows: Tensor, is_open: Tensor) -> tuple[Tensor, Tensor]:
    """Return the means of each window over open and over closed gates, ``[F, 2]``, and the residual energy ``[F]``."""
    means = [(windows * which).sum(1) / which.sum(1).clamp(min=1) for which in (is_open, ~is_open)]
    said = torch.where(is_open, means[0][:, None], means[1][:, None])
    return torch.stack(means, 1), (windows - said).square().sum(1)


def _two_levels(windows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the two levels ``[F, 1]`` closest to the samples of each window, the higher first."""
    cut = windows.mean(1, keepdim=True)
    for _ in range(ROUNDS):
        above = windows > cut
        high = (windows * above).sum(1, keepdim=True) / above.sum(1, keepdim=True).clamp(min=1)
        low = (windows * ~above).sum(1, keepdim=True) / (~above).sum(1, keepdim=True).clamp(min=1)
        cut = (high + low) / 2
    return high, low


def _best_cutoffs(gains: Tensor, rope: Tensor, node: Tensor) -> Tensor:
    """Return the cutoff of each deepest node with the largest gain, ``[F, N]``.

    Args:
        gains: gain of an open gate over a closed one at each sample, ``[F, T]``.
        rope: the deepest wave, ``[T]``.
        node: deepest node of each sample for gates with cutoff 0, ``[T]``.

    """
    count = int(node.max()) + 1
    # Samples of each node sorted by descending rope: a cutoff opens the gate for the first few.
    order = torch.argsort(node * 4.0 - rope)
    first = torch.searchsorted(node[order].contiguous(), torch.arange(count))
    sums = torch.nn.functional.pad(gains[:, order].double().cumsum(1), (1, 0))
    within = torch.arange(rope.numel()) - first[node[order]]
    ends = torch.cat([first[1:], first.new_tensor([rope.numel()])])
    best, cutoffs = gains.new_zeros(gains.shape[0], count).double(), gains.new_ones(gains.shape[0], count)
    sorted_rope = rope[order]
    for opened in range(1, int(within.max()) + 2):
        at = first + opened
        exists = at <= ends
        gained = torch.where(exists, sums[:, at.clamp(max=rope.numel())] - sums[:, first], -torch.inf)
        last, after = sorted_rope[(at - 1).clamp(max=rope.numel() - 1)], sorted_rope[at.clamp(max=rope.numel() - 1)]
        cutoff = torch.where(at < ends, (last + after) / 2, -1.0)
        better = gained > best
        best, cutoffs = torch.where(better, gained, best), torch.where(better, cutoff.expand_as(cutoffs), cutoffs)
    return cutoffs


def _shared(windows: Tensor, plan: Plan, candidates: list[float]) -> tuple[Tensor, Tensor]:
    """Return levels ``[2 F, 1]`` and the best of some cutoffs for all gates of a tree, ``[F, N]``."""
    best = windows.new_full((windows.shape[0],), torch.inf)
    levels, cutoffs = windows.new_zeros(windows.shape[0], 2), windows.new_zeros(windows.shape[0], plan.ladder.n_nodes)
    amplitudes = windows.new_zeros(1, plan.ladder.n_ropes, 1)
    amplitudes[0, 2**plan.ladder.depth - 2 :: 2] = 1.0
    for cutoff in candidates:
        tree = plan.opened(windows.new_full((1, plan.ladder.n_nodes), cutoff))
        is_open = tree.sound(amplitudes).expand(windows.shape) > 0.5
        own, left = _levels(windows, is_open)
        if not plan.has_amplitudes:
            own, left = own.new_tensor([1.0, 0.0]).expand_as(own), (windows - is_open.to(windows)).square().sum(1)
        better = left < best
        best, levels = torch.where(better, left, best), torch.where(better[:, None], own, levels)
        cutoffs = torch.where(better[:, None], cutoff, cutoffs)
    return levels.reshape(-1, 1), cutoffs
