"""The starting point of partials: peaks of the residual's spectra, then least squares, round by round.

This is orthogonal matching pursuit over windowed sinusoids (Pati, Rezaiifar and Krishnaprasad, 1993), many atoms a
round and all frames at once. Each round looks for peaks in what the overlap-added sum leaves over, and solves for all
amplitudes of all frames together, so that frames that overlap share a sound instead of each claiming it.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from scipy.fft import next_fast_len  # type: ignore[import-untyped]
from torch import Tensor

from ddaudio.grid import TimeGrid
from ddaudio.models.partials import Banks, Layout, Partials

ROUNDS = 10
"""Rounds in which the partials are found."""
SOLVER_STEPS = 4
"""Conjugate gradient steps in each round; each starts from the round before."""
RIDGE = 1e-4
"""Share of a partial's own energy that keeps amplitudes of nearly equal frequencies apart."""
ROUND_FALL = 4.0
"""Factor from one round's threshold of gain to the next."""
NEAR_PEAK = 0.005
"""Peaks weaker than this share of their frame's strongest wait for a later round: they may be its side lobes."""
SURE_SHARE = 0.7
"""A round on the way to a goal takes the strongest peaks, up to this share of what all peaks promise."""
BLOCK_ELEMENTS = 1 << 24
"""Spectra are taken of this many elements at once."""


@dataclass(frozen=True)
class Size:
    """How far a pursuit goes, never beyond the caps.

    With a goal, each round goes an equal number of decibels towards it; with a least gain, each round takes what gains
    more than a threshold that falls to it; with neither, each spends an equal part of what may be spent.
    """

    most: int
    """Partials over all frames, 0 or more."""
    goal_energy: float = 0.0
    """Sum of squares of the residual that is good enough."""
    most_per_frame: int | None = None
    """Partials in any one frame."""
    numbers: int | None = None
    """Numbers that all parts may take together, for networks whose parts do not all cost the same."""
    least_gain: float = 0.0
    """Energy that a partial must take away to be worth its numbers; above 0 nothing but the caps stops it otherwise."""


class Peaks(NamedTuple):
    """Peaks of the frames' spectra, strongest first."""

    frame: Tensor
    frequency: Tensor
    gain: Tensor
    """Energy that a partial there would take away, ``[N]``."""


