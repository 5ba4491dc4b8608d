"""Short-time spectra of recordings, computed block by block with constant memory."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from ddaudio.io.samples import Samples, on_cpu


def nearest_fft(frame_s: float, sample_rate: int) -> int:
    """Return the power of two of samples nearest to ``frame_s`` on a log scale, at least 16."""
    return int(2 ** max(4, round(math.log2(frame_s * sample_rate))))


@dataclass(frozen=True)
class Frames:
    """Frames of equal length and hop over signals ``[C, T]``.

    >>> frames = Frames(n_fft=16, hop=4, n_frames=3, first_sample=-8)
    >>> [spectrum.shape for spectrum in frames.spectra(torch.ones(2, 12), torch.ones(16), at_a_time=2)]
    [torch.Size([2, 9, 2]), torch.Size([2, 9, 1])]
    """

    n_fft: int
    """Length of a frame in samples."""
    hop: int
    """Hop in samples."""
    n_frames: int
    first_sample: int = 0
    """First sample of the first frame; samples outside 0 to T - 1 are given by ``edge``."""
    edge: Literal["zero", "reflect"] = "zero"
    """Zeros, or the signal reflected at its first and last sample, up to twice its length."""

    def blocks(self, samples: Samples, at_a_time: int) -> Iterator[Tensor]:
        """Yield blocks of samples ``[C, n]`` with up to ``at_a_time`` frames, every frame once, on the CPU."""
        for first in range(0, self.n_frames, at_a_time):
            start = self.first_sample + first * self.hop
            last = min(first + at_a_time, self.n_frames) - 1
            yield self._between(samples, start, self.first_sample + last * self.hop + self.n_fft)

    def _between(self, samples: Samples, start: int, stop: int) -> Tensor:
        n_samples = samples.shape[1]
        if self.edge == "zero" or 0 <= start <= stop <= n_samples:
            inside = on_cpu(samples[:, max(start, 0) : max(min(stop, n_samples), 0)])
            return pad(inside, (max(min(stop, 0) - start, 0), max(stop - max(n_samples, start), 0)))
        place = torch.arange(start, stop).abs()
        place = torch.where(place < n_samples, place, 2 * (n_samples - 1) - place)
        lowest = int(place.min())
        return on_cpu(samples[:, lowest : int(place.max()) + 1])[:, place - lowest]

    def spectra(self, samples: Samples, window: Tensor, at_a_time: int) -> Iterator[Tensor]:
        """Yield the complex spectra ``[C, bins, frames]`` of all frames, windowed, in blocks of up to ``at_a_time`` frames.

        They have the type of ``window``, which is at most ``n_fft`` long and centred in the frame.
        """
        for block in self.blocks(samples, at_a_time):
            yield self.transform(block, window)

    def transform(self, block: Tensor, window: Tensor) -> Tensor:
        """Return the complex spectra ``[C, bins, frames]`` of a block of samples, windowed."""
        typed = block.to(window.dtype)
        return torch.stft(typed, self.n_fft, self.hop, len(window), window, center=False, return_complex=True)
