"""Where a tree starts: level by level, from the longest wave to the shortest, by least squares on what is left.

Under hard gates that cut at zero the ropes of a level are active one after the other, never together, so each amplitude is
solved for on its own and the residual's energy falls by exactly what it gains.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ddaudio.models.double_dutch.gates import OpenedTree, Voices

FLAT = 1e-6
"""Least energy of a wave in a rope, as a share of the most in any; and least share of a determinant that separates two waves of
a rope apart."""
TRIES, CLOSE = 24, 1.02
"""Bisections of a threshold, at most, and the factor within which it is found."""
SOLVER_STEPS = 6
"""Conjugate gradient steps of a level's joint solve."""
SOFT_SHARE = 0.3
"""Ropes of soft gates gain less by themselves than those of hard ones: about this share, at first."""
TINY = 1e-12
"""Least energy of a wave."""
LOWEST_SHARE = 1e-12
"""Least threshold above zero, as a share of all energy."""


@dataclass(frozen=True)
class Start:
    """Amplitudes found level by level in windows ``[W, T]``."""

    amplitudes: Tensor
    """``[W, R, P]``; zero for inactive ropes."""
    gains: Tensor
    """Reduction of the error by each rope, ``[W, R]``; zero for inactive ropes."""
    residual: Tensor
    """What is left, ``[W, T]``."""

    @cached_property
    def energy(self) -> float:
        """Energy of what is left."""
        return float(self.residual.double().square().sum())


class LevelByLevel:
    """Least squares of one ladder over windows of one length."""

    def __init__(self, voices: Voices, n_samples: int, like: Tensor) -> None:
        """Prepare for windows of ``n_samples`` samples, of the kind of ``like``."""
        self._voices = voices
        position = torch.arange(n_samples, dtype=torch.float64) + 0.5
        self._addresses = voices.ladder.addresses(position)
        self._levels = [level for level in range(voices.ladder.depth) if voices.speaks(level)]
        self._waves, self._inverses = {}, {}
        for level in self._levels:
            waves = voices.waves(level, position)
            side = torch.where(self._addresses[level] % 2 == 1, voices.opposite, 1.0)
            waves = waves * side
            products = (waves[:, None] * waves[None]).flatten(0, 1)
            sums = waves.new_zeros(products.shape[0], 2 ** (level + 1)).index_add_(1, self._addresses[level], products)
            self._waves[level] = waves.to(like)
            self._inverses[level] = _inverse(sums.T.reshape(-1, voices.n_waves, voices.n_waves)).to(like)

    def solve(self, target: Tensor, least_gain: float = 0.0, among: Tensor | None = None) -> Start:
        """Return the amplitudes for ``target [W, T]``, of those ropes that gain more than ``least_gain`` each.

        Only ropes ``among [W, R]`` (bool; default: all) may become active.
        """
        ladder, n_waves = self._voices.ladder, self._voices.n_waves
        residual = target
        amplitudes = target.new_zeros(target.shape[0], ladder.n_ropes, n_waves)
        gains = target.new_zeros(target.shape[0], ladder.n_ropes)
        for level in self._levels:
            where, waves = self._addresses[level], self._waves[level]
            here = slice(2 ** (level + 1) - 2, 2 ** (level + 2) - 2)
            sums = torch.stack([_sums(residual * wave, where, 2 ** (level + 1)) for wave in waves], -1)
            found = (self._inverses[level] @ sums[..., None])[..., 0] if n_waves > 1 else sums * self._inverses[level][..., 0]
            gain = (found * sums).sum(-1)
            speaks = gain > least_gain
            if among is not None:
                speaks &= among[:, here]
            amplitudes[:, here], gains[:, here] = found * speaks[..., None], gain * speaks
            said = amplitudes[:, here].index_select(1, where)
            residual = residual - (said * waves.T).sum(-1)
        return Start(amplitudes, gains, residual)

    def within(
        self, target: Tensor, affordable: Callable[[Tensor], bool], goal_energy: float, among: Tensor | None = None
    ) -> Start:
        """Return a start of ropes that gain more than a threshold each.

        Args:
            target: ``[W, T]``.
            affordable: whether ropes ``[W, R]`` (bool) are affordable; with any, all fewer of them.
            goal_energy: energy of the residual that is good enough: the threshold is the highest that leaves no more, if
                that is affordable; otherwise the ropes of the highest gain, as many as are affordable.
            among: ropes that may become active, ``[W, R]`` bool (default: all).

        """
        energy = float(target.double().square().sum())
        beyond = self.solve(target, 0.0, among)
        if not energy or (not goal_energy and affordable(beyond.gains > 0)):
            return beyond
        cheapest, closest = None, self.solve(target, energy, among)
        low, high = LOWEST_SHARE, 1.0
        for _ in range(TRIES):
            middle = (low * high) ** 0.5
            tried = self.solve(target, middle * energy, among)
            if not affordable(tried.gains > 0):
                beyond, low = tried, middle
            elif tried.energy <= goal_energy:
                cheapest, low = tried, middle
            else:
                closest, high = tried, middle
            if high < CLOSE * low:
                break
        if cheapest is not None:
            return cheapest
        # Many ropes of a steady tone gain alike: of those that are too many together, some can be paid for.
        some = self.solve(target, 0.0, _affordable_part(beyond.gains, affordable))
        return some if some.energy < closest.energy else closest


