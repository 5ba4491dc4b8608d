"""Verdicts: the status of a fit and what there is to doubt."""

from collections.abc import Iterator, Sequence

from ddaudio.fitting.budget import allowance
from ddaudio.fitting.stagewise import Stage
from ddaudio.io.audio import Recording
from ddaudio.metrics.mdct_baseline import MdctBaseline
from ddaudio.metrics.measure import Metrics
from ddaudio.metrics.spectral_flatness import flatness
from ddaudio.models import PARAMETERS_PER_PARTIAL, Network
from ddaudio.options import NETWORKS, FitOptions
from ddaudio.training.history import PATIENCE, TrainingRun

NOT_FITTED_DB = 0.5
"""Below this SNR the model says no more than silence does."""
UNSPENT_SHARE = 0.02
"""Share of the cap that blocks may leave over between them."""
GRAVITY = ("not trained", "converged", "step limit", "diverged", "stopped")
"""How training may end, the gravest last."""
WORSE_BY_DB = 3.0
"""A fit that much worse than its baseline is doubtful."""
POOR_DB = 25.0
"""Below this SNR, the goal unless one is set, it matters whether the recording is mostly noise."""

NOISY, CLICKING = 0.14, 0.7
"""Spectral flatness from which on a recording is mostly noise, and from which on it is clicks; see `spectral_flatness`."""
AT_BOUNDS = 3
"""Values at their bounds, from which on they are doubtful if they are more than usual."""
CLIPPED_SHARE = 1e-4
"""Share of samples in clipped runs from which on the input counts as clipped."""


def _verdict(passes: Sequence[Stage], metrics: Metrics) -> tuple[str, str]:
    """Return the status of a fit and a sentence that explains it."""
    snr_db = metrics["snr_db"].value
    if metrics["snr_db"].reason is not None:
        return "converged", f"Nothing is left to fit: {metrics['snr_db'].reason}."
    if snr_db is not None and snr_db < NOT_FITTED_DB:
        return "not fitted", f"The SNR is {snr_db:.1f} dB: the model says hardly more than silence does."
    ends = [stages[-1] for stages in passes[-1].blocks]
    ends += [stages[-1] for one in passes[:-1] for stages in one.blocks if stages[-1].status == "stopped"]
    worst = max(ends, key=lambda run: GRAVITY.index(run.status))
    steps = sum(run.evaluations[-1].step for one in passes for stages in one.blocks for run in stages)
    where = f" in {sum(run.status == worst.status for run in ends)} of {len(ends)} blocks" if len(ends) > 1 else ""
    sentences = {
        "converged": f"The loss was level at the end of {steps} steps.",
        "step limit": _at_step_limit(worst, steps, where),
        "diverged": f"The loss grew beyond bounds{where}; the best point before that was kept. Lower the learning rate.",
        "stopped": f"Stopped after {steps} steps; the best point until then was kept.",
        "not trained": "The network stands at its starting point.",
    }
    return worst.status, sentences[worst.status]


def _at_step_limit(run: TrainingRun, steps: int, where: str) -> str:
    before, last = run.evaluations[max(0, len(run.evaluations) - 1 - PATIENCE)], run.evaluations[-1]
    if last.total < before.total:
        return f"The loss still fell at the last of {steps} steps{where}; more steps would bring more."
    return f"The loss rose over the last of {steps} steps{where}; the best point was kept. Lower the learning rate."


def _doubts(
    recording: Recording,
    options: FitOptions,
    status: str,
    reason: str,
    metrics: Metrics,
    baseline: MdctBaseline,
    network: Network,
) -> Iterator[str]:
    """Yield what may be wrong, the gravest first."""
    snr_db, model = metrics["snr_db"].value, options.model
    has_goal = model.budget is None and model.partials is None
    missed = has_goal and snr_db is not None and snr_db < model.target_snr_db
    if status in ("not fitted", "diverged", "stopped"):
        yield f"{status}: {reason.rstrip('.')}"
    if missed and snr_db is not None:
        cap = allowance(model, recording.n_channels, recording.n_samples)
        at_cap = network.n_parameters() + PARAMETERS_PER_PARTIAL > (1 - UNSPENT_SHARE) * cap
        spent = network.n_parameters() / (recording.n_channels * recording.n_samples)
        size = (
            f"at the cap of {model.max_parameters_per_sample:g}"
            if at_cap and network.n_parameters() <= cap
            else f"with {spent:.3g}"
        )
        yield f"goal missed: {snr_db:.1f} of {model.target_snr_db:g} dB {size} parameters per sample"
    if (missed or not has_goal) and snr_db is not None and snr_db < POOR_DB:
        yield from _noise_doubts(recording, network)
    if status == "step limit" and (missed or not has_goal):
        yield f"{status}: {reason.rstrip('.')}"
    if snr_db is not None and baseline.snr_db is not None and baseline.snr_db > snr_db + WORSE_BY_DB:
        yield f"poor value: the best-k MDCT is {baseline.snr_db - snr_db:.0f} dB better with as many numbers"
    for bounds in (term.at_bounds() for term in network.terms):
        if bounds.held >= AT_BOUNDS and bounds.held > bounds.usual * bounds.total:
            yield f"at a bound: {bounds.held} of {bounds.total} {bounds.where}"
    yield from _input_doubts(recording)


def _noise_doubts(recording: Recording, network: Network) -> Iterator[str]:
    """Yield whether the recording is mostly noise, which explains a poor fit."""
    measured = flatness(recording.samples, recording.sample_rate)
    if measured is not None and NOISY <= measured < CLICKING:
        parts = " and ".join(dict.fromkeys(NETWORKS[term.name].component_name for term in network.terms))
        yield f"mostly noise: spectral flatness {measured:.2f} (a tone has 0, white noise 0.51); {parts} are a poor model of it"


def _input_doubts(recording: Recording) -> Iterator[str]:
    """Yield what may be wrong with the recording itself."""
    if recording.truncated:
        promised = f" of {recording.declared_samples}" if recording.declared_samples > recording.n_samples else ""
        yield (
            f"input cut short: the file ends after {recording.n_samples}{promised} samples, before its own end mark or "
            "declared length; what is there was fitted"
        )
    if recording.clipped_samples > CLIPPED_SHARE * recording.n_channels * recording.n_samples:
        yield f"input clipped: {recording.clipped_samples} samples lie in runs at full scale"
