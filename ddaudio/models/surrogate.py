"""The ``surrogate`` network: damped complex exponentials, whose gradient is informative far from the solution.

The gradient of the squared error with respect to the frequency of a sinusoid oscillates with that frequency, and is uninformative
more than a bin away. Hayes, Saitis and Fazekas (2023, "Sinusoidal frequency estimation by gradient descent", ICASSP;
arXiv:2210.14476) use a decaying sinusoid: ``Re(c z^n)`` with ``|z| <= 1`` is analytic in ``z``, and descent on the real and
imaginary part of ``z`` passes through the inside of the unit circle, where waves are short and spectra wide.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ddaudio.analysis.budget import Budget
from ddaudio.analysis.matching_pursuit import pursue
from ddaudio.analysis.partials import Banks, Partials, damped_moments
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.models.base import Jacobian
from ddaudio.models.parameters import Parameter
from ddaudio.models.partial_bank import COSINE, FREQUENCY, SINE, PartialBankNetwork
from ddaudio.options import StartingPoint, SurrogateOptions
from ddaudio.options.surrogate import FAR_DAMPING_PER_SAMPLE

PARAMETERS_PER_EXPONENTIAL = 4
"""Frequency, decay, and the real and imaginary part of ``c``."""
TRAVEL_RAD, TRAVEL_LEVEL = 0.1, 2.5
"""Scales of both parts of ``z``, and of amplitudes relative to the level of their frame, for initial frequencies that are not
those of the sound: with the default learning rate of 0.02 a step is up to 0.002 radians, and 3,000 steps cross the whole band."""
LEAST_MODULUS = 0.1
"""Lower bound of ``|z|``: such a wave lasts for a sample or two, and at 0 its frequency is undefined."""


class SurrogateNetwork(PartialBankNetwork):
    """``s_f(n) = sum_k Re(c_fk z_fk^n)`` in each frame, ``n`` counted from its first sample, ``|z| <= 1``.

    ``arg z`` is the frequency and ``-log |z|`` the decay per sample; ``c = a - i b`` with cosine and sine amplitudes ``a, b`` at
    the frame's first sample. The trained parameters are the real and imaginary part of ``z`` in units of the frame's bins, like
    the frequency of the network ``sine``, and ``a`` and ``b``; files contain frequency, decay, ``a`` and ``b``.
    """

    name = "surrogate"
    PARAMETERS = (
        Parameter("real", kind="z", scale="bin"),
        Parameter("imaginary", kind="z", scale="bin"),
        COSINE,
        SINE,
    )
    real: nn.Parameter
    imaginary: nn.Parameter
    cosine: nn.Parameter
    sine: nn.Parameter
    STORED = (FREQUENCY, Parameter("decay", "1/s", bounds=(0, -math.log(LEAST_MODULUS))), COSINE, SINE)

    is_far = False
    """Whether frequencies are initial ones that are not those of the sound."""

    def __init__(self, grid: TimeGrid, options: SurrogateOptions | None = None) -> None:
        """Create a network without exponentials."""
        super().__init__(grid, options or SurrogateOptions())

    def stored(self) -> tuple[Parameter, ...]:
        """Return frequency and decay instead of ``z``."""
        return self.STORED

    def replace_partials(self, partials: Partials) -> None:
        """Replace all exponentials; phases of partials without decay are converted to the first sample of their frame."""
        super().replace_partials(from_beginning(partials, self.grid))

    def set_components(self, counts: Tensor, values: Mapping[str, Tensor]) -> None:
        """Replace all parameters; frequencies and decays ``[P]`` are converted to ``z``."""
        modulus, angle = torch.exp(-values["decay"].double()), values["frequency"].double()
        real, imaginary = ((modulus * part(angle)).to(values["cosine"]) for part in (torch.cos, torch.sin))
        self.is_far = False
        super().set_components(counts, {**values, "real": real, "imaginary": imaginary})

    def initialise(self, target: Tensor, size: Budget, start: StartingPoint, generator: torch.Generator) -> None:
        """Initialise frequencies and amplitudes as the other networks of partials, with the damping of the settings.

        Frequencies that are random or equally spaced have a way to go: scales are then those of the band and of the frame's level
        (see `TRAVEL_RAD`), not those of a bin and of the initial amplitude, until the components are next changed.
        """
        super().initialise(target, size, start, generator)
        damping = self.options.damping_per_sample
        damping = damping if damping is not None else 0.0 if start == "peaks" else FAR_DAMPING_PER_SAMPLE
        if damping:
            self.replace_partials(replace(self.partials, decay=torch.full_like(self.partials.cosine, damping)))
        if start != "peaks":
            self._travel(target)

    def _travel(self, target: Tensor) -> None:
        """Set the scales to those of `TRAVEL_RAD` and `TRAVEL_LEVEL`, which changes no natural value."""
        values = {one.name: self.value(one.name).detach() for one in self.declared()}
        mean_squares = torch.cat([frames.square().mean(1) for frames in self.grid.frame(target)])
        level = (2 * mean_squares).sqrt().to(values["cosine"])[self.layout.frame_of_partial]
        level = torch.where(level > 0, level, torch.ones_like(level))
        step = torch.full_like(level, TRAVEL_RAD)
        self.scales |= {"real": step, "imaginary": step, "cosine": TRAVEL_LEVEL * level, "sine": TRAVEL_LEVEL * level}
        for name, value in values.items():
            setattr(self, name, nn.Parameter(self.to_trained(name, value)))
        self.is_far = True

    @property
    def step_rad(self) -> Tensor | float:
        """Scale of both parts of ``z``, ``[P]``."""
        return self.scales["real"]

    def values(self) -> dict[str, Tensor]:
        """Return frequency and decay per sample, cosine and sine amplitude of each exponential, ``[P]`` each."""
        real, imaginary = self.value("real").double(), self.value("imaginary").double()
        frequency, decay = torch.atan2(imaginary, real), -0.5 * torch.log(real.square() + imaginary.square())
        return {
            "frequency": frequency.to(self.real),
            "decay": decay.to(self.real),
            "cosine": self.value("cosine"),
            "sine": self.value("sine"),
        }

    def natural(self) -> dict[str, Tensor]:
        """Return the same without gradients, with frequencies of 0 to pi."""
        frequency, decay, cosine, sine = (part.detach() for part in self.values().values())
        # z and its conjugate are the same wave.
        sine = torch.where(frequency < 0, -sine, sine)
        return {"frequency": frequency.abs(), "decay": decay.clamp(min=0), "cosine": cosine, "sine": sine}

    def jacobian(self) -> "SurrogateJacobian":
        """Return the Jacobian at the current parameters."""
        return SurrogateJacobian(self)

    def extend(self, target: Tensor, size: Budget) -> bool:
        """Add undamped exponentials that reduce the residual most."""
        before = self.n_prunable()
        size = replace(size, most=size.most - before)
        with torch.no_grad():
            found = pursue(target - self.estimate(), self.grid, size, rounds=2, weighting=self.weighting)[0]
        if len(found):
            self.replace_partials(self.partials.joined(from_beginning(found, self.grid)))
        return self.n_prunable() > before

    @torch.no_grad()
    def project(self) -> None:
        """Project ``z`` onto the unit disc, away from 0."""
        modulus = torch.hypot(self.real.double() * self.step_rad, self.imaginary.double() * self.step_rad)
        factor = modulus.clamp(LEAST_MODULUS, 1.0) / modulus.clamp(min=1e-30)
        self.real.copy_(torch.where(modulus > 0, self.real * factor, LEAST_MODULUS / self.step_rad))
        self.imaginary.copy_(self.imaginary * factor)

    def clip_step(self, changes: Sequence[Tensor], most: float) -> list[Tensor]:
        """Limit the steps of ``z``, so that it neither jumps to the next peak nor leaves the unit disc.

        The radial part of a step out of the disc is removed. It would have been exponential growth; the amplitudes, which are
        relative to the frame's beginning, are increased by the value of that growth in the middle of the frame.
        """
        real, imaginary, cosine, sine = changes
        real, imaginary = real.clamp(-most, most), imaginary.clamp(-most, most)
        here = torch.complex(self.real.detach(), self.imaginary.detach())
        modulus, circle = here.abs().clamp(min=LEAST_MODULUS), 1 / self.step_rad
        outward = (here.real * real + here.imag * imaginary) / modulus
        excess = torch.minimum(outward, modulus + outward - circle).clamp(min=0) / modulus
        half = (self.grid.frames.length[self.layout.frame_of_partial].to(excess) - 1) / 2
        grown = excess * half
        return [
            real - excess * here.real,
            imaginary - excess * here.imag,
            cosine + grown * self.cosine.detach(),
            sine + grown * self.sine.detach(),
        ]


def from_beginning(partials: Partials, grid: TimeGrid) -> Partials:
    """Return partials with phases relative to the first sample of their frames; undamped ones get a decay of 0."""
    if partials.decay is not None:
        return partials
    turn = partials.frequency.double() * (grid.frames.length[partials.frame].double() - 1) / 2
    cos, sin = torch.cos(turn), torch.sin(turn)
    cosine, sine = partials.cosine.double(), partials.sine.double()
    return replace(
        partials,
        cosine=(cosine * cos - sine * sin).to(partials.cosine),
        sine=(cosine * sin + sine * cos).to(partials.cosine),
        decay=torch.zeros_like(partials.cosine),
    )


class SurrogateJacobian(Jacobian):
    """The Jacobian of a surrogate network: ``d/dz c z^n = n c z^n / z``."""

    def __init__(self, network: SurrogateNetwork) -> None:
        frequency, decay, cosine, sine = (part.detach() for part in network.values().values())
        self._grid, self._unit = network.grid, network.unit
        self._banks = Banks(frequency, network.layout, decay)
        # c z^n / z has the amplitude c / z: with a - i b = c, its real and negative imaginary part.
        modulus = torch.exp(-decay)
        real, imaginary = torch.cos(frequency) / modulus, -torch.sin(frequency) / modulus
        self._turned = (
            (cosine * real + sine * imaginary) * network.step_rad,
            (sine * real - cosine * imaginary) * network.step_rad,
        )
        plain, weighted = damped_moments(decay, network.layout)
        slope = (self._turned[0].square() + self._turned[1].square()) / 2 * weighted
        self._squares = [slope, slope, plain / 2 * self._unit**2, plain / 2 * self._unit**2]

    def forward(self, changes: Sequence[Tensor]) -> Tensor:
        """Return the change of the signals for changes of both parts of ``z``, cosine and sine amplitudes."""
        real, imaginary, cosine, sine = changes
        a, b = self._turned
        # The real part of (a - i b) (x + i y) e^(i w n) is (a x + b y) cos - (a y - b x) sin.
        slope = a * real + b * imaginary, b * real - a * imaginary
        return self._banks.weighted_signals((cosine * self._unit, sine * self._unit), slope)

    def adjoint(self, signals: Tensor) -> list[Tensor]:
        """Return the gradients for both parts of ``z``, cosine and sine amplitudes."""
        (cosine, sine), (tilted_cosine, tilted_sine) = self._banks.weighted_adjoint(self._grid.frame_adjoint(signals))
        a, b = self._turned
        real, imaginary = a * tilted_cosine + b * tilted_sine, b * tilted_cosine - a * tilted_sine
        return [real, imaginary, cosine * self._unit, sine * self._unit]

    def squares(self) -> list[Tensor]:
        """Return the squared norms of the columns, with ``cos^2`` and ``sin^2`` replaced by their mean, 1/2."""
        return self._squares
