"""Edits of models whose frequencies, levels and phases are known."""

import cmath
import math

import pytest
import torch

from ddaudio.editing.edit import edit
from ddaudio.errors import OptionError
from ddaudio.models import SumNetwork
from ddaudio.models.noise.grid import NoiseGrid
from ddaudio.models.noise.network import NoiseNetwork
from ddaudio.models.sine import SineNetwork
from tests.edited import RATE, cents, frequency_near, harmonic, level_at, model, sound, track
from tests.sounds import fit_waves, pluck

LEVELS = (0.2, 0.1, 0.15, 0.05)


def noise(seconds: float, level_db: float = -60.0) -> NoiseNetwork:
    """Return noise of one level, dB re full scale squared per Hz, at all times and frequencies."""
    grid = NoiseGrid(RATE, round(seconds * RATE))
    return NoiseNetwork(grid, 1, torch.zeros(1).long(), torch.tensor([level_db]), -200.0)


@pytest.mark.parametrize("settings", [{"stretch": 1}, {"shift": 0}, {"gain": "waves:0"}, {"shift": 0, "stretch": "0:1,1:1"}, {}])
def test_an_edit_by_nothing_returns_the_model(settings: dict[str, object]) -> None:
    tone = harmonic(220, LEVELS, 0.5)
    assert edit(tone, **settings) is tone


def test_partials_in_cells_become_tracks_of_the_same_sound() -> None:
    """The tolerance is 50 dB below the sound around each segment; a hair less than that over all."""
    network = fit_waves(pluck(), target_snr_db=15).network
    assert isinstance(network, SineNetwork)
    both = edit(network, gain="track=0:1e-9")
    before, after = sound(network), sound(both)
    assert 10 * torch.log10(before.square().sum() / (before - after).square().sum()) > 45


def test_other_networks_are_refused() -> None:
    network = fit_waves(pluck(0.1), model="double-dutch", budget=60).network
    with pytest.raises(OptionError, match=r"has a network 'double-dutch', which has no tracks; allowed: sine, tracks"):
        edit(network, stretch=2)


@pytest.mark.parametrize("factor", [0.6, 1.7, 4])
def test_a_stretched_tone_keeps_its_frequencies_levels_and_relative_phases(factor: float) -> None:
    """Relative phases: the phase of harmonic n less n times that of the first does not depend on where time begins."""
    tone = harmonic(220, LEVELS, 1.0)
    slow = edit(tone, stretch=factor)
    assert slow.shape == (1, round(factor * RATE))
    before, after = sound(tone)[0], sound(slow)[0]
    found = [(level_at(before, 220 * n), level_at(after, 220 * n)) for n in range(1, 5)]
    for number, (old, new) in enumerate(found, 1):
        assert abs(new) == pytest.approx(abs(old), rel=0.01)
        assert abs(cents(frequency_near(after, 220 * number), 220 * number)) < 0.1
        gap = [cmath.phase(one) - number * cmath.phase(first) for one, first in zip((old, new), found[0], strict=True)]
        assert abs(math.remainder(gap[1] - gap[0], 2 * math.pi)) < 0.01


def test_channels_keep_their_difference_in_phase() -> None:
    """The frequencies differ by 0.05 Hz, as fitted ones do: on its own, each channel would drift by 0.2 rad."""
    last = RATE - 1
    parts = [track(330, 0.3, 0, last), track(330.05, 0.2, 0, last, phase=0.8, channel=1)]
    panned = model(parts, RATE, channels=2)
    slow = edit(panned, stretch=1.7)
    gaps = []
    for samples in (sound(panned), sound(slow)):
        left, right = (level_at(channel, 330.02) for channel in samples)
        gaps.append(cmath.phase(right / left))
    assert gaps[1] == pytest.approx(gaps[0], abs=0.01)


