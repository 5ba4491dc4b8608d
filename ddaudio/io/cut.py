"""Samples cut to ones and zeros: 1 where they are above a cutoff, 0 elsewhere."""

from dataclasses import replace

import torch
from torch import Tensor

from ddaudio.io.audio import Recording
from ddaudio.io.samples import Samples, blocks

BINS = 1 << 14
"""Bins of the histogram from which a cutoff is learned, over the range of each channel."""


def cut(recording: Recording, cutoff: float | None) -> Recording:
    """Return a recording of ones and zeros, which is computed on access.

    Args:
        recording: the recording, with channels ``[C, T]``.
        cutoff: cutoff in full scale; None for the best for two levels in each channel, see `learned_cutoffs`.

    """
    cutoffs = learned_cutoffs(recording) if cutoff is None else torch.full((recording.n_channels,), cutoff)
    return replace(recording, samples=CutSamples(recording.samples, cutoffs), clipped_samples=0)


class CutSamples:
    """Ones where a signal is above the cutoff of its channel, zeros elsewhere; computed on access.

    >>> CutSamples(torch.tensor([[0.1, 0.3, -0.2]]), torch.tensor([0.0]))[:, :].tolist()
    [[1.0, 1.0, 0.0]]
    """

    def __init__(self, samples: Samples, cutoffs: Tensor) -> None:
        """Create from a signal ``[C, T]`` and cutoffs ``[C]``."""
        self._samples, self.cutoffs = samples, cutoffs.float()

    @property
    def shape(self) -> tuple[int, int]:
        """Channels and samples."""
        channels, length = self._samples.shape
        return channels, length

    def __getitem__(self, index: tuple[slice, slice], /) -> Tensor:
        """Return a slice as a tensor."""
        return (self._samples[index] > self.cutoffs[index[0], None]).float()


def learned_cutoffs(recording: Recording) -> Tensor:
    """Return the cutoff of each channel for the two levels with the least squared error to its samples, ``[C]``.

    The best edge of a histogram, by exhaustive search (Otsu, 1979, "A threshold selection method from gray-level histograms",
    IEEE Trans. SMC 9(1)).
    """
    low = torch.stack([block.amin(1) for block in blocks(recording.samples)]).amin(0).double()
    high = torch.stack([block.amax(1) for block in blocks(recording.samples)]).amax(0).double()
    width = torch.where(high > low, high - low, torch.ones_like(low)) / BINS
    counts = torch.zeros(recording.n_channels, BINS, dtype=torch.float64)
    for block in blocks(recording.samples):
        place = ((block.double() - low[:, None]) / width[:, None]).long().clamp(0, BINS - 1)
        counts.scatter_add_(1, place, torch.ones_like(place, dtype=torch.float64))
    levels = low[:, None] + width[:, None] * (torch.arange(BINS) + 0.5)
    # The error is least where the energy of the two means is largest.
    below, sums = counts.cumsum(1), (counts * levels).cumsum(1)
    above, rest = below[:, -1:] - below, sums[:, -1:] - sums
    best = (sums.square() / below.clamp(min=1) + rest.square() / above.clamp(min=1)).argmax(1)
    return (low + width * (best + 1)).float()
