"""``search``: draw settings from ranges, and compare the fits with them."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from ddaudio.comparing.results import Comparison
from ddaudio.comparing.run import CompareProgress, compare_entries, split_settings
from ddaudio.comparing.search_figure import figure
from ddaudio.comparing.summary_rows import SummaryRow
from ddaudio.metrics.registry import METRICS
from ddaudio.options.search import Range, SearchOptions

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Search(Comparison):
    """Results of a search: a comparison of the draws, sorted by a metric."""

    command: ClassVar[str] = "search"
    picture: ClassVar[tuple[str, str]] = "search.png", "The measure over each searched setting, a point for each draw"

    how: SearchOptions = field(default_factory=SearchOptions)
    ranges: Mapping[str, Range] = field(default_factory=dict)
    """Searched settings, by name."""
    draws: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Drawn settings, by the name of the trial."""

    @property
    def lines(self) -> list[SummaryRow]:
        """Rows of the table, for each recording the best first; with several, summaries over all of them come last."""
        lines = super().lines
        recordings = list(dict.fromkeys(line.recording for line in lines))
        return sorted(lines, key=lambda line: (recordings.index(line.recording), self._order(line)))

    @property
    def ranked(self) -> list[SummaryRow]:
        """One row for each draw, over all recordings, the best first."""
        return sorted(self.overall, key=self._order)

    def _order(self, line: SummaryRow) -> float:
        """Return the position of a row by the measure; rows without it come last."""
        spread = line.spreads[self.how.metric]
        sign = 1 if METRICS[self.how.metric].better == "lower" else -1
        return float("inf") if spread is None else sign * spread.median

    def settings_of(self, variant: str) -> dict[str, Any]:
        """Return the drawn settings of a trial; None where one does not belong to its network."""
        return {name: self.draws[variant].get(name) for name in self.ranges}

    def named(self, lines: Sequence[SummaryRow]) -> dict[str, list[str]]:
        """Return the columns that name the trials: their numbers and the drawn settings."""
        recordings = [line.recording for line in lines]
        own = [self.settings_of(line.variant) for line in lines]
        return {
            **({"recording": recordings} if len(set(recordings)) > 1 else {}),
            "trial": [line.variant.removeprefix("trial ") for line in lines],
            **{name: ["-" if one[name] is None else str(one[name]) for one in own] for name in self.ranges},
        }

    def contents(self) -> dict[str, Any]:
        """Return everything except the curves, serialisable as JSON; the draws in the order of their rank."""
        ranges = {name: {one.scale: list(one.values)} for name, one in self.ranges.items()}
        ranked = [{"trial": line.variant, "settings": self.settings_of(line.variant)} for line in self.ranked]
        own = {name: getattr(self.how, name) for name in ("trials", "draw_seed", "measure")}
        return {**super().contents(), "search": {**own, "ranges": ranges, "ranked": ranked}}

    def figure(self) -> "Figure | None":
        """Plot the measure over each searched setting, over all recordings; None if no draw was fitted."""
        metric = self.how.metric
        points = [(self.settings_of(line.variant), spread) for line in self.ranked if (spread := line.spreads[metric])]
        return figure(points, self.ranges, metric)

    def in_words(self) -> str:
        """Describe the search in a few sentences."""
        best = self.ranked[0]
        drawn = ", ".join(f"{name} {value}" for name, value in self.draws[best.variant].items())
        known = f"; settings of the best by {METRICS[self.how.metric].label}: {drawn}" * (self._order(best) < float("inf"))
        return f"{super().in_words()} {len(self.draws)} draws with seed {self.how.draw_seed}{known}."


def search(
    recordings: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    output: str | os.PathLike[str],
    how: SearchOptions | None = None,
    *,
    progress: Callable[[CompareProgress], None] | None = None,
    **settings: Any,
) -> Search:
    """Fit recordings with settings drawn at random from ranges, and sort the draws by ERB distance or SNR.

    The draws are variants of a comparison: all fits have the same size and time, use Adam and exchange no components unless other
    settings are given or drawn, and fits that are up to date are not repeated. The first draws are the same for any number of
    trials. Scripts must call this function below ``if __name__ == "__main__":``, since worker processes import them.

    Args:
        recordings: path of a sound file, or several.
        output: folder for the files of a comparison, with ``search.png`` (the measure over each setting) in place of
            ``curves.png``.
        how: settings of the search (default: ``SearchOptions()``).
        progress: called with a `CompareProgress` after each fit.
        **settings: single settings by name, either of the search, such as ``ranges="ranges.toml"``, or of all fits, such as
            ``model="sine"``; drawn settings take precedence.

    Returns:
        The results; a fit that raised an error is a run with status ``failed``.

    Raises:
        RecordingError: a recording cannot be read.
        OptionError: a setting or a range is unknown, out of range or in conflict with another.
        OutputError: the output cannot be written to, or is not a comparison.
        BatchError: the scheduler does not respond.

    """
    how, shared = split_settings(how or SearchOptions(), settings)
    entries, draws = how.entries(shared)
    gather = partial(Search, how=how, ranges=how.read_ranges(), draws=draws)
    return compare_entries(recordings, output, how.comparison, shared, entries, gather, progress=progress, draw=Search.figure)
