"""Sums of sinusoids, fast and exact.

The factored method writes the sample index as ``n = p Q + q``. With ``z = a - i b``,

    a cos(w (n - m)) + b sin(w (n - m)) = Re(z exp(i w (n - m))) = Re([z exp(i w (p Q - m))] exp(i w q)),

so that the sum over partials is one matrix product: ``[P, 2K] @ [2K, Q]``, rows ``(Re, -Im)`` of the bracket against
columns ``(cos w q, sin w q)``. It takes ``K (P + Q)`` sines instead of ``K N``, and ``K (P + Q) + N`` memory. Phases are
reduced modulo 2 pi in float64 before the sine, so a float32 result is as exact as float32 can be.

The adjoint is the same product the other way round, which gives the gradient with respect to the amplitudes; with the
samples weighted by ``n - m`` it gives the one with respect to frequency:

    d/dw sum_n g_n (a cos(w (n - m)) + b sin(w (n - m))) = b C' - a S',    C' + i S' = sum_n (n - m) g_n exp(i w (n - m)).
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from ddaudio.errors import OptionError, nearest

CHUNK_ELEMENTS = 1 << 24
"""Largest table or block of frames that is worked on at once, in elements."""
KEEP_ELEMENTS = 1 << 26
"""Tables are kept between products while they have fewer elements than this (256 MB), else made anew."""
DIRECT_ELEMENTS = 1 << 12
"""Below this many partials times samples the direct sum is faster (two cores, measured)."""

Method = Literal["auto", "direct", "factored"]


@dataclass(frozen=True)
class Packing:
    """Which partials sound in which frame, sorted into chunks of frames with about equally many.

    Frames of different partial counts share one list of partials ``[P]``, frame after frame. Frames whose counts differ
    by less than a fifth are padded to one matrix, so that little is computed in vain.
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
        """Rows and columns ``(P, Q)`` that a frame's samples are written in; ``P Q >= L``."""
        columns = math.isqrt(self.frame_length - 1) + 1
        return math.ceil(self.frame_length / columns), columns

    @cached_property
    def chunks(self) -> list[tuple[Tensor, Tensor]]:
        """Pairs of frames ``[R]`` and their partials ``[R, K]``; the index ``n_partials`` stands for none."""
        first = self.counts.cumsum(0) - self.counts
        most = int(self.counts.max()) if self.n_frames else 0
        chunks, low = [], 0
        while low < most:
            high = max(low + 1, low * 6 // 5)
            frames = ((self.counts > low) & (self.counts <= high)).nonzero()[:, 0]
            rows = max(1, CHUNK_ELEMENTS // max(2 * high * sum(self.factors), self.frame_length))
            for part in torch.split(frames, rows) if frames.numel() else ():
                slot = torch.arange(high, device=part.device)
                partials = torch.where(slot < self.counts[part, None], first[part, None] + slot, self.n_partials)
                chunks.append((part, partials))
            low = high
        return chunks


class Bank:
    """Partials of fixed frequency in frames: a linear map from amplitudes to samples, and its adjoint.

    Args:
        frequency: radians per sample, ``[P]`` float32 or float64, frame after frame as in the packing.
        packing: which partials sound in which frame.
        origin: position in the frame where phases are counted from, in samples.

    """

    def __init__(self, frequency: Tensor, packing: Packing, origin: float) -> None:
        self.packing, self.origin = packing, origin
        self._frequency = pad(frequency.detach().double(), (0, 1))
        self._dtype = frequency.dtype
        size = sum(partials.numel() for _, partials in packing.chunks) * 2 * sum(packing.factors)
        self._kept: list[tuple[Tensor, ...] | None] | None = [None] * len(packing.chunks) if size < KEEP_ELEMENTS else None

    def _tables(self, index: int) -> tuple[Tensor, ...]:
        """Return ``cos, sin`` over the rows ``[R, K, P]`` and ``cos | sin`` over the columns ``[R, 2K, Q]``."""
        if self._kept is not None and (kept := self._kept[index]) is not None:
            return kept
        frequency = self._frequency[self.packing.chunks[index][1]][..., None]
        n_rows, n_columns = self.packing.factors
        device = frequency.device
        row_phase = frequency * (torch.arange(n_rows, device=device) * n_columns - self.origin)
        column_phase = frequency * torch.arange(n_columns, device=device)
        row = row_phase.remainder_(2 * math.pi).to(self._dtype)
        column = column_phase.remainder_(2 * math.pi).to(self._dtype)
        tables = row.cos(), row.sin(), torch.cat([column.cos(), column.sin()], 1)
        if self._kept is not None:
            self._kept[index] = tables
        return tables

    def forward(self, cosine: Tensor, sine: Tensor) -> Tensor:
        """Return the frames ``[F, L]`` for amplitudes ``[P]``."""
        length = self.packing.frame_length
        frames = cosine.new_zeros(self.packing.n_frames, length)
        cosine, sine = pad(cosine, (0, 1)), pad(sine, (0, 1))
        for index, (rows, partials) in enumerate(self.packing.chunks):
            row_cos, row_sin, columns = self._tables(index)
            a, b = cosine[partials][..., None], sine[partials][..., None]
            left = torch.cat([a * row_cos + b * row_sin, b * row_cos - a * row_sin], 1)
            frames[rows] = torch.bmm(left.transpose(1, 2), columns).flatten(1)[:, :length]
        return frames

    def adjoint(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Return each partial's product with ``frames [F, L]``: its cosine's and its sine's, ``[P]`` each."""
        n_rows, n_columns = self.packing.factors
        cosine, sine = frames.new_zeros(2, self.packing.n_partials + 1)
        for index, (rows, partials) in enumerate(self.packing.chunks):
            row_cos, row_sin, columns = self._tables(index)
            padded = pad(frames[rows], (0, n_rows * n_columns - self.packing.frame_length))
            inner = torch.bmm(columns, padded.reshape(-1, n_rows, n_columns).transpose(1, 2))
            inner_cos, inner_sin = inner.chunk(2, 1)
            cosine[partials] = (row_cos * inner_cos - row_sin * inner_sin).sum(-1)
            sine[partials] = (row_sin * inner_cos + row_cos * inner_sin).sum(-1)
        return cosine[:-1], sine[:-1]


class _Synthesis(torch.autograd.Function):
    """`Bank.forward` with gradients for frequency and amplitudes, from the adjoint."""

    @staticmethod
    def forward(ctx: Any, frequency: Tensor, cosine: Tensor, sine: Tensor, packing: Packing, origin: float) -> Tensor:
        """Sum the partials, and keep the tables for the way back."""
        ctx.bank = Bank(frequency, packing, origin)
        ctx.save_for_backward(cosine, sine)
        frames: Tensor = ctx.bank.forward(cosine, sine)
        return frames

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients by the adjoint: see the head of this file."""
        cosine, sine = ctx.saved_tensors
        to_cosine, to_sine = ctx.bank.adjoint(gradient)
        to_frequency = None
        if ctx.needs_input_grad[0]:
            length, origin = ctx.bank.packing.frame_length, ctx.bank.origin
            weighted = gradient * (torch.arange(length, device=gradient.device, dtype=gradient.dtype) - origin)
            weighted_cosine, weighted_sine = ctx.bank.adjoint(weighted)
            to_frequency = sine * weighted_cosine - cosine * weighted_sine
        return to_frequency, to_cosine, to_sine, None, None


def synthesise_frames(frequency: Tensor, cosine: Tensor, sine: Tensor, packing: Packing, origin: float) -> Tensor:
    """Sum the partials of each frame, with the factored method; differentiable once in the first three arguments.

    Args:
        frequency: radians per sample, ``[P]``.
        cosine: amplitude of ``cos(w (n - origin))``, ``[P]``.
        sine: amplitude of ``sin(w (n - origin))``, ``[P]``.
        packing: which partials sound in which frame, and the frames' length ``L``.
        origin: position in the frame where phases are counted from, in samples.

    Returns:
        Frames ``[F, L]``.

    """
    frames: Tensor = _Synthesis.apply(frequency, cosine, sine, packing, origin)  # type: ignore[no-untyped-call]
    return frames


def sum_of_sinusoids(
    frequency: Tensor, cosine: Tensor, sine: Tensor, n_samples: int, *, origin: float = 0.0, method: Method = "auto"
) -> Tensor:
    """Return ``sum_k cosine_k cos(w_k (n - origin)) + sine_k sin(w_k (n - origin))`` for ``n = 0 .. n_samples - 1``.

    Args:
        frequency: ``w`` in radians per sample, ``[..., K]`` float32 or float64; every real value is allowed.
        cosine: amplitudes ``[..., K]``.
        sine: amplitudes ``[..., K]``.
        n_samples: samples to compute, 1 or more.
        origin: position where phases are counted from, in samples.
        method: ``direct`` spells every sine out, with phases reduced in float64: the reference. ``factored`` gives
            the same as a matrix product. ``auto`` picks the faster one by size.

    Returns:
        Samples ``[..., n_samples]``, differentiable in the first three arguments.

    """
    if method not in get_args(Method):
        raise OptionError(f"method is {method!r}, which is unknown; {nearest(str(method), get_args(Method))}")
    if method == "auto":
        method = "direct" if frequency.numel() * n_samples < DIRECT_ELEMENTS else "factored"
    if method == "direct":
        steps = torch.arange(n_samples, device=frequency.device, dtype=torch.float64) - origin
        phase = (frequency.double()[..., None] * steps).remainder(2 * math.pi).to(frequency.dtype)
        return (cosine[..., None] * phase.cos() + sine[..., None] * phase.sin()).sum(-2)
    batch, size = frequency.shape[:-1], frequency.shape[-1]
    counts = torch.full((math.prod(batch),), size, device=frequency.device)
    packing = Packing(counts, n_samples)
    flat = [part.expand(frequency.shape).reshape(-1) for part in (frequency, cosine, sine)]
    return synthesise_frames(flat[0], flat[1], flat[2], packing, origin).reshape(*batch, n_samples)
