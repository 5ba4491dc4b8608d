"""Base class of networks of partials, which are found at spectral peaks, ranked and pruned."""

import math
from typing import Any

import torch
from torch import Tensor

from ddaudio.analysis.budget import Budget
from ddaudio.analysis.by_descent import descended
from ddaudio.analysis.linking import energy_in_tracks, link
from ddaudio.analysis.matching_pursuit import SOLVER_STEPS, pursue, solve_amplitudes
from ddaudio.analysis.partials import Partials, equally_spaced, middle
from ddaudio.grid.extents import extents, reference_times
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.models.declared import DeclaredNetwork
from ddaudio.models.parameters import Parameter, level_scale
from ddaudio.options import StartingPoint
from ddaudio.options.span import span_ends
from ddaudio.synthesis.oscillators import Packing, synthesise_frames

FREQUENCY = Parameter("frequency", "Hz", scale="bin", bounds=(0, math.pi), usually_at_bounds=0.02)
"""Real recordings have up to 1.5 % of their partials at 0 Hz or the Nyquist frequency, most of them none."""
COSINE = Parameter("cosine", "full scale", kind="amplitude", scale="level", linear=True)
SINE = Parameter("sine", "full scale", kind="amplitude", scale="level", linear=True)


class PartialBankNetwork(DeclaredNetwork):
    """A network whose frames are sums of partials, with ``frequency``, ``cosine``, ``sine`` and possibly ``decay``."""

    COUNTS = "partials_in_cell"

    def __init__(self, grid: TimeGrid, options: Any = None) -> None:
        """Create a network without partials."""
        super().__init__(grid, options)
        self.replace_partials(Partials.none(torch.zeros(0)))

    @property
    def partials(self) -> Partials:
        """The partials in natural units, without gradients."""
        return Partials(self.layout.frame_of_partial, **self.natural())

    def replace_partials(self, partials: Partials) -> None:
        """Replace all partials, and set the scales of their parameters."""
        values = {one.name: getattr(partials, one.name) for one in self.stored()}
        self.set_components(partials.counts(self.grid), values)

    @property
    def unit(self) -> Tensor | float:
        """Scale of the amplitudes, ``[P]``."""
        return self.scales["cosine"]

    @property
    def step_rad(self) -> Tensor | float:
        """Scale of the frequencies in radians per sample, ``[P]``."""
        return self.scales["frequency"]

    def forward(self) -> list[Tensor]:
        """Return the frames of all signals, one tensor a group of the grid."""
        values = self.values()
        frequency, cosine, sine, decay = (values.get(name) for name in ("frequency", "cosine", "sine", "decay"))
        assert frequency is not None and cosine is not None and sine is not None  # noqa: PT018
        return [
            synthesise_frames(
                frequency[share],
                cosine[share],
                sine[share],
                packing,
                middle(packing.frame_length) if decay is None else 0.0,
                None if decay is None else decay[share],
            )
            for share, packing in zip(self.layout.shares, self.layout.packings, strict=True)
        ]

    def initialise(self, target: Tensor, size: Budget, start: StartingPoint, generator: torch.Generator) -> None:
        """Initialise frequencies (from peaks, at random, equally spaced, or by an estimator), and amplitudes by least squares."""
        if start == "peaks":
            self.replace_partials(pursue(target, self.grid, size, weighting=self.weighting)[0])
            return
        counts = per_frame(target, self.grid, size)
        partials = equally_spaced(counts, target)
        if start == "random":
            frequency = math.pi * torch.rand(len(partials), generator=generator).to(target)
            partials = Partials(partials.frame, frequency, partials.cosine, partials.sine)
        elif start != "equal":
            partials = descended(target, self.grid, counts, start, generator)
        self.replace_partials(solve_amplitudes(partials, target, self.grid, SOLVER_STEPS)[0])

    def component_energies(self) -> Tensor:
        """Return the energy of each partial."""
        return self.partials.energy(self.grid)

    def amplitudes(self) -> Tensor:
        """Return the amplitude of each partial; for damped ones at the first sample of its frame."""
        return smooth_hypot(self.value("cosine"), self.value("sine"))

    def frames_at_rate(self, group: int, offset: Tensor, length: int, ratio: float) -> Tensor:
        """Return the frames of a group at ``ratio`` times the sample rate, without partials above the Nyquist frequency."""
        share = torch.zeros(self.layout.frame_of_partial.numel(), dtype=torch.bool)
        share[self.layout.shares[group]] = True
        return partial_frames_at(self.partials.keep(share), self.grid, group, offset, length, ratio)

    def tracks(self) -> Tensor:
        """Return the track of each partial, ``[P]`` int64; see `ddaudio.analysis.linking.link`."""
        return link(self.partials, self.grid)

    def facts(self) -> dict[str, Any]:
        """Return facts about the frames, the number of tracks, and the share of energy in tracks of three cells or more."""
        track = self.tracks()
        share = energy_in_tracks(track, self.component_energies().detach())
        return {**super().facts(), "tracks": int(track.max()) + 1 if len(track) else 0, "energy_in_tracks": share}

    def describe(self) -> dict[str, Tensor]:
        """Return the partials: signal, track, frame time in seconds, frequency in Hz, amplitude, phase in radians.

        Partials of one ``track`` continue each other, see `ddaudio.analysis.linking.link`.
        ``time_s`` is a time within the sound, and ``phase_rad`` the phase at that time: the partial is
        ``amplitude cos(2 pi frequency_hz (t - time_s) + phase_rad)``; damped ones also have a ``decay_per_s``. The last
        columns are those of `ddaudio.grid.extents.extents`. In the order of signal, then time.
        """
        grid, cell = self.grid, self.grid.order[self.layout.frame_of_partial]
        partials = self.partials.keep(torch.argsort(cell, stable=True))
        frame, radians = partials.frame, partials.frequency.double().cpu()
        cosine, sine = partials.cosine.double().cpu(), partials.sine.double().cpu()
        begin, amplitude = grid.start[frame].double(), torch.hypot(cosine, sine)
        if partials.decay is None:
            origin, time, decays = begin + (grid.frames.length[frame].double() - 1) / 2, reference_times(grid, frame), {}
        else:
            # The first frame of a signal begins before the signal.
            origin, time, decay = begin, begin.clamp(min=0), partials.decay.double().cpu()
            amplitude = amplitude * torch.exp(-decay * (time - origin))
            decays = {"decay_per_s": decay * grid.sample_rate}
        table = {
            "signal": grid.frames.signal[frame],
            "track": link(partials, grid),
            "time_s": time / grid.sample_rate,
            "frequency_hz": radians * (grid.sample_rate / (2 * math.pi)),
            "amplitude": amplitude,
            "phase_rad": torch.remainder(torch.atan2(-sine, cosine) + radians * (time - origin) + math.pi, 2 * math.pi) - math.pi,
        }
        return table | decays | extents(grid, frame)


