"""Statistics of samples: extremes, energy and clipping."""

import dataclasses
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ddaudio.io.samples import Samples, blocks

MAX_CHANNELS = 1_024
DEPTHS = (8, 16, 24, 25)
"""Bit depths that are tested, independent of the file format; the last one represents floats."""
GENTLE_STEPS = 4.5
"""The most by which a smooth wave falls from a flat top to the next sample, in quantisation steps."""
JUMP_WEIGHT = 0.05
"""Weight against clipping of a flat top that ends in a jump over at least half of the range of its channel."""


@dataclasses.dataclass(frozen=True)
class SampleStatistics:
    """Statistics over all channels, as `sample_statistics` returns them."""

    lowest: float
    """The lowest sample; NaN if any sample is."""
    highest: float
    """The highest sample; NaN if any sample is."""
    energy: float
    """The sum of squares, added up in float64."""
    means: Tensor = dataclasses.field(compare=False)
    """The mean of each channel, `[C]` float64."""
    clipped_samples: int
    """Samples in flat tops: runs of three or more at the highest or lowest value of their channel. Tops of rounded smooth
    waves and levels of square waves do not count."""

    @property
    def peak(self) -> float:
        """The largest absolute sample."""
        return max(self.highest, -self.lowest)

    @property
    def is_finite(self) -> bool:
        """Whether no sample is NaN or infinite."""
        return math.isfinite(self.lowest) and math.isfinite(self.highest)


def sample_statistics(samples: Samples) -> SampleStatistics:
    """Return the statistics of samples `[C, T]`, C and T at least 1, in one pass; in two where they may be clipped."""
    n_channels = samples.shape[0]
    lowest, highest = torch.full((n_channels, 1), math.inf), torch.full((n_channels, 1), -math.inf)
    energy, bits, may_be_clipped = 0.0, DEPTHS[0], False
    before, sums = torch.full((n_channels, 2), math.nan), torch.zeros(n_channels, dtype=torch.float64)
    for block in blocks(samples):
        # unlike Python's min and max, these keep a NaN
        lowest = torch.minimum(lowest, block.amin(1, keepdim=True))
        highest = torch.maximum(highest, block.amax(1, keepdim=True))
        wide = block.double()
        sums += wide.sum(1)
        energy += float(wide.square_().sum())
        bits = next(depth for depth in DEPTHS if depth >= bits and _has_depth(block, depth))
        joined = torch.cat([before, block], dim=1)
        may_be_clipped |= any(bool(_threes(joined == extreme).any()) for extreme in (highest, lowest))
        before = joined[:, -2:].clone()
    clipped_samples = _count_clipped(samples, lowest, highest, 2.0 ** (1 - bits)) if may_be_clipped else 0
    return SampleStatistics(float(lowest.amin()), float(highest.amax()), energy, sums / samples.shape[1], clipped_samples)


def _has_depth(block: Tensor, bits: int) -> bool:
    """Return whether all samples are whole quantisation steps; always true for the last of `DEPTHS`."""
    if bits == DEPTHS[-1]:
        return True
    return not bool((block * 2.0 ** (bits - 1)).frac_().any())


def _threes(at: Tensor) -> Tensor:
    """Return where three in a row of a mask `[C, n]` begin, `[C, n - 2]`."""
    return at[:, :-2] & at[:, 1:-1] & at[:, 2:]


def _count_clipped(samples: Samples, lowest: Tensor, highest: Tensor, step: float) -> int:
    """Return the number of samples in clipped tops, at the extremes `[C, 1]` of their channels.

    A smooth wave in steps of q has flat tops too. Around its maximum p it is a parabola; if the samples at -1, 0 and 1
    are rounded to one value v, it falls by at most p - v + q/2 from 0 to 1 and by four times that to 2, so the sample
    there is at least v - 3.5 q, rounded v - 4 q. A clipped wave reaches its limit at a steeper slope; a square wave jumps
    there from the other extreme. So an extreme is a clipping limit if at least half of the ends of its tops are slopes.
    Jumps have little weight, because loud high tones jump too.
    """
    half_span, outward = (highest - lowest) / 2, torch.maximum(highest, -lowest) / 2
    count = 0
    for extreme, is_top in ((highest, highest >= outward), (lowest, lowest <= -outward)):
        flat = steep = others = torch.zeros(len(extreme), dtype=torch.float64)
        for block in _whole_runs(samples):
            tops, channel, falls = _tops(block, extreme)
            gentle, jumping = falls < GENTLE_STEPS * step, falls >= half_span[channel, 0]
            weight = torch.where(jumping, JUMP_WEIGHT, gentle.double())
            flat = flat + tops.sum(1)
            others = others + torch.bincount(channel, weight, len(extreme))
            steep = steep + torch.bincount(channel, (~gentle & ~jumping & ~falls.isnan()).double(), len(extreme))
        count += int(flat[is_top[:, 0] & (steep > 0) & (steep >= others)].sum())
    return count


def _tops(block: Tensor, extreme: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return which inner samples `[:, 2:-2]` of a block are in tops; and for each end of a top, its channel and its fall.

    The fall is the distance from the top to the sample next to it, NaN where that is unknown.
    """
    at = block == extreme
    threes = _threes(at)
    tops = threes[:, :-2] | threes[:, 1:-1] | threes[:, 2:]
    (channel, before), (other_channel, behind) = (
        ends.nonzero(as_tuple=True) for ends in (threes[:, 2:] & ~at[:, 1:-3], threes[:, :-2] & ~at[:, 3:-1])
    )
    channel = torch.cat([channel, other_channel])
    return tops, channel, (block[channel, torch.cat([before + 1, behind + 3])] - extreme[channel, 0]).abs()


def _whole_runs(samples: Samples) -> Iterator[Tensor]:
    """Yield overlapping blocks whose inner samples, `[:, 2:-2]`, are all samples in order, each exactly once.

    Each sample is an inner one where its two neighbours on either side are known; NaNs pad both ends.
    """
    unknown = before = torch.full((samples.shape[0], 2), math.nan)
    for block in blocks(samples):
        joined = torch.cat([before, block], dim=1)
        yield joined
        before = joined[:, -4:].clone()  # the last two had no neighbours yet
    yield torch.cat([before, unknown], dim=1)
