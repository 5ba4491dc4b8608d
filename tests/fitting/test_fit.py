"""`ddaudio.fit`: goals, budgets, statuses, odd input; and on real recordings."""

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sounds import RATE, noise, pluck, tones
from sounds import fit_waves as fit

import ddaudio
from ddaudio.errors import OptionError
from ddaudio.fitting.resolved_options import PARTIALS_FRAME_S
from ddaudio.fitting.result import FitResult
from ddaudio.fitting.stagewise import Stage
from ddaudio.io import audio
from ddaudio.io.audio import Recording
from ddaudio.metrics.measure import snr_db
from ddaudio.models import DoubleDutchNetwork, SineNetwork
from ddaudio.models.base import AtBounds
from ddaudio.options import LOSSES, FitOptions
from ddaudio.results.summary import summary
from ddaudio.training.history import Evaluation, Progress, TrainingRun


def snr_without_last(result: FitResult) -> float:
    network = result.network
    with torch.no_grad():
        return snr_db(network.pruned(network.n_prunable() - 1).estimate(), result.recording.samples)


@pytest.mark.parametrize("losses", [*LOSSES, "pdl:far-to-near", "pdl:all-pairs:by-distance", "mss:ddsp", "mss:smooth"])
def test_every_loss_fits(losses: str) -> None:
    losses = "auraloss:ESRLoss" if losses == "auraloss" else losses
    result = fit(pluck(0.25), losses=losses, optimiser="adam", steps=3, exchanges=0, budget=200)
    assert result.snr_db is not None
    assert result.snr_db > 10  # the starting point has more; three steps lose little
    (runs,) = result.stages[0].blocks
    assert all(list(look.terms) == [losses] for look in runs[0].evaluations)
    assert runs[0].evaluations[-1].step == 3


def test_a_lag_that_has_no_pair_is_refused_before_any_work() -> None:
    stages: list[str] = []
    with pytest.raises(OptionError, match=r"'pdl:2000', but only 2000 samples are fitted at a time; allowed: lags below 2000"):
        fit(pluck(0.25), losses="mse,pdl:2000", progress=lambda progress: stages.append(progress.stage))
    assert set(stages) <= {"reading"}
    fit(pluck(0.25), losses="mse,pdl:1999", steps=1, exchanges=0, budget=100)


@pytest.mark.parametrize("goal", [10.0, 25.0])
def test_a_goal_is_reached_and_not_overspent(goal: float) -> None:
    result = fit(pluck(), target_snr_db=goal)
    assert result.snr_db is not None
    assert result.snr_db >= goal
    assert snr_without_last(result) < goal
    assert result.reached_goal
    # The pluck's upper partials are weak: SNR does without them, the ear does not, and nothing else is wrong.
    assert all("audible" in warning for warning in result.warnings)


def test_a_cap_stops_the_goal_and_is_told() -> None:
    result = fit(Recording(noise(0.5), RATE), max_parameters_per_sample=0.05)
    assert result.n_parameters <= 0.05 * 4000
    assert result.n_parameters > 0.05 * 4000 - 3
    assert result.snr_db is not None
    assert result.snr_db < 25
    assert not result.reached_goal
    assert any("goal missed" in doubt and "cap of 0.05" in doubt for doubt in result.warnings)


@pytest.mark.parametrize("budget", [150, 400, 1000])
def test_a_budget_is_met(budget: int) -> None:
    result = fit(pluck(), budget=budget)
    assert 0.98 * budget <= result.n_parameters <= budget


def test_a_fixed_count_is_kept_in_every_frame() -> None:
    result = fit(Recording(noise(0.3), RATE), partials=4, steps=3)
    assert int(result.network.to_tensors()["partials_in_cell"].max()) == 4


@pytest.mark.parametrize("given", [{}, {"frame_s": 0.01}, {"frame_s": 0.01, "overlap": 0.0}], ids=str)
def test_a_budget_without_room_is_refused_with_the_least_that_has_room(given: dict[str, float]) -> None:
    with pytest.raises(OptionError, match="budget is 4, too few for one component") as no:
        fit(pluck(), budget=4, **given)
    least = int(str(no.value.allowed).removesuffix(" or more"))
    with pytest.raises(OptionError, match=rf"budget is {least - 1}, .* allowed: {least} or more;"):
        fit(pluck(), budget=least - 1, **given)
    result = fit(pluck(), budget=least, **given)
    assert (result.network.n_prunable(), result.n_parameters) == (1, least)


