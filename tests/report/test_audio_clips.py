"""What a page lets hear: FLAC that decodes to the sound, at a level that is told, of a long recording its worst stretch."""

import base64
import io
import math

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sounds import RATE, noise, tones
from torch import Tensor

from ddaudio.io import samples as io_samples
from ddaudio.io.samples import Difference
from ddaudio.options import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE
from ddaudio.report import audio_clips
from ddaudio.report.audio_clips import Clip, Clips, clips, worst_stretch
from ddaudio.results.read import FitAudio

STEP = 2.0**-15
"""From one value of 16 bits to the next."""
HALF_STEP = STEP / 2 + 2.0**-25
"""Rounding to 16 bits, of what was rounded to float32."""


def fitted(original: Tensor, resynthesis: Tensor, rate: int = RATE) -> FitAudio:
    """Return the sounds of a fit, the residual computed when it is read."""
    return FitAudio(original, resynthesis, Difference(original, resynthesis), rate)


def decoded(clip: Clip) -> tuple[np.ndarray, int]:
    """Return the samples ``[C, T]`` of a clip as a browser has them, and their rate."""
    with soundfile.SoundFile(io.BytesIO(clip.flac)) as file:
        assert (file.format, file.subtype) == ("FLAC", "PCM_16")
        return file.read(dtype="float64", always_2d=True).T, file.samplerate


def assert_holds(clip: Clip, sound: Tensor, rate: int = RATE) -> None:
    """Check that a clip is the sound."""
    played, played_rate = decoded(clip)
    assert played_rate == rate
    assert played.shape == tuple(sound.shape)
    assert np.abs(played - sound.double().numpy() / clip.gain).max() <= HALF_STEP
    assert clip.rms == pytest.approx(math.sqrt(float(sound.double().square().mean())), rel=1e-6)


def is_power_of_two(gain: float) -> bool:
    return math.frexp(gain)[0] == 0.5


@given(
    peak_db=st.floats(-240, 60),
    share_db=st.floats(-100, 20),
    channels=st.integers(1, 8),
    n_samples=st.integers(1, 500),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=80)
def test_flac_holds_the_sounds_at_a_level_that_is_told(
    peak_db: float, share_db: float, channels: int, n_samples: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    original, error = 2 * torch.rand(2, channels, n_samples, generator=generator) - 1
    original = original / original.abs().max() * 10 ** (peak_db / 20)
    resynthesis = original + error * 10 ** ((peak_db + share_db) / 20)
    found = clips(fitted(original, resynthesis))
    assert (found.sample_rate, found.n_channels) == (RATE, channels)
    assert (found.start_s, found.end_s) == (0, n_samples / RATE)
    assert [clip.name for clip in found.clips] == ["original", "resynthesis", "residual"]
    for clip, sound in zip(found.clips, (original, resynthesis, original - resynthesis), strict=True):
        assert_holds(clip, sound)
        assert is_power_of_two(clip.gain)
    # One level for both, so that switching between them is fair; the residual has its own.
    common = float(torch.cat([original, resynthesis]).abs().max())
    peaks = common, common, float((original - resynthesis).abs().max())
    for clip, peak in zip(found.clips, peaks, strict=True):
        # Brought up as far as 16 bits go, which hold 1 - 2^-15 at most.
        assert peak / clip.gain <= 1 - STEP * (1 - 1e-6)
        assert peak / clip.gain > (1 - STEP) / 2 * (1 - 1e-6) or peak == 0


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("peak", "gain"), [(1.0, 2.0), (1 - STEP, 1.0), (1 - STEP / 2, 2.0), (0.5, 1.0), (0.49, 0.5), (2**-9, 2**-8)]
)
def test_the_loudest_sample_is_never_clipped(peak: float, gain: float, sign: int) -> None:
    sound = sign * torch.tensor([[peak, -peak / 3, 0.0]])
    for clip in clips(fitted(sound, sound)).clips[:2]:
        assert clip.gain == gain
        assert_holds(clip, sound)


def test_sixteen_bits_come_through_unchanged() -> None:
    """A power of two moves no sample off the steps of 16 bits, so that the original is heard as it was recorded."""
    steps = torch.from_numpy(np.random.default_rng(3).integers(-8191, 8192, (2, 3000)).astype(np.float32))
    original = steps * STEP
    original[0, 0] = 8191 * STEP
    found = clips(fitted(original, 0.5 * original)).clips[0]
    assert found.gain == 0.25
    assert np.array_equal(decoded(found)[0] * found.gain, original.double().numpy())


def test_clips_are_text_for_a_page() -> None:
    clip = clips(fitted(noise(0.1), noise(0.1, seed=1))).clips[0]
    assert base64.b64decode(clip.base64, validate=True) == clip.flac
    assert clip.flac.startswith(b"fLaC")


