"""The hats of a noise layer as rows of a table."""

from typing import Any

import torch
from torch import Tensor

from ddaudio.grid.erb import erb_number
from ddaudio.models.noise.grid import STEP_S
from ddaudio.models.noise.network import NoiseNetwork


def hat_rows(layer: NoiseNetwork) -> dict[str, list[Any]]:
    """Return columns with one row for each hat, from which the levels at all times and frequencies can be rebuilt.

    ``docs/export.md`` has the columns and the formula. Values that do not apply are None: the channel of a hat that raises all
    channels, and the middle of a constant.
    """
    grid, place = layer.grid, layer.places
    place, band = place // grid.bands, place % grid.bands
    place, channel = place // layer.n_channels, place % layer.n_channels
    chunk, row = place // grid.rows, place % grid.rows
    top = float(erb_number(grid.hz[-1]))
    low, middle, high = (part * (top / (grid.bands - 1)) for part in _support(band, grid.bands))
    begin = (chunk * grid.chunk_intervals).double()
    times = dict(zip(("start_s", "time_s", "end_s"), _support(row, grid.rows), strict=True))
    frequency_hz = [None if number == 0 else float(grid.hz[number]) for number in band.tolist()]
    return {
        "signal": [number if number else None for number in channel.tolist()] if layer.n_channels > 1 else [0] * len(band),
        **{name: _known((part + begin) * STEP_S) for name, part in times.items()},
        "frequency_hz": frequency_hz,
        "low_erb": _known(low),
        "middle_erb": _known(middle),
        "high_erb": _known(high),
        "height_db": layer.heights_db.detach().double().tolist(),
        "chunk_start_s": (begin * STEP_S).tolist(),
        "chunk_end_s": ((begin + grid.chunk_intervals) * STEP_S).tolist(),
        "floor_db": [layer.floor_db] * len(band),
    }


def _support(node: Tensor, n_nodes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the ends of the hats of nodes and their middles, in nodes, float64; the middle of the constant is NaN.

    The hat of a node reaches to the nodes at the distance of its lowest bit; the ramp, which the last node names, over all.
    """
    last = n_nodes - 1
    lowest_bit = node & -node
    whole = (node == 0) | (node == last)
    low = torch.where(whole, 0, node - lowest_bit).double()
    high = torch.where(whole, last, node + lowest_bit).double()
    return low, torch.where(node == 0, torch.nan, node.double()), high


def _known(values: Tensor) -> list[float | None]:
    """Return values with None for NaN."""
    return [None if value != value else value for value in values.tolist()]  # noqa: PLR0124 - only NaN differs from itself
