"""The ``stack`` network: the deep sine network, layers of sines whose sum is the time of the next."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import softplus

from ddaudio.analysis.budget import Budget
from ddaudio.analysis.matching_pursuit import pursue
from ddaudio.analysis.partials import Partials
from ddaudio.models.coordinate import CoordinateNetwork, Times
from ddaudio.models.parameters import Parameter
from ddaudio.models.partial_bank import smooth_hypot
from ddaudio.options import MOST_UNITS, StackOptions, StartingPoint
from ddaudio.synthesis.oscillators import Packing, synthesise_frames

LAYERS = 3
"""Default number of layers."""
LINEAR_SHARE = 0.2
"""Later layers are initialised as ``sin(f x) / f`` with ``f`` this over the largest ``x``, a distortion below 1 %."""
LEAST_POSITIVE = 1e-12
"""Smallest value of a softplus, used for stored values of 0."""
CHUNK_ELEMENTS = 1 << 22
"""Largest product of units and samples computed at once."""
KINDS = ("frequency", "phase", "amplitude")


class StackNetwork(CoordinateNetwork):
    """``x_0 = t``, ``x_l = sum_j a_lj sin(f_lj x_{l-1} + p_lj)`` in each frame, the last layer of one unit.

    Frequencies and phases are positive, amplitudes free. With ``pass_on`` the mean frequency and the mean phase of a layer are
    added to those of the units of the next.
    """

    name = "stack"
    OPTIONS = StackOptions
    options: StackOptions
    FIRST_SPAN = (-1024.0, 1024.0)

    @classmethod
    def default_span(cls, *, whole: bool) -> str:
        """Return the time at the ends of a frame."""
        del whole
        return "-1024,1024"

    @classmethod
    def default_widths(cls, n_parameters: int) -> tuple[int, ...]:
        """Return three layers with widths in geometric progression down to 1, such as 100, 10, 1."""
        low, high = 1, MOST_UNITS
        while high - low > 1:
            half = (low + high) // 2
            low, high = (half, high) if cls.count(_falling(half)) <= n_parameters else (low, half)
        return _falling(low)

    @classmethod
    def count(cls, widths: Sequence[int]) -> int:
        """Return the number of parameters: three per unit."""
        return len(KINDS) * sum(widths)

    def declared(self) -> tuple[Parameter, ...]:
        """Return frequencies, phases and amplitudes of each layer; with softplus they have no bounds."""
        above_0: dict[str, Any] = {"bounds": (0.0, math.inf), "usually_at_bounds": 0.5}
        free: dict[str, Any] = {}
        own = {kind: free if kind == "amplitude" or self.options.positive == "softplus" else above_0 for kind in KINDS}
        return tuple(
            Parameter(f"{kind}_{layer}", kind=f"layer {layer}: {kind}", shape=(width,), **own[kind])
            for layer, width in enumerate(self.widths, 1)
            for kind in KINDS
        )

    def scales_of(self, values: Mapping[str, Tensor]) -> dict[str, Tensor | float]:
        """Return the scales: those of the first layer depend on the span, those of the others on its level."""
        first = values["amplitude_1"]
        level = first.square().sum(1, keepdim=True).sqrt()
        level = torch.where(level > 0, level, torch.ones_like(level))
        own = (first.abs() * level).sqrt()
        seconds = float(self.grid.frames.length.max()) / self.grid.sample_rate
        low, high = (0.0, seconds) if self.options.span == "seconds" else self.options.ends or self.FIRST_SPAN
        scales: dict[str, Tensor | float] = {}
        for layer in range(1, len(self.widths) + 1):
            scales[f"frequency_{layer}"] = 2 / (high - low) if layer == 1 else LINEAR_SHARE / level
            scales[f"phase_{layer}"] = 1.0 if layer == 1 else LINEAR_SHARE
            scales[f"amplitude_{layer}"] = torch.where(own > 0, own, level) if layer == 1 else level
        return scales

    def to_natural(self, name: str, trained: Tensor) -> Tensor:
        """Return positive frequencies and phases, in radians per unit of time and radians; amplitudes in full scale."""
        if name.startswith("amplitude") or self.options.positive == "project":
            positive = trained
        else:
            positive = softplus(trained) if self.options.positive == "softplus" else trained.relu()
        return positive * self.scales[name]

    def natural_step(self, name: str) -> Tensor | float:
        """Return the derivative of `to_natural` at the current values of a parameter."""
        scale, trained = self.scales[name], getattr(self, name).detach()
        if name.startswith("amplitude") or self.options.positive not in ("softplus", "relu"):
            return scale
        slope = trained.sigmoid() if self.options.positive == "softplus" else (trained > 0).to(trained)
        return torch.as_tensor(scale).to(slope).mul(slope)

    def to_trained(self, name: str, natural: Tensor) -> Tensor:
        """Return the trained values."""
        value = natural / self.scales[name]
        if not name.startswith("amplitude") and self.options.positive == "softplus":
            value = value.clamp(min=LEAST_POSITIVE)
            value = value + torch.log(-torch.expm1(-value))
        return value

    def output(self, time: Times, values: Mapping[str, Tensor]) -> Tensor:
        """Return the frames: the first layer is a bank of sinusoids, the others are computed sample by sample."""
        frequency, phase, amplitude = (values[f"{kind}_1"] for kind in KINDS)
        passed = frequency.mean(1, keepdim=True), phase.mean(1, keepdim=True)
        turned = (phase.double() + frequency.double() * time.first[:, None]).remainder(2 * math.pi).to(phase)
        radians = (frequency.double() * time.step[:, None]).to(frequency)
        packing = Packing(torch.full((len(frequency),), frequency.shape[1]), time.length)
        cosine, sine = (amplitude * torch.sin(turned)).flatten(), (amplitude * torch.cos(turned)).flatten()
        said = synthesise_frames(radians.flatten(), cosine, sine, packing, 0.0)
        for layer in range(2, len(self.widths) + 1):
            frequency, phase, amplitude = (values[f"{kind}_{layer}"] for kind in KINDS)
            if self.options.pass_on:
                frequency, phase = frequency + passed[0], phase + passed[1]
                passed = frequency.mean(1, keepdim=True), phase.mean(1, keepdim=True)
            said = _SumOfSines.apply(said, frequency, phase, amplitude)  # type: ignore[no-untyped-call]
        return said

    def initialise(self, target: Tensor, size: Budget, start: StartingPoint, generator: torch.Generator) -> None:
        """Initialise all parameters.

        ``peaks``: the first layer has the strongest spectral peaks of its frame with least-squares amplitudes, the first unit of
        each later layer is nearly the identity, and the others are silent. ``random`` and ``equal``: random or equally spaced
        frequencies up to Nyquist, with random or equal phases and amplitudes, in all layers.
        """
        active = self.loudest(target, size.n_parameters)
        values = self._random(target, active, generator if start != "equal" else None)
        if start == "peaks":
            most = Budget(self.widths[0] * int(active.sum()), most_per_frame=self.widths[0])
            values |= self._bank(pursue(target, self.grid, most)[0], active, generator)
            self._pass_through(values, generator)
        self.set_frames(active, {one.name: values[one.name].to(target) for one in self.declared()})

    def _pass_through(self, values: dict[str, Tensor], generator: torch.Generator) -> None:
        """Initialise the first unit of each later layer as nearly the identity, and the others as silent."""
        peak = values["amplitude_1"].abs().sum(1, keepdim=True).clamp(min=1e-9)
        slow = LINEAR_SHARE / peak
        passed = values["frequency_1"].mean(1, keepdim=True), values["phase_1"].mean(1, keepdim=True)
        for layer, width in enumerate(self.widths[1:], 2):
            frequency = slow * (0.5 + torch.rand(len(peak), width, generator=generator))
            frequency[:, :1] = slow
            phase = torch.full_like(frequency, 2 * math.pi)
            heard = frequency
            if self.options.pass_on:
                frequency, phase = (frequency - passed[0]).clamp(min=0), (phase - passed[1]).remainder(2 * math.pi)
                heard = frequency + passed[0]
                passed = heard.mean(1, keepdim=True), (phase + passed[1]).mean(1, keepdim=True)
            values[f"amplitude_{layer}"] = torch.zeros_like(frequency)
            values[f"amplitude_{layer}"][:, :1] = 1 / heard[:, :1]
            values[f"frequency_{layer}"], values[f"phase_{layer}"] = frequency, phase

    def _random(self, target: Tensor, active: Tensor, generator: torch.Generator | None) -> dict[str, Tensor]:
        """Return random or (without a generator) equal values of all layers, with about the level of the frame."""
        rows = active.nonzero()[:, 0]
        frames = torch.cat([part.square().mean(1) for part in self.grid.frame(target)])[rows].sqrt().cpu().float()
        rate = self.times(rows, torch.zeros(len(rows)), 1, 1.0).step[:, None].float()
        values = {}
        for layer, width in enumerate(self.widths, 1):
            shape = (len(rows), width)
            drawn = [torch.full(shape, 0.5) if generator is None else torch.rand(shape, generator=generator) for _ in KINDS]
            slots = (torch.arange(width) + 0.5) / width
            frequency = slots.expand(shape) if generator is None else drawn[0]
            fastest = math.pi / rate if layer == 1 else 1 / frames[:, None].clamp(min=1e-9)
            values[f"frequency_{layer}"] = frequency * fastest
            values[f"phase_{layer}"] = 2 * math.pi * drawn[1]
            values[f"amplitude_{layer}"] = frames[:, None] * (0.5 + drawn[2]) * math.sqrt(2 / width)
        return values

    def _bank(self, partials: Partials, active: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the first layer for ``partials``; further units are silent, at random frequencies."""
        rows = active.nonzero()[:, 0]
        partials = partials.keep(active[partials.frame])
        times = self.times(rows, torch.zeros(len(rows)), 1, 1.0)
        row = torch.searchsorted(rows, partials.frame)
        slot = torch.arange(len(partials)) - torch.searchsorted(partials.frame, partials.frame)
        values = {kind: torch.zeros(len(rows), self.widths[0], dtype=torch.float64) for kind in KINDS}
        shape = values["frequency"].shape
        values["frequency"] = math.pi * torch.rand(shape, generator=generator).double() / times.step[:, None]
        values["frequency"][row, slot] = partials.frequency.double() / times.step[row]
        # a cos(d w) + b sin(d w) = A sin(d w + q) with q = atan2(a, b); d counts from the frame's middle.
        turned = torch.atan2(partials.cosine, partials.sine).double()
        half = (self.grid.frames.length[partials.frame].double() - 1) / 2
        begun = turned - partials.frequency.double() * half - values["frequency"][row, slot] * times.first[row]
        values["phase"][row, slot] = begun.remainder(2 * math.pi)
        values["amplitude"][row, slot] = torch.hypot(partials.cosine, partials.sine).double()
        return {f"{kind}_1": value.float() for kind, value in values.items()}

    def amplitudes(self) -> Tensor:
        """Return the amplitudes of all units of all layers, frame by frame: what each adds to the sum that it is part of."""
        values = self.values()
        said = torch.cat([values[f"amplitude_{layer}"] for layer in range(1, len(self.widths) + 1)], 1).flatten()
        return smooth_hypot(said, torch.zeros_like(said))

    @torch.no_grad()
    def project(self) -> None:
        """Clamp frequencies and phases to 0 or more, if they are kept positive by a projection."""
        if self.options.positive == "project":
            for one in self.declared():
                if one.is_bounded:
                    getattr(self, one.name).clamp_(min=0)

    def describe(self) -> dict[str, Tensor]:
        """Return the units: signal, frame time, layer, frequency, amplitude, phase in radians.

        ``frequency_hz`` is known of the first layer alone; ``frequency`` is in radians per unit of what the unit takes in.
        """
        values = self.values()
        times = self.times(self.active, torch.zeros(len(self.active)), 1, 1.0)
        rate = times.step[:, None] * (self.grid.sample_rate / (2 * math.pi))
        layers = []
        for layer in range(1, len(self.widths) + 1):
            frequency, phase, amplitude = (values[f"{kind}_{layer}"] for kind in KINDS)
            hz = frequency * rate if layer == 1 else torch.full_like(frequency, torch.nan)
            layers.append({"frequency_hz": hz, "amplitude": amplitude, "phase_rad": phase, "frequency": frequency})
        return self.table(layers)


