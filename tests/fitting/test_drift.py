"""What is below 20 Hz, constant offsets and slow curves: they neither reach a goal nor hide one, and the waveform keeps them."""

import csv
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from commands import run
from sounds import RATE, noise, pluck, tones
from tables import rebuilt

import ddaudio
from ddaudio.analysis.detrending import project
from ddaudio.errors import ModelError
from ddaudio.fitting.detrending import LEAST_SHARE, detrended, drift_of
from ddaudio.io.audio import Recording
from ddaudio.io.samples import DiskSamples
from ddaudio.models.file import model_bytes
from ddaudio.options import ModelOptions
from ddaudio.synthesis.drift import Drift, intervals, n_coefficients, spline_weights

TONE = tones([440.0], [0.02], [0.3], 1.0)
"""34 dB below an offset of 0.5."""
ANY = ModelOptions()
TIMES = torch.arange(RATE, dtype=torch.float64) / RATE
SLOW = {
    "swell": 0.5 * torch.sin(2 * math.pi * 2 * TIMES),
    "ramp": 0.5 * TIMES,
    "step": 0.25 * torch.tanh((TIMES - 0.4) / 0.03),
    "rumble": tones([3.1, 7.7, 11.3], [0.3, 0.2, 0.1], [0.0, 1.0, 2.0], 1.0)[0],
}
"""Curves of 1 s that nobody hears, without an offset or with one."""


def with_offset(*offsets: float) -> Recording:
    """Return the tone in each channel, with an offset each."""
    return Recording(torch.cat([TONE + offset for offset in offsets]), RATE)


def test_a_goal_is_that_of_the_sound_and_the_waveform_is_kept() -> None:
    """The input of the fault: four partials below 1 Hz reached 30.5 dB, and nothing was to hear."""
    recording = with_offset(0.5)
    result = ddaudio.fit(recording, model="sine", target_snr_db=25)
    alone = ddaudio.fit(Recording(TONE, RATE), model="sine", target_snr_db=25)
    assert result.snr_db is not None
    assert result.snr_db >= 25
    assert float(result.network.describe()["frequency_hz"].min()) == pytest.approx(440, abs=1)
    assert result.n_parameters <= alone.n_parameters + 1  # the offset
    left = recording.samples - result.estimate[:, :]
    assert float(left.square().sum()) <= float(TONE.square().sum()) * 10**-2.5
    assert torch.equal(result.residual[:, :], left)
    assert torch.equal(ddaudio.render(result.network)[:, :], result.estimate[:, :])
    assert any("constant offset of 0.5" in warning for warning in result.warnings)
    # The step at the ends of the recording leaked into all bands, which had 27 to 45 dB; the tone alone has 77 or more.
    assert all(band.snr_db is not None and band.snr_db > 60 for band in result.metrics.bands)


def test_each_channel_has_its_own_and_a_budget_includes_them(tmp_path: Path) -> None:
    result = ddaudio.fit(with_offset(0.5, -0.25), model="sine", budget=14, frame_s=1.0, overlap=0.0)
    assert result.network.drift is not None
    offsets = result.network.drift.coefficients[:, 0]
    assert offsets.tolist() == pytest.approx([0.5, -0.25], abs=1e-5)  # the tone's own mean, of 440 periods
    assert result.n_parameters <= 14
    ddaudio.save_fit(result, tmp_path / "fit", html=False)
    again = ddaudio.load_model(tmp_path / "fit")
    assert again.n_parameters() == result.n_parameters
    for rate in (RATE, 2 * RATE):
        sound = ddaudio.render(again, rate, partials=0)
        assert float((sound[:, :] - offsets[:, None]).abs().max()) == 0
    rows = list(csv.DictReader(io.StringIO(ddaudio.partials_table(again, "csv"))))[-2:]
    assert [float(row["frequency_hz"]) for row in rows] == [0, 0]
    found = [float(row["amplitude"]) * math.cos(float(row["phase_rad"])) for row in rows]
    assert found == pytest.approx(offsets.tolist())


def test_the_command_says_what_it_stores(tmp_path: Path) -> None:
    path = tmp_path / "dc.wav"
    soundfile.write(path, np.full(4000, 0.25, dtype="float32"), RATE, subtype="FLOAT")
    code, out, _ = run("fit", path, "--out", tmp_path / "fit", "--no-html")
    assert code == 0
    assert "constant offset of 0.25" in out
    assert soundfile.read(tmp_path / "fit/resynth.wav")[0] == pytest.approx(0.25)
    report = json.loads((tmp_path / "fit/report.json").read_text(encoding="utf-8"))
    assert report["model"]["n_parameters"] == ddaudio.load_model(tmp_path / "fit").n_parameters()


