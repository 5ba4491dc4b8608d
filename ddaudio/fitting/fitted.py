"""What is to be fitted by one network, and the result."""

from dataclasses import dataclass
from typing import NamedTuple

from ddaudio.fitting.plan import StagePlan
from ddaudio.io.samples import Samples
from ddaudio.models import Term
from ddaudio.training.checkpoints import TrainingLog
from ddaudio.training.history import ProgressCallback, TrainingRun


@dataclass(frozen=True)
class Fitted:
    """The result of all blocks."""

    network: Term
    estimate: Samples
    """Signals of the network, ``[C, T]``."""
    blocks: list[list[TrainingRun]]
    """Training runs of each block."""


class BlockwiseTask(NamedTuple):
    """Signals to be fitted by one network."""

    samples: Samples
    """The target, ``[C, T]``."""
    energy: float
    """Sum of squares of all samples."""
    stage: StagePlan
    """Resolved options and blocks."""
    tell: ProgressCallback
    """Called with the progress."""
    log: TrainingLog | None = None
    """Log of the training runs; finished runs are loaded from it."""
