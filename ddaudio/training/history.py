"""What a training run records."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Status = Literal["converged", "step limit", "diverged", "stopped", "not trained"]
PATIENCE = 3
"""Looks of the judge over which a gain must show."""
MAX_INTERVALS = 64
"""Stretches of time in which the error is noted, at most."""


class Progress(NamedTuple):
    """What a progress callable is told."""

    stage: str
    """What is being done, in words."""
    step: int
    """Steps done in this stage."""
    steps: int
    """Steps of this stage, at most."""
    loss: float
    """Sum of the judge's terms, as last looked at."""
    snr_db: float
    """SNR as last looked at; NaN while unknown."""
    block: int = 0
    """Blocks of the recording that are done."""
    blocks: int = 1
    """Blocks of the recording."""


ProgressCallback = Callable[[Progress], None]
"""Called now and then while a fit runs. Returns nothing; raise `KeyboardInterrupt` to stop with the best so far."""


@dataclass(frozen=True)
class Evaluation:
    """One look of the judge."""

    step: int
    """Steps done before it."""
    terms: dict[str, float]
    """The judge's terms, by name of the loss."""
    snr_db: float | None
    """None where it is undefined."""
    gradients: dict[str, float] = field(default_factory=dict)
    """Norms of the gradient of the training loss, by layer, where it was evaluated last: for the step before this look (by
    lbfgs, its last try). See `Network.gradient_norms` for layers and units. Empty before the first step."""
    error_by_time: tuple[float, ...] = ()
    """Sum of squares of the residual, over all signals, in each of up to 64 stretches of equal length, in the order of time;
    where samples cannot be shared out equally, the first stretches have one more."""
    averaged: bool = False
    """Whether it is the average of the parameters that was looked at; of the two the one with the lower total is noted."""

    @property
    def total(self) -> float:
        """Sum of the terms."""
        return sum(self.terms.values())


@dataclass
class TrainingRun:
    """What one stretch of training did; the network is left at the best point the judge saw."""

    status: Status = "not trained"
    evaluations: list[Evaluation] = field(default_factory=list)
    losses: list[dict[str, float]] = field(default_factory=list)
    """Training loss of each step, by term."""

    @property
    def best(self) -> Evaluation:
        """The look with the lowest total; the earliest of equals."""
        return min(self.evaluations, key=lambda look: look.total)


def has_converged(totals: Sequence[float], tolerance: float) -> bool:
    """Return whether the last looks are level: ``max - min <= tolerance * max`` over the last ``LOOKS + 1`` of them."""
    recent = totals[-PATIENCE - 1 :]
    return len(recent) > PATIENCE and max(recent) - min(recent) <= tolerance * max(recent)


def snr_of(residual: Tensor, energy: float) -> float | None:
    """Return 10 log10 of the target's ``energy`` over the residual's; None where either is zero."""
    left = float(residual.double().square().sum())
    return 10 * math.log10(energy / left) if energy > 0 and left > 0 else None


def error_by_time(residual: Tensor) -> tuple[float, ...]:
    """Return the sum of squares of ``residual [B, T]`` in `MOST_STRETCHES` stretches of time, or in ``T``."""
    powers = residual.detach().double().square().sum(0)
    count = min(MAX_INTERVALS, powers.numel())
    # As `tensor_split` does it: the first stretches have one sample more where the samples do not divide evenly.
    longer = powers.numel() % count
    first, second = powers.tensor_split([longer * (powers.numel() // count + 1)])
    sums = [part.view(rows, -1).sum(1) for part, rows in ((first, longer), (second, count - longer)) if rows]
    return tuple(torch.cat(sums).tolist())
