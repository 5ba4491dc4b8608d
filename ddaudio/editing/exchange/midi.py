"""MIDI polyphonic expression (MPE): the pitch of a model as notes, each in a channel of its own with pitch bends.

Levels are mapped as instruments do: an amplitude is the square of velocity / 127, and of pressure / 127 relative to the velocity.
Needs the package ``mido``.
"""

import io
import math
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from ddaudio.editing.exchange.track_data import Floats, PitchLine, Points, TrackData, from_points, levels_at
from ddaudio.errors import ExchangeError

TICKS_PER_BEAT, TEMPO_US = 960, 500_000
"""Ticks of 0.52 ms."""
BEND_SEMITONES, PLAIN_BEND_SEMITONES = 48.0, 2.0
"""Range of pitch bends to either side: of MPE, and of other MIDI."""
BEND_STEPS = 8192
MEMBERS = 15
"""Channels of the zone, from 1; its master is channel 0."""
PERCUSSION = 9
JUMP_SEMITONES = 0.8
"""Step of the pitch from one value to the next at which a note begins."""
LEAST_NOTE_S = 0.03
RAMP_S = 0.005
"""Fades of notes that are read."""
A4_HZ, A4 = 440.0, 69
MOST_BYTES = 1 << 22
"""Size of the largest file that is read: about a million messages, of some 500 bytes each in memory."""


class _Note(NamedTuple):
    """A note of constant voicing."""

    time_s: Floats
    semitones: Floats
    """MIDI note numbers with fractions."""
    amplitude: Floats


def write(data: TrackData) -> bytes:
    """Return the pitch of tracks as a file with notes, one at a time.

    Raises:
        ExchangeError: there is no pitch, or no package ``mido``.

    """
    mido = _mido()
    notes = [] if data.pitch is None else _notes(data, data.pitch)
    if not notes:
        raise ExchangeError("the model has no pitch, and MIDI has nothing else", hint="choose another format")
    events = _setup(mido) + [event for place, note in enumerate(notes) for event in _events(mido, note, 1 + place % MEMBERS)]
    track, before = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=TEMPO_US)]), 0
    for tick, _, message in sorted(events, key=lambda event: event[:2]):
        track.append(message.copy(time=tick - before))
        before = tick
    stream = io.BytesIO()
    mido.MidiFile(type=0, ticks_per_beat=TICKS_PER_BEAT, tracks=[track]).save(file=stream)
    return stream.getvalue()


def _mido() -> Any:
    """Return the package ``mido``."""
    try:
        return import_module("mido")
    except ImportError:
        raise ExchangeError("MIDI needs the package mido", hint="pip install 'ddaudio[midi]'") from None


def _notes(data: TrackData, pitch: PitchLine) -> list[_Note]:
    """Return the voiced stretches of a pitch line, divided where it jumps."""
    voiced = np.isfinite(pitch.f0_hz) & (pitch.f0_hz > 0)
    semitones = A4 + 12 * np.log2(np.where(voiced, pitch.f0_hz, A4_HZ) / A4_HZ)
    levels = levels_at(data, pitch.time_s)
    begins = voiced & np.append(True, ~voiced[:-1] | (np.abs(np.diff(semitones)) > JUMP_SEMITONES))
    number = np.cumsum(begins)
    notes = []
    for one in range(1, int(number[-1]) + 1 if len(number) else 1):
        own = voiced & (number == one)
        note = _Note(pitch.time_s[own], semitones[own], levels[own])
        in_range = bool(np.all((note.semitones > -BEND_SEMITONES) & (note.semitones < 127 + BEND_SEMITONES)))
        if in_range and note.time_s[-1] - note.time_s[0] >= LEAST_NOTE_S and note.amplitude.max() > 0:
            notes.append(note)
    return notes


Event = tuple[int, int, Any]
"""Tick, rank among the events of a tick, and message."""


def _setup(mido: Any) -> list[Event]:
    """Return the messages that make a zone of all channels, with the range of its bends."""
    controls = [(0, 101, 0), (0, 100, 6), (0, 6, MEMBERS)]
    for channel in range(1, MEMBERS + 1):
        controls += [(channel, 101, 0), (channel, 100, 0), (channel, 6, int(BEND_SEMITONES)), (channel, 38, 0)]
    return [(0, 0, mido.Message("control_change", channel=c, control=n, value=v)) for c, n, v in controls]


def _events(mido: Any, note: _Note, channel: int) -> list[Event]:
    """Return the messages of one note."""
    key = int(np.clip(round(float(np.median(note.semitones))), 0, 127))
    bends = np.round((note.semitones - key) / BEND_SEMITONES * BEND_STEPS).clip(-BEND_STEPS, BEND_STEPS - 1).astype(int)
    loudest = min(float(note.amplitude.max()), 1.0)
    velocity = max(1, round(127 * math.sqrt(loudest)))
    pressures = np.round(127 * np.sqrt(note.amplitude.clip(0, loudest) / loudest)).astype(int)
    ticks = np.round(note.time_s * (1e6 / TEMPO_US * TICKS_PER_BEAT)).astype(int)
    events: list[Event] = [(int(ticks[0]), 3, mido.Message("note_on", channel=channel, note=key, velocity=velocity))]
    events.append((int(ticks[-1]), 1, mido.Message("note_off", channel=channel, note=key, velocity=64)))
    for values, kind, name in ((bends, "pitchwheel", "pitch"), (pressures, "aftertouch", "value")):
        changes = np.append(True, np.diff(values) != 0)
        for tick, value in zip(ticks[changes].tolist(), values[changes].tolist(), strict=True):
            events.append((tick, 2, mido.Message(kind, channel=channel, **{name: value})))
    return events


