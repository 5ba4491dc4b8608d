"""Cells of adaptive length."""

from typing import NamedTuple

from torch import Tensor


class Cells(NamedTuple):
    """Cells in the order of signal, then time; all columns ``[F]`` int64, in samples."""

    signal: Tensor
    """Signal that the cell is cut from."""
    first: Tensor
    """First sample of the cell."""
    size: Tensor
    """Samples in the cell; where the signal ends before, the cell ends with it."""
    half_fade_in: Tensor
    """Half the length of the fade at its beginning, 0 for none."""
    half_fade_out: Tensor
    """Half the length of the fade at its end."""
    pre_roll: Tensor
    """Samples by which its frame begins before it, at least ``rise``."""
    length: Tensor
    """Samples in its frame."""

    def keep(self, which: Tensor) -> "Cells":
        """Return the cells that a mask or an index selects."""
        return Cells(*(column[which] for column in self))


class Group(NamedTuple):
    """Frames of one length ``L``, side by side."""

    frames: slice
    """Which frames of the grid these are."""
    length: int
    """Samples in each frame, ``L``."""
    sample_index: Tensor
    """Index of each sample of each frame in the signals, ``[N, L]`` int32; ``B T`` for none."""
    windows: Tensor
    """``[N, L]`` float32."""
