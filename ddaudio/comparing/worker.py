"""Tasks of the workers: measure how many steps of a fit take a given time, and make the fit."""

import math
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from ddaudio.comparing.curve_file import CURVE, CurveFile
from ddaudio.comparing.runs import NAMES, Curve, Found, Run
from ddaudio.errors import DdaudioError
from ddaudio.fitting.result import FitResult
from ddaudio.fitting.run import fit
from ddaudio.io.atomic import check_inside, remove_file, whole_file
from ddaudio.options import MOST_STEPS, FitOptions
from ddaudio.parallel.threads import one_thread
from ddaudio.report import save as saving
from ddaudio.training.history import Progress

TRIAL_STEPS = 30
"""Number of steps used to measure the step time."""
TRAINING = "training"
"""Prefix of the stages in which the optimiser runs; for sums, the name of the network follows."""
LEAST_STEP_S = 1e-6
"""Lower bound of the step time: a model may have no parameters to train."""
GAIN_SHARE = 0.9
"""Share of the decrease of the loss that defines ``steps_to_90``."""


class Trial(NamedTuple):
    """A fit whose step time is to be measured."""

    key: str
    recording: str
    """Path of the sound file."""
    options: FitOptions


class StepTiming(NamedTuple):
    """Measured duration of a fit."""

    start_s: float
    """Time outside training: reading, and initialising each network."""
    step_s: float
    """Time per step including its share of the evaluations; for a sum, over all of its training runs."""

    def steps_in(self, time_s: float) -> int:
        """Return how many steps fit into ``time_s``, at least 1 and at most the largest number allowed."""
        return max(1, math.floor(min((time_s - self.start_s) / self.step_s, MOST_STEPS)))


def pace(trial: Trial) -> StepTiming:
    """Measure how long a fit takes by its first steps; raises the same errors as `fit`."""
    every = min(trial.options.training.evaluate_every, TRIAL_STEPS)
    settings = {"steps": TRIAL_STEPS, "evaluate_every": every, "quality": None}
    with one_thread():
        _warm_up(trial)
        seen = _Seen()
        result = fit(trial.recording, trial.options.with_settings(settings), progress=seen)
    if result.stopped:
        raise KeyboardInterrupt
    return seen.pace(TRIAL_STEPS)


_warm: set[tuple[str, str]] = set()
"""Networks and losses that have been fitted in this process."""


def _warm_up(trial: Trial) -> None:
    """Take one step per network and loss, so that one-off costs of their first fit are not measured."""
    kind = trial.options.model.model, trial.options.training.losses
    if kind not in _warm:
        _warm.add(kind)
        if fit(trial.recording, trial.options.with_settings({"steps": 1, "quality": None})).stopped:
            raise KeyboardInterrupt


@dataclass
class _Seen:
    """Records evaluations with their times."""

    began: float = field(default_factory=time.perf_counter)
    steps: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    snrs_db: list[float | None] = field(default_factory=list)
    begins: list[tuple[int, int]] = field(default_factory=list)
    """For each training run, the index of its first evaluation and its number of steps."""

    def __call__(self, progress: Progress) -> None:
        if not progress.stage.startswith(TRAINING) or not math.isfinite(progress.loss):
            return
        if progress.step == 0:
            self.begins.append((len(self.steps), progress.steps))
        before = self.steps[self.begins[-1][0] - 1] if self.begins and self.begins[-1][0] else 0
        self.steps.append(before + progress.step)
        self.seconds.append(time.perf_counter() - self.began)
        self.losses.append(progress.loss)
        self.snrs_db.append(None if math.isnan(progress.snr_db) else progress.snr_db)

    def pace(self, asked: int) -> StepTiming:
        """Return the timing for ``asked`` requested steps; runs that ended early are extrapolated."""
        ends = [*(first for first, _ in self.begins[1:]), len(self.steps)]
        trained_s = steps_s = 0.0
        for (first, planned), end in zip(self.begins, ends, strict=True):
            spent, taken = self.seconds[end - 1] - self.seconds[first], self.steps[end - 1] - self.steps[first]
            trained_s += spent
            steps_s += spent / taken * planned if taken else 0.0
        last = self.seconds[-1] if self.seconds else time.perf_counter() - self.began
        return StepTiming(last - trained_s, max(steps_s / asked, LEAST_STEP_S))

    @property
    def curve(self) -> Curve:
        """Curve of all evaluations."""
        return Curve(self.steps, self.seconds, self.losses, self.snrs_db)


@dataclass(frozen=True)
class CompareJob:
    """A fit to make, and its destination."""

    key: str
    """Hash of recording, settings and version: a fit with the same hash is up to date."""
    run: Run
    """The run with the fields that are known beforehand."""
    recording: str
    output: str
    """Path of the comparison's folder."""
    options: FitOptions
    html: bool

    @property
    def folder(self) -> Path:
        """Path of the fit's folder."""
        return Path(self.output, str(self.run.folder))


def make(job: CompareJob) -> Found:
    """Make and write a fit, and return run and curve; user errors and a full disk give a failed run."""
    seen = _Seen()
    try:
        with one_thread():
            result = fit(job.recording, job.options, progress=seen)
        if result.stopped:
            raise KeyboardInterrupt
        run = _measured(job.run, result, seen)
        folder = job.folder
        check_inside(job.output, folder)
        remove_file(folder / CURVE, Path(job.output))  # marks the fit as incomplete until it is written again
        saving.save_fit(result, folder, force=True, html=job.html)
        with whole_file(folder / CURVE) as stream:
            stream.write(CurveFile(job.key, job.html, run, seen.curve).data())
    except (DdaudioError, OSError, MemoryError) as error:
        return job.run.failure(str(error) or type(error).__name__), None
    return run, seen.curve


def _measured(run: Run, result: FitResult, seen: _Seen) -> Run:
    steps = sum(one.evaluations[-1].step for each in result.stages for runs in each.blocks for one in runs if one.evaluations)
    return Run(
        *run.kind,
        run.seed,
        result.status,
        result.reason,
        "; ".join(result.warnings),
        metrics={name: metric.value for name, metric in result.metrics.items()},
        n_parameters=result.n_parameters,
        seconds=result.seconds["fitting"],
        start_s=seen.seconds[0] if seen.seconds else None,
        steps=steps,
        steps_to_90=seen.curve.steps_to(GAIN_SHARE),
        folder=run.folder,
    )


def done(job: CompareJob) -> Found | None:
    """Return an existing fit; None if it is missing, incomplete or made with other settings."""
    try:
        kept = CurveFile.parse((job.folder / CURVE).read_bytes())
    except (OSError, ValueError):
        return None
    if kept.key != job.key or (job.html and not kept.html):
        return None
    # Names of recordings and variants may have changed since.
    return replace(kept.run, **{member: getattr(job.run, member) for member in NAMES}), kept.curve
