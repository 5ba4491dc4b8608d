"""Conversion of declared parameters to the tensors of a file, and to a table."""

import math
from collections.abc import Mapping
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from ddaudio.analysis.partials import Layout
from ddaudio.errors import ModelError
from ddaudio.grid.coding import WORD, pack, unpack
from ddaudio.grid.extents import extents, reference_times
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.models.parameters import Parameter


class Declared(Protocol):
    """The part of `ddaudio.models.DeclaredNetwork` used for files and tables."""

    COUNTS: ClassVar[str]
    AT_MOST_ONE: ClassVar[bool]
    name: str
    grid: TimeGrid
    layout: Layout

    def stored(self) -> tuple[Parameter, ...]:
        """Return the parameters of files and tables."""

    def natural(self) -> dict[str, Tensor]:
        """Return the natural values of these parameters, by name."""

    def rows(self) -> dict[str, Tensor]:
        """Return the frame of each of their rows, by name."""

    def amplitudes(self) -> Tensor:
        """Return the amplitude of each component."""


def stored_tensors(network: Declared) -> dict[str, Tensor]:
    """Return the tensors of a file: counts, then values in natural units, cell by cell."""
    grid = network.grid
    counts = network.layout.counts[torch.argsort(grid.order)]
    tensors = {network.COUNTS: pack(counts > 0) if network.AT_MOST_ONE else counts.to("cpu", torch.int32)}
    natural, frames = network.natural(), network.rows()
    for one in network.stored():
        # The one row of the network, of frame -1, has no order.
        order = torch.argsort(grid.order[frames[one.name]], stable=True)
        tensors[one.column] = one.in_units(natural[one.name][order], grid.sample_rate).flatten().float().cpu()
    return tensors


def components_of(network: Declared, tensors: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Return components per frame and natural values from a file's tensors; raises `ModelError` if they do not fit."""
    stored = network.stored()
    expected = [network.COUNTS, *(one.column for one in stored)]
    if sorted(tensors) != sorted(expected):
        raise ModelError(
            f"a {network.name} model holds the tensors {', '.join(expected)}; this file has {', '.join(sorted(tensors))}"
        )
    grid = network.grid
    in_cell = _counts(network, tensors[network.COUNTS])
    frame = torch.argsort(grid.order)[torch.arange(in_cell.numel()).repeat_interleave(in_cell)]
    orders = {"component": torch.argsort(frame, stable=True), "frame": grid.order, "network": torch.tensor([0])}
    values = {}
    for one in stored:
        rows = orders[one.per]
        checked = _checked(one, tensors[one.column], len(rows), network.COUNTS)
        values[one.name] = one.from_units(checked, grid.sample_rate)[rows]
    return in_cell[grid.order], values


def _counts(network: Declared, counts: Tensor) -> Tensor:
    """Return the components in each cell ``[F]`` int64."""
    n_frames = network.grid.n_frames
    if not network.AT_MOST_ONE:
        if counts.dtype != torch.int32 or counts.shape != (n_frames,) or bool((counts < 0).any()):
            raise ModelError(f"{network.COUNTS} must be {n_frames} whole numbers (int32), none below 0")
        return counts.long()
    if counts.dtype != torch.int32 or counts.shape != (math.ceil(n_frames / WORD),):
        raise ModelError(f"{network.COUNTS} must be the bits of {n_frames} frames, int32 words")
    bits = unpack(counts)
    if bool(bits[n_frames:].any()):
        raise ModelError(f"{network.COUNTS} has bits beyond the last of {n_frames} frames")
    return bits[:n_frames].long()


def _checked(one: Parameter, values: Tensor, n_rows: int, counts: str) -> Tensor:
    """Return values of a file in the shape of their rows."""
    size = n_rows * math.prod(one.shape)
    if values.dtype != torch.float32 or values.shape != (size,):
        raise ModelError(f"{one.column} must be {size} float32, according to {counts}")
    if not bool(values.isfinite().all()):
        raise ModelError(f"{one.column} must be finite; this file contains NaN or infinity")
    return values.reshape(n_rows, *one.shape)


def table_of(network: Declared) -> dict[str, Tensor]:
    """Return a table of the components: signal, time of the frame's middle, frequency and amplitude, and all other values."""
    grid, frame = network.grid, network.layout.frame_of_partial
    order = torch.argsort(grid.order[frame], stable=True)
    frame = frame[order]
    unknown = torch.full((len(frame),), math.nan, dtype=torch.float64)
    table = {
        "signal": grid.frames.signal[frame],
        "time_s": reference_times(grid, frame) / grid.sample_rate,
        "frequency_hz": unknown,
        "amplitude": network.amplitudes().detach().double().cpu()[order],
    }
    natural, of_rows = network.natural(), {"component": order, "frame": frame, "network": torch.zeros_like(frame)}
    for one in network.stored():
        rows = natural[one.name][of_rows[one.per]]
        columns = one.in_units(rows, grid.sample_rate).double().cpu().reshape(len(frame), math.prod(one.shape))
        for number, column in enumerate(columns.unbind(1), 1):
            name = one.column if not one.shape else f"{one.column}_{number}"
            table[name] = column.abs() if name == "amplitude" else column
    return table | extents(grid, frame)
