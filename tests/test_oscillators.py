"""Sums of sinusoids against a float64 sum that spells every sine out."""

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ddaudio import oscillators
from ddaudio.errors import OptionError
from ddaudio.oscillators import Bank, Packing, sum_of_sinusoids, synthesise_frames

METHODS = ("direct", "factored", "auto")
FAR = -1e7


def partials(*shape, seed=0, dtype=torch.float32):
    """Frequencies over the whole band, its ends 0 and pi among them, and normal amplitudes."""
    generator = np.random.default_rng(seed)
    frequency = generator.uniform(0, math.pi, shape)
    if frequency.size > 1:
        frequency.flat[0], frequency.flat[-1] = 0, math.pi
    return tuple(torch.tensor(part, dtype=dtype) for part in (frequency, *generator.standard_normal((2, *shape))))


def reference(frequency, cosine, sine, n_samples, origin=0.0):
    """The definition in float64, one partial after another; numpy's sines are exact for large phases."""
    frequency, cosine, sine = (part.double().numpy() for part in (frequency, cosine, sine))
    steps = np.arange(n_samples) - origin
    total = np.zeros((*frequency.shape[:-1], n_samples))
    for k in range(frequency.shape[-1]):
        phase = frequency[..., k, None] * steps
        total += cosine[..., k, None] * np.cos(phase) + sine[..., k, None] * np.sin(phase)
    return total


def relative_error(found, wanted):
    """Norm of the error over the norm of what was wanted."""
    return np.linalg.norm(found.detach().double().numpy() - wanted) / max(np.linalg.norm(wanted), 1e-300)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("origin", [0.0, 499.5, FAR])
@pytest.mark.parametrize(("size", "n_samples"), [(1, 1), (3, 7), (200, 1000), (50, 4001)])
def test_float32_sums_are_as_exact_as_float32(method, origin, size, n_samples):
    inputs = partials(size)
    found = sum_of_sinusoids(*inputs, n_samples, origin=origin, method=method)
    assert found.shape == (n_samples,)
    assert found.dtype == torch.float32
    # Required is 1e-6. A phase below 2 pi in float32 is off by at most 2.4e-7; phases that were not reduced in float64
    # would be off by 0.5 rad and more at sample 1e7.
    assert relative_error(found, reference(*inputs, n_samples, origin)) < 1e-6


@pytest.mark.parametrize("method", METHODS)
def test_partials_at_the_ends_of_the_band(method):
    frequency, one = torch.tensor([0.0, math.pi], dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    for index, closed in ((0, torch.ones(3000)), (1, torch.tensor([1.0, -1.0]).repeat(1500))):
        found = sum_of_sinusoids(frequency[index : index + 1], one, one * 0, 3000, method=method)
        torch.testing.assert_close(found, closed.double(), rtol=0, atol=1e-11)  # pi's own rounding, 1e-16, times 3000


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("origin", "tolerance"), [(0.0, 1e-12), (499.5, 1e-12), (FAR, 1e-8)])
def test_float64_sums_are_as_exact_as_float64(method, origin, tolerance):
    inputs = partials(100, dtype=torch.float64)
    found = sum_of_sinusoids(*inputs, 1000, origin=origin, method=method)
    assert found.dtype == torch.float64
    # A phase of 3e3 is rounded to 2e-13, one of 3e7 to 4e-9; the factored method adds up two such phases.
    assert relative_error(found, reference(*inputs, 1000, origin)) < tolerance


