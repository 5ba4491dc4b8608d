"""Figures of landscapes: a panel per loss over the same frequencies, with the true frequencies marked."""

import math
from typing import TYPE_CHECKING

from torch import Tensor

from ddaudio.comparing.landscape import Landscape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3
PANEL_IN = (3.3, 1.75), (3.0, 2.7)
"""Width and height of a panel in inches, for curves and for maps."""
CURVE, TRUTH = "#0072B2", "#D55E00"
TEXT_PT, SMALL_PT = 9, 8


def figure(landscape: Landscape) -> "Figure":
    """Plot a landscape: curves for one frequency, maps for two; each loss is scaled to its range.

    0 is the lowest value of a loss within the span and 1 the highest, so that losses of different units share a scale.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    count, maps = len(landscape.values), len(landscape.axes_hz) == 2
    columns = min(COLUMNS, count)
    rows = math.ceil(count / columns)
    width, height = PANEL_IN[maps]
    drawn = Figure(figsize=(max(4.0, width * columns), height * rows + 0.5), layout="constrained")
    axes = drawn.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axis, (name, values) in zip(axes.flat, landscape.values.items(), strict=False):
        (_draw_map if maps else _draw_curve)(axis, landscape, _share(values))
        axis.set_title(name, fontsize=TEXT_PT)
        axis.tick_params(labelsize=SMALL_PT, width=0.6, length=2.5, labelbottom=True)
    for axis in axes.flat[count:]:
        axis.set_axis_off()
    drawn.supxlabel("frequency (Hz)" if not maps else "first frequency (Hz)", fontsize=TEXT_PT)
    drawn.supylabel("loss (share of its range)" if not maps else "second frequency (Hz)", fontsize=TEXT_PT)
    truth = " and ".join(f"{hz:.6g}" for hz in landscape.truth_hz)
    drawn.suptitle(f"the truth is {truth} Hz (orange); a bin is {landscape.bin_hz:.3g} Hz", fontsize=TEXT_PT)
    return drawn


def _share(values: Tensor) -> Tensor:
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else values * 0


def _draw_curve(axis: "Axes", landscape: Landscape, share: Tensor) -> None:
    (hz,) = landscape.axes_hz
    axis.axvline(landscape.truth_hz[0], color=TRUTH, linewidth=1, linestyle="--")
    axis.plot(hz.numpy(), share.numpy(), color=CURVE, linewidth=1)
    axis.set(xlim=(float(hz[0]), float(hz[-1])), ylim=(-0.04, 1.04), yticks=(0, 0.5, 1))


def _draw_map(axis: "Axes", landscape: Landscape, share: Tensor) -> None:
    first, second = landscape.axes_hz
    extent = (float(first[0]), float(first[-1]), float(second[0]), float(second[-1]))
    axis.imshow(share.T.numpy(), origin="lower", aspect="auto", extent=extent, cmap="cividis", vmin=0, vmax=1)
    axis.plot(*landscape.truth_hz, "+", color=TRUTH, markersize=9, markeredgewidth=1.6)
