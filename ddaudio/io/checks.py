"""Checks of samples and their rate."""

from ddaudio.io.samples import Samples, blocks
from ddaudio.io.statistics import MAX_CHANNELS, SampleStatistics
from ddaudio.options import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE


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


def finite_problem(found: SampleStatistics, samples: Samples, sample_rate: int) -> str:
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
