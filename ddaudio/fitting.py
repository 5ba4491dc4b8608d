"""``fit``: from a recording to a trained network, its estimate and what it is worth."""

import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ddaudio import audio
from ddaudio.audio import Recording
from ddaudio.errors import RecordingError
from ddaudio.framing import allowance, choose_frame_s, grid_for, size_for
from ddaudio.losses import LONGEST_CROPS_S, Objective
from ddaudio.mdct import MdctBaseline, best_k_snr
from ddaudio.metrics import Metrics, measure
from ddaudio.models import NETWORKS, NUMBERS_PER_PARTIAL, Network, Size
from ddaudio.options import FitOptions, parse_terms
from ddaudio.training import LOOKS, Progress, ProgressCallback, Training, train

NOT_FITTED_DB = 0.5
"""Below this SNR the model says no more than silence does."""
EXPECTED_GAIN_DB = 1.0
"""The starting point stops this far short of the goal: training brings about as much."""
MOST_EXTENSIONS = 4
"""Times that partials are added when training stays short of the goal."""
WORSE_BY_DB = 3.0
"""A fit that much worse than its baseline is doubtful."""
LOUDEST_PEAK = 1e6
"""Samples beyond this are no sound: their squares would leave float32."""
CLIPPED_SHARE = 1e-4
"""Share of samples in clipped runs from which on the input counts as clipped."""


@dataclass(frozen=True)
class FitResult:
    """Everything that a fit found out. Immutable; `ddaudio.save_fit` writes it to a folder."""

    recording: Recording
    """What was fitted."""
    options: FitOptions
    """The settings as resolved: a frame length that was chosen by trial is filled in."""
    network: Network
    """The trained network, at the best point that the judge saw."""
    estimate: Tensor
    """What the network says, ``[C, T]`` float32."""
    status: str
    """How training ended: converged, step limit, diverged, stopped, not trained; or not fitted."""
    reason: str
    """The status in a sentence."""
    doubts: tuple[str, ...]
    """What may be wrong with this fit, in sentences; the gravest first."""
    stages: tuple[Training, ...]
    """Training runs: the first, and one for each time that partials were added."""
    metrics: Metrics
    """Distances between estimate and recording, each defined in `ddaudio.metrics.DEFINITIONS`."""
    baseline: MdctBaseline
    """What the best-k MDCT reaches with as many numbers."""
    seconds: dict[str, float]
    """Wall time of each part of the fit."""

    @property
    def residual(self) -> Tensor:
        """Recording minus estimate, ``[C, T]``."""
        return self.recording.samples - self.estimate

    @property
    def numbers(self) -> int:
        """How many numbers the model stores."""
        return self.network.numbers()

    @property
    def numbers_per_sample(self) -> float:
        """Numbers over the samples of all channels."""
        return self.numbers / self.recording.samples.numel()

    @property
    def snr_db(self) -> float | None:
        """SNR in dB; None where it is undefined (silence, or an exact fit)."""
        return self.metrics["snr_db"].value

    @property
    def reached_goal(self) -> bool:
        """Whether the SNR aimed at was reached; an exact fit reaches every goal."""
        snr_db, residual = self.snr_db, self.metrics["mse"].value
        return residual == 0 or (snr_db is not None and snr_db >= self.options.model.target_snr_db)

    @property
    def training_gain_db(self) -> float | None:
        """SNR that training added, over all stages, not counting what added partials brought; None where undefined."""
        gains = [(run.best.snr_db, run.looks[0].snr_db) for run in self.stages]
        known = [after - before for after, before in gains if after is not None and before is not None]
        return sum(known) if known and len(known) == len(gains) else None


