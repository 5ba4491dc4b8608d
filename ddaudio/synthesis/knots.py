"""Knots of tracks, and their check."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ddaudio.errors import DdaudioError, OptionError


class Knots(NamedTuple):
    """Knots of tracks, in the order of track, then time."""

    counts: Tensor
    """Number of knots of each track, ``[N]`` int64, 2 or more."""
    position: Tensor
    """Samples from the beginning of the sound, fractions allowed, rising within a track, ``[K]`` float64."""
    amplitude: Tensor
    """Full scale, 0 or more, ``[K]`` float32 or float64."""
    frequency: Tensor
    """Radians per sample, above 0 and below pi, ``[K]``."""
    phase: Tensor
    """Radians, ``[K]``."""


def check_knots(knots: Knots, signal: Tensor, n_signals: int, error: type[DdaudioError] = OptionError) -> None:
    """Raise an error if knots are no tracks; no track at all is allowed, and silent.

    Args:
        knots: what to check.
        signal: which signal each track belongs to, ``[N]`` int64.
        n_signals: number of signals.
        error: class of the error: `OptionError`, or `ModelError` for knots of a file.

    """
    _check_shapes(knots, signal, error)
    if len(signal) and not 0 <= int(signal.min()) <= int(signal.max()) < n_signals:
        raise error(f"tracks belong to the signals {int(signal.min())} to {int(signal.max())}", allowed=f"0 to {n_signals - 1}")
    if len(knots.counts) and int(knots.counts.min()) < 2:
        raise error(f"a track has {int(knots.counts.min())} knots", allowed="2 or more")
    for name in ("position", "amplitude", "frequency", "phase"):
        _check_all(getattr(knots, name).isfinite(), getattr(knots, name), name, "finite values", error)
    _check_all(knots.amplitude >= 0, knots.amplitude, "amplitude", "0 or more", error)
    within = (knots.frequency > 0) & (knots.frequency < math.pi)
    _check_all(within, knots.frequency, "frequency", "above 0 and below pi radians per sample", error)
    left = segment_starts(knots.counts)
    steps = knots.position[left + 1] - knots.position[left]
    _check_all(steps > 0, steps, "distance between knots of a track", "above 0: positions rise", error)
    last = knots.counts.cumsum(0)
    lengths = knots.position[last - 1] - knots.position[last - knots.counts]
    _check_all(lengths >= 1, lengths, "distance from first to last knot", "1 sample or more", error)


def _check_shapes(knots: Knots, signal: Tensor, error: type[DdaudioError]) -> None:
    """Raise an error if shapes or types do not fit."""
    for name, integers in (("counts", knots.counts), ("signal", signal)):
        if integers.dtype != torch.int64 or integers.shape != knots.counts.shape[:1]:
            raise error(f"{name} is {integers.dtype} {list(integers.shape)}", allowed="int64 [N], one value per track")
    n_knots = int(knots.counts.sum())
    for name in ("position", "amplitude", "frequency", "phase"):
        values = getattr(knots, name)
        if values.shape != (n_knots,) or not values.dtype.is_floating_point:
            raise error(
                f"{name} is {values.dtype} {list(values.shape)}", allowed=f"floating-point [{n_knots}], one value per knot"
            )
    if knots.position.dtype != torch.float64:
        raise error(f"position is {knots.position.dtype}", allowed="float64: others round positions of long sounds")


def _check_all(fine: Tensor, values: Tensor, name: str, allowed: str, error: type[DdaudioError]) -> None:
    """Raise an error with the first value that is not allowed."""
    if not bool(fine.all()):
        bad = int((~fine).sum())
        raise error(
            f"{name}: {bad} of {fine.numel()} values are not allowed, first {float(values[~fine][0]):.6g}", allowed=allowed
        )


def segment_starts(counts: Tensor) -> Tensor:
    """Return the number of the left knot of each segment, ``[S]``: all knots but the last of each track."""
    is_left = torch.ones(int(counts.sum()), dtype=torch.bool, device=counts.device)
    is_left[counts.cumsum(0) - 1] = False
    return is_left.nonzero().squeeze(1)
