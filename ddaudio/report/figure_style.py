"""Colours, fonts and axes that figures share."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ddaudio.errors import OptionError
from ddaudio.io.samples import Samples

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure, SubFigure

COLOURS = {"original": "#0072B2", "resynthesis": "#009E73", "residual": "#D55E00"}
"""Colour of each sound of an overview."""
PITCH_COLOUR = "#56B4E9"
WAVES_COLOUR = "#CC79A7"
CYCLE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours of named curves."""
MOST_NAMES = 8
"""Largest number of entries in a legend."""
DASHES = ("-", "--", ":", "-.")
"""Line styles, which distinguish curves without colour."""
RANGE_DB = 80
"""Dynamic range of the colour maps of spectrograms, partials and trees."""
TEXT_PT, SMALL_PT, NARROW_IN = 8, 7, 5
"""Font sizes, and the width (of a column in print) below which the layout is simplified."""


def curve_colour(place: int, count: int) -> Any:
    """Return the colour of one of ``count`` curves: categorical colours for a few, shades of cividis for many."""
    from matplotlib import colormaps  # noqa: PLC0415 - slow to import

    return CYCLE[place] if count <= len(CYCLE) else colormaps["cividis"](0.9 * place / (count - 1))


@dataclass(frozen=True)
class ChannelOf:
    """One channel of a sound, as samples ``[1, T]``."""

    samples: Samples
    channel: int

    @property
    def shape(self) -> tuple[int, int]:
        """``(1, T)``."""
        return 1, self.samples.shape[1]

    def __getitem__(self, index: tuple[slice, slice], /) -> Tensor:
        return self.samples[self.channel : self.channel + 1, index[1]]


def channel_words(channel: int, report: Mapping[str, Any]) -> str:
    """Check the index of a channel and return its description, counted from 1; empty if there is only one."""
    channels = report["recording"]["channels"]
    if channel not in range(channels):
        raise OptionError(setting="channel", value=channel, allowed=f"0 to {channels - 1}")
    return f"channel {channel + 1} of {channels}" if channels > 1 else ""


def blank(size: tuple[float, float]) -> "Figure":
    """Return an empty figure of this width and height in inches, which does not depend on pyplot."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    return Figure(figsize=size, layout="constrained")


def dress(axis: "Axes", *, x: str = "", y: str = "", title: str = "") -> None:
    """Set the labels that are given, in the font size for print."""
    axis.tick_params(which="both", labelsize=SMALL_PT, width=0.6, length=2.5)
    for name, text in (("xlabel", x), ("ylabel", y), ("title", title)):
        if text:
            getattr(axis, f"set_{name}")(text, fontsize=TEXT_PT)


def colour_bar(figure: "Figure | SubFigure", drawn: Any, axes: Any, label: str) -> None:
    """Add a colour bar beside axes."""
    bar = figure.colorbar(drawn, ax=list(axes), pad=0.01, aspect=25)
    bar.set_label(label, fontsize=TEXT_PT)
    bar.ax.tick_params(labelsize=SMALL_PT, width=0.6, length=2.5)


def hz_words(value: float) -> str:
    """Format a frequency with up to three digits, thousands as k."""
    return f"{value / 1000:.3g}k" if value >= 999.5 else f"{value:.3g}"


def hz_ticks(axis: "Axis") -> None:
    """Set ticks at round frequencies of a logarithmic axis."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator  # noqa: PLC0415 - slow to import

    axis.set_major_locator(LogLocator(10, (1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: hz_words(value)))
    axis.set_minor_locator(NullLocator())


def decade(hz: np.ndarray, nyquist_hz: float) -> tuple[float, float]:
    """Return limits of a logarithmic axis that contains all frequencies, at least a decade apart."""
    low, high = (float(hz.min()) / 1.1, float(hz.max()) * 1.1) if len(hz) else (nyquist_hz / 100, nyquist_hz)
    spare = max(1.0, math.sqrt(10 * low / high))
    return low / spare, high * spare
