"""Packings of partials into frames, and banks of them, against a float64 sum that spells every sine out."""

import numpy as np
import torch
from banks import decays, partials, reference
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ddaudio.synthesis import factored
from ddaudio.synthesis import packing as packings
from ddaudio.synthesis.oscillators import Bank, Packing, sum_of_sinusoids, synthesise_frames


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
@given(counts=COUNTS, length=st.sampled_from([50, 30_000]))
@example(counts=RAGGED, length=50)
def test_packing_places_every_partial_once_in_its_own_frame(counts, length):
    packing = Packing(torch.tensor(counts, dtype=torch.int64), length)
    owner = [frame for frame, count in enumerate(counts) for _ in range(count)]
    assert packing.n_partials == len(owner)
    assert packing.frame_of_partial.tolist() == owner
    rows, columns = packing.factors
    assert rows * columns >= length
    seen = []
    for frames, slots in packing.chunks:
        for frame, slot in zip(frames.tolist(), slots.tolist(), strict=True):
            own = [partial for partial in slot if partial < len(owner)]
            assert all(owner[partial] == frame for partial in own)
            # Little is computed in vain: a row is at most a fifth longer than what it holds, or that costs less than a call.
            in_vain = counts.count(len(own)) * (len(slot) - len(own)) * length
            assert len(slot) <= 1.2 * len(own) or in_vain <= packings.CALL_ELEMENTS
            seen += own
    assert sorted(seen) == list(range(len(owner)))


def test_groups_hold_every_chunk_once_and_share_their_frames_with_none(monkeypatch):
    monkeypatch.setattr(packings, "CALL_ELEMENTS", 0)
    packing = Packing(torch.tensor(RAGGED, dtype=torch.int64), 64)
    (group,) = packing.groups
    assert group.shapes == [(len(frames), partials.shape[1]) for frames, partials in packing.chunks]
    assert group.partials.tolist() == [slot for _, partials in packing.chunks for slot in partials.flatten().tolist()]
    monkeypatch.setattr(packings, "CHUNK_ELEMENTS", 2 * 8 * 16)  # eight partials, two frames
    packing = Packing(torch.tensor(RAGGED, dtype=torch.int64), 64)
    assert all(group.partials.numel() <= 8 and len(group.frames) <= 2 for group in packing.groups)
    assert sorted(slot for group in packing.groups for slot in group.partials.tolist() if slot < 88) == list(range(88))
    started = set()
    for group in packing.groups:
        # The first group of a frame writes it, the others add to it.
        assert all((frame in started) == group.again for frame in group.frames.tolist())
        started |= set(group.frames.tolist())


def run_ragged():
    inputs, counts = ragged(RAGGED * 3)
    decay = decays(len(inputs[0]), scale=0.05, dtype=torch.float64)
    inputs = [part.requires_grad_() for part in (*inputs, decay)]
    packing = Packing(counts, 64)
    frames = synthesise_frames(*inputs[:3], packing, 31.5, inputs[3])
    (frames * torch.linspace(-1, 1, 64, dtype=torch.float64)).sum().backward()
    return [frames.detach(), *(part.grad for part in inputs)], packing


def test_groups_and_blocks_and_forgotten_tables_change_nothing(monkeypatch):
    merged, _ = run_ragged()
    monkeypatch.setattr(packings, "CALL_ELEMENTS", 0)
    wanted, one = run_ragged()
    monkeypatch.setattr(packings, "CHUNK_ELEMENTS", 160)  # five partials, one frame
    split, many = run_ragged()
    assert len(many.groups) > len(many.chunks) > len(one.chunks) > len(one.groups)
    monkeypatch.setattr(packings, "CHUNK_ELEMENTS", 40)  # one partial, two rows of eight samples
    blocks, _ = run_ragged()
    monkeypatch.setattr(factored, "KEEP_ELEMENTS", 1)
    forgotten, _ = run_ragged()
    for variant in (merged, split, blocks, forgotten):
        for found, expected in zip(variant, wanted, strict=True):
            # The same sums in matrix products of another size: float64 roundings of values up to some thousand.
            torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-10)


