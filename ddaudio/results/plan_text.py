"""The plan of a fit as data and as text."""

from typing import Any

from ddaudio.fitting.plan import FitPlan, StagePlan
from ddaudio.options import ModelOptions, TrainingOptions


def plan_facts(plan: FitPlan) -> dict[str, Any]:
    """Return a plan as nested dicts and lists, serialisable as JSON; inapplicable values are None."""
    channels, samples = plan.shape
    return {
        "recording": {
            "source": plan.source,
            "sample_rate": plan.sample_rate,
            "channels": channels,
            "samples": samples,
            "duration_s": samples / plan.sample_rate,
        },
        "goal": goal_facts(plan.options.model),
        "stages": [_stage_facts(stage) for stage in plan.stages],
        "joint": None if plan.joint is None else _training_facts(plan.joint),
        "noise": None if plan.noise is None else {"network": plan.noise.name, "max_parameters": plan.noise.room(0)},
        "settings": plan.options.tables(),
    }


def goal_facts(model: ModelOptions) -> dict[str, Any]:
    """Return the setting that determines the size of a model, and its value."""
    goals = ("budget", "partials", "target_snr_db")
    name = next((name for name in goals if getattr(model, name) is not None), "max_parameters_per_sample")
    return {"name": name, "asked": getattr(model, name)}


def _stage_facts(stage: StagePlan) -> dict[str, Any]:
    shortest, longest = stage.frame_lengths_s
    grid = stage.options.grid
    return {
        "network": stage.name,
        "goal": goal_facts(stage.options.model),
        "max_parameters": None if stage.options.model.partials is not None else stage.n_parameters,
        "frames": None
        if stage.network.frames == "none"
        else {
            "adaptive": stage.blocks.adaptive,
            "shortest_s": shortest,
            "longest_s": longest,
            "overlap": None if stage.blocks.adaptive or stage.options.grid.whole else grid.overlap,
            "window": grid.window,
        },
        "blocks": [{"first": first, "end": end} for first, end in stage.blocks.ranges],
        "training": _training_facts(stage.options.training),
    }


def _training_facts(training: TrainingOptions) -> dict[str, Any]:
    names = ("losses", "penalties", "optimiser", "steps", "exchanges")
    return {name: getattr(training, name) for name in names}


def plan_summary(plan: FitPlan) -> list[str]:
    """Return a plan in a few lines of text: the recording, and for each stage its frames, its size and its training."""
    channels, samples = plan.shape
    lines = [
        f"input    {plan.source}: {samples / plan.sample_rate:.3g} s, {samples} samples in {_count(channels, 'channel')} at "
        f"{plan.sample_rate} Hz"
    ]
    for index, stage in enumerate(plan.stages, 1):
        blocks = f"{_count(len(stage.blocks.ranges), 'block')}"
        lines += [
            f"stage {index}  {stage.name} {_frames(stage)}; {blocks}",
            f"         {_size(stage, index)}",
            f"         {_training(stage.options.training)}",
        ]
    if plan.joint is not None:
        lines.append(f"stage {len(plan.stages) + 1}  all networks together: {_training(plan.joint)}")
    if plan.noise is not None:
        room = _count(plan.noise.room(0), "parameter")
        size = f"at most {room}" if plan.noise.budget is None else f"what is left of {room}"
        lines.append(f"then     {plan.noise.name}, in closed form: {size}")
    return lines


def _frames(stage: StagePlan) -> str:
    if stage.network.frames == "none":
        return "with knots where the sound asks for them"
    low_ms, high_ms = (1000 * length for length in stage.frame_lengths_s)
    if stage.options.grid.whole:
        frames = f"one frame of {low_ms:.4g} ms"
    elif stage.blocks.adaptive:
        frames = f"frames of {low_ms:.3g} to {high_ms:.3g} ms, chosen by trial"
    else:
        frames = f"frames of {low_ms:.4g} ms that overlap by {stage.options.grid.overlap or 0:.0%}"
    return f"in {frames}, {stage.options.grid.window} window"


def _size(stage: StagePlan, index: int) -> str:
    model = stage.options.model
    before = ", earlier stages included" if index > 1 else ""
    if model.partials is not None:
        return f"{_count(model.partials, 'partial')} per frame"
    if model.budget is not None:
        return f"budget of {_count(model.budget, 'parameter')}{before}"
    return f"SNR of {model.target_snr_db:g} dB with at most {_count(stage.n_parameters, 'parameter')}{before}"


def _training(training: TrainingOptions) -> str:
    if not training.steps:
        return "not trained"
    losses = training.losses + (f" with penalties {training.penalties}" if training.penalties else "")
    exchanges = f", {_count(training.exchanges, 'exchange')} of weak components" if training.exchanges else ""
    return f"{training.optimiser}, at most {_count(training.steps, 'step')} per run, on {losses}{exchanges}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
