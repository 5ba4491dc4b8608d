"""Window shapes."""

import math

import torch
from torch import Tensor

from ddaudio.options import WindowName

GATE_SHARPNESS = 16 / math.pi
"""``k`` of a gate whose transition is an eighth of its cell, see `ddaudio.models.double_dutch.ladder`."""


def fade_in(position: Tensor, shape: WindowName) -> Tensor:
    """Return the rising side of a window at ``position`` (0 to 1); with the falling side it sums to one."""
    if shape == "hann":
        return torch.sin(position * (math.pi / 2)) ** 2
    if shape == "sine":
        rising, falling = torch.sin(position * (math.pi / 2)), torch.cos(position * (math.pi / 2))
        return rising / (rising + falling)
    if shape == "gate":
        # The gate of a double-dutch node with transitions of an eighth of a cell, truncated at the end of the fade.
        opened = torch.sigmoid(GATE_SHARPNESS * torch.sin((position - 0.5) * (math.pi / 2)))
        shut = 1 / (1 + math.exp(GATE_SHARPNESS * math.sin(math.pi / 4)))
        return (opened - shut) / (1 - 2 * shut)
    return position


def _step(inside: Tensor, half_fade: Tensor) -> Tensor:
    """Return the progress of a fade of ``2 half_fade`` samples around 0; a step for length 0."""
    return torch.where(half_fade > 0, (inside + half_fade) / (2 * half_fade.clamp(min=0.5)), (inside > 0).double()).clamp(0, 1)
