"""Levels of a noise layer at all of its nodes, and a layer from such levels."""

import torch
from torch import Tensor

from ddaudio.models.noise.grid import NoiseGrid
from ddaudio.models.noise.network import NoiseNetwork, hat_matrix

LEAST_HEIGHT_DB = 0.05
"""Hats that are lower than this are left out."""


@torch.no_grad()
def levels_of(layer: NoiseNetwork) -> Tensor:
    """Return the level at all nodes, dB re full scale squared per Hz, ``[C, n_intervals + 1, bands]`` float64."""
    grid = layer.grid
    chunks = [layer.levels_db(chunk).detach() for chunk in range(grid.n_chunks)]
    # The last node of a chunk is the first one of the next.
    return torch.cat([*(levels[:, :-1] for levels in chunks[:-1]), chunks[-1]], 1)


@torch.no_grad()
def with_levels(layer: NoiseNetwork, levels_db: Tensor, n_samples: int) -> NoiseNetwork:
    """Return a layer of the same sample rate, channels and coherence.

    Args:
        layer: the layer.
        levels_db: level at all nodes of the new one, ``[C, n_intervals + 1, bands]``.
        n_samples: its length.

    """
    grid = NoiseGrid(layer.sample_rate, n_samples)
    places, heights = [], []
    inverse = torch.linalg.inv(hat_matrix(layer.n_channels, grid.bands))
    for chunk in range(grid.n_chunks):
        first = chunk * grid.chunk_intervals
        own = levels_db[:, first : first + grid.covered(chunk)]
        own = torch.cat([own, own[:, -1:].expand(-1, grid.rows - own.shape[1], -1)], 1)
        flat = hats_of_nodes(own.transpose(0, 1).reshape(grid.rows, -1) @ inverse).flatten()
        high = (flat.abs() >= LEAST_HEIGHT_DB).nonzero().flatten()
        places.append(high + chunk * grid.rows * layer.n_channels * grid.bands)
        heights.append(flat[high])
    parts = torch.cat(places), torch.cat(heights)
    return NoiseNetwork(grid, layer.n_channels, *parts, layer.floor_db, layer.coherence)


def at_times(layer: NoiseNetwork, place: Tensor, n_samples: int) -> NoiseNetwork:
    """Return a layer whose nodes have the levels that ``layer`` has at other times.

    Args:
        layer: the layer.
        place: for each node of the new one, a time among the nodes of ``layer``, from 0, ``[n_intervals + 1]`` float64.
        n_samples: length of the new one.

    """
    levels = levels_of(layer)
    place = place.clamp(0, levels.shape[1] - 1)
    row = place.long().clamp(max=levels.shape[1] - 2)
    share = (place - row)[:, None]
    return with_levels(layer, levels[:, row] * (1 - share) + levels[:, row + 1] * share, n_samples)


def silent_db(layer: NoiseNetwork) -> Tensor:
    """Return levels at which nothing is heard, ``[bands]``: the floor of the layer."""
    return layer.floor_db - 10 * layer.grid.widths_hz.log10()


def hats_of_nodes(values: Tensor) -> Tensor:
    """Return the heights of all hats for values at the nodes, ``[2^p + 1, ...]``: the inverse of `nodes_of_hats`."""
    heights, step = values.clone(), 2
    while step < values.shape[0]:
        heights[step // 2 :: step] -= (values[:-1:step] + values[step::step]) / 2
        step *= 2
    heights[-1] -= values[0]
    return heights
