"""The ``sine`` network: a bank of partials in each frame."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ddaudio.errors import ModelError
from ddaudio.grid import TimeGrid
from ddaudio.models.base import Network
from ddaudio.models.partials import Partials, equally_spaced
from ddaudio.models.pursuit import SOLVER_STEPS, Size, middle, pursue, solve_amplitudes
from ddaudio.options import StartName
from ddaudio.oscillators import synthesise_frames

NUMBERS_PER_PARTIAL = 3
"""Frequency, cosine amplitude, sine amplitude."""


class SineNetwork(Network):
    """``s_f(n) = sum_k a_fk cos(w_fk (n - m)) + b_fk sin(w_fk (n - m))`` in each frame, ``m`` its middle.

    Cosine and sine amplitudes have no phase wrap and enter linearly. Frequency is trained in bins (``2 pi / L``),
    amplitudes in units of the geometric mean of the partial's own amplitude and its frame's level: with the frame's
    level alone weak partials are thrown about, with their own alone they cannot grow.
    """

    name = "sine"

    def __init__(self, grid: TimeGrid, n_signals: int) -> None:
        super().__init__(grid, n_signals)
        self._set(Partials.none(torch.zeros(0)))

    def _set(self, partials: Partials) -> None:
        """Take over partials, and set the units of their parameters."""
        self.partial_frame = partials.frame
        self.packing = partials.packing(self.n_frames, self.grid.frame_length)
        power = partials.power.double()
        level = power.new_zeros(self.n_frames).index_add(0, partials.frame, power)
        unit = (power * level[partials.frame]).pow(0.25) * math.sqrt(2)
        # A silent partial of a random start still needs a unit to grow in: that of its silent frame is full scale.
        self.unit = torch.where(unit > 0, unit, torch.ones_like(unit)).to(partials.cosine)
        self.frequency = nn.Parameter(partials.frequency / self.bin_rad)
        self.cosine = nn.Parameter(partials.cosine / self.unit)
        self.sine = nn.Parameter(partials.sine / self.unit)

    @property
    def bin_rad(self) -> float:
        """One bin of a frame in radians per sample."""
        return 2 * math.pi / self.grid.frame_length

    @property
    def partials(self) -> Partials:
        """The partials in natural units, cut off from the parameters."""
        return Partials(
            self.partial_frame,
            self.frequency.detach() * self.bin_rad,
            self.cosine.detach() * self.unit,
            self.sine.detach() * self.unit,
        )

    def forward(self) -> Tensor:
        """Return the frames of all signals, ``[n_signals * F, L]``."""
        return synthesise_frames(
            self.frequency * self.bin_rad,
            self.cosine * self.unit,
            self.sine * self.unit,
            self.packing,
            middle(self.grid),
        )

    def frames_at(self, offset: Tensor, length: int, ratio: float) -> Tensor:
        """Return frames ``[n_signals * F, length]`` at ``ratio`` times the sample rate, without partials beyond Nyquist."""
        partials = self.partials
        partials = partials.keep(partials.frequency.double() / ratio < math.pi) if ratio < 1 else partials
        frequency = partials.frequency.double() / ratio
        # Phases count from the middle of the frame, which lies between the new samples: turn them to the first one.
        turn = frequency * (middle(self.grid) * ratio - offset[partials.frame % self.grid.n_frames])
        cos, sin = torch.cos(turn), torch.sin(turn)
        cosine, sine = partials.cosine.double(), partials.sine.double()
        packing = partials.packing(self.n_frames, length)
        columns = frequency, cosine * cos - sine * sin, sine * cos + cosine * sin
        return synthesise_frames(*columns, packing, 0.0).float()

    def guess(self, target: Tensor, size: Size, start: StartName, generator: torch.Generator) -> None:
        """Set the starting point: spectral peaks, or random or equally spaced frequencies, with least squares."""
        if start == "peaks":
            self._set(pursue(target, self.grid, size)[0])
            return
        sounding = self.grid.frame(target).abs().amax(1) > 0
        per_frame = min(size.most // max(1, int(sounding.sum())), size.most_per_frame or size.most)
        partials = equally_spaced(self.n_frames, sounding * per_frame, target)
        if start == "random":
            frequency = math.pi * torch.rand(len(partials), generator=generator).to(target)
            partials = Partials(partials.frame, frequency, partials.cosine, partials.sine)
        self._set(solve_amplitudes(partials, target, self.grid, SOLVER_STEPS)[0])

    def extend(self, target: Tensor, size: Size) -> bool:
        """Add the partials that take away most of the residual."""
        before = self.packing.n_partials
        self._set(pursue(target, self.grid, size, self.partials, rounds=2)[0])
        return self.packing.n_partials > before

    def ranked(self) -> int:
        """Return the number of partials."""
        return self.packing.n_partials

    def without_last(self, keep: int) -> "SineNetwork":
        """Return a copy with only the ``keep`` partials of highest power."""
        network = SineNetwork(self.grid, self.n_signals)
        network._set(self.partials.strongest(keep))
        return network

    def stored(self) -> dict[str, Tensor]:
        """Return partials in each frame ``[F]`` (int32), frequencies in Hz and amplitudes ``[P]`` (float32)."""
        partials = self.partials
        return {
            "partials_in_frame": self.packing.counts.to("cpu", torch.int32),
            "frequency_hz": (partials.frequency.double() * (self.grid.sample_rate / (2 * math.pi))).float().cpu(),
            "cosine": partials.cosine.float().cpu(),
            "sine": partials.sine.float().cpu(),
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over stored partials; raises `ModelError` when they do not fit the grid or are out of bounds."""
        expected = ("partials_in_frame", "frequency_hz", "cosine", "sine")
        if sorted(tensors) != sorted(expected):
            raise ModelError(f"a sine model holds the tensors {', '.join(expected)}; this file has {', '.join(sorted(tensors))}")
        counts, frequency, cosine, sine = (tensors[name] for name in expected)
        if counts.dtype != torch.int32 or counts.shape != (self.n_frames,) or bool((counts < 0).any()):
            raise ModelError(f"partials_in_frame must be {self.n_frames} whole numbers (int32), none below 0")
        n_partials = int(counts.sum())
        if any(t.dtype != torch.float32 or t.shape != (n_partials,) for t in (frequency, cosine, sine)):
            raise ModelError(f"frequency_hz, cosine and sine must be {n_partials} float32 each, as partials_in_frame says")
        if not all(bool(t.isfinite().all()) for t in (frequency, cosine, sine)):
            raise ModelError("frequency_hz, cosine and sine must be finite; this file has NaN or infinity in them")
        if n_partials and not (float(frequency.min()) >= 0 and float(frequency.max()) <= self.grid.nyquist_hz * (1 + 1e-6)):
            raise ModelError(f"frequency_hz must lie in 0 to {self.grid.nyquist_hz:g} Hz, half the sample rate")
        frame = torch.arange(self.n_frames).repeat_interleave(counts.long())
        radians = (frequency.double() * (2 * math.pi / self.grid.sample_rate)).float()
        self._set(Partials(frame, radians, cosine, sine))

    def describe(self) -> dict[str, Tensor]:
        """Return the partials: signal, frame time in seconds, frequency in Hz, amplitude, phase in radians.

        ``time_s`` is the middle of the frame and ``phase_rad`` the phase there: the partial is
        ``amplitude cos(2 pi frequency_hz (t - time_s) + phase_rad)``.
        """
        partials, grid = self.partials, self.grid
        frame = partials.frame.cpu()
        start = grid.starts.double()[frame % grid.n_frames]
        return {
            "signal": frame // grid.n_frames,
            "time_s": (start + middle(grid)) / grid.sample_rate,
            "frequency_hz": partials.frequency.double().cpu() * (grid.sample_rate / (2 * math.pi)),
            "amplitude": torch.hypot(partials.cosine, partials.sine).double().cpu(),
            "phase_rad": torch.atan2(-partials.sine, partials.cosine).double().cpu(),
        }

    @torch.no_grad()
    def project(self) -> None:
        """Keep frequencies between 0 and Nyquist: beyond, a partial is the alias of one inside."""
        self.frequency.clamp_(0, self.grid.frame_length / 2)
