"""Sums of losses against `mse` alone: seconds and the goal on one recording, and what a listener gets on 25."""

import time
from dataclasses import replace
from pathlib import Path
from statistics import mean, median

import torch

from benchmarks.ear import excerpt
from benchmarks.results import SHORT_FOLDERS, recordings, table
from ddaudio import Recording, fit
from ddaudio.io import audio
from ddaudio.metrics.erb_distance import erb_distance
from ddaudio.metrics.perceptual import zimtohrli_mos

SUMS = ("mse=1", "mse=1,pdl=1", "mse=1,pdl=0.5,mss=0.1", "mse=1,mss:smooth=0.3", "mae=1", "mss=1")
REPEATS = 5
GOAL_DB = 25.0
HEARD = (
    "mse",
    "mse=1,pdl=0.5,mss=0.1",
    "mse=1,pdl=1",
    "mss",
    "mse=1,mss:smooth=0.3",
    "pdl",
    "mae",
    "mel",
)
LONGEST_S = 1.0
"""Seconds of each recording: the first."""
SHARE = 0.03
"""Parameters per sample."""


def run() -> tuple[str, list[str]]:
    """Fit the bark of the README with each sum in turn, several times; return title and table of medians."""
    recording = audio.read(Path(__file__).parents[1] / "recordings" / "bark.wav")
    fit(recording, model="sine", target_snr_db=GOAL_DB)  # Warm-up.
    seconds: dict[str, list[float]] = {losses: [] for losses in SUMS}
    ends = {}
    for _ in range(REPEATS):
        for losses in SUMS:
            began = time.process_time()
            ends[losses] = fit(recording, model="sine", target_snr_db=GOAL_DB, losses=losses)
            seconds[losses].append(time.process_time() - began)
    ratios = {
        losses: median(one / alone for one, alone in zip(spent, seconds[SUMS[0]], strict=True))
        for losses, spent in seconds.items()
    }
    rows = [
        [
            f"`{losses}`",
            f"{median(seconds[losses]):.2f}",
            f"{ratios[losses]:.2f}",
            f"{result.snr_db:.2f}",
            f"{result.network.n_parameters()}",
            "yes" if result.reached_goal else "no",
        ]
        for losses, result in ends.items()
    ]
    head = ["losses", "s of the processor, median", "times `mse`, median of pairs", "SNR (dB)", "parameters", "goal reached"]
    lines = [
        f"`recordings/bark.wav`, `--model sine --target-snr {GOAL_DB:g}`; {REPEATS} rounds, one fit of each sum in a round.",
        "",
    ]
    return "sums of losses", lines + table(head, rows)


def heard() -> tuple[str, list[str]]:
    """Fit 25 recordings at a fixed size with each loss; return title and table of means."""
    found = [_beginning(path) for path in recordings(*SHORT_FOLDERS)]
    rows = []
    for losses in HEARD:
        values = []
        for recording in found:
            began = time.process_time()
            result = fit(recording, model="sine", budget=max(4, int(SHARE * recording.n_samples)), losses=losses)
            seconds = (time.process_time() - began) / recording.duration_s
            distance = erb_distance(result.estimate, recording.samples, recording.sample_rate)
            mos = zimtohrli_mos(result.estimate[:, :], recording.samples[:, :], recording.sample_rate)
            values.append((result.snr_db or 0.0, distance.distance_db, 100 * distance.dead_share, mos, seconds))
        columns = torch.tensor(values).T.tolist()
        rows.append([f"`{losses}`", *(f"{mean(column):.2f}" for column in columns), f"{median(columns[1]):.2f}"])
        print(" | ".join(rows[-1]), flush=True)
    head = ["losses", "SNR (dB)", "ERB distance (dB)", "dead (%)", "MOS", "s of the processor per s", "ERB distance, median (dB)"]
    lines = [
        f"The first {LONGEST_S:g} s of {len(found)} recordings, `--model sine` with {SHARE:g} parameters per sample; means.",
        "",
    ]
    return "what a listener gets of each loss", lines + table(head, rows)


def _beginning(path: Path) -> Recording:
    """Return what is fitted of a recording."""
    recording = excerpt(path)
    return replace(recording, samples=recording.samples[:, : round(LONGEST_S * recording.sample_rate)].clone())
