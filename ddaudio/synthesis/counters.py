"""Counter-based random numbers: each is a function of its position only, independent of the order of computation.

Philox4x32-10 (Salmon, Moraes, Dror and Shaw, 2011, "Parallel random numbers: as easy as 1, 2, 3", SC11): ten rounds of 32-bit
multiplications, whose upper and lower halves are mixed with the key.
"""

import torch
from torch import Tensor

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
LOW_WORD = 0xFFFFFFFF

Words = tuple[Tensor, Tensor, Tensor, Tensor]
"""Four int64 tensors with values from 0 to ``2^32 - 1``."""


def philox(counter: Words, seed: int) -> Words:
    """Return four random words for each counter.

    Args:
        counter: four tensors of words that broadcast together.
        seed: 0 to ``2^64 - 1``.

    Example:
        >>> zero = torch.zeros((), dtype=torch.int64)
        >>> [f"{int(word):08x}" for word in philox((zero, zero, zero, zero), 0)]
        ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']

    """
    a, b, c, d = counter
    low, high = seed & LOW_WORD, seed >> 32
    for _ in range(ROUNDS):
        # int64 products wrap modulo 2^64; shift and mask give their upper half for either sign.
        first, second = a * MULTIPLIERS[0], c * MULTIPLIERS[1]
        a, b = ((second >> 32) & LOW_WORD) ^ b ^ low, second & LOW_WORD
        c, d = ((first >> 32) & LOW_WORD) ^ d ^ high, first & LOW_WORD
        low, high = (low + KEY_STEPS[0]) & LOW_WORD, (high + KEY_STEPS[1]) & LOW_WORD
    return a, b, c, d


def uniform(frames: Tensor, n_bins: int, seed: int, stream: int) -> Tensor:
    """Return a uniform random number in [0, 1) for each frame and bin, ``[F, n_bins]`` float32.

    Args:
        frames: absolute indices of the frames, 0 or more, ``[F]`` int64.
        n_bins: number of bins of each frame.
        seed: 0 to ``2^64 - 1``.
        stream: index of an independent stream of the same seed, 0 to ``2^32 - 1``.

    """
    quarters = torch.arange((n_bins + 3) // 4)[None]
    number = frames[:, None]
    words = philox((quarters, number & LOW_WORD, (number >> 32) & LOW_WORD, torch.tensor(stream)), seed)
    # 24 bits fit into a float32's mantissa; more could round up to 1.
    return torch.stack(words, 2).flatten(1)[:, :n_bins].bitwise_right_shift(8).float() * 2.0**-24
