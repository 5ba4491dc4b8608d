"""Gains of parts of a sound."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from ddaudio.editing.choices import Choice, choice_of
from ddaudio.editing.editable import Edit, Editable
from ddaudio.editing.knots import owners
from ddaudio.editing.noise_levels import levels_of, with_levels
from ddaudio.editing.track_rows import pitch_of
from ddaudio.errors import OptionError
from ddaudio.models.noise.network import NoiseNetwork

LEAST_DB, MOST_DB = -300.0, 60.0
"""Gains that are allowed."""
PLAIN, RANGED = ("waves", "noise"), ("band", "harmonic", "track")


def gain(*, gain: Sequence[str] | str) -> Edit | None:
    """Return the edit that changes levels; None if all gains are 0 dB.

    Args:
        gain: ``PART:DB`` each. A part is ``waves``, ``noise``, ``band=LOW-HIGH`` in Hz (of both), ``harmonic=1,3-5``, or
            ``track=7`` by number as in tables.

    Raises `OptionError` for another part, or a gain that is not between -300 and 60 dB.
    """
    parts = [_part(text) for text in ([gain] if isinstance(gain, str) else gain)]
    parts = [(choice, gain_db) for choice, gain_db in parts if gain_db]
    return partial(with_gains, parts=parts) if parts else None


def _part(text: str) -> tuple[Choice, float]:
    what, _, gain_db = text.rpartition(":")
    choice = choice_of(what, "gain", text, PLAIN, RANGED)
    try:
        value = float(gain_db)
    except ValueError:
        value = float("nan")
    if not LEAST_DB <= value <= MOST_DB:
        raise OptionError(setting="gain", value=text, allowed=f"gains from {LEAST_DB:g} to {MOST_DB:g} dB, as in noise:-6")
    return choice, value


def with_gains(sound: Editable, parts: Sequence[tuple[Choice, float]]) -> Editable:
    """Return a sound with other levels; gains of parts that overlap add up."""
    for choice, gain_db in parts:
        if choice.what in ("noise", "band"):
            sound = replace(sound, noise=_louder_noise(sound, choice, gain_db))
        if choice.what != "noise":
            amplitude = sound.knots.amplitude * torch.where(_chosen(sound, choice), 10 ** (gain_db / 20), 1.0)
            sound = sound.with_tracks(sound.knots._replace(amplitude=amplitude))
    return sound


def _chosen(sound: Editable, choice: Choice) -> Tensor:
    """Return a mask of the knots of a part, ``[K]``."""
    owner = owners(sound.knots)
    if choice.what == "waves":
        return torch.ones_like(owner, dtype=torch.bool)
    if choice.what == "band":
        return choice.within(sound.hz)
    return choice.within(owner if choice.what == "track" else pitch_of(sound)[1][owner])


def _louder_noise(sound: Editable, choice: Choice, gain_db: float) -> NoiseNetwork | None:
    """Return the noise with other levels."""
    noise = sound.noise
    if noise is None or not noise.n_components():
        return noise
    inside = choice.within(noise.grid.hz) if choice.what == "band" else torch.ones(noise.grid.bands, dtype=torch.bool)
    return with_levels(noise, levels_of(noise) + gain_db * inside, sound.n_samples)
