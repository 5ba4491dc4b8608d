"""Onsets: at the right times, on made sounds and on real ones."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddaudio.analysis import onsets
from ddaudio.analysis.onsets import onset_times_s
from ddaudio.io import audio
from ddaudio.io.audio import Recording

RECORDINGS = Path(__file__).parents[3] / "shared/recordings"
PLACES_S = (0.1, 0.33, 0.71, 1.2, 1.53)


def plucks(sample_rate: int) -> Recording:
    """Tones of 700 Hz that decay in 30 ms."""
    signal = torch.zeros(2 * sample_rate)
    times_s = torch.arange(sample_rate // 5) / sample_rate
    for place_s in PLACES_S:
        first = round(place_s * sample_rate)
        signal[first : first + len(times_s)] += torch.exp(-times_s / 0.03) * torch.sin(2 * torch.pi * 700 * times_s)
    return Recording(signal[None], sample_rate)


@pytest.mark.parametrize("sample_rate", [8000, 16000, 44100, 96000])
def test_onsets_are_found_to_a_frame_of_5_ms(sample_rate: int) -> None:
    assert onset_times_s(plucks(sample_rate)) == pytest.approx(PLACES_S, abs=0.005)


def test_long_recordings_are_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = onset_times_s(plucks(16000))
    monkeypatch.setattr(onsets, "FRAMES_AT_ONCE", 17)
    assert onset_times_s(plucks(16000)) == whole


@pytest.mark.parametrize("samples", [torch.zeros(1, 5000), torch.full((2, 5000), 0.5), torch.ones(1, 1)])
def test_a_constant_has_no_onsets(samples: torch.Tensor) -> None:
    assert onset_times_s(Recording(samples, 8000)) == []


@settings(deadline=None, max_examples=20)
@given(n_samples=st.integers(1, 3000), sample_rate=st.sampled_from([1000, 8000, 44100]), n_channels=st.integers(1, 3))
def test_times_are_inside_and_rise(n_samples: int, sample_rate: int, n_channels: int) -> None:
    signals = torch.randn(n_channels, n_samples, generator=torch.Generator().manual_seed(n_samples))
    found = onset_times_s(Recording(signals, sample_rate))
    assert found == sorted(found)
    assert all(0 <= time_s < n_samples / sample_rate for time_s in found)


@pytest.mark.skipif(not RECORDINGS.exists(), reason="needs the real recordings, see DDAUDIO_RECORDINGS")
@pytest.mark.parametrize(("name", "first_s"), [("percussion/drum_snare_hard.flac", 0.01), ("instruments/violin-B3.wav", 0.01)])
def test_a_stroke_and_a_note_have_one_onset(name: str, first_s: float) -> None:
    assert onset_times_s(audio.read(RECORDINGS / name)) == pytest.approx([first_s], abs=0.01)
