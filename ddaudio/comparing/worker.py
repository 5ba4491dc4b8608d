"""What a worker does: find out how many steps a fit can take in its time, and do the fit."""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import NamedTuple

from ddaudio.comparing.results import NAMES, Curve, Found, Run
from ddaudio.errors import DdaudioError
from ddaudio.fitting.result import FitResult
from ddaudio.fitting.run import fit
from ddaudio.io.atomic import check_inside, remove_file, whole_file
from ddaudio.options import MOST_STEPS, FitOptions
from ddaudio.parallel.threads import one_thread
from ddaudio.report import save as saving
from ddaudio.training.history import Progress

TRIAL_STEPS = 30
"""Steps by which it is found out how long one takes."""
TRAINING = "training"
"""How the stages begin whose progress is that of the optimiser; those of sums name the network as well."""
LEAST_STEP_S = 1e-6
"""A step counts as this long at least: there may be nothing to train."""
GAIN_SHARE = 0.9
"""Share of the gain whose steps are counted."""


class Trial(NamedTuple):
    """A fit whose pace is asked for."""

    key: str
    recording: str
    """Path of the sound file."""
    options: FitOptions


class StepTiming(NamedTuple):
    """How long a fit takes."""

    start_s: float
    """All that is not training: reading, and the starting point of each network."""
    step_s: float
    """Each step that is asked for, with its share of the judge's looks; of a sum, which trains several times, all of them."""

    def steps_in(self, time_s: float) -> int:
        """Return how many steps fit into a time, one at least, and no more than may be asked for."""
        return max(1, math.floor(min((time_s - self.start_s) / self.step_s, MOST_STEPS)))


def pace(trial: Trial) -> StepTiming:
    """Return how long a fit takes, by its first steps; raises as `fit` does."""
    training = {"steps": TRIAL_STEPS, "evaluate_every": min(trial.options.training.evaluate_every, TRIAL_STEPS)}
    with one_thread():
        _warm_up(trial)
        seen = _Seen()
        result = fit(trial.recording, trial.options.with_settings(training), progress=seen)
    if result.stopped:
        raise KeyboardInterrupt
    return seen.pace(TRIAL_STEPS)


_warm: set[tuple[str, str]] = set()
"""Networks and losses that this process has been through."""


def _warm_up(trial: Trial) -> None:
    """Take a step, once for each network and loss: what is loaded and made ready at their first fit is no part of their pace."""
    kind = trial.options.model.model, trial.options.training.losses
    if kind not in _warm:
        _warm.add(kind)
        if fit(trial.recording, trial.options.with_settings({"steps": 1})).stopped:
            raise KeyboardInterrupt


@dataclass
class _Seen:
    """The looks of the judge, with the time of each."""

    began: float = field(default_factory=time.perf_counter)
    steps: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    snrs_db: list[float | None] = field(default_factory=list)
    begins: list[tuple[int, int]] = field(default_factory=list)
    """Of each run of training, its first look among all, and the steps that it may take."""

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
        """Return the pace, where so many steps were asked for: of each run, which may have ended early, as if it had not."""
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
        """All looks."""
        return Curve(self.steps, self.seconds, self.losses, self.snrs_db)


@dataclass(frozen=True)
class CompareJob:
    """A fit to make, and where it goes."""

    key: str
    """Tells of recording, settings and version: a fit with the same one is done."""
    run: Run
    """What is known beforehand."""
    recording: str
    output: str
    """Path of the comparison's folder."""
    options: FitOptions
    html: bool

    @property
    def folder(self) -> Path:
        """Path of the fit's folder."""
        return Path(self.output, str(self.run.folder))


CURVE = "curve.json"
"""What a comparison keeps of a fit, in its folder: written last, it marks the fit as done."""


def make(job: CompareJob) -> Found:
    """Make a fit, write it, and return what became of it; what the user can mend, and a full disk, is a run that failed."""
    seen = _Seen()
    try:
        with one_thread():
            result = fit(job.recording, job.options, progress=seen)
        if result.stopped:
            raise KeyboardInterrupt
        run = _measured(job.run, result, seen)
        folder = job.folder
        check_inside(job.output, folder)
        remove_file(folder / CURVE, Path(job.output))  # until there is a new one, nothing here is done
        saving.save_fit(result, folder, force=True, html=job.html)
        kept = {"key": job.key, "html": job.html, "run": asdict(run), "curve": asdict(seen.curve)}
        with whole_file(folder / CURVE) as stream:
            stream.write(json.dumps(kept, allow_nan=False).encode())
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
    """Return what is there of a fit that was made before; None where there is none, or none that is whole and the same."""
    try:
        kept = json.loads((job.folder / CURVE).read_bytes())
        if kept["key"] != job.key or (job.html and not kept["html"]):
            return None
        run, curve = Run(**kept["run"]), Curve(**kept["curve"])
        # What is the same may be called otherwise now: recordings beside others, or variants.
        names = {member: getattr(job.run, member) for member in NAMES}
        return (replace(run, **names), curve) if _is_whole(curve) else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _is_whole(curve: Curve) -> bool:
    columns: Sequence[Sequence[object]] = [getattr(curve, member.name) for member in fields(Curve)]
    return len({len(column) for column in columns}) == 1
