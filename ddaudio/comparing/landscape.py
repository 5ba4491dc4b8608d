"""Landscapes: a loss as a function of one frequency, or of two, around the truth.

Everything except the frequencies under study is held at its true value: amplitudes, phases at the middle of the excerpt, and
all other partials. Besides losses, these objectives of the frequency estimators (`analysis.frequencies`) can be drawn; in them
amplitudes are solved for:

- ``windows:N``: residual of least-squares sinusoids in windows of ``N`` samples; ``windows`` uses the whole excerpt,
- ``surrogate``: residual of least-squares damped sinusoids, at the best damping for each frequency,
- ``annihilating-filter``: residual of notch filters in their shortest windows,
- ``optimal-transport``: cost of transporting the power spectrum onto the frequencies.
"""

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ddaudio.analysis.annihilating_filter import Notches
from ddaudio.analysis.budget import Budget
from ddaudio.analysis.growing_windows import EDGE, Windows, grow
from ddaudio.analysis.matching_pursuit import pursue
from ddaudio.analysis.optimal_transport import spectrum, transport_cost
from ddaudio.errors import OptionError, RecordingError, nearest
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.io.audio import Recording
from ddaudio.io.checks import check_rate
from ddaudio.losses import make_loss
from ddaudio.options import LOSSES, parse_loss

IDEAS = ("windows", "windows:512", "windows:64", "surrogate", "annihilating-filter", "optimal-transport")
"""Objectives that can be drawn besides losses; ``windows`` accepts any other length, too."""
PLAIN_LOSSES = tuple(name for name, spec in LOSSES.items() if not spec.required)
"""Losses whose name needs no variant."""
ALL = (*PLAIN_LOSSES, *IDEAS)
"""Losses and objectives drawn by default."""
PARTIALS = 16
"""Largest number of partials that model a recording."""
SHORTEST, LONGEST = 64, 1 << 20
"""Range of the length of an excerpt, in samples."""
MOST_POINTS = {1: 2001, 2: 61}
"""Largest number of points per axis, by number of axes."""
POINTS_PER_BIN = 8
NEAR_BINS = {1: 16, 2: 8}
"""Default distance to both sides, in bins, by number of axes."""
APART = 4
"""Preferred distance between the two partials of a recording that are varied, in bins."""
BLOCK_ELEMENTS = 1 << 21
"""Largest number of samples computed at once."""
DAMPINGS = (0.0, *(2.0**power for power in range(-1, 11)))
"""Dampings ``d`` tried for the surrogate: ``exp(-d n / N)`` over ``N`` samples."""


@dataclass(frozen=True)
class Scene:
    """A signal whose partials are known, of which one or two frequencies are varied.

    Phases are relative to the middle of the signal; frequencies are in radians per sample; those that are varied come first.
    """

    target: Tensor
    """``[N]`` float64."""
    sample_rate: int
    moving: int
    """Number of frequencies that are varied, 1 or 2."""
    frequency: Tensor
    """``[K]``."""
    cosine: Tensor
    sine: Tensor

    def estimates(self, frequency: Tensor) -> Tensor:
        """Return the signals ``[P, N]`` whose first frequencies are replaced by ``frequency [P, moving]``."""
        return self._waves(frequency, slice(0, self.moving)).sum(1) + self.rest

    @property
    def rest(self) -> Tensor:
        """Sum of the partials that are not varied, ``[N]``."""
        fixed = slice(self.moving, None)
        return self._waves(self.frequency[None, fixed], fixed).sum(1)[0]

    def _waves(self, frequency: Tensor, which: slice) -> Tensor:
        times = torch.arange(len(self.target), dtype=torch.float64) - (len(self.target) - 1) / 2
        phase = frequency[..., None] * times
        return self.cosine[which, None] * phase.cos() + self.sine[which, None] * phase.sin()


