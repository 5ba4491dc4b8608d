"""Comparisons: how long fits take, and what is known from before."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from batches import write_tone
from comparisons import QUICK

import ddaudio
from ddaudio.comparing import CompareOptions, worker
from ddaudio.comparing.worker import StepTiming
from ddaudio.errors import OptionError, OutputError
from ddaudio.options import FitOptions
from ddaudio.training.history import Progress


class Clock:
    """A clock that goes on when it is told to."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now


RunOfTraining = tuple[str, float, int, int, float]
"""Stage, start, steps taken and planned, and what a step takes."""


def pretended(clock: Clock, runs: list[RunOfTraining]) -> Callable[..., Any]:
    """Return a fit without any, whose runs of training take known times."""

    def fit(*_: object, progress: Callable[[Progress], None]) -> Any:
        for stage, start_s, taken, planned, step_s in runs:
            clock.now += start_s
            for step in range(0, taken + 1, 10):
                clock.now += step_s * min(step, 10)
                progress(Progress(stage, step, planned, 1.0, 3.0))
        clock.now += 100
        progress(Progress("measuring", 0, 0, 1.0, 3.0))
        return SimpleNamespace(stopped=False)

    return fit


@pytest.mark.parametrize(
    ("runs", "pace"),
    [
        ([("training", 2.0, 30, 30, 0.5)], (2.0, 0.5)),
        ([("training", 2.0, 10, 30, 0.5)], (2.0, 0.5)),  # ended early
        # A step that is asked for is one of each network, and one of both.
        (
            [
                ("training (sine)", 2.0, 30, 30, 0.5),
                ("training (stack)", 1.0, 30, 30, 0.1),
                ("training (both)", 0.0, 30, 30, 0.4),
            ],
            (3.0, 1.0),
        ),
        ([("training", 2.0, 30, 30, 0.5), ("training", 1.0, 10, 20, 0.6)], (3.0, 0.9)),  # an exchange, with fewer steps
        ([("training", 2.0, 0, 30, 0.0)], (2.0, 1e-6)),  # nothing to train
    ],
)
def test_a_pace_is_that_of_the_steps_and_of_all_else(
    runs: list[RunOfTraining], pace: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(worker, "_warm_up", lambda _: None)
    monkeypatch.setattr(worker, "_Seen", partial(worker._Seen, began=0.0))
    monkeypatch.setattr(worker, "time", clock)
    monkeypatch.setattr(worker, "fit", pretended(clock, runs))
    assert worker.pace(worker.Trial("", "", FitOptions())) == pytest.approx(pace)


def test_a_trial_that_is_interrupted_tells_no_pace(sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fit takes Ctrl-C for its end, and hands over what it has: its trial must not take that for all."""
    entry = CompareOptions(models="sine", losses="mse").entries({"budget": 100, "frame_s": 0.05})[0]
    seen = worker._Seen.__call__

    def stop(self: Any, progress: Progress) -> None:
        seen(self, progress)
        if progress.step:
            raise KeyboardInterrupt

    monkeypatch.setattr(worker._Seen, "__call__", stop)
    with pytest.raises(KeyboardInterrupt):
        worker.pace(worker.Trial("", str(sound), entry.options))


def test_steps_are_those_that_fit_into_the_time(
    sound: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert [StepTiming(2.0, 0.5).steps_in(time_s) for time_s in (7.0, 2.4, 1.0)] == [10, 1, 1]
    assert StepTiming(0.0, 1e-6).steps_in(86400) == 10**6, "no more may be asked for"
    settings = {name: value for name, value in QUICK.items() if name != "steps"}
    paces = iter([StepTiming(1.0, 0.5), StepTiming(1.5, 0.25)])
    monkeypatch.setattr(worker, "pace", lambda _: next(paces))
    asked = {"models": "sine", "losses": "mse,mae", "seeds": 1, **settings}
    found = ddaudio.compare(sound, tmp_path / "out", time_s=3, **asked)
    assert [run.steps for run in found.runs] == [4, 6]
    again = ddaudio.compare(sound, tmp_path / "out", time_s=2, **asked)
    assert [run.steps for run in again.runs] == [2, 2], "paces are kept, where no other is at hand"
    assert (tmp_path / "out" / str(found.runs[0].folder)).exists(), "and so are the fits"


def test_sums_are_timed_and_compared(sound: Path, tmp_path: Path) -> None:
    found = ddaudio.compare(sound, tmp_path / "out", models="sine+siren", losses="mse", seeds=1, time_s=0.5, frame_s=0.05)
    (run,), (curve,) = found.runs, found.curves
    assert found.failed == 0
    assert curve is not None
    assert curve.steps == sorted(curve.steps)
    assert len(curve.steps) > len(set(curve.steps)), "each network by itself, then both"
    assert run.steps == curve.steps[-1]
    assert run.steps_to_90 is None


def test_paces_of_others_are_kept_and_damaged_ones_found_out_again(
    sound: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = {name: value for name, value in QUICK.items() if name != "steps"}
    asked = {"losses": "mse", "seeds": 1, "time_s": 3, **settings}
    timed: list[str] = []

    def pace(trial: worker.Trial) -> StepTiming:
        timed.append(trial.options.model.model)
        return StepTiming(1.0, 0.5)

    monkeypatch.setattr(worker, "pace", pace)
    out = tmp_path / "out"
    first = ddaudio.compare(sound, out, models="sine,cascade", **asked)
    ddaudio.compare(sound, out, models="sine", force=True, **asked)
    assert timed == ["sine", "cascade", "sine"]
    again = ddaudio.compare(sound, out, models="sine,cascade", **asked)
    assert timed == ["sine", "cascade", "sine"], "that of cascade is still known"
    assert again.runs[1] == first.runs[1]
    kept = (out / "paces.json").read_text()
    for damage in (
        "{",
        "[1]",
        "[" * 100_000,
        kept.replace("0.5", "NaN"),
        kept.replace("0.5", "0.0"),
        kept.replace("1.0", "-1.0"),
    ):
        timed.clear()
        (out / "paces.json").write_text(damage)
        ddaudio.compare(sound, out, models="sine,cascade", **asked)
        assert timed == ["sine", "cascade"], damage[:40]


def test_fits_are_found_again_whatever_they_are_compared_with(made: list[str], sound: Path, tmp_path: Path) -> None:
    other = write_tone(tmp_path / "deeper" / "other.wav", 4, 0.3)
    asked = {"models": "sine", "losses": "mse", "seeds": 1, **QUICK}
    ddaudio.compare(other, tmp_path / "out", **asked)
    made.clear()
    both = ddaudio.compare([sound, other], tmp_path / "out", **asked)
    assert len(made) == 1
    assert [run.recording for run in both.runs] == ["tone.wav", "deeper/other.wav"]


def test_what_would_be_the_same_fits_is_refused(sound: Path, tmp_path: Path) -> None:
    asked = {"models": "sine", "losses": "mse", "seeds": 1, **QUICK}
    (tmp_path / "copy").mkdir()
    shutil.copy(sound, tmp_path / "copy")
    with pytest.raises(OptionError, match=r"'tone\.wav' and 'copy/tone\.wav' are the same to fit"):
        ddaudio.compare([sound, tmp_path / "copy" / "tone.wav"], tmp_path / "out", **asked)
    variants = tmp_path / "variants.toml"
    variants.write_text(f'["ä"]\nbudget = {round(0.06 * 2400)}\n["ö"]\n', encoding="utf-8")
    with pytest.raises(OptionError, match="'ä, sine, mse' and 'ö, sine, mse' are the same to fit"):
        ddaudio.compare(sound, tmp_path / "out", variants=str(variants), **asked)
    assert not (tmp_path / "out").exists()


def test_an_output_with_something_in_the_way_is_refused(sound: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "paces.json").write_text("{}")
    (tmp_path / "out" / "recordings").write_text("mine")
    with pytest.raises(OutputError, match="cannot be written to"):
        ddaudio.compare(sound, tmp_path / "out", stretch_s=0.1, **QUICK)
    assert (tmp_path / "out" / "recordings").read_text() == "mine"
