"""``fit`` and ``fit_many``: from recordings to trained networks, with their estimates and metrics."""

import math
import os
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Any

import torch

from ddaudio.errors import OptionError, RecordingError
from ddaudio.fitting.competition import compete
from ddaudio.fitting.detrending import detrended, plan_detrended
from ddaudio.fitting.diagnosis import diagnose_status, diagnose_warnings
from ddaudio.fitting.pitch import find_pitch
from ddaudio.fitting.plan import FitPlan
from ddaudio.fitting.result import FitResult
from ddaudio.fitting.stagewise import StagewiseFit, fit_single_stage_many, fit_stagewise
from ddaudio.fitting.teacher import model_hash
from ddaudio.io import audio
from ddaudio.io.audio import Recording
from ddaudio.io.cut import cut
from ddaudio.io.samples import Total, added
from ddaudio.metrics.mdct_baseline import best_k_snr
from ddaudio.metrics.measure import measure
from ddaudio.options import NETWORKS, FitOptions
from ddaudio.synthesis.drift import Drift
from ddaudio.training.checkpoints import Checkpoint, TrainingLog
from ddaudio.training.history import Progress, ProgressCallback

BATCH_SAMPLES = 1 << 18
"""Largest number of samples over all channels in a batch. Relative to single fits, recordings of 130,000 samples take 5 % more
time in batches, those of 50,000 the same, those of 10,000 half, and those of 4,000 less (measured, 12 at a time)."""
LOUDEST_PEAK = 1e6
"""Largest absolute sample value; squares of larger ones would overflow float32."""


def fit(
    recording: Recording | str | os.PathLike[str],
    options: FitOptions | None = None,
    *,
    progress: ProgressCallback | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    force: bool = False,
    **settings: Any,
) -> FitResult:
    """Fit a recording with a network of sinusoids.

    Args:
        recording: a `Recording`, or the path of a file to read.
        options: all settings (default: ``FitOptions()``).
        progress: called with the progress (default: silent).
        checkpoint: folder in which the state of training is saved every ``checkpoint_every_s``, so that an interrupted fit can
            be resumed. Remove it by `ddaudio.training.checkpoint_files.discard` when the result is saved.
        resume: resume from the checkpoint if there is one; the result has the same bits as that of an uninterrupted fit.
        force: start a new fit even if there is a checkpoint.
        **settings: single settings by name, such as ``target_snr_db=30``; they replace those in ``options``.

    Returns:
        The fit, also where it did not converge or is no better than silence: see its ``status`` and ``warnings``.

    Raises:
        RecordingError: the recording cannot be read.
        OptionError: a setting is unknown, out of range, or too small for a single component.
        CheckpointError: there is a checkpoint and neither ``resume`` nor ``force`` is given, or it is damaged or of another fit.

    Example:
        >>> tone = Recording(torch.sin(torch.arange(8000) / 5)[None], sample_rate=8000)
        >>> result = fit(tone, target_snr_db=40)
        >>> result.snr_db > 40, result.status
        (True, 'converged')

    """
    options = (options or FitOptions()).with_settings(settings)
    clock, tell = _Clock(), progress or _silent
    tell(Progress("reading", 0, 0, math.nan, math.nan))
    recording = _read(recording, options)
    clock.lap("reading")
    drift, target, plan = plan_detrended(recording, compete(recording, options, tell))
    log = _log(recording, plan.options, checkpoint, resume=resume, force=force)
    fitted = fit_stagewise(target, plan, tell, log)
    clock.lap("fitting")
    tell(Progress("measuring", 0, 0, math.nan, math.nan))
    return _measured(recording, drift, plan, fitted, clock)


def fit_many(
    recordings: Sequence[Recording | str | os.PathLike[str]], options: FitOptions | None = None, **settings: Any
) -> list[FitResult]:
    """Fit several recordings with the same settings, and return their fits in order.

    Short recordings are fitted in batches if `can_batch` allows it, in less than half the time of separate calls of `fit`.
    Results differ from those by the rounding of float32 sums. `KeyboardInterrupt` stops all fits of a batch with the best so far.

    Args:
        recordings: each a `Recording`, or the path of a file to read.
        options: all settings (default: ``FitOptions()``).
        **settings: single settings by name, such as ``target_snr_db=30``; they replace those in ``options``.

    Raises:
        RecordingError, OptionError: as `fit` does, for any of the recordings.

    Example:
        >>> tones = [Recording(torch.sin(torch.arange(4000) / period)[None], sample_rate=8000) for period in (3, 5)]
        >>> [result.status for result in fit_many(tones, target_snr_db=40)]
        ['converged', 'converged']

    """
    return list(iterate_fits(recordings, (options or FitOptions()).with_settings(settings)))


def iterate_fits(recordings: Sequence[Recording | str | os.PathLike[str]], options: FitOptions) -> Iterator[FitResult]:
    """Fit several recordings as `fit_many` does, and yield each result as soon as it is measured, in order."""
    clocks, read = [], []
    for recording in recordings:
        clocks.append(_Clock())
        read.append(_read(recording, options))
        clocks[-1].lap("reading")
    planned = [plan_detrended(recording, compete(recording, options, _silent)) for recording in read]
    targets, plans = [each.target for each in planned], [each.plan for each in planned]
    for batch in _batches(plans):
        began = time.perf_counter()
        if len(plans[batch]) == 1:
            fitted = [fit_stagewise(targets[batch][0], plans[batch][0], _silent)]
        else:
            fitted = fit_single_stage_many(targets[batch], plans[batch], _silent)
        per_sample = (time.perf_counter() - began) / sum(math.prod(plan.shape) for plan in plans[batch])
        for recording, one, fit_of_it, clock in zip(read[batch], planned[batch], fitted, clocks[batch], strict=True):
            clock.note("fitting", per_sample * math.prod(one.plan.shape))
            yield _measured(recording, one.drift, one.plan, fit_of_it, clock)


