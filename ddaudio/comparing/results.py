"""Results of a comparison: all fits, the table, and its files."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

from ddaudio.comparing.runs import Curve, Run
from ddaudio.comparing.summary_rows import Best, SummaryRow, measures, ranking
from ddaudio.io.paths import csv_cell, visible
from ddaudio.metrics.registry import METRICS

SHORT = 4
"""Up to this many recordings are named; above, only their number is given."""


@dataclass(frozen=True)
class Comparison:
    """Results of a comparison."""

    command: ClassVar[str] = "compare"
    """Name of the command, for the page."""
    picture: ClassVar[tuple[str, str]] = "curves.png", "Loss over steps and over seconds, a line for each network"
    """File name and description of the figure."""

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
        lines, shown = self.lines, self.measured
        named = self.named(lines)
        heads = [*named, *(head for head, _ in shown.values())]
        cells = [
            [*words, *(_cell(line, name, form) for name, (_, form) in shown.items())]
            for line, words in zip(lines, zip(*named.values(), strict=True), strict=True)
        ]
        remarks = [line.remark for line in lines]
        if any(remarks):
            heads, cells = [*heads, ""], [[*row, remark] for row, remark in zip(cells, remarks, strict=True)]
        return heads, cells

    def named(self, lines: Sequence[SummaryRow]) -> dict[str, list[str]]:
        """Return the columns of the table that name the configurations, by heading."""
        names = {"recording": "recording", "variant": "variant", "network": "model", "loss": "losses"}
        columns = {head: [str(getattr(line, name)) for line in lines] for head, name in names.items()}
        return {head: words for head, words in columns.items() if head == "network" or len(set(words)) > 1}

    def settings_of(self, variant: str) -> Mapping[str, Any]:  # noqa: ARG002 - for searches
        """Return settings of a variant that are columns of the table in CSV."""
        return {}

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
        return [found for name in ranking() if (found := Best.of(name, self.overall)) is not None]

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
        pace = " or ".join(paces) if len(paces) <= SHORT else f"{len(paces)} numbers of steps"
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
        own = [self.settings_of(line.variant) for line in lines]
        table = [
            [*(getattr(line, name) for name in heads), *drawn.values(), *_flat(line)]
            for line, drawn in zip(lines, own, strict=True)
        ]
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
            "table.csv": _csv([*heads, *own[0], *spread], table),
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
