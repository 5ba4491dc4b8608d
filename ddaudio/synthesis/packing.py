"""Packing of frames with different numbers of partials into few matrices."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

CHUNK_ELEMENTS = 1 << 22
"""Largest number of elements of a table or block of samples; 2^20 to 2^24 are equally fast (measured)."""
CALL_ELEMENTS = 300_000
"""Largest product of partials and samples of padding that is accepted to save a matrix product, about the cost of its call
(measured: fits of seconds of sound take half as long as with none)."""


@dataclass(frozen=True)
class Packing:
    """Assignment of partials to frames, in chunks of frames with about equal numbers of partials.

    The partials of all frames are one list ``[P]``, sorted by frame. Frames whose numbers of partials differ by less than a
    fifth are padded to one matrix, and so are few and short frames, with little overhead.
    """

    counts: Tensor
    """Partials in each frame, ``[F]`` int64."""
    frame_length: int
    """Samples in each frame."""

    @property
    def n_frames(self) -> int:
        """Number of frames, ``F``."""
        return self.counts.numel()

    @cached_property
    def n_partials(self) -> int:
        """Number of partials over all frames, ``P``."""
        return int(self.counts.sum())

    @cached_property
    def frame_of_partial(self) -> Tensor:
        """Frame of each partial, ``[P]``."""
        return torch.arange(self.n_frames, device=self.counts.device).repeat_interleave(self.counts)

    @cached_property
    def factors(self) -> tuple[int, int]:
        """Numbers of rows and columns ``(P, Q)`` of the samples of a frame; ``P Q >= L``."""
        columns = math.isqrt(self.frame_length - 1) + 1
        return math.ceil(self.frame_length / columns), columns

    @cached_property
    def chunks(self) -> list[tuple[Tensor, Tensor]]:
        """Pairs of frames ``[R]`` and their partials ``[R, K]``; the index ``n_partials`` stands for none."""
        first = self.counts.cumsum(0) - self.counts
        order = torch.argsort(self.counts, descending=True, stable=True)
        chunks, place = [], 0
        for high, n_frames in self._steps(self.counts[order]):
            rows = max(1, CHUNK_ELEMENTS // (2 * max(high * sum(self.factors), self.frame_length)))
            for part in torch.split(order[place : place + n_frames].sort().values, rows):
                slot = torch.arange(high, device=part.device)
                partials = torch.where(slot < self.counts[part, None], first[part, None] + slot, self.n_partials)
                chunks.append((part, partials))
            place += n_frames
        return chunks

    @cached_property
    def is_plain(self) -> bool:
        """Whether all frames form one chunk, and thus are in order."""
        groups = self.groups
        return len(groups) == 1 and len(groups[0].shapes) == 1 and len(groups[0].frames) == self.n_frames

    def _steps(self, falling: Tensor) -> list[tuple[int, int]]:
        """Return the padded number of partials and the number of frames of each chunk."""
        steps: list[tuple[int, int]] = []
        counts, numbers = torch.unique_consecutive(falling, return_counts=True)
        for count, n_frames in zip(counts.tolist(), numbers.tolist(), strict=True):
            high, above = steps[-1] if steps else (0, 0)
            padding = n_frames * (high - count) * self.frame_length
            if count and steps and (padding <= CALL_ELEMENTS or high <= count * 6 // 5):
                steps[-1] = high, above + n_frames
            elif count:
                steps.append((count, n_frames))
        return steps

    @cached_property
    def groups(self) -> list["Group"]:
        """Chunks that share their tables, so that small ones cost few calls; a chunk that is too wide is split."""
        most_partials = max(1, CHUNK_ELEMENTS // (2 * sum(self.factors)))
        most_frames = max(1, CHUNK_ELEMENTS // (2 * self.frame_length))
        groups: list[Group] = []
        gathered: list[tuple[Tensor, Tensor]] = []
        for frames, partials in self.chunks:
            beside = [(frames, partials), *gathered]
            full = sum(part.numel() for _, part in beside) > most_partials or sum(len(part) for part, _ in beside) > most_frames
            if full and gathered:
                groups.append(Group.of(gathered, again=False))
                gathered = []
            if partials.numel() > most_partials:
                parts = torch.split(partials, most_partials, 1)
                groups += [Group.of([(frames, part)], again=index > 0) for index, part in enumerate(parts)]
            else:
                gathered.append((frames, partials))
        return [*groups, Group.of(gathered, again=False)] if gathered else groups

    def blocks(self, group: "Group") -> Iterator[tuple[slice, slice]]:
        """Yield intervals of time as rows and as samples, short enough for all frames of the group to fit into a block."""
        n_rows, n_columns = self.factors
        step = max(1, CHUNK_ELEMENTS // (2 * n_columns * len(group.frames)))
        for first in range(0, n_rows, step):
            last = min(first + step, n_rows)
            yield slice(first, last), slice(first * n_columns, min(last * n_columns, self.frame_length))


class Group(NamedTuple):
    """Concatenated chunks."""

    frames: Tensor
    """Frames of all chunks, ``[R']``, each once."""
    partials: Tensor
    """Partials of all chunks, ``[K']``."""
    shapes: list[tuple[int, int]]
    """Frames and partials per frame ``(R, K)`` of each chunk."""
    again: bool
    """Whether an earlier group has other partials of the same frames."""

    @classmethod
    def of(cls, chunks: list[tuple[Tensor, Tensor]], *, again: bool) -> "Group":
        """Concatenate chunks."""
        frames, partials = (torch.cat([part.flatten() for part in parts]) for parts in zip(*chunks, strict=True))
        return cls(frames, partials, [(part.shape[0], part.shape[1]) for _, part in chunks], again)

    def parts(self) -> Iterator[tuple[slice, slice, int]]:
        """Yield the slices of the frames and partials of each chunk, and its number of frames."""
        frame = partial = 0
        for n_frames, size in self.shapes:
            yield slice(frame, frame + n_frames), slice(partial, partial + n_frames * size), n_frames
            frame, partial = frame + n_frames, partial + n_frames * size
