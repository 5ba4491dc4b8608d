"""Drift: the part of a recording below all audible frequencies, as a constant or a cubic spline per signal.

Of a tone of ``f`` Hz, least squares with ``r`` knots per second leave about ``q / (1 + q)`` of the energy, with
``q = (f / (r - f))^8`` (Unser, 1999, "Splines: a perfect fit for signal and image processing"). At 40 knots per second that is
-38 dB at 10 Hz, -18 dB at 15 Hz and half at 20 Hz; of 27.5 Hz, the lowest note of a piano, 0.2 % are taken.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

HIGHEST_HZ = 20.0
"""Highest frequency of a drift: what is above is heard."""
ORDER = 4
"""Number of cubic B-splines that overlap at any time."""
SHORTEST_S = 0.75
"""Shortest recording in seconds whose drift reaches `HIGHEST_HZ`: at the ends, splines follow low tones too."""


def finest_interval(sample_rate: int, n_samples: int) -> int:
    """Return the length in samples of the shortest intervals: half a period of `HIGHEST_HZ`, twice that in short recordings."""
    half_period = round(sample_rate / (2 * HIGHEST_HZ))
    return half_period if n_samples >= SHORTEST_S * sample_rate else 2 * half_period


def intervals(sample_rate: int, n_samples: int) -> list[int]:
    """Return the possible lengths of intervals in samples, each twice the next; the first covers the recording."""
    lengths = [finest_interval(sample_rate, n_samples)]
    while lengths[0] < n_samples:
        lengths.insert(0, 2 * lengths[0])
    return lengths


def n_coefficients(interval: int, n_samples: int) -> int:
    """Return the number of cubic B-splines over ``n_samples`` with knots every ``interval`` samples; 1 for an interval of 0."""
    return -(-n_samples // interval) + ORDER - 1 if interval else 1


def spline_weights(place: Tensor) -> Tensor:
    """Return the values of the four cubic B-splines at places 0 to 1 within an interval, ``[..., 4]``; their sum is 1."""
    rest = 1 - place
    inner = [3 * each**3 - 6 * each**2 + 4 for each in (place, rest)]
    return torch.stack([rest**3, inner[0], inner[1], place**3], -1) / 6


@dataclass(frozen=True, eq=False)
class Drift:
    """Signals ``[B, T]`` of slow curves, computed on access.

    >>> Drift(torch.tensor([[0.5]]), sample_rate=8000, n_samples=5)[:, 3:].tolist()
    [[0.5, 0.5]]
    """

    coefficients: Tensor
    """``[B, K]`` float32: the constant of each signal, or the weights of its cubic B-splines in order of time."""
    sample_rate: int
    """Samples per second."""
    n_samples: int
    """Length of each signal, T."""
    played_rate: int | None = None
    """Sample rate at which the curves are evaluated (default: ``sample_rate``)."""

    @property
    def interval(self) -> int:
        """Distance between knots in samples, which follows from the number of coefficients; 0 for a constant.

        Raises ValueError if no interval has this number.
        """
        count = self.coefficients.shape[1]
        lengths = [0, *intervals(self.sample_rate, self.n_samples)]
        matching = [length for length in lengths if n_coefficients(length, self.n_samples) == count]
        if not matching:
            raise ValueError(f"{count} coefficients belong to no interval between knots")
        return matching[-1]

    @property
    def shape(self) -> tuple[int, int]:
        """Number of signals B, and samples of each at the rate at which they are evaluated."""
        rate = self.played_rate or self.sample_rate
        return len(self.coefficients), -(-self.n_samples * rate // self.sample_rate)

    def at_rate(self, sample_rate: int) -> "Drift":
        """Return the same curves at another sample rate, in Hz."""
        return replace(self, played_rate=sample_rate)

    def __getitem__(self, index: tuple[slice, slice], /) -> Tensor:
        """Return the slice as a new tensor, float32 on the CPU."""
        first, last, _ = index[1].indices(self.shape[1])
        rows = self.coefficients[index[0]].detach().cpu()
        interval = self.interval
        if not interval:
            return rows.expand(len(rows), max(last - first, 0)).clone()
        rate = self.played_rate or self.sample_rate
        places = torch.arange(first, last, dtype=torch.float64) * (self.sample_rate / (rate * interval))
        knots = places.floor().clamp(max=rows.shape[1] - ORDER)
        weights, knots = spline_weights(places - knots), knots.long()
        values = torch.zeros(len(rows), len(places), dtype=torch.float64)
        for spline in range(ORDER):
            values += weights[:, spline] * rows[:, knots + spline].double()
        return values.float()
