"""The result of a fit."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import mean

from ddaudio.analysis.pitch import PitchCurve
from ddaudio.fitting.stagewise import Stage
from ddaudio.io.audio import Recording
from ddaudio.io.samples import Difference, Samples, Total
from ddaudio.metrics.mdct_baseline import MdctBaseline
from ddaudio.metrics.measure import Metrics
from ddaudio.models import Network
from ddaudio.options import FitOptions
from ddaudio.training.history import TrainingRun


@dataclass(frozen=True)
class FitResult:
    """The result of a fit. Immutable; `ddaudio.save_fit` writes it to a folder."""

    recording: Recording
    """The recording that was fitted."""
    options: FitOptions
    """The settings, as resolved by the plan of the fit."""
    network: Network
    """The trained network, at the best evaluation."""
    waves: Samples
    """Signals of all networks but the noise, ``[C, T]`` float32; a tensor unless it is long, see `ddaudio.io.samples`."""
    noise: Samples | None
    """Signals of the noise, ``[C, T]`` float32, with seed 0; None for a model of waves alone."""
    status: str
    """How training ended: converged, step limit, diverged, stopped, not trained; or not fitted."""
    reason: str
    """Reason for the status, in a sentence."""
    warnings: tuple[str, ...]
    """Warnings in sentences, the most serious first."""
    stages: tuple[Stage, ...]
    """Training history of each stage: one per network, and a joint one if there are several."""
    metrics: Metrics
    """Distances between estimate (or waves) and recording, each defined by its row in `ddaudio.metrics.registry.METRICS`."""
    baseline: MdctBaseline
    """The best-k MDCT at equal size."""
    pitch: PitchCurve | None
    """Pitch over time, one curve for all channels; None if it was not looked for, or the model has no partials."""
    seconds: dict[str, float]
    """Wall time of each part of the fit."""

    @property
    def estimate(self) -> Samples:
        """Everything that the network models, waves and noise, ``[C, T]``."""
        return self.waves if self.noise is None else Total([self.waves, self.noise])

    @property
    def residual(self) -> Samples:
        """Recording minus waves, ``[C, T]``."""
        return Difference(self.recording.samples, self.waves)

    @property
    def n_parameters(self) -> int:
        """Number of parameters of the model: all stored values."""
        return self.network.n_parameters()

    @property
    def parameters_per_sample(self) -> float:
        """Parameters divided by the samples of all channels."""
        return self.n_parameters / (self.recording.n_channels * self.recording.n_samples)

    @property
    def snr_db(self) -> float | None:
        """SNR of the waves in dB; None if it is undefined (silence, or an exact fit)."""
        return self.metrics["snr_db"].value

    @property
    def reached_goal(self) -> bool:
        """Whether the target SNR was reached; an exact fit reaches every target, and so does a fit without a target."""
        snr_db, residual, target_db = self.snr_db, self.metrics["mse"].value, self.options.model.target_snr_db
        return residual == 0 or target_db is None or (snr_db is not None and snr_db >= target_db)

    @property
    def stopped(self) -> bool:
        """Whether the fit was stopped by the user."""
        return any(run.status == "stopped" for one in self.stages for runs in one.blocks for run in runs)

    @property
    def training_gain_db(self) -> float | None:
        """Improvement of the SNR by training over all stages in dB, mean over blocks; None if undefined.

        For each run, only the gain over its own initial values and over earlier runs counts, not that of components added later.
        """
        gains = [[gain for gain in map(_gain_db, one.blocks) if gain is not None] for one in self.stages]
        return sum(mean(known) for known in gains if known) if any(gains) else None

    @property
    def training_loss_fall(self) -> float | None:
        """Share by which training reduced the loss, 0 to 1, mean over the blocks of each stage; None if nothing was trained.

        For each run, only the decrease from its own initial values counts.
        """
        ratios = [[ratio for ratio in map(_loss_ratio, one.blocks) if ratio is not None] for one in self.stages]
        return 1 - math.prod(mean(known) for known in ratios if known) if any(ratios) else None


def _loss_ratio(runs: Sequence[TrainingRun]) -> float | None:
    """Return the product of the ratios of best to initial loss of the runs of a block; None if undefined."""
    pairs = [(run.evaluations[0].total, run.best.total) for run in runs if run.evaluations]
    return math.prod(min(1.0, after / before) for before, after in pairs if before > 0) if pairs else None


def _gain_db(runs: Sequence[TrainingRun]) -> float | None:
    """Return the improvement of the SNR by the runs of a block in dB; None if undefined."""
    pairs = [(run.evaluations[0].snr_db, run.best.snr_db) for run in runs]
    known = [(before, after) for before, after in pairs if before is not None and after is not None]
    if len(known) < len(pairs):
        return None
    reached = accumulate((after for _, after in known), max)
    bars = [max(before, earlier) for (before, _), earlier in zip(known, [-math.inf, *reached], strict=False)]
    return sum(max(0.0, after - bar) for (_, after), bar in zip(known, bars, strict=True))
