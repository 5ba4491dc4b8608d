"""The plan of a fit: all decisions that are made before any work, from the options and the recording."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from ddaudio.errors import OptionError, nearest
from ddaudio.fitting import layer_widths
from ddaudio.fitting.budget import allowance, check_budget, check_most, goal_energy, highest_snr_db
from ddaudio.fitting.segmentation import cell_sizes
from ddaudio.fitting.starting_model import check_division, starting_terms
from ddaudio.fitting.teacher import lesson_of
from ddaudio.grid.coding import WORD
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.io.audio import Recording
from ddaudio.io.samples import Samples
from ddaudio.losses import make_loss
from ddaudio.metrics.registry import METRICS, requested
from ddaudio.models import FramedNetwork, network_class
from ddaudio.models.double_dutch import sizing
from ddaudio.models.noise.fit import BUDGET_PRICE_DB2, PRICE_DB2
from ddaudio.options import (
    MAX_FRAME_S,
    MAX_WHOLE_S,
    MIN_FRAME_S,
    MIN_PARAMETERS,
    MIN_PARAMETERS_PER_SAMPLE,
    NETWORKS,
    FitOptions,
    NetworkSpec,
    TrainingOptions,
    check_lags,
    parse_terms,
)
from ddaudio.options.noise import NoiseOptions
from ddaudio.options.registry import load

TREE_FRAME_S = 0.1
"""Default frame length of trees, rounded to a power of two samples."""
PARTIALS_FRAME_S = 0.05
"""Default frame length with a fixed number of partials per frame."""

UNITS_FRAME_S, UNITS_OVERLAP = 0.06, 0.1
"""Default frame length and overlap of networks of sine units."""
NOISE_PER_SECOND, SHORTEST_NOISE_S = 440.0, 0.16
"""Largest number of parameters of noise per second and channel, and the duration that counts at least."""
EXCHANGES_BY_EAR = 1
"""Default number of exchanges of weak components where the size of the waves is chosen by ear: a second one takes a fifth of the
time for 0.05 dB of SNR, which no score shows."""
BLOCK_SAMPLES = 1 << 20
"""Number of samples over all channels in a block: 24 s of mono at 44.1 kHz."""


LEAST_GOAL_DB = -10.0
"""Lowest goal of a later stage, as SNR in dB relative to the residual of earlier stages."""


@dataclass(frozen=True)
class BlockPlan:
    """Division of a recording into blocks, each of which is fitted as a whole."""

    root_samples: int
    """Length of a root cell in samples: the longest possible cell."""
    adaptive: bool
    """Whether root cells are divided further; otherwise all cells are equal."""
    longest_fade: int | None
    """Bound on half the length of a fade, in samples; None for half of the shorter cell."""
    ranges: tuple[tuple[int, int], ...]
    """First sample and end of each block."""
    fewest: tuple[int, ...]
    """Smallest number of parameters of the undivided cells of each block. They are reserved first; the rest of the budget is for
    components and further cells."""


@dataclass(frozen=True)
class StagePlan:
    """One stage of a fit: the network that is fitted, its resolved options, and its blocks."""

    name: str
    """Name of the network."""
    options: FitOptions
    """Resolved options of this network alone. Its budget, goal and cap include those of the stages before it; see
    `with_spent`."""
    blocks: BlockPlan
    """Division of the recording for this network."""
    sample_rate: int
    """Samples per second."""
    shape: tuple[int, int]
    """Channels and samples of the recording."""
    lesson: Samples | None = field(default=None, compare=False)
    """See `FitPlan`."""
    start: FramedNetwork | None = field(default=None, compare=False)
    """Trained network that the fit starts from; None for none."""

    @property
    def network(self) -> NetworkSpec:
        """Registry row of the network."""
        return NETWORKS[self.name]

    @property
    def frame_lengths_s(self) -> tuple[float, float]:
        """Lengths of the shortest and the longest frame in seconds, fades included."""
        if self.options.grid.whole:
            return (self.shape[1] / self.sample_rate,) * 2
        if self.options.grid.frame_s is not None:
            return (self.options.grid.frame_s,) * 2
        # A frame extends into half of each neighbour, and is twice as long as its cell.
        shortest = cell_sizes(self.sample_rate, self.shape[1])[0]
        return 2 * shortest / self.sample_rate, 2 * self.blocks.root_samples / self.sample_rate

    @property
    def n_parameters(self) -> int:
        """Largest number of parameters, including those of earlier stages: the budget, or the cap."""
        return allowance(self.options.model, *self.shape)

    def goal_energy(self, energy: float) -> float:
        """Return the target of the residual energy for a signal of the given ``energy``; 0 without a target SNR."""
        return goal_energy(self.options.model, energy)

    def with_spent(self, spent: int, energy: float, left: float) -> "StagePlan":
        """Return the plan of this stage for the residual of earlier stages.

        Args:
            spent: parameters of the networks of earlier stages, which are subtracted from the budget or the cap.
            energy: energy of the recording.
            left: energy of the residual of earlier stages, to which the goal is relative now.

        """
        model = self.options.model
        if model.budget is not None:
            model = replace(model, budget=max(model.budget - spent, MIN_PARAMETERS))
        else:
            cap = (model.max_parameters_per_sample or 0.0) - spent / math.prod(self.shape)
            goal = self.goal_energy(energy)
            goal_db = 10 * math.log10(left / goal) if left > 0 and goal > 0 else highest_snr_db(model)
            cap, goal_db = max(cap, MIN_PARAMETERS_PER_SAMPLE), max(goal_db, LEAST_GOAL_DB)
            model = replace(model, target_snr_db=goal_db, max_parameters_per_sample=cap)
        return replace(self, options=replace(self.options, model=model))


@dataclass(frozen=True)
class NoisePlan:
    """The last stage of a model with noise."""

    name: str
    """Name of the network."""
    budget: int | None
    """Parameters of the whole model, of which noise gets what the waves leave; None without a budget."""
    most: int
    """Most parameters of the noise without a budget; it takes as many as are worth it."""
    price_db2: float
    """Reduction that a parameter must be worth, see `ddaudio.models.noise.fit.fit_noise`."""
    options: NoiseOptions
    """Settings of gradient descent."""
    training: TrainingOptions
    """Learning rate, schedule and interval of evaluations of gradient descent."""

    def room(self, spent: int) -> int:
        """Return how many parameters the noise may have when the waves have ``spent`` of them."""
        return self.most if self.budget is None else max(0, self.budget - spent)


@dataclass(frozen=True)
class FitPlan:
    """All decisions about a fit that are made before any work; created by `make_plan` or `ddaudio.plan_fit`."""

    source: str
    """Source of the recording."""
    sample_rate: int
    """Sample rate of the fitted signals, in Hz."""
    shape: tuple[int, int]
    """Channels and samples of the fitted signals."""
    options: FitOptions
    """Resolved settings; for a sum, only those common to all of its networks are filled in."""
    stages: tuple[StagePlan, ...]
    """One stage per network of waves, in the order in which they are fitted."""
    joint: TrainingOptions | None
    """Joint training of all networks after the last stage; None if there is none."""
    lesson: Samples | None = None
    """What the teacher's waves have more than the recording, ``[C, T]``; None without a teacher. See `lesson_of`."""
    noise: NoisePlan | None = None
    """Noise that is fitted to the residual of the waves; None for a model without noise."""

    def goal_energy(self, energy: float) -> float:
        """Return the target of the residual energy for a recording of the given ``energy``; 0 without a target SNR."""
        return goal_energy(self.options.model, energy)


