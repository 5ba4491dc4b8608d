"""What every network offers: one contract, so that one trainer, one file format and one report serve them all."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ddaudio.grid import TimeGrid
from ddaudio.models.pursuit import Size
from ddaudio.options import StartName


class Network(nn.Module, ABC):
    """A network that fits ``n_signals`` signals on a time grid: ``forward()`` gives frames, not yet windowed.

    Parameters are in units in which a step of equal size means about equally much for each, so that one learning rate
    fits all; files and tables hold natural units (Hz, full scale).
    """

    name: str
    """Name in the registry and in files."""

    def __init__(self, grid: TimeGrid, n_signals: int) -> None:
        super().__init__()
        self.grid, self.n_signals = grid, n_signals

    @property
    def n_frames(self) -> int:
        """Frames over all signals."""
        return self.n_signals * self.grid.n_frames

    @abstractmethod
    def forward(self) -> Tensor:
        """Return the frames of all signals, ``[n_signals * F, L]``."""

    @abstractmethod
    def frames_at(self, offset: Tensor, length: int, ratio: float) -> Tensor:
        """Return frames ``[n_signals * F, length]`` at another sample rate, ``ratio`` times the network's own.

        The first sample of frame ``f`` lies ``offset [F]`` new samples after the frame's own beginning.
        """

    @abstractmethod
    def guess(self, target: Tensor, size: Size, start: StartName, generator: torch.Generator) -> None:
        """Set a starting point for ``target [B, T]`` from the data; replaces all parameters."""

    @abstractmethod
    def extend(self, target: Tensor, size: Size) -> bool:
        """Add parameters for what the network leaves of ``target``, within ``size``; return whether any were added."""

    @abstractmethod
    def ranked(self) -> int:
        """Return how many parts the network has that can be left out one by one, the weakest last."""

    @abstractmethod
    def without_last(self, keep: int) -> "Network":
        """Return a copy with only the ``keep`` strongest parts."""

    @abstractmethod
    def stored(self) -> dict[str, Tensor]:
        """Return what is written to a file: named tensors of float32 and int32 on the CPU, in natural units."""

    @abstractmethod
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `stored` gave; raises `ModelError` when the tensors do not fit the grid."""

    @abstractmethod
    def describe(self) -> dict[str, Tensor]:
        """Return a table of the parameters in natural units: named columns of equal length."""

    def project(self) -> None:
        """Bring parameters back into their bounds; called after each step of the optimiser."""

    def estimate(self) -> Tensor:
        """Return the signals ``[n_signals, T]``: windowed frames, overlapped and added."""
        frames = self()
        return self.grid.overlap_add(frames * self.grid.windows.to(frames))

    def numbers(self) -> int:
        """Return how many numbers a file of this network holds."""
        return sum(tensor.numel() for tensor in self.stored().values())
