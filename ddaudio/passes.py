"""A fit, network after network: each fits what those before it leave over; then all of them are trained together."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from ddaudio import unit_sizing
from ddaudio.allocation import allowance, goal_energy
from ddaudio.audio import Recording
from ddaudio.blocks import BLOCK_SAMPLES, BlockPlan, fit_blocks, plan_blocks
from ddaudio.checkpoints import Log
from ddaudio.errors import OptionError, nearest
from ddaudio.models import NETWORKS, FramedNetwork, Network, Size, SumNetwork
from ddaudio.models.double_dutch import sizing
from ddaudio.options import (
    LAYER_SETTINGS,
    MAX_FRAME_S,
    MIN_FRAME_S,
    MIN_NUMBERS,
    MIN_NUMBERS_PER_SAMPLE,
    FitOptions,
    ModelOptions,
    TrainingOptions,
    check_lags,
)
from ddaudio.refining import refine
from ddaudio.spool import Difference, Samples, blocks
from ddaudio.training import Progress, ProgressCallback, Training

TREE_FRAME_S = 0.1
"""Frame length of trees, unless one is given; the nearest power of two samples is taken."""
PARTIALS_FRAME_S = 0.05
"""Frame length when each frame gets a fixed number of partials, unless one is given."""
UNITS_FRAME_S, UNITS_OVERLAP = 0.06, 0.1
"""Frame length and overlap of networks of sine units, unless they are given."""
LONGEST_WHOLE_S = 60.0
"""Longest recording that is fitted as one frame."""
LEAST_GOAL_DB = -10.0
"""Goals of the later networks are counted from what the earlier ones leave over, and are no lower than this."""


@dataclass(frozen=True)
class Pass:
    """One pass over the recording."""

    name: str
    """The network that was fitted, or ``together``."""
    blocks: tuple[tuple[Training, ...], ...]
    """Training runs of each block: the first, and one for each time that parts came or went."""


@dataclass(frozen=True)
class Passes:
    """What all passes found."""

    network: Network
    """One network, or the sum of several."""
    estimate: Samples
    """What it says, ``[C, T]``."""
    passes: tuple[Pass, ...]
    """In the order in which they were made."""


def resolve(options: FitOptions, recording: Recording) -> FitOptions:
    """Return the options with what depends on others and on the recording filled in; raises `OptionError` for what cannot be.

    Of a sum only what all its networks have in common is filled in.
    """
    terms = options.model.terms
    if options.tree.leaves == "sine" and "double-dutch" not in terms:
        raise OptionError(f"leaves is 'sine', but model is {options.model.model!r}; leaves are those of double-dutch")
    misplaced = options.layers.misplaced(terms)
    if misplaced is not None:
        having = " or ".join(model for model, names in LAYER_SETTINGS.items() if misplaced in names)
        value = getattr(options.layers, misplaced)
        raise OptionError(f"{misplaced} is {value!r}, but model is {options.model.model!r}; it is a setting of {having}")
    _check_together(options)
    _check_rates(options)
    if options.layers.whole and recording.duration_s > LONGEST_WHOLE_S:
        raise OptionError(
            f"whole is True, but the recording lasts {recording.duration_s:.1f} s; allowed is up to {LONGEST_WHOLE_S:g} s: "
            "give frame_s"
        )
    if len(terms) == 1:
        return _resolved_term(options, recording, 0)
    for place, share in enumerate(options.model.parsed_shares):
        term = _resolved_term(options, recording, place)
        if options.model.numbers is not None:
            # What the networks before leave over comes on top of its own share.
            term = replace(term, model=replace(term.model, numbers=math.floor(options.model.numbers * share)))
        _plan(term, recording)
    # Networks with a tangent and others take different optimisers, unless one is asked for.
    return replace(options, training=options.training.resolved()) if _second_order(options) else options


def _check_rates(options: FitOptions) -> None:
    """Refuse factors of the learning rate for what no network has; numbered layers are known only when there is a network."""
    without = [name for name in options.model.terms if not NETWORKS[name].has_frequencies]
    if options.training.rate_tilt and without:
        raise OptionError(
            f"rate_tilt is {options.training.rate_tilt:g}, but {without[0]} does not say which frequency a parameter belongs to; "
            "use 0"
        )
    names = ["sine" if name == "double-dutch" and options.tree.leaves == "sine" else name for name in options.model.terms]
    kinds = {kind for name in names for kind in NETWORKS[name].kinds}
    for name in options.training.parsed_rates:
        if name not in kinds and not re.fullmatch(r"(level|layer) \d+", name):
            raise OptionError(f"rates names {name!r}, which {options.model.model} has no parameters of; {nearest(name, kinds)}")


def fit_passes(recording: Recording, options: FitOptions, tell: ProgressCallback, log: Log | None = None) -> Passes:
    """Fit a recording with options as `resolve` gives them; the ``log`` may know what was trained before.

    Raises `OptionError`, before any work, when a budget has no room for a single part, or a loss asks for a lag longer than what
    is fitted at a time.
    """
    fitted: list[FramedNetwork] = []
    passes: list[Pass] = []
    left: Samples = recording.samples
    n_terms = len(options.model.terms)
    plans = [_plan(_resolved_term(options, recording, place), recording) for place in range(n_terms)]
    check_lags(options.training.losses, min(last - first for plan in plans for first, last in plan.ranges))
    whole = all(len(plan.ranges) == 1 for plan in plans)
    together = n_terms > 1 and whole and options.training.together and options.training.steps != 0
    for place in range(n_terms):
        term = _resolved_term(options, recording, place)
        told = _telling(tell, term.model.model, place, n_terms + together)
        energy = recording.energy if not place else _energy(left)
        if place:
            spent = sum(network.numbers() for network in fitted)
            term = replace(term, model=_shifted(term, recording, energy, spent))
        try:
            found = fit_blocks(left, recording.sample_rate, energy, term, told, log)
        except KeyboardInterrupt:
            if not place:
                raise
            _stop(passes)
            break
        fitted.append(found.network)
        passes.append(Pass(term.model.model, tuple(tuple(runs) for runs in found.blocks)))
        if n_terms == 1:
            return Passes(found.network, found.estimate, tuple(passes))
        left = Difference(left, found.estimate)
        if found.blocks[-1][-1].status == "stopped":
            break
    if together and len(fitted) == n_terms and not any(map(_stopped, passes)):
        try:
            told = _telling(tell, "all", n_terms, n_terms + 1)
            return _together(fitted, recording, options, passes, told, log)
        except KeyboardInterrupt:
            _stop(passes)
    return Passes(SumNetwork(fitted), Difference(recording.samples, left), tuple(passes))


def _together(
    fitted: Sequence[FramedNetwork],
    recording: Recording,
    options: FitOptions,
    passes: Sequence[Pass],
    tell: ProgressCallback,
    log: Log | None,
) -> Passes:
    """Train all networks of a recording that is one block together."""
    target = torch.zeros(recording.n_channels, recording.n_samples) + recording.samples[:, :]
    size = Size(sum(network.ranked() for network in fitted), goal_energy(options.model, recording.energy))
    training = options.training.resolved(second_order=_second_order(options))
    network, runs = refine(SumNetwork(fitted), target, size, training, 0, tell, log)
    with torch.no_grad():
        return Passes(network, network.estimate(), (*passes, Pass("together", (tuple(runs),))))


def _resolved_term(options: FitOptions, recording: Recording, place: int) -> FitOptions:
    """Return the options of one network of a sum, filled in: it may spend its own share and what is left of those before."""
    model, name = options.model, options.model.terms[place]
    partials_in_leaves = name == "double-dutch" and options.tree.leaves == "sine"
    name = "sine" if partials_in_leaves else name
    kind, grid, tree = NETWORKS[name], options.grid, options.tree
    if len(model.terms) > 1:
        share = sum(model.parsed_shares[: place + 1])
        numbers = None if model.numbers is None else math.floor(model.numbers * share)
        goal_db, cap = model.target_snr_db * share, max(model.max_numbers_per_sample * share, MIN_NUMBERS_PER_SAMPLE)
        model = replace(model, model=name, shares=None, numbers=numbers, target_snr_db=goal_db, max_numbers_per_sample=cap)
    else:
        model = replace(model, model=name)
    frame_s, overlap = grid.frame_s, grid.overlap
    if kind.frames == "halving":
        n_samples = window_samples(grid.frame_s or TREE_FRAME_S, recording.sample_rate, recording.n_samples)
        windows = recording.n_channels * math.ceil(recording.n_samples / n_samples)
        numbers_each = allowance(model, recording.n_channels, recording.n_samples) // windows
        # A cap leaves room for the smallest tree, as it does for one partial; a budget may not.
        numbers_each = numbers_each if model.numbers is not None else max(numbers_each, sizing.LEAST_BINARY)
        tree = sizing.resolved(tree, n_samples, min(windows, math.ceil(BLOCK_SAMPLES / n_samples)), numbers_each)
        # A frame alone has no neighbour to overlap with.
        frame_s, overlap = n_samples / recording.sample_rate, (overlap or 0.0) if recording.n_samples > n_samples else 0.0
    elif kind.frames == "equal" and not options.layers.whole:
        frame_s, overlap = frame_s or UNITS_FRAME_S, UNITS_OVERLAP if overlap is None else overlap
    elif frame_s is None and model.partials is not None and not options.layers.whole:
        frame_s = PARTIALS_FRAME_S
    window = grid.window or ("gate" if partials_in_leaves else "hann")
    grid = replace(grid, frame_s=frame_s, overlap=0.5 if overlap is None else overlap, window=window)
    layers = replace(options.layers, whole=options.layers.whole and "whole" in LAYER_SETTINGS.get(name, ()))
    if kind.units is not None:
        layers, numbers = unit_sizing.sized(model, layers, grid, recording, kind.units)
        model = replace(model, numbers=numbers)
    resolved = replace(options, model=model, grid=grid, tree=tree, layers=layers)
    return replace(resolved, training=_resolved_training(resolved, name))


def _check_together(options: FitOptions) -> None:
    """Raise `OptionError` for settings of layers that do not go with others."""
    model, layers = options.model, options.layers
    if layers.greedy and model.start != "peaks":
        raise OptionError(f"greedy is True, which finds its own start, but start is {model.start!r}; give only one of the two")
    if layers.whole and options.grid.frame_s is not None and len(model.terms) == 1:
        raise OptionError(f"whole is True and frame_s is {options.grid.frame_s:g}; give only one of the two")
    if "stack" in model.terms and layers.widths is not None and layers.parsed_widths[-1] != 1:
        raise OptionError(f"widths is {layers.widths!r}; the last layer of stack has one unit, as in 100,10,1")


def _second_order(options: FitOptions) -> bool:
    """Return whether all networks have a tangent."""
    return all(map(options.has_tangent, options.model.terms))


def _resolved_training(options: FitOptions, name: str) -> TrainingOptions:
    """Return the training of one network, filled in; raises `OptionError` where its optimiser cannot train it."""
    kind, second_order = NETWORKS[name], options.has_tangent(name)
    if options.training.optimiser == "gauss-newton" and not second_order:
        raise OptionError(f"optimiser is 'gauss-newton', but this {options.model.model} has no tangent, which it needs; use adam")
    return options.training.resolved(kind.exchanges, second_order=second_order, first_order_steps=kind.first_order_steps)


def window_samples(frame_s: float, sample_rate: int, n_samples: int) -> int:
    """Return the power of two nearest to a tree's frame in samples, no longer than ``n_samples`` need or 5 s."""
    low, high = math.ceil(math.log2(MIN_FRAME_S * sample_rate)), math.floor(math.log2(MAX_FRAME_S * sample_rate))
    wanted = round(math.log2(max(frame_s * sample_rate, 2)))
    return 1 << max(2, low, min(wanted, high, math.ceil(math.log2(max(n_samples, 2)))))