def can_batch(options: FitOptions) -> bool:
    """Return whether recordings can be fitted in batches: one network that supports it, trained by Gauss-Newton."""
    second_order = options.training.resolved().optimiser == "gauss-newton"
    waves = options.model.wave_terms
    batched = len(waves) == 1 and NETWORKS[waves[0]].is_batched
    return batched and options.model.estimator is None and second_order


def _batches(plans: Sequence[FitPlan]) -> Iterator[slice]:
    """Yield slices of successive recordings that are fitted together."""
    first, held = 0, 0
    for place, plan in enumerate(plans):
        alone = not can_batch(plan.options) or len(plan.stages[0].blocks.ranges) > 1
        n_samples = BATCH_SAMPLES if alone else math.prod(plan.shape)
        if place > first and held + n_samples > BATCH_SAMPLES:
            yield slice(first, place)
            first, held = place, 0
        held += n_samples
    if first < len(plans):
        yield slice(first, len(plans))


def _measured(recording: Recording, drift: Drift | None, plan: FitPlan, fitted: StagewiseFit, clock: "_Clock") -> FitResult:
    """Compute the metrics of a fit, of estimate and recording without the drift, and return its result."""
    target, noise = detrended(recording, drift), fitted.noise
    estimate = fitted.waves if noise is None else Total([fitted.waves, noise])
    metrics = measure(estimate, target.samples, recording.sample_rate, fitted.waves, plan.options.output.quality)
    baseline = best_k_snr(target.samples, fitted.network.n_wave_parameters())
    pitch = find_pitch(fitted.network, target, fitted.waves, plan.options.output.pitch)
    fitted.network.drift = drift
    clock.lap("measuring")
    status, reason = diagnose_status(fitted.stages, metrics, has_noise=noise is not None)
    diagnosed = target, plan.options, status, reason, metrics, baseline, fitted.network
    waves, warnings = added(fitted.waves, drift), tuple(diagnose_warnings(*diagnosed))
    found = fitted.network, waves, noise, status, reason, warnings, fitted.stages
    return FitResult(recording, plan.options, *found, metrics, baseline, pitch, clock.seconds)


def plan_fit(
    recording: Recording | str | os.PathLike[str],
    options: FitOptions | None = None,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    force: bool = False,
    **settings: Any,
) -> FitPlan:
    """Return the plan of `fit` with the same arguments; nothing is fitted or written.

    Args:
        recording: a `Recording`, or the path of a file to read.
        options: all settings (default: ``FitOptions()``).
        checkpoint: folder of the checkpoint of the fit.
        resume: whether the fit is to resume from the checkpoint.
        force: whether the fit is to ignore the checkpoint.
        **settings: single settings by name, such as ``target_snr_db=30``; they replace those in ``options``.

    Raises:
        RecordingError: the recording cannot be read.
        OptionError: a setting is unknown, out of range, or too small for a single component.
        CheckpointError: as `fit` does.

    Example:
        >>> tone = Recording(torch.sin(torch.arange(8000) / 5)[None], sample_rate=8000)
        >>> plan = plan_fit(tone, model="sine+double-dutch", budget=300)
        >>> [(stage.name, stage.n_parameters) for stage in plan.stages]
        [('sine', 150), ('double-dutch', 300)]

    """
    options = (options or FitOptions()).with_settings(settings)
    recording = _read(recording, options)
    plan = plan_detrended(recording, options).plan
    _log(recording, plan.options, checkpoint, resume=resume, force=force)
    return plan


def _read(recording: Recording | str | os.PathLike[str], options: FitOptions) -> Recording:
    """Return a recording at the requested sample rate; raises `RecordingError` if it cannot be read or is too loud."""
    if not isinstance(recording, Recording):
        recording = audio.read(recording, options.input.sample_rate)
    elif options.input.sample_rate is not None:
        recording = audio.resample(recording, options.input.sample_rate)
    if recording.peak > LOUDEST_PEAK:
        raise RecordingError(
            f"{recording.source!r} has a peak of {recording.peak:g}",
            allowed=f"up to {LOUDEST_PEAK:g}",
            hint="scale it to full scale, 1",
        )
    return recording if options.input.cut is None else cut(recording, options.input.cutoff)


def _log(
    recording: Recording, options: FitOptions, folder: str | os.PathLike[str] | None, *, resume: bool, force: bool
) -> TrainingLog:
    """Return the log of the training; a checkpoint must match in everything that determines the bits of the result."""
    if folder is None:
        if resume:
            raise OptionError(
                "but there is no checkpoint", setting="resume", value=True, hint="give the folder of the checkpoint"
            )
        return TrainingLog()
    settings = {group: table for group, table in options.tables().items() if group != "output"}
    versions = {"ddaudio": version("ddaudio"), "torch": torch.__version__, "threads": torch.get_num_threads()}
    models = {"teacher": model_hash(options.training.teacher_model), "start": model_hash(options.model.from_model)}
    about = {"recording": recording.content_hash, **versions, "settings": settings, **models}
    return Checkpoint(folder, about, options.output.checkpoint_every_s, resume=resume, force=force)


def _silent(_: Progress) -> None:
    """Ignore progress."""


class _Clock:
    """Records wall-clock times by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Record the seconds since the last record under a name."""
        self.note(name, time.perf_counter() - self._last)

    def note(self, name: str, seconds: float) -> None:
        """Record seconds under a name; the next lap begins now."""
        self.seconds[name] = seconds
        self._last = time.perf_counter()
