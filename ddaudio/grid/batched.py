"""Several fits side by side as one: their signals in one tensor, their grids in one grid, and sums that stay apart.

Rows of one tensor are as long as the longest signal; what a shorter one lacks is silence, and no frame lies there.
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
"""One number for each of ``M`` members, ``[M]``; numpy does such short rows several times faster than torch."""


@dataclass(frozen=True, eq=False)
class Segments:
    """Which of some members each of ``N`` values belongs to."""

    count: int
    """Members, ``M``."""
    index: Tensor | None = None
    """Member of each value, ``[N]`` int64; None where there is one member alone."""

    def segment_sum(self, values: Tensor) -> Scalars:
        """Return the sum of each member's ``values [N]``, or of all its columns in ``values [W, N]``."""
        if self.index is None:
            return np.array([values.sum(dtype=torch.float64).item()])
        values = values.double().reshape(-1, self.index.numel()).sum(0)
        return values.new_zeros(self.count).index_add_(0, self.index, values).cpu().numpy()

    def broadcast(self, scalars: Scalars, like: Tensor) -> Tensor | float:
        """Return what multiplies ``values [N]``, of the type and device of ``like``, by the scalar of each one's member."""
        if self.index is None:
            return float(scalars[0])
        return torch.from_numpy(scalars).to(like).index_select(0, self.index)

    def where(self, first: NDArray[np.bool_], some: Tensor, others: Tensor) -> Tensor:
        """Return ``some [N]`` for the members where ``first [M]`` is true, and ``others [N]`` for those where it is not."""
        if self.index is None:
            return some if first[0] else others
        return torch.where(torch.from_numpy(first).to(some.device)[self.index], some, others)

    @classmethod
    def beside(cls, each: Sequence["Segments"]) -> "Segments":
        """Return the owners of several rows of values, one behind the other."""
        known = [one.index for one in each if one.index is not None]
        return cls(each[0].count if each else 1, torch.cat(known) if known else None)

    def split(self, values: Tensor) -> list[Tensor]:
        """Return each member's ``values [N]``, in the order in which they are."""
        if self.index is None:
            return [values]
        order, counts = self._sorted
        return list(torch.split(values.index_select(0, order), counts))

    @cached_property
    def _sorted(self) -> tuple[Tensor, list[int]]:
        """Where the values are, member by member, and how many each has."""
        assert self.index is not None
        return torch.argsort(self.index, stable=True), torch.bincount(self.index, minlength=self.count).tolist()


class BatchedGrid:
    """Time grids side by side as one."""

    def __init__(self, grids: Sequence[TimeGrid]) -> None:
        """Put grids beside one another; make it with `beside`."""
        self.grids = tuple(grids)
        alone = len(grids) == 1
        self.grid = grids[0] if alone else TimeGrid.beside(grids)
        """Of all signals."""
        counts = torch.tensor([grid.n_signals for grid in grids])
        self.rows = Segments(len(grids), None if alone else torch.arange(len(grids)).repeat_interleave(counts))
        """Whose each signal is."""

    @cached_property
    def member_of_frame(self) -> Tensor:
        """The grid that each frame is of, ``[F]``."""
        signal = self.grid.frames.signal
        return torch.zeros_like(signal) if self.rows.index is None else self.rows.index[signal]

    def owners(self, frames: Tensor) -> Segments:
        """Return whose each of some ``frames [N]`` is."""
        return self.rows if self.rows.index is None else Segments(self.rows.count, self.member_of_frame[frames])

    @cached_property
    def own_frames(self) -> list[Tensor]:
        """Which of all frames each grid's own are, ``[F]`` each, rising."""
        every = torch.arange(self.grid.n_frames)
        return self.owners(every).split(every)

    @cached_property
    def own_frame(self) -> Tensor:
        """The number that each frame has in its own grid, ``[F]``."""
        numbers = torch.empty(self.grid.n_frames, dtype=torch.int64)
        for frames in self.own_frames:
            numbers[frames] = torch.arange(frames.numel())
        return numbers

    def signals(self, each: Sequence[Tensor]) -> Tensor:
        """Return signals ``[B, T]`` of each grid in one tensor."""
        if len(each) == 1:
            return each[0]
        total = each[0].new_zeros(self.grid.n_signals, self.grid.n_samples)
        for own, signals in zip(self.own(total), each, strict=True):
            own.copy_(signals)
        return total

    def own(self, signals: Tensor) -> Iterator[Tensor]:
        """Yield each grid's part of all signals, ``[B, T]``."""
        first = 0
        for grid in self.grids:
            yield signals[first : first + grid.n_signals, : grid.n_samples]
            first += grid.n_signals

    def row_spread(self, scalars: Scalars, like: Tensor) -> Tensor | float:
        """Return what multiplies signals ``[B, T]`` by the scalar of their member."""
        spread = self.rows.broadcast(scalars, like)
        return spread[:, None] if isinstance(spread, Tensor) else spread

    def energies(self, signals: Tensor) -> Scalars:
        """Return the sum of squares of each grid's ``signals [B, T]``."""
        return self.rows.segment_sum(signals.double().square().sum(1))


@lru_cache(maxsize=2)
def _several(grids: tuple[TimeGrid, ...]) -> BatchedGrid:
    return BatchedGrid(grids)


def ratio(above: Scalars, below: Scalars, which: NDArray[np.bool_]) -> Scalars:
    """Return a quotient for the members that count, and 0 for the others."""
    return np.divide(above, below, out=np.zeros_like(above), where=which)


def batched(grids: Sequence[TimeGrid]) -> BatchedGrid:
    """Put grids beside one another; those of the last calls are kept."""
    return BatchedGrid(grids) if len(grids) == 1 else _several(tuple(grids))
