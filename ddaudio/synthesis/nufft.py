"""One long sum of thousands of undamped sinusoids, by the non-uniform fast Fourier transform (finufft).

finufft sums ``f(n) = sum_k c_k exp(i n x_k)`` over consecutive ``n``, centred on zero, in ``O(N log N + K)`` (type 1), and
its adjoint ``c_k = sum_n f(n) exp(i n x_k)`` (type 2). Time is cut into blocks of ``M`` samples with centres ``t``. With
``z = a - i b`` the partial, turned to the centre of a block, is ``u = z exp(i w (t - m))``, and the block is
``s(n) = Re sum_k u_k exp(i w_k n)``. A complex transform carries two such real blocks ``s + i s'``:

    s(n) + i s'(n) = sum_k (u_k + i u'_k) / 2 exp(i w_k n) + (conj u_k + i conj u'_k) / 2 exp(-i w_k n),

that is one transform of half the length with the points ``w`` and ``-w``. The way back takes the pair apart again: where
``A(w)`` is the transform of ``g + i g'``, those of ``g`` and ``g'`` are ``(A(w) + conj A(-w)) / 2`` and
``(A(w) - conj A(-w)) / 2i``.
"""

import math
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from ddaudio.synthesis.factored import reduced_phase
from ddaudio.synthesis.linear_bank import LinearBank

TOLERANCE = 1e-12
"""Requested relative error of finufft. It takes about a quarter more time than 1e-7 (measured), and is suitable for float64."""
BLOCK_PER_PARTIAL = 8
"""Samples in a block per partial. Short blocks fit into the cache, but each takes time for every partial (measured)."""
BLOCK_SAMPLES = (1 << 14, 1 << 21)
"""Shortest and longest block, in samples."""
BATCH_SAMPLES = 1 << 21
"""Number of samples of the pairs of blocks transformed together: 32 MB, and a few times as much within finufft."""


def available(device: torch.device) -> bool:
    """Return whether the library for a device is installed: finufft for the CPU, cufinufft for CUDA."""
    return device.type in {"cpu", "cuda"} and find_spec(_library_name(device)) is not None


def _library_name(device: torch.device) -> str:
    """Return the name of the library for a device."""
    return "finufft" if device.type == "cpu" else "cufinufft"


def _transform(kind: int, points: Tensor, data: Tensor, n_modes: int) -> Tensor:
    """Transform a batch of complex128 rows between points and consecutive samples; loads finufft when first called.

    Args:
        kind: 1 from coefficients at points ``[B, K]`` to samples ``[B, n_modes]``, 2 for the adjoint.
        points: radians per sample, ``[K]`` float64 between -pi and pi.
        data: ``[B, K]`` or ``[B, n_modes]``.
        n_modes: consecutive samples, the middle one at zero.

    Returns:
        Complex128 ``[B, n_modes]`` or ``[B, K]``.

    """
    library: Any = import_module(_library_name(points.device))
    on_cpu = points.device.type == "cpu"
    threads = {"nthreads": torch.get_num_threads()} if on_cpu else {}
    plan = library.Plan(kind, (n_modes,), n_trans=len(data), eps=TOLERANCE, isign=1, dtype="complex128", **threads)
    data = data.squeeze(0).contiguous() if len(data) == 1 else data.contiguous()
    plan.setpts(points.numpy() if on_cpu else points)
    found = torch.as_tensor(plan.execute(data.numpy() if on_cpu else data))
    return found[None] if found.dim() == 1 else found


