"""Fast and accurate sums of sinusoids, with gradients.

One sum, three ways to compute it: spelled out (``direct``), as matrix products of short tables (`factored`), and
by the non-uniform FFT (`nufft`).

The two fast ones share their gradients. With the sum ``s(n) = sum_k exp(-d (n - m)) (a cos(w (n - m)) + b sin(w (n - m)))``
and the gradient ``g`` with respect to ``s``, the adjoint gives

    C + i S = sum_n g(n) exp((i w - d) (n - m)),    C' + i S' = sum_n (n - m) g(n) exp((i w - d) (n - m)),

and from the derivatives of each sample

    gradient of a = C,    of b = S,    of w = b C' - a S',    of d = -(a C' + b S').

Forward, small changes of the parameters change the sum as if its amplitudes changed by ``da, db``, with a sum of the amplitudes
``b dw - a dd, -(a dw + b dd)``, weighted by ``n - m``, added.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from ddaudio.errors import OptionError
from ddaudio.synthesis import nufft
from ddaudio.synthesis.factored import Bank
from ddaudio.synthesis.linear_bank import LinearBank
from ddaudio.synthesis.nufft import NufftBank
from ddaudio.synthesis.packing import Packing

__all__ = ["Bank", "Method", "Packing", "sum_of_sinusoids", "synthesise_frames"]

DIRECT_ELEMENTS = 1 << 15
"""Below this many partials times samples the direct sum is faster: 1.2 against 1.8 ms at 2^14, 4.9 against 2.1 ms at 2^16
(sum and gradients on two cores, measured for 1 to 256 partials).
"""
DIRECT_BLOCK_ELEMENTS = 1 << 22
"""Largest product of partials and samples that the direct sum computes at once."""
NUFFT_PARTIALS = 512
"""From this many partials on the non-uniform FFT is faster than the factored method, if the sum is large: as fast with 512
partials (4.0 against 3.8 ms for 2^15 samples, 20 against 28 ms for 2^19), twice as fast with 1,024, slower with 256.
"""
NUFFT_ELEMENTS = 1 << 23
"""Smallest product of partials and samples for which its preparation is worthwhile (two cores, measured like the others)."""

Method = Literal["auto", "direct", "factored", "nufft"]


MakeBank = Callable[[Tensor, Tensor | None], LinearBank]


class _Synthesis(torch.autograd.Function):
    """The forward map of a bank, with gradients from its adjoint: see the head of this file."""

    @staticmethod
    def forward(ctx: Any, frequency: Tensor, cosine: Tensor, sine: Tensor, decay: Tensor | None, make_bank: MakeBank) -> Tensor:
        """Sum the partials, and keep the tables for the way back."""
        ctx.bank = make_bank(frequency, decay)
        ctx.save_for_backward(cosine, sine)
        ctx.save_for_forward(cosine, sine)
        frames: Tensor = ctx.bank.forward(cosine, sine)
        # The same memory, but no view: forward-mode differentiation takes no views that were made in here.
        return frames.new_empty(0).set_(frames.untyped_storage(), frames.storage_offset(), frames.shape, frames.stride())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients for frequency, amplitudes and decay."""
        cosine, sine = ctx.saved_tensors
        for_frequency, _, _, for_decay, _ = ctx.needs_input_grad
        if not (for_frequency or for_decay):
            return None, *ctx.bank.adjoint(gradient), None, None
        plain, (weighted_cosine, weighted_sine) = ctx.bank.weighted_adjoint(gradient)
        to_frequency = sine * weighted_cosine - cosine * weighted_sine if for_frequency else None
        to_decay = -(cosine * weighted_cosine + sine * weighted_sine) if for_decay else None
        return to_frequency, *plain, to_decay, None

    @staticmethod
    def jvp(
        ctx: Any, frequency: Tensor | None, cosine: Tensor | None, sine: Tensor | None, decay: Tensor | None, _: None
    ) -> Tensor:
        """Return the change of the frames for changes of frequency, amplitudes and decay; None for no change."""
        a, b = ctx.saved_tensors
        nothing = torch.zeros_like(a)
        bend, fall = nothing if frequency is None else frequency, nothing if decay is None else decay
        plain = nothing if cosine is None else cosine, nothing if sine is None else sine
        change: Tensor = ctx.bank.weighted_forward(plain, (b * bend - a * fall, -(a * bend + b * fall)))
        return change


