"""Philox against its published vectors and an implementation that NumPy's 64-bit Philox confirms."""

import numpy as np
import pytest
import torch

from ddaudio.synthesis.counters import LOW_WORD, Words, philox, uniform

CONSTANTS = {
    32: ((0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85)),
    64: ((0xD2E7470EE14C6C93, 0xCA5A826395121157), (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)),
}
"""Multipliers and key steps of Philox 4x32 and 4x64 (Salmon et al., 2011)."""
VECTORS = [
    ((0,) * 4, (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ((LOW_WORD,) * 4, (LOW_WORD,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0), "d16cfe09 94fdcceb 5001e420 24126ea1"),
]
"""Known-answer vectors of philox4x32-10 from Random123 (kat_vectors)."""


def words_of(counter: tuple[int, ...]) -> Words:
    a, b, c, d = (torch.tensor(word) for word in counter)
    return a, b, c, d


def direct(counter: tuple[int, ...], key: tuple[int, ...], bits: int) -> list[int]:
    """Ten rounds in Python's unbounded integers."""
    (m0, m1), steps = CONSTANTS[bits]
    mask, (a, b, c, d) = (1 << bits) - 1, counter
    for number in range(10):
        low, high = ((each + number * step) & mask for each, step in zip(key, steps, strict=True))
        a, b, c, d = (c * m1 >> bits) ^ b ^ low, c * m1 & mask, (a * m0 >> bits) ^ d ^ high, a * m0 & mask
    return [a, b, c, d]


@pytest.mark.parametrize(("counter", "key", "expected"), VECTORS)
def test_known_answers(counter: tuple[int, ...], key: tuple[int, int], expected: str) -> None:
    found = philox(words_of(counter), key[0] | key[1] << 32)
    assert " ".join(f"{int(word):08x}" for word in found) == expected


def test_the_rounds_are_those_of_numpys_philox() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        counter, key = generator.integers(0, 2**64 - 1, 4, np.uint64), generator.integers(0, 2**64, 2, np.uint64)
        found = np.random.Philox(counter=counter, key=key).random_raw(4)
        # NumPy adds 1 to the counter before it generates.
        a, *rest = counter.tolist()
        assert direct((a + 1, *rest), tuple(key.tolist()), 64) == found.tolist()


def test_words_are_those_of_the_direct_rounds() -> None:
    generator = np.random.default_rng(1)
    for _ in range(20):
        counter, key = generator.integers(0, 2**32, 4).tolist(), generator.integers(0, 2**32, 2).tolist()
        found = philox(words_of(tuple(counter)), key[0] | key[1] << 32)
        assert [int(word) for word in found] == direct(tuple(counter), tuple(key), 32)


def test_uniform_numbers_depend_on_their_position_alone() -> None:
    whole = uniform(torch.arange(1000), 40, 7, 0)
    assert torch.equal(uniform(torch.tensor([998, 3]), 17, 7, 0), whole[[998, 3], :17])
    assert not torch.equal(uniform(torch.arange(1000), 40, 8, 0), whole)
    assert not torch.equal(uniform(torch.arange(1000), 40, 7, 1), whole)
    assert not torch.equal(uniform(torch.arange(1000) + (1 << 32), 40, 7, 0), whole)
    assert (float(whole.min()) >= 0, float(whole.max()) < 1) == (True, True)
    # 40,000 values: their mean scatters by 0.0014, their variance by 0.0004.
    assert float(whole.mean()) == pytest.approx(0.5, abs=0.006)
    assert float(whole.var()) == pytest.approx(1 / 12, abs=0.0016)
