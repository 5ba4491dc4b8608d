"""Tracks against cells: a tone with vibrato, glides, and real recordings at equal parameters."""

import math
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

import ddaudio
from benchmarks.results import recordings, table
from ddaudio.analysis.loudest import loudest
from ddaudio.io import audio
from ddaudio.io.audio import Recording
from ddaudio.models.tracks.network import TracksNetwork

RATE = 44_100
TONE_S, TONE_HZ, CENTS, VIBRATO_HZ = 2.0, 4400.0, 50.0, 6.0
BUDGETS = (300, 600)
GLIDES_HZ = ((280.0, 930.0), (470.0, 1610.0))
GLIDE_SAMPLES = 8192
GOAL_DB = 40.0
EXCERPT_S, PER_SAMPLE = 1.0, 0.03
TONAL = ("barks", "birds", "instruments", "speech")


def run() -> tuple[str, list[str]]:
    """Measure all of them."""
    lines = [
        f"A tone of {TONE_HZ:g} Hz whose pitch goes up and down by {CENTS:g} cents, {VIBRATO_HZ:g} times a second, {TONE_S:g} s:"
    ]
    lines += ["", *table(("model", "parameters", "SNR dB", "s"), _vibrato()), ""]
    lines += [f"Two linear glides in {GLIDE_SAMPLES} samples, fitted by tracks to {GOAL_DB:g} dB:", ""]
    lines += [*table(("glide Hz", "mean absolute error Hz", "knots"), _glides()), ""]
    rows = list(_real())
    gains = [float(row[4]) for row in rows]
    lines += [f"The loudest {EXCERPT_S:g} s of recordings, {PER_SAMPLE:g} parameters per sample, first channel:", ""]
    lines += table(("recording", "parameters", "sine dB", "tracks+sine dB", "gain dB", "tracks", "s", "s"), rows)
    lines += ["", f"Mean gain {statistics.mean(gains):+.2f} dB, from {min(gains):+.2f} to {max(gains):+.2f}."]
    return "tracks against cells", lines


def vibrato() -> Tensor:
    """Return the tone, ``[1, T]``."""
    times = torch.arange(round(TONE_S * RATE), dtype=torch.float64) / RATE
    deviation = TONE_HZ * (2 ** (CENTS / 1200) - 1)
    turns = TONE_HZ * times - deviation / VIBRATO_HZ / (2 * math.pi) * torch.cos(2 * math.pi * VIBRATO_HZ * times)
    return (0.5 * torch.cos(2 * math.pi * turns))[None].float()


def _vibrato() -> Iterator[Sequence[str]]:
    for model in ("tracks", "sine"):
        for budget in BUDGETS:
            began = time.perf_counter()
            result = ddaudio.fit(Recording(vibrato(), RATE, "vibrato.wav"), model=model, budget=budget)
            yield model, str(result.n_parameters), f"{result.snr_db:.1f}", f"{time.perf_counter() - began:.1f}"


def glides() -> tuple[Tensor, Tensor]:
    """Return the sum of the glides, ``[1, T]``, and their frequencies in Hz, ``[2, T]``."""
    times = torch.arange(GLIDE_SAMPLES, dtype=torch.float64) / RATE
    ends = torch.tensor(GLIDES_HZ, dtype=torch.float64)
    slope = (ends[:, 1:] - ends[:, :1]) * RATE / GLIDE_SAMPLES
    phase = 2 * math.pi * (ends[:, :1] * times + slope / 2 * times**2)
    return (0.4 * torch.cos(phase)).sum(0, keepdim=True).float(), ends[:, :1] + slope * times


def frequency_curves(network: TracksNetwork) -> list[Tensor]:
    """Return the frequency in Hz of each track at each sample, the strongest first, ``[T]``; NaN where it is silent."""
    tracks, n_samples = network.tracks, network.shape[1]
    found = torch.full((len(tracks.signal), n_samples), torch.nan, dtype=torch.float64)
    for left in tracks.lefts.tolist():
        begin, end = (float(tracks.knots.position[knot]) for knot in (left, left + 1))
        inside = torch.arange(math.ceil(begin), min(n_samples, math.floor(end) + 1))
        pair = torch.tensor([left]), torch.tensor([left + 1])
        _, _, frequency = tracks.curve(*pair, ((inside - begin) / (end - begin))[None])
        found[int(tracks.owner[left]), inside] = frequency[0] * network.sample_rate / (2 * math.pi)
    return [found[track] for track in torch.argsort(tracks.track_energies(), descending=True).tolist()]


def _glides() -> Iterator[Sequence[str]]:
    sound, truth = glides()
    network = ddaudio.fit(Recording(sound, RATE, "glides.wav"), model="tracks", target_snr_db=GOAL_DB).network
    assert isinstance(network, TracksNetwork)
    curves = frequency_curves(network)[: len(truth)]
    for (low, high), right in zip(GLIDES_HZ, truth, strict=True):
        error = min(float((curve - right).abs().nanmean()) for curve in curves)
        yield f"{low:g} to {high:g}", f"{error:.2f}", str(network.n_components())


def _real() -> Iterator[Sequence[str]]:
    for path in recordings(*TONAL):
        yield _compared(path)


def _compared(path: Path) -> Sequence[str]:
    whole = audio.read(path)
    first, length = loudest(whole, round(EXCERPT_S * whole.sample_rate))
    excerpt = Recording(torch.as_tensor(whole.samples[:1, first : first + length]), whole.sample_rate, path.name)
    results, seconds = [], []
    for model in ("sine", "tracks+sine"):
        began = time.perf_counter()
        results.append(ddaudio.fit(excerpt, model=model, budget=round(PER_SAMPLE * length)))
        seconds.append(f"{time.perf_counter() - began:.1f}")
    cells, both = (result.snr_db or math.nan for result in results)
    tracks = results[1].network.terms[0].size_in_words()
    name = f"{path.parent.name}/{path.name}"
    return name, str(results[1].n_parameters), f"{cells:.2f}", f"{both:.2f}", f"{both - cells:+.2f}", tracks, *seconds
