"""A trained model as teacher."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sounds import RATE, pluck, tones

import ddaudio
from ddaudio.errors import CheckpointError, ModelError, OptionError
from ddaudio.fitting import plan as planning
from ddaudio.io.audio import Recording

TAUGHT = {"optimiser": "adam", "steps": 20, "exchanges": 0, "budget": 120, "learning_rate": 0.02}


@pytest.fixture
def teacher(tmp_path: Path) -> str:
    """A fit of the pluck at half its level: what it teaches is not what the recording says."""
    recording = pluck(0.2)
    ddaudio.save_fit(
        ddaudio.fit(replace(recording, samples=recording.samples * 0.5), model="sine"), tmp_path / "teacher", html=False
    )
    return str(tmp_path / "teacher")


@pytest.mark.parametrize("model", ["sine", "sine+surrogate", "stack", "sine+noise"])
def test_the_student_is_pulled_to_the_teacher(model: str, teacher: str) -> None:
    """The nearer to it, the larger the weight; what is kept is the best by the recording all the same."""
    distances, estimates = [], []
    for weight in (0.0, 0.3, 10.0):
        settings = {"teacher": weight, "teacher_model": teacher} if weight else {}
        result = ddaudio.fit(pluck(0.2), **TAUGHT | {"steps": 40, "learning_rate": 0.05, "tolerance": 0}, model=model, **settings)
        run = result.stages[-1].blocks[0][-1]
        distances.append(run.losses[-1]["teacher"] / weight if weight else math.inf)
        estimates.append([losses["mse"] for losses in run.losses])
        assert run.best.total == min(look.total for look in run.evaluations)
    assert distances[2] < 0.8 * distances[1]
    assert estimates[0] != estimates[1], "the descent is another one"


def test_the_loss_is_the_distance_to_the_teacher(teacher: str) -> None:
    recording = pluck(0.2)
    result = ddaudio.fit(recording, **TAUGHT, model="sine", teacher=2.0, teacher_model=teacher)
    start = ddaudio.fit(recording, **{**TAUGHT, "steps": 0}, model="sine")
    lesson = ddaudio.render(ddaudio.load_model(teacher), only="waves")[:, :]
    level = recording.samples.square().mean()
    wanted = 2.0 * (start.estimate[:, :] - lesson).square().mean() / level
    assert result.stages[0].blocks[0][0].losses[0]["teacher"] == pytest.approx(float(wanted), rel=1e-3)  # float32, files
    assert "teacher" not in result.stages[0].blocks[0][0].evaluations[-1].terms


def test_long_recordings_learn_from_the_part_of_each_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the recording itself as teacher, its loss is that of the recording in every block."""
    recording = Recording(tones([440.0, 620.0], [0.3, 0.2], [0.0, 1.0], 2.0), RATE)
    ddaudio.save_fit(ddaudio.fit(recording, model="sine", target_snr_db=50), tmp_path / "exact", html=False)
    monkeypatch.setattr(planning, "BLOCK_SAMPLES", 4000)
    exact = str(tmp_path / "exact")
    settings = {"optimiser": "adam", "steps": 3, "exchanges": 0, "model": "sine", "target_snr_db": 15, "frame_s": 0.05}
    result = ddaudio.fit(recording, **settings, teacher=1.0, teacher_model=exact)
    assert len(result.stages[0].blocks) > 1
    for runs in result.stages[0].blocks:
        for losses in runs[0].losses:
            # The teacher is 50 dB near the recording, the estimate 15 dB or somewhat more.
            assert losses["teacher"] == pytest.approx(losses["mse"], rel=0.2)


def test_teachers_that_do_not_fit_are_refused_before_work(teacher: str, tmp_path: Path) -> None:
    given = {**TAUGHT, "model": "sine", "teacher_model": teacher}
    with pytest.raises(OptionError, match=r"but it has no weight; give teacher as well"):
        ddaudio.FitOptions().with_settings(given)
    with pytest.raises(OptionError, match=r"teacher_model is .* which has 1 channels of 1600 samples at 8000 Hz"):
        ddaudio.plan_fit(pluck(0.1), **given, teacher=1.0)
    with pytest.raises(ModelError, match="there is no model file"):
        ddaudio.plan_fit(pluck(0.2), **given | {"teacher_model": str(tmp_path / "nothing")}, teacher=1.0)
    with pytest.raises(OptionError, match="gauss-newton"):
        ddaudio.plan_fit(pluck(0.2), model="sine", teacher_model=teacher, teacher=1.0)


def test_a_fit_resumes_with_the_same_teacher_only(teacher: str, tmp_path: Path) -> None:
    given = {**TAUGHT, "model": "sine", "teacher_model": teacher, "teacher": 1.0, "checkpoint_every_s": 0.0}
    checkpoint = tmp_path / "checkpoint"
    first = ddaudio.fit(pluck(0.2), checkpoint=checkpoint, **given)
    again = ddaudio.fit(pluck(0.2), checkpoint=checkpoint, resume=True, **given)
    assert torch.equal(first.estimate[:, :], again.estimate[:, :])
    ddaudio.save_fit(ddaudio.fit(pluck(0.2), model="sine", budget=30), teacher, force=True, html=False)
    with pytest.raises(CheckpointError):
        ddaudio.fit(pluck(0.2), checkpoint=checkpoint, resume=True, **given)
