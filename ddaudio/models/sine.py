"""The ``sine`` network: a bank of partials in each frame."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ddaudio.errors import ModelError
from ddaudio.grid import TimeGrid
from ddaudio.models.base import AtBounds, FramedNetwork, Tangent
from ddaudio.models.partials import Banks, Layout, Partials, equally_spaced, middle
from ddaudio.models.pursuit import SOLVER_STEPS, Size, pursue, solve_amplitudes
from ddaudio.options import StartName
from ddaudio.oscillators import Packing, synthesise_frames

NUMBERS_PER_PARTIAL = 3
"""Frequency, cosine amplitude, sine amplitude."""
AT_NYQUIST = math.pi * (1 - 1e-6)
"""Radians a sample from which on a frequency counts as Nyquist: float32, and the way through a file's Hz, err by 3e-7."""
USUALLY_AT_BOUNDS = 0.02
"""Share of the partials that may lie at 0 Hz or Nyquist: real recordings have up to 1.5 %, most of them none."""


class SineNetwork(FramedNetwork):
    """``s_f(n) = sum_k a_fk cos(w_fk (n - m)) + b_fk sin(w_fk (n - m))`` in each frame, ``m`` its middle.

    Cosine and sine amplitudes have no phase wrap and enter linearly. Frequency is trained in bins (``2 pi / L``),
    amplitudes in units of the geometric mean of the partial's own amplitude and its frame's level: with the frame's
    level alone weak partials are thrown about, with their own alone they cannot grow.
    """

    name = "sine"

    def __init__(self, grid: TimeGrid) -> None:
        super().__init__(grid)
        self._set(Partials.none(torch.zeros(0)))

    def _set(self, partials: Partials) -> None:
        """Take over partials, and set the units of their parameters."""
        self.layout = Layout(self.grid, partials.counts(self.grid))
        power = partials.power.double()
        level = power.new_zeros(self.grid.n_frames).index_add(0, partials.frame, power)
        unit = (power * level[partials.frame]).pow(0.25) * math.sqrt(2)
        # A silent partial of a random start still needs a unit to grow in: that of its silent frame is full scale.
        self.unit = torch.where(unit > 0, unit, torch.ones_like(unit)).to(partials.cosine)
        self.step_rad = 1 / self.grid.spread.to(partials.frequency)[partials.frame]
        self.frequency = nn.Parameter(partials.frequency / self.step_rad)
        self.cosine = nn.Parameter(partials.cosine / self.unit)
        self.sine = nn.Parameter(partials.sine / self.unit)

    @property
    def partials(self) -> Partials:
        """The partials in natural units, cut off from the parameters."""
        return Partials(
            self.layout.frame_of_partial,
            self.frequency.detach() * self.step_rad,
            self.cosine.detach() * self.unit,
            self.sine.detach() * self.unit,
        )

    def forward(self) -> list[Tensor]:
        """Return the frames of all signals, one tensor a group of the grid."""
        radians, cosine, sine = self.frequency * self.step_rad, self.cosine * self.unit, self.sine * self.unit
        return [
            synthesise_frames(radians[share], cosine[share], sine[share], packing, middle(packing.frame_length))
            for share, packing in zip(self.layout.shares, self.layout.packings, strict=True)
        ]

    def tangent(self) -> "SineTangent":
        """Return the Jacobian at the parameters as they are."""
        return SineTangent(self)

    def frames_at(self, group: int, offset: Tensor, length: int, ratio: float) -> Tensor:
        """Return the frames of a group at ``ratio`` times the sample rate, without partials beyond Nyquist."""
        frames, frame_length = self.grid.groups[group].frames, self.grid.groups[group].length
        partials = self.partials
        share = torch.zeros(len(partials), dtype=torch.bool)
        share[self.layout.shares[group]] = True
        partials = partials.keep(share & (partials.frequency.double() / ratio < math.pi) if ratio < 1 else share)
        frame = partials.frame - frames.start
        frequency = partials.frequency.double() / ratio
        # Phases count from the middle of the frame, which lies between the new samples: turn them to the first one.
        turn = frequency * (middle(frame_length) * ratio - offset[frame])
        cos, sin = torch.cos(turn), torch.sin(turn)
        cosine, sine = partials.cosine.double(), partials.sine.double()
        packing = Packing(torch.bincount(frame, minlength=offset.numel()), length)
        return synthesise_frames(frequency, cosine * cos - sine * sin, sine * cos + cosine * sin, packing, 0.0).float()

    def guess(self, target: Tensor, size: Size, start: StartName, generator: torch.Generator) -> None:
        """Set the starting point: spectral peaks, or random or equally spaced frequencies, with least squares."""
        if start == "peaks":
            self._set(pursue(target, self.grid, size)[0])
            return
        sounding = torch.cat([frames.abs().amax(1) > 0 for frames in self.grid.frame(target)])
        per_frame = min(size.most // max(1, int(sounding.sum())), size.most_per_frame or size.most)
        partials = equally_spaced(sounding * per_frame, target)
        if start == "random":
            frequency = math.pi * torch.rand(len(partials), generator=generator).to(target)
            partials = Partials(partials.frame, frequency, partials.cosine, partials.sine)
        self._set(solve_amplitudes(partials, target, self.grid, SOLVER_STEPS)[0])

    def extend(self, target: Tensor, size: Size) -> bool:
        """Add the partials that take away most of the residual."""
        before = self.ranked()
        self._set(pursue(target, self.grid, size, self.partials, rounds=2)[0])
        return self.ranked() > before

    def powers(self) -> Tensor:
        """Return the energy of each partial."""
        partials = self.partials
        return partials.power * self.grid.energy.to(partials.power)[partials.frame]

    def wave_amplitudes(self) -> Tensor:
        """Return the amplitude of each partial."""
        # The root has no gradient at a silent partial: hence the tiny addend.
        return ((self.cosine * self.unit).square() + (self.sine * self.unit).square() + 1e-24).sqrt()

    def without_last(self, keep: int) -> "SineNetwork":
        """Return a copy with only the ``keep`` partials of highest energy."""
        network = SineNetwork(self.grid)
        network._set(self.partials.strongest(keep, self.grid))
        return network

    def moved(self, grid: TimeGrid, pieces: Sequence[tuple[FramedNetwork, Tensor]]) -> "SineNetwork":
        """Return a sine network on ``grid`` with the partials of the cells that are named."""
        frame_of_cell = torch.argsort(grid.order)
        moved = []
        for piece, places in pieces:
            if not isinstance(piece, SineNetwork):
                raise TypeError(f"a sine network takes pieces of its own kind, not {type(piece).__name__}")
            place = places[piece.grid.order][piece.layout.frame_of_partial]
            kept = piece.partials.keep(place >= 0)
            moved.append(replace(kept, frame=frame_of_cell[place[place >= 0]]))
        network = SineNetwork(grid)
        network._set(Partials.none(torch.zeros(0)).joined(*moved))
        return network

    def stored(self) -> dict[str, Tensor]:
        """Return partials in each cell ``[F]`` (int32), then frequencies in Hz and amplitudes ``[P]`` (float32), cell by cell."""
        partials, cell = self.partials, self.grid.order[self.layout.frame_of_partial]
        partials = partials.keep(torch.argsort(cell, stable=True))
        counts = torch.bincount(cell, minlength=self.grid.n_frames)
        return {
            "partials_in_cell": counts.to("cpu", torch.int32),
            "frequency_hz": (partials.frequency.double() * (self.grid.sample_rate / (2 * math.pi))).float().cpu(),
            "cosine": partials.cosine.float().cpu(),
            "sine": partials.sine.float().cpu(),
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over stored partials; raises `ModelError` when they do not fit the grid or are out of bounds."""
        expected = ("partials_in_cell", "frequency_hz", "cosine", "sine")
        if sorted(tensors) != sorted(expected):
            raise ModelError(f"a sine model holds the tensors {', '.join(expected)}; this file has {', '.join(sorted(tensors))}")
        counts, frequency, cosine, sine = (tensors[name] for name in expected)
        if counts.dtype != torch.int32 or counts.shape != (self.grid.n_frames,) or bool((counts < 0).any()):
            raise ModelError(f"partials_in_cell must be {self.grid.n_frames} whole numbers (int32), none below 0")
        n_partials = int(counts.sum())
        if any(t.dtype != torch.float32 or t.shape != (n_partials,) for t in (frequency, cosine, sine)):
            raise ModelError(f"frequency_hz, cosine and sine must be {n_partials} float32 each, as partials_in_cell says")
        if not all(bool(t.isfinite().all()) for t in (frequency, cosine, sine)):
            raise ModelError("frequency_hz, cosine and sine must be finite; this file has NaN or infinity in them")
        if n_partials and not (float(frequency.min()) >= 0 and float(frequency.max()) <= self.grid.nyquist_hz * (1 + 1e-6)):
            raise ModelError(f"frequency_hz must lie in 0 to {self.grid.nyquist_hz:g} Hz, half the sample rate")
        frame = torch.argsort(self.grid.order)[torch.arange(self.grid.n_frames).repeat_interleave(counts.long())]
        radians = (frequency.double() * (2 * math.pi / self.grid.sample_rate)).float()
        self._set(Partials(frame, radians, cosine, sine).keep(torch.argsort(frame, stable=True)))

    def describe(self) -> dict[str, Tensor]:
        """Return the partials: signal, frame time in seconds, frequency in Hz, amplitude, phase in radians.

        ``time_s`` is the middle of the frame and ``phase_rad`` the phase there: the partial is
        ``amplitude cos(2 pi frequency_hz (t - time_s) + phase_rad)``. In the order of signal, then time.
        """
        grid, cell = self.grid, self.grid.order[self.layout.frame_of_partial]
        partials = self.partials.keep(torch.argsort(cell, stable=True))
        begin, length = grid.begins[partials.frame].double(), grid.frames.length[partials.frame].double()
        return {
            "signal": grid.frames.signal[partials.frame],
            "time_s": (begin + (length - 1) / 2) / grid.sample_rate,
            "frequency_hz": partials.frequency.double().cpu() * (grid.sample_rate / (2 * math.pi)),
            "amplitude": torch.hypot(partials.cosine, partials.sine).double().cpu(),
            "phase_rad": torch.atan2(-partials.sine, partials.cosine).double().cpu(),
        }

    @torch.no_grad()
    def project(self) -> None:
        """Keep frequencies between 0 and Nyquist: beyond, a partial is the alias of one inside."""
        self.frequency.copy_((self.frequency * self.step_rad).clamp(0, math.pi) / self.step_rad)

    def bounded(self, changes: Sequence[Tensor], most: float) -> list[Tensor]:
        """Keep frequencies from jumping to the next peak."""
        frequency, *amplitudes = changes
        return [frequency.clamp(-most, most), *amplitudes]

    def layers(self, values: Sequence[Tensor]) -> dict[str, list[Tensor]]:
        """Return the layers ``frequency`` and ``amplitude``, the latter of cosine and sine."""
        frequency, *amplitudes = values
        return {"frequency": [frequency], "amplitude": amplitudes} if frequency.numel() else {}

    def frequencies(self) -> list[Tensor]:
        """Return the partials' frequencies, for each of the three parameters."""
        return [self.partials.frequency] * 3

    def at_bounds(self) -> AtBounds:
        """Return how many partials lie at 0 Hz or Nyquist."""
        radians = self.partials.frequency
        held = int(((radians <= 0) | (radians >= AT_NYQUIST)).sum())
        return AtBounds(held, radians.numel(), "partials lie at 0 Hz or Nyquist", USUALLY_AT_BOUNDS)


class SineTangent(Tangent):
    """The Jacobian of a sine network: see the head of `ddaudio.oscillators` for the derivative by frequency."""

    def __init__(self, network: SineNetwork) -> None:
        partials, grid = network.partials, network.grid
        self._grid, self._unit, self._step = grid, network.unit, network.step_rad
        self._banks = Banks(partials.frequency, network.layout)
        # d/dw (a cos(w d) + b sin(w d)) = d (b cos(w d) - a sin(w d)), d the distance from the frame's middle.
        self._turned = partials.sine * self._step, -partials.cosine * self._step
        self._distance = [torch.arange(group.length) - middle(group.length) for group in grid.groups]
        energy = (grid.energy.to(partials.cosine) / 2)[partials.frame]
        amplitude = energy * self._unit**2
        squared_spread = grid.spread.to(partials.cosine)[partials.frame] ** 2
        self._squares = [energy * squared_spread * self._step**2 * 2 * partials.power, amplitude, amplitude]

    def forward(self, changes: Sequence[Tensor]) -> Tensor:
        """Return the change of the signals for changes of frequencies, cosine and sine amplitudes."""
        frequency, cosine, sine = changes
        level = self._banks.frames(cosine * self._unit, sine * self._unit)
        slope = self._banks.frames(self._turned[0] * frequency, self._turned[1] * frequency)
        frames = [part.addcmul_(tilt, d) for part, tilt, d in zip(level, slope, self._distance, strict=True)]
        return self._grid.add(self._grid.windowed(frames))

    def adjoint(self, signals: Tensor) -> list[Tensor]:
        """Return the gradients for frequencies, cosine and sine amplitudes."""
        frames = self._grid.frame_adjoint(signals)
        cosine, sine = self._banks.adjoint(frames)
        tilted_cosine, tilted_sine = self._banks.adjoint([part * d for part, d in zip(frames, self._distance, strict=True)])
        frequency = self._turned[0] * tilted_cosine + self._turned[1] * tilted_sine
        return [frequency, cosine * self._unit, sine * self._unit]

    def squares(self) -> list[Tensor]:
        """Return the energy that a change of 1 of each parameter brings into the signals, for one in its frame alone."""
        return self._squares
