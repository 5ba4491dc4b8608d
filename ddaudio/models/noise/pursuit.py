"""Which hats a noise layer has, and their heights: a pursuit of those that are worth their parameters.

Waves ``W`` and noise ``S`` together are expected to have the level ``10 log10(|W|^2 + S + floor)`` around each node, and the
recording has ``10 log10(|X|^2 + floor)``. The squared difference, summed over the nodes, plus a price for each parameter is
minimised: hats are admitted in rounds, those first that reduce it most, and after each round all heights are solved for
together by conjugate gradients. The first half of the rounds fits the levels of the residual in closed form, each node weighted
by the square of the share that the noise has in its power: nothing is asked for where waves mask it. The other half are
Gauss-Newton steps on the levels of waves and noise together.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from ddaudio.models.noise.expectation import ExpectedDensity, level_bias_db, level_scatter_db
from ddaudio.models.noise.grid import NoiseGrid
from ddaudio.models.noise.hats import hat_energies, hat_products, nodes_of_hats
from ddaudio.models.noise.network import hat_matrix

ROUNDS, ROUND_FALL = 10, 2.0
"""Rounds, and the factor from one round's price to the next."""
SOLVER_STEPS = 12
"""Conjugate gradient steps in each solve, from the heights before."""
LEAST_SHARE = 0.05
"""Least share of the noise in a node's power, for its weight."""
LONGEST_STEP_DB = 10.0
"""Largest change of a level that a Gauss-Newton step asks for."""
MOST_ABOVE_DB = 6.0
"""Most that is asked for above the residual's own level: between two bins a node could otherwise rise without end."""
RIDGE = 1e-4
KEPT_SHARE = 0.3
"""Hats that reduce the error by less than this share of the price are removed."""
TRUSTED_DB = 3.0
"""Scatter of a node's level at which it counts half."""
LEAST_OFF_DB, MOST_CALIBRATIONS = 0.5, 12
"""Constant hats that would move a band by less than this are not admitted, nor more of them than these."""
MOST_LOUDNESS = 2.0
"""Mean power relative to the target's beyond which Gauss-Newton steps have failed."""
ABOVE_FLOOR = 10.0
"""Powers this many times the floor count for the mean power of a band: that of silence is arbitrary."""
MOST_RATIO, MOST_OFF_DB = 10.0, 2.0
"""Powers this many times the expected are strokes that no hat was worth; a band is moved by no more than this."""
CONVERGED = 1e-30


class Densities(NamedTuple):
    """Densities around the nodes of a chunk, ``[C, covered, bands]`` float64."""

    target: Tensor
    """Of the recording."""
    waves: Tensor
    """Of the waves alone."""
    residual: Tensor
    """Of the recording minus the waves."""


class _Goal(NamedTuple):
    """Levels aimed at, and their weights, ``[rows, C bands]``."""

    level: Tensor
    weight: Tensor


