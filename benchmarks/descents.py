"""Descents that the benchmark ``frequency`` compares: from signals ``[B, N]`` and random frequencies to frequencies."""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from ddaudio.analysis.annihilating_filter import STEPS as NOTCH_STEPS
from ddaudio.analysis.annihilating_filter import silence
from ddaudio.analysis.budget import Budget
from ddaudio.analysis.growing_windows import STEPS as WINDOW_STEPS
from ddaudio.analysis.growing_windows import grow
from ddaudio.analysis.matching_pursuit import pursue
from ddaudio.analysis.optimal_transport import STEPS as CARRY_STEPS
from ddaudio.analysis.optimal_transport import carry
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.synthesis.oscillators import sum_of_sinusoids

STEPS = 210
"""Steps of Adam in all."""
FREQUENCY_RATE, AMPLITUDE_RATE, SURROGATE_RATE = 0.3, 0.02, 0.02
"""Largest steps: bins, full scale, and of ``z``, half of which is the way from 0 to Nyquist in 80 steps."""
SHORTEST = 64
"""First window of ``grow``."""
Loss = Callable[[Tensor, Tensor], Tensor]
Descent = Callable[[Tensor, Tensor], Tensor]


class Waves(NamedTuple):
    """Sinusoids or damped ones: how they are made of parameters, and how those begin."""

    begin: Callable[[Tensor, Tensor, Tensor], list[Tensor]]
    """Parameters from frequencies, cosine and sine amplitudes."""
    natural: Callable[[list[Tensor]], tuple[Tensor, Tensor, Tensor, Tensor | None]]
    """Frequencies, amplitudes and decays from parameters."""
    rates: tuple[float, ...]


def _begin_surrogate(frequency: Tensor, cosine: Tensor, sine: Tensor) -> list[Tensor]:
    return [frequency.cos(), frequency.sin(), cosine, sine]


