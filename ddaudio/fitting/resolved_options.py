"""Options of a fit with all defaults filled in, for each network of a sum."""

import math
from collections.abc import Sequence
from dataclasses import replace

from ddaudio.fitting import layer_widths
from ddaudio.fitting.budget import allowance, highest_snr_db
from ddaudio.io.audio import Recording
from ddaudio.models.double_dutch import sizing
from ddaudio.options import MAX_FRAME_S, MIN_FRAME_S, MIN_PARAMETERS_PER_SAMPLE, NETWORKS, FitOptions, TrainingOptions
from ddaudio.options.registry import load

TREE_FRAME_S = 0.1
"""Default frame length of trees, rounded to a power of two samples."""
PARTIALS_FRAME_S = 0.05
"""Default frame length with a fixed number of partials per frame."""
UNITS_FRAME_S, UNITS_OVERLAP = 0.06, 0.1
"""Default frame length and overlap of networks of sine units."""
EXCHANGES_BY_EAR = 1
"""Default number of exchanges of weak components where the size of the waves is chosen by ear: a second one takes a fifth of the
time for 0.05 dB of SNR, which no score shows."""


def resolved_term(options: FitOptions, recording: Recording, place: int, block_samples: int) -> FitOptions:
    """Return the resolved options of one network; in a sum, its budget includes the shares of those before it.

    Trees are planned for blocks of ``block_samples``.
    """
    model, name = options.model, options.model.wave_terms[place]
    other = options.network(name).fitted_as
    name = other or name
    kind, own = NETWORKS[name], options.network(name)
    grid = replace(options.grid, whole=options.grid.whole and kind.takes_whole)
    if len(model.terms) > 1:
        split = model.parsed_budget_split
        # Tracks are offered all of it, and take what they are cheaper for.
        share = sum(split[: len(model.wave_terms)] if has_rival(model.wave_terms, place) else split[: place + 1])
        numbers = None if model.budget is None else math.floor(model.budget * share)
        # A target SNR, and the limit that comes with it, are those of the waves.
        share /= sum(split[: len(model.wave_terms)])
        goal_db = highest_snr_db(model) * share
        cap = max((model.max_parameters_per_sample or 0.0) * share, MIN_PARAMETERS_PER_SAMPLE)
        model = replace(
            model, model=name, budget_split=None, budget=numbers, target_snr_db=goal_db, max_parameters_per_sample=cap
        )
    else:
        model = replace(model, model=name)
    frame_s, overlap = grid.frame_s, grid.overlap
    if kind.frames == "halving":
        n_samples = window_samples(grid.frame_s or TREE_FRAME_S, recording.sample_rate, recording.n_samples)
        windows = recording.n_channels * math.ceil(recording.n_samples / n_samples)
        numbers_each = allowance(model, recording.n_channels, recording.n_samples) // windows
        # A cap always allows the smallest tree, like one partial; a budget may not.
        numbers_each = numbers_each if model.budget is not None else max(numbers_each, sizing.LEAST_BINARY)
        own = sizing.resolved(own, n_samples, min(windows, math.ceil(block_samples / n_samples)), numbers_each)
        # A single frame has no neighbour to overlap with.
        frame_s, overlap = n_samples / recording.sample_rate, (overlap or 0.0) if recording.n_samples > n_samples else 0.0
    elif kind.frames == "none":
        frame_s, overlap = None, None
    elif kind.frames == "equal" and not grid.whole:
        frame_s, overlap = frame_s or UNITS_FRAME_S, UNITS_OVERLAP if overlap is None else overlap
    elif frame_s is None and model.partials is not None and not grid.whole:
        frame_s = PARTIALS_FRAME_S
    window = grid.window or ("gate" if other else "hann")
    grid = replace(grid, frame_s=frame_s, overlap=0.5 if overlap is None else overlap, window=window)
    if kind.has_widths:
        own, numbers = layer_widths.sized(model, own, grid, recording, load(kind))
        model = replace(model, budget=numbers)
    resolved = replace(options, model=model, grid=grid, networks={name: own})
    most = EXCHANGES_BY_EAR if options.model.is_sized_by_ear else kind.exchanges
    return replace(resolved, training=_resolved_training(resolved, name, most))


def has_rival(names: Sequence[str], place: int) -> bool:
    """Return whether a network of tracks has networks of cells after it, of all networks of waves in a sum."""
    return NETWORKS[names[place]].frames == "none" and any(NETWORKS[name].frames != "none" for name in names[place + 1 :])


def _resolved_training(options: FitOptions, name: str, most_exchanges: int) -> TrainingOptions:
    """Return the resolved training options of one network, with at most some exchanges unless they are given."""
    kind, second_order = NETWORKS[name], options.second_order(name)
    exchanges = min(kind.exchanges, most_exchanges)
    return options.training.resolved(exchanges, second_order=second_order, first_order_steps=kind.first_order_steps)


def window_samples(frame_s: float, sample_rate: int, n_samples: int) -> int:
    """Return the power of two nearest to a tree's frame in samples, limited by the length of the signal and 5 s."""
    low, high = math.ceil(math.log2(MIN_FRAME_S * sample_rate)), math.floor(math.log2(MAX_FRAME_S * sample_rate))
    wanted = round(math.log2(max(frame_s * sample_rate, 2)))
    return 1 << max(2, low, min(wanted, high, math.ceil(math.log2(max(n_samples, 2)))))
