"""Selection of parts of a sound; the rest is left out."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ddaudio.editing.choices import Choice, choice_of
from ddaudio.editing.editable import Edit, Editable
from ddaudio.editing.knots import inserted_at, owners, runs
from ddaudio.editing.noise_levels import at_times, levels_of, silent_db, with_levels
from ddaudio.editing.track_rows import pitch_of
from ddaudio.errors import OptionError
from ddaudio.models.noise.grid import STEP_S, NoiseGrid

PLAIN, RANGED = ("voiced", "waves", "noise"), ("time", "frequency", "level", "track", "harmonic")


def select(*, select: Sequence[str] | str) -> Edit | None:
    """Return the edit that keeps parts of a sound only.

    Args:
        select: parts, of which what is in all of them is kept: ``time=0.5-1.2`` in seconds, to which the sound is cut;
            ``frequency=200-5000`` in Hz; ``level=-60`` for tracks whose highest level is up to 60 dB below
            that of the loudest; ``track=1,5-9``; ``harmonic=1-4``; ``voiced``; ``waves``; ``noise``. Only time and frequency
            select noise; with any other part but ``noise`` there is none.

    Raises `OptionError` for another part.
    """
    texts = [select] if isinstance(select, str) else list(select)
    choices = [choice_of(text, "select", text, PLAIN, RANGED) for text in texts]
    return partial(selected, choices=choices) if choices else None


def selected(sound: Editable, choices: Sequence[Choice]) -> Editable:
    """Return the parts of a sound that all choices name."""
    for choice in choices:
        if choice.what == "time":
            sound = _cut(sound, choice)
            continue
        if choice.what == "frequency" and sound.noise is not None:
            outside = ~choice.within(sound.noise.grid.hz)
            levels = torch.where(outside, silent_db(sound.noise), levels_of(sound.noise))
            sound = replace(sound, noise=with_levels(sound.noise, levels, sound.n_samples))
        elif choice.what not in ("frequency", "noise"):
            sound = replace(sound, noise=None)
        sound = sound.with_tracks(*runs(sound.knots, sound.signal, _chosen(sound, choice)))
    return sound


def _chosen(sound: Editable, choice: Choice) -> Tensor:
    """Return a mask of the knots that a choice names, ``[K]``."""
    knots, owner = sound.knots, owners(sound.knots)
    if choice.what in ("waves", "noise"):
        return torch.full_like(owner, choice.what == "waves", dtype=torch.bool)
    if choice.what == "frequency":
        return choice.within(sound.hz)
    if choice.what == "track":
        return choice.within(owner)
    if choice.what == "level":
        peak = torch.zeros(len(sound.signal), dtype=torch.float64).scatter_reduce(0, owner, knots.amplitude, "amax")
        below_db = -20 * torch.log10((peak / peak.max().clamp(min=1e-30)).clamp(min=1e-30))
        return choice.within(below_db)[owner]
    pitch, number = pitch_of(sound)
    if choice.what == "harmonic":
        return choice.within(number)[owner]
    moment = np.searchsorted(pitch.time_s, (knots.position / sound.sample_rate).numpy()).clip(0, len(pitch.time_s) - 1)
    return (number > 0)[owner] & torch.from_numpy(pitch.voiced[moment])


def _cut(sound: Editable, choice: Choice) -> Editable:
    """Return the time from the beginning of the first range to the end of the last one."""
    rate = sound.sample_rate
    first = round(min(low for low, _ in choice.ranges) * rate)
    end = min(sound.n_samples, round(min(max(high for _, high in choice.ranges), sound.n_samples / rate) * rate))
    if first >= end:
        problem = f"but the sound ends at {sound.n_samples / rate:.6g} s"
        raise OptionError(problem, setting="select", value=f"time={first / rate:g}-{end / rate:g}")
    edges = torch.tensor([first, end - 1], dtype=torch.float64)
    knots = inserted_at(sound.knots, edges)
    knots, signal = runs(knots, sound.signal, (knots.position >= edges[0]) & (knots.position <= edges[1]))
    noise = sound.noise
    if noise is not None:
        nodes = torch.arange(NoiseGrid(rate, end - first).n_intervals + 1, dtype=torch.float64)
        noise = at_times(noise, nodes + first / (STEP_S * rate), end - first)
    knots = knots._replace(position=knots.position - first)
    return replace(sound, knots=knots, signal=signal, noise=noise, shape=(sound.shape[0], end - first))
