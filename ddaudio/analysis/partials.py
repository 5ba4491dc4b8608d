"""Partials: sinusoids within frames, in natural units."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import torch
from torch import Tensor

from ddaudio.grid.batched import BatchedGrid
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.synthesis.oscillators import Bank, Packing

Amplitudes = tuple[Tensor, Tensor]
"""One value per partial for its cosine and one for its sine, ``[P]`` each."""


@dataclass(frozen=True)
class Partials:
    """A list of sinusoids, each within one frame; sorted by frame.

    Partial ``k`` is ``cosine_k cos(w_k (n - m)) + sine_k sin(w_k (n - m))`` over the samples ``n`` of its frame, with
    ``m = (L - 1) / 2`` its middle. With a decay, ``m = 0`` (the frame's first sample), and the sinusoid is multiplied by
    ``exp(-d n)``.
    """

    frame: Tensor
    """Frame of each partial, ``[P]`` int64, ascending."""
    frequency: Tensor
    """``w`` in radians per sample, 0 to pi, ``[P]``."""
    cosine: Tensor
    """Amplitude of the cosine, full scale 1, ``[P]``."""
    sine: Tensor
    """Amplitude of the sine, full scale 1, ``[P]``."""
    decay: Tensor | None = None
    """``d`` per sample, 0 or more, ``[P]``; None for partials without decay."""

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

    def counts(self, grid: TimeGrid) -> Tensor:
        """Return the number of partials in each frame, ``[F]`` int64."""
        return torch.bincount(self.frame, minlength=grid.n_frames)

    def energy(self, grid: TimeGrid) -> Tensor:
        """Return the energy of each partial on its own in the signals, ``[P]``."""
        if self.decay is None:
            return self.power * grid.energy.to(self.power)[self.frame]
        return self.power * damped_moments(self.decay, Layout(grid, self.counts(grid)))[0]

    def keep(self, which: Tensor) -> "Partials":
        """Return the partials selected by a mask ``[P]`` or an index."""
        return replace(self, **{name: column[which] for name, column in self._columns().items()})

    def _columns(self) -> dict[str, Tensor]:
        """Return the columns that are not None, by name."""
        return {column.name: getattr(self, column.name) for column in fields(self) if getattr(self, column.name) is not None}

    def strongest(self, count: int, grid: TimeGrid) -> "Partials":
        """Return the ``count`` partials with most energy in the signals, or all; ties go to the earlier one."""
        return self.keep(torch.argsort(self.energy(grid), descending=True, stable=True)[:count].sort().values)

    def falling(self) -> "Partials":
        """Return the partials sorted within each frame by descending frequency."""
        order = torch.argsort(self.frequency, descending=True, stable=True)
        return self.keep(order[torch.argsort(self.frame[order], stable=True)])

    def joined(self, *others: "Partials") -> "Partials":
        """Concatenate lists of partials, with the columns of this one."""
        every = (self, *others)
        columns = {name: torch.cat([getattr(part, name) for part in every]) for name in self._columns()}
        return replace(self, **columns).keep(torch.argsort(columns["frame"], stable=True))

    @staticmethod
    def beside(each: Sequence["Partials"], grids: BatchedGrid) -> "Partials":
        """Concatenate the partials of several grids on their batched grid."""
        if len(each) == 1:
            return each[0]
        moved = [replace(one, frame=own[one.frame]) for one, own in zip(each, grids.own_frames, strict=True)]
        return moved[0].joined(*moved[1:])

    def split(self, grids: BatchedGrid) -> "list[Partials]":
        """Return the partials of each grid of a batched grid."""
        if len(grids.grids) == 1:
            return [self]
        owners = grids.owners(self.frame)
        columns = {name: owners.split(column) for name, column in self._columns().items()}
        columns["frame"] = owners.split(grids.own_frame[self.frame])
        return [replace(self, **dict(zip(columns, values, strict=True))) for values in zip(*columns.values(), strict=True)]

    def with_amplitudes(self, cosine: Tensor, sine: Tensor) -> "Partials":
        """Return the same sinusoids with other amplitudes."""
        return replace(self, cosine=cosine, sine=sine)


@dataclass(frozen=True)
class Layout:
    """Assignment of a list of partials to the frames of a grid, by group of frames."""

    grid: TimeGrid
    counts: Tensor
    """Number of partials in each frame, ``[F]`` int64."""

    @cached_property
    def packings(self) -> list[Packing]:
        """Packing of each group's partials for the synthesis engine."""
        return [Packing(self.counts[group.frames], group.length) for group in self.grid.groups]

    @cached_property
    def shares(self) -> list[slice]:
        """Slice of the partials of each group."""
        ends = torch.tensor([packing.n_partials for packing in self.packings]).cumsum(0).tolist()
        return [slice(first, last) for first, last in zip([0, *ends], ends, strict=False)]

    @cached_property
    def frame_of_partial(self) -> Tensor:
        """Frame of each partial, ``[P]``."""
        return torch.arange(self.grid.n_frames).repeat_interleave(self.counts)


class Banks:
    """Sinusoids of fixed frequency on a grid: a linear map from their amplitudes to signals, and its adjoint.

    Args:
        frequency: radians per sample, ``[P]``, sorted by frame.
        layout: their frames.
        decay: per sample, ``[P]``; decay and phase are then relative to the frame's first sample; None for none.

    """

    def __init__(self, frequency: Tensor, layout: Layout, decay: Tensor | None = None) -> None:
        self.layout = layout
        self._banks = [
            Bank(
                frequency[share],
                packing,
                middle(packing.frame_length) if decay is None else 0.0,
                None if decay is None else decay[share],
            )
            for share, packing in zip(layout.shares, layout.packings, strict=True)
        ]

    def frames(self, cosine: Tensor, sine: Tensor) -> list[Tensor]:
        """Return the frames for amplitudes ``[P]``, one tensor per group; not windowed."""
        return [bank.forward(cosine[share], sine[share]) for bank, share in zip(self._banks, self.layout.shares, strict=True)]

    def signals(self, cosine: Tensor, sine: Tensor) -> Tensor:
        """Return the signals ``[B, T]`` for amplitudes ``[P]``."""
        grid = self.layout.grid
        return grid.add_windowed(self.frames(cosine, sine))

    def weighted_signals(self, plain: Amplitudes, weighted: Amplitudes) -> Tensor:
        """Return the signals ``[B, T]`` for amplitudes, plus those of other amplitudes weighted by ``n - m`` within frames."""
        grid, pairs = self.layout.grid, zip(self._banks, self.layout.shares, strict=True)
        frames = [bank.weighted_forward(_cut(plain, share), _cut(weighted, share)) for bank, share in pairs]
        return grid.add_windowed(frames)

    def adjoint(self, windowed: Sequence[Tensor]) -> Amplitudes:
        """Return the products of each partial's cosine and sine with frames (one tensor per group), ``[P]`` each."""
        return _joined([bank.adjoint(frames) for bank, frames in zip(self._banks, windowed, strict=True)])

    def weighted_adjoint(self, windowed: Sequence[Tensor]) -> tuple[Amplitudes, Amplitudes]:
        """Return the `adjoint` of frames, and of the frames weighted by ``n - m``."""
        found = [bank.weighted_adjoint(frames) for bank, frames in zip(self._banks, windowed, strict=True)]
        return _joined([plain for plain, _ in found]), _joined([weighted for _, weighted in found])


def _cut(pair: Amplitudes, share: slice) -> Amplitudes:
    return pair[0][share], pair[1][share]


def _joined(pairs: Sequence[Amplitudes]) -> Amplitudes:
    return torch.cat([cosine for cosine, _ in pairs]), torch.cat([sine for _, sine in pairs])


def damped_moments(decay: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    """Return ``sum_n v_n^2 exp(-2 d n)`` and ``sum_n n^2 v_n^2 exp(-2 d n)`` of each partial, ``[P]`` each, ``v`` its window."""
    banks = Banks(torch.zeros_like(decay), layout, 2 * decay)
    squares = [group.windows.to(decay) ** 2 for group in layout.grid.groups]
    weighted = [square * torch.arange(square.shape[1], dtype=square.dtype) ** 2 for square in squares]
    return banks.adjoint(squares)[0], banks.adjoint(weighted)[0]


def middle(frame_length: int) -> float:
    """Return the middle of a frame in samples from its first, the reference of phases."""
    return (frame_length - 1) / 2


def equally_spaced(per_frame: Tensor, like: Tensor) -> Partials:
    """Return silent partials with equally spaced frequencies, ``per_frame [F]`` in each frame."""
    frame = torch.arange(per_frame.numel()).repeat_interleave(per_frame)
    slot = torch.arange(frame.numel()) - (per_frame.cumsum(0) - per_frame)[frame]
    frequency = (math.pi * (slot + 0.5) / per_frame[frame]).to(like)
    return Partials(frame, frequency, torch.zeros_like(frequency), torch.zeros_like(frequency))