def make_plan(recording: Recording, options: FitOptions) -> FitPlan:
    """Resolve the options for a recording, and return the plan of the fit.

    Raises `OptionError` for options in conflict with each other or with the recording, a budget that is too small for a single
    component or beyond what the recording can use, and a loss with a lag that is longer than what is fitted at a time.
    """
    _check(options, recording)
    if options.model.budget is not None:
        check_most("budget", options.model.budget, recording, options.model.budget)
    block_samples = min(recording.n_samples, BLOCK_SAMPLES // recording.n_channels)
    in_steps = options.training.with_epochs(block_samples, recording.sample_rate)
    options = replace(options, model=options.model.resolved(), training=in_steps)
    terms, joint = options.model.wave_terms, None
    if len(terms) > 1:
        # Networks differ in their default optimisers.
        second_order = all(map(options.second_order, terms))
        joint = options.training.resolved(second_order=second_order)
        options = replace(options, training=joint) if second_order else options
    stages = tuple(_plan_stage(_resolved_term(options, recording, index), recording) for index in range(len(terms)))
    if len(terms) == 1:
        alone = stages[0].options
        own = {name: options.network(name) for name in options.model.terms} | dict(alone.networks)
        options = alone if options.model.noise_term is None else replace(alone, model=options.model, networks=own)
    _check_room(options, stages)
    if options.model.partials is not None:
        frames = recording.n_channels * math.ceil(recording.n_samples / stages[0].blocks.root_samples)
        per_frame = options.model.partials * stages[0].network.parameters_per_component
        check_most("partials", frames * per_frame, recording, options.model.partials)
    lengths = [last - first for stage in stages for first, last in stage.blocks.ranges]
    check_lags(options.training.losses, min(lengths, default=recording.n_samples))
    training = options.training
    if not training.together or training.steps == 0 or any(len(stage.blocks.ranges) > 1 for stage in stages):
        joint = None
    shape = recording.n_channels, recording.n_samples
    noise, lesson = _plan_noise(options, recording), lesson_of(recording, options.training)
    starts = _starts(options.model.from_model, recording, stages)
    stages = tuple(replace(stage, lesson=lesson, start=start) for stage, start in zip(stages, starts, strict=True))
    return FitPlan(recording.source, recording.sample_rate, shape, options, stages, joint, lesson, noise)


def _starts(path: str | None, recording: Recording, stages: Sequence[StagePlan]) -> list[FramedNetwork | None]:
    """Return the trained network that each stage starts from; raises `OptionError` where it does not fit."""
    starts = starting_terms(recording, path, [(stage.name, stage.options.network(stage.name)) for stage in stages])
    for start, stage in zip(starts, stages, strict=True):
        blocks, root = stage.blocks, None if stage.blocks.adaptive else stage.blocks.root_samples
        check_division(start, path, recording.n_samples, root=root, fade=blocks.longest_fade, n_blocks=len(blocks.ranges))
    return starts


def _plan_noise(options: FitOptions, recording: Recording) -> NoisePlan | None:
    """Return the plan of the noise, if the model has any."""
    name = options.model.noise_term
    if name is None:
        return None
    most = math.ceil(NOISE_PER_SECOND * recording.n_channels * max(recording.duration_s, SHORTEST_NOISE_S))
    price_db2 = PRICE_DB2 if options.model.budget is None else BUDGET_PRICE_DB2
    own = options.network(name)
    assert isinstance(own, NoiseOptions)
    if own.noise_steps and recording.n_channels * recording.n_samples > BLOCK_SAMPLES:
        raise OptionError(
            f"but the recording has {recording.n_channels * recording.n_samples} samples",
            setting="noise_steps",
            value=own.noise_steps,
            allowed=f"recordings of up to {BLOCK_SAMPLES} samples over all channels",
            hint="leave {noise_steps} out: the levels are fitted in closed form",
        )
    if own.noise_waves and not options.model.wave_terms:
        raise OptionError("but the model has none", setting="noise_waves", value=True, others={"model": options.model.model})
    return NoisePlan(name, options.model.budget, most, price_db2, own, options.training)


def _check(options: FitOptions, recording: Recording) -> None:
    """Raise `OptionError` for options in conflict with each other or the recording, and `PluginError` for broken packages."""
    METRICS.check()
    requested(options.output.quality)
    for name in options.model.terms:
        network_class(name)
        options.network(name).check_sample_rate(recording.sample_rate)
    for name in parse_terms(options.training.losses):
        make_loss(name, recording.sample_rate)
    _check_rates(options)
    if options.grid.whole and recording.duration_s > MAX_WHOLE_S:
        raise OptionError(
            f"but the recording lasts {recording.duration_s:.1f} s",
            setting="whole",
            value=True,
            allowed=f"recordings of up to {MAX_WHOLE_S:g} s",
            hint="give {frame_s} in place of {whole=True}",
        )


def _check_rates(options: FitOptions) -> None:
    """Raise `OptionError` for factors of the learning rate of parameters that no network has."""
    without = [name for name in options.model.wave_terms if not NETWORKS[name].has_frequencies]
    for setting, what in (("rate_tilt", "frequency"), ("amplitude_tilt", "amplitude")):
        if (tilt := getattr(options.training, setting)) and without:
            problem = f"but parameters of {without[0]} have no {what}"
            raise OptionError(problem, setting=setting, value=tilt, hint=f"use {{{setting}=0}}")
    names = [options.network(name).fitted_as or name for name in options.model.wave_terms]
    kinds = {kind for name in names for kind in NETWORKS[name].kinds}
    numbered = {own for name in names if (own := NETWORKS[name].numbered) is not None}
    for name in options.training.parsed_rates:
        number = re.fullmatch(r"(\w+) (\d+)", name)
        if name not in kinds and not (
            number and any(number[1] == word and 1 <= int(number[2]) <= most for word, most in numbered)
        ):
            known = [*kinds, *(f"{word} 1 to {most}" for word, most in numbered)]
            problem, hint = f"but {options.model.model} has no such parameters", nearest(name, known)
            raise OptionError(problem, setting="rates", value=name, verb="names", hint=hint)


def _resolved_term(options: FitOptions, recording: Recording, place: int) -> FitOptions:
    """Return the resolved options of one network; in a sum, its budget includes the shares of those before it."""
    model, name = options.model, options.model.wave_terms[place]
    other = options.network(name).fitted_as
    name = other or name
    kind, own = NETWORKS[name], options.network(name)
    grid = replace(options.grid, whole=options.grid.whole and kind.takes_whole)
    if len(model.terms) > 1:
        split = model.parsed_budget_split
        share = sum(split[: place + 1])
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
        own = sizing.resolved(own, n_samples, min(windows, math.ceil(BLOCK_SAMPLES / n_samples)), numbers_each)
        # A single frame has no neighbour to overlap with.
        frame_s, overlap = n_samples / recording.sample_rate, (overlap or 0.0) if recording.n_samples > n_samples else 0.0
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


def _check_room(options: FitOptions, stages: Sequence[StagePlan]) -> None:
    """Raise `OptionError` if the share of any network is too small for a single component."""
    if options.model.budget is not None:
        for stage, share in zip(stages, options.model.parsed_budget_split, strict=False):
            check_budget(options.model, sum(stage.blocks.fewest), stage.network.parameters_per_component, share)


def _plan_stage(options: FitOptions, recording: Recording) -> StagePlan:
    """Return the plan of a stage from its resolved options."""
    shape = recording.n_channels, recording.n_samples
    blocks = _plan_blocks(shape, recording.sample_rate, options)
    return StagePlan(options.model.model, options, blocks, recording.sample_rate, shape)


def _plan_blocks(shape: tuple[int, int], sample_rate: int, options: FitOptions) -> BlockPlan:
    """Return the division of signals of shape ``[C, T]`` into blocks."""
    n_signals, n_samples = shape
    frame_s, overlap = options.grid.frame_s, options.grid.overlap or 0.0
    if options.grid.whole:
        frame_s, overlap = (n_samples + n_samples % 2) / sample_rate, 0.0
    # Equal frames are root cells that are never divided.
    equal = None if frame_s is None else TimeGrid.uniform(sample_rate, 1, n_samples, frame_s, overlap).cells
    root = cell_sizes(sample_rate, n_samples)[-1] if equal is None else int(equal.size[0])
    length = root * max(4, BLOCK_SAMPLES // (n_signals * root))
    spec = NETWORKS[options.model.model]
    count = 1 if spec.parameters_per_network else max(1, round(n_samples / length))
    ranges = tuple(pairwise([*(length * index for index in range(count)), n_samples]))
    cells = [n_signals * math.ceil((last - first) / root) for first, last in ranges]
    words = [0 if count == 1 or equal is not None else math.ceil(each / WORD) for each in cells]
    fewest = tuple(
        spec.parameters_per_network + spec.parameters_per_frame * each + more for each, more in zip(cells, words, strict=True)
    )
    return BlockPlan(root, equal is None, None if equal is None else int(equal.pre_roll.max()), ranges, fewest)
