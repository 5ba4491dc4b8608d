"""Base class of ``stack`` and ``siren``: in each frame that is not silent, a network of sine units as a function of time.

Units are neither pruned nor added. All frames that are not silent have the same number of parameters.
"""

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from ddaudio.grid.coding import WORD
from ddaudio.grid.extents import extents, reference_times
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.models.declared import DeclaredNetwork
from ddaudio.models.parameters import Parameter
from ddaudio.options import UnitOptions

EVERY = 1 << 62
"""Number of parameters that is enough for all frames."""


class Times(NamedTuple):
    """Equally spaced times in each of ``S`` frames, in the units of a network's input."""

    first: Tensor
    """``[S]`` float64."""
    step: Tensor
    """``[S]`` float64."""
    length: int
    """Times in each frame."""

    def all(self, like: Tensor) -> Tensor:
        """Return all times ``[S, L]``."""
        return (self.first[:, None] + self.step[:, None] * torch.arange(self.length)).to(like)


class CoordinateNetwork(DeclaredNetwork):
    """A network of sine units in each frame that is not silent: the frame's one component.

    Subclasses declare their parameters in `declared`, and implement `output`, `initialise` and the choice of widths by size.
    """

    COUNTS = "sounding"
    AT_MOST_ONE = True
    FIRST_SPAN: tuple[float, float]
    """Default values of time at the ends of a frame."""

    OPTIONS: ClassVar[type[UnitOptions]]
    """Its settings."""
    options: UnitOptions

    def __init__(self, grid: TimeGrid, options: UnitOptions | None = None) -> None:
        """Create a silent network; its widths must be given."""
        super().__init__(grid, options or self.OPTIONS())
        self.widths = self.options.parsed_widths or self.default_widths(0)
        self.set_frames(torch.zeros(grid.n_frames, dtype=torch.bool))

    @classmethod
    @abstractmethod
    def default_widths(cls, n_parameters: int) -> tuple[int, ...]:
        """Return the widest layers with at most ``n_parameters`` per frame, or the narrowest possible ones."""

    @classmethod
    @abstractmethod
    def default_span(cls, *, whole: bool) -> str:
        """Return the default values of time at the ends of a frame."""

    @classmethod
    @abstractmethod
    def count(cls, widths: Sequence[int]) -> int:
        """Return the number of parameters in a frame with layers of these widths."""

    @abstractmethod
    def declared(self) -> tuple[Parameter, ...]:
        """Return the parameters; their shapes depend on the widths."""

    @abstractmethod
    def output(self, time: "Times", values: Mapping[str, Tensor]) -> Tensor:
        """Return the frames ``[S, L]`` at some times, for parameters ``[S, ...]`` in natural units."""

    def set_frames(self, active: Tensor, values: Mapping[str, Tensor] | None = None) -> None:
        """Set which frames are not silent, ``[F]`` bool, and their parameters in natural units (default: all 0)."""
        silent = {one.name: torch.zeros(int(active.sum()), *one.shape) for one in self.declared()}
        self.set_components(active.long(), values or silent)

    @property
    def active(self) -> Tensor:
        """Frames that are not silent, in the order of the rows of the parameters, ``[S]`` int64."""
        return self.layout.frame_of_partial

    def times(self, frames: Tensor, offset: Tensor, length: int, ratio: float) -> "Times":
        """Return the times of ``frames [S]`` at another sample rate; see `FramedNetwork.frames_at_rate`."""
        last = (self.grid.frames.length[frames].double() - 1).clamp(min=1)
        low, high = self.options.ends or self.FIRST_SPAN
        rate = (high - low) / last
        if self.options.span == "seconds":
            low, rate = 0.0, torch.full_like(last, 1 / self.grid.sample_rate)
        return Times(low + rate * offset.double() / ratio, rate / ratio, length)

    def forward(self) -> list[Tensor]:
        """Return the frames of all signals, one tensor a group of the grid."""
        values, found = self.values(), []
        for group, own in self._groups():
            times = self.times(self.active[own], torch.zeros(len(own)), group.length, 1.0)
            output = self.output(times, {name: value[own] for name, value in values.items()})
            frames = output.new_zeros(group.windows.shape)
            found.append(frames.index_copy(0, self.active[own] - group.frames.start, output))
        return found

    def _groups(self) -> Iterator[tuple[Any, Tensor]]:
        """Yield the groups of the grid, and the rows of the parameters that belong to each."""
        for group in self.grid.groups:
            yield group, ((self.active >= group.frames.start) & (self.active < group.frames.stop)).nonzero()[:, 0]

    @torch.no_grad()
    def frames_at_rate(self, group: int, offset: Tensor, length: int, ratio: float) -> Tensor:
        """Return the frames of a group at ``ratio`` times the sample rate: the same functions of time at other times.

        Frequencies above the new Nyquist frequency are aliased: sines of sines have no partials that could be omitted.
        """
        start = self.grid.groups[group].frames.start
        own = list(self._groups())[group][1]
        rows = self.active[own]
        values = {name: value[own] for name, value in self.values().items()}
        output = self.output(self.times(rows, offset[rows - start], length, ratio), values)
        return torch.zeros(offset.numel(), length).index_copy(0, rows - start, output)

    def n_components(self) -> int:
        """Return the number of sine units of all frames."""
        return len(self.active) * sum(self.widths)

    def settings(self) -> dict[str, Any]:
        """Return the settings needed to recreate the network."""
        return super().settings() | {"widths": ",".join(map(str, self.widths))}

    def table(self, layers: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Return a table of units, frame by frame in the order of signal, then time: columns ``[S, width]`` of each layer."""
        grid = self.grid
        order = torch.argsort(grid.order[self.active])
        rows = self.active[order]
        time_s = reference_times(grid, rows) / grid.sample_rate
        counts = sum(self.widths)
        columns = {
            "signal": grid.frames.signal[rows].repeat_interleave(counts),
            "time_s": time_s.repeat_interleave(counts),
            "layer": torch.arange(1, len(self.widths) + 1).repeat_interleave(torch.tensor(self.widths)).repeat(len(rows)),
        }
        for name in layers[0]:
            columns[name] = torch.cat([layer[name].detach().double()[order] for layer in layers], 1).flatten()
        return columns | extents(grid, rows.repeat_interleave(counts))

    def loudest(self, target: Tensor, n_parameters: int | None) -> Tensor:
        """Return which frames of ``target [B, T]`` are not silent; the loudest if ``n_parameters`` are too few, ``[F]`` bool."""
        energy = torch.cat([frames.square().sum(1) for frames in self.grid.windowed(self.grid.frame(target))])
        spare = EVERY if n_parameters is None else n_parameters - math.ceil(self.grid.n_frames / WORD)
        kept = torch.argsort(energy, descending=True, stable=True)[: max(0, spare) // self.count(self.widths)]
        return torch.zeros(self.grid.n_frames, dtype=torch.bool).index_fill(0, kept, value=True) & (energy > 0)
