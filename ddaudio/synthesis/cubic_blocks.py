"""Waves with cubic phases, many samples at once: by interpolation in short blocks and one matrix product for all waves.

The time axis is cut wherever a segment begins or ends, and further into blocks of few samples. In a block of half length ``h``
around its middle, with ``u = (n - middle) / h``, a wave is

    c(n) exp(i p(n)) = f(u) exp(i w_j h u),

with ``w_j`` the nearest frequency of a grid that all waves share, of `OVERSAMPLING` times as many frequencies as an FFT of the
block has. What is left in ``f`` turns by less than ``pi / (2 OVERSAMPLING)``, and with little curvature it is a polynomial of low
degree: its values at `NODES` Chebyshev nodes determine it. With Lagrange's polynomials ``l_m``, the sum over all waves ``k`` is

    sum_k f_k(u) exp(i w_j(k) h u) = sum_j sum_m F[j, m] l_m(u) exp(i w_j h u),    F[j, m] = sum of f_k(u_m) over k with j(k) = j,

so that each wave takes `NODES` sines a block, and what remains is one matrix product, whose size does not depend on the number of
waves. The adjoint is the same product transposed.

With ``x`` the largest turn of ``f`` in half a block, from frequency and curvature together, the error of interpolation is
``2 (x / 2)^N / N!`` of the wave's amplitude for ``N`` nodes: 3e-7 for the largest turn that is allowed, `LARGEST_TURN`, and 2e-9
without curvature. Segments with more are computed sample by sample.
"""

import math
from collections.abc import Iterable, Iterator
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from ddaudio.synthesis.cubic_segments import Segments

OVERSAMPLING, NODES = 4, 7
LARGEST_TURN = 0.7
"""Largest turn in half a block, in radians, beyond which segments are computed sample by sample."""
SUMS_AT_ONCE = 1 << 19
"""Number of sums of several blocks that are in memory at once, complex."""
KEEP_VALUES = 1 << 25
"""Largest number of complex values of waves at nodes that are kept for another use."""
PAIRS_AT_ONCE = 1 << 14
"""Number of waves in blocks that are computed at once."""


