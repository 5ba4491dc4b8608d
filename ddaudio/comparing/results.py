"""Results of a comparison: one run per fit, one summary row per configuration, and loss curves."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from statistics import median
from typing import Any, NamedTuple

from ddaudio.io.paths import csv_cell, visible
from ddaudio.metrics.registry import METRICS


def measures() -> dict[str, tuple[str, str]]:
    """Return the measured columns of the table, by name, as heading and number format.

    ``seconds`` is the duration of the fit including its initialisation; ``steps_to_90`` the number of steps after which the loss
    has fallen by 90 % of its total decrease, to the resolution of the evaluations; only for fits with a single training run.
    """
    metrics = {name: (spec.heading, f".{spec.decimals}f") for name, spec in METRICS.items() if spec.is_compared}
    costs = {"parameters": "n_parameters", "seconds": "seconds", "steps": "steps", "to 90 %": "steps_to_90"}
    return metrics | {name: (heading, ".1f" if name == "seconds" else ".0f") for heading, name in costs.items()}


NAMES = ("recording", "variant", "model", "losses", "seed", "folder")
"""Fields of a run that identify it, as opposed to its results."""
SHORT = 4
"""Up to this many recordings are named; above, only their number is given."""


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


RANKING = ("erb_db", "snr_db", "zimtohrli", "visqol")
"""Metrics by which a comparison names its best configuration, the most important first."""


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
        known = [(row.name, spread.median) for row in rows if (spread := row.spreads[measure]) is not None]
        return Best(measure, *min(known, key=lambda one: sign * one[1])) if len(known) > 1 else None

    def in_words(self) -> str:
        """Return the metric, the configuration and its value, such as ``by ERB distance: sine+noise, mse (2.31 dB)``."""
        spec = METRICS[self.measure]
        return f"by {spec.label}: {self.name} ({f'{self.value:.{spec.decimals}f} {spec.unit}'.strip()})"


@dataclass(frozen=True)
class Comparison:
    """Results of a comparison."""

    output: str
    about: dict[str, Any]
    """Versions, recordings and settings."""
    runs: tuple[Run, ...]
    curves: tuple[Curve | None, ...]
    """Loss curve of each run, in the same order."""
    stopped: bool = False
    """Whether it was interrupted by the user."""

    @property
    def lines(self) -> list[SummaryRow]:
        """Rows of the table in the requested order; with several recordings, summaries over all of them come last."""
        own = [SummaryRow.of(runs) for runs in self.by_kind().values()]
        return own if len({line.recording for line in own}) == 1 else [*own, *self.overall]

    @property
    def overall(self) -> list[SummaryRow]:
        """One row for each configuration: over all recordings, or with one recording that of its fits."""
        kinds: dict[str, list[SummaryRow]] = {}
        for runs in self.by_kind().values():
            row = SummaryRow.of(runs)
            kinds.setdefault(row.name, []).append(row)
        several = len({run.recording for run in self.runs}) > 1
        return [SummaryRow.over(rows) if several else rows[0] for rows in kinds.values()]

    @property
    def warnings(self) -> list[str]:
        """Problems found while recordings were read, such as ``a.mp3: truncated ...``."""
        return [f"{one['name']}: {warning}" for one in self.about["recordings"] for warning in one.get("warnings", ())]

    @property
    def failed(self) -> int:
        """Number of failed fits."""
        return sum(run.status == "failed" for run in self.runs)

    def by_kind(self) -> dict[tuple[str, str, str, str], list[Run]]:
        """Group the runs by configuration."""
        found: dict[tuple[str, str, str, str], list[Run]] = {}
        for run in self.runs:
            found.setdefault(run.kind, []).append(run)
        return found

    def contents(self) -> dict[str, Any]:
        """Return everything except the curves, serialisable as JSON."""
        lines = [asdict(line) for line in self.lines]
        for line in lines:
            line["spreads"] = {name: spread and spread._asdict() for name, spread in line["spreads"].items()}
        best = [one._asdict() for one in self.best]
        return {**self.about, "stopped": self.stopped, "best": best, "table": lines, "runs": [asdict(run) for run in self.runs]}

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return headings and cells; columns that are the same in every row are omitted."""
        lines = self.lines
        named = {"recording": "recording", "variant": "variant", "model": "network", "losses": "loss"}
        kept = [name for name in named if name == "model" or len({getattr(line, name) for line in lines}) > 1]
        shown = self.measured
        heads = [*(named[name] for name in kept), *(head for head, _ in shown.values())]
        cells = [
            [*(getattr(line, name) for name in kept), *(_cell(line, name, form) for name, (_, form) in shown.items())]
            for line in lines
        ]
        remarks = [line.remark for line in lines]
        if any(remarks):
            heads, cells = [*heads, ""], [[*row, remark] for row, remark in zip(cells, remarks, strict=True)]
        return heads, cells

    @property
    def n_words(self) -> int:
        """Number of leading columns that name the configuration; the others are measures."""
        heads, _ = self.table()
        return len(heads) - len(self.measured) - (heads[-1] == "")

    @property
    def measured(self) -> dict[str, tuple[str, str]]:
        """The `measures` that are shown: all, and of those on request the ones that some fit has."""
        present = {name for run in self.runs for name in run.metrics}
        absent = {name for name, spec in METRICS.items() if spec.request} - present
        return {name: look for name, look in measures().items() if name not in absent}

    @property
    def best(self) -> list[Best]:
        """The best configuration by each of several measures, over all recordings."""
        return [found for name in RANKING if (found := Best.of(name, self.overall)) is not None]

    def markdown(self) -> str:
        """Return the table in Markdown."""
        heads, cells = self.table()
        rule = ["---" if place < self.n_words or head == "" else "---:" for place, head in enumerate(heads)]
        rows = [heads, rule, *([visible(cell).replace("|", "\\|") for cell in row] for row in cells)]
        return "".join(f"| {' | '.join(row)} |\n" for row in rows)

    def in_words(self) -> str:
        """Describe the comparison in a sentence or two."""
        how, fits = self.about["settings"]["compare"], self.about["settings"]["fits"]
        recordings = self.about["recordings"]
        named = ", ".join(one["name"] for one in recordings) if len(recordings) <= SHORT else f"{len(recordings)} recordings"
        what = "all of it" if how["whole"] else f"the loudest {how['stretch_s']:g} s"
        steps = {kind["settings"].get("steps") for kind in self.about["kinds"]}
        paces = [f"{how['time_s']:g} s of one thread" if count is None else f"{count} steps" for count in sorted(steps, key=str)]
        pace = " or ".join(paces)
        more = "; ".join(f"{name} {value}" for name, value in fits.items() if name != "steps")
        seeds = f"{how['seeds']} seeds" if how["seeds"] > 1 else "1 seed"
        ending = " The comparison was interrupted." if self.stopped else ""
        if best := self.best:
            ending += f" Best {'; '.join(one.in_words() for one in best)}."
        ending += f" Warnings: {'; '.join(self.warnings)}." if self.warnings else ""
        return f"{named}: {what}, {pace} a fit, {seeds}{'; ' * bool(more)}{more}. Medians, and ranges over seeds.{ending}"

    def csv(self) -> dict[str, str]:
        """Return table, runs and curves as CSV, by file name."""
        lines = self.lines
        spread = [f"{name}{part}" for name in measures() for part in ("", "_low", "_high")]
        heads = ["recording", "variant", "model", "losses", "fits", "not_fitted", "failed"]
        table = [[*(getattr(line, name) for name in heads), *_flat(line)] for line in lines]
        fields_of_run = [[*METRICS] if member.name == "metrics" else [member.name] for member in fields(Run)]
        names = [name for some in fields_of_run for name in some]
        runs = [[run.value(name) for name in names] for run in self.runs]
        kind = ["recording", "variant", "model", "losses", "seed"]
        curves = [
            [*(getattr(run, name) for name in kind), *look]
            for run, curve in zip(self.runs, self.curves, strict=True)
            if curve is not None
            for look in zip(curve.steps, curve.seconds, curve.losses, curve.snrs_db, strict=True)
        ]
        return {
            "table.csv": _csv([*heads, *spread], table),
            "runs.csv": _csv(names, runs),
            "curves.csv": _csv([*kind, "step", "seconds", "loss", "snr_db"], curves),
        }


def _cell(line: SummaryRow, name: str, form: str) -> str:
    spread = line.spreads[name]
    return "-" if spread is None else spread.in_words(form)


def _flat(line: SummaryRow) -> Iterator[float | None]:
    for spread in line.spreads.values():
        yield from (None, None, None) if spread is None else spread


def _csv(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows([csv_cell(value) for value in row] for row in rows)
    return stream.getvalue()


def to_json(content: Any) -> str:
    """Return JSON in the format of the files of a comparison."""
    return json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False, default=str) + "\n"
