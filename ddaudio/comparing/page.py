"""The figure and the HTML page of a comparison: loss curves, the table, and every fit with its sounds."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from ddaudio.comparing.results import Comparison
from ddaudio.comparing.runs import Curve
from ddaudio.errors import DdaudioError
from ddaudio.io.atomic import whole_file
from ddaudio.io.fit_files import PAGE, REPORT
from ddaudio.report.figure_style import CYCLE, DASHES, SMALL_PT, TEXT_PT
from ddaudio.report.gallery import page_over, row
from ddaudio.results.record import FitRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INDEX = "index.html"
MOST_PANELS = 12
"""Largest number of panels (recordings times losses); further ones are not drawn."""
MOST_ROWS = 500
"""Largest number of fits on the page; further ones are omitted."""
PANEL_IN = (3.2, 2.3)
"""Width and height of a panel in inches."""
POINTS = 200
"""Number of points at which the curves of several seeds are interpolated."""
DPI = 120


def write(found: Comparison, folder: Path, draw: "Callable[[Any], Figure | None] | None" = None) -> None:
    """Write the figure, drawn by ``draw`` (default: `figure`), and `INDEX` into the folder; raises `OutputError`."""
    drawn = (draw or figure)(found)
    if drawn is not None:
        with whole_file(folder / found.picture[0]) as stream, warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"Glyph .* missing from font")  # a name may hold any letter
            drawn.savefig(stream, format="png", dpi=DPI)
    with whole_file(folder / INDEX) as stream:
        stream.write(_page(found, folder, drawn).encode("utf-8", "backslashreplace"))


def figure(found: Comparison) -> "Figure | None":
    """Plot the evaluated loss over steps and over seconds, a panel per recording and loss; None without fits.

    Lines are medians over seeds, areas their range. Losses are divided by the largest initial value in the panel, so that all
    panels have comparable axes.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    panels: dict[tuple[str, str], dict[str, list[Curve]]] = {}
    for run, curve in zip(found.runs, found.curves, strict=True):
        if curve is not None and curve.losses:
            name = ", ".join(filter(None, (run.variant, run.model)))
            panels.setdefault((run.recording, run.losses), {}).setdefault(name, []).append(curve)
    shown = list(panels.items())[:MOST_PANELS]
    if not shown:
        return None
    names = list(dict.fromkeys(name for _, lines in shown for name in lines))
    looks = {name: (CYCLE[place % len(CYCLE)], DASHES[place // len(CYCLE) % len(DASHES)]) for place, name in enumerate(names)}
    width, height = PANEL_IN
    drawn = Figure(figsize=(max(5.0, width * len(shown)), 2 * height + 0.4), layout="constrained")
    axes = drawn.subplots(2, len(shown), squeeze=False, sharey="col")
    several = len({recording for (recording, _), _ in shown}) > 1
    for (upper, lower), ((recording, losses), lines) in zip(axes.T, shown, strict=True):
        first = max(curve.losses[0] for curves in lines.values() for curve in curves)
        for axis, over in ((upper, "steps"), (lower, "seconds")):
            for name, curves in lines.items():
                _draw(axis, [(getattr(curve, over), curve.losses) for curve in curves], first, *looks[name])
            if first > 0:
                axis.set_yscale("log")
            axis.set_xlabel(over, fontsize=SMALL_PT)
            axis.tick_params(which="both", labelsize=SMALL_PT, width=0.6, length=2.5)
        upper.set_title(f"{recording}\n{losses}" if several else losses, fontsize=TEXT_PT, parse_math=False)
    for axis in axes[:, 0]:
        axis.set_ylabel("loss (share of the first)", fontsize=SMALL_PT)
    handles = [axes[0, 0].plot([], [], color=colour, linestyle=dash, label=name)[0] for name, (colour, dash) in looks.items()]
    legend = drawn.legend(handles=handles, loc="outside lower center", ncols=min(4, len(names)), fontsize=SMALL_PT, frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return drawn


def _draw(axis: "Axes", curves: Sequence[tuple[Sequence[float], Sequence[float]]], first: float, colour: str, dash: str) -> None:
    """Draw the median and the range of curves over the interval that all of them cover."""
    begin, end = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
    if len(curves) == 1 or not begin < end:
        for x, losses in curves:
            axis.plot(x, np.divide(losses, first or 1.0), color=colour, linestyle=dash, linewidth=1)
        return
    grid = np.linspace(begin, end, POINTS)
    values = np.stack([np.interp(grid, x, losses) for x, losses in curves]) / (first or 1.0)
    axis.fill_between(grid, values.min(0), values.max(0), color=colour, alpha=0.2, linewidth=0)
    axis.plot(grid, np.median(values, 0), color=colour, linestyle=dash, linewidth=1)


def _page(found: Comparison, folder: Path, drawn: "Figure | None") -> str:
    heads, cells = found.table()
    picture, alternative = found.picture
    panels = len({(run.recording, run.losses) for run in found.runs}) if found.command == "compare" else 0
    return page_over(
        list(_rows(found, folder)),
        "compare.html.jinja",
        heads=heads,
        cells=cells,
        n_words=found.n_words,
        command=found.command,
        picture=None if drawn is None else picture,
        alternative=alternative,
        how=found.in_words(),
        panels=panels,
        most_panels=MOST_PANELS,
        made=sum(run.status != "failed" for run in found.runs),
    )


def _rows(found: Comparison, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the fields of the page for each complete fit."""
    made = [run for run in found.runs if run.folder is not None and run.status != "failed"]
    for run in made[:MOST_ROWS]:
        home = folder / str(run.folder)
        try:
            one = row(FitRecord.read(home), home, folder)
        except DdaudioError:
            continue
        name = ", ".join(filter(None, (run.recording, run.variant, run.model, run.losses, f"seed {run.seed}")))
        address = quote(f"{run.folder}/{PAGE if (home / PAGE).exists() else REPORT}")
        yield {**one, "name": name, "page": address}
