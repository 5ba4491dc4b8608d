"""The ``sine`` network: a bank of partials in each frame."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ddaudio.analysis.budget import Budget
from ddaudio.analysis.matching_pursuit import pursue
from ddaudio.analysis.partials import Banks, Layout, Partials, middle
from ddaudio.grid.batched import BatchedGrid
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.models.base import Jacobian
from ddaudio.models.partial_bank import PartialBankNetwork, smooth_hypot, trained_unit
from ddaudio.synthesis.oscillators import synthesise_frames

PARAMETERS_PER_PARTIAL = 3
"""Frequency, cosine amplitude, sine amplitude."""


class SineNetwork(PartialBankNetwork):
    """``s_f(n) = sum_k a_fk cos(w_fk (n - m)) + b_fk sin(w_fk (n - m))`` in each frame, ``m`` its middle.

    Cosine and sine amplitudes have no phase wrap and enter linearly. Frequency is trained in bins (``2 pi / L``),
    amplitudes in units of the geometric mean of the partial's own amplitude and its frame's level.
    """

    name = "sine"

    def __init__(self, grid: TimeGrid) -> None:
        super().__init__(grid)
        self.replace_partials(Partials.none(torch.zeros(0)))

    def replace_partials(self, partials: Partials) -> None:
        """Take over partials, and set the units of their parameters."""
        self.layout = Layout(self.grid, partials.counts(self.grid))
        self.unit = trained_unit(partials, self.grid)
        self.step_rad = 1 / self.grid.spread.to(partials.frequency)[partials.frame]
        self.frequency = nn.Parameter(partials.frequency / self.step_rad)
        self.cosine = nn.Parameter(partials.cosine / self.unit)
        self.sine = nn.Parameter(partials.sine / self.unit)

    @classmethod
    def beside(cls, networks: Sequence["SineNetwork"], grids: BatchedGrid) -> "SineNetwork":
        """Return one network on the grid of all that says what each says, with the units that each has."""
        network = cls(grids.grid)
        frame = torch.cat([own[one.layout.frame_of_partial] for one, own in zip(networks, grids.own_frames, strict=True)])
        network.layout = Layout(grids.grid, torch.bincount(frame, minlength=grids.grid.n_frames))
        order = torch.argsort(frame, stable=True)
        columns = zip(*((one.unit, one.step_rad, *one.parameters()) for one in networks), strict=True)
        network.unit, network.step_rad, *values = (torch.cat(column)[order] for column in columns)
        network.frequency, network.cosine, network.sine = map(nn.Parameter, values)
        return network

    def silent(self, grid: TimeGrid) -> "SineNetwork":
        """Return a network without partials."""
        return SineNetwork(grid)

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

    def jacobian(self) -> "SineTangent":
        """Return the Jacobian at the parameters as they are."""
        return SineTangent(self)

    def extend(self, target: Tensor, size: Budget) -> bool:
        """Add the partials that take away most of the residual."""
        before = self.n_prunable()
        self.replace_partials(pursue(target, self.grid, size, self.partials, rounds=2)[0])
        return self.n_prunable() > before

    def amplitudes(self) -> Tensor:
        """Return the amplitude of each partial."""
        return smooth_hypot(self.cosine * self.unit, self.sine * self.unit)

    def columns(self, partials: Partials) -> dict[str, Tensor]:
        """Return frequencies in Hz and amplitudes."""
        hz = partials.frequency.double() * (self.grid.sample_rate / (2 * math.pi))
        return {"frequency_hz": hz, "cosine": partials.cosine, "sine": partials.sine}

    def from_columns(self, columns: Mapping[str, Tensor], counts: Tensor) -> Partials:
        """Return the partials of stored columns."""
        radians = self.checked_radians(columns["frequency_hz"], 0, self.grid.nyquist_hz)
        return Partials(self.frames_of_cells(counts), radians, columns["cosine"], columns["sine"])

    @torch.no_grad()
    def project(self) -> None:
        """Keep frequencies between 0 and Nyquist: beyond, a partial is the alias of one inside."""
        self.frequency.copy_((self.frequency * self.step_rad).clamp(0, math.pi) / self.step_rad)

    def clip_step(self, changes: Sequence[Tensor], most: float) -> list[Tensor]:
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


class SineTangent(Jacobian):
    """The Jacobian of a sine network: see the head of `ddaudio.synthesis.oscillators` for the derivative by frequency."""

    def __init__(self, network: SineNetwork) -> None:
        partials, grid = network.partials, network.grid
        self._grid, self._unit, self._step = grid, network.unit, network.step_rad
        self._banks = Banks(partials.frequency, network.layout)
        # d/dw (a cos(w d) + b sin(w d)) = d (b cos(w d) - a sin(w d)), d the distance from the frame's middle.
        self._turned = partials.sine * self._step, -partials.cosine * self._step
        energy = (grid.energy.to(partials.cosine) / 2)[partials.frame]
        amplitude = energy * self._unit**2
        squared_spread = grid.spread.to(partials.cosine)[partials.frame] ** 2
        self._squares = [energy * squared_spread * self._step**2 * 2 * partials.power, amplitude, amplitude]

    def forward(self, changes: Sequence[Tensor]) -> Tensor:
        """Return the change of the signals for changes of frequencies, cosine and sine amplitudes."""
        frequency, cosine, sine = changes
        level = cosine * self._unit, sine * self._unit
        return self._banks.weighted_signals(level, (self._turned[0] * frequency, self._turned[1] * frequency))

    def adjoint(self, signals: Tensor) -> list[Tensor]:
        """Return the gradients for frequencies, cosine and sine amplitudes."""
        (cosine, sine), (tilted_cosine, tilted_sine) = self._banks.weighted_adjoint(self._grid.frame_adjoint(signals))
        frequency = self._turned[0] * tilted_cosine + self._turned[1] * tilted_sine
        return [frequency, cosine * self._unit, sine * self._unit]

    def squares(self) -> list[Tensor]:
        """Return the energy that a change of 1 of each parameter brings into the signals, for one in its frame alone."""
        return self._squares
