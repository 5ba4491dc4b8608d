"""Onsets of a sound to a fraction of a millisecond, where attacks begin that a stretch must not smear."""

import math

import torch
from torch import Tensor

from ddaudio.editing.editable import Editable
from ddaudio.editing.knots import owners
from ddaudio.editing.time_map import Attacks

BEFORE_S, AFTER_S = (0.005, 0.050), 0.020
"""What of an attack keeps its speed: the time before its onset, at least and at most, and after it."""
BEGUN = 0.998
"""Share of the energy of the tracks that begin with an attack whose beginnings are in it."""
FRAME_S, HOP_S = 0.008, 0.002
"""Frames in which onsets are found."""
BANDS, LOWEST_HZ = 24, 100.0
"""Number of bands in which levels are compared, evenly spaced in logarithmic frequency, and the lowest frequency."""
APART_S = 0.006
"""Time between the frames that are compared."""
RANGE_DB = 60.0
"""Levels this far below the loudest are equal."""
LEAST_RISE_DB, OVER_MEDIAN = 3.0, 3.0
"""Least mean rise over all bands, and how many times the median around it."""
AROUND_S, SPACING_S = 0.15, 0.050
"""Time to either side in which that median is taken, and the least time between two onsets."""
FINE_FRAME_S, FINE_HOP_S, NEAR_S = 0.002, 0.0002, 0.012
"""Frames in which an onset is located, and how far from the frame in which it was found."""
BEGINS, RISEN = 0.1, 0.5
"""Shares of the largest energy: where the rise begins, and of the largest in the 2 ms after that where the onset is."""
LOUDER = 0.5
"""Least energy after an onset, as a share of that before: where a sound ends abruptly, levels rise at most frequencies, too."""


def attacks_of(sound: Editable) -> Attacks:
    """Return the attacks of a sound.

    Tracks that begin with an attack begin before its onset, as long as their cell was, and cancel until then: so an attack
    extends from the beginning of most of them to 20 ms after the onset.
    """
    rate = sound.sample_rate
    onsets = onset_positions(sound.render(), rate)
    least, most = (part * rate for part in BEFORE_S)
    before = torch.full_like(onsets, least)
    knots = sound.knots
    starts = knots.counts.cumsum(0) - knots.counts
    begin = knots.position[starts]
    early = knots.position <= (begin + 2 * most)[owners(knots)]
    peaks = torch.zeros(len(begin), dtype=torch.float64)
    peaks = peaks.scatter_reduce(0, owners(knots)[early], knots.amplitude[early], "amax")
    for place, onset in enumerate(onsets.tolist()):
        new = (begin >= onset - most) & (begin <= onset + least / 2)
        order = torch.argsort(begin[new], descending=True)
        energies = peaks[new][order].square().cumsum(0)
        if len(energies):
            last = int(torch.searchsorted(energies, BEGUN * energies[-1:]).clamp(max=len(energies) - 1))
            # A sample more, so that the beginning itself is inside.
            before[place] = max(least, onset - float(begin[new][order][last]) + 1)
    return Attacks((onsets - before).clamp(min=0), onsets, onsets + AFTER_S * rate)


def onset_positions(sound: Tensor, sample_rate: int) -> Tensor:
    """Return the positions of the onsets of a sound ``[C, T]`` in samples, ``[A]`` float64, rising."""
    hop, length = max(1, round(HOP_S * sample_rate)), max(4, 2 * round(FRAME_S * sample_rate / 2))
    powers = _powers(sound, hop, length) @ _bands(length, sample_rate)
    if not float(powers.max()) > 0:
        return torch.zeros(0, dtype=torch.float64)
    levels = 10 * torch.log10(powers.clamp(min=float(powers.max()) * 10 ** (-RANGE_DB / 10)))
    apart = max(1, round(APART_S / HOP_S))
    # The sound begins from silence.
    levels = torch.cat([levels.new_full((apart, levels.shape[1]), float(levels.min())), levels])
    rise = (levels[apart:] - levels[:-apart]).clamp(min=0).mean(1)
    around = round(AROUND_S / HOP_S)
    padded = torch.nn.functional.pad(rise, (around, around))
    median = padded.unfold(0, 2 * around + 1, 1).median(1).values
    near = round(SPACING_S / HOP_S)
    highest = torch.nn.functional.max_pool1d(rise[None, None], 2 * near + 1, 1, near)[0, 0]
    energy = torch.nn.functional.pad(powers.sum(1), (2 * apart, 2 * apart)).unfold(0, 2 * apart, 1).sum(1)
    louder = energy[2 * apart + 1 :] >= LOUDER * energy[: -2 * apart - 1]
    found = (rise >= highest) & (rise > LEAST_RISE_DB) & (rise > OVER_MEDIAN * median) & louder[: len(rise)]
    frames = found.nonzero().flatten()
    # The rise is from the frame `apart` before; the onset is about half way.
    coarse = frames.double() * hop - apart * hop / 2
    located = sorted({_located(sound, float(place), sample_rate) for place in coarse})
    return torch.tensor(located, dtype=torch.float64)


def _powers(sound: Tensor, hop: int, length: int) -> Tensor:
    """Return the power spectra of frames whose middles are multiples of the hop, summed over channels, ``[F, K]``."""
    padded = torch.nn.functional.pad(sound.float(), (length // 2, length))
    frames = padded.unfold(1, length, hop)[:, : sound.shape[1] // hop + 1] * torch.hann_window(length)
    powers: Tensor = torch.fft.rfft(frames).abs().square().sum(0)
    return powers


def _bands(length: int, sample_rate: int) -> Tensor:
    """Return which bins belong to which band, ``[K, bands]``; bands without a bin are left out."""
    hz = torch.fft.rfftfreq(length, 1 / sample_rate)
    edges = torch.logspace(math.log10(LOWEST_HZ), math.log10(sample_rate / 2 + 1), BANDS + 1)
    own = (hz[:, None] >= edges[:-1]) & (hz[:, None] < edges[1:])
    found: Tensor = own[:, own.any(0)].float()
    return found


def _located(sound: Tensor, place: float, sample_rate: int) -> float:
    """Return the position near ``place`` at which the energy rises, weighted by how much it rises at each frequency."""
    near = round(NEAR_S * sample_rate)
    hop, length = max(1, round(FINE_HOP_S * sample_rate)), max(4, 2 * round(FINE_FRAME_S * sample_rate / 2))
    first = max(0, round(place) - near)
    powers = _powers(sound[:, first : round(place) + near], hop, length).double()
    half = max(1, min(len(powers) - 1, round((place - first) / hop)))
    before = powers[:half].mean(0)
    risen = (powers[half:].mean(0) > before).double()
    total = (powers * risen / (before + float(powers.max()) * 1e-4)).sum(1)
    # A step reaches one half of its energy in the middle of a frame; that of several partials goes on to rise where they meet.
    total = total - total[:half].median()
    begins = int((total >= BEGINS * total.max()).double().argmax())
    top = float(total[begins : begins + max(2, round(length / hop))].max())
    place = begins + int((total[begins:] >= RISEN * top).double().argmax())
    step = (RISEN * top - float(total[place - 1])) / float(total[place] - total[place - 1]) if place else 1.0
    return float(first + (place - 1 + step) * hop)
