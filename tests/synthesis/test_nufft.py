"""The non-uniform FFT as a bank: blocks of time, and the way back."""

import numpy as np
import pytest
import torch
from banks import partials, reference
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ddaudio.synthesis import nufft
from ddaudio.synthesis.nufft import NufftBank


def small_blocks(monkeypatch):
    """Blocks of at most 16 samples, three pairs at once."""
    monkeypatch.setattr(nufft, "BLOCK_SAMPLES", (4, 16))
    monkeypatch.setattr(nufft, "BATCH_SAMPLES", 50)


@settings(deadline=None, max_examples=25)
@given(size=st.integers(1, 9), n_samples=st.integers(1, 400), origin=st.sampled_from([0.0, 31.5, -100.0]))
@example(size=8, n_samples=399, origin=24.5)
@example(size=1, n_samples=33, origin=0.0)
def test_a_bank_in_blocks_is_the_sum_and_its_adjoint(size, n_samples, origin):
    frequency, cosine, sine = partials(size, dtype=torch.float64)
    frequency += 2 * np.pi  # an alias: the same up to the origin's fraction of a sample
    with pytest.MonkeyPatch.context() as monkeypatch:
        small_blocks(monkeypatch)
        bank = NufftBank(frequency, n_samples, origin)
        samples = torch.tensor(np.random.default_rng(3).standard_normal((1, n_samples)))
        made, plain, (again, weighted) = bank.forward(cosine, sine), bank.adjoint(samples), bank.weighted_adjoint(samples)
    # 1e-12 of the whole is asked of finufft; phases up to 4e3 are rounded to 5e-13
    np.testing.assert_allclose(made[0].numpy(), reference(frequency, cosine, sine, n_samples, origin), rtol=0, atol=1e-9)
    steps = np.arange(n_samples) - origin
    phase = frequency.numpy()[:, None] * steps
    for found, weight, tolerance in ((plain, 1.0, 1e-9), (again, 1.0, 1e-9), (weighted, steps, 1e-7)):  # weights up to 500
        for products, wave in zip(found, (np.cos(phase), np.sin(phase)), strict=True):
            np.testing.assert_allclose(products.numpy(), wave @ (samples[0].numpy() * weight), rtol=0, atol=tolerance)


def test_blocks_cover_all_samples_in_batches(monkeypatch):
    small_blocks(monkeypatch)
    bank = NufftBank(torch.ones(2), 399, 0.0)
    stretches = [bank._samples(pairs) for pairs in bank._batches]
    assert len(stretches) > 3
    assert [part.start for part in stretches] == [0, *(part.stop for part in stretches[:-1])]
    assert stretches[-1].stop == 399


def test_longer_blocks_for_more_partials():
    blocks = [NufftBank(torch.ones(size), 1 << 23, 0.0)._block for size in (1, 4096, 1_000_000)]
    assert blocks == [1 << 14, 1 << 15, 1 << 21]


def test_a_device_without_a_library_has_no_nufft():
    assert nufft.available(torch.device("cpu"))
    assert not nufft.available(torch.device("meta"))
