"""The record of a training run."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Status = Literal["converged", "step limit", "diverged", "stopped", "not trained"]
PATIENCE = 3
"""Number of evaluations within which the loss must change."""
MAX_INTERVALS = 64
"""Most intervals of time in which the error is recorded."""

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
"""Shares of the waves, from the weakest on, of which the largest amplitude is recorded."""
ROUNDING = 1e-6
"""Rounding of a number of waves."""


class Progress(NamedTuple):
    """Progress of a fit, as passed to a callback."""

    stage: str
    """Description of the stage."""
    step: int
    """Steps done in this stage."""
    steps: int
    """Most steps of this stage."""
    loss: float
    """Sum of the terms at the last evaluation."""
    snr_db: float
    """SNR at the last evaluation; NaN while unknown."""
    block: int = 0
    """Blocks of the recording that are done."""
    blocks: int = 1
    """Blocks of the recording."""


ProgressCallback = Callable[[Progress], None]
"""Called from time to time during a fit; raise `KeyboardInterrupt` in it to stop with the best so far."""


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of the network."""

    step: int
    """Number of steps before it."""
    terms: dict[str, float]
    """The terms, by name of the loss."""
    snr_db: float | None
    """None where it is undefined."""
    gradients: dict[str, float] = field(default_factory=dict)
    """Norms of the gradient of the training loss, by layer, where it was computed last: for the step before this evaluation
    (for lbfgs, its last move). See `Network.gradient_norms` for layers and units. Empty before the first step."""
    natural_gradients: dict[str, float] = field(default_factory=dict)
    """The same norms by the values in the units of files, such as Hz and full scale; see `Network.natural_gradients`."""
    amplitudes: tuple[float, ...] = ()
    """The quantiles `QUANTILES` of the amplitudes of all waves in full scale; empty without waves."""
    error_by_time: tuple[float, ...] = ()
    """Sum of squares of the residual, over all signals, in each of up to 64 intervals of equal length, in the order of time;
    if the samples do not divide evenly, the first intervals have one more."""
    averaged: bool = False
    """Whether the average of the parameters was evaluated; of the two the one with the lower total is recorded."""

    @property
    def total(self) -> float:
        """Sum of the terms."""
        return sum(self.terms.values())


@dataclass
class TrainingRun:
    """Record of one training run; the network is left at the point with the best evaluation."""

    status: Status = "not trained"
    evaluations: list[Evaluation] = field(default_factory=list)
    losses: list[dict[str, float]] = field(default_factory=list)
    """Training loss of each step, by term."""

    @property
    def best(self) -> Evaluation:
        """The evaluation with the lowest total; the earliest of equals."""
        return min(self.evaluations, key=lambda look: look.total)


def has_converged(totals: Sequence[float], tolerance: float) -> bool:
    """Return whether ``max - min <= tolerance * max`` over the last ``PATIENCE + 1`` evaluations."""
    recent = totals[-PATIENCE - 1 :]
    return len(recent) > PATIENCE and max(recent) - min(recent) <= tolerance * max(recent)


def snr_of(residual: Tensor, energy: float) -> float | None:
    """Return 10 log10 of the target's ``energy`` over the residual's; None where either is zero."""
    left = float(residual.double().square().sum())
    return 10 * math.log10(energy / left) if energy > 0 and left > 0 else None


def amplitude_quantiles(amplitudes: Tensor) -> tuple[float, ...]:
    """Return the quantiles `QUANTILES` of ``amplitudes [P]``: of each the value at rank ``ceil(share * P)``; empty if P is 0."""
    count = amplitudes.numel()
    ranks = [math.ceil(share * count - ROUNDING) - 1 for share in QUANTILES] if count else []
    return tuple(amplitudes.detach().sort().values[ranks].tolist())


def error_by_time(residual: Tensor) -> tuple[float, ...]:
    """Return the sum of squares of ``residual [B, T]`` in `MAX_INTERVALS` intervals of time, or in ``T``."""
    powers = residual.detach().double().square().sum(0)
    count = min(MAX_INTERVALS, powers.numel())
    # As in `tensor_split`: the first intervals have one sample more if the samples do not divide evenly.
    longer = powers.numel() % count
    first, second = powers.tensor_split([longer * (powers.numel() // count + 1)])
    sums = [part.view(rows, -1).sum(1) for part, rows in ((first, longer), (second, count - longer)) if rows]
    return tuple(torch.cat(sums).tolist())
