"""The ``cascade`` network: an additive ladder with one wave per layer, the highest frequency first."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Self

import torch
from torch import Tensor, nn

from ddaudio.analysis.budget import Budget
from ddaudio.analysis.matching_pursuit import pursue
from ddaudio.analysis.partials import Layout, Partials, middle
from ddaudio.grid.extents import EXTENTS
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.models.base import Jacobian
from ddaudio.models.cascade import base_frequency, ladder
from ddaudio.models.cascade.jacobian import CascadeJacobian, Point
from ddaudio.models.declared import Rows
from ddaudio.models.parameters import Parameter
from ddaudio.models.partial_bank import PartialBankNetwork, partial_frames_at, phase_lead, smooth_hypot, trained_unit
from ddaudio.options import CascadeOptions, StartingPoint
from ddaudio.synthesis.oscillators import Packing, synthesise_frames

NUMBERED_LAYERS = 16
"""Number of layers with a name of their own, for rates and gradients."""
LEAST_WEIGHT = 1e-30
"""Lower bound of the weights of layers with a decay, by which amplitudes are divided."""


class CascadeNetwork(PartialBankNetwork):
    """``s_l(n) = decay activation(s_{l-1}(n)) + A_l cos(w_l (n - m) + phi_l)`` in each frame, ``s_0 = 0``, ``m`` its middle.

    Layer 1 has the highest frequency and is farthest from the output. Without activation a layer is added to the output with
    the weight ``decay^(layers after it)``. Amplitudes are scaled to the output at weight 1, so that a decay slows the learning of
    distant layers; frequencies are in bins, phases in radians.
    """

    name = "cascade"
    PARAMETERS = (
        Parameter("amplitude", "full scale", scale="level", linear=True),
        Parameter("phase", "rad"),
        Parameter("centre", "rad", kind="phase", per="frame"),
        Parameter("frequency", "Hz", scale="bin", bounds=(0, math.pi), usually_at_bounds=0.02),
        Parameter("base", "Hz", kind="frequency", per="frame", bounds=(0, math.pi)),
    )
    amplitude: nn.Parameter
    phase: nn.Parameter
    centre: nn.Parameter
    frequency: nn.Parameter
    base: nn.Parameter

    def __init__(self, grid: TimeGrid, options: CascadeOptions | None = None) -> None:
        """Create a network without layers."""
        super().__init__(grid, options or CascadeOptions())

    def declared(self) -> tuple[Parameter, ...]:
        """Return the parameters; frequencies above Nyquist have other bounds."""
        *others, frequency, base = self.PARAMETERS
        if self.options.ladder == "above-nyquist":
            frequency = replace(frequency, bounds=(math.pi, 2 * math.pi))
        unused = (-math.inf, math.inf)
        frequency = frequency if self.learns_frequency else replace(frequency, bounds=unused)
        return (*others, frequency, base if self.options.learns_base else replace(base, bounds=unused))

    def stored(self) -> tuple[Parameter, ...]:
        """Return the parameters that are used with these settings: learned frequencies or bases, and centres of phases."""
        unused = set() if self.learns_frequency else {"frequency"}
        unused |= set() if self.options.phase == "centred" else {"centre"}
        unused |= set() if self.options.learns_base else {"base"}
        amplitude, phase, centre, frequency, base = self.declared()
        return tuple(one for one in (frequency, amplitude, phase, centre, base) if one.name not in unused)

    def replace_partials(self, partials: Partials) -> None:
        """Replace all layers by partials of the output, one per layer, and set the scales of their parameters."""
        partials = self._turned(partials).falling()
        self.layout = Layout(self.grid, partials.counts(self.grid))
        count = self.layout.counts[partials.frame]
        first = (self.layout.counts.cumsum(0) - self.layout.counts)[partials.frame]
        self.rank = torch.arange(len(partials)) - first
        """Number of layers before each layer in its frame, ``[P]``."""
        after = (count - 1 - self.rank).to(partials.cosine)
        self.weight = torch.pow(self.options.layer_decay, after).clamp(min=LEAST_WEIGHT)
        unit = trained_unit(partials, self.grid)
        step = 1 / self.grid.spread.to(partials.frequency)[partials.frame]
        self.multiple = base_frequency.multiples(self.layout.counts, self.options).to(partials.cosine)
        """Frequency of each layer relative to its frame's base, ``[P]``."""
        first_layer = self.rank == 0
        largest = partials.cosine.new_ones(self.grid.n_frames).index_copy(
            0, partials.frame[first_layer], self.multiple[first_layer]
        )
        self.scales = {
            "amplitude": unit,
            "phase": 1.0,
            "centre": 1.0,
            "frequency": step if self.learns_frequency else 1.0,
            # A step of a base moves the highest frequency by a bin.
            "base": 1 / (self.grid.spread.to(largest) * largest) if self.options.learns_base else 1.0,
        }
        self.highest_base = math.pi / largest
        """Largest base of each frame without a layer above the Nyquist frequency, ``[F]``."""
        phase = torch.atan2(-partials.sine, partials.cosine)
        lead = None
        if self.options.span is not None:
            lead = phase_lead(self.grid, self.options.span, partials.frame)
            phase = _wrapped(phase - partials.frequency.double() * lead).to(phase)
        self.lead = lead
        """Samples from time 0 to the middle of each layer's frame, ``[P]`` float64; None if time 0 is the middle."""
        centre = phase.new_zeros(0)
        if self.options.phase == "centred":
            centre = ladder.centres(partials, self.grid)
            phase = phase - centre[partials.frame]
        own = torch.hypot(partials.cosine, partials.sine) / self.weight
        self.amplitude = nn.Parameter(own / unit)
        self.phase = nn.Parameter(phase)
        self.centre = nn.Parameter(centre)
        # The frequencies of a fixed ladder are not parameters.
        self.rungs = partials.frequency
        learned = partials.frequency / step if self.learns_frequency else phase.new_zeros(0)
        self.frequency = nn.Parameter(learned)
        base = phase.new_zeros(0)
        if self.options.learns_base:
            base = partials.cosine.new_zeros(self.grid.n_frames)
            base[partials.frame[first_layer]] = (partials.frequency / self.multiple)[first_layer]
        self.base = nn.Parameter(base / self.scales["base"])

    @property
    def unit(self) -> Tensor | float:
        """Scale of the amplitudes, ``[P]``."""
        return self.scales["amplitude"]

    @property
    def learns_frequency(self) -> bool:
        """Whether frequencies are parameters."""
        return bool(self.options.learns_frequency)

    def _turned(self, partials: Partials) -> Partials:
        """Convert waves of the output to trained waves or vice versa: above Nyquist they are each other's aliases.

        At a whole sample ``cos((2 pi - w) n + p) = cos(w n - p)``; the middle of a frame may be half-way between two samples.
        """
        if self.options.ladder != "above-nyquist":
            return partials
        sign = 1.0 - 2.0 * ((self.grid.frames.length[partials.frame] - 1) % 2).to(partials.cosine)
        frequency = 2 * math.pi - partials.frequency
        return replace(partials, frequency=frequency, cosine=sign * partials.cosine, sine=-sign * partials.sine)

    def _phases(self) -> Tensor:
        """Return the phase of each layer's own wave at the middle of its frame, ``[P]`` radians."""
        # Without centres their sum is 0 and keeps them in the graph, so that every parameter has a gradient.
        phase = self.phase + (self.centre[self.layout.frame_of_partial] if self.centre.numel() else self.centre.sum())
        return phase if self.lead is None else phase + (self._radians().double() * self.lead).to(phase)

    def _waves(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return radians per sample, cosine and sine amplitude of each layer's own wave, ``[P]`` each."""
        radians = self._radians()
        phase, amplitude = self._phases(), self.amplitude * self.unit
        return radians, amplitude * torch.cos(phase), -amplitude * torch.sin(phase)

    def _radians(self) -> Tensor:
        """Return the frequency of each layer's own wave, ``[P]`` radians per sample."""
        # The sums of parameters that are empty with these settings keep them in the graph.
        if self.learns_frequency:
            return self.frequency * self.step_rad + self.base.sum()
        if self.options.learns_base:
            return (self.base * self.scales["base"])[self.layout.frame_of_partial] * self.multiple + self.frequency.sum()
        return self.rungs.to(self.phase) + self.frequency.sum() + self.base.sum()

    @property
    def partials(self) -> Partials:
        """The waves in the output, without activation, in natural units, without gradients."""
        radians, cosine, sine = (part.detach() for part in self._waves())
        return self._turned(Partials(self.layout.frame_of_partial, radians, cosine * self.weight, sine * self.weight))

    def forward(self) -> list[Tensor]:
        """Return the frames of all signals, one tensor a group of the grid."""
        if self.options.activation != "none":
            return [list(self._prefixes(index))[-1] for index in range(len(self.grid.groups))]
        radians, cosine, sine = self._waves()
        cosine, sine = cosine * self.weight, sine * self.weight
        return [
            synthesise_frames(radians[share], cosine[share], sine[share], packing, middle(packing.frame_length))
            for share, packing in zip(self.layout.shares, self.layout.packings, strict=True)
        ]

    @property
    def has_local_losses(self) -> bool:
        """Whether each layer has a loss of its own."""
        return bool(self.options.local and self.rank.numel())

    @property
    def n_phases(self) -> int:
        """Number of shares of the steps: the layers, if a local cascade is trained layer by layer."""
        return int(self.layout.counts.max()) if self.has_local_losses and self.options.grow_layers else 1

    def estimates(self) -> list[Tensor]:
        """Return one estimate ``[B, T]``; with ``local`` one per layer, with a gradient only for that layer.

        In a frame with fewer layers than others the last one is repeated.
        """
        if not self.has_local_losses:
            return [self.estimate()]
        every = [list(self._prefixes(index, apart=True)) for index in range(len(self.grid.groups))]
        depth = max(map(len, every))
        layers = [[prefixes[min(layer, len(prefixes) - 1)] for prefixes in every] for layer in range(depth)]
        return [self.grid.overlap_add(self.grid.windowed(frames)) for frames in layers]

    def _prefixes(self, group: int, *, apart: bool = False) -> Iterator[Tensor]:
        """Yield the frames of a group up to each layer; with ``apart`` without gradient for the layers before it."""
        share, packing = self.layout.shares[group], self.layout.packings[group]
        waves = self._waves()
        yield from self._climb(tuple(part[share] for part in waves), packing, apart=apart)

    def _climb(self, waves: tuple[Tensor, ...], packing: Packing, *, apart: bool) -> Iterator[Tensor]:
        """Yield the output of a group's layers from the first on; frames with fewer layers are unchanged at the end."""
        radians, cosine, sine = waves
        before = cosine.new_zeros(packing.n_frames, packing.frame_length)
        first = packing.counts.cumsum(0) - packing.counts
        for layer in range(max(1, int(packing.counts.max()))):
            has = packing.counts > layer
            place = (first + layer)[has]
            single = Packing(has.long(), packing.frame_length)
            wave = synthesise_frames(radians[place], cosine[place], sine[place], single, middle(packing.frame_length))
            carried = before.detach() if apart else before
            carried = ladder.activated(carried, self.options.activation) * self.options.layer_decay
            before = torch.where(has[:, None], carried + wave, before.detach() if apart else before)
            yield before

    def jacobian(self) -> Jacobian:
        """Return the Jacobian at the current parameters; with an activation by automatic differentiation."""
        if self.options.activation != "none":
            return super().jacobian()
        radians, phase, amplitude = (part.detach() for part in (self._radians(), self._phases(), self.value("amplitude")))
        base_step, unit = self.scales["base"], torch.as_tensor(self.unit)
        return CascadeJacobian(
            Point(
                self.layout,
                radians,
                phase,
                amplitude * self.weight,
                self.weight * unit,
                torch.as_tensor(self.step_rad) if self.learns_frequency else None,
                base_step[self.layout.frame_of_partial] * self.multiple if isinstance(base_step, Tensor) else None,
                self.centre.numel() > 0,
                self.lead,
            )
        )

    def initialise(self, target: Tensor, size: Budget, start: StartingPoint, generator: torch.Generator) -> None:
        """Initialise from peaks or the rungs of the ladder by least squares, jointly or layer by layer."""
        size = self._affordable(size)
        if self.options.learns_base:
            self.replace_partials(base_frequency.climb_from_base(target, self.grid, size, self.options))
        elif not self.learns_frequency:
            self.replace_partials(ladder.climb(target, self.grid, size, self.options))
        elif self.options.greedy:
            self.replace_partials(ladder.greedy_peaks(target, self.grid, size))
        else:
            super().initialise(target, size, start, generator)

    def extend(self, target: Tensor, size: Budget) -> bool:
        """Add the layers that reduce the residual most; nothing can be added to a fixed ladder."""
        if not self.learns_frequency:
            return False
        before = self.n_prunable()
        if self.options.activation == "none":
            found = pursue(target, self.grid, self._affordable(size), self.partials, 2, self.weighting)[0]
        else:
            with torch.no_grad():
                left = target - self.estimate()
            size = self._affordable(size)
            found = self.partials.joined(
                pursue(left, self.grid, replace(size, most=size.most - before), None, 2, self.weighting)[0]
            )
        self.replace_partials(found)
        return self.n_prunable() > before

    def _affordable(self, size: Budget) -> Budget:
        """Return the size with a limit on layers instead of parameters."""
        if size.n_parameters is None:
            return size
        spare = size.n_parameters - self.grid.n_frames * ((self.options.phase == "centred") + self.options.learns_base)
        return replace(size, most=max(0, spare) // (3 if self.learns_frequency else 2))

    def component_energies(self) -> Tensor:
        """Return the energy of each layer; empty for a fixed ladder, of which no rung can be pruned."""
        return super().component_energies() if self.learns_frequency else self.phase.new_zeros(0)

    def n_components(self) -> int:
        """Return the number of layers of all frames."""
        return self.phase.numel()

    def frames_at_rate(self, group: int, offset: Tensor, length: int, ratio: float) -> Tensor:
        """Return the frames of a group at ``ratio`` times the sample rate, without waves beyond Nyquist.

        A wave above Nyquist is rendered as its alias at every rate, which is what was fitted.
        """
        if self.options.activation == "none":
            return super().frames_at_rate(group, offset, length, ratio)
        share, counts = self.layout.shares[group], self.layout.packings[group].counts
        partials, rank = self.partials, self.rank[share]
        own = replace(partials, cosine=partials.cosine / self.weight, sine=partials.sine / self.weight)
        own = own.keep(torch.arange(len(own))[share])
        total = torch.zeros(offset.numel(), length)
        for layer in range(int(counts.max()) if counts.numel() else 0):
            wave = partial_frames_at(own.keep(rank == layer), self.grid, group, offset, length, ratio)
            carried = ladder.activated(total, self.options.activation) * self.options.layer_decay
            total = torch.where((counts > layer)[:, None], carried + wave, total)
        return total

    def amplitudes(self) -> Tensor:
        """Return the amplitude of each layer's wave in the output, without activation."""
        heard = self.amplitude * self.unit * self.weight
        return smooth_hypot(heard, torch.zeros_like(heard))

    def natural(self) -> dict[str, Tensor]:
        """Return amplitude, phase and frequency of each layer, centre and base of each frame, without gradients."""
        centre = self.centre if self.centre.numel() else self.phase.new_zeros(self.grid.n_frames)
        frequency = self._turned(self.partials).frequency
        amplitude = self.amplitude * self.unit
        base = self.base * self.scales["base"]
        phase = self.phase.detach()
        if self.lead is not None:
            phase = _wrapped(phase + self._radians().detach().double() * self.lead).to(phase)
        values = {"frequency": frequency, "amplitude": amplitude, "phase": phase, "centre": centre, "base": base}
        return {one.name: values[one.name].detach() for one in self.stored()}

    def set_components(self, counts: Tensor, values: Mapping[str, Tensor]) -> None:
        """Replace all layers by others with given natural values."""
        frame = torch.arange(counts.numel()).repeat_interleave(counts)
        if self.learns_frequency:
            radians = values["frequency"]
        elif self.options.learns_base:
            radians = values["base"][frame] * base_frequency.multiples(counts, self.options)
        else:
            radians = ladder.rungs(counts, self.options, self.grid.sample_rate)
        phase = values["phase"] + (values["centre"][frame] if "centre" in values else 0.0)
        rank = torch.arange(frame.numel()) - (counts.cumsum(0) - counts)[frame]
        weight = torch.pow(self.options.layer_decay, (counts[frame] - 1 - rank).float()).clamp(min=LEAST_WEIGHT)
        heard = values["amplitude"] * weight
        self.replace_partials(self._turned(Partials(frame, radians, heard * torch.cos(phase), -heard * torch.sin(phase))))

    def assembled(self, grid: TimeGrid, rows: Sequence[Rows]) -> Self:
        """Return a network on ``grid`` with layers of other networks, as in their output, since decays depend on other layers."""
        network = self.silent(grid)
        each = [(piece, kept, frame) for piece, kept, frame in rows if isinstance(piece, CascadeNetwork)]
        first, *others = [replace(piece.partials.keep(kept), frame=frame) for piece, kept, frame in each]
        network.replace_partials(first.keep(torch.argsort(first.frame, stable=True)).joined(*others))
        return network

    @torch.no_grad()
    def project(self) -> None:
        """Clamp parameters to their bounds, and bases so that no layer is above the Nyquist frequency."""
        super().project()
        if self.options.learns_base:
            self.base.copy_(torch.minimum(self.base * self.scales["base"], self.highest_base) / self.scales["base"])

    def layers(self, values: Sequence[Tensor]) -> dict[str, list[Tensor]]:
        """Return the values by kind of parameter and layer, such as ``amplitude, layer 1``.

        Layers after the 16th are one group, ``amplitude, layer 17 and later``; values of frames have no number.
        """
        group = self.rank.clamp(max=NUMBERED_LAYERS)
        found: dict[str, list[Tensor]] = {}
        for one, value in zip(self.declared(), values, strict=True):
            if one.per == "frame" or not value.numel():
                found.setdefault(one.layer, []).append(value)
                continue
            for number in torch.unique(group).tolist():
                name = f"layer {number + 1}" + " and later" * (number == NUMBERED_LAYERS)
                found.setdefault(f"{one.layer}, {name}", []).append(value[group == number])
        return {layer: parts for layer, parts in found.items() if any(part.numel() for part in parts)}

    def describe(self) -> dict[str, Tensor]:
        """Return the waves of the output; above Nyquist ``frequency_hz`` is the alias, ``true_frequency_hz`` the wave's own.

        Phases are those of the alias. See `PartialBankNetwork.describe` for the other columns.
        """
        table = super().describe()
        if self.options.ladder != "above-nyquist":
            return table
        own = {name: table.pop(name) for name in EXTENTS}
        return table | {"true_frequency_hz": self.sample_rate - table["frequency_hz"]} | own

    def wave_frequencies(self) -> Tensor:
        """Return the frequency of each layer's own wave."""
        return self._waves()[0].detach()


def _wrapped(phase: Tensor) -> Tensor:
    """Return phases from -pi to pi."""
    return torch.remainder(phase + math.pi, 2 * math.pi) - math.pi