class Grid(NamedTuple):
    """Blocks that cover a part of time without gaps: each lies within one segment or outside of it."""

    begin: Tensor
    """First sample of each, and the end of the last, rising, ``[F + 1]`` int64."""
    length: int
    """Largest length of a block in samples."""

    @property
    def margins(self) -> Tensor:
        """Number of samples that are left out before each block if it has the largest length, ``[F]``."""
        return (self.length - self.begin.diff()) // 2

    def samples(self, low: int, high: int) -> tuple[Tensor, Tensor]:
        """Return the numbers of samples around some blocks, and which of them belong to the blocks, ``[f, length]`` each."""
        place = torch.arange(self.length, device=self.begin.device) - self.margins[low:high, None]
        return self.begin[low:high, None] + place, (place >= 0) & (place < self.begin[low : high + 1].diff()[:, None])

    @classmethod
    def between(cls, cuts: Tensor, longest: int) -> "Grid":
        """Return blocks of at most ``longest`` samples, cut wherever segments begin and end, see `Segments.cuts`."""
        sizes = cuts.diff()
        numbers = -(-sizes // longest)
        owner = torch.repeat_interleave(numbers)
        place = torch.arange(len(owner), device=cuts.device) - (numbers.cumsum(0) - numbers)[owner]
        begin = torch.cat([cuts[:-1][owner] + place * sizes[owner] // numbers[owner], cuts[-1:]])
        return cls(begin, max(2, int(begin.diff().max())))


@lru_cache(maxsize=64)
def _table(length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return a row of samples for the real and the imaginary part at each node and frequency, ``[NODES J 2, length]``."""
    with torch.inference_mode(mode=False):
        nodes = chebyshev_nodes(torch.float64, device)
        u = (torch.arange(length, device=device, dtype=torch.float64) - (length - 1) / 2) / (length / 2)
        ratios = [[(u - nodes[k]) / (nodes[m] - nodes[k]) for k in range(NODES) if k != m] for m in range(NODES)]
        lagrange = torch.stack([torch.stack(row).prod(0) for row in ratios])
        steps = torch.arange(OVERSAMPLING * length // 2 + 1, device=device, dtype=torch.float64) * (math.pi / OVERSAMPLING)
        angle = steps[:, None] * u
        waves = torch.stack([angle.cos(), -angle.sin()], 1)
        table: Tensor = (lagrange[:, None, None] * waves).flatten(0, 2).to(dtype)
        return table


def chebyshev_nodes(dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the nodes, ``[NODES]``."""
    place = torch.arange(NODES, device=device, dtype=torch.float64)
    return torch.cos((2 * place + 1) * (math.pi / (2 * NODES))).to(dtype)


class _Group(NamedTuple):
    """The same number of consecutive blocks of several segments."""

    column: slice
    """Which of the segments of a window."""
    offset: Tensor
    """Numbers of the blocks, counted from the first one of a segment in the window, ``[I, 1]``."""


class _Window(NamedTuple):
    """The segments in a range of blocks, those with the most blocks first, ``[W]`` each."""

    segment: Tensor
    first: Tensor
    """First block, relative to that of the window."""
    groups: list[_Group]


class _Pairs(NamedTuple):
    """Segments in blocks, ``E = I W`` of them."""

    column: slice
    """Which of the segments of a window, W."""
    entry: Tensor
    """Index of block and frequency in the first plane of the sums, ``[E]``."""
    middle: Tensor
    """Position of the middle from the start of the segment, in half blocks, ``[E]`` in the type of the samples."""
    waves: Tensor
    """``f`` for an amplitude of 1 at the nodes, complex ``[NODES, E]``."""


class _Visit(NamedTuple):
    """A range of blocks, its segments, and these in the blocks."""

    low: int
    high: int
    window: _Window
    pairs: Iterable[_Pairs]


class BlockWaves:
    """The waves of segments, computed in blocks.

    For arguments and methods see `ddaudio.synthesis.cubic_samples.SampleWaves`. If they are used more than once (``keep``), they
    are computed once, unless there are too many.
    """

    def __init__(
        self, segments: Segments, phase: Tensor, growth: Tensor | None, dtype: torch.dtype, grid: Grid, *, keep: bool = False
    ) -> None:
        self.segments, self.dtype, self.grid, self._keep = segments, dtype, grid, keep
        self._kept: list[_Visit] | None = None
        self._table = _table(grid.length, dtype, phase.device)
        self._n_bins = len(self._table) // (2 * NODES)
        half = grid.length / 2
        self._scale = half / segments.length
        self._start = segments.start / half
        self._middle = (grid.begin[:-1] - grid.margins).double().add_((grid.length - 1) / 2) / half
        self._phase = _scaled(phase, self._scale) / (2 * math.pi)
        self._growth = None if growth is None else _scaled(torch.stack([torch.zeros_like(growth), growth]), self._scale).to(dtype)
        self._nodes = chebyshev_nodes(dtype, phase.device)
        self._powers = torch.stack([self._nodes**order for order in range(9)])

    @cached_property
    def _spans(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Segments in order of time, their first block, the block behind their last, and the largest of the latter up to each."""
        first = torch.searchsorted(self.grid.begin, self.segments.begin)
        end = torch.searchsorted(self.grid.begin, self.segments.begin + self.segments.count)
        first, order = torch.sort(first.int(), stable=True)
        first, end = first.long(), end[order]
        return order, first, end, end.cummax(0).values

    def _visits(self) -> Iterator[_Visit]:
        """Yield all blocks, range by range."""
        if self._kept is not None:
            yield from self._kept
            return
        _, first, end, _ = self._spans
        keep = self._keep and int((end - first).sum()) * NODES <= KEEP_VALUES
        kept, n_blocks = [], len(self.grid.begin) - 1
        step = max(1, SUMS_AT_ONCE // (NODES * self._n_bins))
        for low in range(0, n_blocks, step):
            window = self._window(low, min(low + step, n_blocks))
            pairs: Iterable[_Pairs] = self._pairs(low, window)
            visit = _Visit(low, min(low + step, n_blocks), window, list(pairs) if keep else pairs)
            yield visit
            kept += [visit] * keep
        self._kept = kept if keep else None

    def _window(self, low: int, high: int) -> _Window:
        """Return the segments in a range of blocks."""
        order, first, end, latest = self._spans
        left, right = int(torch.searchsorted(latest, low, right=True)), int(torch.searchsorted(first, high))
        begins = first[left:right].clamp(min=low) - low
        counts = (end[left:right].clamp(max=high) - low).sub_(begins).clamp_(min=0)
        rank = torch.arange(len(counts), device=counts.device)
        if len(counts) and int(counts.min()) < int(counts.max()):
            counts, rank = torch.sort(counts, descending=True, stable=True)
        sizes, numbers = (part.tolist() for part in torch.unique_consecutive(counts, return_counts=True))
        groups, total = [], 0
        for size, number, less in zip(sizes, numbers, [*sizes, 0][1:], strict=True):
            total += number
            step = max(1, PAIRS_AT_ONCE // total)
            for offset in range(less, size, step):
                rows = torch.arange(offset, min(offset + step, size), device=rank.device)[:, None]
                groups += [_Group(slice(at, min(at + PAIRS_AT_ONCE, total)), rows) for at in range(0, total, PAIRS_AT_ONCE)]
        return _Window(order[left:right][rank], begins[rank], groups)

    def _pairs(self, low: int, window: _Window) -> Iterator[_Pairs]:
        """Yield all segments in the blocks of a window that begins with block ``low``."""
        phase, start = self._phase.index_select(1, window.segment), self._start[window.segment]
        growth = None if self._growth is None else self._growth.index_select(1, window.segment)
        middle = self._middle[low:]
        for column, offset in window.groups:
            block = window.first[column] + offset
            own = None if growth is None else growth[:, column]
            yield self._pair(column, block, middle[block] - start[column], phase[:, column], own)

    def _pair(self, column: slice, block: Tensor, middle: Tensor, phase: Tensor, growth: Tensor | None) -> _Pairs:
        """Return the values of segments in blocks ``[I, W]``, from the polynomials of their phases in turns and half blocks."""
        p0, p1, p2, p3 = phase
        turns = torch.addcmul(p2, p3, middle).mul_(middle).add_(p1).mul_(middle).add_(p0)
        bend = torch.addcmul(p2, p3, middle, value=3)
        slope = torch.add(p2, bend).mul_(middle).add_(p1)
        nearest = (slope * (2 * OVERSAMPLING)).round_().clamp_(0, self._n_bins - 1)
        slope.sub_(nearest, alpha=1 / (2 * OVERSAMPLING))
        values = torch.empty(4, *middle.shape, dtype=self.dtype, device=middle.device)
        for row, value in zip(values, (turns.sub_(turns.round()), slope, bend, p3), strict=True):
            row.copy_(value)
        angle = (2 * math.pi * self._powers[:4]).T @ values.flatten(1)
        entry = nearest.long().add_(block, alpha=NODES * self._n_bins)
        cosine, sine, middle = angle.cos(), angle.sin_(), middle.to(self.dtype)
        if growth is not None:
            envelope = self._at_nodes(growth, middle).exp_()
            cosine, sine = cosine.mul_(envelope), sine.mul_(envelope)
        return _Pairs(column, entry.flatten(), middle, torch.complex(cosine, sine))

    def _at_nodes(self, coefficients: Tensor, middle: Tensor) -> Tensor:
        """Return the values at the nodes, ``[NODES, E]``, of polynomials of the positions in half blocks, ``[D, W]``."""
        *lower, value = coefficients
        position = middle + self._nodes[:, None, None]
        values: Tensor = value.expand_as(position)
        for each in reversed(lower):
            values = torch.addcmul(each, position, values)
        return values.flatten(1)

    def forward(self, cosine: Tensor, sine: Tensor | None = None) -> Tensor:
        """Return the signal ``[T]`` for coefficients of ``1, t, ...``, real parts and imaginary parts ``[D, S]``."""
        parts = [_scaled(each, self._scale).to(self.dtype) for each in (cosine, sine) if each is not None]
        total = torch.zeros(self.segments.shape[1], dtype=self.dtype, device=cosine.device)
        for low, high, window, all_pairs in self._visits():
            own = [each.index_select(1, window.segment) for each in parts]
            sums = torch.zeros((high - low) * NODES * self._n_bins, dtype=self.dtype.to_complex(), device=cosine.device)
            for pairs in all_pairs:
                factors = [self._at_nodes(each[:, pairs.column], pairs.middle) for each in own]
                values = pairs.waves * (factors[0] if len(factors) == 1 else torch.complex(*factors))
                for node, row in enumerate(values):
                    sums[node * self._n_bins :].scatter_add_(0, pairs.entry, row)
            made = torch.view_as_real(sums).view(high - low, -1) @ self._table
            inside = self.grid.samples(low, high)[1]
            total[int(self.grid.begin[low]) : int(self.grid.begin[high])] = made.masked_select(inside)
        return total

    def moments(self, signal: Tensor, orders: int) -> Tensor:
        """Return the moments of ``t^0 .. t^(orders - 1)``, real and imaginary parts, ``[orders, 2, S]``."""
        total = signal.new_zeros(orders, 2, self._phase.shape[1])
        conjugate = (self._table.view(-1, 2, self.grid.length) * self._table.new_tensor([[1.0], [-1.0]])).flatten(0, 1)
        for low, high, window, all_pairs in self._visits():
            number, inside = self.grid.samples(low, high)
            taken = signal[number.clamp_(0, len(signal) - 1)] * inside
            found = torch.view_as_complex((taken @ conjugate.T).view(-1, 2))
            sums = total.new_zeros(orders, len(window.segment), 2)
            for pairs in all_pairs:
                sums[:, pairs.column] += self._taken(found, pairs, orders)
            for row, own in zip(total.flatten(0, 1), sums.permute(0, 2, 1).flatten(0, 1), strict=True):
                row.index_add_(0, window.segment, own)
        scale = self._scale.to(self.dtype)
        for order in range(1, orders):
            total[order:].mul_(scale)
        return total

    def _taken(self, found: Tensor, pairs: _Pairs, orders: int) -> Tensor:
        """Return the moments of positions in half blocks, summed over the blocks, ``[orders, W, 2]``."""
        taken = torch.empty_like(pairs.waves)
        for node, row in enumerate(taken):
            torch.index_select(found[node * self._n_bins :], 0, pairs.entry, out=row)
        taken.mul_(pairs.waves)
        rows = list((self._powers[:orders] @ torch.view_as_real(taken).flatten(1)).view(orders, *pairs.middle.shape, 2))
        middle, done = pairs.middle[..., None], []
        while rows:
            done.append(rows[0].sum(0))
            rows = [torch.addcmul(high, middle, low) for low, high in pairwise(rows)]
        return torch.stack(done)


def _scaled(coefficients: Tensor, scale: Tensor) -> Tensor:
    """Return coefficients ``[D, S]`` times powers of ``scale``."""
    rows, power = [coefficients[0]], scale
    for each in coefficients[1:]:
        rows.append(each * power)
        power = power * scale
    return torch.stack(rows)
