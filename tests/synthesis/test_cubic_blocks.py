"""Waves in blocks against waves sample by sample in float64."""

import math

import pytest
import torch

from ddaudio.synthesis.cubic_blocks import BlockWaves, Grid
from ddaudio.synthesis.cubic_samples import SampleWaves
from ddaudio.synthesis.cubic_segments import Segments
from ddaudio.synthesis.cubic_waves import CubicWaves

F = torch.float64
N_SAMPLES = 6000


def segments(n_tracks, seed=0, *, shared=False, n_signals=1):
    """Return segments of 40 to 600 samples one after another in each track, and smooth phases; some frequencies near 0 and pi."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for track in range(n_tracks):
        sizes = torch.randint(40, 600, (40,), generator=torch.Generator().manual_seed(0) if shared else generator)
        begin = sizes.cumsum(0) - sizes
        sizes = sizes[begin < N_SAMPLES - 600]
        rows.append((torch.full_like(sizes, track % n_signals), begin[: len(sizes)], sizes))
    signal, begin, count = (torch.cat(part) for part in zip(*rows, strict=True))
    fraction = torch.rand(len(begin), generator=generator, dtype=F)
    slope = torch.rand(len(begin), generator=generator, dtype=F) * 3.1 + 0.02
    slope[::7], slope[3::7] = 0.001, math.pi - 0.001
    bend = torch.randn(2, len(begin), generator=generator, dtype=F).clamp(-2, 2) * 0.03
    length = count.double() + 0.5
    phase = torch.stack([50 * fraction, slope * length, bend[0] * length / 40, bend[1] * length / 40])
    return Segments(signal, begin, count, begin - fraction / 2, length, (n_signals, N_SAMPLES)), phase


def coefficients(orders, like, seed=1):
    return torch.randn(orders, like.shape[1], generator=torch.Generator().manual_seed(seed), dtype=F)


def smooth_segments(n_tracks, longest, *, shared, growing):
    """Return the segments that can be computed in blocks, their phases and their growth."""
    own, phase = segments(n_tracks, shared=shared)
    growth = coefficients(1, phase)[0] / 5 if growing else None
    rows = CubicWaves(own, phase, growth, F)._is_smooth(longest).nonzero().squeeze(1)
    assert len(rows) > 0.8 * phase.shape[1]
    return own.chosen(rows), phase[:, rows], growth[rows] if growing else None


CASES = [(3, False, 64), (40, True, 96), (40, False, 48), (12, True, 16)]


@pytest.mark.parametrize("growing", [False, True])
@pytest.mark.parametrize(("n_tracks", "shared", "longest"), CASES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(F, 5e-7), (torch.float32, 1.5e-6)])
def test_blocks_are_as_exact_as_promised(n_tracks, shared, longest, dtype, tolerance, growing):
    """In float64 the error is that of interpolation, 3e-7 of each amplitude; float32 adds that of rounding, 2.4e-7 a phase."""
    own, phase, growth = smooth_segments(n_tracks, longest, shared=shared, growing=growing)
    blocks = BlockWaves(own, phase, growth, dtype, Grid.between(own.cuts, longest))
    exact = SampleWaves(own, phase, growth, F)
    cosine, sine = coefficients(2, phase), coefficients(5, phase, 2)
    for given in ((cosine,), (cosine, sine)):
        found, wanted = blocks.forward(*given), exact.forward(*given)
        scale = exact.forward(*given).square().mean().sqrt() * 3
        assert float((found - wanted).abs().max() / scale) < tolerance * len(given) * 2


@pytest.mark.parametrize("growing", [False, True])
@pytest.mark.parametrize(("n_tracks", "shared", "longest"), CASES)
def test_moments_are_the_adjoint_and_exact(n_tracks, shared, longest, growing):
    """The adjoint to rounding; the moments to 2e-5, since ``u^4 f``, which is interpolated, is of higher degree than ``f``."""
    own, phase, growth = smooth_segments(n_tracks, longest, shared=shared, growing=growing)
    blocks = BlockWaves(own, phase, growth, F, Grid.between(own.cuts, longest))
    signal = torch.randn(N_SAMPLES, generator=torch.Generator().manual_seed(3), dtype=F)
    moments = blocks.moments(signal, 5)
    cosine, sine = coefficients(5, phase), coefficients(5, phase, 2)
    product = float(signal @ blocks.forward(cosine, sine))
    assert float((cosine * moments[:, 0] - sine * moments[:, 1]).sum()) == pytest.approx(product, rel=1e-10)
    wanted = SampleWaves(own, phase, growth, F).moments(signal, 5)
    assert float((moments - wanted).norm() / wanted.norm()) < 2e-5


def test_many_windows_make_the_same_as_one(monkeypatch):
    own, phase = segments(30)
    grid, given, signal = Grid.between(own.cuts, 64), coefficients(2, phase), torch.randn(N_SAMPLES)
    whole = BlockWaves(own, phase, None, torch.float32, grid)
    wanted = whole.forward(given), whole.moments(signal, 5)
    monkeypatch.setattr("ddaudio.synthesis.cubic_blocks.SUMS_AT_ONCE", 9000)
    monkeypatch.setattr("ddaudio.synthesis.cubic_blocks.PAIRS_AT_ONCE", 16)
    parts = BlockWaves(own, phase, None, torch.float32, grid)
    torch.testing.assert_close(parts.forward(given), wanted[0], atol=3e-5, rtol=0)  # 1e-6 of a peak of 30: another order of sums
    torch.testing.assert_close(parts.moments(signal, 5), wanted[1], atol=1e-4, rtol=1e-5)


def test_what_is_not_smooth_is_computed_sample_by_sample(monkeypatch):
    """Chirps over the band within a segment, and frequencies that leave the band, in several signals."""
    monkeypatch.setattr("ddaudio.synthesis.cubic_waves.FEWEST_SAMPLES", 0)
    own, phase = segments(60, n_signals=3)
    phase[2, ::50] = 200.0
    phase[1, 7::50] *= -1
    phase[3, 9::50] = -900.0
    waves = CubicWaves(own, phase, None, torch.float32)
    assert [type(share.waves).__name__ for share in waves._shares] == ["BlockWaves", "SampleWaves"]
    assert 0.01 < len(waves._shares[1].rows) / phase.shape[1] < 0.1
    exact, given = CubicWaves(own, phase, None, F), coefficients(2, phase)
    wanted = exact.forward(given)
    assert wanted.shape == (3, N_SAMPLES)
    assert float((waves.forward(given) - wanted).abs().max() / wanted.abs().max()) < 1e-6
    signals = torch.randn(3, N_SAMPLES, generator=torch.Generator().manual_seed(3))
    moments = exact.moments(signals.double(), 5)
    assert float((waves.moments(signals, 5) - moments).norm() / moments.norm()) < 2e-5
