"""``compare``: fit the same recordings with several networks, losses and seeds, at equal size and in equal time."""

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from ddaudio.comparing import page, worker
from ddaudio.comparing.excerpts import Excerpt, read_stretches
from ddaudio.comparing.results import Comparison, to_json
from ddaudio.comparing.runs import Curve, Found, Run
from ddaudio.comparing.worker import CompareJob, StepTiming, Trial
from ddaudio.errors import OptionError, OutputError
from ddaudio.io.atomic import whole_file
from ddaudio.io.json_text import parse_json
from ddaudio.options import FitOptions
from ddaudio.options.compare import PARAMETERS_PER_SAMPLE, CompareOptions, ManyFitsOptions, Variant
from ddaudio.options.model import MIN_PARAMETERS
from ddaudio.parallel.clusters import make_executor
from ddaudio.parallel.executors import Executor, SchedulerLostError, WorkerKilledError

SCHEMA = 1
RESULTS, PACES = "compare.json", "paces.json"
"""File names: results, and measured step times."""
TRIES = 3
"""Number of attempts at a fit whose worker is killed."""

HowT = TypeVar("HowT", bound=ManyFitsOptions)
FoundT = TypeVar("FoundT", bound=Comparison)


@dataclass(frozen=True)
class CompareProgress:
    """Progress of a comparison."""

    stage: str
    """``timing``, ``fitting`` or ``writing``."""
    total: int
    """Number of fits in this stage."""
    done: int
    failed: int = 0
    left_s: float | None = None
    """Estimated remaining time of the stage in seconds, from the mean duration of the finished fits; None at the beginning."""
    dashboard: str | None = None
    """URL of the Dask dashboard, if there is one."""


def compare(
    recordings: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    output: str | os.PathLike[str],
    how: CompareOptions | None = None,
    *,
    progress: Callable[[CompareProgress], None] | None = None,
    **settings: Any,
) -> Comparison:
    """Fit recordings with each network and loss for several seeds, and compare the results.

    All fits have the same number of parameters (0.06 per sample, unless a goal is given) and the same time, use Adam and do not
    refine the model by exchanging components; other settings can be given. Fits that are up to date are not repeated. Scripts
    must call this function below ``if __name__ == "__main__":``, since worker processes import them.

    Args:
        recordings: path of a sound file, or several.
        output: folder for ``compare.json``, ``table.csv``, ``runs.csv``, ``curves.csv``, ``table.md``, ``curves.png``,
            ``index.html`` and a folder per fit.
        how: settings of the comparison (default: ``CompareOptions()``).
        progress: called with a `CompareProgress` after each fit.
        **settings: single settings by name, either of the comparison, such as ``models="sine,siren"``, or of all fits, such as
            ``learning_rate=0.01``.

    Returns:
        The results; a fit that raised an error is a run with status ``failed``.

    Raises:
        RecordingError: a recording cannot be read.
        OptionError: a setting is unknown, out of range or in conflict with another.
        OutputError: the output cannot be written to, or is not a comparison.
        BatchError: the scheduler does not respond.

    """
    how, shared = split_settings(how or CompareOptions(), settings)
    return compare_entries(recordings, output, how, shared, how.entries(shared), Comparison, progress=progress)


def split_settings(how: HowT, settings: Mapping[str, Any]) -> tuple[HowT, dict[str, Any]]:
    """Return ``how`` with its own fields among single settings replaced, and the other settings, those of all fits."""
    own = {member.name for member in fields(how)}
    changed = replace(how, **{name: value for name, value in settings.items() if name in own})
    return changed, {name: value for name, value in settings.items() if name not in own and value is not None}