def synthesise_frames(
    frequency: Tensor, cosine: Tensor, sine: Tensor, packing: Packing, origin: float, decay: Tensor | None = None
) -> Tensor:
    """Sum the partials of each frame, with the factored method; differentiable once in all its tensors.

    Arguments are not checked, since this is called in each step of a training.

    Args:
        frequency: radians per sample, ``[P]`` float32 or float64; the other tensors have the same shape and type.
        cosine: amplitude of ``cos(w (n - origin))``.
        sine: amplitude of ``sin(w (n - origin))``.
        packing: which partials sound in which frame, and the frames' length ``L``.
        origin: reference position of phases in the frame, in samples.
        decay: ``d`` of the envelope ``exp(-d (n - origin))``, per sample; ``None`` for none.

    Returns:
        Frames ``[F, L]``.

    """

    def make_bank(frequency: Tensor, decay: Tensor | None) -> Bank:
        """Make the tables."""
        return Bank(frequency, packing, origin, decay)

    frames: Tensor = _Synthesis.apply(frequency, cosine, sine, decay, make_bank)  # type: ignore[no-untyped-call]
    return frames


def sum_of_sinusoids(
    frequency: Tensor,
    cosine: Tensor,
    sine: Tensor,
    n_samples: int,
    *,
    decay: Tensor | None = None,
    origin: float = 0.0,
    method: Method = "auto",
) -> Tensor:
    """Return ``sum_k exp(-d_k (n - m)) (a_k cos(w_k (n - m)) + b_k sin(w_k (n - m)))`` for ``n = 0 .. n_samples - 1``.

    The tensors are of one type, float32 or float64, on one device, and broadcast to a common shape ``[..., K]``; every
    finite value is allowed, and ``K`` may be zero. Results of all methods differ from a float64 sum by less than 1e-6
    of its norm in float32, for every frequency and however far ``n - m`` is from zero.

    Args:
        frequency: ``w`` in radians per sample.
        cosine: amplitudes ``a``.
        sine: amplitudes ``b``.
        n_samples: samples to compute, 1 or more.
        decay: ``d`` per sample, negative for growth; ``None`` for none.
        origin: reference position ``m`` of phases and decay, in samples; need not be an integer.
        method: ``direct`` computes every sine, with phases reduced in float64: the reference, and the only one that is
            differentiable more than once. ``factored`` gives the same as a matrix product. ``nufft`` is for long sums of many
            partials without decay; a batch is computed row by row. ``auto`` selects the fastest by size.

    Returns:
        Samples ``[..., n_samples]``, differentiable in all tensors. Beside them and the tensors, ``factored`` and
        ``nufft`` take less than 1 GB.

    Raises:
        OptionError: the method is unknown or does not support the arguments, shapes or types do not fit, a value is not
            finite, or there are no samples to compute.

    >>> import torch
    >>> one = torch.ones(1)
    >>> sum_of_sinusoids(one * torch.pi, one, one * 0, 4)  # at the Nyquist frequency every sample is an extreme
    tensor([ 1., -1.,  1., -1.])

    """
    if method not in get_args(Method):
        raise OptionError(setting="method", value=method, allowed=", ".join(get_args(Method)))
    partials = _checked(_Partials(frequency, cosine, sine, decay), n_samples, origin)
    if method == "auto":
        method = _fastest(partials, n_samples)
    return _METHODS[method](partials, n_samples, origin)


class _Partials(NamedTuple):
    """The tensors of a sum, ``[..., K]``."""

    frequency: Tensor
    cosine: Tensor
    sine: Tensor
    decay: Tensor | None

    def named(self) -> dict[str, Tensor]:
        """Return the tensors that are not None, by name."""
        return {name: part for name, part in self._asdict().items() if part is not None}


