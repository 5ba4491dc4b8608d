"""Coding of a grid's division of time for files: a tree with a bit per cell."""

import math

import torch
from torch import Tensor

from ddaudio.errors import ModelError
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.options import MAX_WHOLE_S, WindowName

WORD = 32
"""Bits in a word of the code."""


def count_words(grid: TimeGrid, smallest: int, largest: int) -> int:
    """Return the number of words in a grid's code, for cells with sizes from ``smallest`` to ``largest``."""
    return math.ceil(len(_bits(grid, smallest, largest)) / WORD)


def encode(grid: TimeGrid) -> tuple[dict[str, int], Tensor]:
    """Return a grid's division as settings and code: a bit per cell in preorder from the roots, 1 if it is divided.

    The code is int32 ``[W]``, the first bit the lowest of the first word; the smallest cells have no bit.
    """
    smallest, largest = int(grid.cells.size.min()), int(grid.cells.size.max())
    bits = _bits(grid, smallest, largest)
    settings = {"smallest_cell": smallest, "largest_cell": largest, "longest_fade": int(grid.cells.pre_roll.max())}
    return settings, pack(torch.tensor(bits, dtype=torch.bool))


def pack(bits: Tensor) -> Tensor:
    """Pack bits ``[N]`` into int32 words ``[ceil(N / 32)]``; the first bit is the lowest of the first word."""
    words = torch.nn.functional.pad(bits.long(), (0, -bits.numel() % WORD)).reshape(-1, WORD)
    packed = (words << torch.arange(WORD)).sum(1)
    return torch.where(packed >= 2**31, packed - 2**32, packed).int()


def unpack(words: Tensor) -> Tensor:
    """Return the bits ``[32 W]`` (bool) of int32 words."""
    return (((words.long()[:, None] >> torch.arange(WORD)) & 1) == 1).reshape(-1)


def _bits(grid: TimeGrid, smallest: int, largest: int) -> list[int]:
    """Return the bits of a grid's code."""
    bits: list[int] = []
    for first, size in zip(grid.cells.first.tolist(), grid.cells.size.tolist(), strict=True):
        above = size
        while above < largest and first % (2 * above) == 0:  # its ancestors that start at the same sample come first
            above *= 2
            bits.append(1)
        if size > smallest:
            bits.append(0)
    return bits


def decode(
    shape: tuple[int, int, int], window: WindowName, settings: dict[str, int], code: Tensor, most_cells: int | None = None
) -> TimeGrid:
    """Return the grid of a code from `encode`; raises `ModelError` if the code does not divide these signals.

    ``shape`` is sample rate, number of signals and of samples. More than ``most_cells`` cells, and cells longer than
    those of any fit, are refused before allocation.
    """
    sample_rate, n_signals, n_samples = shape
    smallest, largest, longest_fade = (settings[name] for name in ("smallest_cell", "largest_cell", "longest_fade"))
    if not all(type(value) is int and 0 <= value < 1 << 42 for value in (smallest, largest, longest_fade)):
        raise ModelError("sizes of cells are not whole numbers of samples")
    halved = largest
    while halved > smallest > 1:
        halved //= 2
    if not (
        halved == smallest > 1 and largest % smallest == 0 and longest_fade >= 0 and code.dtype == torch.int32 and code.ndim == 1
    ):
        raise ModelError(
            f"cells of {smallest} to {largest} samples, fades of {longest_fade} and a code of {code.dtype} {list(code.shape)} "
            "are no division of time: cells double in size, the code is int32 [W]"
        )
    longest = round(MAX_WHOLE_S * sample_rate) + 2
    if largest > longest:
        raise ModelError(f"it has cells of {largest} samples; allowed: up to {longest}, those of {MAX_WHOLE_S:g} s")
    roots = n_signals * math.ceil(n_samples / largest)
    if most_cells is not None and roots > most_cells:
        raise ModelError(f"it has {roots} cells of time or more, but bits for {most_cells} at most")
    bits = unpack(code).tolist()
    place, rows = 0, []
    for _ in range(n_signals):
        row: list[int] = []
        waiting = [(root * largest, largest) for root in reversed(range(math.ceil(n_samples / largest)))]
        while waiting:
            first, size = waiting.pop()
            if first >= n_samples:
                continue
            if size > smallest and place >= len(bits):
                raise ModelError(f"the division of time ends after {place} bits, before the signals do")
            divided = size > smallest and bits[place]
            place += size > smallest
            if divided:
                waiting += [(first + size // 2, size // 2), (first, size // 2)]
            else:
                row.append(size)
        rows.append(row)
    if len(bits) - place >= WORD:
        raise ModelError(f"the division of time has {len(bits)} bits, but the signals take {place}")
    return TimeGrid.of_sizes(sample_rate, n_samples, rows, window, longest_fade)
