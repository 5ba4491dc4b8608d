"""Short recordings of a batch, which are fitted side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from batches import QUICK, assert_same_sounds, fits, models, work_alone, write_tones
from hypothesis import given
from hypothesis import strategies as st

import ddaudio
from ddaudio.batching import BatchOptions, run, worker
from ddaudio.batching.inputs import Input
from ddaudio.batching.up_to_date import BatchJob
from ddaudio.io.storage import LocalStorage
from ddaudio.options import FitOptions
from ddaudio.options.batch import STACKS_PER_WORKER
from ddaudio.parallel import lockstep


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    work_alone(monkeypatch, run)


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """For how many recordings work was done at a time."""
    sizes: list[int] = []
    do = lockstep._Meeting._do

    def noting(self: Any, work: Any, places: Sequence[int]) -> None:
        sizes.append(len(places))
        do(self, work, places)

    monkeypatch.setattr(lockstep._Meeting, "_do", noting)
    return sizes


def test_stacks_say_what_each_fit_says(tmp_path: Path, together: list[int]) -> None:
    sounds = write_tones(tmp_path / "in", 15)
    (sounds / "bad.wav").write_bytes(b"no sound")
    result = ddaudio.batch(sounds, tmp_path / "stacked", workers=1, **QUICK)
    # 16 files make four stacks of four; the last, with the smallest file, holds the bad one.
    assert (max(together), result.contents["fitted"], result.failed) == (4, 15, 1)
    together.clear()
    ddaudio.batch(sounds, tmp_path / "single", workers=1, stack=1, **QUICK)
    assert not together
    assert_same_sounds(tmp_path / "stacked", tmp_path / "single")
    lone = ddaudio.fit(sounds / "tone 4.wav", **QUICK)
    ddaudio.save_fit(lone, tmp_path / "lone", html=False)
    assert (tmp_path / "lone" / "model.safetensors").read_bytes() == models(tmp_path / "single")["tone 4.wav-fit"]


def test_what_has_no_room_in_a_stack_is_fitted_by_itself(
    tmp_path: Path, together: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file may hold more sound than its size tells: ten tones of 800 samples have room for two at a time here."""
    sounds = write_tones(tmp_path / "in", 10)
    monkeypatch.setattr(worker, "TOGETHER_SAMPLES", 1700)
    monkeypatch.setattr(run, "STACKS_PER_WORKER", 1)
    assert ddaudio.batch(sounds, tmp_path / "out", workers=1, **QUICK).failed == 0
    assert max(together) == 2
    assert len(fits(tmp_path / "out")) == 10


def test_fits_that_take_gradients_are_not_put_together(tmp_path: Path, together: list[int]) -> None:
    sounds = write_tones(tmp_path / "in", 8)
    assert ddaudio.batch(sounds, tmp_path / "out", workers=1, losses="mse=1,pdl=0.5", **QUICK).failed == 0
    assert not together


def test_starts_that_take_gradients_are_not_put_together(tmp_path: Path, together: list[int]) -> None:
    sounds = write_tones(tmp_path / "in", 8)
    settings = {name: value for name, value in QUICK.items() if name != "target_snr_db"} | {
        "estimator": "annihilating-filter",
        "partials": 1,
    }
    assert ddaudio.batch(sounds, tmp_path / "out", workers=1, **settings).failed == 0
    assert not together


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
