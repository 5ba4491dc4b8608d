"""Noise has the power and the coherence that were asked for, and an excerpt the bits of the whole."""

import math

import pytest
import torch
from torch import Tensor

from ddaudio.synthesis.noise import RUN, NoiseFrames, Power, spread_angle


def flat(n_channels: int, sample_rate: int) -> Power:
    """White noise of variance 1."""
    return lambda times_s, hz: torch.full((n_channels, len(times_s), len(hz)), 2 / sample_rate, dtype=torch.float64)


@pytest.mark.parametrize("sample_rate", [1000, 8000, 44100])
def test_an_excerpt_has_the_bits_of_the_whole(sample_rate: int) -> None:
    frames = NoiseFrames.at(sample_rate)
    run = RUN * frames.hop
    whole = frames.render(flat(2, sample_rate), 0, 2 * run + 500, 3, torch.full((2, frames.hop + 1), 0.5))
    for first, n_samples in ((0, 1), (1, 1), (run - 1, 3), (run - frames.hop, 2 * frames.hop), (2 * run + 497, 3), (7, run)):
        excerpt = frames.render(flat(2, sample_rate), first, n_samples, 3, torch.full((2, frames.hop + 1), 0.5))
        assert torch.equal(excerpt, whole[:, first : first + n_samples])
    assert frames.render(flat(2, sample_rate), 5, 0).shape == (2, 0)


def test_another_seed_is_another_noise() -> None:
    frames = NoiseFrames.at(8000)
    one, other = (frames.render(flat(1, 8000), 0, 80000, seed)[0] for seed in (0, 2**64 - 1))
    # Independent signals of 80,000 samples have a correlation of 0.0035 at random.
    assert abs(float(torch.corrcoef(torch.stack([one, other]))[0, 1])) < 0.02


@pytest.mark.parametrize("sample_rate", [8000, 44100])
def test_the_spectrum_is_the_one_asked_for(sample_rate: int) -> None:
    frames, n_samples = NoiseFrames.at(sample_rate), 10 * sample_rate

    def power(times_s: Tensor, hz: Tensor) -> Tensor:
        """20 dB less above a quarter of the sample rate."""
        density = torch.where(hz < sample_rate / 4, 1.0, 0.01) * 2 / sample_rate
        return density.expand(1, len(times_s), -1)

    spectrum = torch.fft.rfft(frames.render(power, 0, n_samples)[0].double()).abs().square() * 2 / n_samples / sample_rate
    hz = torch.fft.rfftfreq(n_samples, 1 / sample_rate)
    for low, high, expected in ((0.01, 0.23, 1.0), (0.27, 0.49, 0.01)):
        inside = (hz > low * sample_rate) & (hz < high * sample_rate)
        # Means over more than 17,000 independent bins scatter by less than 1 %; edges are two bins of 50 Hz away.
        assert float(spectrum[inside].mean()) * sample_rate / 2 == pytest.approx(expected, rel=0.04)


def test_power_follows_time_and_absent_power_is_silence() -> None:
    frames = NoiseFrames.at(8000)

    def power(times_s: Tensor, hz: Tensor) -> Tensor:
        """Noise from 1 s on."""
        return ((times_s >= 1.0).double() * (2 / 8000))[None, :, None].expand(1, -1, len(hz))

    noise = frames.render(power, 0, 40000)[0]
    # The first frame that is heard begins a hop before 1 s.
    assert bool((noise[: 8000 - frames.hop] == 0).all())
    assert float(noise[8000 + frames.hop :].square().mean()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("wanted", [1.0, 0.7, 0.0, -0.5])
def test_channels_have_the_coherence_asked_for(wanted: float) -> None:
    frames = NoiseFrames.at(8000)
    coherence = torch.full((2, frames.hop + 1), math.sqrt(abs(wanted)))
    coherence[1] *= math.copysign(1, wanted)
    noise = frames.render(flat(2, 8000), 0, 160000, 1, coherence)
    # 160,000 samples: a correlation scatters by up to 0.0025, a power by about 0.4 %.
    assert float(torch.corrcoef(noise)[0, 1]) == pytest.approx(wanted, abs=0.015)
    assert noise.square().mean(1).tolist() == pytest.approx([1, 1], abs=0.03)


def test_the_angle_of_a_coherence_inverts_its_mean_phasor() -> None:
    coherence = torch.linspace(0, 1, 50)
    angle = spread_angle(coherence).double()
    # Linear interpolation of 4097 points: second differences of 1e-7.
    assert torch.allclose(torch.sinc(angle / math.pi), coherence.double(), atol=1e-6)
