"""Penalties on a network's parameters, independent of its output."""

import torch
from torch import Tensor

from ddaudio.options import PENALTIES, parse_penalty
from ddaudio.options.registry import load


def zero(amplitudes: Tensor, width: float) -> Tensor:
    """Return the mean of ``exp(-a / width)`` over ``amplitudes [P]``, 0 or more: 1 for silent waves, falling to 0.

    It pushes waves away from silence, the quietest most strongly: for models with few parameters, none of which should be idle.
    """
    return torch.exp(-amplitudes / width).mean() if amplitudes.numel() else amplitudes.sum()


def penalise(name: str, amplitudes: Tensor, level: float) -> Tensor:
    """Return the penalty named such as ``zero:0.05`` for ``amplitudes [P]`` in full scale, given the target's level."""
    choice = parse_penalty(name)
    spec = PENALTIES[choice.kind]
    value: Tensor = load(spec)(amplitudes, (choice.values[0] if choice.values else spec.width) * level)
    return value
