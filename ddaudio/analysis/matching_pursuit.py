"""Matching pursuit: partials at the peaks of the residual's spectra with least-squares amplitudes, in rounds.

Orthogonal matching pursuit over windowed sinusoids (Pati, Rezaiifar and Krishnaprasad, 1993), with many atoms a round and
all frames at once. Each round finds peaks in the residual of the overlap-added sum, and solves for the amplitudes of all
frames together, so that overlapping frames share a sound instead of each claiming it. Several signals, each on its own
grid, are pursued in one batch.
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
from ddaudio.losses.curvature import Differences

ROUNDS = 10
"""Default number of rounds."""
SOLVER_STEPS = 4
"""Conjugate gradient steps in each round, from the amplitudes of the round before."""
RIDGE = 1e-4
"""Ridge of the least squares, as a share of a partial's energy; it bounds the amplitudes of nearly equal frequencies."""
ROUND_FALL = 4.0
"""Factor by which the threshold of gain falls from one round to the next."""
SMALLEST_RESPONSE = 1e-3
"""Lower bound of the response of a weighting in the scale of a partial's amplitudes: at 0 Hz it may be 0."""
SURE_SHARE = 0.7
"""With a goal, a round takes the strongest peaks, up to this share of the gain of all peaks."""


def solve_amplitudes(partials: Partials, target: Tensor, grid: TimeGrid, steps: int) -> tuple[Partials, Tensor]:
    """Improve all amplitudes jointly by least squares; return the partials and the residual of ``target [B, T]``.

    Conjugate gradients on the normal equations of the overlap-added sum, from the given amplitudes, with a small ridge;
    amplitudes are scaled so that each partial has the energy 1.
    """
    return _solve_amplitudes(partials, target, batched([grid]), np.ones(1, dtype=bool), steps)


def _solve_amplitudes(
    partials: Partials,
    target: Tensor,
    grids: BatchedGrid,
    moving: NDArray[np.bool_],
    steps: int,
    weighting: Differences | None = None,
) -> tuple[Partials, Tensor]:
    """`solve_amplitudes` for a batch of grids, with a weighting of errors; only the ``moving [M]`` ones of the grids change."""
    grid, owners = grids.grid, grids.owners(partials.frame)
    banks = Banks(partials.frequency, Layout(grid, partials.counts(grid)))
    unit = (grid.energy.to(target) / 2).rsqrt()[partials.frame]
    if weighting is not None:
        unit = unit * weighting.response(partials.frequency).clamp(min=SMALLEST_RESPONSE).rsqrt()

    def synthesise(amplitudes: Tensor) -> Tensor:
        """Return the signals for amplitudes ``[2, P]``."""
        return banks.signals(amplitudes[0] * unit, amplitudes[1] * unit)

    def correlate(signals: Tensor) -> Tensor:
        """Apply the weighting and the adjoint."""
        if weighting is not None:
            signals = grids.signals([weighting.product(own) for own in grids.own(signals)])
        return torch.stack(banks.adjoint(grid.frame_adjoint(signals))) * unit

    amplitudes = torch.stack([partials.cosine, partials.sine]) / unit
    residual = target - synthesise(amplitudes)
    gradient = correlate(residual) - RIDGE * amplitudes
    direction, size = gradient, owners.segment_sum(gradient.square())
    for _ in range(steps):
        moving = moving & (size > np.finfo(np.float32).tiny)
        if not moving.any():
            break
        moved = synthesise(direction)
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


class Pursuit(NamedTuple):
    """A signal to be represented by partials, and how many of them."""

    target: Tensor
    """The signals, ``[B, T]``."""
    grid: TimeGrid
    size: Budget
    given: Partials | None = None
    """Partials to start from (default: none)."""
    rounds: int = ROUNDS
    weighting: Differences | None = None
    """How errors are weighted over frequency where peaks are chosen and amplitudes solved for; None for equal weights. Budget and
    goal are of plain energies."""

    def goes_on(self, done: int, energy: float, count: int) -> bool:
        """Return whether another round follows, given the residual's ``energy`` and the ``count`` of partials."""
        most_rounds = 2 * self.rounds if self.size.goal_energy else self.rounds
        return done < most_rounds and energy > self.size.goal_energy and count < self.size.most

    def wanted(self, gain: NDArray[np.float64], done: int, energy: float, count: int) -> int:
        """Return how many peaks a round takes, given their ``gain [N]`` in descending order."""
        size, share = self.size, min(1.0, (done + 1) / self.rounds)
        if size.least_gain:
            wanted = int(np.searchsorted(-gain, -size.least_gain * ROUND_FALL ** (self.rounds - 1 - done), "right"))
        elif size.goal_energy:
            wanted = _towards_goal(gain.cumsum(), energy, size.goal_energy, 1 / max(1, self.rounds - done))
        else:
            given = 0 if self.given is None else len(self.given)
            wanted = given + math.ceil((size.most - given) * share) - count
        return max(0, min(wanted, size.most - count, len(gain)))


