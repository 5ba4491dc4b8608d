"""Tracks for tests of exchange formats."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ddaudio.editing.exchange.track_data import PitchLine, Points, TrackData, from_points, to_knots
from ddaudio.synthesis.tracks import render_tracks

RATE = 16_000
COLUMNS = ("counts", "signal", "time_s", "frequency_hz", "amplitude", "phase_rad", "bandwidth")


def random_tracks(seed: int = 0, n_tracks: int = 6, n_signals: int = 1, n_knots: int = 8) -> TrackData:
    """Return tracks of random knots in a sound of one second, with phases that follow the frequencies."""
    chance = np.random.default_rng(seed)
    time_s = np.sort(chance.uniform(0, 0.99, (n_tracks, n_knots)), axis=1).ravel()
    track = np.repeat(np.arange(n_tracks), n_knots)
    frequency = np.repeat(chance.uniform(100, 4000, n_tracks), n_knots) * chance.uniform(0.98, 1.02, len(track))
    signal = np.sort(chance.integers(0, n_signals, n_tracks))[track]
    points = Points(track, time_s, frequency, chance.uniform(0, 0.1, len(track)), signal=signal)
    data = from_points(points)
    turned = data.phase_rad + np.repeat(chance.uniform(0, 6, n_tracks), n_knots)
    bandwidth = chance.uniform(0, 1, len(track))
    return replace(data, phase_rad=turned, bandwidth=bandwidth, sample_rate=RATE, n_samples=RATE, n_signals=n_signals)


def equal(one: TrackData, other: TrackData, columns: tuple[str, ...] = COLUMNS) -> bool:
    """Return whether columns have the same bits."""
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in columns)


def rendered(data: TrackData, sample_rate: int = RATE, n_samples: int = RATE) -> Tensor:
    """Return the sound of tracks without their bandwidths, ``[B, T]`` float64."""
    knots, signal = to_knots(replace(data, bandwidth=np.zeros_like(data.amplitude)), sample_rate)
    return render_tracks(knots, signal, (data.n_signals, n_samples))


def error_db(estimate: Tensor, target: Tensor) -> float:
    """Return the energy of the difference relative to that of the target."""
    return float(10 * torch.log10((estimate - target).square().sum() / target.square().sum()))


def glide(n: int = 200) -> tuple[TrackData, PitchLine]:
    """Return a tone that glides by a fifth in a second with vibrato, and its pitch every 5 ms."""
    time_s = np.arange(n) * 0.005
    hertz = 220 * 2 ** (7 / 12 * time_s + 0.3 / 12 * np.sin(2 * np.pi * 6 * time_s))
    data = from_points(Points(np.zeros(n, dtype=np.int64), time_s, hertz, 0.1 + 0.3 * np.sin(np.pi * time_s)))
    return replace(data, sample_rate=RATE, n_samples=RATE), PitchLine(time_s, hertz)


def steady(frequencies: list[float], n_frames: int = 201) -> TrackData:
    """Return steady partials of one second, with a knot at every 5 ms."""
    track = np.repeat(np.arange(len(frequencies)), n_frames)
    time_s, frequency = np.tile(np.arange(n_frames) * 0.005, len(frequencies)), np.repeat(frequencies, n_frames)
    data = from_points(Points(track, time_s, frequency, np.full(len(track), 0.1)))
    return replace(data, sample_rate=RATE, n_samples=RATE)
