"""The ``surrogate`` network: damped complex exponentials, whose gradient points the right way from far off.

The gradient of a squared error by the frequency of a sinusoid has the sign of a sine in that frequency, and so leads nowhere from
more than a bin away. Hayes, Saitis and Fazekas (2023, "Sinusoidal frequency estimation by gradient descent", ICASSP;
arXiv:2210.14476) let the sinusoid decay: ``Re(c z^n)`` with ``|z| <= 1`` is analytic in ``z``, and descent along the real and
the imaginary part of ``z`` passes through the inside of the unit circle, where waves are short and spectra wide.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ddaudio.analysis.budget import Budget
from ddaudio.analysis.matching_pursuit import pursue
from ddaudio.analysis.partials import Banks, Layout, Partials, damped_moments
from ddaudio.errors import ModelError
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.models.base import Jacobian
from ddaudio.models.partial_bank import PartialBankNetwork, smooth_hypot, trained_unit
from ddaudio.synthesis.oscillators import synthesise_frames

PARAMETERS_PER_EXPONENTIAL = 4
"""Frequency, decay, and the real and imaginary part of ``c``."""
LEAST_MODULUS = 0.1
"""Least ``|z|``: such a wave is gone after a sample or two, and at 0 it has no frequency."""


class SurrogateNetwork(PartialBankNetwork):
    """``s_f(n) = sum_k Re(c_fk z_fk^n)`` in each frame, ``n`` counted from its first sample, ``|z| <= 1``.

    ``arg z`` is the frequency and ``-log |z|`` the decay per sample; ``c = a - i b`` with cosine and sine amplitudes ``a, b`` at
    the frame's first sample. Trained are the real and the imaginary part of ``z`` in units of the frame's bins, as the
    frequency of the network ``sine``, and ``a`` and ``b``.
    """

    name = "surrogate"

    def __init__(self, grid: TimeGrid) -> None:
        super().__init__(grid)
        self.replace_partials(Partials.none(torch.zeros(0)))

    def silent(self, grid: TimeGrid) -> "SurrogateNetwork":
        """Return a network without exponentials."""
        return SurrogateNetwork(grid)

    def replace_partials(self, partials: Partials) -> None:
        """Take over partials, and set the units of their parameters; those without decay are turned to the frame's beginning."""
        partials = from_beginning(partials, self.grid)
        decay = torch.zeros_like(partials.cosine) if partials.decay is None else partials.decay
        self.layout = Layout(self.grid, partials.counts(self.grid))
        self.unit = trained_unit(partials, self.grid)
        self.step_rad = 1 / self.grid.spread.to(partials.frequency)[partials.frame]
        modulus, angle = torch.exp(-decay.double()), partials.frequency.double()
        self.real = nn.Parameter((modulus * torch.cos(angle)).to(partials.cosine) / self.step_rad)
        self.imaginary = nn.Parameter((modulus * torch.sin(angle)).to(partials.cosine) / self.step_rad)
        self.cosine = nn.Parameter(partials.cosine / self.unit)
        self.sine = nn.Parameter(partials.sine / self.unit)

    def _waves(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return frequency and decay per sample, cosine and sine amplitude of each exponential, ``[P]`` each."""
        real, imaginary = (self.real * self.step_rad).double(), (self.imaginary * self.step_rad).double()
        frequency, decay = torch.atan2(imaginary, real), -0.5 * torch.log(real.square() + imaginary.square())
        return frequency.to(self.real), decay.to(self.real), self.cosine * self.unit, self.sine * self.unit

    @property
    def partials(self) -> Partials:
        """The exponentials in natural units, cut off from the parameters; their frequencies are 0 to pi."""
        frequency, decay, cosine, sine = (part.detach() for part in self._waves())
        # z and its conjugate are the same wave.
        sine = torch.where(frequency < 0, -sine, sine)
        return Partials(self.layout.frame_of_partial, frequency.abs(), cosine, sine, decay.clamp(min=0))

    def forward(self) -> list[Tensor]:
        """Return the frames of all signals, one tensor a group of the grid."""
        frequency, decay, cosine, sine = self._waves()
        return [
            synthesise_frames(frequency[share], cosine[share], sine[share], packing, 0.0, decay[share])
            for share, packing in zip(self.layout.shares, self.layout.packings, strict=True)
        ]

    def jacobian(self) -> "SurrogateTangent":
        """Return the Jacobian at the parameters as they are."""
        return SurrogateTangent(self)

    def extend(self, target: Tensor, size: Budget) -> bool:
        """Add undamped exponentials that take away most of the residual."""
        before = self.n_prunable()
        size = replace(size, most=size.most - before)
        with torch.no_grad():
            found = pursue(target - self.estimate(), self.grid, size, rounds=2)[0]
        if len(found):
            self.replace_partials(self.partials.joined(from_beginning(found, self.grid)))
        return self.n_prunable() > before

    def amplitudes(self) -> Tensor:
        """Return the amplitude of each exponential at the frame's first sample, where it is largest."""
        return smooth_hypot(self.cosine * self.unit, self.sine * self.unit)

    def columns(self, partials: Partials) -> dict[str, Tensor]:
        """Return frequencies in Hz, decays per second and amplitudes at the beginning of the frame."""
        rate = self.grid.sample_rate
        decay = torch.zeros_like(partials.cosine) if partials.decay is None else partials.decay
        hz = partials.frequency.double() * (rate / (2 * math.pi))
        return {"frequency_hz": hz, "decay_per_s": decay.double() * rate, "cosine": partials.cosine, "sine": partials.sine}

    def from_columns(self, columns: Mapping[str, Tensor], counts: Tensor) -> Partials:
        """Return the exponentials of stored columns."""
        radians = self.checked_radians(columns["frequency_hz"], 0, self.grid.nyquist_hz)
        decay = (columns["decay_per_s"].double() / self.grid.sample_rate).float()
        most = -math.log(LEAST_MODULUS)
        if decay.numel() and not (float(decay.min()) >= 0 and float(decay.max()) <= most * (1 + 1e-6)):
            raise ModelError(f"decay_per_s must lie in 0 to {most * self.grid.sample_rate:g}")
        return Partials(self.frames_of_cells(counts), radians, columns["cosine"], columns["sine"], decay)

    @torch.no_grad()
    def project(self) -> None:
        """Keep ``z`` on the unit circle or inside, and away from 0."""
        modulus = torch.hypot(self.real.double() * self.step_rad, self.imaginary.double() * self.step_rad)
        factor = modulus.clamp(LEAST_MODULUS, 1.0) / modulus.clamp(min=1e-30)
        self.real.copy_(torch.where(modulus > 0, self.real * factor, LEAST_MODULUS / self.step_rad))
        self.imaginary.copy_(self.imaginary * factor)

    def clip_step(self, changes: Sequence[Tensor], most: float) -> list[Tensor]:
        """Keep ``z`` from jumping to the next peak, and from leaving the unit circle.

        What would lead out of the circle is growth. It is left out, and the amplitudes, which count from the frame's
        beginning, are given what it would have brought in the frame's middle.
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

    def layers(self, values: Sequence[Tensor]) -> dict[str, list[Tensor]]:
        """Return the layers ``z``, of its real and imaginary part, and ``amplitude``, of cosine and sine."""
        real, imaginary, *amplitudes = values
        return {"z": [real, imaginary], "amplitude": amplitudes} if real.numel() else {}

    def frequencies(self) -> list[Tensor]:
        """Return the exponentials' frequencies, for each of the four parameters."""
        return [self.partials.frequency] * 4


def from_beginning(partials: Partials, grid: TimeGrid) -> Partials:
    """Return partials with their phases counted from the first sample of their frames, undamped ones with a decay of 0."""
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


class SurrogateTangent(Jacobian):
    """The Jacobian of a surrogate network: ``d/dz c z^n = n c z^n / z``."""

    def __init__(self, network: SurrogateNetwork) -> None:
        frequency, decay, cosine, sine = (part.detach() for part in network._waves())
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
        """Return the energy that a change of 1 of each parameter brings into the signals, for one in its frame alone."""
        return self._squares
