"""Summary of a fit in a few lines of text."""

from ddaudio.analysis.pitch import PitchCurve
from ddaudio.fitting.diagnosis import as_clause
from ddaudio.fitting.result import FitResult
from ddaudio.metrics.measure import Metrics
from ddaudio.metrics.registry import METRICS
from ddaudio.metrics.signals import Metric


def summary(result: FitResult) -> list[str]:
    """Return lines with the warnings, the quality (and that of the baseline), the size, the time, and requested scores."""
    recording, metrics = result.recording, result.metrics
    bar = result.baseline.snr_db
    beside = f"reaches {bar:.1f} dB at equal size" if bar is not None else f"has no SNR: {result.baseline.reason}"
    gain = result.training_gain_db
    seconds = sum(result.seconds.values())
    trained = f"training gain {gain:+.2f} dB" if gain is not None else "training gain undefined"
    if (fall := result.training_loss_fall) is not None and not result.options.training.least_squares:
        trained = f"training reduced the loss by {100 * fall:.1f} %"  # an SNR is no measure of it
    return [
        "warnings " + ("; ".join(result.warnings) or f"none ({as_clause(result.reason)})"),
        f"reached  SNR {_in_words(metrics['snr_db'], 'dB')}, ERB distance {_in_words(metrics['erb_db'], 'dB')}; "
        f"the MDCT baseline {beside}",
        f"size     {result.n_parameters} parameters ({result.parameters_per_sample:.3g} per sample): "
        + " and ".join(term.size_in_words() for term in result.network.terms),
        f"time     {seconds:.1f} s for {recording.duration_s:.1f} s of sound; {trained}",
        *_pitch(result.pitch),
        *_scores(metrics),
    ]


def _pitch(curve: PitchCurve | None) -> list[str]:
    """Return a line with the median pitch and the share of voiced time, if any time is voiced."""
    if curve is None or curve.median_hz is None:
        return []
    return [f"pitch    median {curve.median_hz:.1f} Hz; {100 * curve.voiced_share:.0f} % of the time is voiced"]


def _scores(metrics: Metrics) -> list[str]:
    """Return a line with the perceptual scores and their controls, if there are any."""
    asked = {METRICS[name].label: metric for name, metric in metrics.items() if METRICS[name].request}
    found = [f"{label} {'undefined' if one.value is None else f'{one.value:.2f}'}" for label, one in asked.items()]
    return [f"scores   {'; '.join(found)}"] if found else []


def _in_words(metric: Metric, unit: str) -> str:
    return f"{metric.value:.2f} {unit}".strip() if metric.value is not None else f"undefined ({metric.reason})"
