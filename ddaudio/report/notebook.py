"""A fit in Jupyter: verdict, players and main picture, through a hook that IPython has for types it does not know."""

import base64
import io
import math
import sys
from html import escape
from pathlib import Path
from typing import Any

import soundfile  # type: ignore[import-untyped]

from ddaudio.fitting.result import FitResult
from ddaudio.report import audio_clips, figures, text
from ddaudio.report.audio_clips import Clip, Clips
from ddaudio.results.record import FitRecord

LONGEST_SAMPLES = 1 << 21
"""Samples of all channels of a sound that a notebook holds: 48 s of mono at 44.1 kHz; of longer ones an excerpt."""
PICTURE_IN, PICTURE_DPI = (9.6, 4.0), 110
"""Size of the picture in inches, and its pixels per inch."""


def register() -> None:
    """Tell the running IPython how to show a fit; without one, do nothing. Importing `ddaudio.report` calls it."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is not None:
        for kind in (FitResult, FitRecord):
            shell.display_formatter.formatters["text/html"].for_type(kind, fit_html)


def fit_html(fit: FitResult | FitRecord) -> str:
    """Return a fit as HTML that needs no script: warnings, verdict, three players, main picture.

    The players keep the levels of the sounds to each other; where all of them had to be raised or lowered to be heard
    without clipping, it says so. Of a long recording they hold the excerpt with most error.
    """
    evidence = figures.evidence_of(fit)
    report = evidence.report
    verdict = text.verdict(report)
    warnings = "".join(f"<li>{escape(warning)}</li>" for warning in report["warnings"])
    parts = [
        f"<p><strong>{_safe(Path(report['recording']['source']).name)}</strong>: {escape(verdict.trust)}</p>",
        f'<ul aria-label="Warnings, most serious first">{warnings}</ul>' if warnings else "",
        f"<p>{escape(_in_words(report, verdict.headline))}</p>",
        _players(evidence),
        _picture(evidence),
    ]
    return f'<div class="ddaudio-fit">{"".join(parts)}</div>'


def _in_words(report: dict[str, Any], headline: str) -> str:
    said = [headline, report["reason"].rstrip("."), text.beside_baseline(report).rstrip(".")]
    return " ".join(f"{sentence}." for sentence in dict.fromkeys(said))


def _safe(text: str) -> str:
    """Return text for a page; bytes of a file's name that are no text are spelled out, as JSON could not hold them."""
    return escape(text.encode("utf-8", "backslashreplace").decode("utf-8"))


def _players(evidence: FitRecord) -> str:
    clips = audio_clips.clips(evidence.sounds, LONGEST_SAMPLES)
    gain = max(clip.gain for clip in clips.clips)
    cells = [
        f'<figure style="display:inline-block;margin:0 1em 0 0"><figcaption>{clip.name}</figcaption>'
        f'<audio controls aria-label="{clip.name}" src="data:audio/flac;base64,{_at(clip, gain).base64}"></audio></figure>'
        for clip in clips.clips
    ]
    notes = " ".join(_notes(clips, gain, evidence.report))
    return f"<div>{''.join(cells)}</div>" + (f"<p><small>{notes}</small></p>" if notes else "")


def _at(clip: Clip, gain: float) -> Clip:
    """Return a clip whose own level comes back at ``gain``, at least its own: an audio element cannot make one louder."""
    if gain == clip.gain:
        return clip
    samples, sample_rate = soundfile.read(io.BytesIO(clip.flac), dtype="float64", always_2d=True)
    stream = io.BytesIO()
    soundfile.write(stream, samples * (clip.gain / gain), sample_rate, format="FLAC", subtype="PCM_16")
    return Clip(clip.name, stream.getvalue(), gain, clip.rms)


def _notes(clips: Clips, gain: float, report: dict[str, Any]) -> list[str]:
    """Return what there is to know about the players, in sentences."""
    original, _, residual = (clip.rms for clip in clips.clips)
    notes = []
    if original > 0 and residual > 0:
        below_db = 20 * math.log10(original / residual)
        notes.append(f"The residual is {abs(below_db):.1f} dB {'softer' if below_db >= 0 else 'louder'} than the original.")
    if gain != 1:
        notes.append(f"All three play {abs(20 * math.log10(gain)):.0f} dB {'louder' if gain < 1 else 'softer'} than they are.")
    start_s, end_s, duration_s = clips.start_s, clips.end_s, report["recording"]["duration_s"]
    if end_s - start_s < duration_s - 0.001:
        notes.append(
            f"Long recording: the players hold {start_s:.1f} to {end_s:.1f} s of {duration_s:.1f}, where the error is largest."
        )
    if clips.n_channels < report["recording"]["channels"]:
        notes.append(f"The players hold the first {clips.n_channels} of {report['recording']['channels']} channels.")
    return notes


def _picture(evidence: FitRecord) -> str:
    stream = io.BytesIO()
    figures.overview(evidence, size=PICTURE_IN).savefig(stream, format="png", dpi=PICTURE_DPI)
    channels = evidence.report["recording"]["channels"]
    which = f", channel 1 of {channels}" if channels > 1 else ""
    name = _safe(Path(evidence.report["recording"]["source"]).name)
    text = f"Waveforms above spectrograms of original, resynthesis and residual of {name}{which}, on one scale of levels"
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    return f'<img alt="{text}" style="max-width:100%" src="data:image/png;base64,{data}">'
