"""Spectral peaks with sub-bin resolution."""

import math
from typing import NamedTuple

import torch
from scipy.fft import next_fast_len  # type: ignore[import-untyped]
from torch import Tensor

from ddaudio.grid.time_grid import TimeGrid
from ddaudio.losses.curvature import Differences

NEAR_PEAK = 0.005
"""Peaks below this share of the strongest in their frame are left to a later round: they may be side lobes."""
BLOCK_ELEMENTS = 1 << 24
"""Largest number of elements of the spectra computed at once."""


class Peaks(NamedTuple):
    """Peaks of the frames' spectra, strongest first, as errors are weighted."""

    frame: Tensor
    frequency: Tensor
    gain: Tensor
    """Energy that a partial at the peak would remove, ``[N]``."""


def spectral_peaks(residual: Tensor, grid: TimeGrid, weighting: Differences | None = None) -> Peaks:
    """Find the peaks of the spectrum of each frame of ``residual [B, T]``.

    Partials are windowed in the overlap-add, so one at frequency ``w`` removes ``|sum_n v_n^2 r_n exp(-i w n)|^2 /
    (sum_n v_n^2 / 2)`` of the frame's error ``sum_n (v_n r_n)^2``, with the window ``v``, provided that the neighbouring frames
    represent their share of the sound. Maxima are found in a spectrum with half-bin steps and refined by a parabola through the
    logarithms of three points (Smith and Serra, 1987, PARSHL). Peaks are sorted by gain, times the response of a ``weighting`` of
    errors over frequency.
    """
    parts = []
    for group, frames in zip(grid.groups, grid.frame(residual), strict=True):
        n_fft = 2 * next_fast_len(group.length, real=True)
        rows = max(1, BLOCK_ELEMENTS // n_fft)
        for first in range(0, frames.shape[0], rows):
            squared = group.windows[first : first + rows].to(residual) ** 2
            power = torch.fft.rfft(frames[first : first + rows] * squared, n_fft).abs().square_()
            power /= squared.sum(1, keepdim=True) / 2
            frame, *columns = _peaks_of(power, n_fft)
            parts.append((frame + group.frames.start + first, *columns))
    frame, frequency, gain = (torch.cat(columns) for columns in zip(*parts, strict=True))
    strength = gain if weighting is None else gain * weighting.response(frequency)
    order = torch.argsort(strength, descending=True, stable=True)
    return Peaks(frame[order], frequency[order].clamp(0, math.pi), gain[order])


def _peaks_of(power: Tensor, n_fft: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return row, frequency in radians and height of each peak of spectra ``[N, bins]``, which are modified."""
    # At 0 Hz and Nyquist a partial is a cosine only, whose energy is not halved.
    power[:, [0, -1]] /= 2
    # A real signal's spectrum is even about 0 and Nyquist, so both ends can be peaks as well.
    even = torch.nn.functional.pad(power[:, None], (1, 1), mode="reflect")[:, 0]
    is_peak = (power > even[:, :-2]) & (power >= even[:, 2:])
    highest = power.max(1, keepdim=True)
    # The spectrum of a click is flat: its highest point is a peak even without lower neighbours.
    is_peak.scatter_(1, highest.indices, highest.values > 0)
    is_peak &= power >= NEAR_PEAK * highest.values
    row, index = is_peak.nonzero(as_tuple=True)
    left, centre, right = (even[row, index + shift].clamp(min=1e-30).log() for shift in range(3))
    bend = (left - 2 * centre + right).clamp(max=-1e-9)
    offset = (0.5 * (left - right) / bend).clamp(-0.5, 0.5)
    return row, (index + offset) * (2 * math.pi / n_fft), power[row, index]
