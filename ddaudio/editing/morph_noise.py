"""Morphing of noise layers."""

import torch
from torch import Tensor

from ddaudio.editing.curves import Curve
from ddaudio.editing.noise_levels import levels_of, silent_db, with_levels
from ddaudio.editing.time_map import values_of
from ddaudio.models.noise.grid import STEP_S
from ddaudio.models.noise.network import NoiseNetwork


def morphed_noise(first: NoiseNetwork | None, second: NoiseNetwork | None, amount: Curve) -> NoiseNetwork | None:
    """Return noise whose levels are between those of two layers of one grid; what only one has gets softer.

    Args:
        first: noise, or None.
        second: noise, or None.
        amount: 0 for the first, 1 for the second.

    """
    layers = [layer for layer in (first, second) if layer is not None and layer.n_components()]
    if not layers:
        return first or second
    like = layers[0]
    nodes_s = torch.arange(like.grid.n_intervals + 1, dtype=torch.float64) * STEP_S
    share = values_of(amount, nodes_s)[:, None]
    loud = [_audible(layer) for layer in (first, second)]
    pair = [levels for levels in loud if levels is not None]
    levels = [pair[0] if one is None else one for one in loud]
    silent = [torch.full_like(pair[0], 0 if one is not None else 1, dtype=torch.bool) for one in loud]
    for place, one in enumerate(loud):
        if one is not None:
            silent[place] = one <= silent_db(like) + 1e-6
    both = levels[0] * (1 - share) + levels[1] * share
    alone = [20 * torch.log10(part.clamp(min=1e-9)) for part in (1 - share, share)]
    result = torch.where(silent[1], levels[0] + alone[0], torch.where(silent[0], levels[1] + alone[1], both))
    result = torch.where(silent[0] & silent[1], silent_db(like), result)
    layer = with_levels(like, result, like.shape[1])
    if first is not None and second is not None and first.coherence is not None and second.coherence is not None:
        mean = sum(amount.values) / len(amount.values)
        layer.coherence = first.coherence * (1 - mean) + second.coherence * mean
    return layer


def _audible(layer: NoiseNetwork | None) -> Tensor | None:
    """Return the levels of a layer, at least those of its floor; None for no noise."""
    return None if layer is None or not layer.n_components() else torch.maximum(levels_of(layer), silent_db(layer))
