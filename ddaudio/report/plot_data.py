"""Plot data: arrays reduced to the resolution of a figure, with peaks preserved."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from ddaudio.io.samples import Samples, on_cpu
from ddaudio.io.spectra import Frames, nearest_fft
from ddaudio.models import DoubleDutchNetwork, Network, Term
from ddaudio.options import NETWORKS
from ddaudio.options.networks import DrawingName

FRAME_S = 0.046
"""Length of the frames of a spectrogram, rounded to a power of two samples: resolves the harmonics of a voice."""
LEAST_DB, MOST_DB = -127, 127
"""Range of levels in spectrograms, stored as integer dB in a byte; a sinusoid of full scale has 0 dB."""
MOST_CHANNELS = 8
"""Largest number of channels drawn; further ones are omitted."""
MOST_LINES = 6000
"""Largest number of partials drawn; those of the weakest tracks are omitted."""
MOST_POINTS = 4000
"""Largest number of points of a pitch."""
LEVEL_WINDOW_S = 0.01
"""Shortest window of a level: a period of 100 Hz."""
_BLOCK_SAMPLES = 1 << 19


@dataclass(frozen=True)
class Waveform:
    """Minimum and maximum of the samples in each column, both ``[C, columns]`` float32."""

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    column_s: float
    """Duration of a column in seconds; the last may extend beyond the sound."""


@dataclass(frozen=True)
class Spectrogram:
    """Maximum level in each cell of time and frequency."""

    levels_db: NDArray[np.int8]
    """``[C, rows, columns]`` in dB, rows in order of ascending frequency; a sinusoid of full scale has 0 dB."""
    column_s: float
    """Duration of a column in seconds; the last may extend beyond the sound."""
    row_hz: float
    """Height of a row in Hz; the first begins half a bin below 0 Hz, at ``low_hz``."""
    low_hz: float


@dataclass(frozen=True)
class Lines:
    """Partials as lines, the strongest last; all arrays have the same length.

    A line has three points: at the beginning of the partial's cell, in its middle and at its end. Lines of one track meet. Those
    of knots have their middle there, and their ends half-way to the knots before and after.
    """

    signal: NDArray[np.int32]
    """Channel, from 0."""
    start_s: NDArray[np.float32]
    middle_s: NDArray[np.float32]
    end_s: NDArray[np.float32]
    frequency_hz: NDArray[np.float32]
    """Of the partial: in the middle."""
    start_hz: NDArray[np.float32]
    end_hz: NDArray[np.float32]
    level_db: NDArray[np.float32]
    """Amplitude in dB; full scale has 0 dB."""
    track: NDArray[np.int32]
    """Number of the track in its network; -1 for none."""
    n_partials: int
    """Total number of partials, including those omitted."""


@dataclass(frozen=True)
class PitchLine:
    """Pitch over time; both arrays have the same length."""

    time_s: NDArray[np.float32]
    f0_hz: NDArray[np.float32]
    """Fundamental frequency in Hz, NaN where the sound is unvoiced."""


@dataclass(frozen=True)
class TreePicture:
    """A tree over time; rows are levels, the longest waves first."""

    spoken_db: NDArray[np.float32]
    """``[D, columns]``: amplitude of the open rope in dB of full scale; NaN where it is silent."""
    gates: NDArray[np.float32] | None
    """``[D, columns]``: gate of the rope with bit 0, 0 to 1; None if columns contain many samples."""
    start_s: float
    end_s: float
    denominators: tuple[float, ...]
    """Samples per period of each level's waves."""


