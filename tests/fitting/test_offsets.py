"""Constant offsets: they neither reach a goal nor hide one, and the waveform keeps them."""

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

import ddaudio
from ddaudio.errors import ModelError
from ddaudio.fitting.centring import LEAST_SHARE, centred, offset_of
from ddaudio.io.audio import Recording
from ddaudio.io.samples import DiskSamples
from ddaudio.models.file import model_bytes

TONE = tones([440.0], [0.02], [0.3], 1.0)
"""34 dB below an offset of 0.5."""


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
    assert result.network.offset is not None
    assert result.network.offset.tolist() == pytest.approx([0.5, -0.25], abs=1e-5)  # the tone's own mean, of 440 periods
    assert result.n_parameters <= 14
    ddaudio.save_fit(result, tmp_path / "fit", html=False)
    again = ddaudio.load_model(tmp_path / "fit")
    assert again.n_parameters() == result.n_parameters
    for rate in (RATE, 2 * RATE):
        sound = ddaudio.render(again, rate, partials=0)
        assert float((sound[:, :] - result.network.offset[:, None]).abs().max()) == 0
    rows = list(csv.DictReader(io.StringIO(ddaudio.partials_table(again, "csv"))))[-2:]
    assert [float(row["frequency_hz"]) for row in rows] == [0, 0]
    found = [float(row["amplitude"]) * math.cos(float(row["phase_rad"])) for row in rows]
    assert found == pytest.approx(result.network.offset.tolist())


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
    assert [one.network.offset is None for one in many] == [False, True, False]
    for one in many:
        assert one.reached_goal


def test_only_what_matters_is_stored() -> None:
    """The bound is 0.5 dB of SNR; of white noise the mean has a share of 1 in T."""
    for share, is_stored in ((0.9 * LEAST_SHARE, False), (1.1 * LEAST_SHARE, True)):
        level = math.sqrt(share / (1 - share) * float(TONE.square().mean()))
        assert (offset_of(with_offset(level)) is not None) == is_stored
    assert offset_of(Recording(noise(0.05), RATE)) is None
    assert offset_of(Recording(torch.full((1, 300), 0.5), RATE)) is None, "shorter than a period of 20 Hz"
    assert offset_of(Recording(torch.zeros(1, 8000), RATE)) is None
    recording = pluck()
    assert centred(recording, offset_of(recording)) is recording


def test_long_recordings_are_centred_as_they_are_read() -> None:
    stored = DiskSamples(1)
    stored.append(with_offset(0.5).samples[:, :])
    recording = Recording(stored, RATE)
    target = centred(recording, offset_of(recording))
    assert not isinstance(target.samples, torch.Tensor)
    assert float(target.means.abs()) < 1e-6
    assert torch.equal(target.samples[:, 100:200], (recording.samples[:, 100:200] - recording.means.float()[:, None]))


@pytest.mark.parametrize("bad", [torch.zeros(2), torch.tensor([math.nan]), torch.zeros(1, dtype=torch.int32), torch.zeros(1, 1)])
def test_a_stored_offset_is_checked(bad: torch.Tensor, tmp_path: Path) -> None:
    network = ddaudio.fit(with_offset(0.5), target_snr_db=10).network
    network.offset = bad
    (tmp_path / "model.safetensors").write_bytes(model_bytes(network))
    with pytest.raises(ModelError, match="offset must be 1 finite float32"):
        ddaudio.load_model(tmp_path)
