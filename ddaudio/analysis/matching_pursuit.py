"""The starting point of partials: peaks of the residual's spectra, then least squares, round by round.

This is orthogonal matching pursuit over windowed sinusoids (Pati, Rezaiifar and Krishnaprasad, 1993), many atoms a
round and all frames at once. Each round looks for peaks in what the overlap-added sum leaves over, and solves for all
amplitudes of all frames together, so that frames that overlap share a sound instead of each claiming it.
"""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ddaudio.analysis.budget import Budget
from ddaudio.analysis.partials import Banks, Layout, Partials
from ddaudio.analysis.peaks import Peaks, spectral_peaks
from ddaudio.grid.batched import BatchedGrid, batched, ratio
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.parallel.lockstep import meet

ROUNDS = 10
"""Rounds in which the partials are found."""
SOLVER_STEPS = 4
"""Conjugate gradient steps in each round; each starts from the round before."""
RIDGE = 1e-4
"""Share of a partial's own energy that keeps amplitudes of nearly equal frequencies apart."""
ROUND_FALL = 4.0
"""Factor from one round's threshold of gain to the next."""
SURE_SHARE = 0.7
"""A round on the way to a goal takes the strongest peaks, up to this share of what all peaks promise."""


def solve_amplitudes(partials: Partials, target: Tensor, grid: TimeGrid, steps: int) -> tuple[Partials, Tensor]:
    """Improve all amplitudes together by least squares; return the partials and what they leave of ``target [B, T]``.

    Conjugate gradients on the normal equations of the overlap-added sum, from the amplitudes that are there, with a
    small ridge; amplitudes are counted in units that give each partial the energy 1.
    """
    return _solved(partials, target, batched([grid]), np.ones(1, dtype=bool), steps)


def _solved(
    partials: Partials, target: Tensor, grids: BatchedGrid, moving: NDArray[np.bool_], steps: int
) -> tuple[Partials, Tensor]:
    """`solve_amplitudes` for several grids side by side, those of them that are ``moving [M]``."""
    grid, owners = grids.grid, grids.owners(partials.frame)
    banks = Banks(partials.frequency, Layout(grid, partials.counts(grid)))
    unit = (grid.energy.to(target) / 2).rsqrt()[partials.frame]

    def sound(amplitudes: Tensor) -> Tensor:
        """Return the signals for amplitudes ``[2, P]``."""
        return banks.signals(amplitudes[0] * unit, amplitudes[1] * unit)

    def correlate(signals: Tensor) -> Tensor:
        """Apply the adjoint."""
        return torch.stack(banks.adjoint(grid.frame_adjoint(signals))) * unit

    amplitudes = torch.stack([partials.cosine, partials.sine]) / unit
    residual = target - sound(amplitudes)
    gradient = correlate(residual) - RIDGE * amplitudes
    direction, size = gradient, owners.segment_sum(gradient.square())
    for _ in range(steps):
        moving = moving & (size > np.finfo(np.float32).tiny)
        if not moving.any():
            break
        moved = sound(direction)
        curved = correlate(moved) + RIDGE * direction
        step = ratio(size, owners.segment_sum(direction * curved), moving)
        along = owners.broadcast(step, target)
        amplitudes, residual, gradient = (
            amplitudes + along * direction,
            residual - grids.row_spread(step, target) * moved,
            gradient - along * curved,
        )
        previous, size = size, owners.segment_sum(gradient.square())
        direction = gradient + owners.broadcast(ratio(size, previous, moving), target) * direction
    amplitudes = amplitudes * unit
    return partials.with_amplitudes(amplitudes[0], amplitudes[1]), residual


class _Chase(NamedTuple):
    """A pursuit that is asked for."""

    target: Tensor
    grid: TimeGrid
    size: Budget
    given: Partials
    rounds: int

    def goes_on(self, done: int, energy: float, count: int) -> bool:
        """Return whether there is another round, for a residual of some ``energy`` and a ``count`` of partials."""
        most_rounds = 2 * self.rounds if self.size.goal_energy else self.rounds
        return done < most_rounds and energy > self.size.goal_energy and count < self.size.most

    def wanted(self, gain: NDArray[np.float64], done: int, energy: float, count: int) -> int:
        """Return how many peaks a round takes, strongest first, of those with some ``gain [N]``, which falls."""
        size, share = self.size, min(1.0, (done + 1) / self.rounds)
        if size.least_gain:
            wanted = int(np.searchsorted(-gain, -size.least_gain * ROUND_FALL ** (self.rounds - 1 - done), "right"))
        elif size.goal_energy:
            wanted = _towards_goal(gain.cumsum(), energy, size.goal_energy, 1 / max(1, self.rounds - done))
        else:
            given = len(self.given)
            wanted = given + math.ceil((size.most - given) * share) - count
        return max(0, min(wanted, size.most - count, len(gain)))


