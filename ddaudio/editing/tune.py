"""Tuning to a pitch, or to the notes of a scale."""

import math
import re
from collections.abc import Callable

import numpy as np

from ddaudio.editing.curves import Curve
from ddaudio.editing.editable import Editable
from ddaudio.editing.track_rows import pitch_of
from ddaudio.errors import OptionError

SCALES = {
    "chromatic": tuple(range(12)),
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "pentatonic": (0, 2, 4, 7, 9),
}
"""Semitones of the notes of each scale above its tonic."""
NOTES = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}
A4, A4_HZ = 69, 440.0
NOTE_S, GLIDE_S = 0.25, 0.06
"""Time over which the pitch of a note is averaged, and over which one correction passes into the next."""
ALLOWED = "a pitch such as A4 or 440, or a scale such as chromatic, 'C major', 'A minor', 'G pentatonic'"


def tuning(tune: str) -> Callable[[Editable], Curve]:
    """Return a function from a sound to the semitones by which it is shifted over time.

    A pitch moves the median of the sound's pitch to it. A scale moves each note to the nearest one of the scale, with
    its vibrato: the correction is that of the median over 0.25 s.

    Args:
        tune: note with octave (A4 is 440 Hz), frequency in Hz, or scale with its tonic.

    Raises `OptionError` for another text, and when a sound without any pitch is tuned.
    """
    target, degrees = _pitch(tune), _degrees(tune)
    if target is None and degrees is None:
        raise OptionError(setting="tune", value=tune, allowed=ALLOWED)

    def curve(sound: Editable) -> Curve:
        """Return the correction."""
        pitch, _ = pitch_of(sound)
        if not pitch.voiced.any():
            raise OptionError("but the sound has no pitch", setting="tune", value=tune)
        notes = A4 + 12 * np.log2(pitch.f0_hz / A4_HZ)
        if target is not None:
            return Curve((0.0,), (target - float(np.nanmedian(notes)),))
        return _to_scale(pitch.time_s, notes, np.asarray(degrees))

    return curve


def _to_scale(times_s: np.ndarray, notes: np.ndarray, degrees: np.ndarray) -> Curve:
    """Return the correction of notes (in semitones, NaN without pitch) to the nearest of ``degrees`` within an octave."""
    known = np.flatnonzero(np.isfinite(notes))
    step_s = times_s[1] if len(times_s) > 1 else 1.0
    half = max(1, round(NOTE_S / 2 / step_s))
    smooth = np.array([np.nanmedian(notes[max(0, place - half) : place + half + 1]) for place in known])
    scale = np.concatenate([degrees + 12 * octave for octave in range(-2, 13)])
    correction = scale[np.abs(smooth[:, None] - scale).argmin(1)] - smooth
    filled = np.interp(np.arange(len(notes)), known, correction)
    width = max(1, round(GLIDE_S / step_s))
    even = np.convolve(np.pad(filled, width, mode="edge"), np.ones(width) / width, "same")[width:-width]
    return Curve(tuple(times_s.tolist()), tuple(even.tolist()))


def _pitch(tune: str) -> float | None:
    """Return the note of a pitch in semitones, 69 for 440 Hz; None for another text."""
    found = re.fullmatch(r"\s*([a-gA-G])([#b]?)(-?\d)\s*", tune)
    if found:
        return NOTES[found[1].lower()] + {"": 0, "#": 1, "b": -1}[found[2]] + 12 * (int(found[3]) + 1)
    try:
        hz = float(tune)
    except ValueError:
        return None
    return A4 + 12 * math.log2(hz / A4_HZ) if 1 <= hz <= 1e5 else None


def _degrees(tune: str) -> list[int] | None:
    """Return the notes of a scale, 0 to 11 with 0 for C; None for another text."""
    found = re.fullmatch(r"\s*(?:([a-gA-G])([#b]?)\s+)?([a-z]+)\s*", tune)
    if not found or found[3] not in SCALES or (found[1] is None) != (found[3] == "chromatic"):
        return None
    tonic = 0 if found[1] is None else NOTES[found[1].lower()] + {"": 0, "#": 1, "b": -1}[found[2]]
    return sorted((tonic + degree) % 12 for degree in SCALES[found[3]])