@settings(deadline=None, max_examples=60)
@given(
    size=st.integers(0, 20),
    n_samples=st.integers(1, 600),
    batch=st.lists(st.integers(0, 3), max_size=3),
    origin=st.sampled_from([0.0, 0.5, -3.0, 300.0]),
    seed=st.integers(0, 100),
)
@example(size=0, n_samples=5, batch=[], origin=0.0, seed=0)
@example(size=0, n_samples=1, batch=[2], origin=0.5, seed=0)
@example(size=3, n_samples=1, batch=[2, 2], origin=0.5, seed=0)
@example(size=3, n_samples=2, batch=[2, 0], origin=0.0, seed=0)
def test_methods_agree_for_every_shape(size, n_samples, batch, origin, seed):
    inputs = partials(*batch, size, seed=seed, dtype=torch.float64)
    wanted = reference(*inputs, n_samples, origin)
    for method in METHODS:
        found = sum_of_sinusoids(*inputs, n_samples, origin=origin, method=method)
        assert found.shape == (*batch, n_samples)
        # float64 phases up to 2000 are rounded to 1e-13; at most 20 partials of order one
        np.testing.assert_allclose(found.numpy(), wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize("method", ["direct", "factored"])
@pytest.mark.parametrize("origin", [0.0, 5.5])
@pytest.mark.parametrize("shape", [(3,), (2, 2), (1, 1)])
def test_gradients_equal_finite_differences(method, origin, shape):
    inputs = [part.requires_grad_() for part in partials(*shape, dtype=torch.float64)]

    def total(*parts):
        return sum_of_sinusoids(*parts, 11, origin=origin, method=method)

    # gradcheck's own defaults for float64: steps of 1e-6, 1e-5 absolute, 1e-3 relative
    assert torch.autograd.gradcheck(total, inputs)


def test_gradients_of_long_sums_equal_those_of_the_direct_method():
    gradients = {}
    for method in ("direct", "factored"):
        inputs = [part.requires_grad_() for part in partials(2, 30, dtype=torch.float64)]
        weights = torch.tensor(np.random.default_rng(7).standard_normal((2, 900)))
        (sum_of_sinusoids(*inputs, 900, origin=449.5, method=method) * weights).sum().backward()
        gradients[method] = [part.grad for part in inputs]
    for found, wanted in zip(gradients["factored"], gradients["direct"], strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12 * wanted.abs().max().item() * 100)  # phases to 2e-13


def ragged(counts, dtype=torch.float64, seed=0):
    return partials(sum(counts), seed=seed, dtype=dtype), torch.tensor(counts, dtype=torch.int64)


COUNTS = st.lists(st.one_of(st.just(0), st.integers(0, 30)), min_size=1, max_size=12)
RAGGED = [0, 3, 1, 0, 17, 17, 18, 30, 2, 0]


@settings(deadline=None, max_examples=60)
@given(counts=COUNTS, length=st.integers(1, 200))
@example(counts=RAGGED, length=64)
@example(counts=[0], length=1)
@example(counts=[0, 0, 0], length=10)
def test_ragged_frames_are_the_sums_of_their_own_partials(counts, length):
    inputs, tensor = ragged(counts)
    origin = (length - 1) / 2
    frames = synthesise_frames(*inputs, Packing(tensor, length), origin)
    assert frames.shape == (len(counts), length)
    for found, *own in zip(frames, *(part.split(counts) for part in inputs), strict=True):
        # float64 phases up to 300; at most 30 partials of order one
        np.testing.assert_allclose(found.numpy(), reference(*own, length, origin), rtol=0, atol=1e-11)


def test_ragged_gradients_equal_finite_differences():
    inputs, counts = ragged([0, 2, 1, 0, 3])
    inputs = [part.requires_grad_() for part in inputs]
    # gradcheck's own defaults for float64
    assert torch.autograd.gradcheck(lambda *parts: synthesise_frames(*parts, Packing(counts, 9), 4.0), inputs)


@settings(deadline=None, max_examples=30)
@given(counts=COUNTS)
@example(counts=RAGGED)
def test_packing_places_every_partial_once_in_its_own_frame(counts):
    packing = Packing(torch.tensor(counts, dtype=torch.int64), 50)
    owner = [frame for frame, count in enumerate(counts) for _ in range(count)]
    assert packing.n_partials == len(owner)
    assert packing.frame_of_partial.tolist() == owner
    rows, columns = packing.factors
    assert rows * columns >= 50
    seen = []
    for frames, slots in packing.chunks:
        for frame, slot in zip(frames.tolist(), slots.tolist(), strict=True):
            own = [partial for partial in slot if partial < len(owner)]
            assert all(owner[partial] == frame for partial in own)
            # Little is computed in vain: a row is at most a fifth longer than what it holds.
            assert len(slot) <= max(len(own), 1.2 * len(own))
            seen += own
    assert sorted(seen) == list(range(len(owner)))


def run_ragged():
    inputs, counts = ragged(RAGGED * 3)
    inputs = [part.requires_grad_() for part in inputs]
    packing = Packing(counts, 64)
    frames = synthesise_frames(*inputs, packing, 31.5)
    (frames * torch.linspace(-1, 1, 64, dtype=torch.float64)).sum().backward()
    return [frames.detach(), *(part.grad for part in inputs)], packing


def test_chunks_and_forgotten_tables_change_nothing(monkeypatch):
    wanted, one = run_ragged()
    monkeypatch.setattr(oscillators, "CHUNK_ELEMENTS", 200)
    chunked, many = run_ragged()
    assert len(many.chunks) > len(one.chunks)
    monkeypatch.setattr(oscillators, "KEEP_ELEMENTS", 1)
    forgotten, _ = run_ragged()
    for variant in (chunked, forgotten):
        for found, expected in zip(variant, wanted, strict=True):
            # The same sums in matrix products of another size: float64 roundings of values up to some thousand.
            torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-10)


