"""Encoding of the active ropes of a tree in a file: one or two bits per rope on the path to an active one."""

from typing import NamedTuple

import torch
from torch import Tensor

from ddaudio.errors import ModelError
from ddaudio.grid.coding import pack, unpack
from ddaudio.models.double_dutch.gates import Voices


class Shape(NamedTuple):
    """The stored part of each window's tree."""

    bits: Tensor
    """The code, ``[N]`` bool: for each window whether any rope is active; then level by level, for each rope below a node that
    is kept, whether it is active, and whether there is a node below it."""
    nodes: Tensor
    """Whether each node is stored, ``[W, N]`` bool: whether any rope at it or below it is active."""


def shape_of(speaks: Tensor, voices: Voices) -> Shape:
    """Return the shape of trees in which the ropes of the mask ``[W, R]`` are active."""
    depth, n_windows = voices.ladder.depth, speaks.shape[0]
    below = torch.zeros(n_windows, 2 * 2**depth // 2, dtype=torch.bool)
    kept, divided = [], []
    for level in reversed(range(depth)):
        divided.append(below)
        alive = speaks[:, 2 ** (level + 1) - 2 : 2 ** (level + 2) - 2] | below
        below = alive.reshape(n_windows, -1, 2).any(2)
        kept.append(below)
    bits, visited = [below[:, 0]], below.repeat_interleave(2, 1)
    for level, goes_on in enumerate(reversed(divided)):
        if voices.speaks(level):
            bits.append(speaks[:, 2 ** (level + 1) - 2 : 2 ** (level + 2) - 2][visited])
        if level < depth - 1:
            bits.append(goes_on[visited])
            visited = (visited & goes_on).repeat_interleave(2, 1)
    return Shape(torch.cat(bits), torch.cat(kept[::-1], 1))


def words_of(shape: Shape) -> Tensor:
    """Return the code as int32 words."""
    return pack(shape.bits)


def read_shape(words: Tensor, n_windows: int, voices: Voices) -> Tensor:
    """Return the active ropes, ``[W, R]`` bool; raises `ModelError` if the words are not a code of such trees."""
    depth, bits = voices.ladder.depth, unpack(words)
    speaks, place = torch.zeros(n_windows, voices.ladder.n_ropes, dtype=torch.bool), 0

    def read(count: int) -> Tensor:
        """Return the next bits."""
        nonlocal place
        if place + count > bits.numel():
            raise ModelError(f"the shape of the trees is incomplete: it ends after {bits.numel()} bits")
        place += count
        return bits[place - count : place]

    visited = read(n_windows)[:, None].repeat_interleave(2, 1)
    for level in range(depth):
        here = torch.zeros(2, *visited.shape, dtype=torch.bool)
        count = int(visited.sum())
        if voices.speaks(level):
            here[0][visited] = read(count)
            speaks[:, 2 ** (level + 1) - 2 : 2 ** (level + 2) - 2] = here[0]
        if level < depth - 1:
            here[1][visited] = read(count)
            visited = here[1].repeat_interleave(2, 1)
    if bits.numel() != -(-place // 32) * 32:
        raise ModelError(f"the shape of the trees has {bits.numel()} bits, but takes {place}")
    return speaks
