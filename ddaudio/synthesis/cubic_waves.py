"""Waves whose phase is a cubic polynomial of time: a linear map from their amplitudes to samples, and its adjoint.

A segment has the time ``t = (n - start) / length``, between 0 and 1 in it, and the wave ``z(t) = exp(r t + i p(t))`` with a real
growth ``r`` and a cubic ``p``. Its samples are ``Re(c(t) z(t))``, with a complex polynomial ``c``; the adjoint gives the
moments ``sum_n g(n) t^s z(t)`` of signals ``g``.

They are computed sample by sample, or in blocks for all waves at once (`ddaudio.synthesis.cubic_blocks`) where that is faster and
exact to 1e-6: in float32, and where frequencies change little within a block.
"""

import math
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from ddaudio.synthesis.cubic_blocks import LARGEST_TURN, OVERSAMPLING, BlockWaves, Grid
from ddaudio.synthesis.cubic_samples import SampleWaves
from ddaudio.synthesis.cubic_segments import Segments

FEWEST_SAMPLES = 1 << 15
"""Number of samples of all segments below which blocks are not worth their preparation."""
BLOCK_LENGTHS = (256, 192, 128, 96, 64, 48, 32, 24, 16)
"""Lengths of blocks to choose from, in samples."""
SAMPLE_COST, WAVE_COST, PRODUCT_COST, SUMS_COST = 120.0, 150.0, 3.0, 120.0
"""Nanoseconds for a sample of a wave; in blocks, for a wave in a block, for the product of a block by its length squared, and
for a sample of the sum (sum and moments on one core, measured)."""
LARGEST_HALF = 0.6
"""Largest half of a block, in segments: polynomials grow fast outside of their segment."""
FEWEST_IN_BLOCKS = 0.9
"""Smallest share of the samples that is computed in blocks, if shorter blocks can have that."""


class _Share(NamedTuple):
    """Segments that are computed in the same way."""

    rows: Tensor | None
    """Which ones; None for all, of which those in other shares have no samples."""
    waves: SampleWaves | BlockWaves


class CubicWaves:
    """The waves of segments.

    Args:
        segments: where they are.
        phase: coefficients of ``1, t, t^2, t^3``, in radians, ``[4, S]`` float64.
        growth: ``r``, ``[S]`` float64; None for 0.
        dtype: of the samples; float64 is exact to 1e-11, float32 to 1e-6 of an amplitude.
        keep: whether they are used more than once.

    """

    def __init__(
        self, segments: Segments, phase: Tensor, growth: Tensor | None, dtype: torch.dtype, *, keep: bool = False
    ) -> None:
        self.segments, self.phase, self.growth, self.dtype, self._keep = segments, phase, growth, dtype, keep
        self._shares = self._divided()

    def _divided(self) -> list[_Share]:
        """Choose how to compute each segment."""
        joined, phase, growth, dtype = self.segments.joined, self.phase, self.growth, self.dtype
        total = int(joined.count.sum())
        if dtype != torch.float32 or total < FEWEST_SAMPLES:
            return [_Share(None, SampleWaves(joined, phase, growth, dtype))]
        smooth = torch.zeros_like(joined.count, dtype=torch.bool)
        for length in self._lengths(joined, total):
            grid = Grid.between(joined.cuts, length)
            smooth = self._is_smooth(grid.length)
            if int(joined.count[smooth].sum()) >= FEWEST_IN_BLOCKS * total:
                break
        if not bool(smooth.any()):
            return [_Share(None, SampleWaves(joined, phase, growth, dtype))]
        own = replace(joined, count=joined.count * smooth)
        shares = [_Share(None, BlockWaves(own, phase, growth, dtype, grid, keep=self._keep))]
        rows = (~smooth).nonzero().squeeze(1)
        if len(rows):
            parts = joined.chosen(rows), phase[:, rows], None if growth is None else growth[rows]
            shares.append(_Share(rows, SampleWaves(*parts, dtype)))
        return shares

    def _lengths(self, joined: Segments, total: int) -> list[int]:
        """Return the lengths of blocks from the fastest one on, all shorter; none if blocks are slower than samples."""
        sizes = joined.cuts.diff()
        waves = total / int(sizes.sum())
        blocks = [int((-(-sizes // length)).sum()) for length in BLOCK_LENGTHS]
        costs = [
            number * (PRODUCT_COST * length**2 + WAVE_COST * waves + SUMS_COST * length)
            for number, length in zip(blocks, BLOCK_LENGTHS, strict=True)
        ]
        least = min(costs)
        return list(BLOCK_LENGTHS[costs.index(least) :]) if least < SAMPLE_COST * total else []

    def _is_smooth(self, length: int) -> Tensor:
        """Return which segments are exact in blocks of a length, ``[S]``."""
        p1, p2, p3 = self.phase[1:].float()
        size = self.segments.length.float()
        half = length / 2 / size
        # Blocks of short segments extend beyond them, on both sides.
        bend = torch.maximum(p2.abs(), (p2 + 3 * p3).abs()) * half**2 + 4 * p3.abs() * half**3
        turn = math.pi / (2 * OVERSAMPLING) + bend + (0 if self.growth is None else (self.growth.float() * half).abs())
        # Frequencies at both ends and at the extremum between them.
        place = torch.nan_to_num(-p2 / (3 * p3)).clamp(0, 1)
        slopes = torch.stack([p1, p1 + 2 * p2 + 3 * p3, p1 + place * (2 * p2 + 3 * place * p3)]) / size
        margin = math.pi / (2 * OVERSAMPLING) / (length / 2)
        within = (slopes.amin(0) >= -margin) & (slopes.amax(0) <= math.pi + margin)
        smooth: Tensor = (self.segments.count == 0) | (within & (half <= LARGEST_HALF) & (turn <= LARGEST_TURN))
        return smooth

    def forward(self, cosine: Tensor, sine: Tensor | None = None) -> Tensor:
        """Return the signals ``[B, T]`` for coefficients of ``1, t, ...``, real parts and imaginary parts ``[D, S]`` float64."""
        made = torch.zeros(math.prod(self.segments.shape), dtype=self.dtype, device=cosine.device)
        for rows, waves in self._shares:
            parts = [each for each in (cosine, sine) if each is not None]
            made += waves.forward(*(parts if rows is None else [each.index_select(1, rows) for each in parts]))
        return made.view(self.segments.shape)

    def moments(self, signals: Tensor, orders: int) -> Tensor:
        """Return the moments of ``t^0 .. t^(orders - 1)`` for signals ``[B, T]``, real and imaginary, ``[orders, 2, S]``."""
        flat = signals.reshape(-1)
        found = flat.new_zeros(0)
        for rows, waves in self._shares:
            own = waves.moments(flat, orders)
            found = own if rows is None else found.index_copy_(2, rows, own.to(found.dtype))
        return found
