"""The sample recordings are what their script makes, small, clean, and what their README says."""

import importlib.util
import re
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
from scipy.signal import butter, chirp, find_peaks, hilbert, sosfiltfilt

FOLDER = Path(__file__).parents[1] / "recordings"
NAMES = ("bark", "bell", "sweep", "vowel", "drums")
# name -> seconds, channels
EXPECTED = {"bark": (1.6, 1), "bell": (3.0, 1), "sweep": (3.0, 1), "vowel": (2.5, 1), "drums": (2.4, 2)}
RATE = 44_100


@pytest.fixture(scope="module")
def make() -> ModuleType:
    spec = importlib.util.spec_from_file_location("recordings_make", FOLDER / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def made(make: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    make.write_all(folder)
    return folder


def load(name: str) -> np.ndarray:
    return soundfile.read(FOLDER / f"{name}.wav")[0]


def instantaneous_hz(samples: np.ndarray) -> np.ndarray:
    """Frequency between each sample and the next, from the analytic signal's phase."""
    return np.diff(np.unwrap(np.angle(hilbert(samples)))) * RATE / (2 * np.pi)


def period_turns(samples: np.ndarray, knots: list[tuple[float, float]]) -> tuple[float, float]:
    """Undo a designed glide: over equal steps of phase the sound repeats after one turn, if the pitch is as designed.

    Returns the lag of highest correlation between 0.7 and 1.4 turns, and that correlation.
    """
    at, hz = np.array(knots).T
    seconds = np.arange(0.02, at[-1] * 0.75, 1 / RATE)
    turns = np.cumsum(np.exp(np.interp(seconds, at, np.log(hz)))) / RATE
    steps = np.arange(turns[0], turns[-1], 0.01)
    straight = np.interp(np.interp(steps, turns, seconds), np.arange(samples.size) / RATE, samples)
    lags = range(70, 141)
    correlation = [np.corrcoef(straight[lag:], straight[:-lag])[0, 1] for lag in lags]
    best = int(np.argmax(correlation))
    return lags[best] / 100, float(correlation[best])


def level_db(samples: np.ndarray, start_s: float, end_s: float) -> float:
    part = samples[round(start_s * RATE) : round(end_s * RATE)]
    return float(10 * np.log10(np.mean(part**2) + 1e-12))


def test_every_wav_is_made_by_the_script(make: ModuleType) -> None:
    assert tuple(make.SOUNDS) == NAMES
    assert sorted(path.stem for path in FOLDER.glob("*.wav")) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_committed_file_is_what_the_script_makes(name: str, made: Path) -> None:
    committed, rate = soundfile.read(FOLDER / f"{name}.wav", dtype="int16")
    fresh, fresh_rate = soundfile.read(made / f"{name}.wav", dtype="int16")
    assert rate == fresh_rate
    assert committed.shape == fresh.shape
    # One step of 16 bits, and not equal bytes: libm and SIMD differ by platform in the last bit of a sine, which can
    # tip a rounding.
    assert np.abs(committed.astype(int) - fresh.astype(int)).max() <= 1


def test_running_twice_gives_the_same_bytes(make: ModuleType, made: Path, tmp_path: Path) -> None:
    for path in make.write_all(tmp_path):
        assert path.read_bytes() == (made / path.name).read_bytes(), path.name


@pytest.mark.parametrize("name", NAMES)
def test_format_level_and_length(name: str) -> None:
    info = soundfile.info(FOLDER / f"{name}.wav")
    seconds, channels = EXPECTED[name]
    assert (info.format, info.subtype, info.samplerate, info.channels) == ("WAV", "PCM_16", RATE, channels)
    assert info.frames == round(seconds * RATE)
    samples = load(name)
    assert np.isfinite(samples).all()
    assert np.abs(samples).max() == pytest.approx(0.7, abs=2**-15)
    # No click at the ends, except in the drums, which loop.
    assert name == "drums" or np.abs(samples[[0, -1]]).max() < 1e-3
    assert np.abs(samples.mean(axis=0)).max() < 1e-3


def test_together_under_two_megabytes() -> None:
    assert sum(path.stat().st_size for path in FOLDER.glob("*.wav")) < 2e6


def test_readme_table_matches_the_files() -> None:
    rows = re.findall(r"^\| `(\w+)\.wav` \| ([\d.]+) \| (\d+) \| (\d) \|", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert sorted(name for name, *_ in rows) == sorted(NAMES)
    for name, seconds, rate, channels in rows:
        info = soundfile.info(FOLDER / f"{name}.wav")
        assert (float(seconds), int(rate), int(channels)) == (info.duration, info.samplerate, info.channels)


def test_sweep_equals_scipys_chirp() -> None:
    seconds = np.arange(3 * RATE) / RATE
    reference = 0.7 * chirp(seconds, 50.0, 3.0, 12_800.0, method="logarithmic", phi=-90)
    inner = slice(RATE // 20, -RATE // 20)
    # Half a step of 16 bits for the rounding, and as much again for the sweep's peak falling between samples.
    np.testing.assert_allclose(load("sweep")[inner], reference[inner], atol=2**-15)


def test_sweep_is_at_the_geometric_mean_half_way() -> None:
    frequency = instantaneous_hz(load("sweep"))
    assert np.sqrt(50.0 * 12_800.0) == 800.0
    # A mean over 10 ms evens out the rounding to 16 bits; over it the sweep itself moves by under 2 %, evenly.
    assert frequency[66_150 - 220 : 66_150 + 220].mean() == pytest.approx(800.0, rel=1e-3)


def test_bark_has_two_barks_with_a_pause() -> None:
    bark = load("bark")
    loud = [level_db(bark, onset + 0.04, onset + 0.16) for onset in (0.08, 0.82)]
    assert abs(loud[0] - loud[1]) < 6
    assert level_db(bark, 0.0, 0.07) < min(loud) - 60
    assert level_db(bark, 0.6, 0.8) < min(loud) - 30


@pytest.mark.parametrize(("onset_s", "index"), [(0.08, 0), (0.82, 1)])
def test_bark_pitch_rises_and_falls_as_designed(onset_s: float, index: int, make: ModuleType) -> None:
    bark, knots = load("bark")[round(onset_s * RATE) :], make.BARK_PITCHES[index]
    turns, correlation = period_turns(bark, knots)
    # The straight lines drawn here between the knots stray from the smooth curve by up to 3 %.
    assert turns == pytest.approx(1.0, abs=0.05)
    assert correlation > 0.6
    middle = np.exp(np.mean([np.log(hz) for _, hz in knots]))
    _, without_glide = period_turns(bark, [(at, middle) for at, _ in knots])
    assert without_glide < correlation - 0.1


def test_bell_partials_are_where_they_should_be_and_decay(make: ModuleType) -> None:
    bell = load("bell")
    spectrum = np.abs(np.fft.rfft(bell[: RATE // 2] * np.hanning(RATE // 2)))
    peaks = 2.0 * find_peaks(spectrum, height=spectrum.max() / 1000)[0]
    # Bins of 2 Hz; a pair's own split moves its common peak by up to a few Hz.
    for ratio, _, _, split_hz in make.BELL_PARTIALS:
        assert np.abs(peaks - 392.0 * ratio).min() <= 2 + split_hz
    ratios = np.array([ratio for ratio, *_ in make.BELL_PARTIALS])
    assert np.abs(2 * ratios - np.round(2 * ratios)).max() > 0.3
    levels = [level_db(bell, start, start + 0.5) for start in np.arange(0.0, 2.5, 0.5)]
    assert all(later < earlier - 3 for earlier, later in pairwise(levels))


def test_vowel_is_a3_with_vibrato() -> None:
    vowel = load("vowel")
    fundamental = sosfiltfilt(butter(4, (150.0, 300.0), "bandpass", fs=RATE, output="sos"), vowel)
    cents = 1_200 * np.log2(instantaneous_hz(fundamental)[RATE : 2 * RATE] / 220.0)
    assert abs(cents.mean()) < 5
    # Over four whole periods the mean against a turning pointer is half the amplitude; at a rate 0.25 Hz off it would
    # already be 5 % less, which is what the tolerance allows.
    seconds = np.arange(round(4 / 5.5 * RATE)) / RATE
    depth = 2 * np.abs(np.mean(cents[: seconds.size] * np.exp(-2j * np.pi * 5.5 * seconds)))
    assert depth == pytest.approx(60, rel=0.05)


def test_drums_are_panned_as_described() -> None:
    drums = load("drums")
    power = np.abs(np.fft.rfft(drums, axis=0)) ** 2
    hz = np.fft.rfftfreq(len(drums), 1 / RATE)
    left_over_right = [10 * np.log10(part[:, 0].sum() / part[:, 1].sum()) for part in (power[hz < 120], power[hz > 12_000])]
    assert abs(left_over_right[0]) < 0.5, "the kick is in the middle"
    assert left_over_right[1] < -6, "the hi-hat is on the right"
    snare = drums[round(0.6 * RATE) : round(0.8 * RATE)]
    assert (snare[:, 0] ** 2).sum() > 1.5 * (snare[:, 1] ** 2).sum(), "the snare, alone near step 4, is on the left"


def test_drums_loop_without_a_seam() -> None:
    drums = load("drums")
    seam = np.abs(drums[0] - drums[-1]).max()
    assert seam <= np.abs(np.diff(drums, axis=0)).max() / 4