def _affordable_part(gains: Tensor, affordable: Callable[[Tensor], bool]) -> Tensor:
    """Return which ropes ``[W, R]`` gain most, as many as are affordable."""
    order = torch.argsort(gains.reshape(-1), descending=True, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(order.numel())
    rank = rank.reshape(gains.shape)
    low, high = 0, int((gains > 0).sum()) + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if affordable(rank < middle) else (low, middle)
    return rank < low


def _sums(values: Tensor, where: Tensor, count: int) -> Tensor:
    """Return the sums of values ``[W, T]`` with the same address, ``[W, count]``."""
    return values.new_zeros(values.shape[0], count).index_add_(1, where, values)


def _inverse(products: Tensor) -> Tensor:
    """Return the inverses of matrices ``[N, P, P]``, P 1 or 2; where two waves are alike, that of the first alone."""
    # A rope whose few samples are at zeros of its wave has no effect.
    products = torch.where(products[:, :1, :1] > FLAT * products[:, 0, 0].max(), products, 0.0)
    if products.shape[-1] == 1:
        return torch.where(products > 0, 1 / products, 0.0)
    first, mixed, second = products[:, 0, 0], products[:, 0, 1], products[:, 1, 1]
    determinant = first * second - mixed**2
    inverse = torch.stack([second, -mixed, -mixed, first], -1) / determinant[:, None]
    alone = torch.zeros_like(inverse)
    alone[:, 0] = torch.where(first > 0, 1 / first, 0.0)
    return torch.where((determinant > FLAT * first * second)[:, None], inverse, alone).reshape(products.shape)


def jointly(opened: OpenedTree, voices: Voices, target: Tensor, hard: Start, affordable: Callable[[Tensor], bool]) -> Start:
    """Return a start for soft gates, whose ropes overlap: one least squares solve a level.

    Args:
        opened: the trees.
        voices: waveforms of the ropes.
        target: ``[W, T]``.
        hard: the start for hard gates: its weakest rope gives the least gain.
        affordable: whether ropes ``[W, R]`` (bool) are affordable.

    """
    weakest = hard.gains[hard.gains > 0]
    least_gain = SOFT_SHARE * float(weakest.min()) if weakest.numel() else 0.0
    found = _jointly_above(opened, voices, target, least_gain)
    if affordable(found.gains > 0):
        return found
    # What gained least goes; then the others are solved for without it.
    return _jointly_above(opened, voices, target, 0.0, _affordable_part(found.gains, affordable))


def _jointly_above(opened: OpenedTree, voices: Voices, target: Tensor, least_gain: float, among: Tensor | None = None) -> Start:
    """Solve level by level for the ropes that would gain more than ``least_gain`` by themselves, ``among [W, R]`` or all."""
    squares, _ = opened.squares(torch.ones_like(target))
    residual, total = target, torch.zeros_like(squares)
    gains = squares.new_zeros(squares.shape[:2])
    for level in range(voices.ladder.depth):
        here = slice(2 ** (level + 1) - 2, 2 ** (level + 2) - 2)
        if not voices.speaks(level):
            continue
        left = opened.correlate(residual)[0]
        alone = (left.square() / squares.clamp(min=TINY)).sum(2)
        speaks = torch.zeros_like(alone, dtype=torch.bool)
        speaks[:, here] = alone[:, here] > least_gain
        speaks = speaks if among is None else speaks & among
        gains += alone * speaks
        scale = speaks[..., None] / squares.clamp(min=TINY)
        left = left * speaks[..., None]
        direction = scaled = scale * left
        size = float((left * scaled).sum())
        for _ in range(SOLVER_STEPS):
            if not size > 0:
                break
            said = opened.sound(direction)
            curved = opened.correlate(said)[0] * speaks[..., None]
            curvature = float((direction * curved).sum())
            if not curvature > 0:  # Rounded away: nothing is left to solve.
                break
            step = size / curvature
            total, residual, left = total + step * direction, residual - step * said, left - step * curved
            scaled = scale * left
            previous, size = size, float((left * scaled).sum())
            direction = scaled + (size / previous) * direction
    return Start(total, gains, residual)