def fit(
    recording: Recording | str | os.PathLike[str],
    options: FitOptions | None = None,
    *,
    progress: ProgressCallback | None = None,
    **settings: Any,
) -> FitResult:
    """Fit a recording with a network of sinusoids.

    Args:
        recording: a `Recording`, or the path of a file to read.
        options: all settings (default: ``FitOptions()``).
        progress: told how far the fit is; silent without.
        **settings: single settings by name, such as ``target_snr_db=30``; they replace those in ``options``.

    Returns:
        The fit, always: one that failed to converge, or says no more than silence, tells so in ``status``.

    Raises:
        RecordingError: the recording cannot be read.
        OptionError: a setting is unknown, out of range, or leaves no room for a single partial.

    Example:
        >>> tone = Recording(torch.sin(torch.arange(8000) / 5)[None], sample_rate=8000)
        >>> result = fit(tone, target_snr_db=40)
        >>> result.snr_db > 40, result.status
        (True, 'converged')

    """
    options = (options or FitOptions()).with_settings(settings)
    if not isinstance(recording, Recording):
        recording = audio.read(recording, options.input.sample_rate)
    elif options.input.sample_rate is not None:
        recording = audio.resample(recording, options.input.sample_rate)
    tell = progress or _silent
    clock = _Clock()
    target = recording.samples
    peak = float(target.abs().max())
    if peak > LOUDEST_PEAK:
        raise RecordingError(f"{recording.source!r} peaks at {peak:g}; allowed is {LOUDEST_PEAK:g}: scale it to full scale 1")
    tell(Progress("choosing the frame length", 0, 0, math.nan, math.nan))
    frame_s = choose_frame_s(target, recording.sample_rate, options)
    options = replace(options, grid=replace(options.grid, frame_s=frame_s))
    grid = grid_for(target, recording.sample_rate, frame_s, options.grid)
    size = size_for(target, grid, options.model)
    clock.lap("frame_length")
    tell(Progress("finding the starting point", 0, 0, math.nan, math.nan))
    network = NETWORKS[options.model.model](grid, recording.n_channels)
    generator = torch.Generator().manual_seed(options.training.seed)
    network.guess(target, _short_of(size), options.model.start, generator)
    clock.lap("start")
    network, stages = _train_to_goal(network, target, size, options, tell)
    clock.lap("training")
    tell(Progress("measuring", 0, 0, math.nan, math.nan))
    with torch.no_grad():
        estimate = network.estimate()
    metrics = measure(estimate, target, recording.sample_rate)
    baseline = best_k_snr(target, network.numbers())
    clock.lap("measuring")
    status, reason = _verdict(stages, metrics)
    doubts = tuple(_doubts(recording, options, status, reason, metrics, baseline, network))
    return FitResult(
        recording, options, network, estimate, status, reason, doubts, tuple(stages), metrics, baseline, clock.seconds
    )


def _silent(_: Progress) -> None:
    """Tell nobody."""


class _Clock:
    """Wall time, lap by lap."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Note the seconds since the lap before, under a name."""
        now = time.perf_counter()
        self.seconds[name] = now - self._last
        self._last = now


def _short_of(size: Size) -> Size:
    """Return ``size`` with its goal lowered by what training is expected to bring."""
    return replace(size, goal_energy=size.goal_energy * 10 ** (EXPECTED_GAIN_DB / 10))


def _train_to_goal(
    network: Network, target: Tensor, size: Size, options: FitOptions, tell: ProgressCallback
) -> tuple[Network, list[Training]]:
    """Train; where that stays short of the goal, add partials and train on; leave out what the goal does not need."""
    sample_rate, training = network.grid.sample_rate, options.training
    crop_samples = max(1, round(training.crop_s * sample_rate))
    most_crops = max(1, round(LONGEST_CROPS_S / training.crop_s))
    objective = Objective(parse_terms(training.losses), target, crop_samples, most_crops)
    stages = [train(network, target, objective, training, tell)]
    later = replace(training, steps=math.ceil(training.steps / 2))
    try:
        for _ in range(MOST_EXTENSIONS if size.goal_energy else 0):
            if stages[-1].status == "stopped" or _left_over(network, target) <= size.goal_energy:
                break
            if not network.extend(target, size):
                break
            stages.append(train(network, target, objective, later, tell))
        # What is trimmed and measured from here on has gone through a file's units and rounding once.
        network.restore(network.stored())
        if size.goal_energy:
            network = _trimmed(network, target, size.goal_energy)
    except KeyboardInterrupt:
        stages[-1].status = "stopped"
    return network, stages


