"""The noise layer as a network: its levels, its file, its synthesis."""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from ddaudio.analysis.budget import Budget
from ddaudio.errors import ModelError
from ddaudio.models.base import AtBounds, Jacobian, SampleRanges, Signals, Term
from ddaudio.models.framed import ceil_at
from ddaudio.models.noise.expectation import ExpectedDensity
from ddaudio.models.noise.grid import STEP_S, NoiseGrid
from ddaudio.models.noise.hats import nodes_of_hats, pack_places, unpack_places
from ddaudio.options import NetworkOptions

COHERENCE_STEP = 4
"""Nodes in frequency from one stored coherence to the next."""
PIECE_SAMPLES = 1 << 20
"""Samples of all channels that are rendered at once."""
SILENCE_DB = -300.0
"""Floor of a layer of silence."""


class NoiseNetwork(Term):
    """Noise of a given power over time and frequency in each channel.

    Between the nodes of a `NoiseGrid` the level is linear in time and in ERB number. The levels of a chunk are a sum of hats on
    dyadic divisions of time and of frequency (`ddaudio.models.noise.hats`); of several channels, a hat raises either all of them
    or one against the others. `ddaudio.models.noise.fit.fit_noise` chooses the hats.

    Args:
        grid: the nodes.
        n_channels: number of channels, C.
        places: which hats there are, rising, in the flat order of chunk, time, channel, frequency, ``[K]`` int64.
        heights_db: their heights in dB, ``[K]``.
        floor_db: power of a node, in dB re full scale squared, that counts as silence.
        coherence: how far each channel follows the phases that all share, -1 to 1, ``[C, coherences]``; None for one channel.

    """

    name = "noise"
    is_noise = True
    places: Tensor
    coherence: Tensor | None

    def __init__(
        self,
        grid: NoiseGrid,
        n_channels: int,
        places: Tensor,
        heights_db: Tensor,
        floor_db: float,
        coherence: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.grid, self.n_channels = grid, n_channels
        self.floor_db = float(np.float32(floor_db))  # as a file holds it
        self.register_buffer("places", places)
        self.register_buffer("coherence", coherence)
        self.heights_db = nn.Parameter(heights_db.float())

    @property
    def sample_rate(self) -> int:
        """Samples per second."""
        return self.grid.sample_rate

    @property
    def shape(self) -> tuple[int, int]:
        """Number of channels and their length."""
        return self.n_channels, self.grid.n_samples

    @property
    def chunk_hats(self) -> int:
        """Number of hats that a chunk could have."""
        return self.grid.rows * self.n_channels * self.grid.bands

    def levels_db(self, chunk: int) -> Tensor:
        """Return the level at each node of a chunk, dB re full scale squared per Hz, ``[C, covered, bands]``; differentiable."""
        first, last = torch.searchsorted(self.places, torch.tensor([chunk, chunk + 1]) * self.chunk_hats).tolist()
        flat = self.heights_db.new_zeros(self.chunk_hats, dtype=torch.float64)
        own = self.places[first:last] - chunk * self.chunk_hats
        heights = flat.index_put((own,), self.heights_db[first:last].double()).reshape(self.grid.rows, -1)
        levels = nodes_of_hats(heights)[: self.grid.covered(chunk)] @ hat_matrix(self.n_channels, self.grid.bands)
        return levels.reshape(-1, self.n_channels, self.grid.bands).transpose(0, 1)

    def expected_density(self, waves: Tensor, chunk: int) -> Tensor:
        """Return the density around each node that is expected of waves and noise together.

        Args:
            waves: that of the waves alone, ``[C, covered, bands]``, see `NoiseGrid.densities`.
            chunk: number of the chunk.

        Returns:
            Full scale squared per Hz, ``[C, covered, bands]``; differentiable. A realisation would add its own scatter to
            losses and gradients; the expectation has none.

        """
        return waves + ExpectedDensity.at(self.sample_rate).typical_power(self.levels_db(chunk))

    @torch.no_grad()
    def render(self, first: int, n_samples: int, seed: int = 0, sample_rate: int | None = None) -> Tensor:
        """Return samples of the noise, ``[C, n_samples]`` float32; any excerpt has the bits of that part of the whole.

        Args:
            first: number of the first sample, 0 or more.
            n_samples: how many, 0 or more.
            seed: seed of the noise, 0 to ``2^64 - 1``.
            sample_rate: in Hz (default: the layer's own).

        """
        if not len(self.places):
            return torch.zeros(self.n_channels, n_samples)
        density = ExpectedDensity(sample_rate or self.sample_rate, self.grid)
        floor = density.at_bins((self.floor_db - 10 * self.grid.widths_hz.log10())[None])
        chunks: dict[int, Tensor] = {}

        def power(times_s: Tensor, _: Tensor) -> Tensor:
            """Interpolate between the nodes."""
            place = (times_s / STEP_S).clamp(max=self.grid.n_intervals)
            row = place.long().clamp(max=self.grid.n_intervals - 1)
            levels = torch.stack([self._rows(row, chunks), self._rows(row, chunks, after=1)])
            share = (place - row)[:, None]
            return (density.at_bins(levels[0] * (1 - share) + levels[1] * share) - floor).clamp(min=0)

        return density.frames.render(power, first, n_samples, seed, self._coherence_at(density.band))

    def _rows(self, rows: Tensor, chunks: dict[int, Tensor], after: int = 0) -> Tensor:
        """Return the levels at the nodes at the start or the end of intervals, ``[C, F, bands]``; levels of chunks are kept."""
        owner = rows // self.grid.chunk_intervals
        levels = torch.empty(self.n_channels, len(rows), self.grid.bands, dtype=torch.float64)
        for chunk in sorted(set(owner.tolist())):
            if chunk not in chunks:
                if len(chunks) > 1:
                    chunks.clear()
                chunks[chunk] = self.levels_db(chunk)
            own = owner == chunk
            levels[:, own] = chunks[chunk][:, rows[own] - chunk * self.grid.chunk_intervals + after]
        return levels

    def _coherence_at(self, band: Tensor) -> Tensor | None:
        """Return the coherence at positions among the nodes, ``[C, K]``."""
        if self.coherence is None:
            return None
        place = band.clamp(max=self.grid.bands - 1) / COHERENCE_STEP
        left = place.long().clamp(max=coherences(self.grid) - 2)
        share = (place - left).float()
        return self.coherence[:, left] * (1 - share) + self.coherence[:, left + 1] * share

    def estimate(self) -> Tensor:
        """Return the noise of seed 0, ``[C, T]``."""
        return self.render(0, self.grid.n_samples)

    def pieces(self, sample_rate: int, seed: int = 0) -> Iterator[Tensor]:
        """Yield the noise piece by piece at a sample rate in Hz; see `Term.pieces`."""
        n_samples, step = ceil_at(self.grid.n_samples, sample_rate, self.sample_rate), max(1, PIECE_SAMPLES // self.n_channels)
        for first in range(0, n_samples, step):
            yield self.render(first, min(step, n_samples - first), seed, sample_rate)

    def to_tensors(self) -> dict[str, Tensor]:
        """Return heights in dB, the places of the hats, the floor, and coherences of several channels."""
        coherence = {} if self.coherence is None else {"coherence": self.coherence.flatten().cpu()}
        floor = torch.tensor([self.floor_db], dtype=torch.float32)
        return {"height_db": self.heights_db.detach().cpu(), "place": pack_places(self.places), "floor_db": floor} | coherence

    def from_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Set everything from the result of `to_tensors`; raises `ModelError` when the tensors do not fit."""
        names = ["height_db", "place", "floor_db"] + ["coherence"] * (self.n_channels > 1)
        if sorted(tensors) != sorted(names):
            raise ModelError(f"a noise model holds the tensors {', '.join(names)}; this file has {', '.join(sorted(tensors))}")
        heights, floor, packed = tensors["height_db"], tensors["floor_db"], tensors["place"]
        if packed.dtype != torch.int32 or packed.ndim != 1:
            raise ModelError("place must be int32 [W]")
        places = unpack_places(packed)
        most = self.grid.n_chunks * self.chunk_hats
        if len(places) != len(heights) or (len(places) and int(places[-1]) >= most):
            raise ModelError(f"place must name {len(heights)} of {most} hats, one for each height")
        expected = {"height_db": len(places), "floor_db": 1, "coherence": self.n_channels * coherences(self.grid)}
        for name in set(names) - {"place"}:
            values = tensors[name]
            if values.dtype != torch.float32 or values.shape != (expected[name],) or not bool(values.isfinite().all()):
                raise ModelError(f"{name} must be {expected[name]} finite float32")
        self.places, self.heights_db, self.floor_db = places, nn.Parameter(heights.clone()), float(floor[0])
        if self.n_channels > 1:
            self.coherence = tensors["coherence"].reshape(self.n_channels, coherences(self.grid)).clamp(-1, 1)

    def division(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return nothing: the nodes follow from the sample rate and the length."""
        return {}, {}

    @classmethod
    def restored(
        cls,
        signals: Signals,
        division: Mapping[str, Any],  # noqa: ARG003 - there is none
        options: NetworkOptions,  # noqa: ARG003 - there are none
        tensors: dict[str, Tensor],
    ) -> Self:
        """Return the layer of a file; see `Term.restored`."""
        empty = torch.zeros(0)
        network = cls(NoiseGrid(signals.sample_rate, signals.n_samples), signals.n_signals, empty.long(), empty, SILENCE_DB)
        network.from_tensors(tensors)
        return network

    def ranges_of_rows(self) -> list[SampleRanges]:
        """Return everything for each height: it acts on no samples of its own."""
        none = torch.zeros_like(self.places)
        return [SampleRanges(none - 1, none, none)]

    def settings(self) -> dict[str, Any]:
        """Return nothing: there are none."""
        return {}

    def facts(self) -> dict[str, Any]:
        """Return the number of nodes in frequency and the time between nodes."""
        return {"bands": self.grid.bands, "step_s": STEP_S}

    def size_in_words(self) -> str:
        """Return the number of levels that the noise has."""
        return f"{self.n_components()} levels of noise"

    def n_components(self) -> int:
        """Return the number of hats."""
        return self.heights_db.numel()

    def component_energies(self) -> Tensor:
        """Return nothing: no level can be pruned."""
        return torch.zeros(0)

    def amplitudes(self) -> Tensor:
        """Return nothing: there are no waves."""
        return torch.zeros(0)

    def pruned(self, keep: int) -> "NoiseNetwork":  # noqa: ARG002 - no level can be pruned
        """Return a copy."""
        return copy.deepcopy(self)

    def extend(self, target: Tensor, size: Budget) -> bool:  # noqa: ARG002 - see `fit_noise`
        """Add nothing."""
        return False

    def describe(self) -> dict[str, Tensor]:
        """Return no rows: a table is one of waves."""
        whole, empty = torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.float64)
        return {"signal": whole, "time_s": empty, "frequency_hz": empty, "amplitude": empty}

    def project(self) -> None:
        """Clamp nothing: levels have no bounds."""

    def clip_step(self, changes: Sequence[Tensor], most: float) -> list[Tensor]:  # noqa: ARG002 - levels enter linearly
        """Return the changes as they are."""
        return list(changes)

    def layers(self, values: Sequence[Tensor]) -> dict[str, list[Tensor]]:
        """Return the heights as one layer."""
        return {"level": list(values)}

    def jacobian(self) -> Jacobian:
        """Raise TypeError: levels are no linear model of samples; `expected_density` is differentiable."""
        raise TypeError("a noise layer models expected powers, not samples: it has no Jacobian of signals")

    def at_bounds(self) -> AtBounds:
        """Return none: levels have no bounds."""
        return AtBounds(0, 0, "", 1.0)


@lru_cache(maxsize=16)
def hat_matrix(n_channels: int, bands: int) -> Tensor:
    """Return the value of a hat of each channel and frequency at each channel and node, ``[C bands, C bands]`` float64.

    The hats of the first channel raise all channels, those of another one this channel relative to the mean of all.
    """
    channels = torch.eye(n_channels, dtype=torch.float64) - 1 / n_channels
    channels[:, 0] = 1
    nodes = nodes_of_hats(torch.eye(bands, dtype=torch.float64))
    return torch.kron(channels.T.contiguous(), nodes.T.contiguous())


def coherences(grid: NoiseGrid) -> int:
    """Return the number of coherences of each channel."""
    return (grid.bands - 1) // COHERENCE_STEP + 1


def silent_noise(grid: NoiseGrid, n_channels: int) -> NoiseNetwork:
    """Return a layer without any noise."""
    empty = torch.zeros(0)
    coherence = torch.ones(n_channels, coherences(grid)) if n_channels > 1 else None
    return NoiseNetwork(grid, n_channels, empty.long(), empty, SILENCE_DB, coherence)


def decibels(power: float) -> float:
    """Return the level of a power, not below `SILENCE_DB`."""
    return 10 * math.log10(power) if power > 10 ** (SILENCE_DB / 10) else SILENCE_DB