def spectral_peaks(residual: Tensor, grid: TimeGrid) -> Peaks:
    """Return the peaks of each frame's spectrum of ``residual [B, T]``.

    A partial is windowed when it is added up, so one at frequency ``w`` takes ``|sum_n v_n^2 r_n exp(-i w n)|^2 /
    (sum_n v_n^2 / 2)`` off the frame's own error ``sum_n (v_n r_n)^2``, with the window ``v``: what it is worth if the
    frames around get their share of the same sound. Its maxima are read off a spectrum at
    half-bin steps and refined by a parabola through the logarithms of three points (Smith and Serra, 1987, PARSHL).
    """
    parts = []
    for group, frames in zip(grid.groups, grid.frame(residual), strict=True):
        n_fft = 2 * next_fast_len(group.length, real=True)
        rows = max(1, BLOCK_ELEMENTS // n_fft)
        for first in range(0, frames.shape[0], rows):
            squared = group.windows[first : first + rows].to(residual) ** 2
            power = torch.fft.rfft(frames[first : first + rows] * squared, n_fft).abs().square_()
            power /= squared.sum(1, keepdim=True) / 2
            frame, *columns = _peaks_of(power, n_fft)
            parts.append((frame + group.frames.start + first, *columns))
    frame, frequency, gain = (torch.cat(columns) for columns in zip(*parts, strict=True))
    order = torch.argsort(gain, descending=True, stable=True)
    return Peaks(frame[order], frequency[order].clamp(0, math.pi), gain[order])


def _peaks_of(power: Tensor, n_fft: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return row, frequency in radians and height of each peak of spectra ``[N, bins]``; changes them."""
    # At both ends a partial is a cosine alone, whose energy is not halved.
    power[:, [0, -1]] /= 2
    # A real signal's spectrum is even about 0 and Nyquist, so both ends can be peaks as well.
    even = torch.nn.functional.pad(power[:, None], (1, 1), mode="reflect")[:, 0]
    is_peak = (power > even[:, :-2]) & (power >= even[:, 2:])
    highest = power.max(1, keepdim=True)
    # The spectrum of a click is level: its highest point counts, whatever its neighbours.
    is_peak.scatter_(1, highest.indices, highest.values > 0)
    is_peak &= power >= NEAR_PEAK * highest.values
    row, index = is_peak.nonzero(as_tuple=True)
    left, centre, right = (even[row, index + shift].clamp(min=1e-30).log() for shift in range(3))
    bend = (left - 2 * centre + right).clamp(max=-1e-9)
    offset = (0.5 * (left - right) / bend).clamp(-0.5, 0.5)
    return row, (index + offset) * (2 * math.pi / n_fft), power[row, index]


def solve_amplitudes(partials: Partials, target: Tensor, grid: TimeGrid, steps: int) -> tuple[Partials, Tensor]:
    """Improve all amplitudes together by least squares; return the partials and what they leave of ``target [B, T]``.

    Conjugate gradients on the normal equations of the overlap-added sum, from the amplitudes that are there, with a
    small ridge; amplitudes are counted in units that give each partial the energy 1.
    """
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
    direction, size = gradient, gradient.square().sum()
    for _ in range(steps):
        if float(size) <= torch.finfo(target.dtype).tiny:
            break
        moved = sound(direction)
        curved = correlate(moved) + RIDGE * direction
        step = size / (direction * curved).sum()
        amplitudes, residual, gradient = (
            amplitudes + step * direction,
            residual - step * moved,
            gradient - step * curved,
        )
        previous, size = size, gradient.square().sum()
        direction = gradient + (size / previous) * direction
    amplitudes = amplitudes * unit
    return partials.with_amplitudes(amplitudes[0], amplitudes[1]), residual


def pursue(
    target: Tensor, grid: TimeGrid, size: Size, partials: Partials | None = None, rounds: int = ROUNDS
) -> tuple[Partials, Tensor]:
    """Find partials for ``target [B, T]``, added to those that are given; return them and the residual."""
    partials = partials if partials is not None else Partials.none(target)
    residual = target - render(partials, grid)
    given = len(partials)
    for done in range(2 * rounds if size.goal_energy else rounds):
        energy = float(residual.double().square().sum())
        if energy <= size.goal_energy or len(partials) >= size.most:
            break
        peaks = _admitted(spectral_peaks(residual, grid), partials.counts(grid), size)
        share = min(1.0, (done + 1) / rounds)
        if size.least_gain:
            count = int((peaks.gain >= size.least_gain * ROUND_FALL ** (rounds - 1 - done)).sum())
        elif size.goal_energy:
            count = _towards_goal(peaks.gain.double().cumsum(0), energy, size.goal_energy, 1 / max(1, rounds - done))
        else:
            count = given + math.ceil((size.most - given) * share) - len(partials)
        count = min(count, size.most - len(partials), peaks.gain.numel())
        if not peaks.gain.numel():
            break
        if count < 1:
            continue
        silent = torch.zeros_like(peaks.gain[:count])
        order = torch.argsort(peaks.frame[:count], stable=True)
        found = Partials(peaks.frame[:count][order], peaks.frequency[:count][order], silent, silent)
        partials, residual = solve_amplitudes(partials.joined(found), target, grid, SOLVER_STEPS)
    return partials, residual


def _towards_goal(gained: Tensor, energy: float, goal_energy: float, share: float) -> int:
    """Return how many peaks, strongest first, go a ``share`` of the decibels from ``energy`` to the goal."""
    wanted = energy - math.exp(math.log(energy) * (1 - share) + math.log(goal_energy) * share)
    # Weak peaks next to strong ones not yet taken are mostly their shadows: leave them to a later round.
    wanted = min(wanted, SURE_SHARE * float(gained[-1])) if gained.numel() else wanted
    return int((gained < wanted).sum()) + 1


def _admitted(peaks: Peaks, counts: Tensor, size: Size) -> Peaks:
    """Leave out peaks without energy, and all but the strongest that still have room in their frame."""
    admitted = peaks.gain > 0
    if size.most_per_frame is not None:
        by_frame = torch.argsort(peaks.frame, stable=True)
        frame = peaks.frame[by_frame]
        first = torch.searchsorted(frame, frame, side="left")
        rank = torch.empty_like(by_frame)
        rank[by_frame] = torch.arange(frame.numel(), device=frame.device) - first
        admitted &= rank + counts[peaks.frame] < size.most_per_frame
    return Peaks(*(column[admitted] for column in peaks))


def render(partials: Partials, grid: TimeGrid) -> Tensor:
    """Return the overlap-added sum of the partials, ``[B, T]``."""
    return Banks(partials.frequency, Layout(grid, partials.counts(grid))).signals(partials.cosine, partials.sine)
