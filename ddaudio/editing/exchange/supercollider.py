"""SuperCollider: tracks as envelopes, a text that can be evaluated there."""

from collections.abc import Iterable

import numpy as np

from ddaudio.editing.exchange.track_data import TrackData

HEAD = """// Tracks of ddaudio: {n_tracks} in {n_signals} channels, {duration:.3f} s. In SuperCollider:
// x = "PATH".load; x[\\play].value(s);
// Each track is [start (s), channel, phase (radians), Env of the frequency (Hz), Env of the amplitude].
(
var tracks = [
"""
TAIL = """];
(
\ttracks: tracks,
\tplay: { |server|
\t\ttracks.do { |track|
\t\t\tvar start, channel, phase, frequency, amplitude;
\t\t\t#start, channel, phase, frequency, amplitude = track;
\t\t\tSystemClock.sched(start, {
\t\t\t\tserver.makeBundle(0.2, {
\t\t\t\t\t{ Out.ar(channel, SinOsc.ar(EnvGen.ar(frequency), phase + 0.5pi)
\t\t\t\t\t\t* EnvGen.ar(amplitude, doneAction: 2)) }.play(server, fadeTime: 0);
\t\t\t\t});
\t\t\t\tnil
\t\t\t});
\t\t}
\t}
)
)
"""


def write(data: TrackData) -> bytes:
    """Return tracks as a SuperCollider expression: an ``Event`` with the tracks and a function that plays them."""
    lines = [_track(data, number) for number in np.argsort(data.time_s[data.starts], kind="stable").tolist()]
    head = HEAD.format(n_tracks=len(data.counts), n_signals=data.n_signals, duration=data.duration_s)
    return (head + "".join(lines) + TAIL).encode()


def _track(data: TrackData, number: int) -> str:
    """Return one track as an array."""
    first = int(data.starts[number])
    own = slice(first, first + int(data.counts[number]))
    steps = _numbers(np.diff(data.time_s[own]))
    envelopes = (f"Env([{_numbers(column[own])}], [{steps}], \\lin)" for column in (data.frequency_hz, data.amplitude))
    start, phase = data.time_s[first], np.remainder(data.phase_rad[first], 2 * np.pi)
    return f"\t[{start:.9f}, {data.signal[number]}, {phase:.9f}, {', '.join(envelopes)}],\n"


def _numbers(values: Iterable[float]) -> str:
    """Return numbers without exponents, which the language does not read everywhere."""
    return ", ".join(f"{value:.9f}" for value in values)
