"""Size of a model, and distribution of a goal or a budget over the blocks of a long recording.

With a goal, the same level ``D`` of noise is allowed everywhere in time and frequency, and all power where there is less
than ``D``: reverse water-filling (Cover and Thomas, 2006, "Elements of information theory", section 10.3.3). ``D`` is
read off a histogram of the powers of all bins of all short-time spectra. Parameters are split in proportion to the bins
above ``D``; with a budget, ``D`` is where as many bins are above it as the budget has partials for.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ddaudio.errors import OptionError
from ddaudio.io.audio import Recording
from ddaudio.io.samples import Samples
from ddaudio.io.spectra import Frames
from ddaudio.models import PARAMETERS_PER_PARTIAL, Budget
from ddaudio.options import HIGHEST_SNR_DB, MAX_PARAMETERS_PER_SAMPLE, ModelOptions

SPECTRUM_S = 0.046
"""Frame length of the short-time spectra in seconds; frames overlap by one half."""
LEVELS_PER_OCTAVE = 4
LOWEST_OCTAVE, HIGHEST_OCTAVE = -80, 40
"""Range of the histogram of powers, as exponents of 2."""
MOST_PARAMETERS = 100_000
"""Largest budget of short recordings; longer ones may have `MAX_PARAMETERS_PER_SAMPLE`."""
BINS_PER_PARTIAL = 4
"""Approximate number of bins of overlapping Hann spectra per partial."""


class Shares(NamedTuple):
    """Shares of each segment of time, ``[S]`` float64."""

    energy: Tensor
    """Target of the residual energy; 0 without a goal."""
    n_parameters: Tensor
    """Number of parameters: a share of the budget, or of the cap."""


def allowance(options: ModelOptions, n_signals: int, n_samples: int) -> int:
    """Return the largest number of parameters for ``n_signals`` signals of ``n_samples`` samples.

    With neither a budget nor a fixed count it is the cap.
    """
    if options.budget is not None:
        return options.budget
    per_sample = options.resolved().max_parameters_per_sample or 0.0
    return int(per_sample * n_signals * n_samples)


def goal_energy(options: ModelOptions, energy: float) -> float:
    """Return the target of the residual energy for a recording of the given ``energy``; 0 without a target SNR."""
    sized = options.budget is not None or options.partials is not None
    return 0.0 if sized else energy * 10 ** (-highest_snr_db(options) / 10)


def highest_snr_db(options: ModelOptions) -> float:
    """Return the SNR in dB at which a model is good enough: the target, or with noise and no target one that is never missed."""
    target_db = options.resolved().target_snr_db
    return HIGHEST_SNR_DB if target_db is None else target_db


def check_most(setting: str, n_parameters: int, recording: Recording, value: int) -> None:
    """Raise `OptionError` for the ``value`` of a setting that makes more parameters than any fit of the recording can use."""
    most = max(MOST_PARAMETERS, int(MAX_PARAMETERS_PER_SAMPLE * recording.n_channels * recording.n_samples))
    if n_parameters > most:
        problem = f"which makes {n_parameters} parameters for this recording"
        raise OptionError(problem, setting=setting, value=value, allowed=f"up to {most} parameters")


def check_budget(options: ModelOptions, fewest: int, per_part: int, share: float = 1.0) -> None:
    """Raise `OptionError` for a budget whose ``share`` has no room for one component and the ``fewest`` parameters of frames."""
    if options.budget is not None and math.floor(options.budget * share) < fewest + per_part:
        raise OptionError(
            "too few for one component beside the frames of this recording",
            setting="budget",
            value=options.budget,
            allowed=f"{math.ceil((fewest + per_part) / share)} or more",
            hint="raise {budget}, or set a longer {frame_s}",
        )


def size_for(
    options: ModelOptions, share: tuple[float, float], n_frames: int, taken: int, per_part: int, least: int = 0
) -> Budget:
    """Return the limits on components on a grid of ``n_frames`` frames.

    Args:
        options: the goal or the budget.
        share: number of parameters (a budget, or the cap with a goal), and target of the residual energy.
        n_frames: number of frames of the grid.
        taken: parameters of frames and of the division of time.
        per_part: smallest number of parameters of a component.
        least: number of components that is allowed even with a low cap.

    """
    if options.partials is not None:
        return Budget(options.partials * n_frames, most_per_frame=options.partials)
    numbers, energy = share
    # Shares add up to integers except for rounding.
    left = max(least * per_part, math.floor(numbers + 1e-6) - taken, 0)
    goal = 0.0 if options.budget is not None else max(energy, math.ulp(0.0))
    return Budget(left // per_part, goal, n_parameters=left)


def share_out(
    samples: Samples, sample_rate: int, ranges: Sequence[tuple[int, int]], options: ModelOptions, numbers: int, energy: float
) -> Shares:
    """Distribute parameters and residual energy over segments of time.

    Args:
        samples: the recording, ``[C, T]``.
        sample_rate: samples per second.
        ranges: first sample and end of each segment.
        options: the goal or the budget.
        numbers: parameters to split, beyond those that each segment gets for its cells.
        energy: residual energy to distribute; 0 for none.

    """
    length = max(16, round(SPECTRUM_S * sample_rate))
    n_slices, n_levels = len(ranges), LEVELS_PER_OCTAVE * (HIGHEST_OCTAVE - LOWEST_OCTAVE)
    counts, powers = torch.zeros(2, n_slices, n_levels, dtype=torch.float64)
    for index, (first, last) in enumerate(ranges):
        power = _powers(samples[:, first:last], length)
        levels = ((power.log2() - LOWEST_OCTAVE) * LEVELS_PER_OCTAVE).clamp(0, n_levels - 1).long()
        counts[index] = torch.bincount(levels, minlength=n_levels)
        powers[index] = torch.bincount(levels, power, minlength=n_levels)
    lengths = torch.tensor([last - first for first, last in ranges], dtype=torch.float64)
    spent = numbers * lengths / lengths.sum()
    if options.budget is not None:
        above = counts.sum(0).flip(0).cumsum(0).flip(0)
        wanted = min(BINS_PER_PARTIAL * numbers / PARAMETERS_PER_PARTIAL, float(above[1]))
        standing = counts[:, int((above >= wanted).nonzero().max()) :].sum(1)
        spent = numbers * standing / standing.sum() if float(standing.sum()) else spent
    if not energy:
        return Shares(torch.zeros(n_slices, dtype=torch.float64), spent)
    total = powers.sum()
    water = 2.0 ** (LOWEST_OCTAVE + torch.arange(n_levels) / LEVELS_PER_OCTAVE).double()
    # The residual has the power of the bins below the level, and the level in those above.
    left = powers.sum(0).cumsum(0) + water * (counts.sum() - counts.sum(0).cumsum(0))
    reached = (left >= total * 10 ** (-highest_snr_db(options) / 10)).nonzero()
    level = int(reached.min()) if len(reached) else n_levels - 1
    standing = counts[:, level + 1 :].sum(1)
    noise = powers[:, : level + 1].sum(1) + water[level] * standing
    spent = numbers * standing / standing.sum() if float(standing.sum()) else spent
    noise = noise if float(noise.sum()) else lengths
    return Shares(energy * noise / noise.sum(), spent)


def _powers(samples: Samples, length: int) -> Tensor:
    """Return the powers of all bins of short-time spectra in one row, zeros omitted."""
    frames = Frames(length, length // 2, 1 + max(0, samples.shape[1] - length) // (length // 2))
    (spectra,) = frames.spectra(samples, torch.hann_window(length), frames.n_frames)
    power = spectra.abs().square().double().flatten()
    return power[power > 0]
