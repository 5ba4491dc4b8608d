"""The plan of a fit: all decisions that are made before any work, from the options and the recording."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from ddaudio.errors import OptionError
from ddaudio.fitting.budget import allowance, check_budget, check_most, goal_energy, highest_snr_db
from ddaudio.fitting.plan_checks import check_options
from ddaudio.fitting.resolved_options import has_rival, resolved_term
from ddaudio.fitting.segmentation import cell_sizes
from ddaudio.fitting.starting_model import check_division, starting_terms
from ddaudio.fitting.teacher import lesson_of
from ddaudio.grid.coding import WORD
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.io.audio import Recording
from ddaudio.io.samples import Samples
from ddaudio.models import FramedNetwork
from ddaudio.models.noise.fit import BUDGET_PRICE_DB2, PRICE_DB2
from ddaudio.options import (
    MIN_PARAMETERS,
    MIN_PARAMETERS_PER_SAMPLE,
    NETWORKS,
    FitOptions,
    NetworkSpec,
    TrainingOptions,
    check_lags,
)
from ddaudio.options.noise import NoiseOptions

NOISE_PER_SECOND, SHORTEST_NOISE_S = 440.0, 0.16
"""Largest number of parameters of noise per second and channel, and the duration that counts at least."""
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
    has_rival: bool = False
    """Whether a network of cells follows: tracks are then only kept where they are cheaper."""
    is_silent: bool = False
    """Whether its network is left without any components."""

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
    check_options(options, recording)
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
    stages = tuple(_plan_stage(options, recording, index) for index in range(len(terms)))
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


def _check_room(options: FitOptions, stages: Sequence[StagePlan]) -> None:
    """Raise `OptionError` if the share of any network is too small for a single component."""
    if options.model.budget is not None:
        for stage, share in zip(stages, options.model.parsed_budget_split, strict=False):
            check_budget(options.model, sum(stage.blocks.fewest), stage.network.parameters_per_component, share)


def _plan_stage(options: FitOptions, recording: Recording, place: int) -> StagePlan:
    """Return the plan of a stage, given the resolved options of the whole fit."""
    rival = has_rival(options.model.wave_terms, place)
    options = resolved_term(options, recording, place, BLOCK_SAMPLES)
    shape = recording.n_channels, recording.n_samples
    blocks = _plan_blocks(shape, recording.sample_rate, options)
    return StagePlan(options.model.model, options, blocks, recording.sample_rate, shape, has_rival=rival)


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
