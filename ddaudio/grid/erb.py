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


def bin_shares(edges_hz: Tensor, n_fft: int, sample_rate: int) -> Tensor:
    """Return the share of each bin of a spectrum in each band, ``[n_fft // 2 + 1, B]`` float64.

    A bin extends half a bin to either side, so that a band that is narrower than a bin has a share of one.

    Args:
        edges_hz: rising edges of the bands, ``[B + 1]``.
        n_fft: length of the transform in samples.
        sample_rate: samples per second.

    """
    bin_hz = sample_rate / n_fft
    centres_hz = torch.arange(n_fft // 2 + 1, dtype=torch.float64)[:, None] * bin_hz
    low, high = torch.maximum(edges_hz[:-1], centres_hz - bin_hz / 2), torch.minimum(edges_hz[1:], centres_hz + bin_hz / 2)
    return (high - low).clamp(min=0) / bin_hz
