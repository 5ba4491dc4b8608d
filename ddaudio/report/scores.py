"""Perceptual scores of fits that were saved without them."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ddaudio.io.atomic import whole_file
from ddaudio.io.fit_files import REPORT
from ddaudio.metrics.measure import request_metrics
from ddaudio.metrics.registry import METRICS
from ddaudio.results.record import FitRecord
from ddaudio.results.report_json import to_text


def add_scores(folder: str | os.PathLike[str], record: FitRecord, quality: str) -> FitRecord:
    """Compute perceptual scores of the sounds of a saved fit, add them to its ``report.json``, and return the new record.

    Args:
        folder: the fit's folder.
        record: what was read from it.
        quality: names of the scores, with commas between them, such as ``zimtohrli,visqol``.

    Raises `OptionError` for an unknown score, `PluginError` if its package is missing, `OutputError` if the report cannot be
    written.
    """
    sounds = record.sounds
    found = request_metrics(sounds.resynthesis, sounds.original, sounds.sample_rate, quality)
    added: dict[str, Any] = {name: asdict(one) | {"definition": METRICS[name].definition} for name, one in found.items()}
    report = record.report | {"metrics": record.report["metrics"] | added}
    with whole_file(Path(folder) / REPORT) as stream:
        stream.write(to_text(report).encode("utf-8"))
    return FitRecord(report, sounds, record.network)
