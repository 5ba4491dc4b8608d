"""Text of reports: verdict, metrics, settings, and the command that repeats the fit."""

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ddaudio.metrics.registry import METRICS
from ddaudio.options import NETWORKS, setting_docs

Rating = Literal["good", "doubtful", "bad"]
FAILED = ("not fitted", "diverged")
"""Statuses of failed fits."""
ROUGH_DB = 10.0
"""SNR in dB below which a fit without a target SNR is rated doubtful: the residual has a third of the original's amplitude."""
NEAR_ERB_DB, FAR_ERB_DB = 5.0, 8.0
"""ERB distance up to which a result is near the recording (two realisations of a noise: 3.7 to 4.9 dB), and beyond which a fit is
rated doubtful."""
UNITS = {"_s": "s", "_db": "dB", "_hz": "Hz"}
"""Suffixes of setting names that are units."""


@dataclass(frozen=True)
class Verdict:
    """Rating of a fit."""

    rating: Rating
    headline: str
    """Quality reached, compared with the goal."""
    trust: str
    """Explanation of the rating, in a few words."""


def verdict(report: Mapping[str, Any]) -> Verdict:
    """Return the verdict on a fit: bad if it failed, doubtful with warnings, at a large ERB distance, or a low SNR."""
    warnings, status = report["warnings"], report["status"]
    if status in FAILED:
        return Verdict("bad", f"{status.capitalize()}: {_reached(report)}", "Do not trust this fit.")
    if warnings:
        return Verdict("doubtful", _headline(report), f"{counted(len(warnings), 'warning')}.")
    snr_db = report["metrics"]["snr_db"]["value"]
    if report["goal"]["name"] != "target_snr_db" and not _has_noise(report) and snr_db is not None and snr_db < ROUGH_DB:
        share = f"{10 ** (-snr_db / 20):.0%}"
        return Verdict("doubtful", _headline(report), f"Low SNR: the residual has {share} of the original's amplitude.")
    distance_db = report["metrics"]["erb_db"]["value"]
    if distance_db is not None and distance_db > FAR_ERB_DB:
        return Verdict("doubtful", _headline(report), f"Audible levels differ: the ERB distance is {distance_db:.1f} dB.")
    return Verdict("good", _headline(report), "No warnings.")


def _headline(report: Mapping[str, Any]) -> str:
    goal = report["goal"]
    if report["metrics"]["snr_db"]["value"] is None:
        return f"Nothing left to fit: {report['metrics']['snr_db']['reason']}"
    if goal["name"] == "target_snr_db":
        return f"Goal {'reached' if goal['reached'] else 'missed'}: {_reached(report)} (target {goal['asked']:g} dB)"
    asked = {
        "partials": f" ({goal['asked']:,} partials per frame)",
        "budget": f" (budget {goal['asked']:,})",
    }.get(goal["name"], "")
    return f"{_reached(report)} with {report['model']['n_parameters']:,} parameters{asked}"


def _reached(report: Mapping[str, Any]) -> str:
    snr = report["metrics"]["snr_db"]
    reached = f"{snr['value']:.1f} dB SNR" if snr["value"] is not None else f"SNR undefined, {snr['reason']}"
    if not _has_noise(report):
        return reached
    distance_db = report["metrics"]["erb_db"]["value"]
    return f"ERB distance {distance_db:.1f} dB, waves at {reached}" if distance_db is not None else f"waves at {reached}"


def _has_noise(report: Mapping[str, Any]) -> bool:
    return any(name in NETWORKS and NETWORKS[name].is_noise for name in (term["name"] for term in report["model"]["terms"]))


def beside_baseline(report: Mapping[str, Any]) -> str:
    """Compare the fit with the MDCT baseline in a sentence."""
    ours, theirs = report["metrics"]["snr_db"]["value"], report["baseline"]["snr_db"]
    if ours is None or theirs is None:
        return f"No comparison with the MDCT baseline: {report['baseline']['reason'] or report['metrics']['snr_db']['reason']}."
    gain = ours - theirs
    how = f"{abs(gain):.1f} dB {'better' if gain >= 0 else 'worse'}"
    return f"{how} than the MDCT baseline at equal size ({theirs:.1f} dB)"


