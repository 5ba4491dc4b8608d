"""``fit``: from a recording to a trained network, its estimate and what it is worth."""

import math
import os
from importlib.metadata import version
from typing import Any

import torch

from ddaudio.errors import OptionError, RecordingError
from ddaudio.fitting.diagnosis import _doubts, _verdict
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
"""Samples beyond this are no sound: their squares would leave float32."""


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
        progress: told how far the fit is; silent without.
        checkpoint: folder that says, every ``checkpoint_every_s``, how far training is; a fit that was killed goes on from it.
            Remove it by `ddaudio.training.checkpoints.discard` when the result is saved.
        resume: go on from the checkpoint, where there is one: the fit ends bit for bit as if it had not been killed.
        force: start afresh even if there is a checkpoint.
        **settings: single settings by name, such as ``target_snr_db=30``; they replace those in ``options``.

    Returns:
        The fit, always: one that failed to converge, or says no more than silence, tells so in ``status``.

    Raises:
        RecordingError: the recording cannot be read.
        OptionError: a setting is unknown, out of range, or leaves no room for a single partial.
        CheckpointError: there is a checkpoint, and neither ``resume`` nor ``force``; or it is damaged, or of another fit.

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
    status, reason = _verdict(fitted.stages, metrics)
    doubts = tuple(_doubts(recording, plan.options, status, reason, metrics, baseline, fitted.network))
    found = fitted.network, fitted.estimate, status, reason, doubts, fitted.stages
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
    """Return where training notes how far it is: everything that decides over the result's bits is compared."""
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
    """Tell nobody."""


class _Clock:
    """Wall time, lap by lap."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = now_s()

    def lap(self, name: str) -> None:
        """Note the seconds since the lap before, under a name."""
        now = now_s()
        self.seconds[name] = now - self._last
        self._last = now