@dataclass(frozen=True)
class Landscape:
    """Losses as functions of one or two frequencies."""

    truth_hz: tuple[float, ...]
    """True values of the frequencies that were varied, in Hz: one or two."""
    axes_hz: tuple[Tensor, ...]
    """Values along each axis in Hz, ``[P]`` each."""
    values: dict[str, Tensor]
    """Each loss by name, ``[P]`` or ``[P, P]``; the first dimension is the first frequency."""
    bin_hz: float
    """Frequency resolution in Hz: sample rate divided by the number of samples."""

    def csv(self) -> str:
        """Return a CSV table with a row per point: frequencies in Hz, then each loss."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        count = len(self.axes_hz)
        writer.writerow([*(["hz"] if count == 1 else ["hz_1", "hz_2"]), *self.values])
        mesh = torch.meshgrid(*self.axes_hz, indexing="ij")
        columns = [*(part.flatten().tolist() for part in mesh), *(part.flatten().tolist() for part in self.values.values())]
        writer.writerows([f"{value:.9g}" for value in row] for row in zip(*columns, strict=True))
        return stream.getvalue()


def scene_of_tones(hz: Sequence[float], sample_rate: int, n_samples: int, moving: int = 1) -> Scene:
    """Return sinusoids of amplitude 1 with phases 0, 1, 2, ... radians at the middle; the first ``moving`` are varied.

    Raises `OptionError` if a frequency is not between 0 and Nyquist, too few are given, or sizes are out of range.
    """
    _check_stretch(n_samples)
    check_rate(sample_rate)
    nyquist_hz = sample_rate / 2
    for one in hz:
        if not 0 < one < nyquist_hz:
            raise OptionError(setting="tone", value=one, allowed=f"above 0 and below {nyquist_hz:g} Hz, half the sample rate")
    _check_moving(moving, len(hz), "give as many tones")
    frequency = torch.tensor(hz, dtype=torch.float64) * (2 * math.pi / sample_rate)
    phase = torch.arange(len(hz), dtype=torch.float64)
    scene = Scene(torch.zeros(n_samples, dtype=torch.float64), sample_rate, moving, frequency, phase.cos(), -phase.sin())
    return Scene(scene.estimates(frequency[None, :moving])[0], *list(vars(scene).values())[1:])


def scene_of_recording(recording: Recording, n_samples: int = 4096, moving: int = 1) -> Scene:
    """Return the loudest excerpt of a recording with its strongest partials, of which the first ``moving`` are varied.

    Raises `RecordingError` when it is silent or too short, `OptionError` when sizes are out of range.
    """
    _check_stretch(n_samples)
    _check_moving(moving, PARTIALS)
    if not recording.energy > 0:
        raise RecordingError(
            f"{recording.source!r} is silent: it has no frequency to show", hint="give another recording, or a {tone}"
        )
    length = min(n_samples, recording.n_samples)
    if length < SHORTEST:
        raise RecordingError(f"{recording.source!r} has {length} samples", allowed=f"{SHORTEST} samples or more")
    sound = torch.as_tensor(recording.samples[:, :]).double()
    energy = torch.nn.functional.pad(sound.square().cumsum(1), (1, 0))
    channel, first = divmod(int((energy[:, length:] - energy[:, :-length]).argmax()), recording.n_samples - length + 1)
    target = sound[channel, first : first + length]
    grid = TimeGrid.of_sizes(recording.sample_rate, length, [[length]])
    partials, _ = pursue(target[None].float(), grid, Budget(PARTIALS, most_per_frame=min(PARTIALS, length // 16)))
    frequency = grow(target[None], partials.frequency.double()[None], length)[0].clamp(EDGE, math.pi - EDGE)
    phase = (torch.arange(length, dtype=torch.float64) - (length - 1) / 2)[:, None] * frequency
    solved = torch.linalg.lstsq(torch.cat([phase.cos(), phase.sin()], 1), target[:, None], driver="gelsd").solution[:, 0]
    cosine, sine = solved.chunk(2)
    order = torch.hypot(cosine, sine).argsort(descending=True)
    _check_moving(moving, len(order))
    # Two partials in one valley would show nothing: the second is the strongest one that is well separated from the first.
    apart = (frequency[order] - frequency[order[0]]).abs() >= APART * 2 * math.pi / length
    order = torch.cat([order[:1], order[1:][apart[1:]], order[1:][~apart[1:]]])
    return Scene(target, recording.sample_rate, moving, frequency[order], cosine[order], sine[order])


def _check_stretch(n_samples: int) -> None:
    if not SHORTEST <= n_samples <= LONGEST:
        raise OptionError(setting="samples", value=n_samples, allowed=f"{SHORTEST} to {LONGEST}")


def _check_moving(moving: int, there: int, advice: str | None = None) -> None:
    if moving not in (1, 2) or moving > there:
        raise OptionError(f"of {there}", setting="frequencies", value=moving, allowed=f"1 to {min(2, there)}", hint=advice)


def landscape(scene: Scene, names: Sequence[str] = ALL, span_hz: float | None = None) -> Landscape:
    """Compute losses around the true frequencies.

    Args:
        scene: the signal and its partials.
        names: names of losses and of `IDEAS`.
        span_hz: distance to both sides; default: 16 bins (8 for two frequencies), less where 0 or Nyquist is nearer.

    Raises:
        OptionError: a name is unknown (the nearest one is suggested) or repeated, or the span exceeds 0 to Nyquist.

    """
    for name in names:
        _check_name(name, scene)
    if not names or len(set(names)) < len(names):
        raise OptionError(setting="losses", value=",".join(names), allowed="one or more, each once")
    to_hz = scene.sample_rate / (2 * math.pi)
    truth_hz = tuple((scene.frequency[: scene.moving] * to_hz).tolist())
    nyquist_hz, bin_hz = scene.sample_rate / 2, scene.sample_rate / len(scene.target)
    room_hz = min(min(one, nyquist_hz - one) for one in truth_hz)
    span_hz = min(NEAR_BINS[scene.moving] * bin_hz, room_hz) if span_hz is None else span_hz
    if not 0 < span_hz <= room_hz * (1 + 1e-9):
        where = " and ".join(f"{one:.6g}" for one in truth_hz)
        raise OptionError(
            f"around {where} Hz",
            setting="span",
            value=span_hz,
            allowed=f"above 0, up to {room_hz:.6g} Hz: within 0 and the Nyquist frequency",
        )
    half = min((MOST_POINTS[scene.moving] - 1) // 2, max(20, math.ceil(POINTS_PER_BIN * span_hz / bin_hz)))
    step = torch.linspace(-1, 1, 2 * half + 1, dtype=torch.float64) * span_hz
    axes = tuple(one + step for one in truth_hz)
    points = torch.cartesian_prod(*axes).reshape(-1, scene.moving) / to_hz
    shape = [2 * half + 1] * scene.moving
    rows = max(1, BLOCK_ELEMENTS // len(scene.target))
    values = {}
    for name in names:
        measure = _measure(name, scene)
        values[name] = torch.cat([measure(block).double() for block in points.split(rows)]).reshape(shape)  # type: ignore[no-untyped-call]
    return Landscape(truth_hz, axes, values, bin_hz)


def _check_name(name: str, scene: Scene) -> None:
    kind, _, length = name.partition(":")
    if kind in LOSSES:
        parse_loss(name)
        return
    if name in IDEAS:
        return
    if kind != "windows":
        raise OptionError("which is unknown", setting="losses", value=name, verb="names", hint=nearest(name, (*LOSSES, *IDEAS)))
    least = 4 * scene.moving + 2
    if not length.isdecimal() or not least <= int(length) <= len(scene.target):
        raise OptionError(
            setting="losses",
            value=name,
            verb="names",
            allowed=f"windows of {least} to {len(scene.target)} samples, as in windows:512",
        )


def loss_of(name: str, sample_rate: int) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a loss as used for evaluation: a function of estimate and target ``[B, T]`` at ``sample_rate`` Hz to ``[B]``."""
    return make_loss(name, sample_rate)


