"""`ddaudio.fit`: goals, budgets, statuses, odd input; and on real recordings."""

import math
from pathlib import Path

import pytest
import torch
from sounds import RATE, noise, pluck, tones

import ddaudio
from ddaudio.audio import Recording
from ddaudio.errors import OptionError
from ddaudio.fitting import FitResult, fit
from ddaudio.framing import FRAMES_S, choose_frame_s, loudest_stretch
from ddaudio.metrics import snr_db
from ddaudio.options import FitOptions
from ddaudio.training import Progress


def snr_without_last(result: FitResult) -> float:
    network = result.network
    with torch.no_grad():
        return snr_db(network.without_last(network.ranked() - 1).estimate(), result.recording.samples)


@pytest.mark.parametrize("goal", [10.0, 25.0])
def test_a_goal_is_reached_and_not_overspent(goal: float) -> None:
    result = fit(pluck(), target_snr_db=goal)
    assert result.snr_db is not None
    assert result.snr_db >= goal
    assert snr_without_last(result) < goal
    assert result.reached_goal
    assert result.doubts == ()


def test_a_cap_stops_the_goal_and_is_told() -> None:
    result = fit(Recording(noise(0.5), RATE), max_numbers_per_sample=0.05)
    assert result.numbers <= 0.05 * 4000
    assert result.numbers > 0.05 * 4000 - 3
    assert result.snr_db is not None
    assert result.snr_db < 25
    assert not result.reached_goal
    assert any("goal missed" in doubt and "cap of 0.05" in doubt for doubt in result.doubts)


@pytest.mark.parametrize("budget", [150, 400, 1000])
def test_a_budget_is_met(budget: int) -> None:
    result = fit(pluck(), numbers=budget)
    assert 0.98 * budget <= result.numbers <= budget


def test_a_fixed_count_is_kept_in_every_frame() -> None:
    result = fit(Recording(noise(0.3), RATE), partials=4, steps=3)
    assert int(result.network.stored()["partials_in_frame"].max()) == 4


def test_a_budget_without_room_is_refused_before_any_work() -> None:
    with pytest.raises(OptionError, match=r"numbers is 5; .* needs \d+; raise numbers or frame_s"):
        fit(pluck(), numbers=5, frame_s=0.01)


def test_noise_under_half_a_decibel_is_not_fitted() -> None:
    result = fit(Recording(noise(1.0), RATE), numbers=60)
    assert result.status == "not fitted"
    assert result.doubts[0].startswith("not fitted: The SNR is 0.")


def test_a_known_mixture_is_recovered_after_training() -> None:
    """Steady partials, trained: frequency far below a bin, level and phase exact, SNR beyond 50 dB."""
    hz, level, phase = [437.3, 1250.0, 2718.3], [0.5, 0.25, 0.05], [0.3, -2.0, 1.1]
    result = fit(Recording(tones(hz, level, phase, 1.0), RATE), frame_s=0.064, partials=3, steps=150)
    table = result.network.describe()
    inside = (table["time_s"] > 0.1) & (table["time_s"] < 0.9)
    for f, a, p in zip(hz, level, phase, strict=True):
        near = inside & ((table["frequency_hz"] - f).abs() < 8)
        # Trained to 50 dB: the error of a partial is at most 0.3 % of the loudest, as a share of a bin (15.6 Hz).
        assert float((table["frequency_hz"][near] - f).abs().max()) < 0.003 * 15.6 * 0.5 / a
        assert float((table["amplitude"][near] - a).abs().max()) < 0.003 * 0.5
        turn = 2 * math.pi * f * table["time_s"][near] + p
        error = torch.remainder(table["phase_rad"][near] - turn + math.pi, 2 * math.pi) - math.pi
        assert float(error.abs().max()) < 0.006 * 0.5 / a


def test_channels_are_fitted_as_separate_signals() -> None:
    left, right = pluck().samples, noise(0.5, seed=5)
    both = fit(Recording(torch.cat([left, right]), RATE), frame_s=0.032, partials=5, steps=5)
    alone = fit(Recording(left, RATE), frame_s=0.032, partials=5, steps=0)
    together = fit(Recording(torch.cat([left, right]), RATE), frame_s=0.032, partials=5, steps=0)
    assert both.estimate.shape == (2, 4000)
    # Conjugate gradients share their steps among the channels, so the least squares end a little apart.
    assert float((alone.estimate - together.estimate[:1]).square().mean().sqrt()) < 0.01


