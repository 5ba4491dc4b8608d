"""Spectral losses against auraloss, against short-time spectra made frame by frame with numpy, and against closed forms."""

import math

import auraloss
import numpy as np
import pytest
import torch
from named_losses import SAMPLE_RATE, noise, with_gradient

from ddaudio.losses import MAGNITUDE_FLOOR, MSS_DEFAULT, Resolution, magnitudes, make_loss, mss
from ddaudio.losses.spectral import AGREEMENT_FLOOR, DDSP_SCALES, SMOOTH_FLOOR
from ddaudio.losses.stft import mel_filters

DDSP = {
    "fft_sizes": [2048, 1024, 512, 256, 128, 64],
    "hop_sizes": [512, 256, 128, 64, 32, 16],
    "win_lengths": [2048, 1024, 512, 256, 128, 64],
}


def pair(n_samples, level=1.0, dtype=torch.float32):
    target = level * noise(1, n_samples, dtype=dtype)
    return 0.8 * target + 0.1 * level * noise(1, n_samples, seed=1, dtype=dtype), target


def spectrum(signal, resolution):
    """Frames centred on multiples of the hop, mirrored at the ends, windowed and transformed one by one, ``[bins, frames]``."""
    half = resolution.n_fft // 2
    signal = np.pad(signal, (0, max(0, resolution.n_fft - len(signal))))
    padded = np.pad(signal, half, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(resolution.window) / resolution.window)
    left = (resolution.n_fft - resolution.window) // 2
    window = np.pad(window, (left, resolution.n_fft - resolution.window - left))
    begins = range(0, len(padded) - resolution.n_fft + 1, resolution.hop)
    return np.stack([np.fft.rfft(window * padded[begin : begin + resolution.n_fft]) for begin in begins], axis=1)


def mean_over_scales(name, estimate, target):
    """The definition of a loss that auraloss does not have, in numpy."""
    found = []
    for scale in MSS_DEFAULT if name in ("phase", "axis") else DDSP_SCALES:
        ours, wanted = (spectrum(signal[0].numpy(), scale) for signal in (estimate, target))
        if name in ("phase", "axis"):
            cosine = (wanted * ours.conj()).real / (abs(wanted) * abs(ours) + AGREEMENT_FLOOR)
            found.append(np.average(1 - cosine if name == "phase" else 1 - cosine**2, weights=abs(wanted)))
        elif name == "mss:smooth":
            knee = SMOOTH_FLOOR**2 * scale.window * 3 / 8
            pictures = [np.log1p(abs(each) ** 2 / knee) / 2 for each in (ours, wanted)]
            found.append(np.mean((pictures[0] - pictures[1]) ** 2))
        else:
            axis = {"delta-frequency": 0, "delta-time": 1}[name]
            found.append(np.mean(abs(np.diff(abs(wanted), axis=axis) - np.diff(abs(ours), axis=axis))))
    return np.mean(found)


@pytest.mark.parametrize("n_samples", [2048, 5000, 12001])
@pytest.mark.parametrize("level", [1.0, 0.05])
def test_mss_equals_auraloss_for_one_signal(n_samples, level):
    estimate, target = pair(n_samples, level)
    wanted = auraloss.freq.MultiResolutionSTFTLoss()(estimate[:, None], target[:, None]).item()
    # Both in float32: means of up to 1e5 logarithms, each off by some 1e-7 of its size and more where bins nearly cancel.
    assert mss(estimate, target).item() == pytest.approx(wanted, rel=1e-4)
    assert make_loss("mss")(estimate, target).item() == mss(estimate, target).item()


@pytest.mark.parametrize("n_samples", [2048, 5000])
def test_the_ddsp_preset_equals_auraloss_with_the_settings_of_ddsp(n_samples):
    estimate, target = pair(n_samples)
    reference = auraloss.freq.MultiResolutionSTFTLoss(**DDSP, w_sc=0.0, w_log_mag=1.0, w_lin_mag=1.0)
    wanted = reference(estimate[:, None], target[:, None]).item()
    # float32, as above
    assert make_loss("mss:ddsp")(estimate, target).item() == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("n_samples", [2048, 5000])
def test_mel_equals_auraloss_with_triangular_filters_of_its_own(n_samples):
    estimate, target = pair(n_samples)
    terms = []
    for scale in MSS_DEFAULT:
        reference = auraloss.freq.STFTLoss(scale.n_fft, scale.hop, scale.window)
        reference.scale, reference.fb = "mel", torch.tensor(triangles(scale.n_fft))[None]
        terms.append(reference(estimate[:, None], target[:, None]).item())
    # float32, as above
    assert make_loss("mel", SAMPLE_RATE)(estimate, target).item() == pytest.approx(np.mean(terms), rel=1e-4)


