"""Every metric against a closed form or an implementation of its definition that shares no code with it."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from auraloss.freq import MultiResolutionSTFTLoss
from hypothesis import given, settings
from hypothesis import strategies as st
from soundchecks import spooled

from ddaudio.metrics import multi_resolution_stft, signals, spectrogram
from ddaudio.metrics.measure import measure, snr_db, snr_db_per_signal
from ddaudio.metrics.registry import METRICS

RATE = 16000


def noise(*shape, seed=0, level=0.1):
    return level * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def values(result):
    """All values, by name, with the bands at the end."""
    named = {name: metric.value for name, metric in result.items() if name != "bands"}
    return named | {f"band {row.low_hz:.0f}": row.snr_db for row in result.bands}


def direct_levels(signal, reference, n_fft):
    """Floored spectra of one channel, linear magnitude [frames, bins], by plain FFTs of float64 frames."""
    hop = n_fft // 4
    peak = np.abs(reference).max()
    count = -(-len(signal) // hop) + 3
    padded = np.concatenate([np.zeros(n_fft - hop), signal / peak, np.zeros(n_fft)])
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    frames = np.array([padded[f * hop : f * hop + n_fft] * window for f in range(count)])
    return np.abs(np.fft.rfft(frames)) * 2 / window.sum()


def direct_mel_filters(n_fft, sample_rate, count):
    """HTK triangles written as the smaller of two lines."""
    top = 2595 * np.log10(1 + sample_rate / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, top, count + 2) / 2595) - 1)
    bins = np.arange(n_fft // 2 + 1) * sample_rate / n_fft
    rising = (bins - corners[:-2, None]) / np.diff(corners)[:-1, None]
    falling = (corners[2:, None] - bins) / np.diff(corners)[1:, None]
    return np.maximum(0, np.minimum(rising, falling))


# Ratios of samples


@pytest.mark.parametrize("gain", [0.9, 1.01, -1.0, 0.0])
def test_snr_and_mse_of_a_scaled_target(gain):
    target = noise(2, 5000)
    result = measure(gain * target, target, RATE)
    # residual = (1 - gain) target; float32 rounding of the product is 6e-8 of the target, 1e-5 of a 1 % residual
    assert result["snr_db"].value == pytest.approx(-20 * math.log10(abs(1 - gain)), abs=1e-3)
    expected = (1 - gain) ** 2 * float(target.double().square().mean())
    assert result["mse"].value == pytest.approx(expected, rel=1e-4)


def test_si_sdr_equals_its_closed_form_and_ignores_the_estimates_level():
    target, other = noise(2, 5000), noise(2, 5000, seed=1)
    orthogonal = other - (other * target).sum() / target.square().sum() * target
    estimate = 0.7 * target + 0.1 * orthogonal
    expected = 20 * math.log10(0.7 / 0.1) + 10 * math.log10(target.square().sum() / orthogonal.square().sum())
    levels = [measure(scale * estimate, target, RATE)["si_sdr_db"].value for scale in (1.0, 0.01, 8.0, -3.0)]
    # float32 samples: 1e-7 relative, some 1e-5 dB after the projection
    assert levels == pytest.approx([expected] * 4, abs=1e-4)


def test_si_sdr_of_an_estimate_next_to_its_target_is_not_rounding_noise():
    target = noise(1, 5000)
    estimate = (target.double() * 0.5 + noise(1, 5000, seed=1).double() * 1e-6).float()
    exact = estimate.double()
    scale = (exact * target).sum() / target.double().square().sum()
    projection = scale * target.double()
    expected = 20 * (math.log10(projection.norm()) - math.log10((projection - exact).norm()))
    # the same samples in float64 on both sides: rounding of 1e-16 in a residual of 2e-6 of the signal
    assert measure(estimate, target, RATE)["si_sdr_db"].value == pytest.approx(expected, abs=1e-8)


def test_snr_pools_energy_over_signals_and_per_signal_does_not():
    target = torch.stack([torch.ones(100), 10 * torch.ones(100)])
    estimate = target - 0.125  # exact in float32
    assert snr_db_per_signal(estimate, target).tolist() == pytest.approx([20 * math.log10(8), 20 * math.log10(80)])
    assert snr_db(estimate, target) == pytest.approx(10 * math.log10(101 * 32))
    assert measure(estimate, target, RATE)["snr_db"].value == snr_db(estimate, target)


def test_snr_says_inf_for_exact_and_nan_for_silence():
    target = torch.tensor([[1.0, 2.0], [1.0, 2.0], [0.0, 0.0], [0.0, 0.0]])
    estimate = torch.tensor([[1.0, 2.0], [0.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    exact, silent_estimate, *silent_target = snr_db_per_signal(estimate, target).tolist()
    assert (exact, silent_estimate) == (math.inf, 0.0)
    assert all(math.isnan(value) for value in silent_target)
    assert math.isinf(snr_db(estimate[:1], target[:1]))
    assert math.isnan(snr_db(estimate[2:], target[2:]))


# Spectra


@pytest.mark.parametrize("sample_rate", [4000, 16000, 44100])
def test_frame_metrics_equal_their_definitions(sample_rate):
    time = torch.arange(6000) / sample_rate
    target = (torch.sin(2 * math.pi * 440 * time) * torch.exp(-20 * time) + noise(6000, level=1e-3))[None]
    target[:, 4000:] = 0.0
    estimate = 0.8 * target + noise(1, 6000, seed=1, level=3e-3)
    n_fft = {4000: 256, 16000: 512, 44100: 2048}[sample_rate]  # nearest on a log scale to 184, 736, 2029
    n_fft = 1024 if sample_rate == 16000 else n_fft
    count = {4000: 29, 16000: 56, 44100: 77}[sample_rate]  # one per 50 mel up to 1521, 2840, 3923 mel
    pair = [direct_levels(signal[0].double().numpy(), target[0].numpy(), n_fft) for signal in (estimate, target)]
    ours, wanted = (20 * np.log10(np.maximum(magnitudes, 1e-4)) for magnitudes in pair)
    filters = direct_mel_filters(n_fft, sample_rate, count)
    mels = [10 * np.log10(np.maximum(magnitudes**2 @ filters.T, 1e-8)) for magnitudes in pair]
    fluxes = [np.maximum(np.diff(level, axis=0, prepend=-80), 0).mean(1) for level in mels]
    result = measure(estimate, target, sample_rate)
    # float32 spectra: noise 140 dB below the loudest bin, 60 dB below the floor, moves a level by at most 0.01 dB there
    assert result["lsd_db"].value == pytest.approx(np.sqrt(((ours - wanted) ** 2).mean(1)).mean(), rel=1e-4)
    assert result["mel_db"].value == pytest.approx(np.abs(mels[0] - mels[1]).mean(), rel=1e-4)
    assert result["onset_flux"].value == pytest.approx(np.abs(fluxes[0] - fluxes[1]).sum() / fluxes[1].sum(), rel=1e-4)


@pytest.mark.parametrize("gain", [0.5, 2.0])
def test_log_spectral_and_mel_distance_of_a_gain_are_the_gain_in_db(gain):
    # An impulse in the middle has a flat spectrum; only frames that see it lie above the floor: 4 of all.
    target = torch.zeros(1, 4096)
    target[0, 2048] = 1.0
    result = measure(gain * target, target, 44100)
    frames = 4096 / 512 + 3
    # The impulse falls on a frame edge, where the window is 0: 3 frames with window 0.5, 1, 0.5 over a sum of 1024,
    # that is -60 and -54 dB, above the floor of -80 dB both before and after the gain.
    expected = 3 / frames * 20 * abs(math.log10(gain))
    assert result["lsd_db"].value == pytest.approx(expected, rel=1e-5)
    assert result["mel_db"].value == pytest.approx(expected, rel=1e-5)


def test_metrics_do_not_depend_on_the_recordings_level():
    target, estimate = noise(2, 9000), noise(2, 9000, seed=1)
    loud, quiet = values(measure(estimate, target, RATE)), values(measure(estimate / 1024, target / 1024, RATE))
    for name in loud.keys() - {"mse", "mr_stft"}:
        assert quiet[name] == pytest.approx(loud[name], rel=1e-12), name  # a power of two is exact, but for the log
    assert quiet["mse"] == loud["mse"] / 1024**2


def test_metrics_do_not_depend_on_polarity():
    target = torch.full((1, 3000), -0.5) + noise(1, 3000)  # its peak is below zero
    estimate = target + noise(1, 3000, seed=1)
    assert values(measure(-estimate, -target, RATE)) == values(measure(estimate, target, RATE))


def test_onset_flux_of_silence_is_one_and_a_late_onset_costs():
    target = torch.zeros(1, 16000)
    target[:, 8000:] = noise(1, 8000)
    late = torch.roll(target, 2000, dims=1)
    assert measure(torch.zeros_like(target), target, RATE)["onset_flux"].value == 1.0
    # all of the onset's flux is missing where it should be, and the same again stands where it should not
    assert measure(late, target, RATE)["onset_flux"].value > 1.0
    assert measure(0.5 * target, target, RATE)["onset_flux"].value < 0.2


@pytest.mark.parametrize("shape", [(1, 2048), (1, 20000), (3, 9999)])
def test_mr_stft_equals_auraloss(shape):
    target, estimate = noise(*shape), noise(*shape, seed=1)
    estimate[:, : shape[1] // 2] = target[:, : shape[1] // 2] * 0.9
    target[:, -shape[1] // 4 :] = 0.0  # below auraloss's floor
    expected = float(MultiResolutionSTFTLoss()(estimate[None], target[None]))
    # auraloss adds up in float32, ours in float64
    assert measure(estimate, target, RATE)["mr_stft"].value == pytest.approx(expected, rel=1e-5)


def test_mr_stft_of_a_short_recording_is_that_of_the_padded_one():
    target, estimate = noise(1, 300), noise(1, 300, seed=1)
    padded = [torch.nn.functional.pad(signal, (0, 2048 - 300))[None] for signal in (estimate, target)]
    expected = float(MultiResolutionSTFTLoss()(*padded))
    assert measure(estimate, target, RATE)["mr_stft"].value == pytest.approx(expected, rel=1e-5)


# Octave bands


def band_limited(low_hz, high_hz, n_samples, sample_rate, seed):
    """Noise with nothing outside a band."""
    spectrum = torch.fft.rfft(noise(1, n_samples, seed=seed).double())
    frequencies = torch.fft.rfftfreq(n_samples, 1 / sample_rate)
    return torch.fft.irfft(spectrum * ((frequencies > low_hz) & (frequencies < high_hz)), n_samples).float()


def test_band_edges_are_octaves_around_their_centres_up_to_nyquist():
    rows = measure(noise(1, 100), noise(1, 100, seed=1), 44100).bands
    centres = [31.25 * 2**octave for octave in range(10)]
    assert [row.low_hz for row in rows] == pytest.approx([centre / math.sqrt(2) for centre in centres])
    assert [row.high_hz for row in rows] == pytest.approx([centre * math.sqrt(2) for centre in centres[:-1]] + [22050])
    assert measure(noise(1, 100), noise(1, 100), 40).bands == []


def test_noise_in_one_band_shows_in_that_band_alone():
    target = noise(1, 4 * RATE)
    # Faded in and out: cut off, its ends would be clicks, and clicks are in every band.
    hiss = band_limited(800, 1300, 4 * RATE, RATE, seed=1) * torch.hann_window(4 * RATE)
    rows = {round(row.low_hz): row.snr_db for row in measure(target + hiss, target, RATE).bands}
    spectrum = torch.fft.rfft(target.double()).abs().square()[0]
    frequencies = torch.fft.rfftfreq(4 * RATE, 1 / RATE)
    in_band = 2 * spectrum[(frequencies >= 707.1) & (frequencies < 1414.2)].sum() / (4 * RATE)
    expected = 10 * math.log10(in_band / hiss.double().square().sum())
    # One FFT of all against Hann frames: they differ by what 2 Hz bins smear over the edges of a 700 Hz band: under 1 %
    assert rows[707] == pytest.approx(expected, abs=0.05)
    # The noise ends 46 and 58 bins from the band's edges: Hann's side lobes there, at 18 dB an octave, are 110 dB down.
    assert all(value > 100 for low_hz, value in rows.items() if low_hz != 707)


def test_band_energies_add_up_to_the_whole():
    # All the energy between 22 Hz and Nyquist, so the bands hold everything; residual = half of the target in each.
    target = band_limited(60, 8000, 4 * RATE, RATE, seed=2)
    rows = measure(0.5 * target, target, RATE).bands
    # 20 log10(1 / 0.5) in every band with energy; halving is exact in float32, the FFTs are not, 1e-6
    assert [row.snr_db for row in rows[1:]] == pytest.approx([20 * math.log10(2)] * len(rows[1:]), abs=1e-5)


def test_a_band_without_energy_has_a_reason():
    target = torch.sin(2 * math.pi * 1000 * torch.arange(4 * RATE).double() / RATE)[None] * torch.hann_window(4 * RATE)
    target = target.float()
    rows = {round(row.low_hz): row for row in measure(0.9 * target, target, RATE).bands}
    assert rows[707].snr_db == pytest.approx(20, abs=1e-3)  # float32 rounding of the product, 1e-6 of the residual
    assert rows[22].snr_db is None
    assert rows[22].reason == "the target has no energy in this band"


# Every input


SOUNDS = {
    "silence": torch.zeros(1, 3000),
    "dc": torch.full((1, 3000), 0.5),
    "one sample": torch.tensor([[0.3]]),
    "one silent sample": torch.zeros(1, 1),
    "ten samples": noise(1, 10),
    "eight channels": noise(8, 3000),
    "faint": noise(1, 3000, level=1e-30),
    "denormal": noise(1, 3000, level=1e-41),
    "loud": noise(1, 3000, level=1e18),
    "not a number": torch.full((1, 3000), math.nan),
}


@pytest.mark.parametrize("sample_rate", [40, 4000, 192000])
@pytest.mark.parametrize("name", SOUNDS)
def test_all_is_finite_or_none_with_a_reason(name, sample_rate):
    target = SOUNDS[name]
    for estimate in (torch.zeros_like(target), target, 0.5 * target, noise(*target.shape, seed=1), 0.0 / target):
        result = measure(estimate, target, sample_rate)
        for value, reason in [(metric.value, metric.reason) for key, metric in result.items() if key != "bands"] + [
            (row.snr_db, row.reason) for row in result.bands
        ]:
            assert (value is None) != (reason is None)
            assert value is None or math.isfinite(value)
        json.dumps(result, default=dataclasses.asdict, allow_nan=False)


def test_the_reasons_say_which_case_it_is():
    target = noise(1, 3000)
    reasons = {name: metric.reason for name, metric in measure(target, target, RATE).items() if name != "bands"}
    assert reasons["snr_db"] == reasons["si_sdr_db"] == "exact: the residual is zero"
    assert all(reasons[name] is None for name in ("mse", "lsd_db", "mr_stft", "mel_db", "onset_flux", "erb_db", "dead_bands"))
    silent = measure(target, 0 * target, RATE)
    assert silent["snr_db"].reason == silent["si_sdr_db"].reason == "the target is digital silence"
    assert silent["mr_stft"].reason.startswith("the target is silent")
    assert silent["onset_flux"].reason.startswith("the target has no onset")
    assert silent["erb_db"].reason == silent["dead_bands"].reason == "the target is digital silence"
    assert silent["lsd_db"].value > 0 < silent["mel_db"].value
    assert measure(0 * target, target, RATE)["si_sdr_db"].reason == "the estimate holds nothing of the target"


def test_exact_is_best_in_every_distance():
    target = noise(2, 3000)
    result = measure(target, target, RATE)
    assert [result[name].value for name in ("mse", "lsd_db", "mr_stft", "mel_db", "onset_flux")] == [0.0] * 5


@settings(max_examples=25, deadline=None)
@given(n_samples=st.integers(1, 9000), channels=st.integers(1, 3), power=st.integers(9, 13))
def test_blocks_give_what_the_whole_gives(n_samples, channels, power):
    target, estimate = noise(channels, n_samples), noise(channels, n_samples, seed=1)
    whole = values(measure(estimate, target, RATE))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signals, "BLOCK_SAMPLES", 2**power)
        patch.setattr(multi_resolution_stft, "_BLOCK_SAMPLES", 2**power)
        blocks = values(measure(estimate, target, RATE))
    # each frame is the same samples through the same FFT: only float32 rounding inside differently batched FFTs differs
    assert blocks.keys() == whole.keys()
    for name, value in whole.items():
        assert blocks[name] == (None if value is None else pytest.approx(value, rel=1e-5, abs=1e-6)), name


@pytest.mark.parametrize("shape", [(1, 1), (2, 300), (1, 9000), (3, 2 * 2**16)])
def test_a_spool_measures_like_its_tensor(shape):
    target, estimate = noise(*shape), noise(*shape, seed=1)
    expected = measure(estimate, target, RATE)
    assert measure(spooled(estimate), spooled(target), RATE) == expected
    assert measure(estimate, spooled(target), RATE) == expected
    assert snr_db(spooled(estimate), spooled(target)) == snr_db(estimate, target)
    assert torch.equal(snr_db_per_signal(spooled(estimate), target), snr_db_per_signal(estimate, target))


def test_a_recording_longer_than_a_block_is_cut():
    target, estimate = noise(1, 2 * 2**17 + 77), noise(1, 2 * 2**17 + 77, seed=1)
    frames = spectrogram._PairOfFrames(signals.SignalPair(estimate, target, RATE), 1024 / RATE)
    starts = [wanted.shape[1] for _, wanted in frames.blocks()]
    # three blocks of whole hops, each with the three quarters of a frame before it
    assert starts == [2**17 + 768, 2**17 + 768, 256 * (1 + 3) + 768]
    expected = float(MultiResolutionSTFTLoss()(estimate[None], target[None]))
    # auraloss on the whole at once, in float32: sums of millions of terms
    assert measure(estimate, target, RATE)["mr_stft"].value == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", ["lsd_db", "mel_db"])
def test_definitions_say_where_frames_begin(name):
    """As `direct_levels` has it: from three hops before the first sample to the last one within the signal."""
    begin = "frames begin at all multiples of the hop from three hops before the first sample to the last sample"
    assert begin in METRICS[name].definition
    n_fft, n_samples = 64, 100
    starts = [(f + 1) * 16 - n_fft for f in range(-(-n_samples // 16) + 3)]
    assert starts == list(range(-48, n_samples, 16))


def test_silence_measures_as_a_second_of_it(monkeypatch):
    """Only the first second is looked at; here the whole, which gives the same."""
    short = measure(torch.zeros(2, 50_000), torch.zeros(2, 50_000), 8000)
    monkeypatch.setattr("ddaudio.metrics.measure._is_silent", lambda *_: False)
    assert measure(torch.zeros(2, 50_000), torch.zeros(2, 50_000), 8000) == short


def test_every_metric_is_defined_in_words():
    assert list(METRICS) == list(measure(noise(1, 9), noise(1, 9), RATE, quality="zimtohrli,visqol"))
    assert all(spec.definition.endswith(".") for spec in METRICS.values())


@pytest.mark.parametrize(
    ("estimate", "target", "sample_rate"),
    [
        (torch.ones(1, 5), torch.ones(1, 6), 8000),
        (torch.ones(5), torch.ones(5), 8000),
        (torch.ones(1, 0), torch.ones(1, 0), 8000),
        (torch.ones(1, 5), torch.ones(1, 5), 0),
    ],
)
def test_bad_arguments_are_refused(estimate, target, sample_rate):
    with pytest.raises(ValueError, match=r"both must be|must be above 0"):
        measure(estimate, target, sample_rate)


def test_snr_refuses_shapes_that_would_broadcast():
    with pytest.raises(ValueError, match="same shape"):
        snr_db(torch.ones(1, 5), torch.ones(2, 5))
    with pytest.raises(ValueError, match="same shape"):
        snr_db(torch.ones(5), torch.ones(5))


def test_measuring_leaves_no_gradient_and_no_trace():
    estimate, target = noise(1, 500).requires_grad_(), noise(1, 500, seed=1)
    copy = target.clone()
    measure(estimate, target, RATE)
    assert not snr_db_per_signal(estimate, target).requires_grad
    assert torch.equal(target, copy)


def test_real_sound_through_a_low_pass_loses_its_high_bands(shared_recordings: Path):
    samples, sample_rate = soundfile.read(shared_recordings / "speech" / "sentence-16k.wav", dtype="float32")
    target = torch.from_numpy(samples)[None]
    spectrum = torch.fft.rfft(target.double())
    spectrum[:, torch.fft.rfftfreq(target.shape[1], 1 / sample_rate) > 1414.2] = 0.0
    result = measure(torch.fft.irfft(spectrum, target.shape[1]).float(), target, sample_rate)
    # a brick wall on the edge of two bands: above it nothing is left, below it only what leaks over the edge is missed
    assert [row.snr_db for row in result.bands if row.low_hz > 2000] == pytest.approx([0, 0], abs=0.1)
    assert all(row.snr_db > 20 for row in result.bands if row.high_hz < 1000)
    assert 0 < result["lsd_db"].value < 80
    assert 0 < result["mel_db"].value < 80
    assert 0 < result["onset_flux"].value < 1
    (missing,) = result.missing_bands
    # the first edge of a band, 1.2 ERB wide, beyond the brick wall
    assert (1414 < missing.low_hz < 1650, missing.high_hz) == (True, 8000)
    assert 0.2 < missing.share <= result["dead_bands"].value
