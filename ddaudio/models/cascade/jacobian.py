"""Derivatives of a cascade without activation."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ddaudio.analysis.partials import Banks, Layout, middle
from ddaudio.models.base import Jacobian


@dataclass(frozen=True)
class Point:
    """Waves of a cascade at which derivatives are taken, each ``[P]``, without gradients."""

    layout: Layout
    """Frames of the layers."""
    radians: Tensor
    """Frequency of each layer's own wave, radians per sample."""
    phase: Tensor
    """Its phase at the middle of its frame."""
    amplitude: Tensor
    """Its amplitude in the output, ``A`` times the weight."""
    level: Tensor
    """Change of that amplitude for a step of 1 of the trained one."""
    step_rad: Tensor | None
    """Change of the frequency for a step of 1 of the layer's own; None if it has none."""
    base_step_rad: Tensor | None
    """Change of the frequency for a step of 1 of the frame's base; None if it has none."""
    has_centre: bool
    """Whether frames have a centre of phases."""
    lead: Tensor | None = None
    """Samples from the time of the trained phase to the middle of the frame; None for 0."""


class CascadeJacobian(Jacobian):
    """The Jacobian of a cascade without activation: it is linear in the weighted output of each layer."""

    def __init__(self, at: Point) -> None:
        """Take the derivatives at a point."""
        self._at, self._grid, self._frame = at, at.layout.grid, at.layout.frame_of_partial
        self._banks = Banks(at.radians, at.layout)
        self._distance = [torch.arange(group.length) - middle(group.length) for group in self._grid.groups]
        # d/dA: cos(phase), -sin(phase); d/dphase: sine, -cosine of the layer itself, weighted; d/dw: that times the distance.
        cos, sin = torch.cos(at.phase), torch.sin(at.phase)
        self._amplitude = at.level * cos, -at.level * sin
        self._phase = -at.amplitude * sin, -at.amplitude * cos
        self._lead = None if at.lead is None else at.lead.to(at.level)
        self._radians = at.step_rad if at.base_step_rad is None else at.base_step_rad

    def forward(self, changes: Sequence[Tensor]) -> Tensor:
        """Return the change of the signals."""
        amplitude, phase, centre, frequency, base = changes
        turned = phase + centre[self._frame] if self._at.has_centre else phase
        radians = None
        if self._radians is not None:
            radians = self._radians * (frequency if self._at.base_step_rad is None else base[self._frame])
            turned = turned if self._lead is None else turned + self._lead * radians
        frames = self._banks.frames(*(a * amplitude + p * turned for a, p in zip(self._amplitude, self._phase, strict=True)))
        if radians is not None:
            slope = self._banks.frames(*(part * radians for part in self._phase))
            frames = [part.addcmul_(tilt, d) for part, tilt, d in zip(frames, slope, self._distance, strict=True)]
        return self._grid.add_windowed(frames)

    def adjoint(self, signals: Tensor) -> list[Tensor]:
        """Return the gradients for amplitudes, phases, centres, frequencies and bases."""
        frames = self._grid.frame_adjoint(signals)
        plain = self._banks.adjoint(frames)
        phase = _dot(self._phase, plain)
        radians = phase.new_zeros(0)
        if self._radians is not None:
            tilted = self._banks.adjoint([part * d for part, d in zip(frames, self._distance, strict=True)])
            slope = _dot(self._phase, tilted)
            radians = (slope if self._lead is None else slope + self._lead * phase) * self._radians
        return [_dot(self._amplitude, plain), *self._shared(phase, radians)]

    def squares(self) -> list[Tensor]:
        """Return the squared norms of the columns, with ``cos^2`` and ``sin^2`` replaced by their mean, 1/2."""
        at = self._at
        energy = (self._grid.energy.to(at.level) / 2)[self._frame]
        turned = energy * (self._phase[1] ** 2 + self._phase[0] ** 2)
        spread = self._grid.spread.to(at.level)[self._frame]
        spread = spread if self._lead is None else torch.hypot(spread, self._lead)
        radians = turned.new_zeros(0) if self._radians is None else turned * (spread * self._radians) ** 2
        return [energy * at.level**2, *self._shared(turned, radians)]

    def _shared(self, phase: Tensor, radians: Tensor) -> list[Tensor]:
        """Return values of phases, centres, frequencies and bases from those of each layer; the sum for those of frames."""
        none, per_frame = phase.new_zeros(0), phase.new_zeros(self._grid.n_frames)
        centre = per_frame.index_add(0, self._frame, phase) if self._at.has_centre else none
        if self._at.base_step_rad is None:
            return [phase, centre, radians, none]
        return [phase, centre, none, per_frame.index_add(0, self._frame, radians)]


def _dot(factors: tuple[Tensor, Tensor], products: tuple[Tensor, Tensor]) -> Tensor:
    return factors[0] * products[0] + factors[1] * products[1]