def counted(number: int, what: str) -> str:
    """Return a count with its noun: ``1 part``, ``1,200 parts``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def value_in_words(value: float | None, unit: str = "") -> str:
    """Format a value with its unit, to two decimals (dB) or four digits."""
    if value is None:
        return "undefined"
    text = f"{value:.2f}" if unit == "dB" else f"{value:.4g}"
    return f"{text} {unit}".strip()


def metric_rows(report: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return a row for each metric of the report: label, value, direction, definition."""
    rows = []
    for name, metric in report["metrics"].items():
        spec = METRICS.get(name)  # one of another package may be gone
        label, unit = (spec.label, spec.unit) if spec else (name, "")
        direction = "" if spec is None else spec.better if spec.better == "control" else f"{spec.better} is better"
        value = value_in_words(metric["value"], unit) if metric["reason"] is None else f"undefined: {metric['reason']}"
        rows.append({"label": label, "value": value, "direction": direction, "definition": metric["definition"]})
    return rows


def score_rows(report: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return a row for each perceptual score of the report: label, value, and the values of its controls in words."""
    rows = []
    for name, metric in report["metrics"].items():
        spec = METRICS.get(name)
        if spec is None or not spec.request or spec.better == "control":
            continue
        controls = [one for one in METRICS.values() if one.request == spec.request and one.better == "control"]
        known = [(one.label.removeprefix(f"{spec.label} of "), report["metrics"].get(one.name)) for one in controls]
        beside = ", ".join(f"{what} {_score(found)}" for what, found in known if found is not None)
        rows.append({"label": spec.label, "value": _score(metric), "beside": beside})
    return rows


def _score(metric: Mapping[str, Any]) -> str:
    return "undefined" if metric["value"] is None else f"{metric['value']:.2f}"


def settings_rows(report: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return a row for each setting: its group, name, value with unit, and meaning."""
    docs = setting_docs()
    return [
        {"group": group, "name": name, "value": _setting(name, value), "meaning": docs.get(name, "")}
        for group, table in report["settings"].items()
        for name, value in table.items()
    ]


def _setting(name: str, value: Any) -> str:
    unit = next((unit for suffix, unit in UNITS.items() if name.endswith(suffix)), "")
    text = ("yes" if value else "no") if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
    return f"{text} {unit}".strip()


def settings_in_words(report: Mapping[str, Any]) -> str:
    """Return the most important settings, in a few sentences."""
    grid, training, model = (report["settings"].get(name, {}) for name in ("grid", "training", "model"))
    frames = f"frames of {grid['frame_s']:g} s" if "frame_s" in grid else "frames of adaptive length"
    goal, asked = report["goal"]["name"], report["goal"]["asked"]
    cap = model.get("max_parameters_per_sample", 0)
    aim = {
        "target_snr_db": f"target SNR {asked:g} dB with at most {cap:g} parameters per sample",
        "budget": f"budget {asked:,} parameters",
        "partials": f"{counted(asked, 'partial')} per frame",
        "max_parameters_per_sample": f"waves of {asked:g} parameters per sample",
    }.get(goal, f"{goal} {asked:g}")
    optimiser = f"{training.get('optimiser', 'unknown')}, {counted(training.get('steps', 0), 'step')} per run"
    return f"Network {report['model']['name']} in {frames}, {aim}. Loss {training.get('losses', 'unknown')}; {optimiser}."


def command(report: Mapping[str, Any], folder: str = ".") -> str:
    """Return the command that repeats the fit in ``folder``; paths are relative to the current folder."""
    source = report["recording"]["source"]
    paths = source, os.path.normpath(f"{folder}/fit.toml"), os.path.normpath(f"{folder}/again")
    # A path that begins with a dash would be parsed as an option.
    word, config, again = (shlex.quote(f"./{path}" if path.startswith("-") else path) for path in paths)
    return f"ddaudio fit {word} --config {config} --out {again}"
