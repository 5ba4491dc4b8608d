"""Diagnosis of a fit: its status and its warnings."""

from collections.abc import Iterator, Sequence

from ddaudio.fitting.budget import allowance
from ddaudio.fitting.stagewise import Stage
from ddaudio.io.audio import Recording
from ddaudio.metrics.erb_distance import MissingBand, Range
from ddaudio.metrics.mdct_baseline import MdctBaseline
from ddaudio.metrics.measure import Metrics
from ddaudio.metrics.registry import DEAD_DB
from ddaudio.metrics.spectral_flatness import FRAME_S, flatness
from ddaudio.models import PARAMETERS_PER_PARTIAL, Network
from ddaudio.options import NETWORKS, FitOptions
from ddaudio.synthesis.drift import HIGHEST_HZ, Drift
from ddaudio.training.history import PATIENCE, TrainingRun

NOT_FITTED_DB = 0.5
"""SNR in dB below which a model is no better than silence."""
UNSPENT_SHARE = 0.02
"""Share of the cap that a fit at its cap may leave unused."""
SEVERITY = ("not trained", "converged", "step limit", "diverged", "stopped")
"""Statuses of training runs, the most serious last."""
WORSE_BY_DB = 3.0
"""Smallest gap to the baseline, in dB, for a warning."""
POOR_DB = 25.0
"""SNR in dB below which there is a warning about noisy recordings: the default goal."""

NOISY, CLICKING = 0.14, 0.7
"""Range of the spectral flatness of recordings that are mostly noise; clicks are above. See `spectral_flatness`."""
AT_BOUNDS = 3
"""Smallest number of values at their bounds for a warning, if it is also more than usual."""
DEAD_SHARE = 0.05
"""Smallest share of dead cells outside missing bands, relative to all audible ones, for a warning."""
KILOHERTZ_FROM_HZ = 1000.0
"""Smallest frequency formatted in kHz."""
CLIPPED_SHARE = 1e-4
"""Smallest share of samples in flat tops of a clipped recording."""


def diagnose_status(stages: Sequence[Stage], metrics: Metrics, *, has_noise: bool = False) -> tuple[str, str]:
    """Return the status of a fit and the reason for it, in a sentence."""
    snr_db = metrics["snr_db"].value
    if metrics["snr_db"].reason is not None:
        return "converged", f"Nothing left to fit: {metrics['snr_db'].reason}."
    if snr_db is not None and snr_db < NOT_FITTED_DB and not has_noise:
        return "not fitted", f"Not fitted: the SNR is {snr_db:.1f} dB, and the model is no better than silence."
    if not stages:
        return "converged", "Converged: levels of noise are fitted in closed form."
    ends = [runs[-1] for runs in stages[-1].blocks]
    ends += [runs[-1] for stage in stages[:-1] for runs in stage.blocks if runs[-1].status == "stopped"]
    worst = max(ends, key=lambda run: SEVERITY.index(run.status))
    steps = sum(run.evaluations[-1].step for stage in stages for runs in stage.blocks for run in runs)
    where = f" in {sum(run.status == worst.status for run in ends)} of {len(ends)} blocks" if len(ends) > 1 else ""
    sentences = {
        "converged": f"Converged after {steps} steps.",
        "step limit": f"Stopped at the step limit after {steps} steps{where}; {_trend(worst)}.",
        "diverged": f"Diverged{where}; the best parameters before that were kept. Lower the learning rate.",
        "stopped": f"Stopped by the user after {steps} steps; the best parameters until then were kept.",
        "not trained": "Not trained; initial values kept.",
    }
    return worst.status, sentences[worst.status]


def _trend(run: TrainingRun) -> str:
    """Describe whether the loss was decreasing over the last evaluations of a run."""
    before, last = run.evaluations[max(0, len(run.evaluations) - 1 - PATIENCE)], run.evaluations[-1]
    if last.total < before.total:
        return "the loss was still decreasing"
    return "the loss was increasing, and the best parameters were kept; lower the learning rate"


