"""Tracks: time for their sum and its gradients against direct torch, exactness, phases after ten minutes, batches."""

import math
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.results import table
from ddaudio.nn import synthesise_tracks
from ddaudio.synthesis.tracks import Knots, render_tracks

RATE, SECONDS, TRACKS = 44100, 10, 1000
REPEATS = 3
HOPS = (441, 2205)
MEMORY_TRACKS, CACHE_TRACKS = 50, 5
"""Tracks at once: as many as fit into 3 GB with their graph, and as many as are fastest since they fit into caches."""
Controls = tuple[Tensor, Tensor, Tensor]
Render = Callable[[Tensor, Tensor, Tensor, int], Tensor]


def controls(hop: int, n_tracks: int = TRACKS) -> Controls:
    """Return amplitude, frequency (radians per sample) and phase, ``[tracks, knots]``: tones that waver by 15 Hz."""
    generator = torch.Generator().manual_seed(0)
    n_knots = RATE * SECONDS // hop + 1
    centre = 0.3 + 2.5 * torch.rand(n_tracks, 1, generator=generator)
    frequency = centre + 0.002 * torch.randn(n_tracks, n_knots, generator=generator)
    steps = (frequency[:, 1:] + frequency[:, :-1]).double() * (hop / 2)
    phase = torch.cat([torch.zeros(n_tracks, 1), (steps.cumsum(1) % (2 * math.pi)).float()], 1)
    phase += 0.1 * torch.randn(n_tracks, n_knots, generator=generator)
    return torch.rand(n_tracks, n_knots, generator=generator), frequency, phase


def direct(amplitude: Tensor, frequency: Tensor, phase: Tensor, hop: int) -> Tensor:
    """Evaluate every sample of every track in float32, as an expert would write it: phases count from the nearest knot."""
    (a0, a1), (w0, w1), (p0, p1) = ((each[:, :-1, None], each[:, 1:, None]) for each in (amplitude, frequency, phase))
    turns = torch.round((p0 - p1 + (w0 + w1) * hop / 2) / (2 * math.pi)).detach()
    rest, bend = p1 - p0 - w0 * hop + 2 * math.pi * turns, (w1 - w0) * hop
    time = torch.arange(hop) / hop
    angle = p0 + time * (w0 * hop + time * (3 * rest - bend + time * (bend - 2 * rest)))
    return ((a0 + time * (a1 - a0)) * torch.cos(angle)).sum(0).flatten()


def ours(amplitude: Tensor, frequency: Tensor, phase: Tensor, hop: int) -> Tensor:
    """Render the same with `render_tracks`."""
    n_tracks, n_knots = amplitude.shape
    position = (torch.arange(n_knots, dtype=torch.float64) * hop).repeat(n_tracks)
    knots = Knots(torch.full((n_tracks,), n_knots), position, amplitude.flatten(), frequency.flatten(), phase.flatten())
    return render_tracks(knots, torch.zeros(n_tracks, dtype=torch.int64), (1, (n_knots - 1) * hop))[0]


def _timed(render: Render, given: Controls, hop: int, weights: Tensor, at_once: int) -> float:
    """Return seconds for the sum and all gradients, some tracks at once."""
    began = time.perf_counter()
    for first in range(0, len(given[0]), at_once):
        own = [each[first : first + at_once].clone().requires_grad_() for each in given]
        torch.autograd.grad(render(*own, hop), own, weights)
    return time.perf_counter() - began


