"""The network of tracks: its parameters, its file, its synthesis."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from ddaudio.analysis.budget import Budget
from ddaudio.errors import ModelError
from ddaudio.models.base import AtBounds, Jacobian, SampleRanges, Signals, Term
from ddaudio.models.framed import ceil_at
from ddaudio.models.parameters import Parameter
from ddaudio.models.tracks.growing import PER_KNOT, grown
from ddaudio.models.tracks.knots import Tracks
from ddaudio.models.tracks.packing import pack_knots, unpack_knots
from ddaudio.models.tracks.thinning import thinned
from ddaudio.options import NetworkOptions
from ddaudio.options.tracks import TracksOptions
from ddaudio.synthesis.tracks import Knots, TrackJacobian, check_knots, render_tracks

STEP_S = 0.0015
"""Distance of the places at which knots can be: half of the shortest cells, so that blocks begin at such places."""
LEAST_RAD = 1e-6
"""Distance of frequencies from 0 and from the Nyquist frequency, in radians per sample: 0.007 Hz at 44.1 kHz."""
AMPLITUDE = Parameter("amplitude", "full scale", scale="level", bounds=(0, math.inf), linear=True)
FREQUENCY = Parameter("frequency", "Hz", bounds=(LEAST_RAD, math.pi - LEAST_RAD), usually_at_bounds=0.02)
PHASE = Parameter("phase", "rad")
PARAMETERS = (AMPLITUDE, FREQUENCY, PHASE)
"""What each knot has beside its place; trained in this order."""
PIECE_SAMPLES = 1 << 21
"""Samples of all signals that are rendered at once."""


class TracksNetwork(Term):
    """Partials that are followed over time.

    A track has knots, each with an amplitude, a frequency and a phase; between two of them the amplitude is linear, and the phase
    the smoothest cubic polynomial that has both phases and frequencies (McAulay and Quatieri, 1986, "Speech analysis/synthesis
    based on a sinusoidal representation", IEEE Trans. ASSP 34(4)).

    Args:
        signals: rate and shape of its signals.
        options: settings (default: those of `TracksOptions`).
        tracks: the tracks, with positions on the lattice (default: none).
        step: distance of the places of the lattice in samples (default: that of `lattice_step`).

    """

    name = "tracks"
    amplitude: nn.Parameter
    frequency: nn.Parameter
    phase: nn.Parameter

    def __init__(
        self,
        signals: Signals,
        options: TracksOptions | None = None,
        tracks: Tracks | None = None,
        step: int | None = None,
    ) -> None:
        super().__init__()
        self.signals, self.options = signals, options or TracksOptions()
        self.step = lattice_step(signals.sample_rate) if step is None else step
        """Distance of the places of the lattice in samples."""
        self.replace_tracks(Tracks.none() if tracks is None else tracks)

    @property
    def sample_rate(self) -> int:
        """Samples per second."""
        return self.signals.sample_rate

    @property
    def shape(self) -> tuple[int, int]:
        """Number of signals and their length."""
        return self.signals.n_signals, self.signals.n_samples

    @property
    def is_log(self) -> bool:
        """Whether amplitudes are linear in level between knots."""
        return self.options.levels == "log"

    def replace_tracks(self, tracks: Tracks) -> None:
        """Replace all tracks, and set the scales of their parameters."""
        tracks = tracks.in_order()
        knots = tracks.knots
        self._counts, self._position, self._signal = knots.counts, knots.position, tracks.signal
        self.scales = _scales(tracks)
        for one, scale in zip(PARAMETERS, self.scales, strict=True):
            setattr(self, one.name, nn.Parameter((getattr(knots, one.name).double() / scale).float()))

    def _values(self) -> list[Tensor]:
        """Return amplitudes, frequencies and phases in natural units, float64, with their gradients."""
        return [value.double() * scale for value, scale in zip(self.parameters(), self.scales, strict=True)]

    @property
    def knots(self) -> Knots:
        """The knots in natural units, float64, with gradients."""
        return Knots(self._counts, self._position, *self._values())

    @property
    @torch.no_grad()
    def tracks(self) -> Tracks:
        """The tracks in natural units, without gradients."""
        return Tracks(self.knots, self._signal, self.is_log)

    def estimate(self) -> Tensor:
        """Return the signals ``[B, T]``."""
        knots = self.knots
        return render_tracks(
            knots._replace(amplitude=knots.amplitude.to(self.amplitude)), self._signal, self.shape, log_amplitude=self.is_log
        )

    def jacobian(self) -> "TracksJacobian":
        """Return the Jacobian, with the number of turns of each segment fixed."""
        return TracksJacobian(self)

    @torch.no_grad()
    def pieces(self, sample_rate: int, seed: int = 0) -> Iterator[Tensor]:  # noqa: ARG002 - tracks are not random
        """Yield the signals piece by piece at a sample rate in Hz; see `Term.pieces`."""
        ratio = sample_rate / self.sample_rate
        tracks = self.tracks
        if ratio < 1:
            tracks = tracks.split(tracks.knots.frequency / ratio < math.pi)
        knots = tracks.knots._replace(position=tracks.knots.position * ratio, frequency=tracks.knots.frequency / ratio)
        n_samples, length = ceil_at(self.shape[1], sample_rate, self.sample_rate), max(1, PIECE_SAMPLES // self.shape[0])
        tracks = Tracks(knots, tracks.signal, self.is_log)
        for first in range(0, n_samples, length):
            part = tracks.within(first, first + length)
            own = part.knots._replace(amplitude=part.knots.amplitude.float())
            shape = self.shape[0], min(length, n_samples - first)
            yield render_tracks(own, part.signal, shape, first, log_amplitude=self.is_log)

    def component_energies(self) -> Tensor:
        """Return by how much the signal changes if each knot is left out, as an energy, ``[K]``."""
        return self.tracks.removal_energies()

    def amplitudes(self) -> Tensor:
        """Return the amplitude of each knot."""
        return self._values()[0].float()

    def pruned(self, keep: int) -> "TracksNetwork":
        """Return a copy with ``keep`` knots at most, in which those are left out without which the signal changes least."""
        return TracksNetwork(self.signals, self.options, thinned(self.tracks, keep), self.step)

    def fitted_to(self, n_parameters: int) -> "TracksNetwork":
        """Return the network, pruned as far as it has more than ``n_parameters``."""
        network = self
        while network.n_components() and (more := network.n_parameters() - n_parameters) > 0:
            network = network.pruned(network.n_components() - math.ceil(more / PER_KNOT))
        return network

    @torch.no_grad()
    def extend(self, target: Tensor, size: Budget) -> bool:
        """Add knots to tracks, and tracks, that model the residual of ``target`` best per parameter, within ``size``."""
        before = self.tracks
        room = size.most - before.n_knots
        if size.n_parameters is not None:
            room = min(room, int((size.n_parameters - self.n_parameters()) / PER_KNOT))
        self.replace_tracks(grown(before, target - self.estimate(), self.sample_rate, self.step, room))
        return self.n_prunable() > before.n_knots

    def to_tensors(self) -> dict[str, Tensor]:
        """Return amplitudes, frequencies in Hz, phases, and the packed places of the knots."""
        values = dict(zip(PARAMETERS, self.tracks.knots[2:], strict=True))
        values[PHASE] = torch.remainder(values[PHASE], 2 * math.pi)
        columns = {one.column: one.in_units(value, self.sample_rate).float().cpu() for one, value in values.items()}
        place = (self._position / self.step).round().long()
        return columns | {"place": pack_knots(self._signal, self._counts, place, self.shape[0])}

    def from_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Set everything from the result of `to_tensors`; raises `ModelError` when the tensors do not fit."""
        names = [*(one.column for one in PARAMETERS), "place"]
        if sorted(tensors) != sorted(names):
            raise ModelError(f"a tracks model holds the tensors {', '.join(names)}; this file has {', '.join(sorted(tensors))}")
        n_knots = tensors[AMPLITUDE.column].numel()
        signal, counts, place = unpack_knots(tensors["place"], self.shape[0], n_knots)
        if len(place) and int(place.max()) > math.ceil(self.shape[1] / self.step):
            raise ModelError(f"place must be within the {self.shape[1]} samples of the signals")
        columns = []
        for one in PARAMETERS:
            values = tensors[one.column]
            if values.dtype != torch.float32 or values.shape != (n_knots,) or not bool(values.isfinite().all()):
                raise ModelError(f"{one.column} must be {n_knots} finite float32")
            # Validated in the units of files; converted in float64.
            one.from_units(values, self.sample_rate)
            columns.append(values.double() / one.factor(self.sample_rate))
        columns[1] = columns[1].clamp(*FREQUENCY.bounds)
        knots = Knots(counts, place.double() * self.step, *columns)
        check_knots(knots, signal, self.shape[0], ModelError)
        self.replace_tracks(Tracks(knots, signal))

    def division(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return the distance of the places of knots."""
        return {"step": self.step}, {}

    @classmethod
    def restored(
        cls,
        signals: Signals,
        division: Mapping[str, Any],
        options: NetworkOptions,
        tensors: dict[str, Tensor],
    ) -> Self:
        """Return the network of a file; see `Term.restored`."""
        if not isinstance(options, TracksOptions):
            raise TypeError("these are not the settings of tracks")
        step = division["step"]
        if type(step) is not int or step < 1:
            raise ValueError(f"step is {step!r:.50}; allowed: 1 or more")
        network = cls(signals, options, step=step)
        network.from_tensors(tensors)
        return network

    def ranges_of_rows(self) -> list[SampleRanges]:
        """Return the samples from the knot before to the knot after each one."""
        tracks = self.tracks
        position, owner, every = tracks.knots.position, tracks.owner, torch.arange(tracks.n_knots)
        ends = tracks.knots.counts.cumsum(0)
        before = torch.maximum(every - 1, (ends - tracks.knots.counts)[owner])
        after = torch.minimum(every + 1, (ends - 1)[owner])
        first = position[before].long()
        return [SampleRanges(tracks.signal[owner], first, position[after].long() + 1 - first)] * len(PARAMETERS)

    def settings(self) -> dict[str, Any]:
        """Return the settings needed to recreate the network."""
        return self.options.table()

    def facts(self) -> dict[str, Any]:
        """Return the number of tracks, and the distance of the places of their knots."""
        return {"tracks": len(self._signal), "step_s": self.step / self.sample_rate}

    def size_in_words(self) -> str:
        """Return the number of tracks and of knots."""
        return f"{len(self._signal)} tracks with {self.n_components()} knots"

    def describe(self) -> dict[str, Tensor]:
        """Return the knots: signal, time, frequency in Hz, amplitude, phase and number of their track.

        From one knot of a track to the next, the amplitude is linear in time (or in level), and the phase is a cubic polynomial.
        The last columns are the part of the track that a knot stands for, as a cell of time: it fades in from the knot before,
        and out to the next one. In the order of signal, track, and time.
        """
        tracks, rate = self.tracks, self.sample_rate
        knots, left, position = tracks.knots, tracks.lefts, tracks.knots.position / rate
        start, end = position.clone(), position.clone()
        fades = torch.zeros(2, tracks.n_knots, dtype=torch.float64)
        fades[0, left + 1] = fades[1, left] = position[left + 1] - position[left]
        start -= fades[0] / 2
        end += fades[1] / 2
        return {
            "signal": tracks.signal[tracks.owner],
            "time_s": position,
            "frequency_hz": knots.frequency * (rate / (2 * math.pi)),
            "amplitude": knots.amplitude,
            "phase_rad": torch.remainder(knots.phase + math.pi, 2 * math.pi) - math.pi,
            "track": tracks.owner,
            "start_s": start,
            "end_s": end.clamp(max=self.shape[1] / rate),
            "fade_in_s": fades[0],
            "fade_out_s": fades[1],
        }

    @torch.no_grad()
    def project(self) -> None:
        """Clamp amplitudes and frequencies to their bounds."""
        self.amplitude.clamp_(min=0)
        low, high = ((bound / self.scales[1]).float() for bound in FREQUENCY.bounds)
        self.frequency.copy_(self.frequency.clamp(low, high))

    def clip_step(self, changes: Sequence[Tensor], most: float) -> list[Tensor]:
        """Limit the changes of frequencies and phases to ``most`` of their scales."""
        pairs = zip(PARAMETERS, changes, strict=True)
        return [change if one.linear else change.clamp(-most, most) for one, change in pairs]

    def layers(self, values: Sequence[Tensor]) -> dict[str, list[Tensor]]:
        """Return the values by kind of parameter."""
        return {one.layer: [value] for one, value in zip(PARAMETERS, values, strict=True) if value.numel()}

    def frequencies(self) -> list[Tensor]:
        """Return the frequency of each value's knot."""
        return [self.tracks.knots.frequency.float()] * len(PARAMETERS)

    def amplitudes_of_values(self) -> list[Tensor]:
        """Return the amplitude of each value's knot."""
        return [self.amplitudes().detach()] * len(PARAMETERS)

    def natural_steps(self) -> list[Tensor]:
        """Return the scales of the trained values, in the units of files."""
        return [(scale * one.factor(self.sample_rate)).float() for one, scale in zip(PARAMETERS, self.scales, strict=True)]

    def at_bounds(self) -> AtBounds:
        """Return how many frequencies are at 0 Hz or the Nyquist frequency."""
        held = FREQUENCY.at_bounds(self.tracks.knots.frequency)
        where = f"values of frequency are at {FREQUENCY.bounds_text(self.sample_rate)}"
        return AtBounds(held, self.n_components(), where, FREQUENCY.usually_at_bounds or 0.0)


class TracksJacobian(Jacobian):
    """The Jacobian of tracks by their trained values."""

    def __init__(self, network: TracksNetwork) -> None:
        tracks = network.tracks
        self._scales, self._like = network.scales, network.amplitude.detach()
        knots = tracks.knots._replace(amplitude=tracks.knots.amplitude.to(self._like))
        self._jacobian = TrackJacobian(knots, tracks.signal, network.shape, log_amplitude=network.is_log)

    def forward(self, changes: Sequence[Tensor]) -> Tensor:
        """Return the change of the signals ``[B, T]``."""
        pairs = zip(changes, self._scales, strict=True)
        return self._jacobian.forward([change * scale for change, scale in pairs]).to(self._like)

    def adjoint(self, signals: Tensor) -> list[Tensor]:
        """Return the gradients of amplitudes, frequencies and phases."""
        pairs = zip(self._jacobian.adjoint(signals), self._scales, strict=True)
        return [(part * scale).to(self._like) for part, scale in pairs]

    def squares(self) -> list[Tensor]:
        """Return the squared norms of the columns."""
        pairs = zip(self._jacobian.squares(), self._scales, strict=True)
        return [(part * scale.square()).to(self._like) for part, scale in pairs]


def lattice_step(sample_rate: int) -> int:
    """Return the distance of the places at which knots can be, in samples."""
    return max(4, round(STEP_S * sample_rate))


def _scales(tracks: Tracks) -> list[Tensor]:
    """Return the scales of amplitudes, frequencies and phases, ``[K]`` float64: a step of 1 means about equally much in each.

    They are the geometric mean of a knot's own amplitude and that of its track, the inverse of the length of its segments, and 1.
    """
    knots, owner, left = tracks.knots, tracks.owner, tracks.lefts
    squares = torch.zeros(len(tracks.signal), dtype=torch.float64).index_add(0, owner, knots.amplitude.square())
    level = (knots.amplitude * (squares / knots.counts).sqrt()[owner]).sqrt()
    length = knots.position[left + 1] - knots.position[left]
    around = torch.zeros(tracks.n_knots, dtype=torch.float64).index_add(0, left, length).index_add(0, left + 1, length)
    segments = torch.zeros(tracks.n_knots, dtype=torch.float64)
    segments = segments.index_add(0, left, torch.ones_like(length)).index_add(0, left + 1, torch.ones_like(length))
    return [torch.where(level > 0, level, 1.0), segments / around, torch.ones_like(level)]
