"""Morphs of tones that are known."""

import math

import pytest
import torch

from ddaudio.editing.morph import morph
from ddaudio.errors import OptionError
from tests.edited import RATE, cents, frequency_near, harmonic, level_at, model, sound, track


def test_half_way_frequencies_and_levels_are_geometric_means() -> None:
    low, high = harmonic(200, (0.2, 0.1, 0.05), 0.8), harmonic(300, (0.05, 0.1, 0.2), 0.8)
    between = sound(morph(low, high, 0.5))[0]
    for number, level in ((1, 0.1), (2, 0.1), (3, 0.1)):
        hz = number * math.sqrt(200 * 300)
        assert abs(cents(frequency_near(between, hz), hz)) < 1
        assert abs(level_at(between, hz)) == pytest.approx(level, rel=0.02)


def test_frequency_and_amplitude_have_amounts_of_their_own() -> None:
    low, high = harmonic(200, (0.2, 0.1), 0.8), harmonic(300, (0.05, 0.1), 0.8)
    made = sound(morph(low, high, 0.0, amplitude=1))[0]
    assert abs(level_at(made, 200)) == pytest.approx(0.05, rel=0.02)
    made = sound(morph(low, high, "0:0,0.4:0,0.41:1"))[0]
    assert abs(cents(frequency_near(made[1000:5000], 200), 200)) < 2
    assert abs(cents(frequency_near(made[8000:12000], 300), 300)) < 2


def test_at_the_ends_a_morph_is_one_of_the_models() -> None:
    low, high = harmonic(200, (0.2,), 0.2), harmonic(300, (0.2,), 0.3)
    assert morph(low, high, 0) is low
    assert morph(low, high, 1) is high


def test_partials_without_a_pitch_are_transported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two partials each, with the same shares of power: each goes to its counterpart, in the order of frequency."""
    unpitched = lambda sound: (None, torch.zeros(len(sound.signal), dtype=torch.int64))  # noqa: E731 - two partials are a pitch
    monkeypatch.setattr("ddaudio.editing.morph_pairs.pitch_of", unpitched)
    last = RATE // 2 - 1
    one = model([track(1000, 0.2, 0, last), track(1630, 0.1, 0, last)], RATE // 2)
    other = model([track(2210, 0.1, 0, last), track(3070, 0.05, 0, last)], RATE // 2)
    between = sound(morph(one, other, 0.5))[0]
    for hz, level in ((math.sqrt(1000 * 2210), math.sqrt(0.2 * 0.1)), (math.sqrt(1630 * 3070), math.sqrt(0.1 * 0.05))):
        assert abs(level_at(between, hz)) == pytest.approx(level, rel=0.05)


def test_what_only_one_has_gets_softer() -> None:
    both = morph(harmonic(200, (0.2, 0.1), 0.5), harmonic(200, (0.2,), 0.5), 0.25)
    assert abs(level_at(sound(both)[0], 400)) == pytest.approx(0.075, rel=0.02)


def test_pairs_of_times_meet_half_way() -> None:
    """A tone begins at 0.2 s in the one and at 0.6 s in the other: with both paired, at 0.4 s."""
    first = model([track(500, 0.2, round(0.2 * RATE), RATE - 1)], RATE)
    second = model([track(500, 0.2, round(0.6 * RATE), RATE - 1)], RATE)
    made = sound(morph(first, second, 0.5, pairs="0.2=0.6"))[0]
    begins = int((made.abs() > 0.05).nonzero()[0])
    assert begins == pytest.approx(0.4 * RATE, abs=0.006 * RATE)  # fades take a hop of 4 ms


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"amount": 2}, "amount is 2; allowed: values from 0 to 1"),
        ({"pairs": "0.3"}, "allowed: times of both sounds in seconds"),
        ({"pairs": "0.2=0.1,0.1=0.2"}, "do not belong together in this order"),
        ({"pairs": "9=9"}, "do not belong together in this order"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, str], problem: str) -> None:
    tone = harmonic(200, (0.2,), 0.4)
    with pytest.raises(OptionError) as error:
        morph(tone, harmonic(300, (0.2,), 0.4), **settings)
    assert problem in str(error.value)


def test_models_of_other_channels_are_refused() -> None:
    wide = model([track(300, 0.2, 0, 3200), track(300, 0.2, 0, 3200, channel=1)], 3201, channels=2)
    with pytest.raises(OptionError, match="the models have 1 and 2 channels"):
        morph(harmonic(200, (0.2,), 0.2), wide)
