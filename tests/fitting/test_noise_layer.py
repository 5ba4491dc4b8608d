"""Fits with noise: what the waves are, what is written, what is refused; on real recordings."""

import json
from pathlib import Path

import pytest
import soundfile
import torch
from sounds import RATE, noise, pluck

import ddaudio
from ddaudio.errors import OptionError
from ddaudio.fitting import plan as planning
from ddaudio.fitting.result import FitResult
from ddaudio.fitting.run import fit, fit_many
from ddaudio.io import audio
from ddaudio.io.audio import Recording
from ddaudio.options import FitOptions
from ddaudio.results.read import read_audio, read_report
from ddaudio.training.history import Progress

RECORDINGS = Path(__file__).parents[3] / "shared/recordings"
real = pytest.mark.skipif(not RECORDINGS.exists(), reason="needs the real recordings, see DDAUDIO_RECORDINGS")


@pytest.mark.parametrize("model", ["sine", "double-dutch", "sine+double-dutch"])
def test_the_waves_of_a_target_snr_are_those_without_noise(model: str) -> None:
    alone, both = (fit(pluck(0.25), model=name, target_snr_db=15) for name in (model, f"{model}+noise"))
    for term, same in zip(alone.network.terms, both.network.terms, strict=False):
        for name, tensor in term.to_tensors().items():
            assert torch.equal(tensor, same.to_tensors()[name])
    assert torch.equal(alone.waves[:, :], both.waves[:, :])
    assert alone.snr_db == both.snr_db
    assert both.network.title == f"{model}+noise"
    assert both.noise is not None
    torch.testing.assert_close(both.estimate[:, :], both.waves[:, :] + both.noise[:, :], rtol=0, atol=0)
    torch.testing.assert_close(both.residual[:, :], pluck(0.25).samples - both.waves[:, :], rtol=0, atol=0)


def test_the_default_size_of_the_waves_and_of_the_noise() -> None:
    recording = Recording(noise(2.0), RATE)
    result = fit(recording, model="sine+noise")
    waves, layer = result.network.terms
    assert waves.n_parameters() <= 0.02 * recording.n_samples
    assert layer.n_parameters() <= planning.NOISE_PER_SECOND * recording.duration_s
    assert result.options.model.target_snr_db is None
    assert result.reached_goal
    assert not any("goal" in warning or "noise" in warning for warning in result.warnings)
    distance_db = result.metrics["erb_db"].value
    assert distance_db is not None
    assert distance_db < 5  # two realisations of a noise are 4.9 dB apart at 8 kHz


@pytest.mark.parametrize("model", ["noise", "sine+noise", "sine+double-dutch+noise"])
@pytest.mark.parametrize("budget", [200, 600])
def test_a_budget_is_that_of_everything(model: str, budget: int) -> None:
    result = fit(Recording(noise(1.0), RATE), model=model, budget=budget)
    assert 0.7 * budget < result.n_parameters <= budget


def test_shares_of_a_budget_are_chosen() -> None:
    one, other = (
        fit(Recording(noise(1.0), RATE), model="sine+noise", budget=600, budget_split=split) for split in ("1,1", "5,1")
    )
    sizes = [[term.n_parameters() for term in result.network.terms] for result in (one, other)]
    assert sizes[0][0] == pytest.approx(300, abs=10)
    assert sizes[1][0] == pytest.approx(500, abs=10)
    assert sizes[1][1] < sizes[0][1]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"model": "noise+sine"}, r"sine\+noise"),
        ({"model": "sine+noise+noise"}, "sine"),
        ({"model": "noise", "partials": 3}, "partials"),
        ({"model": "noise", "whole": True}, "whole"),
        ({"model": "sine+noise", "budget_split": "1"}, "budget_split"),
    ],
)
def test_what_makes_no_sense_is_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        FitOptions().with_settings(settings)


ODD = {
    "silence": torch.zeros(1, 2000),
    "a constant": torch.full((1, 2000), 0.5),
    "one sample": torch.ones(1, 1),
    "two samples": torch.tensor([[0.5, -0.5]]),
    "a click": torch.nn.functional.pad(torch.ones(1, 1), (1000, 999)),
}


@pytest.mark.parametrize("model", ["noise", "sine+noise"])
@pytest.mark.parametrize("name", ODD)
def test_odd_input_is_fitted_and_saved(name: str, model: str, tmp_path: Path) -> None:
    result = fit(Recording(ODD[name], RATE), model=model)
    assert bool(result.estimate[:, :].isfinite().all())
    assert result.status in ("converged", "step limit", "not trained", "not fitted")
    ddaudio.save_fit(result, tmp_path / "fit")
    assert read_report(tmp_path / "fit")["model"]["name"] == model


