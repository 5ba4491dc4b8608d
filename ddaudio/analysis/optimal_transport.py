"""Optimal transport: oscillators that carry equal shares of a spectrum.

The power spectrum of a signal, as masses on the axis of frequency, is moved onto ``K`` points of equal mass. On a line the
cheapest way keeps the order: the lowest oscillator takes the lowest ``1 / K`` of the power, and so on, and the cost

    W = sum_k integral over u from k/K to (k+1)/K of (w_(k) - Q(u))^2,

with the quantile function ``Q`` of the spectrum and the sorted frequencies ``w_(k)``, is a parabola in each: its gradient
points to the share's centre from anywhere (Torres, Peeters and Richard, 2024, "Unsupervised harmonic parameter estimation
using differentiable DSP and spectral optimal transport"). That centre is a sinusoid's frequency where all are equally strong
and nothing else sounds; where they are not, a share covers several, and the centre lies between them.
"""

import math

import torch
from torch import Tensor

STEPS = 40
"""Steps of gradient descent; each leaves half of the way to the minimum."""


def spectrum(signals: Tensor) -> Tensor:
    """Return each signal's power at half-bin steps under a Hann window, ``[B, N + 1]``, as shares of its sum."""
    window = torch.hann_window(signals.shape[1], dtype=signals.dtype)
    power = torch.fft.rfft(signals * window, 2 * signals.shape[1]).abs().square()
    shares: Tensor = power / power.sum(1, keepdim=True).clamp(min=torch.finfo(signals.dtype).tiny)
    return shares


def transport_cost(frequency: Tensor, power: Tensor) -> Tensor:
    """Return ``W`` in square radians per sample, ``[B]``: what it costs to move ``power`` onto the frequencies.

    Args:
        frequency: radians per sample, ``[B, K]``; differentiable.
        power: shares at equal steps from 0 to pi, ``[B, bins]``, as `spectrum` returns them.

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
    """Move frequencies ``start [B, K]`` to where the spectrum of ``signals [B, N]`` is cheapest to carry; return them.

    Plain gradient descent on `transport_cost`, in radians per sample; signals are float64.
    """
    power, frequency = spectrum(signals), start.detach().clone()
    for _ in range(STEPS):
        frequency.requires_grad_()
        (slope,) = torch.autograd.grad(transport_cost(frequency, power).sum(), frequency)
        frequency = (frequency.detach() - slope * (start.shape[1] / 4)).clamp(0, math.pi)
    return frequency
