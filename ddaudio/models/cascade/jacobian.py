"""Derivatives of a cascade without activation."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ddaudio.analysis.partials import Banks, middle
from ddaudio.models.base import Jacobian

if TYPE_CHECKING:
    from ddaudio.models.cascade.network import CascadeNetwork


class CascadeJacobian(Jacobian):
    """The Jacobian of a cascade without activation: it is linear in the weighted output of each layer."""

    def __init__(self, network: "CascadeNetwork") -> None:
        radians, cosine, sine = (part.detach() for part in network._waves())
        self._grid, self._frame = network.grid, network.layout.frame_of_partial
        self._banks = Banks(radians, network.layout)
        self._distance = [torch.arange(group.length) - middle(group.length) for group in network.grid.groups]
        self._counts = [parameter.numel() for parameter in network.parameters()]
        # d/dA: cos(phase), -sin(phase); d/dphase: sine, -cosine of the layer itself, weighted; d/dw: that times the distance.
        phase, level = network._phases().detach(), network.weight * network.unit
        self._amplitude = level * torch.cos(phase), -level * torch.sin(phase)
        self._phase = sine * network.weight, -cosine * network.weight
        # d w / d parameter: of its own layer, or of all layers of the frame.
        self._step = network.step_rad if network.learns_frequency else 0.0
        base_unit = network.scales["base"]
        self._multiple = network.multiple * base_unit[self._frame] if isinstance(base_unit, Tensor) else network.multiple
        power = (cosine**2 + sine**2) * network.weight**2
        energy = (network.grid.energy.to(cosine) / 2)[self._frame]
        spread = network.grid.spread.to(cosine)[self._frame]
        turned, centre = energy * power, power.new_zeros(network.centre.numel())
        if centre.numel():
            centre = centre.index_add(0, self._frame, turned)
        frequency = turned * (spread * self._step) ** 2
        base = power.new_zeros(network.base.numel())
        if base.numel():
            base = base.index_add(0, self._frame, turned * (spread * self._multiple) ** 2)
        self._squares = [energy * level**2, turned, centre, frequency[: network.frequency.numel()], base]

    def forward(self, changes: Sequence[Tensor]) -> Tensor:
        """Return the change of the signals."""
        amplitude, phase, centre, frequency, base = changes
        turned = phase + centre[self._frame] if centre.numel() else phase
        frames = self._banks.frames(*(a * amplitude + p * turned for a, p in zip(self._amplitude, self._phase, strict=True)))
        if frequency.numel() or base.numel():
            radians = frequency * self._step if frequency.numel() else base[self._frame] * self._multiple
            slope = self._banks.frames(*(part * radians for part in self._phase))
            frames = [part.addcmul_(tilt, d) for part, tilt, d in zip(frames, slope, self._distance, strict=True)]
        return self._grid.add_windowed(frames)

    def adjoint(self, signals: Tensor) -> list[Tensor]:
        """Return the gradients for amplitudes, phases, centres, frequencies and bases."""
        frames = self._grid.frame_adjoint(signals)
        plain = self._banks.adjoint(frames)
        amplitude = _dot(self._amplitude, plain)
        phase = _dot(self._phase, plain)
        _, _, n_centres, n_frequencies, n_bases = self._counts
        centre = phase.new_zeros(n_centres)
        if n_centres:
            centre = centre.index_add(0, self._frame, phase)
        frequency, base = phase.new_zeros(n_frequencies), phase.new_zeros(n_bases)
        if n_frequencies or n_bases:
            tilted = _dot(self._phase, self._banks.adjoint([part * d for part, d in zip(frames, self._distance, strict=True)]))
            if n_bases:
                base = base.index_add(0, self._frame, tilted * self._multiple)
            else:
                frequency = tilted * self._step
        return [amplitude, phase, centre, frequency, base]

    def squares(self) -> list[Tensor]:
        """Return the squared norms of the columns, with ``cos^2`` and ``sin^2`` replaced by their mean, 1/2."""
        return self._squares


def _dot(factors: tuple[Tensor, Tensor], products: tuple[Tensor, Tensor]) -> Tensor:
    return factors[0] * products[0] + factors[1] * products[1]
