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
from typing import TYPE_CHECKING, Any

import numpy as np

from ddaudio.errors import OptionError
from ddaudio.fitting.result import FitResult
from ddaudio.models import DoubleDutchNetwork
from ddaudio.report import level_data, plot_data, training_curves
from ddaudio.report.figure_style import (
    COLOURS,
    DASHES,
    MOST_NAMES,
    NARROW_IN,
    PITCH_COLOUR,
    RANGE_DB,
    SMALL_PT,
    WAVES_COLOUR,
    ChannelOf,
    blank,
    channel_words,
    colour_bar,
    curve_colour,
    decade,
    dress,
    hz_ticks,
    hz_words,
)
from ddaudio.results.record import FitRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.image import AxesImage

COLUMNS, ROWS = 600, 513
"""Largest number of columns and rows of a spectrogram."""
OUTLINE_COLUMNS, LEVEL_COLUMNS, TREE_COLUMNS, NOISE_COLUMNS = 800, 600, 800, 600
LOWEST_HZ = 1.0
"""Lower end of a logarithmic frequency axis."""


def evidence_of(fit: FitResult | FitRecord) -> FitRecord:
    """Return the record of a fit in memory, or a record unchanged."""
    return fit if isinstance(fit, FitRecord) else FitRecord.of(fit)


