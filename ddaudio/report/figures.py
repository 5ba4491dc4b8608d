"""Figures for publications: each function takes a fit and returns a `matplotlib.figure.Figure`.

>>> figures.overview(result).savefig("overview.pdf")  # doctest: +SKIP

Lines and text are vector graphics; spectrograms and trees are images, so use ``savefig(..., dpi=300)`` for print. Categorical
colours are those of Okabe and Ito (2008), and colour maps are magma and cividis: all are suitable for colour-blind readers, the
maps also in greyscale. Neither pyplot nor matplotlib's settings are changed. All functions take ``fit``, the result of
`ddaudio.fit` or of `FitRecord.read`, and ``size``, width and height in inches. Text has 8 points or slightly less at any size,
so ``size`` should be that of the printed figure.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ddaudio.errors import OptionError
from ddaudio.fitting.result import FitResult
from ddaudio.io.samples import Samples
from ddaudio.models import DoubleDutchNetwork
from ddaudio.report import plot_data, training_curves
from ddaudio.results.record import FitRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.image import AxesImage

COLOURS = {"original": "#0072B2", "resynthesis": "#009E73", "residual": "#D55E00"}
"""Colour of each sound."""
CYCLE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours of named curves."""
MOST_NAMES = 8
"""Largest number of entries in a legend."""
DASHES = ("-", "--", ":", "-.")
"""Line styles, which distinguish curves without colour."""
RANGE_DB = 80
"""Dynamic range of the colour maps of spectrograms, partials and trees."""
COLUMNS, ROWS = 600, 513
"""Largest number of columns and rows of a spectrogram."""
OUTLINE_COLUMNS, LEVEL_COLUMNS, TREE_COLUMNS = 800, 600, 800
LOWEST_HZ = 1.0
"""Lower end of a logarithmic frequency axis."""
TEXT_PT, SMALL_PT, NARROW_IN = 8, 7, 5
"""Font sizes, and the width (of a column in print) below which the layout is simplified."""


def evidence_of(fit: FitResult | FitRecord) -> FitRecord:
    """Return the record of a fit in memory, or a record unchanged."""
    return fit if isinstance(fit, FitRecord) else FitRecord.of(fit)


def overview(
    fit: FitResult | FitRecord, *, size: tuple[float, float] = (7.2, 3.2), channel: int = 0, top_hz: float | None = None
) -> "Figure":
    """Plot waveforms above spectrograms of original, resynthesis and residual.

    Waveforms share a scale, and so do spectrograms: 0 dB is a sinusoid of full scale, and the darkest colour is `RANGE_DB` below
    the loudest of the three. Spectrograms are images of at most `COLUMNS` times `ROWS` cells.

    Args:
        fit: the fit to draw.
        size: width and height in inches.
        channel: index of the channel, from 0.
        top_hz: upper end of the frequency axis in Hz, up to half the sample rate (default).

    Raises `OptionError` if there is no such channel, or ``top_hz`` is out of range.
    """
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 - slow to import

    evidence = evidence_of(fit)
    rate, report = evidence.sounds.sample_rate, evidence.report
    which = _which(channel, report)
    if top_hz is not None and not 0 < top_hz <= rate / 2:
        raise OptionError(setting="top_hz", value=top_hz, allowed=f"above 0, up to {rate / 2:g} Hz, half the sample rate")
    parts = [_Channel(sound, channel) for sound in evidence.sounds]
    figure = _blank(size)
    axes = figure.subplots(2, 3, sharex=True, sharey="row", height_ratios=(1, 2))
    _draw_outlines(axes[0], parts, rate)
    image = _draw_spectrograms(axes[1], parts, rate)
    snr_db, duration_s = report["metrics"]["snr_db"]["value"], report["recording"]["duration_s"]
    gap, ticks = ("\n", 2) if size[0] < NARROW_IN else (" ", 4)
    for upper, lower, name in zip(*axes, COLOURS, strict=True):
        _dress(upper, title=name if name != "residual" or snr_db is None else f"residual{gap}(SNR {snr_db:.1f} dB)")
        _dress(lower, x="time (s)")
        lower.xaxis.set_major_locator(MaxNLocator(ticks))
        lower.set(xlim=(0, duration_s), ylim=(0, (top_hz or rate / 2) / 1000))
    _dress(axes[0, 0], y="amplitude\n(full scale)")
    _dress(axes[1, 0], y="frequency (kHz)")
    _bar(figure, image, axes[1], "level (dB of full scale)")
    if which:
        figure.suptitle(which + ("" if snr_db is None else "; the SNR is that of all"), fontsize=SMALL_PT)
    return figure


