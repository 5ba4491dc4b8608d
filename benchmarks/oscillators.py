"""Ways to sum sinusoids: time for the sum and for its gradients, and how far it is from a float64 sum."""

import math
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.results import table
from ddaudio.synthesis.nufft import available
from ddaudio.synthesis.oscillators import Method, sum_of_sinusoids

REPEATS = 7
STRETCH = 1000
FAR_ORIGIN = -1e7
Sum = Callable[[Tensor, Tensor, Tensor, int], Tensor]


def naive(frequency: Tensor, cosine: Tensor, sine: Tensor, n_samples: int) -> Tensor:
    """Sum ``a cos(w n) + b sin(w n)`` as it is written, all in float32."""
    phase = frequency[..., None] * torch.arange(n_samples, device=frequency.device, dtype=frequency.dtype)
    return (cosine[..., None] * phase.cos() + sine[..., None] * phase.sin()).sum(-2)


def cumulative_phase(frequency: Tensor, cosine: Tensor, sine: Tensor, n_samples: int) -> Tensor:
    """Add up the frequency from sample to sample for the phase, as DDSP's oscillator bank does (Engel et al., 2020)."""
    frequencies = frequency[..., None].expand(*frequency.shape, n_samples)
    phase = frequencies.cumsum(-1) - frequency[..., None]
    return (cosine[..., None] * phase.cos() + sine[..., None] * phase.sin()).sum(-2)


def cumulative_product(frequency: Tensor, cosine: Tensor, sine: Tensor, n_samples: int) -> Tensor:
    """Multiply ``z = exp(i w)`` from sample to sample, as the complex surrogate of Hayes et al. (2022) does."""
    turns = torch.polar(torch.ones_like(frequency), frequency)[..., None].expand(*frequency.shape, n_samples - 1)
    powers = torch.cat([torch.ones_like(turns[..., :1]), turns.cumprod(-1)], -1)
    return (torch.complex(cosine, -sine)[..., None] * powers).real.sum(-2)


def ours(method: Method) -> Sum:
    """Return one of our methods with the peers' arguments."""

    def total(frequency: Tensor, cosine: Tensor, sine: Tensor, n_samples: int) -> Tensor:
        """Sum by that method."""
        return sum_of_sinusoids(frequency, cosine, sine, n_samples, method=method)

    return total


PEERS: dict[str, Sum] = {"naive": naive, "cumulative phase": cumulative_phase, "cumulative product": cumulative_product}
OURS: dict[str, Sum] = {f"`{name}`": ours(name) for name in ("direct", "factored", "nufft")}
SIZES: tuple[tuple[int, int, int, dict[str, Sum]], ...] = (
    (64, 32, 4_096, PEERS | {name: total for name, total in OURS.items() if name != "`nufft`"}),
    (1, 64, 44_100, PEERS | OURS),
    (1, 512, 44_100, PEERS | OURS),
    (1, 4_096, 441_000, {name: OURS[name] for name in ("`factored`", "`nufft`")}),
    (1, 100_000, 441_000, {name: OURS[name] for name in ("`factored`", "`nufft`")}),
)


def bank(batch: int, size: int, device: str) -> list[Tensor]:
    """Return random partials over the whole band, its ends 0 and pi among them."""
    generator = torch.Generator().manual_seed(0)
    frequency = torch.rand(batch, size, generator=generator) * math.pi
    frequency[:, 0], frequency[:, -1] = 0, math.pi
    amplitudes = torch.randn(2, batch, size, generator=generator)
    return [part.to(device).requires_grad_() for part in (frequency, *amplitudes)]