def compare_entries(
    recordings: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    output: str | os.PathLike[str],
    how: CompareOptions,
    shared: Mapping[str, Any],
    entries: Sequence[Variant],
    gather: Callable[..., FoundT],
    *,
    progress: Callable[[CompareProgress], None] | None = None,
    draw: Callable[[Any], Any] | None = None,
) -> FoundT:
    """Fit all variants to all recordings, as `compare` does.

    ``gather`` makes the results from the arguments of `Comparison`, ``draw`` their figure (default: the curves of the loss).
    """
    paths = [recordings] if isinstance(recordings, str | os.PathLike) else list(recordings)
    if not paths:
        raise OptionError("no recordings", hint="give one recording or more")
    folder = Path(output)
    _check_free(folder)
    stretches = read_stretches(paths, how.stretch_s, shared.get("sample_rate"), whole=how.whole)
    kinds = [_Kind(stretch, entry, _sized(entry, stretch)) for stretch in stretches for entry in entries]
    _check_apart(kinds)
    runs, curves, about, stopped = _Comparing(folder, how, shared, kinds, progress or (lambda _: None)).run()
    found = gather(str(folder), about, runs, curves, stopped)
    _write(found, folder, draw)
    return found


def _write(found: Comparison, folder: Path, draw: Callable[[Any], Any] | None) -> None:
    """Write the results; figure and page are written last."""
    for name, text in {**found.csv(), "table.md": found.markdown(), RESULTS: to_json(found.contents())}.items():
        with whole_file(folder / name) as stream:
            stream.write(text.encode("utf-8", "backslashreplace"))
    page.write(found, folder, draw)


def _sized(entry: Variant, stretch: Excerpt) -> FitOptions:
    """Return the settings of a fit with a budget equal to that of the others, unless they have a goal."""
    if entry.has_goal:
        return entry.options
    budget = max(MIN_PARAMETERS, round(PARAMETERS_PER_SAMPLE * stretch.n_channels * stretch.n_samples))
    return entry.options.with_settings({"budget": budget})


def _check_free(folder: Path) -> None:
    """Raise `OutputError` if the folder exists and is not a comparison."""
    try:
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{str(folder)!r} is a file, not a folder", hint="choose another {out}")
        if folder.is_dir() and any(folder.iterdir()) and not any((folder / name).exists() for name in (RESULTS, PACES)):
            raise OutputError(f"{str(folder)!r} holds something other than a comparison", hint="choose another {out}")
    except OSError as error:
        raise _unwritable(folder, error) from None


def _unwritable(folder: Path, error: OSError) -> OutputError:
    return OutputError(f"{str(folder)!r} cannot be written to: {error.strerror or error}", hint="choose another {out}")


def _check_apart(kinds: Sequence["_Kind"]) -> None:
    """Raise `OptionError` if two configurations are identical."""
    seen: dict[tuple[str, str], _Kind] = {}
    for kind in kinds:
        other = seen.setdefault((kind.stretch.folder, kind.key), kind)
        if other is not kind:
            one_sound = other.stretch is kind.stretch
            pair = (other.entry.name, kind.entry.name) if one_sound else (other.stretch.name, kind.stretch.name)
            raise OptionError(f"{pair[0]!r} and {pair[1]!r} are the same to fit", hint="leave one of the two out")


@dataclass(frozen=True)
class _Kind:
    """One configuration applied to one recording."""

    stretch: Excerpt
    entry: Variant
    options: FitOptions
    """With budget, without steps and seed."""

    @property
    def key(self) -> str:
        """Hash of sound and settings, on which the step time depends."""
        return _key(self.stretch, self.options)

    def with_steps(self, pace: StepTiming | None, time_s: float) -> FitOptions:
        """Return the settings with the number of steps that fit into ``time_s``."""
        return self.options if pace is None else self.options.with_settings({"steps": pace.steps_in(time_s)})

    def run(self, seed: int) -> Run:
        """Return the run as failed, to be replaced once it is made."""
        one = self.entry
        return Run(self.stretch.name, one.variant, one.model, one.losses, seed, "failed", "not started")


