"""The ERB-number scale: frequency in units of the bandwidth of auditory filters.

``E(f) = 21.4 log10(1 + 0.00437 f)``, f in Hz (Glasberg and Moore, 1990, "Derivation of auditory filter shapes from
notched-noise data", Hearing Research 47, equation 4).
"""

import torch
from torch import Tensor

_CAMS_PER_DECADE, _PER_HZ = 21.4, 0.00437


def erb_number(hz: Tensor) -> Tensor:
    """Return the ERB numbers (in Cams) of frequencies in Hz, 0 or more.

    Example:
        >>> round(float(erb_number(torch.tensor(1000.0))), 1)
        15.6

    """
    return _CAMS_PER_DECADE * torch.log10(1 + _PER_HZ * hz)


def erb_hz(number: Tensor) -> Tensor:
    """Return the frequencies in Hz of ERB numbers; the inverse of `erb_number`."""
    return (10 ** (number / _CAMS_PER_DECADE) - 1) / _PER_HZ


def evenly_spaced_hz(lowest_hz: float, highest_hz: float, n: int) -> Tensor:
    """Return ``n`` frequencies in Hz, both ends included, evenly spaced in ERB number: ``[n]`` float64."""
    ends = erb_number(torch.tensor([lowest_hz, highest_hz], dtype=torch.float64))
    return erb_hz(torch.linspace(float(ends[0]), float(ends[1]), n, dtype=torch.float64))