@pytest.mark.parametrize("budget", [20, 40, 60])
def test_a_budget_of_a_few_partials_is_met(budget: int) -> None:
    """Of what one more partial takes, three numbers, nothing is left; cells take the rest."""
    assert budget - 3 < fit(pluck(), budget=budget).n_parameters <= budget


def test_a_goal_beyond_the_cap_is_missed_in_one_sentence_that_says_so() -> None:
    result = fit(pluck(), target_snr_db=60, max_parameters_per_sample=0.02, steps=2)
    assert result.snr_db is not None
    assert f"goal missed: {result.snr_db:.1f} of 60 dB at the cap of 0.02 parameters per sample" in result.warnings
    assert result.n_parameters <= 0.02 * 4000


def test_the_smallest_cap_leaves_room_for_one_partial() -> None:
    result = fit(Recording(noise(0.1), RATE), max_parameters_per_sample=0.0001)
    assert result.network.n_prunable() == 1
    assert not result.reached_goal


def test_noise_under_half_a_decibel_is_not_fitted() -> None:
    result = fit(Recording(noise(1.0), RATE), budget=60)
    assert result.status == "not fitted"
    assert result.warnings[0].startswith("not fitted: the SNR is 0.")
    assert result.warnings[1].startswith("mostly noise: ")


def kinds(result: FitResult) -> list[str]:
    """What each doubt is about."""
    return [doubt.partition(":")[0] for doubt in result.warnings]


QUICK = {"steps": 2, "exchanges": 0}


@pytest.mark.parametrize(
    ("settings", "components"),
    [
        ({"model": "sine"}, "partials"),
        ({"model": "double-dutch"}, "ropes"),
        ({"model": "sine+double-dutch"}, "partials and ropes"),
        ({"model": "sine+double-dutch", "leaves": "sine"}, "partials"),
    ],
    ids=str,
)
def test_noise_explains_a_goal_that_is_missed(settings: dict[str, str], components: str) -> None:
    result = fit(Recording(noise(0.5), RATE), max_parameters_per_sample=0.1, **settings, **QUICK)
    (doubt,) = [doubt for doubt in result.warnings if doubt.startswith("mostly noise")]
    found = re.fullmatch(
        r"mostly noise: spectral flatness (.*) \(a tone has 0, white noise 0\.51\); (.*) are a poor model of it", doubt
    )
    assert found is not None
    # Half a second is 16 frames, each of which strays by a twelfth.
    assert float(found[1]) == pytest.approx(0.51, abs=0.03)
    assert found[2] == components
    assert [kind for kind in kinds(result) if kind in ("goal missed", "mostly noise", "step limit")][:2] == [
        "goal missed",
        "mostly noise",
    ]


def test_noise_is_no_doubt_where_it_is_fitted_or_nothing_but_the_size_is_short() -> None:
    fits = {
        "reached": fit(Recording(noise(0.5), RATE), max_parameters_per_sample=2, **QUICK),
        "reached, a low one": fit(Recording(noise(0.5), RATE), target_snr_db=3, max_parameters_per_sample=2, **QUICK),
        "well fitted": fit(Recording(noise(0.25), RATE), max_parameters_per_sample=1.3, target_snr_db=60, **QUICK),
        "counted": fit(Recording(noise(0.25), RATE), budget=2400, **QUICK),
        "tones": fit(pluck(), max_parameters_per_sample=0.01, **QUICK),
    }
    assert {name: "goal missed" in kinds(result) for name, result in fits.items()} == {
        "reached": False,
        "reached, a low one": False,
        "well fitted": True,
        "counted": False,
        "tones": True,
    }
    assert [name for name, result in fits.items() if "mostly noise" in kinds(result)] == []


def test_a_few_clicks_are_no_noise() -> None:
    clicks = torch.zeros(1, 4000)
    clicks[:, [700, 1900, 3100]] = 0.5
    found = kinds(fit(Recording(clicks, RATE), max_parameters_per_sample=0.005, frame_s=0.05, **QUICK))
    assert "goal missed" in found
    assert "mostly noise" not in found


