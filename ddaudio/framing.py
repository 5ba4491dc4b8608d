"""How long frames should be, and how many partials they may hold: decided by the data, before training."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ddaudio.errors import OptionError
from ddaudio.grid import TimeGrid
from ddaudio.models import NUMBERS_PER_PARTIAL, Size
from ddaudio.models.pursuit import pursue
from ddaudio.options import FitOptions, GridOptions, ModelOptions

FRAMES_S = (0.006, 0.0125, 0.025, 0.05, 0.1, 0.2, 0.4)
"""Frame lengths that are tried, in seconds."""
FIRST_TRIED = 3
"""The trial begins with this one of them, and walks on while it gets better."""
TRIAL_ROUNDS = 5
"""Rounds of the pursuit in a trial."""
TRIAL_S = 8.0
"""A longer recording is tried on its loudest stretch of this length."""


class Trial(NamedTuple):
    """What one frame length promised; the smaller, the better."""

    missing_db: float
    """Decibels short of the goal (0 when it is reached); without a goal the negative SNR."""
    numbers: int
    """What it cost."""


def grid_for(target: Tensor, sample_rate: int, frame_s: float, options: GridOptions) -> TimeGrid:
    """Return the grid over ``target [B, T]`` with frames of ``frame_s`` seconds."""
    return TimeGrid(sample_rate, target.shape[-1], frame_s, options.overlap, options.window)


def allowance(options: ModelOptions, n_signals: int, n_samples: int) -> int:
    """Return how many numbers may be spent on ``n_signals`` signals of ``n_samples`` samples.

    With neither a budget nor a fixed count it is the cap.
    """
    if options.numbers is not None:
        return options.numbers
    return int(options.max_numbers_per_sample * n_signals * n_samples)


def size_for(target: Tensor, grid: TimeGrid, options: ModelOptions, scale: float = 1.0) -> Size:
    """Return how many partials ``target [B, T]`` may be given on ``grid``, and the energy that may be left over.

    A goal's cap always leaves room for one partial a signal, however short the recording. A budget that has no room
    for one raises `OptionError`. ``scale`` shrinks a budget to the share of the recording that a trial looks at.
    """
    n_signals, n_samples = target.shape
    n_frames = n_signals * grid.n_frames
    if options.partials is not None:
        return Size(options.partials * n_frames, most_per_frame=options.partials)
    most = (int(allowance(options, n_signals, n_samples) * (scale if options.numbers else 1)) - n_frames) // NUMBERS_PER_PARTIAL
    if options.numbers is None:
        energy = float(target.double().square().sum())
        return Size(max(most, n_signals), energy * 10 ** (-options.target_snr_db / 10))
    if most < 1:
        raise OptionError(
            f"numbers is {options.numbers}; on this grid of {n_frames} frames a single partial needs "
            f"{n_frames + NUMBERS_PER_PARTIAL}; raise numbers or frame_s ({grid.frame_s:g} s)"
        )
    return Size(most)


def loudest_stretch(target: Tensor, n_samples: int) -> Tensor:
    """Return the ``n_samples`` samples of ``target [B, T]`` with the most energy, found in steps of a tenth of them."""
    if target.shape[-1] <= n_samples:
        return target
    step = max(1, n_samples // 10)
    energy = torch.nn.functional.pad(target.double().square().sum(0).cumsum(0), (1, 0))
    firsts = torch.arange(0, target.shape[-1] - n_samples + 1, step)
    best = int(firsts[(energy[firsts + n_samples] - energy[firsts]).argmax()])
    return target[:, best : best + n_samples]


def choose_frame_s(target: Tensor, sample_rate: int, options: FitOptions) -> float:
    """Return the frame length in seconds for ``target [B, T]``: the one given, or the best of `FRAMES_S` by trial.

    Each trial pursues the goal in a few rounds without training, and is judged by what it reached and what it cost.
    The walk starts in the middle and goes on, up or down, while it gets better.
    """
    if options.grid.frame_s is not None:
        return options.grid.frame_s
    excerpt = loudest_stretch(target, round(TRIAL_S * sample_rate))
    scale = excerpt.shape[-1] / target.shape[-1]
    trials: dict[int, Trial] = {}

    def trial(index: int) -> Trial:
        """Try a frame length, once."""
        if index not in trials:
            grid = grid_for(excerpt, sample_rate, FRAMES_S[index], options.grid)
            trials[index] = _try(excerpt, grid, options.model, scale)
        return trials[index]

    longest = 2 * target.shape[-1] / sample_rate
    usable = [index for index, frame_s in enumerate(FRAMES_S) if frame_s <= longest] or [0]
    best = min(FIRST_TRIED, usable[-1])
    for direction in (1, -1):
        while best + direction in usable and trial(best + direction) < trial(best):
            best += direction
    if math.isinf(trial(best).missing_db):
        best = usable[-1]
    return FRAMES_S[best]


def _try(excerpt: Tensor, grid: TimeGrid, options: ModelOptions, scale: float) -> Trial:
    try:
        size = size_for(excerpt, grid, options, scale)
    except OptionError:
        return Trial(math.inf, 0)
    partials, residual = pursue(excerpt, grid, size, rounds=TRIAL_ROUNDS)
    left, energy = float(residual.double().square().sum()), float(excerpt.double().square().sum())
    if energy == 0:
        return Trial(0.0, 0)
    short_db = 10 * math.log10(max(left, energy * 1e-15) / (size.goal_energy or energy))
    return Trial(
        max(0.0, short_db) if size.goal_energy else short_db,
        NUMBERS_PER_PARTIAL * len(partials) + excerpt.shape[0] * grid.n_frames,
    )
