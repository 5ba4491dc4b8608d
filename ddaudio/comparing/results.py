"""What a comparison found: a run for each fit, a line of the table for each kind of fit, curves of the loss."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from statistics import median
from typing import Any, NamedTuple

from ddaudio.metrics.registry import METRICS


def measures() -> dict[str, tuple[str, str]]:
    """Return what the table has of each kind of fit, median and range over seeds: heading and format of a value, by name.

    ``seconds`` are those of the fit, its start included; ``steps_to_90`` the steps after which the loss has fallen by 90 % of its
    whole decrease, where there is one run of training, to the resolution of the evaluations.
    """
    metrics = {name: (spec.heading, f".{spec.decimals}f") for name, spec in METRICS.items() if spec.is_compared}
    costs = {"parameters": "n_parameters", "seconds": "seconds", "steps": "steps", "to 90 %": "steps_to_90"}
    return metrics | {name: (heading, ".1f" if name == "seconds" else ".0f") for heading, name in costs.items()}


NAMES = ("recording", "variant", "model", "losses", "seed", "folder")
"""Fields of a run that say what it is, and not what came of it."""
SHORT = 4
"""Recordings that are named; of more, the number is told."""


@dataclass(frozen=True)
class Curve:
    """What the judge saw over a fit, look after look."""

    steps: list[int]
    seconds: list[float]
    """Since the fit began."""
    losses: list[float]
    """Sums of the judge's terms."""
    snrs_db: list[float | None]

    def steps_to(self, share: float) -> int | None:
        """Return the steps after which a share of the gain is there; None without gain, or with several runs of training."""
        if len(set(self.steps)) < len(self.steps) or not self.losses:
            return None
        first, best = self.losses[0], min(self.losses)
        if not best < first:
            return None
        return next(step for step, loss in zip(self.steps, self.losses, strict=True) if loss <= first - share * (first - best))


@dataclass(frozen=True)
class Run:
    """One fit; None where it is not known."""

    recording: str
    variant: str
    model: str
    losses: str
    seed: int
    status: str
    """How training ended, ``not fitted`` (it says no more than silence does), or ``failed``."""
    reason: str
    """The status in a sentence."""
    warnings: str = ""
    """Warnings, joined by ``; ``."""
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    """Value of each metric, by name."""
    n_parameters: int | None = None
    seconds: float | None = None
    """Of the fit, start included."""
    start_s: float | None = None
    """Of the start alone."""
    steps: int | None = None
    steps_to_90: int | None = None
    folder: str | None = None
    """Where the fit is, below the output."""

    @property
    def kind(self) -> tuple[str, str, str, str]:
        """Recording, variant, network and loss: what all seeds of a line have in common."""
        return self.recording, self.variant, self.model, self.losses

    @property
    def snr_db(self) -> float | None:
        """Signal-to-noise ratio."""
        return self.metrics.get("snr_db")

    def value(self, name: str) -> Any:
        """Return a metric or another measure, by name."""
        return self.metrics[name] if name in self.metrics else getattr(self, name, None)

    def failure(self, reason: str) -> "Run":
        """Return this run as one that came to nothing."""
        return Run(*self.kind, self.seed, "failed", " ".join(reason.split()))


Found = tuple[Run, Curve | None]
"""A fit, and its curve where it was made."""


