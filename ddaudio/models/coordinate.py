"""What ``stack`` and ``siren`` have in common: a network of sine units in each frame that sounds, as functions of time.

Such a network is a whole: no unit can be left out without the others, and none is added later. It takes as many numbers in each
frame as any other, so frames that are silent have none.
"""

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn

from ddaudio.analysis.budget import Budget
from ddaudio.errors import ModelError, OptionError
from ddaudio.grid.coding import WORD, pack, unpack
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.models.base import AtBounds, FramedNetwork, Jacobian
from ddaudio.options import UnitOptions

EVERY = 1 << 62
"""Numbers enough for every frame."""


class Times(NamedTuple):
    """Equally spaced times in each of ``S`` frames, as a network sees them."""

    first: Tensor
    """``[S]`` float64."""
    step: Tensor
    """``[S]`` float64."""
    length: int
    """Times in each frame."""

    def spelled(self, like: Tensor) -> Tensor:
        """Return all times ``[S, L]``."""
        return (self.first[:, None] + self.step[:, None] * torch.arange(self.length)).to(like)


class CoordinateNetwork(FramedNetwork):
    """A network of sine units in each frame; what the units do is up to each kind.

    Parameters are ``[S, ...]``, one row a frame that sounds.
    """

    FIRST_SPAN: tuple[float, float]
    """Ends of a frame as the network sees them, unless they are set."""

    OPTIONS: ClassVar[type[UnitOptions]]
    """Its settings."""
    options: UnitOptions

    def __init__(self, grid: TimeGrid, options: UnitOptions | None = None) -> None:
        """Make a silent network; its widths must be given."""
        super().__init__(grid)
        self.options = options or self.OPTIONS()
        self.widths = self.options.parsed_widths or self.default_widths(0)
        self.set_frames(torch.zeros(grid.n_frames, dtype=torch.bool))

    @classmethod
    @abstractmethod
    def default_widths(cls, n_parameters: int) -> tuple[int, ...]:
        """Return the widths of the layers that take ``numbers`` in each frame at most; the least that there are if none do."""

    @classmethod
    @abstractmethod
    def default_span(cls, *, whole: bool) -> str:
        """Return the ends of a frame as the network sees them, unless they are set."""

    @classmethod
    @abstractmethod
    def count(cls, widths: Sequence[int]) -> int:
        """Return how many numbers a frame with layers of these widths takes."""

    @abstractmethod
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each parameter in a frame, by name."""

    @abstractmethod
    def natural(self, name: str, trained: Tensor) -> Tensor:
        """Return a parameter in natural units, of what is trained."""

    @abstractmethod
    def trained(self, name: str, natural: Tensor) -> Tensor:
        """Return what is trained of a parameter in natural units."""

    @abstractmethod
    def output(self, time: "Times", values: Mapping[str, Tensor]) -> Tensor:
        """Return what frames say ``[S, L]`` at some times, for parameters ``[S, ...]`` in natural units."""

    def set_frames(self, sounding: Tensor, values: Mapping[str, Tensor] | None = None) -> None:
        """Take over which frames sound, ``[F]`` bool, and parameters in natural units (default: all 0)."""
        self.sounding = sounding
        self.rows = sounding.nonzero()[:, 0]
        for name, shape in self.shapes().items():
            value = torch.zeros(len(self.rows), *shape) if values is None else values[name]
            setattr(self, name, nn.Parameter(self.trained(name, value)))

    def values(self) -> dict[str, Tensor]:
        """Return the parameters in natural units, by name."""
        return {name: self.natural(name, getattr(self, name)) for name in self.shapes()}

    def times(self, frames: Tensor, offset: Tensor, length: int, ratio: float) -> "Times":
        """Return time as the network sees it in ``frames [S]``, at another sample rate; see `FramedNetwork.frames_at`."""
        last = (self.grid.frames.length[frames].double() - 1).clamp(min=1)
        low, high = self.options.ends or self.FIRST_SPAN
        rate = (high - low) / last
        if self.options.span == "seconds":
            low, rate = 0.0, torch.full_like(last, 1 / self.grid.sample_rate)
        return Times(low + rate * offset.double() / ratio, rate / ratio, length)

    def forward(self) -> list[Tensor]:
        """Return the frames of all signals, one tensor a group of the grid."""
        values, said = self.values(), []
        for group, own in self._groups():
            times = self.times(self.rows[own], torch.zeros(len(own)), group.length, 1.0)
            spoken = self.output(times, {name: value[own] for name, value in values.items()})
            frames = spoken.new_zeros(group.windows.shape)
            said.append(frames.index_copy(0, self.rows[own] - group.frames.start, spoken))
        return said

    def _groups(self) -> Iterator[tuple[Any, Tensor]]:
        """Yield the groups of the grid, and which of the frames that sound lie in each."""
        for group in self.grid.groups:
            yield group, ((self.rows >= group.frames.start) & (self.rows < group.frames.stop)).nonzero()[:, 0]

    @torch.no_grad()
    def frames_at_rate(self, group: int, offset: Tensor, length: int, ratio: float) -> Tensor:
        """Return the frames of a group at ``ratio`` times the sample rate: the same functions of time at other times.

        What lies beyond the new Nyquist frequency folds: a network of sines of sines has no partials to leave out.
        """
        start = self.grid.groups[group].frames.start
        own = list(self._groups())[group][1]
        rows = self.rows[own]
        values = {name: value[own] for name, value in self.values().items()}
        spoken = self.output(self.times(rows, offset[rows - start], length, ratio), values)
        return torch.zeros(offset.numel(), length).index_copy(0, rows - start, spoken)

    def jacobian(self) -> Jacobian:
        """Raise `OptionError`: these networks are trained by their gradient alone."""
        raise OptionError(f"a {self.name} network has no Jacobian", hint="use {optimiser=adam}")

    def component_energies(self) -> Tensor:
        """Return nothing: no unit can be left out by itself."""
        return next(self.parameters()).new_zeros(0)

    def n_components(self) -> int:
        """Return how many sine units all frames have."""
        return len(self.rows) * sum(self.widths)

    def extend(self, target: Tensor, size: Budget) -> bool:
        """Add nothing, and return False."""
        del target, size
        return False

    def silent(self, grid: TimeGrid) -> Self:
        """Return a network of this kind and these settings without frames that sound."""
        return type(self)(grid, self.options)

    def pruned(self, keep: int) -> Self:
        """Return a copy of the whole."""
        del keep
        network = self.silent(self.grid)
        network.set_frames(self.sounding, {name: value.detach() for name, value in self.values().items()})
        return network

    def regridded(self, grid: TimeGrid, pieces: Sequence[tuple[FramedNetwork, Tensor]]) -> Self:
        """Return a network of this kind on ``grid`` with the frames of the cells that are named."""
        frame_of_cell = torch.argsort(grid.order)
        frames, parts = [], []
        for piece, places in pieces:
            if not isinstance(piece, type(self)) or piece.widths != self.widths:
                raise TypeError(f"a {self.name} network takes pieces of its own kind and widths")
            place = places[piece.grid.order][piece.rows]
            frames.append(frame_of_cell[place[place >= 0]])
            parts.append({name: value.detach()[place >= 0] for name, value in piece.values().items()})
        every = torch.cat(frames)
        order = torch.argsort(every)
        network = self.silent(grid)
        values = {name: torch.cat([part[name] for part in parts])[order] for name in self.shapes()}
        network.set_frames(torch.zeros(grid.n_frames, dtype=torch.bool).index_fill(0, every, value=True), values)
        return network

    def settings(self) -> dict[str, Any]:
        """Return the settings that make the same network again."""
        return self.options.table() | {"widths": ",".join(map(str, self.widths))}

    def _by_cell(self) -> Tensor:
        """Return the frames that sound in the order of their cells, as places in the parameters."""
        return torch.argsort(self.grid.order[self.rows])

    def to_tensors(self) -> dict[str, Tensor]:
        """Return which cells sound, a bit each (int32 words), then the parameters of those (float32), cell by cell."""
        order = self._by_cell()
        values = {name: value.detach()[order].flatten().float().cpu() for name, value in self.values().items()}
        return {"sounding": pack(self.sounding[torch.argsort(self.grid.order)])} | values

    def from_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over stored parameters; raises `ModelError` when they do not fit the grid or the widths."""
        expected = ["sounding", *self.shapes()]
        if sorted(tensors) != sorted(expected):
            raise ModelError(
                f"a {self.name} model holds the tensors {', '.join(expected)}; this file has {', '.join(sorted(tensors))}"
            )
        words = tensors["sounding"]
        if words.dtype != torch.int32 or words.shape != (math.ceil(self.grid.n_frames / WORD),):
            raise ModelError(f"sounding must be the bits of {self.grid.n_frames} frames, int32 words")
        bits = unpack(words)
        sounding, values = bits[: self.grid.n_frames][self.grid.order], {}
        order = torch.argsort(torch.argsort(self.grid.order[sounding.nonzero()[:, 0]]))
        for name, shape in self.shapes().items():
            value = tensors[name]
            if value.dtype != torch.float32 or value.shape != (math.prod((len(order), *shape)),):
                raise ModelError(f"{name} must be {math.prod((len(order), *shape))} float32, as sounding and the widths say")
            values[name] = value.reshape(len(order), *shape)[order]
        if bool(bits[self.grid.n_frames :].any()) or not all(bool(value.isfinite().all()) for value in values.values()):
            raise ModelError("every value must be finite, and no frame beyond the last may sound")
        self.set_frames(sounding, values)

    def project(self) -> None:
        """Leave the parameters as they are: they have no bounds."""

    def clip_step(self, changes: Sequence[Tensor], most: float) -> list[Tensor]:
        """Keep every change within ``most``: all but the last layer enter nonlinearly."""
        return [change.clamp(-most, most) for change in changes]

    def at_bounds(self) -> AtBounds:
        """Return that there are no bounds."""
        return AtBounds(0, 0, "values lie at their bounds", 1.0)

    def table(self, layers: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Return a table of units, frame by frame in the order of signal, then time: columns ``[S, width]`` of each layer."""
        order, grid = self._by_cell(), self.grid
        rows = self.rows[order]
        time_s = (grid.start[rows].double() + (grid.frames.length[rows].double() - 1) / 2) / grid.sample_rate
        counts = sum(self.widths)
        columns = {
            "signal": grid.frames.signal[rows].repeat_interleave(counts),
            "time_s": time_s.repeat_interleave(counts),
            "layer": torch.arange(1, len(self.widths) + 1).repeat_interleave(torch.tensor(self.widths)).repeat(len(rows)),
        }
        for name in layers[0]:
            columns[name] = torch.cat([layer[name].detach().double()[order] for layer in layers], 1).flatten()
        return columns

    def loudest(self, target: Tensor, n_parameters: int | None) -> Tensor:
        """Return which frames of ``target [B, T]`` sound; where ``numbers`` do not pay for all, the loudest, ``[F]`` bool."""
        energy = torch.cat([frames.square().sum(1) for frames in self.grid.windowed(self.grid.frame(target))])
        spare = EVERY if n_parameters is None else n_parameters - math.ceil(self.grid.n_frames / WORD)
        kept = torch.argsort(energy, descending=True, stable=True)[: max(0, spare) // self.count(self.widths)]
        return torch.zeros(self.grid.n_frames, dtype=torch.bool).index_fill(0, kept, value=True) & (energy > 0)
