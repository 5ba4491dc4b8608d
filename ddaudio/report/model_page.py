"""``report.html`` of a model that was not fitted: edited, morphed, or imported."""

import base64
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ddaudio.io.atomic import whole_file
from ddaudio.io.fit_files import PAGE
from ddaudio.io.samples import Samples
from ddaudio.report import plot_data
from ddaudio.report.audio_clips import LONGEST_SAMPLES, excerpt_clip
from ddaudio.report.figure_style import RANGE_DB, ChannelOf, blank, colour_bar, dress
from ddaudio.report.page import environment
from ddaudio.results.read import read_model_audio, read_report

COLUMNS, ROWS = 900, 300
"""Number of columns and rows of the spectrogram."""
SIZE_IN, DPI = (9.0, 4.2), 130
"""Size of the picture in inches, and its resolution."""


def write_model_page(folder: str | os.PathLike[str], report: Mapping[str, Any] | None = None, name: str | None = None) -> Path:
    """Write ``report.html`` of a model's folder atomically, and return its path.

    Args:
        folder: the folder.
        report: contents of ``report.json``, if it has been read already.
        name: heading of the page (default: the name of the folder).

    Raises `ReportError` if the folder is incomplete, `OutputError` if it cannot be written to.
    """
    folder = Path(folder)
    report = read_report(folder) if report is None else report
    text = model_page(report, read_model_audio(folder, dict(report)), name or folder.absolute().name)
    with whole_file(folder / PAGE) as stream:
        stream.write(text.encode("utf-8", "backslashreplace"))
    return folder / PAGE


def model_page(report: Mapping[str, Any], sounds: Mapping[str, Samples], name: str) -> str:
    """Return the page of a model as HTML.

    Args:
        report: contents of ``report.json``.
        sounds: ``resynthesis``, and ``waves`` and ``noise`` of a model with noise, ``[C, T]`` each.
        name: heading of the page.

    """
    channels, samples = report["sound"]["channels"], report["sound"]["samples"]
    rate, longest = report["sound"]["sample_rate"], LONGEST_SAMPLES // channels
    return (
        environment()
        .get_template("model.html.jinja")
        .render(
            report=report,
            name=name,
            clips=[excerpt_clip(sound, rate, label, longest) for label, sound in sounds.items()],
            excerpt_s=longest / rate if samples > longest else None,
            picture=base64.b64encode(_picture(sounds["resynthesis"], rate)).decode("ascii"),
        )
    )


def _picture(sound: Samples, rate: int) -> bytes:
    """Return waveform and spectrogram of the first channel as PNG."""
    part = ChannelOf(sound, 0)
    figure = blank(SIZE_IN)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2.5))
    outline = plot_data.waveform(part, rate, COLUMNS)
    times_s = (np.arange(outline.low.shape[1]) + 0.5) * outline.column_s
    upper.fill_between(times_s, outline.low[0], outline.high[0], linewidth=0.5)
    dress(upper, y="amplitude")
    found = plot_data.spectrogram(part, rate, COLUMNS, ROWS)
    (levels_db,) = found.levels_db
    rows, columns = levels_db.shape
    top_db = max(int(levels_db.max()), plot_data.LEAST_DB + RANGE_DB)
    extent = (0, columns * found.column_s, found.low_hz / 1000, (found.low_hz + rows * found.row_hz) / 1000)
    look: dict[str, Any] = {"cmap": "magma", "vmin": top_db - RANGE_DB, "vmax": top_db}
    image = lower.imshow(levels_db, origin="lower", aspect="auto", extent=extent, **look)
    lower.set(xlim=(0, sound.shape[1] / rate), ylim=(0, rate / 2000))
    dress(lower, x="time (s)", y="frequency (kHz)")
    colour_bar(figure, image, [upper, lower], "level (dB of full scale)")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI)
    return stream.getvalue()