ODD = {
    "silence": torch.zeros(1, 4000),
    "a constant": torch.full((1, 4000), 0.3),
    "one sample": torch.tensor([[0.5]]),
    "a click": torch.nn.functional.pad(torch.ones(1, 1), (2000, 1999)),
    "shorter than a frame": tones([500.0], [0.5], [0.0], 0.002),
    "eight channels": noise(0.1, channels=8),
    "clipped": (3 * tones([200.0], [1.0], [0.0], 0.3)).clamp(-1, 1),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_input_is_fitted(name: str) -> None:
    samples = ODD[name]
    result = fit(Recording(samples, RATE), steps=10, max_numbers_per_sample=2)
    assert result.estimate.shape == samples.shape
    assert bool(result.estimate.isfinite().all())
    if name == "silence":
        assert result.network.ranked() == 0
        assert result.snr_db is None
        assert "digital silence" in result.reason
        assert not result.estimate.any()
    else:
        assert result.reached_goal, result.doubts
    assert any("clipped" in doubt for doubt in result.doubts) == (name == "clipped")


@pytest.mark.parametrize("rate", [4000, 192000])
def test_extreme_rates(rate: int) -> None:
    result = fit(Recording(tones([700.0], [0.5], [0.0], 0.1, rate), rate), steps=5)
    assert result.reached_goal
    assert result.recording.sample_rate == rate


def test_the_same_seed_gives_the_same_numbers() -> None:
    one, two = fit(pluck(), losses="mse,mss=0.01", steps=12), fit(pluck(), losses="mse,mss=0.01", steps=12)
    assert all(torch.equal(one.network.stored()[key], two.network.stored()[key]) for key in one.network.stored())


def test_settings_replace_options_and_are_resolved() -> None:
    result = fit(pluck(), FitOptions().with_settings({"steps": 5}), seed=7)
    assert (result.options.training.steps, result.options.training.seed) == (5, 7)
    assert result.options.grid.frame_s in FRAMES_S
    with pytest.raises(OptionError, match="did you mean 'steps'"):
        fit(pluck(), step=5)


def test_resampling_on_the_way_in() -> None:
    result = fit(pluck(), sample_rate=4000, steps=3)
    assert result.recording.sample_rate == 4000
    assert result.estimate.shape == (1, 2000)


def test_progress_is_told_in_order() -> None:
    told: list[Progress] = []
    fit(pluck(), steps=20, progress=told.append)
    stages = [progress.stage for progress in told]
    assert list(dict.fromkeys(stages)) == ["choosing the frame length", "finding the starting point", "training", "measuring"]
    assert max(progress.step for progress in told) == 20


def test_a_stop_during_an_extension_keeps_what_was_trained() -> None:
    def stop(progress: Progress) -> None:
        if progress.stage == "training" and progress.step == 4:
            raise KeyboardInterrupt

    result = fit(pluck(), steps=80, judge_every=4, progress=stop)
    assert result.status == "stopped"
    assert result.doubts[0].startswith("stopped")
    assert result.snr_db is not None
    assert result.snr_db > 20


def test_frame_lengths_follow_the_sound() -> None:
    """A steady tone wants long frames; a train of clicks short ones."""
    options = FitOptions()
    steady = tones([500.0, 800.0], [0.3, 0.3], [0.0, 0.0], 2.0)
    clicks = torch.zeros(1, 16000)
    clicks[:, ::400] = 1.0
    clicks += 0.001 * noise(2.0)
    assert choose_frame_s(steady, RATE, options) > choose_frame_s(clicks, RATE, options)


def test_the_loudest_stretch() -> None:
    target = torch.zeros(2, 1000)
    target[1, 700:800] = 1
    assert float(loudest_stretch(target, 200).sum()) == 100
    assert loudest_stretch(target, 2000) is target


REAL = (
    "barks/5-231762-A.ogg",
    "speech/sentence-16k.wav",
    "field/rain-stereo.flac",
    "percussion/drum_cymbal_open.flac",
    "birds/misc_crow.flac",
    "digits/0_george_0.wav",
)


@pytest.mark.parametrize("name", REAL)
def test_real_recordings(name: str, shared_recordings: Path) -> None:
    """Bark, speech, stereo, noise, short: training beats its own start, and what is said is true."""
    recording = ddaudio.read(shared_recordings / name)
    if recording.duration_s > 6:
        recording = Recording(recording.samples[:, : 2 * recording.sample_rate].clone(), recording.sample_rate, name)
    result = fit(recording, steps=30)
    first = result.stages[0]
    assert first.best.total < first.looks[0].total
    assert result.snr_db == pytest.approx(snr_db(result.estimate, recording.samples), abs=1e-6)
    assert result.numbers <= 0.25 * recording.samples.numel()
    assert result.reached_goal or any("goal missed" in doubt for doubt in result.doubts)
    if result.reached_goal:
        assert snr_without_last(result) < 25


def test_an_hour_is_fitted() -> None:
    """An hour, at the lowest rate that is read, so that it fits into a test."""
    recording = Recording(tones([110.0, 220.0], [0.3, 0.1], [0.0, 1.0], 3600, 1000), 1000)
    result = fit(recording, frame_s=0.4, steps=1)
    assert result.estimate.shape == (1, 3_600_000)
    assert result.reached_goal
