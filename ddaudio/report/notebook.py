"""Display of fits in Jupyter: verdict, players, overview and average spectrum, through IPython's formatters for other types."""

import base64
import io
import math
import sys
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import soundfile  # type: ignore[import-untyped]

from ddaudio.fitting.result import FitResult
from ddaudio.report import audio_clips, figures, text
from ddaudio.report.audio_clips import Clip, Clips
from ddaudio.results.record import FitRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LONGEST_SAMPLES = 1 << 21
"""Largest number of samples of a sound in a notebook, over all channels (48 s of mono at 44.1 kHz)."""
PICTURE_IN, PICTURE_DPI = (9.6, 4.0), 110
"""Size of the overview in inches, and resolution in dots per inch."""
SPECTRUM_IN = (7.2, 2.6)
"""Size of the average spectrum in inches."""


def register() -> None:
    """Register the formatter with the running IPython, if there is one. Called when `ddaudio.report` is imported."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is not None:
        for kind in (FitResult, FitRecord):
            shell.display_formatter.formatters["text/html"].for_type(kind, fit_html)


def fit_html(fit: FitResult | FitRecord) -> str:
    """Return a fit as HTML without scripts: warnings, verdict, players, the overview and the average spectrum.

    The relative levels of the sounds are preserved; a note states by how much all of them were raised or lowered to avoid
    clipping. Of long recordings the players contain the excerpt with most error.
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
        _overview(evidence),
        _average_spectrum(evidence),
    ]
    return f'<div class="ddaudio-fit">{"".join(parts)}</div>'


def _in_words(report: dict[str, Any], headline: str) -> str:
    said = [headline, report["reason"].rstrip("."), text.beside_baseline(report).rstrip(".")]
    return " ".join(f"{sentence}." for sentence in dict.fromkeys(said))


def _safe(text: str) -> str:
    """Escape text for a page; bytes of file names that are not UTF-8 are replaced by escape sequences."""
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
    """Return a clip that is played at its level divided by ``gain``, since audio elements cannot amplify."""
    if gain == clip.gain:
        return clip
    samples, sample_rate = soundfile.read(io.BytesIO(clip.flac), dtype="float64", always_2d=True)
    stream = io.BytesIO()
    soundfile.write(stream, samples * (clip.gain / gain), sample_rate, format="FLAC", subtype="PCM_16")
    return Clip(clip.name, stream.getvalue(), gain, clip.rms)


def _notes(clips: Clips, gain: float, report: dict[str, Any]) -> list[str]:
    """Return notes on the players, in sentences."""
    original, _, residual = (clip.rms for clip in clips.clips[:3])
    notes = []
    if original > 0 and residual > 0:
        below_db = 20 * math.log10(original / residual)
        notes.append(f"The residual is {abs(below_db):.1f} dB {'softer' if below_db >= 0 else 'louder'} than the original.")
    if gain != 1:
        change = f"{abs(20 * math.log10(gain)):.0f} dB {'louder' if gain < 1 else 'softer'}"
        notes.append(f"All are played {change} than their original level.")
    start_s, end_s, duration_s = clips.start_s, clips.end_s, report["recording"]["duration_s"]
    if end_s - start_s < duration_s - 0.001:
        notes.append(
            f"Long recording: excerpt from {start_s:.1f} to {end_s:.1f} s of {duration_s:.1f} s, where the error is largest."
        )
    if clips.n_channels < report["recording"]["channels"]:
        notes.append(f"Only the first {clips.n_channels} of {report['recording']['channels']} channels are played.")
    return notes


def _overview(evidence: FitRecord) -> str:
    channels = evidence.report["recording"]["channels"]
    which = f", channel 1 of {channels}" if channels > 1 else ""
    text = (
        f"Waveforms above spectrograms of original, resynthesis and residual of {_name(evidence)}{which}, on one scale of levels"
    )
    return _picture(figures.overview(evidence, size=PICTURE_IN), text)


def _average_spectrum(evidence: FitRecord) -> str:
    text = f"Long-term average spectra of the original, its resynthesis and their parts, of {_name(evidence)}"
    return _picture(figures.average_spectrum(evidence, size=SPECTRUM_IN), text)


def _name(evidence: FitRecord) -> str:
    return _safe(Path(evidence.report["recording"]["source"]).name)


def _picture(figure: "Figure", text: str) -> str:
    """Return a figure as an image with a description, which is safe in a page."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=PICTURE_DPI)
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    return f'<img alt="{text}" style="max-width:100%" src="data:image/png;base64,{data}">'