@dataclass
class _Channel:
    """State of a channel while a file is read."""

    bend_range: float | None = None
    bend: float = 0.0
    """-1 to 1."""
    pressure: float | None = None
    parameter: list[int] = field(default_factory=lambda: [127, 127])
    """Registered parameter, high and low."""
    sounding: dict[int, list[tuple[float, float, float]]] = field(default_factory=dict)
    """Events of the notes that sound: time, semitones, amplitude."""
    velocity: dict[int, float] = field(default_factory=dict)


def read(data: bytes) -> TrackData:
    """Return the notes of a file as sinusoids, with pitch bends and channel pressure.

    Raises:
        ExchangeError: it is no MIDI file, is damaged, or has no notes; there is no package ``mido``.

    """
    if len(data) > MOST_BYTES:
        raise ExchangeError(f"it has {len(data) / 1e6:.1f} MB of MIDI", allowed=f"up to {MOST_BYTES / 1e6:.1f} MB")
    mido = _mido()
    try:
        messages = list(mido.MidiFile(file=io.BytesIO(data)))
    except (EOFError, OSError, ValueError, LookupError, TypeError, ArithmeticError, AttributeError) as error:
        raise ExchangeError(f"it cannot be read as MIDI: {error or type(error).__name__}") from None
    is_mpe = any(message.is_cc(6) and message.channel in (0, 15) for message in messages) and _has_zone(messages)
    channels, now, notes = [_Channel() for _ in range(16)], 0.0, list[list[tuple[float, float, float]]]()
    skipped = 0
    for message in messages:
        now += message.time
        if not hasattr(message, "channel"):
            continue
        if message.channel == PERCUSSION and not is_mpe:
            skipped += message.type == "note_on"
            continue
        _heard(channels[message.channel], message, now, BEND_SEMITONES if is_mpe else PLAIN_BEND_SEMITONES, notes)
    for channel in channels:
        for key in list(channel.sounding):
            _ended(channel, key, now, notes)
    tracks = [points for note in notes if (points := _curve(note)) is not None]
    if not tracks:
        raise ExchangeError("it has no notes")
    found = np.concatenate(tracks)
    owner = np.repeat(np.arange(len(tracks)), [len(points) for points in tracks])
    remarks = (f"skipped {skipped} notes of percussion",) if skipped else ()
    return replace(from_points(Points(owner, *found.T), remarks), n_signals=1)


def _has_zone(messages: list[Any]) -> bool:
    """Return whether a file configures a zone of MPE: registered parameter 6 of a master channel."""
    low = {message.value for message in messages if message.is_cc(100) and message.channel in (0, 15)}
    return 6 in low


def _heard(channel: _Channel, message: Any, now: float, bend_range: float, notes: list[Any]) -> None:
    """Change the state of a channel by a message; notes that end are added to ``notes``."""
    kind = message.type
    if kind == "control_change":
        if message.control in (100, 101):
            channel.parameter[message.control == 100] = message.value
        elif message.control == 6 and channel.parameter == [0, 0]:
            channel.bend_range = float(message.value)
        return
    if kind == "note_off" or (kind == "note_on" and message.velocity == 0):
        _ended(channel, message.note, now, notes)
        return
    if kind == "note_on":
        _ended(channel, message.note, now, notes)
        channel.velocity[message.note], channel.sounding[message.note] = (message.velocity / 127) ** 2, []
    elif kind == "pitchwheel":
        channel.bend = message.pitch / BEND_STEPS
    elif kind == "aftertouch":
        channel.pressure = (message.value / 127) ** 2
    else:
        return
    for key, points in channel.sounding.items():
        points.append((now, *_state(channel, key, bend_range)))


def _state(channel: _Channel, key: int, bend_range: float) -> tuple[float, float]:
    """Return the present semitones and amplitude of a note."""
    bend = channel.bend * (bend_range if channel.bend_range is None else channel.bend_range)
    return key + bend, channel.velocity[key] * (1.0 if channel.pressure is None else channel.pressure)


def _ended(channel: _Channel, key: int, now: float, notes: list[Any]) -> None:
    """End a note, if it sounds."""
    points = channel.sounding.pop(key, None)
    if points:
        notes.append([*points, (now, *points[-1][1:])])


def _curve(note: list[tuple[float, float, float]]) -> Floats | None:
    """Return the knots of a note, ``[K, 3]``: time, frequency in Hz, and amplitude, with fades; None if it is too short."""
    at, semitones, amplitude = np.array(note, dtype=np.float64).T
    begin, end = float(at[0]), float(at[-1])
    ramp = min(RAMP_S, (end - begin) / 4)
    if not end - begin > 1e-6:
        return None
    # The last of several events at one time counts.
    _, last = np.unique(at[::-1], return_index=True)
    at, semitones, amplitude = (column[::-1][last] for column in (at, semitones, amplitude))
    times = np.unique(np.concatenate([at, [begin + ramp, end - ramp]]))
    fade = ((np.minimum(times - begin, end - times)) / ramp).clip(0, 1)
    hertz = A4_HZ * 2 ** ((np.interp(times, at, semitones) - A4) / 12)
    return np.stack([times, hertz, np.interp(times, at, amplitude) * fade], axis=1)
