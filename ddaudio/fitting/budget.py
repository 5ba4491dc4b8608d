"""How large a model may get, and how a goal or a budget is shared out over the blocks of a long recording.

With a goal, the same level ``D`` of noise is allowed everywhere in time and frequency, and all power where there is less
than ``D``: reverse water-filling (Cover and Thomas, 2006, "Elements of information theory", section 10.3.3). ``D`` is
read off a histogram of the powers of all bins of all short spectra. Numbers are shared in proportion to the bins that
stand out of the water; with a budget the level is where as many stand out as partials can be paid for.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ddaudio.errors import OptionError
from ddaudio.io.samples import Samples
from ddaudio.models import PARAMETERS_PER_PARTIAL, Budget
from ddaudio.options import ModelOptions

SPECTRUM_S = 0.046
"""Length of the short spectra; they overlap by one half."""
LEVELS_PER_OCTAVE = 4
LOWEST_OCTAVE, HIGHEST_OCTAVE = -80, 40
"""Powers are told apart between 2 to the power of these."""
BINS_PER_PARTIAL = 4
"""About as many bins of overlapping Hann spectra stand out where a partial sounds."""


class Shares(NamedTuple):
    """What each stretch of time may have, ``[S]`` float64."""

    energy: Tensor
    """Energy of the residual that is good enough; 0 without a goal."""
    n_parameters: Tensor
    """Numbers to spend, or the cap."""


def whole(numbers: int, energy: float) -> Shares:
    """Return the shares of a recording that is one stretch."""
    return Shares(torch.tensor([energy], dtype=torch.float64), torch.tensor([float(numbers)], dtype=torch.float64))


def allowance(options: ModelOptions, n_signals: int, n_samples: int) -> int:
    """Return how many numbers may be spent on ``n_signals`` signals of ``n_samples`` samples.

    With neither a budget nor a fixed count it is the cap.
    """
    if options.budget is not None:
        return options.budget
    return int(options.max_parameters_per_sample * n_signals * n_samples)


def goal_energy(options: ModelOptions, energy: float) -> float:
    """Return the energy that a residual may have, for a recording of some ``energy``; 0 where no SNR is aimed at."""
    sized = options.budget is not None or options.partials is not None
    return 0.0 if sized else energy * 10 ** (-options.target_snr_db / 10)


def check_budget(options: ModelOptions, fewest: int, per_part: int) -> None:
    """Raise `OptionError` for a budget without room for one part beside the ``fewest`` numbers that frames can take."""
    if options.budget is not None and options.budget < fewest + per_part:
        raise OptionError(
            "too few for one component beside the frames of this recording",
            setting="budget",
            value=options.budget,
            allowed=f"{fewest + per_part} or more",
            hint="raise {budget}, or set a longer {frame_s}",
        )


def size_for(
    options: ModelOptions, share: tuple[float, float], n_frames: int, taken: int, per_part: int, least: int = 0
) -> Budget:
    """Return how many parts signals may be given on a grid of ``n_frames`` frames.

    Args:
        options: what is aimed at.
        share: numbers to spend, or the cap of a goal, and the energy of the residual that is good enough.
        n_frames: frames of the grid.
        taken: numbers that frames and their code take.
        per_part: numbers that a part takes, at least.
        least: parts that there is always room for, however low the cap.

    """
    if options.partials is not None:
        return Budget(options.partials * n_frames, most_per_frame=options.partials)
    numbers, energy = share
    # Shares add up to whole numbers but for rounding.
    left = max(least * per_part, math.floor(numbers + 1e-6) - taken, 0)
    goal = 0.0 if options.budget is not None else max(energy, math.ulp(0.0))
    return Budget(left // per_part, goal, n_parameters=left)


def share_out(
    samples: Samples, sample_rate: int, ranges: Sequence[tuple[int, int]], options: ModelOptions, numbers: int, energy: float
) -> Shares:
    """Share numbers and the energy of the residual out over stretches of time.

    Args:
        samples: what was recorded, ``[C, T]``.
        sample_rate: samples per second.
        ranges: first sample and end of each stretch.
        options: what is aimed at.
        numbers: numbers to share, beyond those that are given to each stretch for its cells.
        energy: energy of the residual to share, 0 for none.

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
    # Below each level, all power is left over; above it, as much as the level itself.
    left = powers.sum(0).cumsum(0) + water * (counts.sum() - counts.sum(0).cumsum(0))
    reached = (left >= total * 10 ** (-options.target_snr_db / 10)).nonzero()
    level = int(reached.min()) if len(reached) else n_levels - 1
    standing = counts[:, level + 1 :].sum(1)
    noise = powers[:, : level + 1].sum(1) + water[level] * standing
    spent = numbers * standing / standing.sum() if float(standing.sum()) else spent
    noise = noise if float(noise.sum()) else lengths
    return Shares(energy * noise / noise.sum(), spent)


def _powers(samples: Tensor, length: int) -> Tensor:
    """Return the powers of all bins of short spectra, in one row; without those that are zero."""
    window = torch.hann_window(length)
    padded = torch.nn.functional.pad(samples, (0, max(0, length - samples.shape[1])))
    spectra = torch.stft(padded, length, length // 2, window=window, center=False, return_complex=True)
    power = spectra.abs().square().double().flatten()
    return power[power > 0]