def _falling(first: int) -> tuple[int, ...]:
    """Return widths that fall by equal factors from the first to 1."""
    return tuple(max(1, round(first ** (1 - layer / (LAYERS - 1)))) for layer in range(LAYERS))


class _SumOfSines(torch.autograd.Function):
    """``sum_j a_j sin(f_j x + p_j)`` for ``x [S, L]`` and ``[S, J]`` of the others; computed piece by piece, both ways."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, frequency: Tensor, phase: Tensor, amplitude: Tensor) -> Tensor:
        """Return the sum ``[S, L]``."""
        ctx.save_for_backward(x, frequency, phase, amplitude)
        ctx.save_for_forward(x, frequency, phase, amplitude)
        said = torch.empty_like(x)
        for part in _pieces(x, frequency):
            waves = torch.sin(frequency[:, :, None] * x[:, None, part] + phase[:, :, None])
            said[:, part] = torch.bmm(amplitude[:, None], waves)[:, 0]
        return said

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        """Return the gradients."""
        x, frequency, phase, amplitude = ctx.saved_tensors
        to_x = torch.empty_like(x)
        to_frequency, to_phase, to_amplitude = (torch.zeros_like(frequency) for _ in range(3))
        for part in _pieces(x, frequency):
            angle = frequency[:, :, None] * x[:, None, part] + phase[:, :, None]
            here = gradient[:, part, None]
            to_amplitude += torch.bmm(angle.sin(), here)[..., 0]
            slope = angle.cos_()
            to_phase += amplitude * torch.bmm(slope, here)[..., 0]
            to_frequency += amplitude * torch.bmm(slope, here * x[:, part, None])[..., 0]
            to_x[:, part] = gradient[:, part] * torch.bmm((amplitude * frequency)[:, None], slope)[:, 0]
        return to_x, to_frequency, to_phase, to_amplitude

    @staticmethod
    def jvp(ctx: Any, *changes: Tensor | None) -> Tensor:
        """Return the change of the sum for changes of the four tensors; None for no change."""
        x, frequency, phase, amplitude = ctx.saved_tensors
        pairs = zip(changes, ctx.saved_tensors, strict=True)
        to_x, to_frequency, to_phase, to_amplitude = (torch.zeros_like(own) if one is None else one for one, own in pairs)
        total = torch.empty_like(x)
        for part in _pieces(x, frequency):
            angle = frequency[:, :, None] * x[:, None, part] + phase[:, :, None]
            total[:, part] = torch.bmm(to_amplitude[:, None], angle.sin())[:, 0]
            slope = angle.cos_()
            total[:, part] += torch.bmm((amplitude * to_phase)[:, None], slope)[:, 0]
            total[:, part] += torch.bmm((amplitude * to_frequency)[:, None], slope)[:, 0] * x[:, part]
            total[:, part] += torch.bmm((amplitude * frequency)[:, None], slope)[:, 0] * to_x[:, part]
        return total


def _pieces(x: Tensor, frequency: Tensor) -> list[slice]:
    """Return stretches of time that are worked on at once."""
    step = max(1, CHUNK_ELEMENTS // max(1, frequency.numel()))
    return [slice(first, min(first + step, x.shape[1])) for first in range(0, x.shape[1], step)]