def triangles(n_fft):
    """Bands 50 mel apart (HTK), or as far as bins are at 0 Hz; each rises and falls linearly in Hz to its neighbours' middles."""
    top = 2595 * math.log10(1 + SAMPLE_RATE / 2 / 700)
    apart = max(50.0, 2595 * math.log10(math.e) / 700 * SAMPLE_RATE / n_fft)
    middles = 700 * (10 ** (np.linspace(0, top, int(top / apart) + 1) / 2595) - 1)
    bins = np.arange(n_fft // 2 + 1) * SAMPLE_RATE / n_fft
    rows = [np.interp(bins, middles[at - 1 : at + 2], [0, 1, 0]) for at in range(1, len(middles) - 1)]
    return np.array(rows, dtype=np.float32)


@pytest.mark.parametrize("sample_rate", [1000, 8000, 44_100, 192_000, 384_000])
@pytest.mark.parametrize("n_fft", [512, 1024, 2048])
def test_every_mel_band_has_a_bin_at_every_rate(sample_rate, n_fft):
    filters = mel_filters(n_fft, sample_rate)
    assert filters.shape[0] >= 1
    assert (filters.sum(1) > 0).all()


@pytest.mark.parametrize("name", ["mss:smooth", "delta-time", "delta-frequency", "phase", "axis"])
@pytest.mark.parametrize("n_samples", [700, 3000])
def test_losses_equal_their_definition_frame_by_frame(name, n_samples):
    estimate, target = pair(n_samples, dtype=torch.float64)
    wanted = mean_over_scales(name, estimate, target)
    # float64 transforms; magnitudes at the floor of 1e-4, beside a mean above 1, are too few to show.
    assert make_loss(name)(estimate, target).item() == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("turn_rad", [0.0, 0.3, math.pi / 2, 2.0, math.pi])
def test_phase_and_axis_of_a_turned_sinusoid(turn_rad):
    # Nothing lies at the ends, where frames are mirrored, and next to nothing at negative frequencies.
    steps = torch.arange(8192, dtype=torch.float64)
    envelope = torch.exp(-(((steps - 4096) / 900) ** 2))
    target, turned = (100 * envelope * torch.cos(0.7 * steps + turn)[None] for turn in (0.0, turn_rad))
    # So loud that bins near the floor of phases hold less than 1e-4 of the magnitude.
    assert make_loss("phase")(turned, target).item() == pytest.approx(1 - math.cos(turn_rad), abs=1e-4)
    assert make_loss("axis")(turned, target).item() == pytest.approx(math.sin(turn_rad) ** 2, abs=1e-4)


def test_a_silent_estimate_has_no_phase_and_is_drawn_to_that_of_the_target():
    target = noise(1, 3000)
    value, gradient = with_gradient("phase", 0 * target, target)
    assert value.item() == pytest.approx(1, abs=1e-6)  # float32
    assert (gradient * target).sum() < 0


def test_magnitudes_alone_do_not_hear_the_sign():
    estimate, target = pair(3000)
    for name in ("mss", "mss:ddsp", "mss:smooth", "mel", "delta-time", "delta-frequency", "axis"):
        plain, turned = (make_loss(name, SAMPLE_RATE)(signal, target).item() for signal in (estimate, -estimate))
        assert turned == plain, name
    plain, turned = (make_loss("phase")(signal, target).item() for signal in (estimate, -estimate))
    assert turned == pytest.approx(2 - plain, rel=1e-4)  # float32: cosines change their signs


def test_magnitudes_of_a_sinusoid_and_of_silence():
    resolution = MSS_DEFAULT[0]
    steps = torch.arange(4096, dtype=torch.float64)
    found = magnitudes(torch.cos(2 * math.pi * 64 * steps / resolution.n_fft)[None], resolution)
    assert found.shape[:2] == (1, resolution.n_fft // 2 + 1)
    # On its bin, away from the ends, a cosine of amplitude one gives half the sum of the periodic Hann window: 600 / 4.
    inner = found[0, 64, 4:-4]
    torch.testing.assert_close(inner, torch.full_like(inner, 150.0), rtol=1e-6, atol=0)  # side lobes of -w, below 1e-6
    assert magnitudes(torch.zeros(1, 10), resolution).unique().tolist() == pytest.approx([MAGNITUDE_FLOOR], rel=1e-6)


def test_the_scales_are_the_published_ones():
    assert (Resolution(1024, 120, 600), Resolution(2048, 240, 1200), Resolution(512, 50, 240)) == MSS_DEFAULT
    assert [(each.n_fft, each.hop, each.window) for each in DDSP_SCALES] == list(zip(*DDSP.values(), strict=True))


@pytest.mark.parametrize("kind", ["ESRLoss", "DCLoss", "LogCoshLoss", "SNRLoss", "SISDRLoss", "SDSDRLoss", "STFTLoss"])
def test_a_loss_of_auraloss_is_that_class_signal_by_signal(kind):
    estimate, target = noise(2, 3, 3000)
    reference = (getattr(auraloss.time, kind, None) or getattr(auraloss.freq, kind))()
    wanted = [reference(estimate[i : i + 1, None], target[i : i + 1, None]).item() for i in range(3)]
    assert make_loss(f"auraloss:{kind}")(estimate, target).tolist() == pytest.approx(wanted, rel=1e-6)  # the same float32


def test_a_signal_shorter_than_auraloss_allows_gets_silence_behind_it():
    estimate, target = noise(2, 1, 300)
    reference = auraloss.freq.MultiResolutionSTFTLoss()
    wanted = reference(*(torch.nn.functional.pad(each, (0, 2048 - 300))[:, None] for each in (estimate, target))).item()
    assert make_loss("auraloss:MultiResolutionSTFTLoss")(estimate, target).item() == pytest.approx(wanted, rel=1e-6)