def _draw_outlines(axes: "Sequence[Axes]", parts: "Sequence[_Channel]", rate: int) -> None:
    peak = 0.0
    for axis, part, colour in zip(axes, parts, COLOURS.values(), strict=True):
        outline = plot_data.waveform(part, rate, OUTLINE_COLUMNS)
        low, high = outline.low[0], outline.high[0]
        times_s = (np.arange(len(low)) + 0.5) * outline.column_s
        # The edge keeps areas of zero height visible: short waves, and silence.
        axis.fill_between(times_s, low, high, facecolor=colour, edgecolor=colour, linewidth=0.5)
        if len(low) == 1:
            axis.plot(times_s, high, ".", color=colour)
        peak = max(peak, float(-low.min()), float(high.max()))
    axes[0].set_ylim(-1.05 * (peak or 1), 1.05 * (peak or 1))


def _draw_spectrograms(axes: "Sequence[Axes]", parts: "Sequence[_Channel]", rate: int) -> "AxesImage":
    spectra = [plot_data.spectrogram(part, rate, COLUMNS, ROWS) for part in parts]
    loudest = max(int(one.levels_db.max()) for one in spectra)
    top_db = loudest if loudest > plot_data.LEAST_DB else 0
    for axis, one in zip(axes, spectra, strict=True):
        (levels_db,) = one.levels_db
        rows, columns = levels_db.shape
        extent = (0, columns * one.column_s, one.low_hz / 1000, (one.low_hz + rows * one.row_hz) / 1000)
        look: dict[str, Any] = {"cmap": "magma", "vmin": top_db - RANGE_DB, "vmax": top_db}
        image = axis.imshow(levels_db, origin="lower", aspect="auto", extent=extent, **look)
    return image


def partials(fit: FitResult | FitRecord, *, size: tuple[float, float] = (7.2, 3.2), channel: int = 0) -> "Figure":
    """Plot the partials of a model as lines over time and logarithmic frequency, coloured by amplitude.

    At most the strongest `ddaudio.report.plot_data.MOST_LINES` of all channels are drawn; the title states if some are omitted.
    Partials below 1 Hz are drawn at 1 Hz.

    Raises `OptionError` if there is no channel ``channel`` (from 0), or the model has no partials.
    """
    evidence = evidence_of(fit)
    which = _which(channel, evidence.report)
    lines = plot_data.lines(evidence.network)
    if lines is None:
        raise OptionError(f"the model {evidence.network.title!r} has no partials to draw", hint="draw its tree with figures.tree")
    here = lines.signal == channel
    segments = np.stack([lines.start_s, lines.frequency_hz, lines.end_s, lines.frequency_hz], 1)[here].reshape(-1, 2, 2)
    hz = segments[:, :, 1] = np.maximum(segments[:, :, 1], LOWEST_HZ)
    figure = _blank(size)
    axis = figure.subplots()
    axis.set_yscale("log")
    axis.set(xlim=(0, evidence.report["recording"]["duration_s"]), ylim=_decade(hz, evidence.sounds.sample_rate / 2))
    _hz_ticks(axis.yaxis)
    strongest = f"the strongest {len(here):,} of {lines.n_partials:,} partials" if len(here) < lines.n_partials else ""
    said = ", of ".join(filter(None, (which, strongest)))
    _dress(axis, x="time (s)", y="frequency (Hz)", title=said if len(hz) else "no partials")
    if len(hz):
        _draw_lines(figure, axis, segments, lines.level_db[here])
    return figure