def _shifted(term: FitOptions, recording: Recording, energy: float, spent: int) -> ModelOptions:
    """Return the model options of a later network: what is ``spent`` is taken off, and goals count from the ``energy`` left."""
    model = term.model
    per_sample = spent / (recording.n_channels * recording.n_samples)
    cap = max(model.max_numbers_per_sample - per_sample, MIN_NUMBERS_PER_SAMPLE)
    if model.numbers is not None:
        return replace(model, numbers=max(model.numbers - spent, MIN_NUMBERS))
    goal = goal_energy(model, recording.energy)
    goal_db = 10 * math.log10(energy / goal) if energy > 0 and goal > 0 else model.target_snr_db
    return replace(model, target_snr_db=max(goal_db, LEAST_GOAL_DB), max_numbers_per_sample=cap)


def _energy(samples: Samples) -> float:
    return sum(float(block.double().square().sum()) for block in blocks(samples))


def _stopped(one: Pass) -> bool:
    return any(run.status == "stopped" for runs in one.blocks for run in runs)


def _stop(passes: Sequence[Pass]) -> None:
    """Note that the user stopped before the next pass had begun."""
    passes[-1].blocks[-1][-1].status = "stopped"


def _plan(term: FitOptions, recording: Recording) -> BlockPlan:
    return plan_blocks((recording.n_channels, recording.n_samples), recording.sample_rate, term)


def _telling(tell: ProgressCallback, name: str, place: int, count: int) -> ProgressCallback:
    """Return a callable that passes progress on as part of ``count`` passes."""

    def told(progress: Progress) -> None:
        """Count the blocks of all passes."""
        block, blocks = progress.block + place * progress.blocks, count * progress.blocks
        tell(progress._replace(stage=f"{progress.stage} ({name})", block=block, blocks=blocks))

    return tell if count == 1 else told