def test_fits_of_several_are_those_of_one() -> None:
    many = ddaudio.fit_many([with_offset(0.5), pluck(0.2), with_offset(0.1)], target_snr_db=30)
    assert [one.network.drift is None for one in many] == [False, True, False]
    for one in many:
        assert one.reached_goal


def test_only_what_matters_is_stored() -> None:
    """The bound is 0.5 dB of SNR; of white noise the mean has a share of 1 in T."""
    for share, is_stored in ((0.9 * LEAST_SHARE, False), (1.1 * LEAST_SHARE, True)):
        level = math.sqrt(share / (1 - share) * float(TONE.square().mean()))
        assert (drift_of(with_offset(level), ANY) is not None) == is_stored
    assert drift_of(Recording(noise(0.05), RATE), ANY) is None
    assert drift_of(Recording(torch.full((1, 300), 0.5), RATE), ANY) is None, "shorter than a period of 20 Hz"
    assert drift_of(Recording(torch.zeros(1, 8000), RATE), ANY) is None
    recording = pluck()
    assert detrended(recording, drift_of(recording, ANY)) is recording


def test_long_recordings_are_detrended_as_they_are_read() -> None:
    stored = DiskSamples(1)
    stored.append(with_offset(0.5).samples[:, :])
    recording = Recording(stored, RATE)
    target = detrended(recording, drift_of(recording, ANY))
    assert not isinstance(target.samples, torch.Tensor)
    assert float(target.means.abs()) < 1e-6
    assert torch.equal(target.samples[:, 100:200], (recording.samples[:, 100:200] - recording.means.float()[:, None]))
    stored = DiskSamples(1)
    stored.append(TONE + SLOW["rumble"].float())
    recording = Recording(stored, RATE)
    drift, in_memory = drift_of(recording, ANY), drift_of(Recording(stored.tensor(), RATE), ANY)
    assert drift is not None
    assert in_memory is not None
    assert torch.equal(drift.coefficients, in_memory.coefficients)
    target = detrended(recording, drift)
    assert torch.equal(target.samples[:, 100:200], recording.samples[:, 100:200] - drift[:, 100:200])


BAD_DRIFTS = [torch.tensor([[math.nan]]), torch.zeros(1, 1).int(), torch.zeros(2, 1), torch.zeros(1), torch.zeros(1, 7)]


@pytest.mark.parametrize("bad", BAD_DRIFTS, ids=["NaN", "int32", "two channels", "no columns", "no spline"])
def test_a_stored_drift_is_checked(bad: torch.Tensor, tmp_path: Path) -> None:
    network = ddaudio.fit(with_offset(0.5), target_snr_db=10).network
    network.drift = Drift(bad, RATE, network.shape[1])
    (tmp_path / "model.safetensors").write_bytes(model_bytes(network))
    with pytest.raises(ModelError, match=r"drift must be|belong to no interval"):
        ddaudio.load_model(tmp_path)


@pytest.mark.parametrize("name", SLOW)
@pytest.mark.parametrize("is_batched", [False, True])
def test_slow_curves_neither_reach_a_goal_nor_hide_one(name: str, is_batched: bool) -> None:
    recording = Recording(TONE + SLOW[name].float(), RATE)
    settings = {"model": "sine", "target_snr_db": 25}
    result = ddaudio.fit_many([recording] * 2, **settings)[1] if is_batched else ddaudio.fit(recording, **settings)
    assert result.snr_db is not None
    assert result.snr_db >= 25
    found = result.network.describe()
    assert float(found["frequency_hz"][found["amplitude"].argmax()]) == pytest.approx(440, abs=0.5)
    left = recording.samples - result.estimate[:, :]
    assert float(left.square().sum()) <= float(TONE.square().sum()) * 10**-2.4  # the curve leaves up to -20 dB, mostly far less
    assert torch.equal(ddaudio.render(result.network)[:, :], result.estimate[:, :])
    assert any("energy below 20 Hz" in warning for warning in result.warnings)