def _draw_lines(figure: "Figure", axis: "Axes", segments: np.ndarray, level_db: np.ndarray) -> None:
    """Draw segments ``[n, 2, 2]`` between two points of time and frequency."""
    from matplotlib import colormaps  # noqa: PLC0415 - slow to import
    from matplotlib.collections import LineCollection  # noqa: PLC0415
    from matplotlib.colors import ListedColormap  # noqa: PLC0415

    # The strongest are the darkest; the palest end of the map would be invisible on white paper.
    shades = ListedColormap(colormaps["cividis_r"](np.linspace(0.15, 1, 256)))
    low, high = max(float(level_db.min()), float(level_db.max()) - RANGE_DB), float(level_db.max())
    drawn = LineCollection(list(segments), array=level_db, cmap=shades, linewidths=1.2)
    drawn.set_clim(low if low < high else high - 1, high)
    axis.add_collection(drawn, autolim=False)
    _bar(figure, drawn, [axis], "amplitude (dB of full scale)")


def tree(fit: FitResult | FitRecord, *, size: tuple[float, float] = (7.2, 4.6)) -> "Figure":
    """Plot the trees of a double-dutch model: amplitudes per level over time, and the loudest tree with its gates.

    Rows are levels, labelled by the frequency of their waves, the longest at the top. Colours are the amplitude of the open rope
    (black if it is silent), and the value of the gate for the rope with bit 0. Of several channels the loudest is shown at each
    time. Several such networks of a sum are drawn below each other.

    Raises `OptionError` if the model has no tree.
    """
    evidence = evidence_of(fit)
    networks = plot_data.trees(evidence.network)
    if not networks:
        raise OptionError(
            f"the model {evidence.network.title!r} has no tree to draw", hint="draw its partials with figures.partials"
        )
    figure = _blank(size)
    for part, network in zip(figure.subfigures(len(networks), squeeze=False)[:, 0], networks, strict=True):
        _draw_tree(part, network, evidence.report["recording"]["duration_s"], size[1] / len(networks))
    return figure


def _draw_tree(figure: "SubFigure", network: DoubleDutchNetwork, duration_s: float, height_in: float) -> None:
    from matplotlib import colormaps  # noqa: PLC0415 - slow to import

    whole, loudest = plot_data.tree(network, TREE_COLUMNS), plot_data.loudest_tree(network, TREE_COLUMNS)
    axes = figure.subplot_mosaic([["whole", "whole"], ["spoken", "gates"]])
    known = [one.spoken_db[np.isfinite(one.spoken_db)] for one in (whole, loudest)]
    top_db = max((float(one.max()) for one in known if one.size), default=0.0)
    magma = colormaps["magma"].with_extremes(bad=colormaps["magma"](0))
    levels: dict[str, Any] = {"vmin": top_db - RANGE_DB, "vmax": top_db, "cmap": magma}
    drawn: dict[str, tuple[plot_data.TreePicture, Any, dict[str, Any], str]] = {
        "whole": (whole, whole.spoken_db, levels, "all trees"),
        "spoken": (loudest, loudest.spoken_db, levels, "the loudest tree"),
        "gates": (loudest, loudest.gates, {"vmin": 0, "vmax": 1, "cmap": "cividis"}, "its gates"),
    }
    depth, images = len(whole.denominators), {}
    # As many row labels as there is room for.
    places = range(1, depth + 1, math.ceil(depth * 3 * SMALL_PT / (72 * height_in)))
    names = [_hz(network.sample_rate / whole.denominators[place - 1]) for place in places]
    for name, (picture, values, look, title) in drawn.items():
        extent = (picture.start_s, picture.end_s, depth + 0.5, 0.5)
        images[name] = axes[name].imshow(values, aspect="auto", extent=extent, interpolation="nearest", **look)
        axes[name].set_yticks(places, names if name != "gates" else [""] * len(places))
        _dress(axes[name], x="time (s)", y="" if name == "gates" else "waves of level (Hz)", title=title)
    axes["whole"].set_xlim(0, duration_s)
    _bar(figure, images["whole"], [axes["whole"]], "amplitude\n(dB of full scale)")
    _bar(figure, images["gates"], [axes["gates"]], "open for bit 0\n(0 to 1)")


