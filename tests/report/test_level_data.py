"""Levels over frequency: average spectra of known sounds, and a noise layer as it is rendered."""

import math

import numpy as np
import pytest
import torch
from sounds import RATE, noise, tones

from ddaudio.models.noise import grid as noise_grid
from ddaudio.models.noise.fit import fit_noise
from ddaudio.models.noise.grid import NoiseGrid
from ddaudio.models.noise.network import silent_noise
from ddaudio.report import level_data
from ddaudio.report.level_data import average_spectra, average_spectrum, noise_levels, round_rows
from ddaudio.results.read import FitAudio


def power(level_db: np.ndarray) -> float:
    return float((10 ** (level_db / 10)).sum())


@pytest.mark.parametrize("rate", [8000, 44100])
def test_a_sinusoid_of_full_scale_has_0_db_at_its_frequency(rate: int) -> None:
    found = average_spectrum(tones([1000.0], [1.0], [0.0], 2.0, rate), rate)
    # The frames at both ends are half silence, and the squares of two Hann windows add up to 3/4 on average only.
    assert 10 * math.log10(power(found.level_db)) == pytest.approx(0, abs=0.1)
    assert found.hz[found.level_db.argmax()] == pytest.approx(1000, rel=0.06)  # bands are 0.6 Cam wide, 8 % here


def test_white_noise_has_equal_power_per_hertz() -> None:
    found = average_spectrum(noise(10.0, rate=16000), 16000)
    # Bands of N Hz and 10 s have 10 N independent values, so their levels scatter by 4.3 / sqrt(10 N) dB: 0.3 dB for 20 Hz.
    edges = level_data.evenly_spaced_hz(20, 8000, 65)
    expected_db = 10 * np.log10(2 * 0.01 * np.diff(edges.numpy()) / 8000)
    assert np.abs(found.level_db - expected_db).max() < 1.5
    assert float((found.level_db - expected_db).mean()) == pytest.approx(0, abs=0.1)


def test_channels_are_averaged_and_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = noise(2.0, 2)
    whole = average_spectrum(sound, RATE).level_db
    halves = [10 ** (average_spectrum(sound[one : one + 1], RATE).level_db / 10) for one in (0, 1)]
    assert np.allclose(whole, 10 * np.log10(sum(halves) / 2), atol=1e-3)
    monkeypatch.setattr(level_data, "block_length", lambda _: 1000)
    assert np.allclose(average_spectrum(sound, RATE).level_db, whole, atol=1e-3)


def test_silence_and_a_single_sample_have_levels() -> None:
    assert (average_spectrum(torch.zeros(1, 100), RATE).level_db == -200).all()
    assert np.isfinite(average_spectrum(torch.ones(1, 1), 1).level_db).all()


def test_waves_are_drawn_only_of_a_model_with_noise() -> None:
    sound = noise(0.2)
    assert list(average_spectra(FitAudio(sound, sound, sound, RATE))) == ["original", "resynthesis"]
    parts = average_spectra(FitAudio(sound, sound, sound, RATE, sound / 10, sound))
    assert list(parts) == ["original", "waves", "resynthesis"]
    assert np.allclose(parts["waves"].level_db, parts["original"].level_db - 20, atol=0.01)


def test_levels_of_noise_are_those_of_what_is_rendered() -> None:
    """White noise on the left, 20 dB less on the right: the average of a row over time is that of its band in the sound."""
    target = noise(4.0, 2, rate=16000) * torch.tensor([[1.0], [0.1]])
    layer = fit_noise(target, torch.zeros_like(target), 16000)
    found = noise_levels(layer, 10**6)
    assert found.level_db.shape == (2, 33, 401)
    assert (found.start_s, found.column_s) == (-0.005, 0.01)
    rendered = layer.estimate()
    for channel in (0, 1):
        total = sum(10 ** (found.level_db[channel] / 10)).mean()
        own_db = 10 * math.log10(2 * float(rendered[channel].square().mean()))
        assert 10 * math.log10(total) == pytest.approx(own_db, abs=0.5)  # hundreds of independent values in each second


def test_columns_keep_the_highest_level(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise_grid, "CHUNK_INTERVALS", 32)
    target = noise(1.5)
    layer = fit_noise(target, torch.zeros_like(target), RATE)
    assert layer.grid.n_chunks > 3
    every = noise_levels(layer, 10**6).level_db
    few = noise_levels(layer, 40)
    assert every.shape[2] == 151
    assert few.column_s == pytest.approx(0.04)
    for column in range(few.level_db.shape[2]):
        assert np.array_equal(few.level_db[:, :, column], np.nanmax(every[:, :, 4 * column : 4 * column + 4], 2))


def test_no_noise_has_no_level() -> None:
    found = noise_levels(silent_noise(NoiseGrid(RATE, 800), 1), 100)
    assert np.isnan(found.level_db).all()


@pytest.mark.parametrize("rate", [1000, 8000, 44100, 96000])
def test_round_frequencies_are_where_their_rows_are(rate: int) -> None:
    hz = NoiseGrid(rate, 800).hz.numpy()
    places = round_rows(hz)
    assert next(iter(places)) == places[0] == 0
    # Between nodes the scale is logarithmic beyond some 200 Hz, so that interpolation is off by a part of a node.
    for one, row in places.items():
        assert row == pytest.approx(np.interp(one, hz, np.arange(len(hz))), abs=0.15)
