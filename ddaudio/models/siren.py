"""The ``siren`` network: the published network of sines (Sitzmann et al., 2020).

"Implicit neural representations with periodic activation functions", NeurIPS 2020 (arXiv:2006.09661), and its authors' script
for audio: time as one coordinate from -100 to 100, four layers of 256 sine units ``sin(30 (W x + b))`` and a linear one,
weights from ``U(-1/n, 1/n)`` in the first layer and ``U(-sqrt(6/n)/30, sqrt(6/n)/30)`` in the others, ``n`` the inputs of the
layer, biases from ``U(-1/sqrt(n), 1/sqrt(n))``, full batches, Adam at a rate of 1e-4, 9,000 steps, and a signal scaled to a peak
of 1.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ddaudio.analysis.budget import Budget
from ddaudio.models.coordinate import CoordinateNetwork, Times
from ddaudio.models.parameters import Parameter
from ddaudio.models.partial_bank import smooth_hypot
from ddaudio.options import MOST_UNITS, SirenOptions, StartingPoint

LAYERS = 4
"""Number of layers of sine units, which are followed by a linear layer."""
WEIGHT_UNIT, PUBLISHED_WIDTH = 0.005, 256
"""Scale of weights and biases in layers of 256: the default learning rate of 0.02 is then the published 1e-4 of Adam. Narrower
layers have larger scales, since each of their weights has to change more."""
PIECE_UNITS = 1 << 26
"""Largest product of units and samples of a layer computed at once: 256 MB."""


class SirenNetwork(CoordinateNetwork):
    """``x_1 = sin(omega (W_0 t + b_0))``, ``x_{l+1} = sin(omega (W_l x_l + b_l))``, ``s = level (W x + b)`` in each frame.

    ``level``, the peak of the frame, is a parameter as well; the published signal was scaled to a peak of 1.
    """

    name = "siren"
    OPTIONS = SirenOptions
    options: SirenOptions
    FIRST_SPAN = (-100.0, 100.0)

    @classmethod
    def default_span(cls, *, whole: bool) -> str:
        """Return the time at the ends of a frame: the published range for a whole recording, a smaller one for short frames."""
        return "-100,100" if whole else "-8,8"

    @classmethod
    def default_widths(cls, n_parameters: int) -> tuple[int, ...]:
        """Return four equal layers."""
        low, high = 1, MOST_UNITS
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if cls.count((middle,) * LAYERS) <= n_parameters else (low, middle)
        return (low,) * LAYERS

    @classmethod
    def count(cls, widths: Sequence[int]) -> int:
        """Return the number of weights and biases, plus one for the level."""
        return sum((before + 1) * after for before, after in pairwise((1, *widths, 1))) + 1

    def declared(self) -> tuple[Parameter, ...]:
        """Return weights ``[out, in]`` and biases of each layer, and the level."""
        unit = WEIGHT_UNIT * PUBLISHED_WIDTH / max(self.widths)
        found: list[Parameter] = []
        for layer, (before, after) in enumerate(pairwise((1, *self.widths, 1)), 1):
            for kind, shape in (("weight", (after, before)), ("bias", (after,))):
                found.append(Parameter(f"{kind}_{layer}", kind=f"layer {layer}: {kind}", shape=shape, scale=unit))
        return (*found, Parameter("level", "full scale", linear=False))

    def output(self, time: Times, values: Mapping[str, Tensor]) -> Tensor:
        """Return the frames; long ones are computed in pieces, and recomputed for the gradient."""
        times = time.all(values["level"])
        n_frames, length = times.shape
        step = max(1, PIECE_UNITS // max(1, n_frames * max(self.widths)))
        if step >= length:
            return self._output(times, *values.values())
        pieces = [checkpoint(self._output, piece, *values.values(), use_reentrant=False) for piece in torch.split(times, step, 1)]
        return torch.cat(pieces, 1)

    def _output(self, time: Tensor, *parameters: Tensor) -> Tensor:
        """Return the frames at ``time [S, L]``."""
        *layered, level = parameters
        values = time[..., None]
        for place, (weight, bias) in enumerate(zip(layered[::2], layered[1::2], strict=True)):
            values = torch.baddbmm(bias[:, None], values, weight.transpose(1, 2))
            if place < len(self.widths):
                values = torch.sin(self.options.omega * values)
        return level[:, None] * values[..., 0]

    def initialise(self, target: Tensor, size: Budget, start: StartingPoint, generator: torch.Generator) -> None:
        """Initialise as published, at random, for any ``start``."""
        del start
        active = self.loudest(target, size.n_parameters)
        values: dict[str, Tensor] = {}
        for layer, (before, after) in enumerate(pairwise((1, *self.widths, 1)), 1):
            bound = 1.0 if layer == 1 else math.sqrt(6 / before) / self.options.omega
            shapes = {f"weight_{layer}": (bound, (after, before)), f"bias_{layer}": (1 / math.sqrt(before), (after,))}
            for name, (most, shape) in shapes.items():
                uniform = torch.rand(int(active.sum()), *shape, generator=generator)
                values[name] = (most * (2 * uniform - 1)).to(target)
        values["level"] = torch.cat([frames.abs().amax(1) for frames in self.grid.windowed(self.grid.frame(target))])[active]
        self.set_frames(active, values)

    def amplitudes(self) -> Tensor:
        """Return the amplitude of each unit of the last layer of sines in the output, frame by frame.

        The outputs of earlier layers are not related to full scale.
        """
        values = self.values()
        heard = (values["level"][:, None] * values[f"weight_{len(self.widths) + 1}"][:, 0]).flatten()
        return smooth_hypot(heard, torch.zeros_like(heard))

    def describe(self) -> dict[str, Tensor]:
        """Return the sine units: signal, frame time, layer, frequency in Hz (of the first layer), and amplitude.

        The amplitude is the root of the sum of squares of a unit's weights in the next layer; in the last layer it is
        multiplied by the level, and in full scale.
        """
        values = self.values()
        times = self.times(self.active, torch.zeros(len(self.active)), 1, 1.0)
        rate = times.step[:, None] * (self.grid.sample_rate / (2 * math.pi))
        layers = []
        for layer, width in enumerate(self.widths, 1):
            hz = values["weight_1"][..., 0].abs() * self.options.omega * rate
            amplitude = values[f"weight_{layer + 1}"].square().sum(1).sqrt()
            if layer == len(self.widths):
                amplitude = amplitude * values["level"][:, None]
            unknown = torch.full((len(self.active), width), torch.nan)
            layers.append({"frequency_hz": hz if layer == 1 else unknown, "amplitude": amplitude})
        return self.table(layers)