def error(fit: FitResult | FitRecord, *, size: tuple[float, float] = (7.2, 2.6)) -> "Figure":
    """Plot the error: levels of original and residual over time, and the SNR of each octave band.

    Levels are root mean squares over all channels in dB of full scale. A band without a value has no SNR, because it is empty or
    exact.
    """
    evidence = evidence_of(fit)
    figure = _blank(size)
    axes = figure.subplots(2, 1) if size[0] < NARROW_IN else figure.subplots(1, 2, width_ratios=(3, 2))
    _draw_levels(axes[0], evidence)
    _draw_bands(axes[1], evidence.report["bands"])
    return figure


def _draw_levels(axis: "Axes", evidence: FitRecord) -> None:
    highest, lowest = -100.0, 0.0
    for name, sound in (("original", evidence.sounds.original), ("residual", evidence.sounds.residual)):
        power, column_s = plot_data.levels(sound, evidence.sounds.sample_rate, LEVEL_COLUMNS)
        level_db = plot_data.decibels(power)
        times_s = (np.arange(len(level_db)) + 0.5) * column_s
        axis.plot(times_s, level_db, "-" if len(level_db) > 1 else ".", color=COLOURS[name], linewidth=1, label=name)
        highest, lowest = max(highest, float(level_db.max())), min(lowest, float(level_db.min()))
    # Silence has no finite level, so it is not used for the limits of the axis.
    axis.set(xlim=(0, evidence.report["recording"]["duration_s"]), ylim=(max(lowest, highest - 100) - 5, highest + 5))
    _dress(axis, x="time (s)", y="RMS level (dB of full scale)")
    axis.legend(fontsize=SMALL_PT, frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2)


def _draw_bands(axis: "Axes", bands: Sequence[Mapping[str, Any]]) -> None:
    axis.set_xscale("log")
    middles_hz = [math.sqrt(band["low_hz"] * band["high_hz"]) for band in bands]
    for band, middle_hz in zip(bands, middles_hz, strict=True):
        low_hz, high_hz, snr_db = band["low_hz"], band["high_hz"], band["snr_db"]
        if snr_db is not None:
            colour, side = (COLOURS["original"], 1) if snr_db >= 0 else (COLOURS["residual"], -1)
            axis.bar(low_hz, snr_db, high_hz - low_hz, align="edge", color=colour, edgecolor="white", linewidth=0.8)
            at: dict[str, Any] = {"xytext": (0, 5 * side), "textcoords": "offset points", "ha": "center", "va": "center"}
            axis.annotate(f"{round(snr_db)}", (middle_hz, snr_db), fontsize=SMALL_PT - 1, **at)
    if is_empty := all(band["snr_db"] is None for band in bands):
        axis.set_yticks([0])
    axis.axhline(0, color="black", linewidth=0.6)
    axis.set_xlim(bands[0]["low_hz"], bands[-1]["high_hz"])
    axis.margins(y=0.18)
    axis.set_xticks(middles_hz[::2], [_hz(round(hz)) for hz in middles_hz[::2]])
    axis.minorticks_off()
    _dress(axis, x="middle of octave band (Hz)", y="SNR (dB)", title="no SNR in any band" if is_empty else "")


