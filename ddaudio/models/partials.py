"""Partials: sinusoids inside frames, in natural units."""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from ddaudio.oscillators import Packing


@dataclass(frozen=True)
class Partials:
    """A list of sinusoids, each inside one frame; sorted by frame.

    Partial ``k`` is ``cosine_k cos(w_k (n - m)) + sine_k sin(w_k (n - m))`` over the samples ``n`` of its frame, with
    ``m = (L - 1) / 2`` its middle.
    """

    frame: Tensor
    """Frame of each partial, ``[P]`` int64, rising."""
    frequency: Tensor
    """``w`` in radians per sample, 0 to pi, ``[P]``."""
    cosine: Tensor
    """Amplitude of the cosine, full scale 1, ``[P]``."""
    sine: Tensor
    """Amplitude of the sine, full scale 1, ``[P]``."""

    @classmethod
    def none(cls, like: Tensor) -> "Partials":
        """Return an empty list with the dtype and device of ``like``."""
        empty = like.new_zeros(0)
        return cls(torch.zeros(0, dtype=torch.int64, device=like.device), empty, empty, empty)

    def __len__(self) -> int:
        return self.frame.numel()

    @cached_property
    def power(self) -> Tensor:
        """Mean square of each partial, ``(cosine^2 + sine^2) / 2``, ``[P]``."""
        return (self.cosine**2 + self.sine**2) / 2

    def counts(self, n_frames: int) -> Tensor:
        """Return how many partials each frame has, ``[F]`` int64."""
        return torch.bincount(self.frame, minlength=n_frames)

    def packing(self, n_frames: int, frame_length: int) -> Packing:
        """Return how these partials are packed for the engine."""
        return Packing(self.counts(n_frames), frame_length)

    def keep(self, which: Tensor) -> "Partials":
        """Return the partials that a mask ``[P]`` or a rising index selects."""
        return Partials(self.frame[which], self.frequency[which], self.cosine[which], self.sine[which])

    def strongest(self, count: int) -> "Partials":
        """Return the ``count`` partials of highest power, or all where there are fewer; ties go to the earlier one."""
        return self.keep(self.ranking[:count].sort().values)

    @cached_property
    def ranking(self) -> Tensor:
        """Index of the partials from the strongest to the weakest, ``[P]``."""
        return torch.argsort(self.power, descending=True, stable=True)

    def joined(self, other: "Partials") -> "Partials":
        """Return these and the other partials in one list."""
        frame = torch.cat([self.frame, other.frame])
        order = torch.argsort(frame, stable=True)
        pairs = ((self.frequency, other.frequency), (self.cosine, other.cosine), (self.sine, other.sine))
        return Partials(frame[order], *(torch.cat(pair)[order] for pair in pairs))

    def with_amplitudes(self, cosine: Tensor, sine: Tensor) -> "Partials":
        """Return the same sinusoids with other amplitudes."""
        return replace(self, cosine=cosine, sine=sine)


def equally_spaced(n_frames: int, per_frame: Tensor, like: Tensor) -> Partials:
    """Return silent partials that divide the band of each frame equally, ``per_frame [F]`` of them."""
    frame = torch.arange(n_frames).repeat_interleave(per_frame)
    slot = torch.arange(frame.numel()) - (per_frame.cumsum(0) - per_frame)[frame]
    frequency = (math.pi * (slot + 0.5) / per_frame[frame]).to(like)
    return Partials(frame, frequency, torch.zeros_like(frequency), torch.zeros_like(frequency))
