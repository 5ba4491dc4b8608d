"""Sums of sinusoids as matrix products of short tables.

Write the sample index as ``n = p Q + q`` and the partial as ``Re(z exp(s (n - m)))`` with ``z = a - i b`` and
``s = i w - d``, of frequency ``w``, decay ``d`` and origin ``m``. Then

    exp(-d (n - m)) (a cos(w (n - m)) + b sin(w (n - m))) = Re([z exp(s (p Q - m))] exp(s q)),

so that the sum over partials is one matrix product: ``[P, 2K] @ [2K, Q]``, rows ``(Re, -Im)`` of the bracket against
columns ``(Re, Im)`` of ``exp(s q)``. It takes ``K (P + Q)`` table entries instead of ``K N``, and as much memory.

The tables are factored once more, ``exp(s (u V + v)) = exp(s u V) exp(s v)``: of ``Q`` entries only about ``2 sqrt(Q)``
are sines, and the others are products of two. Phases are reduced to between -pi and pi in float64 before the sine, so that
float32 results are accurate for any distance of ``n - m`` from zero.

A decaying partial is largest at the start of its row, a growing one at the end. The factor of a column is relative to that
value and thus at most one, so that no product overflows unless the sum itself is close to overflow.
"""

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor
from torch.nn.functional import pad

from ddaudio.synthesis.linear_bank import LinearBank
from ddaudio.synthesis.packing import Group, Packing

KEEP_ELEMENTS = 1 << 26
"""Tables with fewer elements than this (256 MB in float32) are kept between products, larger ones recomputed."""


def reduced_phase(frequency: Tensor, steps: Tensor) -> Tensor:
    """Return the phases ``frequency * steps`` (float64, radians and samples) less whole turns, between -pi and pi."""
    turns = frequency * (1 / (2 * math.pi)) * steps
    return turns.sub_(turns.round()).mul_(2 * math.pi)


@dataclass(frozen=True)
class _Tables:
    """Tables of the exponentials of a group's partials."""

    group: Group
    row: Tensor
    """Over the rows, conjugate, complex ``[P, K']``."""
    columns: list[Tensor]
    """Over the columns, a real matrix for each frame, ``[R, Q, 2K]`` for each chunk."""

    @cached_property
    def outer(self) -> list[Tensor]:
        """The rows as the adjoint needs them, complex ``[R, 1, P, K]`` for each chunk."""
        row = self.row.conj().resolve_conj()
        parts = ((_cut(row, 1, partials), n_frames) for _, partials, n_frames in self.group.parts())
        return [part.reshape(len(part), n_frames, 1, -1).movedim(0, 2) for part, n_frames in parts]


def _matrices(table: Tensor, n_frames: int) -> Tensor:
    """Return a complex table ``[N, R K]`` as a real matrix for each frame, ``[R, N, 2K]``; nothing is copied."""
    return torch.view_as_real(table).reshape(len(table), n_frames, -1).transpose(0, 1)


@lru_cache(maxsize=1024)
def _short_steps(n_rows: int, n_columns: int, origin: float, device: torch.device) -> tuple[Tensor, list[int]]:
    """Return the arguments of all sines, float64 ``[N, 1]``: fine and coarse steps over the rows, negative, then the columns.

    So all are taken in one call, those of the rows conjugate. With it comes how many there are of each.
    """
    with torch.inference_mode(mode=False):
        rows, columns = (torch.arange(count, device=device, dtype=torch.float64)[:, None] for count in (n_rows, n_columns))
        rows = rows * n_columns
        fine_row, fine_column = (math.isqrt(count - 1) + 1 for count in (n_rows, n_columns))
        parts = [-rows[:fine_row], origin - rows[::fine_row], columns[:fine_column], columns[::fine_column]]
        return torch.cat(parts), [len(part) for part in parts]


def _cut(tensor: Tensor, dim: int, part: slice) -> Tensor:
    """Return a part of a tensor along a dimension; the tensor itself, without a call, if that is all of it."""
    length = part.stop - part.start
    return tensor if length == tensor.shape[dim] else tensor.narrow(dim, part.start, length)