@pytest.mark.parametrize("interval", [0, *intervals(RATE, 6000)])
def test_a_drift_is_the_least_squares_solution(interval: int) -> None:
    """Against numpy's solver for the same splines, written out by their values at all samples."""
    n_samples = 6000
    signals = torch.cat([noise(0.75), noise(0.75, seed=1).cumsum(1) / 10])
    basis = np.ones((n_samples, 1))
    if interval:
        basis = np.zeros((n_samples, n_coefficients(interval, n_samples)))
        for sample, values in enumerate(spline_weights(torch.arange(n_samples) % interval / interval)):
            basis[sample, sample // interval :][:4] = values
    expected = basis @ np.linalg.lstsq(basis, signals.double().numpy().T, rcond=None)[0]
    found = project(signals, interval)
    drift = Drift(found.coefficients.float(), RATE, n_samples)
    # Float32 coefficients, some of them large where the end cuts a spline.
    assert np.abs(drift[:, :].numpy() - expected.T).max() < 2e-5
    assert found.energy == pytest.approx((expected**2).sum(), rel=1e-6)


def test_cubic_splines_are_those_of_the_textbook() -> None:
    """The centred cubic B-spline, 2/3 - x^2 + |x|^3 / 2 and (2 - |x|)^3 / 6; they sum to 1 and reproduce lines."""
    places = torch.linspace(0, 1, 11, dtype=torch.float64)
    near, far = (lambda x: 2 / 3 - x**2 + x**3 / 2), (lambda x: (2 - x) ** 3 / 6)
    expected = torch.stack([far(1 + places), near(places), near(1 - places), far(2 - places)], -1)
    torch.testing.assert_close(spline_weights(places), expected)
    torch.testing.assert_close(spline_weights(places) @ torch.arange(-1.0, 3.0, dtype=torch.float64), places)


def test_an_excerpt_and_another_rate_have_the_same_curve() -> None:
    drift = drift_of(Recording(TONE + SLOW["swell"].float(), RATE), ANY)
    assert drift is not None
    whole = drift[:, :]
    assert torch.equal(torch.cat([drift[:, :777], drift[:, 777:5000], drift[:, 5000:]], 1), whole)
    fast = drift.at_rate(3 * RATE)
    assert fast.shape == (1, 3 * RATE)
    assert torch.equal(fast[:, ::1][:, ::3], whole)
    expected = 0.5 * torch.sin(2 * math.pi * 2 * torch.arange(3 * RATE) / (3 * RATE))
    # A drift may leave a hundredth of the tone's energy; what it leaves is as small between the samples.
    assert float((fast[:, :] - expected).square().mean()) < 1.01 * 0.01 * float(TONE.square().mean())


@pytest.mark.parametrize(("hz", "seconds"), [(27.5, 1.0), (27.5, 0.75), (33, 0.5), (41.2, 0.375), (50, 0.05)])
def test_low_notes_are_no_drift(hz: float, seconds: float) -> None:
    """The lowest notes of a piano (27.5 Hz) and of a double bass (41.2 Hz), at any phase."""
    for phase in (0.0, 0.8, 1.6, 2.4):
        drift = drift_of(Recording(tones([hz], [0.5], [phase], seconds), RATE), ANY)
        assert drift is None, phase


def test_a_curve_takes_at_most_half_of_the_parameters() -> None:
    recording = Recording(TONE + SLOW["rumble"].float(), RATE)
    sizes = {}
    for budget in (6, 20, 60, 1000):
        drift = drift_of(recording, ModelOptions(budget=budget))
        assert drift is not None
        sizes[budget] = drift.coefficients.numel()
    assert sizes == {6: 1, 20: 8, 60: 23, 1000: 43}
    assert ddaudio.fit(recording, model="sine", budget=60).n_parameters <= 60


def test_the_model_and_the_table_hold_the_curve(tmp_path: Path) -> None:
    recording = Recording(torch.cat([TONE, TONE.flip(1)]) + torch.stack([SLOW["swell"], SLOW["ramp"]]).float(), RATE)
    result = ddaudio.fit(recording, model="sine", target_snr_db=25)
    ddaudio.save_fit(result, tmp_path / "fit", html=False)
    again = ddaudio.load_model(tmp_path / "fit")
    assert again.n_parameters() == result.n_parameters
    assert torch.equal(ddaudio.render(again)[:, :], result.estimate[:, :])
    (tmp_path / "table.csv").write_text(ddaudio.partials_table(again, "csv"), encoding="utf-8")
    assert np.abs(rebuilt(tmp_path / "table.csv") - result.estimate[:, :].numpy()).max() < 1e-5