class HatPursuit:
    """The hats of one chunk and their heights, round by round.

    Args:
        grid: the nodes.
        densities: what is measured around the nodes of the chunk.
        floor: density that counts as silence, ``[bands]``.

    """

    def __init__(self, grid: NoiseGrid, densities: Densities, floor: Tensor) -> None:
        self._n_channels, self._covered, self._bands = densities.target.shape
        self._beyond = grid.rows - self._covered
        self._matrix = hat_matrix(self._n_channels, self._bands)
        self._expected = ExpectedDensity.at(grid.sample_rate)
        self._trust = 1 / (1 + (level_scatter_db(grid.sample_rate) / TRUSTED_DB).square()).repeat(self._n_channels)
        bias = level_bias_db(grid.sample_rate).repeat(self._n_channels)
        target, self._waves, residual = (each.transpose(0, 1).flatten(1) for each in densities)
        floor = floor.repeat(self._n_channels)
        self._target = target + floor
        self._level = 10 * self._target.log10()
        self._audible = target > ABOVE_FLOOR * floor
        self._silent = pad(~self._audible, (0, 0, 0, self._beyond))
        residual = residual + floor
        self._closed = self._goal(10 * residual.log10() - bias, residual / (residual + self._waves))
        self.heights = torch.zeros(grid.rows, self._n_channels * self._bands, dtype=torch.float64)
        self.active = torch.zeros_like(self.heights, dtype=torch.bool)
        self._width = grid.widths_hz.repeat(self._n_channels)

    def run(self, price_db2: float, most: int) -> tuple[Tensor, Tensor]:
        """Return places and heights ``[K]`` of the hats that are worth a price in dB squared, at most ``most`` of them."""
        self._descend(price_db2, most, ROUNDS // 2)
        if self._loudness() > MOST_LOUDNESS:
            # Of a single click between silence, the steps find levels that cancel in the bins that neighbouring nodes share.
            self._descend(price_db2, most, ROUNDS)
            self.heights[0, 0] -= 10 * math.log10(max(1.0, self._loudness()))
        return self.active.flatten().nonzero().flatten(), self.heights[self.active].float()

    def _loudness(self) -> float:
        """Return the mean power of waves and noise relative to the target's."""
        level = self._by_channel(self._levels(self.heights)[: self._covered])
        noise = self._expected.mean_power(level).flatten(1)
        power = [float((each * self._width).sum()) for each in (noise + self._waves, self._target)]
        return power[0] / power[1]

    def _descend(self, price_db2: float, most: int, n_closed: int) -> None:
        """Choose the hats and solve for their heights, the first ``n_closed`` rounds in closed form."""
        self.heights.zero_()
        self.active.zero_()
        self.active[0, 0] = True
        for done in range(ROUNDS):
            goal = self._one_sided(self._closed if done < n_closed else self._linearised())
            threshold = price_db2 * ROUND_FALL ** (ROUNDS - 1 - done)
            energies = self._energies(goal.weight)
            self._solve(goal, energies)
            self._admit(goal, energies, threshold, most)
            self._solve(goal, energies)
            weak = self.heights.square() * energies < KEPT_SHARE * threshold
            weak[0, 0] = False
            self.active &= ~weak
            self.heights *= self.active
        goal = self._one_sided(self._closed if n_closed == ROUNDS else self._linearised())
        self._solve(goal, self._energies(goal.weight), 3 * SOLVER_STEPS)
        self._calibrate(most)

    def _goal(self, level: Tensor, share: Tensor) -> _Goal:
        """Return a goal for all nodes; those beyond the end of the signals have no weight."""
        weight = share.clamp(min=LEAST_SHARE).square() * self._trust
        return _Goal(pad(level, (0, 0, 0, self._beyond)), pad(weight, (0, 0, 0, self._beyond)))

    def _linearised(self) -> _Goal:
        """Return the goal of a Gauss-Newton step on the levels of waves and noise together."""
        level = self._levels(self.heights)[: self._covered]
        noise = self._expected.typical_power(self._by_channel(level)).flatten(1)
        share = (noise / (noise + self._waves)).clamp(min=LEAST_SHARE)
        missing = (self._level - 10 * (noise + self._waves).log10()) / share
        asked = level + missing.clamp(-LONGEST_STEP_DB, LONGEST_STEP_DB)
        return self._goal(asked.minimum(self._closed.level[: self._covered] + MOST_ABOVE_DB), share)

    def _one_sided(self, goal: _Goal) -> _Goal:
        """Return a goal that is content with any level below the floor where the target is silent."""
        level = self._levels(self.heights)
        return goal._replace(level=torch.where(self._silent & (level < goal.level), level, goal.level))

    def _by_channel(self, levels: Tensor) -> Tensor:
        return levels.reshape(-1, self._n_channels, self._bands)

    def _calibrate(self, most: int) -> None:
        """Move constant hats so that the mean power of each band is right, not its mean level alone; admit those that it needs.

        Heights that follow the scatter of a band of few bins have already made up for part of `level_bias_db`, which would
        leave the band too loud.
        """
        hats = self._matrix / self._matrix.norm(dim=1, keepdim=True)
        moved = torch.zeros_like(self._width)
        for _ in range(MOST_CALIBRATIONS):
            constant = self.active[0].nonzero().flatten()
            solution = torch.linalg.lstsq(self._matrix[constant].T, self._missing_db(moved)[:, None]).solution[:, 0]
            self.heights[0, constant] += solution
            moved += solution @ self._matrix[constant]
            gain = (hats @ self._missing_db(moved)).abs().masked_fill(self.active[0], 0)
            if float(gain.max()) < LEAST_OFF_DB or int(self.active.sum()) >= most:
                break
            self.active[0, gain.argmax()] = True

    def _missing_db(self, moved: Tensor) -> Tensor:
        """Return by how much the mean power of each band is too low where it comes from the noise, dB, ``[C bands]``.

        With what it was ``moved`` by before, a band is moved by no more than `MOST_OFF_DB`: what no hat follows, such as a
        sound between silence, is no reason to raise the silence.
        """
        level = self._by_channel(self._levels(self.heights)[: self._covered])
        noise = self._expected.mean_power(level).flatten(1)
        total = noise + self._waves
        share = torch.where(self._audible, noise / total, 0)
        ratio = (self._target / total).clamp(max=MOST_RATIO)
        missing = 10 * ((share * ratio).sum(0) / share.sum(0)).log10()
        return (moved + missing.nan_to_num(0)).clamp(-MOST_OFF_DB, MOST_OFF_DB) - moved

    def _admit(self, goal: _Goal, energies: Tensor, threshold: float, most: int) -> None:
        """Admit the hats that reduce the error by more than a threshold, the best first if there is no room for all."""
        error = goal.weight * (goal.level - self._levels(self.heights))
        gain = self._products(error).square() / (energies + 1e-9)
        gain[self.active] = 0
        free = max(0, most - int(self.active.sum()))
        if free < gain.numel():
            threshold = max(threshold, float(gain.flatten().topk(free + 1).values[-1]))
        self.active |= gain > threshold

    def _levels(self, heights: Tensor) -> Tensor:
        """Return the levels at all nodes."""
        return nodes_of_hats(heights) @ self._matrix

    def _products(self, values: Tensor) -> Tensor:
        """Apply the adjoint of `_levels`."""
        return hat_products(values @ self._matrix.T)

    def _energies(self, weight: Tensor) -> Tensor:
        """Return the weighted energy of each hat."""
        return hat_energies(weight @ self._matrix.T.square())

    def _solve(self, goal: _Goal, energies: Tensor, steps: int = SOLVER_STEPS) -> None:
        """Improve the heights of the active hats by conjugate gradients, in units in which each hat has the energy 1."""
        unit = torch.where(self.active, (energies + RIDGE).rsqrt(), 0)
        value = torch.where(self.active, self.heights / unit, 0)
        missing = goal.weight * (goal.level - self._levels(value * unit))
        gradient = self._products(missing) * unit - RIDGE * value
        direction, size = gradient, float(gradient.square().sum())
        for _ in range(steps):
            if size < CONVERGED:
                break
            curved = self._products(goal.weight * self._levels(direction * unit)) * unit + RIDGE * direction
            along = size / float((direction * curved).sum())
            value, gradient = value + along * direction, gradient - along * curved
            before, size = size, float(gradient.square().sum())
            direction = gradient + size / before * direction
        self.heights = value * unit
