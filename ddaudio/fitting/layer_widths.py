"""Widths of the layers of networks of sine units, and their numbers of parameters."""

import math
from dataclasses import replace

import torch

from ddaudio.errors import OptionError
from ddaudio.fitting.budget import allowance
from ddaudio.grid.coding import WORD
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.io.audio import Recording
from ddaudio.io.samples import Samples, blocks
from ddaudio.models import CoordinateNetwork
from ddaudio.options import MIN_PARAMETERS, GridOptions, ModelOptions, UnitOptions


def sized(
    model: ModelOptions, layers: UnitOptions, grid: GridOptions, recording: Recording, units: type[CoordinateNetwork]
) -> tuple[UnitOptions, int | None]:
    """Return the options with widths, and the budget, which is determined by the widths unless it is given.

    Without widths, the budget or the cap is distributed equally over all frames that are not silent. Raises `OptionError` if the
    budget is too small for one frame with the given widths.
    """
    n_channels, n_samples = recording.n_channels, recording.n_samples
    cells = TimeGrid.uniform(recording.sample_rate, 1, n_samples, grid.frame_s or 1.0, grid.overlap or 0.0).cells
    hop, half_fade = (n_samples, 0) if grid.whole else (int(cells.size[0]), int(cells.pre_roll.max()))
    n_frames = n_channels * math.ceil(n_samples / hop)
    words = math.ceil(n_frames / WORD)
    layers = replace(layers, span=layers.span or units.default_span(whole=grid.whole))
    given = layers.widths is not None
    if not given:
        sounding = max(1, _sounding_cells(recording.samples, hop, half_fade))
        each = max(0, allowance(model, n_channels, n_samples) - words) // sounding
        layers = replace(layers, widths=",".join(map(str, units.default_widths(each))))
    needed = units.count(layers.parsed_widths)
    if given and model.budget is not None and model.budget < needed + words:
        raise OptionError(
            f"but these widths take {needed} parameters in each frame",
            setting="widths",
            value=layers.widths,
            others={"budget": model.budget},
            hint=f"use narrower layers, or set {{budget={needed * n_frames + words}}} for {n_frames} frames",
        )
    return layers, model.budget if model.budget is not None else max(MIN_PARAMETERS, needed * n_frames + words)


def _sounding_cells(samples: Samples, hop: int, half_fade: int) -> int:
    """Return the number of frames of all channels that are not silent: ``hop`` samples each and ``half_fade`` on either side."""
    n_channels, n_samples = samples.shape
    near = torch.zeros(n_channels, math.ceil(n_samples / hop) + 2, dtype=torch.bool)
    first = 0
    for block in blocks(samples):
        channel, place = block.nonzero(as_tuple=True)
        cell, inside = (place + first) // hop + 1, (place + first) % hop
        for shift, which in ((0, inside >= 0), (-1, inside < half_fade), (1, inside >= hop - half_fade)):
            near[channel[which], cell[which] + shift] = True
        first += block.shape[1]
    return int(near[:, 1:-1].sum())
