"""``compare``: the same recordings, several networks and losses, several seeds, at equal numbers and in equal time."""

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ddaudio.comparing import page, worker
from ddaudio.comparing.excerpts import Excerpt, read_stretches
from ddaudio.comparing.results import Comparison, Found, Run, to_json
from ddaudio.comparing.worker import CompareJob, StepTiming, Trial
from ddaudio.errors import OptionError, OutputError
from ddaudio.io.atomic import whole_file
from ddaudio.options import FitOptions
from ddaudio.options.compare import PARAMETERS_PER_SAMPLE, CompareOptions, Variant
from ddaudio.options.model import MIN_PARAMETERS
from ddaudio.parallel.executors import Executor, SchedulerLostError, WorkerKilledError, make_executor

SCHEMA = 1
RESULTS, PACES = "compare.json", "paces.json"
"""Names of what a comparison writes: what it found, and how long each kind of fit takes."""
TRIES = 3
"""Times that a fit is tried whose worker is killed."""


@dataclass(frozen=True)
class CompareProgress:
    """How far a comparison is."""

    stage: str
    """``timing``, ``fitting`` or ``writing``."""
    total: int
    """Fits to make in this stage."""
    done: int
    failed: int = 0
    left_s: float | None = None
    """Seconds until the stage is done, if the fits that are left take as long as those that are done; None at the beginning."""
    dashboard: str | None = None
    """Address of the Dask dashboard, if there is one."""


def compare(
    recordings: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    output: str | os.PathLike[str],
    how: CompareOptions | None = None,
    *,
    progress: Callable[[CompareProgress], None] | None = None,
    **settings: Any,
) -> Comparison:
    """Fit recordings with each network and loss, several times each, and compare what comes of it.

    Fits are made at equal numbers (0.06 a sample, unless a goal is given) and in equal time, by Adam, without exchanges of
    parts; other settings can be given. What is done already is not done again. A script that is
    run as a program calls this below ``if __name__ == "__main__":``, as worker processes import it.

    Args:
        recordings: path of a sound file, or several.
        output: folder that gets ``compare.json``, ``table.csv``, ``runs.csv``, ``curves.csv``, ``table.md``, ``curves.png``,
            ``index.html`` and a folder for each fit.
        how: settings of the comparison (default: ``CompareOptions()``).
        progress: told how far the comparison is; silent without.
        **settings: single settings by name: of the comparison, such as ``models="sine,siren"``, or of all fits, such as
            ``learning_rate=0.01``.

    Returns:
        What was found; a fit that could not be made is a run with the status ``failed`` there.

    Raises:
        RecordingError: a recording cannot be read.
        OptionError: a setting is unknown, out of range, or contradicts another one.
        OutputError: the output cannot be written to, or is something else.
        BatchError: the scheduler does not answer.

    """
    own = {member.name for member in fields(CompareOptions)}
    how = replace(how or CompareOptions(), **{name: value for name, value in settings.items() if name in own})
    shared = {name: value for name, value in settings.items() if name not in own and value is not None}
    entries = how.entries(shared)
    paths = [recordings] if isinstance(recordings, str | os.PathLike) else list(recordings)
    if not paths:
        raise OptionError("nothing to compare", hint="give one recording or more")
    folder = Path(output)
    _check_free(folder)
    stretches = read_stretches(paths, how.stretch_s, shared.get("sample_rate"), whole=how.whole)
    kinds = [_Kind(stretch, entry, _sized(entry, stretch)) for stretch in stretches for entry in entries]
    _check_apart(kinds)
    return _Comparing(folder, how, shared, kinds, progress or (lambda _: None)).run()


def _sized(entry: Variant, stretch: Excerpt) -> FitOptions:
    """Return the settings of a fit with its size: as many numbers as the others, unless it has a goal."""
    if entry.has_goal:
        return entry.options
    budget = max(MIN_PARAMETERS, round(PARAMETERS_PER_SAMPLE * stretch.n_channels * stretch.n_samples))
    return entry.options.with_settings({"budget": budget})


def _check_free(folder: Path) -> None:
    """Refuse a folder that is something else."""
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
    """Refuse two kinds of fits that would be the same."""
    seen: dict[tuple[str, str], _Kind] = {}
    for kind in kinds:
        other = seen.setdefault((kind.stretch.folder, kind.key), kind)
        if other is not kind:
            one_sound = other.stretch is kind.stretch
            pair = (other.entry.name, kind.entry.name) if one_sound else (other.stretch.name, kind.stretch.name)
            raise OptionError(f"{pair[0]!r} and {pair[1]!r} are the same to fit", hint="leave one of the two out")


@dataclass(frozen=True)
class _Kind:
    """A kind of fit to a recording."""

    stretch: Excerpt
    entry: Variant
    options: FitOptions
    """With its size, without steps and seed."""

    @property
    def key(self) -> str:
        """Tells of sound and settings: what the pace depends on."""
        return _key(self.stretch, self.options)

    def with_steps(self, pace: StepTiming | None, time_s: float) -> FitOptions:
        """Return the settings with the steps that there is time for."""
        return self.options if pace is None else self.options.with_settings({"steps": pace.steps_in(time_s)})

    def run(self, seed: int) -> Run:
        """Return a fit that was not made."""
        one = self.entry
        return Run(self.stretch.name, one.variant, one.model, one.losses, seed, "failed", "it was not reached")


