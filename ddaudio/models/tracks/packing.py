"""Packing of the places of knots for files: a byte for most of them, four bytes to an int32."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ddaudio.errors import ModelError

Integers = NDArray[np.int64]
_LOW = 0x7F


def pack_knots(signal: Tensor, counts: Tensor, place: Tensor, n_signals: int) -> Tensor:
    """Return the places of all knots as int32 words ``[W]``.

    A sequence of whole numbers, each in groups of 7 bits, the lowest first, of which the last has a set highest bit: the number
    of tracks of each signal; the knots of each track, less 2; the first place of each track, less that of the track before it in
    the same signal; and the gaps between the other places, less 1. No tracks are no words.

    Args:
        signal: signal of each track, rising, ``[N]``.
        counts: knots of each track, 2 or more, ``[N]``.
        place: place of each knot on the lattice, 0 or more, in the order of track, then time, ``[K]``. Within a signal, tracks
            are in the order of their beginning.
        n_signals: number of signals.

    """
    if not len(counts):
        return torch.zeros(0, dtype=torch.int32)
    starts = counts.cumsum(0) - counts
    first = place[starts]
    new_signal = torch.diff(signal, prepend=signal.new_full((1,), -1)) != 0
    leads = torch.where(new_signal, first, torch.diff(first, prepend=first.new_zeros(1)))
    inside = torch.ones(len(place), dtype=torch.bool)
    inside[starts] = False
    gaps = torch.diff(place, prepend=place.new_zeros(1))[inside] - 1
    numbers = torch.cat([torch.bincount(signal, minlength=n_signals), counts - 2, leads, gaps])
    coded = _bytes(numbers.numpy())
    return torch.from_numpy(np.pad(coded, (0, -len(coded) % 4))).view(torch.int32)


def unpack_knots(words: Tensor, n_signals: int, n_knots: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return signal, counts and places from the result of `pack_knots`; raises `ModelError` if they are not of ``n_knots``."""
    if words.dtype != torch.int32 or words.ndim != 1:
        raise ModelError("place must be int32 [W]")
    if not len(words) and not n_knots:
        return (torch.zeros(0, dtype=torch.int64),) * 3
    numbers = _numbers(words.contiguous().view(torch.uint8).numpy())
    per_signal = numbers[:n_signals]
    n_tracks = int(per_signal.sum()) if len(per_signal) == n_signals and int(per_signal.max()) <= n_knots else -1
    counts, rest = numbers[n_signals : n_signals + max(0, n_tracks)] + 2, numbers[n_signals + max(0, n_tracks) :]
    if not 0 <= n_tracks <= n_knots or len(counts) != n_tracks or int(counts.sum()) != n_knots or len(rest) != n_knots:
        raise ModelError(f"place must hold the tracks of {n_signals} signals, with {n_knots} knots")
    signal = np.repeat(np.arange(n_signals), per_signal)
    leads, gaps = rest[:n_tracks], rest[n_tracks:] + 1
    first = _cumulated(leads, np.cumsum(per_signal) - per_signal)
    steps, starts = np.zeros(n_knots, dtype=np.int64), np.cumsum(counts) - counts
    inside = np.ones(n_knots, dtype=bool)
    inside[starts] = False
    steps[inside] = gaps
    steps[starts] = first
    return torch.from_numpy(signal), torch.from_numpy(counts), torch.from_numpy(_cumulated(steps, starts))


def _cumulated(values: Integers, starts: Integers) -> Integers:
    """Return the cumulative sums of ``values``, each run of them that begins at ``starts`` (rising) for itself."""
    total = np.cumsum(values)
    starts = starts[starts < len(values)]
    if not len(starts):
        return total
    before = total[starts] - values[starts]
    return total - before[np.searchsorted(starts, np.arange(len(values)), side="right") - 1]


def _bytes(numbers: Integers) -> NDArray[np.uint8]:
    """Return whole numbers as groups of 7 bits, of which the last of each number has its highest bit set."""
    digits = np.maximum(1, -(-np.frexp(np.maximum(numbers, 1).astype(np.float64))[1] // 7))
    owner = np.repeat(np.arange(len(numbers)), digits)
    rank = np.arange(len(owner)) - (np.cumsum(digits) - digits)[owner]
    coded = (numbers[owner] >> (7 * rank)) & _LOW
    coded |= np.where(rank == digits[owner] - 1, _LOW + 1, 0)
    return np.asarray(coded, dtype=np.uint8)


def _numbers(coded: NDArray[np.uint8]) -> Integers:
    """Return the numbers of `_bytes`; what follows the last number is ignored if it is 0."""
    ends = np.flatnonzero(coded > _LOW)
    if not len(ends):
        return np.zeros(0, dtype=np.int64)
    used = coded[: ends[-1] + 1].astype(np.int64)
    starts = np.append(0, ends[:-1] + 1)
    rank = np.arange(len(used)) - starts[np.searchsorted(ends, np.arange(len(used)))]
    if bool((rank > 8).any()) or len(coded) - len(used) >= 4 or bool(coded[len(used) :].any()):
        raise ModelError("place holds no whole numbers")
    return np.add.reduceat((used & _LOW) << (7 * rank), starts)