def overview(
    fit: FitResult | FitRecord, *, size: tuple[float, float] = (7.2, 3.2), channel: int = 0, top_hz: float | None = None
) -> "Figure":
    """Plot waveforms above spectrograms of original, resynthesis and residual.

    Triangles mark onsets, and a line over the spectrogram of the original is the pitch, if the report has them. Waveforms share a
    scale, and so do spectrograms: 0 dB is a sinusoid of full scale, and the darkest colour is `RANGE_DB` below the loudest of the
    three. Spectrograms are images of at most `COLUMNS` times `ROWS` cells.

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
    which = channel_words(channel, report)
    if top_hz is not None and not 0 < top_hz <= rate / 2:
        raise OptionError(setting="top_hz", value=top_hz, allowed=f"above 0, up to {rate / 2:g} Hz, half the sample rate")
    parts = [ChannelOf(sound, channel) for sound in evidence.sounds]
    figure = blank(size)
    axes = figure.subplots(2, 3, sharex=True, sharey="row", height_ratios=(1, 2))
    _draw_outlines(axes[0], parts, rate)
    onsets_s = report["recording"]["onsets_s"] or []
    axes[0, 0].plot(onsets_s, [0.93 * axes[0, 0].get_ylim()[1]] * len(onsets_s), "v", color="black", markersize=3)
    image = _draw_spectrograms(axes[1], parts, rate)
    pitch = plot_data.pitch_line(report["f0"])
    axes[1, 0].plot(pitch.time_s, pitch.f0_hz / 1000, color=PITCH_COLOUR, linewidth=0.8)
    snr_db, duration_s = report["metrics"]["snr_db"]["value"], report["recording"]["duration_s"]
    gap, ticks = ("\n", 2) if size[0] < NARROW_IN else (" ", 4)
    for upper, lower, name in zip(*axes, COLOURS, strict=True):
        dress(upper, title=name if name != "residual" or snr_db is None else f"residual{gap}(SNR {snr_db:.1f} dB)")
        dress(lower, x="time (s)")
        lower.xaxis.set_major_locator(MaxNLocator(ticks))
        lower.set(xlim=(0, duration_s), ylim=(0, (top_hz or rate / 2) / 1000))
    dress(axes[0, 0], y="amplitude\n(full scale)")
    dress(axes[1, 0], y="frequency (kHz)")
    colour_bar(figure, image, axes[1], "level (dB of full scale)")
    if which:
        figure.suptitle(which + ("" if snr_db is None else "; the SNR is that of all"), fontsize=SMALL_PT)
    return figure


def _draw_outlines(axes: "Sequence[Axes]", parts: "Sequence[ChannelOf]", rate: int) -> None:
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


def _draw_spectrograms(axes: "Sequence[Axes]", parts: "Sequence[ChannelOf]", rate: int) -> "AxesImage":
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
    """Plot the partials of a model as lines over the spectrogram of the original, coloured by amplitude.

    Partials of a track are one line. At most `ddaudio.report.plot_data.MOST_LINES` partials of all channels are drawn, those of
    the strongest tracks; the title states if some are omitted. The frequency axis is logarithmic; partials below 1 Hz are drawn
    at 1 Hz.

    Raises `OptionError` if there is no channel ``channel`` (from 0), or the model has no partials.
    """
    evidence = evidence_of(fit)
    which = channel_words(channel, evidence.report)
    lines = plot_data.lines(evidence.network)
    if lines is None:
        raise OptionError(f"the model {evidence.network.title!r} has no partials to draw", hint="draw its tree with figures.tree")
    here = lines.signal == channel
    points = lines.start_s, lines.start_hz, lines.middle_s, lines.frequency_hz, lines.end_s, lines.end_hz
    segments = np.stack(points, 1)[here].reshape(-1, 3, 2)
    hz = segments[:, :, 1] = np.maximum(segments[:, :, 1], LOWEST_HZ)
    figure = blank(size)
    axis = figure.subplots()
    axis.set_yscale("log")
    axis.set(xlim=(0, evidence.report["recording"]["duration_s"]), ylim=decade(hz, evidence.sounds.sample_rate / 2))
    hz_ticks(axis.yaxis)
    strongest = f"the strongest {len(here):,} of {lines.n_partials:,} partials" if len(here) < lines.n_partials else ""
    said = ", of ".join(filter(None, (which, strongest)))
    dress(axis, x="time (s)", y="frequency (Hz)", title=said if len(hz) else "no partials")
    if len(hz):
        _draw_lines(figure, axis, segments, lines.level_db[here])
        _draw_backdrop(axis, ChannelOf(evidence.sounds.original, channel), evidence.sounds.sample_rate)
    return figure


def _draw_lines(figure: "Figure", axis: "Axes", segments: np.ndarray, level_db: np.ndarray) -> None:
    """Draw lines ``[n, 3, 2]`` through three points of time and frequency."""
    from matplotlib import colormaps  # noqa: PLC0415 - slow to import
    from matplotlib.collections import LineCollection  # noqa: PLC0415
    from matplotlib.colors import ListedColormap  # noqa: PLC0415

    # The strongest are the darkest; the palest end of the map would be invisible on white paper.
    shades = ListedColormap(colormaps["cividis_r"](np.linspace(0.15, 1, 256)))
    low, high = max(float(level_db.min()), float(level_db.max()) - RANGE_DB), float(level_db.max())
    drawn = LineCollection(list(segments), array=level_db, cmap=shades, linewidths=1.2)
    drawn.set_clim(low if low < high else high - 1, high)
    axis.add_collection(drawn, autolim=False)
    colour_bar(figure, drawn, [axis], "amplitude (dB of full scale)")


def _draw_backdrop(axis: "Axes", part: "ChannelOf", rate: int) -> None:
    """Draw a spectrogram in pale grey behind lines, on an axis of logarithmic frequency."""
    from matplotlib import colormaps  # noqa: PLC0415 - slow to import
    from matplotlib.colors import ListedColormap  # noqa: PLC0415

    one = plot_data.spectrogram(part, rate, COLUMNS, ROWS)
    (levels_db,) = one.levels_db
    rows, columns = levels_db.shape
    edges_s = np.arange(columns + 1) * one.column_s
    edges_hz = np.maximum(one.low_hz + np.arange(rows + 1) * one.row_hz, LOWEST_HZ)
    top_db = max(int(levels_db.max()), plot_data.LEAST_DB + RANGE_DB)
    greys = ListedColormap(colormaps["Greys"](np.linspace(0, 0.45, 256)))
    look: dict[str, Any] = {"cmap": greys, "vmin": top_db - RANGE_DB, "vmax": top_db, "zorder": 0, "rasterized": True}
    limits = axis.get_xlim(), axis.get_ylim()
    axis.pcolormesh(edges_s, edges_hz, levels_db, **look)
    axis.set(xlim=limits[0], ylim=limits[1])


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
    figure = blank(size)
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
    names = [hz_words(network.sample_rate / whole.denominators[place - 1]) for place in places]
    for name, (picture, values, look, title) in drawn.items():
        extent = (picture.start_s, picture.end_s, depth + 0.5, 0.5)
        images[name] = axes[name].imshow(values, aspect="auto", extent=extent, interpolation="nearest", **look)
        axes[name].set_yticks(places, names if name != "gates" else [""] * len(places))
        dress(axes[name], x="time (s)", y="" if name == "gates" else "waves of level (Hz)", title=title)
    axes["whole"].set_xlim(0, duration_s)
    colour_bar(figure, images["whole"], [axes["whole"]], "amplitude\n(dB of full scale)")
    colour_bar(figure, images["gates"], [axes["gates"]], "open for bit 0\n(0 to 1)")


def error(fit: FitResult | FitRecord, *, size: tuple[float, float] = (7.2, 2.6)) -> "Figure":
    """Plot the error: levels of original and residual over time, and the SNR of each octave band.

    Levels are root mean squares over all channels in dB of full scale. A band without a value has no SNR, because it is empty or
    exact.
    """
    evidence = evidence_of(fit)
    figure = blank(size)
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
    dress(axis, x="time (s)", y="RMS level (dB of full scale)")
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
    axis.set_xticks(middles_hz[::2], [hz_words(round(hz)) for hz in middles_hz[::2]])
    axis.minorticks_off()
    dress(axis, x="middle of octave band (Hz)", y="SNR (dB)", title="no SNR in any band" if is_empty else "")


def training(fit: FitResult | FitRecord, *, size: tuple[float, float] = (7.2, 4.6)) -> "Figure":
    """Plot the training: SNR, each term of the loss, and gradient norms by layer if recorded, over the steps.

    Values are those of the evaluations. Stages and their runs are drawn in sequence, blocks on top of each other.
    """
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 - slow to import

    passes = evidence_of(fit).report["training"]["stages"]
    found, begins = training_curves.curves(passes)
    shown = [panel for panel in training_curves.PANELS if any(panel == one for one, _ in found)] or [training_curves.PANELS[0]]
    figure = blank(size)
    axes = dict(zip(shown, figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0], strict=True))
    for panel, axis in axes.items():
        curves = {name: points for (one, name), points in found.items() if one == panel}
        for place, (name, (steps, values)) in enumerate(curves.items()):
            style = {"color": curve_colour(place, len(curves)), "linestyle": DASHES[place % len(DASHES)]}
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
        dress(axis, y=panel)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    dress(axis, x="step")
    for one, begin in zip(passes, begins, strict=True) if len(passes) > 1 else ():
        where: dict[str, Any] = {"xytext": (2, 2), "textcoords": "offset points", "xycoords": ("data", "axes fraction")}
        axes[shown[0]].annotate(one["name"], (begin, 1), fontsize=SMALL_PT, **where)
    figure.align_ylabels()
    return figure


def average_spectrum(fit: FitResult | FitRecord, *, size: tuple[float, float] = (7.2, 2.8)) -> "Figure":
    """Plot the long-term average spectra of original, waves (of a model with noise) and resynthesis.

    Levels are those of `ddaudio.report.level_data.BANDS` bands of equal width in ERB number, over all channels; a sinusoid of
    full scale has 0 dB. The axis ends `RANGE_DB` below the highest level of the original.
    """
    evidence = evidence_of(fit)
    figure = blank(size)
    axis = figure.subplots()
    spectra = level_data.average_spectra(evidence.sounds)
    for name, one in spectra.items():
        look: dict[str, Any] = {"color": WAVES_COLOUR, "linestyle": "--"} if name == "waves" else {"color": COLOURS[name]}
        axis.plot(one.hz, one.level_db, label=name, linewidth=1.6 if name == "original" else 1.0, **look)
    hz, high_db = spectra["original"].hz, float(spectra["original"].level_db.max())
    axis.set_xscale("log")
    axis.set(xlim=(hz[0], hz[-1]), ylim=(high_db - RANGE_DB, high_db + 5))
    hz_ticks(axis.xaxis)
    dress(axis, x="frequency (Hz)", y="level in band\n(dB of full scale)")
    axis.legend(fontsize=SMALL_PT, frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2)
    return figure


def noise(fit: FitResult | FitRecord, *, size: tuple[float, float] = (7.2, 3.2), channel: int = 0) -> "Figure":
    """Plot the levels of the noise of a model over time and frequency, evenly spaced in ERB number.

    The level at a node is that of the band around it; a sinusoid of the same power and of full scale has 0 dB. Black is no noise,
    or `RANGE_DB` below the highest level.

    Raises `OptionError` if there is no channel ``channel`` (from 0), or the model has no noise.
    """
    evidence = evidence_of(fit)
    which = channel_words(channel, evidence.report)
    layer = level_data.noise_layer(evidence.network)
    if layer is None:
        raise OptionError(
            f"the model {evidence.network.title!r} has no noise to draw", hint="draw its partials with figures.partials"
        )
    found = level_data.noise_levels(layer, NOISE_COLUMNS)
    # No noise is as dark as the lowest level.
    levels = np.nan_to_num(found.level_db[channel], nan=-math.inf)
    top_db = float(levels.max()) if np.isfinite(levels).any() else 0.0
    figure = blank(size)
    axis = figure.subplots()
    rows, columns = levels.shape
    extent = (found.start_s, found.start_s + columns * found.column_s, -0.5, rows - 0.5)
    look: dict[str, Any] = {"cmap": "magma", "vmin": top_db - RANGE_DB, "vmax": top_db, "interpolation": "nearest"}
    image = axis.imshow(np.maximum(levels, top_db - RANGE_DB), origin="lower", aspect="auto", extent=extent, **look)
    places = level_data.round_rows(found.hz)
    axis.set_yticks(list(places.values()), [hz_words(hz) for hz in places])
    axis.set(xlim=(0, evidence.report["recording"]["duration_s"]), ylim=(0, rows - 1))
    dress(axis, x="time (s)", y="frequency (Hz)", title=which if np.isfinite(levels).any() else "no noise")
    colour_bar(figure, image, [axis], "level in band (dB)")
    return figure
