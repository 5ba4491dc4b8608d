"""The figure of a search: the measure over each searched setting."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ddaudio.comparing.summary_rows import Spread
from ddaudio.metrics.registry import METRICS
from ddaudio.options.search import Range
from ddaudio.report.figure_style import COLOURS, SMALL_PT, blank, dress

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Point = tuple[Mapping[str, Any], Spread]
"""Settings of a draw, and its measure."""

COLUMNS = 3
PANEL_IN = (2.8, 2.2)
"""Width and height of a panel in inches."""
DRAW, BEST = COLOURS["original"], COLOURS["residual"]
"""Colours of the draws and of the best of them."""


def figure(points: Sequence[Point], ranges: Mapping[str, Range], metric: str) -> "Figure | None":
    """Plot the median of a metric over each searched setting, with its range over seeds; None without points.

    Each point is a draw; the first one, the best, is orange.
    """
    if not points:
        return None
    columns = min(COLUMNS, len(ranges))
    rows = math.ceil(len(ranges) / columns)
    drawn = blank((max(4.0, PANEL_IN[0] * columns), PANEL_IN[1] * rows))
    axes = drawn.subplots(rows, columns, sharey=True, squeeze=False)
    spec = METRICS[metric]
    for axis, (name, one) in zip(axes.flat, ranges.items(), strict=False):
        _draw(axis, name, one, points)
    for axis in axes.flat[len(ranges) :]:
        axis.set_axis_off()
    for axis in axes[:, 0]:
        axis.ticklabel_format(axis="y", useOffset=False)
        dress(axis, y=f"{spec.label} ({spec.unit})" if spec.unit else spec.label)
    return drawn


def _draw(axis: "Axes", name: str, one: Range, points: Sequence[Point]) -> None:
    """Draw the points of one setting, the best of all draws last and in another colour."""
    for place in reversed(range(len(points))):
        settings, spread = points[place]
        if settings[name] is not None:
            x = one.values.index(settings[name]) if one.scale == "choice" else settings[name]
            colour = BEST if place == 0 else DRAW
            axis.vlines(x, spread.low, spread.high, color=colour, linewidth=0.8)
            axis.plot(x, spread.median, "o", color=colour, markersize=4)
    if one.scale == "choice":
        axis.set_xticks(range(len(one.values)), [str(value) for value in one.values], fontsize=SMALL_PT)
        axis.set_xlim(-0.5, len(one.values) - 0.5)
    elif one.scale == "log":
        axis.set_xscale("log")
    dress(axis, x=name)
