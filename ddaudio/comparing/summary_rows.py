"""Rows of the table of a comparison, one for each configuration, and which of them is best."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from ddaudio.comparing.runs import Run
from ddaudio.metrics.registry import METRICS


def measures() -> dict[str, tuple[str, str]]:
    """Return the measured columns of the table, by name, as heading and number format.

    ``seconds`` is the duration of the fit including its initialisation; ``steps_to_90`` the number of steps after which the loss
    has fallen by 90 % of its total decrease, to the resolution of the evaluations; only for fits with a single training run.
    """
    metrics = {name: (spec.heading, f".{spec.decimals}f") for name, spec in METRICS.items() if spec.is_compared}
    costs = {"parameters": "n_parameters", "seconds": "seconds", "steps": "steps", "to 90 %": "steps_to_90"}
    return metrics | {name: (heading, ".1f" if name == "seconds" else ".0f") for heading, name in costs.items()}


class Spread(NamedTuple):
    """Median and range over several seeds."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: Iterable[float | None]) -> "Spread | None":
        """Return median and range of the known values; None if there is none."""
        known = [float(value) for value in values if value is not None]
        return Spread(median(known), min(known), max(known)) if known else None

    def in_words(self, form: str) -> str:
        """Format for a table cell, such as ``17.3 (17.1 to 17.5)``; the range is omitted if it is empty.

        >>> Spread(17.3, 17.1, 17.5).in_words(".1f"), Spread(3, 3, 3).in_words(".0f")
        ('17.3 (17.1 to 17.5)', '3')
        """
        middle, low, high = (format(value, form) for value in self)
        return middle if low == high else f"{middle} ({low} to {high})"


@dataclass(frozen=True)
class SummaryRow:
    """One configuration, summarised over its seeds."""

    recording: str
    variant: str
    model: str
    losses: str
    fits: int
    """Number of completed fits."""
    not_fitted: int
    """Number of completed fits that are no better than silence."""
    failed: int
    """Number of fits that failed or were not started."""
    reason: str
    """Reason of the first failure."""
    spreads: dict[str, Spread | None]
    """Median and range per measure, over all completed fits, including those not fitted."""

    @staticmethod
    def of(runs: Sequence[Run]) -> "SummaryRow":
        """Summarise runs of one configuration."""
        failed = [run for run in runs if run.status == "failed"]
        spreads = {name: Spread.of(run.value(name) for run in runs) for name in measures()}
        not_fitted = sum(run.status == "not fitted" for run in runs)
        reason = failed[0].reason if failed else ""
        return SummaryRow(*runs[0].kind, len(runs) - len(failed), not_fitted, len(failed), reason, spreads)

    @staticmethod
    def over(lines: Sequence["SummaryRow"]) -> "SummaryRow":
        """Summarise one configuration over several recordings: median and range of their medians."""
        one, failed = lines[0], [line for line in lines if line.failed]
        spreads = {
            name: Spread.of(spread and spread.median for spread in (line.spreads[name] for line in lines)) for name in measures()
        }
        fits, not_fitted, count = (sum(getattr(line, name) for line in lines) for name in ("fits", "not_fitted", "failed"))
        reason = failed[0].reason if failed else ""
        return SummaryRow(f"all {len(lines)}", one.variant, one.model, one.losses, fits, not_fitted, count, reason, spreads)

    @property
    def name(self) -> str:
        """Variant, network and loss."""
        return ", ".join(filter(None, (self.variant, self.model, self.losses)))

    @property
    def remark(self) -> str:
        """Note on unsuccessful fits, such as ``2 of 3 not fitted``; empty if all succeeded."""
        count = self.fits + self.failed
        told = [(self.not_fitted, "not fitted"), (self.failed, "failed")]
        words = "; ".join(f"{number} of {count} {what}" for number, what in told if number)
        return f"{words}: {self.reason}" if self.reason else words


def ranking() -> list[str]:
    """Return the metrics by which a comparison names its best configuration, the most important first."""
    scores = (name for name, spec in METRICS.items() if spec.request and spec.better != "control")
    return ["erb_db", "snr_db", *scores]


class Best(NamedTuple):
    """The configuration with the best median by a metric."""

    measure: str
    """Name of the metric."""
    name: str
    """The configuration: variant, network and loss."""
    value: float

    @staticmethod
    def of(measure: str, rows: Sequence[SummaryRow]) -> "Best | None":
        """Return the best of some rows; None if fewer than two have the metric."""
        sign = 1 if METRICS[measure].better == "lower" else -1
        known = [(row.name, spread.median) for row in rows if (spread := row.spreads.get(measure)) is not None]
        return Best(measure, *min(known, key=lambda one: sign * one[1])) if len(known) > 1 else None

    def in_words(self) -> str:
        """Return the metric, the configuration and its value, such as ``by ERB distance: sine+noise, mse (2.31 dB)``."""
        spec = METRICS[self.measure]
        return f"by {spec.label}: {self.name} ({f'{self.value:.{spec.decimals}f} {spec.unit}'.strip()})"
