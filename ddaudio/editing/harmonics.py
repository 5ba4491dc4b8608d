"""Other levels of odd and even harmonics, and stretched harmonic series."""

from functools import partial

import torch

from ddaudio.editing.editable import Edit, Editable
from ddaudio.editing.knots import owners
from ddaudio.editing.rephasing import ready
from ddaudio.editing.shift import with_frequencies
from ddaudio.editing.track_rows import pitch_of
from ddaudio.errors import OptionError

RANGES = {"odd": (-300.0, 60.0), "even": (-300.0, 60.0), "stretch": (0.5, 2.0)}
"""Values that are allowed, by name."""
NOTHING = {"odd": 0.0, "even": 0.0, "stretch": 1.0}
"""Values that change nothing."""


def harmonic_morph(*, harmonic_morph: str) -> Edit | None:
    """Return the edit that changes the harmonic series; None if nothing changes.

    Args:
        harmonic_morph: ``odd=DB`` and ``even=DB``, gains of the harmonics 3, 5, ... and 2, 4, ... (the fundamental stays), and
            ``stretch=S``, which puts harmonic n at ``f0 n^S``; several with commas between them.

    Raises `OptionError` for another text, or values out of range.
    """
    values = dict(NOTHING)
    for part in harmonic_morph.split(","):
        name, _, text = part.strip().partition("=")
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        low, high = RANGES.get(name, (1, 0))
        if not low <= value <= high:
            allowed = ", ".join(f"{name}={low:g} to {high:g}" for name, (low, high) in RANGES.items())
            raise OptionError(setting="harmonic_morph", value=harmonic_morph, allowed=allowed)
        values[name] = value
    return (
        None if values == NOTHING else partial(with_harmonics, odd=values["odd"], even=values["even"], stretch=values["stretch"])
    )


def with_harmonics(sound: Editable, odd: float, even: float, stretch: float) -> Editable:
    """Return a sound with gains of odd and even harmonics in dB, and with harmonic n at ``f0 n^stretch``."""
    number = pitch_of(sound)[1]
    if stretch != 1:
        knots = ready(sound.knots, float((number.double().clamp(min=1) ** (stretch - 1)).max()) if len(number) else 1.0)
        ratio = number.double().clamp(min=1) ** (stretch - 1)
        # Tracks of no harmonic stay; what reaches the Nyquist frequency is left out, so numbers go with the tracks.
        louder = _gains(number, odd, even)[owners(knots)]
        sound = sound.with_tracks(knots._replace(amplitude=knots.amplitude * louder))
        return with_frequencies(sound, ratio[owners(knots)])
    knots = sound.knots
    return sound.with_tracks(knots._replace(amplitude=knots.amplitude * _gains(number, odd, even)[owners(knots)]))


def _gains(number: torch.Tensor, odd: float, even: float) -> torch.Tensor:
    """Return the gain of each track, ``[N]``."""
    gains = torch.ones(len(number), dtype=torch.float64)
    gains[(number > 1) & (number % 2 == 1)] = 10 ** (odd / 20)
    gains[(number > 1) & (number % 2 == 0)] = 10 ** (even / 20)
    return gains