def _left_over(network: Network, target: Tensor) -> float:
    with torch.no_grad():
        return float((target - network.estimate()).double().square().sum())


def _trimmed(network: Network, target: Tensor, goal_energy: float) -> Network:
    """Return ``network`` without the weakest parts that the goal does not need.

    What is kept reaches the goal, and misses it with its own weakest part left out: the bisection holds this at every
    step. A network that does not reach the goal stays whole.
    """
    if _left_over(network, target) > goal_energy:
        return network
    misses, reaches = -1, network.ranked()
    while reaches - misses > 1:
        half = (misses + reaches) // 2
        if _left_over(network.without_last(half), target) <= goal_energy:
            reaches = half
        else:
            misses = half
    return network.without_last(reaches)


def _verdict(stages: list[Training], metrics: Metrics) -> tuple[str, str]:
    """Return the status of a fit and a sentence that explains it."""
    snr_db, steps = metrics["snr_db"].value, sum(run.looks[-1].step for run in stages)
    if metrics["snr_db"].reason is not None:
        return "converged", f"Nothing is left to fit: {metrics['snr_db'].reason}."
    if snr_db is not None and snr_db < NOT_FITTED_DB:
        return "not fitted", f"The SNR is {snr_db:.1f} dB: the model says hardly more than silence does."
    status = stages[-1].status
    sentences = {
        "converged": f"The loss was level at the end of {steps} steps.",
        "step limit": _at_step_limit(stages[-1], steps),
        "diverged": "The loss grew beyond bounds; the best point before that was kept. Lower the learning rate.",
        "stopped": f"Stopped after {steps} steps; the best point until then was kept.",
        "not trained": "The network stands at its starting point.",
    }
    return status, sentences[status]


def _at_step_limit(run: Training, steps: int) -> str:
    before, last = run.looks[max(0, len(run.looks) - 1 - LOOKS)], run.looks[-1]
    if last.total < before.total:
        return f"The loss still fell at the last of {steps} steps; more steps would bring more."
    return f"The loss rose over the last of {steps} steps; the best point was kept. Lower the learning rate."


def _doubts(
    recording: Recording,
    options: FitOptions,
    status: str,
    reason: str,
    metrics: Metrics,
    baseline: MdctBaseline,
    network: Network,
) -> Iterator[str]:
    """Yield what may be wrong, the gravest first."""
    snr_db, model = metrics["snr_db"].value, options.model
    has_goal = model.numbers is None and model.partials is None
    missed = has_goal and snr_db is not None and snr_db < model.target_snr_db
    if status in ("not fitted", "diverged", "stopped"):
        yield f"{status}: {reason.rstrip('.')}"
    if missed and snr_db is not None:
        cap = allowance(model, recording.n_channels, recording.n_samples)
        at_cap = network.numbers() + NUMBERS_PER_PARTIAL > cap
        spent = network.numbers() / recording.samples.numel()
        size = f"at the cap of {model.max_numbers_per_sample:g}" if at_cap and network.numbers() <= cap else f"with {spent:.3g}"
        yield f"goal missed: {snr_db:.1f} of {model.target_snr_db:g} dB {size} numbers per sample"
    if status == "step limit" and (missed or not has_goal):
        yield f"{status}: {reason.rstrip('.')}"
    if snr_db is not None and baseline.snr_db is not None and baseline.snr_db > snr_db + WORSE_BY_DB:
        yield f"poor value: the best-k MDCT is {baseline.snr_db - snr_db:.0f} dB better with as many numbers"
    if recording.truncated:
        promised = f" of {recording.declared_samples}" if recording.declared_samples > recording.n_samples else ""
        yield (
            f"input cut short: the file ends after {recording.n_samples}{promised} samples, before its own end mark or "
            "declared length; what is there was fitted"
        )
    if recording.clipped_samples > CLIPPED_SHARE * recording.samples.numel():
        yield f"input clipped: {recording.clipped_samples} samples lie in runs at full scale"