class _Comparing:
    """A comparison on its way."""

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

    def run(self) -> Comparison:
        """Do it all."""
        self._write_paces()
        trials, stopped = self._trials(), False
        # As long as a pace is not known, all fits may be missing.
        waiting = len(self.found) if trials else len(self._missing())
        try:
            if waiting or self.how.scheduler is not None:
                with make_executor(waiting, self.how.n_workers, self.how.scheduler) as workers:
                    self._time(trials, workers)
                    self._fit(self._missing(), workers)
        except KeyboardInterrupt:
            stopped = True
        self.tell(CompareProgress("writing", 0, 0))
        return self._written(stopped)

    def _trials(self) -> list[Trial]:
        """Return the fits whose pace is not known and is needed."""
        lacking = [kind for kind in self.kinds if not kind.entry.has_steps and kind.key not in self.paces]
        return [Trial(kind.key, self.places[kind.stretch.name], kind.options) for kind in lacking]

    def _time(self, trials: Sequence[Trial], workers: Executor) -> None:
        """Find out how long steps take, and keep it; where that fails, so do the fits."""
        watch = _Watch("timing", len(trials), workers, self.tell)

        def landed(trial: Trial, ending: StepTiming | Exception) -> list[Trial]:
            """Keep the pace; return the trial if it is to be tried again."""
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
        """Keep what is known; another comparison may have found out more meanwhile."""
        there = _read_paces(self.folder / PACES)
        self.paces = {key: pace for key, pace in there.items() if key not in self.stale} | self.paces
        with whole_file(self.folder / PACES) as stream:
            stream.write(to_json({key: pace._asdict() for key, pace in self.paces.items()}).encode())

    def _again(self, name: str, ending: object) -> bool:
        """Return whether a task is to be tried again: where its worker was killed, and not for the last time."""
        self.tries[name] = self.tries.get(name, 0) + 1
        return isinstance(ending, WorkerKilledError) and self.tries[name] < TRIES

    def _missing(self) -> list[CompareJob]:
        """Return the fits that are still to be made, seeds innermost; take in what is there."""
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
        """Make the fits that are missing."""
        watch = _Watch("fitting", len(jobs), workers, self.tell)

        def landed(job: CompareJob, ending: Found | Exception) -> list[CompareJob]:
            """Keep what was found; return the job if it is to be tried again."""
            if self._again(str(job.folder), ending):
                return [job]
            found = (job.run.failure(_reason(ending)), None) if isinstance(ending, Exception) else ending
            self.found[_place(job.run)] = found
            watch.count(failed=found[0].status == "failed")
            return []

        workers.run(worker.make, jobs, landed, watch.beat)

    def _written(self, stopped: bool) -> Comparison:
        """Write what was found, and return it: what people look at comes last."""
        runs, curves = zip(*self.found.values(), strict=True)
        found = Comparison(str(self.folder), self._about(), runs, curves, stopped)
        for name, text in {**found.csv(), "table.md": found.markdown(), RESULTS: to_json(found.contents())}.items():
            with whole_file(self.folder / name) as stream:
                stream.write(text.encode("utf-8", "backslashreplace"))
        page.write(found, self.folder)
        return found

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
    """Return what is known of paces; nothing where the file is not there or damaged."""
    try:
        kept = json.loads(path.read_bytes())
        found = {str(key): StepTiming(float(row["start_s"]), float(row["step_s"])) for key, row in kept.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
    return {key: pace for key, pace in found.items() if 0 <= pace.start_s < math.inf and 0 < pace.step_s < math.inf}


class _Watch:
    """Counts what has landed, and tells of it."""

    def __init__(self, stage: str, total: int, workers: Executor, tell: Callable[[CompareProgress], None]) -> None:
        self.progress = CompareProgress(stage, total, 0, dashboard=workers.dashboard)
        self.tell, self.began = tell, time.monotonic()

    def count(self, *, failed: bool) -> None:
        """Count one more."""
        now = self.progress
        done, spent = now.done + 1, time.monotonic() - self.began
        self.progress = replace(now, done=done, failed=now.failed + failed, left_s=spent / done * (now.total - done))
        self.tell(self.progress)

    def beat(self, _threads: int) -> None:
        """Tell that time goes by."""
        self.tell(self.progress)


def _place(run: Run) -> tuple[str, ...]:
    """Return what tells a run from the others of its comparison."""
    return *run.kind, str(run.seed)


def _key(stretch: Excerpt, options: FitOptions) -> str:
    """Return what a fit depends on, as a hash: equal for equal sound, settings and version."""
    about = [version("ddaudio"), stretch.content_hash, options.flat()]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def _folder_of(entry: Variant) -> str:
    """Return a safe name of a kind of fit; what makes it unique comes behind it."""
    kept = [sign if sign.isascii() and (sign.isalnum() or sign in "+-") else "_" for sign in entry.name.replace(", ", "-")]
    return "".join(kept)[:80].strip("-") or "fit"


def _reason(error: Exception) -> str:
    """Return why a task came to nothing, in words."""
    if isinstance(error, WorkerKilledError):
        return f"its worker was killed at each of {TRIES} tries: by a signal, or for want of memory; use fewer workers"
    return str(error) if isinstance(error, SchedulerLostError | OptionError) else f"{type(error).__name__}: {error}"