@pytest.mark.parametrize("silent", ["all", "resynthesis", "residual"])
def test_silence_is_heard_as_such(silent: str) -> None:
    sound, none = noise(0.05), torch.zeros(1, 400)
    pair = {"all": (none, none), "resynthesis": (sound, none), "residual": (sound, sound)}[silent]
    made = clips(fitted(*pair)).clips
    for clip, expected in zip(made, (*pair, pair[0] - pair[1]), strict=True):
        assert_holds(clip, expected)
        assert clip.gain > 0
        if not expected.any():
            assert clip.rms == 0
            assert not decoded(clip)[0].any()
    assert made[0].gain == made[1].gain


def test_one_sample_is_a_clip() -> None:
    found = clips(fitted(torch.tensor([[0.75]]), torch.tensor([[0.5]])))
    assert [clip.gain for clip in found.clips] == [1.0, 1.0, 0.5]
    assert [float(decoded(clip)[0][0, 0]) for clip in found.clips] == [0.75, 0.5, 0.5]
    assert [clip.rms for clip in found.clips] == [0.75, 0.5, 0.25]
    assert (found.start_s, found.end_s) == (0, 1 / RATE)


def test_of_many_channels_the_first_are_heard() -> None:
    original = noise(0.05, channels=11)
    original[9] = 40.0
    found = clips(fitted(original, 0.5 * original))
    assert found.n_channels == audio_clips.MOST_CHANNELS == 8
    for clip, sound in zip(found.clips, (original, 0.5 * original, 0.5 * original), strict=True):
        assert_holds(clip, sound[:8])


# --- sample rates -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [8000, 11_025, 44_100, 96_000])
def test_rates_that_browsers_play_are_kept(rate: int) -> None:
    sound = noise(0.05, rate=rate)
    found = clips(fitted(sound, 0.5 * sound, rate))
    assert found.sample_rate == rate
    assert_holds(found.clips[0], sound, rate)