def test_blocks_have_one_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 2 s: the waves are cut, the noise is fitted to what they leave of the whole."""
    monkeypatch.setattr(planning, "BLOCK_SAMPLES", 16_000)
    result = fit(Recording(noise(5.0), RATE), model="sine+noise", steps=2, exchanges=0)
    assert len(result.stages[0].blocks) > 1
    waves, layer = result.network.terms
    assert layer.shape == waves.shape == (1, 5 * RATE)
    power = [float(signals[:, :].square().mean()) for signals in (result.estimate, result.recording.samples)]
    assert power[0] == pytest.approx(power[1], rel=0.2)  # within 0.8 dB


def test_many_recordings_have_the_noise_that_each_has_alone() -> None:
    recordings = [pluck(0.25), Recording(noise(0.3), RATE)]
    for together, recording in zip(fit_many(recordings, model="sine+noise"), recordings, strict=True):
        alone = fit(recording, model="sine+noise")
        assert together.network.title == "sine+noise"
        assert together.noise is not None
        assert alone.noise is not None
        power = [float(result.noise[:, :].square().mean()) for result in (together, alone)]  # type: ignore[index]
        assert power[0] == pytest.approx(power[1], rel=0.05)  # waves differ by rounding, and so do levels at the price's edge


def test_a_folder_has_both_parts_and_everything(tmp_path: Path) -> None:
    result = fit(pluck(0.25), model="sine+noise")
    ddaudio.save_fit(result, tmp_path / "fit")
    files = ("resynth.wav", "waves.wav", "noise.wav", "residual.wav")
    everything, waves, layer, residual = (torch.from_numpy(soundfile.read(tmp_path / "fit" / name)[0]) for name in files)
    torch.testing.assert_close(everything, waves + layer, rtol=0, atol=1e-6)  # rounding of float32
    torch.testing.assert_close(waves + residual, pluck(0.25).samples[0].double(), rtol=0, atol=1e-6)
    report = read_report(tmp_path / "fit")
    assert report["goal"] == {"name": "max_parameters_per_sample", "asked": 0.02, "reached": True}
    assert [term["name"] for term in report["model"]["terms"]] == ["sine", "noise"]
    sounds = read_audio(tmp_path / "fit", report)
    assert list(sounds.by_name()) == ["original", "resynthesis", "residual", "waves", "noise"]
    torch.testing.assert_close(sounds.original[:, :], pluck(0.25).samples, rtol=0, atol=1e-6)
    page = (tmp_path / "fit/report.html").read_text(encoding="utf-8")
    assert all(f'"name": "{name}"' in page for name in sounds.by_name())
    again = fit(pluck(0.25), FitOptions().with_settings(ddaudio.options.read_settings(tmp_path / "fit/fit.toml")))
    assert torch.equal(again.estimate[:, :], result.estimate[:, :])
    assert json.dumps(report, allow_nan=False)


@real
@pytest.mark.parametrize(
    "name",
    [
        "barks/dogblocks_b.5.ogg",
        "speech/sentence-16k.wav",
        "field/rain-stereo.flac",
        "percussion/drum_snare_hard.flac",
        "digits/0_george_0.wav",
    ],
)
def test_real_recordings_are_near_to_the_ear(name: str) -> None:
    """Nothing audible is dead, and the levels are as near as those of two realisations of a noise (3.7 to 4.9 dB)."""
    whole = audio.read(RECORDINGS / name)
    recording = Recording(whole.samples[:, : whole.sample_rate], whole.sample_rate, name)
    result = fit(recording, model="sine+noise", exchanges=0, steps=2)
    distance_db, dead = (result.metrics[metric].value for metric in ("erb_db", "dead_bands"))
    assert distance_db is not None
    assert dead is not None
    assert distance_db < 5
    assert dead < 0.02
    assert not result.metrics.missing_bands


def heights(result: FitResult) -> torch.Tensor:
    return result.network.terms[-1].to_tensors()["height_db"]


@pytest.mark.parametrize("loss", ["erb", "mss", "mel"])
def test_descent_on_expected_power_changes_the_noise_alone(loss: str) -> None:
    recording = Recording(pluck(0.5).samples + noise(0.5) / 20, RATE)
    plain, trained = fit(recording), fit(recording, noise_steps=12, noise_loss=loss, evaluate_every=4)
    (run,) = trained.stages[-1].blocks[0]
    assert [seen.step for seen in run.evaluations] == [0, 4, 8, 12]
    assert run.best.terms[loss] < run.evaluations[0].terms[loss]
    assert trained.stages[-1].name == "noise"
    assert torch.equal(plain.waves[:, :], trained.waves[:, :])
    assert not torch.equal(heights(plain), heights(trained))
    assert trained.options.networks["noise"].changes()["noise_steps"] == 12


def test_descent_trains_the_waves_if_asked() -> None:
    recording = Recording(pluck(0.5).samples + noise(0.5) / 20, RATE)
    plain, trained = fit(recording), fit(recording, noise_steps=10, noise_loss="mel", noise_waves=True)
    (run,) = trained.stages[-1].blocks[0]
    assert run.best.total < run.evaluations[0].total
    assert run.losses[0] == run.evaluations[0].terms
    assert sorted(run.losses[0]) == ["mel", "mse"]
    assert not torch.equal(plain.waves[:, :], trained.waves[:, :])
    # The estimate is that of the stored network, to the bit.
    assert torch.equal(trained.network.terms[0].estimate(), trained.waves[:, :])
    assert trained.snr_db == pytest.approx(run.best.snr_db, abs=0.01)


def test_descent_that_is_stopped_keeps_the_best() -> None:
    def stop(progress: Progress) -> None:
        if progress.stage == "descending with noise" and progress.step == 4:
            raise KeyboardInterrupt

    recording = Recording(noise(0.5), RATE)
    stopped = fit(recording, model="noise", noise_steps=8, evaluate_every=2, progress=stop)
    (run,) = stopped.stages[-1].blocks[0]
    assert (stopped.status, run.evaluations[-1].step) == ("stopped", 4)
    assert run.best.total < run.evaluations[0].total


def test_descent_that_is_stopped_before_its_first_step_leaves_the_waves() -> None:
    def stop(progress: Progress) -> None:
        if progress.stage == "descending with noise":
            raise KeyboardInterrupt

    stopped = fit(pluck(0.25), noise_steps=8, progress=stop)
    assert (stopped.status, stopped.network.title, stopped.noise) == ("stopped", "sine", None)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"noise_steps": -1}, "noise_steps is -1"),
        ({"noise_steps": 5, "noise_loss": "mls"}, "mss"),
        ({"noise_loss": "mel"}, "noise_steps"),
        ({"noise_waves": True}, "noise_steps"),
        ({"model": "sine", "noise_steps": 5}, "noise_steps"),
        ({"model": "noise", "noise_steps": 5, "noise_waves": True}, "noise_waves"),
    ],
)
def test_descent_refuses_what_it_cannot_do(settings: dict[str, object], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        fit(Recording(noise(0.1), RATE), **settings)


def test_descent_is_for_recordings_of_one_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "BLOCK_SAMPLES", 8000)
    with pytest.raises(OptionError, match=r"noise_steps.*8000 samples"):
        fit(Recording(noise(2.0), RATE), noise_steps=5)


@pytest.mark.parametrize(
    ("model", "settings", "exchanges"),
    [
        ("sine+noise", {}, 1),
        ("sine+noise", {"max_parameters_per_sample": 0.03}, 1),
        ("sine+noise", {"target_snr_db": 20}, 2),
        ("sine+noise", {"budget": 300}, 2),
        ("sine+noise", {"exchanges": 3}, 3),
        ("sine", {}, 2),
        ("double-dutch+noise", {}, 1),
        ("double-dutch", {}, 8),
    ],
)
def test_the_number_of_exchanges_by_default(model: str, settings: dict[str, object], exchanges: int) -> None:
    plan = planning.make_plan(pluck(0.25), FitOptions().with_settings({"model": model} | settings))
    assert plan.stages[0].options.training.exchanges == exchanges


@real
def test_digital_silence_around_a_bark_stays_silent() -> None:
    """The floor is 85 dB below the loudest node. What no hat follows of the bark must not raise the silence around it."""
    recording = audio.read(RECORDINGS / "barks/1-100032-A.ogg")
    silent = 2 * recording.sample_rate
    assert not bool(recording.samples[:, :silent].any())
    noise = fit(recording).noise
    assert noise is not None
    assert 10 * float(noise[:, :silent].square().mean().log10()) < -80
