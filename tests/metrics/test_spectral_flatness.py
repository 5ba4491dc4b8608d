"""How much a recording is like noise: closed forms, another implementation, and what must not matter."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import RATE, noise, tones

from ddaudio.io.samples import DiskSamples
from ddaudio.metrics import spectral_flatness
from ddaudio.metrics.spectral_flatness import BAND_SHARE, LEAST_BINS, TILT, flatness

N_FFT = 512
"""Samples in a frame at 8 kHz: 46 ms are 368, and 512 is nearer on a log scale than 256."""


def expected(powers: np.ndarray, bin_mean: float) -> float:
    """The flatness of frames whose bins above 0 Hz have these powers, times what bins vary by on their own."""
    below = np.cumsum(powers)
    last = max(LEAST_BINS, int(np.argmax(below >= BAND_SHARE * below[-1])) + 1)
    tilted = (powers * np.arange(1, len(powers) + 1) ** TILT)[:last]
    return bin_mean * float(np.exp(np.log(tilted).mean()) / tilted.mean())


@pytest.mark.parametrize("exponent", [0.0, 1.0], ids=["white", "pink"])
def test_noise_has_the_mean_of_an_exponential_distribution(exponent: float) -> None:
    """Bins of Gaussian noise are exponential: their geometric mean is ``exp(-gamma)`` of their mean."""
    spectrum = torch.fft.rfft(noise(60.0)[0].double())
    hz = torch.arange(len(spectrum)) * (RATE / 2 / (len(spectrum) - 1))
    # Below half a bin of a frame the spectrum is level, so that no bin takes more than its own.
    sound = torch.fft.irfft(spectrum * hz.clamp(min=RATE / N_FFT / 2) ** (-exponent / 2))[None].float()
    closed = expected(np.arange(1.0, N_FFT // 2 + 1) ** -exponent, math.exp(-np.euler_gamma))
    # The geometric mean of 250 bins, of which a Hann window makes two thirds independent, lies above its limit by
    # exp(var / 2 / 170), var = pi^2 / 6: 0.5 %. Of 1900 frames the mean varies by 0.3 %.
    assert flatness(sound, RATE) == pytest.approx(closed, rel=0.02)


def test_the_docstring_names_the_limits_of_many_bins() -> None:
    """Of ``f^a`` from 0 to 1 the geometric mean is ``exp(-a)`` and the arithmetic mean ``1 / (1 + a)``."""
    limits = {a: math.exp(-a) * (1 + a) for a in (TILT, TILT - 1)}
    named = math.exp(-np.euler_gamma) * limits[TILT], math.exp(-np.euler_gamma) * limits[TILT - 1], limits[TILT]
    assert [f"{one:.2f}" for one in named] == ["0.51", "0.46", "0.91"]
    assert all(f"{one:.2f}" in (flatness.__doc__ or "") for one in named)


def test_a_click_has_the_flatness_of_the_tilt_alone() -> None:
    clicks = torch.zeros(1, 8 * N_FFT)
    clicks[:, :: 2 * N_FFT] = 0.5
    # Each frame holds one click, whose spectrum is level; float64.
    assert flatness(clicks, RATE) == pytest.approx(expected(np.ones(N_FFT // 2), 1.0), rel=1e-9)


@pytest.mark.parametrize("hz", [20.0, 440.0, 3000.0])
def test_a_tone_has_next_to_none(hz: float) -> None:
    # The first and last frames begin or end within the recording, with side lobes all over the band: 2 of 31 frames.
    assert (flatness(tones([hz], [0.5], [0.0], 2.0), RATE) or 0.0) < 0.02


def spelled_out(samples: np.ndarray) -> float | None:
    """The definition at 8 kHz, frame by frame."""
    hop = N_FFT // 2
    window = np.sin(np.pi * np.arange(N_FFT) / N_FFT) ** 2
    powers = []
    for channel in samples:
        for first in range(-hop, len(channel), hop):
            frame = np.zeros(N_FFT)
            inside = channel[max(first, 0) : max(first + N_FFT, 0)]
            frame[max(-first, 0) :][: len(inside)] = inside
            powers.append(np.abs(np.fft.rfft(frame * window))[1:] ** 2)
    energy = np.sum(powers, axis=0)
    if not energy.any():
        return None
    below = np.cumsum(energy)
    last = max(LEAST_BINS, int(np.argmax(below >= BAND_SHARE * below[-1])) + 1)
    tilted = [(row * np.arange(1, hop + 1) ** TILT)[:last] for row in powers]
    geometric = [np.exp(np.log(np.maximum(row, 1e-300)).mean()) for row in tilted]
    weights = np.array([row.mean() for row in tilted])
    heard = weights > 0
    return float(np.average(np.array(geometric)[heard] / weights[heard], weights=weights[heard]))


@given(
    n_samples=st.integers(1, 5000),
    channels=st.integers(1, 3),
    block=st.integers(1, 4000),
    tone=st.sampled_from([0.0, 1.0]),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=40)
def test_it_is_what_its_docstring_says_in_blocks_of_any_length(
    n_samples: int, channels: int, block: int, tone: float, seed: int
) -> None:
    samples = noise(1.0, channels, seed)[:, :n_samples] + tone * tones([700.0], [1.0], [0.0], 1.0)[:, :n_samples]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spectral_flatness, "block_length", lambda _: block)
        found = flatness(samples, RATE)
    # The same in float64 in another order of addition.
    assert found == pytest.approx(spelled_out(samples.double().numpy()), rel=1e-7)
    assert found is not None
    assert 0 <= found <= 1


@given(exponent=st.integers(-60, 40), n_samples=st.integers(1, 2000), rate=st.sampled_from([1000, 8000, 44100, 192_000]))
@settings(deadline=None, max_examples=25)
def test_loudness_does_not_matter(exponent: int, n_samples: int, rate: int) -> None:
    sound = noise(1.0)[:, :n_samples]
    # A power of two changes no digit of float32.
    assert flatness(sound * 2.0**exponent, rate) == pytest.approx(flatness(sound, rate), rel=1e-9)


def test_a_band_that_a_coder_has_emptied_does_not_matter() -> None:
    spectrum = torch.fft.rfft(noise(10.0)[0].double())
    spectrum[len(spectrum) // 2 :] = 0
    white = flatness(noise(10.0), RATE)
    # The band is half as wide, with a tilt of the same shape; at its edge a few of 128 bins lie on the slope.
    assert flatness(torch.fft.irfft(spectrum)[None].float(), RATE) == pytest.approx(white, rel=0.05)


def test_noise_in_one_of_two_channels_counts_by_its_energy() -> None:
    tone = tones([440.0], [1.0], [0.0], 4.0)
    loud, quiet = (flatness(torch.cat([tone, level * noise(4.0)]), RATE) for level in (10.0, 0.1))
    assert loud is not None
    assert quiet is not None
    assert loud > 0.4
    assert quiet < 0.02


@pytest.mark.parametrize("shape", [(1, 0), (1, 1), (2, 5000)])
def test_silence_has_none(shape: tuple[int, int]) -> None:
    assert flatness(torch.zeros(shape), RATE) is None


def test_it_reads_a_spool() -> None:
    spool = DiskSamples(2)
    spool.append(noise(1.0, 2))
    assert flatness(spool, RATE) == flatness(noise(1.0, 2), RATE)
