"""Registry of the edits, one row each, in the order in which they are applied. Does not import torch."""

from dataclasses import dataclass
from typing import Literal

from ddaudio.options.registry import Registry

Kind = Literal["curve", "number", "text", "texts", "switch"]
"""How a setting is given: a curve is a number or points of time, texts are given any number of times."""


@dataclass(frozen=True)
class EditSetting:
    """A setting of an edit."""

    name: str
    kind: Kind
    help: str
    """What it does, for the help, with a full stop."""


@dataclass(frozen=True)
class EditSpec:
    """An edit of models."""

    name: str
    """Name in tables."""
    summary: str
    """Short description for the help."""
    path: str
    """Function of the settings that are given, by name, as ``module:function``: it checks them and returns a
    `ddaudio.editing.editable.Edit`, or None if they change nothing."""
    settings: tuple[EditSetting, ...]


EDITS = Registry(
    "ddaudio.edits",
    EditSpec,
    [
        EditSpec(
            "select",
            "parts of the sound only",
            "ddaudio.editing.select:select",
            (
                EditSetting(
                    "select",
                    "texts",
                    "Keep a part only: time=0.5-1.2 (s), frequency=200-5000 (Hz), level=-60 (dB below the loudest), track=1,5-9, "
                    "harmonic=1-4, voiced, waves, or noise; given several times, what is in all of them.",
                ),
            ),
        ),
        EditSpec(
            "gain",
            "other levels of parts",
            "ddaudio.editing.gain:gain",
            (
                EditSetting(
                    "gain",
                    "texts",
                    "Gain of a part in dB, -300 to 60: waves:-6, noise:3, band=2000-8000:-12 (Hz), harmonic=2-4:6, track=5:-20; "
                    "can be given several times.",
                ),
            ),
        ),
        EditSpec(
            "harmonic-morph",
            "another harmonic series",
            "ddaudio.editing.harmonics:harmonic_morph",
            (
                EditSetting(
                    "harmonic_morph",
                    "text",
                    "Gains of the odd or even harmonics above the first in dB, and a stretch of the series to f0 n^S: "
                    "odd=-20, even=-300, stretch=1.02, or several with commas.",
                ),
            ),
        ),
        EditSpec(
            "shift",
            "another pitch, other formants",
            "ddaudio.editing.shift:shift",
            (
                EditSetting(
                    "tune", "text", "Tune to a pitch (A4, 440) or to the notes of a scale (chromatic, 'C major', 'A minor')."
                ),
                EditSetting("shift", "curve", "Shift by semitones, -60 to 60, or points of seconds and semitones: 0:0,2:12."),
                EditSetting(
                    "keep_formants", "switch", "Keep the spectral envelope where it is when the pitch is shifted or tuned."
                ),
                EditSetting(
                    "formants", "curve", "Factor of the frequencies of the spectral envelope, 0.25 to 4, or a curve of factors."
                ),
            ),
        ),
        EditSpec(
            "reverse",
            "backwards",
            "ddaudio.editing.reverse:reverse",
            (EditSetting("reverse", "switch", "Reverse time."),),
        ),
        EditSpec(
            "stretch",
            "another duration, with the attacks as they were",
            "ddaudio.editing.stretch:stretch",
            (
                EditSetting(
                    "stretch",
                    "curve",
                    "How many times as long: a factor from 0.01 to 100, or points of seconds and factor, as in 0:1,2.5:1.5.",
                ),
            ),
        ),
    ],
)
"""The edits, by name."""


MORPH_SETTINGS = (
    EditSetting("amount", "curve", "Amount from 0 to 1, or points of seconds and amount, as in 0:0,2:1 (default: 0.5)."),
    EditSetting("amplitude", "curve", "Amount for amplitudes, likewise (default: the amount)."),
    EditSetting("frequency", "curve", "Amount for frequencies, likewise (default: the amount)."),
    EditSetting("noise", "curve", "Amount for the noise, likewise (default: the amount)."),
    EditSetting("pairs", "text", "Times of both in seconds that belong together, as in 0.1=0.2,0.8=1.1 (default: onsets)."),
)
"""The settings of a morph."""


def setting_owners() -> dict[str, EditSpec]:
    """Return the row of each setting, by the name of the setting."""
    return {setting.name: spec for spec in EDITS.values() for setting in spec.settings}