def pursue(
    target: Tensor,
    grid: TimeGrid,
    size: Budget,
    partials: Partials | None = None,
    rounds: int = ROUNDS,
    weighting: Differences | None = None,
) -> tuple[Partials, Tensor]:
    """Find partials for ``target [B, T]``, added to those given; return them and the residual ``[B, T]``."""
    return pursue_many([Pursuit(target, grid, size, partials, rounds, weighting)])[0]


def pursue_many(pursuits: Sequence[Pursuit]) -> list[tuple[Partials, Tensor]]:
    """Run several pursuits with the same weighting as one batch, round by round; return partials and residual of each."""
    if not any(bool(each.target.any()) or each.given is not None for each in pursuits):  # all is silence
        return [(Partials.none(each.target), each.target.clone()) for each in pursuits]
    grids = batched([pursuit.grid for pursuit in pursuits])
    target = grids.signals([pursuit.target for pursuit in pursuits])
    given = [Partials.none(each.target) if each.given is None else each.given for each in pursuits]
    partials, room = Partials.beside(given, grids), _room(pursuits, grids)
    residual, weighting = target - render(partials, grids.grid), pursuits[0].weighting
    on = [True] * len(pursuits)
    for done in itertools.count():
        counts = map(len, grids.owners(partials.frame).split(partials.frame))
        states = list(zip(grids.energies(residual).tolist(), counts, strict=True))
        on = [still and each.goes_on(done, *state) for still, each, state in zip(on, pursuits, states, strict=True)]
        if not any(on):
            break
        peaks = _admitted(spectral_peaks(residual, grids.grid, weighting), partials.counts(grids.grid), room)
        taken = []
        for place, own in enumerate(grids.owners(peaks.frame).split(torch.arange(peaks.frame.numel()))):
            on[place] &= own.numel() > 0
            wanted = pursuits[place].wanted(peaks.gain[own].double().cpu().numpy(), done, *states[place]) if on[place] else 0
            taken.append(own[:wanted])
        which = torch.cat(taken)
        if not which.numel():
            continue
        which = which[torch.argsort(peaks.frame[which], stable=True)]
        silent = torch.zeros_like(peaks.gain[which])
        found = Partials(peaks.frame[which], peaks.frequency[which], silent, silent)
        moving = np.array([own.numel() > 0 for own in taken])
        partials, residual = _solve_amplitudes(partials.joined(found), target, grids, moving, SOLVER_STEPS, weighting)
    return list(zip(partials.split(grids), grids.own(residual), strict=True))


def _room(pursuits: Sequence[Pursuit], grids: BatchedGrid) -> Tensor | None:
    """Return the largest number of partials of each frame, ``[F]``; None if no frame is limited."""
    if all(each.size.most_per_frame is None for each in pursuits):
        return None
    most = [each.size.most if each.size.most_per_frame is None else each.size.most_per_frame for each in pursuits]
    return torch.tensor(most)[grids.member_of_frame]


def _towards_goal(gained: NDArray[np.float64], energy: float, goal_energy: float, share: float) -> int:
    """Return how many peaks, strongest first, cover a ``share`` of the decibels from ``energy`` to the goal."""
    wanted = energy - math.exp(math.log(energy) * (1 - share) + math.log(goal_energy) * share)
    # Weak peaks next to strong ones are mostly side lobes, and are left to a later round.
    wanted = min(wanted, SURE_SHARE * float(gained[-1])) if len(gained) else wanted
    return int(np.searchsorted(gained, wanted)) + 1


def _admitted(peaks: Peaks, counts: Tensor, room: Tensor | None) -> Peaks:
    """Drop peaks without energy, and those beyond the room in their frame, weakest first."""
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