def test_an_attack_is_moved_whole() -> None:
    """A burst of four partials begins in a tone: around its onset, the waveform is the one it was, that of the tone included."""
    onset, end = RATE // 2, RATE
    burst = [track(hz, 0.3, onset, onset + 480, phase) for hz, phase in ((3000, 0.1), (3300, 1.2), (3700, 2.0), (4100, 0.4))]
    tone = model([track(220, 0.05, 0, end - 1), *burst], end)
    before, after = sound(tone)[0], sound(edit(tone, stretch=2))[0]
    # From 4 ms before to 15 ms after it; the onset is located to 0.2 ms, and moves by as much.
    old = before[onset - 64 : onset + 240]
    errors = [float((after[2 * onset + shift - 64 :][: len(old)] - old).square().sum()) for shift in range(-8, 9)]
    assert min(errors) < 1e-3 * float(old.square().sum())
    assert abs(cents(frequency_near(after[: RATE - 800], 220), 220)) < 6
    silent = after[2 * onset - 800 : 2 * onset - 40]
    assert abs(level_at(silent, 3300)) < 0.01 * 0.3


def test_stretched_noise_keeps_its_levels_and_does_not_repeat() -> None:
    """Over 8 s, band levels scatter by a tenth of a dB, and an autocorrelation of so many samples by 0.01."""
    hiss = SumNetwork([harmonic(220, [0.0], 2.0).terms[0], noise(2.0)])
    before, after = sound(hiss)[0], sound(edit(hiss, stretch=4))[0]
    for low, high in ((200, 1000), (1000, 3000), (3000, 7000)):
        levels = [_band_db(samples, low, high) for samples in (before, after)]
        assert levels[1] == pytest.approx(levels[0], abs=0.5)
    power = torch.fft.rfft(after, 2 * len(after)).abs().square()
    correlation = torch.fft.irfft(power)[: len(after)]
    assert float((correlation[round(0.05 * RATE) :] / correlation[0]).abs().max()) < 0.1


def _band_db(samples: torch.Tensor, low: float, high: float) -> float:
    power = torch.fft.rfft(samples).abs().square() / len(samples) ** 2
    hz = torch.fft.rfftfreq(len(samples), 1 / RATE)
    return 10 * math.log10(float(power[(hz >= low) & (hz < high)].sum()))


FORMANTS = ((700, 130), (1220, 140), (2600, 200), (3500, 250))
"""Frequencies and bandwidths of the resonances of a vowel, in Hz."""


def resonance(hz: float) -> float:
    """Return the level of a vowel at a frequency."""
    level = 1.0
    for centre, width in FORMANTS:
        pole = -math.pi * width + 2j * math.pi * centre
        s = 2j * math.pi * hz
        level *= abs(pole) ** 2 / abs((s - pole) * (s - pole.conjugate()))
    return 0.05 * level


@pytest.mark.parametrize("semitones", [7, -7])
def test_a_shifted_vowel_keeps_its_formants(semitones: float) -> None:
    """Levels of the new harmonics are those of the resonances, 2 dB rms off, up to 4 kHz."""
    f0 = 110.0
    vowel = harmonic(f0, [resonance(f0 * n) for n in range(1, 46)], 0.6)
    moved = sound(edit(vowel, shift=semitones, keep_formants=True))[0]
    new = f0 * 2 ** (semitones / 12)
    assert abs(cents(frequency_near(moved, new), new)) < 1
    errors = [20 * math.log10(abs(level_at(moved, new * n)) / resonance(new * n)) for n in range(1, min(46, int(4000 / new)))]
    assert math.sqrt(sum(error**2 for error in errors) / len(errors)) < 2


def test_formants_move_without_the_pitch() -> None:
    vowel = harmonic(110, [resonance(110 * n) for n in range(1, 46)], 0.6)
    moved = sound(edit(vowel, formants=1.2))[0]
    levels = [abs(level_at(moved, 110 * n)) for n in range(1, 20)]
    assert 110 * (1 + levels.index(max(levels))) == pytest.approx(1.2 * 700, abs=110)
    assert abs(cents(frequency_near(moved, 110), 110)) < 1


def test_a_curve_of_shifts_glides() -> None:
    tone = harmonic(220, LEVELS, 1.0)
    moved = sound(edit(tone, shift="0.4:0,0.6:12"))[0]
    assert abs(cents(frequency_near(moved[:6000], 220), 220)) < 1
    assert abs(cents(frequency_near(moved[-6000:], 440), 440)) < 1