def _checked(partials: _Partials, n_samples: int, origin: float) -> _Partials:
    """Return the tensors with their common shape, or raise an `OptionError`."""
    named = partials.named()
    shapes = ", ".join(f"{name} {list(part.shape)}" for name, part in named.items())
    try:
        shape = torch.broadcast_tensors(*named.values())[0].shape  # type: ignore[no-untyped-call]
    except RuntimeError:
        raise OptionError(f"the shapes {shapes} do not broadcast", hint="give one value per partial to each: [..., K]") from None
    if not shape:
        raise OptionError("frequency has no dimension", allowed="[..., K], one value per partial", hint="add one with [None]")
    kinds = {(part.dtype, part.device) for part in named.values()}
    if len(kinds) > 1 or partials.frequency.dtype not in {torch.float32, torch.float64}:
        given = ", ".join(f"{name} {part.dtype} on {part.device}" for name, part in named.items())
        raise OptionError(
            f"the tensors are {given}", allowed="either float32 or float64, on one device", hint="convert them with .to()"
        )
    for name, part in named.items():
        if not bool(part.isfinite().all()):
            bad = int((~part.isfinite()).sum())
            raise OptionError(f"{name} has {bad} of {part.numel()} values NaN or infinite", allowed="finite values")
    if isinstance(n_samples, bool) or not isinstance(n_samples, int) or n_samples < 1:
        raise OptionError(setting="n_samples", value=n_samples, allowed="whole numbers, 1 or more")
    if not math.isfinite(origin):
        raise OptionError(setting="origin", value=origin, allowed="any finite position in samples")
    return _Partials(*(None if part is None else part.expand(shape) for part in partials))  # type: ignore[arg-type]


def _fastest(partials: _Partials, n_samples: int) -> Method:
    """Return the fastest method for this size, of those that support it."""
    size = partials.frequency.shape[-1]
    if partials.frequency.numel() * n_samples < DIRECT_ELEMENTS:
        return "direct"
    large = size >= NUFFT_PARTIALS and size * n_samples >= NUFFT_ELEMENTS
    if large and partials.decay is None and nufft.available(partials.frequency.device):
        return "nufft"
    return "factored"


def _direct(partials: _Partials, n_samples: int, origin: float) -> Tensor:
    """Compute every sine, a block of samples at a time; blocks are recomputed for their gradients."""
    block = max(1, DIRECT_BLOCK_ELEMENTS // max(1, partials.frequency.numel()))
    if block >= n_samples:
        return _direct_block(*partials, -origin, n_samples)
    blocks = [
        checkpoint(_direct_block, *partials, first - origin, min(block, n_samples - first), use_reentrant=False)
        for first in range(0, n_samples, block)
    ]
    return torch.cat(blocks, -1)


def _direct_block(frequency: Tensor, cosine: Tensor, sine: Tensor, decay: Tensor | None, start: float, n_samples: int) -> Tensor:
    """Sum ``n_samples`` samples of which the first is ``start`` after the origin."""
    steps = torch.arange(n_samples, device=frequency.device, dtype=torch.float64) + start
    phase = (frequency.double()[..., None] * steps).remainder(2 * math.pi).to(frequency.dtype)
    waves = cosine[..., None] * phase.cos() + sine[..., None] * phase.sin()
    if decay is not None:
        waves = waves * torch.exp(-decay.double()[..., None] * steps).to(waves.dtype)
    return waves.sum(-2)


def _factored(partials: _Partials, n_samples: int, origin: float) -> Tensor:
    """Compute each row of the batch as a frame."""
    *batch, size = partials.frequency.shape
    counts = torch.full((math.prod(batch),), size, device=partials.frequency.device)
    frequency, cosine, sine = (part.reshape(-1) for part in partials[:3])
    decay = None if partials.decay is None else partials.decay.reshape(-1)
    return synthesise_frames(frequency, cosine, sine, Packing(counts, n_samples), origin, decay).reshape(*batch, n_samples)


def _by_nufft(partials: _Partials, n_samples: int, origin: float) -> Tensor:
    """Compute the rows of the batch one after another."""
    frequency, cosine, sine, decay = partials
    if decay is not None:
        raise OptionError(
            "which supports no decay", setting="method", value="nufft", hint="leave {decay} out, or use {method=factored}"
        )
    if not nufft.available(frequency.device):
        library = "finufft" if frequency.device.type == "cpu" else "cufinufft"
        problem, hint = f"which needs {library} on {frequency.device.type}", "install it, or use {method=factored}"
        raise OptionError(problem, setting="method", value="nufft", hint=hint)
    if not frequency.numel():
        return _factored(partials, n_samples, origin)

    def make_bank(frequency: Tensor, decay: Tensor | None) -> NufftBank:
        """Create the bank of one row, without decay."""
        del decay
        return NufftBank(frequency, n_samples, origin)

    *batch, size = frequency.shape
    rows = zip(*(part.reshape(-1, size) for part in (frequency, cosine, sine)), strict=True)
    frames = [_Synthesis.apply(*row, None, make_bank) for row in rows]  # type: ignore[no-untyped-call]
    return (frames[0] if len(frames) == 1 else torch.cat(frames)).reshape(*batch, n_samples)


_METHODS = {"direct": _direct, "factored": _factored, "nufft": _by_nufft}