def relative_error(found: Tensor, inputs: list[Tensor], origin: float = 0.0) -> float:
    """Compare three stretches, at the start, in the middle and at the end, with the direct sum in float64."""
    n_samples, length = found.shape[-1], min(STRETCH, found.shape[-1])
    exact = [part.detach().double() for part in inputs]
    errors, norms = 0.0, 0.0
    for start in (0, (n_samples - length) // 2, n_samples - length):
        truth = sum_of_sinusoids(*exact, length, origin=origin - start, method="direct")
        errors += float((found[..., start : start + length] - truth).square().sum())
        norms += float(truth.square().sum())
    return math.sqrt(errors / norms)


def _clock() -> float:
    """Return the time when all that was asked of the device is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def _timed(total: Sum, inputs: list[Tensor], n_samples: int, weights: Tensor) -> tuple[float, float]:
    """Return seconds for the sum and for its gradients."""
    began = _clock()
    found = total(*inputs, n_samples)
    summed = _clock()
    torch.autograd.grad(found, inputs, weights)
    return summed - began, _clock() - summed


def _rows(batch: int, size: int, n_samples: int, ways: dict[str, Sum], device: str) -> list[tuple[str, ...]]:
    """Time all ways in turn, so that whatever else the machine does hits all alike."""
    inputs = bank(batch, size, device)
    weights = torch.randn(batch, n_samples, device=device)
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for repeat in range(-1, REPEATS if size < 100_000 else 3):
        for name, total in ways.items():
            took = _timed(total, inputs, n_samples, weights)
            if repeat >= 0:
                seconds[name].append(took)
    reference = statistics.median(sum(took) for took in seconds["`factored`"])
    rows = []
    for name, total in ways.items():
        with torch.no_grad():
            error = relative_error(total(*inputs, n_samples), inputs)
        forward, backward = (statistics.median(part) * 1e3 for part in zip(*seconds[name], strict=True))
        ratio = statistics.median(sum(took) for took in seconds[name]) / reference
        size_text = f"{batch} x {size:,} x {n_samples:,}"
        rows.append((device, size_text, name, f"{forward:.2f}", f"{backward:.2f}", f"{ratio:.2f}", f"{error:.1e}"))
        print(" | ".join(rows[-1]), flush=True)
    return rows


def _far(device: str, methods: list[str]) -> list[tuple[str, ...]]:
    """Measure the float32 error with the first sample at index zero and at ten million."""
    rows = []
    for size, n_samples in ((512, 44_100), (4_096, 44_100)):
        inputs = [part.detach() for part in bank(1, size, device)]
        for method in methods:
            errors = [
                relative_error(sum_of_sinusoids(*inputs, n_samples, origin=origin, method=method), inputs, origin)
                for origin in (0.0, FAR_ORIGIN)
            ]
            rows.append((device, f"{size:,} x {n_samples:,}", f"`{method}`", *(f"{error:.1e}" for error in errors)))
    return rows


def run() -> tuple[str, list[str]]:
    """Time and compare all ways at all sizes; return title and tables."""
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    rows, far = [], []
    for device in devices:
        without_nufft = not available(torch.device(device))
        for batch, size, n_samples, ways in SIZES:
            used = {name: total for name, total in ways.items() if not (without_nufft and name == "`nufft`")}
            rows += _rows(batch, size, n_samples, used, device)
        far += _far(device, ["direct", "factored"] + ["nufft"] * (not without_nufft))
    head = ("device", "batch x partials x samples", "way", "sum ms", "gradients ms", "time / `factored`", "relative error")
    lines = [
        f"Everything in float32; medians of {REPEATS} interleaved runs (3 with 100,000 partials) on "
        f"{torch.get_num_threads()} threads. The gradients are those of all frequencies and amplitudes. The error is that of "
        f"three stretches of {STRETCH:,} samples, at both ends and in the middle, against a direct sum in float64. Frequencies "
        "fill the band from 0 to Nyquist, both included.",
        "",
        *table(head, rows),
        "",
        "Relative error in float32 when the first sample is number 0 and number 10,000,000 from the origin of the phases:",
        "",
        *table(("device", "partials x samples", "method", "at 0", "at 10,000,000"), far),
    ]
    return "sums of sinusoids, compared with other implementations", lines
