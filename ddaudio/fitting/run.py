"""``fit``: from a recording to a trained network, its estimate, metrics and diagnosis."""

import math
import os
from importlib.metadata import version
from typing import Any

import torch

from ddaudio.errors import OptionError, RecordingError
from ddaudio.fitting.diagnosis import diagnose_status, diagnose_warnings
from ddaudio.fitting.plan import FitPlan, make_plan
from ddaudio.fitting.result import FitResult
from ddaudio.fitting.stagewise import fit_stagewise
from ddaudio.io import audio
from ddaudio.io.audio import Recording
from ddaudio.metrics.mdct_baseline import best_k_snr
from ddaudio.metrics.measure import measure
from ddaudio.options import FitOptions
from ddaudio.parallel.lockstep import now_s
from ddaudio.training.checkpoints import Checkpoint, TrainingLog
from ddaudio.training.history import Progress, ProgressCallback

LOUDEST_PEAK = 1e6
"""Largest absolute sample value that is fitted; the squares of larger ones would overflow float32."""


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
            be resumed. Remove it by `ddaudio.training.checkpoints.discard` when the result is saved.
        resume: resume from the checkpoint if there is one; the result has the same bits as that of an uninterrupted fit.
        force: start a new fit even if there is a checkpoint.
        **settings: single settings by name, such as ``target_snr_db=30``; they replace those in ``options``.

    Returns:
        The fit, also where it did not converge or is no better than silence: see its ``status`` and ``warnings``.

    Raises:
        RecordingError: the recording cannot be read.
        OptionError: a setting is unknown, out of range, or leaves no room for a single component.
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
    plan = make_plan(recording, options)
    log = _log(recording, plan.options, checkpoint, resume=resume, force=force)
    fitted = fit_stagewise(recording, plan, tell, log)
    clock.lap("fitting")
    tell(Progress("measuring", 0, 0, math.nan, math.nan))
    metrics = measure(fitted.estimate, recording.samples, recording.sample_rate)
    baseline = best_k_snr(recording.samples, fitted.network.n_parameters())
    clock.lap("measuring")
    status, reason = diagnose_status(fitted.stages, metrics)
    diagnosed = recording, plan.options, status, reason, metrics, baseline, fitted.network
    found = fitted.network, fitted.estimate, status, reason, tuple(diagnose_warnings(*diagnosed)), fitted.stages
    return FitResult(recording, plan.options, *found, metrics, baseline, clock.seconds)


def plan_fit(
    recording: Recording | str | os.PathLike[str],
    options: FitOptions | None = None,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    force: bool = False,
    **settings: Any,
) -> FitPlan:
    """Return the plan that `fit` would follow with the same arguments; nothing is fitted or written.

    Args:
        recording: a `Recording`, or the path of a file to read.
        options: all settings (default: ``FitOptions()``).
        checkpoint: folder of the checkpoint of the fit.
        resume: whether the fit is to resume from the checkpoint.
        force: whether the fit is to ignore the checkpoint.
        **settings: single settings by name, such as ``target_snr_db=30``; they replace those in ``options``.

    Raises:
        RecordingError: the recording cannot be read.
        OptionError: a setting is unknown, out of range, or leaves no room for a single component.
        CheckpointError: as `fit` does.

    Example:
        >>> tone = Recording(torch.sin(torch.arange(8000) / 5)[None], sample_rate=8000)
        >>> plan = plan_fit(tone, model="sine+double-dutch", budget=300)
        >>> [(stage.name, stage.n_parameters) for stage in plan.stages]
        [('sine', 150), ('double-dutch', 300)]

    """
    options = (options or FitOptions()).with_settings(settings)
    recording = _read(recording, options)
    plan = make_plan(recording, options)
    _log(recording, plan.options, checkpoint, resume=resume, force=force)
    return plan


def _read(recording: Recording | str | os.PathLike[str], options: FitOptions) -> Recording:
    """Return a recording at the sample rate asked for; raises `RecordingError` if it cannot be read or is too loud to fit."""
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
    return recording


def _log(
    recording: Recording, options: FitOptions, folder: str | os.PathLike[str] | None, *, resume: bool, force: bool
) -> TrainingLog:
    """Return the log of the training; a checkpoint is compared in everything that determines the bits of the result."""
    if folder is None:
        if resume:
            raise OptionError(
                "but there is no checkpoint", setting="resume", value=True, hint="give the folder of the checkpoint"
            )
        return TrainingLog()
    settings = {group: table for group, table in options.tables().items() if group != "output"}
    versions = {"ddaudio": version("ddaudio"), "torch": torch.__version__, "threads": torch.get_num_threads()}
    about = {"recording": recording.content_hash, **versions, "settings": settings}
    return Checkpoint(folder, about, options.output.checkpoint_every_s, resume=resume, force=force)


def _silent(_: Progress) -> None:
    """Report no progress."""


class _Clock:
    """Wall time of the parts of a fit."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = now_s()

    def lap(self, name: str) -> None:
        """Record the seconds since the last lap, under a name."""
        now = now_s()
        self.seconds[name] = now - self._last
        self._last = now
