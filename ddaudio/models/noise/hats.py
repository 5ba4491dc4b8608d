"""Piecewise linear functions on dyadic divisions, as sums of hats.

A hat divides an interval in its middle: it is 1 there and falls linearly to 0 at the interval's ends (the hierarchical
basis of Faber, 1909, and Schauder, 1927; products in several dimensions: Yserentant, 1986, "On the multi-level splitting of
finite element spaces", Numerische Mathematik 49). The whole has a constant and a ramp. Every node of the finest division is
the middle of one hat, so that a hat is named by its node: the constant by the first, the ramp by the last.

All functions work along the first dimension, which has ``2^p + 1`` nodes: a step of a level is then one addition of rows.
"""

import math

import torch
from torch import Tensor

WORD_BYTES, ESCAPE = 4, 255


def dyadic_nodes(n_nodes: int) -> int:
    """Return the nodes of the smallest dyadic division that has ``n_nodes`` or more: ``2^p + 1``."""
    return (1 << max(0, math.ceil(math.log2(max(1, n_nodes - 1))))) + 1


def nodes_of_hats(heights: Tensor) -> Tensor:
    """Return the values at the nodes for the heights of all hats, ``[2^p + 1, ...]``; differentiable.

    Example:
        >>> nodes_of_hats(torch.tensor([1.0, 0.0, 5.0, 0.0, 2.0]))
        tensor([1., 4., 7., 5., 3.])

    """
    values, step = heights.clone(), heights.shape[0] - 1
    values[-1] += values[0]
    while step > 1:
        middles = values[step // 2 :: step]
        middles += (values[:-1:step] + values[step::step]) / 2
        step //= 2
    return values


def hat_products(values: Tensor) -> Tensor:
    """Apply the adjoint of `nodes_of_hats`: return the inner product of ``values`` with each hat."""
    products, step = values.clone(), 2
    while step < products.shape[0]:
        halves = products[step // 2 :: step] / 2
        products[:-1:step] += halves
        products[step::step] += halves
        step *= 2
    products[0] += products[-1]
    return products


def hat_energies(weights: Tensor) -> Tensor:
    """Return the sum of ``weights`` times the square of each hat."""
    last = weights.shape[0] - 1
    places = torch.arange(last + 1, dtype=weights.dtype)
    energies, step = torch.empty_like(weights), last
    energies[0] = weights.sum(0)
    energies[-1] = torch.tensordot((places / last).square(), weights, 1)
    while step > 1:
        hat = 1 - (places[: step + 1] - step // 2).abs() / (step // 2)
        energies[step // 2 :: step] = weights.unfold(0, step + 1, step) @ hat.square()
        step //= 2
    return energies


def pack_places(places: Tensor) -> Tensor:
    """Return rising whole numbers ``[K]``, 0 or more, as their gaps, a byte each, four bytes to an int32.

    A gap of 255 or more is written as 255s and a rest.
    """
    gaps = torch.diff(places, prepend=places.new_full((1,), -1)) - 1
    escapes = gaps // ESCAPE
    coded = torch.full((int(escapes.sum()) + len(gaps),), ESCAPE, dtype=torch.uint8)
    coded[(escapes + 1).cumsum(0) - 1] = (gaps % ESCAPE).to(torch.uint8)
    return torch.nn.functional.pad(coded, (0, -len(coded) % WORD_BYTES), value=ESCAPE).view(torch.int32)


def unpack_places(words: Tensor) -> Tensor:
    """Return what `pack_places` packed, ``[K]`` int64."""
    coded = words.contiguous().view(torch.uint8).long()
    ends = (coded < ESCAPE).nonzero().flatten()
    return coded.cumsum(0)[ends] + torch.arange(len(ends))
