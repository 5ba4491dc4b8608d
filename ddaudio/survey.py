"""What samples are found to be in one pass over them: extremes, energy, clipping, and what makes them unusable."""

import dataclasses
import math
import os
from collections.abc import Iterator

import torch
from torch import Tensor

from ddaudio.options import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE
from ddaudio.spool import Samples, blocks

MAX_CHANNELS = 1_024
CLIPPED_LEVEL = 0.9999
"""Absolute level, of full scale, from which a sample may be a clipped one."""


@dataclasses.dataclass(frozen=True)
class Survey:
    """What `survey` found over all channels."""

    lowest: float
    """The lowest sample; NaN if any sample is."""
    highest: float
    """The highest sample; NaN if any sample is."""
    energy: float
    """The sum of squares, added up in float64."""
    clipped_samples: int
    """Samples that stand in a run of three or more of one sign at CLIPPED_LEVEL."""

    @property
    def peak(self) -> float:
        """The largest absolute sample."""
        return max(self.highest, -self.lowest)

    @property
    def is_finite(self) -> bool:
        """Whether no sample is NaN or infinite."""
        return math.isfinite(self.lowest) and math.isfinite(self.highest)


def survey(samples: Samples) -> Survey:
    """Go through samples `[C, T]`, neither of them 0, once."""
    lowest, highest, energy, clipped_samples = torch.tensor(math.inf), torch.tensor(-math.inf), 0.0, 0
    for block in _whole_runs(samples):
        inner = block[:, 2:-2]
        if inner.numel():
            low, high = torch.aminmax(inner)
            # unlike Python's min and max, these two keep a NaN
            lowest, highest = torch.minimum(lowest, low), torch.maximum(highest, high)
            energy += float(inner.double().square().sum())
            if torch.maximum(high, -low) >= CLIPPED_LEVEL:  # compared in float32, as the samples are
                clipped_samples += _count_clipped(block)
    return Survey(float(lowest), float(highest), energy, clipped_samples)


def _whole_runs(samples: Samples) -> Iterator[Tensor]:
    """Yield overlapping blocks whose inner samples, `[:, 2:-2]`, are all samples in order, each of them once.

    So every sample is inner where both its neighbours to either side are known; zeros stand before and after the whole.
    """
    zeros = before = torch.zeros(samples.shape[0], 2)
    for block in blocks(samples):
        joined = torch.cat([before, block], dim=1)
        yield joined
        before = joined[:, -4:].clone()  # the last two had no neighbours yet
    yield torch.cat([before, zeros], dim=1)


def _count_clipped(block: Tensor) -> int:
    """Return how many inner samples of a block stand in a run: in one of the three threes that a sample is part of."""
    count = 0
    for full in (block >= CLIPPED_LEVEL, block <= -CLIPPED_LEVEL):
        threes = full[:, :-2] & full[:, 1:-1] & full[:, 2:]
        count += int((threes[:, :-2] | threes[:, 1:-1] | threes[:, 2:]).count_nonzero())
    return count


def rate_problem(sample_rate: int) -> str:
    """Return what is wrong with a sample rate and what to do, or nothing."""
    if isinstance(sample_rate, int) and MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
        return ""
    return f"sample_rate is {sample_rate!r}; choose a whole number of Hz from {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE}"


def shape_problem(samples: Samples) -> str:
    """Return what is wrong with the shape of samples and what to do, or nothing."""
    shape = list(samples.shape)
    if len(shape) == 2 and 1 <= shape[0] <= MAX_CHANNELS and shape[1] >= 1:
        return ""
    return f"samples have shape {shape}; give [C, T], C from 1 to {MAX_CHANNELS}, T at least 1"


def finite_problem(found: Survey, samples: Samples, sample_rate: int) -> str:
    """Return how many samples are not finite, where the first is, and what to do, or nothing."""
    if found.is_finite:
        return ""
    count = start = 0
    where = ""
    for block in blocks(samples):
        bad = ~block.isfinite()
        if not count and bad.any():
            first, channel = (int(index) for index in bad.T.nonzero()[0])
            where = f"the first at {(start + first) / sample_rate:.6g} s (sample {start + first} of channel {channel})"
        count += int(bad.count_nonzero())
        start += block.shape[1]
    total = samples.shape[0] * samples.shape[1]
    return f"{count} of {total} samples are NaN or infinite, {where}; repair or export it again"


def quoted(path: str | os.PathLike[str]) -> str:
    """Return a path in quotes, on one line whatever characters it has."""
    return repr(os.fspath(path)).replace("\\\\", "\\")