def _measure(name: str, scene: Scene) -> Callable[[Tensor], Tensor]:
    """Return a function that maps frequencies ``[P, moving]`` to values ``[P]``."""
    if name.partition(":")[0] in LOSSES:
        # As in a fit, signals are divided by the target's level: weights, the Huber delta and floors keep their meaning.
        loss, scale = loss_of(name, scene.sample_rate), scene.target.square().mean().rsqrt()
        target = (scene.target * scale).float()

        def by_loss(frequency: Tensor) -> Tensor:
            """Return the loss of the signal with the given frequencies."""
            estimate = (scene.estimates(frequency) * scale).float()
            return loss(estimate, target.expand_as(estimate))

        return by_loss
    alone = (scene.target - scene.rest)[None]
    if name == "surrogate":
        return lambda frequency: _surrogate(alone, frequency)
    if name == "annihilating-filter":
        problem = Notches(alone, scene.moving)
        return lambda frequency: problem.normal(frequency.cos()).energy
    if name == "optimal-transport":
        power = spectrum(alone)
        return lambda frequency: transport_cost(frequency, power.expand(len(frequency), -1))
    length = min(int(name.partition(":")[2] or alone.shape[1]), alone.shape[1])
    windows = Windows(alone, length)
    return lambda frequency: windows.normal(frequency.clamp(EDGE, math.pi - EDGE)).energy / alone.shape[1]


def _surrogate(target: Tensor, frequency: Tensor) -> Tensor:
    """Return the smallest mean squared residual of ``target [1, N]`` after fitting damped sinusoids, over all `DAMPINGS`."""
    n_samples = target.shape[1]
    times = torch.arange(n_samples, dtype=torch.float64)
    phase = frequency.clamp(EDGE, math.pi - EDGE)[..., None] * times
    waves = torch.cat([phase.cos(), phase.sin()], 1)
    left = []
    for damping in DAMPINGS:
        basis = torch.linalg.qr((waves * torch.exp(-damping / n_samples * times)).transpose(1, 2))[0]
        taken = (target @ basis).square().sum((1, 2))
        left.append((target.square().sum() - taken) / n_samples)
    return torch.stack(left).amin(0)