class NufftBank(LinearBank):
    """Undamped partials over one stretch of samples, which is a single frame.

    Args:
        frequency: radians per sample, ``[K]`` float32 or float64, at least one.
        n_samples: samples ``N``.
        origin: reference position of phases, in samples.

    """

    def __init__(self, frequency: Tensor, n_samples: int, origin: float) -> None:
        self.n_samples, self.origin = n_samples, origin
        self._frequency = frequency.detach().double()
        near = reduced_phase(self._frequency, torch.ones((), dtype=torch.float64, device=frequency.device))
        self._points = torch.cat([near, -near])
        shortest, longest = BLOCK_SAMPLES
        block = min(max(BLOCK_PER_PARTIAL * frequency.numel(), shortest), longest)
        n_pairs = math.ceil(n_samples / (2 * block))
        self._block = math.ceil(n_samples / (2 * n_pairs))
        self._pairs_at_once = max(1, BATCH_SAMPLES // max(self._block, self._points.numel()))
        self._batches = [
            range(first, min(first + self._pairs_at_once, n_pairs)) for first in range(0, n_pairs, self._pairs_at_once)
        ]

    def _turns(self, pairs: range) -> Tensor:
        """Return ``exp(i w (t - m))`` for the blocks of some pairs, complex128 ``[B, 2, K]``."""
        blocks = torch.arange(2 * pairs.start, 2 * pairs.stop, device=self._frequency.device, dtype=torch.float64)
        centres = blocks * self._block + (self._block // 2 - self.origin)
        phase = reduced_phase(self._frequency, centres[:, None])
        return torch.complex(phase.cos(), phase.sin()).view(len(pairs), 2, -1)

    def _samples(self, pairs: range) -> slice:
        """Return the range of samples of pairs of blocks; the last one may extend beyond the last sample."""
        return slice(2 * pairs.start * self._block, min(2 * pairs.stop * self._block, self.n_samples))

    def forward(self, cosine: Tensor, sine: Tensor) -> Tensor:
        """Return the samples ``[1, N]`` for amplitudes ``[K]``."""
        out = cosine.new_empty(1, self.n_samples)
        amplitudes = torch.complex(cosine.double(), -sine.double())
        for pairs in self._batches:
            first, second = (amplitudes * self._turns(pairs)).unbind(1)
            halves = torch.cat([first + 1j * second, first.conj() + 1j * second.conj()], 1).div_(2)
            made = torch.view_as_real(_transform(1, self._points, halves, self._block)).transpose(1, 2).flatten()
            samples = self._samples(pairs)
            out[0, samples] = made[: samples.stop - samples.start].to(out.dtype)
        return out

    def weighted_forward(self, plain: tuple[Tensor, Tensor], weighted: tuple[Tensor, Tensor]) -> Tensor:
        """Return the samples ``[1, N]`` for amplitudes ``plain``, and those for ``weighted`` times ``n - origin`` added."""
        distance = torch.arange(self.n_samples, device=self._frequency.device, dtype=torch.float64) - self.origin
        return self.forward(*plain) + self.forward(*weighted) * distance.to(plain[0])

    def _products(self, frames: Tensor, *, weighted: bool) -> list[tuple[Tensor, Tensor]]:
        """Return a pair of products ``[K]`` for each weighting: none, and with ``weighted`` also ``n - origin``."""
        found = torch.zeros(1 + weighted, self._frequency.numel(), dtype=torch.complex128, device=frames.device)
        for pairs in self._batches:
            samples = self._samples(pairs)
            taken = frames.new_zeros(1 + weighted, len(pairs) * 2 * self._block, dtype=torch.float64)
            length = samples.stop - samples.start
            taken[:, :length] = frames[0, samples]
            if weighted:
                taken[1, :length] *= torch.arange(length, device=frames.device, dtype=torch.float64) + (
                    samples.start - self.origin
                )
            blocks = taken.view(-1, len(pairs), 2, self._block)
            both = torch.complex(blocks[:, :, 0], blocks[:, :, 1]).flatten(0, 1)
            both = _transform(2, self._points, both, self._block).view(1 + weighted, len(pairs), -1)
            ahead, mirrored = both.chunk(2, 2)
            mirrored = mirrored.conj()
            apart = torch.stack([ahead + mirrored, (ahead - mirrored) * -1j], 2).div_(2)
            found += (apart * self._turns(pairs)).sum((1, 2))
        return [(part.real.to(frames.dtype), part.imag.to(frames.dtype)) for part in found]
