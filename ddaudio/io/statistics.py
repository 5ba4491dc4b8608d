"""What samples are found to be in one pass over them: extremes, energy, clipping, and what makes them unusable."""

import dataclasses
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ddaudio.io.samples import Samples, blocks

MAX_CHANNELS = 1_024
CLIPPED_LEVEL = 0.9999
"""Absolute level, of full scale, from which a sample may be a clipped one."""


@dataclasses.dataclass(frozen=True)
class SampleStatistics:
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


def sample_statistics(samples: Samples) -> SampleStatistics:
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
    return SampleStatistics(float(lowest), float(highest), energy, clipped_samples)


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
