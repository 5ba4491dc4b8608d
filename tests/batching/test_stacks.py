"""Stacks: short recordings of a batch that are fitted together."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from batches import QUICK, assert_same_sounds, fits, models, work_alone, write_tones
from hypothesis import given
from hypothesis import strategies as st

import ddaudio
from ddaudio.batching import BatchOptions, run, worker
from ddaudio.batching.inputs import Input
from ddaudio.batching.up_to_date import BatchJob
from ddaudio.fitting import refinement
from ddaudio.fitting import run as fitting
from ddaudio.fitting.result import FitResult
from ddaudio.io.audio import Recording
from ddaudio.io.storage import LocalStorage
from ddaudio.options import FitOptions, TrainingOptions
from ddaudio.options.batch import STACKS_PER_WORKER
from ddaudio.training.history import TrainingRun
from ddaudio.training.run import TrainingTask


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    work_alone(monkeypatch, run)


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Recordings that are fitted together, call by call."""
    found: list[int] = []
    iterate_fits = worker.iterate_fits

    def noting(recordings: Sequence[Recording], options: FitOptions) -> list[FitResult]:
        found.append(len(recordings))
        return iterate_fits(recordings, options)

    monkeypatch.setattr(worker, "iterate_fits", noting)
    return found


def test_a_stack_gives_the_fits_of_each_recording(tmp_path: Path, sizes: list[int]) -> None:
    sounds = write_tones(tmp_path / "in", 15)
    (sounds / "bad.wav").write_bytes(b"no sound")
    result = ddaudio.batch(sounds, tmp_path / "stacked", workers=1, **QUICK)
    # 16 files make four stacks of four; the last, with the smallest file, holds the bad one.
    assert (sizes, result.contents["fitted"], result.failed) == ([4, 4, 4, 3], 15, 1)
    sizes.clear()
    ddaudio.batch(sounds, tmp_path / "single", workers=1, stack=1, **QUICK)
    assert set(sizes) == {1}
    assert_same_sounds(tmp_path / "stacked", tmp_path / "single")
    lone = ddaudio.fit(sounds / "tone 4.wav", **QUICK)
    ddaudio.save_fit(lone, tmp_path / "lone", html=False)
    assert (tmp_path / "lone" / "model.safetensors").read_bytes() == models(tmp_path / "single")["tone 4.wav-fit"]


@pytest.mark.parametrize("error", [ArithmeticError("no solution"), MemoryError("too large")], ids=repr)
def test_a_fit_that_fails_leaves_the_others_of_its_stack_alone(
    tmp_path: Path, sizes: list[int], error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error in the middle of the work of a stack, for one of its recordings; the longest tones are in the first stack."""
    sounds = write_tones(tmp_path / "in", 16)
    train, fatal = refinement.train_many, ddaudio.read(sounds / "tone 15.wav").samples[:, :]

    def failing(tasks: Sequence[TrainingTask], options: TrainingOptions) -> list[TrainingRun]:
        if any(torch.equal(task.target, fatal) for task in tasks):
            raise error
        return train(tasks, options)

    monkeypatch.setattr(refinement, "train_many", failing)
    result = ddaudio.batch(sounds, tmp_path / "out", workers=1, retries=0, **QUICK)
    assert (result.contents["fitted"], result.failed) == (15, 1)
    assert sorted(sizes, reverse=True) == [4, 4, 4, 4, 2, 2, 1, 1]
    (row,) = [row for row in result.rows() if row.status == "failed"]
    assert str(error) in row.reason


@pytest.mark.parametrize("given", [{"losses": "mse=1,phase=0.5"}, {"estimator": "annihilating-filter", "partials": 1}], ids=str)
def test_fits_that_take_gradients_are_read_fitted_and_saved_one_by_one(
    tmp_path: Path, sizes: list[int], given: dict[str, Any]
) -> None:
    sounds = write_tones(tmp_path / "in", 8)
    settings = {name: value for name, value in QUICK.items() if "partials" not in given or name != "target_snr_db"}
    assert ddaudio.batch(sounds, tmp_path / "out", workers=1, **settings, **given).failed == 0
    assert sizes == [1] * 8


def test_an_interrupt_leaves_nothing_half_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sounds, output = write_tones(tmp_path / "in", 12), tmp_path / "out"
    save, saved = worker.saving.write_fit, []

    def interrupted(*arguments: Any, **options: Any) -> Any:
        if len(saved) == 4:
            raise KeyboardInterrupt
        saved.append(1)
        return save(*arguments, **options)

    monkeypatch.setattr(worker.saving, "write_fit", interrupted)
    result = ddaudio.batch(sounds, output, workers=1, **QUICK)
    assert (result.stopped, len(fits(output))) == (True, 4)
    assert not [*output.glob(".ddaudio-*")]
    monkeypatch.undo()
    work_alone(monkeypatch, run)
    again = ddaudio.batch(sounds, output, workers=1, **QUICK)
    assert (again.contents["fitted"], again.contents["kept"]) == (8, 4)


def test_an_interrupt_keeps_the_fits_of_a_stack_that_are_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sounds, output = write_tones(tmp_path / "in", 12), tmp_path / "out"
    measure, measured = fitting.measure, []

    def interrupted(*arguments: Any) -> Any:
        measured.append(1)
        if len(measured) == 3:  # of a stack of four
            raise KeyboardInterrupt
        return measure(*arguments)

    monkeypatch.setattr(fitting, "measure", interrupted)
    result = ddaudio.batch(sounds, output, workers=1, **QUICK)
    assert result.stopped
    assert len(fits(output)) == 2
    monkeypatch.undo()
    work_alone(monkeypatch, run)
    again = ddaudio.batch(sounds, output, workers=1, **QUICK)
    assert (again.contents["fitted"], again.contents["kept"]) == (10, 2)


@given(
    sizes=st.lists(st.integers(0, 3 * run.SMALL_BYTES), max_size=80),
    stack=st.integers(1, 40),
    workers=st.integers(1, 4),
    suffix=st.sampled_from([".wav", ".ogg"]),
)
def test_stacks_hold_each_recording_once_and_no_more_than_they_may(
    sizes: list[int], stack: int, workers: int, suffix: str
) -> None:
    items = [Input(f"/in/{place}{suffix}", f"{place}-fit", size, "") for place, size in enumerate(sizes)]
    how = BatchOptions(stack=stack, workers=workers)
    planned = run._Run(items, BatchJob(LocalStorage("/out"), FitOptions(), html=False, force=False), how, lambda _: None)
    stacks = list(planned._stacks(range(len(items))))
    planned.rows.close()
    assert sorted(one.place for each in stacks for one in each) == list(range(len(items)))
    most = max(1, min(stack, len(items) // (STACKS_PER_WORKER * workers)))
    for each in stacks:
        sound = [run._sound_bytes(one.item) for one in each]
        assert len(each) <= most
        assert sum(sound) <= run.STACK_BYTES or len(each) == 1
        assert len(each) == 1 or max(sound) <= run.SMALL_BYTES
    firsts = [run._sound_bytes(each[0].item) for each in stacks]
    assert firsts == sorted(firsts, reverse=True), "what has most sound comes first"
