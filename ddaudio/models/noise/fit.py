"""From a recording and its waves to a noise layer."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d

from ddaudio.io.samples import Samples, blocks
from ddaudio.models.noise.grid import FRAMES_AT_ONCE, NoiseGrid
from ddaudio.models.noise.network import COHERENCE_STEP, NoiseNetwork, coherences, decibels, silent_noise
from ddaudio.models.noise.pursuit import Densities, HatPursuit

PRICE_DB2 = 15.0
"""Reduction that a parameter must be worth: dB squared, summed over nodes."""
BUDGET_PRICE_DB2 = 0.5
"""The same for a layer with a budget, which is to be spent."""
FLOOR_DB = 85.0
"""Powers this far below the loudest node's count as silence."""
PARAMETERS_PER_HAT = 1.25
"""A height, and a byte for its place."""
SILENCE = 1e-30
"""Power of the loudest node, in full scale squared, below which there is nothing to model."""
COHERENCE_UNIT = 2.0**-10
"""Step to which coherences are rounded."""
FACTOR_ROUNDS = 20
"""Rounds in which the diagonal of the coherences is replaced."""


def fit_noise(
    target: Samples, waves: Samples, sample_rate: int, most: int | None = None, price_db2: float = PRICE_DB2
) -> NoiseNetwork:
    """Return the noise that waves leave over.

    Args:
        target: the recording, ``[C, T]``; read chunk by chunk.
        waves: the estimate of the waves, ``[C, T]``.
        sample_rate: samples per second.
        most: most parameters of the layer, 0 or more (default: as many as are worth it).
        price_db2: reduction that a parameter must be worth, in dB squared summed over nodes, above 0.

    """
    n_channels, n_samples = target.shape
    grid = NoiseGrid(sample_rate, n_samples)
    means = _mean(target), _mean(waves)
    loudest = max(float((grid.densities(target, means[0], chunk) * grid.widths_hz).amax()) for chunk in range(grid.n_chunks))
    fixed = 1 + (n_channels * coherences(grid) if n_channels > 1 else 0)
    hats = math.inf if most is None else (most - fixed) / PARAMETERS_PER_HAT
    if loudest <= SILENCE or hats < grid.n_chunks:
        return silent_noise(grid, n_channels)
    floor_db = decibels(loudest) - FLOOR_DB
    floor = 10 ** (floor_db / 10) / grid.widths_hz
    cross = torch.zeros(n_channels, n_channels, grid.bands, dtype=torch.float64)
    places, heights = [], []
    for chunk, (densities, crossed) in enumerate(_measured(grid, target, waves, means)):
        share = grid.covered(chunk) / (grid.n_intervals + grid.n_chunks)
        room = grid.rows * n_channels * grid.bands if math.isinf(hats) else max(1, int(hats * share))
        chosen = HatPursuit(grid, densities, floor).run(price_db2 * PARAMETERS_PER_HAT, room)
        places.append(chosen[0] + chunk * grid.rows * n_channels * grid.bands)
        heights.append(chosen[1])
        cross += crossed
    coherence = _common_factor(cross * grid.widths_hz) if n_channels > 1 else None
    layer = NoiseNetwork(grid, n_channels, torch.cat(places), torch.cat(heights), floor_db, coherence)
    return layer if most is None else _within(layer, most)


def _within(layer: NoiseNetwork, most: int) -> NoiseNetwork:
    """Return a layer without its lowest hats, if it has more than ``most`` parameters: distant places take several bytes."""
    while (excess := layer.n_parameters() - most) > 0 and len(layer.places):
        kept = torch.sort(layer.heights_db.detach().abs().argsort(descending=True)[: max(0, len(layer.places) - excess)]).values
        parts = layer.places[kept], layer.heights_db.detach()[kept]
        layer = NoiseNetwork(layer.grid, layer.n_channels, *parts, layer.floor_db, layer.coherence)
    return layer


def _mean(signals: Samples) -> Tensor:
    """Return the mean of each channel, ``[C]`` float64."""
    return torch.stack([block.double().sum(1) for block in blocks(signals)]).sum(0) / signals.shape[1]


def _measured(
    grid: NoiseGrid, target: Samples, waves: Samples, means: tuple[Tensor, Tensor]
) -> Iterator[tuple[Densities, Tensor]]:
    """Yield the densities of each chunk, and the sums of the residual's cross powers over its nodes, ``[C, C, bands]``."""
    for chunk in range(grid.n_chunks):
        wanted, given = (grid.frames(signals, mean, chunk) for signals, mean in zip((target, waves), means, strict=True))
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        cross = torch.zeros(len(wanted), len(wanted), grid.bands, dtype=torch.float64)
        for row in range(0, wanted.shape[1], FRAMES_AT_ONCE):
            spectra = [grid.frame_spectra(frames[:, row : row + FRAMES_AT_ONCE]) for frames in (wanted, given)]
            spectra.append(spectra[0] - spectra[1])
            parts.append(tuple((each.real.square() + each.imag.square()) @ grid.weights for each in spectra))  # type: ignore[arg-type]
            if len(wanted) > 1:
                cross += torch.einsum("cnk,dnk->cdk", spectra[2], spectra[2].conj()).real @ grid.weights
        yield Densities(*(torch.cat(rows, 1) for rows in zip(*parts, strict=True))), cross


def _common_factor(cross: Tensor) -> Tensor:
    """Return how far each channel follows what all share, -1 to 1, ``[C, coherences]`` float32.

    One factor explains the real parts of the coherences of all pairs by products ``r_c r_d``: the leading eigenvector, with the
    diagonal replaced in a few rounds (principal factor analysis: Thurstone, 1935, "The vectors of mind").

    Args:
        cross: real parts of cross powers, ``[C, C, bands]``.

    """
    n_channels = len(cross)
    pooled = avg_pool1d(
        cross.flatten(0, 1), 2 * COHERENCE_STEP - 1, COHERENCE_STEP, COHERENCE_STEP - 1, count_include_pad=False
    ).reshape(n_channels, n_channels, -1)
    scale = pooled.diagonal().clamp(min=SILENCE).rsqrt()
    real = pooled.permute(2, 0, 1) * scale[:, :, None] * scale[:, None]
    factor, loading = real, real[..., -1]
    for _ in range(FACTOR_ROUNDS):
        values, vectors = torch.linalg.eigh(factor)
        loading = (vectors[..., -1] * values[..., -1:].clamp(min=0).sqrt()).clamp(-1, 1)
        factor = real - torch.diag_embed(real.diagonal(dim1=1, dim2=2) - loading.square())
    # The sign is that of the first channel that counts, and what is stored is rounded: where nothing is coherent, both would be
    # decided by the rounding of sums.
    counts = loading.abs() >= loading.abs().amax(1, keepdim=True) / 2
    first = loading.gather(1, counts.int().argmax(1, keepdim=True))
    signed = torch.where(first < 0, -loading, loading)
    return ((signed / COHERENCE_UNIT).round() * COHERENCE_UNIT + 0.0).T.float()