def waveform(samples: Samples, sample_rate: int, columns: int) -> Waveform:
    """Return the envelope of ``samples [C, T]`` in at most ``columns`` columns, which contains all samples."""
    n_channels, n_samples = min(samples.shape[0], MOST_CHANNELS), samples.shape[1]
    width = math.ceil(n_samples / columns)
    step = width * max(1, _BLOCK_SAMPLES // (width * n_channels))
    lows, highs = torch.zeros(2, n_channels, math.ceil(n_samples / width))
    for first in range(0, n_samples, step):
        block = on_cpu(samples[:n_channels, first : first + step])
        missing = -block.shape[1] % width
        block = torch.cat([block, block[:, -1:].expand(-1, missing)], 1).reshape(n_channels, -1, width)
        own = slice(first // width, first // width + block.shape[1])
        lows[:, own], highs[:, own] = block.amin(2), block.amax(2)
    return Waveform(lows.numpy(), highs.numpy(), width / sample_rate)


def levels(samples: Samples, sample_rate: int, columns: int) -> tuple[NDArray[np.float32], float]:
    """Return the mean power ``[columns]`` of ``samples [C, T]`` over all channels, and the seconds in a column."""
    n_channels, n_samples = samples.shape
    width = max(math.ceil(n_samples / columns), min(n_samples, math.ceil(LEVEL_WINDOW_S * sample_rate)))
    step = width * max(1, _BLOCK_SAMPLES // (width * n_channels))
    powers = torch.zeros(math.ceil(n_samples / width), dtype=torch.float64)
    for first in range(0, n_samples, step):
        square = on_cpu(samples[:, first : first + step]).double().square().mean(0)
        counts = torch.ones_like(square)
        missing = -len(square) % width
        square, counts = (pad(one, (0, missing)).reshape(-1, width).sum(1) for one in (square, counts))
        powers[first // width : first // width + len(square)] = square / counts
    return powers.float().numpy(), width / sample_rate


def decibels(power: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return powers in dB, at least -200."""
    return (10 * np.log10(np.maximum(power, 1e-20))).astype(np.float32)


def spectrogram(samples: Samples, sample_rate: int, columns: int, rows: int) -> Spectrogram:
    """Return the spectrogram of ``samples [C, T]`` in at most ``columns`` times ``rows`` cells, each the maximum of its levels.

    Frames have a Hann window and a hop of a column, or of a quarter frame if that is less; they belong to the column that
    contains their middle.
    """
    n_channels, n_samples = min(samples.shape[0], MOST_CHANNELS), samples.shape[1]
    n_fft = nearest_fft(FRAME_S, sample_rate)
    width = math.ceil(n_samples / columns)
    each = math.ceil(width / (n_fft // 4))
    hop = math.ceil(width / each)
    n_columns, bins = math.ceil(n_samples / (hop * each)), n_fft // 2 + 1
    row = math.ceil(bins / rows)
    window = torch.hann_window(n_fft)
    at_a_time = max(1, _BLOCK_SAMPLES // (n_fft * each * n_channels)) * each
    frames = Frames(n_fft, hop, n_columns * each, first_sample=hop // 2 - n_fft // 2)
    found = torch.zeros(n_channels, math.ceil(bins / row), n_columns, dtype=torch.int8)
    done = 0
    for block in frames.blocks(samples, at_a_time):
        magnitudes = frames.transform(block[:n_channels], window).mT.abs() * (2 / float(window.sum()))
        count = magnitudes.shape[1]
        magnitudes = pad(magnitudes, (0, -bins % row)).reshape(n_channels, count // each, each, -1, row).amax((2, 4))
        part = (20 * magnitudes.clamp(min=1e-30).log10()).round().clamp(LEAST_DB, MOST_DB).to(torch.int8).mT
        found[..., done : done + part.shape[2]] = part
        done += part.shape[2]
    bin_hz = sample_rate / n_fft
    return Spectrogram(found.numpy(), hop * each / sample_rate, row * bin_hz, -bin_hz / 2)


def drawn_as(network: Network, drawing: DrawingName) -> list[Term]:
    """Return the terms of a network whose row names a kind of figure."""
    return [term for term in network.terms if NETWORKS[term.name].drawing == drawing]


def lines(network: Network) -> Lines | None:
    """Return the partials of a network, or of all terms of a sum; None if no term is drawn as lines."""
    tables = [term.describe() for term in drawn_as(network, "lines")]
    if not tables:
        return None
    level = 20 * torch.cat([table["amplitude"] for table in tables]).clamp(min=1e-10).log10()
    track = torch.cat([table.get("track", torch.full_like(table["signal"], -1)) for table in tables])
    owner = torch.arange(len(tables)).repeat_interleave(torch.tensor([len(table["signal"]) for table in tables]))
    kept = _strongest(owner.numpy(), track.numpy(), level.numpy())
    pieces = [_pieces(table) for table in tables]
    columns = {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}
    found = {name: column[kept].float().numpy() for name, column in (columns | {"level_db": level}).items()}
    signal = torch.cat([table["signal"] for table in tables])[kept].int().numpy()
    return Lines(signal=signal, track=track[kept].int().numpy(), n_partials=len(level), **found)


def _strongest(owner: NDArray[np.int64], track: NDArray[np.int64], level: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the partials of the tracks with the highest levels, up to `MOST_LINES`, in the order of level."""
    # A partial without a track is its own.
    alone = np.where(track < 0, np.arange(len(track)), -1)
    _, number = np.unique(np.stack([owner, track, alone]), axis=1, return_inverse=True)
    peak = np.full(len(track), -np.inf)
    np.maximum.at(peak, number.reshape(-1), level)
    kept = np.lexsort((level, peak[number.reshape(-1)]))[-MOST_LINES:]
    return kept[np.argsort(level[kept], kind="stable")]


def _pieces(table: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return times and frequencies of the three points of each row's line, linear between the middles of a track's rows."""
    hz, start, end = table["frequency_hz"], table["start_s"].clone(), table["end_s"].clone()
    start_hz, end_hz, middle = hz.clone(), hz.clone(), (start + end) / 2
    if "track" in table and len(hz):
        order = torch.from_numpy(np.lexsort((table["time_s"].numpy(), table["track"].numpy())))
        before, after = order[:-1], order[1:]
        same = table["track"][before] == table["track"][after]
        # Rows of one track that extend over the same time are knots.
        knots = same & (start[before] == start[after])
        both = torch.cat([before[knots], after[knots]])
        middle[both] = table["time_s"][both]
        halfway = (middle[before[knots]] + middle[after[knots]]) / 2
        end[before[knots]], start[after[knots]] = halfway, halfway
        meet = same & (end[before] == start[after])
        before, after = before[meet], after[meet]
        share = (start[after] - middle[before]) / (middle[after] - middle[before]).clamp(min=1e-9)
        end_hz[before] = start_hz[after] = hz[before] + share * (hz[after] - hz[before])
    times = {"start_s": start, "middle_s": middle, "end_s": end}
    return times | {"start_hz": start_hz, "frequency_hz": hz, "end_hz": end_hz}


def pitch_line(f0: Mapping[str, Any] | None) -> PitchLine:
    """Return the pitch of a report as a line, of at most `MOST_POINTS` points; empty without a pitch."""
    if f0 is None or f0["median_hz"] is None:
        return PitchLine(np.zeros(0, np.float32), np.zeros(0, np.float32))
    hz = np.array(f0["f0_hz"], np.float32)  # None becomes NaN
    step = math.ceil(len(hz) / MOST_POINTS)
    return PitchLine((np.arange(0, len(hz), step) * (f0["hop_s"] or 0.0)).astype(np.float32), hz[::step])


def trees(network: Network) -> list[DoubleDutchNetwork]:
    """Return the terms of a network that are drawn as trees."""
    return cast("list[DoubleDutchNetwork]", drawn_as(network, "tree"))


def tree(network: DoubleDutchNetwork, columns: int) -> TreePicture:
    """Return all trees in sequence, in at most ``columns`` columns; of several channels the loudest at each time."""
    grid, ladder = network.grid, network.plan.ladder
    width = math.ceil(grid.n_samples / columns)
    spoken = torch.zeros(ladder.depth, math.ceil(grid.n_samples / width))
    position = torch.arange(network.plan.n_samples, dtype=torch.float64) + 0.5
    amplitudes = _amplitudes(network)
    for frame, begin in enumerate(grid.start.tolist()):
        inside = (position + begin >= 0) & (position + begin < grid.n_samples)
        column = ((position[inside] + begin) / width).long()
        said = _spoken(network, frame, amplitudes[frame], position[inside])[0]
        spoken.scatter_reduce_(1, column.expand_as(said), said, "amax")
    return TreePicture(_decibels(spoken), None, 0.0, spoken.shape[1] * width / grid.sample_rate, ladder.denominators)


def loudest_tree(network: DoubleDutchNetwork, columns: int) -> TreePicture:
    """Return the tree with most energy, with its gates, at up to ``columns`` samples of its frame."""
    grid, ladder = network.grid, network.plan.ladder
    power = torch.zeros(grid.n_frames).index_add(0, network.trees.frame, network.component_energies().float())
    frame = int(power.argmax())
    n_samples = network.plan.n_samples
    step = math.ceil(n_samples / columns)
    position = torch.arange(0, n_samples, step, dtype=torch.float64) + step / 2
    begin = int(grid.start[frame])
    said, gates = _spoken(network, frame, _amplitudes(network)[frame], position)
    spoken = _decibels(said)
    start_s, end_s = begin / grid.sample_rate, (begin + len(position) * step) / grid.sample_rate
    return TreePicture(spoken, gates.float().numpy(), start_s, end_s, ladder.denominators)


def _amplitudes(network: DoubleDutchNetwork) -> Tensor:
    """Return the amplitude of each rope, ``[F, R]``."""
    return network.trees.all_amplitudes(network.rope_amplitudes).square().sum(2).sqrt().float()


def _spoken(network: DoubleDutchNetwork, frame: int, amplitudes: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
    """Return amplitude and gate of the open rope of each level at positions within a frame, for ropes ``amplitudes [R]``.

    Both ``[D, L]``. The open rope is the one on whose side of the node's cutoff the wave is.
    """
    ladder, cutoffs = network.plan.ladder, network.cutoffs[frame].double()
    said, gates, address = [], [], torch.zeros(len(position), dtype=torch.int64)
    for level in range(ladder.depth):
        wave, cutoff = ladder.wave(level, position), cutoffs[2**level - 1 + address]
        gates.append(network.plan.gating.open(level, wave, cutoff))
        address = 2 * address + (wave < cutoff)
        said.append(amplitudes[2 ** (level + 1) - 2 + address])
    return torch.stack(said), torch.stack(gates)


def _decibels(amplitudes: Tensor) -> NDArray[np.float32]:
    return torch.where(amplitudes > 0, 20 * amplitudes.clamp(min=1e-10).log10(), torch.nan).numpy()