def test_what_would_be_above_nyquist_is_left_out() -> None:
    high = edit(harmonic(3000, [0.1, 0.1], 0.2), shift=12)
    assert abs(level_at(sound(high)[0], 6000)) == pytest.approx(0.1, rel=0.01)
    assert high.terms[0].facts()["tracks"] == 1


@pytest.mark.parametrize(
    ("tune", "hz"), [("A3", 220.0), ("225", 225.0), ("chromatic", 220.0), ("C major", 220.0), ("C# major", 233.08)]
)
def test_tuning(tune: str, hz: float) -> None:
    tuned = sound(edit(harmonic(224, LEVELS, 0.8), tune=tune))[0]
    assert abs(cents(frequency_near(tuned, hz), hz)) < 2


def test_backwards_twice_is_the_sound() -> None:
    tone = harmonic(220, LEVELS, 0.5)
    back = edit(tone, reverse=True)
    torch.testing.assert_close(sound(back).flip(1), sound(tone), rtol=0, atol=1e-4)
    torch.testing.assert_close(sound(edit(back, reverse=True)), sound(tone), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "gone"),
    [
        ({"gain": "band=400-500:-200"}, {2}),
        ({"gain": ["harmonic=1:-200", "harmonic=3-4:-200"]}, {1, 3, 4}),
        ({"select": "frequency=-700"}, {4}),
        ({"select": ["level=-10", "frequency=300-"]}, {1, 4}),
        ({"select": "harmonic=2"}, {1, 3, 4}),
        ({"select": "voiced"}, set()),
        ({"harmonic_morph": "even=-200"}, {2, 4}),
        ({"harmonic_morph": "odd=-200"}, {3}),
    ],
)
def test_parts(settings: dict[str, object], gone: set[int]) -> None:
    edited = sound(edit(harmonic(220, LEVELS, 0.5), **settings))[0]
    heard = {n for n in range(1, 5) if abs(level_at(edited, 220 * n)) > 1e-3}
    assert heard == {1, 2, 3, 4} - gone


def test_a_stretched_series() -> None:
    edited = sound(edit(harmonic(220, LEVELS, 0.5), harmonic_morph="stretch=1.02"))[0]
    assert abs(level_at(edited, 220 * 3**1.02)) == pytest.approx(LEVELS[2], rel=0.01)


def test_selected_time_is_cut_out() -> None:
    hiss = SumNetwork([harmonic(220, LEVELS, 1.0).terms[0], noise(1.0)])
    part = edit(hiss, select=["time=0.25-0.75", "waves"])
    assert part.title == "tracks"
    torch.testing.assert_close(sound(part), sound(hiss.terms[0])[:, RATE // 4 : 3 * RATE // 4], rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"stretch": 0}, "stretch is 0; allowed: values from 0.01 to 100"),
        ({"stretch": 1e9}, "allowed: values from 0.01 to 100"),
        ({"stretch": "1:1,0:2"}, "but times go back"),
        ({"stretch": "fast"}, "allowed: a number, or points of seconds and value"),
        ({"stretch": float("nan")}, "allowed: values from"),
        ({"shift": 99}, "allowed: values from -60 to 60"),
        ({"formants": 9}, "allowed: values from 0.25 to 4"),
        ({"gain": "drums:3"}, "allowed: waves, noise, band=LOW-HIGH"),
        ({"gain": "waves:loud"}, "allowed: gains from -300 to 60 dB"),
        ({"select": "time=2-1"}, "allowed: voiced"),
        ({"select": "time=2-3"}, "but the sound ends at 0.1 s"),
        ({"tune": "H2"}, "allowed: a pitch such as A4"),
        ({"harmonic_morph": "third=3"}, "allowed: odd=-300 to 60"),
        ({"strech": 2}, "did you mean 'stretch'"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], problem: str) -> None:
    with pytest.raises(OptionError) as error:
        edit(harmonic(220, LEVELS, 0.1), **settings)
    assert problem in str(error.value)