class Bank(LinearBank):
    """Partials of fixed frequency in frames: a linear map from amplitudes to samples, and its adjoint.

    Args:
        frequency: radians per sample, ``[P]`` float32 or float64, frame after frame as in the packing.
        packing: which partials sound in which frame.
        origin: reference position of phases in the frame, in samples.
        decay: per sample, ``[P]``; negative for partials that grow; ``None`` for none.

    """

    def __init__(self, frequency: Tensor, packing: Packing, origin: float, decay: Tensor | None = None) -> None:
        self.packing, self.origin = packing, origin
        self._frequency = pad(frequency.detach().double(), (0, 1))
        self._decay = None if decay is None else pad(decay.detach().double(), (0, 1))
        self._dtype = frequency.dtype
        n_rows, n_columns = packing.factors
        size = sum(group.partials.numel() for group in packing.groups) * 2 * (2 * n_rows + n_columns)
        self._kept: dict[int, _Tables] | None = {} if size < KEEP_ELEMENTS else None

    def _tables(self, index: int) -> _Tables:
        """Return the tables of a group."""
        if self._kept is not None and index in self._kept:
            return self._kept[index]
        group = self.packing.groups[index]
        row, column = self._waves(group.partials)
        tables = _Tables(group, row, [_matrices(_cut(column, 1, partials), n_frames) for _, partials, n_frames in group.parts()])
        if self._kept is not None:
            self._kept[index] = tables
        return tables

    def _waves(self, partials: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``exp(s (p Q - m))``, conjugate, and ``exp(s q)`` of some partials, complex ``[P, K']`` and ``[Q, K']``."""
        (n_rows, n_columns), frequency = self.packing.factors, self._frequency[partials]
        steps, lengths = _short_steps(n_rows, n_columns, self.origin, frequency.device)
        phase = reduced_phase(frequency, steps).to(self._dtype)
        unit = torch.split(torch.complex(phase.cos(), phase.sin()), lengths)
        row, column = (
            (coarse[:, None] * fine).flatten(0, 1)[:count]
            for fine, coarse, count in ((unit[0], unit[1], n_rows), (unit[2], unit[3], n_columns))
        )
        if self._decay is not None:
            decay = self._decay[partials]
            # The envelope of growing partials is relative to the last column, which is compensated by the factor of the row.
            lead = (n_columns - 1) * (decay < 0)
            rows, columns = (torch.arange(count, device=decay.device)[:, None] for count in self.packing.factors)
            row = row.mul_(torch.exp(-decay * (rows * n_columns - self.origin + lead)).to(self._dtype))
            column = column.mul_(torch.exp(-decay * (columns - lead)).to(self._dtype))
        return row, column

    def forward(self, cosine: Tensor, sine: Tensor) -> Tensor:
        """Return the frames ``[F, L]`` for amplitudes ``[P]``."""
        return self._sums(torch.complex(cosine, sine)[None])[:, 0]

    def weighted_forward(self, plain: tuple[Tensor, Tensor], weighted: tuple[Tensor, Tensor]) -> Tensor:
        """Return the frames ``[F, L]`` for amplitudes ``plain``, and those for ``weighted`` times ``n - origin`` added."""
        frames = self._sums(torch.complex(*(torch.stack(pair) for pair in zip(plain, weighted, strict=True))))
        return frames[:, 0].addcmul(frames[:, 1], self._distance.to(frames.dtype))

    @cached_property
    def _distance(self) -> Tensor:
        """``n - origin`` of each sample of a frame, ``[L]``."""
        steps = torch.arange(self.packing.frame_length, device=self._frequency.device, dtype=torch.float64)
        return steps.sub_(self.origin).to(self._dtype)

    def _sums(self, amplitudes: Tensor) -> Tensor:
        """Return the frames ``[F, W, L]`` for ``W`` sets of complex amplitudes ``[W, P]``."""
        n_sets, amplitudes = len(amplitudes), pad(amplitudes, (0, 1))
        frames: Tensor | None = None
        for index, group in enumerate(self.packing.groups):
            tables = self._tables(index)
            left = tables.row * amplitudes.index_select(1, group.partials)[:, None]
            for rows, samples in self.packing.blocks(group):
                block = _cut(left, 1, rows).flatten(0, 1)
                made = [
                    torch.bmm(_matrices(_cut(block, 1, partials), n_frames), right.transpose(1, 2)).view(n_frames, n_sets, -1)
                    for (_, partials, n_frames), right in zip(group.parts(), tables.columns, strict=True)
                ]
                flat = _cut(made[0] if len(made) == 1 else torch.cat(made), 2, slice(0, samples.stop - samples.start))
                if self.packing.is_plain and flat.shape[2] == self.packing.frame_length:
                    return flat
                frames = self._silence(amplitudes) if frames is None else frames
                add = Tensor.index_add_ if group.again else Tensor.index_copy_
                add(_cut(frames, 2, samples), 0, group.frames, flat)
        return self._silence(amplitudes) if frames is None else frames

    def _silence(self, amplitudes: Tensor) -> Tensor:
        """Return empty frames ``[F, W, L]`` for ``W`` sets of complex amplitudes."""
        return amplitudes.real.new_zeros(self.packing.n_frames, len(amplitudes), self.packing.frame_length)

    def _products(self, frames: Tensor, *, weighted: bool) -> list[tuple[Tensor, Tensor]]:
        """Return a pair of products ``[P]`` for each weighting: none, and with ``weighted`` also ``n - origin``."""
        products = frames.new_zeros(1 + weighted, self.packing.n_partials + 1, dtype=frames.dtype.to_complex())
        for index, group in enumerate(self.packing.groups):
            tables = self._tables(index)
            for rows, samples in self.packing.blocks(group):
                weights = _cut(self._distance, 0, samples).to(frames.dtype) if weighted else None
                own = _cut(frames, 1, samples)
                own = own if self.packing.is_plain else own.index_select(0, group.frames)
                taken = self._taken(own, rows, weights)
                products.index_add_(1, group.partials, self._found(taken, tables, rows))
        return [(part.real, part.imag) for part in products[:, :-1]]

    def _found(self, taken: Tensor, tables: _Tables, rows: slice) -> Tensor:
        """Return the products of a group's partials with matrices ``[R', W P, Q]`` of samples, complex ``[W, K']``."""
        found = []
        for (own, _, n_frames), column, outer in zip(tables.group.parts(), tables.columns, tables.outer, strict=True):
            inner = torch.bmm(_cut(taken, 0, own), column).view(n_frames, -1, rows.stop - rows.start, outer.shape[-1], 2)
            found.append((torch.view_as_complex(inner) * _cut(outer, 2, rows)).sum(2).transpose(0, 1).flatten(1))
        return found[0] if len(found) == 1 else torch.cat(found, 1)

    def _taken(self, frames: Tensor, rows: slice, weights: Tensor | None) -> Tensor:
        """Return an interval of frames ``[R, N]`` as matrices ``[R, W P, Q]``, without and with weights, padded with zeros."""
        n_columns = self.packing.factors[1]
        missing = (rows.stop - rows.start) * n_columns - frames.shape[1]
        if weights is not None:
            frames = torch.stack([frames, frames * weights], 1)
        return (pad(frames, (0, missing)) if missing else frames).reshape(len(frames), -1, n_columns)