def training(fit: FitResult | FitRecord, *, size: tuple[float, float] = (7.2, 4.6)) -> "Figure":
    """Plot the training: SNR, each term of the loss, and gradient norms by layer if recorded, over the steps.

    Values are those of the evaluations. Stages and their runs are drawn in sequence, blocks on top of each other.
    """
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 - slow to import

    passes = evidence_of(fit).report["training"]["stages"]
    found, begins = training_curves.curves(passes)
    shown = [panel for panel in training_curves.PANELS if any(panel == one for one, _ in found)] or [training_curves.PANELS[0]]
    figure = _blank(size)
    axes = dict(zip(shown, figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0], strict=True))
    for panel, axis in axes.items():
        curves = {name: points for (one, name), points in found.items() if one == panel}
        for place, (name, (steps, values)) in enumerate(curves.items()):
            style = {"color": _colour(place, len(curves)), "linestyle": DASHES[place % len(DASHES)]}
            axis.plot(steps, values, marker=".", markersize=3, linewidth=1, label=name, **style)
        if panel != training_curves.PANELS[0]:
            # Many curves have ordered shades, so that a few entries in the legend suffice.
            handles = axis.lines[:: math.ceil(len(curves) / MOST_NAMES)]
            at: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1, 0.5)}
            axis.legend(handles=list(handles), fontsize=SMALL_PT - 1, frameon=False, handlelength=2.5, **at)
            positive = any(value > 0 for _, values in curves.values() for value in values)
            axis.set_yscale("log" if positive else "linear", **({"nonpositive": "mask"} if positive else {}))
        for begin in begins[1:]:
            axis.axvline(begin, color="0.6", linewidth=0.6, zorder=0)
        _dress(axis, y=panel)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    _dress(axis, x="step")
    for one, begin in zip(passes, begins, strict=True) if len(passes) > 1 else ():
        where: dict[str, Any] = {"xytext": (2, 2), "textcoords": "offset points", "xycoords": ("data", "axes fraction")}
        axes[shown[0]].annotate(one["name"], (begin, 1), fontsize=SMALL_PT, **where)
    figure.align_ylabels()
    return figure


def _colour(place: int, count: int) -> Any:
    """Return the colour of one of ``count`` curves: categorical colours for a few, shades of cividis for many."""
    from matplotlib import colormaps  # noqa: PLC0415 - slow to import

    return CYCLE[place] if count <= len(CYCLE) else colormaps["cividis"](0.9 * place / (count - 1))


@dataclass(frozen=True)
class _Channel:
    """One channel of a sound, as samples ``[1, T]``."""

    samples: Samples
    channel: int

    @property
    def shape(self) -> tuple[int, int]:
        """``(1, T)``."""
        return 1, self.samples.shape[1]

    def __getitem__(self, index: tuple[slice, slice], /) -> Tensor:
        return self.samples[self.channel : self.channel + 1, index[1]]


def _which(channel: int, report: Mapping[str, Any]) -> str:
    """Check the index of a channel and return its description, counted from 1; empty if there is only one."""
    channels = report["recording"]["channels"]
    if channel not in range(channels):
        raise OptionError(setting="channel", value=channel, allowed=f"0 to {channels - 1}")
    return f"channel {channel + 1} of {channels}" if channels > 1 else ""


def _blank(size: tuple[float, float]) -> "Figure":
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    return Figure(figsize=size, layout="constrained")


def _dress(axis: "Axes", *, x: str = "", y: str = "", title: str = "") -> None:
    """Set the labels that are given, in the font size for print."""
    axis.tick_params(which="both", labelsize=SMALL_PT, width=0.6, length=2.5)
    for name, text in (("xlabel", x), ("ylabel", y), ("title", title)):
        if text:
            getattr(axis, f"set_{name}")(text, fontsize=TEXT_PT)


def _bar(figure: "Figure | SubFigure", drawn: Any, axes: Any, label: str) -> None:
    bar = figure.colorbar(drawn, ax=list(axes), pad=0.01, aspect=25)
    bar.set_label(label, fontsize=TEXT_PT)
    bar.ax.tick_params(labelsize=SMALL_PT, width=0.6, length=2.5)


def _hz(value: float) -> str:
    """Format a frequency with up to three digits, thousands as k."""
    return f"{value / 1000:.3g}k" if value >= 999.5 else f"{value:.3g}"


def _hz_ticks(axis: "Axis") -> None:
    """Set ticks at round frequencies of a logarithmic axis."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator  # noqa: PLC0415 - slow to import

    axis.set_major_locator(LogLocator(10, (1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _hz(value)))
    axis.set_minor_locator(NullLocator())


def _decade(hz: np.ndarray, nyquist_hz: float) -> tuple[float, float]:
    """Return limits of a logarithmic axis that contains all frequencies, at least a decade apart."""
    low, high = (float(hz.min()) / 1.1, float(hz.max()) * 1.1) if len(hz) else (nyquist_hz / 100, nyquist_hz)
    spare = max(1.0, math.sqrt(10 * low / high))
    return low / spare, high * spare
