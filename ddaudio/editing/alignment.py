"""Alignment of two sounds in time."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ddaudio.editing.time_map import TimeMap
from ddaudio.errors import OptionError

Floats = NDArray[np.float64]
SKIP_COST = 0.05
"""Price of an onset without counterpart, as a share of the duration by which two onsets may differ."""


def pairs_of(text: str, setting: str = "pairs") -> list[tuple[float, float]]:
    """Return pairs of times in seconds from a text such as ``0.1=0.2,0.8=1.1``; raises `OptionError` for another text."""
    try:
        pairs = [tuple(map(float, part.split("="))) for part in text.split(",")]
        good = all(len(pair) == 2 and min(pair) >= 0 for pair in pairs)
    except ValueError:
        good = False
    if not good:
        raise OptionError(setting=setting, value=text, allowed="times of both sounds in seconds, as in 0.1=0.2,0.8=1.1")
    return [(pair[0], pair[1]) for pair in pairs]


def matched(first: Tensor, second: Tensor) -> list[tuple[float, float]]:
    """Return pairs of times, each 0 to 1, in order, that are least apart; times without a near counterpart are left out."""
    a, b = first.numpy(), second.numpy()
    cost = np.full((len(a) + 1, len(b) + 1), np.inf)
    cost[0], cost[:, 0] = SKIP_COST * np.arange(len(b) + 1), SKIP_COST * np.arange(len(a) + 1)
    for row in range(1, len(a) + 1):
        for column in range(1, len(b) + 1):
            pair = cost[row - 1, column - 1] + abs(a[row - 1] - b[column - 1])
            cost[row, column] = min(pair, cost[row - 1, column] + SKIP_COST, cost[row, column - 1] + SKIP_COST)
    pairs, row, column = [], len(a), len(b)
    while row and column:
        if cost[row, column] == cost[row - 1, column - 1] + abs(a[row - 1] - b[column - 1]):
            row, column = row - 1, column - 1
            pairs.append((float(a[row]), float(b[column])))
        elif cost[row, column] == cost[row - 1, column] + SKIP_COST:
            row -= 1
        else:
            column -= 1
    return pairs[::-1]


def common_times(pairs: list[tuple[float, float]], lengths: tuple[int, int], amount: float) -> tuple[TimeMap, TimeMap]:
    """Return the maps of two sounds to times between both.

    Args:
        pairs: positions in samples that belong together, rising in both.
        lengths: of both sounds in samples.
        amount: 0 for the times of the first sound, 1 for those of the second.

    Raises `OptionError` for pairs that go back or are outside of a sound.
    """
    points = [(0.0, 0.0), *pairs, (float(lengths[0]), float(lengths[1]))]
    old = torch.tensor(points, dtype=torch.float64)
    steps = old.diff(dim=0)
    if pairs and not bool((steps > 0).all()):
        given = ", ".join(f"{one:.6g} and {other:.6g}" for one, other in pairs)
        raise OptionError(
            f"the samples {given} do not belong together in this order", allowed="times that rise within both sounds"
        )
    new = old[:, 0] * (1 - amount) + old[:, 1] * amount
    return TimeMap(old[:, 0].contiguous(), new), TimeMap(old[:, 1].contiguous(), new)
