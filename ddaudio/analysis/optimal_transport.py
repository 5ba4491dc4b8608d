"""Optimal transport: frequencies of oscillators that represent equal shares of a power spectrum.

The power spectrum of a signal, as masses on the frequency axis, is transported onto ``K`` points of equal mass. On a line the
optimal plan preserves order: the lowest oscillator takes the lowest ``1 / K`` of the power, and so on, and the cost

    W = sum_k integral over u from k/K to (k+1)/K of (w_(k) - Q(u))^2,

with the quantile function ``Q`` of the spectrum and the sorted frequencies ``w_(k)``, is quadratic in each of them: its gradient
always points to the centroid of the share (Torres, Peeters and Richard, 2024, "Unsupervised harmonic parameter estimation
using differentiable DSP and spectral optimal transport"). The centroid is the frequency of a sinusoid if all have equal power
and there is nothing else; otherwise a share may cover several sinusoids, and its centroid is between them.
"""

import math

import torch
from torch import Tensor

STEPS = 40
"""Number of gradient steps; each halves the distance to the minimum."""


def spectrum(signals: Tensor) -> Tensor:
    """Return the power spectra of Hann-windowed signals at half-bin steps, ``[B, N + 1]``, normalised to sum 1."""
    window = torch.hann_window(signals.shape[1], dtype=signals.dtype)
    power = torch.fft.rfft(signals * window, 2 * signals.shape[1]).abs().square()
    shares: Tensor = power / power.sum(1, keepdim=True).clamp(min=torch.finfo(signals.dtype).tiny)
    return shares


def transport_cost(frequency: Tensor, power: Tensor) -> Tensor:
    """Return the cost ``W`` of transporting ``power`` onto the frequencies, ``[B]``, in squared radians per sample.

    Args:
        frequency: radians per sample, ``[B, K]``; differentiable.
        power: normalised power at equal steps from 0 to pi, ``[B, bins]``, as returned by `spectrum`.

    """
    place = torch.linspace(0, math.pi, power.shape[1], dtype=power.dtype)
    first, second = (_over_shares(power * place**order, power, place**order, frequency.shape[1]) for order in (1, 2))
    ordered = frequency.sort(1).values
    return (ordered.square() / frequency.shape[1] - 2 * ordered * first + second).sum(1).clamp(min=0)


def _over_shares(moment: Tensor, power: Tensor, value: Tensor, count: int) -> Tensor:
    """Return the integral of ``value`` over each of ``count`` equal shares of the power, ``[B, count]``."""
    zero = torch.zeros_like(power[:, :1])
    mass, total = (torch.cat([zero, part.cumsum(1)], 1) for part in (power, moment))
    share = torch.arange(1, count, dtype=power.dtype).expand(len(power), -1) / count
    after = torch.searchsorted(mass, share.contiguous()).clamp(1, power.shape[1])
    inside = total.gather(1, after - 1) + (share - mass.gather(1, after - 1)) * value[after - 1]
    return torch.cat([zero, inside, total[:, -1:]], 1).diff(dim=1)


def carry(signals: Tensor, start: Tensor) -> Tensor:
    """Minimise the transport cost of the spectra of ``signals [B, N]`` from frequencies ``start [B, K]``; return them.

    Gradient descent on `transport_cost`, in radians per sample; signals are float64.
    """
    power, frequency = spectrum(signals), start.detach().clone()
    for _ in range(STEPS):
        frequency.requires_grad_()
        (slope,) = torch.autograd.grad(transport_cost(frequency, power).sum(), frequency)
        frequency = (frequency.detach() - slope * (start.shape[1] / 4)).clamp(0, math.pi)
    return frequency