def test_parts_at_their_bounds_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of 100 partials are usual, and so are two of four; three of 100 are not."""
    told = {}
    for held, total in ((0, 100), (2, 4), (2, 100), (3, 150), (3, 100), (12, 300)):
        bounds = AtBounds(held, total, "values of frequency are at 0 or 4000 Hz", 0.02)
        monkeypatch.setattr(SineNetwork, "at_bounds", lambda _, bounds=bounds: bounds)
        doubts = fit(Recording(tones([440.0], [0.5], [0.0], 0.1), RATE), **QUICK).warnings
        told[held, total] = [doubt for doubt in doubts if doubt.startswith("at a bound")]
    assert {key for key, doubts in told.items() if doubts} == {(3, 100), (12, 300)}
    assert told[12, 300] == ["at a bound: 12 of 300 values of frequency are at 0 or 4000 Hz"]


@pytest.mark.parametrize(
    "settings", [{"model": "double-dutch"}, {"model": "sine+double-dutch", "budget_split": "0.2,0.8"}], ids=str
)
def test_cutoffs_at_their_bounds_are_told(settings: dict[str, str]) -> None:
    """What binary trees cannot say drives a fifth of their cutoffs and more to where a gate stays open or shut."""
    result = fit(pluck(), reading="binary", **settings)
    trees = result.network.terms[-1]
    assert isinstance(trees, DoubleDutchNetwork)
    held, total = int((trees.cutoffs.abs() == 1).sum()), trees.cutoffs.numel()
    assert [doubt for doubt in result.warnings if doubt.startswith("at a bound")] == [
        f"at a bound: {held} of {total} values of cutoff are at -1 or 1"
    ]


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
    "two samples": torch.tensor([[0.5, -0.25]]),
    "a click": torch.nn.functional.pad(torch.ones(1, 1), (2000, 1999)),
    "shorter than a frame": tones([500.0], [0.5], [0.0], 0.002),
    "eight channels": noise(0.1, channels=8),
    "clipped": (3 * tones([200.0], [1.0], [0.0], 0.3)).clamp(-1, 1),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_input_is_fitted(name: str) -> None:
    samples = ODD[name]
    result = fit(Recording(samples, RATE), steps=10, max_parameters_per_sample=2)
    assert result.estimate.shape == samples.shape
    assert bool(result.estimate.isfinite().all())
    if name == "silence":
        assert result.network.n_prunable() == 0
        assert result.snr_db is None
        assert "digital silence" in result.reason
        assert not result.estimate.any()
    else:
        assert result.reached_goal, result.warnings
    assert any("clipped" in doubt for doubt in result.warnings) == (name == "clipped")


@pytest.mark.parametrize("rate", [4000, 192000])
def test_extreme_rates(rate: int) -> None:
    result = fit(Recording(tones([700.0], [0.5], [0.0], 0.1, rate), rate), steps=5)
    assert result.reached_goal
    assert result.recording.sample_rate == rate


def test_the_same_seed_gives_the_same_numbers() -> None:
    one, two = fit(pluck(), losses="mse,mss=0.01", steps=12), fit(pluck(), losses="mse,mss=0.01", steps=12)
    assert all(torch.equal(one.network.to_tensors()[key], two.network.to_tensors()[key]) for key in one.network.to_tensors())


def test_settings_replace_options_and_are_resolved() -> None:
    result = fit(pluck(), FitOptions().with_settings({"steps": 5}), seed=7)
    assert (result.options.training.steps, result.options.training.seed) == (5, 7)
    assert (result.options.training.optimiser, result.options.grid.frame_s) == ("gauss-newton", None)
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
    assert list(dict.fromkeys(stages)) == ["reading", "dividing time", "finding the starting point", "training", "measuring"]
    assert max(progress.steps for progress in told) == 20
    assert 0 < max(progress.step for progress in told) <= 20
    assert {(progress.block, progress.blocks) for progress in told} == {(0, 1)}


@pytest.mark.parametrize("run", [0, 1, 2])
def test_a_stop_in_any_run_of_training_keeps_what_was_trained(run: int) -> None:
    """Run 0 trains the starting point; exchanges and extensions are trained in those after it."""
    begun = -1

    def stop(progress: Progress) -> None:
        nonlocal begun
        begun += progress.stage == "training" and progress.step == 0
        if begun == run and progress.step == 2:
            raise KeyboardInterrupt

    result = fit(pluck(), tolerance=0, progress=stop)
    assert result.status == "stopped"
    assert begun == run, "nothing is begun after the stop"
    with torch.no_grad():
        assert torch.equal(result.network.estimate(), result.estimate)
    assert result.warnings[0].startswith("stopped")
    assert result.snr_db is not None
    assert result.snr_db > 20


def test_cells_follow_the_sound() -> None:
    """A steady tone wants long cells; a click a short one; each signal has its own."""
    clicks_at = [1500, 2730, 5470]
    steady = tones([500.0, 800.0], [0.3, 0.3], [0.0, 0.0], 1.0) + 0.001 * noise(1.0)
    clicks = 0.001 * noise(1.0)
    clicks[:, clicks_at] = 1.0
    cells = fit(Recording(torch.cat([steady, clicks]), RATE), steps=0).network.grid.cells
    tone, click = cells.keep(cells.signal == 0), cells.keep(cells.signal == 1)
    around = [int(click.size[(click.first <= at).nonzero().max()]) for at in clicks_at]
    # As long as cells may be (0.38 s), but for what the signal's ends do; and far from that.
    assert int(tone.size.max()) > 0.3 * RATE
    assert max(around) < 0.05 * RATE


def test_frames_are_equal_where_a_length_is_given_or_partials_are_counted() -> None:
    given = fit(pluck(), frame_s=0.03, overlap=0.25, steps=0).network.grid.cells
    assert set(given.length.tolist()) == {round(0.03 * RATE)}
    # A fade is a quarter of a frame of 240 samples; the frame's hop what is left.
    assert set(given.size[:-1].tolist()) == {180}
    assert set(given.half_fade_in[1:].tolist()) == {30}
    counted = fit(pluck(), partials=3, steps=0)
    assert counted.options.grid.frame_s == PARTIALS_FRAME_S == 0.05
    assert set(counted.network.grid.cells.length.tolist()) == {400}


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
    if recording.duration_s > 0.5:
        recording = Recording(recording.samples[:, : recording.sample_rate // 2].clone(), recording.sample_rate, name)
    result = fit(recording, steps=3, exchanges=1)
    first = result.stages[0].blocks[0][0]
    assert first.best.total < first.evaluations[0].total
    assert result.snr_db == pytest.approx(snr_db(result.estimate, recording.samples), abs=1e-6)
    assert result.n_parameters <= 0.25 * recording.samples.numel()
    assert result.reached_goal or any("goal missed" in doubt for doubt in result.warnings)
    if result.reached_goal:
        assert snr_without_last(result) < 25
    assert result.training_gain_db is not None
    assert result.training_gain_db > 0


def test_what_training_brought_counts_no_decibel_twice() -> None:
    """Three runs: 10 to 11 dB; partials come and go, 10.5 to 11.5 dB; then 12.5 to 13 dB with more of them."""
    result = fit(Recording(tones([440.0], [0.5], [0.0], 0.1, 8000), 8000), steps=1)
    looks = [[10.0, 11.0], [10.5, 11.5], [12.5, 13.0], [9.0, 9.5]]
    runs = tuple(
        TrainingRun("converged", [Evaluation(i, {"mse": 10 ** (-db / 10)}, db) for i, db in enumerate(row)]) for row in looks
    )
    assert replace(result, stages=(Stage("sine", (runs,)),)).training_gain_db == pytest.approx(1.0 + 0.5 + 0.5 + 0.0)
    assert replace(result, stages=(Stage("sine", (runs, runs[:1])),)).training_gain_db == pytest.approx((2.0 + 1.0) / 2)


def test_the_decrease_of_a_loss_is_told_where_no_snr_was_trained() -> None:
    """The SNR falls when a spectral loss is trained: "training gain +0.00 dB" hid that the loss fell."""
    result = fit(pluck(0.2), losses="mss=1", optimiser="adam", steps=10, exchanges=0, budget=60)
    (run,) = result.stages[0].blocks[0]
    fall = 1 - run.best.total / run.evaluations[0].total
    assert result.training_loss_fall == pytest.approx(fall)
    assert f"training reduced the loss by {100 * fall:.1f} %" in "\n".join(summary(result))
    assert "training gain" in "\n".join(summary(fit(pluck(0.1), steps=1)))


def test_an_hour_is_fitted() -> None:
    """An hour, at the lowest rate that is read, so that it fits into a test; in blocks as they are."""
    recording = Recording(tones([110.0, 220.0], [0.3, 0.1], [0.0, 1.0], 3600, 1000), 1000)
    result = fit(recording, frame_s=1.0, partials=2, steps=0)
    assert len(result.stages[0].blocks) > 1
    assert result.estimate.shape == (1, 3_600_000)
    assert result.snr_db is not None
    # Two steady tones are what two partials in each frame say, but for float32 and the few steps that solved for them: one
    # frame of 7200 that is wrong, at an edge, would leave 39 dB.
    assert result.snr_db > 60


@pytest.mark.parametrize("name", ["bell.wav", "instruments/guit_harmonics.flac"])
def test_a_sound_that_strikes_and_rings_gains_from_cells_of_its_own(name: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue("shared_recordings") if "/" in name else Path(__file__).parents[2] / "recordings"
    recording = audio.read(folder / name)
    stretch = Recording(recording.samples[:, : 3 * recording.sample_rate].contiguous(), recording.sample_rate)
    quick = {"budget": 1300, "steps": 2, "exchanges": 0}
    adaptive = fit(stretch, **quick)
    equal_db = [fit(stretch, frame_s=frame_s, **quick).snr_db or 0.0 for frame_s in (0.05, 0.1, 0.2)]
    # The bell gains 12 dB and the guitar 9 dB over the best equal frames: half of that is far beyond chance.
    assert adaptive.snr_db is not None
    assert adaptive.snr_db > max(equal_db) + 4.5
    sizes = adaptive.network.grid.cells.size
    assert int(sizes.max()) >= 16 * int(sizes.min())


def test_a_band_that_is_missing_is_named_whatever_the_snr() -> None:
    generator = torch.Generator().manual_seed(0)
    tone = torch.sin(2 * math.pi * 440 * torch.arange(16000) / 16000)[None]
    # Hiss above 4 kHz, 34 dB below the tone in energy: a fit at 30 dB need not contain it, and yet it is audible.
    hiss = torch.fft.rfft(torch.randn(1, 16000, generator=generator))
    hiss[:, torch.fft.rfftfreq(16000, 1 / 16000) < 4000] = 0
    recording = Recording(tone + 0.02 * torch.fft.irfft(hiss, 16000), sample_rate=16000)
    result = fit(recording, target_snr_db=30, steps=0)
    assert result.reached_goal
    # The band that contains 4 kHz begins at 3.84 kHz; it is one of 7 of the 24, and half of the cells that are audible.
    (named,) = [re.match(r"nothing above (3\.8) kHz, where the recording has (\d+) %", one) for one in result.warnings[:1]]
    assert named is not None
    assert 40 < float(named[2]) < 60


def test_a_few_samples_are_not_called_noise() -> None:
    """Their spectrum is flat since it has the width of the frame."""
    few, many = (fit(Recording(noise(seconds), RATE), budget=400) for seconds in (5 / RATE, 0.5))
    assert not any("mostly noise" in warning for warning in few.warnings)
    assert any("mostly noise" in warning for warning in many.warnings)


def test_silence_is_fitted_without_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour of it took two minutes: spectra of all frames of all lengths."""

    def search(*_: object) -> None:
        raise AssertionError("nothing is to be found in silence")

    monkeypatch.setattr("ddaudio.analysis.matching_pursuit.spectral_peaks", search)
    monkeypatch.setattr("ddaudio.grid.time_grid.TimeGrid._group", search)
    result = fit(Recording(torch.zeros(2, 40_000), RATE))
    assert (result.status, result.network.n_components()) == ("converged", 0)
    assert not bool(result.estimate[:, :].any())


@pytest.mark.parametrize(("seconds", "words"), [(0.5, "frames of 500 ms"), (0.001, "frames of 1 ms")])
def test_frames_are_no_longer_than_the_sound(seconds: float, words: str) -> None:
    """It was "2 frames of 768 ms" for half a second."""
    result = fit(Recording(torch.zeros(2, round(seconds * RATE)), RATE))
    assert words in ddaudio.summary(result)[2]