def pursue(
    target: Tensor, grid: TimeGrid, size: Budget, partials: Partials | None = None, rounds: int = ROUNDS
) -> tuple[Partials, Tensor]:
    """Find partials for ``target [B, T]``, added to those that are given; return them and the residual."""
    return meet(_pursue, _Chase(target, grid, size, Partials.none(target) if partials is None else partials, rounds))


def _pursue(chases: Sequence[_Chase]) -> list[tuple[Partials, Tensor]]:
    """Do several pursuits side by side, round by round."""
    grids = batched([chase.grid for chase in chases])
    target = grids.signals([chase.target for chase in chases])
    partials = Partials.beside([chase.given for chase in chases], grids)
    room = _room(chases, grids)
    residual = target - render(partials, grids.grid)
    on = [True] * len(chases)
    for done in itertools.count():
        counts = map(len, grids.owners(partials.frame).split(partials.frame))
        states = list(zip(grids.energies(residual).tolist(), counts, strict=True))
        on = [still and chase.goes_on(done, *state) for still, chase, state in zip(on, chases, states, strict=True)]
        if not any(on):
            break
        peaks = _admitted(spectral_peaks(residual, grids.grid), partials.counts(grids.grid), room)
        taken = []
        for place, own in enumerate(grids.owners(peaks.frame).split(torch.arange(peaks.frame.numel()))):
            on[place] &= own.numel() > 0
            wanted = chases[place].wanted(peaks.gain[own].double().cpu().numpy(), done, *states[place]) if on[place] else 0
            taken.append(own[:wanted])
        which = torch.cat(taken)
        if not which.numel():
            continue
        which = which[torch.argsort(peaks.frame[which], stable=True)]
        silent = torch.zeros_like(peaks.gain[which])
        found = Partials(peaks.frame[which], peaks.frequency[which], silent, silent)
        moving = np.array([own.numel() > 0 for own in taken])
        partials, residual = _solved(partials.joined(found), target, grids, moving, SOLVER_STEPS)
    return list(zip(partials.split(grids), grids.own(residual), strict=True))


def _room(chases: Sequence[_Chase], grids: BatchedGrid) -> Tensor | None:
    """Return how many partials each frame may have, ``[F]``; None where it does not matter."""
    if all(chase.size.most_per_frame is None for chase in chases):
        return None
    most = [chase.size.most if chase.size.most_per_frame is None else chase.size.most_per_frame for chase in chases]
    return torch.tensor(most)[grids.member_of_frame]


def _towards_goal(gained: NDArray[np.float64], energy: float, goal_energy: float, share: float) -> int:
    """Return how many peaks, strongest first, go a ``share`` of the decibels from ``energy`` to the goal."""
    wanted = energy - math.exp(math.log(energy) * (1 - share) + math.log(goal_energy) * share)
    # Weak peaks next to strong ones not yet taken are mostly their shadows: leave them to a later round.
    wanted = min(wanted, SURE_SHARE * float(gained[-1])) if len(gained) else wanted
    return int(np.searchsorted(gained, wanted)) + 1


def _admitted(peaks: Peaks, counts: Tensor, room: Tensor | None) -> Peaks:
    """Leave out peaks without energy, and all but the strongest that still have room in their frame."""
    admitted = peaks.gain > 0
    if room is not None:
        by_frame = torch.argsort(peaks.frame, stable=True)
        frame = peaks.frame[by_frame]
        first = torch.searchsorted(frame, frame, side="left")
        rank = torch.empty_like(by_frame)
        rank[by_frame] = torch.arange(frame.numel(), device=frame.device) - first
        admitted &= rank + counts[peaks.frame] < room[peaks.frame]
    return Peaks(*(column[admitted] for column in peaks))


def render(partials: Partials, grid: TimeGrid) -> Tensor:
    """Return the overlap-added sum of the partials, ``[B, T]``."""
    return Banks(partials.frequency, Layout(grid, partials.counts(grid))).signals(partials.cosine, partials.sine)