@pytest.mark.parametrize("rate", [1000, 4000, 7350, 176_400, 192_000, 384_000])
def test_other_rates_are_resampled(rate: int) -> None:
    # A tone low enough for every rate in question: resampling changes nothing but the number of samples.
    hz = 0.2 * min(rate, 44_100)
    original = tones([hz], [0.5], [0.4], 1.0, rate)
    found = clips(fitted(original, 0.75 * original, rate))
    assert audio_clips.LOWEST_RATE <= found.sample_rate <= audio_clips.HIGHEST_RATE
    assert (found.start_s, found.end_s) == (0, 1)
    expected = tones([hz], [0.5], [0.4], 1.0, found.sample_rate).double().numpy()
    for clip, factor in zip(found.clips, (1, 0.75, 0.25), strict=True):
        played, heard_at = decoded(clip)
        assert heard_at == found.sample_rate
        assert played.shape == expected.shape
        assert is_power_of_two(clip.gain)
        # The resampler errs by 1e-4, but at the ends, where the tone begins and breaks off.
        inner = slice(heard_at // 8, -heard_at // 8)
        assert np.abs(played[:, inner] * clip.gain - factor * expected[:, inner]).max() <= 2e-4
        assert clip.rms == pytest.approx(factor * 0.5 / math.sqrt(2), rel=0.01)


@given(rate=st.integers(MIN_SAMPLE_RATE, MAX_SAMPLE_RATE))
@example(rate=MIN_SAMPLE_RATE)
@example(rate=MAX_SAMPLE_RATE)
@example(rate=96_001)
@example(rate=70_001)
@example(rate=7919)
@settings(deadline=None, max_examples=15)
def test_a_recording_of_any_rate_is_heard(rate: int) -> None:
    sound = noise(0.01, rate=rate)
    found = clips(fitted(sound, 0.5 * sound, rate))
    assert audio_clips.LOWEST_RATE <= found.sample_rate <= audio_clips.HIGHEST_RATE
    assert found.end_s == sound.shape[1] / rate
    for clip in found.clips:
        played, heard_at = decoded(clip)
        assert heard_at == found.sample_rate
        # As long as it was, to within a sample and what no ear tells of the pitch.
        assert played.shape[1] / heard_at == pytest.approx(found.end_s, abs=1.01 / heard_at, rel=1e-4)


def test_what_resampling_raises_is_not_clipped() -> None:
    # Full scale on every sample, and turned around at random: between the samples there is more.
    generator = torch.Generator().manual_seed(0)
    original = torch.where(torch.rand(1, 400, generator=generator) < 0.5, -0.999, 0.999)
    clip = clips(fitted(original, 0.5 * original, 4000)).clips[0]
    peak = np.abs(decoded(clip)[0]).max()
    assert peak * clip.gain > 1.2
    assert 0.5 < peak < 1 - STEP


# --- long recordings --------------------------------------------------------------------------------------------------


def best_energy(residual: Tensor, length: int) -> float:
    """Return the most energy that a stretch of some length has, one start after another."""
    square = residual.double().square().sum(0).numpy()
    return max(float(square[start : start + length].sum()) for start in range(len(square) - length + 1))


@given(
    n_samples=st.integers(2, 2000),
    share=st.floats(0, 1),
    channels=st.integers(1, 2),
    seed=st.integers(0, 999),
    block=st.sampled_from([1 << 20, 64, 7]),
)
@example(n_samples=300, share=0.9967, channels=1, seed=0, block=1 << 20)
@settings(deadline=None, max_examples=150)
def test_the_worst_stretch_has_most_energy(n_samples: int, share: float, channels: int, seed: int, block: int) -> None:
    length = max(1, min(n_samples - 1, round(share * n_samples)))
    generator = torch.Generator().manual_seed(seed)
    # A few clicks, so that it matters where the stretch begins.
    residual = torch.randn(channels, n_samples, generator=generator) ** 9
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io_samples, "BLOCK_SAMPLES", block)
        start = worst_stretch(residual, length)
    assert 0 <= start <= n_samples - length
    energy = float(residual[:, start : start + length].double().square().sum())
    # A percent of its length to either side: no stretch that is shorter by so much has more. Sums are of float64.
    step = max(1, length // 100)
    shorter = length if step == 1 else length - 2 * step
    assert energy >= best_energy(residual, shorter) * (1 - 1e-9)


@given(place=st.integers(0, 10_006), length=st.integers(100, 2000))
@example(place=10_006, length=1000)
@settings(deadline=None, max_examples=60)
def test_the_worst_stretch_has_the_only_click_in_it(place: int, length: int) -> None:
    residual = torch.zeros(1, 10_007)
    residual[0, place] = 0.5
    start = worst_stretch(residual, length)
    assert start <= place < start + length
    assert start + length <= 10_007


def test_a_silent_residual_has_a_worst_stretch() -> None:
    assert worst_stretch(torch.zeros(2, 5000), 1000) == 0


def excerpt(channels: int, monkeypatch: pytest.MonkeyPatch, *, burst: slice, longest: int) -> tuple[Clips, Tensor, Tensor]:
    """Return what is heard of half a second of noise that is fitted well but for a burst, and original and resynthesis."""
    monkeypatch.setattr(audio_clips, "LONGEST_SAMPLES", longest)
    original = noise(0.5, channels)
    resynthesis = original + 1e-3 * noise(0.5, channels, seed=1)
    resynthesis[:, burst] = 0
    return clips(fitted(original, resynthesis)), original, resynthesis


@pytest.mark.parametrize("channels", [1, 2, 10])
@pytest.mark.parametrize("burst", [slice(0, 300), slice(1700, 2000), slice(3700, 4000)])
def test_of_a_long_recording_the_worst_excerpt_is_heard(channels: int, burst: slice, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = min(channels, 8)
    found, original, resynthesis = excerpt(channels, monkeypatch, burst=burst, longest=500 * heard)
    first, last = round(found.start_s * RATE), round(found.end_s * RATE)
    assert last - first == 500, "as long as all channels may be together"
    assert first <= burst.start + 10
    assert last >= burst.stop - 10
    for clip, sound in zip(found.clips, (original, resynthesis, original - resynthesis), strict=True):
        assert_holds(clip, sound[:heard, first:last])


def test_an_excerpt_is_not_taken_from_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    found, original, _ = excerpt(2, monkeypatch, burst=slice(3000, 3300), longest=8000)
    assert (found.start_s, found.end_s) == (0, 0.5)
    assert_holds(found.clips[0], original)


@given(n_samples=st.integers(2, 1500), longest=st.integers(1, 1500))
@example(n_samples=300, longest=299)
@settings(deadline=None, max_examples=60)
def test_an_excerpt_lies_within_its_recording(n_samples: int, longest: int) -> None:
    original = noise(n_samples / RATE)
    resynthesis = original.clone()
    resynthesis[:, -1] += 0.5
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audio_clips, "LONGEST_SAMPLES", longest)
        found = clips(fitted(original, resynthesis))
    first, last = round(found.start_s * RATE), round(found.end_s * RATE)
    assert 0 <= first < last <= n_samples
    assert last - first == min(n_samples, longest)
    assert decoded(found.clips[0])[0].shape == (1, last - first)
    assert decoded(found.clips[2])[0].any(), "the only error is heard"


def test_excerpts_of_other_rates_keep_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio_clips, "LONGEST_SAMPLES", 1000)
    original = tones([300.0], [0.5], [0.0], 1.0, 4000)
    resynthesis = original.clone()
    resynthesis[:, 2500:2600] = 0
    found = clips(fitted(original, resynthesis, 4000))
    assert found.end_s - found.start_s == pytest.approx(0.25)
    assert found.sample_rate == 8000
    played = decoded(found.clips[2])[0][0] * found.clips[2].gain
    assert len(played) == 2000
    loud = np.flatnonzero(np.abs(played) > 0.05) / 8000 + found.start_s
    # The resampler rings before and after.
    assert loud.min() == pytest.approx(2500 / 4000, abs=0.005)
    assert loud.max() == pytest.approx(2600 / 4000, abs=0.005)
