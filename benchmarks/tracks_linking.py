"""Tracks by linking alone: chirps, chirps that cross, and how much of real sounds is followed."""

import math
import time
from statistics import median

import numpy as np
import torch
from torch import Tensor

from benchmarks.results import recordings, table
from ddaudio.analysis.linking import LONG_TRACK, energy_in_tracks, link
from ddaudio.analysis.track_knots import tracks_of
from ddaudio.fitting.run import fit
from ddaudio.io.audio import Recording
from ddaudio.models import SineNetwork

RATE, SAMPLES = 44_100, 8192
SEEDS = 100
TONAL = ("barks", "birds", "instruments", "speech")
"""Folders of tonal recordings: barks, birds, instruments and voices."""


def chirp(low_hz: float, high_hz: float, phase_rad: float = 0.0) -> tuple[Tensor, Tensor]:
    """Return a linear chirp of amplitude 1 and its frequency in Hz, ``[T]`` each."""
    at = torch.arange(SAMPLES, dtype=torch.float64)
    slope = (high_hz - low_hz) / SAMPLES
    return torch.cos(2 * math.pi / RATE * (low_hz * at + slope * at**2 / 2) + phase_rad), low_hz + slope * at


def fitted(sound: Tensor, target_snr_db: float) -> SineNetwork:
    """Return the partials of a sound ``[T]``."""
    network = fit(Recording(sound[None].float(), RATE, "chirps"), model="sine", target_snr_db=target_snr_db).network
    assert isinstance(network, SineNetwork)
    return network


def frequency_errors() -> list[tuple[str, float, int]]:
    """Return the mean absolute error of the frequency of the loudest track of two chirps in Hz, and its cells, by chirp."""
    waves = {"280 to 930 Hz": chirp(280, 930), "470 to 1,610 Hz": chirp(470, 1610, 1.0)}
    network = fitted(0.3 * sum(wave for wave, _ in waves.values()), 25.0)  # type: ignore[arg-type]
    track = network.tracks()
    knots, _ = tracks_of(network.partials, track, network.grid)
    energy = torch.zeros(len(knots.counts)).index_add(0, track, network.component_energies())
    cells, ends = torch.bincount(track), knots.counts.cumsum(0).tolist()
    found = []
    for name, (_, truth) in waves.items():
        errors = []
        for one in torch.argsort(energy, descending=True)[:2].tolist():
            own = slice(ends[one] - int(knots.counts[one]), ends[one])
            at = np.arange(math.ceil(knots.position[own][0]), math.floor(knots.position[own][-1]) + 1)
            hz = np.interp(at, knots.position[own], knots.frequency[own] * RATE / (2 * math.pi))
            errors.append((float(np.abs(hz - truth.numpy()[at]).mean()), int(cells[one])))
        found.append((name, *min(errors)))
    return found


def keeps_identities(seed: int) -> bool:
    """Return whether two chirps that cross, 400 to 1,600 Hz and back, are a track each before and after, in noise 10 dB below."""
    generator = torch.Generator().manual_seed(seed)
    phases = 2 * math.pi * torch.rand(2, generator=generator)
    (rising, up), (falling, down) = chirp(400, 1600, float(phases[0])), chirp(1600, 400, float(phases[1]))
    sound = 0.2 * (rising + falling)
    hiss = torch.randn(SAMPLES, generator=generator, dtype=torch.float64)
    sound += hiss * (sound.square().mean() / 10 / hiss.square().mean()).sqrt()
    columns = {name: column.numpy() for name, column in fitted(sound, 10.0).describe().items()}
    ends = [[_near(columns, truth.numpy(), share) for share in (0.15, 0.85)] for truth in (up, down)]
    return all(first == last is not None for first, last in ends)


def _near(columns: dict[str, np.ndarray], truth: np.ndarray, share: float) -> int | None:
    """Return the track of the loudest partial within 60 Hz of a chirp around a share of its time."""
    at = columns["time_s"] * RATE
    beside = np.abs(columns["frequency_hz"] - np.interp(at, np.arange(SAMPLES), truth)) < 60
    there = np.flatnonzero(beside & (np.abs(at / SAMPLES - share) < 0.05))
    return int(columns["track"][there[np.argmax(columns["amplitude"][there])]]) if len(there) else None


def run() -> tuple[str, list[str]]:
    """Return title and tables."""
    chirps = [(name, f"{error:.1f}", str(cells)) for name, error, cells in frequency_errors()]
    kept = 0
    for seed in range(SEEDS):
        kept += keeps_identities(seed)
        print(f"crossing chirps: {kept} of {seed + 1}", flush=True)
    rows, shares = [], []
    for path in recordings(*TONAL):
        begin = time.perf_counter()
        network = fit(path, model="sine").network
        fit_s = time.perf_counter() - begin
        assert isinstance(network, SineNetwork)
        begin = time.perf_counter()
        track = link(network.partials, network.grid)
        link_s = time.perf_counter() - begin
        share = energy_in_tracks(track, network.component_energies()) or 0.0
        shares.append(share)
        counts = f"{len(track):,}", f"{int(track.max()) + 1:,}"
        rows.append((f"{path.parent.name}/{path.name}", *counts, f"{100 * share:.0f} %", f"{100 * link_s / fit_s:.1f} %"))
        print(" | ".join(rows[-1]), flush=True)
    lines = [
        "Mean absolute error of the frequency of tracks of two chirps, 8,192 samples at 44.1 kHz, at the default of 25 dB:",
        "",
        *table(("chirp", "error Hz", "cells in track"), chirps),
        "",
        "Two chirps that cross, 400 to 1,600 Hz and back, in white noise at 10 dB, fitted to 10 dB: "
        f"identities kept in {kept} of {SEEDS} seeds.",
        "",
        f"Energy of partials in tracks of {LONG_TRACK} cells or more: "
        f"the median over the tonal recordings is {100 * median(shares):.0f} %.",
        "",
        *table(("recording", "partials", "tracks", "energy in tracks", "time of linking, of the fit's"), rows),
    ]
    return "partials linked to tracks, before any refit", lines
