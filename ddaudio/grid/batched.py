"""Batches of signals of different lengths: one tensor for all signals, one grid for all grids, and sums by member.

The rows of the tensor are as long as the longest signal; shorter ones are padded with zeros, and no frame covers the padding.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ddaudio.grid.time_grid import TimeGrid

Scalars = NDArray[np.float64]
"""One value for each of ``M`` members of a batch, ``[M]``; on such short arrays numpy is several times faster than torch."""


@dataclass(frozen=True, eq=False)
class Segments:
    """The member of a batch that each of ``N`` values belongs to."""

    count: int
    """Members, ``M``."""
    index: Tensor | None = None
    """Member of each value, ``[N]`` int64; None for a batch of one."""

    def segment_sum(self, values: Tensor) -> Scalars:
        """Return the sum of the ``values [N]``, or of the columns of ``values [W, N]``, of each member."""
        if self.index is None:
            return np.array([values.sum(dtype=torch.float64).item()])
        values = values.double().reshape(-1, self.index.numel()).sum(0)
        return values.new_zeros(self.count).index_add_(0, self.index, values).cpu().numpy()

    def broadcast(self, scalars: Scalars, like: Tensor) -> Tensor | float:
        """Return the scalar of each value's member, ``[N]``, of the dtype and device of ``like``; a float for a batch of one."""
        if self.index is None:
            return float(scalars[0])
        return torch.from_numpy(scalars).to(like).index_select(0, self.index)

    def where(self, first: NDArray[np.bool_], some: Tensor, others: Tensor) -> Tensor:
        """Return ``some [N]`` for the members where ``first [M]`` is true, and ``others [N]`` elsewhere."""
        if self.index is None:
            return some if first[0] else others
        return torch.where(torch.from_numpy(first).to(some.device)[self.index], some, others)

    @classmethod
    def beside(cls, each: Sequence["Segments"]) -> "Segments":
        """Return the segments of several arrays of values, concatenated."""
        known = [one.index for one in each if one.index is not None]
        return cls(each[0].count if each else 1, torch.cat(known) if known else None)

    def split(self, values: Tensor) -> list[Tensor]:
        """Return the values of each member, of ``values [N]``, in their order."""
        if self.index is None:
            return [values]
        order, counts = self._sorted
        return list(torch.split(values.index_select(0, order), counts))

    @cached_property
    def _sorted(self) -> tuple[Tensor, list[int]]:
        """Indices of the values, sorted by member, and how many each member has."""
        assert self.index is not None
        return torch.argsort(self.index, stable=True), torch.bincount(self.index, minlength=self.count).tolist()


class BatchedSignals:
    """Signals of several members of a batch as one tensor."""

    def __init__(self, shapes: Sequence[tuple[int, int]]) -> None:
        """Create a batch of signals of some shapes ``(B, T)``."""
        self.shapes = tuple(shapes)
        counts = torch.tensor([n_signals for n_signals, _ in shapes])
        self.rows = Segments(len(shapes), None if len(shapes) == 1 else torch.arange(len(shapes)).repeat_interleave(counts))
        """Member of each signal."""

    def signals(self, each: Sequence[Tensor]) -> Tensor:
        """Return the signals ``[B, T]`` of all members as one tensor."""
        if len(each) == 1:
            return each[0]
        total = each[0].new_zeros(sum(n_signals for n_signals, _ in self.shapes), max(length for _, length in self.shapes))
        for own, signals in zip(self.own(total), each, strict=True):
            own.copy_(signals)
        return total

    def own(self, signals: Tensor) -> Iterator[Tensor]:
        """Yield the signals of each member, ``[B, T]``."""
        first = 0
        for n_signals, n_samples in self.shapes:
            yield signals[first : first + n_signals, :n_samples]
            first += n_signals

    def row_spread(self, scalars: Scalars, like: Tensor) -> Tensor | float:
        """Return the scalar of the member of each signal, ``[B, 1]``; a float for a batch of one."""
        spread = self.rows.broadcast(scalars, like)
        return spread[:, None] if isinstance(spread, Tensor) else spread

    def energies(self, signals: Tensor) -> Scalars:
        """Return the sum of squares of the ``signals [B, T]`` of each member."""
        return self.rows.segment_sum(signals.double().square().sum(1))


class BatchedGrid(BatchedSignals):
    """Several time grids as one; use `batched` to make one."""

    def __init__(self, grids: Sequence[TimeGrid]) -> None:
        super().__init__([(grid.n_signals, grid.n_samples) for grid in grids])
        self.grids = tuple(grids)
        self.grid = grids[0] if len(grids) == 1 else TimeGrid.beside(grids)
        """The grid of all signals."""

    @cached_property
    def member_of_frame(self) -> Tensor:
        """Member of each frame, ``[F]``."""
        signal = self.grid.frames.signal
        return torch.zeros_like(signal) if self.rows.index is None else self.rows.index[signal]

    def owners(self, frames: Tensor) -> Segments:
        """Return the members of some ``frames [N]``."""
        return self.rows if self.rows.index is None else Segments(self.rows.count, self.member_of_frame[frames])

    @cached_property
    def own_frames(self) -> list[Tensor]:
        """Indices of the frames of each member, rising."""
        every = torch.arange(self.grid.n_frames)
        return self.owners(every).split(every)

    @cached_property
    def own_frame(self) -> Tensor:
        """Index of each frame within its own grid, ``[F]``."""
        numbers = torch.empty(self.grid.n_frames, dtype=torch.int64)
        for frames in self.own_frames:
            numbers[frames] = torch.arange(frames.numel())
        return numbers


@lru_cache(maxsize=2)
def _several(grids: tuple[TimeGrid, ...]) -> BatchedGrid:
    return BatchedGrid(grids)


def ratio(above: Scalars, below: Scalars, which: NDArray[np.bool_]) -> Scalars:
    """Return ``above / below`` for the members ``which [M]``, and 0 for the others."""
    return np.divide(above, below, out=np.zeros_like(above), where=which)


def batched(grids: Sequence[TimeGrid]) -> BatchedGrid:
    """Return several grids as one; the last two batches are cached."""
    return BatchedGrid(grids) if len(grids) == 1 else _several(tuple(grids))
