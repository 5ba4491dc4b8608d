"""Contents of ``report.json``. ``docs/report.md`` documents the schema."""

import hashlib
import json
import math
import platform
from dataclasses import asdict
from importlib.metadata import version
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from ddaudio.analysis.onsets import onset_times_s
from ddaudio.analysis.pitch import PitchCurve
from ddaudio.fitting.result import FitResult
from ddaudio.io.audio import Recording
from ddaudio.io.formats import REPORT_FORMAT
from ddaudio.metrics.registry import METRICS
from ddaudio.options import FitOptions
from ddaudio.results.plan_text import goal_facts
from ddaudio.training.history import MAX_INTERVALS, Evaluation, TrainingRun


def settings_hash(options: FitOptions) -> str:
    """Return the SHA-256 of all settings, as hexadecimal digits: equal for equal settings."""
    return hashlib.sha256(json.dumps(options.flat(), sort_keys=True).encode()).hexdigest()


def build(result: FitResult) -> dict[str, Any]:
    """Return the report of a fit as nested dicts and lists, serialisable as JSON; undefined values are None."""
    recording, network, options = result.recording, result.network, result.options
    model = options.model
    # As many as for a recording of one block, so that the size of the report does not grow with the number of blocks.
    stretches = max(1, MAX_INTERVALS // max((len(one.blocks) for one in result.stages), default=1))
    return {
        "schema": REPORT_FORMAT.number,
        "versions": {"ddaudio": version("ddaudio"), "torch": torch.__version__, "numpy": np.__version__}
        | {"python": platform.python_version()},
        "status": result.status,
        "reason": result.reason,
        "warnings": list(result.warnings),
        "recording": _recording(recording) | {"onsets_s": onset_times_s(recording) if options.output.onsets else None},
        "f0": None if result.pitch is None else _pitch(result.pitch, options.output.pitch),
        "settings": options.tables(),
        "settings_sha256": settings_hash(options),
        "goal": _goal(result),
        "model": {
            "name": model.model,
            "n_parameters": result.n_parameters,
            "parameters_per_sample": result.parameters_per_sample,
            "n_components": network.n_components(),
            "terms": [
                {"name": term.name, "n_components": term.n_components(), "n_parameters": term.n_parameters(), **term.facts()}
                for term in network.terms
            ],
        },
        "metrics": {name: asdict(metric) | {"definition": METRICS[name].definition} for name, metric in result.metrics.items()},
        "bands": [asdict(band) for band in result.metrics.bands],
        "missing_bands": [asdict(band) for band in result.metrics.missing_bands],
        "baseline": asdict(result.baseline) | {"name": "best-k MDCT", "n_parameters": 2 * result.baseline.coefficients},
        "training": {
            "gain_db": result.training_gain_db,
            "loss_fall": result.training_loss_fall,
            "stages": [
                {"name": one.name, "blocks": [[_stage(run, stretches) for run in stages] for stages in one.blocks]}
                for one in result.stages
            ],
        },
        "seconds": result.seconds | {"per_second_of_sound": sum(result.seconds.values()) / recording.duration_s},
    }


def to_text(contents: dict[str, Any]) -> str:
    """Return the text of ``report.json``."""
    return json.dumps(contents, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _recording(recording: Recording) -> dict[str, Any]:
    return {
        "source": recording.source,
        "sha256": recording.content_hash,
        "sample_rate": recording.sample_rate,
        "channels": recording.n_channels,
        "samples": recording.n_samples,
        "declared_samples": recording.declared_samples,
        "truncated": recording.truncated,
        "duration_s": recording.duration_s,
        "clipped_samples": recording.clipped_samples,
    }


def _pitch(curve: PitchCurve, method: str) -> dict[str, Any]:
    """Return the report of a pitch: its frequencies to a tenth of a cent or so, None for unvoiced times."""
    stretch = curve.inharmonicity[curve.voiced]
    return {
        "method": method,
        "median_hz": curve.median_hz,
        "voiced_share": curve.voiced_share,
        "inharmonicity": float(np.median(stretch)) if len(stretch) else None,
        "hop_s": float(curve.time_s[1]) if len(curve.time_s) > 1 else None,
        "f0_hz": [None if math.isnan(hz) else float(f"{hz:.6g}") for hz in curve.f0_hz],
        "voicing": [round(float(share), 2) for share in curve.voicing],
    }


def _goal(result: FitResult) -> dict[str, Any]:
    goal = goal_facts(result.options.model)
    reached = result.n_parameters <= goal["asked"] if goal["name"] == "budget" else result.reached_goal
    return goal | {"reached": goal["name"] == "partials" or reached}


def _stage(run: TrainingRun, most_stretches: int) -> dict[str, Any]:
    """Return the report of a training run; non-finite values of a diverged run are None."""
    evaluations = [_look(look, most_stretches) for look in run.evaluations]
    return {"status": run.status, "evaluations": evaluations, "losses": _finite(run.losses)}


def _finite(values: Any) -> Any:
    """Return nested values with None in place of non-finite ones."""
    if isinstance(values, dict):
        return {name: _finite(value) for name, value in values.items()}
    if isinstance(values, list | tuple):
        return [_finite(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values


def _look(look: Evaluation, most_stretches: int) -> dict[str, Any]:
    """Return the report of an evaluation, with four digits of the error by time, in up to ``most_stretches`` intervals."""
    errors, count = look.error_by_time, min(len(look.error_by_time), most_stretches)
    edges = [round(place * len(errors) / count) for place in range(count + 1)] if count else []
    pooled = [float(f"{sum(errors[first:last]):.4g}") for first, last in pairwise(edges)]
    seen = {name: getattr(look, name) for name in ("step", "snr_db", "terms", "gradients", "natural_gradients")}
    levels = [float(f"{amplitude:.4g}") for amplitude in look.amplitudes]
    found: dict[str, Any] = _finite(seen | {"amplitudes": levels, "error_by_time": pooled, "averaged": look.averaged})
    return found