def diagnose_warnings(
    recording: Recording,
    options: FitOptions,
    status: str,
    reason: str,
    metrics: Metrics,
    baseline: MdctBaseline,
    network: Network,
) -> Iterator[str]:
    """Yield the warnings about a fit, in sentences without a full stop, the most serious first."""
    snr_db, model = metrics["snr_db"].value, options.model
    target_db = None if model.budget is not None or model.partials is not None else model.target_snr_db
    missed = target_db is not None and snr_db is not None and snr_db < target_db
    has_noise = any(term.is_noise for term in network.terms)
    if status in ("not fitted", "diverged", "stopped"):
        yield as_clause(reason)
    if missed and snr_db is not None:
        cap = allowance(model, recording.n_channels, recording.n_samples)
        size = network.n_wave_parameters()
        at_cap = size + PARAMETERS_PER_PARTIAL > (1 - UNSPENT_SHARE) * cap
        spent = size / (recording.n_channels * recording.n_samples)
        how = f"at the cap of {model.max_parameters_per_sample:g}" if at_cap and size <= cap else f"with {spent:.3g}"
        yield f"goal missed: {snr_db:.1f} of {target_db:g} dB {how} parameters per sample"
    if status != "not fitted":
        yield from _missing_band_warnings(metrics, recording.sample_rate / 2)
    if (missed or target_db is None) and snr_db is not None and snr_db < POOR_DB and not has_noise:
        yield from _noise_warnings(recording, network)
    if status == "step limit" and (missed or (target_db is None and not has_noise)):
        yield as_clause(reason)
    if snr_db is not None and baseline.snr_db is not None and baseline.snr_db > snr_db + WORSE_BY_DB:
        yield f"the MDCT baseline is {baseline.snr_db - snr_db:.0f} dB better at equal size"
    for bounds in (term.at_bounds() for term in network.terms):
        if bounds.held >= AT_BOUNDS and bounds.held > bounds.usual * bounds.total:
            yield f"at a bound: {bounds.held} of {bounds.total} {bounds.where}"
    yield from _input_warnings(recording)
    if network.drift is not None:
        yield _drift_in_words(network.drift)


def _drift_in_words(drift: Drift) -> str:
    """Return the warning about a drift."""
    stored = "which the model stores and no metric counts"
    if drift.coefficients.shape[1] > 1:
        return f"input has energy below {HIGHEST_HZ:g} Hz, {stored}"
    offsets = " and ".join(dict.fromkeys(f"{offset:.3g}" for offset in drift.coefficients[:, 0].tolist()))
    return f"input has a constant offset of {offsets}, {stored}"


def _missing_band_warnings(metrics: Metrics, nyquist_hz: float) -> Iterator[str]:
    """Yield warnings about audible parts of the recording that are missing in the result: whole bands, and other cells."""
    bands, dead = metrics.missing_bands, metrics["dead_bands"].value or 0.0
    named = sum(band.share for band in bands)
    if bands:
        where = " and ".join(_range_in_words(band, nyquist_hz) for band in bands)
        yield f"nothing {where}, where the recording has {100 * named:.0f} % of its audible cells of time and frequency"
    if (rest := dead - named) >= DEAD_SHARE:
        more = "more " if bands else ""
        range_hz = metrics.most_dead
        where = "" if range_hz is None else f", most of them {_range_in_words(range_hz, nyquist_hz)}"
        yield f"{100 * rest:.0f} % {more}of the audible cells of time and frequency are {DEAD_DB:g} dB or more too soft{where}"


def _range_in_words(band: MissingBand | Range, nyquist_hz: float) -> str:
    low, high = (f"{hz / 1000:.1f} kHz" if hz >= KILOHERTZ_FROM_HZ else f"{hz:.0f} Hz" for hz in (band.low_hz, band.high_hz))
    if band.high_hz >= nyquist_hz:
        return f"above {low}"
    return f"from {low} to {high}" if band.low_hz > 0 else f"below {high}"


def _noise_warnings(recording: Recording, network: Network) -> Iterator[str]:
    """Yield a warning if the recording is mostly noise, which explains a poor fit."""
    # Of less than a frame the spectrum shows the shape of the frame.
    measured = flatness(recording.samples, recording.sample_rate) if recording.duration_s >= FRAME_S else None
    if measured is not None and NOISY <= measured < CLICKING:
        parts = " and ".join(dict.fromkeys(NETWORKS[term.name].component_name for term in network.terms))
        yield f"mostly noise: spectral flatness {measured:.2f} (a tone has 0, white noise 0.51); {parts} are a poor model of it"


def _input_warnings(recording: Recording) -> Iterator[str]:
    """Yield warnings about the recording itself."""
    yield from (f"input {warning}" for warning in recording.warnings)
    if recording.clipped_samples > CLIPPED_SHARE * recording.n_channels * recording.n_samples:
        yield f"input clipped: {recording.clipped_samples} samples are in flat tops at the peak"


def as_clause(sentence: str) -> str:
    """Return a sentence as a clause: without its full stop, and with a small first letter.

    >>> as_clause("Converged after 6 steps.")
    'converged after 6 steps'
    """
    return sentence[:1].lower() + sentence[1:].rstrip(".")
