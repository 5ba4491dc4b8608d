"""Cells of adaptive length."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from ddaudio.errors import OptionError


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
    """Samples by which its frame begins before it, at least ``half_fade_in``."""
    length: Tensor
    """Samples in its frame."""

    @classmethod
    def of_sizes(cls, sizes: Sequence[Sequence[int]], n_samples: int, longest_fade: int | None) -> "Cells":
        """Return cells of given even sizes, see `TimeGrid.of_sizes`; raises `OptionError` where they do not fit the signals."""
        smallest = min((min(row, default=0) for row in sizes), default=0)
        if smallest < 2:
            raise OptionError(setting="sizes", value=sizes, allowed="a row for each signal, of cells of 2 samples or more")
        longest_fade = max(map(max, sizes)) if longest_fade is None else longest_fade
        columns = [cls._of_signal(signal, row, n_samples, longest_fade) for signal, row in enumerate(sizes)]
        return cls(*(torch.cat(parts) for parts in zip(*columns, strict=True)))

    @classmethod
    def _of_signal(cls, signal: int, sizes: Sequence[int], n_samples: int, longest_fade: int) -> "Cells":
        """Return the cells of one signal."""
        size = torch.tensor(sizes, dtype=torch.int64)
        first = size.cumsum(0) - size
        if not int(first[-1]) < n_samples <= int(first[-1] + size[-1]):
            allowed = f"sizes of which the last reaches the signal's end, at {n_samples} samples"
            problem = f"{sum(sizes)} samples in all"
            raise OptionError(problem, setting="sizes", verb="contains", value=list(sizes), allowed=allowed)
        half = (torch.minimum(size[:-1], size[1:]) // 2).clamp(max=longest_fade)
        rise, fall = pad(half, (1, 0)), pad(half, (0, 1))
        lead = (size // 2).clamp(max=longest_fade)
        # A cell without fades needs no room for them: then its frame is the cell.
        alone = (rise + fall) == 0
        length = torch.where(alone, torch.minimum(size, n_samples - first), size + 2 * lead)
        return cls(torch.full_like(size, signal), first, size, rise, fall, torch.where(alone, 0, lead), length)

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
