"""The time grid: division of signals into overlapping frames, with perfect reconstruction by overlap-add.

Each signal is divided into adjacent cells. At the edge between two cells they fade into each other
over ``2 h`` samples, with ``h`` at most half of the shorter cell. A frame is a cell with its fades: its window is 1 in
the middle and falls to 0 over the fades, and the windows sum to one over every sample. Cells may be of any length: short
ones at an attack, long ones where a sound decays slowly (window switching: Edler, 1989, "Coding of audio signals with
overlapping block transform and adaptive window functions", Frequenz 43).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, get_args

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from ddaudio.errors import OptionError
from ddaudio.grid.cells import Cells, Group
from ddaudio.grid.windows import _step, fade_in
from ddaudio.options import WindowName


@dataclass(frozen=True, eq=False)
class TimeGrid:
    """Cells over ``n_signals`` signals of ``n_samples`` samples each, and their frames.

    Frames are numbered by length, then by signal, then by time, so that frames of equal length form a matrix: "one tensor a
    group" below means a list of ``[N, L]`` in this order.

    Example:
        >>> grid = TimeGrid.uniform(8000, 1, 1000, frame_s=0.02)
        >>> ramp = torch.linspace(-1, 1, 1000).reshape(1, -1)
        >>> torch.allclose(grid.overlap_add(grid.windowed(grid.frame(ramp))), ramp, atol=1e-6)
        True

    """

    sample_rate: int
    """Samples per second, above 0."""
    n_signals: int
    """Number of signals, ``B``."""
    n_samples: int
    """Length of each signal, ``T``, 1 or more."""
    cells: Cells
    """Division of the signals."""
    window: WindowName = "hann"
    """Shape of the fades."""
    lengths: Tensor | None = None
    """Length of each signal in samples, ``[B]`` int64, up to T, followed by silence; None if all have T."""

    @classmethod
    def of_sizes(
        cls,
        sample_rate: int,
        n_samples: int,
        sizes: Sequence[Sequence[int]],
        window: WindowName = "hann",
        longest_fade: int | None = None,
    ) -> "TimeGrid":
        """Return a grid of cells with given sizes.

        Args:
            sample_rate: samples per second, above 0.
            n_samples: length of each signal, 1 or more.
            sizes: for each signal the even sizes of its cells, from its first sample on; the last reaches the signal's end
                or beyond.
            window: shape of the fades.
            longest_fade: bound on half the length of a fade, in samples (default: half of the shorter cell).

        Raises:
            OptionError: a value is out of range, or cells do not end with the signals.

        """
        _check_counts(sample_rate=sample_rate, n_samples=n_samples)
        if window not in get_args(WindowName):
            raise OptionError(setting="window", value=window, allowed=", ".join(get_args(WindowName)))
        cells = Cells.of_sizes(sizes, n_samples, longest_fade)
        return cls(sample_rate, len(sizes), n_samples, cells, window)

    @classmethod
    def uniform(
        cls, sample_rate: int, n_signals: int, n_samples: int, frame_s: float, overlap: float = 0.5, window: WindowName = "hann"
    ) -> "TimeGrid":
        """Return a grid of equal frames of ``frame_s`` seconds, an even number of samples and at least 4.

        ``overlap`` is the share of a frame in common with the next one, 0 to 0.5.
        """
        _check_counts(n_signals=n_signals)
        if not 0 < frame_s < math.inf:
            raise OptionError(setting="frame_s", value=frame_s, allowed="above 0 s")
        if not 0 <= overlap <= 0.5:
            raise OptionError(setting="overlap", value=overlap, allowed="0 to 0.5")
        length = max(4, 2 * round(frame_s * sample_rate / 2))
        half_fade = int(length * overlap / 2)
        hop = length - 2 * half_fade
        count = math.ceil(n_samples / hop)
        return cls.of_sizes(sample_rate, n_samples, [[hop] * count] * n_signals, window, half_fade)

    def part(self, which: Tensor, first: int, n_samples: int) -> "TimeGrid":
        """Return the grid of some cells only, over the ``n_samples`` samples from ``first`` on.

        Windows are unchanged: where a neighbour is missing, they do not sum to one.
        """
        cells = self.cells.keep(which)
        return TimeGrid(self.sample_rate, self.n_signals, n_samples, cells._replace(first=cells.first - first), self.window)

    @classmethod
    def beside(cls, grids: Sequence["TimeGrid"]) -> "TimeGrid":
        """Return one grid over the signals of several grids, which may differ in sample rate; windows are unchanged."""
        lengths = torch.cat([grid._ends_of_signals() for grid in grids])
        starts = [0, *accumulate(grid.n_signals for grid in grids)]
        moved = [grid.cells._replace(signal=grid.cells.signal + start) for grid, start in zip(grids, starts, strict=False)]
        cells = Cells(*(torch.cat(columns) for columns in zip(*moved, strict=True)))
        return cls(grids[0].sample_rate, starts[-1], int(lengths.max()), cells, grids[0].window, lengths)

    def _ends_of_signals(self) -> Tensor:
        """Return the length of each signal in samples, ``[B]``."""
        return torch.full((self.n_signals,), self.n_samples) if self.lengths is None else self.lengths

    @property
    def n_frames(self) -> int:
        """Frames over all signals, ``F``."""
        return self.cells.first.numel()

    @property
    def nyquist_hz(self) -> float:
        """Half the sample rate."""
        return self.sample_rate / 2

    @cached_property
    def order(self) -> Tensor:
        """Cell of each frame, ``[F]``."""
        return torch.argsort(self.cells.length, stable=True)

    @cached_property
    def frames(self) -> Cells:
        """The cells in the order of the frames."""
        return self.cells.keep(self.order)

    @cached_property
    def _ends(self) -> Tensor:
        """Length of the signal of each frame, ``[F]``."""
        return self._ends_of_signals()[self.frames.signal]

    @cached_property
    def n_valid(self) -> Tensor:
        """Samples of each frame's cell within its signal, ``[F]``."""
        return torch.minimum(self.frames.size, self._ends - self.frames.first)

    @cached_property
    def start(self) -> Tensor:
        """First sample of each frame, ``[F]``; negative before the start of its signal."""
        return self.frames.first - self.frames.pre_roll

    @cached_property
    def groups(self) -> list[Group]:
        """The frames of each length, the shortest first."""
        return self._laid_out[0]

    @cached_property
    def _laid_out(self) -> tuple[list[Group], Tensor, Tensor]:
        """The groups, whose sample indices and windows are views of two rows ``[N]`` for all groups."""
        found, counts = torch.unique_consecutive(self.frames.length, return_counts=True)
        lasts = counts.cumsum(0)
        groups = [
            self._group(slice(last - count, last), length)
            for length, count, last in zip(found.tolist(), counts.tolist(), lasts.tolist(), strict=True)
        ]
        places, windows = (torch.cat([part.reshape(-1) for part in parts]) for parts in list(zip(*groups, strict=True))[2:])
        views = zip(groups, _split(places, groups), _split(windows, groups), strict=True)
        return [group._replace(sample_index=own, windows=window) for group, own, window in views], places, windows

    def _group(self, frames: slice, length: int) -> Group:
        where = self.start[frames, None] + torch.arange(length)
        inside = (where >= 0) & (where < self._ends[frames, None])
        places = torch.where(inside, where + self.frames.signal[frames, None] * self.n_samples, self.n_signals * self.n_samples)
        at = torch.arange(length, dtype=torch.float64) + 0.5
        windows = self.window_at(frames, at) * inside
        return Group(frames, length, places.int(), windows.float())

    def window_at(self, frames: slice, position: Tensor) -> Tensor:
        """Return the windows of frames at ``position`` samples from the start of each frame, ``[L]`` or ``[N, L]``.

        Samples are in the middle of their intervals: sample ``n`` of a frame is at ``n + 1/2``.
        """
        _, _, _, rise, fall, lead, _ = (column[frames, None].double() for column in self.frames)
        inside = position - lead
        rising, falling = _step(inside, rise), _step(self.n_valid[frames, None] - inside, fall)
        return fade_in(rising, self.window) * fade_in(falling, self.window)

    @cached_property
    def energy(self) -> Tensor:
        """Sum of the squared window of each frame, ``[F]`` float32, above 0."""
        return self._moments[0]

    @cached_property
    def spread(self) -> Tensor:
        """Root mean square distance of a frame's samples from its middle, weighted by the squared window, ``[F]`` samples."""
        return self._moments[1]

    @cached_property
    def centre(self) -> Tensor:
        """Mean place of a frame's samples, weighted by the squared window, ``[F]`` float64, in samples of the signal."""
        return self.start + self._moments[2]

    @cached_property
    def _moments(self) -> tuple[Tensor, Tensor, Tensor]:
        """Energy, spread, and centre from the frame's start, computed once per shape of frame: there are few shapes."""
        reach = torch.minimum(self.frames.length, self._ends - self.start)
        shapes = torch.stack([self.n_valid, reach, *self.frames[3:]], 1)
        found, which = torch.unique(shapes, dim=0, return_inverse=True)
        moments = torch.empty(3, len(found), dtype=torch.float64)
        like = torch.full((len(found),), len(which)).scatter_reduce(0, which, torch.arange(len(which)), "amin")
        for row, frame in enumerate(like.tolist()):
            length = int(self.frames.length[frame])
            at = torch.arange(int(reach[frame]), dtype=torch.float64)
            square = self.window_at(slice(frame, frame + 1), at + 0.5)[0] ** 2
            energy = square.sum()
            moments[0, row] = energy
            moments[1, row] = ((square * (at - (length - 1) / 2) ** 2).sum() / energy).sqrt().clamp(min=0.5)
            moments[2, row] = (square * at).sum() / energy
        energies, spreads = moments[:2].float()[:, which]
        return energies, spreads, moments[2, which]

    @cached_property
    def _contributions(self) -> tuple[Tensor, Tensor]:
        """Index of each sample in the one or two frames that contain it, ``[B T]`` int32 each; their total for none."""
        total = sum(group.sample_index.numel() for group in self.groups)
        first, second = torch.full((2, self.n_signals * self.n_samples + 1), total, dtype=torch.int32)
        offset = 0
        for group in self.groups:
            own = torch.arange(offset, offset + group.sample_index.numel(), dtype=torch.int32).reshape(group.sample_index.shape)
            inside = torch.arange(group.length) - self.frames.pre_roll[group.frames, None]
            in_cell = (inside >= 0) & (inside < self.n_valid[group.frames, None])
            for place, which in ((first, in_cell), (second, ~in_cell & (group.windows > 0))):
                place[group.sample_index[which].long()] = own[which]
            offset += group.sample_index.numel()
        return first[:-1], second[:-1]

    def frame(self, signals: Tensor) -> list[Tensor]:
        """Cut ``signals [B, T]`` into frames, one tensor a group; not windowed, zero beyond the ends."""
        return _split(self._framed(signals), self.groups)

    def _framed(self, signals: Tensor) -> Tensor:
        """Return the samples of all frames in one row ``[N]``."""
        return pad(signals.reshape(-1), (0, 1)).index_select(0, self._laid_out[1])

    def windowed(self, frames: Sequence[Tensor]) -> list[Tensor]:
        """Return frames times their windows, one tensor a group."""
        return [part * group.windows.to(part) for part, group in zip(frames, self.groups, strict=True)]

    def overlap_add(self, windowed: Sequence[Tensor]) -> Tensor:
        """Overlap-add windowed frames, one tensor a group, to signals ``[B, T]``; differentiable once."""
        signals: Tensor = _OverlapAdd.apply(self, *windowed)  # type: ignore[no-untyped-call]
        return signals

    def frame_adjoint(self, signals: Tensor) -> list[Tensor]:
        """Apply the adjoint of ``overlap_add(windowed(frames))`` to ``signals [B, T]``: one tensor a group."""
        groups, _, windows = self._laid_out
        return _split(self._framed(signals) * windows.to(signals), groups)

    def add_windowed(self, frames: Sequence[Tensor]) -> Tensor:
        """Return ``add(windowed(frames))``."""
        flat = torch.cat([part.reshape(-1) for part in frames])
        return self._added(flat.mul_(self._laid_out[2].to(flat)))

    def add(self, windowed: Sequence[Tensor]) -> Tensor:
        """`overlap_add` without gradient: every sample is in the cell of one frame and in at most one fade."""
        return self._added(torch.cat([part.reshape(-1) for part in windowed]))

    def _added(self, windowed: Tensor) -> Tensor:
        """Return `add` of the frames' samples in one row ``[N]``."""
        flat = pad(windowed, (0, 1))
        first, second = self._contributions
        return flat.index_select(0, first).add_(flat.index_select(0, second)).reshape(self.n_signals, self.n_samples)


def _check_counts(**counts: int) -> None:
    """Raise `OptionError` for counts below 1."""
    for name, value in counts.items():
        if value < 1:
            raise OptionError(setting=name, value=value, allowed="1 or more")


def _split(flat: Tensor, groups: Sequence[Group]) -> list[Tensor]:
    """Split a row ``[N]`` into the frames of each group."""
    parts = torch.split(flat, [group.sample_index.numel() for group in groups])
    return [part.view(group.sample_index.shape) for part, group in zip(parts, groups, strict=True)]


class _OverlapAdd(torch.autograd.Function):
    """`TimeGrid.add` with its gradient, which is framing."""

    @staticmethod
    def forward(ctx: Any, grid: TimeGrid, *windowed: Tensor) -> Tensor:
        """Add up."""
        ctx.grid = grid
        return grid.add(windowed)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Copy each sample's gradient to the frames that contain it."""
        grid: TimeGrid = ctx.grid
        frames = grid.frame(gradient)
        # Outside the window a frame's samples are not added up.
        return (None, *(part * (group.windows > 0) for part, group in zip(frames, grid.groups, strict=True)))
