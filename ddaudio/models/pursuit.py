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
from ddaudio.models.partials import Partials
from ddaudio.oscillators import Bank

ROUNDS = 10
"""Rounds in which the partials are found."""
SOLVER_STEPS = 4
"""Conjugate gradient steps in each round; each starts from the round before."""
RIDGE = 1e-4
"""Share of a partial's own energy that keeps amplitudes of nearly equal frequencies apart."""
NEAR_PEAK = 0.005
"""Peaks weaker than this share of their frame's strongest wait for a later round: they may be its side lobes."""
SURE_SHARE = 0.7
"""A round on the way to a goal takes the strongest peaks, up to this share of what all peaks promise."""
BLOCK_ELEMENTS = 1 << 24
"""Spectra are taken of this many elements at once."""


@dataclass(frozen=True)
class Size:
    """How far a pursuit goes: until the residual's energy is at most ``goal_energy``, never beyond the caps."""

    most: int
    """Partials over all frames, 0 or more."""
    goal_energy: float = 0.0
    """Sum of squares of the residual that is good enough."""
    most_per_frame: int | None = None
    """Partials in any one frame."""


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
    squared = grid.windows.to(residual) ** 2
    n_fft = 2 * next_fast_len(grid.frame_length, real=True)
    frames = grid.frame(residual)
    parts, done = [], 0
    for block in torch.split(frames, max(1, BLOCK_ELEMENTS // n_fft)):
        power = torch.fft.rfft(block * squared, n_fft).abs().square_() / (squared.sum() / 2)
        # At both ends a partial is a cosine alone, whose energy is not halved.
        power[:, [0, -1]] /= 2
        # A real signal's spectrum is even about 0 and Nyquist, so both ends can be peaks as well.
        even = torch.nn.functional.pad(power[:, None], (1, 1), mode="reflect")[:, 0]
        is_peak = (power > even[:, :-2]) & (power >= even[:, 2:])
        highest = power.max(1, keepdim=True)
        # The spectrum of a click is level: its highest point counts, whatever its neighbours.
        is_peak.scatter_(1, highest.indices, highest.values > 0)
        is_peak &= power >= NEAR_PEAK * highest.values
        frame, index = is_peak.nonzero(as_tuple=True)
        left, middle, right = (even[frame, index + shift].clamp(min=1e-30).log() for shift in range(3))
        bend = (left - 2 * middle + right).clamp(max=-1e-9)
        offset = (0.5 * (left - right) / bend).clamp(-0.5, 0.5)
        parts.append((frame + done, (index + offset) * (2 * math.pi / n_fft), power[frame, index]))
        done += block.shape[0]
    frame, frequency, gain = (torch.cat(columns) for columns in zip(*parts, strict=True))
    order = torch.argsort(gain, descending=True, stable=True)
    return Peaks(frame[order], frequency[order].clamp(0, math.pi), gain[order])


def solve_amplitudes(partials: Partials, target: Tensor, grid: TimeGrid, steps: int) -> tuple[Partials, Tensor]:
    """Improve all amplitudes together by least squares; return the partials and what they leave of ``target [B, T]``.

    Conjugate gradients on the normal equations of the overlap-added sum, from the amplitudes that are there, with a
    small ridge. All partials have the same window, so their energies are alike and need no preconditioning.
    """
    window = grid.windows.to(target)
    bank = Bank(partials.frequency, partials.packing(target.shape[0] * grid.n_frames, grid.frame_length), middle(grid))
    energy = (window**2).sum() / 2

    def sound(amplitudes: Tensor) -> Tensor:
        """Return the signals for amplitudes ``[2, P]``."""
        return grid.overlap_add(bank.forward(amplitudes[0], amplitudes[1]) * window)

    def correlate(signals: Tensor) -> Tensor:
        """Apply the adjoint, in units of a partial's energy."""
        return torch.stack(bank.adjoint(grid.frame_adjoint(signals))) / energy

    amplitudes = torch.stack([partials.cosine, partials.sine])
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
    return partials.with_amplitudes(amplitudes[0], amplitudes[1]), residual


def middle(grid: TimeGrid) -> float:
    """Return the middle of a frame in samples, from where phases are counted."""
    return (grid.frame_length - 1) / 2


def pursue(
    target: Tensor, grid: TimeGrid, size: Size, partials: Partials | None = None, rounds: int = ROUNDS
) -> tuple[Partials, Tensor]:
    """Find partials for ``target [B, T]``, added to those that are given; return them and the residual.

    With a goal, each round goes an equal number of decibels towards it; without one it spends an equal part of what
    may be spent.
    """
    partials = partials if partials is not None else Partials.none(target)
    n_frames = target.shape[0] * grid.n_frames
    residual = target - render(partials, grid, target.shape[0])
    given = len(partials)
    for left in range(2 * rounds, 0, -1):
        energy = float(residual.double().square().sum())
        if energy <= size.goal_energy or len(partials) >= size.most:
            break
        share = 1 / max(1, left - rounds)
        peaks = _admitted(spectral_peaks(residual, grid), partials.counts(n_frames), size)
        if size.goal_energy > 0:
            wanted = energy - math.exp(math.log(energy) * (1 - share) + math.log(size.goal_energy) * share)
            gained = peaks.gain.double().cumsum(0)
            # Weak peaks next to strong ones not yet taken are mostly their shadows: leave them to a later round.
            wanted = min(wanted, SURE_SHARE * float(gained[-1])) if gained.numel() else wanted
            count = int((gained < wanted).sum()) + 1
        else:
            done_rounds = rounds - (left - rounds) + 1
            count = given + math.ceil((size.most - given) * min(1.0, done_rounds / rounds)) - len(partials)
        count = min(count, size.most - len(partials), peaks.gain.numel())
        if count < 1:
            break
        silent = torch.zeros_like(peaks.gain[:count])
        order = torch.argsort(peaks.frame[:count], stable=True)
        found = Partials(peaks.frame[:count][order], peaks.frequency[:count][order], silent, silent)
        partials, residual = solve_amplitudes(partials.joined(found), target, grid, SOLVER_STEPS)
    return partials, residual


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


def render(partials: Partials, grid: TimeGrid, n_signals: int) -> Tensor:
    """Return the overlap-added sum of the partials, ``[n_signals, T]``."""
    packing = partials.packing(n_signals * grid.n_frames, grid.frame_length)
    frames = Bank(partials.frequency, packing, middle(grid)).forward(partials.cosine, partials.sine)
    return grid.overlap_add(frames * grid.windows.to(frames))
