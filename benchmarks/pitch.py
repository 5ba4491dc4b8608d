"""Pitch from partials beside pYIN: made glides with a known pitch, notes of nominal pitch, and real recordings."""

import math
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.results import SHORT_FOLDERS, recordings, table
from ddaudio import Recording, fit
from ddaudio.analysis.pitch import PitchCurve, pitch_by_pyin, pitch_of_partials
from ddaudio.fitting.pitch import find_pitch
from ddaudio.io import audio

Floats = NDArray[np.float64]
LONGEST_S = 2.0
FORMANTS = ((700, 80), (1150, 90), (2450, 120), (3400, 150))
"""Resonances of a vowel: frequency and bandwidth in Hz."""
NOMINAL_HZ = {"violin-B3": 246.94, "piano-C5": 523.25}
CENTS, NEAR = 5, 50
MODELS = ("sine+noise", "sine")


def run() -> tuple[str, list[str]]:
    """Measure all; return title and lines."""
    return "pitch from partials, and by pYIN", [*_glides(), "", *_notes(), "", *_recordings()]


def _glides() -> list[str]:
    """Return the table of sounds whose pitch is known."""
    rows = []
    for name, (recording, truth) in {"vowel, 100 to 400 Hz in 2 s": _vowel(), "chirp, 5 to 8 kHz in 1 s": _chirp()}.items():
        curves = {}
        for model in MODELS:
            result = fit(recording, model=model)
            assert result.pitch is not None
            curves[f"`{model}` ({result.snr_db:.0f} dB)"] = result.pitch
            alone = pitch_of_partials(result.network.terms[0].describe(), recording.duration_s, recording.sample_rate)
            curves[f"`{model}`, not refined on the recording"] = alone
        curves["pYIN"] = pitch_by_pyin(recording.samples, recording.sample_rate)
        for how, curve in curves.items():
            off = 1200 * np.abs(np.log2(curve.f0_hz[curve.voiced] / truth(curve.time_s[curve.voiced])))
            words = (
                [f"{np.median(off):.2f}, {np.percentile(off, 95):.1f}", f"{np.mean(off < CENTS):.1%}"] if len(off) else ["", ""]
            )
            rows.append([name, how, f"{curve.voiced_share:.1%}", *words])
    head = ["sound", "pitch of", "voiced", "cents off: median, 95 %", f"within {CENTS} cents, of voiced time"]
    return table(head, rows)


def _notes() -> list[str]:
    """Return the table of notes with a nominal pitch."""
    rows = []
    for path in recordings("instruments"):
        for name, nominal_hz in NOMINAL_HZ.items():
            if path.name.startswith(name):
                recording = _excerpt(path)
                curves = {f"`{model}`": fit(recording, model=model).pitch for model in MODELS}
                curves["pYIN"] = pitch_by_pyin(recording.samples, recording.sample_rate)
                rows += [[name, how, *_against(curve, nominal_hz)] for how, curve in curves.items() if curve is not None]
    return table(["note", "pitch of", "median (Hz)", "cents from nominal", "voiced", "B"], rows)


def _against(curve: PitchCurve, nominal_hz: float) -> list[str]:
    median_hz = curve.median_hz or math.nan
    stretch = f"{np.median(curve.inharmonicity[curve.voiced]):.2g}" if curve.voiced.any() else ""
    return [f"{median_hz:.2f}", f"{1200 * math.log2(median_hz / nominal_hz):+.1f}", f"{curve.voiced_share:.0%}", stretch]


def _recordings() -> list[str]:
    """Return the table of real recordings, noises and a spoken sentence among them."""
    rows, shares = [], []
    noise = torch.randn(1, 32000, generator=torch.Generator().manual_seed(0)) / 10
    sounds = {f"{path.parent.name}/{path.name}": _excerpt(path) for path in recordings(*SHORT_FOLDERS)}
    for name, recording in ({"white noise": Recording(noise, 16000)} | sounds).items():
        result = fit(recording, pitch="none")
        began = time.perf_counter()
        ours = find_pitch(result.network, recording, result.waves, "partials")
        seconds = time.perf_counter() - began
        theirs = pitch_by_pyin(recording.samples, recording.sample_rate)
        assert ours is not None
        shares.append(seconds / result.seconds["fitting"])
        rows.append([name, *_summary(ours), *_summary(theirs), *_agreement(ours, theirs), f"{shares[-1]:.1%}"])
        print(rows[-1], flush=True)
    head = ["recording", "partials: voiced", "median (Hz)", "pYIN: voiced", "median (Hz)", "both voiced"]
    head += [f"of this within {NEAR} cents", "partials higher, lower by over 600 cents", "time, of that of the fit"]
    return [
        *table(head, rows),
        "",
        f"Time of the pitch: {np.mean(shares):.1%} of the time of the fit, at most {max(shares):.1%}.",
    ]


def _summary(curve: PitchCurve) -> list[str]:
    return [f"{curve.voiced_share:.0%}", f"{curve.median_hz:.1f}" if curve.median_hz else ""]


def _agreement(ours: PitchCurve, theirs: PitchCurve) -> list[str]:
    both = ours.voiced & theirs.voiced
    if not both.any():
        return ["0%", "", ""]
    off = 1200 * np.log2(ours.f0_hz[both] / theirs.f0_hz[both])
    return [f"{both.mean():.0%}", f"{np.mean(np.abs(off) < NEAR):.0%}", f"{np.mean(off > 600):.0%}, {np.mean(off < -600):.0%}"]


def _excerpt(path: Path) -> Recording:
    """Return the first seconds of a recording, without digital silence before, with its channels."""
    whole = audio.read(path)
    samples = whole.samples[:, :]
    first = int(samples.abs().amax(0).nonzero()[0])
    return Recording(samples[:, first : first + int(LONGEST_S * whole.sample_rate)].clone(), whole.sample_rate, str(path))


def _vowel(seconds: float = 2.0, rate: int = 16000):
    time_s = np.arange(round(seconds * rate)) / rate
    f0_hz = 100 * 4 ** (time_s / seconds)
    turn = 2 * np.pi * (f0_hz - 100) * seconds / math.log(4)
    sound = np.zeros_like(time_s)
    for n in range(1, 80):
        hz = n * f0_hz
        gain = np.where(hz < 0.475 * rate, 1 / n, 0)
        for middle_hz, width_hz in FORMANTS:
            gain = gain * middle_hz**2 / np.hypot(middle_hz**2 - hz**2, hz * width_hz)
        sound += gain * np.cos(n * turn)
    return _made(0.5 * sound / np.abs(sound).max(), rate), lambda times_s: 100 * 4 ** (times_s / seconds)


def _chirp(seconds: float = 1.0, rate: int = 44100):
    time_s = np.arange(round(seconds * rate)) / rate
    turn = 2 * np.pi * (5000 * time_s + 1500 * time_s**2 / seconds)
    return _made(0.5 * np.cos(turn), rate), lambda times_s: 5000 + 3000 * times_s / seconds


def _made(sound: Floats, rate: int) -> Recording:
    return Recording(torch.from_numpy(sound).float()[None], rate)
