"""The ``sine`` network: a bank of partials in each frame."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ddaudio.analysis.budget import Budget
from ddaudio.analysis.matching_pursuit import Pursuit, pursue_many
from ddaudio.analysis.partials import Banks, Layout
from ddaudio.grid.batched import BatchedGrid
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.models.base import Jacobian
from ddaudio.models.partial_bank import COSINE, FREQUENCY, SINE, PartialBankNetwork, phase_lead
from ddaudio.options import SineOptions

PARAMETERS_PER_PARTIAL = 3
"""Frequency, cosine amplitude, sine amplitude."""
EXTENSION_ROUNDS = 2
"""Rounds of the pursuit that adds partials to a network."""


class SineNetwork(PartialBankNetwork):
    """``s_f(n) = sum_k a_fk cos(w_fk (n - m)) + b_fk sin(w_fk (n - m))`` in each frame, ``m`` its middle.

    Cosine and sine amplitudes have no phase wrap and enter linearly. With the setting ``span`` the trained ones are those at time
    0 instead of the middle; natural values are those at the middle.
    """

    name = "sine"
    PARAMETERS = (FREQUENCY, COSINE, SINE)
    frequency: nn.Parameter
    cosine: nn.Parameter
    sine: nn.Parameter

    def __init__(self, grid: TimeGrid, options: SineOptions | None = None) -> None:
        """Create a network without partials."""
        super().__init__(grid, options or SineOptions())

    def _turns(self, frequency: Tensor) -> tuple[Tensor, Tensor]:
        """Return cosine and sine of the phase of each partial between time 0 and the middle of its frame, ``[P]``."""
        turn = frequency.double() * phase_lead(self.grid, self.options.span, self.layout.frame_of_partial)
        return torch.cos(turn).to(frequency), torch.sin(turn).to(frequency)

    def set_components(self, counts: Tensor, values: Mapping[str, Tensor]) -> None:
        """Replace all partials; see `DeclaredNetwork.set_components`."""
        if self.options.span is not None:
            self.layout = Layout(self.grid, counts)
            cos, sin = self._turns(values["frequency"])
            cosine, sine = values["cosine"], values["sine"]
            values = {**values, "cosine": cosine * cos - sine * sin, "sine": cosine * sin + sine * cos}
        super().set_components(counts, values)

    def values(self) -> dict[str, Tensor]:
        """Return frequencies, and amplitudes at the middle of each frame, ``[P]`` each, with their gradients."""
        values = super().values()
        if self.options.span is None:
            return values
        cos, sin = self._turns(values["frequency"])
        cosine, sine = values["cosine"], values["sine"]
        return {**values, "cosine": cosine * cos + sine * sin, "sine": sine * cos - cosine * sin}

    @classmethod
    def beside(cls, networks: Sequence["SineNetwork"], grids: BatchedGrid) -> "SineNetwork":
        """Return one network on the grid of all networks, with the parameters and scales of each."""
        network = cls(grids.grid, networks[0].options)
        frame = torch.cat([own[one.layout.frame_of_partial] for one, own in zip(networks, grids.own_frames, strict=True)])
        network.layout = Layout(grids.grid, torch.bincount(frame, minlength=grids.grid.n_frames))
        order = torch.argsort(frame, stable=True)
        columns = zip(*((one.unit, one.step_rad, *one.parameters()) for one in networks), strict=True)
        unit, step, *values = (torch.cat(column)[order] for column in columns)
        network.scales = {"frequency": step, "cosine": unit, "sine": unit}
        network.frequency, network.cosine, network.sine = map(nn.Parameter, values)
        return network

    def jacobian(self) -> "SineJacobian":
        """Return the Jacobian at the current parameters."""
        return SineJacobian(self)

    def extend(self, target: Tensor, size: Budget) -> bool:
        """Add the partials that reduce the residual most."""
        before = self.n_prunable()
        ((partials, _),) = pursue_many([self.extension(target, size)])
        self.replace_partials(partials)
        return self.n_prunable() > before

    def extension(self, target: Tensor, size: Budget) -> Pursuit:
        """Return the pursuit of `extend`."""
        return Pursuit(target, self.grid, size, self.partials, EXTENSION_ROUNDS, self.weighting)


class SineJacobian(Jacobian):
    """The Jacobian of a sine network; `ddaudio.synthesis.oscillators` derives the derivative with respect to frequency."""

    def __init__(self, network: SineNetwork) -> None:
        partials, grid = network.partials, network.grid
        self._grid, self._unit, self._step = grid, network.unit, network.step_rad
        self._banks = Banks(partials.frequency, network.layout)
        # d/dw (a cos(w d) + b sin(w d)) = d (b cos(w d) - a sin(w d)), d the distance from the frame's middle.
        self._turned = partials.sine * self._step, -partials.cosine * self._step
        energy = (grid.energy.to(partials.cosine) / 2)[partials.frame]
        amplitude = energy * self._unit**2
        squared_spread = grid.spread.to(partials.cosine)[partials.frame] ** 2
        self._lead: Tensor | None = None
        if network.options.span is not None:
            self._lead = phase_lead(grid, network.options.span, partials.frame).to(partials.cosine)
            self._cos, self._sin = network._turns(partials.frequency)
            squared_spread = squared_spread + self._lead**2
        self._squares = [energy * squared_spread * self._step**2 * 2 * partials.power, amplitude, amplitude]

    def forward(self, changes: Sequence[Tensor]) -> Tensor:
        """Return the change of the signals for changes of frequencies, cosine and sine amplitudes."""
        frequency, cosine, sine = changes
        level = cosine * self._unit, sine * self._unit
        if self._lead is not None:
            a, b = level
            far = self._lead * frequency
            level = a * self._cos + b * self._sin + far * self._turned[0], b * self._cos - a * self._sin + far * self._turned[1]
        return self._banks.weighted_signals(level, (self._turned[0] * frequency, self._turned[1] * frequency))

    def adjoint(self, signals: Tensor) -> list[Tensor]:
        """Return the gradients for frequencies, cosine and sine amplitudes."""
        (cosine, sine), (tilted_cosine, tilted_sine) = self._banks.weighted_adjoint(self._grid.frame_adjoint(signals))
        frequency = self._turned[0] * tilted_cosine + self._turned[1] * tilted_sine
        if self._lead is not None:
            frequency = frequency + self._lead * (self._turned[0] * cosine + self._turned[1] * sine)
            cosine, sine = cosine * self._cos - sine * self._sin, cosine * self._sin + sine * self._cos
        return [frequency, cosine * self._unit, sine * self._unit]

    def squares(self) -> list[Tensor]:
        """Return the squared norms of the columns, with ``cos^2`` and ``sin^2`` replaced by their mean, 1/2."""
        return self._squares
