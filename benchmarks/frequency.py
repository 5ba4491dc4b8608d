"""How often sinusoids are found from random frequencies, by which landscape, and how near the Cramer-Rao bound they come."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from benchmarks.descents import FINAL, LONE_STAGES, TRAVEL_STEPS, plain_descents, travel
from benchmarks.results import table
from ddaudio.analysis import annihilating_filter, growing_windows, optimal_transport
from ddaudio.analysis.frequencies import FIRST_WINDOW, find_frequencies
from ddaudio.comparing.landscape import loss_of

N_SAMPLES = 4096
BIN = 2 * math.pi / N_SAMPLES
APART = 4.0
"""Bins that sinusoids are apart, at least; also from their own images below 0 and above Nyquist."""
UNEQUAL_DB = 20.0
"""Range that unequal amplitudes are drawn from, evenly in decibels."""
COUNTS = (1, 2, 8, 32)
SNRS_DB = (40, 20, 10, 0)
HEADLINE = {1: 1000, 2: 200, 8: 1000, 32: 20}
"""Starts of the estimators without noise, equal amplitudes; a fifth of that for all else without noise."""
IN_NOISE = {1: 100, 2: 100, 8: 40, 32: 5}
LOSSES = ("mae", "mse", "mss", "pdl")
"""Losses of each family, point by point, by differences and by spectra; `ddaudio landscape` draws all."""
FROM_LOSSES = {1: 32, 2: 16, 8: 8, 32: 4}
LOSSES_SNR_DB = 20
FROM_SURROGATE = {1: 32, 2: 32, 8: 8, 32: 2}
"""Signals of the benchmark ``surrogate``, as many components as in the paper of Hayes et al.; it took 50,001 steps for one and
250,000 for several."""
HEAD = ("sinusoids", "amplitudes", "SNR dB", "start", "descent", "starts", "found", "share", "RMSE / CRB", "steps", "s a start")


class Case(NamedTuple):
    """A drawing of signals."""

    n_sinusoids: int
    starts: int
    snr_db: float | None = None
    range_db: float = 0.0


@dataclass(frozen=True)
class Drawn:
    """Signals, the truth, and where to start."""

    case: Case
    signals: Tensor
    truth: Tensor
    bound: Tensor
    """Cramer-Rao bound of each frequency, radians per sample, ``[B, K]``; 0 without noise."""
    random: Tensor

    @classmethod
    def of(cls, case: Case) -> "Drawn":
        """Draw frequencies, phases, amplitudes, noise and starts; the same for the same case."""
        generator = torch.Generator().manual_seed(case.n_sinusoids)
        shape = case.starts, case.n_sinusoids
        uniform = torch.rand(4, *shape, generator=generator, dtype=torch.float64)
        room = N_SAMPLES / 2 - APART * case.n_sinusoids
        truth = (APART / 2 + uniform[0].sort(1).values * room + APART * torch.arange(case.n_sinusoids)) * BIN
        phase, amplitude = 2 * math.pi * uniform[1], 10 ** (-case.range_db / 20 * uniform[2])
        times = torch.arange(N_SAMPLES, dtype=torch.float64) - (N_SAMPLES - 1) / 2
        signals, bound = torch.empty(case.starts, N_SAMPLES, dtype=torch.float64), torch.zeros(shape, dtype=torch.float64)
        for row in range(case.starts):
            angle = truth[row, :, None] * times + phase[row, :, None]
            signals[row] = amplitude[row] @ angle.cos()
            if case.snr_db is not None:
                sigma = math.sqrt(float(signals[row].square().mean()) * 10 ** (-case.snr_db / 10))
                slope = -amplitude[row, :, None] * angle.sin()
                jacobian = torch.cat([slope * times, slope, angle.cos()])
                bound[row] = sigma * torch.linalg.inv(jacobian @ jacobian.T).diagonal()[: case.n_sinusoids].sqrt()
                signals[row] += sigma * torch.randn(N_SAMPLES, generator=generator, dtype=torch.float64)
        return cls(case, signals, truth, bound, math.pi * uniform[3])


def score(found: Tensor, drawn: Drawn) -> tuple[int, float | None]:
    """Return how many starts found all frequencies within half a bin, and their RMSE over the Cramer-Rao bound."""
    hits, ratios = 0, []
    for mine, true, bound in zip(found.numpy(), drawn.truth.numpy(), drawn.bound.numpy(), strict=True):
        distance = np.abs(mine[:, None] - true)
        rows, columns = linear_sum_assignment(distance)
        if distance[rows, columns].max() <= BIN / 2:
            hits += 1
            ratios += [] if drawn.case.snr_db is None else list((distance[rows, columns] / bound[columns]) ** 2)
    return hits, math.sqrt(np.mean(ratios)) if ratios else None


def run() -> tuple[str, list[str]]:
    """Run every descent on every case; return title and table."""
    began, rows = time.perf_counter(), []
    for drawn, start, name, steps, descent in _runs():
        first = time.perf_counter()
        found = descent(drawn.signals, drawn.random)
        seconds = (time.perf_counter() - first) / drawn.case.starts
        hits, ratio = score(found, drawn)
        count, starts, snr_db, range_db = drawn.case
        figures = (str(starts), str(hits), f"{100 * hits / starts:.1f} %", "" if ratio is None else f"{ratio:.2f}")
        what = (str(count), "0 to -20 dB" if range_db else "equal", "none" if snr_db is None else f"{snr_db:g}", start, name)
        rows.append((*what, *figures, steps, f"{seconds:.4f}"))
        print(f"{time.perf_counter() - began:.0f} s", " | ".join(rows[-1]), flush=True)
    title = f"sinusoids found in {N_SAMPLES} samples, all within half a bin, by as many oscillators"
    return title, table(HEAD, rows)


def surrogate() -> tuple[str, list[str]]:
    """Run the network ``surrogate`` as it is set by default from random frequencies; return title and table."""
    rows = []
    for count, starts in FROM_SURROGATE.items():
        drawn = Drawn.of(Case(count, starts))
        first = time.perf_counter()
        found = travel(drawn.signals, drawn.random)
        hits, _ = score(found, drawn)
        near = int((found[:, :, None] - drawn.truth[:, None]).abs().amin(1).le(BIN / 2).sum())
        seconds = (time.perf_counter() - first) / starts
        rows.append((str(count), str(starts), str(hits), f"{near} of {count * starts}", str(TRAVEL_STEPS), f"{seconds:.1f}"))
        print(" | ".join(rows[-1]), flush=True)
    title = f"sinusoids found in {N_SAMPLES} samples without noise by damped exponentials at random frequencies, Adam"
    return title, table(("sinusoids", "starts", "all found", "found", "steps", "s a start"), rows)


Run = tuple[Drawn, str, str, str, Callable[[Tensor, Tensor], Tensor]]


def _runs() -> Iterator[Run]:
    """Yield each drawing with each descent: what starts, its name, its steps at most, and itself."""
    for count, starts in HEADLINE.items():
        yield from _recipes(Drawn.of(Case(count, starts)))
        fewer = Drawn.of(Case(count, starts // 5))
        yield fewer, "peaks", "last of the `windows`", *FINAL
        for name, (steps, descent) in LONE_STAGES.items():
            yield fewer, "random", name, steps, descent
        unequal = Drawn.of(Case(count, starts // 5, range_db=UNEQUAL_DB))
        yield from _recipes(unequal)
        yield unequal, "peaks", "last of the `windows`", *FINAL
    for count, starts in IN_NOISE.items():
        for snr_db in SNRS_DB:
            drawn = Drawn.of(Case(count, starts, snr_db))
            yield from _recipes(drawn)
            yield drawn, "peaks", "last of the `windows`", *FINAL
    losses = {name: loss_of(name, N_SAMPLES) for name in LOSSES}
    for count, starts in FROM_LOSSES.items():
        for snr_db in (None, LOSSES_SNR_DB):
            drawn = Drawn.of(Case(count, starts, snr_db))
            for start, name, steps, descent in plain_descents(losses):
                if snr_db is None or start == "peaks":
                    yield drawn, start, name, steps, descent


def _recipes(drawn: Drawn) -> Iterator[Run]:
    """Yield the estimators from random starts."""
    for estimator, stage in {
        "annihilating-filter": annihilating_filter.STEPS,
        "optimal-transport": optimal_transport.STEPS,
    }.items():
        first = FIRST_WINDOW[estimator]
        steps = stage + growing_windows.STEPS * sum(
            n >= first for n in growing_windows.lengths(N_SAMPLES, drawn.case.n_sinusoids)
        )
        yield drawn, "random", f"estimator `{estimator}`", str(steps), partial(find_frequencies, estimator=estimator)
