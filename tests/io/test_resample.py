"""Resampling keeps the sound, takes no more memory than it must, and refuses rates it cannot reach."""

from pathlib import Path

import pytest
import torch
from soundchecks import RATE, noise, sine, stored

from ddaudio.errors import OptionError
from ddaudio.io import samples as io_samples
from ddaudio.io.audio import Recording, read, resample
from ddaudio.io.samples import DiskSamples


@pytest.mark.parametrize(("old_rate", "new_rate"), [(44_100, 48_000), (48_000, 44_100), (44_100, 16_000), (8000, 96_000)])
def test_a_resampled_sine_is_the_same_sine(old_rate: int, new_rate: int, tmp_path: Path) -> None:
    stored(
        tmp_path / "a.wav",
        torch.cat([sine(1000, old_rate, old_rate), sine(440, old_rate, old_rate)]),
        "FLOAT",
        old_rate,
    )
    recording = read(tmp_path / "a.wav", new_rate)
    expected = torch.cat([sine(1000, new_rate, new_rate), sine(440, new_rate, new_rate)])
    assert recording.sample_rate == new_rate
    assert recording.samples.shape == expected.shape
    # Away from the edges by more than the filter's reach; its ripple in the passband is about 1e-5.
    edge = new_rate // 20
    assert (recording.samples - expected)[:, edge:-edge].abs().max() < 3e-5


def test_resampling_in_stretches_equals_resampling_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(tmp_path / "a.wav", noise(20_000, 2))
    for new_rate in (48_000, 8000, 88_200):
        at_once = read(tmp_path / "a.wav", new_rate).samples
        monkeypatch.setattr(io_samples, "BLOCK_SAMPLES", 1 << 10)
        in_stretches = read(tmp_path / "a.wav", new_rate).samples
        monkeypatch.undo()
        assert in_stretches.shape == at_once.shape
        # the same products, summed in an order that the convolution chooses by length: float32 rounding
        assert (in_stretches - at_once).abs().max() < 2e-6


@pytest.mark.parametrize("new_rate", [48_000, 16_000, 88_200])
def test_a_spooled_recording_is_resampled_to_the_same_samples(
    new_rate: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(io_samples, "BLOCK_SAMPLES", 1 << 12)
    stored(tmp_path / "a.wav", noise(20_000, 2))
    in_memory = read(tmp_path / "a.wav", new_rate)
    monkeypatch.setattr(io_samples, "IN_MEMORY_SAMPLES", 5000)
    resampled = read(tmp_path / "a.wav", new_rate)
    assert isinstance(resampled.samples, DiskSamples)
    assert torch.equal(resampled.samples.tensor(), in_memory.samples)
    assert (resampled.content_hash, resampled.clipped_samples) == (in_memory.content_hash, in_memory.clipped_samples)


def test_lengths_are_exact_ceilings(monkeypatch: pytest.MonkeyPatch) -> None:
    for block in (64, 1 << 20):
        monkeypatch.setattr(io_samples, "BLOCK_SAMPLES", block)
        for n_samples in (146, 147, 148, 294, 4410, 4411):
            found = resample(Recording(noise(n_samples), 44_100, declared_samples=44_100), 48_000)
            # the smallest n with n / 48000 >= n_samples / 44100
            wanted = next(n for n in range(2 * n_samples) if n * 44_100 >= n_samples * 48_000)
            assert (found.n_samples, found.declared_samples) == (wanted, 48_000)


def test_what_the_new_rate_cannot_hold_is_filtered_away(tmp_path: Path) -> None:
    stored(tmp_path / "a.wav", sine(15_000, RATE, RATE), "FLOAT")
    assert read(tmp_path / "a.wav", 22_050).samples[:, 1000:-1000].abs().max() < 1e-4


def test_the_own_rate_changes_nothing(tmp_path: Path) -> None:
    stored(tmp_path / "a.wav", noise(1000))
    assert torch.equal(read(tmp_path / "a.wav", RATE).samples, noise(1000))


def test_rates_without_a_common_divisor_are_refused(tmp_path: Path) -> None:
    stored(tmp_path / "a.wav", noise(1000))
    with pytest.raises(OptionError, match=r"from 44100 to 44101 Hz: .* common divisor, 1, .* choose a rounder rate"):
        read(tmp_path / "a.wav", 44_101)
