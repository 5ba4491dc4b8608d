"""What a listener gets: ERB distance, dead bands and perceptual scores of the defaults, of waves alone and of noise alone."""

import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from statistics import mean, median
from typing import NamedTuple

import torch

from benchmarks.results import SHORT_FOLDERS, recordings, table
from ddaudio import Recording, fit
from ddaudio.io import audio
from ddaudio.metrics.erb_distance import erb_distance
from ddaudio.metrics.perceptual import zimtohrli_mos

LONGEST_S = 2.0
"""Seconds of each recording: the first, of all channels mixed to one, without digital silence at either end."""
TIMES = 3
"""Fits of each recording that are timed."""
WAVES_PER_SAMPLE = (0.0, 0.01, 0.02, 0.03)
"""Sizes of the waves beside the noise, in parameters per sample; 0 is noise alone."""


class Heard(NamedTuple):
    """What was measured of a fit."""

    parameters: float
    """Per sample."""
    noise: float
    """Of these, those of the noise."""
    erb_db: float
    dead: float
    mos: float


@cache
def excerpt(path: Path) -> Recording:
    """Return what is fitted of a recording."""
    whole = audio.read(path)
    mono = whole.samples[:, :].mean(0)
    live = mono.nonzero().flatten()
    mono = mono[int(live[0]) : int(live[-1]) + 1][: int(LONGEST_S * whole.sample_rate)]
    return Recording(mono[None], whole.sample_rate, str(path))


def heard(recording: Recording, **settings: object) -> Heard:
    """Fit a recording and measure what is heard."""
    result = fit(recording, seed=0, **settings)
    found = erb_distance(result.estimate, recording.samples, recording.sample_rate)
    noise = sum(term.n_parameters() for term in result.network.terms if term.is_noise) / recording.n_samples
    mos = zimtohrli_mos(result.estimate[:, :], recording.samples[:, :], recording.sample_rate)
    return Heard(result.parameters_per_sample, noise, found.distance_db, found.dead_share, mos)


def controls(recording: Recording) -> tuple[float, float]:
    """Return the scores of silence and of white noise of the recording's level: no model should be near them."""
    target = recording.samples[:, :]
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(0)) * target.square().mean().sqrt()
    return (
        zimtohrli_mos(torch.zeros_like(target), target, recording.sample_rate),
        zimtohrli_mos(noise, target, recording.sample_rate),
    )


def run() -> tuple[str, list[str]]:
    """Measure all; return title and lines."""
    paths = recordings(*SHORT_FOLDERS)
    barks = [place for place, path in enumerate(paths) if path.parent.name == "barks"]
    lines = list(_each(paths, []))
    lines += ["", "Mixtures: noise beside waves of each size, and waves alone of the size that the whole had.", ""]
    lines += _mixtures(paths, barks)
    return "what a listener gets", lines


def _each(paths: list[Path], found: list[Heard]) -> Iterator[str]:
    """Yield the table of all recordings with the defaults."""
    rows = []
    for path in paths:
        recording = excerpt(path)
        default, today = heard(recording, model="sine+noise"), heard(recording, model="sine")
        alone = _alone(recording, default.parameters)
        found.append(default)
        silence, white = controls(recording)
        rows.append(
            [
                f"{path.parent.name}/{path.name}",
                f"{default.parameters:.4f} ({default.noise:.4f})",
                f"{default.erb_db:.2f}",
                f"{default.dead:.2%}",
                f"{default.mos:.2f}",
                f"{alone:.2f}",
                f"{today.parameters:.4f}, {today.erb_db:.1f}, {today.dead:.0%}, {today.mos:.2f}",
                f"{silence:.2f}, {white:.2f}",
            ]
        )
        print(rows[-1], flush=True)
    head = ["recording", "parameters per sample (noise)", "ERB distance (dB)", "dead", "MOS", "MOS of waves alone, equal size"]
    head += ["`--model sine`: size, ERB, dead, MOS", "MOS of silence, of white noise"]
    yield from table(head, rows)
    erb, dead = [one.erb_db for one in found], [one.dead for one in found]
    yield ""
    yield (
        f"ERB distance: median {median(erb):.2f}, worst {max(erb):.2f} dB; dead: mean {mean(dead):.2%}, worst {max(dead):.2%}; "
        f"MOS (Zimtohrli): mean {mean(one.mos for one in found):.2f}."
    )


@cache
def _alone(recording: Recording, parameters: float) -> float:
    """Return the score of waves alone of some size, in parameters per sample."""
    budget = max(4, math.floor(parameters * recording.n_samples))
    return heard(recording, model="sine", budget=budget).mos


def _mixtures(paths: list[Path], barks: list[int]) -> list[str]:
    """Return the table of the sizes of the waves."""
    rows = []
    for size in WAVES_PER_SAMPLE:
        settings = {"model": "sine+noise", "max_parameters_per_sample": size} if size else {"model": "noise"}
        found = [heard(excerpt(path), **settings) for path in paths]
        gains = [one.mos - _alone(excerpt(path), one.parameters) for path, one in zip(paths, found, strict=True)]
        rows.append(
            [
                f"{size:g}" if size else "noise alone",
                f"{mean(one.parameters for one in found):.4f}",
                f"{median(one.erb_db for one in found):.2f} / {max(one.erb_db for one in found):.2f}",
                f"{mean(one.dead for one in found):.2%} / {max(one.dead for one in found):.2%}",
                f"{mean(one.mos for one in found):.2f}; {mean(found[place].mos for place in barks):.2f}",
                f"{mean(gains):+.2f} / {min(gains):+.2f}",
            ]
        )
        print(rows[-1], flush=True)
    head = ["waves per sample", "all", "ERB distance median / worst (dB)", "dead mean / worst", "MOS mean; barks"]
    return table([*head, "MOS against waves alone, mean / worst"], rows)


def seconds() -> tuple[str, list[str]]:
    """Measure the time of the fit alone with the defaults, on a machine that is idle; return title and lines."""
    paths = recordings(*SHORT_FOLDERS)
    fit(excerpt(paths[0]))  # Warm-up: the first fit of a process also loads libraries.
    found = {}
    for path in paths:
        recording = excerpt(path)
        times = [fit(recording).seconds["fitting"] / recording.duration_s for _ in range(TIMES)]
        found[f"{path.parent.name}/{path.name}"] = median(times)
    rows = [[name, f"{value:.2f}"] for name, value in found.items()]
    worst = max(found, key=lambda name: found[name])
    words = f"Mean {mean(found.values()):.2f}, worst {found[worst]:.2f} ({worst}); medians of {TIMES} fits."
    return "seconds of fit per second of sound", [*table(["recording", "s per s"], rows), "", words]
