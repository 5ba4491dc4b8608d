"""``report.html``: a self-contained page."""

import base64
import gzip
import json
import math
import os
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray

from ddaudio.io.atomic import whole_file
from ddaudio.io.fit_files import PAGE
from ddaudio.models import DoubleDutchNetwork
from ddaudio.report import audio_clips, level_data, plot_data, text, training_curves
from ddaudio.results.record import FitRecord

COLUMNS, ROWS = 800, 513
"""Number of columns and rows of a spectrogram; half of both for more than two channels."""
FEW_CHANNELS = 2
WAVEFORM_COLUMNS, LEVEL_COLUMNS, TREE_COLUMNS, NOISE_COLUMNS = 1000, 600, 800, 600
SILENT = -128
"""Byte that represents an undefined level."""


def write_page(
    folder: str | os.PathLike[str], evidence: FitRecord | None = None, *, script: str | None = None, home: str | None = None
) -> Path:
    """Write ``report.html`` of a fit's folder atomically, and return its path.

    Args:
        folder: a fit's folder, as `ddaudio.save_fit` writes it.
        evidence: the record of the fit, if it has been read already.
        script: URL of plotly's script, for pages that share one; by default the page contains it.
        home: path of the folder shown on the page (default: relative to the current folder).

    Raises `ReportError` or `ModelError` if the folder is incomplete, `OutputError` if it cannot be written to.
    """
    path = Path(folder) / PAGE
    text = page(evidence or FitRecord.read(folder), script=script, home=home or os.path.relpath(folder))
    with whole_file(path) as stream:
        stream.write(text.encode("utf-8", "backslashreplace"))
    return path


def page(evidence: FitRecord, *, script: str | None = None, home: str = ".") -> str:
    """Return the page of a fit as HTML; ``script`` as in `write_page`, ``home`` the path of the fit's folder."""
    report = evidence.report
    clips = audio_clips.clips(evidence.sounds)
    return (
        environment()
        .get_template("report.html.jinja")
        .render(
            report=report,
            name=Path(report["recording"]["source"]).name,
            verdict=text.verdict(report),
            beside=text.beside_baseline(report),
            metrics=text.metric_rows(report),
            scores=text.score_rows(report),
            settings=text.settings_rows(report),
            in_words=text.settings_in_words(report),
            command=text.command(report, home),
            clips=clips,
            excerpt=clips.end_s - clips.start_s < report["recording"]["duration_s"] - 0.001,
            facts={"duration_s": report["recording"]["duration_s"], "clips": _clip_facts(clips)},
            pictures=packed(json.dumps(drawn(evidence), allow_nan=False).encode()),
            has_noise=level_data.noise_layer(evidence.network) is not None,
            has_tree=bool(plot_data.trees(evidence.network)),
            has_lines=any(term.n_prunable() for term in plot_data.drawn_as(evidence.network, "lines")),
            script=script,
            plotly=None if script else packed(plotly_script()),
        )
    )


@cache
def environment() -> Environment:
    """Return the templates, with autoescaping."""
    found = Environment(loader=PackageLoader("ddaudio.report", "assets"), autoescape=True, undefined=StrictUndefined)
    found.filters |= {"words": text.value_in_words, "counted": text.counted}
    found.globals |= {"asset": asset}
    return found


def asset(name: str) -> str:
    """Return a file of this package that is included in pages verbatim."""
    return (files("ddaudio.report") / "assets" / name).read_text(encoding="utf-8")


def plotly_script() -> bytes:
    """Return plotly.js from the installed package, without importing that package, which is slow."""
    spec = find_spec("plotly")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("plotly is not installed; install it with: pip install plotly")
    script = (Path(spec.submodule_search_locations[0]) / "package_data" / "plotly.min.js").read_bytes()
    return _read_once(script)


def _read_once(script: bytes) -> bytes:
    """Return plotly.js with its outer function in parentheses, or unchanged if it does not begin and end as expected.

    Browsers parse a function eagerly only if it is parenthesised; otherwise this one, of several megabytes, is parsed twice.
    """
    head, found, rest = script.partition(b", () => {\n")
    body, end, after = rest.rpartition(b"}));")
    return b"".join((head, b", (() => {\n", body, b"})));", after)) if found and end and not after.strip() else script


def packed(data: bytes) -> str:
    """Compress bytes to text for a page: gzip in base64, deterministic."""
    return base64.b64encode(gzip.compress(data, 6, mtime=0)).decode("ascii")


def _clip_facts(clips: audio_clips.Clips) -> dict[str, Any]:
    return {
        "start_s": clips.start_s,
        "sample_rate": clips.sample_rate,
        "channels": clips.n_channels,
        "sounds": [{"name": clip.name, "gain": clip.gain, "rms": clip.rms} for clip in clips.clips],
    }


