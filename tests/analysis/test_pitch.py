"""Pitch: to a few cents of the truth on made sounds, none in noise, harmonics by their numbers."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from glides import cents_off, chirp, vowel
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import fit_waves, noise, tones

from ddaudio.analysis.pitch import MOST_TIMES, PitchCurve, curve_times_s, harmonic_numbers, harmonics_of_tracks, pitch_of_partials
from ddaudio.editing.tables import partials_table
from ddaudio.io import audio
from ddaudio.io.audio import Recording

RECORDINGS = Path(__file__).parents[3] / "shared/recordings"


def lasting(hz: list[float], amplitude: list[float], seconds: float = 1.0, signal: int = 0) -> dict[str, np.ndarray]:
    """Return a table of partials that last over the whole of a sound, without fades."""
    count = len(hz)
    columns = {"signal": [signal] * count, "frequency_hz": hz, "amplitude": amplitude, "end_s": [seconds] * count}
    zeros = dict.fromkeys(("time_s", "phase_rad", "start_s", "fade_in_s", "fade_out_s"), [0.0] * count)
    return {name: np.array(column) for name, column in (columns | zeros).items()}


def curve(*f0_hz: float, inharmonicity: float = 0.0) -> PitchCurve:
    hz = np.array(f0_hz)
    return PitchCurve(np.arange(len(hz)) * 0.1, hz, np.ones(len(hz)), np.where(np.isnan(hz), np.nan, inharmonicity))


@pytest.mark.parametrize("made", [vowel, chirp])
def test_glides_are_followed_to_5_cents(made: Callable[[float], tuple[Recording, np.ndarray]]) -> None:
    """At least 95 % of the time, the mark of the benchmark; shorter sounds glide faster."""
    recording, truth_hz = made(0.5 if made is chirp else 1.0)
    fit = fit_waves(recording)
    found = fit.pitch
    assert found is not None
    assert found.voiced_share > 0.95
    off = cents_off(found.time_s, found.f0_hz, truth_hz, recording.sample_rate)
    assert np.mean(off[found.voiced] < 5) > 0.95
    # By the partials alone, to 20 cents, less than a cell of 24 ms of the vowel glides.
    alone = pitch_of_partials(fit.network.describe(), recording.duration_s, recording.sample_rate)
    assert np.nanpercentile(cents_off(alone.time_s, alone.f0_hz, truth_hz, recording.sample_rate), 95) < 20


@settings(deadline=None, max_examples=30)
@given(f0_hz=st.floats(26, 6000), count=st.integers(1, 8), falling=st.booleans())
def test_a_harmonic_series_has_its_own_pitch(f0_hz: float, count: int, falling: bool) -> None:
    """Not that of a multiple or a part of it; nothing is rounded, so only the arithmetic of float64 is in the way."""
    numbers = range(1, count + 1)
    table = lasting([n * f0_hz for n in numbers], [0.1 / n if falling else 0.1 for n in numbers], 0.2)
    found = pitch_of_partials(table, 0.2, 200_000)
    assert found.f0_hz == pytest.approx(f0_hz, rel=1e-9)
    assert harmonic_numbers(table, found).tolist() == list(numbers)


def test_a_missing_fundamental_and_a_missing_harmonic_are_no_octave_errors() -> None:
    for numbers in ([2, 3, 4, 5, 6], [1, 2, 3, 5, 6], [3, 4, 5]):
        table = lasting([n * 110.0 for n in numbers], [0.1] * len(numbers))
        assert pitch_of_partials(table, 1.0, 44100).f0_hz == pytest.approx(110.0)
        assert harmonic_numbers(table, pitch_of_partials(table, 1.0, 44100)).tolist() == numbers


def test_the_inharmonicity_of_a_string_is_found() -> None:
    stretch = 4e-4
    hz = [n * 262.0 * math.sqrt(1 + stretch * n**2) for n in range(1, 9)]
    table = lasting(hz, [0.1 / n for n in range(1, 9)])
    found = pitch_of_partials(table, 1.0, 44100)
    # The fit is linear in B: at n = 8 it is off by (B n^2)^2 / 8 = 8e-5, a fortieth of the stretch.
    assert found.inharmonicity == pytest.approx(stretch, rel=0.05)
    assert found.f0_hz == pytest.approx(262.0, rel=1e-4)
    assert harmonic_numbers(table, found).tolist() == list(range(1, 9))


def test_channels_have_one_pitch_together() -> None:
    left, right = lasting([200.0, 600.0], [0.1, 0.1]), lasting([400.0, 800.0], [0.1, 0.1], signal=1)
    both = {name: np.concatenate([left[name], right[name]]) for name in left}
    assert pitch_of_partials(both, 1.0, 8000).f0_hz == pytest.approx(200.0)


@pytest.mark.parametrize("model", ["sine", "sine+noise"])
def test_noise_is_unvoiced(model: str) -> None:
    found = fit_waves(Recording(noise(1.0, rate=16000), 16000), model=model).pitch
    assert found is not None
    assert found.voiced_share < 0.05


@pytest.mark.parametrize("samples", [torch.zeros(1, 4000), torch.zeros(2, 10), torch.full((1, 4000), 0.5), torch.ones(1, 1)])
def test_silence_and_constants_have_no_pitch(samples: torch.Tensor) -> None:
    found = fit_waves(Recording(samples, 8000)).pitch
    assert found is not None
    assert (found.median_hz, found.voiced_share) == (None, 0.0)
    assert len(found.time_s) == len(found.f0_hz) == len(found.voicing) == len(found.inharmonicity) >= 1


def test_a_pause_between_two_notes_is_unvoiced() -> None:
    low, high = (tones([n * hz for n in (1, 2, 3)], [0.2, 0.1, 0.05], [0.0] * 3, 0.4) for hz in (220.0, 330.0))
    found = fit_waves(Recording(torch.cat([low, torch.zeros(1, 1600), high], 1), 8000)).pitch
    assert found is not None
    at = {time_s: found.f0_hz[round(time_s / 0.005)] for time_s in (0.2, 0.5, 0.8)}
    # A cent is 0.06 %.
    assert at[0.2] == pytest.approx(220, rel=6e-4)
    assert math.isnan(at[0.5])
    assert at[0.8] == pytest.approx(330, rel=6e-4)


def test_pyin_agrees_about_a_tone() -> None:
    """pYIN is another implementation of another method, with a resolution of 10 cents (0.6 %)."""
    recording = Recording(tones([220.0, 440.0, 660.0], [0.2, 0.1, 0.1], [0.0, 1.0, 2.0], 0.3), 8000)
    theirs, ours = fit_waves(recording, pitch="pyin", budget=60).pitch, fit_waves(recording, budget=60).pitch
    assert theirs is not None
    assert ours is not None
    both = theirs.voiced & ours.voiced
    assert both.mean() > 0.8
    assert ours.f0_hz[both] == pytest.approx(theirs.f0_hz[both], rel=0.006)


def test_times_are_bounded() -> None:
    assert len(curve_times_s(10.0)) == 2000
    assert len(curve_times_s(7200.0)) == MOST_TIMES
    assert curve_times_s(1e-4).tolist() == [0.0]


def test_harmonics_need_a_voiced_cell_and_a_near_multiple() -> None:
    table = lasting([100.0, 205.0, 250.0, 90_000.0], [0.1] * 4, 0.35)
    assert harmonic_numbers(table, curve(100.0, 100.0, 100.0, 100.0)).tolist() == [1, 2, 0, 900]
    assert harmonic_numbers(table, curve(100.0, math.nan, math.nan, math.nan)).tolist() == [0] * 4
    # A cell that is shorter than the time between two values has the nearest one.
    short = table | {"start_s": np.full(4, 0.16), "end_s": np.full(4, 0.17)}
    assert harmonic_numbers(short, curve(100.0, 100.0, 50.0)).tolist() == [2, 4, 5, 1800]


def test_a_track_has_the_harmonic_of_most_of_its_power() -> None:
    track, harmonic, power = np.array([0, 1, 0, 0, 1]), np.array([2, 0, 3, 3, 1]), np.array([1.0, 2.0, 0.4, 0.5, 1.0])
    assert harmonics_of_tracks(track, harmonic, power).tolist() == [2, 0]


@pytest.mark.skipif(not RECORDINGS.exists(), reason="needs the real recordings, see DDAUDIO_RECORDINGS")
def test_a_violin_is_in_tune() -> None:
    recording = audio.read(RECORDINGS / "instruments/violin-B3.wav")
    part = Recording(recording.samples[:, 20000:60000], recording.sample_rate)
    found = fit_waves(part).pitch
    assert found is not None
    assert found.median_hz is not None
    assert abs(1200 * math.log2(found.median_hz / 246.94)) < 15


@pytest.mark.parametrize("model", ["tracks", "tracks+sine"])
def test_tracks_have_a_pitch(model: str) -> None:
    """A tone of three harmonics; a cent is 0.06 %."""
    sound = tones([220.0, 440.0, 660.0], [0.2, 0.1, 0.1], [0.0, 1.0, 2.0], 0.3)
    fit = fit_waves(Recording(sound, 8000), model=model, budget=90)
    assert fit.pitch is not None
    assert fit.pitch.median_hz == pytest.approx(220, rel=6e-4)
    assert fit.pitch.voiced_share > 0.9
    rows = json.loads(partials_table(fit.network, "json"))
    loud = [row for row in rows if row["amplitude"] > 0.05]
    assert {round(row["frequency_hz"] / 220) for row in loud} == {row["harmonic"] for row in loud} == {1, 2, 3}
