"""``fit``: from a recording to a trained network, its estimate and what it is worth."""

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import accumulate
from statistics import mean
from typing import Any

import torch

from ddaudio import audio
from ddaudio.allocation import allowance
from ddaudio.audio import Recording
from ddaudio.checkpoints import Checkpoint, Log
from ddaudio.errors import OptionError, RecordingError
from ddaudio.mdct import MdctBaseline, best_k_snr
from ddaudio.meeting import now_s
from ddaudio.metrics import Metrics, measure
from ddaudio.models import NETWORKS, NUMBERS_PER_PARTIAL, Network
from ddaudio.noisiness import flatness
from ddaudio.options import FitOptions
from ddaudio.passes import Pass, fit_passes, resolve
from ddaudio.spool import Difference, Samples
from ddaudio.training import LOOKS, Progress, ProgressCallback, Training

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
"""Spectral flatness from which on a recording is mostly noise, and from which on it is clicks; see `ddaudio.noisiness`."""
AT_BOUNDS = 3
"""Values at their bounds, from which on they are doubtful if they are more than usual."""
LOUDEST_PEAK = 1e6
"""Samples beyond this are no sound: their squares would leave float32."""
CLIPPED_SHARE = 1e-4
"""Share of samples in clipped runs from which on the input counts as clipped."""


@dataclass(frozen=True)
class FitResult:
    """Everything that a fit found out. Immutable; `ddaudio.save_fit` writes it to a folder."""

    recording: Recording
    """What was fitted."""
    options: FitOptions
    """The settings as resolved: a frame length that was chosen by trial is filled in."""
    network: Network
    """The trained network, at the best point that the judge saw."""
    estimate: Samples
    """What the network says, ``[C, T]`` float32; a tensor unless it is long, see `ddaudio.spool`."""
    status: str
    """How training ended: converged, step limit, diverged, stopped, not trained; or not fitted."""
    reason: str
    """The status in a sentence."""
    doubts: tuple[str, ...]
    """What may be wrong with this fit, in sentences; the gravest first."""
    passes: tuple[Pass, ...]
    """Training runs of each pass over the recording: one for each network, and one for all together where there are several."""
    metrics: Metrics
    """Distances between estimate and recording, each defined in `ddaudio.metrics.DEFINITIONS`."""
    baseline: MdctBaseline
    """What the best-k MDCT reaches with as many numbers."""
    seconds: dict[str, float]
    """Wall time of each part of the fit."""

    @property
    def residual(self) -> Samples:
        """Recording minus estimate, ``[C, T]``."""
        return Difference(self.recording.samples, self.estimate)

    @property
    def numbers(self) -> int:
        """How many numbers the model stores."""
        return self.network.numbers()

    @property
    def numbers_per_sample(self) -> float:
        """Numbers over the samples of all channels."""
        return self.numbers / (self.recording.n_channels * self.recording.n_samples)

    @property
    def snr_db(self) -> float | None:
        """SNR in dB; None where it is undefined (silence, or an exact fit)."""
        return self.metrics["snr_db"].value

    @property
    def reached_goal(self) -> bool:
        """Whether the SNR aimed at was reached; an exact fit reaches every goal."""
        snr_db, residual = self.snr_db, self.metrics["mse"].value
        return residual == 0 or (snr_db is not None and snr_db >= self.options.model.target_snr_db)

    @property
    def stopped(self) -> bool:
        """Whether the user stopped it."""
        return any(run.status == "stopped" for one in self.passes for runs in one.blocks for run in runs)

    @property
    def training_gain_db(self) -> float | None:
        """SNR that training added, mean over blocks, of all passes; None where undefined.

        Of each run only what it reached beyond its own start and beyond the runs before it: what parts bring that come
        later is not counted.
        """
        gains = [[gain for gain in map(_gain_db, one.blocks) if gain is not None] for one in self.passes]
        return sum(mean(known) for known in gains if known) if any(gains) else None


def _gain_db(runs: Sequence[Training]) -> float | None:
    """Return what the runs of a block added to the SNR; None where that is undefined."""
    pairs = [(run.looks[0].snr_db, run.best.snr_db) for run in runs]
    known = [(before, after) for before, after in pairs if before is not None and after is not None]
    if len(known) < len(pairs):
        return None
    reached = accumulate((after for _, after in known), max)
    bars = [max(before, earlier) for (before, _), earlier in zip(known, [-math.inf, *reached], strict=False)]
    return sum(max(0.0, after - bar) for (_, after), bar in zip(known, bars, strict=True))