def drawn(evidence: FitRecord) -> dict[str, Any]:
    """Return the data of the page's figures, serialisable as JSON."""
    sounds, rate, report = evidence.sounds, evidence.sounds.sample_rate, evidence.report
    columns, rows = (COLUMNS, ROWS) if sounds.original.shape[0] <= FEW_CHANNELS else (COLUMNS // 2, (ROWS + 1) // 2)
    outlines = [plot_data.waveform(sound, rate, WAVEFORM_COLUMNS) for sound in sounds]
    spectra = [plot_data.spectrogram(sound, rate, columns, rows) for sound in sounds]
    powers = [plot_data.levels(sound, rate, LEVEL_COLUMNS) for sound in (sounds.original, sounds.residual)]
    return {
        "waveform": {
            "column_s": outlines[0].column_s,
            "sounds": [{"low": array(one.low), "high": array(one.high)} for one in outlines],
        },
        "spectrogram": {
            "column_s": spectra[0].column_s,
            "row_hz": spectra[0].row_hz,
            "low_hz": spectra[0].low_hz,
            "nyquist_hz": rate / 2,
            "sounds": [array(one.levels_db) for one in spectra],
        },
        "onsets_s": report["recording"]["onsets_s"] or [],
        "pitch": _pitch(report["f0"]),
        "levels": {"column_s": powers[0][1], "sounds": [array(plot_data.decibels(power)) for power, _ in powers]},
        "average": _average(evidence),
        "noise": _noise(evidence),
        "lines": _lines(evidence),
        "trees": [_tree(term) for term in plot_data.trees(evidence.network)],
        "bands": report["bands"],
        "training": _training(report["training"]["stages"]),
        "colours": json.loads(asset("colours.json")),
    }


def _pitch(f0: dict[str, Any] | None) -> dict[str, Any] | None:
    line = plot_data.pitch_line(f0)
    return {name: array(getattr(line, name)) for name in ("time_s", "f0_hz")} if len(line.time_s) else None


def _training(passes: list[dict[str, Any]]) -> dict[str, Any]:
    curves, _ = training_curves.curves(passes)
    rows = [
        {"panel": panel, "name": name, "steps": _finite(steps), "values": _finite(values)}
        for (panel, name), (steps, values) in curves.items()
    ]
    return {"panels": training_curves.PANELS, "curves": rows}


def _finite(values: list[float]) -> list[float | None]:
    """Return values serialisable as JSON; NaN becomes None."""
    return [None if math.isnan(value) else value for value in values]


def _average(evidence: FitRecord) -> dict[str, Any]:
    spectra = level_data.average_spectra(evidence.sounds)
    curves = {name: [round(float(level), 1) for level in one.level_db] for name, one in spectra.items()}
    return {"hz": [round(float(hz), 1) for hz in spectra["original"].hz], "curves": curves}


def _noise(evidence: FitRecord) -> dict[str, Any] | None:
    layer = level_data.noise_layer(evidence.network)
    if layer is None:
        return None
    found = level_data.noise_levels(layer, NOISE_COLUMNS)
    ticks = level_data.round_rows(found.hz)
    return {
        "start_s": found.start_s,
        "column_s": found.column_s,
        "hz": [round(float(hz)) for hz in found.hz],
        "ticks": {"hz": list(ticks), "rows": list(ticks.values())},
        "level_db": array(_whole_db(found.level_db)),
    }


def _lines(evidence: FitRecord) -> dict[str, Any] | None:
    lines = plot_data.lines(evidence.network)
    if lines is None:
        return None
    columns = ("signal", "track", "start_s", "middle_s", "end_s", "start_hz", "frequency_hz", "end_hz", "level_db")
    return {"n_partials": lines.n_partials} | {name: array(getattr(lines, name)) for name in columns}


def _tree(network: DoubleDutchNetwork) -> dict[str, Any]:
    loudest = plot_data.loudest_tree(network, TREE_COLUMNS)
    gates = np.zeros_like(loudest.spoken_db) if loudest.gates is None else loudest.gates
    return {
        "frequency_hz": [network.sample_rate / one for one in loudest.denominators],
        "all": _tree_picture(plot_data.tree(network, TREE_COLUMNS)),
        "loudest": _tree_picture(loudest) | {"gates": array((gates * 100).round().astype(np.int8))},
    }


def _tree_picture(picture: plot_data.TreePicture) -> dict[str, Any]:
    return {"start_s": picture.start_s, "end_s": picture.end_s, "spoken_db": array(_whole_db(picture.spoken_db))}


def _whole_db(level_db: NDArray[np.float32]) -> NDArray[np.int8]:
    """Round levels to whole dB; NaN becomes `SILENT`."""
    return np.nan_to_num(level_db, nan=SILENT).round().clip(SILENT, 127).astype(np.int8)


def array(values: NDArray[Any]) -> dict[str, Any]:
    """Return an array in the format of the page's script: little-endian bytes in base64, with type and shape."""
    data = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    return {"dtype": str(values.dtype), "shape": list(values.shape), "base64": base64.b64encode(data.tobytes()).decode("ascii")}
