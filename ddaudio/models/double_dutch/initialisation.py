"""Initialisation of trees: level by level, from the longest wave to the shortest, by least squares on the residual.

With hard gates and cutoffs of zero the ropes of a level are active one after another, never simultaneously. Each amplitude is
solved for on its own, and reduces the energy of the residual by exactly its gain.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ddaudio.models.double_dutch.gates import OpenedTree, Voices
from ddaudio.models.double_dutch.trees import Plan

FLAT = 1e-6
"""Smallest energy of a wave in a rope, relative to the largest of any; and smallest relative determinant at which two waves of
a rope are considered independent."""
TRIES, CLOSE = 24, 1.02
"""Largest number of bisections of a threshold, and the factor within which it is found."""
SOLVER_STEPS = 6
"""Number of conjugate gradient steps in the joint solution of a level."""
SOFT_SHARE = 0.3
"""Approximate ratio of the gain of a rope on its own with soft gates to that with hard gates, as a first guess."""
TINY = 1e-12
"""Smallest energy of a wave."""
LOWEST_SHARE = 1e-12
"""Smallest threshold above zero, relative to the total energy."""


@dataclass(frozen=True)
class Start:
    """Amplitudes found level by level in windows ``[W, T]``."""

    amplitudes: Tensor
    """``[W, R, P]``; zero for inactive ropes."""
    gains: Tensor
    """Reduction of the error by each rope, ``[W, R]``; zero for inactive ropes."""
    residual: Tensor
    """The residual, ``[W, T]``."""

    @cached_property
    def energy(self) -> float:
        """Energy of the residual."""
        return float(self.residual.double().square().sum())


class LevelByLevel:
    """Least squares for one ladder over windows of one length."""

    def __init__(self, voices: Voices, n_samples: int, like: Tensor) -> None:
        """Prepare for windows of ``n_samples`` samples, with the dtype and device of ``like``."""
        self._voices = voices
        position = torch.arange(n_samples, dtype=torch.float64) + 0.5
        self._addresses = voices.ladder.addresses(position)
        self._levels = [level for level in range(voices.ladder.depth) if voices.speaks(level)]
        self._waves, self._inverses = {}, {}
        for level in self._levels:
            is_far = self._addresses[level] % 2 == 1
            waves = torch.where(is_far, voices.far_waves(level, position), voices.waves(level, position))
            products = (waves[:, None] * waves[None]).flatten(0, 1)
            sums = waves.new_zeros(products.shape[0], 2 ** (level + 1)).index_add_(1, self._addresses[level], products)
            self._waves[level] = waves.to(like)
            self._inverses[level] = _inverse(sums.T.reshape(-1, voices.n_waves, voices.n_waves)).to(like)

    def solve(self, target: Tensor, least_gain: float = 0.0, among: Tensor | None = None) -> Start:
        """Return the amplitudes for ``target [W, T]`` of the ropes with a gain above ``least_gain``.

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
        """Return amplitudes of the ropes with a gain above a threshold.

        Args:
            target: ``[W, T]``.
            affordable: whether ropes ``[W, R]`` (bool) are affordable; with any, all fewer of them.
            goal_energy: residual energy to reach: the threshold is the highest that reaches it, if that is affordable;
                otherwise the ropes of the highest gain are used, as many as are affordable.
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
        # Many ropes of a steady tone have equal gains: if not all of them are affordable, some are.
        some = self.solve(target, 0.0, _affordable_part(beyond.gains, affordable))
        return some if some.energy < closest.energy else closest


def _affordable_part(gains: Tensor, affordable: Callable[[Tensor], bool]) -> Tensor:
    """Return the ropes ``[W, R]`` with the largest gains, as many as are affordable."""
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
    """Return the inverses of matrices ``[N, P, P]``, P 1 or 2; for dependent waves, that of the first only."""
    # A rope whose samples are all at zeros of its wave has no effect.
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
    """Return amplitudes for soft gates, whose ropes overlap: one least-squares solution per level.

    Args:
        opened: the trees.
        voices: waveforms of the ropes.
        target: ``[W, T]``.
        hard: the amplitudes for hard gates, whose weakest rope gives the smallest gain.
        affordable: whether ropes ``[W, R]`` (bool) are affordable.

    """
    weakest = hard.gains[hard.gains > 0]
    least_gain = SOFT_SHARE * float(weakest.min()) if weakest.numel() else 0.0
    found = _jointly_above(opened, voices, target, least_gain)
    if affordable(found.gains > 0):
        return found
    # The rope with the smallest gain is removed; the others are solved for again without it.
    return _jointly_above(opened, voices, target, 0.0, _affordable_part(found.gains, affordable))


def _jointly_above(opened: OpenedTree, voices: Voices, target: Tensor, least_gain: float, among: Tensor | None = None) -> Start:
    """Solve level by level for the ropes with a gain of their own above ``least_gain``, ``among [W, R]`` or all."""
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
            if not curvature > 0:  # below rounding: nothing left to solve
                break
            step = size / curvature
            total, residual, left = total + step * direction, residual - step * said, left - step * curved
            scaled = scale * left
            previous, size = size, float((left * scaled).sum())
            direction = scaled + (size / previous) * direction
    return Start(total, gains, residual)


def shared_amplitudes(plan: Plan, windows: Tensor) -> Tensor:
    """Return the least-squares amplitudes ``[F D, 1]`` for ``windows [F, T]`` of trees whose levels have one each, cutoffs 0."""
    trees = plan.opened(windows.new_zeros(1, plan.ladder.n_nodes))
    units = windows.new_zeros(plan.n_shared, 1, plan.ladder.n_ropes, 1)
    for row, level in enumerate(plan.shared_levels.tolist()):
        units[row, :, 2 ** (level + 1) - 2 : 2 ** (level + 2) - 2] = 1.0
    waves = torch.cat([trees.sound(unit) for unit in units]).double()
    solution: Tensor = torch.linalg.lstsq(waves.T, windows.double().T).solution
    return solution.T.reshape(-1, 1).to(windows)