def fit(
    recording: Recording | str | os.PathLike[str],
    options: FitOptions | None = None,
    *,
    progress: ProgressCallback | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    force: bool = False,
    **settings: Any,
) -> FitResult:
    """Fit a recording with a network of sinusoids.

    Args:
        recording: a `Recording`, or the path of a file to read.
        options: all settings (default: ``FitOptions()``).
        progress: told how far the fit is; silent without.
        checkpoint: folder that says, every ``checkpoint_every_s``, how far training is; a fit that was killed goes on from it.
            Remove it by `ddaudio.checkpoints.discard` when the result is saved.
        resume: go on from the checkpoint, where there is one: the fit ends bit for bit as if it had not been killed.
        force: start afresh even if there is a checkpoint.
        **settings: single settings by name, such as ``target_snr_db=30``; they replace those in ``options``.

    Returns:
        The fit, always: one that failed to converge, or says no more than silence, tells so in ``status``.

    Raises:
        RecordingError: the recording cannot be read.
        OptionError: a setting is unknown, out of range, or leaves no room for a single partial.
        CheckpointError: there is a checkpoint, and neither ``resume`` nor ``force``; or it is damaged, or of another fit.

    Example:
        >>> tone = Recording(torch.sin(torch.arange(8000) / 5)[None], sample_rate=8000)
        >>> result = fit(tone, target_snr_db=40)
        >>> result.snr_db > 40, result.status
        (True, 'converged')

    """
    options = (options or FitOptions()).with_settings(settings)
    clock, tell = _Clock(), progress or _silent
    tell(Progress("reading", 0, 0, math.nan, math.nan))
    if not isinstance(recording, Recording):
        recording = audio.read(recording, options.input.sample_rate)
    elif options.input.sample_rate is not None:
        recording = audio.resample(recording, options.input.sample_rate)
    if recording.peak > LOUDEST_PEAK:
        raise RecordingError(
            f"{recording.source!r} peaks at {recording.peak:g}; allowed is {LOUDEST_PEAK:g}: scale it to full scale 1"
        )
    clock.lap("reading")
    options = resolve(options, recording)
    log = _log(recording, options, checkpoint, resume=resume, force=force)
    fitted = fit_passes(recording, options, tell, log)
    clock.lap("fitting")
    tell(Progress("measuring", 0, 0, math.nan, math.nan))
    metrics = measure(fitted.estimate, recording.samples, recording.sample_rate)
    baseline = best_k_snr(recording.samples, fitted.network.numbers())
    clock.lap("measuring")
    status, reason = _verdict(fitted.passes, metrics)
    doubts = tuple(_doubts(recording, options, status, reason, metrics, baseline, fitted.network))
    found = fitted.network, fitted.estimate, status, reason, doubts, fitted.passes
    return FitResult(recording, options, *found, metrics, baseline, clock.seconds)


def _log(recording: Recording, options: FitOptions, folder: str | os.PathLike[str] | None, *, resume: bool, force: bool) -> Log:
    """Return where training notes how far it is: everything that decides over the result's bits is compared."""
    if folder is None:
        if resume:
            raise OptionError("resume is True, but there is no checkpoint to go on from; give its folder as checkpoint")
        return Log()
    settings = {group: table for group, table in options.tables().items() if group != "output"}
    versions = {"ddaudio": version("ddaudio"), "torch": torch.__version__, "threads": torch.get_num_threads()}
    about = {"recording": recording.content_hash, **versions, "settings": settings}
    return Checkpoint(folder, about, options.output.checkpoint_every_s, resume=resume, force=force)


def _silent(_: Progress) -> None:
    """Tell nobody."""


class _Clock:
    """Wall time, lap by lap."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = now_s()

    def lap(self, name: str) -> None:
        """Note the seconds since the lap before, under a name."""
        now = now_s()
        self.seconds[name] = now - self._last
        self._last = now


def _verdict(passes: Sequence[Pass], metrics: Metrics) -> tuple[str, str]:
    """Return the status of a fit and a sentence that explains it."""
    snr_db = metrics["snr_db"].value
    if metrics["snr_db"].reason is not None:
        return "converged", f"Nothing is left to fit: {metrics['snr_db'].reason}."
    if snr_db is not None and snr_db < NOT_FITTED_DB:
        return "not fitted", f"The SNR is {snr_db:.1f} dB: the model says hardly more than silence does."
    ends = [stages[-1] for stages in passes[-1].blocks]
    ends += [stages[-1] for one in passes[:-1] for stages in one.blocks if stages[-1].status == "stopped"]
    worst = max(ends, key=lambda run: GRAVITY.index(run.status))
    steps = sum(run.looks[-1].step for one in passes for stages in one.blocks for run in stages)
    where = f" in {sum(run.status == worst.status for run in ends)} of {len(ends)} blocks" if len(ends) > 1 else ""
    sentences = {
        "converged": f"The loss was level at the end of {steps} steps.",
        "step limit": _at_step_limit(worst, steps, where),
        "diverged": f"The loss grew beyond bounds{where}; the best point before that was kept. Lower the learning rate.",
        "stopped": f"Stopped after {steps} steps; the best point until then was kept.",
        "not trained": "The network stands at its starting point.",
    }
    return worst.status, sentences[worst.status]


def _at_step_limit(run: Training, steps: int, where: str) -> str:
    before, last = run.looks[max(0, len(run.looks) - 1 - LOOKS)], run.looks[-1]
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
    has_goal = model.numbers is None and model.partials is None
    missed = has_goal and snr_db is not None and snr_db < model.target_snr_db
    if status in ("not fitted", "diverged", "stopped"):
        yield f"{status}: {reason.rstrip('.')}"
    if missed and snr_db is not None:
        cap = allowance(model, recording.n_channels, recording.n_samples)
        at_cap = network.numbers() + NUMBERS_PER_PARTIAL > (1 - UNSPENT_SHARE) * cap
        spent = network.numbers() / (recording.n_channels * recording.n_samples)
        size = f"at the cap of {model.max_numbers_per_sample:g}" if at_cap and network.numbers() <= cap else f"with {spent:.3g}"
        yield f"goal missed: {snr_db:.1f} of {model.target_snr_db:g} dB {size} numbers per sample"
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
        parts = " and ".join(dict.fromkeys(NETWORKS[term.name].parts for term in network.terms))
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