class Spread(NamedTuple):
    """Median and range of what several seeds came to."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: Iterable[float | None]) -> "Spread | None":
        """Return that of the values that are known; None where there is none."""
        known = [float(value) for value in values if value is not None]
        return Spread(median(known), min(known), max(known)) if known else None

    def in_words(self, form: str) -> str:
        """Return it as a cell of a table has it, such as ``17.3 (17.1 to 17.5)``; the range only where there is one.

        >>> Spread(17.3, 17.1, 17.5).in_words(".1f"), Spread(3, 3, 3).in_words(".0f")
        ('17.3 (17.1 to 17.5)', '3')
        """
        middle, low, high = (format(value, form) for value in self)
        return middle if low == high else f"{middle} ({low} to {high})"


@dataclass(frozen=True)
class SummaryRow:
    """A kind of fit, over its seeds."""

    recording: str
    variant: str
    model: str
    losses: str
    fits: int
    """Fits that are there."""
    not_fitted: int
    """Those among them that say no more than silence does."""
    failed: int
    """Fits that could not be made, or were not."""
    reason: str
    """Why, of the first of them."""
    spreads: dict[str, Spread | None]
    """By measure, over the fits that are there, those not fitted included."""

    @staticmethod
    def of(runs: Sequence[Run]) -> "SummaryRow":
        """Return the line of the runs of one kind."""
        failed = [run for run in runs if run.status == "failed"]
        spreads = {name: Spread.of(run.value(name) for run in runs) for name in measures()}
        not_fitted = sum(run.status == "not fitted" for run in runs)
        reason = failed[0].reason if failed else ""
        return SummaryRow(*runs[0].kind, len(runs) - len(failed), not_fitted, len(failed), reason, spreads)

    @staticmethod
    def over(lines: Sequence["SummaryRow"]) -> "SummaryRow":
        """Return the line of one kind of fit over several recordings: of their medians, median and range."""
        one, failed = lines[0], [line for line in lines if line.failed]
        spreads = {
            name: Spread.of(spread and spread.median for spread in (line.spreads[name] for line in lines)) for name in measures()
        }
        fits, not_fitted, count = (sum(getattr(line, name) for line in lines) for name in ("fits", "not_fitted", "failed"))
        reason = failed[0].reason if failed else ""
        return SummaryRow(f"all {len(lines)}", one.variant, one.model, one.losses, fits, not_fitted, count, reason, spreads)

    @property
    def remark(self) -> str:
        """What the table says of fits that are none, such as ``2 of 3 not fitted``; empty where all are."""
        count = self.fits + self.failed
        told = [(self.not_fitted, "not fitted"), (self.failed, "failed")]
        words = "; ".join(f"{number} of {count} {what}" for number, what in told if number)
        return f"{words}: {self.reason}" if self.reason else words


@dataclass(frozen=True)
class Comparison:
    """What a comparison found."""

    output: str
    about: dict[str, Any]
    """What was compared, and how: versions, recordings, settings."""
    runs: tuple[Run, ...]
    curves: tuple[Curve | None, ...]
    """Of each run, in the same order."""
    stopped: bool = False
    """Whether the user stopped it."""

    @property
    def lines(self) -> list[SummaryRow]:
        """The table, in the order that was asked for; where there are several recordings, what all come to is at its end."""
        lines = [SummaryRow.of(runs) for runs in self.by_kind().values()]
        kinds: dict[tuple[str, ...], list[SummaryRow]] = {}
        for line in lines:
            kinds.setdefault((line.variant, line.model, line.losses), []).append(line)
        several = len({line.recording for line in lines}) > 1
        return [*lines, *(SummaryRow.over(each) for each in kinds.values() if several)]

    @property
    def failed(self) -> int:
        """How many fits could not be made."""
        return sum(run.status == "failed" for run in self.runs)

    def by_kind(self) -> dict[tuple[str, str, str, str], list[Run]]:
        """Return the runs by what seeds have in common."""
        found: dict[tuple[str, str, str, str], list[Run]] = {}
        for run in self.runs:
            found.setdefault(run.kind, []).append(run)
        return found

    def contents(self) -> dict[str, Any]:
        """Return all but the curves as JSON can hold it."""
        lines = [asdict(line) for line in self.lines]
        for line in lines:
            line["spreads"] = {name: spread and spread._asdict() for name, spread in line["spreads"].items()}
        return {**self.about, "stopped": self.stopped, "table": lines, "runs": [asdict(run) for run in self.runs]}

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return headings and cells; columns that would say the same in each line are left out."""
        lines = self.lines
        named = {"recording": "recording", "variant": "variant", "model": "network", "losses": "loss"}
        kept = [name for name in named if name == "model" or len({getattr(line, name) for line in lines}) > 1]
        heads = [*(named[name] for name in kept), *(head for head, _ in measures().values())]
        cells = [
            [*(getattr(line, name) for name in kept), *(_cell(line, name, form) for name, (_, form) in measures().items())]
            for line in lines
        ]
        remarks = [line.remark for line in lines]
        if any(remarks):
            heads, cells = [*heads, ""], [[*row, remark] for row, remark in zip(cells, remarks, strict=True)]
        return heads, cells

    @property
    def n_words(self) -> int:
        """How many columns of the table name the fits; those behind them measure."""
        heads, _ = self.table()
        return len(heads) - len(measures()) - (heads[-1] == "")

    def markdown(self) -> str:
        """Return the table for a page of text."""
        heads, cells = self.table()
        rule = ["---" if place < self.n_words or head == "" else "---:" for place, head in enumerate(heads)]
        rows = [heads, rule, *([cell.replace("|", "\\|") for cell in row] for row in cells)]
        return "".join(f"| {' | '.join(row)} |\n" for row in rows)

    def in_words(self) -> str:
        """Return what was compared and how, in a sentence or two."""
        how, fits = self.about["settings"]["compare"], self.about["settings"]["fits"]
        recordings = self.about["recordings"]
        named = ", ".join(one["name"] for one in recordings) if len(recordings) <= SHORT else f"{len(recordings)} recordings"
        what = "all of it" if how["whole"] else f"the loudest {how['stretch_s']:g} s"
        steps = {kind["settings"].get("steps") for kind in self.about["kinds"]}
        paces = [f"{how['time_s']:g} s of one thread" if count is None else f"{count} steps" for count in sorted(steps, key=str)]
        pace = " or ".join(paces)
        more = "; ".join(f"{name} {value}" for name, value in fits.items() if name != "steps")
        seeds = f"{how['seeds']} seeds" if how["seeds"] > 1 else "1 seed"
        ending = " It was stopped before its end." if self.stopped else ""
        return f"{named}: {what}, {pace} a fit, {seeds}{'; ' * bool(more)}{more}. Medians, and ranges over seeds.{ending}"

    def csv(self) -> dict[str, str]:
        """Return the table, the runs and the curves as CSV, by file name."""
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
    writer.writerows(rows)
    return stream.getvalue()


def to_json(content: Any) -> str:
    """Return JSON as files of a comparison have it."""
    return json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False, default=str) + "\n"
