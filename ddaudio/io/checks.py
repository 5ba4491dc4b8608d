"""Checks of samples and their rate."""

from collections.abc import Callable

from torch import Tensor

from ddaudio.errors import DdaudioError, OptionError
from ddaudio.io.samples import Samples, blocks
from ddaudio.io.statistics import MAX_CHANNELS, SampleStatistics
from ddaudio.options import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE

Refusal = Callable[..., DdaudioError]
"""Factory of an error from facts: a class of `ddaudio.errors`, or a partial of one with the source."""


def check_rate(sample_rate: int, refusal: Refusal = OptionError) -> None:
    """Raise an error for a sample rate that is not a whole number of Hz within the bounds."""
    if not isinstance(sample_rate, int) or not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
        allowed = f"whole numbers from {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz"
        raise refusal(setting="sample_rate", value=sample_rate, allowed=allowed)


def check_shape(samples: Samples, refusal: Refusal = OptionError) -> None:
    """Raise an error for samples that are not ``[C, T]``, with 1 to `MAX_CHANNELS` channels and one sample or more."""
    shape = list(samples.shape)
    if len(shape) != 2 or not 1 <= shape[0] <= MAX_CHANNELS or shape[1] < 1:
        allowed = f"[C, T], C from 1 to {MAX_CHANNELS}, T 1 or more"
        raise refusal(setting="samples", verb="have the shape", value=shape, allowed=allowed)


def check_finite(found: SampleStatistics, samples: Samples, sample_rate: int, refusal: Refusal = OptionError) -> None:
    """Raise an error, with count and first position, for samples whose statistics ``found`` are not finite."""
    if found.is_finite:
        return
    count = start = 0
    where = ""
    for block in blocks(samples):
        bad = ~block.isfinite()
        if not count and bad.any():
            where = f"the first at {_place_of_first(bad, start, sample_rate)}"
        count += int(bad.count_nonzero())
        start += block.shape[1]
    problem = f"{count} of {samples.shape[0] * samples.shape[1]} samples are NaN or infinite, {where}"
    raise refusal(problem, allowed="finite values", hint="repair or export it again")


def _place_of_first(bad: Tensor, start: int, sample_rate: int) -> str:
    """Return the position of the first set value of a block ``[C, n]`` that begins at sample ``start``."""
    sample, channel = (int(index) for index in bad.T.nonzero()[0])
    return f"{(start + sample) / sample_rate:.6g} s (sample {start + sample} of channel {channel})"
