"""Penalties: what a network's parameters cost, whatever it says."""

import torch
from torch import Tensor

from ddaudio.options import ZERO_WIDTH, parse_penalty


def zero(amplitudes: Tensor, width: float) -> Tensor:
    """Return the mean of ``exp(-a / width)`` over ``amplitudes [P]``, 0 or more: 1 for waves that say nothing, falling to 0.

    It pushes waves away from silence, the quietest hardest: for models of few numbers, which should not be idle.
    """
    return torch.exp(-amplitudes / width).mean() if amplitudes.numel() else amplitudes.sum()


def penalise(name: str, amplitudes: Tensor, level: float) -> Tensor:
    """Return the penalty of a name such as ``zero:0.05`` for ``amplitudes [P]`` in full scale and the target's level."""
    numbers = parse_penalty(name).values
    return zero(amplitudes, (numbers[0] if numbers else ZERO_WIDTH) * level)
