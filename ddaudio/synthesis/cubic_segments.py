"""Segments of time in which waves have a cubic phase."""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Segments:
    """Which samples of which signals belong to which segment; all tensors are ``[S]``."""

    signal: Tensor
    """Number of the signal, int64."""
    begin: Tensor
    """First sample, int64, relative to the first one of the signals."""
    count: Tensor
    """Number of samples, int64, 0 or more."""
    start: Tensor
    """Position at which ``t`` is 0, in samples relative to the first one, float64."""
    length: Tensor
    """Distance in samples to the position at which ``t`` is 1, float64."""
    shape: tuple[int, int]
    """Number of signals and samples of each."""

    @cached_property
    def ends(self) -> Tensor:
        """Number of samples of all segments up to and including each, ``[S]``."""
        return self.count.cumsum(0)

    @cached_property
    def cuts(self) -> Tensor:
        """Where segments begin and end, rising, int64; for segments of one signal."""
        flags = torch.zeros(self.shape[1] + 1, dtype=torch.bool, device=self.begin.device)
        flags[self.begin] = True
        flags[self.begin + self.count] = True
        return flags.nonzero().squeeze(1)

    @cached_property
    def joined(self) -> "Segments":
        """The same segments of one signal, in which all signals follow each other."""
        n_signals, n_samples = self.shape
        shift = self.signal * n_samples
        return replace(
            self, signal=shift * 0, begin=self.begin + shift, start=self.start + shift, shape=(1, n_signals * n_samples)
        )

    def chosen(self, rows: Tensor) -> "Segments":
        """Return some of the segments."""
        parts = {name: getattr(self, name)[rows] for name in ("signal", "begin", "count", "start", "length")}
        return Segments(**parts, shape=self.shape)