def test_tables_are_kept_only_while_they_are_small(monkeypatch):
    inputs, counts = ragged(RAGGED)
    packing = Packing(counts, 64)
    bank = Bank(inputs[0], packing, 0.0)
    assert bank._tables(0) is bank._tables(0)
    monkeypatch.setattr(oscillators, "KEEP_ELEMENTS", 1)
    bank = Bank(inputs[0], packing, 0.0)
    assert bank._tables(0) is not bank._tables(0)


@settings(deadline=None, max_examples=40)
@given(counts=COUNTS, length=st.integers(1, 200), origin=st.sampled_from([0.0, 31.5, -100.0]))
@example(counts=RAGGED, length=50, origin=24.5)
def test_adjoint_of_a_bank_is_its_adjoint(counts, length, origin):
    (frequency, cosine, sine), tensor = ragged(counts)
    bank = Bank(frequency, Packing(tensor, length), origin)
    frames = torch.tensor(np.random.default_rng(3).standard_normal((len(counts), length)))
    made, (to_cosine, to_sine) = bank.forward(cosine, sine), bank.adjoint(frames)
    assert to_cosine.shape == to_sine.shape == cosine.shape
    there, here = (made * frames).sum(), (cosine * to_cosine).sum() + (sine * to_sine).sum()
    # The same products of float64 tables in another order; the norms bound what the sums cancel from.
    assert abs(there - here) <= 1e-12 * (1 + made.norm() * frames.norm() + cosine.norm() * to_cosine.norm() * 2)
    # Not only in sum: each partial's products are those with its own cosine and sine.
    steps = np.arange(length) - origin
    for partial, frame in enumerate(Packing(tensor, length).frame_of_partial.tolist()):
        phase, signal = float(frequency[partial]) * steps, frames[frame].numpy()
        # float64 phases up to 1000, over at most 200 samples
        assert to_cosine[partial].item() == pytest.approx(signal @ np.cos(phase), abs=1e-10)
        assert to_sine[partial].item() == pytest.approx(signal @ np.sin(phase), abs=1e-10)


@pytest.mark.parametrize(("size", "expected"), [(4, "direct"), (5, "factored")])
def test_auto_takes_the_method_that_the_size_asks_for(monkeypatch, size, expected):
    monkeypatch.setattr(oscillators, "DIRECT_ELEMENTS", 500)
    inputs = partials(size)
    found = sum_of_sinusoids(*inputs, 100, origin=3.0)
    assert torch.equal(found, sum_of_sinusoids(*inputs, 100, origin=3.0, method=expected))


def test_an_unknown_method_is_refused():
    with pytest.raises(OptionError, match="did you mean 'factored'"):
        sum_of_sinusoids(torch.ones(1), torch.ones(1), torch.ones(1), 3, method="factor")