class _Comparing:
    """A running comparison."""

    def __init__(
        self,
        folder: Path,
        how: CompareOptions,
        shared: Mapping[str, Any],
        kinds: Sequence[_Kind],
        tell: Callable[[CompareProgress], None],
    ) -> None:
        self.folder, self.how, self.shared, self.kinds, self.tell = folder, how, shared, kinds, tell
        stretches = {kind.stretch.name: kind.stretch for kind in kinds}
        try:
            (folder / "fits").mkdir(parents=True, exist_ok=True)
            self.places = {name: stretch.place(folder / "recordings") for name, stretch in stretches.items()}
        except OSError as error:
            raise _unwritable(folder, error) from None
        self.recordings = [stretch.facts() for stretch in stretches.values()]
        self.stale = {kind.key for kind in kinds} if how.force else set()
        self.paces: dict[str, StepTiming] = {}
        self.tries: dict[str, int] = {}
        every = [kind.run(seed) for kind in kinds for seed in range(how.seeds)]
        self.found: dict[tuple[str, ...], Found] = {_place(run): (run, None) for run in every}

    def run(self) -> tuple[tuple[Run, ...], tuple[Curve | None, ...], dict[str, Any], bool]:
        """Run the comparison; return runs, curves, the description of the comparison, and whether it was interrupted."""
        self._write_paces()
        trials, stopped = self._trials(), False
        # While a step time is unknown, any of the fits may be missing.
        waiting = len(self.found) if trials else len(self._missing())
        try:
            if waiting or self.how.scheduler is not None:
                with make_executor(waiting, self.how.n_workers, self.how.scheduler) as workers:
                    self._time(trials, workers)
                    self._fit(self._missing(), workers)
        except KeyboardInterrupt:
            stopped = True
        self.tell(CompareProgress("writing", 0, 0))
        runs, curves = zip(*self.found.values(), strict=True)
        return runs, curves, self._about(), stopped

    def _trials(self) -> list[Trial]:
        """Return the configurations whose step time is needed and unknown."""
        lacking = [kind for kind in self.kinds if not kind.entry.has_steps and kind.key not in self.paces]
        return [Trial(kind.key, self.places[kind.stretch.name], kind.options) for kind in lacking]

    def _time(self, trials: Sequence[Trial], workers: Executor) -> None:
        """Measure and store step times; where this fails, the fits of the configuration fail too."""
        watch = _Watch("timing", len(trials), workers, self.tell)

        def landed(trial: Trial, ending: StepTiming | Exception) -> list[Trial]:
            """Store the step time; return the trial if it is to be repeated."""
            if self._again(trial.key, ending):
                return [trial]
            if isinstance(ending, Exception):
                for run in (kind.run(seed) for kind in self.kinds if kind.key == trial.key for seed in range(self.how.seeds)):
                    self.found[_place(run)] = run.failure(_reason(ending)), None
            else:
                self.paces[trial.key] = ending
                self._write_paces()
            watch.count(failed=isinstance(ending, Exception))
            return []

        workers.run(worker.pace, trials, landed, watch.beat)

    def _write_paces(self) -> None:
        """Write step times, merged with those that another comparison may have written meanwhile."""
        there = _read_paces(self.folder / PACES)
        self.paces = {key: pace for key, pace in there.items() if key not in self.stale} | self.paces
        with whole_file(self.folder / PACES) as stream:
            stream.write(to_json({key: pace._asdict() for key, pace in self.paces.items()}).encode())

    def _again(self, name: str, ending: object) -> bool:
        """Return whether a task is to be repeated: its worker was killed, and attempts remain."""
        self.tries[name] = self.tries.get(name, 0) + 1
        return isinstance(ending, WorkerKilledError) and self.tries[name] < TRIES

    def _missing(self) -> list[CompareJob]:
        """Return the fits that are still missing, seeds innermost, and load those that exist."""
        missing = []
        for kind in self.kinds:
            if not kind.entry.has_steps and kind.key not in self.paces:
                continue
            options = kind.with_steps(None if kind.entry.has_steps else self.paces[kind.key], self.how.time_s)
            home = f"fits/{kind.stretch.folder}/{_folder_of(kind.entry)}-{_key(kind.stretch, options)[:8]}"
            for seed in range(self.how.seeds):
                run, sought = replace(kind.run(seed), folder=f"{home}/seed-{seed}"), options.with_settings({"seed": seed})
                place, output = self.places[kind.stretch.name], str(self.folder.absolute())
                job = CompareJob(_key(kind.stretch, sought), run, place, output, sought, self.how.html)
                there = None if self.how.force else worker.done(job)
                if there is None:
                    missing.append(job)
                else:
                    self.found[_place(run)] = there
        return missing

    def _fit(self, jobs: Sequence[CompareJob], workers: Executor) -> None:
        """Make the missing fits."""
        watch = _Watch("fitting", len(jobs), workers, self.tell)

        def landed(job: CompareJob, ending: Found | Exception) -> list[CompareJob]:
            """Store the result; return the job if it is to be repeated."""
            if self._again(str(job.folder), ending):
                return [job]
            found = (job.run.failure(_reason(ending)), None) if isinstance(ending, Exception) else ending
            self.found[_place(job.run)] = found
            watch.count(failed=found[0].status == "failed")
            return []

        workers.run(worker.make, jobs, landed, watch.beat)

    def _about(self) -> dict[str, Any]:
        own = {member.name: getattr(self.how, member.name) for member in fields(CompareOptions)}
        return {
            "schema": SCHEMA,
            "versions": {name: version(name) for name in ("ddaudio", "torch")},
            "recordings": self.recordings,
            "settings": {"compare": own, "fits": dict(self.shared)},
            "kinds": list({kind.entry.name: kind.entry.facts() for kind in self.kinds}.values()),
        }


