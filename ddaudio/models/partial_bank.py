"""What networks of partials have in common: parts that can be ranked, left out, moved and found by their peaks."""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Self

import torch
from torch import Tensor

from ddaudio.analysis.budget import Budget
from ddaudio.analysis.by_descent import descended
from ddaudio.analysis.matching_pursuit import SOLVER_STEPS, pursue, solve_amplitudes
from ddaudio.analysis.partials import Layout, Partials, equally_spaced, middle
from ddaudio.errors import ModelError
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.models.base import AtBounds, FramedNetwork
from ddaudio.options import StartingPoint
from ddaudio.synthesis.oscillators import Packing, synthesise_frames

AT_NYQUIST = math.pi * (1 - 1e-6)
"""Radians a sample from which on a frequency counts as Nyquist: float32, and the way through a file's Hz, err by 3e-7."""
USUALLY_AT_BOUNDS = 0.02
"""Share of the partials that may lie at 0 Hz or Nyquist: real recordings have up to 1.5 %, most of them none."""


class PartialBankNetwork(FramedNetwork):
    """A network whose frames say sums of partials; how these are parametrised is up to each kind."""

    layout: Layout
    """Which frames the partials sound in."""

    @property
    @abstractmethod
    def partials(self) -> Partials:
        """The partials in natural units, cut off from the parameters."""

    @abstractmethod
    def replace_partials(self, partials: Partials) -> None:
        """Take over partials, and set the units of their parameters."""

    @abstractmethod
    def silent(self, grid: TimeGrid) -> Self:
        """Return a network of this kind and these settings without partials."""

    @abstractmethod
    def columns(self, partials: Partials) -> dict[str, Tensor]:
        """Return what is stored of ``partials``, sorted by cell, in natural units."""

    @abstractmethod
    def from_columns(self, columns: Mapping[str, Tensor], counts: Tensor) -> Partials:
        """Return partials of what was stored, cell by cell, ``counts [F]`` in each; `frames_of_cells` gives their frames.

        Raises `ModelError` for values out of bounds.
        """

    def initialise(self, target: Tensor, size: Budget, start: StartingPoint, generator: torch.Generator) -> None:
        """Set the starting point: spectral peaks, random, equally spaced or descended frequencies, with least squares."""
        if start == "peaks":
            self.replace_partials(pursue(target, self.grid, size)[0])
            return
        counts = per_frame(target, self.grid, size)
        partials = equally_spaced(counts, target)
        if start == "random":
            frequency = math.pi * torch.rand(len(partials), generator=generator).to(target)
            partials = Partials(partials.frame, frequency, partials.cosine, partials.sine)
        elif start != "equal":
            partials = descended(target, self.grid, counts, start, generator)
        self.replace_partials(solve_amplitudes(partials, target, self.grid, SOLVER_STEPS)[0])

    def component_energies(self) -> Tensor:
        """Return the energy of each partial."""
        return self.partials.energy(self.grid)

    def pruned(self, keep: int) -> Self:
        """Return a copy with only the ``keep`` partials of highest energy."""
        network = self.silent(self.grid)
        network.replace_partials(self.partials.strongest(keep, self.grid))
        return network

    def regridded(self, grid: TimeGrid, pieces: Sequence[tuple[FramedNetwork, Tensor]]) -> Self:
        """Return a network of this kind on ``grid`` with the partials of the cells that are named."""
        frame_of_cell = torch.argsort(grid.order)
        moved = []
        for piece, places in pieces:
            if not isinstance(piece, type(self)):
                raise TypeError(f"a {self.name} network takes pieces of its own kind, not {type(piece).__name__}")
            place = places[piece.grid.order][piece.layout.frame_of_partial]
            kept = piece.partials.keep(place >= 0)
            moved.append(replace(kept, frame=frame_of_cell[place[place >= 0]]))
        network = self.silent(grid)
        network.replace_partials(moved[0].keep(torch.argsort(moved[0].frame, stable=True)).joined(*moved[1:]))
        return network

    def frames_at_rate(self, group: int, offset: Tensor, length: int, ratio: float) -> Tensor:
        """Return the frames of a group at ``ratio`` times the sample rate, without partials beyond Nyquist."""
        share = torch.zeros(self.layout.frame_of_partial.numel(), dtype=torch.bool)
        share[self.layout.shares[group]] = True
        return partial_frames_at(self.partials.keep(share), self.grid, group, offset, length, ratio)

    def to_tensors(self) -> dict[str, Tensor]:
        """Return partials in each cell ``[F]`` (int32), then their values in natural units ``[P]`` (float32), cell by cell."""
        cell = self.grid.order[self.layout.frame_of_partial]
        partials = self.partials.keep(torch.argsort(cell, stable=True))
        counts = torch.bincount(cell, minlength=self.grid.n_frames)
        columns = {name: column.float().cpu() for name, column in self.columns(partials).items()}
        return {"partials_in_cell": counts.to("cpu", torch.int32)} | columns

    def from_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over stored partials; raises `ModelError` when they do not fit the grid or are out of bounds."""
        expected = list(self.silent(self.grid).to_tensors())
        if sorted(tensors) != sorted(expected):
            raise ModelError(
                f"a {self.name} model holds the tensors {', '.join(expected)}; this file has {', '.join(sorted(tensors))}"
            )
        counts = tensors["partials_in_cell"]
        if counts.dtype != torch.int32 or counts.shape != (self.grid.n_frames,) or bool((counts < 0).any()):
            raise ModelError(f"partials_in_cell must be {self.grid.n_frames} whole numbers (int32), none below 0")
        columns = {name: tensors[name] for name in expected[1:]}
        n_partials, names = int(counts.sum()), " and ".join([", ".join(expected[1:-1]), expected[-1]])
        lengths = {name: self.column_length(name, n_partials) for name in columns}
        if any(column.dtype != torch.float32 or column.shape != (lengths[name],) for name, column in columns.items()):
            raise ModelError(f"{names} must be {n_partials} float32 each, as partials_in_cell says")
        if not all(bool(column.isfinite().all()) for column in columns.values()):
            raise ModelError(f"{names} must be finite, but some are NaN or infinite")
        partials = self.from_columns(columns, counts.long())
        self.replace_partials(partials.keep(torch.argsort(partials.frame, stable=True)))

    def frames_of_cells(self, counts: Tensor) -> Tensor:
        """Return the frame of each partial that is stored cell by cell, ``counts [F]`` in each, ``[P]``."""
        return torch.argsort(self.grid.order)[torch.arange(counts.numel()).repeat_interleave(counts)]

    def column_length(self, name: str, n_partials: int) -> int:
        """Return how many values a stored column has."""
        del name
        return n_partials

    def describe(self) -> dict[str, Tensor]:
        """Return the partials: signal, frame time in seconds, frequency in Hz, amplitude, phase in radians.

        ``time_s`` is the middle of the frame and ``phase_rad`` the phase there: the partial is
        ``amplitude cos(2 pi frequency_hz (t - time_s) + phase_rad)``. In the order of signal, then time. Damped partials have
        a ``decay_per_s`` besides, and their ``time_s`` is the frame's first sample.
        """
        grid, cell = self.grid, self.grid.order[self.layout.frame_of_partial]
        partials = self.partials.keep(torch.argsort(cell, stable=True))
        begin, length = grid.start[partials.frame].double(), grid.frames.length[partials.frame].double()
        counted_from = (length - 1) / 2 if partials.decay is None else 0.0
        table = {
            "signal": grid.frames.signal[partials.frame],
            "time_s": (begin + counted_from) / grid.sample_rate,
            "frequency_hz": partials.frequency.double().cpu() * (grid.sample_rate / (2 * math.pi)),
            "amplitude": torch.hypot(partials.cosine, partials.sine).double().cpu(),
            "phase_rad": torch.atan2(-partials.sine, partials.cosine).double().cpu(),
        }
        return table if partials.decay is None else table | {"decay_per_s": partials.decay.double().cpu() * grid.sample_rate}

    def at_bounds(self) -> AtBounds:
        """Return how many partials lie at 0 Hz or Nyquist."""
        radians = self.partials.frequency
        held = int(((radians <= 0) | (radians >= AT_NYQUIST)).sum())
        return AtBounds(held, radians.numel(), "partials lie at 0 Hz or Nyquist", USUALLY_AT_BOUNDS)

    def checked_radians(self, frequency_hz: Tensor, low_hz: float, high_hz: float) -> Tensor:
        """Return stored frequencies as radians per sample, float32; raises `ModelError` beyond the bounds."""
        if frequency_hz.numel() and not (
            float(frequency_hz.min()) >= low_hz * (1 - 1e-6) and float(frequency_hz.max()) <= high_hz * (1 + 1e-6)
        ):
            rate = "the sample rate" if low_hz else "half the sample rate"
            raise ModelError(f"frequency_hz must lie in {low_hz:g} to {high_hz:g} Hz, {rate}")
        return (frequency_hz.double() * (2 * math.pi / self.grid.sample_rate)).float()


def smooth_hypot(cosine: Tensor, sine: Tensor) -> Tensor:
    """Return ``sqrt(a^2 + b^2)`` with a finite gradient everywhere; of silent waves 1e-12."""
    # The root has no gradient at 0: hence the tiny addend.
    return (cosine.square() + sine.square() + 1e-24).sqrt()


def trained_unit(partials: Partials, grid: TimeGrid) -> Tensor:
    """Return the unit of each partial's amplitudes, ``[P]``: the geometric mean of its own amplitude and its frame's level.

    With the frame's level alone weak partials are thrown about, with their own alone they cannot grow.
    """
    power = partials.power.double()
    level = power.new_zeros(grid.n_frames).index_add(0, partials.frame, power)
    unit = (power * level[partials.frame]).pow(0.25) * math.sqrt(2)
    # A silent partial of a random start still needs a unit to grow in: that of its silent frame is full scale.
    return torch.where(unit > 0, unit, torch.ones_like(unit)).to(partials.cosine)


def per_frame(target: Tensor, grid: TimeGrid, size: Budget) -> Tensor:
    """Return equal counts of partials for the frames of ``target [B, T]`` that sound, as many as ``size`` allows, ``[F]``."""
    sounding = torch.cat([frames.abs().amax(1) > 0 for frames in grid.frame(target)])
    return sounding * min(size.most // max(1, int(sounding.sum())), size.most_per_frame or size.most)


def partial_frames_at(partials: Partials, grid: TimeGrid, group: int, offset: Tensor, length: int, ratio: float) -> Tensor:
    """Return the frames ``[N, length]`` of partials that all lie in one group, at another rate; see `FramedNetwork.frames_at`."""
    frames, frame_length = grid.groups[group].frames, grid.groups[group].length
    if ratio < 1:
        partials = partials.keep(partials.frequency.double() / ratio < math.pi)
    frame = partials.frame - frames.start
    frequency = partials.frequency.double() / ratio
    decay = None if partials.decay is None else partials.decay.double() / ratio
    # Phases count from the middle of the frame (damped: its beginning), which lies between the new samples: turn them.
    behind = (middle(frame_length) if decay is None else 0.0) * ratio - offset[frame]
    turn = frequency * behind
    cos, sin = torch.cos(turn), torch.sin(turn)
    if decay is not None:
        lifted = torch.exp(decay * behind)
        cos, sin = cos * lifted, sin * lifted
    cosine, sine = partials.cosine.double(), partials.sine.double()
    packing = Packing(torch.bincount(frame, minlength=offset.numel()), length)
    sums = cosine * cos - sine * sin, sine * cos + cosine * sin
    return synthesise_frames(frequency, *sums, packing, 0.0, decay).float()
