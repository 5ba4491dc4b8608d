"""The MDCT against its direct cosine sum, and the best-k baseline against all choices of coefficients."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from soundchecks import spooled

from ddaudio.metrics import mdct_baseline
from ddaudio.metrics.mdct_baseline import FRAME_SIZES, best_k_snr, frame_count, inverse_mdct, keep_largest, mdct

LENGTHS = st.integers(1, 700)
HOPS = st.sampled_from([2, 4, 6, 64, 128])


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def direct_mdct(signal, hop):
    """The definition, one cosine sum per coefficient (Princen & Bradley 1986), for a signal [T]."""
    frames = -(-len(signal) // hop) + 1
    padded = np.concatenate([np.zeros(hop), signal, np.zeros(2 * hop)])
    n = np.arange(2 * hop)
    window = np.sin(np.pi * (n + 0.5) / (2 * hop))
    cosines = np.cos(np.pi / hop * np.outer(np.arange(hop) + 0.5, n + 0.5 + hop / 2))
    pieces = [padded[f * hop : (f + 2) * hop] for f in range(frames)]
    return np.sqrt(2 / hop) * np.array([cosines @ (window * piece) for piece in pieces])


@pytest.mark.parametrize("hop", [2, 4, 6, 16])
@pytest.mark.parametrize("n_samples", [1, 5, 16, 33])
def test_mdct_equals_its_direct_cosine_sum(hop, n_samples):
    signal = noise(n_samples)
    # float64 sums of at most 32 terms of order one
    np.testing.assert_allclose(mdct(signal, hop), direct_mdct(signal, hop), atol=1e-13)


@given(n_samples=LENGTHS, hop=HOPS)
def test_energy_is_kept_and_the_signal_comes_back_for_every_length(n_samples, hop):
    signal = noise(2, n_samples, seed=n_samples)
    coefficients = mdct(signal, hop)
    assert coefficients.shape == (2, frame_count(n_samples, hop), hop)
    # orthonormal in float64: rounding only
    assert (coefficients**2).sum() == pytest.approx((signal**2).sum(), rel=1e-12)
    np.testing.assert_allclose(inverse_mdct(coefficients, n_samples), signal, atol=1e-13)


@given(n_samples=st.integers(1, 60), hop=st.sampled_from([2, 4, 8]))
def test_inverse_is_the_transpose(n_samples, hop):
    signal, coefficients = noise(n_samples), noise(frame_count(n_samples, hop), hop, seed=1)
    # <mdct(s), c> == <s, inverse(c)>: sums of some hundred float64 products
    assert (mdct(signal, hop) * coefficients).sum() == pytest.approx(
        (signal * inverse_mdct(coefficients, n_samples)).sum(), abs=1e-11
    )


def test_float32_stays_float32_and_integers_become_float64():
    assert mdct(noise(1, 100).astype(np.float32), 64).dtype == np.float32
    assert inverse_mdct(mdct(noise(1, 100).astype(np.float32), 64), 100).dtype == np.float32
    assert mdct(np.arange(9), 4).dtype == np.float64


@pytest.mark.parametrize(("n_samples", "hop"), [(10, 3), (10, 0), (0, 4)])
def test_impossible_frames_are_refused(n_samples, hop):
    with pytest.raises(ValueError, match=r"even and at least 2|at least one sample"):
        mdct(np.ones(n_samples), hop)


@pytest.mark.parametrize("n_samples", [0, 4, 9])
def test_inverse_refuses_a_length_that_does_not_fit(n_samples):
    with pytest.raises(ValueError, match="do not cover"):
        inverse_mdct(np.ones((3, 4)), n_samples)


@given(count=st.integers(0, 30), values=st.lists(st.integers(-3, 3), min_size=1, max_size=25))
def test_keep_largest_keeps_that_many_and_no_smaller_ones(count, values):
    array = np.array(values, dtype=np.float64)
    kept = keep_largest(array, count)
    assert np.count_nonzero(kept) == min(count, np.count_nonzero(array))
    assert set(kept[kept != 0]) <= set(array)
    dropped = array[kept == 0]
    assert abs(dropped).max(initial=0) <= abs(kept[kept != 0]).min(initial=np.inf) or count == 0
    assert (kept**2).sum() == sum(sorted((array**2).tolist(), reverse=True)[:count])


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_no_other_choice_of_k_coefficients_has_less_error(count):
    signal = noise(7)
    coefficients = mdct(signal, 2)
    # zeros on both sides, so that no coefficient reaches beyond them: the error over all samples is meant here
    wide = np.concatenate([np.zeros(4), signal, np.zeros(16)])

    def error(values):
        inner = np.zeros((frame_count(len(wide), 2), 2))
        inner[2 : 2 + len(values)] = values  # four zeros in front of the signal are two frames
        return ((wide - inverse_mdct(inner, len(wide))) ** 2).sum()

    errors = []
    for chosen in itertools.combinations(range(coefficients.size), count):
        kept = np.zeros(coefficients.size)
        kept[list(chosen)] = coefficients.ravel()[list(chosen)]
        errors.append(error(kept.reshape(coefficients.shape)))
    # the best of all choices, to float64 rounding
    assert error(keep_largest(coefficients, count)) == pytest.approx(min(errors), rel=1e-12)


def direct_baseline(target, count):
    """SNR and hop of the best-k baseline, with a full sort, straight from the definition."""
    best = (-np.inf, 0)
    for hop in FRAME_SIZES:
        coefficients = mdct(target.astype(np.float64), hop)
        order = np.argsort(-np.abs(coefficients).ravel(), kind="stable")
        kept = np.zeros(coefficients.size)
        kept[order[:count]] = coefficients.ravel()[order[:count]]
        residual = target - inverse_mdct(kept.reshape(coefficients.shape), target.shape[1])
        best = max(best, (10 * np.log10((target**2).sum() / (residual**2).sum()), hop), key=lambda pair: pair[0])
    return best


@pytest.mark.parametrize("shape", [(1, 3000), (2, 5001)])
@pytest.mark.parametrize("numbers", [2, 41, 600])
def test_baseline_equals_its_definition(shape, numbers):
    decay = np.exp(-np.arange(shape[1]) / 400)
    target = (noise(*shape) * decay + np.sin(0.1 * np.arange(shape[1])) * [[1.0], [0.2]][: shape[0]]).astype(np.float32)
    snr_db, hop = direct_baseline(target, numbers // 2)
    baseline = best_k_snr(torch.from_numpy(target), numbers)
    assert (baseline.frame_samples, baseline.coefficients, baseline.reason) == (hop, numbers // 2, None)
    # float32 against float64: 1e-7 of the signal at SNRs below 40 dB moves the residual by less than 1e-5
    assert baseline.snr_db == pytest.approx(snr_db, abs=1e-4)


def test_one_basis_function_costs_one_coefficient():
    for hop in (64, 1024):
        coefficients = np.zeros((1, 9, hop))
        coefficients[0, 4, 10] = 1.0
        baseline = best_k_snr(inverse_mdct(coefficients, 8 * hop), 2)
        assert (baseline.snr_db, baseline.frame_samples, baseline.coefficients) == (None, hop, 1)
        assert baseline.reason.startswith("exact")


def test_channels_share_one_budget():
    coefficients = np.zeros((2, 9, 64))
    coefficients[0, 4, 10], coefficients[0, 5, 3], coefficients[1, 4, 20] = 3.0, 2.0, 1.0
    target = inverse_mdct(coefficients, 8 * 64)
    # the two largest lie in the first channel: what is missed is the second one, 1 of an energy of 14
    assert best_k_snr(target, 4).snr_db == pytest.approx(10 * np.log10(14), abs=1e-9)


def test_error_outside_the_signal_does_not_count():
    target = np.ones((1, 1))
    # one sample, one coefficient: the kept wave also fills the zeros beside it, and only the sample counts
    coefficients = mdct(target, 64)
    residual = target - inverse_mdct(keep_largest(coefficients, 1), 1)
    dropped = (coefficients**2).sum() - np.abs(coefficients).max() ** 2
    assert (residual**2).sum() < dropped
    assert best_k_snr(target, 2).snr_db == pytest.approx(direct_baseline(target, 1)[0], abs=1e-9)


@given(n_samples=st.integers(1, 3000), numbers=st.integers(0, 300), power=st.sampled_from([-90, -20, 0, 70]))
def test_baseline_is_finite_or_has_a_reason_and_ignores_the_level(n_samples, numbers, power):
    target = noise(1, n_samples, seed=n_samples).astype(np.float32)
    baseline, scaled = best_k_snr(target, numbers), best_k_snr(target * np.float32(2.0**power), numbers)
    assert (baseline.snr_db is None) == (baseline.reason is not None)
    assert baseline.snr_db is None or np.isfinite(baseline.snr_db)
    assert scaled == baseline  # a power of two is exact


def test_silence_nothing_to_spend_and_everything_kept():
    silent = best_k_snr(torch.zeros(2, 50), 100)
    assert (silent.snr_db, silent.frame_samples, silent.reason) == (None, 0, "the target is digital silence")
    for numbers in (0, 1):
        assert best_k_snr(np.ones((1, 9)), numbers).snr_db == 0.0
    full = best_k_snr(noise(2, 100).astype(np.float32), 10**6)
    assert (full.snr_db, full.frame_samples, full.coefficients) == (None, 64, 2 * 3 * 64)
    assert full.reason.startswith("exact")


@pytest.mark.parametrize(("target", "numbers"), [(np.ones(5), 2), (np.ones((1, 0)), 2), (np.ones((1, 5)), -1)])
def test_bad_arguments_are_refused(target, numbers):
    with pytest.raises(ValueError, match="it must be"):
        best_k_snr(target, numbers)


def ringing(channels, n_samples):
    """Noise through a resonance, struck every 5000 samples and cut off at the end: loud at both edges."""
    times = np.arange(n_samples)
    return (noise(channels, n_samples) * np.exp(-(times % 5000) / 1500) + np.sin(0.1 * times)).astype(np.float32)


@pytest.mark.parametrize("shape", [(1, 700), (2, 20_011), (40, 3000), (1, 300_000)])
@pytest.mark.parametrize("share", [0.001, 0.1, 1.0])
def test_a_streamed_baseline_equals_that_of_sorted_coefficients(shape, share, monkeypatch):
    target, numbers = torch.from_numpy(ringing(*shape)), max(2, round(share * shape[0] * shape[1]))
    exact = best_k_snr(target, numbers)
    monkeypatch.setattr(mdct_baseline, "EXACT_SAMPLES", 0)
    for size in (1 << 10, 1 << 18):  # many blocks, some shorter than a frame, and few
        monkeypatch.setattr(mdct_baseline, "_STREAMED_SAMPLES", size)
        streamed = best_k_snr(spooled(target), numbers)
        assert (streamed.frame_samples, streamed.coefficients) == (exact.frame_samples, exact.coefficients)
        # one bin is split as if its values were alike, which shows where only 60 coefficients are kept; without what
        # the edges put beside the signal taken off, the short ones would be off by tenths of a decibel
        assert streamed.snr_db == pytest.approx(exact.snr_db, abs=0.01)
        assert best_k_snr(target.numpy(), numbers) == streamed


def test_the_streamed_baseline_has_the_same_special_cases(monkeypatch):
    cases = [(torch.zeros(2, 50), 100), (torch.ones(1, 9), 1), (torch.from_numpy(ringing(2, 100)), 10**6)]
    exact = [best_k_snr(target, numbers) for target, numbers in cases]
    monkeypatch.setattr(mdct_baseline, "EXACT_SAMPLES", 0)
    assert [best_k_snr(spooled(target), numbers) for target, numbers in cases] == exact
    faint, loud = (best_k_snr(spooled(torch.from_numpy(ringing(1, 5000)) * 2.0**power), 300) for power in (-90, 70))
    assert faint == loud


def test_short_recordings_in_a_spool_are_sorted_too():
    target = torch.from_numpy(ringing(2, 3000))
    assert best_k_snr(spooled(target), 100) == best_k_snr(target, 100)


def test_more_numbers_are_never_worse_on_real_sound(shared_recordings: Path):
    samples, _ = soundfile.read(shared_recordings / "barks" / "dogblocks_b.0.ogg", dtype="float32", always_2d=True)
    rising = [best_k_snr(samples.T, numbers).snr_db for numbers in (0, 20, 200, 2000, 20000)]
    # a falling list would mean that something other than the largest coefficients is kept
    assert rising == sorted(rising)
    # float32 against float64, and a file's last half-bit between decoders: far less than 0.01 dB at 23 dB
    assert rising[3] == pytest.approx(direct_baseline(samples.T, 1000)[0], abs=0.01)