def _read_paces(path: Path) -> dict[str, StepTiming]:
    """Return stored step times; empty if the file is missing or damaged."""
    try:
        kept = parse_json(path.read_bytes())
        found = {str(key): StepTiming(float(row["start_s"]), float(row["step_s"])) for key, row in kept.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    return {key: pace for key, pace in found.items() if 0 <= pace.start_s < math.inf and 0 < pace.step_s < math.inf}


class _Watch:
    """Counts finished tasks and reports progress."""

    def __init__(self, stage: str, total: int, workers: Executor, tell: Callable[[CompareProgress], None]) -> None:
        self.progress = CompareProgress(stage, total, 0, dashboard=workers.dashboard)
        self.tell, self.began = tell, time.monotonic()

    def count(self, *, failed: bool) -> None:
        """Count a finished task."""
        now = self.progress
        done, spent = now.done + 1, time.monotonic() - self.began
        self.progress = replace(now, done=done, failed=now.failed + failed, left_s=spent / done * (now.total - done))
        self.tell(self.progress)

    def beat(self, _threads: int) -> None:
        """Report progress while no task finishes."""
        self.tell(self.progress)


def _place(run: Run) -> tuple[str, ...]:
    """Return the unique key of a run within its comparison."""
    return *run.kind, str(run.seed)


def _key(stretch: Excerpt, options: FitOptions) -> str:
    """Return the hash of all that a fit depends on: sound, settings and version."""
    about = [version("ddaudio"), stretch.content_hash, options.flat()]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def _folder_of(entry: Variant) -> str:
    """Return a safe file name for a configuration; a hash that makes it unique is appended to it."""
    kept = [sign if sign.isascii() and (sign.isalnum() or sign in "+-") else "_" for sign in entry.name.replace(", ", "-")]
    return "".join(kept)[:80].strip("-") or "fit"


def _reason(error: Exception) -> str:
    """Return the reason of a failure as text."""
    if isinstance(error, WorkerKilledError):
        return f"the worker was killed in each of {TRIES} attempts, by a signal or for lack of memory; use fewer workers"
    return str(error) if isinstance(error, SchedulerLostError | OptionError) else f"{type(error).__name__}: {error}"