def _natural_surrogate(parameters: list[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return waves ``Re(c z^n)`` with ``|z|`` kept between 0.1 and 1."""
    real, imaginary, cosine, sine = parameters
    with torch.no_grad():
        modulus = torch.hypot(real, imaginary)
        factor = modulus.clamp(0.1, 1) / modulus.clamp(min=1e-12)
        real *= factor
        imaginary *= factor
    return torch.atan2(imaginary, real), cosine, sine, -0.5 * (real.square() + imaginary.square()).log()


SINUSOIDS = Waves(
    lambda frequency, cosine, sine: [frequency, cosine, sine],
    lambda parameters: (*parameters, None),
    (FREQUENCY_RATE, AMPLITUDE_RATE, AMPLITUDE_RATE),
)
SURROGATE = Waves(_begin_surrogate, _natural_surrogate, (SURROGATE_RATE, SURROGATE_RATE, AMPLITUDE_RATE, AMPLITUDE_RATE))


def adam(loss: Loss, waves: Waves, shortest: int, signals: Tensor, start: Tensor) -> Tensor:
    """Descend on a loss by all parameters with Adam, with windows that grow by two from ``shortest``."""
    target, n_samples = signals.float(), signals.shape[1]
    level = target.square().mean(1, keepdim=True).sqrt()
    target = target / level
    lengths = [n_samples >> shift for shift in range(max(0, int(math.log2(n_samples / shortest))), -1, -1)]
    parameters: list[Tensor] = []
    for length in lengths:
        # Sinusoids count time from the middle, where frequency and phase have least to do with each other; damped ones from the
        # beginning, where they are loudest.
        first = 0 if waves is SURROGATE else (n_samples - length) // 2
        piece, origin = target[:, first : first + length], 0.0 if waves is SURROGATE else (length - 1) / 2
        if not parameters:
            frequency = start.float()
            parameters = waves.begin(frequency, *_amplitudes(piece, frequency, origin))
        # Valleys are as wide as a bin of the window; z has a rate of its own.
        narrowed = lengths[0] / length if waves is SURROGATE else 2 * math.pi / length
        narrow = 2 if waves is SURROGATE else 1
        rates = [rate * narrowed if index < narrow else rate for index, rate in enumerate(waves.rates)]
        parameters = _steps(loss, waves, parameters, rates, piece, origin, STEPS // len(lengths))
    return waves.natural(parameters)[0].detach().double().remainder(2 * math.pi).sub(math.pi).abs().neg().add(math.pi)


def _steps(
    loss: Loss,
    waves: Waves,
    begin: list[Tensor],
    rates: list[float],
    piece: Tensor,
    origin: float,
    steps: int,
    memory: float = 0.999,
) -> list[Tensor]:
    parameters = [part.detach().clone().requires_grad_() for part in begin]
    optimiser = torch.optim.Adam(
        [{"params": [part], "lr": rate} for part, rate in zip(parameters, rates, strict=True)], betas=(0.9, memory), eps=1e-30
    )
    for step in range(steps):
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        frequency, cosine, sine, decay = waves.natural(parameters)
        estimate = sum_of_sinusoids(frequency, cosine, sine, piece.shape[1], decay=decay, origin=origin)
        optimiser.zero_grad()
        loss(estimate, piece).sum().backward()
        optimiser.step()
    return [part.detach() for part in parameters]


def _amplitudes(target: Tensor, frequency: Tensor, origin: float) -> tuple[Tensor, Tensor]:
    """Return the least-squares amplitudes for given frequencies."""
    phase = (torch.arange(target.shape[1]) - origin)[:, None] * frequency[:, None]
    waves = torch.cat([phase.cos(), phase.sin()], 2)
    normal = waves.transpose(1, 2) @ waves + 1e-3 * target.shape[1] * torch.eye(waves.shape[2])
    solved = torch.linalg.solve(normal, waves.transpose(1, 2) @ target[..., None])[..., 0]
    return solved.chunk(2, dim=1)


TRAVEL_STEPS, TRAVEL_DAMPING = 3000, 0.02
TRAVEL_RATES = (0.002, 0.002, 0.05, 0.05)
"""What the network ``surrogate`` does from random frequencies by default: steps of ``z`` and of amplitudes, full scale 1."""


def travel(signals: Tensor, start: Tensor) -> Tensor:
    """Descend on the squared error with Adam as the network ``surrogate`` does from random frequencies."""
    target = signals.float() / signals.float().square().mean(1, keepdim=True).mul(2).sqrt()
    frequency = start.float()
    modulus = math.exp(-TRAVEL_DAMPING)
    begin = [modulus * frequency.cos(), modulus * frequency.sin(), *_amplitudes(target, frequency, 0.0)]
    mse: Loss = lambda estimate, piece: (estimate - piece).square().mean(1)  # noqa: E731
    parameters = _steps(mse, SURROGATE, begin, list(TRAVEL_RATES), target, 0.0, TRAVEL_STEPS, memory=0.99)
    return SURROGATE.natural(parameters)[0].detach().double().abs()


def peaks(signals: Tensor, count: int) -> Tensor:
    """Return the frequencies that the start ``peaks`` of a fit finds, ``[B, count]``."""
    n_signals, n_samples = signals.shape
    grid = TimeGrid.of_sizes(n_samples, n_samples, [[n_samples]] * n_signals)
    partials, _ = pursue(signals.float(), grid, Budget(n_signals * count, most_per_frame=count))
    found = torch.full((n_signals, count), math.pi / 2, dtype=torch.float64)
    for row in range(n_signals):
        own = partials.frequency[partials.frame == row].double()
        found[row, : own.numel()] = own
    return found


def _from_peaks(descent: Descent, signals: Tensor, start: Tensor) -> Tensor:
    return descent(signals, peaks(signals, start.shape[1]))


def _last_window(signals: Tensor, start: Tensor) -> Tensor:
    return grow(signals, start, signals.shape[1])


FINAL: tuple[str, Descent] = (str(WINDOW_STEPS), partial(_from_peaks, _last_window))
LONE_STAGES: dict[str, tuple[str, Descent]] = {
    "`annihilating-filter` alone": (str(NOTCH_STEPS), silence),
    "`optimal-transport` alone": (str(CARRY_STEPS), carry),
    "growing `windows` alone": (f"{WINDOW_STEPS} a length", grow),
}


def plain_descents(losses: Mapping[str, Loss]) -> Iterator[tuple[str, str, str, Descent]]:
    """Yield start, name, steps and descent of every loss, of growing windows, of the surrogate, and of some of them together."""
    for name, loss in losses.items():
        plain = partial(adam, loss, SINUSOIDS)
        yield "random", f"`{name}`", str(STEPS), partial(plain, 10**9)
        yield "random", f"`{name}`, `grow`", str(STEPS), partial(plain, SHORTEST)
        yield "peaks", f"`{name}`", str(STEPS), partial(_from_peaks, partial(plain, 10**9))
    for name in ("mse", "mss"):
        yield "random", f"`surrogate`, `{name}`", str(STEPS), partial(adam, losses[name], SURROGATE, 10**9)
        yield "random", f"`surrogate`, `{name}`, `grow`", str(STEPS), partial(adam, losses[name], SURROGATE, SHORTEST)