def test_blocks_cover_a_long_frame(monkeypatch):
    monkeypatch.setattr(packings, "CHUNK_ELEMENTS", 40)
    packing = Packing(torch.tensor([3]), 107)
    blocks = list(packing.blocks(packing.groups[0]))
    assert [samples.start for _, samples in blocks[1:]] == [samples.stop for _, samples in blocks[:-1]]
    assert (blocks[0][1].start, blocks[-1][1].stop) == (0, 107)
    assert len(blocks) > 5


def test_a_bank_that_is_split_over_partials_and_time_is_the_same_sum(monkeypatch):
    inputs = partials(40, dtype=torch.float64)
    wanted = reference(*inputs, 1009, 3.5)
    monkeypatch.setattr(packings, "CHUNK_ELEMENTS", 1000)  # seven partials, fifteen rows of 32 samples
    found = sum_of_sinusoids(*inputs, 1009, origin=3.5, method="factored")
    np.testing.assert_allclose(found.numpy(), wanted, rtol=0, atol=1e-10)  # float64 phases up to 3e3, 40 partials


def test_tables_are_kept_only_while_they_are_small(monkeypatch):
    inputs, counts = ragged(RAGGED)
    packing = Packing(counts, 64)
    bank = Bank(inputs[0], packing, 0.0)
    assert bank._tables(0) is bank._tables(0)
    monkeypatch.setattr(factored, "KEEP_ELEMENTS", 1)
    bank = Bank(inputs[0], packing, 0.0)
    assert bank._tables(0) is not bank._tables(0)


@settings(deadline=None, max_examples=40)
@given(counts=COUNTS, length=st.integers(1, 200), origin=st.sampled_from([0.0, 31.5, -100.0]), scale=st.sampled_from([0.0, 0.01]))
@example(counts=RAGGED, length=50, origin=24.5, scale=0.01)
def test_adjoint_of_a_bank_is_its_adjoint(counts, length, origin, scale):
    (frequency, cosine, sine), tensor = ragged(counts)
    decay = decays(len(frequency), scale=scale, dtype=torch.float64) if scale else None
    bank = Bank(frequency, Packing(tensor, length), origin, decay)
    frames = torch.tensor(np.random.default_rng(3).standard_normal((len(counts), length)))
    made, (to_cosine, to_sine) = bank.forward(cosine, sine), bank.adjoint(frames)
    assert to_cosine.shape == to_sine.shape == cosine.shape
    there, here = (made * frames).sum(), (cosine * to_cosine).sum() + (sine * to_sine).sum()
    # The same products of float64 tables in another order; the norms bound what the sums cancel from.
    assert abs(there - here) <= 1e-12 * (1 + made.norm() * frames.norm() + cosine.norm() * to_cosine.norm() * 2)
    # The same matrix products, two at a time.
    tilted = bank.weighted_forward((cosine, sine), (sine, cosine))
    wanted = made + bank.forward(sine, cosine) * (torch.arange(length) - origin)
    torch.testing.assert_close(tilted, wanted, rtol=1e-12, atol=1e-9)
    # Not only in sum: each partial's products are those with its own cosine and sine, as they are and weighted.
    plain, weighted = bank.weighted_adjoint(frames)
    torch.testing.assert_close(plain, (to_cosine, to_sine), rtol=1e-12, atol=1e-10)
    steps = np.arange(length) - origin
    for partial, frame in enumerate(Packing(tensor, length).frame_of_partial.tolist()):
        phase, signal = float(frequency[partial]) * steps, frames[frame].numpy()
        envelope = np.exp(-(0.0 if decay is None else float(decay[partial])) * steps)
        for products, weight in ((plain, 1.0), (weighted, steps)):
            found = products[0][partial].item(), products[1][partial].item()
            wanted = (signal * weight * envelope) @ np.stack([np.cos(phase), np.sin(phase)], 1)
            # float64 phases up to 1000, over at most 200 samples, with weights and envelopes up to 300 and 20
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-8 if products is weighted else 1e-9)
