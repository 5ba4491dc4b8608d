"""ERB distance against its definition in plain NumPy, and what it must do with the odd inputs."""

import math

import numpy as np
import pytest
import torch
from soundchecks import spooled
from torch import Tensor

from ddaudio.io import samples as io_samples
from ddaudio.metrics.erb_distance import MissingBand, erb_distance


def noise(channels: int, n_samples: int, seed: int = 0) -> Tensor:
    return torch.randn(channels, n_samples, generator=torch.Generator().manual_seed(seed))


def direct(estimate: Tensor, target: Tensor, rate: int) -> tuple[float, float]:
    """The definition, cell by cell: a DFT at the bins' frequencies, and the overlap of each bin with each band."""
    length = round(0.02 * rate)
    n_fft = 2 ** math.ceil(math.log2(2 * length))
    cams = np.linspace(*(21.4 * np.log10(1 + 0.00437 * np.array([50, min(16000, rate / 2)]))), 25)
    edges = (10 ** (cams / 21.4) - 1) / 0.00437 * n_fft / rate
    dft = np.exp(-2j * np.pi * np.outer(np.arange(n_fft // 2 + 1), np.arange(length)) / n_fft)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(length) + 0.5) / length)

    def cells(signal: np.ndarray) -> np.ndarray:
        frames = np.pad(signal, (0, -len(signal) % length)).reshape(-1, length) * window
        powers = np.abs(frames @ dft.T) ** 2
        table = np.zeros((len(frames), 24))
        for band in range(24):
            for k in range(n_fft // 2 + 1):
                table[:, band] += powers[:, k] * max(0.0, min(edges[band + 1], k + 0.5) - max(edges[band], k - 0.5))
        return table

    given, wanted = (np.concatenate([cells(one) for one in each.double().numpy()]) for each in (estimate, target))
    audible, floor = wanted >= wanted.max() * 1e-5, wanted.max() * 10**-6.5
    apart = 10 * np.log10((wanted + floor) / (given + floor))
    frames = [math.sqrt((row[heard] ** 2).mean()) for row, heard in zip(apart, audible, strict=True) if heard.any()]
    return float(np.mean(frames)), float((given <= wanted * 10**-1.5)[audible].mean())


@pytest.mark.parametrize("rate", [4000, 8000, 22050])
def test_distance_and_dead_share_are_those_of_the_definition(rate: int) -> None:
    target = noise(2, rate // 4) * torch.linspace(1, 1e-3, rate // 4)
    estimate = 0.1 * noise(2, rate // 4, seed=1) * torch.linspace(0, 1, rate // 4)
    found = erb_distance(estimate, target, rate)
    # Both in float64: rounding of 1e-13 relative in a power, and of the sums over the bins.
    assert (found.distance_db, found.dead_share) == pytest.approx(direct(estimate, target, rate), rel=1e-9)


def test_two_realisations_of_white_noise_have_the_distance_of_the_definitions_floor() -> None:
    found = [erb_distance(noise(1, 882000, 2 * seed), noise(1, 882000, 2 * seed + 1), 44100).distance_db for seed in range(3)]
    # 1000 frames of 20 ms: a frame's distance scatters by about 0.8 dB, so the mean of 3000 by 0.015 dB.
    assert np.mean(found) == pytest.approx(3.67, abs=0.05)


@pytest.mark.parametrize("gain", [1e-6, 0.5, 1024.0])
def test_a_gain_of_both_signals_changes_nothing(gain: float) -> None:
    target, estimate = noise(1, 9000), noise(1, 9000, seed=1)
    before, after = erb_distance(estimate, target, 16000), erb_distance(gain * estimate, gain * target, 16000)
    # Rounding of float32 samples: 6e-8 each.
    assert (after.distance_db, after.dead_share) == pytest.approx((before.distance_db, before.dead_share), rel=1e-6)


@pytest.mark.parametrize(("gain", "dead"), [(0.5, 0.0), (10 ** (-14.9 / 20), 0.0), (10 ** (-15.1 / 20), 1.0)])
def test_a_gain_of_the_estimate_is_its_level_and_kills_from_15_db_on(gain: float, dead: float) -> None:
    target = noise(2, 44100)
    found = erb_distance(gain * target, target, 44100)
    # White noise has no cell within 20 dB of the floor, which would hide 0.04 dB of such a level.
    assert found.distance_db == pytest.approx(-20 * math.log10(gain), abs=0.1)
    assert found.dead_share == dead
    assert found.missing == [MissingBand(0.0, 22050.0, 1.0)] * bool(dead)


def test_channels_are_pooled_and_only_the_loudest_cell_sets_what_is_audible() -> None:
    loud, soft = noise(1, 16000), 1e-4 * noise(1, 16000, seed=1)
    target = torch.cat([loud, soft])
    # 80 dB below the other channel, the second one is inaudible: what is put in its place costs nothing.
    found = erb_distance(torch.cat([0.5 * loud, 0 * soft]), target, 16000)
    assert found.distance_db == pytest.approx(erb_distance(0.5 * loud, loud, 16000).distance_db, abs=1e-9)
    assert found.dead_share == 0


def test_what_a_filter_removes_is_missing() -> None:
    rate, n_samples = 16000, 32000
    target, hz = noise(1, n_samples), torch.fft.rfftfreq(n_samples, 1 / rate)
    kept = {"above": hz < 2000, "below": hz > 1000, "between": (hz < 1000) | (hz > 3000)}
    missing = {}
    for name, mask in kept.items():
        estimate = torch.fft.irfft(torch.fft.rfft(target) * mask, n_samples)
        (missing[name],) = erb_distance(estimate, target, rate).missing
    # Edges of bands, 1.2 ERB apart: the first beyond that of the filter, which cuts a band somewhere.
    assert (2000 <= missing["above"].low_hz < 2350, missing["above"].high_hz) == (True, 8000)
    assert (missing["below"].low_hz, 800 < missing["below"].high_hz <= 1000) == (0, True)
    assert 1000 <= missing["between"].low_hz < 1250
    assert 2550 < missing["between"].high_hz <= 3000


def test_bands_that_are_inaudible_in_the_target_are_not_missing() -> None:
    time = torch.arange(16000) / 16000
    tone = torch.sin(2 * math.pi * 440 * time)[None] * torch.hann_window(16000)
    found = erb_distance(tone, tone + 1e-6 * noise(1, 16000), 16000)
    assert (found.dead_share, found.missing) == (0, [])


def test_odd_inputs_are_defined() -> None:
    silence = torch.zeros(1, 500)
    for name in ("distance_db", "dead_share"):
        assert math.isnan(getattr(erb_distance(noise(1, 500), silence, 8000), name))
        assert math.isnan(getattr(erb_distance(noise(1, 500), noise(1, 500) / silence, 8000), name))
        assert math.isnan(getattr(erb_distance(noise(1, 500) / silence, noise(1, 500), 8000), name))
    one = torch.tensor([[0.3]])
    assert erb_distance(one, one, 44100) == (0.0, 0.0, [], None)
    # One impulse in one frame: silence is 50 to 65 dB away, by the floor.
    missed = erb_distance(0 * one, one, 44100)
    assert 50 < missed.distance_db <= 65
    assert missed.missing == [MissingBand(0.0, 22050.0, 1.0)]


def test_blocks_and_disk_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    target, estimate = noise(2, 20000), noise(2, 20000, seed=1)
    whole = erb_distance(estimate, target, 16000)
    monkeypatch.setattr(io_samples, "BLOCK_SAMPLES", 1 << 14)
    for one, other in ((estimate, target), (spooled(estimate), spooled(target))):
        found = erb_distance(one, other, 16000)
        # The same frames, summed in another order.
        assert found.distance_db == pytest.approx(whole.distance_db, rel=1e-12)
        assert found.dead_share == whole.dead_share