def phase_lead(grid: TimeGrid, span: str | None, frame: Tensor) -> Tensor:
    """Return how many samples time 0 is before the middle of each frame, for frames ``frame [P]``, float64; see `span_ends`."""
    last = (grid.frames.length[frame].double() - 1).clamp(min=1)
    low, high = span_ends(span) or (0.0, 1.0)
    return last * (0.5 * (low + high) / (high - low))


def smooth_hypot(cosine: Tensor, sine: Tensor) -> Tensor:
    """Return ``sqrt(a^2 + b^2)`` with a finite gradient everywhere; 1e-12 for silent waves."""
    # The root has no gradient at 0, hence the tiny addend.
    return (cosine.square() + sine.square() + 1e-24).sqrt()


def trained_unit(partials: Partials, grid: TimeGrid) -> Tensor:
    """Return the scale of each partial's amplitudes, ``[P]``; see `level_scale`."""
    return level_scale(partials.power, partials.frame, grid.n_frames)


def per_frame(target: Tensor, grid: TimeGrid, size: Budget) -> Tensor:
    """Return equal numbers of partials for the frames of ``target [B, T]`` that are not silent, within ``size``, ``[F]``."""
    sounding = torch.cat([frames.abs().amax(1) > 0 for frames in grid.frame(target)])
    return sounding * min(size.most // max(1, int(sounding.sum())), size.most_per_frame or size.most)


def partial_frames_at(partials: Partials, grid: TimeGrid, group: int, offset: Tensor, length: int, ratio: float) -> Tensor:
    """Return the frames ``[N, length]`` of one group's partials at another rate; see `FramedNetwork.frames_at_rate`."""
    frames, frame_length = grid.groups[group].frames, grid.groups[group].length
    if ratio < 1:
        partials = partials.keep(partials.frequency.double() / ratio < math.pi)
    frame = partials.frame - frames.start
    frequency = partials.frequency.double() / ratio
    decay = None if partials.decay is None else partials.decay.double() / ratio
    # Phases are relative to the middle of the frame (damped: its first sample), which is between the new samples.
    behind = (middle(frame_length) if decay is None else 0.0) * ratio - offset[frame]
    turn = frequency * behind
    cos, sin = torch.cos(turn), torch.sin(turn)
    if decay is not None:
        lifted = torch.exp(decay * behind)
        cos, sin = cos * lifted, sin * lifted
    cosine, sine = partials.cosine.double(), partials.sine.double()
    packing = Packing(torch.bincount(frame, minlength=offset.numel()), length)
    sums = cosine * cos - sine * sin, sine * cos + cosine * sin
    return synthesise_frames(frequency, *sums, packing, 0.0, decay).float()
