"""Fits of a comparison, with their loss curves."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

NAMES = ("recording", "variant", "model", "losses", "seed", "folder")
"""Fields of a run that identify it, as opposed to its results."""


@dataclass(frozen=True)
class Curve:
    """Loss and SNR at each evaluation of a fit."""

    steps: list[int]
    seconds: list[float]
    """Time since the start of the fit, in seconds."""
    losses: list[float]
    """Total loss at each evaluation."""
    snrs_db: list[float | None]

    def steps_to(self, share: float) -> int | None:
        """Return the steps that reach ``share`` of the decrease; None without decrease or with several training runs."""
        if len(set(self.steps)) < len(self.steps) or not self.losses:
            return None
        first, best = self.losses[0], min(self.losses)
        if not best < first:
            return None
        return next(step for step, loss in zip(self.steps, self.losses, strict=True) if loss <= first - share * (first - best))


@dataclass(frozen=True)
class Run:
    """One fit; unknown values are None."""

    recording: str
    variant: str
    model: str
    losses: str
    seed: int
    status: str
    """How training ended, ``not fitted`` (the model is no better than silence), or ``failed``."""
    reason: str
    """The status in a sentence."""
    warnings: str = ""
    """Warnings, joined by ``; ``."""
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    """Value of each metric, by name."""
    n_parameters: int | None = None
    seconds: float | None = None
    """Duration of the fit including initialisation."""
    start_s: float | None = None
    """Duration of the initialisation."""
    steps: int | None = None
    steps_to_90: int | None = None
    folder: str | None = None
    """Folder of the fit, relative to the output."""

    @property
    def kind(self) -> tuple[str, str, str, str]:
        """Configuration of the run: recording, variant, network and loss, common to all seeds of a summary row."""
        return self.recording, self.variant, self.model, self.losses

    @property
    def snr_db(self) -> float | None:
        """Signal-to-noise ratio."""
        return self.metrics.get("snr_db")

    def value(self, name: str) -> Any:
        """Return a metric or another field, by name."""
        return self.metrics[name] if name in self.metrics else getattr(self, name, None)

    def failure(self, reason: str) -> "Run":
        """Return this run with status ``failed``."""
        return Run(*self.kind, self.seed, "failed", " ".join(reason.split()))


Found = tuple[Run, Curve | None]
"""A run and its loss curve; no curve if the fit failed."""
