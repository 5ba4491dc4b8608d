"""The time grid: how signals are cut into overlapping frames, and put together again without a seam."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import get_args

import torch
from torch import Tensor
from torch.nn.functional import fold, pad

from ddaudio.errors import OptionError, nearest
from ddaudio.options import WindowName


def fade_in(position: Tensor, shape: WindowName) -> Tensor:
    """Return the rising side of a window at ``position`` (0 to 1); with the falling side it need not sum to one."""
    if shape == "hann":
        return torch.sin(position * (math.pi / 2)) ** 2
    return torch.sin(position * (math.pi / 2)) if shape == "sine" else position


@dataclass(frozen=True)
class TimeGrid:
    """Frames of ``frame_length`` samples, ``hop`` samples apart, over signals of ``n_samples`` samples.

    The first frame begins before the signal and the last ends after it, so that every sample lies under as many frames
    as in the middle. Lengths are given in seconds: the same options mean the same thing at every sample rate.

    Example:
        >>> grid = TimeGrid(sample_rate=8000, n_samples=1000, frame_s=0.02)
        >>> ramp = torch.linspace(-1, 1, 1000).reshape(1, -1)
        >>> torch.allclose(grid.overlap_add(grid.frame(ramp) * grid.windows), ramp, atol=1e-6)
        True

    """

    sample_rate: int
    """Samples per second, above 0."""
    n_samples: int
    """Length of each signal, 1 or more."""
    frame_s: float
    """Length of a frame in seconds; rounded to an even number of samples, at least 4."""
    overlap: float = 0.5
    """Share of a frame in common with the next, 0 < overlap < 1; up to one half two frames overlap."""
    window: WindowName = "hann"
    """Shape of the crossfade."""

    def __post_init__(self) -> None:
        if self.n_samples < 1 or self.sample_rate < 1 or not 0 < self.frame_s < math.inf or not 0 < self.overlap < 1:
            raise OptionError(
                f"a time grid needs samples, a sample rate, a frame length and an overlap between 0 and 1; given are "
                f"{self.n_samples}, {self.sample_rate} Hz, {self.frame_s} s and {self.overlap}"
            )
        if self.window not in get_args(WindowName):
            raise OptionError(f"window is {self.window!r}, which is unknown; {nearest(str(self.window), get_args(WindowName))}")

    @cached_property
    def frame_length(self) -> int:
        """Samples in a frame, ``L``."""
        return max(4, 2 * round(self.frame_s * self.sample_rate / 2))

    @cached_property
    def hop(self) -> int:
        """Samples from the start of one frame to the start of the next, ``H``."""
        return min(self.frame_length - 1, max(1, round(self.frame_length * (1 - self.overlap))))

    @property
    def lead(self) -> int:
        """Samples by which the first frame begins before the signal."""
        return self.frame_length - self.hop

    @cached_property
    def n_frames(self) -> int:
        """Frames per signal, ``F``."""
        return math.ceil((self.n_samples + self.lead) / self.hop)

    @property
    def nyquist_hz(self) -> float:
        """Half the sample rate."""
        return self.sample_rate / 2

    @property
    def bin_hz(self) -> float:
        """Width of one bin of a frame: the sample rate over the frame length."""
        return self.sample_rate / self.frame_length

    @cached_property
    def starts(self) -> Tensor:
        """First sample of each frame, ``[F]``; negative where it lies before the signal."""
        return torch.arange(self.n_frames) * self.hop - self.lead

    @property
    def times_s(self) -> Tensor:
        """Time of each sample of each frame in seconds, ``[F, L]`` float64; before the signal it is negative."""
        return (self.starts[:, None] + torch.arange(self.frame_length)).double() / self.sample_rate

    def window_at(self, position: Tensor) -> Tensor:
        """Return the window at ``position`` samples from a frame's first edge; zero outside ``0 < position < L``."""
        fade = min(self.lead, self.frame_length / 2)
        inside = torch.minimum(position, self.frame_length - position)
        return fade_in((inside / fade).clamp(0, 1), self.window)

    @cached_property
    def windows(self) -> Tensor:
        """The window, ``[L]`` float32, above 0: a sample sits in the middle of its cell."""
        return self.window_at(torch.arange(self.frame_length, dtype=torch.float64) + 0.5).float()

    @cached_property
    def _padding(self) -> tuple[int, int]:
        return self.lead, (self.n_frames - 1) * self.hop + self.frame_length - self.lead - self.n_samples

    @cached_property
    def window_sum(self) -> Tensor:
        """Sum of all windows over each sample of a signal, ``[T]`` float32, above 0."""
        return self._add(self.windows.double().expand(self.n_frames, -1))[0].float()

    def frame(self, signals: Tensor) -> Tensor:
        """Cut ``signals [B, T]`` into frames ``[B * F, L]``, signal by signal; not windowed, zero beyond the ends."""
        return pad(signals, self._padding).unfold(-1, self.frame_length, self.hop).reshape(-1, self.frame_length)

    def overlap_add(self, windowed: Tensor) -> Tensor:
        """Add windowed frames ``[B * F, L]`` up to signals ``[B, T]``, divided by the sum of the windows."""
        return self._add(windowed) / self.window_sum.to(windowed)

    def frame_adjoint(self, signals: Tensor) -> Tensor:
        """Apply the adjoint of ``overlap_add(frames * windows)`` to ``signals [B, T]``: frames ``[B * F, L]``."""
        return self.frame(signals / self.window_sum.to(signals)) * self.windows.to(signals)

    def signal_of_frame(self, n_signals: int) -> Tensor:
        """Return the index of the signal that each of ``n_signals * F`` frames is cut from."""
        return torch.arange(n_signals).repeat_interleave(self.n_frames)

    def _add(self, windowed: Tensor) -> Tensor:
        columns = windowed.reshape(-1, self.n_frames, self.frame_length).transpose(1, 2)
        before, after = self._padding
        padded = before + self.n_samples + after
        signals = fold(columns, (1, padded), (1, self.frame_length), stride=(1, self.hop))[:, 0, 0]
        return signals[:, before : before + self.n_samples]
