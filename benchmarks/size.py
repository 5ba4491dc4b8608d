"""SNR at a fixed number of parameters, compared with the MDCT, and the gain of each part of the fit."""

from statistics import mean

import torch

from benchmarks.results import SHORT_FOLDERS, recordings, table
from ddaudio.fitting.run import fit
from ddaudio.io import audio
from ddaudio.io.audio import Recording
from ddaudio.options import FitOptions

SHARES = (0.01, 0.03)
EQUAL_FRAMES_S = (0.0125, 0.025, 0.05, 0.1, 0.2)
HEAD = (
    "recording",
    "share",
    "MDCT dB",
    "equal frames dB",
    "adaptive dB",
    "over MDCT",
    "first run",
    "by training",
    "cells",
    "s per s",
)


def without_silence(recording: Recording) -> Recording:
    """Return the recording without the digital silence at its ends."""
    sounding = (recording.samples[:, :].abs().amax(0) > 0).nonzero()[:, 0]
    samples = recording.samples[:, int(sounding[0]) : int(sounding[-1]) + 1].contiguous()
    return Recording(samples, recording.sample_rate, recording.source)


def run() -> tuple[str, list[str]]:
    """Fit every short recording at each size; return title and table."""
    rows: list[tuple[str, ...]] = []
    over: dict[float, list[tuple[float, ...]]] = {share: [] for share in SHARES}
    paths = recordings(*SHORT_FOLDERS)
    fit(paths[0], model="sine", steps=1)  # Warm-up: the first fit of a process also loads libraries.
    for path in paths:
        recording = without_silence(audio.read(path))
        for share in SHARES:
            n_parameters = int(share * recording.samples.numel())
            result = fit(recording, model="sine", budget=n_parameters)
            mdct_db, snr_db = result.baseline.snr_db or 0.0, result.snr_db or 0.0
            equal_db = max(_with_equal_frames(recording, n_parameters, frame_s) for frame_s in EQUAL_FRAMES_S)
            gain = result.training_gain_db or 0.0
            first = result.stages[0].blocks[0][0]
            alone = (first.best.snr_db or 0.0) - (first.evaluations[0].snr_db or 0.0)
            over[share].append((snr_db - mdct_db, equal_db - mdct_db, alone, gain, snr_db - equal_db))
            seconds = sum(result.seconds.values()) / recording.duration_s
            figures = (mdct_db, equal_db, snr_db, snr_db - mdct_db, alone, gain)
            cells = str(result.network.grid.n_frames)
            rows.append(
                (f"{path.parent.name}/{path.name}", f"{share:g}", *(f"{x:.2f}" for x in figures), cells, f"{seconds:.2f}")
            )
            print(" | ".join(rows[-1]), flush=True)
    lines = [_in_words(share, over[share]) for share in SHARES]
    return "SNR at a fixed size, digital silence at both ends cut off", [*lines, "", *table(HEAD, rows)]


def _in_words(share: float, rows: list[tuple[float, ...]]) -> str:
    """Return the means over all recordings, and the worst case of adaptive cells."""
    adaptive, equal, alone, gain, more = (mean(column) for column in zip(*rows, strict=True))
    return (
        f"At {share:g} parameters per sample, mean of {len(rows)} recordings: {adaptive:+.2f} dB over the best-k MDCT "
        f"({equal:+.2f} dB with the best of {len(EQUAL_FRAMES_S)} equal frame lengths; adaptive cells are better by "
        f"{more:.2f} dB, {min(row[4] for row in rows):+.2f} dB at worst); the first training run added {alone:.2f} dB, all runs "
        f"{gain:.2f} dB."
    )


def _with_equal_frames(recording: Recording, n_parameters: int, frame_s: float) -> float:
    """Return the SNR with frames of equal length; -inf if the budget is too small for them."""
    if recording.n_channels * (recording.duration_s / (frame_s / 2) + 1) + 3 > n_parameters:
        return -torch.inf
    return fit(recording, FitOptions().with_settings({"model": "sine", "budget": n_parameters, "frame_s": frame_s})).snr_db or 0.0