def _speed(hop: int) -> list[tuple[str, ...]]:
    """Time all ways in turn."""
    given, weights = controls(hop), torch.randn(RATE * SECONDS // hop * hop)
    ways = {
        f"direct, {MEMORY_TRACKS} tracks at once": (direct, MEMORY_TRACKS),
        f"direct, {CACHE_TRACKS} tracks at once": (direct, CACHE_TRACKS),
        "`render_tracks`": (ours, TRACKS),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(REPEATS):
        for name, (render, at_once) in ways.items():
            seconds[name].append(_timed(render, given, hop, weights, at_once))
            print(hop, name, f"{seconds[name][-1]:.2f}", flush=True)
    own = statistics.median(seconds["`render_tracks`"])
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    return [(f"{1000 * hop / RATE:g} ms", name, f"{each:.2f}", f"{each / own:.1f}") for name, each in medians.items()]


def _errors(hop: int, n_tracks: int) -> tuple[str, ...]:
    """Compare sum and gradients in float32 with those in float64, which are computed sample by sample."""
    weights = torch.randn(RATE * SECONDS // hop * hop, generator=torch.Generator().manual_seed(1))
    made, gradients = [], []
    for dtype in (torch.float32, torch.float64):
        own = [each.to(dtype).requires_grad_() for each in controls(hop, n_tracks)]
        found = ours(*own, hop)
        made.append(found.detach())
        gradients.append(torch.autograd.grad(found, own, weights.to(dtype)))
    error = float((made[0] - made[1]).abs().max() / made[1].abs().max())
    relative = [float((each - exact).norm() / exact.norm()) for each, exact in zip(*gradients, strict=True)]
    return f"{1000 * hop / RATE:g} ms", str(n_tracks), f"{error:.1e}", *(f"{each:.1e}" for each in relative)


def _phase_error() -> float:
    """Return the largest error in radians in the last second of ten minutes of 4,400 Hz, between its zeros and extremes."""
    n_samples = RATE * 600
    times_s = torch.tensor([0.0, 300.0, 598.0, 600.0], dtype=torch.float64)
    frequency_hz, amplitude = torch.full((1, 2, 4), 4400.0), torch.tensor([[[0.0, 0.0, 1.0, 1.0]]]).expand(1, 2, 4)
    # A cosine and a sine give the phase: the sum of the tracks one by one.
    quarter = torch.tensor([0.0, -math.pi / 2])[None, :, None]
    parts = [
        synthesise_tracks(
            frequency_hz[:, row : row + 1], amplitude[:, :1], RATE, n_samples, phase=quarter[:, row : row + 1], times_s=times_s
        )[0, -RATE:]
        for row in range(2)
    ]
    turns = (torch.arange(n_samples - RATE, n_samples) * 4400 % RATE).double() / RATE
    gap = torch.atan2(parts[1].double(), parts[0].double()) / (2 * math.pi) - turns
    return float((gap - gap.round()).abs().max()) * 2 * math.pi


def _batch_error() -> float:
    """Return the largest difference of 64 sounds at once and one by one, relative to the peak."""
    generator = torch.Generator().manual_seed(0)
    frequency_hz, amplitude = (
        100 + 5000 * torch.rand(64, 20, 30, generator=generator),
        torch.rand(64, 20, 30, generator=generator),
    )
    whole = synthesise_tracks(frequency_hz, amplitude, 16000, 16000)
    rows = [synthesise_tracks(frequency_hz[row : row + 1], amplitude[row : row + 1], 16000, 16000) for row in range(64)]
    return float((whole - torch.cat(rows)).abs().max() / whole.abs().max())


def run() -> tuple[str, list[str]]:
    """Measure everything; return title and tables."""
    speed = [row for hop in HOPS for row in _speed(hop)]
    errors = [_errors(hop, 20) for hop in HOPS]
    lines = [
        f"{TRACKS:,} tracks of {SECONDS} s at {RATE:,} Hz in float32: their sum and its gradients by all amplitudes, frequencies "
        f"and phases; medians of {REPEATS} interleaved runs, threads: {torch.get_num_threads()}. Direct torch evaluates every "
        "sample of every track under autograd, as many tracks at once as fit into 3 GB, or, tuned, into caches.",
        "",
        *table(("between knots", "way", "seconds", "time / `render_tracks`"), speed),
        "",
        "Error of sum (largest, relative to the peak) and gradients (norm) in float32 against float64, sample by sample:",
        "",
        *table(("between knots", "tracks", "sum", "by amplitude", "by frequency", "by phase"), errors),
        "",
        *table(
            ("what", "measured", "required"),
            [
                ("phase after 10 minutes, radians", f"{_phase_error():.1e}", "1e-4"),
                ("64 sounds at once against one by one, relative to the peak", f"{_batch_error():.1e}", "1e-6"),
            ],
        ),
    ]
    return "sums of tracks and their gradients against direct torch", lines
